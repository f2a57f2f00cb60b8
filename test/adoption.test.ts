import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { once } from "node:events"
import * as Net from "node:net"
import * as Stream from "node:stream"
import type { Connection } from "../src/Connection.js"
import type { ListenOptions } from "../src/Network.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import { leavesNoHandles } from "./support/handles.js"
import { rawConnect, RawPeer, until } from "./support/rawPeer.js"

leavesNoHandles()

const v4 = "127.0.0.1"

/** The message of an argument that is refused. */
const refusal = (adopt: Effect.Effect<unknown, unknown>): Effect.Effect<string> =>
  Effect.map(Effect.exit(adopt), (exit) => {
    const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
    return Cause.isIllegalArgumentException(defect) ? defect.message : `not refused: ${exit}`
  })

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

/** A server that listens; its sockets end with the test. */
const listening = (onConnection?: (socket: Net.Socket) => void): Effect.Effect<Net.Server, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const server = Net.createServer(onConnection).listen(0, v4)
      await once(server, "listening")
      return server
    }),
    (server) => Effect.sync(() => server.close())
  )

const portOf = (server: Net.Server) => (server.address() as Net.AddressInfo).port

const echo = (socket: Net.Socket) => void socket.on("error", () => {}).pipe(socket)

/** A server that sends back what it gets, and a socket that has been connected to it. */
const echoed = Effect.gen(function*() {
  const server = yield* listening(echo)
  const socket = Net.connect(portOf(server), v4)
  yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
  yield* Effect.promise(() => once(socket, "connect"))
  return socket
})

const echoes = ({ reader, writer }: Connection) =>
  Effect.gen(function*() {
    yield* writer.write("hello")
    assert.strictEqual(text(yield* reader.readExactly(5)), "hello")
  })

describe("a stream that is adopted twice", () => {
  it.scopedLive("is refused the second time, and the first connection goes on", () =>
    Effect.gen(function*() {
      const socket = yield* echoed
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* NodeNetwork.fromSocket(socket)
        for (const again of [NodeNetwork.fromSocket(socket), NodeNetwork.fromDuplex(socket)]) {
          assert.match(yield* refusal(Effect.scoped(again)), /has been adopted already/)
        }
        yield* echoes(connection)
      }))
      assert.isTrue(socket.destroyed)
      assert.strictEqual((yield* Effect.flip(NodeNetwork.fromSocket(socket))).reason, "Closed")
    }))

  it.scopedLive("is refused while the first adoption waits for the socket to connect", () =>
    Effect.gen(function*() {
      const server = yield* listening(echo)
      let found = () => {}
      const lookup: Net.LookupFunction = (_host, _options, callback) => {
        found = () => callback(null, [{ address: v4, family: 4 }])
      }
      const socket = Net.connect({ host: "echo.test", port: portOf(server), lookup })
      const first = yield* Effect.fork(NodeNetwork.fromSocket(socket))
      yield* Effect.yieldNow()
      assert.match(yield* refusal(Effect.scoped(NodeNetwork.fromSocket(socket))), /has been adopted already/)
      found()
      yield* echoes(yield* Fiber.join(first))
    }))

  it.scopedLive("can be adopted again when it has been connected again", () =>
    Effect.gen(function*() {
      const socket = yield* echoed
      const { remotePort } = socket
      yield* Effect.scoped(NodeNetwork.fromSocket(socket))
      socket.connect(remotePort!, v4)
      yield* echoes(yield* NodeNetwork.fromSocket(socket))
    }))

  it.scopedLive("is refused whatever stream it is", () =>
    Effect.gen(function*() {
      const stream = new Stream.PassThrough()
      const connection = yield* NodeNetwork.fromDuplex(stream)
      assert.match(yield* refusal(Effect.scoped(NodeNetwork.fromDuplex(stream))), /has been adopted already/)
      yield* echoes(connection)
    }))
})

describe("an adopted socket", () => {
  it.scopedLive("is left alone where the arguments can't be right, which is said at once though it still connects", () =>
    Effect.gen(function*() {
      const unconnected = () => Net.connect({ host: "x.invalid", port: 1, lookup: () => {} })
      const strings = unconnected().setEncoding("utf8")
      const wrong: ReadonlyArray<readonly [socket: Net.Socket, options: object, message: RegExp]> = [
        [unconnected(), { limit: 0 }, /^limit must be .*got 0/],
        [unconnected(), { closeTimeout: -1 }, /^closeTimeout must be .*got -1/],
        [unconnected(), { noDelay: 1 }, /^noDelay must be .*got 1/],
        [unconnected(), { keepAlive: "often" }, /^keepAlive must be .*got "often"/],
        [strings, {}, /setEncoding\("utf8"\)/],
        [undefined as unknown as Net.Socket, {}, /^the stream must be given, got undefined/]
      ]
      for (const [socket, options, message] of wrong) {
        assert.match(yield* refusal(Effect.scoped(NodeNetwork.fromSocket(socket, options))), message)
        assert.isNotTrue(socket?.destroyed)
        assert.strictEqual(socket?.listenerCount("error") ?? 0, 0)
        socket?.destroy()
      }
    }))

  it.scopedLive("sends small writes at once and probes as it is told", () =>
    Effect.gen(function*() {
      const told = (options?: NodeNetwork.SocketOptions) =>
        Effect.gen(function*() {
          const calls: Array<ReadonlyArray<unknown>> = []
          const socket = yield* echoed
          const { setKeepAlive, setNoDelay } = socket
          socket.setNoDelay = (...args) => (calls.push(["noDelay", ...args]), setNoDelay.apply(socket, args))
          socket.setKeepAlive = (...args) => (calls.push(["keepAlive", ...args]), setKeepAlive.apply(socket, args))
          yield* Effect.scoped(Effect.flatMap(NodeNetwork.fromSocket(socket, options), echoes))
          return calls
        })
      assert.deepStrictEqual(yield* told(), [["noDelay", true]])
      assert.deepStrictEqual(yield* told({ noDelay: false, keepAlive: false }), [
        ["noDelay", false],
        ["keepAlive", false, 0]
      ])
      assert.deepStrictEqual(yield* told({ keepAlive: "1 minute" }), [
        ["noDelay", true],
        ["keepAlive", true, 60_000]
      ])
    }))
})

