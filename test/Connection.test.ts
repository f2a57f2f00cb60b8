import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { vi } from "vitest"
import * as Address from "../src/Address.js"
import * as Connection from "../src/Connection.js"
import { lingerTime } from "../src/internal/connectionState.js"
import * as Network from "../src/Network.js"
import type { ConnectionError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import { Random, toLatin1, utf8 } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import { memoryPair, settle } from "./support/memoryTransport.js"
import { closeTag, dialled, portOf, type RawPeer, turns, until } from "./support/rawPeer.js"

leavesNoHandles()

const mebibyte = new Uint8Array(1024 * 1024).map((_, i) => i % 251)

const reasonOf = <A, E extends { readonly _tag: string }>(exit: Exit.Exit<A, E>): string => {
  if (Exit.isSuccess(exit)) {
    return "succeeded"
  }
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  return error === undefined
    ? Cause.pretty(exit.cause)
    : error._tag === "ConnectionError"
    ? (error as unknown as ConnectionError).reason
    : error._tag
}

interface Internals {
  readonly state: { readonly closeWaiters?: ReadonlySet<unknown> }
}

const isDone = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<boolean> =>
  Effect.map(Fiber.poll(fiber), Option.isSome)

const buffered = (connection: Connection.Connection): number => Effect.runSync(connection.writer.bufferedBytes)

const jammed = 16 * 1024 * 1024

/** More than the two systems hold, so that some of it stays queued here. */
const jam = (connection: Connection.Connection, peer: RawPeer) =>
  Effect.gen(function*() {
    peer.socket.pause()
    const write = yield* Effect.fork(Effect.exit(connection.writer.write(new Uint8Array(jammed))))
    yield* until(() => buffered(connection) > 0)
    yield* turns()
    return write
  })

/** Two connections of ours, dialled and accepted; the server's ends with the test. */
const both = (options: Connection.Options = {}) =>
  Effect.gen(function*() {
    const accepted = yield* Deferred.make<Connection.Connection>()
    const server = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0, ...options }, (connection) =>
      Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed))
    const client = yield* Network.openConnection({ host: "127.0.0.1", port: portOf(server), ...options })
    return { client, server: yield* Deferred.await(accepted) }
  }).pipe(Effect.provide(NodeNetwork.layer))

