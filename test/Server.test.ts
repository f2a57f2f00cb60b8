import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as Fs from "node:fs"
import * as Net from "node:net"
import { expectTypeOf } from "vitest"
import * as Address from "../src/Address.js"
import type * as Connection from "../src/Connection.js"
import * as Network from "../src/Network.js"
import { ConnectionError, ListenError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as Server from "../src/Server.js"
import { certificates, describeTls } from "./support/certificates.js"
import { Random, toLatin1 } from "./support/chunkings.js"
import { directory } from "./support/directory.js"
import { leavesNoHandles } from "./support/handles.js"
import { client, counts, echo, isDone, serve, start } from "./support/memoryServer.js"
import { MemoryListener, type MemoryOptions, settle } from "./support/memoryTransport.js"
import { freePort, portOf, rawConnect, RawPeer, turns, until } from "./support/rawPeer.js"

leavesNoHandles()

/** Says hello, and then does what it was told to by the first line: so one server has handlers of every kind. */
const byOrder = <R>(orders: Record<string, Server.Handler<unknown, R>>): Server.Handler<unknown, R> => (connection) =>
  Effect.gen(function*() {
    const order = toLatin1(yield* connection.reader.readLine).trim()
    return yield* orders[order]!(connection)
  })

describe("a handler", () => {
  const boom = new Error("boom")
  const endings: ReadonlyArray<{
    readonly name: string
    readonly handler: Server.Handler<unknown, Scope.Scope>
    /** What is reported, if anything is. */
    readonly reported?: (cause: Cause.Cause<unknown>) => boolean
  }> = [
    { name: "returns at once, without reading", handler: () => Effect.void },
    {
      name: "throws before there is an effect",
      handler: () => {
        throw boom
      },
      reported: (cause) => Cause.isDie(cause) && Cause.squash(cause) === boom
    },
    {
      name: "fails",
      handler: () => Effect.fail("no good"),
      reported: (cause) => Cause.isFailure(cause) && Cause.squash(cause) === "no good"
    },
    {
      name: "dies after a while",
      handler: () => Effect.zipRight(Effect.sleep("1 second"), Effect.die(boom)),
      reported: (cause) => Cause.isDie(cause) && Cause.squash(cause) === boom
    },
    {
      name: "fails in a fiber that it joins",
      handler: () => Effect.flatMap(Effect.fork(Effect.fail("inner")), Fiber.join),
      reported: (cause) => Cause.squash(cause) === "inner"
    },
    {
      name: "succeeds, but a finalizer of its scope dies",
      handler: () => Effect.addFinalizer(() => Effect.die(boom)),
      reported: (cause) => Cause.squash(cause) === boom
    },
    { name: "interrupts itself", handler: () => Effect.interrupt },
    { name: "closes the connection itself", handler: (connection) => connection.close },
    { name: "aborts the connection itself", handler: (connection) => connection.abort }
  ]
  for (const { handler, name, reported } of endings) {
    it.scoped(`that ${name}: its connection is closed, ${reported ? "it is reported once" : "nothing is reported"}, and others go on`, () =>
      Effect.gen(function*() {
        const { listener, reports, server } = yield* serve(
          (connection: Connection.Connection) =>
            connection.remoteAddress.toString().endsWith(":5000") ? echo(connection) : handler(connection)
        )
        const other = client(listener)
        other.send("before ")
        const its = client(listener)
        its.send("unread")
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.isTrue(its.closed, "its connection is open")
        other.send("after")
        yield* settle
        assert.strictEqual(other.text(), "before after")
        assert.isFalse(other.ended)
        assert.strictEqual((yield* server.connections).length, 1)
        assert.isTrue(yield* server.isServing)
        if (reported === undefined) {
          assert.deepStrictEqual(reports, [])
        } else {
          assert.strictEqual(reports.length, 1)
          assert.strictEqual(reports[0]!.phase, "handler")
          assert.strictEqual(reports[0]!.address, its.address)
          assert.isTrue(reported(reports[0]!.cause), Cause.pretty(reports[0]!.cause))
        }
        other.transport.end()
        yield* settle
      }))
  }

  it.scoped("that returns: what it wrote is sent before the connection is closed", () =>
    Effect.gen(function*() {
      const { listener } = yield* serve(({ writer }) => writer.write("goodbye"))
      const its = client(listener)
      yield* settle
      assert.strictEqual(its.text(), "goodbye")
      assert.isTrue(its.ended)
      assert.isUndefined(its.failure)
    }))

  it.scoped("has a scope of its own: its finalizers run, and may write, before the connection is closed", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const { listener } = yield* serve((connection) =>
        Effect.gen(function*() {
          yield* Effect.addFinalizer((exit) =>
            Effect.gen(function*() {
              order.push(`finalizer, ${exit._tag}, closing: ${yield* connection.isClosing}`)
              yield* Effect.orDie(connection.writer.write("from the finalizer"))
            })
          )
          yield* Effect.forkScoped(
            Effect.onInterrupt(Effect.never, () => Effect.sync(() => order.push("its fiber ended")))
          )
          yield* Effect.yieldNow()
          order.push("handler")
          return yield* Effect.fail("it failed")
        })
      )
      const its = client(listener)
      yield* settle
      assert.deepStrictEqual(order, ["handler", "its fiber ended", "finalizer, Failure, closing: false"])
      assert.strictEqual(its.text(), "from the finalizer")
      assert.isTrue(its.closed)
    }))

  it.scoped("runs with the services and the fiber refs of whoever started the server", () =>
    Effect.gen(function*() {
      class Greeting extends Context.Tag("Greeting")<Greeting, string>() {}
      const tenant = yield* FiberRef.make("nobody")
      const { listener } = yield* serve(({ writer }) =>
        Effect.gen(function*() {
          yield* writer.write(`${yield* Greeting} ${yield* FiberRef.get(tenant)}`)
        })
      ).pipe(Effect.provideService(Greeting, "hello"), Effect.locally(tenant, "you"))
      const its = client(listener)
      yield* settle
      assert.strictEqual(its.text(), "hello you")
    }))

  it.scoped("can be interrupted, though the server was made where nothing can", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const { listener, server } = yield* Effect.uninterruptible(
        serve(() => Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, void 0)))
      )
      client(listener)
      yield* settle
      yield* server.shutdown({ gracePeriod: 0 })
      assert.isTrue(yield* Deferred.isDone(interrupted))
    }))

  it.scoped("that shuts its own server down does not wait for itself for ever", () =>
    Effect.gen(function*() {
      const self = yield* Deferred.make<Server.Server>()
      const { listener, server } = yield* serve(() =>
        Effect.flatMap(Deferred.await(self), (server) => server.shutdown())
      )
      const its = client(listener)
      yield* Deferred.succeed(self, server)
      yield* TestClock.adjust("3 seconds")
      yield* server.awaitClosed
      assert.isTrue(its.closed)
    }))
})

