/**
 * `Option.some`, at the cost of an object.
 *
 * `Option` makes its own with `Object.create`, which costs as much as a view of bytes does. A constructor that has the same
 * prototype makes the same thing. Should a version of Effect have something else in it, `Option` makes it.
 */
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"

const Some = function(this: { value: unknown }, value: unknown) {
  this.value = value
} as unknown as new(value: unknown) => Option.Some<any>

const model = Option.some(0)
Some.prototype = Object.getPrototypeOf(model)

const ours = new Some(0)
const known = Object.keys(model).join() === "value" && Option.isSome(ours) && Equal.equals(ours, model)

export const some: <A>(value: A) => Option.Option<A> = known ? (value) => new Some(value) : Option.some
