import { assert, describe, it } from "@effect/vitest"
import * as NetworkError from "effect-netstreams/NetworkError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { latin1, toLatin1 } from "./support/chunkings.js"
import {
  boom,
  defect,
  fed,
  isRunning,
  outcome,
  outcomeOfFiber,
  peek,
  type Read,
  read,
  readAll,
  type Reader,
  readExactly,
  readLine,
  readUntil,
  rest,
  settled,
  skipUntil,
  started
} from "./support/reader.js"
import { failed, incomplete, value, waits } from "./support/readerReference.js"

/** Every operation that may have to wait, by the name that its errors use. */
const waiting: Record<string, Read> = {
  read: read(10),
  readInto: (reader) => reader.readInto(new Uint8Array(10)),
  readAll,
  readExactly: readExactly(10),
  readUntil: readUntil("|"),
  readLine,
  peek: peek(10),
  skipUntil: skipUntil("|"),
  readUint8: (reader) => reader.readUint8,
  readInt8: (reader) => reader.readInt8(),
  readUint16: (reader) => reader.readUint16,
  readInt16: (reader) => reader.readInt16(true),
  readUint32: (reader) => reader.readUint32,
  readInt32: (reader) => reader.readInt32(true),
  readBigUint64: (reader) => reader.readBigUint64,
  readBigInt64: (reader) => reader.readBigInt64(true),
  bytes: (reader) => Stream.runDrain(reader.bytes),
  lines: (reader) => Stream.runDrain(reader.lines()),
  byteLines: (reader) => Stream.runDrain(reader.byteLines()),
  forEachLine: (reader) => reader.forEachLine(() => {})
}

