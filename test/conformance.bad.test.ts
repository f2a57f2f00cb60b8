/**
 * The conformance kit finds what is wrong with transports and readers that are.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Conformance from "effect-netstreams/Conformance"
import * as Connection from "effect-netstreams/Connection"
import * as NetworkError from "effect-netstreams/NetworkError"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { badTransports } from "./support/badTransports.js"

/** What is said of the rule's cases, all of which end. */
const failures = (cases: ReadonlyArray<Conformance.Case>, rule: string) =>
  Effect.gen(function*() {
    const ofRule = cases.filter((one) => one.rule === rule)
    assert.isAbove(ofRule.length, 0, rule)
    const messages: Array<string> = []
    for (const { name, run } of ofRule) {
      const exit = yield* Effect.exit(run)
      if (exit._tag === "Failure") {
        const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
        assert.instanceOf(error, Conformance.ConformanceError, Cause.pretty(exit.cause))
        assert.strictEqual(error.case, name)
        messages.push(error.message)
      }
    }
    return messages
  })

describe("a transport that", () => {
  for (const [fault, rule, found, make] of badTransports) {
    it.effect(fault, () =>
      Effect.gen(function*() {
        const cases = Conformance.connection(
          (options) =>
            Effect.suspend(() => {
              const [left, right] = make()
              return Effect.all([Connection.fromTransport(left, options), Connection.fromTransport(right, options)])
            }),
          { patience: "3 seconds", size: 200_000, inFlight: 4_000_000 }
        )
        const messages = yield* failures(cases, rule)
        const named = messages.filter((message) => message.startsWith(`the rule "${rule}" is broken: `))
        assert(named.some((message) => found.test(message)), `${found}\n${messages.join("\n")}`)
      }), 60_000)
  }
})

/** Everything else of a good reader, and this that is not. */
type Reader = StreamReader.StreamReader<string>
type Bad = (good: Reader) => Partial<Reader>

const readExactlyByParts = (good: Reader) => (n: number) =>
  Effect.gen(function*() {
    const parts: Array<number> = []
    while (parts.length < n) {
      const part = yield* good.read(n - parts.length)
      if (part.length === 0) {
        break
      }
      parts.push(...Array.from(part))
    }
    return Uint8Array.from(parts)
  })

const badReaders: ReadonlyArray<readonly [name: string, rule: string, found: RegExp, bad: Bad]> = [
  [
    "loses what an interrupted read had",
    "reads give every byte once and in order, however the bytes were cut",
    /with each wait interrupted, read \d+: readExactly/,
    (good) => ({ readExactly: readExactlyByParts(good) })
  ],
  [
    "gives less than was asked for at the end",
    "the end comes after all data, short reads carry what there was, and it is there for ever",
    /readExactly\(9\) comes to "cdef", and should to IncompleteReadError/,
    (good) => ({ readExactly: readExactlyByParts(good) })
  ],
  [
    "counts the separator into the limit",
    "whether a read succeeds or overruns its limit does not depend on how the bytes were cut",
    /readLine comes to LimitOverrunError of 4/,
    (good) => ({
      readLine: Effect.flatMap(good.readLine, (line) =>
        line.length > good.limit
          ? Effect.fail(new NetworkError.LimitOverrunError({ consumed: 5, limit: good.limit - 1, found: true }))
          : Effect.succeed(line))
    })
  ],
  [
    "looks at the limit only where the separator is missing",
    "whether a read succeeds or overruns its limit does not depend on how the bytes were cut",
    /readLine comes to "abcdef\\n", and should to LimitOverrunError of 5/,
    (good) => ({
      readLine: Effect.catchTag(
        good.readLine,
        "LimitOverrunError",
        (error) => error.found ? Effect.orDie(good.readExactly(error.consumed + 1)) : Effect.fail(error)
      )
    })
  ],
  [
    "drops the line with the overrun",
    "nothing is dropped in silence: an overrun leaves the buffer as it was",
    /readExactly\(5\) comes to/,
    (good) => ({
      readLine: Effect.tapErrorTag(
        good.readLine,
        "LimitOverrunError",
        (error) => Effect.orDie(good.readExactly(error.consumed))
      )
    })
  ],
  [
    "takes the separator that comes first in the list",
    "the match that ends first ends the read, and of two that end together the longer",
    /readUntil/,
    (good) => ({
      readUntil: (separator) => good.readUntil(Array.isArray(separator) ? separator[0] : separator)
    })
  ],
  [
    "fails at once when the source does",
    "what was received is delivered before the failure that came after it",
    /the failure of the source, and should to "one/,
    (good) => ({
      readLine: Effect.flatMap(Effect.exit(good.peek(100)), (exit) => exit._tag === "Failure" ? exit : good.readLine)
    })
  ],
  [
    "consumes what it looks at",
    "peek consumes nothing, and what is unread is read next",
    /readExactly\(2\) comes to/,
    (good) => ({ peek: (n) => good.read(n) })
  ],
  [
    "knows one order of bytes",
    "a number is read as DataView reads it",
    /readUint16\(true\) comes to 258, and should to 513/,
    (good) => ({ readUint16: Object.assign(() => good.readUint16, good.readUint16) })
  ],
  [
    "lets reads queue up",
    "one read waits at a time, and a second one does not disturb it",
    /a second read does not end/,
    (good) => {
      const one = Effect.unsafeMakeSemaphore(1).withPermits(1)
      return {
        readExactly: (n) => one(good.readExactly(n)),
        readLine: one(good.readLine),
        read: (n) => one(good.read(n)),
        readAll: () => one(good.readAll())
      }
    }
  ],
  [
    "ends a line at any white space",
    "lines are found, decoded and ended alike, however the bytes were cut",
    /lines\(\) comes to/,
    (good) => ({
      lines: (options?: StreamReader.LinesOptions) => Stream.map(good.lines(options as {}), (line) => line.trim())
    })
  ],
  [
    "hides that it has read ahead",
    "a stream of lines that reads ahead takes the reader over; the others leave the rest",
    /readLine comes to/,
    (good) => ({ lines: () => good.lines({ readAhead: false }) })
  ],
  [
    "ends for ever with the first end",
    "the end comes after all data, short reads carry what there was, and it is there for ever",
    /readLine .*does not end|comes to/,
    (good) => {
      let ended = false
      return {
        readLine: Effect.suspend(() =>
          ended ? Effect.never : Effect.tap(good.readLine, (line) =>
            Effect.sync(() => {
              ended = line.length === 0
            }))
        )
      }
    }
  ]
]

