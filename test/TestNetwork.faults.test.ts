import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  FiberRef,
  Option,
  Ref,
  Schedule,
  type Scope,
  Stream,
  TestClock
} from "effect"
import { type Connection, Network, type Server, TestNetwork } from "effect-netstreams"

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

type Test<A, E> = Effect.Effect<A, E, Network.Network | TestNetwork.TestNetwork | Scope.Scope>

const hosts = { a: "192.0.2.10", b: "192.0.2.11" }

/** Runs a test in a network of its own, in simulated time; nothing may be left of its connections. */
const simulated = (options: TestNetwork.Options = {}) => <A, E>(test: Test<A, E>) =>
  Effect.scoped(test).pipe(
    Effect.zipLeft(Effect.sleep("1 minute")),
    Effect.zipLeft(Effect.map(TestNetwork.openConnections, (open) => assert.equal(open, 0))),
    Effect.provide(TestNetwork.layerWith({ hosts, ...options })),
    TestNetwork.simulate
  )

const now = Clock.currentTimeMillis

const echo = ({ reader, writer }: Connection.Connection) => reader.forEachLine((line) => writer.write(`${line}\n`))

const serve = (errors?: Ref.Ref<ReadonlyArray<Server.ServerError>>) =>
  Network.startServer(
    { port: 80, ...errors && { onError: (error) => Ref.update(errors, (all) => [...all, error]) } },
    echo
  )

const open = (host = "localhost") => Network.openConnection({ host, port: 80 })

const reasonFor = (error: { readonly _tag: string; readonly reason?: string }): string => error.reason ?? error._tag

const ask = (connection: Connection.Connection, line = "hello\n") =>
  Effect.zipRight(connection.writer.write(line), Effect.map(connection.reader.readLine, text))

describe("failing to connect", () => {
  it.effect("so many times, and then no more: a client that retries gets through", () =>
    Effect.gen(function*() {
      yield* serve()
      yield* TestNetwork.failConnect({ port: 80 }, { times: 2 })
      const connection = yield* Effect.retry(
        Network.openConnection({ host: "127.0.0.1", port: 80 }),
        Schedule.spaced("1 second")
      )
      assert.equal(yield* ask(connection), "hello\n")
      assert.equal(yield* now, 2000)
    }).pipe(simulated()))

  it.effect("to one target only, by any code, until it is called off", () =>
    Effect.gen(function*() {
      yield* serve()
      yield* serve().pipe(TestNetwork.runOn("a"))
      yield* TestNetwork.failConnect({ host: "a" }, { code: "EHOSTUNREACH" })
      yield* open()
      assert.equal(reasonFor(yield* Effect.flip(open("a"))), "HostUnreachable")
      yield* TestNetwork.failConnect({ host: "a" }, { code: "ECONNREFUSED" })
      assert.equal(reasonFor(yield* Effect.flip(open("a"))), "Refused")
      yield* TestNetwork.failConnect({ host: "a" }, { times: 0 })
      yield* open("a")
    }).pipe(simulated()))

  it.effect("by a host that takes no notice: after 127 seconds, or the program's own limit", () =>
    Effect.gen(function*() {
      yield* serve()
      yield* TestNetwork.failConnect({ port: 80 }, { code: "ETIMEDOUT" })
      const error = yield* Effect.flip(Network.openConnection({ host: "127.0.0.1", port: 80 }))
      assert.equal(reasonFor(error), "TimedOut")
      assert.equal(yield* now, 127_000)
      yield* Effect.flip(Network.openConnection({ host: "127.0.0.1", port: 80, connectTimeout: "3 seconds" }))
      assert.equal(yield* now, 130_000)
    }).pipe(simulated()))

  it.effect("a path", () =>
    Effect.gen(function*() {
      yield* Network.startUnixServer("/run/x", {}, echo)
      yield* TestNetwork.failConnect({ path: "/run/x" }, { times: 1 })
      assert.equal(reasonFor(yield* Effect.flip(Network.openUnixConnection("/run/x"))), "Refused")
      assert.equal(yield* ask(yield* Network.openUnixConnection("/run/x")), "hello\n")
    }).pipe(simulated()))
})

describe("failing to accept", () => {
  it.effect("the server is told, goes on, and the client is reset", () =>
    Effect.gen(function*() {
      const errors = yield* Ref.make<ReadonlyArray<Server.ServerError>>([])
      yield* serve(errors)
      yield* TestNetwork.failAccept({ port: 80 }, { code: "ENFILE", times: 1 })
      const first = yield* open()
      assert.equal(reasonFor(yield* Effect.flip(ask(first))), "Reset")
      assert.equal(yield* ask(yield* open()), "hello\n")
      const [error, ...others] = yield* Ref.get(errors)
      assert.deepEqual(others, [])
      assert.equal(error!.phase, "accept")
      assert.deepEqual(error!.remoteAddress, Option.some(first.localAddress))
      assert.equal((Cause.squash(error!.cause) as { readonly code?: string }).code, "ENFILE")
    }).pipe(simulated()))
})

