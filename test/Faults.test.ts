import { assert, describe, it } from "@effect/vitest"
import { Cause, Chunk, Deferred, Effect, Exit, Fiber, Option, pipe, type Scope, Stream, TestClock } from "effect"
import { type Address, type Connection, Faults, Network, NodeNetwork, TestNetwork } from "effect-netstreams"

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(Effect.scoped(effect))
    yield* TestClock.adjust("1 day")
    return yield* Fiber.join(fiber)
  })

const now = Effect.clockWith((clock) => clock.currentTimeMillis)

/** Everything that can be read, and how it ended. */
const readToEnd = (connection: Connection.Connection) =>
  Effect.gen(function*() {
    let received = ""
    for (;;) {
      const chunk = yield* Effect.either(connection.reader.read(1000))
      if (chunk._tag === "Left") {
        return [received, chunk.left.reason] as const
      }
      if (chunk.right.length === 0) {
        return [received, "end"] as const
      }
      received += text(chunk.right)
    }
  })

/** A connection of the operating system and its peer. */
const realPair = Effect.gen(function*() {
  const accepted = yield* Deferred.make<Connection.Connection>()
  const server = yield* Network.startServer(
    { host: "127.0.0.1" },
    (connection) => Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)
  )
  const address = server.addresses[0] as Address.TcpAddress
  const client = yield* Network.openConnection({ host: address.host, port: address.port })
  const peer = yield* Deferred.await(accepted)
  // The rest of the test's connections need not wait for each other's end.
  yield* Effect.addFinalizer(() => peer.abort)
  return [client, peer] as const
}).pipe(Effect.provide(NodeNetwork.layer))

type Body = () => Effect.Effect<unknown, unknown, Scope.Scope>

const carriers = [
  { name: "over TCP", pair: realPair, run: (name: string, body: Body) => it.scopedLive(name, body) },
  {
    name: "in memory",
    pair: TestNetwork.pair(),
    run: (name: string, body: Body) => it.effect(name, () => inTime(body()))
  }
]

