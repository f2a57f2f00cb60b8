import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Crypto from "node:crypto"
import Fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import * as Net from "node:net"
import { runInNewContext } from "node:vm"
import * as Connection from "../src/Connection.js"
import { type ConnectionImpl, connectionLimits } from "../src/internal/connection.js"
import { ConnectionError } from "../src/NetworkError.js"
import * as StreamWriter from "../src/StreamWriter.js"
import type { TransportFailure } from "../src/Transport.js"
import { Random, toLatin1, utf8 } from "./support/chunkings.js"
import { reset } from "./support/fakeWire.js"
import { leavesNoHandles } from "./support/handles.js"
import { type MemoryOptions, memoryPair, settle } from "./support/memoryTransport.js"
import { dialled, turns, until } from "./support/rawPeer.js"

/** A connection in memory, the transport it writes to, and what has come out at the other end. */
const make = (options: Connection.Options & MemoryOptions & { readonly read?: boolean } = {}) =>
  Effect.gen(function*() {
    const [near, far] = memoryPair(options)
    const received: Array<Uint8Array> = []
    const state = { ended: false }
    far.start({
      onData: (chunk) => {
        received.push(chunk)
      },
      onEnd: () => {
        state.ended = true
        far.end()
      },
      onDrain: () => {},
      onClosed: () => {}
    })
    if (options.read === false) {
      far.pause()
    }
    const connection = yield* Connection.fromTransport(near, options)
    // No close is to wait for a clock that stands still.
    yield* Effect.addFinalizer(() => Effect.sync(() => far.abort()))
    return {
      near,
      far,
      state,
      connection,
      writer: connection.writer,
      received: () => toLatin1(Buffer.concat(received)),
      decoded: () => Buffer.concat(received).toString("utf8"),
      total: () => received.reduce((total, chunk) => total + chunk.length, 0)
    }
  })

interface Internals {
  readonly state: {
    readonly output: {
      readonly writes?: ReadonlySet<unknown>
      readonly room?: ReadonlySet<unknown>
      readonly flushes?: ReadonlyMap<unknown, number>
    }
  }
}

/** A network that takes nothing until the test widens it: what is written stays queued. */
const stalled = { window: 0, read: false, highWaterMark: 10, lowWaterMark: 4 } as const

const failureOf = <A>(exit: Exit.Exit<A, ConnectionError>): ConnectionError => {
  assert(Exit.isFailure(exit), "it succeeded")
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  assert(error instanceof ConnectionError, Cause.pretty(exit.cause))
  return error
}

const reasonOf = <A>(exit: Exit.Exit<A, ConnectionError>): string =>
  Exit.isSuccess(exit) ? "succeeded" : failureOf(exit).reason

const isDone = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<boolean> =>
  Effect.map(Fiber.poll(fiber), Option.isSome)

const x = (n: number) => "x".repeat(n)