describe("what is reported", () => {
  const logged = Effect.gen(function*() {
    const lines: Array<string> = []
    const logger = Logger.make(({ annotations, cause, logLevel, message }) => {
      lines.push(
        `${logLevel.label} ${String(message)} ${JSON.stringify(Array.from(annotations))} ${Cause.pretty(cause)}`
      )
    })
    return { lines, layer: Logger.replace(Logger.defaultLogger, logger) }
  })

  it.scoped("is a log line with the peer's address, by default", () =>
    Effect.gen(function*() {
      const { layer, lines } = yield* logged
      yield* Effect.gen(function*() {
        const listener = new MemoryListener()
        yield* Server.make(listener.listen, {}, () => Effect.fail(new Error("the handler's own error")))
        const its = client(listener)
        listener.acceptor.onError({ phase: "accept", remoteAddress: undefined, error: new Error("EMFILE") })
        listener.acceptor.onError({ phase: "handshake", remoteAddress: its.transport.localAddress, error: "no TLS" })
        yield* settle
        assert.strictEqual(lines.length, 3)
        const line = (word: string) => lines.find((line) => line.includes(word))!
        assert.include(line("the handler's own error"), its.address)
        assert.match(line("the handler's own error"), /^ERROR .*handler/)
        assert.match(line("EMFILE"), /^ERROR accept/)
        assert.include(line("no TLS"), its.address)
        assert.match(line("no TLS"), /^ERROR handshake/)
      }).pipe(Effect.provide(layer))
    }))

  it.scoped("goes to onError alone, and one that fails itself is logged and hurts nobody", () =>
    Effect.gen(function*() {
      const { layer, lines } = yield* logged
      for (
        const onError of [
          () => Effect.die("onError died"),
          () => {
            throw new Error("onError threw")
          }
        ]
      ) {
        lines.length = 0
        yield* Effect.gen(function*() {
          const { listener } = yield* serve(() => Effect.fail("handler"), { onError })
          const clients = [client(listener), client(listener)]
          listener.acceptor.onError({ phase: "accept", remoteAddress: undefined, error: "x" })
          yield* settle
          assert.isTrue(clients.every(({ closed }) => closed))
          assert.strictEqual(lines.length, 3)
          assert.isTrue(lines.every((line) => line.includes("onError")), lines.join("\n"))
        }).pipe(Effect.provide(layer))
      }
    }))

  it.scoped("holds neither the connection up nor those who wait for its place, however long onError takes", () =>
    Effect.gen(function*() {
      const handlers: ReadonlyArray<Server.Handler<unknown, Scope.Scope>> = [
        () => Effect.fail("x"),
        () => Effect.addFinalizer(() => Effect.die("x")),
        () => Effect.zipRight(Effect.addFinalizer(() => Effect.void), Effect.fail("x"))
      ]
      for (const handler of handlers) {
        let told = 0
        let interrupted = 0
        const onError = () =>
          Effect.sync(() => told++).pipe(
            Effect.zipRight(Effect.never),
            Effect.onInterrupt(() => Effect.sync(() => interrupted++))
          )
        const { listener, server } = yield* serve(handler, { onError, maxConnections: 1 })
        const clients = [client(listener), client(listener)]
        yield* settle
        assert.deepStrictEqual(clients.map(({ closed }) => closed), [true, true])
        assert.strictEqual(yield* server.waiting, 0)
        assert.strictEqual(told, 2)
        // It ends with the server.
        const shutdown = yield* Effect.fork(server.shutdown())
        yield* TestClock.adjust("999 millis")
        yield* settle
        assert.deepStrictEqual([yield* isDone(shutdown), interrupted], [false, 0])
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(shutdown)
        yield* settle
        assert.strictEqual(interrupted, 2)
      }
    }))

  it.scoped("is waited for by the end of the server, where it takes less than a second", () =>
    Effect.gen(function*() {
      const told: Array<string> = []
      const { listener, server } = yield* serve(() => Effect.fail("x"), {
        onError: ({ phase }) => Effect.zipRight(Effect.sleep("900 millis"), Effect.sync(() => told.push(phase)))
      })
      client(listener)
      listener.acceptor.onError({ phase: "accept", remoteAddress: undefined, error: "x" })
      yield* settle
      const shutdown = yield* Effect.fork(server.shutdown())
      yield* settle
      assert.isFalse(yield* isDone(shutdown))
      yield* TestClock.adjust("900 millis")
      assert.strictEqual(Duration.toMillis((yield* Fiber.join(shutdown)).elapsed), 900)
      assert.deepStrictEqual(told.sort(), ["accept", "handler"])
    }))

  it.scoped("may end the server, which does not wait for it then, nor cut it off", () =>
    Effect.gen(function*() {
      const elapsed: Array<number> = []
      let end: Effect.Effect<void> = Effect.void
      const { listener, server } = yield* serve(() => Effect.never, { onError: () => Effect.suspend(() => end) })
      end = Effect.map(server.shutdown({ gracePeriod: 0 }), (report) => {
        elapsed.push(Duration.toMillis(report.elapsed))
      })
      listener.acceptor.onError({ phase: "accept", remoteAddress: undefined, error: "x" })
      yield* settle
      assert.deepStrictEqual(elapsed, [0])
    }))

  it.scoped("a failed accept has its phase, and no address where there is none", () =>
    Effect.gen(function*() {
      const { listener, reports } = yield* serve(echo)
      const error = new Error("EMFILE")
      listener.acceptor.onError({ phase: "accept", remoteAddress: undefined, error })
      listener.acceptor.onError({ phase: "handshake", remoteAddress: Address.tcp("10.0.0.1", 9), error })
      yield* settle
      assert.deepStrictEqual(reports.map(({ address, phase }) => [phase, address]), [
        ["accept", "none"],
        ["handshake", "10.0.0.1:9"]
      ])
      assert.isTrue(reports.every(({ cause }) => Cause.squash(cause) === error))
    }))

  it.scoped("a peer that vanishes under a handler is a failure of the handler, reported once", () =>
    Effect.gen(function*() {
      const { listener, reports } = yield* serve(echo)
      const its = client(listener)
      yield* settle
      its.transport.abort()
      yield* settle
      assert.strictEqual(reports.length, 1)
      assert.include(Cause.pretty(reports[0]!.cause), "reset")
    }))

  it.scoped("what the server's own close does to handlers is no news", () =>
    Effect.gen(function*() {
      const { listener, reports, server } = yield* serve(({ reader }) => reader.readExactly(100))
      client(listener)
      client(listener)
      yield* settle
      yield* server.closeClients
      client(listener)
      yield* settle
      yield* server.abortClients
      client(listener)
      yield* settle
      yield* server.shutdown({ gracePeriod: 0 })
      yield* settle
      assert.deepStrictEqual(reports, [])
    }))

  describe("of a handler whose connection the server has ended", () => {
    const ends: Record<string, (server: Server.Server) => Effect.Effect<unknown>> = {
      closeClients: (server) => server.closeClients,
      abortClients: (server) => server.abortClients,
      shutdown: (server) => server.shutdown({ gracePeriod: 0 })
    }
    class Rejected extends Data.TaggedError("Rejected")<{ readonly cause: unknown }> {}
    const reading = ({ reader }: Connection.Connection) => reader.readLine
    const inShort = (error: unknown) =>
      error instanceof ConnectionError ? error.reason : error instanceof Error ? error.message : error
    const itself = () => {
      const error = new Error("no disk")
      error.cause = error
      return error
    }
    const afterwards = (last: Server.Handler<unknown, Scope.Scope>): Server.Handler<unknown, Scope.Scope> => (its) =>
      Effect.zipRight(Effect.ignore(reading(its)), last(its))
    const failing = (reason: "Closed" | "Reset", remoteAddress: Address.Address) =>
      Effect.fail(
        new ConnectionError({
          reason,
          operation: "read",
          remoteAddress: Option.some(remoteAddress),
          code: Option.none()
        })
      )
    const quiet: Record<string, Server.Handler<unknown, Scope.Scope>> = {
      "its read fails": reading,
      "a later write fails": afterwards(({ writer }) => writer.write("bye")),
      "the failed read is made a defect": (its) => Effect.orDie(reading(its)),
      "the failed read is the cause of another failure": (its) =>
        Effect.mapError(reading(its), (error) => new Rejected({ cause: new Rejected({ cause: error }) })),
      "it fails in several fibers, and in a finalizer": (its) =>
        Effect.zipRight(
          Effect.addFinalizer(() => Effect.orDie(its.writer.write("bye"))),
          Effect.all([reading(its), Effect.never, Effect.never], { concurrency: "unbounded" })
        ),
      "it is interrupted": () => Effect.never
    }
    const told: Record<string, readonly [Server.Handler<unknown, Scope.Scope>, ReadonlyArray<string>]> = {
      "its own failure": [afterwards(() => Effect.fail("no disk")), ["no disk"]],
      "its own defect": [afterwards(() => Effect.die("no disk")), ["no disk"]],
      "a failure that is its own cause": [afterwards(() => Effect.fail(itself())), ["no disk"]],
      "a defect in whose words the failed read is the cause": [
        (its) => Effect.orDieWith(reading(its), (cause) => new Error("no disk", { cause })),
        ["no disk"]
      ],
      "a failure of another connection": [afterwards(() => failing("Closed", Address.tcp("10.0.0.1", 9))), ["Closed"]],
      "what the peer had done to it": [afterwards(({ remoteAddress }) => failing("Reset", remoteAddress)), ["Reset"]],
      "what goes wrong beside its read": [
        (its) => Effect.ensuring(reading(its), Effect.die("no disk")),
        ["no disk"]
      ],
      "what goes wrong while it is interrupted": [
        () => Effect.onInterrupt(Effect.never, () => Effect.die("no disk")),
        ["no disk"]
      ],
      "a defect of its finalizers": [
        (its) => Effect.zipRight(Effect.addFinalizer(() => Effect.die("no disk")), reading(its)),
        ["no disk"]
      ],
      "a defect of its own and one of its finalizers": [
        (its) =>
          Effect.zipRight(
            Effect.addFinalizer(() => Effect.die("no disk")),
            afterwards(() => Effect.die("no room"))(its)
          ),
        ["no room", "no disk"]
      ]
    }
    const cases = [
      ...Object.entries(quiet).map(([name, handler]) => [`is nothing where ${name}`, handler, []] as const),
      ...Object.entries(told).map(([name, [handler, errors]]) => [`is ${name}`, handler, errors] as const)
    ]
    for (const [how, end] of Object.entries(ends)) {
      it.scoped.each(cases)(`by ${how}: %s`, ([, handler, errors]) =>
        Effect.gen(function*() {
          const { listener, reports, server } = yield* serve(handler)
          const its = client(listener)
          yield* settle
          yield* end(server)
          yield* settle
          if (how !== "shutdown") {
            yield* server.shutdown({ gracePeriod: 0 })
            yield* settle
          }
          assert.strictEqual(reports.length, errors.length)
          reports.forEach(({ address, cause, phase }, i) => {
            assert.deepStrictEqual([phase, address], ["handler", its.address])
            assert.deepStrictEqual([...Cause.failures(cause), ...Cause.defects(cause)].map(inShort), [errors[i]])
            assert.isFalse(Cause.isInterrupted(cause))
          })
        }))
    }
  })
})

