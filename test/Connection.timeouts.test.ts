import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { once } from "node:events"
import * as Net from "node:net"
import * as Stream_ from "node:stream"
import * as Connection from "../src/Connection.js"
import * as Faults from "../src/Faults.js"
import { clockTimers } from "../src/internal/clockTimers.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as Server from "../src/Server.js"
import { describeTls } from "./support/certificates.js"
import { directory } from "./support/directory.js"
import { handles, handlesLeft, leavesNoHandles } from "./support/handles.js"
import { client, serve } from "./support/memoryServer.js"
import { MemoryListener, memoryPair, settle } from "./support/memoryTransport.js"
import { closeTag, dialled, portOf, rawConnect, rawServer, until } from "./support/rawPeer.js"
import { dialling, identity, listening, secured, trust } from "./support/tlsPeers.js"

leavesNoHandles()

const reasonOf = (exit: Exit.Exit<unknown, object>): string =>
  Exit.isSuccess(exit)
    ? "succeeded"
    : Option.match(Cause.failureOption(exit.cause), {
      onNone: () => Cause.pretty(exit.cause),
      onSome: (error) => "reason" in error ? String(error.reason) : String(error)
    })

/** When it ended, and how. */
const timed = (effect: Effect.Effect<unknown, object>) =>
  Effect.gen(function*() {
    const exit = yield* Effect.exit(effect)
    return `${yield* Clock.currentTimeMillis} ${reasonOf(exit)}`
  })

/** Our end, and the peer's, which has no limits. */
const pair = (options: Connection.Options) =>
  Effect.gen(function*() {
    const [near, far] = memoryPair()
    const connection = yield* Connection.fromTransport(near, options)
    const peer = yield* Connection.fromTransport(far)
    // No close is to wait for time that does not pass.
    yield* Effect.addFinalizer(() => Effect.zipRight(connection.abort, peer.abort))
    yield* settle
    return { connection, peer }
  })

/** Our end, and one that reads nothing and says nothing. */
const alone = (options: Connection.Options, window: number) =>
  Effect.gen(function*() {
    const [near, far] = memoryPair({ window })
    const connection = yield* Connection.fromTransport(near, options)
    yield* Effect.addFinalizer(() => connection.abort)
    yield* settle
    return { connection, near, far }
  })

/** Lets virtual time pass step by step, with everything happening in between that can. */
const pass = (millis: number, step = millis) =>
  Effect.repeatN(Effect.zipRight(TestClock.adjust(step), settle), millis / step - 1)

// ---------------------------------------------------------------------------
// in virtual time
// ---------------------------------------------------------------------------

describe("idleTimeout", () => {
  it.scoped("closes a connection on which nothing happens, in order", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ idleTimeout: "1 minute" })
      const read = yield* Effect.fork(timed(connection.reader.read(1)))
      const end = yield* Effect.fork(timed(peer.reader.read(1)))
      yield* pass(59_999)
      assert.isFalse(yield* connection.isClosing)
      yield* pass(1)
      assert.strictEqual(yield* Fiber.join(read), "60000 IdleTimeout")
      // An end, not a reset.
      assert.strictEqual(yield* Fiber.join(end), "60000 succeeded")
      assert.isTrue(yield* connection.isClosing)
      yield* peer.close
      assert.strictEqual(yield* closeTag(connection), "Failed IdleTimeout")
      assert.strictEqual(yield* timed(connection.writer.write("x")), "60000 IdleTimeout")
      assert.strictEqual(yield* timed(connection.writer.flush), "60000 IdleTimeout")
    }))

  it.scoped("does not close one that is in use, either way", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ idleTimeout: "1 minute" })
      for (let i = 0; i < 5; i++) {
        yield* pass(40_000)
        yield* peer.writer.write("a")
        assert.strictEqual((yield* connection.reader.read(1)).length, 1)
        yield* pass(40_000)
        yield* connection.writer.write("b")
        yield* settle
      }
      assert.isFalse(yield* connection.isClosing)
      const closed = yield* Effect.fork(timed(connection.awaitClosed))
      yield* pass(59_999)
      assert.isTrue(Option.isNone(yield* Fiber.poll(closed)))
      yield* pass(1)
      yield* peer.close
      assert.strictEqual(yield* Fiber.join(closed), "460000 succeeded")
    }))

  it.scoped("says in its message who, what and how long", () =>
    Effect.gen(function*() {
      const { connection } = yield* pair({ idleTimeout: "90 seconds" })
      yield* pass(90_000)
      const error = yield* Effect.flip(connection.reader.readLine)
      assert.strictEqual(
        error.message,
        "read from 127.0.0.1:2000: nothing came or went for 90s (idleTimeout)"
      )
      const write = yield* Effect.flip(connection.writer.write("x"))
      assert.strictEqual(write.message, "write to 127.0.0.1:2000: nothing came or went for 90s (idleTimeout)")
    }))

  it.scoped("what had come can still be read", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ idleTimeout: "1 second" })
      yield* peer.writer.write("first\nsecond\nthi")
      yield* settle
      yield* pass(5000, 1000)
      const lines = yield* connection.reader.lines().pipe(
        Stream.catchAll((error) => Stream.make(error._tag === "ConnectionError" ? error.reason : error._tag)),
        Stream.runCollect
      )
      assert.deepStrictEqual(Array.from(lines), ["first", "second", "IdleTimeout"])
      assert.strictEqual(Buffer.from(yield* connection.reader.read(10)).toString(), "thi")
    }))
})