describe("what is written", () => {
  it.scoped("strings go out as UTF-8, a lone surrogate as the replacement character", () =>
    Effect.gen(function*() {
      const { decoded, total, writer } = yield* make()
      yield* writer.write("plain ")
      yield* writer.writeAll(["grüß ", utf8("dich "), "", "👋🏽 ", "\ud800"])
      yield* settle
      assert.strictEqual(decoded(), "plain grüß dich 👋🏽 \ufffd")
      assert.strictEqual(total(), Buffer.byteLength("plain grüß dich 👋🏽 \ufffd"))
    }))

  it.scoped("bytes go out as they are, whatever part of a buffer they are", () =>
    Effect.gen(function*() {
      const { received, writer } = yield* make()
      const all = utf8("0123456789")
      yield* writer.write(all.subarray(2, 5))
      yield* writer.write(Buffer.from("abc"))
      yield* writer.writeAll([all.subarray(9), new Uint8Array(all.buffer, 0, 1)])
      yield* settle
      assert.strictEqual(received(), "234abc90")
    }))

  it.scoped("writing nothing writes nothing", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make()
      yield* writer.write("")
      yield* writer.write(new Uint8Array(0))
      yield* writer.writeAll([])
      yield* writer.writeAll(["", new Uint8Array(0), ""])
      yield* settle
      assert.deepStrictEqual(near.writes, [])
      assert.strictEqual(yield* writer.bufferedBytes, 0)
    }))

  it.scoped("empty chunks between others, and last, do no harm", () =>
    Effect.gen(function*() {
      const { connection, received, state, writer } = yield* make()
      yield* writer.writeAll(["", "a", new Uint8Array(0), "b", "", ""])
      yield* connection.close
      assert.strictEqual(received(), "ab")
      assert.isTrue(state.ended)
    }))

  it.scoped("writeAll is one write of the transport, in order", () =>
    Effect.gen(function*() {
      const { near, received, writer } = yield* make()
      const large = "L".repeat(5_000)
      yield* writer.writeAll(["a", "b", large, "c", utf8("d"), large, large])
      yield* settle
      assert.strictEqual(received(), `ab${large}cd${large}${large}`)
      assert.strictEqual(near.writes.length, 1)
    }))

  it.scoped("a hundred thousand tiny chunks are one write", () =>
    Effect.gen(function*() {
      const { near, received, writer } = yield* make({ highWaterMark: 10_000_000 })
      function* tiny() {
        for (let i = 0; i < 100_000; i++) {
          yield i % 3 === 0 ? "a" : i % 3 === 1 ? utf8("b") : ""
        }
      }
      yield* writer.writeAll(tiny())
      yield* settle
      assert.strictEqual(near.writes.length, 1)
      assert.strictEqual(received(), `${"ab".repeat(33_333)}a`)
    }))

  it.scoped("nothing is written until it runs, and again each time it does", () =>
    Effect.gen(function*() {
      const { received, writer } = yield* make()
      let asked = 0
      const write = writer.write("1")
      const writeAll = writer.writeAll({
        *[Symbol.iterator]() {
          asked += 1
          yield "2"
        }
      })
      yield* settle
      assert.strictEqual(received(), "")
      assert.strictEqual(asked, 0)
      yield* write
      yield* writeAll
      yield* Effect.zipRight(write, writeAll)
      yield* settle
      assert.strictEqual(received(), "1212")
    }))

  it.scoped("bytes of another realm are bytes, such as Node's own are to some test runners", () =>
    Effect.gen(function*() {
      const { received, writer } = yield* make()
      const foreign = runInNewContext("Uint8Array.from([97, 98])") as Uint8Array
      assert.isFalse(foreign instanceof Uint8Array)
      yield* writer.write(foreign)
      yield* writer.writeAll([foreign, "c", foreign])
      yield* settle
      assert.strictEqual(received(), "ababcab")
    }))

  it.scoped("what is no bytes is a defect that says so", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make()
      for (const wrong of [42, null, undefined, [1, 2], new ArrayBuffer(2), { length: 2 }] as ReadonlyArray<any>) {
        for (const exit of [yield* Effect.exit(writer.write(wrong)), yield* Effect.exit(writer.writeAll([wrong]))]) {
          assert(Exit.isFailure(exit), `${String(wrong)} was written`)
          const defect = Option.getOrUndefined(Cause.dieOption(exit.cause))
          assert(Cause.isIllegalArgumentException(defect), Cause.pretty(exit.cause))
          assert.match(defect.message, /must be .*Uint8Array or .*string/)
        }
      }
      for (const wrong of [42, null, undefined, {}] as ReadonlyArray<any>) {
        const exit = yield* Effect.exit(writer.writeAll(wrong))
        const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
        assert(Cause.isIllegalArgumentException(defect), `a list that is ${String(wrong)} was written`)
        assert.match(defect.message, /writeAll: chunks must be an iterable/)
      }
      assert.deepStrictEqual(near.writes, [])
    }))

  it.scoped("of a list that throws nothing is written", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make()
      const exit = yield* Effect.exit(writer.writeAll({
        *[Symbol.iterator]() {
          yield "half"
          throw new Error("no more")
        }
      }))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.deepStrictEqual(near.writes, [])
    }))

  it.scoped("is known by its type", () =>
    Effect.gen(function*() {
      const { connection, writer } = yield* make()
      assert.isTrue(StreamWriter.isStreamWriter(writer))
      assert.isFalse(StreamWriter.isStreamWriter(connection))
      assert.isFalse(StreamWriter.isStreamWriter({ write: () => {} }))
    }))

  it.scoped("canWriteEof is the transport's", () =>
    Effect.gen(function*() {
      assert.isTrue((yield* make()).writer.canWriteEof)
      assert.isFalse((yield* make({ canWriteEof: false })).writer.canWriteEof)
    }))
})