describe("the life of a server", () => {
  it.scoped("serves at once, and where", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo)
      assert.isTrue(yield* server.isServing)
      assert.deepStrictEqual(server.addresses.map(Address.format), ["127.0.0.1:1000"])
      assert.strictEqual(listener.started, 1)
      yield* server.startServing
      assert.strictEqual(listener.started, 1)
    }))

  it.scoped("one whose listener can't be made closes the connections that it has handed over", () =>
    Effect.gen(function*() {
      const listener = new MemoryListener()
      const clients: Array<ReturnType<typeof client>> = []
      const failure = new ListenError({
        reason: "AddressInUse",
        address: Address.tcp("127.0.0.1", 1),
        code: Option.none()
      })
      const error = yield* Effect.flip(Server.make(
        (acceptor) =>
          Effect.flatMap(listener.listen(acceptor), () => {
            clients.push(client(listener), client(listener))
            return Effect.fail(failure)
          }),
        { maxConnections: 1 },
        () => Effect.never
      ))
      assert.strictEqual(error, failure)
      assert.deepStrictEqual(clients.map(({ closed }) => closed), [true, true])
      const late = client(listener)
      yield* settle
      assert.isTrue(late.closed)
    }))

  it.scoped("its listener is not interrupted while it is made, but for what it restores", () =>
    Effect.gen(function*() {
      const listener = new MemoryListener()
      const waiting = yield* Effect.fork(Effect.scoped(Server.make((_, restore) => restore(Effect.never), {}, echo)))
      yield* settle
      yield* Fiber.interrupt(waiting)

      const bound = yield* Deferred.make<void>()
      const binding = yield* Effect.fork(Effect.scoped(
        Server.make((acceptor) => Effect.zipRight(Deferred.await(bound), listener.listen(acceptor)), {}, echo)
      ))
      yield* settle
      const interrupting = yield* Effect.fork(Fiber.interrupt(binding))
      yield* settle
      assert.isFalse(yield* isDone(interrupting))
      yield* Deferred.succeed(bound, void 0)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.join(interrupting)))
      assert.strictEqual(listener.closed, 1)
    }))

  it.scoped("with startServing: false it serves when it is told to", () =>
    Effect.gen(function*() {
      for (const start of ["startServing", "serveForever"] as const) {
        const { listener, server } = yield* serve(echo, { startServing: false })
        assert.isFalse(yield* server.isServing)
        assert.strictEqual(listener.started, 0)
        const fiber = yield* Effect.fork(server[start])
        yield* settle
        assert.isTrue(yield* server.isServing)
        assert.strictEqual(listener.started, 1)
        assert.strictEqual(yield* isDone(fiber), start === "startServing")
      }
    }))

  it.scoped("close accepts no more, and lets connections go on", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo)
      const its = client(listener)
      yield* settle
      yield* server.close
      yield* server.close
      assert.isFalse(yield* server.isServing)
      its.send("still here")
      yield* settle
      assert.strictEqual(its.text(), "still here")
      assert.strictEqual((yield* server.connections).length, 1)
      yield* server.startServing
      assert.isFalse(yield* server.isServing)
      assert.strictEqual(listener.started, 1)
    }))

  it.scoped("a connection that is accepted while it closes is closed, and no handler runs", () =>
    Effect.gen(function*() {
      let handlers = 0
      const { listener, server } = yield* serve(() => Effect.sync(() => handlers++))
      const closing = yield* Deferred.make<void>()
      listener.whenClosing = Deferred.await(closing)
      const close = yield* Effect.fork(server.close)
      yield* settle
      const late = client(listener)
      yield* settle
      assert.isTrue(late.closed)
      assert.isFalse(yield* isDone(close))
      yield* Deferred.succeed(closing, void 0)
      yield* Fiber.join(close)
      const later = client(listener)
      yield* settle
      assert.isTrue(later.closed)
      assert.strictEqual(handlers, 0)
      yield* server.awaitClosed
    }))

  it.scoped("a close whose caller is interrupted is a close all the same", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo)
      const closing = yield* Deferred.make<void>()
      listener.whenClosing = Deferred.await(closing)
      const forever = yield* Effect.fork(server.serveForever)
      const close = yield* Effect.fork(server.close)
      yield* settle
      const interrupt = yield* Effect.fork(Fiber.interrupt(close))
      yield* settle
      yield* Deferred.succeed(closing, void 0)
      yield* Fiber.join(interrupt)
      yield* Fiber.join(forever)
      yield* server.awaitClosed
    }))

  it.scoped("serveForever lasts until the close, for everyone who waits, and its interruption is no close", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo)
      const waits = yield* Effect.forEach([1, 2, 3], () => Effect.fork(server.serveForever))
      yield* settle
      yield* Fiber.interrupt(waits[0]!)
      assert.isTrue(yield* server.isServing)
      client(listener)
      yield* server.close
      yield* Fiber.joinAll(waits.slice(1))
      yield* server.serveForever
    }))

  it.scoped("awaitClosed waits for the close, every connection and every handler", () =>
    Effect.gen(function*() {
      const release = yield* Deferred.make<void>()
      const { listener, server } = yield* serve(({ reader }) =>
        Effect.zipRight(reader.readAll(), Deferred.await(release))
      )
      const its = client(listener)
      const waits = yield* Effect.fork(server.awaitClosed)
      yield* settle
      assert.isFalse(yield* isDone(waits))
      yield* server.close
      yield* settle
      assert.isFalse(yield* isDone(waits))
      its.transport.end()
      yield* settle
      assert.isFalse(yield* isDone(waits))
      yield* Deferred.succeed(release, void 0)
      yield* Fiber.join(waits)
      assert.isTrue(its.closed)
    }))

  it.scoped("awaitClosed without a connection is over with the close", () =>
    Effect.gen(function*() {
      const { server } = yield* serve(echo)
      const waits = yield* Effect.fork(server.awaitClosed)
      yield* settle
      assert.isFalse(yield* isDone(waits))
      yield* server.close
      yield* Fiber.join(waits)
    }))

  it.scoped("connections are those that are open", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo)
      const [a, b] = [client(listener), client(listener)]
      yield* settle
      assert.deepStrictEqual((yield* server.connections).map(({ remoteAddress }) => Address.format(remoteAddress)), [
        a.address,
        b.address
      ])
      a.transport.end()
      yield* settle
      assert.deepStrictEqual((yield* server.connections).map(({ remoteAddress }) => Address.format(remoteAddress)), [
        b.address
      ])
    }))

  it.scoped("a connection that has ended is none of them, though its handler goes on", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(() => Effect.never)
      const its = client(listener)
      yield* settle
      its.transport.abort()
      yield* settle
      assert.deepStrictEqual(yield* server.connections, [])
      const waits = yield* Effect.fork(Effect.zipRight(server.close, server.awaitClosed))
      yield* settle
      assert.isFalse(yield* isDone(waits))
    }))

  it.scoped("a server that is closed while it starts to serve does not serve", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo, { startServing: false })
      const starting = yield* Deferred.make<void>()
      listener.whenStarting = Deferred.await(starting)
      const start = yield* Effect.fork(server.startServing)
      yield* settle
      yield* server.close
      yield* Deferred.succeed(starting, void 0)
      yield* Fiber.join(start)
      assert.isFalse(yield* server.isServing)
    }))

  it.scoped("closeClients closes every connection in order: reads fail \"Closed\", what is queued is sent", () =>
    Effect.gen(function*() {
      const failures: Array<string> = []
      const { listener, server } = yield* serve(({ reader, writer }) =>
        writer.write("tail").pipe(
          Effect.zipRight(reader.readLine),
          Effect.catchTag("ConnectionError", (error) => Effect.sync(() => failures.push(error.reason)))
        )
      )
      const clients = [client(listener), client(listener)]
      yield* settle
      yield* server.closeClients
      assert.deepStrictEqual(failures, ["Closed", "Closed"])
      assert.isTrue(clients.every(({ ended, failure }) => ended && failure === undefined))
      assert.deepStrictEqual(clients.map((client) => client.text()), ["tail", "tail"])
      assert.isTrue(yield* server.isServing)
    }))

  it.scoped("abortClients resets every connection", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo)
      const clients = [client(listener), client(listener)]
      yield* settle
      yield* server.abortClients
      yield* settle
      assert.deepStrictEqual(clients.map(({ failure }) => failure?.reason), ["Reset", "Reset"])
      assert.deepStrictEqual(yield* server.connections, [])
    }))

  it.scoped("closeClients takes as long as one close, not as many as there are", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(({ reader }) => reader.readAll(), { closeTimeout: "5 seconds" })
      for (let i = 0; i < 10; i++) {
        client(listener, { endsToo: false })
      }
      yield* settle
      const close = yield* Effect.fork(server.closeClients)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(close)
    }))
})

