/**
 * The cases of a reader: sessions of reads over given bytes, each with what every read has to come to.
 *
 * A session is run over all cuts of its bytes into chunks, and in three ways: with everything there before the first
 * read, with the chunks arriving one by one while the reads wait, and so again with every wait interrupted and asked
 * anew. What the reads come to is the same each time.
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { IncompleteReadError, LimitOverrunError } from "../../NetworkError.js"
import type * as StreamReader from "../../StreamReader.js"
import { eventLoopTurn } from "../eventLoopTurn.js"
import type { ConformanceError } from "./conformanceError.js"
import { chunkings } from "./pattern.js"
import { defectOf, outcomeOf, type Trial } from "./trial.js"

type Reader = StreamReader.StreamReader<any>

export interface Fed {
  readonly reader: Reader
  readonly feed: StreamReader.Feed<any>
}

interface Step {
  readonly name: string
  /** `memory` outlives an interruption of the step. */
  readonly read: (reader: Reader, memory: Array<string>) => Effect.Effect<unknown, unknown>
  readonly gives: string
}

export interface Session {
  readonly name: string
  readonly rule: string
  /** One character a byte. */
  readonly input: string
  readonly end: "open" | "eof" | "failure"
  readonly limit?: number | undefined
  readonly steps: ReadonlyArray<Step>
  /** Whether its waits may be interrupted without a change in what it comes to: true. */
  readonly resumable?: boolean | undefined
}

/** Makes a reader in the scope of the case. */
export type MakeFed = (options: StreamReader.Options) => Effect.Effect<Fed, ConformanceError>

// -----------------------------------------------------------------------------
// outcomes, as texts
// -----------------------------------------------------------------------------

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0))
const textOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")

const value = (text: string): string => JSON.stringify(text)
const list = (...texts: ReadonlyArray<string>): string => JSON.stringify(texts)
const incomplete = (partial: string, expected?: number): string =>
  `IncompleteReadError with ${value(partial)} of ${expected ?? "any"}`
const overrun = (limit: number): string => `LimitOverrunError of ${limit}`
const failure = "the failure of the source"

const outcome = (exit: Exit.Exit<unknown, unknown>, given: unknown): string => {
  if (Exit.isSuccess(exit)) {
    const success = exit.value
    return success instanceof Uint8Array
      ? value(textOf(success))
      : Chunk.isChunk(success)
      ? list(...Chunk.toReadonlyArray(success).map((one) => one instanceof Uint8Array ? textOf(one) : String(one)))
      : Array.isArray(success)
      ? list(...success)
      : String(success)
  }
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  return error instanceof IncompleteReadError
    ? incomplete(textOf(error.partial), Option.getOrUndefined(error.expected))
    : error instanceof LimitOverrunError
    // Whether the separator had come yet is a matter of time.
    ? error.consumed > error.limit || error.operation === "readAll"
      ? overrun(error.limit)
      : `LimitOverrunError of ${error.limit} after ${error.consumed} bytes, which are within it`
    : error !== undefined && (error === given || Equal.equals(error, given))
    ? failure
    : error === undefined && Cause.isDie(exit.cause)
    ? `dies with ${defectOf(exit)}`
    : outcomeOf(exit)
}

// -----------------------------------------------------------------------------
// steps
// -----------------------------------------------------------------------------