describe("close", () => {
  it.scopedLive("sends everything that is queued, then our end, and waits for the peer's", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const write = yield* Effect.fork(connection.writer.write(new Uint8Array(8 * 1024 * 1024)))
      yield* until(() => buffered(connection) > 0)
      const close = yield* Effect.fork(connection.close)
      yield* turns()
      assert.isFalse(yield* isDone(close))
      peer.read(false)
      yield* until(() => peer.ended)
      assert.strictEqual(peer.bytes, 8 * 1024 * 1024)
      yield* Fiber.join(write)
      assert.isFalse(yield* isDone(close))
      peer.socket.end()
      yield* Fiber.join(close)
      assert.strictEqual(yield* closeTag(connection), "Local")
      yield* until(() => peer.closed)
      assert.isUndefined(peer.code)
    }))

  it.scopedLive("loses nothing of what was written, though the peer sent what nobody reads", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ limit: 100 })
      // A system that still holds data for a socket that is closed answers with a reset, which takes all away.
      peer.socket.write(new Uint8Array(1024 * 1024))
      yield* connection.reader.peek(1)
      yield* turns()
      const write = yield* Effect.fork(connection.writer.write(new Uint8Array(4 * 1024 * 1024)))
      yield* until(() => buffered(connection) > 0)
      const close = yield* Effect.fork(connection.close)
      yield* turns()
      peer.read(false)
      yield* until(() => peer.ended || peer.closed)
      assert.isUndefined(peer.code)
      assert.strictEqual(peer.bytes, 4 * 1024 * 1024)
      peer.socket.end()
      yield* Fiber.join(close)
      yield* Fiber.join(write)
      assert.strictEqual(yield* closeTag(connection), "Local")
    }))

  it.scopedLive("of a connection that a peer never reads turns into an abort after the close timeout", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ closeTimeout: "150 millis" })
      const write = yield* jam(connection, peer)
      const [elapsed] = yield* Effect.timed(connection.close)
      assert.isAtLeast(Duration.toMillis(elapsed), 140)
      assert.isBelow(Duration.toMillis(elapsed), 3_000)
      assert.strictEqual(yield* closeTag(connection), "Aborted")
      assert.strictEqual(reasonOf(yield* Fiber.join(write)), "Aborted")
      // What was on its way still comes, the rest does not.
      peer.read(false)
      yield* until(() => peer.ended || peer.closed)
      assert.isBelow(peer.bytes, jammed)
    }))

  it.scopedLive("of a connection whose peer never stops sending turns into an abort after the close timeout", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ closeTimeout: "150 millis" })
      const send = () => {
        while (peer.socket.writable && peer.socket.write(mebibyte)) {
          // On and on.
        }
      }
      peer.socket.on("drain", send)
      send()
      yield* connection.reader.read(1)
      const [elapsed] = yield* Effect.timed(connection.close)
      assert.isBelow(Duration.toMillis(elapsed), 3_000)
      assert.strictEqual(yield* closeTag(connection), "Aborted")
      yield* until(() => peer.closed)
    }))

  it.scopedLive("does not wait long for a peer that has nothing to say and does not end", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.read()
      yield* connection.writer.write("bye")
      const [elapsed] = yield* Effect.timed(connection.close)
      assert.isAtLeast(Duration.toMillis(elapsed), lingerTime - 10)
      assert.isBelow(Duration.toMillis(elapsed), lingerTime + 3_000)
      assert.strictEqual(yield* closeTag(connection), "Local")
      assert.strictEqual(peer.text, "bye")
      assert.isTrue(peer.ended)
      assert.isUndefined(peer.code)
    }))

  it.scoped("goes by the program's clock", () =>
    Effect.gen(function*() {
      const [near, far] = memoryPair({ window: 0 })
      far.start({ onData: () => {}, onEnd: () => {}, onDrain: () => {}, onClosed: () => {} })
      const late = yield* Connection.fromTransport(near, { closeTimeout: "10 seconds" })
      yield* late.writer.write("never read")
      const close = yield* Effect.fork(late.close)
      yield* TestClock.adjust("9999 millis")
      yield* settle
      assert.isFalse(yield* isDone(close))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(close)
      assert.strictEqual(yield* closeTag(late), "Aborted")

      const [silent, peer] = memoryPair()
      peer.start({ onData: () => {}, onEnd: () => {}, onDrain: () => {}, onClosed: () => {} })
      const connection = yield* Connection.fromTransport(silent)
      const closing = yield* Effect.fork(connection.close)
      yield* TestClock.adjust(lingerTime - 1)
      yield* settle
      assert.isFalse(yield* isDone(closing))
      yield* TestClock.adjust(1)
      yield* Fiber.join(closing)
      assert.strictEqual(yield* closeTag(connection), "Local")
    }))

  it.scopedLive("may be called again, by many, and after the end", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const closes = yield* Effect.forEach([1, 2, 3, 4], () => Effect.fork(connection.close))
      yield* turns()
      assert.isTrue(yield* connection.isClosing)
      assert.isTrue(yield* connection.writer.isClosing)
      peer.read().socket.end()
      yield* Fiber.joinAll(closes)
      yield* connection.close
      yield* connection.abort
      assert.strictEqual(yield* closeTag(connection), "Local")
    }))

  it.scopedLive("goes on when whoever asked for it is interrupted", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const close = yield* Effect.fork(connection.close)
      yield* turns()
      yield* Fiber.interrupt(close)
      peer.read()
      yield* until(() => peer.ended)
      peer.socket.end()
      assert.strictEqual(yield* closeTag(connection), "Local")
    }))

  it.scopedLive("fails a read that waits, and leaves what had arrived", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const { reader } = connection
      peer.socket.write("half a line")
      yield* reader.peek(11)
      const read = yield* Effect.fork(Effect.exit(reader.readLine))
      yield* turns()
      const close = yield* Effect.fork(connection.close)
      assert.strictEqual(reasonOf(yield* Fiber.join(read)), "Closed")
      peer.socket.end("dropped")
      yield* Fiber.join(close)
      assert.strictEqual(reasonOf(yield* Effect.exit(reader.readExactly(12))), "Closed")
      assert.strictEqual(toLatin1(yield* reader.read(100)), "half a line")
      const error = yield* Effect.flip(reader.read(100))
      assert.deepStrictEqual([error.reason, error.operation], ["Closed", "read"])
      assert.strictEqual(
        error.message,
        `read from ${Address.format(connection.remoteAddress)}: the connection is closed on this side`
      )
      assert.isFalse(yield* reader.atEof)
    }))

  it.scopedLive("under a read that waits and a write that waits ends both, at once where they can't go on", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ closeTimeout: "100 millis" })
      const write = yield* jam(connection, peer)
      const inLine = yield* Effect.fork(Effect.exit(connection.writer.write("in line")))
      const read = yield* Effect.fork(Effect.exit(connection.reader.read(1)))
      yield* turns()
      const close = yield* Effect.fork(connection.close)
      assert.strictEqual(reasonOf(yield* Fiber.join(read)), "Closed")
      assert.strictEqual(reasonOf(yield* Fiber.join(inLine)), "Closed")
      assert.isFalse(yield* isDone(close))
      yield* Fiber.join(close)
      assert.strictEqual(reasonOf(yield* Fiber.join(write)), "Aborted")
    }))

  it.scopedLive("in the tick in which a read and a write are interrupted is the same as without", () =>
    Effect.gen(function*() {
      for (const closeFirst of [true, false]) {
        const { client, server } = yield* both()
        const read = yield* Effect.fork(client.reader.readExactly(100))
        const write = yield* Effect.fork(client.writer.write(new Uint8Array(16 * 1024 * 1024)))
        const waits = yield* Effect.fork(client.awaitClosed)
        yield* until(() => buffered(client) > 0)
        const interrupt = Effect.all([
          Fiber.interruptFork(read),
          Fiber.interruptFork(write),
          Fiber.interruptFork(waits)
        ])
        const close = closeFirst
          ? yield* Effect.zipLeft(Effect.fork(client.close), interrupt)
          : yield* Effect.zipRight(interrupt, Effect.fork(client.close))
        // The write had been handed over: all of it arrives.
        const all = yield* server.reader.readAll()
        assert.strictEqual(all.length, 16 * 1024 * 1024)
        yield* server.close
        yield* Fiber.join(close)
        assert.strictEqual(yield* closeTag(client), "Local")
        assert.strictEqual(yield* closeTag(server), "Peer")
      }
    }))

  it.scopedLive("that the peer cuts short, with data still queued, is a failure and not a close", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const write = yield* jam(connection, peer)
      const flush = yield* Effect.fork(Effect.exit(connection.writer.flush))
      const close = yield* Effect.fork(connection.close)
      yield* turns()
      peer.socket.resetAndDestroy()
      yield* Fiber.join(close)
      assert.match(yield* closeTag(connection), /^Failed (Reset|BrokenPipe)$/)
      assert.match(reasonOf(yield* Fiber.join(write)), /^(Reset|BrokenPipe)$/)
      assert.match(reasonOf(yield* Fiber.join(flush)), /^(Reset|BrokenPipe)$/)
    }))

  it.scopedLive("is one, where the peer resets what it had read to the end", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.read()
      yield* connection.writer.write("all of it")
      yield* until(() => peer.bytes === 9)
      const close = yield* Effect.fork(connection.close)
      yield* until(() => peer.ended)
      peer.socket.resetAndDestroy()
      yield* Fiber.join(close)
      assert.strictEqual(yield* closeTag(connection), "Local")
    }))
})

