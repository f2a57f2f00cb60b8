import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ResolveError, Resolver, type Service as ResolverService } from "../Resolver.js"
import { ipFamily } from "./ipAddress.js"

/**
 * The program's own resolver where it provides one, else the backend's. Nobody asks for it who has only numeric
 * addresses.
 *
 * @internal
 */
export const withResolver = <A, E>(
  hosts: string | ReadonlyArray<string> | undefined,
  backends: ResolverService,
  use: (resolver: ResolverService) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  hosts === undefined ||
    (typeof hosts === "string" ? ipFamily(hosts) !== 0 : hosts.every((host) => ipFamily(host) !== 0))
    ? use(backends)
    : Effect.flatMap(
      Effect.serviceOption(Resolver),
      (provided) => use(Option.getOrElse(provided, () => backends))
    )

/**
 * What an answer has of a family, each address once. A program's own resolver need not see to any of that.
 *
 * @internal
 */
export const addressesIn = (
  answer: ReadonlyArray<string>,
  host: string,
  family: 4 | 6 | undefined
): Effect.Effect<Arr.NonEmptyReadonlyArray<string>, ResolveError> => {
  const stranger = answer.find((text) => ipFamily(text) === 0)
  if (stranger !== undefined) {
    const problem = `the resolver answered ${JSON.stringify(stranger)} for ${host}, which is no numeric address`
    return Effect.die(new Cause.IllegalArgumentException(problem))
  }
  const [first, ...others] = new Set(
    family === undefined ? answer : answer.filter((text) => ipFamily(text) === family)
  )
  return first === undefined
    ? Effect.fail(new ResolveError({ reason: "NoAddress", host, family: Option.fromNullable(family) }))
    : Effect.succeed([first, ...others])
}
