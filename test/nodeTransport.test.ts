import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Crypto from "node:crypto"
import { once } from "node:events"
import Fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import * as Net from "node:net"
import * as Stream from "node:stream"
import { Worker } from "node:worker_threads"
import * as Address from "../src/Address.js"
import { AcceptedTransports } from "../src/internal/node/accepted.js"
import { backend } from "../src/internal/node/backend.js"
import { socketSettings } from "../src/internal/node/socketSettings.js"
import { coalesce, fromDuplex, fromSocket, tcpAddress } from "../src/internal/node/transport.js"
import { maskOnce } from "../src/internal/once.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import type { StreamWriter } from "../src/StreamWriter.js"
import { Random } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import {
  dialTcp,
  openDescriptors,
  type Pair,
  pairs,
  type Peer,
  portOf,
  Recorder,
  turns,
  until
} from "./support/nodePeers.js"

leavesNoHandles()

type Kind = keyof typeof pairs

const kinds = Object.keys(pairs) as ReadonlyArray<Kind>
const tcpKinds = ["dialled", "accepted", "accepted, not lent to", "adopted"] as const

const withPair = async (
  kind: Kind,
  options: { readonly read?: boolean },
  body: (pair: Pair, recorder: Recorder) => Promise<void>
): Promise<void> => {
  const pair = await pairs[kind](options)
  try {
    await body(pair, new Recorder())
  } finally {
    await pair.dispose()
  }
}

/** A raw socket may be told of an end in order, and be reset all the same: then it can't even write nothing. */
const wasReset = async (peer: Peer): Promise<void> => {
  await until(() => peer.ended || peer.closed)
  await turns(20)
  peer.socket.write("")
  await turns(2)
  assert.include(["ECONNRESET", "EPIPE"], peer.code)
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))

describe.each(kinds)("a transport, %s", (kind) => {
  it("delivers nothing before start, and then what came before it", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      peer.socket.write("early ")
      await turns(20)
      peer.socket.write("bird")
      peer.socket.end()
      await turns(20)
      transport.start(recorder)
      assert.deepStrictEqual(recorder.calls, [])
      await until(() => recorder.ended)
      assert.strictEqual(recorder.text, "early bird")
    }))

  it("reports an end that came before start, and no data", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      peer.socket.end()
      await turns(20)
      transport.start(recorder)
      assert.deepStrictEqual(recorder.calls, [])
      await until(() => recorder.ended)
      transport.end()
      await until(() => recorder.closed)
      assert.deepStrictEqual(recorder.calls, ["end", "closed"])
      assert.isUndefined(recorder.failure)
    }))

  it("hands out plain chunks that are never empty and never change", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      const sent: Array<Buffer> = []
      for (const size of [1, 100, 70_000, 5, 200_000, 3_000, 1, 1_000_000, 7]) {
        const chunk = Crypto.randomBytes(size)
        sent.push(chunk)
        peer.socket.write(chunk)
        const expected = sent.reduce((sum, chunk) => sum + chunk.length, 0)
        await until(() => recorder.received === expected)
      }
      assert.isTrue(Buffer.concat(recorder.copies).equals(Buffer.concat(sent)))
      recorder.chunks.forEach((chunk, i) => {
        assert.strictEqual(Object.getPrototypeOf(chunk), Uint8Array.prototype)
        assert.isAbove(chunk.length, 0)
        assert.isTrue(recorder.copies[i]!.equals(chunk), "a chunk was changed after it was handed out")
      })
    }))

  it("writes on after the peer has ended, and closes when both have", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      peer.socket.end("bye")
      await until(() => recorder.ended)
      await turns()
      assert.isFalse(recorder.closed)
      for (let i = 0; i < 16; i++) {
        transport.write([new Uint8Array(65_536)])
      }
      transport.end()
      await until(() => recorder.closed && peer.ended)
      assert.strictEqual(peer.bytes, 1_048_576)
      assert.isUndefined(recorder.failure)
      assert.deepStrictEqual(recorder.calls.filter((call) => call !== "drain"), ["data", "end", "closed"])
    }))

  it("reads on after it has ended its own side", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      recorder.keep = false
      transport.start(recorder)
      transport.write([bytes("request")])
      transport.end()
      transport.end()
      await until(() => peer.ended)
      assert.strictEqual(peer.received, "request")
      for (let i = 0; i < 16; i++) {
        peer.socket.write(Buffer.alloc(65_536))
      }
      peer.socket.end()
      await until(() => recorder.closed)
      assert.strictEqual(recorder.received, 1_048_576)
      assert.isUndefined(recorder.failure)
    }))

  it("stops the peer while paused, and loses nothing", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      recorder.keep = false
      transport.start(recorder)
      transport.pause()
      transport.pause()
      const total = 32 * 1024 * 1024
      const block = Buffer.alloc(65_536)
      for (let sent = 0; sent < total; sent += block.length) {
        peer.socket.write(block)
      }
      peer.socket.end()
      let before = -1
      await until(() => {
        const settled = peer.socket.writableLength === before
        before = peer.socket.writableLength
        return settled
      })
      assert.isBelow(recorder.received, 2 * 65_536)
      assert.isAbove(peer.socket.writableLength, total / 4)
      transport.resume()
      transport.resume()
      await until(() => recorder.ended)
      assert.strictEqual(recorder.received, total)
    }))

  it("stays paused when resume and pause come in one turn", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      recorder.keep = false
      transport.start(recorder)
      transport.pause()
      await turns()
      for (let i = 0; i < 20; i++) {
        peer.socket.write(Buffer.alloc(65_536))
      }
      transport.resume()
      transport.pause()
      await turns(50)
      assert.isAtMost(recorder.received, 65_536)
      transport.resume()
      await until(() => recorder.received === 20 * 65_536)
    }))

  it("can be paused from within a chunk, again and again", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      recorder.keep = false
      recorder.whenData = () => {
        transport.pause()
        setImmediate(() => transport.resume())
      }
      transport.start(recorder)
      for (let i = 0; i < 40; i++) {
        peer.socket.write(Buffer.alloc(50_000))
      }
      peer.socket.end()
      await until(() => recorder.ended)
      assert.strictEqual(recorder.received, 2_000_000)
    }))

  it("gives the connection back on destroy, without a reset", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.write([bytes("sent")])
      await until(() => peer.bytes === 4)
      transport.destroy()
      await until(() => recorder.closed && peer.ended)
      assert.isUndefined(recorder.failure)
      assert.isUndefined(peer.code)
      assert.deepStrictEqual(recorder.calls.filter((call) => call !== "drain"), ["closed"])
    }))

  it("drops what is queued on destroy", () =>
    withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      for (let i = 0; i < 200; i++) {
        transport.write([new Uint8Array(65_536)])
      }
      assert.isAbove(transport.bufferedBytes, 0)
      transport.destroy()
      assert.strictEqual(transport.bufferedBytes, 0)
      await until(() => recorder.closed)
      peer.keep = false
      peer.read()
      await until(() => peer.ended || peer.closed)
      assert.isBelow(peer.bytes, 200 * 65_536)
      assert.strictEqual(recorder.drains, 0)
    }))

  it("does nothing after the close, whatever is called", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.end()
      peer.socket.end()
      await until(() => recorder.closed)
      const calls = [...recorder.calls]
      transport.write([bytes("late")])
      transport.write([bytes("l"), bytes("ate")])
      transport.pause()
      transport.resume()
      transport.end()
      transport.destroy()
      transport.abort()
      transport.abort()
      await turns()
      assert.deepStrictEqual(recorder.calls, calls)
      assert.strictEqual(transport.bufferedBytes, 0)
      assert.strictEqual(peer.received, "")
    }))

  it("ignores a write after its end", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.write([bytes("all")])
      transport.end()
      transport.write([bytes("late")])
      await until(() => peer.ended)
      assert.strictEqual(peer.received, "all")
      peer.socket.end()
      await until(() => recorder.closed)
      assert.isUndefined(recorder.failure)
    }))

  it("can be destroyed before start", () =>
    withPair(kind, {}, async ({ transport }, recorder) => {
      transport.destroy()
      await turns(20)
      transport.start(recorder)
      assert.deepStrictEqual(recorder.calls, [])
      await until(() => recorder.closed)
      assert.deepStrictEqual(recorder.calls, ["closed"])
      assert.isUndefined(recorder.failure)
    }))

  it("reports when the network has taken what was queued, and not when there was nothing", () =>
    withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      if (kind !== "duplex") {
        transport.write([bytes("taken at once")])
        assert.strictEqual(transport.bufferedBytes, 0)
        await turns()
        assert.strictEqual(recorder.drains, 0)
      }
      let last = 0
      for (let i = 0; i < 200; i++) {
        transport.write([new Uint8Array(65_536)])
      }
      last = transport.bufferedBytes
      assert.isAbove(last, 0)
      recorder.whenDrained = () => {
        assert.isBelow(transport.bufferedBytes, last)
        last = transport.bufferedBytes
      }
      peer.keep = false
      peer.read()
      await until(() => transport.bufferedBytes === 0)
      await turns(2)
      assert.isAbove(recorder.drains, 0)
      assert.strictEqual(last, 0)
    }))

  it("reports it where a write of nothing came behind what was queued", () =>
    withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.write([new Uint8Array(32 * 1024 * 1024)])
      assert.isAbove(transport.bufferedBytes, 0)
      transport.write([new Uint8Array(0)])
      transport.write([])
      peer.keep = false
      peer.read()
      await until(() => peer.bytes === 32 * 1024 * 1024 && transport.bufferedBytes === 0)
      await turns(2)
      assert.isAbove(recorder.drains, 0)
    }))

  it("sends half a million tiny chunks in one piece and in order", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      const count = 500_000
      const chunks: Array<Uint8Array> = []
      for (let i = 0; i < count; i++) {
        chunks.push(Uint8Array.of(i & 0xff))
      }
      const hash = Crypto.createHash("sha1")
      peer.keep = false
      peer.socket.on("data", (chunk) => hash.update(chunk))
      const started = performance.now()
      transport.write(chunks)
      assert.isBelow(performance.now() - started, 2_000)
      transport.end()
      await until(() => peer.ended)
      assert.strictEqual(peer.bytes, count)
      assert.strictEqual(hash.digest("hex"), Crypto.createHash("sha1").update(Buffer.concat(chunks)).digest("hex"))
    }))

  it("writes lists of chunks of any size, empty ones among them", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.write([])
      transport.write([new Uint8Array(0)])
      transport.write([new Uint8Array(0), new Uint8Array(0)])
      transport.write([bytes("a"), new Uint8Array(0), bytes("b".repeat(10_000)), bytes("c"), new Uint8Array(0)])
      transport.write([new Uint8Array(0), bytes("d".repeat(5_000)), bytes("e".repeat(5_000)), bytes("f")])
      transport.end()
      await until(() => peer.ended)
      assert.strictEqual(
        peer.received,
        `a${"b".repeat(10_000)}c${"d".repeat(5_000)}${"e".repeat(5_000)}f`
      )
    }))

  it("leaves nothing behind that listens", async () => {
    const { dispose, peer, transport } = await pairs[kind]()
    const { stream } = transport as unknown as { readonly stream: Stream.Duplex }
    const recorder = new Recorder()
    transport.start(recorder)
    transport.end()
    peer.socket.end()
    await until(() => recorder.closed)
    stream.emit("data", Buffer.from("late"))
    stream.emit("end")
    stream.emit("error", new Error("late"))
    stream.emit("close")
    assert.deepStrictEqual(recorder.calls.filter((call) => call !== "drain"), ["end", "closed"])
    await dispose()
  })
})

