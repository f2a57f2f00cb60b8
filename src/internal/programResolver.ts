import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Resolver, type Service as ResolverService } from "../Resolver.js"
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