const exactly = (n: number, gives: string): Step => ({
  name: `readExactly(${n})`,
  read: (reader) => reader.readExactly(n),
  gives
})
const until = (separator: StreamReader.Separator, gives: string): Step => ({
  name: `readUntil(${JSON.stringify(separator)})`,
  read: (reader) => reader.readUntil(separator),
  gives
})
const line = (gives: string): Step => ({ name: "readLine", read: (reader) => reader.readLine, gives })
const all = (gives: string): Step => ({ name: "readAll", read: (reader) => reader.readAll(), gives })
const allWithin = (maxBytes: number, gives: string): Step => ({
  name: `readAll({ maxBytes: ${maxBytes} })`,
  read: (reader) => reader.readAll({ maxBytes }),
  gives
})
const peek = (n: number, gives: string): Step => ({ name: `peek(${n})`, read: (reader) => reader.peek(n), gives })
const read = (n: number, gives: string): Step => ({ name: `read(${n})`, read: (reader) => reader.read(n), gives })
const atEof = (gives: boolean): Step => ({ name: "atEof", read: (reader) => reader.atEof, gives: String(gives) })
const unread = (text: string): Step => ({
  name: `unread(${JSON.stringify(text)})`,
  read: (reader) => reader.unread(bytesOf(text)),
  gives: "undefined"
})
const skip = (separator: StreamReader.Separator): Step => ({
  name: `skipUntil(${JSON.stringify(separator)})`,
  read: (reader) => Effect.as(reader.skipUntil(separator), "skipped"),
  gives: "skipped"
})
const skipCounting = (separator: StreamReader.Separator, gives: string): Step => ({
  name: `skipUntil(${JSON.stringify(separator)})`,
  read: (reader) => reader.skipUntil(separator),
  gives
})

const number = (
  name: "readUint8" | "readInt8" | "readUint16" | "readInt16" | "readUint32" | "readInt32" | "readBigUint64",
  gives: string,
  littleEndian?: boolean
): Step => ({
  name: littleEndian === undefined ? name : `${name}(${littleEndian})`,
  read: (reader) =>
    littleEndian === undefined ? reader[name] as Effect.Effect<unknown, unknown> : reader[name](littleEndian),
  gives
})

/** Everything that is left, in reads of a few bytes. */
const readsOf = (size: number, gives: string): Step => ({
  name: `read(${size}) until there is no more`,
  read: (reader, memory) =>
    Effect.iterate(true, {
      while: (more) => more,
      body: () =>
        Effect.map(reader.read(size), (bytes) => {
          memory.push(textOf(bytes))
          return bytes.length > 0
        })
    }).pipe(Effect.as(memory), Effect.map((memory) => bytesOf(memory.join("")))),
  gives
})

const readsInto = (size: number, gives: string): Step => ({
  name: `readInto a buffer of ${size} until there is no more`,
  read: (reader, memory) => {
    const buffer = new Uint8Array(size)
    return Effect.iterate(true, {
      while: (more) => more,
      body: () =>
        Effect.map(reader.readInto(buffer), (n) => {
          memory.push(textOf(buffer.subarray(0, n)))
          return n > 0
        })
    }).pipe(Effect.as(memory), Effect.map((memory) => bytesOf(memory.join(""))))
  },
  gives
})

const bytes = (gives: string): Step => ({
  name: "bytes",
  read: (reader, memory) =>
    Stream.runForEach(reader.bytes, (bytes) => Effect.sync(() => memory.push(textOf(bytes)))).pipe(
      Effect.map(() => bytesOf(memory.join("")))
    ),
  gives
})

const eachLine = (gives: string, options?: StreamReader.LinesOptions): Step => ({
  name: `forEachLine(${options === undefined ? "" : JSON.stringify(options)})`,
  read: (reader, memory) =>
    Effect.as(
      reader.forEachLine((line) => {
        memory.push(line)
      }, options),
      memory
    ),
  gives
})

const lines = (gives: string, options?: StreamReader.LinesOptions): Step => ({
  name: `lines(${options === undefined ? "" : JSON.stringify(options)})`,
  read: (reader) => Stream.runCollect(reader.lines(options as StreamReader.LinesOptions)),
  gives
})

const firstLines = (count: number, gives: string): Step => ({
  name: `${count} of lines({ readAhead: false })`,
  read: (reader) => Stream.runCollect(Stream.take(reader.lines({ readAhead: false }), count)),
  gives
})

const byteLines = (gives: string, options?: StreamReader.ByteLinesOptions): Step => ({
  name: `byteLines(${options === undefined ? "" : JSON.stringify(options)})`,
  read: (reader) => Stream.runCollect(reader.byteLines(options as StreamReader.ByteLinesOptions)),
  gives
})