describe("shutdown", () => {
  it.scoped("lets handlers finish, then closes their connections, then interrupts, then aborts, and counts", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(
        byOrder({
          "finish in time": () => Effect.sleep("900 millis"),
          "finish late": ({ reader }) => Effect.ignore(reader.readLine),
          "work on": () => Effect.never,
          "write on": ({ writer }) => Effect.ignore(Effect.forever(writer.write("x".repeat(100))))
        }),
        { closeTimeout: "10 seconds", gracePeriod: "1 second" }
      )
      const order = (order: string, options?: MemoryOptions) => {
        const its = client(listener, options)
        its.send(`${order}\n`)
        return its
      }
      const inTime = [order("finish in time"), order("finish in time")]
      const late = [order("finish late"), order("finish late"), order("finish late")]
      const stuck = order("work on")
      const jammed = order("write on", { window: 500 })
      jammed.transport.pause()
      yield* settle

      const shutdown = yield* Effect.fork(server.shutdown())
      yield* TestClock.adjust("899 millis")
      yield* settle
      assert.isFalse(yield* server.isServing)
      assert.isFalse([...inTime, ...late, stuck, jammed].some(({ closed }) => closed))
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.isTrue(inTime.every(({ closed }) => closed))
      assert.isFalse([...late, stuck, jammed].some(({ closed }) => closed))
      yield* TestClock.adjust("100 millis")
      yield* settle
      assert.isTrue([...late, stuck].every(({ closed }) => closed))
      assert.isFalse(jammed.closed || (yield* isDone(shutdown)))
      yield* TestClock.adjust("10 seconds")
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(counts(report), { finished: 2, closed: 5, interrupted: 1, aborted: 1 })
      assert.strictEqual(Duration.toMillis(report.elapsed), 11_000)
      assert.strictEqual(jammed.failure?.reason, "Reset")
    }))

  it.scoped("without a connection takes no time", () =>
    Effect.gen(function*() {
      const { server } = yield* serve(echo)
      const report = yield* server.shutdown()
      assert.deepStrictEqual(counts(report), { finished: 0, closed: 0, interrupted: 0, aborted: 0 })
      assert.strictEqual(Duration.toMillis(report.elapsed), 0)
    }))

  it.scoped("is over as soon as the last handler is", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(() => Effect.sleep("3 seconds"), { gracePeriod: "1 hour" })
      client(listener)
      const shutdown = yield* Effect.fork(server.shutdown())
      yield* TestClock.adjust("3 seconds")
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(counts(report), { finished: 1, closed: 0, interrupted: 0, aborted: 0 })
    }))

  it.scoped("counts a handler that returned in time as finished, though its connection takes longer to close", () =>
    Effect.gen(function*() {
      const finalized = yield* Deferred.make<void>()
      const { listener, server } = yield* serve(
        byOrder({
          "return": () => Effect.sleep("500 millis"),
          "return, and write on": ({ writer }) => Effect.zipRight(writer.write("x".repeat(1000)), Effect.sleep(500)),
          "return to a finalizer": () => Effect.addFinalizer(() => Deferred.await(finalized))
        }),
        { closeTimeout: "5 seconds", gracePeriod: "1 second" }
      )
      const clientOf = (order: string, options: Parameters<typeof client>[1]) => {
        const its = client(listener, options)
        its.send(`${order}\n`)
        return its
      }
      const lingering = clientOf("return", { endsToo: false })
      const jammed = clientOf("return, and write on", { window: 100 })
      jammed.transport.pause()
      const unfinished = clientOf("return to a finalizer", {})
      yield* settle
      const shutdown = yield* Effect.fork(server.shutdown())
      yield* TestClock.adjust("1 second")
      yield* settle
      // The grace period is over, and with it what the finalizer held up.
      assert.deepStrictEqual([lingering, jammed, unfinished].map(({ closed }) => closed), [false, false, true])
      yield* TestClock.adjust("10 seconds")
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(counts(report), { finished: 3, closed: 1, interrupted: 0, aborted: 1 })
      yield* Deferred.succeed(finalized, void 0)
      yield* server.awaitClosed
    }))

  it.scoped("is over when every handler has returned and every connection has closed, and counts those that it reset by then", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(
        byOrder({
          "answer": ({ writer }) => writer.write("x".repeat(1000)),
          "abort": (connection) => Effect.zipRight(Effect.sleep("2 seconds"), connection.abort),
          "give up": (connection) => Effect.zipRight(connection.abort, Effect.sleep("2 seconds"))
        }),
        { closeTimeout: "5 seconds", writeTimeout: "3 seconds", gracePeriod: "1 minute" }
      )
      const order = (order: string, options?: Parameters<typeof client>[1]) => {
        const its = client(listener, options)
        its.send(`${order}\n`)
        return its
      }
      order("answer")
      // One takes nothing, one never ends its side, one is reset by its handler, and one had been before.
      const deaf = order("answer", { window: 100 })
      deaf.transport.pause()
      const endless = order("answer", { endsToo: false })
      order("abort")
      order("give up")
      yield* settle
      assert.strictEqual((yield* server.connections).length, 3)

      const shutdown = yield* Effect.fork(server.shutdown())
      for (let second = 0; second < 5; second++) {
        assert.isFalse(yield* isDone(shutdown))
        for (let i = 0; i < 2; i++) {
          endless.send("x")
          yield* settle
          yield* TestClock.adjust("500 millis")
        }
      }
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(counts(report), { finished: 4, closed: 0, interrupted: 0, aborted: 3 })
      assert.strictEqual(Duration.toMillis(report.elapsed), 5_000)
      assert.deepStrictEqual([deaf, endless].map(({ failure }) => failure?.reason), ["Reset", "Reset"])
    }))

  it.scoped("of many silent clients takes as long as that of one", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo)
      for (let i = 0; i < 20; i++) {
        client(listener, { endsToo: false })
      }
      yield* settle
      const shutdown = yield* Effect.fork(server.shutdown({ gracePeriod: 0 }))
      yield* TestClock.adjust("1 second")
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(counts(report), { finished: 0, closed: 20, interrupted: 0, aborted: 0 })
    }))

  it.scoped("may be given a grace period of its own, none, or one without end", () =>
    Effect.gen(function*() {
      const shutdownIn = (gracePeriod: Duration.DurationInput | undefined, handler: Effect.Effect<void>) =>
        Effect.gen(function*() {
          const { listener, server } = yield* serve(() => handler, { gracePeriod: "7 seconds" })
          client(listener)
          yield* settle
          const shutdown = yield* Effect.fork(server.shutdown({ gracePeriod }))
          yield* TestClock.adjust("60 seconds")
          return yield* Fiber.join(shutdown)
        })
      assert.strictEqual(Duration.toMillis((yield* shutdownIn(undefined, Effect.never)).elapsed), 7_000)
      assert.strictEqual(Duration.toMillis((yield* shutdownIn("3 seconds", Effect.never)).elapsed), 3_000)
      assert.strictEqual(Duration.toMillis((yield* shutdownIn(0, Effect.never)).elapsed), 0)
      assert.deepStrictEqual(
        counts(yield* shutdownIn(Duration.infinity, Effect.sleep("50 seconds"))),
        { finished: 1, closed: 0, interrupted: 0, aborted: 0 }
      )
    }))

  it.scoped("leaves a handler behind that can't be interrupted, after a second", () =>
    Effect.gen(function*() {
      const release = yield* Deferred.make<void>()
      const { listener, server } = yield* serve(() => Effect.uninterruptible(Deferred.await(release)), {
        gracePeriod: 0
      })
      const its = client(listener)
      yield* settle
      const shutdown = yield* Effect.fork(server.shutdown())
      yield* TestClock.adjust("1 second")
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(counts(report), { finished: 0, closed: 1, interrupted: 1, aborted: 0 })
      assert.isTrue(its.closed)
      const waits = yield* Effect.fork(server.awaitClosed)
      yield* settle
      assert.isFalse(yield* isDone(waits))
      yield* Deferred.succeed(release, void 0)
      yield* Fiber.join(waits)
    }))

  it.scoped("called again, or by many, is the same shutdown", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(() => Effect.never)
      client(listener)
      yield* settle
      const first = yield* Effect.fork(server.shutdown({ gracePeriod: "2 seconds" }))
      yield* settle
      const second = yield* Effect.fork(server.shutdown({ gracePeriod: 0 }))
      yield* TestClock.adjust("1 second")
      assert.isFalse(yield* isDone(second))
      yield* TestClock.adjust("1 second")
      const report = yield* Fiber.join(first)
      assert.strictEqual(yield* Fiber.join(second), report)
      assert.strictEqual(yield* server.shutdown(), report)
    }))

  it.scoped("goes on when whoever asked for it is interrupted", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(() => Effect.never, { gracePeriod: "2 seconds" })
      const its = client(listener)
      yield* settle
      const shutdown = yield* Effect.fork(server.shutdown())
      yield* settle
      yield* Fiber.interrupt(shutdown)
      yield* TestClock.adjust("2 seconds")
      yield* server.awaitClosed
      assert.isTrue(its.closed)
    }))

  it.scoped("is told a grace period that can't be right", () =>
    Effect.gen(function*() {
      const { server } = yield* serve(echo)
      const exit = yield* Effect.exit(server.shutdown({ gracePeriod: -1 }))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.isTrue(yield* server.isServing)
    }))

  it.scoped("is what the end of the scope does, with the grace period of the options", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { listener, reports, server } = yield* Scope.extend(
        start(() => Effect.never, { gracePeriod: "5 seconds" }),
        scope
      )
      const its = client(listener)
      yield* settle
      const close = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("4999 millis")
      yield* settle
      assert.isFalse(its.closed || (yield* isDone(close)))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(close)
      assert.isTrue(its.closed)
      assert.isFalse(yield* server.isServing)
      assert.deepStrictEqual(reports, [])
      assert.strictEqual(listener.closed, 1)
    }))

  it.scoped("leaves the fiber refs of whoever asks for it as they are", () =>
    Effect.gen(function*() {
      const scheduler = yield* FiberRef.get(FiberRef.currentScheduler)
      yield* Effect.scoped(start(echo))
      assert.strictEqual(yield* FiberRef.get(FiberRef.currentScheduler), scheduler)

      const tenant = yield* FiberRef.make("nobody")
      const starting = yield* Effect.fork(Effect.locally(serve(echo), tenant, "you"))
      const { server } = yield* Effect.flatten(Fiber.await(starting))
      yield* server.shutdown()
      assert.strictEqual(yield* FiberRef.get(tenant), "nobody")
      assert.strictEqual(yield* FiberRef.get(FiberRef.currentScheduler), scheduler)
    }))

  it.scoped("ends handlers between two requests, where they race what the scope does first", () =>
    Effect.gen(function*() {
      const draining = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      const answered: Array<string> = []
      const answer = (line: string, { writer }: Connection.Connection) =>
        Effect.sleep(Number(line)).pipe(
          Effect.zipRight(writer.write(`${line}\n`)),
          Effect.tap(() => answered.push(line))
        )
      const { listener, reports, server } = yield* start(
        (connection) =>
          connection.reader.forEachLine((line) => Effect.uninterruptible(answer(line, connection))).pipe(
            Effect.raceFirst(Deferred.await(draining))
          ),
        { gracePeriod: "20 seconds" }
      ).pipe(Scope.extend(scope))
      yield* Scope.addFinalizer(scope, Deferred.succeed(draining, undefined))
      const [idle, busy, early] = [client(listener), client(listener), client(listener)]
      idle.send("0\n")
      busy.send("5000\n1\n")
      early.send("2")
      yield* settle
      yield* TestClock.adjust(0)
      yield* settle

      const close = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* settle
      assert.deepStrictEqual([idle, early, busy].map(({ closed }) => closed), [true, true, false])
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(close)
      assert.deepStrictEqual([idle, early, busy].map((client) => client.text()), ["0\n", "", "5000\n"])
      assert.deepStrictEqual([busy.ended, busy.failure], [true, undefined])
      assert.deepStrictEqual(answered, ["0", "5000"])
      assert.deepStrictEqual(reports, [])
      const report = yield* server.shutdown()
      assert.deepStrictEqual(counts(report), { finished: 3, closed: 0, interrupted: 0, aborted: 0 })
      assert.strictEqual(Duration.toMillis(report.elapsed), 5_000)
    }))

  it.scoped("does not wait for onError", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(() => Effect.fail("x"), { onError: () => Effect.never, gracePeriod: 0 })
      const its = client(listener)
      yield* settle
      const shutdown = yield* Effect.fork(server.shutdown())
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(shutdown)
      assert.isTrue(its.closed)
    }))
})

