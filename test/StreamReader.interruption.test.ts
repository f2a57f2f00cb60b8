import { assert, describe, it } from "@effect/vitest"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { latin1, toLatin1 } from "./support/chunkings.js"
import {
  fed,
  type Feed,
  interruptNow,
  isRunning,
  outcomeOfFiber,
  type Reader,
  rest,
  settled,
  started
} from "./support/reader.js"
import { value, waits } from "./support/readerReference.js"

/** What a reading fiber has got hold of. */
interface Sink {
  text: string
}

type Reading = (reader: Reader, sink: Sink) => Effect.Effect<unknown, unknown>

const bytesTo = (sink: Sink) => (bytes: Uint8Array) => {
  sink.text += toLatin1(bytes)
}
const lineTo = (sink: Sink) => (line: string) => {
  sink.text += `${line}\n`
}
const numberTo = (sink: Sink) => (n: number) => {
  sink.text += String.fromCharCode(n >> 24, (n >> 16) & 255, (n >> 8) & 255, n & 255)
}

/** Every operation that can wait, each with what it consumes. */
const single: Record<string, Reading> = {
  read: (reader, sink) => Effect.map(reader.read(100), bytesTo(sink)),
  readInto: (reader, sink) =>
    Effect.suspend(() => {
      const buffer = new Uint8Array(100)
      return Effect.map(reader.readInto(buffer), (n) => bytesTo(sink)(buffer.subarray(0, n)))
    }),
  readAll: (reader, sink) => Effect.map(reader.readAll(), bytesTo(sink)),
  readExactly: (reader, sink) => Effect.map(reader.readExactly(6), bytesTo(sink)),
  readUntil: (reader, sink) => Effect.map(reader.readUntil("\n"), bytesTo(sink)),
  "readUntil one of several": (reader, sink) => Effect.map(reader.readUntil(["\r\n", "\n"]), bytesTo(sink)),
  readLine: (reader, sink) => Effect.map(reader.readLine, bytesTo(sink)),
  peek: (reader) => reader.peek(6),
  readUint32: (reader, sink) => Effect.map(reader.readUint32, numberTo(sink)),
  "readInt32, called": (reader, sink) => Effect.map(reader.readInt32(), numberTo(sink))
}

/** Every operation that goes on to the end. */
const whole: Record<string, Reading> = {
  "a loop of readLine": (reader, sink) => {
    const loop: Effect.Effect<never, unknown> = Effect.flatMap(reader.readLine, (line) => {
      bytesTo(sink)(line)
      return loop
    })
    return loop
  },
  "a loop of readLine, mapped, for ever": (reader, sink) => Effect.forever(Effect.map(reader.readLine, bytesTo(sink))),
  "a loop of readLine in a generator": (reader, sink) =>
    Effect.gen(function*() {
      while (true) {
        bytesTo(sink)(yield* reader.readLine)
      }
    }),
  "a loop of readLine in a generator that returns it": (reader, sink) => {
    const line = Effect.gen(function*() {
      return yield* reader.readLine
    })
    return Effect.gen(function*() {
      while (true) {
        bytesTo(sink)(yield* line)
      }
    })
  },
  "a loop of readLine in a function of effects": (reader, sink) => {
    const line = Effect.fnUntraced(function*(reader: Reader) {
      const bytes = yield* reader.readLine
      return toLatin1(bytes)
    })
    const loop: Effect.Effect<never, unknown> = Effect.flatMap(line(reader), (line) => {
      sink.text += line
      return loop
    })
    return loop
  },
  "a loop of readUint32": (reader, sink) =>
    Effect.gen(function*() {
      while (true) {
        numberTo(sink)(yield* reader.readUint32)
      }
    }),
  "a loop of readUntil, piped": (reader, sink) =>
    Effect.gen(function*() {
      while (true) {
        yield* reader.readUntil("\n").pipe(Effect.map((line) => line), Effect.map(bytesTo(sink)))
      }
    }),
  bytes: (reader, sink) => Stream.runForEach(reader.bytes, (bytes) => Effect.sync(() => bytesTo(sink)(bytes))),
  "lines without reading ahead": (reader, sink) =>
    Stream.runForEach(reader.lines({ readAhead: false }), (line) => Effect.sync(() => lineTo(sink)(line))),
  "byteLines without reading ahead": (reader, sink) =>
    Stream.runForEach(reader.byteLines({ readAhead: false }), (line) => Effect.sync(() => bytesTo(sink)(line))),
  forEachLine: (reader, sink) => reader.forEachLine(lineTo(sink)),
  "forEachLine with an effect": (reader, sink) =>
    reader.forEachLine((line) => {
      lineTo(sink)(line)
      return Effect.void
    })
}