// -----------------------------------------------------------------------------
// sessions
// -----------------------------------------------------------------------------

const wholeRule = "reads give every byte once and in order, however the bytes were cut"
const limitRule = "whether a read succeeds or overruns its limit does not depend on how the bytes were cut"
const keepRule = "nothing is dropped in silence: an overrun leaves the buffer as it was"
const separatorRule = "the match that ends first ends the read, and of two that end together the longer"
const endRule = "the end comes after all data, short reads carry what there was, and it is there for ever"
const failureRule = "what was received is delivered before the failure that came after it"
const numberRule = "a number is read as DataView reads it"
const linesRule = "lines are found, decoded and ended alike, however the bytes were cut"
const peekRule = "peek consumes nothing, and what is unread is read next"
const placeRule = "one read waits at a time, and a second one does not disturb it"
const readAheadRule = "a stream of lines that reads ahead takes the reader over; the others leave the rest"

/** @internal */
export const sessions: ReadonlyArray<Session> = [
  {
    name: "reads by length",
    rule: wholeRule,
    input: "abcdefghij",
    end: "eof",
    steps: [exactly(3, value("abc")), exactly(0, value("")), exactly(6, value("defghi")), readsOf(3, value("j"))]
  },
  {
    name: "reads of what there is",
    rule: wholeRule,
    input: "abcdefghij",
    end: "eof",
    steps: [read(0, value("")), readsOf(4, value("abcdefghij")), atEof(true)]
  },
  {
    name: "reads into a buffer",
    rule: wholeRule,
    input: "abcdefghij",
    end: "eof",
    steps: [exactly(1, value("a")), readsInto(4, value("bcdefghij")), atEof(true)]
  },
  {
    name: "everything",
    rule: wholeRule,
    input: "abc\r\n\0\xff\n",
    end: "eof",
    steps: [all(value("abc\r\n\0\xff\n")), all(value("")), atEof(true)]
  },
  {
    name: "the stream of bytes",
    rule: wholeRule,
    input: "abcdefghij",
    end: "eof",
    steps: [exactly(2, value("ab")), bytes(value("cdefghij")), atEof(true)]
  },
  {
    name: "reads of all kinds, one after another",
    rule: wholeRule,
    input: "line\nhead\r\n\r\n\x00\x05bodyXtail",
    end: "eof",
    steps: [
      line(value("line\n")),
      until("\r\n\r\n", value("head\r\n\r\n")),
      number("readUint16", "5"),
      exactly(4, value("body")),
      skip("X"),
      peek(2, value("ta")),
      all(value("tail"))
    ]
  },
  {
    name: "a line as long as the limit",
    rule: limitRule,
    input: "abcde\nfghij\n",
    end: "open",
    limit: 5,
    steps: [line(value("abcde\n")), until("\n", value("fghij\n"))]
  },
  {
    name: "a line longer than the limit by one",
    rule: limitRule,
    input: "abcdef\nghi\n",
    end: "open",
    limit: 5,
    steps: [line(overrun(5)), line(overrun(5)), until("\n", overrun(5)), skip("\n"), line(value("ghi\n"))]
  },
  {
    name: "an overrun keeps what there is",
    rule: keepRule,
    input: "abcdefgh\nij\n",
    end: "eof",
    limit: 3,
    steps: [
      line(overrun(3)),
      exactly(5, value("abcde")),
      line(value("fgh\n")),
      line(value("ij\n")),
      line(value(""))
    ]
  },
  {
    name: "no separator, and more than the limit, before the end is looked at",
    rule: limitRule,
    input: "abcdef",
    end: "eof",
    limit: 5,
    steps: [until("\n", overrun(5)), line(overrun(5)), all(value("abcdef"))]
  },
  {
    name: "no separator, and more than the limit, before it can come",
    rule: limitRule,
    input: "abcdef",
    end: "open",
    limit: 5,
    steps: [line(overrun(5)), until("\n", overrun(5)), exactly(6, value("abcdef"))]
  },
  {
    name: "no separator, and as much as the limit",
    rule: limitRule,
    input: "abcde",
    end: "eof",
    limit: 5,
    steps: [line(value("abcde")), line(value(""))]
  },
  {
    name: "the limit before a separator of two bytes",
    rule: limitRule,
    input: "abc\r\nabcd\r\nabc\rabc\r\n",
    end: "open",
    limit: 3,
    steps: [
      until("\r\n", value("abc\r\n")),
      until("\r\n", overrun(3)),
      exactly(6, value("abcd\r\n")),
      until("\r\n", overrun(3)),
      skip("\r\n")
    ]
  },
  {
    name: "reads beyond the limit that are asked for",
    rule: limitRule,
    input: "abcdefghijklmnop",
    end: "eof",
    limit: 2,
    steps: [exactly(7, value("abcdefg")), peek(8, value("hijklmno")), all(value("hijklmnop"))]
  },
  {
    name: "the bound of readAll",
    rule: limitRule,
    input: "abcdef",
    end: "eof",
    steps: [allWithin(5, overrun(5)), allWithin(5, overrun(5)), allWithin(6, value("abcdef"))]
  },
  {
    name: "separators that begin alike",
    rule: separatorRule,
    input: "a\r\r\nb\n\r\nc\r",
    end: "eof",
    steps: [
      until(["\r\n", "\n"], value("a\r\r\n")),
      until(["\r\n", "\n"], value("b\n")),
      until(["\r\n", "\n"], value("\r\n")),
      until(["\r\n", "\n"], incomplete("c\r"))
    ]
  },
  {
    name: "separators that end together, and overlap",
    rule: separatorRule,
    input: "xabcd-abd-bcab",
    end: "eof",
    limit: 3,
    steps: [
      // "abc" and "bc" end together: the longer begins after one byte, the other after two.
      until(["abc", "bc"], value("xabc")),
      until(["d"], value("d")),
      until(["-a", "a"], value("-a")),
      until(["bcd", "-b"], value("bd-b")),
      until(["cab", "b"], value("cab"))
    ]
  },
  {
    name: "a separator within itself",
    rule: separatorRule,
    input: "aaabaabaaab",
    end: "eof",
    steps: [until("aab", value("aaab")), until("aaab", value("aabaaab")), until("b", incomplete(""))]
  },
  {
    name: "dropping through a separator",
    rule: separatorRule,
    input: "abcdefgh\r\r\nij\r\nkl",
    end: "eof",
    limit: 2,
    resumable: false,
    steps: [skipCounting("\r\n", "11"), exactly(1, value("i")), skipCounting(["\n", "\r\n"], "3"), all(value("kl"))]
  },
  {
    name: "the end of lines",
    rule: endRule,
    input: "one\ntwo",
    end: "eof",
    steps: [line(value("one\n")), line(value("two")), line(value("")), line(value("")), atEof(true)]
  },
  {
    name: "the end before enough",
    rule: endRule,
    input: "abcdef",
    end: "eof",
    steps: [
      exactly(2, value("ab")),
      exactly(9, incomplete("cdef", 9)),
      exactly(1, incomplete("", 1)),
      until("\n", incomplete("")),
      read(10, value("")),
      atEof(true)
    ]
  },
  {
    name: "the end before a separator",
    rule: endRule,
    input: "abc\r",
    end: "eof",
    steps: [peek(9, value("abc\r")), atEof(false), until("\r\n", incomplete("abc\r")), all(value("")), atEof(true)]
  },
  {
    name: "the end of nothing",
    rule: endRule,
    input: "",
    end: "eof",
    steps: [
      read(10, value("")),
      line(value("")),
      all(value("")),
      peek(1, value("")),
      exactly(1, incomplete("", 1)),
      lines(list()),
      read(10, value("")),
      atEof(true)
    ]
  },
  {
    name: "data before a failure",
    rule: failureRule,
    input: "one\ntwo\nthr",
    end: "failure",
    steps: [
      line(value("one\n")),
      exactly(4, value("two\n")),
      line(failure),
      exactly(4, failure),
      until("\n", failure),
      all(failure),
      peek(4, failure),
      peek(3, value("thr")),
      exactly(3, value("thr")),
      read(10, failure),
      line(failure),
      atEof(false)
    ]
  },
  {
    name: "lines before a failure",
    rule: failureRule,
    input: "one\ntwo\nthr",
    end: "failure",
    steps: [eachLine(failure), exactly(3, value("thr")), read(1, failure)]
  },
  {
    name: "numbers, big-endian",
    rule: numberRule,
    input: "\xff\x80\x01\x02\xff\xfe\x00\x00\x01\x00\xff\xff\xff\xff\x00\x00\x00\x00\x00\x01\x00\x02",
    end: "eof",
    steps: [
      number("readUint8", "255"),
      number("readInt8", "-128"),
      number("readUint16", "258"),
      number("readInt16", "-2"),
      number("readUint32", "256"),
      number("readInt32", "-1"),
      number("readBigUint64", "65538"),
      number("readUint8", incomplete("", 1))
    ]
  },
  {
    name: "numbers, little-endian",
    rule: numberRule,
    input: "\x01\x02\xfe\xff\x01\x00\x00\x00\x02\x00\x01\x00\x00\x00\x00\x00\x01\x02\x03",
    end: "eof",
    steps: [
      number("readUint16", "513", true),
      number("readInt16", "-2", true),
      number("readUint32", "1", true),
      number("readBigUint64", "65538", true),
      number("readInt32", incomplete("\x01\x02\x03", 4), true)
    ]
  },
  {
    name: "looking ahead, and putting back",
    rule: peekRule,
    input: "abcdef",
    end: "eof",
    steps: [
      peek(4, value("abcd")),
      exactly(2, value("ab")),
      unread("xy"),
      peek(3, value("xyc")),
      until("d", value("xycd")),
      unread("1\n"),
      line(value("1\n")),
      peek(9, value("ef")),
      all(value("ef"))
    ]
  },
  {
    name: "lines of text",
    rule: linesRule,
    input: "one\r\n\ntwo\rthree\n\r\nfour\r",
    end: "eof",
    resumable: false,
    steps: [lines(list("one", "", "two\rthree", "", "four\r")), atEof(true)]
  },
  {
    name: "lines of characters of several bytes",
    rule: linesRule,
    // "ü€\n😀\r\n" and two bytes that begin a character which never ends.
    input: "\xc3\xbc\xe2\x82\xac\n\xf0\x9f\x98\x80\r\n\xe2\x82",
    end: "eof",
    resumable: false,
    steps: [lines(list("ü€", "😀", "\ufffd"))]
  },
  {
    name: "lines that are too long, and fail",
    rule: linesRule,
    input: "ab\nabcdef\nc\n",
    end: "eof",
    limit: 4,
    steps: [eachLine(overrun(4)), skip("\n"), eachLine(list("c"))]
  },
  {
    name: "lines that are too long, and are skipped",
    rule: linesRule,
    input: "ab\nabcdef\nabcd\nabcde\r\nc\nabcdefgh",
    end: "eof",
    resumable: false,
    steps: [lines(list("ab", "abcd", "c"), { maxLength: 4, onOverrun: "skip" })]
  },
  {
    name: "lines that are too long, and are cut short",
    rule: linesRule,
    input: "ab\nabcdef\nabcd\r\nc\nabcdefgh",
    end: "eof",
    resumable: false,
    steps: [lines(list("ab", "abcd", "abcd", "c", "abcd"), { maxLength: 4, onOverrun: "truncate" })]
  },
  {
    name: "a last line that is dropped",
    rule: linesRule,
    input: "one\ntwo",
    end: "eof",
    resumable: false,
    steps: [lines(list("one"), { lastLine: "drop" }), atEof(true)]
  },
  {
    name: "a last line that fails",
    rule: linesRule,
    input: "one\ntwo",
    end: "eof",
    steps: [eachLine(incomplete("two"), { lastLine: "fail" }), atEof(true)]
  },
  {
    name: "lines of bytes",
    rule: linesRule,
    input: "one\r\n\ntwo",
    end: "eof",
    resumable: false,
    steps: [byteLines(list("one\r\n", "\n", "two")), atEof(true)]
  },
  {
    name: "lines one by one",
    rule: readAheadRule,
    input: "one\ntwo\nthree\nfour",
    end: "eof",
    resumable: false,
    steps: [firstLines(2, list("one", "two")), line(value("three\n")), all(value("four"))]
  },
  {
    name: "lines that were read ahead are not read again in silence",
    rule: readAheadRule,
    input: "one\ntwo\nthree\n",
    end: "eof",
    resumable: false,
    steps: [
      {
        name: "one of lines()",
        read: (reader) => Stream.runCollect(Stream.take(reader.lines(), 1)),
        gives: list("one")
      },
      line("dies with ReadAheadError")
    ]
  }
]

