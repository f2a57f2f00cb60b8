import { assert, describe, it } from "@effect/vitest"
import * as NetworkError from "effect-netstreams/NetworkError"
import type * as StreamReader from "effect-netstreams/StreamReader"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { latin1, texts, toLatin1, utf8 } from "./support/chunkings.js"
import {
  anyOverrun,
  type Boom,
  boom,
  defect,
  everyWay,
  fed,
  isRunning,
  orOverrun,
  outcome,
  outcomeOfFiber,
  type Read,
  readAll,
  type Reader,
  readExactly,
  readLine,
  rest,
  settled,
  skipUntil,
  started
} from "./support/reader.js"
import { failed, incomplete, value, waits } from "./support/readerReference.js"

const lines = (options?: StreamReader.LinesOptions): Read => (reader) => Stream.runCollect(reader.lines(options ?? {}))
const byteLines = (options?: StreamReader.ByteLinesOptions): Read => (reader) =>
  Stream.runCollect(reader.byteLines(options ?? {}))

/** The lines that `forEachLine` calls its function with. */
const eachLine = (options?: Omit<StreamReader.LinesOptions, "readAhead">): Read => (reader) =>
  Effect.suspend(() => {
    const seen: Array<string> = []
    return Effect.map(reader.forEachLine((line) => void seen.push(line), options), () => Chunk.fromIterable(seen))
  })

const eachLineByEffect = (options?: Omit<StreamReader.LinesOptions, "readAhead">): Read => (reader) =>
  Effect.suspend(() => {
    const seen: Array<string> = []
    return Effect.map(
      reader.forEachLine((line) => Effect.sync(() => seen.push(line)), options),
      () => Chunk.fromIterable(seen)
    )
  })

/** Every way to get lines of text. */
const ways: Record<string, (options?: StreamReader.LinesOptions) => Read> = {
  lines,
  "lines without reading ahead": (options) => lines({ ...options, readAhead: false }),
  "forEachLine": eachLine,
  "forEachLine with an effect": eachLineByEffect
}

const listed = (...all: ReadonlyArray<string>): string => `[${all.map((one) => value(one)).join(", ")}]`

/** Lines of text as naively as can be. */
const linesOf = (text: string): ReadonlyArray<string> => {
  const all = text.replace(/^\uFEFF/, "").split(/\r?\n/)
  return all[all.length - 1] === "" ? all.slice(0, -1) : all
}

