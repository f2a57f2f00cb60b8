import { NodeSocket, NodeSocketServer } from "@effect/platform-node"
import * as Socket from "@effect/platform/Socket"
import * as SocketServer from "@effect/platform/SocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Address from "../src/Address.js"
import * as Conformance from "../src/Conformance.js"
import type * as Connection from "../src/Connection.js"
import * as Network from "../src/Network.js"
import { ConnectError, ConnectionError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as PlatformSocket from "../src/PlatformSocket.js"
import type * as Server from "../src/Server.js"
import * as TestNetwork from "../src/TestNetwork.js"
import { describeTls } from "./support/certificates.js"
import { Random, toLatin1, utf8 } from "./support/chunkings.js"
import { over } from "./support/conformance.js"
import { directory } from "./support/directory.js"
import { leavesNoHandles } from "./support/handles.js"
import { settle } from "./support/memoryTransport.js"
import { freePort, portOf, rawServer, turns, until } from "./support/rawPeer.js"
import { identity, trust } from "./support/tlsPeers.js"

leavesNoHandles()

/** Keeps the text that a socket receives. */
const keeping = () => {
  const kept = { text: "" }
  return {
    kept,
    keep: (bytes: Uint8Array): void => {
      kept.text += toLatin1(bytes)
    }
  }
}

const failureOf = <E>(exit: Exit.Exit<unknown, E>): E => {
  const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
  return Option.getOrThrowWith(Cause.failureOption(cause), () => new Error(`no failure: ${String(exit)}`))
}

const causeOf = (error: Socket.SocketError): unknown => (error as { readonly cause?: unknown }).cause

const reasonOf = (error: Socket.SocketError): string | undefined => {
  const cause = causeOf(error)
  return cause instanceof ConnectionError || cause instanceof ConnectError ? cause.reason : undefined
}

// -----------------------------------------------------------------------------
// the same program over NodeSocket and over ours
// -----------------------------------------------------------------------------

type Make = (port: number) => Effect.Effect<Socket.Socket, unknown, Scope.Scope>

const implementations: ReadonlyArray<readonly [string, Make]> = [
  ["NodeSocket", (port) => NodeSocket.makeNet({ host: "127.0.0.1", port })],
  ["ours", (port) => Effect.provide(PlatformSocket.makeSocket({ host: "127.0.0.1", port }), NodeNetwork.layer)]
]

const overBoth = (name: string, body: (make: Make) => Effect.Effect<void, unknown, Scope.Scope>): void => {
  for (const [implementation, make] of implementations) {
    it.scopedLive(`${name}: ${implementation}`, () => body(make))
  }
}

describe("what NodeSocket does", () => {
  overBoth("an end in order is a success", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const { keep, kept } = keeping()
      const fiber = yield* Effect.flatMap(make(port), (socket) => socket.run(keep)).pipe(Effect.fork)
      const peer = yield* accepted
      peer.socket.end("hello")
      yield* Fiber.join(fiber)
      assert.strictEqual(kept.text, "hello")
      // And then it is closed.
      peer.read()
      yield* until(() => peer.ended)
    }))

  overBoth("a reset is an error of reading", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const { keep, kept } = keeping()
      const fiber = yield* Effect.flatMap(make(port), (socket) => socket.run(keep)).pipe(Effect.exit, Effect.fork)
      const peer = yield* accepted
      peer.socket.write("hello")
      yield* until(() => kept.text === "hello")
      peer.socket.resetAndDestroy()
      const error = failureOf(yield* Fiber.join(fiber)) as Socket.SocketError
      assert.isTrue(Socket.isSocketError(error))
      assert.strictEqual(error.reason, "Read")
    }))

  for (const cause of [Cause.fail("boom"), Cause.die("boom")]) {
    overBoth(`a handler's ${cause._tag} is that of run, and closes the socket`, (make) =>
      Effect.gen(function*() {
        const { accepted, port } = yield* rawServer()
        const others = yield* Deferred.make<string>()
        const started = yield* Deferred.make<void>()
        const fiber = yield* Effect.flatMap(make(port), (socket) =>
          socket.run((bytes): Effect.Effect<unknown, string> =>
            toLatin1(bytes) === "first"
              ? Deferred.succeed(started, undefined).pipe(
                Effect.zipRight(Effect.never),
                Effect.onInterrupt(() =>
                  Deferred.succeed(others, "interrupted")
                )
              )
              : Effect.failCause(cause)
          )).pipe(Effect.exit, Effect.fork)
        const peer = yield* accepted
        peer.endsToo().read()
        peer.socket.write("first")
        yield* Deferred.await(started)
        peer.socket.write("second")
        assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.failCause(cause))
        assert.strictEqual(yield* Deferred.await(others), "interrupted")
        yield* until(() => peer.ended)
      }))
  }

  overBoth("an interruption closes the socket, also in what can't be interrupted", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const started = yield* Deferred.make<void>()
      const handler = yield* Deferred.make<void>()
      const fiber = yield* Effect.flatMap(make(port), (socket) =>
        socket.run(() =>
          Deferred.succeed(started, undefined).pipe(
            Effect.zipRight(Effect.never),
            Effect.onInterrupt(() =>
              Deferred.succeed(handler, undefined)
            )
          )
        )).pipe(Effect.uninterruptible, Effect.fork)
      const peer = yield* accepted
      peer.endsToo().read()
      peer.socket.write("x")
      yield* Deferred.await(started)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      yield* Deferred.await(handler)
      yield* until(() => peer.ended)
    }))

  overBoth("the end of a writer's scope is a FIN, and reading goes on", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const { keep, kept } = keeping()
      const socket = yield* make(port)
      const fiber = yield* socket.run(keep).pipe(Effect.fork)
      const peer = yield* accepted
      peer.read()
      yield* Effect.scoped(Effect.flatMap(socket.writer, (write) => write("question")))
      yield* until(() => peer.ended)
      assert.strictEqual(peer.text, "question")
      peer.socket.end("answer")
      yield* Fiber.join(fiber)
      assert.strictEqual(kept.text, "answer")
    }))

  overBoth("a CloseEvent with 1000 ends run with that code", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const socket = yield* make(port)
      const fiber = yield* socket.run(() => {}).pipe(Effect.exit, Effect.fork)
      const peer = yield* accepted
      peer.endsToo().read()
      const write = yield* socket.writer
      yield* write(new Socket.CloseEvent(1000))
      const error = failureOf(yield* Fiber.join(fiber))
      assert.isTrue(Socket.SocketCloseError.is(error) && error.code === 1000)
      yield* until(() => peer.ended)
    }))

  overBoth("onOpen comes before what arrives, and may wait for it", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const order: Array<string> = []
      const came = yield* Deferred.make<void>()
      const socket = yield* make(port)
      const fiber = yield* socket.run((bytes) => {
        order.push(toLatin1(bytes))
        Deferred.unsafeDone(came, Effect.void)
      }, {
        onOpen: Effect.sync(() => order.push("open")).pipe(
          Effect.zipRight(Deferred.await(came)),
          Effect.zipRight(Effect.sync(() => order.push("opened")))
        )
      }).pipe(Effect.fork)
      const peer = yield* accepted
      peer.socket.write("x")
      yield* until(() => order.length === 3)
      peer.socket.end()
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(order, ["open", "x", "opened"])
    }))

  overBoth("a handler may wait for what a later chunk brings", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const first = yield* Deferred.make<void>()
      const second = yield* Deferred.make<void>()
      const done = yield* Deferred.make<void>()
      const socket = yield* make(port)
      const fiber = yield* socket.run((bytes) =>
        toLatin1(bytes) === "1"
          ? Deferred.succeed(first, undefined).pipe(
            Effect.zipRight(Deferred.await(second)),
            Effect.zipRight(Deferred.succeed(done, undefined))
          )
          : Deferred.succeed(second, undefined)
      ).pipe(Effect.fork)
      const peer = yield* accepted
      peer.socket.write("1")
      yield* Deferred.await(first)
      peer.socket.write("2")
      yield* Deferred.await(done)
      peer.socket.end()
      yield* Fiber.join(fiber)
    }))

  overBoth("a handler that is interrupted has not failed", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const socket = yield* make(port)
      const fiber = yield* socket.run(() => Effect.interrupt).pipe(Effect.fork)
      const peer = yield* accepted
      peer.socket.end("x")
      yield* Fiber.join(fiber)
    }))

  overBoth("running it again connects again, and the writer goes on there", (make) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const socket = yield* make(port)
      const write = yield* socket.writer
      for (const round of ["one", "two"]) {
        const { keep, kept } = keeping()
        const opened = yield* Deferred.make<void>()
        const fiber = yield* socket.run(keep, { onOpen: Deferred.succeed(opened, undefined) }).pipe(Effect.fork)
        yield* Deferred.await(opened)
        yield* write(round)
        const peer = yield* accepted
        peer.read()
        yield* until(() => peer.text === round)
        peer.socket.end(`${round}!`)
        yield* Fiber.join(fiber)
        assert.strictEqual(kept.text, `${round}!`)
      }
    }))
})