// -----------------------------------------------------------------------------
// running them
// -----------------------------------------------------------------------------

const end = (fed: Fed, session: Session, failure: unknown): Effect.Effect<void> =>
  session.end === "eof" ? fed.feed.eof : session.end === "failure" ? fed.feed.fail(failure) : Effect.void

const check = (
  t: Trial,
  session: Session,
  step: number,
  how: string,
  exit: Exit.Exit<unknown, unknown>,
  failure: unknown
): Effect.Effect<void, ConformanceError> => {
  const { gives, name } = session.steps[step]!
  const found = outcome(exit, failure)
  return t.check(
    found === gives,
    () => `${where(session, step, how)}: ${name} comes to ${found}, and should to ${gives}`
  )
}

const where = (session: Session, step: number, how: string): string =>
  `of ${JSON.stringify(session.input)}${
    session.limit === undefined ? "" : ` with a limit of ${session.limit}`
  }, ${how}, ` +
  `read ${step + 1}`

const feedAll = (t: Trial, fed: Fed, chunks: ReadonlyArray<Uint8Array>, how: string, between: Effect.Effect<void>) =>
  Effect.forEach(chunks, (chunk) => Effect.zipRight(t.result(`feed.data, ${how},`, fed.feed.data(chunk)), between), {
    discard: true
  })

