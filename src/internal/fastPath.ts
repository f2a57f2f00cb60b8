/**
 * Effects that complete inside `yield*`.
 *
 * `yield*` asks an effect for an iterator, and the iterator for its first result. An iterator that is done at once gives
 * the generator its value without a turn of Effect's run loop, which costs ten times as much.
 */
import type * as Effect from "effect/Effect"
import { YieldWrap } from "effect/Utils"

/**
 * The iterator of an effect that is done. The iterator and its result are asked for in one breath, so one object does for
 * all of them.
 */
class Served {
  private value: unknown = undefined

  with(value: unknown): any {
    this.value = value
    return this
  }

  next(): IteratorResult<any, any> {
    const value = this.value
    this.value = undefined
    return { done: true, value }
  }
}
export const served = new Served()

/** The iterator of an effect that the run loop has to run. */
export class YieldOnce<A, E> implements IterableIterator<YieldWrap<Effect.Effect<A, E>>, A> {
  private yielded = false
  constructor(private readonly effect: Effect.Effect<A, E>) {}

  next(value?: A): IteratorResult<YieldWrap<Effect.Effect<A, E>>, A> {
    if (this.yielded) {
      return { done: true, value: value! }
    }
    this.yielded = true
    return { done: false, value: new YieldWrap(this.effect) }
  }

  [Symbol.iterator](): IterableIterator<YieldWrap<Effect.Effect<A, E>>, A> {
    return new YieldOnce(this.effect)
  }
}