describe("abort", () => {
  it.scopedLive("drops what is queued, and fails who waits", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const write = yield* jam(connection, peer)
      const read = yield* Effect.fork(Effect.exit(connection.reader.read(1)))
      yield* turns()
      yield* connection.abort
      assert.strictEqual(yield* closeTag(connection), "Aborted")
      assert.strictEqual(reasonOf(yield* Fiber.join(write)), "Aborted")
      assert.strictEqual(reasonOf(yield* Fiber.join(read)), "Aborted")
      assert.strictEqual(buffered(connection), 0)
      // What was on its way still comes, the rest does not.
      peer.read(false)
      yield* until(() => peer.ended || peer.closed)
      assert.isBelow(peer.bytes, jammed)
    }))

  it.scopedLive("is a reset and not an end, for a peer that reads", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.read()
      yield* connection.abort
      yield* until(() => peer.closed)
      assert.strictEqual(peer.code, "ECONNRESET")
      assert.isFalse(peer.ended)
      assert.strictEqual(reasonOf(yield* Effect.exit(connection.writer.write("x"))), "Aborted")
      assert.strictEqual(reasonOf(yield* Effect.exit(connection.reader.read(1))), "Aborted")
    }))

  it.scopedLive("ends a close that waits, and one that has just begun", () =>
    Effect.gen(function*() {
      for (const wait of [turns(), Effect.void]) {
        const { connection, peer } = yield* dialled()
        peer.read()
        const close = yield* Effect.fork(connection.close)
        yield* Effect.yieldNow()
        yield* wait
        yield* connection.abort
        yield* Fiber.join(close)
        assert.strictEqual(yield* closeTag(connection), "Aborted")
      }
    }))

  it.scopedLive("leaves what had arrived", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.socket.write("arrived\n")
      yield* connection.reader.peek(8)
      yield* connection.abort
      assert.strictEqual(toLatin1(yield* connection.reader.readLine), "arrived\n")
      assert.strictEqual(reasonOf(yield* Effect.exit(connection.reader.readLine)), "Aborted")
    }))
})