describe("everything in any order and at once", () => {
  it.scoped("never hangs, and ends what is left", () =>
    Effect.gen(function*() {
      const operations = {
        close: (server: Server.Server) => server.close,
        closeClients: (server: Server.Server) => server.closeClients,
        abortClients: (server: Server.Server) => server.abortClients,
        awaitClosed: (server: Server.Server) => server.awaitClosed,
        shutdown: (server: Server.Server) => server.shutdown({ gracePeriod: "100 millis" }),
        serveForever: (server: Server.Server) => server.serveForever,
        startServing: (server: Server.Server) => server.startServing,
        connections: (server: Server.Server) => server.connections
      }
      const names = Object.keys(operations) as ReadonlyArray<keyof typeof operations>
      for (let seed = 0; seed < 40; seed++) {
        const random = new Random(seed)
        const { listener, server } = yield* serve(
          random.pick<Server.Handler<unknown, never>>([echo, () =>
            Effect.never, () =>
            Effect.void, () =>
            Effect.fail("x")]),
          { startServing: random.chance(0.7), closeTimeout: "200 millis" }
        )
        const script = Array.from({ length: random.between(2, 8) }, () =>
          random.pick(names))
        const fibers: Array<Fiber.RuntimeFiber<unknown, ListenError>> = []
        const clients: Array<ReturnType<typeof client>> = []
        for (const name of script) {
          if (random.chance(0.5)) {
            clients.push(client(listener, { endsToo: random.chance(0.7) }))
          }
          fibers.push(yield* Effect.fork(operations[name](server)))
          if (random.chance(0.3)) {
            yield* random.chance(0.5) ? settle : Effect.yieldNow()
          }
          if (random.chance(0.2)) {
            yield* Fiber.interruptFork(random.pick(fibers))
          }
        }
        const last = yield* Effect.fork(Effect.zipRight(server.shutdown(), server.awaitClosed))
        yield* TestClock.adjust("3 seconds")
        yield* settle
        for (const [i, fiber] of [...fibers, last].entries()) {
          assert.isTrue(yield* isDone(fiber), `seed ${seed}: ${[...script, "the last"][i]} of ${script.join(" ")}`)
        }
        assert.isTrue(clients.every(({ accepted }) => accepted.gone), `seed ${seed}: ${script.join(" ")}`)
        assert.isFalse(yield* server.isServing)
      }
    }))
})