describe("many fibers", () => {
  // Each write is a frame: who, which, and how long it is; small marks make nearly every one of them wait.
  it.scoped("their writes stay whole, and each fiber's in its order", () =>
    Effect.gen(function*() {
      const { received, writer } = yield* make({ highWaterMark: 64, lowWaterMark: 16, window: 100 })
      const fibers = 40
      const frames = 30
      yield* Effect.forEach(Array.from({ length: fibers }, (_, fiber) => fiber), (fiber) =>
        Effect.gen(function*() {
          const random = new Random(fiber)
          for (let i = 0; i < frames; i++) {
            const body = random.text(random.between(0, 90), "abc")
            const frame = `<${fiber}:${i}:${body.length}:${body}>`
            if (random.chance(0.5)) {
              yield* writer.write(frame)
            } else {
              const cut = random.between(0, frame.length)
              yield* writer.writeAll([frame.slice(0, cut), utf8(frame.slice(cut))])
            }
            if (random.chance(0.2)) {
              yield* random.chance(0.5) ? writer.drain : writer.flush
            }
            if (random.chance(0.2)) {
              yield* Effect.yieldNow()
            }
          }
        }), { concurrency: "unbounded", discard: true })
      yield* writer.flush
      yield* settle
      const next = Array.from({ length: fibers }, () => 0)
      let rest = received()
      while (rest.length > 0) {
        const header = /^<(\d+):(\d+):(\d+):/.exec(rest)
        assert(header !== null, `not a frame: ${rest.slice(0, 40)}`)
        const [fiber, index, length] = [Number(header[1]), Number(header[2]), Number(header[3])]
        assert.strictEqual(index, next[fiber]!++)
        const end = header[0].length + length
        assert.match(rest.slice(header[0].length, end), /^[abc]*$/)
        assert.strictEqual(rest[end], ">")
        rest = rest.slice(end + 1)
      }
      assert.isTrue(next.every((count) => count === frames))
    }))

  it.scoped("that wait are served in the order in which they came", () =>
    Effect.gen(function*() {
      const { near, received, writer } = yield* make(stalled)
      yield* Effect.fork(writer.write(x(12)))
      yield* settle
      const fibers = yield* Effect.forEach(
        ["one;", "two;", "three;", "four;"],
        (data) => Effect.zipLeft(Effect.fork(writer.write(data)), settle)
      )
      near.widen()
      yield* Fiber.joinAll(fibers)
      yield* writer.flush
      yield* settle
      assert.strictEqual(received(), `${x(12)}one;two;three;four;`)
    }))
})

describe("back-pressure", () => {
  it.scoped("a write waits when it takes the buffer past the high-water mark, until it is down to the low one", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make(stalled)
      yield* writer.write(x(10))
      const waits = yield* Effect.fork(writer.write("xx"))
      yield* settle
      assert.strictEqual(yield* writer.bufferedBytes, 12)
      near.widen(7)
      yield* settle
      assert.strictEqual(yield* writer.bufferedBytes, 5)
      assert.isFalse(yield* isDone(waits))
      near.widen(1)
      yield* Fiber.join(waits)
      assert.strictEqual(yield* writer.bufferedBytes, 4)
    }))

  it.scoped("drain returns at once below the high-water mark: it is no flush", () =>
    Effect.gen(function*() {
      const { writer } = yield* make(stalled)
      yield* writer.write(x(10))
      yield* writer.drain
      assert.strictEqual(yield* writer.bufferedBytes, 10)
    }))

  it.scoped("drain waits until the low-water mark, however many fibers do", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make(stalled)
      yield* Effect.fork(writer.write(x(20)))
      yield* settle
      const drains = yield* Effect.forEach([1, 2, 3], () => Effect.fork(writer.drain))
      near.widen(15)
      yield* settle
      assert.deepStrictEqual(yield* Effect.forEach(drains, isDone), [false, false, false])
      near.widen(1)
      yield* Fiber.joinAll(drains)
      assert.strictEqual(yield* writer.bufferedBytes, 4)
    }))

  it.scoped("flush waits for everything that was written before it, and for nothing else", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make(stalled)
      yield* writer.flush
      yield* writer.write(x(8))
      const flushed = yield* Effect.fork(writer.flush)
      yield* settle
      yield* Effect.fork(writer.write("after it"))
      near.widen(7)
      yield* settle
      assert.isFalse(yield* isDone(flushed))
      near.widen(1)
      yield* Fiber.join(flushed)
      assert.strictEqual(yield* writer.bufferedBytes, 8)
    }))

  it.scoped("the defaults are 65 536 bytes and a quarter of it; a mark that is given sets the other", () =>
    Effect.gen(function*() {
      const check = (options: Connection.Options, high: number, low: number) =>
        Effect.gen(function*() {
          const { near, writer } = yield* make({ window: 0, read: false, ...options })
          yield* writer.write(x(high))
          yield* writer.drain
          const past = yield* Effect.fork(writer.write("x"))
          yield* settle
          near.widen(high - low)
          yield* settle
          assert.strictEqual(yield* writer.bufferedBytes, low + 1)
          assert.isFalse(yield* isDone(past), `at ${low + 1}`)
          near.widen(1)
          yield* Fiber.join(past)
        })
      yield* check({}, 65_536, 16_384)
      yield* check({ highWaterMark: 100 }, 100, 25)
      yield* check({ lowWaterMark: 50 }, 200, 50)
      yield* check({ highWaterMark: 30, lowWaterMark: 30 }, 30, 30)
      yield* check({ highWaterMark: 0 }, 0, 0)
      // More than the 32 bits of a shift.
      assert.strictEqual(connectionLimits({ highWaterMark: 2 ** 33 }).lowWaterMark, 2 ** 31)
    }))
})

