import { assert, describe, it } from "@effect/vitest"
import * as Address from "../src/Address.js"
import { Endpoint, type EndpointObserver, UnixEndpoint } from "../src/internal/endpoint.js"
import { InterposedEnd } from "../src/internal/interposed.js"
import { Pipe, type PipeConditions } from "../src/internal/pipe.js"
import { Random } from "../src/internal/random.js"
import { ClockTimeline } from "../src/internal/timeline.js"
import type { Transport, TransportFailure, TransportReceiver } from "../src/Transport.js"

const conditions: PipeConditions = {
  latency: 0,
  jitter: 0,
  bandwidth: Infinity,
  window: 4,
  fragment: Infinity,
  coalesce: undefined
}

/** Time stands still: nothing here takes any. */
const pipe = () => new Pipe(new ClockTimeline({ now: () => 0, after: () => () => {} }), new Random(1), conditions)

const observer: EndpointObserver = { onSent: () => {}, onReceived: () => {}, onGone: () => {} }

const settle = () => new Promise((resolve) => setImmediate(resolve))

const bytes = (text: string) => new TextEncoder().encode(text)

/** What a transport reports, in a line. */
class Log implements TransportReceiver {
  readonly events: Array<string> = []
  onData = (chunk: Uint8Array) => void this.events.push(new TextDecoder().decode(chunk))
  onEnd = () => void this.events.push("<end>")
  onDrain = () => void this.events.push("<drain>")
  onClosed = (failure: TransportFailure | undefined) =>
    void this.events.push(failure === undefined ? "<closed>" : `<${failure.reason}>`)
}

const connected = (End: typeof Endpoint = Endpoint) => {
  const [here, there] = [Address.tcp("127.0.0.1", 1), Address.tcp("127.0.0.1", 2)]
  const [out, back] = [pipe(), pipe()]
  const a = new End(here, there, out, back, observer)
  const b = new End(there, here, back, out, observer)
  a.established = b.established = true
  const [log, peerLog] = [new Log(), new Log()]
  return { a, b, log, peerLog }
}

const open = (End: typeof Endpoint = Endpoint) => {
  const ends = connected(End)
  ends.a.start(ends.log)
  ends.b.start(ends.peerLog)
  return ends
}

describe("an end", () => {
  it("closes by itself when both directions have ended", async () => {
    const { a, b, log, peerLog } = open()
    a.write([bytes("x")])
    a.end()
    await settle()
    assert.deepEqual([log.events, peerLog.events], [[], ["x", "<end>"]])
    b.write([bytes("y")])
    b.end()
    b.end()
    await settle()
    assert.deepEqual([log.events, peerLog.events], [["y", "<end>", "<closed>"], ["x", "<end>", "<closed>"]])
    a.write([bytes("z")])
    a.destroy()
    a.abort()
    await settle()
    assert.equal(log.events.length, 3)
  })

  it("reports nothing from within its own methods", () => {
    const { a, b, log, peerLog } = open()
    a.write([bytes("12345")])
    a.end()
    b.abort()
    a.destroy()
    assert.deepEqual([log.events, peerLog.events], [[], []])
  })

  it("keeps everything for whoever starts it late, its end included", async () => {
    const { a, b, log, peerLog } = connected()
    a.write([bytes("x")])
    a.abort()
    await settle()
    b.start(peerLog)
    a.start(log)
    await settle()
    assert.deepEqual([log.events, peerLog.events], [["<closed>"], ["x", "<Reset>"]])
  })

  it("counts as buffered what is not on its way, and says when that is less", async () => {
    const { a, b, log, peerLog } = open()
    b.pause()
    a.write([bytes("12"), bytes("3456")])
    assert.equal(a.bufferedBytes, 2)
    await settle()
    assert.deepEqual(log.events, [])
    b.resume()
    await settle()
    assert.equal(a.bufferedBytes, 0)
    assert.deepEqual([log.events, peerLog.events], [["<drain>"], ["1234", "56"]])
  })

  it("sends what is on its way when it is destroyed, and no more", async () => {
    const { a, log, peerLog } = open()
    a.write([bytes("123456")])
    a.destroy()
    await settle()
    assert.deepEqual([log.events, peerLog.events], [["<closed>"], ["1234", "<end>"]])
  })

  it("answers a peer with a reset whose data it does not take: what waits, and what comes", async () => {
    const waiting = open()
    waiting.b.pause()
    waiting.a.write([bytes("x")])
    await settle()
    waiting.b.destroy()
    await settle()
    assert.deepEqual([waiting.log.events, waiting.peerLog.events], [["<Reset>"], ["<closed>"]])

    const coming = open()
    coming.b.destroy()
    await settle()
    assert.deepEqual(coming.log.events, ["<end>"])
    coming.a.write([bytes("x")])
    await settle()
    assert.deepEqual([coming.log.events, coming.peerLog.events], [["<end>"], ["<closed>"]])
    coming.a.write([bytes("y")])
    assert.deepEqual(coming.log.events, ["<end>"])
    await settle()
    assert.deepEqual(coming.log.events, ["<end>", "<BrokenPipe>"])
  })

  it("that has seen the peer's end does not notice a reset, unless it has something to send", async () => {
    for (const how of ["end", "destroy", "abort"] as const) {
      const { a, b, log } = open()
      b.end()
      await settle()
      b.abort()
      await settle()
      assert.deepEqual(log.events, ["<end>"])
      a[how]()
      a[how]()
      await settle()
      assert.deepEqual(log.events, ["<end>", "<closed>"])
    }
    const { a, b, log } = open()
    b.pause()
    b.end()
    a.write([bytes("123456")])
    await settle()
    b.abort()
    await settle()
    assert.deepEqual(log.events, ["<end>", "<BrokenPipe>"])
  })

  it("over a Unix socket ends in order when it is aborted, unless there is something that it has not taken", async () => {
    const inOrder = open(UnixEndpoint)
    inOrder.a.write([bytes("123456")])
    inOrder.a.abort()
    await settle()
    assert.deepEqual([inOrder.log.events, inOrder.peerLog.events], [["<closed>"], ["1234", "<end>"]])
    inOrder.b.write([bytes("x")])
    await settle()
    assert.deepEqual(inOrder.peerLog.events, ["1234", "<end>", "<BrokenPipe>"])

    const untaken = open(UnixEndpoint)
    untaken.b.pause()
    untaken.a.write([bytes("x")])
    await settle()
    untaken.b.abort()
    await settle()
    assert.deepEqual([untaken.log.events, untaken.peerLog.events], [["<Reset>"], ["<closed>"]])
  })

  it("is told of a reset while it is paused", async () => {
    const { a, b, log } = open()
    a.pause()
    b.write([bytes("x")])
    await settle()
    b.abort()
    await settle()
    assert.deepEqual(log.events, ["x", "<Reset>"])
  })

  it("does not see its writes changed afterwards", async () => {
    const { a, peerLog } = open()
    const buffer = bytes("before")
    a.write([buffer.subarray(0, 3)])
    buffer.fill(0)
    await settle()
    assert.deepEqual(peerLog.events, ["bef"])
  })
})