describe("StreamReader and several fibers", () => {
  describe("a second read that would have to wait", () => {
    it.effect("dies, and names both operations", () =>
      Effect.gen(function*() {
        for (const [first, firstRead] of Object.entries(waiting)) {
          for (const [second, secondRead] of Object.entries(waiting)) {
            if (first === "lines" || first === "byteLines") {
              continue
            }
            const { reader } = yield* fed("")
            const fiber = yield* started(firstRead(reader))
            const died = yield* defect(secondRead(reader))
            assert.instanceOf(died, NetworkError.ConcurrentReadError)
            assert.deepInclude(died, { operation: second, waiting: first })
            assert.isTrue(yield* isRunning(fiber))
            yield* Fiber.interrupt(fiber)
          }
        }
      }))

    it.effect("leaves the first undisturbed, in whatever comes then", () =>
      Effect.gen(function*() {
        for (const secondRead of Object.values(waiting)) {
          const { feed, reader } = yield* fed("")
          const first = yield* started(Effect.zip(reader.readLine, reader.readExactly(4)))
          yield* Effect.exit(secondRead(reader))
          yield* feed.data(latin1("one\n"))
          yield* settled
          yield* Effect.exit(secondRead(reader))
          yield* feed.data(latin1("two\n"))
          const [one, two] = yield* Fiber.join(first)
          assert.strictEqual(toLatin1(one) + toLatin1(two), "one\ntwo\n")
          assert.strictEqual(yield* rest(reader, feed), "")
        }
      }))

    it.effect("drops nothing of what has come for the first, even if it drops things while it waits", () =>
      Effect.gen(function*() {
        const short = { maxLength: 1 } as const
        const dropping: Record<string, Read> = {
          skipUntil: skipUntil("|"),
          truncating: (reader) => reader.forEachLine(() => {}, { ...short, onOverrun: "truncate" }),
          skipping: (reader) => reader.forEachLine(() => {}, { ...short, onOverrun: "skip" }),
          lines: (reader) => Stream.runDrain(reader.lines({ ...short, onOverrun: "skip" })),
          byteLines: (reader) =>
            Stream.runDrain(reader.byteLines({ ...short, onOverrun: "truncate", readAhead: false }))
        }
        for (const [name, secondRead] of Object.entries(dropping)) {
          const { feed, reader } = yield* fed("")
          const first = yield* started(reader.readExactly(6))
          yield* feed.data(latin1("abc"))
          assert.strictEqual(yield* outcome(secondRead(reader)), "dies with ConcurrentReadError", name)
          yield* feed.data(latin1("def"))
          yield* settled
          assert.strictEqual(yield* outcomeOfFiber(first), value("abcdef"), name)
        }
      }))

    it.effect("may come from the fiber's own children", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("")
        const both = yield* outcome(Effect.all([reader.readLine, reader.readLine], { concurrency: 2 }))
        assert.strictEqual(both, "dies with ConcurrentReadError")
      }))
  })

  describe("a second read that the buffer can serve", () => {
    it.effect("is served, and the first gets the rest", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("abcd")
        const first = yield* started(reader.readUntil(";"))
        assert.strictEqual(yield* outcome(reader.readExactly(2)), value("ab"))
        assert.strictEqual(yield* outcome(reader.peek(1)), value("c"))
        assert.strictEqual(yield* outcome(reader.read(1)), value("c"))
        assert.isTrue(yield* isRunning(first))
        yield* feed.data(latin1(";"))
        assert.strictEqual(toLatin1(yield* Fiber.join(first)), "d;")
      }))

    it.effect("never makes the first believe in an end: it was woken, found nothing, and waits on", () =>
      Effect.gen(function*() {
        const robbed: ReadonlyArray<readonly [Read, string]> = [
          [read(10), value("def\n")],
          [(reader) => reader.readInto(new Uint8Array(10)), "4"],
          [readExactly(4), value("def\n")],
          [readLine, value("def\n")],
          [peek(4), value("def\n")],
          [(reader) => reader.readUint32, String(0x6465660a)],
          [(reader) => Stream.runHead(Stream.map(reader.bytes, toLatin1)), ""]
        ]
        for (const [read, expected] of robbed) {
          const { feed, reader } = yield* fed("")
          const first = yield* started(read(reader))
          // In one tick, so that the first has been woken and has not run.
          yield* feed.data(latin1("abc"))
          assert.strictEqual(yield* outcome(reader.readExactly(3)), value("abc"))
          yield* settled
          assert.strictEqual(yield* outcomeOfFiber(first), waits)
          yield* feed.data(latin1("def\n"))
          yield* settled
          if (expected !== "") {
            assert.strictEqual(yield* outcomeOfFiber(first), expected)
          } else {
            assert.isFalse(yield* isRunning(first))
          }
        }
      }))

    it.effect("in the tick of the end leaves the first with the end", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [Read, string]> = [
          [read(10), value("")],
          [readExactly(4), incomplete("", 4)],
          [readUntil(";"), incomplete("")],
          [readLine, value("")],
          [readAll, value("")]
        ]
        for (const [read, expected] of cases) {
          const { feed, reader } = yield* fed("")
          const first = yield* started(read(reader))
          yield* feed.data(latin1("abc"))
          yield* feed.eof
          assert.strictEqual(yield* outcome(reader.read(3)), value("abc"))
          yield* settled
          assert.strictEqual(yield* outcomeOfFiber(first), expected)
        }
      }))

    it.effect("in the tick of a failure leaves the first with the failure", () =>
      Effect.gen(function*() {
        for (const read of Object.values(waiting)) {
          const { feed, reader } = yield* fed("")
          const first = yield* started(read(reader))
          yield* feed.data(latin1("abc"))
          const second = yield* outcome(reader.read(3))
          yield* feed.fail(boom)
          yield* settled
          assert.include([value("abc"), "dies with ReadAheadError"], second)
          assert.strictEqual(yield* outcomeOfFiber(first), failed)
        }
      }))
  })

  describe("two fibers that share a reader in turn", () => {
    it.effect("get every line once, in order", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const lock = yield* Effect.makeSemaphore(1)
        const seen: Array<string> = []
        const worker = lock.withPermits(1)(Effect.map(reader.readLine, (line) => seen.push(toLatin1(line)))).pipe(
          Effect.forever
        )
        const workers = yield* started(Effect.all([worker, worker, worker], { concurrency: 3 }))
        for (let i = 0; i < 30; i++) {
          yield* feed.data(latin1(`line ${i}\nli`))
          yield* settled
          yield* feed.data(latin1(`ne ${i} too\n`))
        }
        yield* settled
        yield* Fiber.interrupt(workers)
        assert.deepStrictEqual(seen, Array.from({ length: 30 }, (_, i) => [`line ${i}\n`, `line ${i} too\n`]).flat())
      }))
  })
})