describe("readTimeout", () => {
  it.scoped("ends a read to which nothing comes, and the connection with it", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ readTimeout: "10 seconds" })
      yield* pass(100_000)
      const read = yield* Effect.fork(timed(connection.reader.readExactly(10)))
      yield* pass(9000)
      yield* peer.writer.write("12345")
      yield* settle
      yield* pass(9999)
      assert.isTrue(Option.isNone(yield* Fiber.poll(read)))
      yield* pass(1)
      assert.strictEqual(yield* Fiber.join(read), "119000 ReadTimeout")
      yield* peer.close
      assert.strictEqual(yield* closeTag(connection), "Failed ReadTimeout")
      assert.strictEqual(Buffer.from(yield* connection.reader.read(10)).toString(), "12345")
    }))

  const waits: ReadonlyArray<readonly [string, (connection: Connection.Connection) => Effect.Effect<unknown, any>]> = [
    ["read", ({ reader }) => reader.read(1)],
    ["readAll", ({ reader }) => reader.readAll()],
    ["readLine", ({ reader }) => reader.readLine],
    ["readUntil", ({ reader }) => reader.readUntil("\r\n")],
    ["skipUntil", ({ reader }) => reader.skipUntil("\r\n")],
    ["peek", ({ reader }) => reader.peek(1)],
    ["readUint32", ({ reader }) => reader.readUint32()],
    ["readInto", ({ reader }) => reader.readInto(new Uint8Array(1))],
    ["forEachLine", ({ reader }) => reader.forEachLine(() => {})],
    ["bytes", ({ reader }) => Stream.runDrain(reader.bytes)],
    ["lines", ({ reader }) => Stream.runDrain(reader.lines({ readAhead: false }))]
  ]

  for (const [name, wait] of waits) {
    it.scoped(`ends ${name}, and one that is interrupted is forgotten at once`, () =>
      Effect.gen(function*() {
        const { connection } = yield* pair({ readTimeout: "10 seconds" })
        for (let i = 0; i < 5; i++) {
          const read = yield* Effect.fork(wait(connection))
          yield* pass(9000)
          yield* Fiber.interrupt(read)
          yield* pass(5000)
        }
        assert.isFalse(yield* connection.isClosing)
        const read = yield* Effect.fork(timed(wait(connection)))
        yield* pass(9999)
        assert.isTrue(Option.isNone(yield* Fiber.poll(read)))
        yield* pass(1)
        assert.strictEqual(yield* Fiber.join(read), "80000 ReadTimeout")
      }))
  }

  const clinging: Record<string, (read: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>> = {
    "in the finalizer of a fiber that was interrupted": (read) => Effect.ensuring(Effect.never, Effect.exit(read)),
    "in a region that can't be interrupted": (read) => Effect.uninterruptible(read)
  }
  for (const [name, cling] of Object.entries(clinging)) {
    it.scoped(`ends a read ${name}`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* pair({ readTimeout: "10 seconds" })
        const fiber = yield* Effect.fork(cling(connection.reader.readLine))
        yield* settle
        yield* Effect.fork(Fiber.interrupt(fiber))
        yield* pass(9000)
        // A second read would have to wait as well.
        assert.isTrue(Exit.isFailure(yield* Effect.exit(connection.reader.readLine)))
        assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
        yield* pass(1000)
        assert.isTrue(Option.isSome(yield* Fiber.poll(fiber)))
        yield* peer.close
        assert.strictEqual(yield* closeTag(connection), "Failed ReadTimeout")
      }))
  }

  it.scoped("a limit for one read is Effect.timeout, which leaves the connection as it is", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ readTimeout: "10 seconds" })
      const read = yield* Effect.fork(Effect.timeoutOption(connection.reader.readLine, "5 seconds"))
      yield* peer.writer.write("hal")
      yield* pass(5000)
      assert.deepStrictEqual(yield* Fiber.join(read), Option.none())
      yield* pass(100_000)
      yield* peer.writer.write("f\n")
      assert.strictEqual(Buffer.from(yield* connection.reader.readLine).toString(), "half\n")
    }))
})

