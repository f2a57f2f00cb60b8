import { assert, describe, it } from "@effect/vitest"
import * as Framing from "effect-netstreams/Framing"
import * as NetworkError from "effect-netstreams/NetworkError"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as TestNetwork from "effect-netstreams/TestNetwork"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { latin1, Random, toLatin1, utf8 } from "./support/chunkings.js"
import {
  defect,
  fed,
  type Feed,
  interruptNow,
  isRunning,
  outcome,
  type Reader,
  rest,
  settled,
  started
} from "./support/reader.js"
import { value } from "./support/readerReference.js"

const length = Framing.lengthPrefixed()

/** Frames of a length of four bytes. */
const framesOf = (...bodies: ReadonlyArray<string>): string =>
  bodies.map((body) =>
    String.fromCharCode(body.length >>> 24, body.length >> 16 & 255, body.length >> 8 & 255, body.length & 255) + body
  ).join("")

const text = (frame: Option.Option<Uint8Array>): string =>
  Option.match(frame, { onNone: () => "end", onSome: toLatin1 })

const framingError = (error: unknown): NetworkError.FramingError => {
  assert.instanceOf(error, NetworkError.FramingError)
  return error
}

// ---------------------------------------------------------------------------

describe("Framing, interrupted", () => {
  interface Sink {
    text: string
  }
  type Reading = (reader: Reader, sink: Sink) => Effect.Effect<unknown, unknown>

  const take = (sink: Sink) => (frame: Option.Option<Uint8Array>) => {
    if (Option.isSome(frame)) {
      sink.text += framesOf(toLatin1(frame.value))
    }
  }

  const readings: Record<string, Reading> = {
    "one read": (reader, sink) => Effect.map(Framing.read(reader, length), take(sink)),
    "a loop in a generator": (reader, sink) =>
      Effect.gen(function*() {
        while (true) {
          take(sink)(yield* Framing.read(reader, length))
        }
      }),
    "a loop of the run loop": (reader, sink) => {
      const loop: Effect.Effect<never, unknown> = Effect.flatMap(Framing.read(reader, length), (frame) => {
        take(sink)(frame)
        return loop
      })
      return loop
    },
    "a schema": (reader, sink) =>
      Effect.map(
        Framing.read(reader, Framing.schema(length, Schema.Uint8ArrayFromSelf)),
        take(sink)
      ),
    "a stream that does not read ahead": (reader, sink) =>
      Stream.runForEach(
        Framing.stream(reader, length, { readAhead: false }),
        (frame) => Effect.sync(() => take(sink)(Option.some(frame)))
      )
  }

  type Event = (feed: Feed, fiber: Fiber.RuntimeFiber<unknown, unknown>) => Effect.Effect<unknown>
  const data = (text: string): Event => (feed) => feed.data(latin1(text))
  const interruption: Event = (_, fiber) => interruptNow(fiber)
  const yields = (n: number): Event => () =>
    Effect.forEach(Array.from({ length: n }), () => Effect.yieldNow(), { discard: true })

  const arrived = framesOf("one", "two", "", "three")
  const orders: ReadonlyArray<ReadonlyArray<Event>> = [
    [interruption, () => settled, data(arrived)],
    [data(arrived), interruption],
    [interruption, data(arrived)],
    ...Array.from({ length: arrived.length + 1 }, (_, i): ReadonlyArray<Event> => [
      data(arrived.slice(0, i)),
      yields(i % 5),
      interruption,
      data(arrived.slice(i))
    ]),
    [data(arrived), (feed) => feed.eof, interruption]
  ]

  for (const [name, reading] of Object.entries(readings)) {
    it.effect(`at any moment, loses nothing: ${name}`, () =>
      Effect.forEach(orders, (events) =>
        Effect.gen(function*() {
          const { feed, reader } = yield* fed("")
          const sink = { text: "" }
          const fiber = yield* started(reading(reader, sink))
          assert.isTrue(yield* isRunning(fiber))
          yield* Effect.forEach(events, (event) => event(feed, fiber), { discard: true })
          yield* settled
          yield* Fiber.interrupt(fiber)
          const other = yield* started(reader.readAll())
          yield* feed.eof
          assert.strictEqual(sink.text + toLatin1(yield* Fiber.join(other)), arrived)
        })))
  }

  it.effect("by a timeout around it, leaves half a frame to the next read", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed(framesOf("half").slice(0, 6))
      assert.strictEqual(
        yield* outcome(Framing.read(reader, length).pipe(Effect.timeout("0 seconds"))),
        "timed out"
      )
      yield* feed.data(latin1("lf"))
      assert.strictEqual(text(yield* Framing.read(reader, length)), "half")
    }))

  it.effect("while a schema waits, puts the frame back, wherever it was cut", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const slow = Framing.lines().pipe(Framing.schema(Schema.transformOrFail(Schema.String, Schema.String, {
        decode: (line) => Effect.as(Deferred.await(gate), line.toUpperCase()),
        encode: ParseResult.succeed
      })))
      for (let cut = 0; cut < 6; cut++) {
        const { feed, reader } = yield* fed("abc\r\nnext\n".slice(0, cut))
        yield* feed.data(latin1("abc\r\nnext\n".slice(cut)))
        const fiber = yield* started(Framing.read(reader, slow))
        assert.isTrue(yield* isRunning(fiber))
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* rest(reader, feed), "abc\r\nnext\n")
      }
      const { reader } = yield* fed("abc\r\nnext\n")
      const fiber = yield* started(Framing.read(reader, slow))
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.some("ABC"))
      assert.deepStrictEqual(yield* Framing.read(reader, slow), Option.some("NEXT"))
    }))
})

