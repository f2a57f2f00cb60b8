import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as HandlerScope from "../src/internal/handlerScope.js"

describe("the scope of a handler", () => {
  it.effect("is like one that Effect has made", () =>
    Effect.gen(function*() {
      const [own, effects] = [HandlerScope.make(), yield* Scope.make()]
      assert.deepStrictEqual(Object.keys(own), Object.keys(effects))
      const [state, model] = [own, effects].map((scope) =>
        (scope as unknown as { readonly state: { readonly _tag: string; readonly finalizers: unknown } }).state
      )
      assert.strictEqual(own.strategy, effects.strategy)
      assert.deepStrictEqual([state!._tag, state!.finalizers], [model!._tag, model!.finalizers])
      assert.isTrue(Object.prototype.isPrototypeOf.call(Object.getPrototypeOf(effects), own))
    }))

  it.effect("runs its finalizers from the last to the first, and is not closed otherwise while it has any", () =>
    Effect.gen(function*() {
      const scope = HandlerScope.make()
      const order: Array<string> = []
      for (const name of ["first", "last"]) {
        yield* Scope.addFinalizer(scope, Effect.sync(() => order.push(name)))
      }
      assert.isFalse(HandlerScope.closeUnused(scope, Exit.void))
      assert.deepStrictEqual(order, [])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(order, ["last", "first"])
      assert.isFalse(HandlerScope.closeUnused(scope, Exit.void))
    }))

  it.effect("is closed by `closeUnused` for whatever comes after", () =>
    Effect.gen(function*() {
      const scope = HandlerScope.make()
      const child = yield* Scope.fork(scope, scope.strategy)
      yield* Scope.close(child, Exit.void)
      assert.isTrue(HandlerScope.closeUnused(scope, Exit.fail("so")))
      const seen: Array<unknown> = []
      yield* Scope.addFinalizerExit(scope, (exit) => Effect.sync(() => seen.push(exit)))
      assert.deepStrictEqual(seen, [Exit.fail("so")])
      const fiber = yield* Effect.forkIn(Effect.never, scope)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
    }))
})