describe("writeTimeout", () => {
  it.scoped("resets a peer that takes nothing, and fails whoever waits for it", () =>
    Effect.gen(function*() {
      const { connection, far, near } = yield* alone(
        { writeTimeout: "10 seconds", highWaterMark: 10, lowWaterMark: 0 },
        100
      )
      yield* pass(60_000)
      const writes = yield* Effect.forEach(
        [
          connection.writer.write(new Uint8Array(150)),
          connection.writer.write("in line"),
          connection.writer.drain,
          connection.writer.flush
        ],
        (write) => Effect.zipLeft(Effect.fork(timed(write)), settle)
      )
      yield* pass(9000)
      near.widen(20)
      yield* settle
      yield* pass(9999)
      assert.isFalse(yield* connection.isClosing)
      yield* pass(1)
      for (const write of writes) {
        assert.strictEqual(yield* Fiber.join(write), "79000 WriteTimeout")
      }
      assert.strictEqual(yield* closeTag(connection), "Failed WriteTimeout")
      const peer = yield* Connection.fromTransport(far)
      yield* settle
      assert.strictEqual(reasonOf(yield* Effect.exit(peer.reader.readExactly(1000))), "Reset")
    }))

  it.scoped("waits as long as it takes for one that takes a little now and then", () =>
    Effect.gen(function*() {
      const { connection, near } = yield* alone({ writeTimeout: "10 seconds" }, 1)
      const write = yield* Effect.fork(
        timed(Effect.zipRight(connection.writer.write(new Uint8Array(30)), connection.writer.flush))
      )
      for (let i = 0; i < 29; i++) {
        yield* pass(9999)
        near.widen(1)
        yield* settle
      }
      assert.strictEqual(yield* Fiber.join(write), `${29 * 9999} succeeded`)
      yield* pass(100_000)
      assert.isFalse(yield* connection.isClosing)
    }))

  it.scoped("sees what the network takes of a piece that is still counted as a whole, whatever lies between", () =>
    Effect.gen(function*() {
      const between: Record<string, (plain: Connection.Connection) => Effect.Effect<Connection.Connection>> = {
        "nothing": Effect.succeed,
        "a wire tap": Effect.succeed,
        "a link": (plain) => Effect.map(Faults.attach(plain), ([connection]) => connection)
      }
      for (const [name, over] of Object.entries(between)) {
        const [near] = memoryPair({ window: 1 })
        const progress = Object.assign(near, { writeProgress: 0 })
        const plain = yield* Connection.fromTransport(near, {
          writeTimeout: "1 second",
          wireTap: name === "a wire tap" ? { level: LogLevel.Trace } : false
        })
        yield* Effect.addFinalizer(() => plain.abort)
        const connection = yield* over(plain)
        yield* connection.writer.write(new Uint8Array(100))
        yield* settle
        for (let i = 0; i < 10; i++) {
          yield* pass(500)
          progress.writeProgress += 1
        }
        assert.isFalse(yield* connection.isClosing, name)
        yield* pass(3000, 500)
        assert.strictEqual(yield* closeTag(connection), "Failed WriteTimeout", name)
      }
    }))

  it.scoped("interrupted waits change nothing about it", () =>
    Effect.gen(function*() {
      const { connection } = yield* alone({ writeTimeout: "10 seconds", highWaterMark: 10 }, 1)
      const write = yield* Effect.fork(connection.writer.write(new Uint8Array(100)))
      yield* settle
      yield* Fiber.interrupt(write)
      yield* pass(9999)
      assert.isFalse(yield* connection.isClosing)
      yield* pass(1)
      assert.strictEqual(yield* closeTag(connection), "Failed WriteTimeout")
    }))
})