describe("Framing, one reader", () => {
  it.effect("lets one fiber wait, and does not disturb it", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed(framesOf("ab").slice(0, 5))
      const first = yield* started(Framing.read(reader, length))
      assert.instanceOf(yield* defect(Framing.read(reader, length)), NetworkError.ConcurrentReadError)
      yield* feed.data(latin1("b"))
      assert.strictEqual(text(yield* Fiber.join(first)), "ab")
    }))

  it.effect("takes framings in turn, between other reads", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed(`${framesOf("ab")}line\n${framesOf("cd")}xy\n`, "eof")
      assert.strictEqual(text(yield* Framing.read(reader, length)), "ab")
      assert.deepStrictEqual(yield* Framing.read(reader, Framing.lines()), Option.some("line"))
      assert.strictEqual(yield* reader.readUint32, 2)
      yield* reader.unread(latin1("\0\0\0\x02"))
      assert.strictEqual(text(yield* pipe(reader, Framing.read(length))), "cd")
      assert.strictEqual(toLatin1(yield* reader.readLine), "xy\n")
      assert.strictEqual(text(yield* Framing.read(reader, length)), "end")
      assert.strictEqual(text(yield* Framing.read(reader, length)), "end")
    }))

  it.effect("is taken over by a stream that reads ahead, and not by one that does not", () =>
    Effect.gen(function*() {
      for (const readAhead of [true, false]) {
        const { reader } = yield* fed(framesOf("a", "b", "c"))
        yield* Framing.stream(reader, length, { readAhead }).pipe(Stream.take(1), Stream.runDrain)
        assert.strictEqual(
          yield* outcome(Framing.read(reader, length).pipe(Effect.map(text))),
          readAhead ? "dies with ReadAheadError" : value("b")
        )
      }
    }))

  it.effect("is free again after a stream that ended by itself", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed(`${framesOf("a", "b")}\xff\xff\xff\xffx`)
      const seen: Array<string> = []
      const error = yield* Effect.flip(
        Stream.runForEach(Framing.stream(reader, length), (frame) => Effect.sync(() => seen.push(toLatin1(frame))))
      )
      assert.instanceOf(error, NetworkError.LimitOverrunError)
      assert.deepStrictEqual(seen, ["a", "b"])
      assert.strictEqual(yield* rest(reader, feed), "\xff\xff\xff\xffx")
    }))

  it.effect("is free again after a stream that failed with what it had waited for", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed(framesOf("a"))
      const fiber = yield* started(Effect.flip(Stream.runDrain(Framing.stream(reader, length))))
      yield* feed.data(latin1("\xff\xff\xff\xffx"))
      assert.instanceOf(yield* Fiber.join(fiber), NetworkError.LimitOverrunError)
      assert.strictEqual(yield* rest(reader, feed), "\xff\xff\xff\xffx")
    }))

  it.effect("is free again after a stream whose schema refused a frame in its own time", () =>
    Effect.gen(function*() {
      const slow = Framing.lines().pipe(Framing.schema(Schema.transformOrFail(Schema.String, Schema.String, {
        decode: (line, _, ast) =>
          Effect.zipRight(
            Effect.yieldNow(),
            line === "bad" ? Effect.fail(new ParseResult.Type(ast, line)) : Effect.succeed(line)
          ),
        encode: ParseResult.succeed
      })))
      const { feed, reader } = yield* fed("one\ntwo\nbad\nthree\n")
      const seen: Array<string> = []
      const error = yield* Effect.flip(
        Stream.runForEach(Framing.stream(reader, slow), (line) => Effect.sync(() => seen.push(line)))
      )
      assert.strictEqual(framingError(error).reason, "InvalidContent")
      assert.strictEqual(toLatin1(Option.getOrThrow(framingError(error).frame)), "bad")
      assert.deepStrictEqual(seen, ["one", "two"])
      assert.strictEqual(yield* rest(reader, feed), "three\n")
    }))

  it.live("lets others run while the buffer never runs dry", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed(framesOf("abcd").repeat(100_000))
      let count = 0
      const fiber = yield* Effect.fork(Effect.gen(function*() {
        while (true) {
          yield* Framing.read(reader, length)
          count++
        }
      }))
      yield* Effect.yieldNow()
      yield* Effect.yieldNow()
      assert.isBelow(count, 10_000)
      yield* Fiber.interrupt(fiber)
    }))
})