describe.each(tcpKinds)("a reset, %s", (kind) => {
  it("reaches the peer on abort", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.abort()
      transport.abort()
      await until(() => recorder.closed && peer.closed)
      assert.strictEqual(peer.code, "ECONNRESET")
      assert.isUndefined(recorder.failure)
      assert.deepStrictEqual(recorder.calls, ["closed"])
    }))

  it("reaches the peer on abort before start", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.abort()
      await until(() => peer.closed)
      assert.strictEqual(peer.code, "ECONNRESET")
      transport.start(recorder)
      await until(() => recorder.closed)
    }))

  it("reaches the peer when much is queued", () =>
    withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      for (let i = 0; i < 200; i++) {
        transport.write([new Uint8Array(65_536)])
      }
      transport.end()
      await turns()
      transport.abort()
      await until(() => recorder.closed)
      peer.keep = false
      peer.read()
      await wasReset(peer)
      assert.isBelow(peer.bytes, 200 * 65_536)
    }))

  it("reaches the peer in the turn in which this side has ended", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      const before = openDescriptors()
      transport.start(recorder)
      transport.write([bytes("x")])
      transport.end()
      transport.abort()
      await until(() => recorder.closed)
      await wasReset(peer)
      // libuv refuses to reset a socket that is shutting down, and Node would then leave it open for ever.
      await until(() => !(openDescriptors() >= before))
    }))

  it("reaches the peer when this side has ended long since", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.end()
      await until(() => peer.ended)
      transport.abort()
      await until(() => recorder.closed)
      await wasReset(peer)
    }))

  it("reaches the peer when the peer has ended", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      peer.socket.end()
      await until(() => recorder.ended)
      transport.abort()
      await until(() => recorder.closed && peer.closed)
      assert.strictEqual(peer.code, "ECONNRESET")
    }))

  it("from the peer is a failure, after what came before it", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      peer.socket.write("last words")
      await until(() => recorder.received === 10)
      peer.socket.resetAndDestroy()
      await until(() => recorder.closed)
      assert.deepStrictEqual(recorder.calls, ["data", "closed"])
      assert.strictEqual(recorder.failure?.reason, "Reset")
      assert.strictEqual(recorder.failure?.code, "ECONNRESET")
      assert.instanceOf(recorder.failure?.cause, Error)
    }))

  it("from the peer is noticed without a read or a write", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      peer.socket.resetAndDestroy()
      await until(() => recorder.closed)
      assert.strictEqual(recorder.failure?.reason, "Reset")
    }))

  it("from the peer before start loses neither what had come nor itself", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      peer.socket.write("last words")
      await turns(20)
      peer.socket.resetAndDestroy()
      await turns(20)
      transport.start(recorder)
      assert.deepStrictEqual(recorder.calls, [])
      await until(() => recorder.closed)
      assert.strictEqual(recorder.failure?.reason, "Reset")
      assert.strictEqual(recorder.text, "last words")
      assert.deepStrictEqual(recorder.calls, ["data", "closed"])
    }))

  it("from the peer after its end keeps both", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      peer.socket.end("data")
      await until(() => recorder.ended)
      peer.socket.resetAndDestroy()
      await turns(20)
      transport.write([bytes("x")])
      transport.write([bytes("y")])
      await until(() => recorder.closed)
      assert.deepStrictEqual(recorder.calls.filter((call) => call !== "drain"), ["data", "end", "closed"])
      assert.include(["Reset", "BrokenPipe"], recorder.failure?.reason)
    }))

  it("from the peer during a pause loses nothing that was received", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      recorder.whenData = () => transport.pause()
      transport.start(recorder)
      peer.socket.write("one ")
      await until(() => recorder.received > 0)
      peer.socket.write("two")
      await turns(20)
      peer.socket.resetAndDestroy()
      await turns(20)
      recorder.whenData = undefined
      transport.resume()
      await until(() => recorder.closed)
      assert.strictEqual(recorder.text, "one two")
      assert.strictEqual(recorder.failure?.reason, "Reset")
    }))

  for (const ended of [false, true]) {
    it(`from the peer that comes together with data is no end${ended ? ", though this side has ended" : ""}`, () =>
      withPair(kind, {}, async ({ peer, transport }, recorder) => {
        transport.start(recorder)
        transport.pause()
        if (ended) {
          transport.end()
        }
        await turns()
        peer.socket.write("half of it")
        await turns(20)
        peer.socket.resetAndDestroy()
        await turns(20)
        transport.resume()
        await until(() => recorder.closed)
        assert.strictEqual(recorder.text, "half of it")
        assert.deepStrictEqual(recorder.calls, ["data", "closed"])
        assert.strictEqual(recorder.failure?.code, "ECONNRESET")
      }))
  }

  it("from the peer that comes together with data is found by what is queued", () =>
    withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      for (let i = 0; i < 200; i++) {
        transport.write([new Uint8Array(65_536)])
      }
      await turns()
      peer.socket.write("half of it")
      peer.socket.resetAndDestroy()
      await until(() => recorder.closed)
      assert.strictEqual(recorder.text, "half of it")
      assert.strictEqual(recorder.failure?.code, "ECONNRESET")
      assert.isFalse(recorder.ended)
    }))

  it("does not make what was queued look sent", () =>
    withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.pause()
      transport.write([new Uint8Array(8 * 1024 * 1024)])
      transport.write([new Uint8Array(10)])
      await turns()
      const queued = transport.bufferedBytes
      assert.isAbove(queued, 10)
      let least = queued
      const watch = setInterval(() => {
        least = recorder.closed ? least : Math.min(least, transport.bufferedBytes)
      }, 0)
      recorder.whenDrained = () => assert.fail("nothing was sent")
      peer.socket.resetAndDestroy()
      await until(() => recorder.closed)
      clearInterval(watch)
      assert.strictEqual(least, queued)
      assert.strictEqual(transport.bufferedBytes, 0)
      assert.include(["Reset", "BrokenPipe"], recorder.failure?.reason)
    }))

  it("is what a write meets whose peer is gone", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      transport.pause()
      await turns()
      peer.socket.resetAndDestroy()
      await until(() => peer.closed)
      const write = () => {
        if (!recorder.closed) {
          transport.write([bytes("anyone?")])
          setImmediate(write)
        }
      }
      write()
      await until(() => recorder.closed)
      assert.include(["Reset", "BrokenPipe"], recorder.failure?.reason)
    }))
})