describe("minReadRate", () => {
  const minReadRate = { bytesPerSecond: 10, gracePeriod: "4 seconds" } as const

  it.scoped("resets a client that sends its question byte by byte", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ minReadRate })
      const line = yield* Effect.fork(timed(connection.reader.readLine))
      yield* pass(60_000)
      assert.isTrue(Option.isNone(yield* Fiber.poll(line)))
      for (let i = 0; i < 4; i++) {
        yield* peer.writer.write("x")
        yield* settle
        yield* pass(999)
        yield* pass(1)
      }
      assert.strictEqual(yield* Fiber.join(line), "64000 RateTooLow")
      assert.strictEqual(yield* closeTag(connection), "Failed RateTooLow")
      assert.strictEqual(reasonOf(yield* Effect.exit(peer.reader.read(1))), "Reset")
    }))

  it.scoped("gives it 5 seconds unless it says otherwise", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ minReadRate: { bytesPerSecond: 10 } })
      const line = yield* Effect.fork(timed(connection.reader.readLine))
      for (let i = 0; i < 5; i++) {
        assert.isTrue(Option.isNone(yield* Fiber.poll(line)))
        yield* peer.writer.write("x")
        yield* settle
        yield* pass(999)
        assert.isTrue(Option.isNone(yield* Fiber.poll(line)))
        yield* pass(1)
      }
      assert.strictEqual(yield* Fiber.join(line), "5000 RateTooLow")
    }))

  it.scoped("also where each of its lines is whole", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ minReadRate })
      const head = yield* Effect.fork(timed(connection.reader.forEachLine(() => {})))
      for (let i = 0; i < 10; i++) {
        yield* Effect.ignore(peer.writer.write("a: b\r\n"))
        yield* settle
        yield* pass(1000)
      }
      assert.strictEqual(yield* Fiber.join(head), "4000 RateTooLow")
    }))

  it.scoped("lets one wait between its questions, for its answer, and send as slowly as that", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* pair({ minReadRate })
      for (let i = 0; i < 3; i++) {
        const line = yield* Effect.fork(connection.reader.readLine)
        yield* pass(60_000)
        for (let j = 0; j < 12; j++) {
          yield* peer.writer.write("0123456789")
          yield* settle
          yield* pass(1000)
        }
        yield* peer.writer.write("\n")
        yield* Fiber.join(line)
        // The answer takes its time.
        yield* pass(60_000)
        yield* connection.writer.write("answer\n")
        yield* settle
      }
      assert.isFalse(yield* connection.isClosing)
    }))
})