// ---------------------------------------------------------------------------
// over sockets
// ---------------------------------------------------------------------------

const overSockets = Effect.provide(NodeNetwork.layer)
const local = { host: "127.0.0.1", gracePeriod: 0 } as const

describe("over sockets", () => {
  it.scopedLive("two hundred clients at once get back what they sent", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer(local, echo)
      yield* Effect.forEach(Array.from({ length: 200 }, (_, i) => i), (i) =>
        Effect.scoped(Effect.gen(function*() {
          const random = new Random(i)
          const data = random.bytes(random.between(1, 100_000))
          const { reader, writer } = yield* Network.openConnection({ host: "127.0.0.1", port: portOf(server) })
          const back = yield* Effect.fork(reader.readAll())
          for (let at = 0; at < data.length;) {
            const n = random.between(1, 30_000)
            yield* writer.write(data.subarray(at, at + n))
            at += n
          }
          yield* writer.writeEof
          assert.isTrue(Buffer.from(yield* Fiber.join(back)).equals(data), `client ${i}`)
        })), { concurrency: "unbounded", discard: true })
      yield* server.close
      yield* server.awaitClosed
      assert.deepStrictEqual(yield* server.connections, [])
    }).pipe(overSockets))

  it.scopedLive("with startServing: false the address is bound and refuses, until it serves", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer({ ...local, startServing: false }, echo)
      const connect = Effect.scoped(
        Effect.flatMap(
          Network.openConnection({ host: "127.0.0.1", port: portOf(server) }),
          ({ reader, writer }) => Effect.zipRight(writer.write("hi"), reader.readExactly(2))
        )
      )
      const refused = yield* Effect.flip(connect)
      assert(refused._tag === "ConnectError")
      assert.strictEqual(refused.reason, "Refused")
      yield* server.startServing
      assert.strictEqual(toLatin1(yield* connect), "hi")
    }).pipe(overSockets))

  it.scopedLive("startServing fails where the address has been taken in the meantime, and can be tried again", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer({ ...local, startServing: false }, echo)
      const taken = yield* Effect.scoped(Effect.gen(function*() {
        // A system lets two sockets be bound to one address as long as neither listens.
        yield* Network.startServer({ ...local, port: portOf(server) }, echo)
        return yield* Effect.flip(server.startServing)
      }))
      assert.strictEqual(taken.reason, "AddressInUse")
      assert.strictEqual(taken.message, `listen on 127.0.0.1:${portOf(server)}: the address is in use (EADDRINUSE)`)
      assert.isFalse(yield* server.isServing)
      yield* server.startServing
      assert.isTrue(yield* server.isServing)
    }).pipe(overSockets))

  it.scopedLive("a handler that returns without reading closes in order, and the client loses nothing", () =>
    Effect.gen(function*() {
      const answer = "x".repeat(300_000)
      const server = yield* Network.startServer(local, ({ writer }) => writer.write(answer))
      const { reader, writer } = yield* Network.openConnection({ host: "127.0.0.1", port: portOf(server) })
      yield* Effect.fork(Effect.ignore(writer.write("y".repeat(300_000))))
      assert.strictEqual((yield* reader.readAll()).length, answer.length)
    }).pipe(overSockets))

  it.scopedLive("connections that come while it closes are served or closed, and nobody hangs", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer(local, ({ writer }) => writer.write("served"))
      const connect = Effect.scoped(
        Effect.flatMap(
          Network.openConnection({ host: "127.0.0.1", port: portOf(server) }),
          ({ reader }) => reader.readAll()
        )
      ).pipe(Effect.exit, Effect.timeoutFail({ duration: "5 seconds", onTimeout: () => "hangs" as const }))
      const clients = yield* Effect.forEach(Array.from({ length: 100 }), () => Effect.fork(connect))
      yield* turns(2)
      yield* server.close
      const exits = yield* Effect.forEach(clients, Fiber.join)
      yield* server.awaitClosed
      for (const exit of exits) {
        if (Exit.isSuccess(exit)) {
          assert.include(["served", ""], toLatin1(exit.value))
        }
      }
    }).pipe(overSockets))

  it.scopedLive("a client that is idle does not hold the end of the scope up longer than the grace period", () =>
    Effect.gen(function*() {
      const port = yield* Deferred.make<number>()
      const stop = yield* Deferred.make<void>()
      const life = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
        const server = yield* Network.startServer(
          { ...local, gracePeriod: "50 millis", closeTimeout: "200 millis" },
          echo
        )
        yield* Deferred.succeed(port, portOf(server))
        yield* Deferred.await(stop)
      })))
      const idle = yield* rawConnect({ host: "127.0.0.1", port: yield* Deferred.await(port) })
      idle.read()
      idle.socket.write("x")
      yield* until(() => idle.bytes === 1)
      yield* Deferred.succeed(stop, void 0)
      const [elapsed] = yield* Effect.timed(Fiber.join(life))
      assert.isBelow(Duration.toMillis(elapsed), 3_000)
    }).pipe(overSockets))
})