describe("StreamReader and streams of lines that read ahead", () => {
  /** Later reads of every kind. */
  const later: ReadonlyArray<Read> = [
    ...Object.values(waiting),
    (reader) => reader.readExactly(1),
    (reader) => reader.readExactly(0),
    (reader) => Stream.runDrain(reader.lines({ readAhead: false }))
  ]

  const dies = (reader: Reader) =>
    Effect.gen(function*() {
      for (const read of later) {
        assert.strictEqual(yield* outcome(read(reader)), "dies with ReadAheadError")
        const inGenerator = Effect.gen(function*() {
          return yield* read(reader)
        })
        assert.strictEqual(yield* outcome(inGenerator), "dies with ReadAheadError")
      }
    })

  const stops: Record<string, (lines: Stream.Stream<string, unknown>) => Effect.Effect<unknown, unknown>> = {
    "take": (lines) => Stream.runDrain(Stream.take(lines, 1)),
    "takeUntil": (lines) => Stream.runDrain(Stream.takeUntil(lines, () => true)),
    "runHead": (lines) => Stream.runHead(lines),
    "an interruption": (lines) =>
      Effect.flatMap(started(Stream.runForEach(lines, () => Effect.never)), (fiber) => Fiber.interrupt(fiber)),
    "an interruption of its wait": (lines) =>
      Effect.flatMap(started(Stream.runDrain(lines)), (fiber) => Fiber.interrupt(fiber)),
    "a failure downstream": (lines) => Effect.flip(Stream.runForEach(lines, () => Effect.fail("mine"))),
    "a defect downstream": (lines) => Effect.exit(Stream.runForEach(lines, () => Effect.die("mine"))),
    "an exception downstream": (lines) =>
      Effect.exit(Stream.runDrain(Stream.map(lines, () => {
        throw new Error("mine")
      })))
  }

  // Cut so that at the stop there is nothing more, a part of a line, a line, or many.
  const cuts: ReadonlyArray<ReadonlyArray<string>> = [
    ["one\n"],
    ["one\ntwo"],
    ["one\ntwo\n"],
    ["on", "e\ntwo\nthree\nfo"],
    ["one\n", "two\n", "three\n"],
    ["o", "n", "e", "\n", "t", "w", "o", "\n"]
  ]

  for (const [name, stop] of Object.entries(stops)) {
    it.effect(`stopped by ${name}: every later read dies, however the lines were cut`, () =>
      Effect.gen(function*() {
        for (const cut of cuts) {
          for (const readAhead of [true, undefined]) {
            const { feed, reader } = yield* fed("")
            yield* Effect.forEach(cut, (text) => feed.data(latin1(text)))
            yield* stop(reader.lines({ readAhead }))
            yield* dies(reader)
            yield* feed.eof
            yield* dies(reader)
          }
        }
      }))

    it.effect(`stopped by ${name}: without reading ahead leaves the rest, however the lines were cut`, () =>
      Effect.gen(function*() {
        for (const cut of cuts) {
          const { feed, reader } = yield* fed("")
          yield* Effect.forEach(cut, (text) => feed.data(latin1(text)))
          yield* stop(reader.lines({ readAhead: false }))
          const all = cut.join("")
          const consumed = name === "an interruption of its wait" ? all.lastIndexOf("\n") + 1 : all.indexOf("\n") + 1
          assert.strictEqual(yield* rest(reader, feed), all.slice(consumed))
        }
      }))
  }

  it.effect("of which nothing is taken leaves everything", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed("one\ntwo\n")
      yield* Stream.runDrain(Stream.take(reader.lines(), 0))
      assert.strictEqual(yield* rest(reader, feed), "one\ntwo\n")
    }))

  it.effect("are the only ones to read while they run", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed("one\ntwo\nth")
      const go = yield* Deferred.make<void>()
      const seen: Array<string> = []
      const fiber = yield* started(Stream.runForEach(reader.lines(), (line) => {
        seen.push(line)
        return Deferred.await(go)
      }))
      yield* dies(reader)
      yield* Deferred.succeed(go, undefined)
      yield* settled
      yield* dies(reader)
      yield* feed.data(latin1("ree\n"))
      yield* feed.eof
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(seen, ["one", "two", "three"])
    }))

  it.effect("two at once: the second dies, and the first goes on", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed("one\n")
      const seen: Array<string> = []
      const first = yield* started(Stream.runForEach(reader.lines(), (line) => Effect.sync(() => void seen.push(line))))
      const died = yield* defect(Stream.runDrain(reader.lines()))
      assert.instanceOf(died, NetworkError.ReadAheadError)
      assert.deepInclude(died, { operation: "lines" })
      assert.deepInclude(yield* defect(Stream.runDrain(reader.byteLines())), { operation: "byteLines" })
      yield* feed.data(latin1("two\n"))
      yield* feed.eof
      yield* Fiber.join(first)
      assert.deepStrictEqual(seen, ["one", "two"])
      assert.strictEqual(yield* outcome(reader.readLine), value(""))
    }))

  it.effect("that come to their end give the reader back", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed("one\ntwo", "eof")
      yield* Stream.runDrain(reader.lines())
      assert.strictEqual(yield* outcome(reader.readLine), value(""))
      yield* reader.unread(latin1("three\n"))
      assert.strictEqual(yield* outcome(Stream.runCollect(reader.lines())), `[${value("three")}]`)
    }))

  it.effect("that fail by themselves give the reader back, with what they did not emit", () =>
    Effect.gen(function*() {
      const broken = yield* fed("one\ntw", "failed")
      assert.strictEqual(yield* outcome(Stream.runDrain(broken.reader.lines())), failed)
      assert.strictEqual(yield* outcome(broken.reader.readExactly(2)), value("tw"))

      const overlong = yield* fed("one\nfour\nfive\n", "open", { limit: 3 })
      yield* Effect.flip(Stream.runDrain(overlong.reader.lines()))
      assert.strictEqual(yield* outcome(overlong.reader.skipUntil("\n")), "5")
      assert.strictEqual(yield* outcome(overlong.reader.readExactly(5)), value("five\n"))

      const unfinished = yield* fed("one\ntw", "eof")
      assert.strictEqual(
        yield* outcome(Stream.runDrain(unfinished.reader.lines({ lastLine: "fail" }))),
        incomplete("tw")
      )
      assert.strictEqual(yield* outcome(unfinished.reader.readLine), value(""))
    }))

  it.effect("that never got to read, because another fiber waited, leave the reader to that one", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed("")
      const first = yield* started(Effect.all([reader.readLine, reader.readLine]))
      assert.strictEqual(yield* outcome(Stream.runDrain(reader.lines())), "dies with ConcurrentReadError")
      yield* feed.data(latin1("one\n"))
      yield* settled
      yield* feed.data(latin1("two\n"))
      const lines = yield* Fiber.join(first)
      assert.deepStrictEqual(lines.map(toLatin1), ["one\n", "two\n"])
      assert.strictEqual(yield* rest(reader, feed), "")
    }))

  it.effect("keep out a read that was letting others run when they began", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed("x".repeat(100_000) + "\none\n")
      let count = 0
      // It reads for so long that it has to let others run.
      const fiber = yield* Effect.fork(Effect.gen(function*() {
        while (true) {
          count += (yield* reader.readExactly(1)).length
        }
      }))
      while (count === 0) {
        yield* Effect.yieldNow()
      }
      const before = count
      const lines = yield* Effect.fork(Stream.runForEach(reader.lines({ maxLength: 200_000 }), () => Effect.never))
      yield* settled
      yield* settled
      assert.strictEqual(yield* outcomeOfFiber(fiber), "dies with ReadAheadError")
      assert.strictEqual(count, before)
      yield* Fiber.interrupt(lines)
      yield* feed.eof
    }))

  it.effect("do not keep anyone from asking for the end, nor from putting bytes back", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed("one\n")
      yield* Stream.runDrain(Stream.take(reader.lines(), 1))
      assert.isFalse(yield* reader.atEof)
      yield* reader.unread(latin1("a"))
      assert.strictEqual(reader.limit, 65_536)
    }))
})