const yields = (n: number) => Effect.forEach(Array.from({ length: n }), () => Effect.yieldNow(), { discard: true })

/** What happens to a fiber that waits, as one step after another, without a turn of anything between. */
type Event = (feed: Feed, fiber: Fiber.RuntimeFiber<unknown, unknown>) => Effect.Effect<unknown>
const data = (text: string): Event => (feed) => feed.data(latin1(text))
const interruption: Event = (_, fiber) => interruptNow(fiber)

const arrived = "one\ntwo\nthree\n"
const orders: Record<string, ReadonlyArray<Event>> = {
  "while it waits": [interruption, () => settled, data(arrived)],
  "in the tick in which data arrives, after it": [data(arrived), interruption],
  "in the tick in which data arrives, before it": [interruption, data(arrived)],
  "between two chunks of a tick": [data("one\ntw"), interruption, data("o\nthree\n")],
  "in the tick in which too little arrives": [data("o"), interruption, data("ne\ntwo\nthree\n")],
  "in the tick of the end": [data(arrived), (feed) => feed.eof, interruption]
}

const conserved = (reading: Reading, events: ReadonlyArray<Event>) =>
  Effect.gen(function*() {
    const { feed, reader } = yield* fed("")
    const sink = { text: "" }
    const fiber = yield* started(reading(reader, sink))
    assert.isTrue(yield* isRunning(fiber))
    yield* Effect.forEach(events, (event) => event(feed, fiber), { discard: true })
    yield* Fiber.await(fiber)
    // Another fiber finds the place free, and everything that the first did not get hold of.
    const other = yield* started(reader.readAll())
    yield* feed.eof
    assert.strictEqual(sink.text + toLatin1(yield* Fiber.join(other)), arrived)
  })

