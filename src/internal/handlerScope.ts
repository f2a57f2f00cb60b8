/**
 * The scope of a handler, made and closed without a fiber to do it.
 *
 * Most handlers put nothing into their scope, and Effect makes and closes one only within a fiber, which costs more than
 * everything else that is done for a connection. So a scope is made after the model of one that Effect has made, and one
 * that nothing was put into is closed by saying so in its state. What Effect keeps there is not documented: where it
 * looks otherwise than expected, Effect does both.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

interface Inside {
  strategy: unknown
  state: { readonly _tag: "Open"; readonly finalizers: Map<unknown, unknown> } | {
    readonly _tag: "Closed"
    readonly exit: Exit.Exit<unknown, unknown>
  }
}

const isExpected = (scope: object): scope is Inside => {
  const { state } = scope as Partial<Inside>
  return Object.keys(scope).sort().join() === "state,strategy" && typeof state === "object" &&
    Object.keys(state).sort().join() === "_tag,finalizers" && state._tag === "Open" &&
    state.finalizers instanceof Map && state.finalizers.size === 0
}

/** Open, and without finalizers until somebody asks for them: an empty `Map` takes half a kilobyte. */
class Open {
  readonly _tag = "Open"
  private all: Map<unknown, unknown> | undefined = undefined

  get finalizers(): Map<unknown, unknown> {
    return this.all ??= new Map()
  }

  get isUnused(): boolean {
    return this.all === undefined || this.all.size === 0
  }
}

const makeScope = Scope.make()

const model: object = Effect.runSync(makeScope)
const known = isExpected(model) ? model : undefined

class Unused implements Inside {
  state = new Open()
  constructor(readonly strategy: unknown) {}
}
Object.setPrototypeOf(Unused.prototype, Object.getPrototypeOf(model))

/** An open scope, whose finalizers run one after another. */
export const make = (): Scope.CloseableScope => {
  if (known === undefined) {
    return Effect.runSync(makeScope)
  }
  return new Unused(known.strategy) as object as Scope.CloseableScope
}

/** Closes a scope that has nothing to do then; false where it has, or may have. */
export const closeUnused = (scope: Scope.CloseableScope, exit: Exit.Exit<unknown, unknown>): boolean => {
  const inside = scope as unknown as Inside
  if (!(inside.state instanceof Open && inside.state.isUnused)) {
    return false
  }
  inside.state = { _tag: "Closed", exit }
  return true
}
