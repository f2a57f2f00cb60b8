import { assert, describe, it } from "@effect/vitest"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { latin1, Random, toLatin1 } from "./support/chunkings.js"
import {
  type Boom,
  boom,
  interruptNow,
  outcome,
  outcomeOfFiber,
  type Read,
  settled,
  started
} from "./support/reader.js"
import { ReaderReference, value, waits } from "./support/readerReference.js"

/** A read, and what it has to come to. */
interface Twin {
  readonly name: string
  readonly read: Read
  readonly expected: (reference: ReaderReference) => string
}

const separators: ReadonlyArray<StreamReader.Separator & (string | ReadonlyArray<string>)> = [
  "\n",
  "\r\n",
  ["\n", "\r\n"],
  "ab",
  ["ab", "b"],
  "aba"
]

const readTwin = (random: Random): Twin => {
  const n = random.between(0, 12)
  const separator = random.pick(separators)
  const all = typeof separator === "string" ? [separator] : separator
  return random.pick<Twin>([
    { name: `read(${n})`, read: (reader) => reader.read(n), expected: (reference) => reference.read(n) },
    {
      name: `readInto(${n})`,
      read: (reader) =>
        Effect.suspend(() => {
          const buffer = new Uint8Array(n)
          return Effect.map(reader.readInto(buffer), (size) => toLatin1(buffer.subarray(0, size)))
        }),
      // The reference says the number as well, which is the length.
      expected: (reference) => reference.readInto(n).replace(/^\d+ /, "")
    },
    {
      name: `readAll(${n})`,
      read: (reader) => reader.readAll({ maxBytes: n }),
      expected: (reference) => reference.readAll(n)
    },
    {
      name: `readExactly(${n})`,
      read: (reader) => reader.readExactly(n),
      expected: (reference) => reference.readExactly(n)
    },
    { name: `peek(${n})`, read: (reader) => reader.peek(n), expected: (reference) => reference.peek(n) },
    { name: "readLine", read: (reader) => reader.readLine, expected: (reference) => reference.readLine() },
    {
      name: `readUntil(${JSON.stringify(separator)})`,
      read: (reader) => reader.readUntil(separator),
      expected: (reference) => reference.readUntil(all)
    },
    {
      name: "readUint16",
      read: (reader) => Effect.map(reader.readUint16, (n) => String.fromCharCode(n >> 8, n & 255)),
      expected: (reference) => reference.readExactly(2)
    }
  ])
}

/**
 * A random session: data arrives, reads begin, wait, are interrupted and begin again, bytes are put back, until the
 * source ends, in step with the reference. Ends with everything read.
 */
const session = (seed: number) =>
  Effect.gen(function*() {
    const random = new Random(seed)
    const limit = random.between(1, 8)
    const { feed, reader } = yield* StreamReader.make<Boom>({ limit })
    const reference = new ReaderReference(limit)
    const log: Array<string> = [`limit ${limit}`]
    let waiting: { readonly twin: Twin; readonly fiber: Fiber.RuntimeFiber<unknown, unknown> } | undefined

    const check = (actual: string, expected: string) =>
      assert.strictEqual(actual, expected, `seed ${seed}: ${log.join(", ")}`)

    const checkWaiting = Effect.gen(function*() {
      if (waiting === undefined) {
        return
      }
      const expected = waiting.twin.expected(reference)
      yield* settled
      check(yield* outcomeOfFiber(waiting.fiber), expected)
      if (expected !== waits) {
        waiting = undefined
      }
    })

    const arrive = Effect.gen(function*() {
      const text = random.text(random.between(1, 6), "ab\r\nx")
      log.push(`feed ${value(text)}`)
      reference.rest += text
      yield* feed.data(latin1(text))
    })

    const begin = Effect.gen(function*() {
      const twin = readTwin(random)
      log.push(twin.name)
      const expected = twin.expected(reference)
      if (expected !== waits) {
        const style = random.chance(0.5)
        const read = twin.read(reader)
        return check(
          yield* outcome(
            style ? read : Effect.gen(function*() {
              return yield* read
            })
          ),
          expected
        )
      }
      if (waiting !== undefined) {
        return check(yield* outcome(twin.read(reader)), "dies with ConcurrentReadError")
      }
      waiting = { twin, fiber: yield* started(twin.read(reader)) }
      check(yield* outcomeOfFiber(waiting.fiber), waits)
    })

    const interrupt = Effect.gen(function*() {
      if (waiting === undefined) {
        return
      }
      log.push("interrupt")
      yield* random.chance(0.5) ? Fiber.interrupt(waiting.fiber) : interruptNow(waiting.fiber)
      waiting = undefined
    })

    const unread = Effect.gen(function*() {
      const text = random.text(random.between(0, 3), "ab\r\nx")
      log.push(`unread ${value(text)}`)
      reference.unread(text)
      yield* reader.unread(latin1(text))
    })

    for (let step = 0; step < 40; step++) {
      const what = random.next()
      if (what < 0.35) {
        if (reference.end === "open") {
          yield* arrive
        }
      } else if (what < 0.8) {
        yield* begin
      } else if (what < 0.9) {
        yield* interrupt
      } else if (what < 0.96) {
        yield* unread
      } else if (step > 20 && reference.end === "open") {
        reference.end = random.chance(0.7) ? "eof" : "failed"
        log.push(reference.end)
        yield* reference.end === "eof" ? feed.eof : feed.fail(boom)
      }
      yield* checkWaiting
    }
    yield* interrupt
    check(yield* outcome(reader.peek(reference.rest.length)), value(reference.rest))
  })

describe("StreamReader, random sessions", () => {
  for (let from = 0; from < 400; from += 100) {
    it.effect(`give what the reference gives, seeds ${from} to ${from + 99}`, () =>
      Effect.all(Array.from({ length: 100 }, (_, i) => session(from + i)), { concurrency: "unbounded", discard: true }))
  }
})