describe("names", () => {
  it.effect("can be added, moved, lost and slow", () =>
    Effect.gen(function*() {
      yield* serve()
      const reasonOf = Effect.map(Effect.flip(open("api.test")), reasonFor)
      assert.equal(yield* reasonOf, "NameNotFound")
      yield* TestNetwork.addName("api.test", "127.0.0.1")
      yield* open("api.test")
      yield* TestNetwork.failLookup("API.test.", { reason: "Temporary", times: 1 })
      assert.equal(yield* reasonOf, "TimedOut")
      yield* open("api.test")
      yield* TestNetwork.failLookup("api.test")
      assert.equal(yield* reasonOf, "NameNotFound")
      assert.equal(yield* reasonOf, "NameNotFound")
      yield* TestNetwork.failLookup("api.test", { times: 0 })
      yield* TestNetwork.delayLookup("api.test", "3 seconds")
      yield* open("api.test")
      assert.equal(yield* now, 3000)
      const error = yield* Effect.flip(
        Network.openConnection({ host: "api.test", port: 80, connectTimeout: "1 second" })
      )
      assert.match(error.message, /the time ran out during name lookup/)
      yield* TestNetwork.addName("api.test", [])
      yield* TestNetwork.delayLookup("api.test", 0)
      assert.equal(yield* reasonOf, "NameNotFound")
      assert.equal(yield* now, 4000)
    }).pipe(simulated()))

  it.effect("fail with the code that the system has for it", () =>
    Effect.gen(function*() {
      const code = (name: string, options?: { readonly family?: 4 | 6 }) =>
        Effect.map(Effect.flip(Network.openConnection({ host: name, port: 80, ...options })), (error) => {
          assert(error._tag === "ConnectError")
          return Option.getOrNull(error.code)
        })
      assert.equal(yield* code("elsewhere"), "ENOTFOUND")
      assert.equal(yield* code("a", { family: 6 }), "ENOTFOUND")
      for (const [reason, expected] of [["Temporary", "EAI_AGAIN"], ["Unknown", null]] as const) {
        yield* TestNetwork.failLookup("a", { reason })
        assert.equal(yield* code("a"), expected)
      }
      const error = yield* Effect.flip(Network.startServer({ host: "elsewhere" }, echo))
      assert.deepEqual(error.code, Option.some("ENOTFOUND"))
    }).pipe(simulated()))

  it.effect("a host that joins can be reached, and only once", () =>
    Effect.gen(function*() {
      yield* TestNetwork.addHost("late", ["192.0.2.50", "2001:db8::50"])
      yield* serve().pipe(TestNetwork.runOn("late"))
      assert.equal(yield* ask(yield* open("late")), "hello\n")
      for (
        const [name, address] of [["late", "192.0.2.51"], ["other", "192.0.2.50"], ["other", "192.0.2.1"]] as const
      ) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(TestNetwork.addHost(name, address))))
      }
    }).pipe(simulated()))
})

describe("stale sockets", () => {
  it.effect("refuse, are replaced by a server, and kept where that is asked for", () =>
    Effect.gen(function*() {
      yield* TestNetwork.addStaleSocket("/run/x")
      assert.equal(reasonFor(yield* Effect.flip(Network.openUnixConnection("/run/x"))), "Refused")
      const kept = yield* Effect.flip(Network.startUnixServer("/run/x", { unlinkStale: false }, echo))
      assert.equal(kept.reason, "AddressInUse")
      yield* Network.startUnixServer("/run/x", {}, echo)
      assert.equal(yield* ask(yield* Network.openUnixConnection("/run/x")), "hello\n")
      // A live one is never replaced.
      yield* TestNetwork.addStaleSocket("/run/x")
      assert.equal((yield* Effect.flip(Network.startUnixServer("/run/x", {}, echo))).reason, "AddressInUse")
    }).pipe(simulated()))
})

