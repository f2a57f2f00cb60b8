/**
 * The limits in time as a machine, to the millisecond: by hand, and against a reference that looks every millisecond.
 */
import { assert, describe, it } from "@effect/vitest"
import { ConnectionState } from "../src/internal/connectionState.js"
import type { TimeoutLimits } from "../src/internal/connectionTimeouts.js"
import { Random } from "./support/chunkings.js"
import { FakeTimers, FakeWire, LinedUp, Waiter } from "./support/fakeWire.js"

const none: TimeoutLimits = { idle: Infinity, read: Infinity, write: Infinity, rate: undefined }

class TimedWire extends FakeWire {
  writeProgress: number | undefined = undefined
}

const make = (limits: Partial<TimeoutLimits>) => {
  const wire = new TimedWire()
  const timers = new FakeTimers()
  const state = new ConnectionState(
    wire,
    {
      limit: 100,
      highWaterMark: 1000,
      lowWaterMark: 400,
      closeTimeout: 30_000,
      timeouts: { ...none, ...limits }
    },
    timers
  )
  wire.receiver = state
  let waiting = false
  const fails: Array<string> = []
  state.input.consumer = {
    wanted: () => 0,
    waits: () => waiting,
    onArrival: () => {
      if (state.input.end === "failed") {
        fails.push(`${timers.now()} ${state.input.failure!.reason}`)
      }
    }
  }
  return {
    wire,
    timers,
    state,
    /** When reads began to fail, and why. */
    fails,
    waits: () => {
      waiting = true
      state.input.onWait?.()
    },
    stopsWaiting: () => {
      waiting = false
    },
    /** So many bytes come, and a read takes them all. */
    data: (size: number) => {
      state.onData(new Uint8Array(size))
      state.input.take(state.input.queue.length)
    },
    write: (size: number) => state.output.write([new Uint8Array(size)], size)
  }
}