describe("awaitClosed", () => {
  it.scopedLive("says that this side closed, or the peer did", () =>
    Effect.gen(function*() {
      const { client, server } = yield* both()
      const reasons = yield* Effect.fork(Effect.all([closeTag(client), closeTag(server)], { concurrency: 2 }))
      const close = yield* Effect.fork(client.close)
      assert.strictEqual((yield* server.reader.readAll()).length, 0)
      yield* server.close
      assert.deepStrictEqual(yield* Fiber.join(reasons), ["Local", "Peer"])
      yield* Fiber.join(close)
    }))

  it.scopedLive("says what the connection failed of", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.socket.resetAndDestroy()
      const reason = yield* connection.awaitClosed
      assert(reason._tag === "Failed" && reason.error._tag === "ConnectionError")
      assert.strictEqual(reason.error.reason, "Reset")
      assert.deepStrictEqual(reason.error.code, Option.some("ECONNRESET"))
      assert.strictEqual(reason.error.operation, "close")
      assert.instanceOf(reason.error.cause, Error)
      assert.strictEqual(
        reason.error.message,
        `close to ${Address.format(connection.remoteAddress)}: the peer reset the connection (ECONNRESET)`
      )
    }))

  it.scopedLive("does not end the connection, and a peer that ends its side alone does not either", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const reason = yield* Effect.fork(closeTag(connection))
      peer.read().socket.end()
      assert.strictEqual((yield* connection.reader.readAll()).length, 0)
      yield* turns()
      assert.isFalse(yield* isDone(reason))
      assert.isFalse(yield* connection.isClosing)
      yield* connection.writer.write("still open")
      yield* connection.writer.writeEof
      assert.strictEqual(yield* Fiber.join(reason), "Peer")
      yield* until(() => peer.closed)
      assert.strictEqual(peer.text, "still open")
      assert.isTrue(yield* connection.isClosing)
    }))

  it.scopedLive("lets one who waits give up, and leaves the others waiting", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.read()
      const waits = yield* Effect.forEach([1, 2, 3], () => Effect.fork(closeTag(connection)))
      yield* turns()
      yield* Fiber.interrupt(waits[1]!)
      assert.isTrue(Option.isNone(yield* Effect.timeoutOption(connection.awaitClosed, "5 millis")))
      const { closeWaiters } = (connection as unknown as Internals).state
      assert.strictEqual(closeWaiters?.size, 2, "those who gave up are still on the list")
      peer.socket.end()
      yield* connection.close
      assert.strictEqual(yield* Fiber.join(waits[0]!), "Local")
      assert.strictEqual(yield* Fiber.join(waits[2]!), "Local")
      assert.strictEqual(yield* closeTag(connection), "Local")
    }))

  it.scopedLive("tells an idle connection's end without a read", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.socket.write("unread")
      yield* turns()
      peer.socket.resetAndDestroy()
      assert.strictEqual(yield* closeTag(connection), "Failed Reset")
    }))

  it.scopedLive("CloseReason matches, and compares by value", () =>
    Effect.gen(function*() {
      const { Aborted, Local } = Connection.CloseReason
      assert.isTrue(Equal.equals(Local(), Local()))
      assert.isFalse(Equal.equals(Local() as Connection.CloseReason, Aborted()))
      const { connection, peer } = yield* dialled()
      peer.read().socket.end()
      yield* connection.reader.readAll()
      yield* connection.close
      assert.isTrue(Equal.equals(yield* connection.awaitClosed, Connection.CloseReason.Peer()))
    }))
})

