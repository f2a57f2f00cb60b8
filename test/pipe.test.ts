import { assert, describe, it } from "@effect/vitest"
import { Pipe, type PipeConditions, stalled } from "../src/internal/pipe.js"
import { Random } from "../src/internal/random.js"
import { ClockTimeline } from "../src/internal/timeline.js"

const perfect: PipeConditions = {
  latency: 0,
  jitter: 0,
  bandwidth: Infinity,
  window: 65_536,
  fragment: Infinity,
  coalesce: undefined
}

/** Time that stands still until it is told to go on, and lets everything happen that is due before it does. */
class Stopwatch {
  time = 0
  timers: Array<{ readonly at: number; readonly task: () => void }> = []

  readonly now = () => this.time
  readonly after = (millis: number, task: () => void) => {
    const timer = { at: this.time + millis, task }
    this.timers.push(timer)
    return () => {
      this.timers = this.timers.filter((other) => other !== timer)
    }
  }

  async advance(millis: number): Promise<void> {
    const end = this.time + millis
    for (;;) {
      await settle()
      const next = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) {
        break
      }
      this.timers = this.timers.filter((other) => other !== next)
      this.time = Math.max(this.time, next.at)
      next.task()
    }
    this.time = end
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve))

/** A pipe, and what came out of it when. */
const open = (conditions: Partial<PipeConditions> = {}, seed = 1) => {
  const watch = new Stopwatch()
  const pipe = new Pipe(new ClockTimeline(watch), new Random(seed), { ...perfect, ...conditions })
  const seen: Array<string> = []
  const note = (what: string) => seen.push(watch.time === 0 ? what : `${Number(watch.time.toFixed(3))}:${what}`)
  const sink = {
    ready: true,
    started: true,
    onData: (bytes: Uint8Array) => note(new TextDecoder("latin1").decode(bytes)),
    onEnd: () => note("<end>"),
    onReset: () => note("<reset>")
  }
  let drains = 0
  pipe.sink = sink
  pipe.source = {
    onRoom: () => {
      drains += 1
    }
  }
  return {
    watch,
    pipe,
    sink,
    seen,
    drains: () => drains,
    write: (text: string) => pipe.write(new TextEncoder().encode(text))
  }
}

const failure = { reason: "Reset", code: "ECONNRESET", cause: undefined } as const