describe("Framing, limits", () => {
  it.effect("reads a frame that is longer than twice the reader's limit, from a source that is held up", () =>
    Effect.gen(function*() {
      const body = new Random(3).text(1000, "abc")
      const all = latin1(framesOf(body, "next"))
      for (const size of [1, 7, 300]) {
        const chunks = Array.from(
          { length: Math.ceil(all.length / size) },
          (_, i) => all.slice(i * size, (i + 1) * size)
        )
        for (const framing of [length, Framing.map(length, (frame) => frame)]) {
          const reader = yield* StreamReader.fromStream(Stream.fromIterable(chunks), { limit: 4 })
          assert.strictEqual(text(yield* Framing.read(reader, framing)), body)
          assert.strictEqual(text(yield* Framing.read(reader, framing)), "next")
        }
        const reader = yield* StreamReader.fromStream(Stream.fromIterable(chunks), { limit: 4 })
        const streamed = yield* Stream.runCollect(Framing.stream(reader, length))
        assert.deepStrictEqual(Array.from(streamed, toLatin1), [body, "next"])
        const fixed = yield* StreamReader.fromStream(Stream.fromIterable(chunks), { limit: 4 })
        assert.strictEqual(text(yield* Framing.read(fixed, Framing.fixed(1004))), framesOf(body))
      }
    }).pipe(Effect.scoped))

  it.effect("holds no more than twice the reader's limit and a chunk while nobody reads a long frame", () =>
    Effect.gen(function*() {
      let taken = 0
      const source = Stream.repeatEffect(Effect.sync(() => (taken += 10, latin1("x".repeat(10)))))
      const reader = yield* StreamReader.fromStream(source, { limit: 20 })
      const long = yield* Framing.read(reader, Framing.fixed(1000))
      assert.strictEqual(text(long).length, 1000)
      yield* settled
      assert.isAtMost(taken, 1000 + 2 * 20 + 10)
    }).pipe(Effect.scoped))

  const hostile: ReadonlyArray<readonly [string, Framing.Framing<never, unknown>, string]> = [
    ["2^32 - 1", length, "\xff\xff\xff\xff"],
    ["2^24 - 1", Framing.lengthPrefixed({ lengthBytes: 3 }), "\xff\xff\xff"],
    ["2^53", Framing.lengthPrefixed({ lengthBytes: 8 }), "\0\x20\0\0\0\0\0\0"],
    ["2^64 - 1", Framing.lengthPrefixed({ lengthBytes: 8 }), "\xff".repeat(8)],
    ["2^64 - 1, little-endian", Framing.lengthPrefixed({ lengthBytes: 8, littleEndian: true }), "\xff".repeat(8)],
    ["2^64 - 1 as a varint", Framing.varintPrefixed(), `${"\xff".repeat(9)}\x01`]
  ]
  for (const [name, framing, bytes] of hostile) {
    it.effect(`takes a length of ${name} for what it is, at once, and leaves it`, () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed(`${bytes}x`)
        for (let i = 0; i < 2; i++) {
          const error = yield* Effect.flip(Framing.read(reader, framing))
          assert.instanceOf(error, NetworkError.LimitOverrunError)
          assert.isAtLeast(error.consumed, 2 ** 24)
          assert.strictEqual(error.limit, 65_536)
          assert.match(
            error.message,
            /^Framing\.read: the frame has \d+ bytes, past the limit of 65536; nothing was consumed/
          )
        }
        assert.strictEqual(yield* rest(reader, feed), `${bytes}x`)
      }))
  }

  const impossible: ReadonlyArray<readonly [string, Framing.Framing<never, unknown>, string, string]> = [
    ["that counts less than itself", Framing.lengthPrefixed({ adjustment: -4 }), "\0\0\0\x03", "-1 bytes follow"],
    ["as a varint of 11 bytes", Framing.varintPrefixed(), `${"\x80".repeat(10)}\x01`, "more than 64 bits"],
    ["as a varint of 65 bits", Framing.varintPrefixed(), `${"\x80".repeat(9)}\x02`, "more than 64 bits"]
  ]
  for (const [name, framing, bytes, message] of impossible) {
    it.effect(`refuses a length ${name}, and leaves it`, () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* fed(`${bytes}x`)
        const error = framingError(yield* Effect.flip(Framing.read(reader, framing)))
        assert.strictEqual(error.reason, "InvalidLength")
        assert.include(error.message, message)
        assert.include(error.message, "nothing was consumed")
        assert.strictEqual(yield* rest(reader, feed), `${bytes}x`)
      }))
  }

  it.effect("knows a length that is padded with zeros, as a varint may be", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed("\x82\x80\x00ab")
      assert.strictEqual(text(yield* Framing.read(reader, Framing.varintPrefixed())), "ab")
    }))
})