describe("half-close", () => {
  it.scopedLive("the client ends its side, and the server answers a mebibyte after that", () =>
    Effect.gen(function*() {
      const { client, server } = yield* both()
      yield* client.writer.write("what is it?")
      yield* client.writer.writeEof
      assert.strictEqual(toLatin1(yield* server.reader.readAll()), "what is it?")
      assert.isTrue(yield* server.reader.atEof)
      assert.isFalse(yield* server.isClosing)
      yield* server.writer.write(mebibyte)
      yield* server.writer.writeEof
      assert.deepStrictEqual(Buffer.from(yield* client.reader.readAll()).equals(mebibyte), true)
      // Both have ended: that is the end.
      assert.strictEqual(yield* closeTag(client), "Peer")
      assert.strictEqual(yield* closeTag(server), "Peer")
    }))

  it.scopedLive("the server ends first, and the client goes on sending a mebibyte", () =>
    Effect.gen(function*() {
      const { client, server } = yield* both()
      yield* server.writer.write("tell me all")
      yield* server.writer.writeEof
      assert.strictEqual(toLatin1(yield* client.reader.readAll()), "tell me all")
      const all = yield* Effect.fork(server.reader.readAll())
      for (let i = 0; i < 64; i++) {
        yield* client.writer.write(mebibyte.subarray(i * 16_384, (i + 1) * 16_384))
      }
      yield* client.writer.writeEof
      assert.isTrue(Buffer.from(yield* Fiber.join(all)).equals(mebibyte))
      assert.strictEqual(yield* closeTag(client), "Peer")
      assert.strictEqual(yield* closeTag(server), "Peer")
    }))

  it.scopedLive("close after the peer's end is no loss of what was written in between", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.socket.end("question")
      assert.strictEqual(toLatin1(yield* connection.reader.readAll()), "question")
      yield* connection.writer.write(mebibyte)
      const close = yield* Effect.fork(connection.close)
      peer.read()
      yield* Fiber.join(close)
      yield* until(() => peer.closed)
      assert.isTrue(peer.received.equals(mebibyte))
      assert.isUndefined(peer.code)
      assert.strictEqual(yield* closeTag(connection), "Peer")
    }))
})