// -----------------------------------------------------------------------------
// fromConnection
// -----------------------------------------------------------------------------

/** A socket and its peer, in memory. */
const pair = (options?: PlatformSocket.Options, pairOptions?: TestNetwork.PairOptions) =>
  Effect.map(TestNetwork.pair(pairOptions), ([connection, peer]) => ({
    connection,
    peer,
    socket: PlatformSocket.fromConnection(connection, options)
  }))

describe("fromConnection", () => {
  it.scoped("lets handlers finish after the end", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      let handled = ""
      const fiber = yield* socket.run((bytes) =>
        Effect.delay(
          Effect.sync(() => {
            handled += toLatin1(bytes)
          }),
          "4 seconds"
        )
      ).pipe(Effect.fork)
      yield* peer.writer.write("data")
      yield* peer.writer.writeEof
      yield* settle
      yield* TestClock.adjust("3999 millis")
      assert.isNull(yield* Fiber.poll(fiber).pipe(Effect.map(Option.getOrNull)))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(fiber)
      assert.strictEqual(handled, "data")
    }))

  it.scoped("interrupts handlers that are late, and says so", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      let interrupted = 0
      const fiber = yield* socket.run(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)))
        .pipe(Effect.exit, Effect.fork)
      yield* peer.writer.write("data")
      yield* peer.writer.writeEof
      yield* settle
      yield* TestClock.adjust("5 seconds")
      const error = failureOf(yield* Fiber.join(fiber))
      assert.strictEqual(error.reason, "Read")
      assert.include(String(causeOf(error)), "1 handler had not returned 5s after the end")
      assert.strictEqual(interrupted, 1)
    }))

  it.scoped("interrupts them at once where it is told to, which is no failure", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair({ finishTimeout: 0 })
      let interrupted = 0
      const fiber = yield* socket.run(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)))
        .pipe(Effect.fork)
      yield* peer.writer.write("data")
      yield* peer.writer.writeEof
      yield* Fiber.join(fiber)
      assert.strictEqual(interrupted, 1)
    }))

  it.scoped("answers a peer that has ended its side, and does not close", () =>
    Effect.gen(function*() {
      const { connection, peer, socket } = yield* pair()
      const write = yield* socket.writer
      yield* peer.writer.write("question")
      yield* peer.writer.writeEof
      yield* socket.run((bytes) => write(`${toLatin1(bytes)}?`))
      yield* write(" that is all")
      assert.isFalse(yield* connection.isClosing)
      yield* connection.writer.writeEof
      assert.strictEqual(toLatin1(yield* peer.reader.readAll()), "question? that is all")
    }))

  it.scoped("writes strings and bytes before it is run", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      const write = yield* socket.writer
      yield* write("grün ")
      yield* write(utf8("bytes"))
      assert.strictEqual(new TextDecoder().decode(yield* peer.reader.readExactly(11)), "grün bytes")
    }))

  it.scoped("fails to write after the end, and when the connection ends while a write waits", () =>
    Effect.gen(function*() {
      const { connection, peer, socket } = yield* pair()
      const write = yield* socket.writer
      const waiting = yield* write(new Uint8Array(10_000_000)).pipe(Effect.flip, Effect.fork)
      yield* settle
      assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)))
      yield* peer.abort
      const error = yield* Fiber.join(waiting)
      assert.deepStrictEqual([error.reason, reasonOf(error)], ["Write", "Reset"])
      yield* connection.awaitClosed
      const after = yield* Effect.flip(write("x"))
      assert.deepStrictEqual([after.reason, reasonOf(after)], ["Write", "Reset"])
      const run = yield* Effect.flip(socket.run(() => {}))
      assert.deepStrictEqual([run.reason, reasonOf(run)], ["Read", "Reset"])
    }))

  it.scoped("delivers what came before a reset, and then fails", () =>
    Effect.gen(function*() {
      const { connection, peer, socket } = yield* pair()
      yield* peer.writer.write("all of it")
      yield* settle
      yield* peer.abort
      yield* connection.awaitClosed
      const { keep, kept } = keeping()
      const error = yield* Effect.flip(socket.run(keep))
      assert.deepStrictEqual([error.reason, reasonOf(error)], ["Read", "Reset"])
      assert.strictEqual(kept.text, "all of it")
    }))

  for (const [end, code] of [["close", 1000], ["abort", 1006]] as const) {
    it.scoped(`ends with ${code} where this side has done ${end}`, () =>
      Effect.gen(function*() {
        const { connection, socket } = yield* pair()
        const fiber = yield* socket.run(() => {}).pipe(Effect.flip, Effect.fork)
        yield* settle
        yield* connection[end].pipe(Effect.fork)
        const error = yield* Fiber.join(fiber)
        assert.isTrue(Socket.SocketCloseError.is(error) && error.code === code, String(error))
        assert.instanceOf(causeOf(error), ConnectionError)
      }))
  }

  it.scoped("a CloseEvent closes in order, after what was written, and keeps its code", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      const write = yield* socket.writer
      const fiber = yield* socket.run(() => {}).pipe(Effect.flip, Effect.fork)
      yield* write("last words")
      yield* write(new Socket.CloseEvent(1009, "too big"))
      assert.strictEqual((yield* Effect.flip(write("more"))).reason, "Write")
      // A second one changes nothing.
      yield* write(new Socket.CloseEvent(1001))
      assert.strictEqual(toLatin1(yield* peer.reader.readAll()), "last words")
      const error = yield* Fiber.join(fiber)
      assert.isTrue(Socket.SocketCloseError.is(error))
      assert.include(error, { code: 1009, closeReason: "too big", message: "Close: 1009: too big" })
    }))

  it.scoped("a run that is interrupted leaves the rest to the next", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      const first = keeping()
      const fiber = yield* socket.run(first.keep).pipe(Effect.fork)
      yield* peer.writer.write("one")
      yield* settle
      yield* Fiber.interrupt(fiber)
      yield* peer.writer.write("two")
      yield* peer.writer.writeEof
      const second = keeping()
      yield* socket.run(second.keep)
      assert.deepStrictEqual([first.kept.text, second.kept.text], ["one", "two"])
    }))

  it.scoped("loses nothing and repeats nothing, wherever it is interrupted", () =>
    Effect.gen(function*() {
      const random = new Random(1)
      const { peer, socket } = yield* pair(undefined, { conditions: { fragment: "random" } })
      const total = 200_000
      const sent = Buffer.from(Uint8Array.from({ length: total }, (_, i) => i * 31 >> 3))
      yield* Effect.gen(function*() {
        for (let at = 0; at < total; at += 500) {
          yield* peer.writer.write(sent.subarray(at, at + 500))
          yield* random.chance(0.5) ? turns(1) : Effect.yieldNow()
        }
        yield* peer.writer.writeEof
      }).pipe(Effect.forkScoped)
      const received: Array<Uint8Array> = []
      let interruptions = 0
      let done = false
      while (!done) {
        const fiber = yield* socket.run(
          (bytes) => {
            received.push(bytes)
            return random.chance(0.3) ? Effect.yieldNow() : undefined
          },
          random.chance(0.3) ? { onOpen: Effect.yieldNow() } : undefined
        ).pipe(Effect.fork)
        for (let i = random.between(0, 30); i > 0; i--) {
          yield* Effect.yieldNow()
        }
        if (random.chance(0.5)) {
          yield* turns(1)
        }
        const exit = yield* Fiber.interrupt(fiber)
        interruptions += Exit.isInterrupted(exit) ? 1 : 0
        done = Exit.isSuccess(exit)
      }
      assert.isTrue(Buffer.concat(received).equals(sent))
      assert.isAbove(interruptions, 10)
    }))

  it.scoped("interrupts handlers with run, and waits for them", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      let finalized = false
      const fiber = yield* socket.run(() =>
        Effect.onInterrupt(Effect.never, () =>
          Effect.zipRight(
            Effect.sleep("1 second"),
            Effect.sync(() => {
              finalized = true
            })
          ))
      ).pipe(Effect.fork)
      yield* peer.writer.write("x")
      yield* settle
      const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* settle
      assert.isTrue(Option.isNone(yield* Fiber.poll(interruption)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(interruption)
      assert.isTrue(finalized)
    }))

  it.scoped("can be interrupted, handlers and all, by who can't be", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      let interrupted = 0
      const fiber = yield* socket.run(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)))
        .pipe(Effect.uninterruptible, Effect.fork)
      yield* peer.writer.write("x")
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(interrupted, 1)
    }))

  it.scoped("handles chunk after chunk where it is told to", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair({ concurrency: 1 })
      const order: Array<string> = []
      const fiber = yield* socket.run((bytes) =>
        Effect.sync(() => order.push(`begin ${toLatin1(bytes)}`)).pipe(
          Effect.zipRight(Effect.sleep("1 second")),
          Effect.zipRight(Effect.sync(() => order.push(`end ${toLatin1(bytes)}`)))
        )
      ).pipe(Effect.fork)
      for (const chunk of ["1", "2", "3"]) {
        yield* peer.writer.write(chunk)
        yield* settle
      }
      assert.deepStrictEqual(order, ["begin 1"])
      yield* peer.writer.writeEof
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("1 second")
        yield* settle
      }
      yield* Fiber.join(fiber)
      // What came while the first was at work is one chunk.
      assert.deepStrictEqual(order, ["begin 1", "end 1", "begin 23", "end 23"])
    }))

  it.scoped("starts so many handlers at once, and no more", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair({ concurrency: 3 })
      const gate = yield* Effect.makeLatch(false)
      let started = 0
      const fiber = yield* socket.run(() => Effect.zipRight(Effect.sync(() => started++), gate.await)).pipe(
        Effect.fork
      )
      for (let i = 0; i < 10; i++) {
        yield* peer.writer.write("x")
        yield* settle
      }
      assert.strictEqual(started, 3)
      yield* peer.writer.writeEof
      yield* gate.open
      yield* Fiber.join(fiber)
      assert.strictEqual(started, 4)
    }))

  it.scoped("counts small chunks as a kilobyte", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair({ window: 8192 })
      let started = 0
      const fiber = yield* socket.run(() => Effect.zipRight(Effect.sync(() => started++), Effect.never)).pipe(
        Effect.fork
      )
      for (let i = 0; i < 20; i++) {
        yield* peer.writer.write("x")
        yield* settle
      }
      assert.strictEqual(started, 8)
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("holds the peer up while handlers are busy", () =>
    Effect.gen(function*() {
      const { connection, peer, socket } = yield* pair({ finishTimeout: Duration.infinity })
      const total = 50_000_000
      const piece = new Uint8Array(50_000)
      let sent = 0
      let begun = 0
      let handled = 0
      let mostHeld = 0
      let mostOnTheWay = 0
      const sending = Effect.gen(function*() {
        for (; sent < total; sent += piece.length) {
          yield* peer.writer.write(piece)
        }
        yield* peer.writer.writeEof
      })
      const running = socket.run((bytes) =>
        Effect.gen(function*() {
          begun += bytes.length
          mostHeld = Math.max(mostHeld, begun - handled)
          mostOnTheWay = Math.max(mostOnTheWay, sent - handled)
          yield* Effect.sleep("100 millis")
          handled += bytes.length
        })
      )
      yield* Effect.all([sending, running], { concurrency: 2 })
      assert.strictEqual(handled, total)
      const { limit } = connection.reader
      assert.isAtMost(mostHeld, 1024 * 1024 + 65_536)
      // The window; the reader's buffer; the link and the writer's buffer, each at most 64 KiB and a chunk.
      assert.isAtMost(mostOnTheWay, 1024 * 1024 + 65_536 + 2 * limit + 65_536 + 4 * 65_536)
      assert.isAbove(mostHeld, 512 * 1024)
    }).pipe(Effect.scoped, TestNetwork.simulate), 60_000)

  it.scoped("a handler that throws is a defect, and no end of the process", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      yield* peer.writer.write("x")
      const exit = yield* Effect.exit(socket.run(() => {
        throw new Error("boom")
      }))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
    }))

  it.scoped("a handler has the services of whoever runs the socket", () =>
    Effect.gen(function*() {
      class Name extends Context.Tag("Name")<Name, string>() {}
      const { peer, socket } = yield* pair()
      yield* peer.writer.write("x")
      yield* peer.writer.writeEof
      let name = ""
      yield* socket.run(() =>
        Effect.map(Effect.zipRight(Effect.yieldNow(), Name), (it) => {
          name = it
        })
      ).pipe(Effect.provideService(Name, "ada"))
      assert.strictEqual(name, "ada")
    }))

  it("refuses options that can't be right", () => {
    const connection = {} as Connection.Connection
    assert.throws(() => PlatformSocket.fromConnection(connection, { concurrency: 0 }), /concurrency must be/)
    assert.throws(() => PlatformSocket.fromConnection(connection, { window: -1 }), /window must be/)
    assert.throws(() => PlatformSocket.fromConnection(connection, { finishTimeout: "-1 seconds" }), /finishTimeout/)
  })
})

