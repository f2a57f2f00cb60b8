import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Equal, Fiber, FiberRef, Hash, Option, Runtime, Scope } from "effect"
import * as HandlerRuntime from "../src/internal/handlerRuntime.js"
import * as HandlerScope from "../src/internal/handlerScope.js"

class A extends Context.Tag("A")<A, number>() {}
class B extends Context.Tag("B")<B, string>() {}

const services = Context.make(A, 1).pipe(Context.add(B, "b"))
const mine = HandlerScope.make()

const runtimeWith = <R>(context: Context.Context<R>): Runtime.Runtime<R> =>
  Runtime.make({
    context,
    runtimeFlags: Runtime.defaultRuntimeFlags,
    fiberRefs: Runtime.defaultRuntime.fiberRefs
  })

/** What a handler finds of its services, asked for inside its fiber. */
const inside = <R, A>(context: Context.Context<R>, look: Effect.Effect<A, never, R | Scope.Scope>): A =>
  Runtime.runSync(HandlerRuntime.ofHandler(HandlerRuntime.ofServer(runtimeWith(context)), mine), look)

const servers: ReadonlyArray<readonly [string, Context.Context<A | B>]> = [
  ["a server without a scope among its services", services],
  ["a server that has one of its own", Context.add(services, Scope.Scope, HandlerScope.make())]
]

describe.each(servers)("the services of a handler of %s", (_, context) => {
  const expected = Context.add(context, Scope.Scope, mine)
  const given = inside(context, Effect.context<A | B | Scope.Scope>())

  it("are those of the server, and its own scope", () => {
    expect(Context.get(given, A)).toBe(1)
    expect(Context.get(given, B)).toBe("b")
    expect(Context.get(given, Scope.Scope)).toBe(mine)
    expect(Context.getOption(given, Context.GenericTag("nowhere"))).toEqual(Option.none())
    expect(() => Context.unsafeGet(given, Context.GenericTag<A>("nowhere"))).toThrow("Service not found: nowhere")
  })

  it("equal a context made by adding the scope", () => {
    expect(Equal.equals(given, expected)).toBe(true)
    expect(Equal.equals(expected, given)).toBe(true)
    expect(Hash.hash(given)).toBe(Hash.hash(expected))
    expect(new Map(given.unsafeMap)).toEqual(new Map(expected.unsafeMap))
    expect(given.unsafeMap.size).toBe(expected.unsafeMap.size)
    expect(new Set(given.unsafeMap.keys())).toEqual(new Set(expected.unsafeMap.keys()))
    expect(new Set(given.unsafeMap.values())).toEqual(new Set(expected.unsafeMap.values()))
    const seen = new Map<string, unknown>()
    given.unsafeMap.forEach((service, name, all) => {
      expect(all).toBe(given.unsafeMap)
      seen.set(name, service)
    })
    expect(seen).toEqual(new Map(expected.unsafeMap))
    expect(JSON.stringify(given)).toContain("\"_id\":\"Context\"")
  })

  it("can be added to, merged, picked from and provided over", () => {
    const other = HandlerScope.make()
    expect(Context.get(Context.add(given, Scope.Scope, other), Scope.Scope)).toBe(other)
    expect(Context.get(Context.add(given, A, 2), A)).toBe(2)
    expect(Context.get(Context.merge(Context.make(A, 3), given), A)).toBe(1)
    expect(Context.get(Context.merge(given, Context.make(A, 3)), A)).toBe(3)
    expect(Context.get(Context.mergeAll(Context.make(A, 3), given), Scope.Scope)).toBe(mine)
    expect(Context.pick(A)(given).unsafeMap.size).toBe(1)
    expect(Context.omit(A)(given).unsafeMap.has(Scope.Scope.key)).toBe(true)
    const found = inside(
      context,
      Effect.all([
        Effect.scoped(Effect.scope),
        Effect.provideService(A, A, 4),
        Effect.provide(Effect.all([A, B, Effect.scope]), Context.make(B, "c")),
        Effect.scope
      ])
    )
    expect(found[0]).not.toBe(mine)
    expect(found.slice(1)).toEqual([4, [1, "c", mine], mine])
  })

  it("can't be changed in place", () => {
    expect(() => given.unsafeMap.set("A", 2)).toThrow(TypeError)
    expect(() => given.unsafeMap.delete("A")).toThrow(TypeError)
    expect(() => given.unsafeMap.clear()).toThrow(TypeError)
    expect(Context.get(given, A)).toBe(1)
  })

  it("pass from fiber to fiber, with the changes made on the way", () => {
    const joined = inside(
      context,
      Effect.gen(function*() {
        const asForked = yield* Fiber.join(yield* Effect.fork(Effect.all([A, Effect.scope])))
        const changed = yield* Fiber.join(
          yield* Effect.fork(Effect.provideService(Effect.all([A, Effect.scope]), A, 7))
        )
        return [asForked, changed, yield* A]
      })
    )
    expect(joined).toEqual([[1, mine], [7, mine], 1])
  })
})

describe("the fiber refs of a handler", () => {
  it("are those of its server", () => {
    const ref = FiberRef.unsafeMake("default")
    const server = Runtime.runSync(
      runtimeWith(services),
      Effect.locally(Effect.runtime<A | B>(), ref, "of the server")
    )
    const handler = HandlerRuntime.ofHandler(HandlerRuntime.ofServer(server), mine)
    expect(Runtime.runSync(handler, FiberRef.get(ref))).toBe("of the server")
  })
})