for (const { name, pair, run } of carriers) {
  describe(`faults ${name}`, () => {
    run("a link that does nothing changes nothing", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        yield* peer.writer.write("early ")
        const [connection] = yield* Faults.attach(plain)
        assert.deepEqual(connection.localAddress, plain.localAddress)
        assert.deepEqual(connection.remoteAddress, plain.remoteAddress)
        yield* peer.writer.write("and late")
        assert.equal(text(yield* connection.reader.readExactly(14)), "early and late")
        yield* connection.writer.write("answer")
        assert.equal(text(yield* peer.reader.readExactly(6)), "answer")
        yield* connection.writer.writeEof
        assert.equal(text(yield* peer.reader.readAll()), "")
        const bytes = new Uint8Array(1_000_000).map((_, i) => i * 31 + (i >> 8))
        const [received] = yield* Effect.all([
          connection.reader.readAll(),
          Effect.zipRight(peer.writer.write(bytes), peer.writer.writeEof)
        ], { concurrency: 2 })
        assert.deepEqual(received, bytes)
        assert.equal((yield* connection.awaitClosed)._tag, "Peer")
        assert.equal((yield* peer.awaitClosed)._tag, "Peer")
      }))

    run("the connection that was given is spent", () =>
      Effect.gen(function*() {
        const [plain] = yield* pair
        const connection = yield* Faults.fragment(plain, 1)
        assert.equal((yield* Effect.flip(plain.reader.read(1))).reason, "Closed")
        assert.equal((yield* Effect.flip(plain.writer.write("x"))).reason, "Closed")
        assert.isFalse(yield* connection.isClosing)
      }))

    run("one whose writing has ended has still", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        yield* plain.writer.writeEof
        const connection = yield* Faults.fragment(plain, 1)
        assert.equal((yield* Effect.flip(connection.writer.write("x"))).reason, "Closed")
        assert.equal(text(yield* peer.reader.readAll()), "")
        yield* peer.writer.write("still here")
        assert.equal(text(yield* connection.reader.readExactly(10)), "still here")
      }))

    run("one that has ended is given back", () =>
      Effect.gen(function*() {
        const [plain] = yield* pair
        yield* plain.abort
        assert.strictEqual(yield* Faults.resetAfter(plain, 1), plain)
        // Whatever is done to its link does nothing.
        const [given, link] = yield* Faults.attach(plain)
        assert.strictEqual(given, plain)
        for (const direction of ["sent", "received"] as const) {
          yield* link.setConditions({ bytesInFlight: 1 }, { direction })
          yield* link.endAfter(0, { direction })
          yield* link.resetAfter(0, { direction })
        }
        yield* link.resetIn(1)
        yield* Effect.sleep(2)
        yield* link.reset
      }))

    run("resets after so many bytes, at every place", () =>
      Effect.gen(function*() {
        for (const bytes of [0, 1, 4, 5, 6, 9]) {
          const [plain, peer] = yield* pair
          const connection = yield* Faults.resetAfter(plain, bytes)
          yield* Effect.exit(Effect.zipRight(peer.writer.write("hello"), peer.writer.write("world")))
          assert.deepEqual(yield* readToEnd(connection), ["helloworld".slice(0, bytes), "Reset"])
          assert.equal((yield* connection.awaitClosed)._tag, "Failed")
          const reason = yield* peer.awaitClosed
          assert(reason._tag === "Failed" && reason.error._tag === "ConnectionError", reason._tag)
          assert.equal(reason.error.reason, "Reset")
        }
      }))

    run("resets after so many bytes sent, which the peer still gets", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const connection = yield* Faults.resetAfter(plain, 3, { direction: "sent" })
        yield* Effect.exit(connection.writer.write("hello"))
        const [received, ending] = yield* readToEnd(peer)
        assert.equal(ending, "Reset")
        // A reset may overtake the last bytes in a kernel, which does not hand them out then.
        assert(["hel", ""].includes(received), received)
        assert.equal((yield* Effect.flip(connection.reader.read(1))).reason, "Reset")
      }))

    run("a reset after the peer's end is noticed by the next write, or not at all", () =>
      Effect.gen(function*() {
        for (const writes of [true, false]) {
          const [plain, peer] = yield* pair
          const [connection, link] = yield* Faults.attach(plain)
          yield* peer.writer.writeEof
          assert.equal(text(yield* connection.reader.readAll()), "")
          yield* link.reset
          assert.equal((yield* Effect.flip(peer.reader.read(1))).reason, "Reset")
          assert.isFalse(yield* connection.isClosing)
          if (writes) {
            yield* connection.writer.write("x")
          } else {
            yield* connection.close
          }
          const reason = yield* connection.awaitClosed
          assert.equal(
            reason._tag === "Failed" && reason.error._tag === "ConnectionError" ? reason.error.reason : reason._tag,
            writes ? "BrokenPipe" : "Peer"
          )
        }
      }))

    run("stalls at a place, and goes on", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const [connection, link] = yield* Faults.attach(plain)
        yield* link.stallAfter(3)
        yield* peer.writer.write("hello")
        yield* peer.writer.writeEof
        assert.equal(text(yield* connection.reader.readExactly(3)), "hel")
        const rest = yield* Effect.fork(connection.reader.readAll())
        yield* connection.writer.write("the other way")
        assert.equal(text(yield* peer.reader.readExactly(13)), "the other way")
        assert.isNull(rest.unsafePoll())
        yield* link.resume()
        assert.equal(text(yield* Fiber.join(rest)), "lo")
      }))

    run("ends at a place, as if the peer had", () =>
      Effect.gen(function*() {
        for (const bytes of [0, 1, 5]) {
          const [plain, peer] = yield* pair
          const connection = yield* Faults.endAfter(plain, bytes)
          yield* peer.writer.write("hello")
          assert.deepEqual(yield* readToEnd(connection), ["hello".slice(0, bytes), "end"])
          yield* peer.writer.write("nobody hears this")
          yield* connection.writer.write("but that")
          assert.equal(text(yield* peer.reader.readExactly(8)), "but that")
        }
      }))

    run(
      "ends what is sent at a place, and who waits for the rest to be taken does so no longer",
      () =>
        Effect.gen(function*() {
          // All of it is on its way; then most of it waits for room; then the writer does.
          for (const [bytesInFlight, size] of [[65_536, 50_000], [1000, 50_000], [1_000_000, 500_000]] as const) {
            for (const bytes of [0, 10]) {
              const [plain, peer] = yield* pair
              const [connection, link] = yield* Faults.attach(plain, { conditions: { bytesInFlight } })
              yield* link.endAfter(bytes, { direction: "sent" })
              yield* connection.writer.write(new Uint8Array(size))
              yield* connection.writer.flush
              assert.equal(yield* connection.writer.bufferedBytes, 0)
              assert.equal((yield* peer.reader.readAll()).length, bytes)
            }
          }
        })
    )

    run("ends what is sent while it is on its way", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const conditions = { bytesInFlight: 1_000_000 }
        const [connection, link] = yield* Faults.attach(plain, { conditions })
        yield* connection.writer.write("in time")
        assert.equal(text(yield* peer.reader.readExactly(7)), "in time")
        yield* link.setConditions({ latency: "3 days" })
        const writing = yield* Effect.fork(connection.writer.write(new Uint8Array(500_000)))
        const flushing = yield* Effect.fork(Effect.zipRight(Effect.yieldNow(), connection.writer.flush))
        yield* Effect.repeatN(Effect.yieldNow(), 10)
        assert.isNull(writing.unsafePoll())
        assert.isNull(flushing.unsafePoll())
        yield* link.endAfter(0, { direction: "sent" })
        yield* Fiber.join(writing)
        yield* Fiber.join(flushing)
        assert.equal((yield* peer.reader.readAll()).length, 0)
      }))

    run("changes a byte, in either direction", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const connection = yield* pipe(
          plain,
          Faults.corruptAfter(1, { mask: 0x20 }),
          Effect.flatMap(Faults.corruptAfter(0, { direction: "sent", mask: 1 }))
        )
        yield* peer.writer.write("abc")
        assert.equal(text(yield* connection.reader.readExactly(3)), "aBc")
        yield* connection.writer.write("abc")
        assert.equal(text(yield* peer.reader.readExactly(3)), "`bc")
      }))

    run("loses the end, and not the bytes before it", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const connection = yield* Faults.loseEnd(plain)
        yield* peer.writer.write("hello")
        yield* peer.writer.writeEof
        assert.equal(text(yield* connection.reader.readExactly(5)), "hello")
        const read = yield* Effect.fork(connection.reader.read(1))
        yield* connection.writer.write("x")
        yield* peer.reader.read(1)
        assert.isNull(read.unsafePoll())
        yield* Fiber.interrupt(read)
      }))

    run("cuts to single bytes, both ways", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const connection = yield* Faults.fragment(plain, 1)
        const chunks = yield* Effect.fork(Stream.runCollect(connection.reader.bytes))
        yield* peer.writer.write("hello")
        yield* peer.writer.writeEof
        assert.deepEqual(Chunk.toReadonlyArray(yield* Fiber.join(chunks)).map(text), ["h", "e", "l", "l", "o"])
        yield* connection.writer.write("world")
        assert.equal(text(yield* peer.reader.readExactly(5)), "world")
      }))

    run("a writer is stopped by what does not get through", () =>
      Effect.gen(function*() {
        const [plain] = yield* pair
        const [connection, link] = yield* Faults.attach(plain, { conditions: { bytesInFlight: 1000 } })
        yield* link.blackHole
        yield* Effect.fork(connection.writer.write(new Uint8Array(100_000)))
        const waiting = yield* Effect.fork(connection.writer.write("more"))
        yield* Effect.yieldNow()
        assert.isNull(waiting.unsafePoll())
        assert.equal(yield* connection.writer.bufferedBytes, 100_000)
        yield* connection.abort
        const error = yield* Effect.flip(Fiber.join(waiting))
        assert.equal(error.reason, "Aborted")
      }))

    run("the end of the scope closes the socket below, whatever holds it up", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const [connection, link] = yield* Faults.attach(plain)
        yield* link.blackHole
        yield* connection.writer.write("never arrives")
        yield* connection.abort
        assert.equal((yield* connection.awaitClosed)._tag, "Aborted")
        const reason = yield* peer.awaitClosed
        assert.equal(reason._tag, "Failed")
        assert.equal(text(yield* Effect.orElseSucceed(peer.reader.read(100), () => new Uint8Array(0))), "")
      }))

    run("what the real peer does comes through: its reset, after its bytes", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const connection = yield* Faults.fragment(plain, 2)
        yield* peer.writer.write("hello")
        assert.equal(text(yield* connection.reader.readExactly(5)), "hello")
        yield* peer.abort
        assert.deepEqual(yield* readToEnd(connection), ["", "Reset"])
        assert.equal((yield* connection.awaitClosed)._tag, "Failed")
      }))

    run("a read that is interrupted loses nothing", () =>
      Effect.gen(function*() {
        const [plain, peer] = yield* pair
        const [connection, link] = yield* Faults.attach(plain)
        yield* link.stall()
        yield* peer.writer.write("hello\n")
        const read = yield* Effect.fork(connection.reader.readLine)
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(read)
        yield* link.resume()
        assert.equal(text(yield* connection.reader.readLine), "hello\n")
      }))
  })
}