// -----------------------------------------------------------------------------
// makeSocket, layerSocket
// -----------------------------------------------------------------------------

/** Takes the connections of a server one by one. */
const collecting = (options: Partial<Network.ListenOptions> = {}) =>
  Effect.gen(function*() {
    const connections = yield* Queue.unbounded<Connection.Connection>()
    const server = yield* Network.startServer(
      { host: "127.0.0.1", port: 0, gracePeriod: 0, ...options },
      (connection) => Effect.zipRight(Queue.offer(connections, connection), connection.awaitClosed)
    )
    return { port: portOf(server), next: Queue.take(connections) }
  })

describe("makeSocket", () => {
  it.effect("fails as opening a connection does", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(PlatformSocket.makeSocket({ host: "127.0.0.1", port: 9 }))
      assert.strictEqual(error._tag === "ConnectError" && error.reason, "Refused")
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer)))

  it.effect("fails to open again as run", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* Scope.extend(collecting(), scope)
      const socket = yield* PlatformSocket.makeSocket({ host: "127.0.0.1", port: server.port })
      const run = yield* socket.run(() => {}).pipe(Effect.fork)
      yield* Effect.flatMap(server.next, (connection) => connection.close)
      yield* Fiber.join(run)
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(socket.run(() => {}))
      assert.deepStrictEqual([error.reason, reasonOf(error)], ["Open", "Refused"])
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer)))

  it.effect("fails with OpenTimeout where that takes too long", () =>
    Effect.gen(function*() {
      const { next, port } = yield* collecting()
      const socket = yield* PlatformSocket.makeSocket({ host: "127.0.0.1", port, connectTimeout: "3 seconds" })
      const write = yield* socket.writer
      const run = yield* socket.run(() => {}).pipe(Effect.fork)
      yield* Effect.flatMap(next, (connection) => connection.close)
      yield* Fiber.join(run)
      yield* TestNetwork.failConnect({ port }, { code: "ETIMEDOUT" })
      const again = yield* socket.run(() => {}).pipe(Effect.flip, Effect.fork)
      yield* settle
      // Who writes meanwhile is told the same.
      const writing = yield* write("x").pipe(Effect.flip, Effect.fork)
      yield* settle
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(again)
      assert.deepStrictEqual([error.reason, reasonOf(error)], ["OpenTimeout", "TimedOut"])
      assert.strictEqual((yield* Fiber.join(writing)).reason, "OpenTimeout")
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer)))

  it.effect("a write waits while a connection is being opened, and fails while none is", () =>
    Effect.gen(function*() {
      const { next, port } = yield* collecting()
      const socket = yield* PlatformSocket.makeSocket({ host: "127.0.0.1", port })
      const write = yield* socket.writer
      const first = yield* next
      yield* write("before")
      assert.strictEqual(toLatin1(yield* first.reader.readExactly(6)), "before")
      const run = yield* socket.run(() => {}).pipe(Effect.fork)
      yield* first.close
      yield* Fiber.join(run)

      const error = yield* Effect.flip(write("between"))
      assert.strictEqual(error.reason, "Write")
      assert.include(String(causeOf(error)), "the next `run` opens another")

      yield* TestNetwork.setConditions({ latency: "1 second" })
      const again = yield* socket.run(() => {}).pipe(Effect.fork)
      yield* settle
      const writing = yield* write("again").pipe(Effect.fork)
      yield* settle
      assert.isTrue(Option.isNone(yield* Fiber.poll(writing)))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(writing)
      const second = yield* next
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(toLatin1(yield* second.reader.readExactly(5)), "again")
      yield* Fiber.interruptFork(again)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.await(again)
      assert.strictEqual((yield* Effect.flip(write("after"))).reason, "Write")
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer)), 20_000)

  it.effect("an interruption while it opens again leaves nothing", () =>
    Effect.gen(function*() {
      const { next, port } = yield* collecting()
      const socket = yield* PlatformSocket.makeSocket({ host: "127.0.0.1", port })
      const write = yield* socket.writer
      const run = yield* socket.run(() => {}).pipe(Effect.fork)
      yield* Effect.flatMap(next, (connection) => connection.close)
      yield* Fiber.join(run)
      yield* TestNetwork.failConnect({ port }, { code: "ETIMEDOUT" })
      const again = yield* socket.run(() => {}).pipe(Effect.fork)
      yield* settle
      const writing = yield* write("x").pipe(Effect.flip, Effect.fork)
      yield* settle
      yield* Fiber.interrupt(again)
      assert.strictEqual((yield* Fiber.join(writing)).reason, "Write")
      yield* settle
      assert.strictEqual(yield* TestNetwork.openConnections, 0)
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer)))

  it.effect("its scope closes a connection that nobody has run", () =>
    Effect.gen(function*() {
      const { next, port } = yield* collecting()
      const accepted = yield* Effect.scoped(
        Effect.zipRight(PlatformSocket.makeSocket({ host: "127.0.0.1", port }), next)
      )
      assert.strictEqual(toLatin1(yield* accepted.reader.readAll()), "")
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer), TestNetwork.simulate))

  it.effect("ends its run with its scope, and runs no more", () =>
    Effect.gen(function*() {
      const { port } = yield* collecting()
      const scope = yield* Scope.make()
      const socket = yield* Scope.extend(PlatformSocket.makeSocket({ host: "127.0.0.1", port }), scope)
      const run = yield* socket.run(() => {}).pipe(Effect.flip, Effect.fork)
      yield* Effect.sleep("1 second")
      yield* Scope.close(scope, Exit.void)
      for (const error of [yield* Fiber.join(run), yield* Effect.flip(socket.run(() => {}))]) {
        assert.isTrue(Socket.SocketCloseError.is(error) && error.code === 1000)
      }
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer), TestNetwork.simulate))

  it.effect("refuses options that can't be right", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(PlatformSocket.makeSocket({ host: "127.0.0.1", port: 1, window: 0 }))
      assert.include(String(exit), "window must be")
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer)))
})