const socketKinds = kinds.filter((kind) => kind !== "duplex")

describe.each(socketKinds)("a write that finds the connection gone, %s", (kind) => {
  const words = `${"last words ".repeat(6_000)}.`
  const pieces = {
    "a small one": [bytes("anyone?")],
    "a large one": [new Uint8Array(1_000_000)],
    "small ones together": [bytes("any"), bytes("one?")],
    "large ones together": [new Uint8Array(500_000), new Uint8Array(500_000)]
  }

  /** The peer has gone with its last words, and who does not read has seen neither. */
  const bereft = async ({ peer, transport }: Pair, recorder: Recorder): Promise<void> => {
    transport.start(recorder)
    await turns()
    transport.pause()
    peer.socket.end(words)
    await until(() => peer.socket.writableFinished)
    peer.socket.destroy()
    await until(() => peer.closed)
  }

  for (const [name, chunks] of Object.entries(pieces)) {
    it(`delivers what had been received, ${name}`, () =>
      withPair(kind, {}, async (pair, recorder) => {
        const { transport } = pair
        await bereft(pair, recorder)
        const write = () => {
          if (!recorder.closed) {
            transport.write(chunks)
            setImmediate(write)
          }
        }
        write()
        await until(() => recorder.closed)
        assert.isTrue(recorder.text === words, `${recorder.received} bytes came`)
        assert.include(["Reset", "BrokenPipe"], recorder.failure?.reason)
        assert.isFalse(recorder.ended)
      }))
  }

  const moments: Record<string, (then: () => void) => void> = {
    "at once": (then) => then(),
    "in a microtask": queueMicrotask,
    "in the next tick": process.nextTick,
    "in the tick after that": (then) => process.nextTick(process.nextTick, then),
    "in the next turn": setImmediate,
    "in the turn after ticks": (then) => process.nextTick(process.nextTick, setImmediate, then)
  }

  for (const [moment, after] of Object.entries(moments)) {
    it(`delivers what had been received, all of it, to who resumes ${moment}`, () =>
      withPair(kind, {}, async ({ peer, transport }, recorder) => {
        transport.start(recorder)
        await turns()
        transport.pause()
        // More than a stream reads ahead, and less than the system takes.
        const many = words + words.slice(0, 24_000)
        peer.socket.end(many)
        await until(() => peer.socket.writableFinished)
        await turns(20)
        peer.socket.destroy()
        await until(() => peer.closed)
        transport.write([bytes("anyone?")])
        await turns(20)
        transport.write([new Uint8Array(100_000)])
        after(() => transport.resume())
        await until(() => recorder.closed)
        assert.isTrue(recorder.text === many, `${recorder.received} of ${many.length} bytes came`)
      }))
  }

  it("delivers what had been received, one that was queued", () =>
    withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      await turns()
      transport.pause()
      transport.write([new Uint8Array(64 * 1024 * 1024)])
      await turns()
      assert.isAbove(transport.bufferedBytes, 0)
      peer.socket.write(words)
      await until(() => peer.socket.writableLength === 0)
      peer.socket.destroy()
      await until(() => recorder.closed)
      assert.isTrue(recorder.text === words, `${recorder.received} bytes came`)
      assert.include(["Reset", "BrokenPipe"], recorder.failure?.reason)
    }))

  it("delivers nothing once it is dropped", () =>
    withPair(kind, {}, async (pair, recorder) => {
      const { transport } = pair
      await bereft(pair, recorder)
      for (let i = 0; i < 3; i++) {
        transport.write([bytes("anyone?")])
      }
      transport.destroy()
      await until(() => recorder.closed)
      assert.deepStrictEqual(recorder.calls, ["closed"])
    }))
})

