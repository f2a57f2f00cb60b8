/**
 * The system's resolver: `getaddrinfo`, by way of `dns.lookup`.
 *
 * It reads what the rest of the machine reads (the hosts file, nsswitch, mDNS), asks for both families in one call, and
 * sorts the answer by RFC 6724. A call can't be cancelled: an interrupted lookup returns at once, and its late answer is
 * dropped, though the thread that waits for it stays taken until then.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as dns from "node:dns"
import { ResolveError, type Service } from "../../Resolver.js"
import * as argument from "../argument.js"

type Lookup = (
  host: string,
  options: dns.LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: Array<dns.LookupAddress>) => void
) => void

const reasons: Record<string, ResolveError["reason"]> = {
  ENOTFOUND: "NameNotFound",
  EAI_NONAME: "NameNotFound",
  ENODATA: "NoAddress",
  EAI_NODATA: "NoAddress",
  EAI_ADDRFAMILY: "NoAddress",
  EAI_AGAIN: "Temporary",
  ETIMEOUT: "Temporary",
  ESERVFAIL: "Temporary"
}

const failure = (
  reason: ResolveError["reason"],
  host: string,
  family: 4 | 6 | undefined,
  cause?: unknown
): ResolveError =>
  new ResolveError({
    reason,
    host,
    family: Option.fromNullable(family),
    code: Option.fromNullable((cause as NodeJS.ErrnoException | undefined)?.code),
    cause
  })

const allHints = [dns.ADDRCONFIG | dns.V4MAPPED | dns.ALL]

/**
 * Over `dns.lookup`, or what stands in for it.
 *
 * `separateFamilies` asks for each family by itself, which takes two threads a lookup and loses the order of RFC 6724,
 * and in return does not wait for a name server that never answers for IPv6.
 *
 * @internal
 */
export const make = (options?: {
  readonly lookup?: Lookup | undefined
  readonly separateFamilies?: boolean | undefined
}): Service => {
  const ask = options?.lookup ?? ((host, options, callback) => dns.lookup(host, options, callback))

  const lookup = (
    host: string,
    family: 4 | 6 | undefined,
    hints: number | undefined
  ): Effect.Effect<ReadonlyArray<string>, ResolveError> =>
    Effect.async((resume) => {
      ask(host, { all: true, verbatim: true, family: family ?? 0, hints: hints ?? 0 }, (error, found) => {
        if (error !== null) {
          return resume(Effect.fail(failure(reasons[error.code ?? ""] ?? "Unknown", host, family, error)))
        }
        // A numeric address comes back whatever family was asked for.
        const fitting = family === undefined ? found : found.filter((address) => address.family === family)
        resume(
          fitting.length === 0
            ? Effect.fail(failure("NoAddress", host, family))
            : Effect.succeed(fitting.map((address) => address.address))
        )
      })
    })

  return {
    separateFamilies: options?.separateFamilies,
    lookup: (host, options) => {
      const problem = argument.host("host", host) ?? argument.lookupHints(options?.hints, allHints)
      if (problem !== undefined) {
        return argument.illegal(problem)
      }
      const family = options?.family
      const found = lookup(host, family, options?.hints)
      return family === undefined ? found : Effect.catchAll(found, (error) =>
        // "Not found" is also what the system says of a name that has addresses of the other family alone.
        error.reason === "NameNotFound"
          ? Effect.matchEffect(lookup(host, undefined, options?.hints), {
            onFailure: () => Effect.fail(error),
            onSuccess: () => Effect.fail(failure("NoAddress", host, family, error.cause))
          })
          : Effect.fail(error))
    }
  }
}

/** @internal */
export const resolver: Service = make()