describe("a partition", () => {
  it.effect("holds what is sent, and lets it arrive when it heals", () =>
    Effect.gen(function*() {
      yield* serve().pipe(TestNetwork.runOn("a"))
      yield* serve()
      const there = yield* open("a")
      const here = yield* open()
      yield* TestNetwork.partition("a")
      const answer = yield* Effect.fork(Effect.zip(ask(there), now))
      assert.equal(yield* ask(here), "hello\n")
      yield* Effect.sleep("10 minutes")
      assert.isNull(answer.unsafePoll())
      yield* TestNetwork.heal("a")
      assert.deepEqual(yield* Fiber.join(answer), ["hello\n", 600_000])
    }).pipe(simulated()))

  it.effect("between some leaves the others alone, both ways", () =>
    Effect.gen(function*() {
      yield* serve().pipe(TestNetwork.runOn("b"))
      yield* TestNetwork.partition("a", ["b"])
      assert.equal(yield* ask(yield* open("b")), "hello\n")
      const cutOff = Effect.flip(
        Network.openConnection({ host: "b", port: 80, connectTimeout: "1 second" })
      ).pipe(TestNetwork.runOn("a"))
      assert.equal(reasonFor(yield* cutOff), "TimedOut")
      yield* TestNetwork.heal()
      assert.equal(yield* ask(yield* open("b").pipe(TestNetwork.runOn("a"))), "hello\n")
    }).pipe(simulated()))

  it.effect("a connection that is dialled meanwhile is made when it heals, or times out", () =>
    Effect.gen(function*() {
      yield* serve().pipe(TestNetwork.runOn("a"))
      yield* TestNetwork.partition("a")
      const error = yield* Effect.flip(open("a"))
      assert.equal(reasonFor(error), "TimedOut")
      assert.equal(yield* now, 127_000)
      const patient = yield* Effect.fork(open("a"))
      yield* Effect.sleep("1 minute")
      yield* TestNetwork.heal("a")
      assert.equal(yield* ask(yield* Fiber.join(patient)), "hello\n")
      assert.equal(yield* now, 187_000)
    }).pipe(simulated()))

  it.effect("a connection in the making is caught by it, too", () =>
    Effect.gen(function*() {
      yield* serve().pipe(TestNetwork.runOn("a"))
      const fiber = yield* Effect.fork(Effect.flip(open("a")))
      yield* Effect.sleep("60 millis")
      yield* TestNetwork.partition(["a"], ["localhost"])
      assert.equal(reasonFor(yield* Fiber.join(fiber)), "TimedOut")
      assert.equal(yield* now, 127_000)
    }).pipe(simulated({ conditions: { latency: "50 millis" } })))
})