describe.each(["unix dialled", "unix accepted"] as const)(
  "a peer that closes over what it has not read, %s",
  (kind) => {
    for (const paused of [false, true]) {
      it(`has reset the connection, as Linux has it, ${paused ? "with data that waits to be read" : "after its data"}`, () =>
        withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
          transport.start(recorder)
          await turns()
          transport.write([bytes("nobody reads this")])
          if (paused) {
            transport.pause()
          }
          peer.socket.write("half of it")
          await turns(20)
          peer.socket.destroy()
          await until(() => peer.closed)
          transport.resume()
          await until(() => recorder.closed || recorder.ended)
          assert.strictEqual(recorder.text, "half of it")
          assert.deepStrictEqual(recorder.calls, ["data", "closed"])
          assert.strictEqual(recorder.failure?.code, "ECONNRESET")
        }))
    }
  }
)

describe.each(socketKinds)("small writes, %s", (kind) => {
  it("keep their order among large ones, whatever the system takes at once", () =>
    withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      const random = new Random(7)
      const hash = Crypto.createHash("sha256")
      let written = 0
      const write = () => {
        // Rarely so many that they take more than one buffer of the system's, and often enough to fill it by the small.
        const size = random.chance(0.02) ? random.between(50_000, 450_000) : random.between(1, 5_000)
        const chunk = Crypto.randomBytes(size)
        hash.update(chunk)
        written += size
        transport.write([chunk])
      }
      for (let i = 0; i < 2_000; i++) {
        write()
      }
      assert.isAbove(transport.bufferedBytes, 0)
      const found = Crypto.createHash("sha256")
      let taken = 0
      peer.socket.on("data", (chunk: Buffer) => {
        taken += chunk.length
        found.update(chunk)
        if (random.chance(0.1)) {
          peer.socket.pause()
          setImmediate(() => peer.socket.resume())
        }
        for (let i = random.between(0, 2); i > 0 && written < 40_000_000; i--) {
          write()
        }
      })
      peer.socket.resume()
      await until(() => taken === written && transport.bufferedBytes === 0)
      assert.strictEqual(found.digest("hex"), hash.digest("hex"))
      assert.isAbove(written, 20_000_000)
    }))

  it("go through the stream where there is no descriptor", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      const { _handle } = (transport as unknown as { readonly stream: { readonly _handle: object } }).stream
      Object.defineProperty(_handle, "fd", { value: -1 })
      transport.write([bytes("one ")])
      transport.write([bytes("two ")])
      transport.end()
      await until(() => peer.ended)
      assert.strictEqual(peer.received, "one two ")
    }))

  it("go through the stream where node:fs will not", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      const { writeSync } = Fs
      Fs.writeSync = () => {
        throw Object.assign(new Error("not yours"), { code: "EBADF", syscall: "write" })
      }
      syncBuiltinESMExports()
      try {
        transport.start(recorder)
        transport.write([bytes("one ")])
        transport.write([bytes("two ")])
        transport.end()
        await until(() => peer.ended)
        assert.strictEqual(peer.received, "one two ")
      } finally {
        Fs.writeSync = writeSync
        syncBuiltinESMExports()
      }
    }))
})

describe("a socket that is more than one of node:net", () => {
  it("is left to Node: a terminal would wait for more behind its end", async () => {
    class Special extends Net.Socket {}
    const { readSync } = Fs
    let reads = 0
    Fs.readSync = (...args: Array<any>) => {
      reads += 1
      return (readSync as (...args: Array<any>) => number)(...args)
    }
    syncBuiltinESMExports()
    const server = Net.createServer((socket) => socket.end("bye")).listen(0, "127.0.0.1")
    await once(server, "listening")
    try {
      for (const [socket, expected] of [[new Special(), 0], [new Net.Socket(), 1]] as const) {
        reads = 0
        socket.connect(portOf(server), "127.0.0.1")
        await once(socket, "connect")
        const recorder = new Recorder()
        const transport = fromSocket(socket)
        transport.start(recorder)
        await until(() => recorder.ended)
        assert.strictEqual(reads, expected)
        transport.end()
        await until(() => recorder.closed)
      }
    } finally {
      Fs.readSync = readSync
      syncBuiltinESMExports()
      server.close()
    }
  })
})

describe("a write that fails at once", () => {
  it("does not look sent", () =>
    withPair("dialled", {}, async ({ peer, transport }, recorder) => {
      transport.start(recorder)
      await turns()
      // Who does not read does not see the reset.
      transport.pause()
      await turns()
      peer.socket.resetAndDestroy()
      await until(() => peer.closed)
      transport.write([bytes("anyone?")])
      assert.strictEqual(transport.bufferedBytes, 7)
      await until(() => recorder.closed)
      assert.strictEqual(recorder.drains, 0)
      assert.strictEqual(recorder.failure?.code, "ECONNRESET")
    }))
})

describe("a stream that takes its time to close", () => {
  /** One whose close is in the test's hand. */
  const slowToClose = () => {
    let close: (() => void) | undefined
    const stream = new Stream.Duplex({
      read() {},
      write: (_chunk, _encoding, callback) => callback(),
      destroy: (error, callback) => {
        close = () => callback(error)
      }
    })
    return { stream, close: () => close!() }
  }

  const writeOne = (writer: StreamWriter) => writer.write("lost")
  const writeMany = (writer: StreamWriter) => writer.writeAll(["l", "o", "st"])

  for (const error of [undefined, new Error("gone")]) {
    for (const write of [writeOne, writeMany]) {
      const what = `what is written to it in the meantime is lost: ${
        error === undefined ? "destroyed" : "failed"
      }, ${write.name}`

      it.scopedLive(`${what}, and flush says so`, () =>
        Effect.gen(function*() {
          const { close, stream } = slowToClose()
          const connection = yield* NodeNetwork.fromDuplex(stream)
          yield* connection.writer.write("sent")
          yield* connection.writer.flush
          stream.destroy(error)
          yield* write(connection.writer)
          assert.strictEqual(yield* connection.writer.bufferedBytes, 4)
          const flush = yield* Effect.fork(Effect.exit(connection.writer.flush))
          yield* Effect.promise(() => turns())
          assert.isTrue(Option.isNone(yield* Fiber.poll(flush)))
          close()
          assert.isTrue(Exit.isFailure(yield* Fiber.join(flush)))
          assert.strictEqual((yield* connection.awaitClosed)._tag, "Failed")
        }))

      it.scopedLive(`${what}, and a close says so`, () =>
        Effect.gen(function*() {
          const { close, stream } = slowToClose()
          const connection = yield* NodeNetwork.fromDuplex(stream)
          stream.destroy(error)
          yield* write(connection.writer)
          const closing = yield* Effect.fork(connection.close)
          yield* Effect.promise(() => turns())
          close()
          yield* Fiber.join(closing)
          assert.strictEqual((yield* connection.awaitClosed)._tag, "Failed")
        }))
    }
  }
})

