/**
 * Which addresses a listener is to have, from what it was told.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Address from "../Address.js"
import { ListenError } from "../NetworkError.js"
import type { ResolveError, Service as ResolverService } from "../Resolver.js"
import { canonical, ipFamily } from "./ipAddress.js"
import { addressesIn } from "./programResolver.js"

/**
 * What was asked for, and what that is in addresses.
 *
 * @internal
 */
export class Targets {
  /** For each name or number its addresses, each written in one way. */
  private readonly hosts: ReadonlyArray<ReadonlyArray<string>>
  /** All of them, each once. */
  readonly addresses: ReadonlyArray<string>

  constructor(hosts: ReadonlyArray<ReadonlyArray<string>>) {
    this.hosts = hosts.map((addresses) => addresses.map(canonical))
    this.addresses = Arr.dedupe(this.hosts.flat())
  }

  /**
   * Whether this machine may lack these addresses. A name may have one that it lacks (`::1` without IPv6), as long as
   * another is left: of each name or number there has to be one.
   */
  allowLack(missing: ReadonlySet<string>): boolean {
    return this.hosts.every((addresses) => addresses.some((address) => !missing.has(address)))
  }
}

/**
 * All interfaces.
 *
 * @internal
 */
export const wildcard: Targets = new Targets([["::"]])

/**
 * The addresses of names and numbers.
 *
 * @internal
 */
export const targetsOf = (
  hosts: ReadonlyArray<string>,
  port: number,
  resolver: ResolverService
): Effect.Effect<Targets, ListenError> =>
  hosts.length === 0 ? Effect.succeed(wildcard) : Effect.map(
    Effect.forEach(hosts, (host) =>
      ipFamily(host) !== 0
        ? Effect.succeed([host])
        : Effect.mapError(lookup(host, resolver), (error) =>
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
          }, { disableValidation: true }))),
    (found) => new Targets(found)
  )

const lookup = (host: string, resolver: ResolverService): Effect.Effect<ReadonlyArray<string>, ResolveError> =>
  Effect.flatMap(resolver.lookup(host), (answer) => addressesIn(answer, host, undefined))