/** Written for any socket of the platform's. */
const shouting = Effect.gen(function*() {
  const socket = yield* Socket.Socket
  return yield* Stream.make("one\n", "two\n").pipe(
    Stream.pipeThroughChannel(Socket.toChannelString(socket)),
    Stream.splitLines,
    Stream.runCollect,
    Effect.map((lines) => Array.from(lines))
  )
})

const shout = ({ reader, writer }: Connection.Connection) =>
  Stream.run(Stream.map(reader.lines(), (line) => `${line.toUpperCase()}\n`), writer.sink)

describe("layerSocket", () => {
  it.effect("serves a program with channels, over a network in memory", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ port: 7 }, shout)
      const lines = yield* Effect.provide(shouting, PlatformSocket.layerSocket({ host: "localhost", port: 7 }))
      assert.deepStrictEqual(lines, ["ONE", "TWO"])
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layerWith({ conditions: { fragment: 1 } }))))

  it.scopedLive("and over a Unix socket", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/socket`
      yield* Network.startUnixServer(path, {}, shout)
      assert.deepStrictEqual(yield* Effect.provide(shouting, PlatformSocket.layerUnixSocket(path)), ["ONE", "TWO"])
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.effect("a channel's bytes all arrive, and so does the end", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ port: 7 }, ({ reader, writer }) => Stream.run(reader.bytes, writer.sink))
      const socket = yield* PlatformSocket.makeSocket({ host: "localhost", port: 7 })
      const pieces = Array.from({ length: 100 }, (_, i) => new Uint8Array(10_000).fill(i))
      const echoed = yield* Stream.fromIterable(pieces).pipe(
        Stream.pipeThroughChannel(Socket.toChannel(socket)),
        Stream.runCollect
      )
      assert.isTrue(Buffer.concat(Array.from(echoed)).equals(Buffer.concat(pieces)))
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer)))

  describeTls("with TLS", () => {
    it.scopedLive("is dialled and reconnects over TLS", () =>
      Effect.gen(function*() {
        const server = yield* Network.startServer({ host: "127.0.0.1", port: 0, tls: identity() }, shout)
        const Secure = PlatformSocket.layerSocket({
          host: "127.0.0.1",
          port: portOf(server),
          tls: { ...trust(), serverName: "localhost" }
        })
        const twice = Effect.zip(shouting, shouting)
        assert.deepStrictEqual(yield* Effect.provide(twice, Secure), [["ONE", "TWO"], ["ONE", "TWO"]])
      }).pipe(Effect.provide(NodeNetwork.layer)))

    it.scopedLive("is served over TLS", () =>
      Effect.gen(function*() {
        const server = yield* PlatformSocket.makeServer({ host: "127.0.0.1", port: 0, tls: identity() })
        yield* server.run(echo).pipe(Effect.forkScoped)
        const lines = yield* shouting.pipe(Effect.provide(PlatformSocket.layerSocket({
          host: "127.0.0.1",
          port: server.address._tag === "TcpAddress" ? server.address.port : 0,
          tls: { ...trust(), serverName: "localhost" }
        })))
        assert.deepStrictEqual(lines, ["one", "two"])
      }).pipe(Effect.provide(NodeNetwork.layer)))

    it.scopedLive("fails with a TlsError", () =>
      Effect.gen(function*() {
        const server = yield* Network.startServer({
          host: "127.0.0.1",
          port: 0,
          tls: identity(),
          onError: () => Effect.void
        }, shout)
        const error = yield* shouting.pipe(
          Effect.provide(PlatformSocket.layerSocket({ host: "127.0.0.1", port: portOf(server), tls: true })),
          Effect.flip
        )
        assert.strictEqual(error._tag === "TlsError" && error.reason, "CertificateRejected")
      }).pipe(Effect.provide(NodeNetwork.layer)))
  })
})

// -----------------------------------------------------------------------------
// makeServer, layerServer
// -----------------------------------------------------------------------------

/** Written for any server of the platform's. */
const echo = (socket: Socket.Socket) =>
  Effect.scoped(Effect.flatMap(socket.writer, (write) => socket.run((bytes) => write(bytes))))

const askFor = (port: number, question: string) =>
  Effect.scoped(Effect.gen(function*() {
    const { reader, writer } = yield* Network.openConnection({ host: "localhost", port })
    yield* writer.write(question)
    yield* writer.writeEof
    return toLatin1(yield* reader.readAll())
  }))

/** Waits for the end of what has been sent, and never ends by itself. */
const neverEnding = () => Effect.never

const virtually = (
  name: string,
  body: Effect.Effect<void, unknown, Network.Network | TestNetwork.TestNetwork | Scope.Scope>
) => it.effect(name, () => body.pipe(Effect.scoped, Effect.provide(TestNetwork.layer), TestNetwork.simulate))

describe("makeServer", () => {
  virtually(
    "serves connections, those among them that came before it was run",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({ port: 7 })
      const early = yield* Effect.fork(Effect.all([askFor(7, "one"), askFor(7, "two")], { concurrency: 2 }))
      yield* Effect.sleep("1 second")
      assert.isTrue(Option.isNone(yield* Fiber.poll(early)))
      yield* server.run(echo).pipe(Effect.forkScoped)
      assert.deepStrictEqual(yield* Fiber.join(early), ["one", "two"])
      assert.strictEqual(yield* askFor(7, "three"), "three")
    })
  )

  virtually(
    "knows its address from the start",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({ host: "127.0.0.1", port: 0 })
      assert.strictEqual(server.address._tag, "TcpAddress")
      assert.isAbove(server.address._tag === "TcpAddress" ? server.address.port : 0, 0)
      const unix = yield* PlatformSocket.makeUnixServer("/run/socket", {})
      assert.deepStrictEqual(unix.address, { _tag: "UnixAddress", path: "/run/socket" })
    })
  )

  virtually(
    "lets so many wait as its backlog, resets who comes on top, and has room again when one goes",
    Effect.gen(
      function*() {
        const reports: Array<Server.ServerError> = []
        const server = yield* PlatformSocket.makeServer({
          port: 7,
          backlog: 2,
          onError: (error) => Effect.sync(() => reports.push(error))
        })
        const connect = Network.openConnection({ host: "localhost", port: 7 })
        const first = yield* connect
        const second = yield* connect
        const third = yield* connect
        assert.strictEqual((yield* Effect.flip(third.reader.read(1))).reason, "Reset")
        assert.strictEqual(reports.length, 1)
        const told = Cause.squash(reports[0]!.cause)
        assert.instanceOf(told, SocketServer.SocketServerError)
        assert.include(String(told.cause), "2 connections wait")

        yield* first.abort
        // The end of its side does not mean that a client has gone.
        yield* second.writer.write("still here")
        yield* second.writer.writeEof
        yield* Effect.sleep("2 seconds")
        const fourth = yield* Effect.fork(askFor(7, "four"))
        yield* Effect.sleep("2 seconds")
        yield* server.run(echo).pipe(Effect.forkScoped)
        assert.strictEqual(toLatin1(yield* second.reader.readAll()), "still here")
        assert.strictEqual(yield* Fiber.join(fourth), "four")
        assert.strictEqual(reports.length, 1)
      }
    )
  )

  virtually(
    "gives connections to the run that was called last, and then to the one before",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({ port: 7 })
      const greeting = (text: string) => (socket: Socket.Socket) =>
        Effect.scoped(Effect.flatMap(socket.writer, (write) => write(text)))
      yield* server.run(greeting("first")).pipe(Effect.forkScoped)
      assert.strictEqual(yield* askFor(7, ""), "first")
      const second = yield* server.run(greeting("second")).pipe(Effect.fork)
      yield* Effect.yieldNow()
      assert.strictEqual(yield* askFor(7, ""), "second")
      yield* Fiber.interrupt(second)
      assert.strictEqual(yield* askFor(7, ""), "first")
    })
  )

  virtually(
    "lets the handlers of a run that is interrupted finish, and gives it no more",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({ port: 7, gracePeriod: "10 seconds" })
      const run = yield* server.run((socket) =>
        Effect.scoped(Effect.flatMap(socket.writer, (write) => Effect.delay(write("late"), "6 seconds")))
      ).pipe(Effect.fork)
      const asking = yield* Effect.fork(askFor(7, ""))
      yield* Effect.sleep("1 second")
      const before = yield* Clock.currentTimeMillis
      const interruption = yield* Effect.fork(Fiber.interrupt(run))
      yield* Effect.sleep("1 second")
      const waiting = yield* Effect.fork(askFor(7, "next"))
      assert.strictEqual(yield* Fiber.join(asking), "late")
      yield* Fiber.join(interruption)
      assert.strictEqual((yield* Clock.currentTimeMillis) - before, 5000)
      assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)))
      yield* server.run(echo).pipe(Effect.forkScoped)
      assert.strictEqual(yield* Fiber.join(waiting), "next")
    })
  )

  virtually(
    "interrupts handlers that do not finish, and leaves those that can't be interrupted",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({ port: 7, gracePeriod: "2 seconds" })
      let interrupted = 0
      const run = yield* server.run((socket) =>
        socket.run((bytes) =>
          toLatin1(bytes) === "stubborn"
            ? Effect.uninterruptible(Effect.sleep("1 hour"))
            : Effect.void
        ).pipe(Effect.onInterrupt(() => Effect.sync(() => interrupted++)))
      ).pipe(Effect.fork)
      const idle = yield* Network.openConnection({ host: "localhost", port: 7 })
      const stubborn = yield* Network.openConnection({ host: "localhost", port: 7 })
      yield* stubborn.writer.write("stubborn")
      yield* Effect.sleep("1 second")
      const before = yield* Clock.currentTimeMillis
      yield* Fiber.interrupt(run)
      assert.strictEqual((yield* Clock.currentTimeMillis) - before, 3000)
      assert.strictEqual(interrupted, 1)
      assert.strictEqual(toLatin1(yield* idle.reader.readAll()), "")
    })
  )

  virtually(
    "interrupts handlers that only wait, and waits for them",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({ port: 7, gracePeriod: 0 })
      let finalized = 0
      const run = yield* server.run(() =>
        Effect.onInterrupt(Effect.never, () => Effect.delay(Effect.sync(() => finalized++), "500 millis"))
      ).pipe(Effect.fork)
      yield* Network.openConnection({ host: "localhost", port: 7 })
      yield* Effect.sleep("1 second")
      const before = yield* Clock.currentTimeMillis
      yield* Fiber.interrupt(run)
      assert.strictEqual((yield* Clock.currentTimeMillis) - before, 500)
      assert.strictEqual(finalized, 1)
    })
  )

  virtually(
    "closes those who wait with its scope, at once",
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.extend(PlatformSocket.makeServer({ port: 7 }), scope)
      const { reader, writer } = yield* Network.openConnection({ host: "localhost", port: 7 })
      yield* writer.writeEof
      yield* Effect.sleep("1 second")
      const before = yield* Clock.currentTimeMillis
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Clock.currentTimeMillis) - before, 0)
      assert.strictEqual(toLatin1(yield* reader.readAll()), "")
    })
  )

  virtually(
    "lets handlers finish when its scope closes, and then ends run",
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* Scope.extend(PlatformSocket.makeServer({ port: 7, gracePeriod: "5 seconds" }), scope)
      const run = yield* server.run((socket) =>
        Effect.scoped(Effect.flatMap(socket.writer, (write) => Effect.delay(write("late"), "3 seconds")))
      ).pipe(Effect.flip, Effect.fork)
      const asking = yield* Effect.fork(askFor(7, ""))
      yield* Effect.sleep("1 second")
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Fiber.join(asking), "late")
      const error = yield* Fiber.join(run)
      assert.strictEqual(error.reason, "Unknown")
      assert.include(String(error.cause), "the server was closed")
    })
  )

  virtually(
    "reports what handlers fail with, and closes their connections",
    Effect.gen(function*() {
      const reports: Array<Server.ServerError> = []
      const server = yield* PlatformSocket.makeServer({
        port: 7,
        onError: (error) => Effect.sync(() => reports.push(error))
      })
      let calls = 0
      yield* server.run((): Effect.Effect<void, string> => {
        calls++
        if (calls === 1) {
          throw new Error("thrown")
        }
        return calls === 2 ? Effect.fail("failed") : Effect.void
      }).pipe(Effect.forkScoped)
      // The third does not even run its socket.
      for (let i = 0; i < 3; i++) {
        assert.strictEqual(yield* askFor(7, ""), "")
      }
      assert.deepStrictEqual(reports.map((report) => [report.phase, String(Cause.squash(report.cause))]), [
        ["handler", "Error: thrown"],
        ["handler", "failed"]
      ])
    })
  )

  virtually(
    "does not report that it has closed the connections of handlers that were late",
    Effect.gen(function*() {
      const reports: Array<Server.ServerError> = []
      const ended: Array<string> = []
      const scope = yield* Scope.make()
      const server = yield* PlatformSocket.makeServer({
        port: 7,
        onError: (error) => Effect.sync(() => reports.push(error))
      }).pipe(Scope.extend(scope))
      yield* server.run((socket) =>
        Effect.tapError(socket.run(() => {}), (error) => Effect.sync(() => ended.push(error.message)))
      ).pipe(Effect.ignore, Effect.forkScoped)
      yield* Network.openConnection({ host: "localhost", port: 7 })
      yield* Effect.sleep("1 second")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(ended, ["Close: 1000"])
      assert.deepStrictEqual(reports, [])
    })
  )

  virtually(
    "a client that resets is a failure of reading to its handler",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({ port: 7 })
      const failure = yield* Deferred.make<Socket.SocketError>()
      yield* server.run((socket) =>
        Effect.flatMap(Effect.flip(socket.run(() => {})), (it) => Deferred.succeed(failure, it))
      )
        .pipe(Effect.forkScoped)
      const client = yield* Network.openConnection({ host: "localhost", port: 7 })
      yield* client.abort
      const error = yield* Deferred.await(failure)
      assert.deepStrictEqual([error.reason, reasonOf(error)], ["Read", "Reset"])
    })
  )

  virtually(
    "runs handlers with the services and the log annotations of whoever runs it",
    Effect.gen(function*() {
      class Name extends Context.Tag("Name")<Name, string>() {}
      const server = yield* PlatformSocket.makeServer({ port: 7 })
      yield* server.run((socket) =>
        Effect.gen(function*() {
          const annotations = yield* FiberRef.get(FiberRef.currentLogAnnotations)
          const write = yield* socket.writer
          yield* write(`${yield* Name} ${String(Option.getOrNull(HashMap.get(annotations, "module")))}`)
        }).pipe(Effect.scoped)
      ).pipe(
        Effect.annotateLogs("module", "greeter"),
        Effect.provideService(Name, "ada"),
        Effect.interruptible,
        Effect.forkScoped,
        Effect.uninterruptible
      )
      assert.strictEqual(yield* askFor(7, ""), "ada greeter")
    })
  )

  virtually(
    "binds first and serves with run where it is told so",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({ port: 7, startServing: false })
      const refused = yield* Effect.flip(Network.openConnection({ host: "localhost", port: 7 }))
      assert.strictEqual(refused._tag === "ConnectError" && refused.reason, "Refused")
      yield* server.run(echo).pipe(Effect.forkScoped)
      yield* Effect.yieldNow()
      assert.strictEqual(yield* askFor(7, "x"), "x")
    })
  )

  virtually(
    "fails as a server does, and refuses options that can't be right",
    Effect.gen(function*() {
      yield* PlatformSocket.makeServer({ port: 7 })
      assert.strictEqual((yield* Effect.flip(PlatformSocket.makeServer({ port: 7 }))).reason, "AddressInUse")
      assert.include(String(yield* Effect.exit(PlatformSocket.makeServer({ concurrency: 0 }))), "concurrency must be")
    })
  )

  virtually(
    "counts maxConnections",
    Effect.gen(function*() {
      const server = yield* PlatformSocket.makeServer({
        port: 7,
        maxConnections: 1,
        onLimit: "reject",
        onError: () => Effect.void
      })
      yield* server.run(neverEnding).pipe(Effect.forkScoped)
      yield* Network.openConnection({ host: "localhost", port: 7 })
      const second = yield* Network.openConnection({ host: "localhost", port: 7 })
      assert.strictEqual((yield* Effect.flip(second.reader.read(1))).reason, "Reset")
    })
  )

  const sockets = Effect.gen(function*() {
    const server = yield* SocketServer.SocketServer
    yield* server.run(echo).pipe(Effect.forkScoped)
    return server.address
  })

  it.scopedLive("serves a client of the platform's over TCP", () =>
    Effect.gen(function*() {
      const address = yield* sockets
      assert.strictEqual(address._tag, "TcpAddress")
      const socket = yield* NodeSocket.makeNet({
        host: "127.0.0.1",
        port: address._tag === "TcpAddress" ? address.port : 0
      })
      const echoed = yield* Stream.make("hello").pipe(
        Stream.pipeThroughChannel(Socket.toChannelString(socket)),
        Stream.mkString
      )
      assert.strictEqual(echoed, "hello")
    }).pipe(
      Effect.provide(PlatformSocket.layerServer({ host: "127.0.0.1", port: 0 })),
      Effect.provide(NodeNetwork.layer)
    ))

  it.scopedLive("and on a Unix socket", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/socket`
      const echoed = yield* Effect.gen(function*() {
        assert.deepStrictEqual(yield* sockets, { _tag: "UnixAddress", path })
        const socket = yield* NodeSocket.makeNet({ path })
        return yield* Stream.make("hello").pipe(
          Stream.pipeThroughChannel(Socket.toChannelString(socket)),
          Stream.mkString
        )
      }).pipe(Effect.provide(PlatformSocket.layerUnixServer(path, {})), Effect.provide(NodeNetwork.layer))
      assert.strictEqual(echoed, "hello")
    }))
})