describe("Server.layer", () => {
  it.live("serves as long as the layer lives, and the port is free afterwards", () =>
    Effect.gen(function*() {
      const port = yield* Deferred.make<number>()
      const Echo = Server.layer(local, echo)
      const tell = Layer.effectDiscard(
        Effect.flatMap(Server.Server, (server) => Deferred.succeed(port, portOf(server)))
      )
      const program = yield* Effect.fork(Layer.launch(tell.pipe(Layer.provide(Echo), Layer.provide(NodeNetwork.layer))))
      const address = { host: "127.0.0.1", port: yield* Deferred.await(port) }
      yield* Effect.scoped(Effect.gen(function*() {
        const { reader, writer } = yield* Network.openConnection(address)
        yield* writer.write("hello\n")
        assert.strictEqual(toLatin1(yield* reader.readLine), "hello\n")
      })).pipe(Effect.provide(NodeNetwork.layer))
      yield* Fiber.interrupt(program)
      const refused = yield* Effect.flip(Effect.scoped(Network.openConnection(address))).pipe(
        Effect.provide(NodeNetwork.layer)
      )
      assert.strictEqual(refused.reason, "Refused")
      // And another can have it.
      yield* Effect.scoped(Network.startServer({ ...local, port: address.port }, echo)).pipe(
        Effect.provide(NodeNetwork.layer)
      )
    }))

  it.scopedLive("on a Unix socket", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/s`
      yield* Effect.gen(function*() {
        const server = yield* Server.Server
        assert.deepStrictEqual(server.addresses, [Address.unix(path)])
        const { reader, writer } = yield* Network.openUnixConnection(path)
        yield* writer.write("hello\n")
        assert.strictEqual(toLatin1(yield* reader.readLine), "hello\n")
      }).pipe(
        Effect.scoped,
        Effect.provide(Server.layerUnix(path, { gracePeriod: 0 }, echo).pipe(Layer.provideMerge(NodeNetwork.layer)))
      )
      assert.isFalse(Fs.existsSync(path))
    }))

  describe("from configuration", () => {
    const options = Config.all({
      host: Config.string("HOST"),
      port: Config.integer("PORT"),
      maxConnections: Config.integer("MAX"),
      onLimit: Config.literal("pause", "reject")("ON_LIMIT"),
      gracePeriod: Config.duration("GRACE"),
      onError: Config.succeed(() => Effect.void)
    })
    const configured =
      (values: Record<string, string>) =>
      <A, E, R>(use: Effect.Effect<A, E, R>): Effect.Effect<A, unknown, Exclude<R, Server.Server>> =>
        use.pipe(
          Effect.provide(Server.layerConfig(options, echo).pipe(Layer.provide(NodeNetwork.layer))),
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(values))))
        )
    const values = { HOST: "127.0.0.1", PORT: "0", MAX: "1", ON_LIMIT: "reject", GRACE: "0 seconds" }

    it.scoped("takes its options from there", () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const served = (yield* Effect.acquireRelease(
          Effect.sync(() => new RawPeer(new Net.Socket({ allowHalfOpen: true }))),
          ({ socket }) => Effect.sync(() => socket.destroy())
        )).read().endsToo()
        let leaving = false
        const life = yield* Effect.gen(function*() {
          const { addresses } = yield* Server.Server
          assert.deepStrictEqual(addresses, [Address.tcp("127.0.0.1", port)])
          served.socket.connect({ host: "127.0.0.1", port }).write("x")
          yield* until(() => served.bytes === 1)
          // It may be reset before it knows that it is connected.
          const rejected = new RawPeer(Net.connect({ host: "127.0.0.1", port })).read()
          yield* until(() => rejected.closed)
          assert.strictEqual(rejected.code, "ECONNRESET")
        }).pipe(
          Effect.ensuring(Effect.sync(() => {
            leaving = true
          })),
          configured({ ...values, PORT: `${port}`, GRACE: "10 minutes" }),
          Effect.fork
        )
        yield* until(() => leaving)
        // Whoever is being served holds the end of the layer up for as long as it says.
        let waited = 0
        while (!(yield* isDone(life))) {
          yield* TestClock.adjust("10 seconds")
          yield* turns(1)
          waited += served.ended ? 0 : 10
        }
        yield* Fiber.join(life)
        assert.isAtLeast(waited, 590)
      }))

    describeTls("with a private key", () => {
      it.scopedLive("that is read as a secret", () =>
        Effect.gen(function*() {
          const { ca, server: { certificate, key } } = certificates
          const secure = Config.all({
            host: Config.string("HOST"),
            port: Config.integer("PORT"),
            gracePeriod: Config.duration("GRACE"),
            tls: Config.all({ certificate: Config.string("CERTIFICATE"), key: Config.redacted("KEY") })
          })
          yield* Effect.gen(function*() {
            const port = portOf(yield* Server.Server)
            const tls = { ca: ca.certificate }
            const { reader, writer } = yield* Network.openConnection({ host: "localhost", family: 4, port, tls })
            yield* writer.write("hello\n")
            assert.strictEqual(toLatin1(yield* reader.readLine), "hello\n")
          }).pipe(
            Effect.scoped,
            Effect.provide(Server.layerConfig(secure, echo).pipe(Layer.provideMerge(NodeNetwork.layer))),
            Effect.withConfigProvider(
              ConfigProvider.fromMap(new Map(Object.entries({ ...values, CERTIFICATE: certificate, KEY: key })))
            )
          )
        }))
    })

    it.live("says what is missing, and what can't be right", () =>
      Effect.gen(function*() {
        const missing = yield* Effect.flip(Server.Server.pipe(configured({ ...values, PORT: "none" })))
        assert.include(String(missing), "PORT")
        const exit = yield* Effect.exit(Server.Server.pipe(configured({ ...values, MAX: "0" })))
        assert(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        assert.include(String(Cause.squash(exit.cause)), "maxConnections must be")
      }))
  })

  it("asks for what its handler needs, but for the scope", () => {
    class Database extends Context.Tag("Database")<Database, { readonly n: number }>() {}
    const layer = Server.layer({ port: 0 }, () =>
      Effect.gen(function*() {
        yield* Effect.addFinalizer(() => Effect.void)
        return (yield* Database).n
      }))
    expectTypeOf(layer).toEqualTypeOf<Layer.Layer<Server.Server, ListenError, Network.Network | Database>>()
    expectTypeOf(Server.layer({ port: 0 }, echo)).toEqualTypeOf<
      Layer.Layer<Server.Server, ListenError, Network.Network>
    >()
    expectTypeOf(Network.startServer({ port: 0 }, () => Database)).toEqualTypeOf<
      Effect.Effect<Server.Server, ListenError, Network.Network | Scope.Scope | Database>
    >()
    expectTypeOf(Network.startServer({ port: 0 }, () => Effect.scope)).toEqualTypeOf<
      Effect.Effect<Server.Server, ListenError, Network.Network | Scope.Scope>
    >()
  })
})
