import { assert, describe, it } from "@effect/vitest"
import {
  type ConnectionLimits,
  ConnectionState,
  type Ending,
  lastWait,
  lingerTime
} from "../src/internal/connectionState.js"
import type { TransportFailure } from "../src/Transport.js"
import { Random } from "./support/chunkings.js"
import { FakeTimers, FakeWire, LinedUp, reset, text, Waiter } from "./support/fakeWire.js"

const make = (limits: Partial<ConnectionLimits> = {}) => {
  const wire = new FakeWire()
  const timers = new FakeTimers()
  const state = new ConnectionState(
    wire,
    { limit: 100, highWaterMark: 10, lowWaterMark: 4, closeTimeout: 30_000, ...limits },
    timers
  )
  wire.receiver = state
  const data = (data: string) => state.onData(text(data)[0]!)
  const write = (data: string) => state.output.write(text(data), data.length)
  const ended = () => {
    const waiter = new Waiter()
    state.awaitClosed(waiter.resume)
    return waiter
  }
  return { wire, timers, state, data, write, ended }
}

type Made = ReturnType<typeof make>

const reason = (ending: Ending | undefined) => ending?.reason
const by = (state: ConnectionState) => state.closed?.by

// ---------------------------------------------------------------------------
// how a connection ends
// ---------------------------------------------------------------------------

/** One thing that happens to a connection. */
const events = {
  close: ({ state }: Made) => state.close(),
  abort: ({ state }: Made) => state.abort(),
  writeEof: ({ state }: Made) => state.writeEof(),
  peerEnds: ({ state }: Made) => state.onEnd(),
  write: ({ write }: Made) => write("some data"),
  sent: ({ wire }: Made) => wire.take(),
  partlySent: ({ wire }: Made) => wire.take(1),
  linger: ({ timers }: Made) => timers.advance(lingerTime),
  timeout: ({ timers }: Made) => timers.advance(30_000),
  closed: ({ wire }: Made) => wire.close(),
  reset: ({ wire }: Made) => wire.close(reset)
} as const

type Event = keyof typeof events

const play = (made: Made, script: ReadonlyArray<Event>) => script.forEach((event) => events[event](made))

describe("who ended a connection", () => {
  it.each<readonly [string, string]>([
    ["close closed", "Local"],
    ["close peerEnds closed", "Local"],
    ["write close sent peerEnds closed", "Local"],
    ["writeEof close peerEnds closed", "Local"],
    ["close linger closed", "Local"],
    ["close close closed", "Local"],

    ["peerEnds close closed", "Peer"],
    ["peerEnds writeEof closed", "Peer"],
    ["writeEof peerEnds closed", "Peer"],
    ["peerEnds write close sent closed", "Peer"],

    ["abort closed", "Aborted"],
    ["abort reset", "Aborted"],
    ["abort peerEnds closed", "Aborted"],
    ["peerEnds abort closed", "Aborted"],
    ["writeEof abort closed", "Aborted"],
    ["close abort closed", "Aborted"],
    ["abort close closed", "Aborted"],
    ["write close timeout closed", "Aborted"],
    ["write close abort reset", "Aborted"],

    ["reset", "Failed"],
    ["write reset", "Failed"],
    ["writeEof reset", "Failed"],
    ["peerEnds reset", "Failed"],
    // What was written is lost.
    ["write close reset", "Failed"],
    ["write close partlySent reset", "Failed"],
    ["peerEnds write close reset", "Failed"],
    ["write writeEof close reset", "Failed"],
    // The peer resets what it was done with: nothing is.
    ["close reset", "Local"],
    ["write close sent reset", "Local"],
    ["write sent close reset", "Local"],
    ["peerEnds close reset", "Peer"],
    ["writeEof close reset", "Local"]
  ])("%s: %s", (script, expected) => {
    const made = make()
    play(made, script.split(" ") as Array<Event>)
    assert.strictEqual(by(made.state), expected)
    assert.strictEqual(made.timers.pending, 0, "a timer outlived the connection")
  })

  it.each<readonly ["close" | "abort", "closed" | "reset" | "surrendered", string]>([
    ["close", "closed", "Local"],
    ["close", "surrendered", "Local"],
    ["abort", "closed", "Aborted"],
    ["abort", "reset", "Aborted"],
    ["abort", "surrendered", "Aborted"]
  ])("%s while another takes the transport over, %s: %s", (how, then, expected) => {
    const made = make()
    made.state.spend()
    made.wire.look()
    made.state[how]()
    assert.deepStrictEqual(made.wire.look(), ["abort"])
    if (then === "surrendered") {
      made.state.surrender({ by: "Failed", failure: reset })
    } else {
      play(made, [then])
    }
    assert.strictEqual(by(made.state), expected)
    assert.strictEqual(made.timers.pending, 0, "a timer outlived the connection")
    made.state[how]()
    assert.deepStrictEqual(made.wire.look(), [])
  })

  it("a failure is kept as it was", () => {
    const { state } = make()
    state.onClosed(reset)
    assert.deepStrictEqual(state.closed, { by: "Failed", failure: reset })
    assert.strictEqual(state.writeEnding, reset)
    assert.strictEqual(state.flushEnding, reset)
    assert.strictEqual(state.input.failure, reset)
  })

  it("is decided once: what comes after the end changes nothing", () => {
    for (const first of ["closed", "reset"] as const) {
      for (const later of Object.keys(events) as ReadonlyArray<Event>) {
        if (later === "write") {
          continue
        }
        const made = make()
        const waiter = made.ended()
        events.close(made)
        events[first](made)
        const end = made.state.closed
        const input = [made.state.input.end, made.state.input.failure]
        made.wire.look()
        events[later](made)
        assert.strictEqual(made.state.closed, end, `${later} after ${first}`)
        assert.strictEqual(waiter.resumed, 1)
        assert.deepStrictEqual([made.state.input.end, made.state.input.failure], input)
        assert.deepStrictEqual(made.wire.look(), [], `${later} after ${first}`)
        assert.strictEqual(made.timers.pending, 0)
      }
    }
  })
})

