import { assert, describe, it } from "@effect/vitest"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import { latin1, toLatin1 } from "./support/chunkings.js"
import { until } from "./support/rawPeer.js"
import {
  atEof,
  type Boom,
  boom,
  everyWay,
  fed,
  outcome,
  outcomeOfFiber,
  peek,
  type Read,
  read,
  readAll,
  readExactly,
  readUntil,
  rest,
  settled,
  started,
  unread
} from "./support/reader.js"
import { failed, incomplete, overrun, value, waits } from "./support/readerReference.js"

/** Reads of at most `n` bytes until the end, joined: how many there are depends on what had arrived. */
const readToEnd = (n: number): Read => (reader) =>
  Effect.gen(function*() {
    let text = ""
    while (true) {
      const bytes = yield* reader.read(n)
      assert.isAtMost(bytes.length, n)
      if (bytes.length === 0) {
        return text
      }
      text += toLatin1(bytes)
    }
  })

/** The same with `readInto`. */
const readIntoToEnd = (n: number): Read => (reader) =>
  Effect.gen(function*() {
    const buffer = new Uint8Array(n)
    let text = ""
    while (true) {
      const size = yield* reader.readInto(buffer)
      if (size === 0) {
        return text
      }
      text += toLatin1(buffer.subarray(0, size))
    }
  })