describe("all of them", () => {
  const all: Connection.Options = {
    idleTimeout: "1 hour",
    readTimeout: "1 hour",
    writeTimeout: "1 hour",
    minReadRate: { bytesPerSecond: 1, gracePeriod: "1 hour" }
  }

  for (const how of ["close", "abort", "peer", "reset"] as const) {
    it.effect(`leave no timer when the connection ends: ${how}`, () =>
      Effect.gen(function*() {
        const timers = { set: 0, gone: 0 }
        const clock = yield* Effect.clock
        const counting: Clock.Clock = {
          ...clock,
          unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis(),
          sleep: (duration) =>
            Effect.ensuring(
              Effect.suspend(() => {
                timers.set += 1
                return clock.sleep(duration)
              }),
              Effect.sync(() => {
                timers.gone += 1
              })
            )
        }
        const scope = yield* Scope.make()
        const [near, far] = memoryPair({ window: 10 })
        const connection = yield* Connection.fromTransport(near, all).pipe(
          Effect.provideService(Scope.Scope, scope),
          Effect.withClock(counting)
        )
        const peer = yield* Connection.fromTransport(far).pipe(Effect.provideService(Scope.Scope, scope))
        yield* settle
        const read = yield* Effect.fork(connection.reader.readExactly(100))
        yield* connection.writer.write(new Uint8Array(100))
        yield* peer.writer.write("some")
        yield* settle
        assert.strictEqual(timers.set, 1)
        assert.strictEqual(timers.gone, 0)
        if (how === "close") {
          yield* Effect.fork(connection.close)
          far.widen()
          yield* settle
          yield* peer.close
        } else if (how === "abort") {
          yield* connection.abort
        } else if (how === "peer") {
          far.widen()
          near.widen()
          yield* Effect.fork(peer.close)
          yield* settle
          yield* connection.close
        } else {
          yield* peer.abort
        }
        yield* connection.awaitClosed
        yield* settle
        assert.strictEqual(timers.gone, timers.set)
        assert.isTrue(Exit.isFailure(yield* read.await))
        yield* Scope.close(scope, Exit.void)
      }))
  }

  const wrong: ReadonlyArray<readonly [Connection.Options, string]> = [
    [{ idleTimeout: 0 }, "idleTimeout must be a duration longer than 0, got 0"],
    [{ readTimeout: -1 }, "readTimeout must be a duration longer than 0, got -1"],
    [{ writeTimeout: "soon" as never }, "writeTimeout must be a duration longer than 0, got \"soon\""],
    [
      { minReadRate: { bytesPerSecond: 0 } },
      "minReadRate: bytesPerSecond must be a whole number, 1 or more, got 0"
    ],
    [{ minReadRate: {} as never }, "minReadRate: bytesPerSecond must be a whole number, 1 or more, got NaN"],
    [
      { minReadRate: { bytesPerSecond: 1, gracePeriod: 0 } },
      "minReadRate: gracePeriod must be a duration longer than 0, got 0"
    ]
  ]
  for (const [options, problem] of wrong) {
    it.scoped(`die of what can't be right: ${problem}`, () =>
      Effect.gen(function*() {
        const [near] = memoryPair()
        const opened = yield* Effect.exit(Connection.fromTransport(near, options))
        assert.deepStrictEqual(opened, Exit.die(new Cause.IllegalArgumentException(problem)))
        const network = yield* NodeNetwork.make
        const attempts: ReadonlyArray<Effect.Effect<unknown, unknown, Scope.Scope>> = [
          network.openConnection({ host: "127.0.0.1", port: 1, ...options }),
          network.openUnixConnection("/nowhere", options),
          network.startServer({ host: "127.0.0.1", ...options }, () => Effect.void),
          network.startUnixServer("/nowhere/s", options, () => Effect.void),
          NodeNetwork.fromDuplex(new Stream_.PassThrough(), options)
        ]
        for (const attempt of attempts) {
          assert.deepStrictEqual<Exit.Exit<unknown, unknown>>(yield* Effect.exit(attempt), opened)
        }
      }))
  }

  it.scoped("may be endless, which is the same as absent", () =>
    Effect.gen(function*() {
      const { connection } = yield* pair({
        idleTimeout: Infinity,
        readTimeout: Infinity,
        writeTimeout: Infinity,
        minReadRate: { bytesPerSecond: 1, gracePeriod: Infinity }
      })
      const read = yield* Effect.fork(connection.reader.read(1))
      yield* pass(1e12)
      assert.isTrue(Option.isNone(yield* Fiber.poll(read)))
    }))

  it.scoped("hold for the connections of a server", () =>
    Effect.gen(function*() {
      const listener = new MemoryListener()
      const ends: Array<string> = []
      yield* Server.make(listener.listen, { readTimeout: "10 seconds" }, (connection) =>
        Effect.gen(function*() {
          ends.push(yield* timed(connection.reader.readLine))
          ends.push(yield* closeTag(connection))
        }))
      const client = listener.dial()
      client.start({ onData() {}, onEnd: () => client.end(), onDrain() {}, onClosed() {} })
      yield* settle
      yield* pass(10_000)
      assert.deepStrictEqual(ends, ["10000 ReadTimeout", "Failed ReadTimeout"])
    }))

  it.scoped("a client that does not take its answer holds its place for the write timeout, though its handler has returned", () =>
    Effect.gen(function*() {
      const { listener, reports, server } = yield* serve(
        ({ writer }) => writer.write("x".repeat(1000)),
        { maxConnections: 1, writeTimeout: "10 seconds", closeTimeout: "1 hour" }
      ).pipe(Effect.tagMetrics("server", "deaf"))
      const deaf = client(listener, { window: 100 })
      deaf.transport.pause()
      const next = client(listener)
      yield* settle
      const [connection] = yield* server.connections
      yield* pass(9999)
      assert.strictEqual(yield* server.waiting, 1)
      assert.isTrue(yield* connection!.isClosing)
      yield* pass(1)
      assert.strictEqual(yield* server.waiting, 0)
      assert.strictEqual(next.text().length, 1000)
      assert.strictEqual(yield* closeTag(connection!), "Failed WriteTimeout")
      assert.strictEqual(deaf.failure?.reason, "Reset")
      const closed = Server.metrics.connectionsClosed.pipe(
        Metric.tagged("reason", "WriteTimeout"),
        Metric.tagged("server", "deaf")
      )
      assert.strictEqual((yield* Metric.value(closed)).count, 1)
      // Its handler has done what it had to do.
      assert.deepStrictEqual(reports, [])
    }))
})