describe("faults by the clock", () => {
  it.effect("delay what goes either way", () =>
    Effect.gen(function*() {
      const [plain, peer] = yield* TestNetwork.pair()
      const connection = yield* Faults.delay(plain, "100 millis")
      yield* peer.writer.write("hello")
      yield* connection.reader.readExactly(5)
      assert.equal(yield* now, 100)
      yield* connection.writer.write("hello")
      yield* peer.reader.readExactly(5)
      assert.equal(yield* now, 200)
    }).pipe(inTime))

  it.effect("are laid over each other", () =>
    Effect.gen(function*() {
      const [plain, peer] = yield* TestNetwork.pair({ conditions: { latency: 10 } })
      const connection = yield* pipe(
        plain,
        Faults.delay("100 millis", { direction: "received" }),
        Effect.flatMap(Faults.withConditions({ bandwidth: 1000, fragment: 1 }, { direction: "received" }))
      )
      yield* peer.writer.write("hello")
      yield* connection.reader.readExactly(5)
      assert.equal(yield* now, 115)
    }).pipe(inTime))

  it.effect("reset at a time, unless the connection has ended by then", () =>
    Effect.gen(function*() {
      const [plain, peer] = yield* TestNetwork.pair()
      const connection = yield* Faults.resetIn(plain, "5 seconds")
      const other = yield* Effect.fork(Effect.zip(Effect.flip(peer.reader.read(1)), now))
      assert.equal((yield* Effect.flip(connection.reader.read(1))).reason, "Reset")
      assert.equal(yield* now, 5000)
      const [error, time] = yield* Fiber.join(other)
      assert.deepEqual([error.reason, time], ["Reset", 5000])

      const [early] = yield* TestNetwork.pair()
      const ended = yield* Faults.resetIn(early, "1 hour")
      yield* ended.abort
      yield* Effect.sleep("2 hours")
      assert.equal((yield* ended.awaitClosed)._tag, "Aborted")
    }).pipe(inTime))

  it.effect("a black hole is left after the time that a close may take", () =>
    Effect.gen(function*() {
      const [plain] = yield* TestNetwork.pair({ closeTimeout: "10 seconds" })
      const connection = yield* Faults.blackHoleAfter(plain, 0)
      yield* connection.writer.write("never arrives")
      yield* connection.close
      assert.equal(yield* now, 10_000)
      assert.equal((yield* connection.awaitClosed)._tag, "Aborted")
    }).pipe(inTime))

  it.effect("arguments that can't be right are defects, and name themselves", () =>
    Effect.gen(function*() {
      const [plain] = yield* TestNetwork.pair()
      const messageOf = (effect: Effect.Effect<unknown>) =>
        Effect.map(Effect.exit(effect), (exit) => {
          assert(Exit.isFailure(exit))
          return (Option.getOrThrow(Cause.dieOption(exit.cause)) as Error).message
        })
      assert.match(yield* messageOf(Faults.attach(plain, { seed: NaN })), /^seed must be a whole number, got NaN/)
      const [connection, link] = yield* Faults.attach(plain)
      assert.match(yield* messageOf(link.resetAfter(-1)), /^bytes must be a whole number of bytes, 0 or more, got -1/)
      assert.match(yield* messageOf(link.resetIn(-1)), /^duration must be a duration, 0 or longer, got -1/)
      assert.match(yield* messageOf(link.corruptAfter(1, { mask: 256 })), /^mask must be a byte .*, got 256/)
      assert.match(
        yield* messageOf(link.stall({ direction: "down" as "sent" })),
        /^direction must be "received" or "sent" or "both", got "down"/
      )
      assert.match(yield* messageOf(link.setConditions({ bandwidth: 0 })), /^bandwidth must be .*, got 0/)
      assert.match(
        yield* messageOf(Faults.attach({ ...connection })),
        /one that this library made/
      )
    }).pipe(inTime))
})