describe("an adopted stream that never says that it was destroyed", () => {
  const undying = () =>
    new Stream.Duplex({ read: () => {}, write: (_chunk, _encoding, callback) => callback(), destroy: () => {} })

  it.scoped("is closed within the time that a close may take, and a second", () =>
    Effect.gen(function*() {
      const connection = yield* NodeNetwork.fromDuplex(undying(), { closeTimeout: "10 seconds" })
      const close = yield* Effect.fork(connection.close)
      yield* TestClock.adjust("11 seconds")
      yield* Fiber.join(close)
      assert.strictEqual((yield* connection.awaitClosed)._tag, "Local")
    }))

  it.scoped("is aborted within a second, and its scope closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const connection = yield* Scope.extend(NodeNetwork.fromDuplex(undying()), scope)
      const abort = yield* Effect.fork(connection.abort)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(abort)
      assert.strictEqual((yield* connection.awaitClosed)._tag, "Aborted")
      yield* Scope.close(scope, Exit.void)
    }))
})

describe("a server that is adopted", () => {
  const greet = (greeting: string) => ({ writer }: Connection) => writer.write(greeting)

  const greeting = (server: Net.Server) =>
    Effect.scoped(Effect.gen(function*() {
      const peer = yield* rawConnect({ port: portOf(server), host: v4 })
      peer.read()
      yield* until(() => peer.ended)
      return peer.text
    }))

  it.scopedLive("twice is refused the second time, and serves each connection once", () =>
    Effect.gen(function*() {
      const server = yield* listening()
      yield* Effect.scoped(Effect.gen(function*() {
        yield* NodeNetwork.startServerOn(server, { gracePeriod: 0 }, greet("one"))
        assert.match(
          yield* refusal(Effect.scoped(NodeNetwork.startServerOn(server, { gracePeriod: 0 }, greet("two")))),
          /has been adopted already/
        )
        assert.strictEqual(yield* greeting(server), "one")
      }))
      assert.isFalse(server.listening)
    }))

  it.scopedLive("does not serve the sockets that its own listeners have adopted", () =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const server = yield* listening((socket) => {
        const own = NodeNetwork.fromSocket(socket).pipe(
          Effect.flatMap(({ close, reader, writer }) =>
            Effect.zipRight(Effect.flatMap(reader.readExactly(5), (bytes) => writer.write(bytes)), close)
          ),
          Effect.orDie,
          Scope.extend(scope)
        )
        Effect.runFork(own)
      })
      yield* NodeNetwork.startServerOn(server, { gracePeriod: 0 }, greet("ours"))
      const peer = yield* rawConnect({ port: portOf(server), host: v4 })
      peer.read().socket.write("hello")
      yield* until(() => peer.ended)
      assert.strictEqual(peer.text, "hello")
    }))

  it.scopedLive("can be adopted again when it was closed and listens again", () =>
    Effect.gen(function*() {
      const server = yield* listening()
      yield* Effect.scoped(NodeNetwork.startServerOn(server, { gracePeriod: 0 }, greet("one")))
      server.listen(0, v4)
      yield* Effect.promise(() => once(server, "listening"))
      yield* NodeNetwork.startServerOn(server, { gracePeriod: 0 }, greet("two"))
      assert.strictEqual(yield* greeting(server), "two")
    }))

  it.scopedLive("does not serve before startServing, where it is told so", () =>
    Effect.gen(function*() {
      const server = yield* listening()
      const options: ListenOptions = { startServing: false, gracePeriod: 0 }
      const served = yield* Deferred.make<void>()
      const adopted = yield* NodeNetwork.startServerOn(
        server,
        options,
        (connection) => Effect.zipRight(Deferred.succeed(served, undefined), greet("served")(connection))
      )
      assert.isFalse(yield* adopted.isServing)
      // The reset may come before the connection is known to be made.
      const peer = new RawPeer(Net.connect(portOf(server), v4)).read()
      yield* until(() => peer.closed)
      assert.strictEqual(peer.code, "ECONNRESET")
      assert.isFalse(yield* Deferred.isDone(served))
      yield* adopted.startServing
      assert.isTrue(yield* adopted.isServing)
      assert.strictEqual(yield* greeting(server), "served")
    }))

  it.scopedLive("has to be given, and to be told right", () =>
    Effect.gen(function*() {
      const server = yield* listening()
      const wrong: ReadonlyArray<readonly [server: unknown, options: object, message: RegExp]> = [
        [undefined, {}, /^server must be given, got undefined/],
        [null, {}, /^server must be given, got null/],
        [{ fd: undefined }, {}, /^fd must be given, got undefined/],
        [{ fd: null }, {}, /^fd must be given, got null/],
        [{ fd: "3" }, {}, /^fd must be .*got "3"/],
        [server, { startServing: "later" }, /^startServing must be .*got "later"/]
      ]
      for (const [server, options, message] of wrong) {
        const start = NodeNetwork.startServerOn(server as Net.Server, options, () => Effect.void)
        assert.match(yield* refusal(Effect.scoped(start)), message)
      }
      assert.isTrue(server.listening)
    }))
})