// ---------------------------------------------------------------------------

describe("Framing, written", () => {
  /** What arrives of what is written. */
  const sent = <E>(
    write: (connection: Framing.Framed<any, any>, framing: unknown) => Effect.Effect<unknown, E>,
    framing: Framing.Framing<any, any>
  ) =>
    Effect.gen(function*() {
      const [here, there] = yield* TestNetwork.pair()
      const exit = yield* Effect.exit(write(Framing.framed(here, framing), framing))
      yield* here.writer.writeEof
      return { exit, bytes: toLatin1(yield* there.reader.readAll()) }
    }).pipe(Effect.scoped)

  const wire: ReadonlyArray<readonly [string, Framing.Framing<any, any>, unknown, string]> = [
    ["a length of 4 bytes", length, "ab", "\0\0\0\x02ab"],
    ["a length of 8 bytes", Framing.lengthPrefixed({ lengthBytes: 8 }), "ab", "\0\0\0\0\0\0\0\x02ab"],
    [
      "a length of 3 bytes, little-endian",
      Framing.lengthPrefixed({ lengthBytes: 3, littleEndian: true }),
      "ab",
      "\x02\0\0ab"
    ],
    ["a length that counts itself", Framing.lengthPrefixed({ lengthBytes: 2, adjustment: -2 }), "ab", "\0\x04ab"],
    ["a length that does not count all", Framing.lengthPrefixed({ lengthBytes: 1, adjustment: 1 }), "ab", "\x01ab"],
    [
      "a type and a length",
      Framing.lengthPrefixed({ headerBytes: 1, adjustment: -4 }),
      "Q????SELECT\0",
      "Q\0\0\0\x0bSELECT\0"
    ],
    ["nothing behind a length", length, "", "\0\0\0\0"],
    ["a varint", Framing.varintPrefixed(), "x".repeat(300), `\xac\x02${"x".repeat(300)}`],
    ["a separator", Framing.delimited("\r\n\r\n"), "head", "head\r\n\r\n"],
    ["a fixed number", Framing.fixed(2), utf8("ab"), "ab"],
    ["a line", Framing.lines({ eol: "\r\n" }), "ab\r", "ab\r\r\n"],
    ["a line of UTF-8", Framing.lines(), "ß", "\xc3\x9f\n"],
    [
      "JSON",
      Framing.ndjson(Schema.Struct({ a: Schema.DateFromString })),
      { a: new Date(0) },
      `{"a":"1970-01-01T00:00:00.000Z"}\n`
    ],
    ["JSON behind a length", Framing.json(length, Schema.Number), 42, "\0\0\0\x0242"],
    ["what is mapped", Framing.mapInput(Framing.lines(), (n: number) => `${n}`), 7, "7\n"]
  ]
  for (const [name, framing, message, bytes] of wire) {
    it.effect(`is ${name}`, () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* sent((framed) => framed.write(message), framing)).bytes, bytes)
        assert.strictEqual(
          (yield* sent((framed) => framed.writeAll([message, message]), framing)).bytes,
          bytes.repeat(2)
        )
        const stream = Stream.make(message, message)
        assert.strictEqual((yield* sent((framed) => Stream.run(stream, framed.sink), framing)).bytes, bytes.repeat(2))
      }))
  }

  const refusals: ReadonlyArray<
    readonly [string, Framing.Framing<any, any>, unknown, unknown, NetworkError.FramingError["reason"]]
  > = [
    ["longer than maxLength", Framing.lengthPrefixed({ maxLength: 2 }), "ab", "abc", "TooLong"],
    [
      "longer than the length can say",
      Framing.lengthPrefixed({ lengthBytes: 1 }),
      "a".repeat(255),
      "a".repeat(256),
      "TooLong"
    ],
    [
      "longer than maxLength, with its header",
      Framing.lengthPrefixed({ headerBytes: 1, maxLength: 5 }),
      "12345",
      "123456",
      "TooLong"
    ],
    ["without room for its header", Framing.lengthPrefixed({ headerBytes: 1 }), "12345", "1234", "TooShort"],
    ["without what the length does not count", Framing.lengthPrefixed({ adjustment: 2 }), "ab", "a", "TooShort"],
    ["too long for a varint's maxLength", Framing.varintPrefixed({ maxLength: 2 }), "ab", "abc", "TooLong"],
    ["longer than it may be before a separator", Framing.delimited(";", { maxLength: 2 }), "ab", "abc", "TooLong"],
    ["with the separator in it", Framing.delimited(";"), "ab", "a;b", "ContainsSeparator"],
    ["with a longer separator in it", Framing.delimited("--"), "a-b", "a--b", "ContainsSeparator"],
    ["that begins the separator", Framing.delimited("aba"), "bb", "ab", "ContainsSeparator"],
    ["that is the beginning of the separator twice", Framing.delimited("--"), "a", "a-", "ContainsSeparator"],
    ["with too few bytes", Framing.fixed(2), "ab", "a", "TooShort"],
    ["with too many bytes", Framing.fixed(2), "ab", "abc", "TooLong"],
    ["with a line feed", Framing.lines(), "a\rb", "a\nb", "ContainsSeparator"],
    ["with half a line end", Framing.lines(), "a", "a\r", "ContainsSeparator"],
    ["too long for a line", Framing.lines({ maxLength: 2 }), "ab", "aß", "TooLong"],
    ["that the schema does not accept", Framing.ndjson(Schema.Int), 1, 1.5, "InvalidContent"]
  ]
  for (const [name, framing, good, bad, reason] of refusals) {
    it.effect(`nothing is, ${name}`, () =>
      Effect.gen(function*() {
        const once = (yield* sent((framed) => framed.write(good), framing)).bytes
        assert.notStrictEqual(once, "")

        const one = yield* sent(
          (framed) => Effect.flip(Effect.zipLeft(Effect.flip(framed.write(bad)), framed.write(good))),
          framing
        )
        assert.strictEqual(one.bytes, once)
        const error = framingError(yield* Effect.flip(one.exit))
        assert.strictEqual(error.reason, reason)
        assert.match(error.message, /^Framing\.write to 127\.0\.0\.1:\d+: .*; nothing of it was written$/s)

        // All or none.
        assert.strictEqual((yield* sent((framed) => framed.writeAll([good, bad]), framing)).bytes, "")
        // Those before it, whatever the chunks.
        for (const stream of [Stream.make(good, bad, good), Stream.rechunk(Stream.make(good, bad, good), 1)]) {
          const streamed = yield* sent((framed) => Stream.run(stream, framed.sink), framing)
          assert.strictEqual(streamed.bytes, once)
          assert.strictEqual(framingError(yield* Effect.flip(streamed.exit)).reason, reason)
        }
      }))
  }

  it.effect("is read as it was, whatever it was", () =>
    Effect.gen(function*() {
      const random = new Random(5)
      const all: ReadonlyArray<Framing.Framing<Uint8Array, Uint8Array>> = [
        length,
        Framing.lengthPrefixed({ lengthBytes: 2, littleEndian: true, adjustment: -2 }),
        Framing.varintPrefixed(),
        Framing.delimited("aba"),
        Framing.delimited("b"),
        Framing.lines().pipe(Framing.mapBoth({ decode: latin1, encode: toLatin1 }))
      ]
      for (const framing of all) {
        const [here, there] = yield* TestNetwork.pair({ conditions: { fragment: 3 } })
        const messages: Array<string> = []
        for (let i = 0; i < 200; i++) {
          const message = random.text(random.between(0, i < 5 ? 3000 : 6), "ab\r\nc")
          if ((yield* outcome(Framing.write(here.writer, framing, latin1(message)))) === "done") {
            messages.push(message)
          }
        }
        assert.isAbove(messages.length, 20)
        yield* here.writer.writeEof
        const read = yield* Stream.runCollect(Framing.stream(there.reader, framing))
        assert.deepStrictEqual(Array.from(read, toLatin1), messages)
      }
    }).pipe(Effect.scoped))

  it.effect("leaves what it was given as it was", () =>
    Effect.gen(function*() {
      const [here, there] = yield* TestNetwork.pair()
      const frame = latin1("T\xff\xff\xff\xffbody")
      yield* Framing.write(here.writer, Framing.lengthPrefixed({ headerBytes: 1 }), frame)
      assert.strictEqual(toLatin1(frame), "T\xff\xff\xff\xffbody")
      assert.strictEqual(toLatin1(yield* there.reader.readExactly(9)), "T\0\0\0\x04body")
    }).pipe(Effect.scoped))

  it.effect("fails with the connection's error once that has ended, and with its own where both would", () =>
    Effect.gen(function*() {
      const [here] = yield* TestNetwork.pair()
      yield* here.writer.writeEof
      assert.strictEqual((yield* Effect.flip(Framing.write(here.writer, length, "ab")))._tag, "ConnectionError")
      assert.strictEqual((yield* Effect.flip(Framing.write(here.writer, Framing.fixed(1), "ab")))._tag, "FramingError")
    }).pipe(Effect.scoped))

  it.effect("is held up by a peer that does not read, and whole when interrupted", () =>
    Effect.gen(function*() {
      const [here, there] = yield* TestNetwork.pair(
        { options: { highWaterMark: 10, limit: 10 } } as TestNetwork.PairOptions
      )
      const body = "x".repeat(5000)
      const fiber = yield* started(Effect.forever(Framing.write(here.writer, length, body)))
      assert.isTrue(yield* isRunning(fiber))
      yield* Fiber.interrupt(fiber)
      const end = yield* Effect.fork(here.writer.writeEof)
      const frames = yield* Stream.runCollect(Framing.stream(there.reader, length))
      yield* Fiber.join(end)
      assert.isAbove(frames.length, 0)
      assert.isTrue(Array.from(frames).every((frame) => toLatin1(frame) === body))
    }).pipe(Effect.scoped))
})

