import * as Duration from "effect/Duration"
import type { LinkConditions } from "../Faults.js"
import * as argument from "./argument.js"
import type { PipeConditions } from "./pipe.js"

/**
 * Nothing is lost, late or cut.
 *
 * @internal
 */
export const perfect: PipeConditions = {
  latency: 0,
  jitter: 0,
  bandwidth: Infinity,
  window: 65_536,
  fragment: Infinity,
  coalesce: undefined
}

/** @internal */
export const conditionProblems = (conditions: LinkConditions): ReadonlyArray<argument.Problem> => [
  argument.duration("latency", conditions.latency),
  argument.duration("jitter", conditions.jitter),
  argument.positive("bandwidth", conditions.bandwidth === Infinity ? undefined : conditions.bandwidth),
  argument.positive("bytesInFlight", conditions.bytesInFlight),
  conditions.fragment === "random" || conditions.fragment === Infinity
    ? undefined
    : argument.positive("fragment", conditions.fragment),
  conditions.coalesce === false ? undefined : argument.duration("coalesce", conditions.coalesce)
]

const millis = (duration: Duration.DurationInput | undefined, otherwise: number): number =>
  duration === undefined ? otherwise : Duration.toMillis(duration)

/**
 * The conditions said, and for the rest those of `base`.
 *
 * @internal
 */
export const applyConditions = (base: PipeConditions, conditions: LinkConditions): PipeConditions => ({
  latency: millis(conditions.latency, base.latency),
  jitter: millis(conditions.jitter, base.jitter),
  bandwidth: conditions.bandwidth === undefined ? base.bandwidth : conditions.bandwidth / 1000,
  window: conditions.bytesInFlight ?? base.window,
  fragment: conditions.fragment ?? base.fragment,
  coalesce: conditions.coalesce === undefined
    ? base.coalesce
    : conditions.coalesce === false
    ? undefined
    : Duration.toMillis(conditions.coalesce)
})

/** @internal */
export const seedProblem = (seed: number | undefined): argument.Problem =>
  seed === undefined || Number.isSafeInteger(seed) ? undefined : `seed must be a whole number, got ${seed}`