// ---------------------------------------------------------------------------
// with sockets
// ---------------------------------------------------------------------------

const short = "60 millis"

/** What a connection made in some way does when nobody says anything to it. */
const expires = (connection: Connection.Connection, reason: string) =>
  Effect.gen(function*() {
    assert.strictEqual(reasonOf(yield* Effect.exit(connection.reader.readLine)), reason)
    assert.strictEqual(yield* closeTag(connection), `Failed ${reason}`)
  })

describe("with sockets", () => {
  it.scopedLive("the time is one that passes, whatever the time of day is set to", () =>
    Effect.gen(function*() {
      const timers = clockTimers(yield* Effect.clock)
      const now = Date.now
      const before = timers.now()
      Date.now = () => now() + 3_600_000
      const after = timers.now()
      Date.now = now
      assert.isBelow(after - before, 60_000)
    }))

  it.scopedLive("an idle connection is ended in order", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ idleTimeout: short })
      peer.read().endsToo()
      yield* expires(connection, "IdleTimeout")
      yield* until(() => peer.closed)
      assert.isTrue(peer.ended)
      assert.isUndefined(peer.code)
    }))

  it.scopedLive("a silent peer is ended in order", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ readTimeout: short })
      peer.read().endsToo()
      yield* expires(connection, "ReadTimeout")
      yield* until(() => peer.closed)
      assert.isUndefined(peer.code)
    }))

  it.scopedLive("a peer that takes nothing is reset", () =>
    Effect.gen(function*() {
      const before = handles()
      yield* Effect.gen(function*() {
        const { connection, peer } = yield* dialled({ writeTimeout: short })
        const exit = yield* Effect.exit(connection.writer.write(new Uint8Array(32 * 1024 * 1024)))
        assert.strictEqual(reasonOf(exit), "WriteTimeout")
        assert.strictEqual(yield* closeTag(connection), "Failed WriteTimeout")
        // What came before the reset is read, and then Node may take it for an end; a write finds out.
        peer.read(false)
        yield* until(() => peer.ended || peer.closed)
        peer.socket.write("x")
        yield* until(() => peer.closed)
        assert.include(["ECONNRESET", "EPIPE"], peer.code)
      }).pipe(Effect.scoped)
      yield* until(() => handlesLeft(before).length === 0)
    }))

  it.scopedLive("a peer that takes nothing is reset, though the connection closes", () =>
    Effect.gen(function*() {
      const before = handles()
      yield* Effect.gen(function*() {
        const { connection } = yield* dialled({ writeTimeout: short, closeTimeout: "1 hour", highWaterMark: 1e9 })
        yield* connection.writer.write(new Uint8Array(32 * 1024 * 1024))
        yield* connection.close
        assert.strictEqual(yield* closeTag(connection), "Failed WriteTimeout")
      }).pipe(Effect.scoped)
      yield* until(() => handlesLeft(before).length === 0)
    }))

  it.scopedLive.each<Connection.Options>([
    { writeTimeout: "1 second", idleTimeout: "1 second" },
    { idleTimeout: "1 second" }
  ])("a peer that takes one long write bit by bit is waited for: %o", (limits) =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled(limits)
      const size = 32 * 1024 * 1024
      let quota = 0
      peer.read(false).socket.on("data", (chunk: Buffer) => {
        quota -= chunk.length
        if (quota <= 0) {
          peer.socket.pause()
        }
      })
      const timer = setInterval(() => {
        quota = 512 * 1024
        peer.socket.resume()
      }, 50)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
      const start = performance.now()
      // Node counts it as one, which is done when it is done.
      yield* connection.writer.write(new Uint8Array(size))
      yield* connection.writer.flush
      assert.isAbove(performance.now() - start, 1500)
      quota = Infinity
      clearInterval(timer)
      peer.socket.resume()
      yield* until(() => peer.bytes === size)
    }), 60_000)

  it.scopedLive("a client that drips is reset by a server", () =>
    Effect.gen(function*() {
      const network = yield* NodeNetwork.make
      const ends: Array<string> = []
      const server = yield* network.startServer(
        { host: "127.0.0.1", minReadRate: { bytesPerSecond: 1000, gracePeriod: "100 millis" } },
        (connection) =>
          Effect.gen(function*() {
            ends.push(reasonOf(yield* Effect.exit(connection.reader.readUntil("\r\n\r\n"))))
            ends.push(yield* closeTag(connection))
          })
      )
      const client = (yield* rawConnect({ host: "127.0.0.1", port: portOf(server) })).read()
      const drip = setInterval(() => client.socket.write("X-a: b\r\n"), 20)
      yield* until(() => client.closed)
      clearInterval(drip)
      assert.include(["ECONNRESET", "EPIPE"], client.code)
      assert.deepStrictEqual(ends, ["RateTooLow", "Failed RateTooLow"])
    }))

  it.scopedLive("Unix sockets on both sides, and what is adopted", () =>
    Effect.gen(function*() {
      const network = yield* NodeNetwork.make
      const path = `${yield* directory}/s`
      const ends: Array<string> = []
      yield* network.startUnixServer(path, { readTimeout: short }, (connection) =>
        Effect.gen(function*() {
          ends.push(reasonOf(yield* Effect.exit(connection.reader.readLine)))
        }))
      const client = yield* network.openUnixConnection(path)
      assert.strictEqual((yield* client.reader.readAll()).length, 0)
      assert.deepStrictEqual(ends, ["ReadTimeout"])

      const { accepted, port } = yield* rawServer()
      const socket = Net.connect(port, "127.0.0.1")
      yield* Effect.promise(() => once(socket, "connect"))
      const adopted = yield* NodeNetwork.fromSocket(socket, { readTimeout: short })
      ;(yield* accepted).read().endsToo()
      yield* expires(adopted, "ReadTimeout")

      const duplex = yield* NodeNetwork.fromDuplex(
        new Stream_.Duplex({ read() {}, write: (_chunk, _encoding, done) => done() }),
        { idleTimeout: short }
      )
      yield* expires(duplex, "IdleTimeout")

      const listener = Net.createServer().listen(0, "127.0.0.1")
      yield* Effect.promise(() => once(listener, "listening"))
      yield* NodeNetwork.startServerOn(listener, { idleTimeout: short }, (connection) =>
        Effect.gen(function*() {
          ends.push(reasonOf(yield* Effect.exit(connection.reader.readLine)))
        }))
      const raw = (yield* rawConnect({ host: "127.0.0.1", port: (listener.address() as Net.AddressInfo).port })).read()
        .endsToo()
      yield* until(() => raw.closed)
      assert.deepStrictEqual(ends, ["ReadTimeout", "IdleTimeout"])
    }))
})