// -----------------------------------------------------------------------------
// toConnection
// -----------------------------------------------------------------------------

/** A platform socket in the hands of a test. */
const puppet = Effect.gen(function*() {
  const ended = yield* Deferred.make<void, Socket.SocketError>()
  const opening = yield* Effect.makeLatch(true)
  const writing = yield* Effect.makeLatch(true)
  const state = {
    written: [] as Array<string>,
    /** What the handler was last called with, and what it waits for. */
    deliver: (_bytes: Uint8Array): Effect.Effect<unknown> | void => {},
    running: 0
  }
  const run: Socket.Socket["run"] = (handler, options) =>
    Effect.gen(function*() {
      state.deliver = handler as typeof state.deliver
      state.running += 1
      yield* opening.await
      yield* options?.onOpen ?? Effect.void
      return yield* Deferred.await(ended)
    }).pipe(Effect.ensuring(Effect.sync(() => state.running -= 1)))
  const socket = Socket.Socket.of({
    [Socket.TypeId]: Socket.TypeId,
    run,
    runRaw: run,
    writer: Effect.acquireRelease(
      Effect.succeed((chunk: Uint8Array | string | Socket.CloseEvent) =>
        Effect.zipRight(
          writing.await,
          Effect.sync(() => {
            state.written.push(
              typeof chunk === "string" ? chunk : Socket.isCloseEvent(chunk) ? `close ${chunk.code}` : toLatin1(chunk)
            )
          })
        )
      ),
      () => Effect.sync(() => state.written.push("end"))
    )
  })
  const end = (error?: Socket.SocketError) =>
    error === undefined ? Deferred.succeed(ended, undefined) : Deferred.fail(ended, error)
  return { socket, state, opening, writing, end }
})