describe("idleTimeout", () => {
  it("counts from the start, and closes in order", () => {
    const { fails, state, timers, wire } = make({ idle: 1000 })
    timers.advance(999)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["1000 IdleTimeout"])
    assert.deepStrictEqual(wire.look(), ["end", "resume"])
    assert.strictEqual(state.writeEnding?.reason, "IdleTimeout")
    assert.strictEqual(state.writeEnding?.detail, "nothing came or went for 1s (idleTimeout)")
    // As any close does it.
    timers.advance(1000)
    assert.deepStrictEqual(wire.look(), ["destroy"])
    wire.close()
    assert.deepStrictEqual(state.closed?.by === "Failed" && state.closed.failure.reason, "IdleTimeout")
    assert.strictEqual(timers.pending, 0)
  })

  it("counts anew from whatever comes or goes, however little", () => {
    const { data, fails, timers, wire, write } = make({ idle: 1000 })
    wire.window = Infinity
    timers.advance(900)
    data(1)
    timers.advance(900)
    write(1)
    timers.advance(900)
    data(1)
    timers.advance(999)
    assert.deepStrictEqual(fails, [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["3700 IdleTimeout"])
  })

  it("takes what the network takes later for something that goes", () => {
    const { fails, timers, wire, write } = make({ idle: 1000 })
    write(10)
    timers.advance(900)
    wire.take(1)
    timers.advance(999)
    assert.deepStrictEqual(fails, [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["1900 IdleTimeout"])
  })

  it("resets a peer that does not even take what is queued", () => {
    const { timers, wire, write } = make({ idle: 1000 })
    write(10)
    wire.look()
    timers.advance(1000)
    assert.deepStrictEqual(wire.look(), ["abort"])
  })

  it("does not count while the peer is held up", () => {
    const { fails, state, timers } = make({ idle: 1000 })
    timers.advance(500)
    state.onData(new Uint8Array(300))
    assert.isTrue(state.input.paused)
    timers.advance(10_000)
    assert.deepStrictEqual(fails, [])
    state.input.take(300)
    assert.isFalse(state.input.paused)
    timers.advance(2000)
    // From the moment from which it could send again.
    assert.deepStrictEqual(fails, ["11500 IdleTimeout"])
  })
})

describe("readTimeout", () => {
  it("counts while a read waits, from its beginning", () => {
    const { data, fails, stopsWaiting, timers, waits, wire } = make({ read: 1000 })
    timers.advance(5000)
    waits()
    timers.advance(999)
    data(1)
    stopsWaiting()
    timers.advance(5000)
    assert.deepStrictEqual(fails, [])
    waits()
    timers.advance(999)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["11999 ReadTimeout"])
    assert.deepStrictEqual(wire.look(), ["end", "resume"])
  })

  it("counts anew from what comes, where that is not enough for the read", () => {
    const { data, fails, timers, waits } = make({ read: 1000 })
    waits()
    timers.advance(900)
    data(1)
    timers.advance(900)
    data(1)
    timers.advance(999)
    assert.deepStrictEqual(fails, [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["2800 ReadTimeout"])
  })

  it("leaves a read alone that was interrupted, and counts for the next one anew", () => {
    const { fails, stopsWaiting, timers, waits } = make({ read: 1000 })
    for (let i = 0; i < 10; i++) {
      waits()
      timers.advance(900)
      stopsWaiting()
      timers.advance(200)
    }
    assert.deepStrictEqual(fails, [])
    waits()
    timers.advance(1000)
    assert.deepStrictEqual(fails, ["12000 ReadTimeout"])
  })

  it("is told before an idle time that ends in the same moment", () => {
    const { fails, timers, waits } = make({ read: 1000, idle: 1000 })
    waits()
    timers.advance(1000)
    assert.deepStrictEqual(fails, ["1000 ReadTimeout"])
  })

  it("has nobody to wait for once the peer has ended", () => {
    const { fails, state, timers, waits } = make({ read: 1000 })
    state.onEnd()
    waits()
    timers.advance(5000)
    assert.deepStrictEqual(fails, [])
    assert.isFalse(state.isClosing)
  })
})

describe("writeTimeout", () => {
  it("counts while something is queued, from the last that was taken", () => {
    const { fails, state, timers, wire, write } = make({ write: 1000 })
    timers.advance(5000)
    write(10)
    timers.advance(900)
    // More of it does not help.
    write(10)
    wire.take(1)
    timers.advance(900)
    wire.take(1)
    wire.look()
    timers.advance(999)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["7800 WriteTimeout"])
    assert.deepStrictEqual(wire.look(), ["abort"])
    assert.strictEqual(
      state.writeEnding?.detail,
      "the peer made no room for 1s (writeTimeout), and 18 bytes are queued"
    )
  })

  it("is not moved by more that is written", () => {
    const { fails, timers, write } = make({ write: 1000 })
    for (let i = 0; i < 10; i++) {
      write(1)
      timers.advance(100)
    }
    assert.deepStrictEqual(fails, ["1000 WriteTimeout"])
  })

  it("counts anew for what is queued after all was taken", () => {
    const { fails, timers, wire, write } = make({ write: 1000 })
    write(10)
    timers.advance(900)
    wire.take()
    timers.advance(5000)
    write(10)
    timers.advance(999)
    assert.deepStrictEqual(fails, [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["6900 WriteTimeout"])
  })

  const long = [
    [{ write: 1000, idle: 1500 }, "WriteTimeout"],
    [{ idle: 1000 }, "IdleTimeout"]
  ] as const
  for (const [limits, reason] of long) {
    it(`sees that a long write is taken bit by bit, and when it is not: ${reason}`, () => {
      const { fails, timers, wire, write } = make(limits)
      wire.writeProgress = 500
      write(500)
      for (let i = 1; i < 10; i++) {
        timers.advance(500)
        wire.writeProgress -= 50
      }
      assert.deepStrictEqual(fails, [])
      timers.advance(2500)
      assert.deepStrictEqual(fails.map((fail) => fail.split(" ")[1]), [reason])
    })
  }

  it("goes on while the connection closes, from the last that was taken, and ends it at once", () => {
    const { fails, state, timers, wire, write } = make({ write: 5000, idle: 100_000 })
    write(20)
    timers.advance(4000)
    state.close()
    const flush = new Waiter()
    state.output.awaitFlush(flush)
    assert.deepStrictEqual(wire.look().slice(1), ["end", "resume"])
    timers.advance(999)
    wire.take(1)
    timers.advance(4999)
    assert.deepStrictEqual(wire.look(), [])
    assert.strictEqual(flush.resumed, 0)
    timers.advance(1)
    assert.deepStrictEqual(wire.look(), ["abort"])
    assert.strictEqual(flush.resumed, 1)
    assert.strictEqual(state.flushEnding?.reason, "WriteTimeout")
    wire.close()
    assert.strictEqual(timers.pending, 0)
    assert(state.closed?.by === "Failed")
    assert.strictEqual(state.closed.failure.reason, "WriteTimeout")
    assert.strictEqual(
      state.closed.failure.detail,
      "the peer made no room for 5s (writeTimeout), and 19 bytes are queued"
    )
    // To a read, this side had closed it.
    assert.deepStrictEqual(fails, ["4000 Closed"])
  })

  it("of a connection that closes has nobody to wait for once all was taken", () => {
    const { state, timers, wire, write } = make({ write: 500 })
    write(20)
    state.close()
    timers.advance(400)
    wire.take()
    wire.look()
    timers.advance(999)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(wire.look(), ["destroy"])
    wire.close()
    assert.strictEqual(state.closed?.by, "Local")
  })

  it("tells everybody who waits for the peer", () => {
    const { state, timers, write } = make({ write: 1000 })
    write(2000)
    const line = new LinedUp([new Uint8Array(1)])
    const room = new Waiter()
    const flush = new Waiter()
    state.output.enqueue(line)
    state.output.awaitRoom(room)
    state.output.awaitFlush(flush)
    timers.advance(1000)
    assert.deepStrictEqual([line.state, room.resumed, flush.resumed], ["refused", 1, 1])
    assert.strictEqual(state.flushEnding?.reason, "WriteTimeout")
  })
})

describe("minReadRate", () => {
  const rate = { bytesPerSecond: 100, period: 5000 }

  it("begins with the first byte, and resets who is slower over a whole period", () => {
    const { data, fails, state, timers, waits, wire } = make({ rate })
    waits()
    timers.advance(60_000)
    data(1)
    for (let i = 0; i < 4; i++) {
      timers.advance(1000)
      data(1)
    }
    timers.advance(999)
    assert.deepStrictEqual(fails, [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["65000 RateTooLow"])
    assert.deepStrictEqual(wire.look(), ["abort"])
    assert.strictEqual(
      state.writeEnding?.detail,
      "5 bytes came in 5s, which is below 100 a second (minReadRate)"
    )
  })

  it("lets one go on who is just quick enough, for ever, and no longer than a period once he is not", () => {
    const { data, fails, timers, waits } = make({ rate })
    waits()
    data(100)
    for (let i = 0; i < 100; i++) {
      timers.advance(1000)
      data(100)
    }
    assert.deepStrictEqual(fails, [])
    timers.advance(9999)
    assert.strictEqual(fails.length, 1)
  })

  it("counts neither time in which nobody reads, nor time before the first byte after an answer", () => {
    const { data, fails, stopsWaiting, timers, waits, wire, write } = make({ rate })
    wire.window = Infinity
    waits()
    data(1)
    stopsWaiting()
    timers.advance(60_000)
    waits()
    timers.advance(4999)
    assert.deepStrictEqual(fails, [])
    write(1)
    timers.advance(60_000)
    data(1)
    timers.advance(4999)
    assert.deepStrictEqual(fails, [])
    timers.advance(1)
    assert.deepStrictEqual(fails, ["129999 RateTooLow"])
  })

  it("adds the time of several reads up", () => {
    const { data, fails, stopsWaiting, timers, waits } = make({ rate })
    waits()
    data(1)
    for (let i = 0; i < 4; i++) {
      timers.advance(1000)
      data(1)
      stopsWaiting()
      timers.advance(7777)
      waits()
    }
    timers.advance(999)
    assert.deepStrictEqual(fails, [])
    timers.advance(1)
    assert.deepStrictEqual(fails.length, 1)
  })
})

describe("when it is over", () => {
  it.each(["close", "abort", "spend", "closed"] as const)(
    "%s leaves no limit in force but that of what is queued",
    (how) => {
      const { fails, state, timers, waits, wire, write } = make({
        idle: 1000,
        read: 500,
        write: 1000,
        rate: { bytesPerSecond: 1, period: 1000 }
      })
      state.onData(new Uint8Array(1))
      wire.window = 1
      write(1)
      assert.strictEqual(timers.pending, 1)
      if (how === "closed") {
        wire.close()
      } else {
        state[how]()
      }
      const ends = fails.length
      if (how !== "closed") {
        state.onData(new Uint8Array(1))
      }
      waits()
      state.onDrain()
      // That of the close, or the last one.
      assert.strictEqual(timers.pending, how === "close" || how === "abort" ? 1 : 0)
      timers.advance(100_000)
      assert.strictEqual(timers.pending, 0)
      assert.strictEqual(fails.length, ends)
      assert.notInclude(JSON.stringify(state.closed ?? {}), "Timeout")
    }
  )

  it("a close that the peer does not answer is still the limit's", () => {
    const { state, timers, wire, write } = make({ read: 1000, idle: Infinity })
    write(10)
    state.input.consumer = { ...state.input.consumer, waits: () => true }
    state.input.onWait?.()
    timers.advance(1000 + 30_000)
    assert.deepStrictEqual(wire.look().slice(-1), ["abort"])
    wire.close()
    assert.strictEqual(state.closed?.by === "Failed" && state.closed.failure.reason, "ReadTimeout")
  })

  it("a close that a limit has begun, and another cut short, is the first one's", () => {
    const { state, timers, waits, wire, write } = make({ read: 1000, write: 5000 })
    write(10)
    waits()
    timers.advance(1000)
    assert.deepStrictEqual(wire.look().slice(1), ["end", "resume"])
    timers.advance(3999)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(wire.look(), ["abort"])
    wire.close()
    assert.strictEqual(state.closed?.by === "Failed" && state.closed.failure.reason, "ReadTimeout")
  })

  it("what was received is there to be read", () => {
    const { state, timers } = make({ idle: 1000 })
    state.onData(new Uint8Array(7))
    timers.advance(1000)
    assert.strictEqual(state.input.failure?.reason, "IdleTimeout")
    assert.strictEqual(state.input.take(7).length, 7)
  })
})

it("no limit, no timer", () => {
  const { data, timers, waits, write } = make({})
  waits()
  data(10)
  write(10)
  assert.strictEqual(timers.pending, 0)
})

it("a busy connection sets its timer once for each limit's time, not for what happens on it", () => {
  const { data, timers, waits, wire, write } = make({ idle: 1000, read: 1000, write: 1000 })
  wire.window = Infinity
  let set = 0
  const after = timers.after
  Object.defineProperty(timers, "after", {
    value: (millis: number, task: () => void) => {
      set += 1
      return after(millis, task)
    }
  })
  for (let i = 0; i < 10_000; i++) {
    waits()
    data(10)
    write(10)
    timers.advance(1)
  }
  assert.isAtMost(set, 11)
})

// ---------------------------------------------------------------------------
// against a reference
// ---------------------------------------------------------------------------

/** Looks every millisecond at everything that is true in it. */
class Reference {
  sinceActivity = 0
  sinceRead = 0
  sinceWrite = 0
  waiting = false
  queued = 0
  measuring = false
  waited = 0
  /** The time of a read that waits, since something came; of one that is given up it is not known, and does not count. */
  uncertain = 0
  bytes = 0

  constructor(public limits: TimeoutLimits) {}

  /** One millisecond, in which nothing happens. The limit that is passed at its end. */
  step(): string | undefined {
    this.sinceActivity += 1
    this.sinceRead += this.waiting ? 1 : 0
    this.sinceWrite += this.queued > 0 ? 1 : 0
    this.uncertain += this.measuring && this.waiting ? 1 : 0
    const { idle, rate, read, write } = this.limits
    if (this.queued > 0 && this.sinceWrite >= write) {
      return "WriteTimeout"
    }
    if (this.waiting && this.sinceRead >= read) {
      return "ReadTimeout"
    }
    if (rate !== undefined && this.waiting && this.measuring && this.waited + this.uncertain >= rate.period) {
      if (this.bytes < rate.bytesPerSecond * rate.period / 1000) {
        return "RateTooLow"
      }
      this.waited = this.uncertain = this.bytes = 0
    }
    return this.sinceActivity >= idle ? "IdleTimeout" : undefined
  }
}

it("strikes in the same millisecond as a reference that looks in every one, whatever happens", () => {
  const reasons = new Map<string, number>()
  let whileClosing = 0
  for (let seed = 1; seed <= 3000; seed++) {
    const random = new Random(seed)
    const some = (millis: number) => random.chance(0.6) ? random.between(1, millis) : Infinity
    const limits: TimeoutLimits = {
      idle: some(60),
      read: some(40),
      write: some(40),
      rate: random.chance(0.6)
        ? { bytesPerSecond: random.between(1, 400), period: random.between(1, 50) }
        : undefined
    }
    const reference = new Reference(limits)
    const { data, state, stopsWaiting, timers, waits, wire, write } = make(limits)
    const log: Array<string> = []
    /** What a limit leaves, and nothing else does. */
    const passed = () => state.writeEnding?.detail === undefined ? undefined : state.writeEnding.reason
    for (let time = 0; time < 400 && passed() === undefined; time++) {
      while (random.chance(0.15)) {
        const what = random.between(0, 4)
        log.push(`${time}: ${["waits", "data", "gives up", "writes", "takes"][what]}`)
        if (state.isClosing && what !== 4) {
          continue
        }
        if (what === 0 && !reference.waiting) {
          waits()
          reference.waiting = true
          reference.sinceRead = 0
        } else if (what === 1) {
          const size = random.between(1, 9)
          const enough = random.chance(0.5)
          data(size)
          reference.sinceActivity = reference.sinceRead = 0
          reference.waited += reference.uncertain
          reference.uncertain = 0
          reference.bytes += size
          reference.measuring = true
          if (enough) {
            stopsWaiting()
            reference.waiting = false
          }
        } else if (what === 2) {
          stopsWaiting()
          reference.waiting = false
          reference.uncertain = 0
        } else if (what === 3) {
          const size = random.between(1, 9)
          wire.window = random.between(0, size)
          if (reference.queued === 0) {
            reference.sinceWrite = 0
          }
          reference.queued += size - wire.window
          write(size)
          wire.window = 0
          reference.sinceActivity = 0
          reference.measuring = false
          reference.waited = reference.uncertain = reference.bytes = 0
        } else if (what === 4 && reference.queued > 0) {
          const size = random.between(1, reference.queued)
          wire.take(size)
          reference.queued -= size
          reference.sinceActivity = reference.sinceWrite = 0
        }
      }
      if (!state.isClosing && random.chance(0.005)) {
        log.push(`${time}: closes`)
        state.close()
        reference.waiting = false
        reference.limits = { ...none, write: limits.write }
      }
      const closing = state.isClosing
      const expected = reference.step()
      timers.advance(1)
      assert.strictEqual(
        passed(),
        expected,
        `after ${time + 1}, seed ${seed} ${JSON.stringify(limits)}\n${log.join("\n")}`
      )
      if (expected !== undefined) {
        reasons.set(expected, (reasons.get(expected) ?? 0) + 1)
        whileClosing += closing ? 1 : 0
      }
    }
  }
  for (const reason of ["IdleTimeout", "ReadTimeout", "WriteTimeout", "RateTooLow"]) {
    assert.isAbove(reasons.get(reason) ?? 0, 100, reason)
  }
  assert.isAbove(whileClosing, 50)
})