/** What runs a session's steps, and feeds it in between. */
type Mode = (
  t: Trial,
  fed: Fed,
  session: Session,
  chunks: ReadonlyArray<Uint8Array>,
  how: string,
  failure: unknown
) => Effect.Effect<void, ConformanceError>

const readSteps: Mode = (t, fed, session, _chunks, how, failure) =>
  Effect.forEach(session.steps, ({ name, read }, step) =>
    Effect.flatMap(
      t.exit(`${where(session, step, how)}: ${name}`, read(fed.reader, [])),
      (exit) => check(t, session, step, how, exit, failure)
    ), { discard: true })

const before: Mode = (t, fed, session, chunks, how, failure) =>
  Effect.gen(function*() {
    yield* feedAll(t, fed, chunks, how, Effect.void)
    yield* t.result(`the end, ${how},`, end(fed, session, failure))
    yield* readSteps(t, fed, session, chunks, how, failure)
  })

const meanwhile: Mode = (t, fed, session, chunks, how, failure) =>
  Effect.gen(function*() {
    const feeding = yield* t.begin(
      "the feeding",
      Effect.zipRight(
        eventLoopTurn,
        Effect.zipRight(feedAll(t, fed, chunks, how, eventLoopTurn), end(fed, session, failure))
      )
    )
    yield* readSteps(t, fed, session, chunks, how, failure)
    yield* feeding.result
  })