describe("an interrupted write", () => {
  it.scoped("that stood in line has not been made", () =>
    Effect.gen(function*() {
      const { near, received, writer } = yield* make(stalled)
      yield* Effect.fork(writer.write(x(11)))
      yield* settle
      const given = yield* Effect.fork(writer.write("never"))
      const kept = yield* Effect.fork(writer.writeAll(["ke", "pt"]))
      yield* settle
      yield* Fiber.interrupt(given)
      near.widen()
      yield* Fiber.join(kept)
      yield* writer.flush
      yield* settle
      assert.strictEqual(received(), `${x(11)}kept`)
    }))

  it.scoped("that stood in line has not been made, after whichever operation of its fiber the interruption comes", () =>
    Effect.gen(function*() {
      const { connection, near, received, writer } = yield* make(stalled)
      yield* Effect.fork(writer.write(x(11)))
      yield* settle
      const waits: ReadonlyArray<readonly [string, Effect.Effect<void, ConnectionError>]> = [
        ["write", writer.write("ghost")],
        ["writeAll", writer.writeAll(["gho", "st"])],
        ["drain", writer.drain],
        ["flush", writer.flush]
      ]
      for (const [name, wait] of waits) {
        // With much fewer, Effect's own run loop gets nowhere.
        for (let budget = 12; budget <= 50; budget++) {
          for (let moment = 0; moment <= 10; moment++) {
            const ghost = yield* Effect.fork(Effect.withMaxOpsBeforeYield(wait, budget))
            for (let i = 0; i < moment; i++) {
              yield* Effect.yieldNow()
            }
            yield* Fiber.interrupt(ghost)
          }
        }
        const { flushes, room, writes } = (connection as unknown as Internals).state.output
        // The write that is stalled waits for room.
        assert.deepStrictEqual([writes?.size ?? 0, room?.size ?? 0, flushes?.size ?? 0], [0, 1, 0], name)
      }
      near.widen()
      yield* writer.flush
      yield* settle
      assert.strictEqual(received(), x(11))
    }))

  it.scoped("that waited for room has been made, whole", () =>
    Effect.gen(function*() {
      const { near, received, writer } = yield* make(stalled)
      const made = yield* Effect.fork(writer.write("0123456789abcdef"))
      yield* settle
      assert.isFalse(yield* isDone(made))
      yield* Fiber.interrupt(made)
      near.widen()
      yield* writer.flush
      yield* settle
      assert.strictEqual(received(), "0123456789abcdef")
    }))

  it.scoped("is whole or not there at all, at whatever moment it was interrupted", () =>
    Effect.gen(function*() {
      for (let moment = 0; moment < 60; moment++) {
        const { received, writer } = yield* make({ window: 4, highWaterMark: 8, lowWaterMark: 2 })
        const interrupted = yield* Effect.fork(Effect.forEach([1, 2, 3], (i) => writer.write(`[interrupted ${i}]`)))
        const whole = yield* Effect.fork(Effect.forEach([1, 2, 3], (i) => writer.write(`[whole ${i}]`)))
        for (let i = 0; i < moment; i++) {
          yield* moment % 2 === 0 ? Effect.yieldNow() : Effect.promise(() => Promise.resolve())
        }
        yield* Fiber.interrupt(interrupted)
        yield* Fiber.join(whole)
        yield* writer.flush
        yield* settle
        const frames = received().split(/(?<=\])/)
        const of = (name: string) => frames.filter((frame) => frame.includes(name))
        assert.strictEqual(of("whole").join(""), "[whole 1][whole 2][whole 3]", `interrupted at ${moment}`)
        assert.isTrue("[interrupted 1][interrupted 2][interrupted 3]".startsWith(of("interrupted").join("")))
        assert.strictEqual(of("whole").length + of("interrupted").length, frames.length)
      }
    }))

  it.scoped("that is retried with a time limit takes no more memory each time", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make(stalled)
      yield* Effect.fork(writer.write(x(11)))
      yield* settle
      const attempts = yield* writer.write(x(1000)).pipe(
        Effect.timeout("1 second"),
        Effect.retry({ times: 9 }),
        Effect.fork
      )
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(attempts)))
      for (let i = 0; i < 1000; i++) {
        const attempt = yield* Effect.fork(writer.write(x(1000)))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(attempt)
      }
      assert.strictEqual(yield* writer.bufferedBytes, 11)
      assert.deepStrictEqual(near.writes, [1])
    }))

  it.scoped("drain and flush that are interrupted change nothing for the others", () =>
    Effect.gen(function*() {
      const { connection, near, received, writer } = yield* make(stalled)
      const write = yield* Effect.fork(writer.write(x(20)))
      const others = yield* Effect.forEach(
        [writer.drain, writer.flush],
        (wait) => Effect.zip(Effect.fork(wait), Effect.fork(wait))
      )
      yield* settle
      const { room, flushes } = (connection as unknown as Internals).state.output
      assert.deepStrictEqual([room?.size, flushes?.size], [3, 2])
      yield* Fiber.interruptAll(others.map(([first]) => first))
      assert.deepStrictEqual([room?.size, flushes?.size], [2, 1], "those who gave up are still on the list")
      near.widen()
      yield* Fiber.joinAll([write, ...others.map(([, second]) => second)])
      yield* settle
      assert.strictEqual(received(), x(20))
    }))
})