describe("a link", () => {
  /** A connection between hosts, and what was accepted at the other end. */
  const connected = (host?: string) =>
    Effect.gen(function*() {
      const accepted = yield* Deferred.make<Connection.Connection>()
      yield* Network.startServer({ port: 81 }, (connection) =>
        Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)).pipe(
          TestNetwork.runOn(host ?? "localhost")
        )
      const client = yield* Network.openConnection({ host: host ?? "localhost", port: 81 })
      return [client, yield* Deferred.await(accepted)] as const
    })

  it.effect("is seen from either end", () =>
    Effect.gen(function*() {
      const [client, server] = yield* connected()
      const [fromClient, fromServer] = yield* Effect.all([TestNetwork.link(client), TestNetwork.link(server)])
      yield* fromClient.setConditions({ latency: "1 second" }, { direction: "sent" })
      yield* fromServer.setConditions({ latency: "3 seconds" }, { direction: "sent" })
      yield* client.writer.write("x")
      yield* server.reader.readExactly(1)
      assert.equal(yield* now, 1000)
      yield* server.writer.write("x")
      yield* client.reader.readExactly(1)
      assert.equal(yield* now, 4000)
    }).pipe(simulated()))

  it.effect("conditions of a connection go before those of its hosts, and these before the network's", () =>
    Effect.gen(function*() {
      const time = (connection: Connection.Connection, peer: Connection.Connection) =>
        Effect.gen(function*() {
          const before = yield* now
          yield* connection.writer.write("x")
          yield* peer.reader.readExactly(1)
          return (yield* now) - before
        })
      const [client, server] = yield* connected("a")
      const [other, otherServer] = yield* connected("b")
      yield* TestNetwork.setConditions({ latency: "1 second" })
      assert.equal(yield* time(client, server), 1000)
      yield* TestNetwork.setConditionsBetween("a", "localhost", { latency: "2 seconds" })
      assert.equal(yield* time(client, server), 2000)
      assert.equal(yield* time(other, otherServer), 1000)
      const link = yield* TestNetwork.link(client)
      yield* link.setConditions({ latency: "3 seconds" })
      assert.equal(yield* time(server, client), 3000)
      yield* TestNetwork.setConditions({ latency: "5 seconds" })
      assert.equal(yield* time(client, server), 3000)
      assert.equal(yield* time(other, otherServer), 5000)
      yield* TestNetwork.setConditions({ latency: 0 })
      yield* link.setConditions({ latency: 0 })
    }).pipe(simulated()))

  it.effect("the bandwidth is reached, whatever the latency and however much is written at a time", () =>
    Effect.gen(function*() {
      const total = 1_048_576
      for (const latency of [0, 10, 50, 57]) {
        for (const fragment of [Infinity, 1460]) {
          for (const size of [total, 65_536, 40_000, 8192]) {
            const [client, server] = yield* TestNetwork.pair({
              conditions: { bandwidth: 1_000_000, latency, fragment }
            })
            const begin = yield* now
            yield* Effect.all([
              Effect.forEach(
                Array.from({ length: Math.ceil(total / size) }, (_, i) => Math.min(size, total - i * size)),
                (length) => client.writer.write(new Uint8Array(length)),
                { discard: true }
              ),
              server.reader.readExactly(total)
            ], { concurrency: 2 })
            const millis = (yield* now) - begin
            assert.approximately(millis, total / 1000 + latency, 1, `${latency} ${fragment} ${size}`)
          }
        }
      }
    }).pipe(simulated()))

  it.effect("a write that leaves room for the next is received in one piece, and a greater one in several", () =>
    Effect.gen(function*() {
      const [client, server] = yield* TestNetwork.pair({ conditions: { bandwidth: 1_000_000, latency: "50 millis" } })
      for (const [size, pieces] of [[10_000, [10_000]], [15_536, [15_536]], [20_000, [15_536, 4464]]] as const) {
        yield* client.writer.write(new Uint8Array(size))
        for (const piece of pieces) {
          assert.equal((yield* server.reader.read(100_000)).length, piece)
        }
      }
    }).pipe(simulated()))

  it.effect("a writer that waits goes on at once when more may be on its way", () =>
    Effect.gen(function*() {
      const [client, server] = yield* TestNetwork.pair({
        conditions: { bytesInFlight: 1000, latency: "1 minute" },
        highWaterMark: 1000
      })
      const link = yield* TestNetwork.link(client)
      const writing = yield* Effect.fork(client.writer.write(new Uint8Array(10_000)))
      yield* Effect.sleep("1 second")
      assert.isNull(writing.unsafePoll())
      yield* link.setConditions({ bytesInFlight: 10_000 }, { direction: "sent" })
      yield* Fiber.join(writing)
      assert.equal(yield* client.writer.bufferedBytes, 0)
      assert.equal(yield* now, 1000)
      yield* server.reader.readExactly(10_000)
      assert.equal(yield* now, 61_000)
    }).pipe(simulated()))

  it.effect("what is on its way arrives when it would have, and nothing overtakes it", () =>
    Effect.gen(function*() {
      const [client, server] = yield* connected()
      const link = yield* TestNetwork.link(client)
      yield* link.setConditions({ latency: "10 seconds" })
      yield* client.writer.write("slow ")
      yield* link.setConditions({ latency: 0 })
      yield* client.writer.write("fast")
      assert.equal(text(yield* server.reader.readExactly(9)), "slow fast")
      assert.equal(yield* now, 10_000)
    }).pipe(simulated()))

  it.effect("resets both ends, each after what it has received", () =>
    Effect.gen(function*() {
      const [client, server] = yield* connected()
      const link = yield* TestNetwork.link(client)
      yield* client.writer.write("to the server")
      yield* server.writer.write("to the client")
      yield* Effect.sleep(1)
      yield* link.reset
      assert.equal(text(yield* client.reader.read(100)), "to the client")
      assert.equal(text(yield* server.reader.read(100)), "to the server")
      assert.equal((yield* Effect.flip(client.reader.read(1))).reason, "Reset")
      assert.equal((yield* Effect.flip(server.writer.write("x"))).reason, "Reset")
    }).pipe(simulated()))

  it.effect("ends at once what has just been connected, and it is accepted all the same", () =>
    Effect.gen(function*() {
      const received = yield* Deferred.make<string>()
      yield* Network.startServer({ port: 81 }, ({ reader }) =>
        Effect.flatMap(reader.readAll(), (bytes) => Deferred.succeed(received, text(bytes))))
      const client = yield* Network.openConnection({ host: "localhost", port: 81, localPort: 4000 })
      yield* client.writer.write("too late")
      const link = yield* TestNetwork.link(client)
      yield* link.endAfter(0, { direction: "sent" })
      assert.equal(yield* Deferred.await(received), "")
      assert.equal(text(yield* client.reader.readAll()), "")
      yield* client.close
      assert.equal(yield* TestNetwork.openConnections, 0)
      yield* Network.openConnection({ host: "localhost", port: 81, localPort: 4000 })
    }).pipe(simulated({ conditions: { latency: "50 millis" } })))

  it.effect("resets at every place in the stream, byte by byte or all at once", () =>
    Effect.gen(function*() {
      const message = "EHLO x\r\n"
      for (const fragment of [1, "random", Infinity] as const) {
        yield* TestNetwork.setConditions({ fragment })
        for (let bytes = 0; bytes <= message.length; bytes++) {
          yield* Effect.scoped(Effect.gen(function*() {
            const [client, server] = yield* connected()
            const link = yield* TestNetwork.link(client)
            yield* link.resetAfter(bytes)
            yield* Effect.exit(server.writer.write(message))
            if (bytes > 0) {
              assert.equal(text(yield* client.reader.readExactly(bytes)), message.slice(0, bytes))
            }
            assert.equal(reasonFor(yield* Effect.flip(client.reader.readExactly(1))), "Reset")
            assert.equal((yield* server.awaitClosed)._tag, "Failed")
          }))
        }
      }
    }).pipe(simulated()))

  it.effect("a black hole takes all, and is left after the time that a close may take", () =>
    Effect.gen(function*() {
      const [client, server] = yield* connected()
      const link = yield* TestNetwork.link(client)
      yield* link.blackHole
      yield* client.writer.write("x")
      yield* client.close
      // Nothing waits to be sent, and the peer says nothing: that is as far as a close looks.
      assert.equal(yield* now, 1000)
      const read = yield* Effect.fork(server.reader.read(1))
      yield* Effect.sleep("1 hour")
      assert.isNull(read.unsafePoll())
      yield* Fiber.interrupt(read)
      yield* server.abort
    }).pipe(simulated()))

  it.effect("a stall stops a writer, a reader, a close and nothing else", () =>
    Effect.gen(function*() {
      const [client, server] = yield* connected()
      const link = yield* TestNetwork.link(client)
      yield* link.stall()
      const writing = yield* Effect.fork(client.writer.write(new Uint8Array(300_000)))
      const reading = yield* Effect.fork(client.reader.read(1))
      yield* Effect.sleep("1 minute")
      assert.isNull(writing.unsafePoll())
      assert.isNull(reading.unsafePoll())
      yield* Fiber.interrupt(reading)
      yield* link.resume()
      const received = yield* server.reader.readExactly(300_000)
      assert.equal(received.length, 300_000)
      yield* Fiber.join(writing)
      yield* server.writer.write("after all")
      assert.equal(text(yield* client.reader.readExactly(9)), "after all")
    }).pipe(simulated()))

  it.effect("one that is lost while closing is left when the close may take no longer", () =>
    Effect.gen(function*() {
      const [client, server] = yield* connected()
      yield* (yield* TestNetwork.link(client)).stall()
      yield* Effect.fork(client.writer.write(new Uint8Array(300_000)))
      yield* Effect.yieldNow()
      const closing = yield* Effect.fork(client.close)
      const before = yield* now
      yield* Fiber.join(closing)
      assert.equal((yield* now) - before, 30_000)
      assert.equal((yield* client.awaitClosed)._tag, "Aborted")
      yield* server.abort
    }).pipe(simulated()))

  it.effect("a connection that is none of a test network has none", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(TestNetwork.link({} as Connection.Connection))
      assert(Exit.isFailure(exit))
      assert.match(Cause.pretty(exit.cause), /not one of a test network; Faults\.attach/)
    }))
})