describe("a pipe", () => {
  it("delivers nothing within the call that writes, and each write by itself", async () => {
    const { pipe, seen, write } = open()
    write("a")
    write("bc")
    pipe.end()
    assert.deepEqual(seen, [])
    await settle()
    assert.deepEqual(seen, ["a", "bc", "<end>"])
    assert.equal(pipe.delivered, 3)
  })

  it("delivers after the latency, in order whatever the jitter", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { pipe, seen, watch, write } = open({ latency: 100, jitter: 50 }, seed)
      for (const letter of "abcdefgh") {
        write(letter)
        await watch.advance(5)
      }
      pipe.end()
      await watch.advance(300)
      assert.equal(seen.map((entry) => entry.split(":")[1]).join(""), "abcdefgh<end>")
      seen.slice(0, -1).forEach((entry, i) => {
        const time = Number(entry.split(":")[0])
        assert(time >= 100 + 5 * i && time <= 150 + 5 * 7, `${entry} of seed ${seed}`)
      })
    }
  })

  it("takes the time that the bandwidth says, which one write takes from the next", async () => {
    const { pipe, seen, watch, write } = open({ bandwidth: 0.5, latency: 10 })
    write("1234")
    write("56")
    pipe.end()
    await watch.advance(100)
    assert.deepEqual(seen, ["18:1234", "22:56", "22:<end>"])
  })

  it("cuts to pieces, each arriving when its last byte does", async () => {
    const { seen, watch, write } = open({ bandwidth: 1, fragment: 3 })
    write("12345678")
    await watch.advance(100)
    assert.deepEqual(seen, ["3:123", "6:456", "8:78"])
  })

  it("cuts what would leave the line idle while it arrives", async () => {
    // 25 bytes pass in the time of the latency, so in a window of 32 a piece of 7 leaves room for those.
    const { seen, watch, write } = open({ bandwidth: 1, latency: 25, window: 32 })
    write("a".repeat(7))
    write("b".repeat(8))
    await watch.advance(100)
    assert.deepEqual(seen, ["32:aaaaaaa", "39:bbbbbbb", "40:b"])
    // With more than the window on its way nothing could keep it busy, and the pieces are an eighth of the window.
    const late = open({ bandwidth: 1, latency: 20, jitter: 50, window: 32 })
    late.write("a".repeat(6))
    await late.watch.advance(100)
    assert.deepEqual(late.seen.map((entry) => entry.split(":")[1]), ["aaaa", "aa"])
  })

  it("cuts anywhere by its seed, the same again for the same seed", async () => {
    const text = "the quick brown fox jumps over the lazy dog"
    const cut = async (seed: number) => {
      const { seen, write } = open({ fragment: "random" }, seed)
      write(text)
      await settle()
      assert.equal(seen.join(""), text)
      return seen.join("|")
    }
    const cuts = await Promise.all(Array.from({ length: 20 }, (_, seed) => cut(seed)))
    assert.isAbove(new Set(cuts).size, 15)
    assert.deepEqual(await Promise.all(Array.from({ length: 20 }, (_, seed) => cut(seed))), cuts)
  })

  it("joins what is written in one go, or within a time, and the end comes after it", async () => {
    const now = open({ coalesce: 0 })
    now.write("a")
    now.write("b")
    await settle()
    now.write("c")
    now.pipe.end()
    await settle()
    assert.deepEqual(now.seen, ["ab", "c", "<end>"])

    const later = open({ coalesce: 10 })
    later.write("a")
    await later.watch.advance(4)
    later.write("b")
    await later.watch.advance(20)
    later.write("c")
    await later.watch.advance(20)
    assert.deepEqual(later.seen, ["10:ab", "34:c"])
  })

  it("holds as much as its window, and sends on what has been taken", async () => {
    const { drains, pipe, seen, sink, write } = open({ window: 4 })
    sink.ready = false
    write("abc")
    write("def")
    assert.deepEqual([pipe.inFlight, pipe.queued], [4, 2])
    await settle()
    assert.deepEqual(seen, [])
    assert.equal(drains(), 0)
    assert.isTrue(pipe.hasUntaken)
    sink.ready = true
    pipe.wake()
    await settle()
    assert.deepEqual(seen, ["abc", "d", "ef"])
    assert.deepEqual([pipe.inFlight, pipe.queued], [0, 0])
    assert.equal(drains(), 1)
  })

  it("sends a reset after what has departed, and nothing else", async () => {
    const { pipe, seen, watch, write } = open({ bandwidth: 0.25, latency: 10, window: 6 })
    write("abc")
    write("def")
    write("ghi")
    await watch.advance(16)
    pipe.reset(failure)
    assert.deepEqual([pipe.inFlight, pipe.queued], [3, 0])
    write("more")
    pipe.end()
    await watch.advance(100)
    assert.deepEqual(seen, ["22:abc", "26:<reset>"])
  })

  it("brings a reset to an end that takes nothing, with all that came before", async () => {
    const { pipe, seen, sink, watch, write } = open({ latency: 10 })
    sink.ready = false
    write("abc")
    pipe.reset(failure)
    await watch.advance(100)
    assert.deepEqual(seen, ["10:abc", "10:<reset>"])
  })

  it("waits with a reset for an end that has not begun", async () => {
    const { pipe, seen, sink } = open()
    sink.ready = false
    sink.started = false
    pipe.reset(failure)
    await settle()
    assert.deepEqual(seen, [])
    sink.started = true
    pipe.wake()
    await settle()
    assert.deepEqual(seen, ["<reset>"])
  })

  it("fails after everything that was written, with room for it or without", async () => {
    const { pipe, seen, sink, write } = open({ window: 2 })
    sink.ready = false
    write("abc")
    write("def")
    pipe.fail(failure)
    await settle()
    assert.deepEqual(seen, ["ab", "c", "def", "<reset>"])
  })

  it("delivers nothing while it is held, and then at once", async () => {
    const { pipe, seen, watch, write } = open({ latency: 10 })
    write("a")
    pipe.hold(stalled)
    write("b")
    pipe.end()
    await watch.advance(50)
    assert.deepEqual(seen, [])
    pipe.release(stalled)
    await watch.advance(50)
    assert.deepEqual(seen, ["50:a", "50:b", "50:<end>"])
  })

  it("cuts at every breakpoint, and runs it when exactly so many bytes have come out", async () => {
    for (let at = 0; at <= 6; at++) {
      const { pipe, seen, write } = open()
      pipe.after(at, () => seen.push("!"))
      write("abc")
      write("def")
      await settle()
      assert.equal(seen.join(""), `${"abcdef".slice(0, at)}!${"abcdef".slice(at)}`)
      assert.equal(seen.indexOf("!"), at === 0 ? 0 : at <= 3 ? 1 : 2)
    }
  })

  it("runs breakpoints in the order of their places", async () => {
    const { pipe, seen, write } = open()
    pipe.after(4, () => seen.push("2"))
    pipe.after(1, () => seen.push("1"))
    pipe.after(4, () => seen.push("3"))
    write("abcde")
    await settle()
    assert.equal(seen.join(""), "a1bcd23e")
  })

  it("breaks after what has arrived, or without it", async () => {
    const kept = open({ latency: 10 })
    kept.sink.ready = false
    kept.write("old")
    await kept.watch.advance(20)
    kept.write("new")
    kept.pipe.hold(stalled)
    kept.pipe.break(failure, false)
    await settle()
    assert.deepEqual(kept.seen, ["20:old", "20:<reset>"])

    const dropped = open()
    dropped.pipe.after(2, () => dropped.pipe.break(failure, true))
    dropped.write("abcd")
    dropped.write("efgh")
    await settle()
    assert.deepEqual(dropped.seen, ["ab", "<reset>"])
  })

  it("ends early for who receives, and takes on what is sent", async () => {
    const { drains, pipe, seen, write } = open({ window: 4 })
    pipe.after(2, () => pipe.truncate())
    write("abcdefgh")
    write("ijkl")
    await settle()
    write("mnop")
    pipe.end()
    await settle()
    assert.deepEqual(seen, ["ab", "<end>"])
    assert.deepEqual([pipe.inFlight, pipe.queued], [0, 0])
    assert.equal(drains(), 1)
  })

  it("ends early after its messages, and before a reset that is on its way", async () => {
    const { pipe, seen, watch, write } = open({ latency: 10 })
    pipe.signal(() => seen.push("<accepted>"))
    write("abc")
    await watch.advance(5)
    pipe.reset(failure)
    pipe.truncate()
    await watch.advance(20)
    assert.deepEqual(seen, ["<accepted>", "10:<end>", "15:<reset>"])
    assert.equal(pipe.inFlight, 0)
  })

  it("loses an end, and no reset", async () => {
    const { pipe, seen, write } = open()
    pipe.losesEnd = true
    write("a")
    pipe.end()
    await settle()
    assert.deepEqual(seen, ["a"])
    assert.isTrue(pipe.ended)
    pipe.reset(failure)
    await settle()
    assert.deepEqual(seen, ["a", "<reset>"])
  })

  it("changes one byte, and not the sender's copy", async () => {
    const { pipe, seen } = open()
    const bytes = new TextEncoder().encode("abc")
    pipe.after(1, () => pipe.corruptNext(0x20))
    pipe.write(bytes)
    await settle()
    assert.equal(seen.join(""), "aBc")
    assert.equal(new TextDecoder().decode(bytes), "abc")
  })

  it("forgets what has been delivered", async () => {
    const { pipe, seen, write } = open()
    for (let i = 0; i < 1000; i++) {
      write(`${i};`)
      await Promise.resolve()
    }
    await settle()
    assert.equal(seen.join(""), Array.from({ length: 1000 }, (_, i) => `${i};`).join(""))
    assert.isBelow((pipe as unknown as { parcels: Array<unknown> }).parcels.length, 200)
  })
})