describe("StreamReader", () => {
  describe("make", () => {
    it.effect("has asyncio's limit by default", () =>
      Effect.gen(function*() {
        const { reader } = yield* StreamReader.make()
        assert.strictEqual(reader.limit, 65_536)
      }))

    it.effect("has the limit it was given", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* StreamReader.make({ limit: 10 })).reader.limit, 10)
        assert.strictEqual((yield* StreamReader.make({ limit: undefined })).reader.limit, 65_536)
      }))

    it.effect("makes a reader that is known as one", () =>
      Effect.gen(function*() {
        const { reader } = yield* StreamReader.make()
        assert.isTrue(StreamReader.isStreamReader(reader))
        assert.isFalse(StreamReader.isStreamReader({ read: reader.read }))
        assert.isFalse(StreamReader.isStreamReader(undefined))
      }))

    it.effect("is an effect: each run makes a reader of its own", () =>
      Effect.gen(function*() {
        const make = StreamReader.make<Boom>()
        const one = yield* make
        const other = yield* make
        yield* one.feed.data(latin1("abc"))
        yield* one.feed.eof
        yield* other.feed.eof
        assert.strictEqual(yield* outcome(other.reader.readAll()), value(""))
        assert.strictEqual(yield* outcome(one.reader.readAll()), value("abc"))
      }))

    it.effect("dies of data after the end, and says how much", () =>
      Effect.gen(function*() {
        for (const end of ["eof", "failed"] as const) {
          const { feed, reader } = yield* fed("abc", end)
          const died = yield* Effect.exit(feed.data(latin1("de")))
          assert.include(String(died), "the stream has ended")
          assert.include(String(died), "2 more bytes")
          assert.strictEqual(yield* outcome(reader.readExactly(3)), value("abc"))
        }
      }))

    it.effect("ends once: what comes after the end is no news", () =>
      Effect.gen(function*() {
        const ended = yield* fed("", "eof")
        yield* ended.feed.eof
        yield* ended.feed.fail(boom)
        assert.strictEqual(yield* outcome(ended.reader.read(1)), value(""))
        const broken = yield* fed("", "failed")
        yield* broken.feed.eof
        yield* broken.feed.fail(boom)
        assert.strictEqual(yield* outcome(broken.reader.read(1)), failed)
        assert.isFalse(yield* broken.reader.atEof)
      }))

    it.effect("takes empty data for nothing", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const fiber = yield* started(reader.read(10))
        yield* feed.data(new Uint8Array(0))
        yield* settled
        assert.strictEqual(yield* outcomeOfFiber(fiber), waits)
        yield* feed.data(latin1("a"))
        assert.strictEqual(toLatin1(yield* Fiber.join(fiber)), "a")
      }))

    it.effect("buffers whatever it is fed", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("", "open", { limit: 4 })
        for (let i = 0; i < 100; i++) {
          yield* feed.data(latin1("0123456789"))
        }
        assert.strictEqual((yield* reader.readExactly(1000)).length, 1000)
      }))
  })

  describe("read", () => {
    it.effect("gives 1 to n bytes, in order, and then nothing for ever", () =>
      Effect.forEach([1, 2, 3, 100], (n) =>
        everyWay({
          input: "hello world",
          reads: [[readToEnd(n), value("hello world")], [read(1), value("")], [read(100), value("")]]
        })))

    it.effect("gives what is there rather than wait for more", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("abc")
        assert.strictEqual(yield* outcome(reader.read(100)), value("abc"))
      }))

    it.effect("gives what has arrived in small chunks at once", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("abc")
        yield* feed.data(latin1("def"))
        yield* feed.data(latin1("ghi"))
        assert.strictEqual(yield* outcome(reader.read(8)), value("abcdefgh"))
        assert.strictEqual(yield* outcome(reader.read(8)), value("i"))
      }))

    it.effect("of 0 bytes is empty at once, and takes nothing", () =>
      everyWay({
        input: "ab",
        reads: [[read(0), value("")], [readAll, value("ab")], [read(0), value("")]]
      }))

    it.effect("of 0 bytes is empty at once where nothing has come, and where the source has failed", () =>
      everyWay({ input: "", end: "open", reads: [[read(0), value("")]] }).pipe(
        Effect.zipRight(everyWay({ input: "", end: "failed", reads: [[read(0), value("")]] }))
      ))

    it.effect("is not bounded by the limit", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("0123456789", "open", { limit: 3 })
        assert.strictEqual(yield* outcome(reader.read(10)), value("0123456789"))
      }))

    it.effect("of more than there can ever be takes what is there", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("abc")
        assert.strictEqual(yield* outcome(reader.read(Number.MAX_SAFE_INTEGER)), value("abc"))
      }))
  })

  describe("readInto", () => {
    it.effect("fills a buffer as far as it can", () =>
      Effect.forEach(
        [1, 2, 3, 100],
        (n) => everyWay({ input: "hello world", reads: [[readIntoToEnd(n), value("hello world")]] })
      ))

    it.effect("touches nothing of the buffer but what it says", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("abc")
        const buffer = latin1("........")
        assert.strictEqual(yield* reader.readInto(buffer.subarray(2, 6)), 3)
        assert.strictEqual(toLatin1(buffer), "..abc...")
      }))

    it.effect("leaves the buffer alone while it waits, and when it is interrupted", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const buffer = latin1("....")
        const fiber = yield* started(reader.readInto(buffer))
        yield* feed.data(latin1("ab"))
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(toLatin1(buffer), "....")
        assert.strictEqual(yield* rest(reader, feed), "ab")
      }))

    it.effect("into an empty buffer is 0 at once", () =>
      everyWay({ input: "ab", reads: [[(reader) => reader.readInto(new Uint8Array(0)), "0"], [readAll, value("ab")]] }))

    it.effect("is 0 at the end, and fails where the source did", () =>
      Effect.gen(function*() {
        const ended = yield* fed("", "eof")
        assert.strictEqual(yield* outcome(ended.reader.readInto(new Uint8Array(4))), "0")
        const broken = yield* fed("a", "failed")
        assert.strictEqual(yield* outcome(broken.reader.readInto(new Uint8Array(4))), "1")
        assert.strictEqual(yield* outcome(broken.reader.readInto(new Uint8Array(4))), failed)
      }))

    it.effect("hands out a copy: what is read later does not change it", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("abc")
        const buffer = new Uint8Array(3)
        yield* reader.readInto(buffer)
        yield* feed.data(latin1("xyz"))
        yield* reader.read(3)
        assert.strictEqual(toLatin1(buffer), "abc")
      }))
  })

  describe("readAll", () => {
    it.effect("gives everything until the end, whatever the limit", () =>
      everyWay({
        input: "hello\nworld\n",
        limit: 2,
        reads: [[readAll, value("hello\nworld\n")], [readAll, value("")], [atEof, "true"]]
      }))

    it.effect("waits for the end", () => everyWay({ input: "abc", end: "open", reads: [[readAll, waits]] }))

    it.effect("fails where the source did, and leaves what had arrived", () =>
      everyWay({
        input: "abc",
        end: "failed",
        reads: [[readAll, failed], [readExactly(2), value("ab")], [readAll, failed], [readToEnd(9), failed]]
      }))

    it.effect("passes with as many as maxBytes", () =>
      everyWay({ input: "abc", reads: [[(reader) => reader.readAll({ maxBytes: 3 }), value("abc")]] }))

    it.effect("overruns with one more, before the end has come, and leaves them", () =>
      Effect.forEach(["eof", "open", "failed"] as const, (end) =>
        everyWay({
          input: "abcd",
          end,
          reads: [
            [(reader) => reader.readAll({ maxBytes: 3 }), overrun(3, 3, false)],
            [readExactly(4), value("abcd")]
          ]
        })))

    it.effect("with a maxBytes of 0 wants nothing to come", () =>
      Effect.gen(function*() {
        yield* everyWay({ input: "", reads: [[(reader) => reader.readAll({ maxBytes: 0 }), value("")]] })
        yield* everyWay({ input: "a", reads: [[(reader) => reader.readAll({ maxBytes: 0 }), overrun(0, 0, false)]] })
      }))

    it.effect("takes options that say nothing", () =>
      everyWay({
        input: "abc",
        reads: [
          [(reader) => reader.readAll({}), value("abc")],
          [(reader) => reader.readAll({ maxBytes: undefined }), value("")]
        ]
      }))
  })

  describe("readExactly", () => {
    it.effect("gives exactly n bytes and leaves what is behind them", () =>
      everyWay({
        input: "abcdefg",
        reads: [
          [readExactly(3), value("abc")],
          [readExactly(0), value("")],
          [readExactly(4), value("defg")],
          [readExactly(0), value("")]
        ]
      }))

    it.effect("is not bounded by the limit", () =>
      everyWay({ input: "abcdefgh", limit: 1, reads: [[readExactly(7), value("abcdefg")], [readAll, value("h")]] }))

    it.effect("has what came before the end in its error, and has consumed it", () =>
      everyWay({
        input: "abc",
        reads: [[readExactly(5), incomplete("abc", 5)], [atEof, "true"], [readExactly(1), incomplete("", 1)]]
      }))

    it.effect("of 0 bytes is empty at once, also at the end and after a failure", () =>
      Effect.forEach(
        ["open", "eof", "failed"] as const,
        (end) => everyWay({ input: "", end, reads: [[readExactly(0), value("")]] })
      ))

    it.effect("takes nothing while it waits, so that an interruption loses nothing", () =>
      everyWay({ input: "abc", end: "open", reads: [[readExactly(4), waits]] }))
  })

  describe("atEof", () => {
    it.effect("is true once the end has come and nothing is left", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("ab")
        assert.isFalse(yield* reader.atEof)
        yield* feed.eof
        assert.isFalse(yield* reader.atEof)
        yield* reader.read(1)
        assert.isFalse(yield* reader.atEof)
        yield* reader.read(1)
        assert.isTrue(yield* reader.atEof)
        yield* reader.unread(latin1("b"))
        assert.isFalse(yield* reader.atEof)
      }))

    it.effect("is false after a failure: more may be missing", () =>
      everyWay({ input: "", end: "failed", reads: [[read(1), failed], [atEof, "false"]] }))

    it.effect("does not wait, and can be asked while another fiber reads", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        const fiber = yield* started(reader.read(1))
        assert.isFalse(yield* reader.atEof)
        yield* feed.eof
        assert.isTrue(yield* reader.atEof)
        assert.strictEqual((yield* Fiber.join(fiber)).length, 0)
      }))
  })

  describe("peek", () => {
    it.effect("shows n bytes and consumes none", () =>
      everyWay({
        input: "abcdef",
        reads: [
          [peek(4), value("abcd")],
          [peek(2), value("ab")],
          [peek(0), value("")],
          [readExactly(3), value("abc")],
          [peek(3), value("def")],
          [readAll, value("def")]
        ]
      }))

    it.effect("is shorter only at the end", () =>
      everyWay({ input: "abc", reads: [[peek(5), value("abc")], [readAll, value("abc")], [peek(5), value("")]] }))

    it.effect("waits for all of its bytes, which may be more than the limit", () =>
      Effect.gen(function*() {
        yield* everyWay({ input: "abc", end: "open", limit: 1, reads: [[peek(4), waits]] })
        yield* everyWay({ input: "abcdefgh", end: "open", limit: 1, reads: [[peek(8), value("abcdefgh")]] })
      }))

    it.effect("fails where the source did, and leaves what had arrived", () =>
      everyWay({
        input: "abc",
        end: "failed",
        reads: [[peek(3), value("abc")], [peek(4), failed], [readExactly(3), value("abc")], [peek(1), failed]]
      }))
  })

  describe("unread", () => {
    it.effect("puts bytes back to the front", () =>
      everyWay({
        input: "abcdef",
        reads: [
          [readExactly(3), value("abc")],
          [unread("bc"), "done"],
          [unread("1"), "done"],
          [unread(""), "done"],
          [readExactly(4), value("1bcd")],
          [readAll, value("ef")]
        ]
      }))

    it.effect("wakes a read that waits", () =>
      Effect.gen(function*() {
        const { reader } = yield* fed("ne")
        const fiber = yield* started(reader.readLine)
        yield* reader.unread(latin1("li\nno"))
        assert.strictEqual(toLatin1(yield* Fiber.join(fiber)), "li\n")
        assert.strictEqual(yield* outcome(reader.readExactly(4)), value("none"))
      }))

    it.effect("joins what it puts back with what arrives", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("\r")
        const fiber = yield* started(reader.readUntil("\r\n"))
        yield* reader.unread(latin1("a"))
        yield* feed.data(latin1("\n"))
        assert.strictEqual(toLatin1(yield* Fiber.join(fiber)), "a\r\n")
      }))

    it.effect("works after the end and after a failure", () =>
      Effect.gen(function*() {
        const ended = yield* fed("a", "eof")
        yield* ended.reader.readAll()
        yield* ended.reader.unread(latin1("xy"))
        assert.strictEqual(yield* outcome(ended.reader.readLine), value("xy"))
        assert.strictEqual(yield* outcome(ended.reader.readLine), value(""))
        const broken = yield* fed("", "failed")
        yield* broken.reader.unread(latin1("xy"))
        assert.strictEqual(yield* outcome(broken.reader.read(5)), value("xy"))
        assert.strictEqual(yield* outcome(broken.reader.read(5)), failed)
      }))

    it.effect("finds a separator in what was put back where a search had passed", () =>
      everyWay({
        input: "abc;d",
        reads: [
          [readUntil(";"), value("abc;")],
          [unread("x;y;"), "done"],
          [readUntil(";"), value("x;")],
          [readUntil(";"), value("y;")],
          [readUntil(";"), incomplete("d")]
        ]
      }))

    it.effect("keeps a copy: the bytes are the caller's again", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("c")
        const bytes = latin1("ab")
        yield* reader.unread(bytes)
        bytes.fill(0)
        assert.strictEqual(yield* rest(reader, feed), "abc")
      }))

    it.effect("does nothing until it is run", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("a")
        reader.unread(latin1("b"))
        assert.strictEqual(yield* rest(reader, feed), "a")
      }))
  })

  describe("memory", () => {
    it.live("nothing is kept of what was read when the fiber that read it has ended", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed("")
        yield* feed.data(new Uint8Array(1000))
        const [bytes] = yield* Effect.all([Effect.map(reader.readExactly(500), (bytes) => new WeakRef(bytes))])
        const inFiber = yield* Effect.fork(reader.readExactly(250)).pipe(
          Effect.flatMap(Fiber.join),
          Effect.map((bytes) => new WeakRef(bytes))
        )
        V8.setFlagsFromString("--expose-gc")
        const collect = Vm.runInNewContext("gc") as () => void
        // What a weak reference was made of stays until the event loop turns.
        yield* until(() => {
          collect()
          return bytes.deref() === undefined && inFiber.deref() === undefined
        })
        assert.strictEqual((yield* reader.read(1000)).length, 250)
      }))
  })
})