describe("addresses", () => {
  it("of TCP are those that the peer sees, and outlive the close", () =>
    withPair("dialled", {}, async ({ peer, transport }, recorder) => {
      const { localPort, remotePort } = peer.socket
      transport.start(recorder)
      transport.destroy()
      await until(() => recorder.closed)
      assert.deepStrictEqual(transport.localAddress, Address.tcp("127.0.0.1", remotePort!))
      assert.deepStrictEqual(transport.remoteAddress, Address.tcp("127.0.0.1", localPort!))
    }))

  it("of accepted connections are those that the peer sees", () =>
    withPair("accepted", {}, async ({ peer, transport }) => {
      assert.deepStrictEqual(transport.localAddress, Address.tcp("127.0.0.1", peer.socket.remotePort!))
      assert.deepStrictEqual(transport.remoteAddress, Address.tcp("127.0.0.1", peer.socket.localPort!))
    }))

  it("of Unix sockets have the path on the server's end alone", async () => {
    await withPair("unix dialled", {}, async ({ transport }) => {
      assert.deepStrictEqual(transport.localAddress, Address.unix())
      assert.match(Option.getOrThrow((transport.remoteAddress as Address.UnixAddress).path), /\/s$/)
    })
    await withPair("unix accepted", {}, async ({ transport }) => {
      assert.match(Option.getOrThrow((transport.localAddress as Address.UnixAddress).path), /\/s$/)
      assert.deepStrictEqual(transport.remoteAddress, Address.unix())
    })
  })

  it("of IPv4 through a dual-stack listener are of IPv4", () => {
    assert.deepStrictEqual(tcpAddress("::ffff:127.0.0.1", 80), Address.tcp("127.0.0.1", 80))
    assert.strictEqual(tcpAddress("::ffff:127.0.0.1", 80).family, 4)
    assert.strictEqual(tcpAddress("::ffff:0:1", 80).host, "::ffff:0:1")
    assert.strictEqual(tcpAddress("::1", 80).family, 6)
  })

  it("are shared by the connections to one address", async () => {
    const server = Net.createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    const transports = new AcceptedTransports(server, true)
    const port = portOf(server)
    const sockets = await Promise.all([1, 2].map(async () => {
      const client = Net.connect(port, "127.0.0.1")
      const [socket] = await once(server, "connection") as [Net.Socket]
      return [client, socket] as const
    }))
    const [one, other] = sockets.map(([, socket]) => transports.make(socket))
    assert.strictEqual(one!.localAddress, other!.localAddress)
    assert.deepStrictEqual(one!.localAddress, Address.tcp("127.0.0.1", port))
    sockets.flat().forEach((socket) => socket.destroy())
    server.close()
  })
})

describe("many connections at once", () => {
  it("never see each other's bytes, though they read into one buffer", async () => {
    const server = Net.createServer((socket) => {
      let tag = ""
      socket.on("error", () => {})
      socket.once("data", (first) => {
        tag = first.toString()
        // Small and large in turn, so that each connection changes between the buffers.
        for (let i = 0; i < 30; i++) {
          setImmediate(() => socket.write(tag.repeat(i % 3 === 0 ? 100_000 : 10)))
        }
        setTimeout(() => socket.end(), 20)
      })
    }).listen(0, "127.0.0.1")
    await once(server, "listening")
    const recorders = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
      const transport = await dialTcp(portOf(server))
      const recorder = new Recorder()
      transport.start(recorder)
      transport.write([bytes(String.fromCharCode(65 + i % 26))])
      recorder.whenEnded = () => transport.end()
      return recorder
    }))
    await until(() => recorders.every((recorder) => recorder.closed))
    recorders.forEach((recorder, i) => {
      const tag = String.fromCharCode(65 + i % 26)
      assert.strictEqual(recorder.received, 10 * 100_000 + 20 * 10)
      assert.isTrue(recorder.chunks.every((chunk) => chunk.every((byte) => byte === tag.charCodeAt(0))))
    })
    server.close()
  })
})

describe("a socket of a server of ours", () => {
  const listenersFor = (pair: Pair): number =>
    (pair.transport as unknown as { readonly stream: Net.Socket }).stream.listenerCount("data")

  it("is lent its buffers in this version of Node", () =>
    withPair("accepted", {}, async (pair, recorder) => {
      pair.transport.start(recorder)
      assert.strictEqual(listenersFor(pair), 0)
    }))

  it("is read by events where it can't be", () =>
    withPair("accepted, not lent to", {}, async (pair, recorder) => {
      pair.transport.start(recorder)
      assert.strictEqual(listenersFor(pair), 1)
    }))

  it("of somebody else's server is left as it is", async () => {
    const server = Net.createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, "127.0.0.1")
    await once(server, "listening")
    const transports = new AcceptedTransports(server, false)
    const client = Net.connect(portOf(server), "127.0.0.1")
    const [socket] = await once(server, "connection") as [Net.Socket]
    transports.make(socket).start(new Recorder())
    assert.strictEqual(socket.listenerCount("data"), 1)
    socket.destroy()
    client.destroy()
    server.close()
  })
})

describe.each(["dialled", "accepted"] as const)("the memory of a chunk, %s", (kind) => {
  it("is its own, to keep or to give away", () =>
    withPair(kind, {}, async ({ peer, transport }, recorder) => {
      const sent = Crypto.createHash("sha1")
      const received = Crypto.createHash("sha1")
      const buffers = new Set<ArrayBufferLike>()
      let chunks = 0
      recorder.keep = false
      recorder.whenData = (chunk) => {
        received.update(chunk)
        buffers.add(chunk.buffer)
        chunks += 1
        structuredClone(chunk, { transfer: [chunk.buffer as ArrayBuffer] })
      }
      transport.start(recorder)
      for (let i = 0; i < 60; i++) {
        const block = Crypto.randomBytes(i % 4 === 0 ? 300_000 : 1 + i)
        sent.update(block)
        peer.socket.write(block)
        await turns(1 + i % 3)
      }
      peer.socket.end()
      await until(() => recorder.ended)
      assert.strictEqual(received.digest("hex"), sent.digest("hex"))
      assert.strictEqual(buffers.size, chunks)
    }))
})