describe("StreamReader, lines", () => {
  for (const [way, read] of Object.entries(ways)) {
    describe(way, () => {
      it.effect("gives every line without its end, and leaves nothing", () =>
        everyWay({
          input: "one\ntwo\r\n\n\r\nthree\rtoo\nrest",
          reads: [
            [read(), listed("one", "two", "", "", "three\rtoo", "rest")],
            [readAll, value("")],
            [read(), listed()]
          ]
        }))

      it.effect("gives a single one, and no empty one behind it", () =>
        Effect.gen(function*() {
          yield* everyWay({ input: "", reads: [[read(), listed()]] })
          yield* everyWay({ input: "a", reads: [[read(), listed("a")]] })
          yield* everyWay({ input: "a\n", reads: [[read(), listed("a")]] })
          yield* everyWay({ input: "\n", reads: [[read(), listed("")]] })
          yield* everyWay({ input: "\r\n", reads: [[read(), listed("")]] })
          yield* everyWay({ input: "\n\n", reads: [[read(), listed("", "")]] })
        }))

      it.effect("decodes UTF-8, wherever a character was cut", () =>
        Effect.forEach(texts, (text) =>
          Effect.gen(function*() {
            const { feed, reader } = yield* fed("")
            const bytes = utf8(text)
            for (let i = 0; i < bytes.length; i++) {
              yield* feed.data(bytes.slice(i, i + 1))
            }
            yield* feed.eof
            assert.strictEqual(yield* outcome(read()(reader)), listed(...linesOf(text)))
          })))

      it.effect("decodes with any encoding that TextDecoder knows", () =>
        Effect.gen(function*() {
          yield* everyWay({
            input: "\xe4\xf6\n\x80\n",
            reads: [[read({ encoding: "windows-1252" }), listed("äö", "€")]]
          })
          yield* everyWay({
            input: "a\0\r\0\n\0\x0a\x01\n\0",
            reads: [[read({ encoding: "utf-16le" }), listed("a", "\u010a")]]
          })
        }))

      it.effect("puts U+FFFD for what can't be decoded", () =>
        everyWay({ input: "a\xffb\nc\n", reads: [[read(), listed("a\ufffdb", "c")]] }))

      it.effect("bounds the line without its end by the reader's limit", () =>
        everyWay({
          input: "abc\nabc\r\nabcd\nx\n",
          limit: 3,
          reads: [
            [read(), anyOverrun],
            [readExactly(2), value("ab")],
            [readLine, value("cd\n")],
            [read(), listed("x")]
          ],
          compare: orOverrun
        }))

      it.effect("bounds the line by maxLength, which may be more than the limit", () =>
        Effect.gen(function*() {
          yield* everyWay({
            input: "abcde\nabcdef\n",
            limit: 3,
            reads: [[read({ maxLength: 5 }), anyOverrun], [skipUntil("\n"), "7"]],
            compare: orOverrun
          })
          yield* everyWay({
            input: "abc\nd\n",
            limit: 3,
            reads: [[read({ maxLength: 2 }), anyOverrun]],
            compare: orOverrun
          })
        }))

      it.effect("skips over-long lines whole", () =>
        everyWay({
          input: "a\nabcdef\nb\r\nabcd\r\nc\nabcde",
          limit: 3,
          reads: [[read({ onOverrun: "skip" }), listed("a", "b", "c")], [readAll, value("")]]
        }))

      it.effect("truncates over-long lines", () =>
        everyWay({
          input: "a\nabcdef\nb\r\nabcd\r\nc\nabcde",
          limit: 3,
          reads: [[read({ onOverrun: "truncate" }), listed("a", "abc", "b", "abc", "c", "abc")], [readAll, value("")]]
        }))

      it.effect("emits, drops or fails with a last line without its end", () =>
        Effect.gen(function*() {
          const reads = (lastLine: "emit" | "drop" | "fail", expected: string) =>
            everyWay({ input: "a\nrest", reads: [[read({ lastLine }), expected], [readAll, value("")]] })
          yield* reads("emit", listed("a", "rest"))
          yield* reads("drop", listed("a"))
          yield* reads("fail", incomplete("rest"))
        }))

      it.effect("has no last line where the end comes after a line", () =>
        everyWay({ input: "a\n", reads: [[read({ lastLine: "fail" }), listed("a")]] }))

      it.effect("ends with the source's failure, and leaves what was no line yet", () =>
        everyWay({
          input: "a\nrest",
          end: "failed",
          reads: [[read(), failed], [read(), failed], [readExactly(4), value("rest")]]
        }))

      it.effect("waits for the end of a line, and of the source", () =>
        Effect.gen(function*() {
          yield* everyWay({ input: "a\nb", end: "open", reads: [[read(), waits]] })
          yield* everyWay({ input: "a\n", end: "open", reads: [[read(), waits]] })
        }))

      it.effect("names itself in its errors", () =>
        Effect.gen(function*() {
          const { reader } = yield* fed("abcd\n", "eof", { limit: 3 })
          const error = yield* Effect.flip(read()(reader))
          assert.instanceOf(error, NetworkError.LimitOverrunError)
          assert.strictEqual(error.operation, way.split(" ")[0])
        }))

      it.effect("reads on from where other reads have been", () =>
        everyWay({
          input: "head: 1\n\nbody\nmore\n",
          reads: [
            [readLine, value("head: 1\n")],
            [(reader) => reader.readUntil("\n"), value("\n")],
            [(reader) => reader.unread(latin1("some")), "done"],
            [read(), listed("somebody", "more")]
          ]
        }))
    })
  }

  describe("every line before a failure", () => {
    const collecting = (seen: Array<string>, reader: Reader, options: StreamReader.LinesOptions) => [
      Stream.runForEach(reader.lines(options), (line) => Effect.sync(() => void seen.push(line))),
      Stream.runForEach(
        reader.lines({ ...options, readAhead: false }),
        (line) => Effect.sync(() => void seen.push(line))
      ),
      reader.forEachLine((line) => void seen.push(line), options)
    ]

    it.effect("is emitted: before the source's, an overrun and an unfinished line", () =>
      Effect.gen(function*() {
        const cases = [
          { input: "a\nb\n", end: "failed", options: {} },
          { input: "a\nb\ntoo long\n", end: "open", options: { maxLength: 3 } },
          { input: "a\nb\nrest", end: "eof", options: { lastLine: "fail" } }
        ] as const
        for (const { end, input, options } of cases) {
          for (let way = 0; way < 3; way++) {
            const { reader } = yield* fed(input, end)
            const seen: Array<string> = []
            const result = yield* Effect.either(collecting(seen, reader, options)[way]!)
            assert.strictEqual(result._tag, "Left")
            assert.deepStrictEqual(seen, ["a", "b"])
          }
        }
      }))
  })

  describe("byteLines", () => {
    for (const readAhead of [true, false]) {
      it.effect(`gives lines as bytes with their end, ${readAhead ? "" : "not "}reading ahead`, () =>
        Effect.gen(function*() {
          yield* everyWay({
            input: "one\r\n\ntwo\rtoo\nrest",
            reads: [[byteLines({ readAhead }), listed("one\r\n", "\n", "two\rtoo\n", "rest")], [readAll, value("")]]
          })
          yield* everyWay({
            input: "abcd\nabc\nab\r\nabc\r\n",
            limit: 3,
            reads: [[byteLines({ readAhead, onOverrun: "skip" }), listed("abc\n", "ab\r\n")]]
          })
          yield* everyWay({
            input: "abcd\nabc\nabcd",
            limit: 3,
            reads: [[byteLines({ readAhead, onOverrun: "truncate" }), listed("abc", "abc\n", "abc")]]
          })
          yield* everyWay({
            input: "a\nabcd\n",
            limit: 3,
            reads: [[byteLines({ readAhead }), anyOverrun], [readExactly(5), value("abcd\n")]],
            compare: orOverrun
          })
          yield* everyWay({ input: "a\nb", reads: [[byteLines({ readAhead, lastLine: "drop" }), listed("a\n")]] })
          yield* everyWay({ input: "a\nb", reads: [[byteLines({ readAhead, lastLine: "fail" }), incomplete("b")]] })
        }))
    }

    it.effect("is asyncio's async for, but for an over-long line, which stays", () =>
      everyWay({
        input: "abc\nabcdef\nxy",
        limit: 3,
        reads: [[byteLines(), anyOverrun], [skipUntil("\n"), "7"], [byteLines(), listed("xy")]],
        compare: orOverrun
      }))
  })

  describe("bytes", () => {
    const text: Read = (reader) => Stream.runFold(reader.bytes, "", (all, bytes) => all + toLatin1(bytes))

    it.effect("gives the rest", () =>
      everyWay({
        input: "head\nbody and more",
        reads: [[readLine, value("head\n")], [text, value("body and more")], [text, value("")]]
      }))

    it.effect("gives no empty chunk", () =>
      everyWay({
        input: "abc",
        reads: [[(reader) => Stream.runFold(reader.bytes, true, (all, bytes) => all && bytes.length > 0), "true"]]
      }))

    it.effect("gives a long chunk as it arrived", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const chunks = [20_000, 30_000, 65_536].map((n, i) => new Uint8Array(n).fill(i))
        yield* Effect.forEach(chunks, feed.data)
        yield* feed.eof
        const got = Chunk.toReadonlyArray(yield* Stream.runCollect(reader.bytes))
        assert.deepStrictEqual(got.map((one) => one.length), [20_000, 30_000, 65_536])
        assert.isTrue(got.every((one, i) => one.buffer === chunks[i]!.buffer))
      }))

    it.effect("fails where the source did, after everything that came before", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("abc", "failed")
        let seen = ""
        const exit = outcome(Stream.runForEach(reader.bytes, (bytes) => Effect.sync(() => seen += toLatin1(bytes))))
        assert.strictEqual(yield* exit, failed)
        assert.strictEqual(seen, "abc")
      }))

    it.effect("never reads ahead: whatever stops it leaves the rest", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const chunks = ["a", "b", "c"].map((letter) => letter.repeat(20_000))
        yield* Effect.forEach(chunks, (chunk) => feed.data(latin1(chunk)))
        const one = Chunk.toReadonlyArray(yield* Stream.runCollect(Stream.take(reader.bytes, 1)))
        assert.strictEqual(one.map(toLatin1).join(), chunks[0])
        const failing = Stream.mapEffect(reader.bytes, () => Effect.fail("no more"))
        assert.strictEqual(yield* Effect.flip(Stream.runDrain(failing)), "no more")
        assert.strictEqual(yield* rest(reader, feed), chunks[2])
      }))
  })

  describe("forEachLine", () => {
    it.effect("goes on with what its function puts back, also at the last line", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("one\ntwo")
        yield* feed.eof
        const seen: Array<string> = []
        yield* reader.forEachLine((line) => {
          seen.push(line)
          if (line === "two") {
            Effect.runSync(reader.unread(latin1("three\nfour")))
          }
        })
        assert.deepStrictEqual(seen, ["one", "two", "three", "four"])
        assert.isTrue(yield* reader.atEof)
      }))

    it.effect("calls its function with a line when nothing behind it has been consumed", () =>
      everyWay({
        input: "DATA\nabcd\x00DATA\n\n\n\x01end\n",
        reads: [[(reader) => {
          const seen: Array<string> = []
          return Effect.map(
            reader.forEachLine((line) =>
              line === "DATA"
                ? Effect.flatMap(
                  reader.readExactly(line.length === seen.length ? 0 : seen.length === 0 ? 5 : 3),
                  (bytes) => Effect.sync(() => void seen.push(toLatin1(bytes)))
                )
                : void seen.push(line)
            ),
            () => Chunk.fromIterable(seen)
          )
        }, listed("abcd\0", "\n\n\x01", "end")]]
      }))

    it.effect("stopped by a failure of the effect leaves the rest", () =>
      everyWay({
        input: "a\nstop\nb\nc",
        reads: [
          [(reader) => reader.forEachLine((line) => line === "stop" ? Effect.fail(boom) : Effect.void), failed],
          [readLine, value("b\n")],
          [eachLine(), listed("c")]
        ]
      }))

    it.effect("stopped by an exception in the function dies, and leaves the rest", () =>
      everyWay({
        input: "a\nthrow\nb\nc",
        reads: [
          [(reader) =>
            reader.forEachLine((line) => {
              if (line === "throw") {
                throw new TypeError("mine")
              }
            }), "dies with TypeError"],
          [readLine, value("b\n")],
          [eachLine(), listed("c")]
        ]
      }))

    it.effect("stopped by an exception while it waited leaves the place to the next read", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const fiber = yield* started(reader.forEachLine(() => {
          throw new TypeError("mine")
        }))
        yield* feed.data(latin1("a\nb"))
        yield* settled
        assert.strictEqual(yield* outcomeOfFiber(fiber), "dies with TypeError")
        const next = yield* started(reader.readLine)
        assert.strictEqual(yield* outcomeOfFiber(next), waits)
        yield* feed.data(latin1("\nc"))
        assert.strictEqual(toLatin1(yield* Fiber.join(next)), "b\n")
      }))

    it.effect("stopped by an interruption of the effect leaves the rest", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("a\nb\nc")
        const fiber = yield* started(reader.forEachLine((line) => line === "b" ? Effect.never : undefined))
        assert.isTrue(yield* isRunning(fiber))
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* rest(reader, feed), "c")
      }))

    it.effect("runs the effects one after another, in order, and requires what they do", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("a\nb\nc\n", "eof")
        const log: Array<string> = []
        yield* reader.forEachLine((line) =>
          Effect.zipRight(
            Effect.sync(() => log.push(`begin ${line}`)),
            Effect.zipRight(Effect.yieldNow(), Effect.sync(() => log.push(`end ${line}`)))
          )
        )
        assert.deepStrictEqual(log, ["begin a", "end a", "begin b", "end b", "begin c", "end c"])
      }))

    it.effect("takes what its function returns for nothing, unless that is an effect", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("a\nb\n", "eof")
        const seen: Array<string> = []
        yield* reader.forEachLine(((line: string) => seen.push(line)) as (line: string) => void)
        assert.deepStrictEqual(seen, ["a", "b"])
      }))

    it.effect("does nothing until it is run, and can be run again", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("a\nb")
        const seen: Array<string> = []
        const each = reader.forEachLine((line) => void seen.push(line))
        assert.deepStrictEqual(seen, [])
        const fiber = yield* started(each)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(seen, ["a"])
        yield* feed.data(latin1("\nc"))
        yield* feed.eof
        yield* each
        assert.deepStrictEqual(seen, ["a", "b", "c"])
      }))
  })

  describe("a stream of lines", () => {
    it.effect("is a description: nothing is read until it runs", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("a\nb\n")
        const stream = reader.lines()
        assert.strictEqual(yield* outcome(reader.readLine), value("a\n"))
        yield* feed.eof
        assert.strictEqual(yield* outcome(Stream.runCollect(stream)), listed("b"))
        assert.strictEqual(yield* outcome(Stream.runCollect(stream)), listed())
      }))

    it.effect("emits the lines that have arrived without waiting for more", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("a\nb\nc")
        const seen: Array<string> = []
        const fiber = yield* started(
          Stream.runForEach(reader.lines(), (line) => Effect.sync(() => void seen.push(line)))
        )
        assert.deepStrictEqual(seen, ["a", "b"])
        yield* feed.data(latin1("\nd\n"))
        yield* settled
        assert.deepStrictEqual(seen, ["a", "b", "c", "d"])
        yield* Fiber.interrupt(fiber)
      }))

    it.effect("that reads ahead emits all of them as one chunk, otherwise each as its own", () =>
      Effect.gen(function*() {
        const sizes = (stream: Stream.Stream<string, unknown>) =>
          Effect.map(
            Stream.runCollect(Stream.mapChunks(stream, (chunk) => Chunk.of(chunk.length))),
            (all) => Chunk.toReadonlyArray(all)
          )
        assert.deepStrictEqual(yield* sizes((yield* fed("a\nb\nc\n", "eof")).reader.lines()), [3])
        assert.deepStrictEqual(
          yield* sizes((yield* fed("a\nb\nc\n", "eof")).reader.lines({ readAhead: false })),
          [1, 1, 1]
        )
      }))

    it.effect("keeps the memory of what it emits at once within bounds", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        for (let i = 0; i < 40; i++) {
          yield* feed.data(latin1("0123456789\n".repeat(1000)))
        }
        yield* feed.eof
        const sizes = yield* Stream.runCollect(Stream.mapChunks(reader.lines(), (chunk) => Chunk.of(chunk.length)))
        assert.strictEqual(Chunk.toReadonlyArray(sizes).reduce((sum, n) => sum + n, 0), 40_000)
        assert.isTrue(Chunk.every(sizes, (n) => n * 11 <= 2 * 65_536 + 11))
      }))
  })

  describe("a failure of the user's own type", () => {
    it.effect("reaches streams and forEachLine as it is", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("", "failed")
        const stream: Stream.Stream<string, NetworkError.LimitOverrunError | Boom> = reader.lines()
        const strict: Stream.Stream<string, StreamReader.LinesError | Boom> = reader.lines({ lastLine: "fail" })
        const raw: Stream.Stream<Uint8Array, Boom> = reader.bytes
        assert.strictEqual(yield* Effect.flip(Stream.runDrain(stream)), boom)
        assert.strictEqual(yield* Effect.flip(Stream.runDrain(strict)), boom)
        assert.strictEqual(yield* Effect.flip(Stream.runDrain(raw)), boom)
        assert.strictEqual(yield* Effect.flip(reader.forEachLine(() => {})), boom)
      }))
  })

  describe("wrong options", () => {
    const wrong: ReadonlyArray<readonly [options: Record<string, unknown>, argument: string, value: string]> = [
      [{ maxLength: 0 }, "maxLength", "0"],
      [{ maxLength: -1 }, "maxLength", "-1"],
      [{ maxLength: 1.5 }, "maxLength", "1.5"],
      [{ maxLength: NaN }, "maxLength", "NaN"],
      [{ maxLength: Infinity }, "maxLength", "Infinity"],
      [{ maxLength: "10" }, "maxLength", "\"10\""],
      [{ onOverrun: "ignore" }, "onOverrun", "\"ignore\""],
      [{ lastLine: "keep" }, "lastLine", "\"keep\""],
      [{ encoding: "utf-9" }, "encoding", "\"utf-9\""],
      [{ encoding: "" }, "encoding", "\"\""]
    ]
    const uses: Record<string, (reader: Reader, options: Record<string, unknown>) => Effect.Effect<unknown, unknown>> =
      {
        lines: (reader, options) => Stream.runDrain(reader.lines(options)),
        byteLines: (reader, options) => Stream.runDrain(reader.byteLines(options)),
        forEachLine: (reader, options) => reader.forEachLine(() => {}, options)
      }
    for (const [name, use] of Object.entries(uses)) {
      it.effect(`die when ${name} is run, naming the argument and the value, and read nothing`, () =>
        Effect.gen(function*() {
          for (const [options, argument, shown] of wrong) {
            if (name === "byteLines" && argument === "encoding") {
              continue
            }
            const { feed, reader } = yield* fed("a\nb\n")
            const died = yield* defect(use(reader, options))
            assert.isTrue(Cause.isIllegalArgumentException(died), String(died))
            assert.include(String(died), argument)
            assert.include(String(died), shown)
            assert.strictEqual(yield* rest(reader, feed), "a\nb\n")
          }
        }))
    }
  })
})
