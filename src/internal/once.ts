/**
 * Effects that are run once, and whose garbage keeps nothing else alive.
 *
 * Theory of operation. `suspension.ts` tells what V8 does with a function that the source assigns to a property: it is
 * old at once, and what it closes over outlives it until the next full collection, copied by every minor one before
 * that. `Effect.async` is written that way, and so are `Effect.uninterruptibleMask` and its `restore`. A connection that was closed was kept
 * so, with its socket, its streams and its buffers, and collecting garbage became a fifth of what a short connection
 * costs.
 *
 * Here the function goes into a cell, from which it is taken when it runs. The cell is all that is kept. So these belong
 * where an effect is made as it is run, inside of `suspend` for instance.
 */
import * as Effect from "effect/Effect"
import type { Restore } from "../Transport.js"
import type { Register } from "./suspension.js"

class Cell<A, B> {
  constructor(private use: ((a: A) => B) | undefined) {}

  take(a: A): B {
    const use = this.use!
    this.use = undefined
    return use(a)
  }
}

/** `Effect.async`. What `register` returns is called when the wait is interrupted. */
export const waitOnce = <A, E = never>(
  register: (...args: Parameters<Register<A, E>>) => () => void
): Effect.Effect<A, E> => {
  const begin = new Cell(register)
  const stop: { call: (() => void) | undefined } = { call: undefined }
  return Effect.async<A, E>((resume) => {
    let over = false
    const giveUp = begin.take((outcome) => {
      over = true
      stop.call = undefined
      resume(outcome)
    })
    if (!over) {
      stop.call = giveUp
    }
    return Effect.sync(() => stop.call?.())
  })
}

/** `Effect.suspend`, for what is given to the `restore` of a mask, which keeps it. */
export const suspendOnce = <A, E, R>(make: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const cell = new Cell<void, Effect.Effect<A, E, R>>(make)
  return Effect.suspend(() => cell.take())
}

/** `Effect.uninterruptibleMask`. */
export const maskOnce = <A, E, R>(use: (restore: Restore) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const cell = new Cell(use)
  return Effect.uninterruptibleMask((restore) => cell.take(restore))
}