describe("a hundred mebibytes", () => {
  it.each(["dialled", "accepted", "unix dialled", "duplex"] as const)(
    "arrive whole at a slow reader, %s",
    (kind) =>
      withPair(kind, { read: false }, async ({ peer, transport }, recorder) => {
        transport.start(recorder)
        const total = 100 * 1024 * 1024
        const block = Crypto.randomBytes(1_000_003)
        const sent = Crypto.createHash("sha1")
        const received = Crypto.createHash("sha1")
        let got = 0
        peer.socket.on("data", (chunk: Buffer) => {
          received.update(chunk)
          got += chunk.length
          peer.socket.pause()
          setImmediate(() => peer.socket.resume())
        })
        peer.socket.resume()
        let queued = 0
        let most = 0
        const send = () => {
          while (queued < total && transport.bufferedBytes < 4_000_000) {
            const part = new Uint8Array(block.subarray(0, 1 + (queued * 7919) % block.length))
            const size = Math.min(part.length, total - queued)
            const chunk = part.subarray(0, size)
            sent.update(chunk)
            transport.write(
              size > 10 ? [chunk.subarray(0, 3), chunk.subarray(3, size >> 1), chunk.subarray(size >> 1)] : [chunk]
            )
            queued += size
          }
          most = Math.max(most, transport.bufferedBytes)
          if (queued === total) {
            transport.end()
          }
        }
        recorder.whenDrained = send
        send()
        await until(() => got === total)
        assert.strictEqual(received.digest("hex"), sent.digest("hex"))
        assert.isBelow(most, 6_000_000)
      }),
    60_000
  )

  it.each(["dialled", "accepted", "duplex"] as const)(
    "are read whole by a slow receiver, %s",
    (kind) =>
      withPair(kind, {}, async ({ peer, transport }, recorder) => {
        const total = 100 * 1024 * 1024
        const block = Crypto.randomBytes(999_983)
        const sent = Crypto.createHash("sha1")
        const received = Crypto.createHash("sha1")
        recorder.keep = false
        recorder.whenData = (chunk) => {
          received.update(chunk)
          transport.pause()
          setImmediate(() => transport.resume())
        }
        transport.start(recorder)
        let queued = 0
        const send = () => {
          while (queued < total) {
            const chunk = block.subarray(0, Math.min(1 + (queued * 7919) % block.length, total - queued))
            sent.update(chunk)
            queued += chunk.length
            if (!peer.socket.write(chunk)) {
              return
            }
          }
          peer.socket.end()
        }
        peer.socket.on("drain", send)
        send()
        await until(() => recorder.ended)
        assert.strictEqual(recorder.received, total)
        assert.strictEqual(received.digest("hex"), sent.digest("hex"))
      }),
    60_000
  )
})

describe("coalesce", () => {
  const sizes = (...lengths: ReadonlyArray<number>) =>
    coalesce(lengths.map((length) => new Uint8Array(length))).map((chunk) => chunk.length)

  it("joins runs of small chunks and leaves large ones alone", () => {
    assert.deepStrictEqual(sizes(), [])
    assert.deepStrictEqual(sizes(0, 0), [])
    assert.deepStrictEqual(sizes(5), [5])
    assert.deepStrictEqual(sizes(1, 2, 3), [6])
    assert.deepStrictEqual(sizes(4_095, 4_095), [8_190])
    assert.deepStrictEqual(sizes(4_096, 4_096), [4_096, 4_096])
    assert.deepStrictEqual(sizes(1, 1, 5_000, 0, 5_000, 1, 0, 1), [2, 5_000, 5_000, 2])
    assert.deepStrictEqual(sizes(0, 3, 0), [3])
  })

  it("does not join without end", () => {
    const pieces = coalesce(Array.from({ length: 3_000 }, () => new Uint8Array(1_000)))
    assert.isTrue(pieces.every((piece) => piece.length < 1_100_000))
    assert.strictEqual(pieces.reduce((total, piece) => total + piece.length, 0), 3_000_000)
  })

  it("keeps the bytes in order", () => {
    const chunks = [bytes("ab"), bytes("c"), bytes("d".repeat(5_000)), bytes("e"), new Uint8Array(0), bytes("f")]
    assert.strictEqual(Buffer.concat(coalesce(chunks)).toString(), `abc${"d".repeat(5_000)}ef`)
  })
})