describeTls("with TLS", () => {
  it.scopedLive("a client of a silent server, and a server of a silent client", () =>
    Effect.gen(function*() {
      const silent = yield* listening()
      const client = yield* dialling(silent.port, {}, { readTimeout: short })
      const read = yield* Effect.exit(client.reader.readLine)
      assert.strictEqual(reasonOf(read), "ReadTimeout")
      yield* expires(client, "ReadTimeout")

      const ends: Array<string> = []
      const server = yield* listening({}, { readTimeout: short }, (connection) =>
        Effect.gen(function*() {
          ends.push(reasonOf(yield* Effect.exit(connection.reader.readLine)))
        }))
      const other = yield* dialling(server.port)
      // A close_notify, and no truncation.
      assert.strictEqual((yield* other.reader.readAll()).length, 0)
      assert.deepStrictEqual(ends, ["ReadTimeout"])
    }))

  it.scopedLive("a peer that takes nothing", () =>
    Effect.gen(function*() {
      const { client } = yield* secured({ writeTimeout: "300 millis" })
      // The server's end reads up to its limit, and no more.
      const exit = yield* Effect.exit(client.writer.write(new Uint8Array(32 * 1024 * 1024)))
      assert.strictEqual(reasonOf(exit), "WriteTimeout")
      assert.strictEqual(yield* closeTag(client), "Failed WriteTimeout")
    }))

  it.scopedLive("a peer that takes nothing, while the connection closes", () =>
    Effect.gen(function*() {
      const { client } = yield* secured({ writeTimeout: "300 millis", closeTimeout: "1 hour", highWaterMark: 1e9 })
      yield* client.writer.write(new Uint8Array(32 * 1024 * 1024))
      yield* client.close
      assert.strictEqual(yield* closeTag(client), "Failed WriteTimeout")
    }))

  it.scopedLive("a peer that takes one long write bit by bit is waited for", () =>
    Effect.gen(function*() {
      const size = 24 * 1024 * 1024
      let received = 0
      const { port } = yield* listening({}, {}, ({ reader }) =>
        Effect.gen(function*() {
          while (received < size) {
            for (let quota = 512 * 1024; quota > 0 && received < size;) {
              const { length } = yield* reader.read(65_536)
              quota -= length
              received += length
            }
            yield* Effect.sleep("50 millis")
          }
        }))
      for (const over of ["TLS", "startTls"]) {
        received = 0
        const limits = { writeTimeout: "800 millis", idleTimeout: "800 millis" } as const
        const client = over === "TLS"
          ? yield* dialling(port, {}, limits)
          : yield* Effect.flatMap(
            Effect.flatMap(
              NodeNetwork.make,
              (network) => network.openConnection({ host: "127.0.0.1", port, ...limits })
            ),
            (plain) => plain.startTls({ role: "client", ...trust(), serverName: "localhost" })
          )
        const start = performance.now()
        yield* client.writer.write(new Uint8Array(size))
        yield* client.writer.flush
        assert.isAbove(performance.now() - start, 1200, over)
        yield* until(() => received === size)
      }
    }), 60_000)

  it.scopedLive("after startTls, whose handshake has a limit of its own", () =>
    Effect.gen(function*() {
      const network = yield* NodeNetwork.make
      const listener = yield* network.startServer({ host: "127.0.0.1", gracePeriod: 0 }, (plain) =>
        Effect.gen(function*() {
          // Longer than either limit of the client's.
          yield* Effect.sleep("600 millis")
          const { reader } = yield* plain.startTls({ role: "server", ...identity() })
          yield* reader.readAll()
        }))
      const plain = yield* network.openConnection({
        host: "127.0.0.1",
        port: portOf(listener),
        readTimeout: "150 millis",
        idleTimeout: "400 millis"
      })
      const client = yield* plain.startTls({ role: "client", ...trust(), serverName: "localhost" })
      yield* client.writer.write("hello\n")
      const exit = yield* Effect.exit(client.reader.readLine)
      assert.strictEqual(reasonOf(exit), "ReadTimeout")
      assert.strictEqual(yield* closeTag(client), "Failed ReadTimeout")
    }))
})
