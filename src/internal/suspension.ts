/**
 * Waiting for a callback, as `Effect.async` does, with an operation that is made once.
 *
 * `Effect.async` makes its operation anew each time it runs, and assigns a function literal to one of its properties. V8
 * gives such a function its place in the old generation from the start, and with it all that it can reach: the fiber, and
 * what that holds. None of it is let go before a full collection, so each wait costs more there than it does itself.
 *
 * The operation is Effect's own, found through one that `Effect.async` made. Should a version of Effect build it another
 * way, `Effect.async` does the waiting.
 */
import * as Effect from "effect/Effect"

/** `resume` is to be called once; what it is called with after that is ignored. */
export type Register<A, E> = (resume: (outcome: Effect.Effect<A, E>) => void) => void

const isOperation = (u: unknown): u is object =>
  typeof u === "object" && u !== null && "_op" in u && u._op === "Async" &&
  "effect_instruction_i0" in u && typeof u.effect_instruction_i0 === "function" && "effect_instruction_i1" in u

const ignore = (_resume: unknown) => {}

const found = (Effect.async(ignore) as { readonly commit?: () => unknown }).commit?.()
const model = isOperation(found) ? found : undefined

/** What all of them have in common is in their prototype, for every reader that waits keeps one. */
class Suspension {
  constructor(readonly effect_instruction_i0: unknown) {}
}
if (model !== undefined) {
  Object.setPrototypeOf(Suspension.prototype, Object.getPrototypeOf(model))
  Object.assign(Suspension.prototype, model)
}

/**
 * An effect that calls `register` each time it runs, and waits until that resumes it. It has nothing to undo when it is
 * interrupted: `register` leaves behind what may be called in vain.
 */
export const suspension = <A, E = never>(register: Register<A, E>): Effect.Effect<A, E> => {
  if (model === undefined) {
    return Effect.async(register)
  }
  return new Suspension(register) as unknown as Effect.Effect<A, E>
}