describe("when the connection ends", () => {
  const broken: TransportFailure = { reason: "BrokenPipe", code: "EPIPE", cause: new Error("write EPIPE") }
  const ends: ReadonlyArray<{
    readonly name: string
    readonly end: (made: Effect.Effect.Success<ReturnType<typeof make>>) => Effect.Effect<unknown>
    readonly reason: string
    readonly failure?: TransportFailure
  }> = [
    { name: "aborted", end: ({ connection }) => connection.abort, reason: "Aborted" },
    {
      name: "reset by the peer",
      end: ({ near }) => Effect.sync(() => near.fail(reset)),
      reason: "Reset",
      failure: reset
    },
    { name: "broken", end: ({ near }) => Effect.sync(() => near.fail(broken)), reason: "BrokenPipe", failure: broken }
  ]

  for (const { end, failure, name, reason } of ends) {
    it.scoped(`${name}: everyone who waits is told why, as soon as it is`, () =>
      Effect.gen(function*() {
        const made = yield* make(stalled)
        const { writer } = made
        const waits = yield* Effect.forEach(
          [writer.write(x(11)), writer.write("in line"), writer.writeAll(["in", "line"]), writer.drain, writer.flush],
          (wait) => Effect.fork(Effect.exit(wait))
        )
        yield* settle
        assert.isTrue((yield* Effect.forEach(waits, isDone)).every((done) => !done))
        yield* end(made)
        for (const exit of yield* Fiber.joinAll(waits)) {
          const error = failureOf(exit)
          assert.strictEqual(error.reason, reason)
          assert.strictEqual(error.operation, "write")
          assert.deepStrictEqual(error.code, Option.fromNullable(failure?.code))
          assert.deepStrictEqual(error.remoteAddress, Option.some(made.connection.remoteAddress))
          assert.strictEqual(error.cause, failure?.cause)
        }
      }))

    it.scoped(`${name}: every later operation fails with the same reason`, () =>
      Effect.gen(function*() {
        const made = yield* make()
        yield* end(made)
        yield* settle
        const { writer } = made
        assert.isTrue(yield* writer.isClosing)
        for (
          const operation of [
            writer.write("x"),
            writer.write(""),
            writer.writeAll(["x"]),
            writer.writeAll([]),
            writer.drain,
            writer.flush,
            writer.writeEof,
            Stream.run(Stream.make("x"), writer.sink)
          ]
        ) {
          assert.strictEqual(reasonOf(yield* Effect.exit(operation)), reason)
        }
        assert.strictEqual(yield* writer.bufferedBytes, 0)
      }))
  }

  it.scoped("closed on this side: writes fail \"Closed\", those in line too, and what was handed over goes out", () =>
    Effect.gen(function*() {
      const { connection, near, received, writer } = yield* make(stalled)
      const handedOver = yield* Effect.fork(Effect.exit(writer.write(x(15))))
      const flush = yield* Effect.fork(Effect.exit(writer.flush))
      const inLine = yield* Effect.fork(Effect.exit(writer.write("in line")))
      yield* settle
      const close = yield* Effect.fork(connection.close)
      assert.strictEqual(reasonOf(yield* Fiber.join(inLine)), "Closed")
      assert.strictEqual(reasonOf(yield* Effect.exit(writer.write("late"))), "Closed")
      assert.strictEqual(reasonOf(yield* Effect.exit(writer.write(""))), "Closed")
      assert.strictEqual(reasonOf(yield* Effect.exit(writer.writeAll(["late"]))), "Closed")
      assert.strictEqual(reasonOf(yield* Effect.exit(writer.writeEof)), "Closed")
      assert.isFalse((yield* isDone(handedOver)) || (yield* isDone(flush)))
      near.widen()
      assert.strictEqual(reasonOf(yield* Fiber.join(handedOver)), "succeeded")
      assert.strictEqual(reasonOf(yield* Fiber.join(flush)), "succeeded")
      yield* Fiber.join(close)
      assert.strictEqual(received(), x(15))
      assert.strictEqual(reasonOf(yield* Effect.exit(writer.write("x"))), "Closed")
      // All that was handed over has gone.
      yield* writer.drain
      yield* writer.flush
    }))

  it.scoped("closed on this side: a write that had stood in line and was handed over is made", () =>
    Effect.gen(function*() {
      const { connection, near, received, writer } = yield* make(stalled)
      yield* Effect.fork(writer.write(x(11)))
      const second = yield* Effect.fork(writer.write("y".repeat(20)))
      yield* settle
      near.widen(11)
      yield* settle
      assert.isFalse(yield* isDone(second))
      const close = yield* Effect.fork(connection.close)
      yield* settle
      near.widen()
      yield* Fiber.join(second)
      yield* Fiber.join(close)
      assert.strictEqual(received(), x(11) + "y".repeat(20))
    }))

  it.scoped("a flush is not fooled by a transport that has failed, and forgot what it held, and has not said so yet", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make(stalled)
      yield* writer.write("lost")
      near.bufferedBytes = 0
      const flush = yield* Effect.fork(Effect.exit(writer.flush))
      yield* settle
      near.fail(reset)
      assert.strictEqual(reasonOf(yield* Fiber.join(flush)), "Reset")
    }))

  it.scoped("the errors can be read by a person", () =>
    Effect.gen(function*() {
      const { connection, near, writer } = yield* make()
      near.fail(reset)
      yield* settle
      const error = failureOf(yield* Effect.exit(writer.write("x")))
      assert.strictEqual(error.message, "write to 127.0.0.1:2000: the peer reset the connection (ECONNRESET)")
      assert.isTrue(yield* connection.isClosing)
    }))

  it.scoped("a peer that has only ended its side takes what is written", () =>
    Effect.gen(function*() {
      const { connection, far, received, writer } = yield* make()
      far.end()
      yield* settle
      assert.isTrue(yield* connection.reader.atEof)
      assert.isFalse(yield* writer.isClosing)
      yield* writer.write("answer")
      yield* writer.flush
      yield* settle
      assert.strictEqual(received(), "answer")
    }))
})

