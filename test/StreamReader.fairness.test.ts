import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { latin1 } from "./support/chunkings.js"
import { fed, isRunning, type Reader } from "./support/reader.js"

/** How many reads may pass before others get their turn. */
const bound = 10_000

/** Forty chunks, as a fast peer fills the buffer: 400 000 lines of 8 bytes. */
const lines = latin1("line  x\n".repeat(10_000))
const chunks = 40

const full = Effect.gen(function*() {
  const { feed, reader } = yield* fed("")
  for (let i = 0; i < chunks; i++) {
    yield* feed.data(lines)
  }
  return reader
})

/** Reads for ever, and counts. */
const loops: Record<string, (reader: Reader, count: () => void) => Effect.Effect<unknown, unknown>> = {
  "readLine in a generator": (reader, count) =>
    Effect.gen(function*() {
      while (true) {
        yield* reader.readLine
        count()
      }
    }),
  "readUint8 in a generator": (reader, count) =>
    Effect.gen(function*() {
      while (true) {
        yield* reader.readUint8
        count()
      }
    }),
  "readInto in a generator": (reader, count) =>
    Effect.gen(function*() {
      const buffer = new Uint8Array(8)
      while (true) {
        yield* reader.readInto(buffer)
        count()
      }
    }),
  "peek, which never runs dry": (reader, count) =>
    Effect.gen(function*() {
      while (true) {
        yield* reader.peek(4)
        count()
      }
    }),
  "readLine by the run loop": (reader, count) => {
    const loop: Effect.Effect<never, unknown> = Effect.flatMap(reader.readLine, () => {
      count()
      return loop
    })
    return loop
  },
  "readExactly, mapped": (reader, count) =>
    Effect.gen(function*() {
      while (true) {
        yield* Effect.map(reader.readExactly(8), count)
      }
    }),
  "lines without reading ahead": (reader, count) =>
    Stream.runForEach(reader.lines({ readAhead: false }), () => Effect.sync(count)),
  "forEachLine with an effect": (reader, count) => reader.forEachLine(() => Effect.sync(count))
}

const eventLoopTurn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

describe("StreamReader, with a buffer that never runs dry", () => {
  for (const [name, loop] of Object.entries(loops)) {
    describe(name, () => {
      it.live("lets the event loop turn, every so many reads", () =>
        Effect.gen(function*() {
          const reader = yield* full
          let count = 0
          const fiber = yield* Effect.fork(loop(reader, () => count++))
          for (let turn = 0; turn < 5; turn++) {
            const before = count
            yield* eventLoopTurn
            assert.isAtMost(count - before, bound)
          }
          assert.isAbove(count, 0)
          yield* Fiber.interrupt(fiber)
        }))

      it.live("lets a timer fire", () =>
        Effect.gen(function*() {
          const reader = yield* full
          let count = 0
          const fiber = yield* Effect.fork(loop(reader, () => count++))
          yield* Effect.sleep("1 millis")
          assert.isTrue(yield* isRunning(fiber))
          assert.isAbove(count, 0)
          yield* Fiber.interrupt(fiber)
        }))

      it.live("can be interrupted", () =>
        Effect.gen(function*() {
          const reader = yield* full
          let count = 0
          const fiber = yield* Effect.fork(loop(reader, () => count++))
          yield* eventLoopTurn
          const before = count
          yield* Fiber.interrupt(fiber)
          assert.isAtMost(count - before, bound)
        }))

      it.live("shares the processor with another one", () =>
        Effect.gen(function*() {
          const one = yield* full
          const other = yield* full
          const counts = { one: 0, other: 0 }
          let most = 0
          const compare = () => {
            most = Math.max(most, Math.abs(counts.one - counts.other))
          }
          const fibers = yield* Effect.forEach(["one", "other"] as const, (which) =>
            Effect.fork(loop(which === "one" ? one : other, () => {
              counts[which]++
              compare()
            })))
          while (counts.one < 3 * bound && (yield* Fiber.poll(fibers[0]))._tag === "None") {
            yield* eventLoopTurn
          }
          yield* Fiber.interruptAll(fibers)
          assert.isAtMost(most, 2 * bound)
          assert.isAbove(counts.other, 0)
        }))
    })
  }
})