describe("an adopted stream", () => {
  const dummy = (options: Stream.DuplexOptions = {}): Stream.Duplex =>
    new Stream.Duplex({ read() {}, write: (_chunk, _encoding, callback) => callback(), ...options })

  it("that does not close by itself is closed when both sides have ended", async () => {
    const stream = dummy({ autoDestroy: false })
    const recorder = new Recorder()
    const transport = fromDuplex(stream)
    transport.start(recorder)
    stream.push("x")
    stream.push(null)
    await until(() => recorder.ended)
    assert.isFalse(recorder.closed)
    transport.end()
    await until(() => recorder.closed)
    assert.isUndefined(recorder.failure)
    assert.isTrue(stream.destroyed)
  })

  it("that had ended both sides before it was adopted is closed as well", async () => {
    const stream = dummy({ autoDestroy: false })
    stream.end()
    stream.push(null)
    stream.resume()
    await once(stream, "end")
    const recorder = new Recorder()
    fromDuplex(stream).start(recorder)
    await until(() => recorder.closed)
    assert.deepStrictEqual(recorder.calls, ["end", "closed"])
    assert.isUndefined(recorder.failure)
  })

  it("that never says it has closed is known to be", async () => {
    const stream = dummy({ emitClose: false })
    const recorder = new Recorder()
    const transport = fromDuplex(stream)
    transport.start(recorder)
    transport.destroy()
    await until(() => recorder.closed)
    assert.deepStrictEqual(recorder.calls, ["closed"])
  })

  it.each(["by us", "by somebody else"])("that takes its time to close, and then does not say so, %s", async (who) => {
    let closed = () => {}
    const stream = dummy({
      emitClose: false,
      destroy: (error, callback) => {
        closed = () => callback(error)
      }
    })
    const recorder = new Recorder()
    const transport = fromDuplex(stream)
    transport.start(recorder)
    ;(who === "by us" ? transport : stream).destroy()
    await turns()
    assert.deepStrictEqual(recorder.calls, [])
    closed()
    await until(() => recorder.closed)
    assert.deepStrictEqual(recorder.calls, ["closed"])
    assert.strictEqual(recorder.failure?.reason, who === "by us" ? undefined : "Reset")
  })

  it("that fails to close, and does not say that either, is given up", async () => {
    const stream = dummy({
      emitClose: false,
      destroy: () => {
        throw new Error("no")
      }
    })
    const recorder = new Recorder()
    const transport = fromDuplex(stream)
    transport.start(recorder)
    transport.destroy()
    await until(() => recorder.closed)
    assert.deepStrictEqual(recorder.calls, ["closed"])
  })

  it.each([[[1]], [[1, 1]], [[10_000, 10_000]]])(
    "that throws when %j are written does not throw here: it has failed, and nothing looks sent",
    async (sizes) => {
      const stream = dummy({
        write: () => {
          throw new Error("boom")
        }
      })
      const recorder = new Recorder()
      const transport = fromDuplex(stream)
      transport.start(recorder)
      const total = sizes.reduce((total, size) => total + size, 0)
      transport.write(sizes.map((size) => new Uint8Array(size)))
      assert.strictEqual(transport.bufferedBytes, total)
      transport.write([bytes("more")])
      assert.strictEqual(transport.bufferedBytes, total + 4)
      assert.deepStrictEqual(recorder.calls, [])
      await until(() => recorder.closed)
      assert.deepStrictEqual(recorder.calls, ["closed"])
      assert.strictEqual((recorder.failure?.cause as Error).message, "boom")
      assert.isTrue(stream.destroyed)
    }
  )

  it("that throws when it is ended does not throw here, and has failed", async () => {
    const stream = dummy()
    stream.end = () => {
      throw new Error("boom")
    }
    const recorder = new Recorder()
    const transport = fromDuplex(stream)
    transport.start(recorder)
    transport.end()
    await until(() => recorder.closed)
    assert.strictEqual((recorder.failure?.cause as Error).message, "boom")
  })

  it.scopedLive("that throws in a write fails all that is done with its connection", () =>
    Effect.gen(function*() {
      const stream = dummy({
        write: () => {
          throw new Error("boom")
        }
      })
      const { awaitClosed, reader, writer } = yield* NodeNetwork.fromDuplex(stream)
      const read = yield* Effect.fork(Effect.flip(reader.read(1)))
      // Handed over, as one is whose failure comes later.
      yield* writer.write("one")
      const failed = [
        yield* Effect.flip(writer.flush),
        yield* Fiber.join(read),
        yield* Effect.flip(writer.write("two")),
        yield* Effect.flip(writer.writeEof)
      ]
      failed.forEach((error) => assert.strictEqual((error.cause as Error).message, "boom"))
      assert.strictEqual((yield* awaitClosed)._tag, "Failed")
    }))

  it.scopedLive("whose writing side somebody else ends takes no more writes in silence", () =>
    Effect.gen(function*() {
      const peers: Array<Net.Socket> = []
      const server = Net.createServer((peer) => void peers.push(peer.on("error", () => {}))).listen(0, "127.0.0.1")
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          peers.forEach((peer) => peer.destroy())
          server.close()
        })
      )
      yield* Effect.promise(() => once(server, "listening"))
      const socket = Net.connect(portOf(server), "127.0.0.1")
      for (const stream of [socket, dummy()]) {
        const { awaitClosed, reader, writer } = yield* NodeNetwork.fromDuplex(stream)
        yield* writer.write("sent")
        stream.end()
        yield* writer.write("lost")
        const failed = [yield* Effect.flip(writer.flush), yield* Effect.flip(reader.read(1))]
        failed.forEach((error) => assert.strictEqual(error.reason, "BrokenPipe"))
        assert.strictEqual((yield* Effect.flip(writer.write("more"))).reason, "BrokenPipe")
        const reason = yield* awaitClosed
        assert.match(reason._tag === "Failed" ? String(reason.error.cause) : reason._tag, /ended by somebody else/)
      }
    }))

  it("that somebody else destroys has failed", async () => {
    const stream = dummy()
    const recorder = new Recorder()
    fromDuplex(stream).start(recorder)
    stream.push("received")
    await until(() => recorder.received === 8)
    stream.destroy()
    await until(() => recorder.closed)
    assert.strictEqual(recorder.failure?.reason, "Reset")
    assert.strictEqual(recorder.failure?.code, "ERR_STREAM_PREMATURE_CLOSE")
  })

  it("that fails with what it has buffered delivers that first", async () => {
    const stream = dummy()
    stream.push("received ")
    stream.push("before")
    const recorder = new Recorder()
    const transport = fromDuplex(stream)
    stream.destroy(Object.assign(new Error("gone"), { code: "ECONNRESET" }))
    await turns()
    transport.start(recorder)
    await until(() => recorder.closed)
    assert.strictEqual(recorder.text, "received before")
    assert.strictEqual(recorder.failure?.reason, "Reset")
  })

  it("that throws on destroy does not throw here, and is given up", async () => {
    const stream = dummy()
    stream.destroy = () => {
      throw new Error("no")
    }
    const recorder = new Recorder()
    const transport = fromDuplex(stream)
    transport.start(recorder)
    transport.destroy()
    transport.abort()
    await until(() => recorder.closed)
    await turns()
    assert.deepStrictEqual(recorder.calls, ["closed"])
  })

  it.each([true, false])("that fails without closing is closed: whether it says so, %s", async (emitClose) => {
    const stream = dummy({ autoDestroy: false, emitClose })
    const recorder = new Recorder()
    fromDuplex(stream).start(recorder)
    stream.push("received")
    await until(() => recorder.received === 8)
    stream.emit("error", Object.assign(new Error("gone"), { code: "ECONNRESET" }))
    await until(() => recorder.closed)
    await turns()
    assert.isTrue(stream.destroyed)
    assert.deepStrictEqual(recorder.calls, ["data", "closed"])
    assert.strictEqual(recorder.failure?.code, "ECONNRESET")
  })

  it("that fails and throws on destroy is given up, with its failure", async () => {
    const stream = dummy({ autoDestroy: false })
    stream.destroy = () => {
      throw new Error("no")
    }
    const recorder = new Recorder()
    fromDuplex(stream).start(recorder)
    stream.emit("error", Object.assign(new Error("gone"), { code: "ECONNRESET" }))
    await until(() => recorder.closed)
    assert.strictEqual(recorder.failure?.code, "ECONNRESET")
  })

  it.scopedLive("that fails a write without closing ends its connection: who reads, writes and waits is told", () =>
    Effect.gen(function*() {
      const stream = dummy({
        autoDestroy: false,
        write: (_chunk, _encoding, callback) => callback(new Error("boom"))
      })
      const connection = yield* NodeNetwork.fromDuplex(stream)
      const read = yield* Effect.fork(Effect.exit(connection.reader.read(1)))
      yield* connection.writer.write("one")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(connection.writer.flush)))
      assert.isTrue(Exit.isFailure(yield* Fiber.join(read)))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(connection.writer.write("two"))))
      const reason = yield* connection.awaitClosed
      assert.strictEqual(reason._tag === "Failed" && String((reason.error.cause as Error).message), "boom")
    }))

  it("that takes a list of chunks one by one tells of each", async () => {
    const taking: Array<() => void> = []
    const stream = dummy({
      write: (_chunk, _encoding, callback) => {
        taking.push(callback)
      }
    })
    const recorder = new Recorder()
    const transport = fromDuplex(stream)
    transport.start(recorder)
    const size = 8192
    const count = 10
    transport.write(Array.from({ length: count }, () => new Uint8Array(size)))
    for (let taken = 1; taken <= count; taken++) {
      await until(() => taking.length === taken)
      assert.strictEqual(recorder.drains, taken - 1)
      taking[taken - 1]!()
      await until(() => recorder.drains === taken)
      assert.strictEqual(transport.bufferedBytes, (count - taken) * size)
    }
    transport.destroy()
  })

  it("that flowed already loses nothing from here on", async () => {
    const stream = dummy()
    stream.resume()
    await turns(2)
    const transport = fromDuplex(stream)
    stream.push("kept")
    await turns()
    const recorder = new Recorder()
    transport.start(recorder)
    await until(() => recorder.received === 4)
    transport.destroy()
  })

  it("in the middle of half-closing keeps its writing side", async () => {
    const server = Net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.end("bye")
      socket.on("data", (chunk) => received.push(chunk.toString()))
    })
    const received: Array<string> = []
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    const socket = Net.connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: false })
    await once(socket, "connect")
    const transport = fromSocket(socket)
    const recorder = new Recorder()
    transport.start(recorder)
    await until(() => recorder.ended)
    await turns()
    transport.write([bytes("still here")])
    transport.end()
    await until(() => recorder.closed)
    assert.deepStrictEqual(received, ["still here"])
    server.close()
  })
})