describe("writeEof", () => {
  it.scoped("ends the writing side after what is queued, once; then writes fail and a flush still waits", () =>
    Effect.gen(function*() {
      const { connection, near, received, state, writer } = yield* make(stalled)
      yield* writer.write(x(9))
      const flush = yield* Effect.fork(writer.flush)
      yield* writer.writeEof
      yield* writer.writeEof
      assert.strictEqual(reasonOf(yield* Effect.exit(writer.write("x"))), "Closed")
      assert.strictEqual(reasonOf(yield* Effect.exit(writer.writeAll([]))), "Closed")
      assert.isFalse(yield* writer.isClosing)
      assert.isFalse(yield* connection.isClosing)
      yield* settle
      assert.isFalse(state.ended || (yield* isDone(flush)))
      near.widen()
      yield* Fiber.join(flush)
      yield* settle
      assert.strictEqual(received(), x(9))
      assert.isTrue(state.ended)
    }))

  it.scoped("again it is harmless, also after the end, where that came in order; so are a flush and a drain", () =>
    Effect.gen(function*() {
      for (const reason of ["Peer", "Local"] as const) {
        const { connection, near, received, writer } = yield* make(stalled)
        yield* writer.write("all")
        yield* writer.writeEof
        const end = yield* Effect.fork(reason === "Peer" ? connection.awaitClosed : connection.close)
        yield* settle
        assert.strictEqual(yield* connection.isClosing, reason === "Local")
        yield* writer.writeEof
        near.widen()
        yield* Fiber.join(end)
        yield* writer.writeEof
        yield* writer.flush
        yield* writer.drain
        assert.strictEqual((yield* connection.awaitClosed)._tag, reason)
        assert.strictEqual(received(), "all")
        assert.strictEqual(reasonOf(yield* Effect.exit(writer.write("x"))), "Closed")
      }
    }))

  it.scoped("again it fails where the connection has failed since, was aborted or gone over to another; so does a flush", () =>
    Effect.gen(function*() {
      const fails = ({ drain, flush, writeEof }: StreamWriter.StreamWriter, reason: string) =>
        Effect.forEach(
          [writeEof, flush, drain],
          (operation) => Effect.map(Effect.exit(operation), (exit) => assert.strictEqual(reasonOf(exit), reason))
        )

      const broken = yield* make(stalled)
      yield* broken.writer.writeEof
      broken.near.fail(reset)
      yield* settle
      yield* fails(broken.writer, "Reset")

      const aborted = yield* make(stalled)
      yield* aborted.writer.writeEof
      yield* aborted.connection.abort
      yield* fails(aborted.writer, "Aborted")

      const spent = yield* make()
      yield* spent.writer.writeEof
      const successor = (spent.connection as ConnectionImpl).interpose((lower) => lower)
      yield* fails(spent.writer, "Closed")
      yield* successor.writer.writeEof
    }))

  it.scoped("fails the writes that wait in line, and not the one that was handed over", () =>
    Effect.gen(function*() {
      const { near, received, writer } = yield* make(stalled)
      const first = yield* Effect.fork(writer.write(x(20)))
      const second = yield* Effect.fork(Effect.exit(writer.write("second")))
      yield* settle
      yield* writer.writeEof
      assert.strictEqual(reasonOf(yield* Fiber.join(second)), "Closed")
      near.widen()
      yield* Fiber.join(first)
      yield* settle
      assert.strictEqual(received(), x(20))
    }))
})

