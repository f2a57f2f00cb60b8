import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as Scheduler from "effect/Scheduler"
import { AsyncLocalStorage } from "node:async_hooks"
import { withHandlerScheduler } from "../src/internal/handlerScheduler.js"
import { Random } from "./support/chunkings.js"

const chosen = withHandlerScheduler(Runtime.defaultRuntime)

const schedulerOf = (runtime: Runtime.Runtime<never>): Scheduler.Scheduler =>
  FiberRefs.getOrDefault(runtime.fiberRefs, FiberRef.currentScheduler)

/** Lets fibers yield, fork and wait for one another at random, and gives the order in which they went on. */
const trace = (runtime: Runtime.Runtime<never>, seed: number): Promise<ReadonlyArray<string>> => {
  const random = new Random(seed)
  const order: Array<string> = []
  const run = (name: string, depth: number): Effect.Effect<void> =>
    Effect.gen(function*() {
      for (let i = 0; i < 6; i++) {
        order.push(`${name} ${i}`)
        const choice = random.between(0, 3)
        if (choice === 0) {
          yield* Effect.yieldNow({ priority: random.between(0, 2) })
        } else if (choice === 1 && depth > 0) {
          const child = yield* Effect.fork(run(`${name}.${i}`, depth - 1))
          if (random.between(0, 1) === 0) {
            yield* Fiber.join(child)
          }
        } else if (choice === 2) {
          yield* Effect.withSchedulingPriority(Effect.yieldNow(), random.between(0, 2))
        }
      }
    })
  return Runtime.runPromise(
    runtime,
    Effect.as(Effect.forEach(["a", "b", "c"], (name) => run(name, 2), { concurrency: "unbounded" }), order)
  )
}

describe("the scheduler of handlers", () => {
  it("runs fibers in the order in which Effect's own does", async () => {
    for (let seed = 1; seed <= 200; seed++) {
      assert.deepStrictEqual(await trace(chosen, seed), await trace(Runtime.defaultRuntime, seed))
    }
  })

  it("runs several tasks of one fiber by their priority, in the order in which they came", async () => {
    const orders = await Promise.all([chosen, Runtime.defaultRuntime].map(async (runtime) => {
      const scheduler = schedulerOf(runtime)
      const fiber = Runtime.runFork(runtime, Effect.never)
      const order: Array<string> = []
      await new Promise<void>((done) => {
        for (const [name, priority] of [["one", 1], ["zero", 0], ["more", 1], ["two", 2], ["none", 0]] as const) {
          scheduler.scheduleTask(() => order.push(name), priority, fiber)
        }
        scheduler.scheduleTask(() => scheduler.scheduleTask(done, 0, fiber), 9, fiber)
        assert.deepStrictEqual(order, [])
      })
      await Effect.runPromise(Fiber.interrupt(fiber))
      return order
    }))
    assert.deepStrictEqual(orders[0], ["zero", "none", "one", "more", "two"])
    assert.deepStrictEqual(orders[0], orders[1])
  })

  it("lets timers have their turn beside a fiber that only yields", async () => {
    const spinning = Runtime.runFork(chosen, Effect.forever(Effect.yieldNow()))
    await new Promise((resolve) => setTimeout(resolve, 1))
    await Effect.runPromise(Fiber.interrupt(spinning))
  })

  it("keeps the asynchronous context of each fiber to itself", async () => {
    const storage = new AsyncLocalStorage<number>()
    const seen = await Promise.all(Array.from({ length: 10 }, (_, i) =>
      storage.run(i, () =>
        Runtime.runPromise(
          chosen,
          Effect.gen(function*() {
            for (let k = 0; k < 5; k++) {
              yield* Effect.yieldNow()
              assert.strictEqual(storage.getStore(), i)
            }
            return i
          })
        ))))
    assert.deepStrictEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it("runs what belongs to no fiber", () => new Promise<void>((done) => schedulerOf(chosen).scheduleTask(done, 0)))

  it("does not take the place of one that the program has chosen", () => {
    const own = new Scheduler.MixedScheduler(7)
    const runtime = Effect.runSync(Effect.withScheduler(Effect.runtime<never>(), own))
    assert.strictEqual(schedulerOf(withHandlerScheduler(runtime)), own)
    assert.notStrictEqual(schedulerOf(chosen), Scheduler.defaultScheduler)
  })
})
