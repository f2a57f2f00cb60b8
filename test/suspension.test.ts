import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { suspension } from "../src/internal/suspension.js"

describe("suspension", () => {
  it("is an operation of Effect's own, and not one that makes another each time it runs", () => {
    assert.strictEqual((suspension(() => {}) as unknown as { readonly _op: string })._op, "Async")
  })

  it.effect("registers anew whenever it runs, and gives what it is resumed with", () =>
    Effect.gen(function*() {
      let calls = 0
      const next = suspension<number, string>((resume) => {
        const call = ++calls
        setImmediate(() => resume(call === 3 ? Effect.fail("third") : Exit.succeed(call)))
      })
      assert.deepStrictEqual([yield* next, yield* next], [1, 2])
      assert.strictEqual(yield* Effect.flip(next), "third")
      assert.strictEqual(calls, 3)
    }))

  it.effect("may be resumed at once, and is resumed once", () =>
    Effect.gen(function*() {
      const resumed: Array<string> = []
      const value = yield* suspension<string>((resume) => {
        resume(Effect.sync(() => (resumed.push("first"), "first")))
        resume(Effect.sync(() => (resumed.push("second"), "second")))
      })
      assert.strictEqual(value, "first")
      yield* Effect.yieldNow()
      assert.deepStrictEqual(resumed, ["first"])
    }))

  it.effect("waits in several fibers at a time, each for its own", () =>
    Effect.gen(function*() {
      const waiting: Array<(outcome: Effect.Effect<number>) => void> = []
      const next = suspension<number>((resume) => {
        waiting.push(resume)
      })
      const fibers = yield* Effect.forEach([0, 1, 2], () => Effect.fork(next))
      yield* Effect.yieldNow()
      ;[2, 0, 1].forEach((i) => waiting[i]!(Exit.succeed(10 * i)))
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), [0, 10, 20])
    }))

  it.effect("ends with an interruption, after which nothing resumes it", () =>
    Effect.gen(function*() {
      let late: ((outcome: Effect.Effect<void>) => void) | undefined
      const fiber = yield* Effect.fork(suspension<void>((resume) => {
        late = resume
      }))
      yield* Effect.yieldNow()
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      late!(Effect.die("resumed"))
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
    }))

  it.effect("dies with what registering throws", () =>
    Effect.gen(function*() {
      const cause = yield* Effect.sandbox(suspension(() => {
        throw new Error("no")
      })).pipe(Effect.flip)
      assert.strictEqual(Cause.squash(cause) instanceof Error && (Cause.squash(cause) as Error).message, "no")
    }))
})