// ---------------------------------------------------------------------------
// what the other side of an operation learns
// ---------------------------------------------------------------------------

describe("an operation on a connection that ends", () => {
  // What a write, a flush, a read find.
  it.each<readonly [string, string | undefined, string | undefined, string | undefined, boolean]>([
    ["", undefined, undefined, undefined, false],
    ["peerEnds", undefined, undefined, "eof", false],
    ["writeEof", "Closed", undefined, undefined, false],
    ["writeEof peerEnds", "Closed", undefined, "eof", false],
    ["close", "Closed", undefined, "Closed", true],
    ["peerEnds close", "Closed", undefined, "eof", true],
    // All that was written has been sent.
    ["close closed", "Closed", undefined, "Closed", true],
    ["close peerEnds closed", "Closed", undefined, "Closed", true],
    ["peerEnds writeEof closed", "Closed", undefined, "eof", true],
    ["write sent peerEnds writeEof closed", "Closed", undefined, "eof", true],
    ["write peerEnds writeEof closed", "Closed", "Closed", "eof", true],
    ["abort", "Aborted", "Aborted", "Aborted", true],
    ["abort closed", "Aborted", "Aborted", "Aborted", true],
    ["peerEnds abort closed", "Aborted", "Aborted", "eof", true],
    ["close abort", "Aborted", "Aborted", "Closed", true],
    ["write close timeout", "Aborted", "Aborted", "Closed", true],
    ["reset", "Reset", "Reset", "Reset", true],
    ["peerEnds reset", "Reset", "Reset", "eof", true],
    ["write close reset", "Reset", "Reset", "Closed", true],
    ["write sent reset", "Reset", "Reset", "Reset", true],
    ["write sent close sent abort closed", "Aborted", "Aborted", "Closed", true],
    ["close reset", "Closed", undefined, "Closed", true]
  ])("after %j: write %s, flush %s, read %s, closing %s", (script, write, flush, read, closing) => {
    const made = make()
    play(made, script.split(" ").filter((event) => event !== "") as Array<Event>)
    const { input, isClosing } = made.state
    assert.strictEqual(reason(made.state.writeEnding), write)
    assert.strictEqual(reason(made.state.flushEnding), flush)
    assert.strictEqual(input.end === "failed" ? reason(input.failure) : input.end === "eof" ? "eof" : undefined, read)
    assert.strictEqual(isClosing, closing)
  })

  it("the state says why before anyone is woken", () => {
    for (const end of ["close", "abort", "writeEof", "reset"] as const) {
      const made = make()
      const seen: Array<string | undefined> = []
      made.write("x".repeat(11))
      const write = {
        chunks: text("in line"),
        handedOver: false,
        resume: () => {
          seen.push(reason(made.state.writeEnding))
        }
      }
      made.state.output.enqueue(write)
      made.state.input.consumer = {
        wanted: () => 0,
        waits: () => false,
        onArrival: () => seen.push(reason(made.state.input.failure))
      }
      events[end](made)
      const why = end === "reset" ? "Reset" : end === "abort" ? "Aborted" : "Closed"
      assert.deepStrictEqual(seen, end === "writeEof" ? [why] : [why, why], end)
    }
  })
})