/** A transport below, which notes what it is told. */
class Below implements Transport {
  readonly localAddress = Address.unix()
  readonly remoteAddress = Address.unix("/x")
  readonly canWriteEof = false
  bufferedBytes = 0
  receiver!: TransportReceiver
  readonly calls: Array<string> = []
  start = (receiver: TransportReceiver) => {
    this.receiver = receiver
  }
  pause = () => void this.calls.push("pause")
  resume = () => void this.calls.push("resume")
  write = (chunks: ReadonlyArray<Uint8Array>) =>
    void this.calls.push(chunks.map((c) => new TextDecoder().decode(c)).join())
  end = () => void this.calls.push("end")
  destroy = () => void this.calls.push("destroy")
  abort = () => void this.calls.push("abort")
}

describe("an end that is put over a transport", () => {
  const over = () => {
    const below = new Below()
    const [out, inward] = [pipe(), pipe()]
    const end = new InterposedEnd(below, out, inward, observer)
    const log = new Log()
    end.start(log)
    return { below, end, log, out, inward }
  }

  it("pauses what is below when no more may be on its way, and lets it go on", async () => {
    const { below, end, log } = over()
    assert.isFalse(end.canWriteEof)
    end.pause()
    below.receiver.onData(bytes("1234"))
    assert.deepEqual(below.calls, [])
    below.receiver.onData(bytes("56"))
    below.receiver.onData(bytes("78"))
    assert.deepEqual(below.calls, ["pause"])
    end.resume()
    await settle()
    assert.deepEqual(log.events, ["1234", "56", "78"])
    assert.deepEqual(below.calls, ["pause", "resume"])
  })

  it("waits for what is below to have room, and counts what waits", async () => {
    const { below, end, log } = over()
    below.bufferedBytes = 100_000
    end.write([bytes("123456")])
    await settle()
    assert.deepEqual(below.calls, [])
    assert.equal(end.bufferedBytes, 100_006)
    below.bufferedBytes = 0
    below.receiver.onDrain()
    await settle()
    assert.deepEqual(below.calls, ["1234", "56"])
    assert.equal(end.bufferedBytes, 0)
    assert.include(log.events, "<drain>")
  })

  it("has not closed before what is below has", async () => {
    for (const how of ["destroy", "abort"] as const) {
      const { below, end, log } = over()
      end[how]()
      await settle()
      assert.deepEqual([below.calls[0], log.events], [how, []])
      below.receiver.onClosed(undefined)
      await settle()
      assert.deepEqual(log.events, ["<closed>"])
    }
  })

  it("ends when both directions have, and what is below is gone", async () => {
    const { below, end, log } = over()
    below.receiver.onData(bytes("x"))
    below.receiver.onEnd()
    end.end()
    await settle()
    assert.deepEqual([below.calls, log.events], [["end"], ["x", "<end>"]])
    below.receiver.onClosed(undefined)
    await settle()
    assert.deepEqual(log.events, ["x", "<end>", "<closed>"])
  })

  it("fails as what is below fails, after all that had come", async () => {
    const { below, end, log } = over()
    end.pause()
    below.receiver.onData(bytes("123456"))
    below.receiver.onClosed({ reason: "TimedOut", code: "ETIMEDOUT", cause: undefined })
    await settle()
    assert.deepEqual(log.events, ["1234", "56", "<TimedOut>"])
  })

  it("resets what is below when it is broken, whether there is room or not", async () => {
    const { below, inward, log, out } = over()
    below.bufferedBytes = 100_000
    out.break({ reason: "Reset", code: "ECONNRESET", cause: undefined }, true)
    inward.break({ reason: "Reset", code: "ECONNRESET", cause: undefined }, true)
    await settle()
    assert.include(below.calls, "abort")
    below.receiver.onClosed(undefined)
    await settle()
    assert.deepEqual(log.events, ["<Reset>"])
  })
})
