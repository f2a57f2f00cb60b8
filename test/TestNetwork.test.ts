import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, type Scope, Stream, TestClock } from "effect"
import { Address, type Connection, Network, Resolver, TestNetwork } from "effect-netstreams"
import * as Fs from "node:fs"
import * as Path from "node:path"

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const echo = ({ reader, writer }: Connection.Connection) => reader.bytes.pipe(Stream.run(writer.sink))

const tcpOf = (address: Address.Address): Address.TcpAddress => {
  assert(address._tag === "TcpAddress")
  return address
}

/** Runs a program to its end, with as much time as it takes. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(Effect.scoped(effect))
    yield* TestClock.adjust("1 day")
    return yield* Fiber.join(fiber)
  })

const now = Effect.clockWith((clock) => clock.currentTimeMillis)

describe("a pair", () => {
  it.effect("carries bytes both ways, and ends in order", () =>
    Effect.gen(function*() {
      const [client, server] = yield* TestNetwork.pair()
      yield* client.writer.write("question")
      assert.equal(text(yield* server.reader.read(100)), "question")
      yield* server.writer.write("answer")
      yield* server.writer.writeEof
      assert.equal(text(yield* client.reader.readAll()), "answer")
      yield* client.writer.write("more")
      assert.equal(text(yield* server.reader.read(100)), "more")
      yield* client.close
      assert.equal((yield* server.awaitClosed)._tag, "Peer")
      assert.equal((yield* client.awaitClosed)._tag, "Peer")
    }).pipe(Effect.scoped))

  it.effect("is closed by its scope in no time", () =>
    Effect.gen(function*() {
      const ends = yield* Effect.scoped(TestNetwork.pair())
      for (const end of ends) {
        assert.equal((yield* end.awaitClosed)._tag, "Local")
      }
    }))

  it.effect("resets the peer of an end that is aborted, after what it had received", () =>
    Effect.gen(function*() {
      const [client, server] = yield* TestNetwork.pair()
      yield* client.writer.write("last words")
      yield* client.abort
      assert.equal(text(yield* server.reader.readExactly(10)), "last words")
      const error = yield* Effect.flip(server.reader.read(1))
      assert.equal(error.reason, "Reset")
      assert.deepEqual(error.code, Option.some("ECONNRESET"))
      assert.equal((yield* client.awaitClosed)._tag, "Aborted")
    }).pipe(Effect.scoped))

  it.effect("stops a writer whose peer does not read, and lets it go on when it does", () =>
    Effect.gen(function*() {
      const [client, server] = yield* TestNetwork.pair({
        conditions: { bytesInFlight: 1000 },
        limit: 500,
        highWaterMark: 2000
      })
      const writing = yield* Effect.fork(client.writer.writeAll([new Uint8Array(10_000)]))
      yield* Effect.sleep("1 hour")
      // What was taken: a chunk of 1000 bytes, and another, for the first is not more than twice the limit.
      assert.equal(yield* client.writer.bufferedBytes, 10_000 - 2000 - 1000)
      assert.isNull(writing.unsafePoll())
      yield* server.reader.readExactly(10_000)
      yield* Fiber.join(writing)
      assert.equal(yield* client.writer.bufferedBytes, 0)
    }).pipe(inTime))

  it.effect("checks its options", () =>
    Effect.gen(function*() {
      for (
        const [options, message] of [
          [{ seed: 0.5 }, "seed must be a whole number, got 0.5"],
          [{ conditions: { fragment: 0 } }, "fragment must be a whole number, 1 or more, got 0"],
          [{ conditions: { latency: -1 } }, "latency must be a duration, 0 or longer, got -1"],
          [{ limit: 0 }, "limit must be a whole number, 1 or more, got 0"]
        ] as const
      ) {
        const exit = yield* Effect.exit(TestNetwork.pair(options))
        assert(Exit.isFailure(exit))
        const defect = Option.getOrThrow(Cause.dieOption(exit.cause)) as Error
        assert.equal(defect.message, message)
      }
    }).pipe(Effect.scoped))
})

describe("addresses and names", () => {
  const run = <A, E>(effect: Effect.Effect<A, E, Network.Network | TestNetwork.TestNetwork>) =>
    Effect.provide(effect, TestNetwork.layerWith({ hosts: { db: ["192.0.2.5", "2001:db8::5"], v6: "2001:db8::6" } }))

  it.effect("a server has the port it asks for, or one that is free from 49152 up", () =>
    Effect.gen(function*() {
      const fixed = yield* Network.startServer({ host: "127.0.0.1", port: 80 }, echo)
      assert.deepEqual(fixed.addresses, [Address.tcp("127.0.0.1", 80)])
      const first = yield* Network.startServer({ host: "127.0.0.1" }, echo)
      const second = yield* Network.startServer({}, echo)
      assert.deepEqual(first.addresses, [Address.tcp("127.0.0.1", 49_152)])
      assert.deepEqual(second.addresses, [Address.tcp("::", 49_153)])
      const connection = yield* Network.openConnection({ host: "127.0.0.1", port: 49_153 })
      assert.deepEqual(connection.localAddress, Address.tcp("127.0.0.1", 49_154))
      assert.deepEqual(connection.remoteAddress, Address.tcp("127.0.0.1", 49_153))
      yield* Effect.yieldNow()
      const [accepted] = yield* second.connections
      assert.deepEqual(accepted!.remoteAddress, connection.localAddress)
      assert.deepEqual(accepted!.localAddress, connection.remoteAddress)
    }).pipe(Effect.scoped, run))

  it.effect("a server passes over an address of a name that its host lacks, but not over the last, nor a number", () =>
    Effect.gen(function*() {
      const names = Effect.provide(
        Resolver.layerStatic({ both: ["203.0.113.7", "127.0.0.1"], lost: ["203.0.113.7", "198.51.100.7"] })
      )
      for (const host of [["127.0.0.1", "lost"], ["both", "lost"], ["both", "203.0.113.7"], "lost"]) {
        const error = yield* Effect.flip(Effect.asVoid(names(Network.startServer({ host, port: 80 }, echo))))
        assert.equal(error.reason, "AddressNotAvailable")
      }
      // Nothing is left of what failed.
      const server = yield* names(Network.startServer({ host: "both", port: 80 }, echo))
      assert.deepEqual(server.addresses, [Address.tcp("127.0.0.1", 80)])
    }).pipe(Effect.scoped, run))

  it.effect(
    "a port is in use until its server has closed, and by its connections no longer",
    () =>
      Effect.gen(function*() {
        const server = yield* Network.startServer({ host: "127.0.0.1", port: 80 }, echo)
        yield* Network.openConnection({ host: "127.0.0.1", port: 80 })
        for (const host of ["127.0.0.1", undefined, "0.0.0.0", ["::1", "127.0.0.1"]]) {
          const error = yield* Effect.flip(Network.startServer({ host, port: 80 }, echo))
          assert.equal(error.reason, "AddressInUse")
          assert.deepEqual(error.code, Option.some("EADDRINUSE"))
        }
        // Nothing is left of the list that failed, and other addresses are free.
        yield* Network.startServer({ host: ["::1", "127.0.0.2", "192.0.2.1"], port: 80 }, echo)
        yield* server.close
        yield* Network.startServer({ host: "127.0.0.1", port: 80 }, echo)
      }).pipe(Effect.scoped, run)
  )

  it.effect(
    "refuses where nobody listens, where a server has not begun, and where it has closed",
    () =>
      Effect.gen(function*() {
        const refused = Effect.flip(Network.openConnection({ host: "127.0.0.1", port: 80 }))
        const error = yield* refused
        assert(error._tag === "ConnectError")
        assert.equal(error.reason, "Refused")
        assert.equal(error.message, "connect to 127.0.0.1:80: nobody listens there (ECONNREFUSED)")
        const server = yield* Network.startServer({ host: "127.0.0.1", port: 80, startServing: false }, echo)
        assert.equal((yield* refused as Effect.Effect<typeof error>).reason, "Refused")
        yield* server.startServing
        yield* Network.openConnection({ host: "127.0.0.1", port: 80 })
        yield* server.close
        assert.equal((yield* refused as Effect.Effect<typeof error>).reason, "Refused")
      }).pipe(Effect.scoped, run)
  )

  it.effect("knows its hosts by name, and no other", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ port: 5432 }, ({ writer }) => writer.write("ready\n")).pipe(TestNetwork.runOn("db"))
      const connection = yield* Network.openConnection({ host: "DB", port: 5432, family: 4 })
      assert.equal(text(yield* connection.reader.readLine), "ready\n")
      assert.deepEqual(connection.remoteAddress, Address.tcp("192.0.2.5", 5432))
      assert.equal(tcpOf(connection.localAddress).host, "192.0.2.1")
      const error = yield* Effect.flip(Network.openConnection({ host: "elsewhere", port: 5432 }))
      assert(error._tag === "ConnectError")
      assert.equal(error.reason, "NameNotFound")
      const listen = yield* Effect.flip(Network.startServer({ host: "elsewhere" }, echo))
      assert.equal(listen.reason, "NameNotFound")
      // Loopback is a machine's own.
      const own = yield* Effect.flip(Network.openConnection({ host: "localhost", port: 5432 }))
      assert(own._tag === "ConnectError")
      assert.deepEqual(own.attempts.map((attempt) => attempt.reason), ["Refused", "Refused"])
    }).pipe(Effect.scoped, run))

  it.effect("an address is the same however it is written", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ host: "2001:DB8:0::5", port: 80 }, echo).pipe(TestNetwork.runOn("db"))
      const { remoteAddress } = yield* Network.openConnection({ host: "2001:0db8:0:0:0:0:0:5", port: 80 })
      assert.deepEqual(remoteAddress, Address.tcp("2001:db8::5", 80))
      yield* Network.startServer({ host: "0:0:0:0:0:0:0:1", port: 80 }, echo)
      yield* Network.openConnection({ host: "::1", port: 80, localAddress: "0::1" })
      // Whoever dials the address of no machine means this one.
      yield* Network.openConnection({ host: "::", port: 80 })
    }).pipe(Effect.scoped, run))

  it.effect("whoever dials from the address of no machine does so from that of its own", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer({ port: 80 }, echo).pipe(TestNetwork.runOn("db"))
      for (
        const [host, localAddress, own] of [
          ["192.0.2.5", "0.0.0.0", "192.0.2.1"],
          ["2001:db8::5", "::", "2001:db8::1"],
          ["2001:db8::5", "0:0::0", "2001:db8::1"]
        ] as const
      ) {
        const connection = yield* Network.openConnection({ host, port: 80, localAddress })
        assert.equal(tcpOf(connection.localAddress).host, own)
        yield* Effect.yieldNow()
        const accepted = yield* server.connections
        assert.deepEqual(accepted[accepted.length - 1]!.remoteAddress, connection.localAddress)
      }
      yield* Network.startServer({ port: 81 }, echo)
      const { localAddress } = yield* Network.openConnection({ host: "127.0.0.1", port: 81, localAddress: "0.0.0.0" })
      assert.equal(tcpOf(localAddress).host, "127.0.0.1")
      const error = yield* Effect.flip(
        Network.openConnection({ host: "192.0.2.5", port: 80, localAddress: "0.0.0.0" })
      ).pipe(TestNetwork.runOn("v6"))
      assert(error._tag === "ConnectError")
      assert.equal(error.reason, "NetworkUnreachable")
    }).pipe(Effect.scoped, run))

  it.effect("a program's own resolver comes first", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ host: "service", port: 80 }, ({ writer }) => writer.write("here\n"))
      const { reader, remoteAddress } = yield* Network.openConnection({ host: "service", port: 80 })
      assert.equal(tcpOf(remoteAddress).host, "127.0.0.9")
      assert.equal(text(yield* reader.readLine), "here\n")
    }).pipe(Effect.scoped, Effect.provide(Resolver.layerStatic({ service: "127.0.0.9" })), run))

  it.effect("what can't be reached says why", () =>
    Effect.gen(function*() {
      const reasonOf = (options: Network.ConnectOptions) =>
        Network.openConnection(options).pipe(
          Effect.flip,
          Effect.map((error) => error._tag === "ConnectError" ? error.reason : error._tag)
        )
      assert.equal(yield* reasonOf({ host: "192.0.2.99", port: 1 }), "HostUnreachable")
      assert.equal(yield* reasonOf({ host: "192.0.2.5", port: 1 }).pipe(TestNetwork.runOn("v6")), "NetworkUnreachable")
      assert.equal(
        yield* reasonOf({ host: "127.0.0.1", port: 1, localAddress: "192.0.2.77" }),
        "AddressNotAvailable"
      )
      yield* Network.startServer({ port: 80 }, echo)
      assert.equal(yield* reasonOf({ host: "127.0.0.1", port: 80, localPort: 80 }), "AddressInUse")
      const { localAddress } = yield* Network.openConnection({ host: "127.0.0.1", port: 80, localPort: 4000 })
      assert.equal(tcpOf(localAddress).port, 4000)
      const error = yield* Effect.flip(Network.startServer({ host: "192.0.2.5" }, echo))
      assert.equal(error.reason, "AddressNotAvailable")
    }).pipe(Effect.scoped, run))

  it.effect("a port to connect from may have many connections, but for two with the same ends, and no listener", () =>
    Effect.gen(function*() {
      for (const host of ["127.0.0.1", "127.0.0.2", "192.0.2.1"]) {
        yield* Network.startServer({ host, port: 80 }, echo)
      }
      yield* Network.startServer({ host: "127.0.0.1", port: 81 }, echo)
      const open = (host: string, port: number, options?: Partial<Network.ConnectOptions>) =>
        Effect.map(
          Network.openConnection({ host, port, localPort: 49_200, ...options }),
          ({ localAddress }) => Address.format(localAddress)
        )
      const refused = (...of: Parameters<typeof open>) =>
        Effect.map(Effect.flip(open(...of)), (error) => {
          assert(error._tag === "ConnectError")
          const { syscall } = error.cause as { readonly syscall: string }
          return [error.reason, Option.getOrNull(error.code), syscall]
        })

      assert.equal(yield* open("127.0.0.1", 80), "127.0.0.1:49200")
      const taken = ["AddressNotAvailable", "EADDRNOTAVAIL", "connect"]
      assert.deepEqual(yield* refused("127.0.0.1", 80), taken)
      assert.deepEqual(yield* refused("127.0.0.1", 80, { localAddress: "127.0.0.1" }), taken)
      // Each differs from the first in one of the four.
      assert.equal(yield* open("127.0.0.2", 80, { localAddress: "127.0.0.1" }), "127.0.0.1:49200")
      assert.equal(yield* open("127.0.0.1", 81), "127.0.0.1:49200")
      assert.equal(yield* open("127.0.0.1", 80, { localAddress: "127.0.0.3" }), "127.0.0.3:49200")
      assert.equal(yield* open("127.0.0.1", 80, { localPort: 49_201 }), "127.0.0.1:49201")

      const inUse = ["AddressInUse", "EADDRINUSE", "bind"]
      assert.deepEqual(yield* refused("127.0.0.1", 80, { localPort: 81 }), inUse)
      assert.deepEqual(yield* refused("127.0.0.1", 80, { localPort: 81, localAddress: "127.0.0.1" }), inUse)
      assert.equal(yield* open("127.0.0.1", 80, { localPort: 81, localAddress: "127.0.0.2" }), "127.0.0.2:81")

      const chosen = yield* Effect.replicateEffect(open("127.0.0.1", 80, { localPort: 0 }), 100)
      assert.equal(new Set(chosen).size, 100)
      assert.notInclude(chosen, "127.0.0.1:49200")
      assert.notInclude(chosen, "127.0.0.1:49201")
    }).pipe(Effect.scoped, run))

  it.effect("connections from one port race", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ port: 80 }, echo).pipe(TestNetwork.runOn("db"))
      yield* TestNetwork.partition("v6", ["localhost"])
      for (const happyEyeballsDelay of [0, "250 millis"] as const) {
        const connection = yield* Effect.scoped(
          Network.openConnection({ host: "both", port: 80, localPort: 4000, happyEyeballsDelay })
        )
        assert.deepEqual(connection.localAddress, Address.tcp("2001:db8::1", 4000))
        assert.deepEqual(connection.remoteAddress, Address.tcp("2001:db8::5", 80))
        // The port of the attempt that lost is free again.
        yield* TestNetwork.heal()
        const error = yield* Effect.flip(Network.openConnection({ host: "2001:db8::6", port: 80, localPort: 4000 }))
        assert(error._tag === "ConnectError")
        assert.equal(error.reason, "Refused")
        yield* TestNetwork.partition("v6", ["localhost"])
      }
    }).pipe(
      inTime,
      Effect.provide(Resolver.layerStatic({ both: ["2001:db8::6", "2001:db8::5"] })),
      run
    ))

  it.effect("a port comes back when its connection has ended", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ port: 80 }, echo)
      const open = Network.openConnection({ host: "127.0.0.1", port: 80, localPort: 4000 })
      yield* Effect.scoped(open)
      yield* Effect.scoped(open)
    }).pipe(Effect.scoped, run))

  it.effect("an address is bound once, in however many ways it is written", () =>
    Effect.gen(function*() {
      const host = ["::1", "0:0:0:0:0:0:0:1", "127.0.0.1", "::ffff:127.0.0.1"]
      const server = yield* Network.startServer({ host, port: 80 }, echo)
      assert.deepEqual(server.addresses, [Address.tcp("::1", 80), Address.tcp("127.0.0.1", 80)])
    }).pipe(Effect.scoped, run))

  it.effect("several share a port that ask for it", () =>
    Effect.gen(function*() {
      const options = { port: 80, reusePort: true }
      yield* Network.startServer(options, ({ writer }) => writer.write("a"))
      yield* Network.startServer(options, ({ writer }) => writer.write("b"))
      const ask = Effect.scoped(Effect.flatMap(
        Network.openConnection({ host: "127.0.0.1", port: 80 }),
        ({ reader }) => Effect.map(reader.readAll(), text)
      ))
      const answers = yield* Effect.all([ask, ask, ask, ask])
      assert.equal(answers.join(""), "abab")
    }).pipe(Effect.scoped, run))

  it.effect("a host that there is not is a defect, and so are hosts that can't be", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(TestNetwork.runOn(Network.Network, "nowhere"))
      assert(Exit.isFailure(exit))
      assert.match(Cause.pretty(exit.cause), /there is no host "nowhere" in this network, only localhost, db, v6/)
      const twice = yield* Effect.exit(TestNetwork.make({ hosts: { a: "192.0.2.7", b: "192.0.2.7" } }))
      assert(Exit.isFailure(twice))
      assert.match(Cause.pretty(twice.cause), /a and b must not both have the address 192\.0\.2\.7/)
      const name = yield* Effect.exit(TestNetwork.make({ hosts: { a: "b" } }))
      assert(Exit.isFailure(name))
      assert.match(Cause.pretty(name.cause), /the address of a must be numeric, got "b"/)
      for (const address of ["127.0.0.5", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"]) {
        const own = yield* Effect.exit(TestNetwork.make({ hosts: { a: ["192.0.2.7", address] } }))
        assert(Exit.isFailure(own))
        assert.include(
          Cause.pretty(own.cause),
          `the address of a must be one by which others reach it, got "${address}"`
        )
      }
    }).pipe(run))
})

describe("unix sockets", () => {
  const run = <A, E>(effect: Effect.Effect<A, E, Network.Network | TestNetwork.TestNetwork>) =>
    Effect.provide(effect, TestNetwork.layer)

  it.effect("have paths of their own, which are free again with their server", () =>
    Effect.gen(function*() {
      const missing = yield* Effect.flip(Network.openUnixConnection("/run/x.sock"))
      assert(missing._tag === "ConnectError")
      assert.equal(missing.reason, "NotFound")
      const server = yield* Network.startUnixServer("/run/x.sock", {}, echo)
      assert.deepEqual(server.addresses, [Address.unix("/run/x.sock")])
      const connection = yield* Network.openUnixConnection("/run/x.sock")
      assert.deepEqual(connection.localAddress, Address.unix())
      assert.deepEqual(connection.remoteAddress, Address.unix("/run/x.sock"))
      yield* connection.writer.write("hello\n")
      assert.equal(text(yield* connection.reader.readLine), "hello\n")
      const taken = yield* Effect.flip(Network.startUnixServer("/run/x.sock", {}, echo))
      assert.equal(taken.reason, "AddressInUse")
      yield* server.close
      const gone = yield* Effect.flip(Network.openUnixConnection("/run/x.sock"))
      assert(gone._tag === "ConnectError" && gone.reason === "NotFound")
      yield* Network.startUnixServer("/run/x.sock", { startServing: false }, echo)
      const bound = yield* Effect.flip(Network.openUnixConnection("/run/x.sock"))
      assert(bound._tag === "ConnectError" && bound.reason === "Refused")
    }).pipe(Effect.scoped, run))

  it.effect("a path that is too long is refused as Linux refuses it", () =>
    Effect.gen(function*() {
      const path = `/${"x".repeat(107)}`
      const error = yield* Effect.flip(Network.openUnixConnection(path))
      assert.deepEqual(error.code, Option.some("ENAMETOOLONG"))
      const listen = yield* Effect.flip(Network.startUnixServer(path, {}, echo))
      assert.deepEqual(listen.code, Option.some("ENAMETOOLONG"))
    }).pipe(Effect.scoped, run))
})

describe("time", () => {
  const run = <A, E>(effect: Effect.Effect<A, E, Network.Network | TestNetwork.TestNetwork | Scope.Scope>) =>
    effect.pipe(inTime, Effect.provide(TestNetwork.layerWith({ conditions: { latency: "50 millis" } })))

  it.effect("connecting takes a round trip, and a question and its answer another", () =>
    Effect.gen(function*() {
      const accepted = yield* Deferred.make<number>()
      yield* Network.startServer({ port: 80 }, (connection) =>
        Effect.flatMap(now, (time) => Effect.zipRight(Deferred.succeed(accepted, time), echo(connection))))
      const { reader, writer } = yield* Network.openConnection({ host: "127.0.0.1", port: 80 })
      assert.equal(yield* now, 100)
      assert.equal(yield* Deferred.await(accepted), 150)
      yield* writer.write("hello\n")
      assert.equal(text(yield* reader.readLine), "hello\n")
      assert.equal(yield* now, 250)
    }).pipe(run))

  it.effect("a refusal takes a round trip too", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Network.openConnection({ host: "127.0.0.1", port: 80 }))
      assert(error._tag === "ConnectError")
      assert.deepEqual(error.attempts.map((attempt) => Duration.toMillis(attempt.elapsed)), [100])
    }).pipe(run))

  it.effect("a dial that is interrupted leaves its port, and no connection", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer({ port: 80 }, echo)
      const open = Network.openConnection({ host: "127.0.0.1", port: 80, localPort: 4000 })
      for (const wait of [0, 10, 50, 60, 99]) {
        const fiber = yield* Effect.fork(Effect.scoped(open))
        yield* Effect.sleep(wait)
        yield* Fiber.interrupt(fiber)
      }
      yield* Effect.sleep("1 minute")
      assert.deepEqual(yield* server.connections, [])
      yield* open
    }).pipe(run))

  it.effect("an address that leads nowhere holds nobody up", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ host: "192.0.2.5", port: 80 }, echo).pipe(TestNetwork.runOn("web"))
      const { remoteAddress } = yield* Network.openConnection({ host: "web", port: 80 })
      assert.equal(tcpOf(remoteAddress).host, "192.0.2.5")
      // The other one was refused after a round trip.
      assert.equal(yield* now, 200)
    }).pipe(
      inTime,
      Effect.provide(TestNetwork.layerWith({
        hosts: { web: ["2001:db8::5", "192.0.2.5"] },
        conditions: { latency: "50 millis" }
      }))
    ))
})

describe("the module", () => {
  it("needs nothing of Node, nor do faults", () => {
    const source = Path.resolve(import.meta.dirname, "../src")
    const seen = new Set<string>()
    const visit = (file: string): void => {
      if (!seen.has(file)) {
        seen.add(file)
        const text = Fs.readFileSync(file, "utf8").replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, "")
        for (const [, imported = ""] of text.matchAll(/^(?:import|export) (?:\*|\{)[^"]*? from "([^"]+)"$/gm)) {
          assert.match(imported, /^(\.|effect\/)/, `${Path.relative(source, file)} imports ${imported}`)
          if (imported.startsWith(".")) {
            visit(Path.resolve(Path.dirname(file), imported.replace(/\.js$/, ".ts")))
          }
        }
        assert.notMatch(
          text,
          /\b(?:process|Buffer|require)\b[.(]/,
          `${Path.relative(source, file)} uses Node's globals`
        )
        assert.notMatch(text, /import\("node:/)
      }
    }
    visit(Path.join(source, "TestNetwork.ts"))
    visit(Path.join(source, "Faults.ts"))
    assert.isAbove(seen.size, 40)
    assert.isFalse(Array.from(seen).some((file) => file.includes("/node/")))
  })
})

describe("the layer", () => {
  it.effect("makes a network of its own each time", () =>
    Effect.gen(function*() {
      const serve = Network.startServer({ host: "127.0.0.1", port: 80 }, echo)
      const fresh = Layer.fresh(TestNetwork.layer)
      yield* Effect.provide(serve, fresh)
      yield* Effect.provide(serve, fresh)
    }).pipe(Effect.scoped))
})

describe("events of one moment, simulated", () => {
  const onVirtualTime = <A, E>(
    program: Effect.Effect<A, E, Network.Network | Scope.Scope>,
    conditions: NonNullable<Parameters<typeof TestNetwork.layerWith>[0]>["conditions"]
  ): Promise<A> =>
    program.pipe(
      Effect.scoped,
      Effect.provide(TestNetwork.layerWith({ conditions })),
      TestNetwork.simulate,
      Effect.runPromise
    )

  it("a read that loses against a time limit leaves its line to the next one", async () => {
    const program = (pause: number) =>
      Effect.gen(function*() {
        yield* Network.startServer(
          { port: 7 },
          ({ writer }) =>
            Effect.forEach(
              ["1\n", "2\n", "3\n"],
              (line) => Effect.zipRight(Effect.sleep(pause), writer.write(line)),
              { discard: true }
            )
        )
        const { reader } = yield* Network.openConnection({ host: "localhost", port: 7 })
        let lines = ""
        while (!(yield* reader.atEof)) {
          const line = yield* Effect.timeoutOption(reader.readLine, 100)
          lines += Option.isSome(line) ? text(line.value) : ""
        }
        return lines
      })
    for (const latency of [0, 10, 20, 25, 50, 100]) {
      for (const pause of [50, 75, 100, 130, 150]) {
        assert.strictEqual(await onVirtualTime(program(pause), { latency }), "1\n2\n3\n", `${latency}, ${pause}`)
      }
    }
  })

  it("of two peers that speak at once, the one that lost the race is read after", async () => {
    const serve = (name: string) =>
      Effect.map(
        Network.startServer({ host: "localhost", port: 0 }, ({ reader, writer }) =>
          Effect.zipRight(Effect.sleep(20), Effect.zipRight(writer.write(`from ${name}\n`), reader.readAll()))),
        (server) =>
          tcpOf(server.addresses[0]).port
      )
    const program = Effect.gen(function*() {
      const ports = [yield* serve("a"), yield* serve("b")]
      const [a, b] = yield* Effect.all(
        ports.map((port) => Network.openConnection({ host: "localhost", port })),
        { concurrency: 2 }
      )
      let all = text(yield* Effect.raceFirst(a!.reader.readLine, b!.reader.readLine))
      for (const { reader, writer } of [a!, b!]) {
        yield* writer.writeEof
        all += text(yield* reader.readAll())
      }
      return all
    })
    for (const latency of [0, 10]) {
      assert.strictEqual(await onVirtualTime(program, { latency }), "from a\nfrom b\n", `${latency}`)
    }
  })

  it("come at times in whole milliseconds, as far as a program asks for these", async () => {
    const program = Effect.gen(function*() {
      yield* Network.startServer({ port: 7 }, ({ writer }) => writer.write("x".repeat(100)))
      const { reader } = yield* Network.openConnection({ host: "localhost", port: 7 })
      yield* reader.readAll()
      return [yield* now, yield* Effect.clockWith((clock) => clock.currentTimeNanos)] as const
    })
    const [millis, nanos] = await onVirtualTime(program, { bandwidth: 30_000 })
    assert.isTrue(Number.isInteger(millis))
    assert.notStrictEqual(nanos, BigInt(millis) * 1_000_000n)
  })
})