describe("a peer that is no friend", () => {
  it.scopedLive("resets in the middle of a line: the lines before it are served, then the error, and the rest is kept", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const { reader } = connection
      peer.socket.write("one\ntwo\nthr")
      yield* reader.peek(11)
      peer.socket.resetAndDestroy()
      assert.strictEqual(yield* closeTag(connection), "Failed Reset")
      assert.strictEqual(toLatin1(yield* reader.readLine), "one\n")
      assert.strictEqual(toLatin1(yield* reader.readExactly(4)), "two\n")
      for (const read of [reader.readLine, reader.readExactly(4), reader.readUntil("\n"), reader.readAll()]) {
        const error = yield* Effect.flip(read)
        assert(error._tag === "ConnectionError")
        assert.deepStrictEqual([error.reason, error.operation, error.code], [
          "Reset",
          "read",
          Option.some("ECONNRESET")
        ])
      }
      assert.strictEqual(toLatin1(yield* reader.read(100)), "thr")
      assert.strictEqual(reasonOf(yield* Effect.exit(reader.read(100))), "Reset")
      assert.isFalse(yield* reader.atEof)
    }))

  it.scopedLive("resets under a read that waits", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.socket.write("thr")
      yield* connection.reader.peek(3)
      const read = yield* Effect.fork(Effect.exit(connection.reader.readLine))
      yield* turns()
      peer.socket.resetAndDestroy()
      assert.strictEqual(reasonOf(yield* Fiber.join(read)), "Reset")
      assert.strictEqual(toLatin1(yield* connection.reader.read(10)), "thr")
    }))

  it.scopedLive("closes without a byte: that is an end of stream, not an error", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const { reader } = connection
      peer.socket.end()
      assert.strictEqual((yield* reader.read(10)).length, 0)
      assert.strictEqual((yield* reader.readLine).length, 0)
      assert.strictEqual(reasonOf(yield* Effect.exit(reader.readExactly(1))), "IncompleteReadError")
      assert.isTrue(yield* reader.atEof)
      yield* connection.close
      assert.strictEqual(yield* closeTag(connection), "Peer")
    }))

  it.scopedLive("closes in the middle of a line: the line's beginning is there, then the end", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.socket.end("one\ntw")
      assert.strictEqual(toLatin1(yield* connection.reader.readLine), "one\n")
      assert.strictEqual(toLatin1(yield* connection.reader.readLine), "tw")
      assert.strictEqual(toLatin1(yield* connection.reader.readLine), "")
    }))

  it.scopedLive("sends far more than the reader takes: it is stopped, and memory bounded", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ limit: 1024 })
      let sent = 0
      const send = () => {
        while (peer.socket.writable && peer.socket.write(mebibyte)) {
          sent += mebibyte.length
        }
      }
      peer.socket.on("drain", send)
      send()
      yield* connection.reader.peek(1)
      // It stands still.
      for (let seen = -1; seen !== peer.socket.bytesWritten - peer.socket.writableLength;) {
        seen = peer.socket.bytesWritten - peer.socket.writableLength
        yield* turns(200)
      }
      assert.isBelow(sent, 64 * mebibyte.length)
      let held = 0
      while (held < 4 * mebibyte.length) {
        held += (yield* connection.reader.read(100_000)).length
      }
      yield* connection.abort
    }))
})