// ---------------------------------------------------------------------------

describe("Framing, with a schema", () => {
  const numbers = Framing.ndjson(Schema.Struct({ n: Schema.Number }))

  it.effect("refuses what it does not accept, has it in the error, and goes on behind it", () =>
    Effect.gen(function*() {
      for (const bad of ["{\"n\":\"1\"}", "{", "", "null"]) {
        const { reader } = yield* fed(`{"n":1}\n${bad}\r\n{"n":2}\n`, "eof")
        assert.deepStrictEqual(yield* Framing.read(reader, numbers), Option.some({ n: 1 }))
        const error = framingError(yield* Effect.flip(Framing.read(reader, numbers)))
        assert.strictEqual(error.reason, "InvalidContent")
        assert.strictEqual(toLatin1(Option.getOrThrow(error.frame)), bad)
        assert.match(
          error.message,
          /^Framing\.read: what is in the frame is not what the schema wants: .*goes on behind it$/s
        )
        assert.deepStrictEqual(yield* Framing.read(reader, numbers), Option.some({ n: 2 }))
        assert.deepStrictEqual(yield* Framing.read(reader, numbers), Option.none())
      }
    }))

  it.effect("in a stream, gives what came before, fails, and leaves what comes behind", () =>
    Effect.gen(function*() {
      for (const readAhead of [true, false]) {
        const { feed, reader } = yield* fed("{\"n\":1}\n{\"n\":2}\n{}\n{\"n\":3}\n")
        const seen: Array<number> = []
        const error = yield* Effect.flip(
          Stream.runForEach(Framing.stream(reader, numbers, { readAhead }), ({ n }) => Effect.sync(() => seen.push(n)))
        )
        assert.strictEqual(framingError(error).reason, "InvalidContent")
        assert.deepStrictEqual(seen, [1, 2])
        assert.strictEqual(yield* rest(reader, feed), "{\"n\":3}\n")
      }
    }))

  class Names extends Context.Tag("Names")<Names, { readonly of: (id: number) => Effect.Effect<string> }>() {}

  const named = Framing.lines().pipe(Framing.schema(Schema.transformOrFail(Schema.NumberFromString, Schema.String, {
    strict: true,
    decode: (id, _, ast) =>
      id < 0
        ? ParseResult.fail(new ParseResult.Type(ast, id, "no such name"))
        : Effect.flatMap(Names, (names) => names.of(id)),
    encode: (name) => Effect.as(Effect.zipRight(Names, Effect.yieldNow()), name.length)
  })))

  const slowly = Effect.provideService(Names, { of: (id: number) => Effect.as(Effect.yieldNow(), "n".repeat(id)) })

  it.effect("may need a service, and wait for it, both ways", () =>
    Effect.gen(function*() {
      const [here, there] = yield* TestNetwork.pair()
      yield* Framing.write(here.writer, named, "abc")
      yield* Framing.writeAll(here.writer, named, ["a", "ab"])
      yield* Stream.make("abcd", "").pipe(Stream.run(Framing.sink(here.writer, named)))
      yield* here.writer.write("-1\n5\n")
      yield* here.writer.writeEof
      assert.deepStrictEqual(yield* Framing.read(there.reader, named), Option.some("nnn"))
      const seen: Array<string> = []
      const failure = yield* Effect.flip(
        Stream.runForEach(Framing.stream(there.reader, named), (name) => Effect.sync(() => seen.push(name)))
      )
      assert.include(failure.message, "no such name")
      assert.deepStrictEqual(seen, ["n", "nn", "nnnn", ""])
      assert.deepStrictEqual(yield* Framing.read(there.reader, named), Option.some("nnnnn"))
      assert.deepStrictEqual(yield* Framing.read(there.reader, named), Option.none())
    }).pipe(Effect.scoped, slowly))

  it.effect("composes with functions on either side of it", () =>
    Effect.gen(function*() {
      const doubled = Framing.ndjson(Schema.Number).pipe(
        Framing.mapBoth({ decode: (n) => n * 2, encode: (n: number) => n / 2 })
      )
      const reversed = Framing.lines().pipe(
        Framing.map((line) => [...line].reverse().join("")),
        Framing.mapInput((line: string) => [...line].reverse().join("")),
        Framing.schema(Schema.NumberFromString)
      )
      const [here, there] = yield* TestNetwork.pair()
      yield* Framing.write(here.writer, doubled, 10)
      yield* Framing.write(here.writer, reversed, 123)
      assert.strictEqual(toLatin1(yield* there.reader.peek(6)), "5\n321\n")
      assert.deepStrictEqual(yield* Framing.read(there.reader, doubled), Option.some(10))
      assert.deepStrictEqual(yield* Framing.read(there.reader, reversed), Option.some(123))
    }).pipe(Effect.scoped))
})