describe("simulated time", () => {
  it.effect("sleeps, timeouts and schedules take exactly what they say, in order", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const note = (what: string) => Effect.map(now, (time) => log.push(`${time} ${what}`))
      yield* Effect.all([
        Effect.repeat(note("tick"), Schedule.spaced("1 hour").pipe(Schedule.intersect(Schedule.recurs(2)))),
        Effect.zipRight(Effect.sleep("30 minutes"), note("half")),
        Effect.zipRight(Effect.timeoutOption(Effect.never, "1 hour"), note("timeout"))
      ], { concurrency: "unbounded" })
      assert.deepEqual(log, ["0 tick", "1800000 half", "3600000 tick", "3600000 timeout", "7200000 tick"])
    }).pipe(TestNetwork.simulate))

  it.effect("a program that is stuck dies, and says when", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.sleep("90 minutes").pipe(
        Effect.zipRight(Effect.never),
        TestNetwork.simulate,
        Effect.exit
      )
      assert(Exit.isFailure(exit))
      assert.match(Cause.pretty(exit.cause), /waits for something that nothing can bring about .* after 1h 30m/)
    }))

  it.live("a program that is stuck where it can't be interrupted dies as well", () =>
    Effect.gen(function*() {
      const programs = [
        Effect.uninterruptible(Effect.never),
        Effect.acquireRelease(Effect.never, () => Effect.void),
        Effect.addFinalizer(() => Effect.never),
        Effect.zipRight(Effect.addFinalizer(() => Effect.never), Effect.never),
        Effect.zipRight(Effect.forkScoped(Effect.uninterruptible(Effect.never)), Effect.yieldNow())
      ]
      const exits = yield* Effect.forEach(
        programs,
        (program) => Effect.exit(TestNetwork.simulate(Effect.scoped(program))),
        { concurrency: "unbounded" }
      )
      for (const exit of exits) {
        assert(Exit.isFailure(exit))
        assert.match(Cause.pretty(exit.cause), /nothing can bring about .* after 0/)
      }
    }))

  it.live("a program that is stuck, or interrupted, has the time that its finalizers take", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const program = (name: string) =>
        Effect.never.pipe(
          Effect.ensuring(Effect.zipRight(
            Effect.sleep("1 hour"),
            Effect.map(now, (time) => log.push(`${name} cleaned up after ${time}`))
          )),
          TestNetwork.simulate
        )
      const stuck = yield* Effect.exit(program("stuck"))
      assert(Exit.isFailure(stuck))
      assert.match(Cause.pretty(stuck.cause), /nothing can bring about .* after 0/)
      const fiber = yield* Effect.fork(program("interrupted"))
      yield* Effect.yieldNow()
      const interrupted = yield* Fiber.interrupt(fiber)
      assert(Exit.isFailure(interrupted) && Cause.isInterruptedOnly(interrupted.cause))
      assert.deepEqual(log, ["stuck cleaned up after 3600000", "interrupted cleaned up after 3600000"])
    }))

  it.live("an interruption does not wait for what is stuck", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(TestNetwork.simulate(Effect.ensuring(Effect.never, Effect.never)))
      yield* Effect.yieldNow()
      const exit = yield* Fiber.interrupt(fiber)
      assert(Exit.isFailure(exit))
      assert.match(Cause.pretty(exit.cause), /nothing can bring about/)
    }))

  it.scopedLive("leaves behind what its program sets for its fiber", () =>
    Effect.gen(function*() {
      const ref = yield* FiberRef.make("before")
      yield* TestNetwork.simulate(Effect.zipRight(Effect.sleep("1 day"), FiberRef.set(ref, "after")))
      assert.equal(yield* FiberRef.get(ref), "after")
      assert.notEqual(yield* now, 86_400_000)
    }))

  it.live("is over when its program is interrupted, or fails", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(TestNetwork.simulate(Effect.forever(Effect.sleep("1 second"))))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      const failed = yield* Effect.flip(TestNetwork.simulate(Effect.delay(Effect.fail("no"), "1 day")))
      assert.equal(failed, "no")
    }))

  it.live("stands still while the program can go on, however much it reads and writes", () =>
    Effect.gen(function*() {
      const [client, server] = yield* TestNetwork.pair({ highWaterMark: 1_000_000 })
      const [idle] = yield* TestNetwork.pair({ idleTimeout: "1 hour" })
      const inAnHour = Effect.timeout("1 hour")
      yield* Effect.fork(Effect.forever(Effect.flatMap(server.reader.readLine, (line) => server.writer.write(line))))
      for (let i = 0; i < 300; i++) {
        yield* client.writer.write("ping\n")
        yield* inAnHour(client.reader.readLine)
      }
      yield* inAnHour(Effect.gen(function*() {
        for (let i = 0; i < 10_000; i++) {
          yield* client.writer.write("x\n")
        }
      }))
      yield* inAnHour(Effect.gen(function*() {
        for (let i = 0; i < 10_000; i++) {
          yield* client.reader.readLine
        }
      }))
      assert.equal(yield* now, 0)
      assert.isFalse(yield* idle.isClosing)
    }).pipe(Effect.scoped, TestNetwork.simulate))

  it.live("lets the event loop turn, and then flows, where a program polls by yielding", () =>
    Effect.gen(function*() {
      let turned = false
      setTimeout(() => {
        turned = true
      }, 0)
      let ready = false
      yield* Effect.fork(Effect.delay(
        Effect.sync(() => {
          ready = true
        }),
        "10 millis"
      ))
      while (!ready) {
        yield* Effect.yieldNow()
      }
      assert.isTrue(turned)
      const began = yield* now
      assert.equal(began, 10)
      while ((yield* now) < began + 10) {
        yield* Effect.yieldNow()
      }
      // Whoever waits then has what is planned, to the millisecond.
      yield* Effect.sleep("1 day")
      assert.equal(yield* now, began + 10 + 86_400_000)
    }).pipe(TestNetwork.simulate), 60_000)

  it.live("flows for a writer without end that is read without pause", () =>
    Effect.gen(function*() {
      const [client, server] = yield* TestNetwork.pair()
      yield* Effect.fork(Stream.runDrain(server.reader.bytes))
      const written = yield* Effect.timeoutOption(Effect.forever(client.writer.write("x")), "10 millis")
      assert.isTrue(Option.isNone(written))
      assert.equal(yield* now, 10)
    }).pipe(Effect.scoped, TestNetwork.simulate), 60_000)

  it.live("is not moved by what was given up", () =>
    Effect.gen(function*() {
      yield* Effect.timeout(Effect.yieldNow(), "1 hour")
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 10)))
      assert.equal(yield* now, 0)
    }).pipe(TestNetwork.simulate))

  it.live("a program is not stuck that goes on now and then", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 2; i++) {
        yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1200)))
      }
    }).pipe(TestNetwork.simulate))

  it.live("what is due at the same time comes in the order in which it was planned", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const note = (what: string) => Effect.tap(Effect.sync(() => log.push(what)))
      const [early, peer] = yield* TestNetwork.pair({ conditions: { latency: "20 millis" } })
      const [client, server] = yield* TestNetwork.pair({ conditions: { latency: "50 millis" } })
      yield* early.writer.write("x")
      yield* Effect.fork(peer.reader.read(1))
      yield* client.writer.write("a")
      yield* client.writer.write("b")
      const reads = yield* Effect.fork(
        Effect.flatMap(note("first")(server.reader.read(1)), () => server.reader.read(1))
      )
      yield* Effect.sleep("10 millis")
      const sleep = yield* Effect.fork(note("second")(Effect.sleep("40 millis")))
      yield* Effect.sleep("1 millis")
      yield* client.writer.write("c")
      const last = yield* Effect.fork(note("third")(Effect.sleep("50 millis")))
      yield* Fiber.join(reads)
      const read = yield* Effect.fork(note("before")(server.reader.read(1)))
      yield* Effect.all([Fiber.join(sleep), Fiber.join(last), Fiber.join(read)])
      assert.deepEqual(log, ["first", "second", "before", "third"])
      assert.equal(yield* now, 61)
    }).pipe(Effect.scoped, TestNetwork.simulate))

  it.effect("an attempt that leads nowhere is given 250 ms before the next", () =>
    Effect.gen(function*() {
      yield* TestNetwork.addName("web", ["192.0.2.11", "192.0.2.10"])
      yield* serve().pipe(TestNetwork.runOn("a"))
      yield* TestNetwork.partition("b")
      yield* open("web")
      assert.equal(yield* now, 250)
    }).pipe(simulated()))
})