// ---------------------------------------------------------------------------
// closing in order
// ---------------------------------------------------------------------------

describe("close", () => {
  it("sends what is queued and then our end, and listens on", () => {
    const { state, timers, wire, write } = make()
    write("tail")
    state.close()
    assert.deepStrictEqual(wire.look(), ["write tail", "end", "resume"])
    assert.isUndefined(state.closed)
    assert.strictEqual(timers.pending, 1)
  })

  it("after writeEof ends nothing twice", () => {
    const { state, wire } = make()
    state.writeEof()
    assert.deepStrictEqual(wire.look(), ["end"])
    state.writeEof()
    state.close()
    state.close()
    assert.deepStrictEqual(wire.look(), ["resume"])
  })

  it("refuses the writes in line, and lets those that were handed over go out", () => {
    const { state, wire, write } = make()
    write("x".repeat(11))
    const [flush, room] = [new Waiter(), new Waiter()]
    state.output.awaitFlush(flush)
    state.output.awaitRoom(room)
    const inLine = new LinedUp(text("in line"))
    state.output.enqueue(inLine)
    state.close()
    assert.strictEqual(inLine.state, "refused")
    assert.deepStrictEqual([flush.resumed, room.resumed], [0, 0])
    wire.take()
    assert.deepStrictEqual([flush.resumed, room.resumed], [1, 1])
    assert.isUndefined(state.flushEnding)
  })

  it("drops what still arrives, and keeps what had arrived", () => {
    const { data, state } = make()
    data("kept")
    state.close()
    data("dropped")
    assert.strictEqual(state.input.queue.length, 4)
    state.onEnd()
    assert.strictEqual(state.input.end, "failed")
  })

  it("takes a reader's pause back, or a peer that still sends would never be heard out", () => {
    const { data, state, wire } = make({ limit: 2 })
    data("more than four")
    assert.deepStrictEqual(wire.look(), ["pause"])
    state.close()
    assert.deepStrictEqual(wire.look(), ["end", "resume"])
    data("and a lot more than that")
    assert.deepStrictEqual(wire.look(), [])
  })

  it("is over when the transport is, however that comes within the call that ends it", () => {
    const { ended, state, timers, wire } = make()
    const waiter = ended()
    state.onEnd()
    // The peer has ended already: our own end is the last.
    wire.onCall = (call) => {
      if (call === "end") {
        wire.close()
      }
    }
    state.close()
    assert.strictEqual(by(state), "Peer")
    assert.strictEqual(waiter.resumed, 1)
    assert.strictEqual(timers.pending, 0)
  })
})

describe("a peer that is silent after our end", () => {
  it("is left after exactly the linger time", () => {
    const { state, timers, wire } = make()
    timers.advance(12_345)
    state.close()
    wire.look()
    timers.advance(lingerTime - 1)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(wire.look(), ["destroy"])
    wire.close()
    assert.strictEqual(timers.pending, 0)
    assert.strictEqual(by(state), "Local")
  })

  it("is left the linger time after the last it sent", () => {
    const { data, state, timers, wire } = make()
    state.close()
    wire.look()
    for (let i = 0; i < 5; i++) {
      timers.advance(900)
      data("still here")
    }
    timers.advance(lingerTime - 1)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(wire.look(), ["destroy"])
  })

  it("is not left while something is queued, and then the linger time after the last of it went out", () => {
    const { state, timers, wire, write } = make()
    write("0123456789")
    state.close()
    wire.look()
    timers.advance(5_000)
    wire.take(9)
    timers.advance(5_000)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(300)
    wire.take()
    timers.advance(lingerTime - 1)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(wire.look(), ["destroy"])
  })

  it("is waited for with one timer at a time", () => {
    const { data, state, timers } = make()
    state.close()
    for (let i = 0; i < 100; i++) {
      timers.advance(200)
      data("x")
      assert.strictEqual(timers.pending, 1)
    }
  })

  it("lets the connection go at once when it ends its side", () => {
    const { state, timers, wire } = make()
    state.close()
    timers.advance(10)
    state.onEnd()
    wire.close()
    assert.strictEqual(timers.pending, 0)
    wire.look()
    timers.advance(100_000)
    assert.deepStrictEqual(wire.look(), [])
  })
})

