import { assert, describe, it } from "@effect/vitest"
import * as NetworkError from "effect-netstreams/NetworkError"
import type * as StreamReader from "effect-netstreams/StreamReader"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { latin1, toLatin1 } from "./support/chunkings.js"
import {
  anyOverrun,
  atEof,
  everyWay,
  fed,
  orOverrun,
  outcome,
  peek,
  readAll,
  readExactly,
  readLine,
  readUntil,
  rest,
  settled,
  skipUntil,
  started
} from "./support/reader.js"
import { failed, incomplete, overrun, value, waits } from "./support/readerReference.js"

describe("StreamReader, by separator", () => {
  describe("readUntil", () => {
    it.effect("gives what comes before the separator, and the separator", () =>
      everyWay({
        input: "one;two;;three",
        reads: [
          [readUntil(";"), value("one;")],
          [readUntil(latin1(";")), value("two;")],
          [readUntil([";"]), value(";")],
          [readUntil(";"), incomplete("three")],
          [readUntil(";"), incomplete("")]
        ]
      }))

    it.effect("finds a separator of several bytes wherever it was cut", () =>
      everyWay({
        input: "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody",
        reads: [
          [readUntil("\r\n\r\n"), value("GET / HTTP/1.1\r\nHost: a\r\n\r\n")],
          [readAll, value("body")]
        ]
      }))

    it.effect("finds a separator that begins within what looked like one", () =>
      Effect.gen(function*() {
        yield* everyWay({ input: "aaabx", reads: [[readUntil("aab"), value("aaab")], [readAll, value("x")]] })
        yield* everyWay({ input: "ababacx", reads: [[readUntil("abac"), value("ababac")], [readAll, value("x")]] })
        yield* everyWay({ input: "\r\r\nx", reads: [[readUntil("\r\n"), value("\r\r\n")], [readAll, value("x")]] })
      }))

    it.effect("takes a string as UTF-8", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        yield* feed.data(new TextEncoder().encode("a§b€c"))
        assert.strictEqual(new TextDecoder().decode(yield* reader.readUntil("§")), "a§")
        assert.strictEqual(new TextDecoder().decode(yield* reader.readUntil(["€", "§"])), "b€")
      }))

    it.effect("of several separators takes the match that ends first", () =>
      Effect.gen(function*() {
        yield* everyWay({
          input: "ABCDEFG",
          reads: [[readUntil(["DEF", "BCDE"]), value("ABCDE")], [readAll, value("FG")]]
        })
        yield* everyWay({
          input: "line 1\nline 2\r",
          reads: [[readUntil(["\r", "\n"]), value("line 1\n")], [readUntil(["\r", "\n"]), value("line 2\r")]]
        })
        yield* everyWay({
          input: "abab",
          reads: [[readUntil(["abab", "ab"]), value("ab")], [readUntil(["abab", latin1("ab")]), value("ab")]]
        })
      }))

    it.effect("of two that end together takes the longer, so that the limit counts less", () =>
      everyWay({
        input: "abc\r\nabcd\n",
        limit: 3,
        reads: [[readUntil(["\n", "\r\n"]), value("abc\r\n")], [readUntil(["\n", "\r\n"]), anyOverrun]],
        compare: orOverrun
      }))

    it.effect("is not changed by what becomes of the separator's bytes afterwards", () =>
      Effect.gen(function*() {
        const separator = latin1(";")
        const { feed, reader } = yield* fed("abc")
        const once = reader.readUntil(separator)
        separator[0] = 0
        yield* feed.data(latin1(";def"))
        assert.strictEqual(yield* outcome(once), value("abc;"))
      }))

    it.effect("can be run again: it is a description", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("a;b;", "eof")
        const field = reader.readUntil(";")
        assert.strictEqual(yield* outcome(field), value("a;"))
        assert.strictEqual(yield* outcome(field), value("b;"))
        assert.strictEqual(yield* outcome(field), incomplete(""))
      }))

    it.effect("goes on with a search that other reads came between", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("abc;d")
        const fiber = yield* started(reader.readUntil("|"))
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* outcome(reader.readExactly(1)), value("a"))
        assert.strictEqual(yield* outcome(reader.readUntil(";")), value("bc;"))
        yield* feed.data(latin1("|e"))
        assert.strictEqual(yield* outcome(reader.readUntil("|")), value("d|"))
        yield* reader.unread(latin1("|"))
        assert.strictEqual(yield* outcome(reader.readUntil("|")), value("|"))
        assert.strictEqual(yield* rest(reader, feed), "e")
      }))
  })

  describe("the limit", () => {
    it.effect("counts the bytes before the separator: as many pass, one more overruns", () =>
      Effect.forEach(["\n", "\r\n", "<end>"], (separator) =>
        Effect.gen(function*() {
          const separators: ReadonlyArray<StreamReader.Separator> = [separator, [separator]]
          for (const one of separators) {
            yield* everyWay({
              input: `abc${separator}`,
              limit: 3,
              reads: [[readUntil(one), value(`abc${separator}`)]]
            })
            yield* everyWay({
              input: `abcd${separator}x`,
              limit: 3,
              reads: [[readUntil(one), anyOverrun], [readUntil(one), anyOverrun], [
                readAll,
                value(`abcd${separator}x`)
              ]],
              compare: orOverrun
            })
          }
        })))

    it.effect("strikes whether or not the separator has come, and before the end is looked at", () =>
      Effect.forEach(["eof", "open", "failed"] as const, (end) =>
        everyWay({
          input: "abcd",
          end,
          limit: 3,
          reads: [[readUntil("\n"), anyOverrun], [readLine, anyOverrun], [readExactly(4), value("abcd")]],
          compare: orOverrun
        })))

    it.effect("waits while the separator can still begin within it", () =>
      Effect.gen(function*() {
        yield* everyWay({ input: "abc", end: "open", limit: 3, reads: [[readUntil("\n"), waits]] })
        yield* everyWay({ input: "abcd", end: "open", limit: 3, reads: [[readUntil("\r\n"), waits]] })
        yield* everyWay({ input: "abc\r", end: "open", limit: 3, reads: [[readUntil("\r\n"), waits]] })
        yield* everyWay({ input: "abcdefgh", end: "open", limit: 3, reads: [[readUntil("123456789"), waits]] })
      }))

    it.effect("is passed by a line that many bytes follow", () =>
      everyWay({
        input: "ab\ncdefghijkl",
        limit: 3,
        reads: [[readLine, value("ab\n")], [readLine, anyOverrun]],
        compare: orOverrun
      }))

    it.effect("says what it saw, in asyncio's numbers", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [string, StreamReader.Separator, string]> = [
          ["abcd\n", "\n", overrun(4, 3, true)],
          ["abcdefgh\nxy", "\n", overrun(8, 3, true)],
          ["abcd", "\n", overrun(4, 3, false)],
          ["abcde", "\r\n", overrun(4, 3, false)],
          ["abcdefghijkl", "123456789", overrun(4, 3, false)],
          ["abcde", ["\n", "\r\n"], overrun(4, 3, false)]
        ]
        for (const [input, separator, expected] of cases) {
          const { reader } = yield* fed(input, "open", { limit: 3 })
          assert.strictEqual(yield* outcome(reader.readUntil(separator)), expected)
          assert.strictEqual(yield* outcome(reader.readUntil(separator)), expected)
          assert.strictEqual(yield* outcome(reader.peek(input.length)), value(input))
        }
      }))

    it.effect("names `consumed` bytes that can be read away without cutting a separator in two", () =>
      everyWay({
        input: "abcdefgh\r\nij\r\n",
        limit: 3,
        reads: [
          [(reader) => {
            const away: Effect.Effect<string, unknown> = Effect.catchAll(
              Effect.map(reader.readUntil("\r\n"), toLatin1),
              (error) =>
                error instanceof NetworkError.LimitOverrunError
                  ? Effect.zipWith(reader.readExactly(error.consumed), away, (a, b) => toLatin1(a) + b)
                  : Effect.fail(error)
            )
            return away
          }, value("abcdefgh\r\n")],
          [readUntil("\r\n"), value("ij\r\n")]
        ]
      }))

    it.effect("does not bound what is read by length, looked at or skipped", () =>
      everyWay({
        input: "abcdefgh\nij",
        limit: 1,
        reads: [
          [peek(6), value("abcdef")],
          [readExactly(5), value("abcde")],
          [skipUntil("\n"), "4"],
          [readAll, value("ij")]
        ]
      }))
  })

  describe("readLine", () => {
    it.effect("gives each line with its end, then what is left, then nothing for ever", () =>
      everyWay({
        input: "one\r\n\ntwo\rtoo\nrest",
        reads: [
          [readLine, value("one\r\n")],
          [readLine, value("\n")],
          [readLine, value("two\rtoo\n")],
          [readLine, value("rest")],
          [readLine, value("")],
          [readLine, value("")]
        ]
      }))

    it.effect("waits for the end of a line", () =>
      everyWay({ input: "one\ntwo", end: "open", reads: [[readLine, value("one\n")], [readLine, waits]] }))

    it.effect("keeps an over-long line, where asyncio drops it", () =>
      everyWay({
        input: "abcd\nef\n",
        limit: 3,
        reads: [
          [readLine, anyOverrun],
          [readLine, anyOverrun],
          [skipUntil("\n"), "5"],
          [readLine, value("ef\n")]
        ],
        compare: orOverrun
      }))

    it.effect("gives an unterminated last line of as many bytes as the limit", () =>
      everyWay({ input: "abc", limit: 3, reads: [[readLine, value("abc")]] }))
  })

  describe("skipUntil", () => {
    it.effect("drops through the separator, however far it is, and says how much", () =>
      everyWay({
        input: "abcdefgh\r\n\r\nij",
        limit: 1,
        reads: [[skipUntil("\r\n"), "10"], [skipUntil(["\r\n", "\n"]), "2"], [readAll, value("ij")]]
      }))

    it.effect("never cuts a separator in two", () =>
      everyWay({ input: "aaab-aab-", reads: [[skipUntil("aab"), "4"], [readAll, value("-aab-")]] }))

    it.effect("has nothing of what it dropped in its error at the end", () =>
      Effect.gen(function*() {
        yield* everyWay({ input: "abc", reads: [[skipUntil("\n"), incomplete("")], [atEof, "true"]] })
        yield* everyWay({ input: "abc\r", reads: [[skipUntil("\r\n"), incomplete("\r")], [atEof, "true"]] })
        const { reader } = yield* fed("abc\r", "eof")
        const error = yield* Effect.flip(reader.skipUntil("\r\n"))
        assert(error instanceof NetworkError.IncompleteReadError)
        assert.strictEqual(
          error.message,
          "skipUntil: the stream ended before the separator came; what was skipped by then is gone"
        )
      }))

    it.effect("holds no more in the buffer than a separator may need", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const fiber = yield* started(reader.skipUntil("<end>"))
        for (let i = 0; i < 100; i++) {
          yield* feed.data(latin1("0123456789"))
          yield* settled
        }
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* rest(reader, feed), "6789")
      }))

    it.effect("counts from its own beginning each time it is run", () =>
      everyWay({
        input: "ab\ncdef\n",
        reads: [[(reader) => {
          const skip = reader.skipUntil("\n")
          return Effect.zip(skip, skip)
        }, "[3,5]"]]
      }))

    it.effect("after an interruption goes on within the part that was to be dropped", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("long", "open", { limit: 2 })
        const fiber = yield* started(reader.skipUntil("\r\n"))
        yield* feed.data(latin1(" long\r"))
        yield* settled
        yield* Fiber.interrupt(fiber)
        yield* feed.data(latin1("\nnext\r\n"))
        yield* reader.skipUntil("\r\n")
        assert.strictEqual(yield* rest(reader, feed), "next\r\n")
      }))

    it.effect("fails where the source did", () =>
      everyWay({ input: "abc", end: "failed", reads: [[skipUntil("\n"), failed], [skipUntil("\n"), failed]] }))
  })
})