describe("StreamReader, interrupted", () => {
  for (const [order, events] of Object.entries(orders)) {
    it.effect(`${order}, loses nothing, in any operation`, () =>
      Effect.gen(function*() {
        for (const reading of [...Object.values(single), ...Object.values(whole)]) {
          yield* conserved(reading, events)
        }
      }))
  }

  it.effect("a number of turns before or after data arrives, loses nothing, in any operation", () =>
    Effect.gen(function*() {
      for (const reading of [...Object.values(single), ...Object.values(whole)]) {
        for (let turns = 0; turns < 6; turns++) {
          yield* conserved(reading, [data("one\ntw"), () => yields(turns), interruption, data("o\nthree\n")])
          yield* conserved(reading, [interruption, () => yields(turns), data(arrived)])
        }
      }
    }))

  const decorations: Record<string, <A, E>(read: Effect.Effect<A, E>) => Effect.Effect<A, E>> = {
    "a span, annotations and a finalizer": (read) =>
      read.pipe(
        Effect.withSpan("read"),
        Effect.annotateSpans("peer", "x"),
        Effect.annotateLogs("peer", "x"),
        Effect.withLogSpan("read"),
        Effect.ensuring(Effect.void)
      ),
    "three spans": (read) => read.pipe(Effect.withSpan("a"), Effect.withSpan("b"), Effect.withSpan("c")),
    "three scopes": (read) => read.pipe(Effect.scoped, Effect.scoped, Effect.scoped)
  }
  for (const [name, decorate] of Object.entries(decorations)) {
    it.effect(`where the run loop lets others run, loses nothing that was read within ${name}`, () =>
      Effect.gen(function*() {
        const input = "abcdefg\n".repeat(1500)
        for (let budget = 2048; budget < 2128; budget++) {
          const { feed, reader } = yield* fed(input)
          const sink = { text: "" }
          const read = decorate(reader.readLine)
          const loop: Effect.Effect<void, unknown> = Effect.flatMap(read, (line) => {
            bytesTo(sink)(line)
            return loop
          })
          const fiber = yield* Effect.fork(Effect.withMaxOpsBeforeYield(loop, budget))
          while (sink.text === "") {
            yield* Effect.yieldNow()
          }
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(sink.text.length + (yield* rest(reader, feed)).length, input.length, `${budget}`)
        }
      }))
  }

  it.effect("before it has begun, loses nothing", () =>
    Effect.gen(function*() {
      for (const reading of Object.values(single)) {
        const { feed, reader } = yield* fed(arrived)
        const sink = { text: "" }
        const fiber = yield* Effect.fork(reading(reader, sink))
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* rest(reader, feed), arrived)
      }
    }))

  describe("by a timeout", () => {
    it.effect("leaves everything to the next read, in any operation", () =>
      Effect.gen(function*() {
        const all = yield* Effect.forEach(Object.entries({ ...single, ...whole }), ([name, reading]) =>
          Effect.gen(function*() {
            const { feed, reader } = yield* fed("")
            const sink = { text: "" }
            const fiber = yield* started(Effect.timeout(reading(reader, sink), "1 second"))
            yield* feed.data(latin1("o"))
            return { name, feed, reader, sink, fiber }
          }))
        yield* TestClock.adjust("1 second")
        for (const { feed, fiber, name, reader, sink } of all) {
          assert.strictEqual(yield* outcomeOfFiber(fiber), sink.text === "o" && name !== "bytes" ? "done" : "timed out")
          yield* feed.data(latin1("ne\n"))
          assert.strictEqual(sink.text + (yield* rest(reader, feed)), "one\n", name)
        }
      }))

    it.effect("in the instant in which data arrives: it is read, or left", () =>
      Effect.gen(function*() {
        for (const dataFirst of [true, false]) {
          const { feed, reader } = yield* fed("")
          const sink = { text: "" }
          const arrival = Effect.fork(Effect.zipRight(Effect.sleep("1 second"), feed.data(latin1("line\n"))))
          if (dataFirst) {
            yield* arrival
            yield* settled
          }
          const fiber = yield* started(Effect.timeout(single["readLine"]!(reader, sink), "1 second"))
          if (!dataFirst) {
            yield* arrival
          }
          yield* TestClock.adjust("1 second")
          yield* Fiber.await(fiber)
          assert.strictEqual(sink.text + (yield* rest(reader, feed)), "line\n")
        }
      }))

    it.effect("again and again loses no line", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const sink = { text: "" }
        const patient: Effect.Effect<void, unknown> = Effect.timeout(reader.readLine, "1 second").pipe(
          Effect.map(bytesTo(sink)),
          Effect.catchTag("TimeoutException", () => Effect.void),
          Effect.flatMap(() => patient)
        )
        const fiber = yield* started(patient)
        for (const part of ["on", "e", "\ntwo\nth", "ree", "\nfo", "ur\n"]) {
          yield* feed.data(latin1(part))
          yield* TestClock.adjust("1500 millis")
        }
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(sink.text, "one\ntwo\nthree\nfour\n")
      }))
  })

  describe("as the loser of a race", () => {
    it.effect("leaves everything to the next read, in any operation", () =>
      Effect.gen(function*() {
        for (const reading of Object.values({ ...single, ...whole })) {
          const { feed, reader } = yield* fed("")
          const won = yield* Deferred.make<string>()
          const sink = { text: "" }
          const fiber = yield* started(Effect.race(reading(reader, sink), Deferred.await(won)))
          yield* Deferred.succeed(won, "won")
          assert.strictEqual(yield* Fiber.join(fiber), "won")
          yield* feed.data(latin1("line\n"))
          assert.strictEqual(sink.text + (yield* rest(reader, feed)), "line\n")
        }
      }))

    it.effect("of two readers leaves the other reader's bytes", () =>
      Effect.gen(function*() {
        const one = yield* fed("")
        const other = yield* fed("")
        const fiber = yield* started(Effect.raceFirst(one.reader.readLine, other.reader.readLine))
        yield* other.feed.data(latin1("other\n"))
        assert.strictEqual(toLatin1(yield* Fiber.join(fiber)), "other\n")
        yield* one.feed.data(latin1("one\n"))
        assert.strictEqual(yield* rest(one.reader, one.feed), "one\n")
      }))
  })

  describe("amid data, where the run loop would let others run", () => {
    // Chunks that are so long that `bytes` hands each out by itself.
    const chunk = Array.from({ length: 4096 }, (_, i) => `${i.toString(36).padStart(3, "0")}\n`).join("")
    const chunks = 20
    const all = chunk.repeat(chunks)

    const { forEachLine: _, ...loops } = whole
    for (const [name, reading] of Object.entries(loops)) {
      it.effect(`${name} loses no line, at whichever operation`, () =>
        Effect.gen(function*() {
          // The fiber is cut off when it has used up the operations that the run loop gives it: one more each time, so
          // that the cut goes through everything between one read and the next.
          for (let budget = 120; budget < 150; budget++) {
            const { feed, reader } = yield* fed("")
            for (let i = 0; i < chunks; i++) {
              yield* feed.data(latin1(chunk))
            }
            const sink = { text: "" }
            const fiber = yield* Effect.fork(Effect.withMaxOpsBeforeYield(reading(reader, sink), budget))
            while (sink.text === "") {
              yield* Effect.yieldNow()
            }
            yield* Fiber.interrupt(fiber)
            assert.isBelow(sink.text.length, all.length)
            assert.isTrue(sink.text + (yield* rest(reader, feed)) === all, `after ${budget} operations`)
          }
        }))
    }

    it.effect("where a long run of reads lets the event loop turn, none loses anything", () =>
      Effect.gen(function*() {
        for (const [name, reading] of Object.entries(loops)) {
          const { feed, reader } = yield* fed("")
          for (let i = 0; i < chunks; i++) {
            yield* feed.data(latin1(chunk))
          }
          const sink = { text: "" }
          const fiber = yield* Effect.fork(reading(reader, sink))
          // It goes on after each turn of the fibers, until it waits for the event loop (or, with `bytes`, for data).
          let before = -1
          while (sink.text.length > before || before === 0) {
            before = sink.text.length
            yield* yields(5)
          }
          yield* Fiber.interrupt(fiber)
          assert.isTrue(sink.text + (yield* rest(reader, feed)) === all, name)
        }
      }))

    it.effect("a generator that returns what it read loses nothing where the run loop has its own budget", () =>
      Effect.gen(function*() {
        for (let more = 0; more < 12; more++) {
          const { feed, reader } = yield* fed("")
          const sink = { text: "" }
          for (let i = 0; i < chunks; i++) {
            yield* feed.data(latin1(chunk))
          }
          const line = Effect.gen(function*() {
            return yield* reader.readLine
          })
          const fiber = yield* Effect.fork(Effect.gen(function*() {
            for (let i = 0; i < more; i++) {
              yield* Effect.sync(() => i)
            }
            while (true) {
              bytesTo(sink)(yield* line)
            }
          }))
          while (sink.text === "") {
            yield* Effect.yieldNow()
          }
          yield* Fiber.interrupt(fiber)
          assert.isBelow(sink.text.length, all.length)
          assert.isTrue(sink.text + (yield* rest(reader, feed)) === all, `${more} operations more`)
        }
      }))

    it.effect("a read before, with more operations to go, leaves no wrong idea of how many there are", () =>
      Effect.gen(function*() {
        // Less than twice what the reader keeps free, so that a line may be cut off within a few reads.
        for (let budget = 36; budget < 60; budget++) {
          const { feed, reader } = yield* fed("")
          const sink = { text: "" }
          yield* feed.data(latin1(chunk))
          const line = Effect.gen(function*() {
            return yield* reader.readLine
          })
          const fiber = yield* Effect.fork(Effect.gen(function*() {
            bytesTo(sink)(yield* reader.readLine)
            bytesTo(sink)(yield* reader.readLine)
            yield* Effect.withMaxOpsBeforeYield(
              Effect.gen(function*() {
                while (true) {
                  bytesTo(sink)(yield* line)
                }
              }),
              budget
            )
          }))
          while (sink.text === "") {
            yield* Effect.yieldNow()
          }
          yield* Fiber.interrupt(fiber)
          assert.isBelow(sink.text.length, chunk.length)
          assert.isTrue(sink.text + (yield* rest(reader, feed)) === chunk, `after ${budget} operations`)
        }
      }))
  })

  describe("frees the place at once", () => {
    const wrapped: Record<string, (read: Effect.Effect<Uint8Array, unknown>) => Effect.Effect<unknown, unknown>> = {
      "a fiber of its own": (read) => read,
      "a timeout": (read) => Effect.timeout(read, "1 minute"),
      "two timeouts": (read) => Effect.timeout(Effect.timeout(read, "1 minute"), "2 minutes"),
      "a race": (read) => Effect.race(read, Effect.never),
      "a scope's fiber": (read) => Effect.scoped(Effect.flatMap(Effect.forkScoped(read), Fiber.join)),
      "a disconnected effect": (read) => Effect.disconnect(read)
    }
    for (const [name, wrap] of Object.entries(wrapped)) {
      it.effect(`in ${name}: the next read waits in its stead, in the same tick`, () =>
        Effect.gen(function*() {
          const { feed, reader } = yield* fed("")
          const fiber = yield* started(wrap(reader.readLine))
          yield* interruptNow(fiber)
          const next = yield* started(reader.readExactly(4))
          assert.strictEqual(yield* outcomeOfFiber(next), waits)
          yield* feed.data(latin1("one\ntwo"))
          yield* settled
          assert.strictEqual(yield* outcomeOfFiber(next), value("one\n"))
          assert.strictEqual(yield* rest(reader, feed), "two")
        }))
    }

    it.effect("also to the fiber that was interrupted, where it goes on", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const sink = { text: "" }
        const fiber = yield* started(Effect.uninterruptibleMask((restore) =>
          Effect.zipRight(
            Effect.exit(restore(reader.readLine)),
            Effect.map(reader.readExactly(4), bytesTo(sink))
          )
        ))
        yield* interruptNow(fiber)
        yield* settled
        assert.isTrue(yield* isRunning(fiber))
        yield* feed.data(latin1("one\ntwo"))
        yield* settled
        assert.strictEqual(sink.text, "one\n")
        assert.strictEqual(yield* rest(reader, feed), "two")
      }))

    it.effect("as often as need be", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        for (let i = 0; i < 20; i++) {
          const fiber = yield* started(reader.readLine)
          assert.isTrue(yield* isRunning(fiber))
          yield* i % 2 === 0 ? Fiber.interrupt(fiber) : interruptNow(fiber)
        }
        const last = yield* started(reader.readLine)
        yield* feed.data(latin1("line\n"))
        assert.strictEqual(toLatin1(yield* Fiber.join(last)), "line\n")
      }))
  })

  describe("where it can't be", () => {
    const uninterruptible = (reader: Reader, sink: Sink) =>
      Effect.uninterruptible(Effect.map(reader.readExactly(4), bytesTo(sink)))

    it.effect("keeps its place, and gets its bytes", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const sink = { text: "" }
        const fiber = yield* started(uninterruptible(reader, sink))
        yield* interruptNow(fiber)
        const second = yield* started(reader.read(1))
        assert.strictEqual(yield* outcomeOfFiber(second), "dies with ConcurrentReadError")
        const third = yield* started(reader.read(1))
        assert.strictEqual(yield* outcomeOfFiber(third), "dies with ConcurrentReadError")
        assert.isTrue(yield* isRunning(fiber))
        yield* feed.data(latin1("on"))
        yield* settled
        assert.isTrue(yield* isRunning(fiber))
        yield* feed.data(latin1("e\ntwo"))
        yield* settled
        assert.strictEqual(sink.text, "one\n")
        assert.strictEqual(yield* rest(reader, feed), "two")
      }))

    it.scoped("gets more than twice the limit from a source that is held up beyond that", () =>
      Effect.gen(function*() {
        const letters = Stream.tap(Stream.fromIterable("one\ntwo"), () => settled)
        const reader = yield* StreamReader.fromStream(Stream.map(letters, latin1), { limit: 1 })
        const sink = { text: "" }
        const fiber = yield* Effect.fork(Effect.uninterruptible(Effect.map(reader.readExactly(4), bytesTo(sink))))
        yield* Effect.yieldNow()
        yield* interruptNow(fiber)
        yield* Fiber.await(fiber)
        assert.strictEqual(sink.text, "one\n")
      }))
  })

  describe("in a fiber that is slow to run", () => {
    /** Runs a fiber's tasks only when told to. */
    const slowScheduler = () => {
      const tasks: Array<Scheduler.Task> = []
      const scheduler: Scheduler.Scheduler = {
        shouldYield: () => false,
        scheduleTask: (task) => void tasks.push(task)
      }
      const go = Effect.sync(() => {
        while (tasks.length > 0) {
          tasks.shift()!()
        }
      })
      return { go, scheduler }
    }

    it.effect("keeps its place all the same", () =>
      Effect.gen(function*() {
        const { go, scheduler } = slowScheduler()
        const { feed, reader } = yield* fed("")
        const first = yield* Effect.fork(Effect.withScheduler(reader.readLine, scheduler))
        yield* settled
        yield* go
        yield* settled
        const second = yield* started(reader.readLine)
        assert.strictEqual(yield* outcomeOfFiber(second), "dies with ConcurrentReadError")
        yield* go
        yield* feed.data(latin1("one\n"))
        yield* go
        yield* settled
        assert.strictEqual(yield* outcomeOfFiber(first), value("one\n"))
      }))

    it.effect("keeps its place where it was interrupted and can't be", () =>
      Effect.gen(function*() {
        const { go, scheduler } = slowScheduler()
        const { feed, reader } = yield* fed("")
        const sink = { text: "" }
        const first = yield* Effect.fork(
          Effect.withScheduler(Effect.uninterruptible(Effect.map(reader.readLine, bytesTo(sink))), scheduler)
        )
        yield* settled
        yield* go
        yield* interruptNow(first)
        yield* go
        const second = yield* started(reader.readLine)
        yield* settled
        assert.strictEqual(yield* outcomeOfFiber(second), "dies with ConcurrentReadError")
        yield* feed.data(latin1("one\n"))
        yield* go
        yield* settled
        assert.strictEqual(sink.text, "one\n")
      }))
  })

  describe("while a stream of lines reads ahead", () => {
    it.effect("may lose lines, and says so: every later read dies", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("one\ntwo\nthree\n")
        const fiber = yield* started(Stream.runForEach(reader.lines(), () => Effect.never))
        yield* Fiber.interrupt(fiber)
        const reads: ReadonlyArray<(reader: StreamReader.StreamReader<unknown>) => Effect.Effect<unknown, unknown>> = [
          (reader) => reader.readLine,
          (reader) => reader.read(1),
          (reader) => reader.readUint8,
          (reader) => Stream.runDrain(reader.lines()),
          (reader) => Stream.runDrain(reader.bytes)
        ]
        for (const read of reads) {
          const later = yield* started(read(reader))
          assert.strictEqual(yield* outcomeOfFiber(later), "dies with ReadAheadError")
        }
        yield* feed.eof
      }))
  })
})