describe("the close timeout", () => {
  it.each([1, 999, 1_500, 30_000])(
    "aborts a close after exactly %i milliseconds that the peer does not read",
    (timeout) => {
      const { state, timers, wire, write } = make({ closeTimeout: timeout })
      write("unread")
      state.close()
      wire.look()
      timers.advance(timeout - 1)
      assert.deepStrictEqual(wire.look(), [])
      timers.advance(1)
      assert.deepStrictEqual(wire.look(), ["abort"])
      wire.close()
      assert.strictEqual(timers.pending, 0)
      assert.strictEqual(by(state), "Aborted")
    }
  )

  it("aborts a close that the peer answers with data for ever", () => {
    const { data, state, timers, wire } = make({ closeTimeout: 3_000 })
    state.close()
    wire.look()
    for (let at = 0; at < 2_900; at += 100) {
      timers.advance(100)
      data("for ever")
    }
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(99)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(wire.look(), ["abort"])
  })

  it("counts from the close, not from the last that happened", () => {
    const { state, timers, wire, write } = make({ closeTimeout: 2_000 })
    write("0123456789")
    state.close()
    wire.look()
    timers.advance(1_999)
    wire.take(5)
    assert.deepStrictEqual(wire.look(), [])
    timers.advance(1)
    assert.deepStrictEqual(wire.look(), ["abort"])
  })

  it("of zero is an abort at once", () => {
    const { state, timers, wire } = make({ closeTimeout: 0 })
    state.close()
    assert.strictEqual(wire.look().at(-1), "abort")
    wire.close()
    assert.strictEqual(timers.pending, 0)
    assert.strictEqual(by(state), "Aborted")
  })

  it.each<readonly [how: string, ended: string, begin: (made: Made) => void]>([
    ["aborted", "Aborted", ({ state }) => state.abort()],
    ["aborted while it closes", "Aborted", ({ state }) => (state.close(), state.abort())],
    ["aborted for it is late", "Aborted", ({ state, timers }) => (state.close(), timers.advance(30_000))],
    ["left for its silence", "Local", ({ state, timers }) => (state.close(), timers.advance(lingerTime))],
    ["closed in the middle of an upgrade", "Local", ({ state }) => (state.spend(), state.close())]
  ])("is followed by the last wait for a transport that was %s, and says nothing", (how, ended, begin) => {
    const made = make()
    if (how.includes("late")) {
      made.write("unread")
    }
    begin(made)
    const waiter = made.ended()
    made.timers.advance(lastWait - 1)
    assert.strictEqual(by(made.state), undefined)
    made.timers.advance(1)
    assert.strictEqual(by(made.state), ended)
    assert.strictEqual(waiter.resumed, 1)
    // What it says later is no news.
    made.wire.close(reset)
    made.state.onEnd()
    made.data("late")
    assert.strictEqual(by(made.state), ended)
    assert.strictEqual(waiter.resumed, 1)
    assert.strictEqual(made.timers.pending, 0)
  })

  it("of infinity never strikes", () => {
    const { state, timers, wire, write } = make({ closeTimeout: Infinity })
    write("unread")
    state.close()
    wire.look()
    timers.advance(3_600_000)
    assert.deepStrictEqual(wire.look(), [])
    wire.take()
    timers.advance(lingerTime)
    assert.deepStrictEqual(wire.look(), ["destroy"])
  })
})