describe("a reader that", () => {
  for (const [fault, rule, found, bad] of badReaders) {
    it.effect(fault, () =>
      Effect.gen(function*() {
        const cases = Conformance.reader<string, never, never>(
          (options) =>
            Effect.map(StreamReader.make<string>(options), ({ feed, reader }) => ({
              feed,
              reader: Object.create(reader, Object.getOwnPropertyDescriptors(bad(reader))) as Reader
            })),
          { failure: "boom", patience: "3 seconds" }
        )
        const messages = yield* failures(cases, rule)
        const named = messages.filter((message) => message.startsWith(`the rule "${rule}" is broken: `))
        assert(named.some((message) => found.test(message)), `${found}\n${messages.join("\n")}`)
      }), 60_000)
  }
})

describe("the kit", () => {
  const good = StreamReader.make<string>()

  it.effect("ends where the pair is never made", () =>
    Effect.gen(function*() {
      const [first] = Conformance.connection(Effect.never, { patience: "1 second" })
      assert.match((yield* Effect.flip(first!.run)).message, /makePair does not end/)
    }))

  it.effect("passes on why no pair could be made", () =>
    Effect.gen(function*() {
      const [first] = Conformance.connection(Effect.fail("no network"))
      assert.strictEqual(yield* Effect.flip(first!.run), "no network")
      const [reader] = Conformance.reader<string, string, never>(() => Effect.fail("no reader"))
      assert.strictEqual(yield* Effect.flip(reader!.run), "no reader")
    }))

  it.effect("ends where the scope does not", () =>
    Effect.gen(function*() {
      const [first] = Conformance.reader<string, never, Scope.Scope>(
        () => Effect.zipLeft(good, Effect.addFinalizer(() => Effect.never)),
        { patience: "1 second" }
      )
      const error = yield* Effect.flip(first!.run)
      assert.strictEqual(error.rule, "what a scope ends is over in bounded time")
      assert.match(error.message, /the end of the scope .* does not end/)
    }))

  it.effect("interrupts what it has begun when it is interrupted itself", () =>
    Effect.gen(function*() {
      let closed = false
      let asked = false
      const cases = Conformance.reader<string, never, Scope.Scope>(() =>
        Effect.gen(function*() {
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              closed = true
            })
          )
          const { feed, reader } = yield* good
          const waits = Effect.suspend(() => {
            asked = true
            return Effect.never
          })
          return { feed, reader: Object.create(reader, { readExactly: { value: () => waits } }) as Reader }
        })
      )
      const fiber = yield* Effect.fork(cases[0]!.run)
      while (!asked) {
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      yield* Fiber.interrupt(fiber)
      assert.isTrue(closed)
    }))

  it("leaves out what a transport can't do", () => {
    const names = (options: Conformance.ConnectionOptions) =>
      Conformance.connection(Effect.never, options).map(({ name }) => name)
    const all = names({})
    assert.strictEqual(new Set(all).size, all.length, "two cases have one name")
    assert.include(all, "a reset after data (left)")
    assert.notInclude(names({ reset: false }), "a reset after data (left)")
    assert.include(all, "after writeEof, the other direction goes on (right)")
    assert.notInclude(names({ halfClose: false }), "after writeEof, the other direction goes on (right)")
    const readers = Conformance.reader<string, never, never>(() => good)
    assert.notInclude(readers.map(({ name }) => name), "data before a failure")
  })
})