describe("memory that readInto gives back", () => {
  /** A peer that sends that many mebibytes, then its end. */
  const sending = (mebibytes: number) =>
    Effect.map(dialled(), ({ connection, peer }) => {
      for (let i = 0; i < mebibytes; i++) {
        peer.socket.write(mebibyte)
      }
      peer.socket.end()
      return connection.reader
    })

  const isPattern = (bytes: Uint8Array, at: number): boolean =>
    bytes.every((byte, i) => byte === ((at + i) % mebibyte.length) % 251)

  it.scopedLive("is read into again: hardly any is allocated", () =>
    Effect.gen(function*() {
      const reader = yield* sending(32)
      const allocations = vi.spyOn(Buffer, "allocUnsafeSlow")
      yield* Effect.addFinalizer(() => Effect.sync(() => allocations.mockRestore()))
      const target = new Uint8Array(100_000)
      let at = 0
      for (let n = -1; n !== 0; at += n) {
        n = yield* reader.readInto(target)
        assert.isTrue(isPattern(target.subarray(0, n), at))
      }
      assert.strictEqual(at, 32 * mebibyte.length)
      // Of 64 KiB each, 512 would be needed.
      assert.isBelow(allocations.mock.calls.length, 100)
    }))

  it.scopedLive("is not what anybody was given before", () =>
    Effect.gen(function*() {
      const reader = yield* sending(16)
      const random = new Random(1)
      const given: Array<readonly [number, Uint8Array]> = []
      const target = new Uint8Array(150_000)
      let at = 0
      while (!(yield* reader.atEof)) {
        switch (random.between(0, 9)) {
          case 0: {
            given.push([at, yield* reader.peek(random.between(1, 70_000))])
            break
          }
          case 1: {
            const bytes = yield* reader.read(random.between(1, 70_000))
            given.push([at, bytes])
            const back = random.between(0, bytes.length)
            yield* reader.unread(bytes.subarray(bytes.length - back))
            at += bytes.length - back
            break
          }
          default: {
            const n = yield* reader.readInto(target.subarray(0, random.between(1, target.length)))
            assert.isTrue(isPattern(target.subarray(0, n), at))
            at += n
          }
        }
      }
      assert.strictEqual(at, 16 * mebibyte.length)
      assert.isAbove(given.length, 20)
      for (const [at, bytes] of given) {
        assert.isTrue(isPattern(bytes, at))
      }
    }))
})

describe("addresses", () => {
  it.scopedLive("are those of both ends, and outlive the end", () =>
    Effect.gen(function*() {
      const { client, server } = yield* both()
      assert.isTrue(Equal.equals(client.localAddress, server.remoteAddress))
      assert.isTrue(Equal.equals(client.remoteAddress, server.localAddress))
      const before = [client, server].map(({ localAddress, remoteAddress }) => [localAddress, remoteAddress])
      assert(client.localAddress._tag === "TcpAddress" && client.remoteAddress._tag === "TcpAddress")
      assert.strictEqual(client.localAddress.host, "127.0.0.1")
      assert.strictEqual(client.localAddress.family, 4)
      assert.notStrictEqual(client.localAddress.port, client.remoteAddress.port)
      yield* Effect.all([client.close, server.close], { concurrency: 2 })
      assert.deepStrictEqual(
        [client, server].map(({ localAddress, remoteAddress }) => [localAddress, remoteAddress]),
        before
      )
      assert.strictEqual(
        Address.format(client.remoteAddress),
        `127.0.0.1:${portOf({ addresses: [client.remoteAddress] })}`
      )
    }))
})