describe("sink", () => {
  it.scoped("writes each chunk of a stream as one, and does not end the writing side", () =>
    Effect.gen(function*() {
      const { near, received, state, writer } = yield* make()
      yield* Stream.fromChunks(Chunk.make("a", "b", "c"), Chunk.empty(), Chunk.make("d")).pipe(Stream.run(writer.sink))
      yield* Stream.make(utf8("e"), "f").pipe(Stream.run(writer.sink))
      yield* settle
      assert.strictEqual(received(), "abcdef")
      assert.strictEqual(near.writes.length, 3)
      assert.isFalse(state.ended)
      yield* writer.write("g")
    }))

  it.scoped("holds the stream up where the peer does not read", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make(stalled)
      let pulled = 0
      const run = yield* Stream.repeatEffect(Effect.sync(() => {
        pulled += 1
        return x(5)
      })).pipe(Stream.rechunk(1), Stream.take(100), Stream.run(writer.sink), Effect.fork)
      yield* settle
      assert.isAtMost(pulled, 5)
      near.widen()
      yield* Fiber.join(run)
      assert.strictEqual(pulled, 100)
    }))

  it.scoped("fails with the connection", () =>
    Effect.gen(function*() {
      const { near, writer } = yield* make(stalled)
      const run = yield* Effect.fork(Effect.exit(Stream.run(Stream.repeatValue("data"), writer.sink)))
      yield* settle
      near.fail(reset)
      assert.strictEqual(reasonOf(yield* Fiber.join(run)), "Reset")
    }))
})