describe("NodeNetwork.fromSocket and fromDuplex", () => {
  const connected = Effect.acquireRelease(
    Effect.promise(async () => {
      const server = Net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1")
      await once(server, "listening")
      return server
    }),
    (server) => Effect.sync(() => server.close())
  )

  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

  it.scopedLive("make a connection of a socket that is open, with what it has received", () =>
    Effect.gen(function*() {
      const server = yield* connected
      server.on("connection", (socket) => socket.end("hello"))
      const socket = Net.connect(portOf(server), "127.0.0.1")
      yield* Effect.promise(() => until(() => socket.bytesRead === 5))
      const connection = yield* NodeNetwork.fromSocket(socket)
      assert.strictEqual(text(yield* connection.reader.readAll()), "hello")
    }))

  it.scopedLive("wait for a socket that is still connecting", () =>
    Effect.gen(function*() {
      const server = yield* connected
      server.on("connection", (socket) => socket.pipe(socket))
      const connection = yield* NodeNetwork.fromDuplex(Net.connect(portOf(server), "127.0.0.1"))
      yield* connection.writer.write("echo")
      assert.strictEqual(text(yield* connection.reader.readExactly(4)), "echo")
      assert.deepStrictEqual(connection.remoteAddress, Address.tcp("127.0.0.1", portOf(server)))
    }))

  it.scopedLive("fail where the socket could not connect", () =>
    Effect.gen(function*() {
      const server = yield* connected
      const port = portOf(server)
      yield* Effect.promise(() => new Promise((resolve) => server.close(resolve)))
      const error = yield* Effect.flip(NodeNetwork.fromSocket(Net.connect(port, "127.0.0.1")))
      assert.deepStrictEqual(error.code, Option.some("ECONNREFUSED"))
      assert.strictEqual(
        error.message,
        `read: the adopted socket could not connect: connect ECONNREFUSED 127.0.0.1:${port} (ECONNREFUSED)`
      )
    }))

  it.scopedLive("destroy a socket that still connects when they are interrupted", () =>
    Effect.gen(function*() {
      const socket = Net.connect(9, "10.255.255.1")
      const fiber = yield* Effect.fork(NodeNetwork.fromSocket(socket))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      assert.isTrue(socket.destroyed)
    }))

  it.scopedLive("fail where the socket is destroyed", () =>
    Effect.gen(function*() {
      const socket = new Net.Socket()
      socket.destroy()
      const error = yield* Effect.flip(NodeNetwork.fromSocket(socket))
      assert.strictEqual(error.reason, "Closed")
      assert.strictEqual(error.message, "read: what was to be adopted has been destroyed")
      const duplex = new Stream.PassThrough()
      duplex.destroy()
      assert.strictEqual((yield* Effect.flip(NodeNetwork.fromDuplex(duplex))).reason, "Closed")
    }))

  it.scopedLive("know that the former owner has ended the writing side", () =>
    Effect.gen(function*() {
      const server = yield* connected
      server.on("connection", (socket) => {
        socket.resume()
        socket.on("end", () => socket.end("answer"))
      })
      const socket = Net.connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true })
      socket.end("question")
      const { reader, writer } = yield* NodeNetwork.fromSocket(socket)
      assert.strictEqual((yield* Effect.flip(writer.write("more"))).reason, "Closed")
      assert.strictEqual(text(yield* reader.readAll()), "answer")
    }))

  it.scopedLive("die of streams that are not bytes", () =>
    Effect.gen(function*() {
      const strings = new Net.Socket()
      strings.setEncoding("utf8")
      const objects = new Stream.PassThrough({ objectMode: true })
      const taken = new Stream.PassThrough()
      taken.on("readable", () => {})
      for (
        const adopt of [
          NodeNetwork.fromSocket(strings),
          NodeNetwork.fromDuplex(objects),
          NodeNetwork.fromDuplex(taken),
          NodeNetwork.fromSocket(new Net.Socket())
        ]
      ) {
        const exit = yield* Effect.exit(adopt)
        assert.isTrue(
          Exit.isFailure(exit) && Option.exists(Cause.dieOption(exit.cause), Cause.isIllegalArgumentException),
          String(exit)
        )
      }
    }))
})

describe("an interrupted connect", () => {
  // A listener whose thread never accepts, so that its queue fills up and the next connection goes unanswered.
  const deafListener = Effect.acquireRelease(
    Effect.promise(async () => {
      const worker = new Worker(
        `const { parentPort } = require("node:worker_threads")
         const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
           parentPort.postMessage(server.address().port)
           Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
         })`,
        { eval: true }
      )
      const [port] = await once(worker, "message") as [number]
      const fillers = Array.from({ length: 6 }, () => Net.connect(port, "127.0.0.1").on("error", () => {}))
      return { worker, port, fillers }
    }),
    ({ fillers, worker }) =>
      Effect.promise(() => {
        fillers.forEach((socket) => socket.destroy())
        return worker.terminate()
      })
  )

  it.scopedLive("leaves no handle and no descriptor", () =>
    Effect.gen(function*() {
      const { fillers, port } = yield* deafListener
      // A queue for one has room for two; nobody else gets in.
      yield* Effect.promise(() => until(() => fillers.filter((socket) => !socket.connecting).length >= 2))
      const resources = () => process.getActiveResourcesInfo().filter((name) => name.startsWith("TCP")).sort()
      const [descriptors, before] = [openDescriptors(), resources()]
      for (let i = 0; i < 20; i++) {
        const fiber = yield* Effect.fork(
          maskOnce((restore) => backend.connect({ host: "127.0.0.1", port, localAddress: "127.0.0.1" }, restore))
        )
        yield* Effect.promise(() => turns(i % 4))
        assert.strictEqual(fiber.unsafePoll(), null, "the connection should have gone unanswered")
        yield* Fiber.interrupt(fiber)
      }
      yield* Effect.promise(() => turns(5))
      assert.deepStrictEqual(resources(), before)
      assert.deepStrictEqual(openDescriptors(), descriptors)
    }))
})

describe("socketSettings", () => {
  it("are asyncio's by default", () => {
    assert.deepStrictEqual(socketSettings({}), { noDelay: true, keepAlive: false, keepAliveInitialDelay: 0 })
  })

  it("count whole seconds up, for Node takes less than one as none", () => {
    const delay = (keepAlive: "20 millis" | "1500 millis" | "60 seconds" | "10 days" | true) =>
      socketSettings({ keepAlive }).keepAliveInitialDelay
    assert.strictEqual(delay("20 millis"), 1_000)
    assert.strictEqual(delay("1500 millis"), 2_000)
    assert.strictEqual(delay("60 seconds"), 60_000)
    assert.strictEqual(delay("10 days"), 32_767_000)
    assert.strictEqual(delay(true), 0)
    assert.isFalse(socketSettings({ keepAlive: Infinity }).keepAlive)
  })
})