describe("the scope", () => {
  /** Opens in a scope of the test's own. */
  const inScope = (options: Partial<Network.ConnectOptions> = {}) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { connection, peer } = yield* Scope.extend(dialled(options), scope)
      return { connection, peer, scope }
    })

  it.scopedLive("closes the connection at its end, after everything was sent", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Effect.gen(function*() {
        const { client, server } = yield* both()
        yield* client.writer.write("the last words")
        const all = yield* Effect.fork(Effect.zipLeft(server.reader.readAll(), server.close))
        return { client, server: all }
      })
      yield* client.close
      assert.strictEqual(toLatin1(yield* Fiber.join(server)), "the last words")
    }))

  it.live("never fails, whatever became of the connection", () =>
    Effect.gen(function*() {
      const troubles: Record<
        string,
        (made: Effect.Effect.Success<ReturnType<typeof inScope>>) => Effect.Effect<unknown>
      > = {
        "reset by the peer": ({ peer }) => Effect.sync(() => peer.socket.resetAndDestroy()),
        "ended by the peer": ({ peer }) => Effect.sync(() => peer.socket.end()),
        "aborted here": ({ connection }) => connection.abort,
        "closed here": ({ connection, peer }) => (peer.read().socket.end(), connection.close),
        "jammed": ({ connection, peer }) => jam(connection, peer),
        "being read": ({ connection }) => Effect.fork(connection.reader.readLine)
      }
      for (const [name, trouble] of Object.entries(troubles)) {
        const made = yield* inScope({ closeTimeout: "50 millis" })
        yield* trouble(made)
        yield* turns()
        const exit = yield* Effect.exit(Scope.close(made.scope, Exit.void))
        assert.isTrue(Exit.isSuccess(exit), name)
        assert.isTrue(yield* made.connection.isClosing)
        yield* Effect.timeout(made.connection.awaitClosed, "1 second")
      }
    }))

  it.live("that ends by an interruption closes in order too", () =>
    Effect.gen(function*() {
      const got = yield* Deferred.make<readonly [Connection.Connection, RawPeer]>()
      const fiber = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
        const { connection, peer } = yield* dialled()
        yield* connection.writer.write("before it")
        yield* Deferred.succeed(got, [connection, peer] as const)
        return yield* Effect.never
      })))
      const [connection, peer] = yield* Deferred.await(got)
      peer.read()
      peer.socket.on("end", () => peer.socket.end())
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(peer.text, "before it")
      assert.strictEqual(yield* closeTag(connection), "Local")
      assert.isUndefined(peer.code)
    }))
})

describe("fromTransport", () => {
  it.scoped("checks its options, and lets go of the transport where they can't be right", () =>
    Effect.gen(function*() {
      for (
        const [options, message] of [
          [{ limit: 0 }, "limit must be a whole number, 1 or more, got 0"],
          [{ limit: 1.5 }, "limit must be a whole number, 1 or more, got 1.5"],
          [{ highWaterMark: -1 }, "highWaterMark must be a whole number, 0 or more, got -1"],
          [{ lowWaterMark: NaN }, "lowWaterMark must be a whole number, 0 or more, got NaN"],
          [{ highWaterMark: 10, lowWaterMark: 11 }, "lowWaterMark must not be above highWaterMark (10), got 11"],
          [{ closeTimeout: -1 }, "closeTimeout must be a duration, 0 or longer, got -1"]
        ] as ReadonlyArray<readonly [Connection.Options, string]>
      ) {
        const [near] = memoryPair()
        const exit = yield* Effect.exit(Connection.fromTransport(near, options))
        assert(Exit.isFailure(exit))
        const defect = Option.getOrUndefined(Cause.dieOption(exit.cause))
        assert(Cause.isIllegalArgumentException(defect), Cause.pretty(exit.cause))
        assert.strictEqual(defect.message, message)
        assert.isTrue(near.gone)
      }
    }))

  it.scoped("is known by its type, and pipes", () =>
    Effect.gen(function*() {
      const [near, far] = memoryPair()
      const connection = yield* Connection.fromTransport(near)
      yield* Effect.addFinalizer(() => Effect.sync(() => far.abort()))
      assert.isTrue(Connection.isConnection(connection))
      assert.isFalse(Connection.isConnection(connection.reader))
      assert.isFalse(Connection.isConnection(null))
      assert.strictEqual(connection.reader.limit, 65_536)
      yield* connection.writer.write(utf8("x"))
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    }))
})