describe("over a socket", () => {
  leavesNoHandles()

  it.scopedLive("a gibibyte offered to a peer that does not read is not taken, and memory stays flat", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ closeTimeout: 0 })
      const writer = connection.writer
      const piece = new Uint8Array(1024 * 1024).fill(7)
      const pieces = 1024
      let taken = 0
      const held = () => process.memoryUsage().arrayBuffers / piece.length
      const before = held()
      const offers = yield* Effect.forEach(
        Array.from({ length: 64 }),
        () => Effect.repeatN(Effect.zipRight(writer.write(piece), Effect.sync(() => taken++)), pieces / 64 - 1),
        { concurrency: "unbounded", discard: true }
      ).pipe(Effect.fork)
      yield* until(() => taken > 0)
      // It stands still: nothing was taken in the last turns.
      for (let seen = -1; seen !== taken;) {
        seen = taken
        yield* turns(200)
      }
      // What the two kernels hold, the high-water mark and one piece.
      assert.isBelow(taken, 64)
      assert.isAtMost(yield* writer.bufferedBytes, 65_536 + piece.length)
      // Attempts that are given up and made again, with bytes of their own, leave nothing.
      for (let i = 0; i < pieces; i++) {
        const attempt = yield* Effect.fork(writer.write(new Uint8Array(piece.length)))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(attempt)
      }
      assert.isAtMost(yield* writer.bufferedBytes, 65_536 + piece.length)
      assert.isBelow(held() - before, 256)
      // It goes on where the peer reads.
      const stopped = taken
      peer.read(false)
      yield* until(() => taken > stopped + 50)
      yield* Fiber.interrupt(offers)
    }))

  it.scopedLive("writeAll is one call of the system, whatever it is given", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.endsToo().read()
      let calls = 0
      const counted = <A extends object, K extends keyof A>(object: A, name: K) => {
        const original = object[name] as (...args: Array<unknown>) => unknown
        const count = function(this: unknown, ...args: Array<unknown>) {
          calls += 1
          return original.apply(this, args)
        }
        const put = (f: unknown) => {
          object[name] = f as A[K]
          syncBuiltinESMExports()
        }
        put(count)
        return Effect.addFinalizer(() => Effect.sync(() => put(original)))
      }
      // Where sockets hand anything over, one chunk or several, through Node's stream or past it.
      yield* counted(Net.Socket.prototype as unknown as { _writeGeneric: unknown }, "_writeGeneric")
      yield* counted(Fs, "writeSync")
      let expected = ""
      for (
        const chunks of [
          ["one"],
          ["one", utf8("two")],
          Array.from({ length: 500_000 }, (_, i) => i % 3 === 0 ? "a" : i % 3 === 1 ? utf8("b") : ""),
          [x(5_000), "y", x(9_000), "", utf8(x(20_000)), "z", "z"]
        ]
      ) {
        calls = 0
        yield* connection.writer.writeAll(chunks)
        yield* connection.writer.flush
        assert.strictEqual(calls, 1)
        expected += Buffer.concat(chunks.map((chunk) => Buffer.from(chunk))).toString()
      }
      yield* until(() => peer.bytes >= expected.length)
      assert.strictEqual(peer.text, expected)
    }))

  it.scopedLive("fifty thousand tiny writes arrive whole", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.endsToo().read(false)
      for (let i = 0; i < 50_000; i++) {
        yield* connection.writer.write("x")
      }
      yield* connection.close
      assert.strictEqual(peer.bytes, 50_000)
    }))

  it.scopedLive("a reader as fast as the writer does not let a write loop starve the event loop", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled({ closeTimeout: 0 })
      peer.endsToo().read(false)
      for (const piece of [new Uint8Array(10), new Uint8Array(60_000)]) {
        let fired = 0
        const timer = setInterval(() => {
          fired += 1
        }, 1)
        const started = yield* Clock.currentTimeMillis
        const loop = yield* Effect.fork(Effect.gen(function*() {
          for (;;) {
            yield* connection.writer.write(piece)
          }
        }))
        yield* until(() => fired > 20)
        clearInterval(timer)
        yield* Fiber.interrupt(loop)
        assert.isBelow((yield* Clock.currentTimeMillis) - started, 5_000)
      }
    }))

  it.scopedLive("flush means that the system has it: nothing is queued, and the peer gets all of it", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const data = Crypto.randomFillSync(new Uint8Array(8 * 1024 * 1024))
      const write = yield* Effect.fork(connection.writer.write(data))
      const flushed = yield* Deferred.make<void>()
      yield* until(() => Effect.runSync(connection.writer.bufferedBytes) > 0)
      yield* Effect.fork(Effect.zipRight(connection.writer.flush, Deferred.succeed(flushed, void 0)))
      yield* turns(20)
      assert.isFalse(yield* Deferred.isDone(flushed))
      peer.endsToo().read()
      yield* Deferred.await(flushed)
      assert.strictEqual(yield* connection.writer.bufferedBytes, 0)
      yield* Fiber.join(write)
      yield* until(() => peer.bytes === data.length)
      assert.isTrue(peer.received.equals(data))
    }))

  it.scopedLive("a flush fails when the peer resets what it did not read, though nobody reads here", () =>
    Effect.gen(function*() {
      for (const reading of [true, false]) {
        const { connection, peer } = yield* dialled({ limit: 1 })
        const { reader, writer } = connection
        if (!reading) {
          // Two bytes past the limit pause the transport, so that it does not see the reset by reading.
          peer.socket.write("pause")
          yield* reader.peek(1)
          yield* turns()
        }
        const write = yield* Effect.fork(Effect.exit(writer.write(new Uint8Array(8 * 1024 * 1024))))
        yield* until(() => Effect.runSync(writer.bufferedBytes) > 0)
        const flush = yield* Effect.fork(Effect.exit(writer.flush))
        yield* turns()
        peer.socket.resetAndDestroy()
        const exits = [yield* Fiber.join(flush), yield* Fiber.join(write)]
        assert.include(["Reset", "BrokenPipe"], reasonOf(exits[0]!), `reading: ${reading}`)
        assert.include(["Reset", "BrokenPipe"], reasonOf(exits[1]!), `reading: ${reading}`)
      }
    }))

  it.scopedLive("writes to a peer that is gone fail, within a few, and with its reason", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.socket.destroy()
      yield* until(() => peer.closed)
      const error = yield* connection.writer.write("x").pipe(
        Effect.zipRight(turns(1)),
        Effect.forever,
        Effect.flip
      )
      assert.include(["Reset", "BrokenPipe"], error.reason)
      assert.isTrue(Option.isSome(error.code))
      assert.strictEqual((yield* Effect.flip(connection.writer.write("y"))).reason, error.reason)
    }))
})
