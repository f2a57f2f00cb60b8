/**
 * What is news of a handler whose connection the server itself has ended.
 *
 * Its reads and writes fail then, and it is interrupted: whoever asked for that need not be told. But the handler may
 * have failed of something else at the same time, or afterwards in a finalizer, and nobody else would say so.
 */
import * as Cause from "effect/Cause"
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import type { Address } from "../Address.js"
import { ConnectionError } from "../NetworkError.js"

/** How many errors deep a program may have wrapped ours: one that is its own cause has no end. */
const deepest = 20

/** Whether an error says that the connection to `peer` was ended by this side. */
const saysEnded = (error: unknown, peer: Option.Option<Address>): boolean =>
  error instanceof ConnectionError && (error.reason === "Closed" || error.reason === "Aborted") &&
  Equal.equals(error.remoteAddress, peer)

/** Whether it does, or was made of one that does. */
const stemsFromEnd = (error: unknown, peer: Option.Option<Address>): boolean => {
  let at = error
  for (let depth = 0; depth < deepest && !saysEnded(at, peer); depth++) {
    if (!hasProperty(at, "cause")) {
      return false
    }
    at = at.cause
  }
  return saysEnded(at, peer)
}

/** What remains of a cause without that which the end of the connection to `peer` by this side has caused. */
export const withoutDismissal = (cause: Cause.Cause<unknown>, peer: Address): Cause.Cause<unknown> => {
  const address = Option.some(peer)
  return Cause.match(cause, {
    onEmpty: Cause.empty,
    onFail: (error) => stemsFromEnd(error, address) ? Cause.empty : Cause.fail(error),
    // Who makes a defect of it in words of his own wants them to be read.
    onDie: (defect) => saysEnded(defect, address) ? Cause.empty : Cause.die(defect),
    onInterrupt: () => Cause.empty,
    onSequential: Cause.sequential<unknown, unknown>,
    onParallel: Cause.parallel<unknown, unknown>
  })
}