describe("a transcript", () => {
  const conversation = Effect.gen(function*() {
    yield* Network.startServer({ host: "127.0.0.1", port: 25 }, ({ reader, writer }) =>
      Effect.gen(function*() {
        yield* writer.write("220 ready\r\n")
        yield* reader.readUntil("\r\n")
        yield* writer.write(new Uint8Array([0, 1, 255, 34, 92]))
      }))
    yield* Effect.flip(Network.openConnection({ host: "127.0.0.1", port: 26 }))
    yield* Effect.scoped(Effect.gen(function*() {
      const { reader, writer } = yield* Network.openConnection({ host: "127.0.0.1", port: 25 })
      yield* reader.readUntil("\r\n")
      yield* writer.write("EHLO x\r\n")
      yield* reader.readAll()
    }))
    yield* Effect.sleep("1 second")
    return yield* TestNetwork.transcript
  })

  it.effect("says who sent what, when it arrived, and how it ended", () =>
    Effect.gen(function*() {
      const transcript = yield* conversation
      assert.equal(
        transcript.toString(),
        [
          " 0 ms  #1 client dials 127.0.0.1:26 from 127.0.0.1:49152",
          "20 ms  #1 client fails to connect: ECONNREFUSED",
          "20 ms  #2 client dials 127.0.0.1:25 from 127.0.0.1:49153",
          "40 ms  #2 client connects",
          "50 ms  #2 server accepts",
          "50 ms  #2 server sends 11 bytes: \"220 ready\\r\\n\"",
          "60 ms  #2 client receives 11 bytes: \"220 ready\\r\\n\"",
          "60 ms  #2 client sends 8 bytes: \"EHLO x\\r\\n\"",
          "70 ms  #2 server receives 8 bytes: \"EHLO x\\r\\n\"",
          "70 ms  #2 server sends 5 bytes: \"\\x00\\x01\\xff\\\"\\\\\"",
          "70 ms  #2 server ends",
          "80 ms  #2 client receives 5 bytes: \"\\x00\\x01\\xff\\\"\\\\\"",
          "80 ms  #2 client sees the end",
          "80 ms  #2 client ends",
          "90 ms  #2 server sees the end"
        ].join("\n")
      )
      assert.equal(
        transcript.format({ received: false, maxBytes: 3 }).split("\n")[6],
        "60 ms  #2 client sends 8 bytes: \"EHL\"…"
      )
      const sent = transcript.events.find((event) => event.what === "sends")!
      assert.deepEqual([sent.by, Duration.toMillis(sent.at), text(sent.bytes)], ["server", 50, "220 ready\r\n"])
    }).pipe(simulated({ record: true, conditions: { latency: "10 millis" } })))

  it.effect("says what was sent, whatever the program does with the bytes it has read", () =>
    Effect.gen(function*() {
      const done = yield* Deferred.make<void>()
      yield* Network.startServer({ host: "127.0.0.1", port: 80 }, ({ reader }) =>
        Effect.gen(function*() {
          const bytes = yield* reader.readExactly(3)
          bytes.fill(0)
          yield* Deferred.succeed(done, undefined)
        }))
      const { writer } = yield* Network.openConnection({ host: "127.0.0.1", port: 80 })
      yield* writer.write("abc")
      yield* Deferred.await(done)
      const transcript = (yield* TestNetwork.transcript).format()
      assert.match(transcript, /client sends 3 bytes: "abc"/)
      assert.match(transcript, /server receives 3 bytes: "abc"/)
    }).pipe(simulated({ record: true })))

  it.effect("counts from the beginning of a simulation that came after the network", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 hour")
      const events = yield* Effect.gen(function*() {
        yield* serve()
        yield* Effect.sleep("5 seconds")
        const { writer } = yield* open()
        yield* Effect.sleep("1 second")
        yield* writer.write("x")
        return (yield* TestNetwork.transcript).events
      }).pipe(Effect.scoped, TestNetwork.simulate)
      assert.deepEqual(
        events.map(({ at, what }) => `${Duration.toMillis(at)} ${what}`),
        ["5000 dials", "5100 connects", "5150 accepts", "6100 sends"]
      )
    }).pipe(Effect.provide(TestNetwork.layerWith({ record: true, conditions: { latency: "50 millis" } }))))

  it.effect("is kept only where that is asked for", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(TestNetwork.transcript)
      assert(Exit.isFailure(exit))
      assert.match(Cause.pretty(exit.cause), /the network records nothing: make it with \{ record: true \}/)
    }).pipe(simulated()))

  it.live("is the same a hundred times for the same seed, and another for another", () =>
    Effect.gen(function*() {
      const run = (seed: number) =>
        Effect.gen(function*() {
          yield* Network.startServer({ host: "127.0.0.1", port: 80 }, echo)
          yield* Effect.forEach(Array.from({ length: 10 }, (_, i) => i), (i) =>
            Effect.scoped(Effect.gen(function*() {
              const connection = yield* Network.openConnection({ host: "127.0.0.1", port: 80 })
              yield* ask(connection, `the client with number ${i}\n`)
              yield* ask(connection, `${"again ".repeat(i)}\n`)
            })), { concurrency: "unbounded" })
          return (yield* TestNetwork.transcript).toString()
        }).pipe(
          Effect.scoped,
          Effect.provide(TestNetwork.layerWith({
            seed,
            record: true,
            conditions: { latency: "10 millis", jitter: "30 millis", fragment: "random", bandwidth: 10_000 }
          })),
          TestNetwork.simulate
        )
      const first = yield* run(1)
      // Beside each other, and beside something else that keeps the process busy.
      const busy = yield* Effect.fork(Effect.forever(Effect.zipRight(
        Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1))),
        Effect.sync(() => {
          const end = performance.now() + 3
          while (performance.now() < end) {
            // Burns time.
          }
        })
      )))
      const transcripts = yield* Effect.all(Array.from({ length: 100 }, () => run(1)), { concurrency: 5 })
      yield* Fiber.interrupt(busy)
      transcripts.forEach((transcript) => assert.equal(transcript, first))
      assert.notEqual(yield* run(2), first)
    }), 60_000)
})