const interrupted: Mode = (t, fed, session, chunks, how, failure) =>
  Effect.gen(function*() {
    const feeding = chunks.map((chunk) => fed.feed.data(chunk))
    feeding.push(end(fed, session, failure))
    for (let step = 0; step < session.steps.length; step++) {
      const { name, read } = session.steps[step]!
      const memory: Array<string> = []
      const what = `${where(session, step, how)}: ${name}`
      for (;;) {
        const reading = yield* t.begin(what, read(fed.reader, memory))
        yield* eventLoopTurn
        // With nothing left to feed, it has to end by itself.
        const exit = yield* (feeding.length === 0 || reading.isDone() ? reading.exit : reading.interrupt)
        if (Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)) {
          yield* t.result(`feed, ${how},`, feeding.shift() ?? Effect.void)
          continue
        }
        yield* check(t, session, step, how, exit, failure)
        break
      }
    }
  })

const modes: ReadonlyArray<readonly [name: string, mode: Mode]> = [
  ["before the reads", before],
  ["while the reads wait", meanwhile],
  ["with each wait interrupted", interrupted]
]

/** @internal */
export const runSession = (
  t: Trial,
  make: MakeFed,
  session: Session,
  seed: number,
  failure: unknown
): Effect.Effect<void, ConformanceError> =>
  Effect.forEach(
    chunkings(bytesOf(session.input), seed),
    ({ chunks, name }) =>
      Effect.forEach(modes, ([when, mode]) =>
        mode === interrupted && session.resumable === false
          ? Effect.void
          : Effect.flatMap(make({ limit: session.limit }), (fed) =>
            mode(t, fed, session, chunks, `${name}, ${when}`, failure)), { discard: true }),
    { discard: true }
  )