describe("Framing, arguments", () => {
  it("that can't be right are told at once", () => {
    const all: ReadonlyArray<readonly [() => unknown, string]> = [
      [
        () => Framing.lengthPrefixed({ lengthBytes: 5 as 4 }),
        "lengthPrefixed: lengthBytes must be 1 or 2 or 3 or 4 or 8, got 5"
      ],
      [
        () => Framing.lengthPrefixed({ headerBytes: -1 }),
        "lengthPrefixed: headerBytes must be a whole number, 0 or more, got -1"
      ],
      [
        () => Framing.lengthPrefixed({ adjustment: 0.5 }),
        "lengthPrefixed: adjustment must be a whole number of bytes, got 0.5"
      ],
      [
        () => Framing.lengthPrefixed({ maxLength: 0 }),
        "lengthPrefixed: maxLength must be a whole number, 1 or more, got 0"
      ],
      [
        () => Framing.varintPrefixed({ maxLength: NaN }),
        "varintPrefixed: maxLength must be a whole number, 1 or more, got NaN"
      ],
      [() => Framing.delimited(""), "delimited: separator must not be empty"],
      [
        () => Framing.delimited(7 as unknown as string),
        "delimited: separator must be a Uint8Array or a string, got number"
      ],
      [() => Framing.fixed(0), "fixed: length must be a whole number, 1 or more, got 0"],
      [() => Framing.lines({ eol: "\r" as "\n" }), "lines: eol must be \"\\n\" or \"\\r\\n\", got \"\\r\""]
    ]
    for (const [make, message] of all) {
      assert.throws(make, message)
    }
  })

  it.effect("of operations are defects", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed("")
      const [{ writer }] = yield* TestNetwork.pair()
      const all: ReadonlyArray<readonly [Effect.Effect<unknown, unknown>, string]> = [
        [Framing.read(reader, {} as typeof length), "Framing.read: framing must be a Framing, got object"],
        [Framing.read({} as Reader, length), "Framing.read: reader must be a StreamReader, got object"],
        [
          Stream.runDrain(Framing.stream(reader, length, { readAhead: 1 as unknown as true })),
          "Framing.stream: readAhead must be"
        ],
        [
          Framing.write(writer, length, 7 as unknown as string),
          "Framing.write: a frame must be a Uint8Array or a string, got number"
        ],
        [
          Framing.write(writer, Framing.lines(), 7 as unknown as string),
          "Framing.write: a text must be a string, got number"
        ],
        [Framing.write({} as typeof writer, length, ""), "Framing.write: writer must be a StreamWriter, got object"]
      ]
      for (const [effect, message] of all) {
        assert.include(String(yield* defect(effect)), message)
      }
    }).pipe(Effect.scoped))

  it("isFraming knows one", () => {
    assert.isTrue(Framing.isFraming(length))
    assert.isFalse(Framing.isFraming({}))
  })
})