const closed = (code: number, closeReason?: string) =>
  new Socket.SocketCloseError({ reason: "Close", code, closeReason })

describe("toConnection", () => {
  it.scoped("reads what comes, and writes message by message", () =>
    Effect.gen(function*() {
      const { end, socket, state } = yield* puppet
      const { reader, writer } = yield* PlatformSocket.toConnection(socket)
      state.deliver(utf8("one li"))
      state.deliver(new Uint8Array(0))
      state.deliver(utf8("ne\nand more"))
      assert.strictEqual(toLatin1(yield* reader.readLine), "one line\n")
      yield* writer.write("a")
      yield* writer.writeAll(["b", "c"])
      yield* writer.flush
      assert.deepStrictEqual(state.written, ["a", "bc"])
      yield* end()
      assert.strictEqual(toLatin1(yield* reader.readAll()), "and more")
      assert.strictEqual((yield* Effect.flip(writer.write("x"))).reason, "Closed")
    }))

  for (const code of [1000, 1001, 1005]) {
    it.scoped(`takes ${code} for an end in order`, () =>
      Effect.gen(function*() {
        const { end, socket, state } = yield* puppet
        const connection = yield* PlatformSocket.toConnection(socket)
        state.deliver(utf8("all"))
        yield* end(closed(code))
        assert.strictEqual(toLatin1(yield* connection.reader.readAll()), "all")
        assert.strictEqual((yield* connection.awaitClosed)._tag, "Peer")
      }))
  }

  const resetError = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" })
  const failures: ReadonlyArray<readonly [string, Socket.SocketError, string, string | undefined, RegExp]> = [
    ["1006", closed(1006), "Reset", "1006", /closed with code 1006/],
    ["1009", closed(1009, "too big"), "Unknown", "1009", /closed with code 1009: too big/],
    [
      "what Node threw",
      new Socket.SocketGenericError({ reason: "Read", cause: resetError }),
      "Reset",
      "ECONNRESET",
      /the peer reset the connection/
    ],
    [
      "an event of a WebSocket",
      new Socket.SocketGenericError({ reason: "Read", cause: { type: "error", error: resetError } }),
      "Reset",
      "ECONNRESET",
      /the peer reset the connection/
    ]
  ]
  for (const [name, error, reason, code, message] of failures) {
    it.scoped(`makes an error of ${name}, after what was received`, () =>
      Effect.gen(function*() {
        const { end, socket, state } = yield* puppet
        const { awaitClosed, reader } = yield* PlatformSocket.toConnection(socket)
        state.deliver(utf8("all"))
        yield* end(error)
        yield* awaitClosed
        assert.strictEqual(toLatin1(yield* reader.readExactly(3)), "all")
        const failure = yield* Effect.flip(reader.read(1))
        assert.deepStrictEqual([failure.reason, Option.getOrUndefined(failure.code)], [reason, code])
        assert.match(failure.message, message)
        assert.strictEqual(failure.cause, error)
      }))
  }

  it.scoped("a connection of ours keeps its reason through both", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair()
      const { reader } = yield* PlatformSocket.toConnection(socket)
      yield* peer.abort
      const failure = yield* Effect.flip(reader.read(1))
      assert.deepStrictEqual([failure.reason, Option.getOrUndefined(failure.code)], ["Reset", "ECONNRESET"])
    }))

  it.scoped("asks the program which codes are errors", () =>
    Effect.gen(function*() {
      const { end, socket } = yield* puppet
      const { reader } = yield* PlatformSocket.toConnection(socket, { closeCodeIsError: (code) => code !== 3000 })
      yield* end(closed(3000))
      assert.strictEqual((yield* reader.read(1)).length, 0)
    }))

  it.scoped("closes with 1000, and aborts with 4000", () =>
    Effect.gen(function*() {
      const first = yield* puppet
      const connection = yield* PlatformSocket.toConnection(first.socket)
      assert.isFalse(connection.writer.canWriteEof)
      yield* connection.writer.write("bye")
      const closing = yield* Effect.fork(connection.close)
      yield* settle
      assert.deepStrictEqual(first.state.written, ["bye", "close 1000"])
      yield* first.end(closed(1000))
      yield* Fiber.join(closing)
      assert.strictEqual((yield* connection.awaitClosed)._tag, "Local")

      const second = yield* puppet
      const other = yield* PlatformSocket.toConnection(second.socket)
      yield* other.abort
      assert.deepStrictEqual(second.state.written, ["close 4000", "end"])
      assert.strictEqual(second.state.running, 0)
    }))

  it.scoped("closes a socket whose peer does not answer, and one that takes nothing", () =>
    Effect.gen(function*() {
      const silent = yield* puppet
      const connection = yield* PlatformSocket.toConnection(silent.socket)
      const closing = yield* Effect.fork(connection.close)
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.strictEqual(silent.state.running, 0)

      const stuck = yield* puppet
      yield* stuck.writing.close
      const other = yield* PlatformSocket.toConnection(stuck.socket, { closeTimeout: "5 seconds" })
      yield* other.writer.write("x")
      const late = yield* Effect.fork(other.close)
      yield* settle
      for (let i = 0; i < 7; i++) {
        yield* TestClock.adjust("1 second")
        yield* settle
      }
      yield* Fiber.join(late)
      assert.strictEqual((yield* other.awaitClosed)._tag, "Aborted")
      assert.strictEqual(stuck.state.running, 0)
    }))

  it.scoped("ends its writing side where the socket can, and reads on", () =>
    Effect.gen(function*() {
      const { end, socket, state } = yield* puppet
      const { reader, writer } = yield* PlatformSocket.toConnection(socket, { canWriteEof: true })
      yield* writer.write("question")
      yield* writer.writeEof
      yield* settle
      assert.deepStrictEqual(state.written, ["question", "end"])
      state.deliver(utf8("answer"))
      yield* end()
      assert.strictEqual(toLatin1(yield* reader.readAll()), "answer")
    }))

  it.scoped("holds writers up while the socket takes nothing, and fails them when it ends", () =>
    Effect.gen(function*() {
      const { end, socket, writing } = yield* puppet
      const { writer } = yield* PlatformSocket.toConnection(socket)
      yield* writing.close
      const fiber = yield* writer.write(new Uint8Array(100_000)).pipe(Effect.fork)
      yield* settle
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* writing.open
      yield* Fiber.join(fiber)
      yield* writing.close
      const doomed = yield* writer.write(new Uint8Array(100_000)).pipe(Effect.flip, Effect.fork)
      yield* settle
      yield* end(closed(1006))
      assert.strictEqual((yield* Fiber.join(doomed)).reason, "Reset")
    }))

  it.scoped("knows how much the socket has not taken", () =>
    Effect.gen(function*() {
      const { end, socket, writing } = yield* puppet
      const { writer } = yield* PlatformSocket.toConnection(socket)
      yield* writing.close
      yield* writer.write(new Uint8Array(100))
      yield* writer.write(new Uint8Array(200))
      yield* settle
      assert.strictEqual(yield* writer.bufferedBytes, 300)
      yield* writing.release
      yield* settle
      assert.strictEqual(yield* writer.bufferedBytes, 200)
      const flushing = yield* Effect.fork(writer.flush)
      yield* settle
      assert.isTrue(Option.isNone(yield* Fiber.poll(flushing)))
      yield* writing.open
      yield* Fiber.join(flushing)
      yield* end()
    }))

  it.scoped("takes a socket that is open and has sent too much at once", () =>
    Effect.gen(function*() {
      const { socket } = yield* puppet
      // Nor does it say that it has opened.
      const hasty: Socket.Socket = {
        ...socket,
        run: (handler) =>
          Effect.suspend(() => {
            for (const text of ["a", "b", "c"]) {
              handler(utf8(text))
            }
            return Effect.never
          })
      }
      const { reader } = yield* PlatformSocket.toConnection(hasty, { maxPending: 0 })
      assert.strictEqual(toLatin1(yield* reader.readExactly(1)), "a")
      assert.strictEqual((yield* Effect.flip(reader.read(1))).reason, "Unknown")
    }))

  it.scoped("fails a connection to whose socket nothing can be written", () =>
    Effect.gen(function*() {
      const { socket } = yield* puppet
      const cause = Object.assign(new Error("write EPIPE"), { code: "EPIPE" })
      const deaf = {
        ...socket,
        writer: Effect.succeed(() => Effect.fail(new Socket.SocketGenericError({ reason: "Write", cause })))
      }
      const { reader, writer } = yield* PlatformSocket.toConnection(deaf)
      yield* writer.write("x")
      assert.strictEqual((yield* Effect.flip(reader.read(1))).reason, "BrokenPipe")
    }))

  it.scoped("gives up a socket that sends more than may wait, once that has been read", () =>
    Effect.gen(function*() {
      const { socket, state } = yield* puppet
      const { awaitClosed, reader } = yield* PlatformSocket.toConnection(socket, { limit: 1000, maxPending: 10_000 })
      const message = new Uint8Array(1000)
      let waits = 0
      // The reader takes 3 of them, and then 11 fill what may wait.
      for (let i = 0; i < 14; i++) {
        waits += state.deliver(message) === undefined ? 0 : 1
      }
      yield* settle
      assert.strictEqual(waits, 12)
      assert.strictEqual(state.running, 1)
      state.deliver(message)
      yield* settle
      assert.strictEqual(state.running, 0)
      assert.strictEqual((yield* reader.readExactly(14_000)).length, 14_000)
      const error = yield* Effect.flip(reader.read(1))
      assert.deepStrictEqual([error.reason, Option.getOrUndefined(error.code)], ["Unknown", "ENOBUFS"])
      assert.include(error.message, "11000 bytes had come that nobody read, more than maxPending (10000)")
      assert.strictEqual((yield* awaitClosed)._tag, "Failed")
    }))

  it.scoped("lets a handler wait until what it brought has been taken", () =>
    Effect.gen(function*() {
      const { end, socket, state } = yield* puppet
      const { reader } = yield* PlatformSocket.toConnection(socket, { limit: 10 })
      assert.isUndefined(state.deliver(new Uint8Array(20)))
      const waiting = state.deliver(new Uint8Array(20))
      assert.isTrue(Effect.isEffect(waiting))
      const fiber = yield* Effect.fork(waiting as Effect.Effect<unknown>)
      yield* settle
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* reader.readExactly(40)
      yield* settle
      yield* Fiber.join(fiber)
      assert.isUndefined(state.deliver(new Uint8Array(1)))
      yield* end()
    }))

  it.effect("holds up whoever sends through a socket of ours", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* pair({ window: 100_000 })
      const { reader } = yield* PlatformSocket.toConnection(socket)
      let sent = 0
      yield* Effect.forever(Effect.zipRight(
        peer.writer.write(new Uint8Array(10_000)),
        Effect.sync(() => {
          sent += 10_000
        })
      )).pipe(Effect.forkScoped)
      yield* Effect.sleep("10 seconds")
      assert.isAtMost(sent, 1_000_000)
      const before = sent
      yield* reader.readExactly(2_000_000)
      yield* Effect.sleep("10 seconds")
      assert.isAtLeast(sent, before + 1_500_000)
    }).pipe(Effect.scoped, TestNetwork.simulate))

  it.scoped("fails where the socket does not open, and leaves nothing where it is interrupted", () =>
    Effect.gen(function*() {
      const refusing = yield* puppet
      yield* refusing.opening.close
      const cause = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:9"), { code: "ECONNREFUSED" })
      const failing = yield* PlatformSocket.toConnection({
        ...refusing.socket,
        run: () => Effect.fail(new Socket.SocketGenericError({ reason: "Open", cause }))
      }).pipe(Effect.flip)
      assert.strictEqual(Option.getOrUndefined(failing.code), "ECONNREFUSED")
      assert.match(failing.message, /could not be opened: connect ECONNREFUSED/)
      const slow = yield* PlatformSocket.toConnection({
        ...refusing.socket,
        run: () => Effect.fail(new Socket.SocketGenericError({ reason: "OpenTimeout", cause: "timeout" }))
      }).pipe(Effect.flip)
      assert.strictEqual(slow.reason, "TimedOut")

      const opening = yield* PlatformSocket.toConnection(refusing.socket).pipe(Effect.fork)
      yield* settle
      assert.strictEqual(refusing.state.running, 1)
      yield* Fiber.interrupt(opening)
      assert.strictEqual(refusing.state.running, 0)
    }))

  it.scoped("refuses options that can't be right before it runs the socket", () =>
    Effect.gen(function*() {
      const { socket, state } = yield* puppet
      assert.include(String(yield* Effect.exit(PlatformSocket.toConnection(socket, { limit: 0 }))), "limit must be")
      assert.include(
        String(yield* Effect.exit(PlatformSocket.toConnection(socket, { maxPending: -1 }))),
        "maxPending must be"
      )
      assert.strictEqual(state.running, 0)
    }))

  describe("over WebSockets", () => {
    /** What is run for each WebSocket, and how to reach it. */
    const serving = (handler: (connection: Connection.Connection) => Effect.Effect<unknown, unknown>) =>
      Effect.gen(function*() {
        const server = yield* NodeSocketServer.makeWebSocket({ host: "127.0.0.1", port: 0 })
        yield* server.run((socket) => Effect.scoped(Effect.flatMap(PlatformSocket.toConnection(socket), handler))).pipe(
          Effect.forkScoped
        )
        const port = server.address._tag === "TcpAddress" ? server.address.port : 0
        return Effect.flatMap(
          Socket.makeWebSocket(`ws://127.0.0.1:${port}`, { closeCodeIsError: (code) => code !== 1000 }),
          PlatformSocket.toConnection
        ).pipe(Effect.provide(NodeSocket.layerWebSocketConstructor))
      })

    it.scopedLive("reads and writes lines", () =>
      Effect.gen(function*() {
        const connect = yield* serving(shout)
        const connection = yield* connect
        yield* connection.writer.writeAll(["one", "\ntw"])
        yield* connection.writer.write("o\n")
        assert.strictEqual(toLatin1(yield* connection.reader.readLine), "ONE\n")
        assert.strictEqual(toLatin1(yield* connection.reader.readLine), "TWO\n")
        yield* connection.close
        assert.strictEqual((yield* connection.awaitClosed)._tag, "Local")
      }))

    it.scopedLive("sees the end of its peer, and much data before it", () =>
      Effect.gen(function*() {
        const connect = yield* serving(({ writer }) => writer.write(new Uint8Array(3_000_000)))
        const connection = yield* connect
        assert.strictEqual((yield* connection.reader.readAll()).length, 3_000_000)
        assert.strictEqual((yield* connection.awaitClosed)._tag, "Peer")
      }))

    it.scopedLive("an abort is no end in order", () =>
      Effect.gen(function*() {
        const connect = yield* serving((connection) => connection.abort)
        const connection = yield* connect
        const error = yield* Effect.flip(connection.reader.readAll())
        assert.strictEqual(error._tag === "ConnectionError" && Option.getOrUndefined(error.code), "4000")
      }))

    it.scopedLive("fails where nobody listens", () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const error = yield* Socket.makeWebSocket(`ws://127.0.0.1:${port}`).pipe(
          Effect.flatMap((socket) => PlatformSocket.toConnection(socket)),
          Effect.provide(NodeSocket.layerWebSocketConstructor),
          Effect.flip
        )
        assert.strictEqual(Option.getOrUndefined(error.code), "ECONNREFUSED")
      }))
  })

  it.scopedLive("half-closes a NodeSocket, and reads the answer", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const socket = yield* NodeSocket.makeNet({ host: "127.0.0.1", port })
      const connection = yield* PlatformSocket.toConnection(socket, { canWriteEof: true })
      const peer = yield* accepted
      peer.read()
      yield* connection.writer.write("question")
      yield* connection.writer.writeEof
      yield* until(() => peer.ended)
      assert.strictEqual(peer.text, "question")
      peer.socket.end("answer")
      assert.strictEqual(toLatin1(yield* connection.reader.readAll()), "answer")
      assert.strictEqual((yield* connection.awaitClosed)._tag, "Peer")
    }))

  it.scopedLive("fails as a NodeSocket does", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const socket = yield* NodeSocket.makeNet({ host: "127.0.0.1", port })
      const { reader } = yield* PlatformSocket.toConnection(socket)
      const peer = yield* accepted
      peer.socket.write("all")
      assert.strictEqual(toLatin1(yield* reader.readExactly(3)), "all")
      peer.socket.resetAndDestroy()
      const error = yield* Effect.flip(reader.read(1))
      assert.deepStrictEqual([error.reason, Option.getOrUndefined(error.code)], ["Reset", "ECONNRESET"])
    }))

  describe("meets the conditions of a connection", () => {
    const bothWays = (options: Connection.Options) =>
      Effect.gen(function*() {
        const [a, right] = yield* TestNetwork.pair(options)
        const left = yield* PlatformSocket.toConnection(PlatformSocket.fromConnection(a), options)
        return { left, right }
      })
    // To abort a platform socket is to close it with a code, which one over a connection of ours does in order.
    over.virtual(
      Conformance.connection(bothWays, { halfClose: false, reset: false })
        .filter(({ name }) => name !== "an abort fails the peer's write that waits (left)")
    )
  })
})

describe("addresses", () => {
  it("go both ways", () => {
    for (
      const address of [Address.tcp("127.0.0.1", 80), Address.tcp("::1", 80), Address.unix("/run/x"), Address.unix()]
    ) {
      assert.isTrue(Equal.equals(PlatformSocket.toAddress(PlatformSocket.fromAddress(address)), address))
    }
    assert.deepStrictEqual(PlatformSocket.fromAddress(Address.tcp("::1", 80)), {
      _tag: "TcpAddress",
      hostname: "::1",
      port: 80
    })
    assert.deepStrictEqual(PlatformSocket.fromAddress(Address.unix()), { _tag: "UnixAddress", path: "" })
  })
})