export interface ReaderDefinition {
  readonly name: string
  readonly rule: string
  readonly needs?: "failure" | undefined
  readonly body: (t: Trial, make: MakeFed, seed: number, failure: unknown) => Effect.Effect<void, ConformanceError>
}

const placeCases: ReadonlyArray<ReaderDefinition> = [
  {
    name: "a second read dies, and the first gets its bytes",
    rule: placeRule,
    body: (t, make) =>
      Effect.gen(function*() {
        const { feed, reader } = yield* make({})
        const first = yield* t.beginWaiting("readExactly(6)", reader.readExactly(6))
        for (const second of [reader.read(1), reader.readLine, reader.readAll(), reader.peek(1), reader.readUint8]) {
          const exit = yield* t.exit("a second read", second as Effect.Effect<unknown, unknown>)
          yield* t.check(
            defectOf(exit) === "ConcurrentReadError",
            () => `a second read should die with ConcurrentReadError, but ${outcomeOf(exit)}`
          )
        }
        yield* feed.data(bytesOf("first!rest"))
        yield* feed.eof
        const got = outcome(yield* first.exit, undefined)
        yield* t.check(got === value("first!"), () => `the first read comes to ${got}`)
        const rest = outcome(yield* t.exit("readAll", reader.readAll()), undefined)
        yield* t.check(rest === value("rest"), () => `the next read comes to ${rest}`)
      })
  },
  {
    name: "an interrupted read frees its place at once",
    rule: placeRule,
    body: (t, make) =>
      Effect.gen(function*() {
        const { feed, reader } = yield* make({})
        for (let i = 0; i < 3; i++) {
          const first = yield* t.beginWaiting("readLine", reader.readLine)
          yield* first.interrupt
        }
        const second = yield* t.beginWaiting("readLine after one that was interrupted", reader.readLine)
        yield* feed.data(bytesOf("line\n"))
        const got = outcome(yield* second.exit, undefined)
        yield* t.check(got === value("line\n"), () => `readLine after one that was interrupted comes to ${got}`)
      })
  }
]

/** @internal */
export const definitions: ReadonlyArray<ReaderDefinition> = [
  ...sessions.map((session): ReaderDefinition => ({
    name: session.name,
    rule: session.rule,
    needs: session.end === "failure" ? "failure" : undefined,
    body: (t, make, seed, failure) => runSession(t, make, session, seed, failure)
  })),
  ...placeCases
]
