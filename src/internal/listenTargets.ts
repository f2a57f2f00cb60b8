/**
 * Which addresses a listener is to have, from what it was told.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Address from "../Address.js"
import { ListenError } from "../NetworkError.js"
import type { Service as ResolverService } from "../Resolver.js"
import { ipFamily } from "./ipAddress.js"

/** @internal */
export interface Target {
  readonly host: string
  /** That of a name, which may have an address that this machine lacks (`::1` without IPv6). */
  readonly optional: boolean
}

/**
 * All interfaces.
 *
 * @internal
 */
export const wildcard: ReadonlyArray<Target> = [{ host: "::", optional: false }]

/**
 * The addresses of names and numbers, each once.
 *
 * @internal
 */
export const targetsOf = (
  hosts: ReadonlyArray<string>,
  port: number,
  resolver: ResolverService
): Effect.Effect<ReadonlyArray<Target>, ListenError> =>
  hosts.length === 0 ? Effect.succeed(wildcard) : Effect.map(
    Effect.forEach(hosts, (host) =>
      ipFamily(host) !== 0
        ? Effect.succeed([{ host, optional: false }])
        : Effect.matchEffect(resolver.lookup(host), {
          onFailure: (error) =>
            Effect.fail(
              new ListenError({
                reason: error.reason === "Temporary"
                  ? "TimedOut"
                  : error.reason === "Unknown"
                  ? "Unknown"
                  : "NameNotFound",
                address: Address.tcp(host, port),
                code: error.code,
                cause: error.cause ?? error,
                detail: Option.some(error.problem)
              }, { disableValidation: true })
            ),
          onSuccess: (found) => Effect.succeed(found.map((host) => ({ host, optional: found.length > 1 })))
        })),
    (found) => Arr.dedupeWith(found.flat(), (a, b) => a.host === b.host)
  )