describe("a timeline", () => {
  it("runs what is planned in order of time, then of planning, with one timer", async () => {
    const watch = new Stopwatch()
    const timeline = new ClockTimeline(watch)
    const seen: Array<number> = []
    const times = Array.from({ length: 200 }, (_, i) => (i * 7919) % 50)
    times.forEach((time, i) => timeline.at(time, () => seen.push(i)))
    assert.equal(watch.timers.length, 1)
    await watch.advance(100)
    const expected = times.map((time, i) => [time, i] as const).sort((a, b) => a[0] - b[0] || a[1] - b[1])
    assert.deepEqual(seen, expected.map(([, i]) => i))
  })

  it("runs what a task plans for now in a later turn", async () => {
    const watch = new Stopwatch()
    const timeline = new ClockTimeline(watch)
    const seen: Array<string> = []
    timeline.at(10, () => {
      seen.push("a")
      timeline.at(10, () => seen.push(`c at ${watch.time}`))
    })
    timeline.at(10, () => seen.push("b"))
    await watch.advance(10)
    assert.deepEqual(seen, ["a", "b", "c at 10"])
  })

  it("forgets what is called off, and its timer with the last of it", async () => {
    const watch = new Stopwatch()
    const timeline = new ClockTimeline(watch)
    const seen: Array<number> = []
    const cancel = Array.from({ length: 10 }, (_, i) => timeline.at(i + 1, () => seen.push(i)))
    cancel.forEach((cancel, i) => i % 3 === 0 && cancel())
    await watch.advance(5)
    assert.deepEqual(seen, [1, 2, 4])
    cancel.forEach((cancel) => cancel())
    assert.equal(watch.timers.length, 0)
    // One that is due together with what calls it off.
    const later = timeline.at(20, () => cancelled())
    const cancelled = timeline.at(20, () => seen.push(99))
    await watch.advance(100)
    assert.notInclude(seen, 99)
    later()
  })

  it("keeps little of what was called off, and the order of the rest", async () => {
    const watch = new Stopwatch()
    const timeline = new ClockTimeline(watch)
    const { heap } = (timeline as unknown as { readonly agenda: { readonly heap: ReadonlyArray<unknown> } }).agenda
    const seen: Array<number> = []
    const times = Array.from({ length: 5000 }, (_, i) => 1 + (i * 7919) % 100)
    let longest = 0
    times.forEach((time, i) => {
      const cancel = timeline.at(time, () => seen.push(i))
      if (i % 100 !== 0) {
        cancel()
      }
      longest = Math.max(longest, heap.length)
    })
    assert.isBelow(longest, 200)
    await watch.advance(200)
    const kept = times.flatMap((time, i) => i % 100 === 0 ? [[time, i] as const] : [])
    assert.deepEqual(seen, kept.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, i]) => i))
  })

  it("runs what is due by a clock that counts in nanoseconds", async () => {
    const watch = new Stopwatch()
    const rounded = (millis: number) => Math.round(millis * 1e6) / 1e6
    const timeline = new ClockTimeline({ now: watch.now, after: (millis, task) => watch.after(rounded(millis), task) })
    const seen: Array<number> = []
    for (let i = 1; i < 100; i++) {
      timeline.at(i / 7 + 1 / 3, () => seen.push(i))
    }
    await watch.advance(20)
    assert.deepEqual(seen, Array.from({ length: 99 }, (_, i) => i + 1))
  })
})