describe("abort", () => {
  it("drops everything at once: who waits is told, and the wire, once", () => {
    const { ended, state, timers, wire, write } = make()
    write("x".repeat(11))
    const [flush, room, inLine] = [new Waiter(), new Waiter(), new LinedUp(text("in line"))]
    state.output.awaitFlush(flush)
    state.output.awaitRoom(room)
    state.output.enqueue(inLine)
    const waiter = ended()
    wire.look()
    state.abort()
    state.abort()
    state.close()
    assert.deepStrictEqual(wire.look(), ["abort"])
    assert.deepStrictEqual([flush.resumed, room.resumed, inLine.resumed, waiter.resumed], [1, 1, 1, 0])
    assert.isFalse(inLine.handedOver)
    wire.close(reset)
    assert.strictEqual(waiter.resumed, 1)
    assert.strictEqual(timers.pending, 0)
  })

  it("of a close that goes on is the end of it, and its timer does nothing more", () => {
    const { state, timers, wire, write } = make()
    write("unread")
    state.close()
    state.abort()
    wire.look()
    timers.advance(100_000)
    assert.deepStrictEqual(wire.look(), [])
    wire.close()
    assert.strictEqual(timers.pending, 0)
  })

  it("drops what arrives after it", () => {
    const { data, state } = make()
    data("kept")
    state.abort()
    data("dropped")
    assert.strictEqual(state.input.queue.length, 4)
  })
})

describe("waiting for the end", () => {
  it("wakes everyone once, and nobody who gave up", () => {
    const { ended, state, wire } = make()
    const [a, b, c] = [ended(), ended(), ended()]
    state.giveUpClosed(b.resume)
    state.close()
    assert.deepStrictEqual([a.resumed, b.resumed, c.resumed], [0, 0, 0])
    wire.close()
    wire.close(reset)
    assert.deepStrictEqual([a.resumed, b.resumed, c.resumed], [1, 0, 1])
    state.giveUpClosed(a.resume)
  })

  it("finds the reason there when it wakes, and may wait again", () => {
    const { state, wire } = make()
    const seen: Array<string | undefined> = []
    state.awaitClosed(() => {
      seen.push(by(state))
      state.awaitClosed(() => seen.push("again"))
    })
    wire.close(reset)
    assert.deepStrictEqual(seen, ["Failed"])
  })
})

describe("anything in any order", () => {
  const scripts = (seed: number): ReadonlyArray<Event> => {
    const random = new Random(seed)
    const all = Object.keys(events) as ReadonlyArray<Event>
    return Array.from({ length: random.between(1, 12) }, () => random.pick(all))
  }

  it("ends once, with one reason, no timer left and everyone told", () => {
    for (let seed = 0; seed < 3_000; seed++) {
      const made = make({ highWaterMark: 0, lowWaterMark: 0, closeTimeout: seed % 7 === 0 ? 0 : 30_000 })
      const script = scripts(seed)
      const waiter = made.ended()
      const told: Array<Waiter> = []
      let over = false
      let calls = 0
      for (const event of script) {
        // The transport is silent after its last word, and takes a write only as long as one can be made.
        const silent = over && ["peerEnds", "sent", "partlySent", "closed", "reset"].includes(event)
        if (silent || (event === "write" && (made.state.writeEnding !== undefined || made.state.output.blocked))) {
          continue
        }
        events[event](made)
        over ||= event === "closed" || event === "reset"
        if (event === "write") {
          const flush = new Waiter()
          made.state.output.awaitFlush(flush)
          told.push(flush)
        }
        calls = made.wire.calls.filter((call) => call === "end").length
        assert.isAtMost(calls, 1, script.join(" "))
        assert.isAtMost(made.wire.calls.filter((call) => call === "abort").length, 1, script.join(" "))
      }
      const failure: TransportFailure | undefined = seed % 2 === 0 ? undefined : reset
      if (!over) {
        made.wire.close(failure)
      }
      assert.isDefined(made.state.closed)
      assert.strictEqual(waiter.resumed, 1, script.join(" "))
      assert.isTrue(told.every(({ resumed }) => resumed === 1), script.join(" "))
      assert.strictEqual(made.timers.pending, 0, script.join(" "))
      assert.isTrue(made.state.isClosing)
      assert.isDefined(made.state.writeEnding)
      const inOrder = by(made.state) === "Local" || by(made.state) === "Peer"
      assert.strictEqual(made.state.flushEnding === undefined, inOrder && made.state.output.unsent === 0)
      assert.notStrictEqual(made.state.input.end, "open")
    }
  })
})
