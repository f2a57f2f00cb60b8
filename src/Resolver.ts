/**
 * Looking a name up: the service that a dialler asks, and that a program can replace.
 *
 * A resolver answers with every address it knows, in the order in which it would try them; who dials orders them anew
 * by family, filters and races them. Numeric addresses are never looked up. A test, a service registry or a cache of
 * names takes the place of the system's resolver by providing `Resolver` to the program.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { ipFamily } from "./internal/ipAddress.js"

const problems = {
  NameNotFound: "there is no such name",
  NoAddress: "the name has no address",
  Temporary: "the name can't be looked up for the moment, and trying again may help",
  Unknown: "the name can't be looked up"
}

/**
 * A name could not be turned into an address.
 *
 * **Details**
 *
 * | reason | what happened | try again? |
 * |---|---|---|
 * | `NameNotFound` | the name does not exist | no |
 * | `NoAddress` | it exists, and has no address, or none of the family asked for | no |
 * | `Temporary` | no name server answered, or it said to come back later (`EAI_AGAIN`) | yes |
 * | `Unknown` | anything else: see `code` and `cause` | it depends |
 *
 * `family` is the one that was asked for, and `None` where any would do.
 *
 * @since 0.1.0
 * @category errors
 */
export class ResolveError extends Schema.TaggedError<ResolveError>("effect-netstreams/ResolveError")("ResolveError", {
  reason: Schema.Literal("NameNotFound", "NoAddress", "Temporary", "Unknown"),
  host: Schema.String,
  family: Schema.optionalWith(Schema.Option(Schema.Literal(4, 6)), { default: () => Option.none() }),
  code: Schema.optionalWith(Schema.Option(Schema.String), { default: () => Option.none() }),
  cause: Schema.optional(Schema.Defect)
}) {
  /**
   * What happened, without the name.
   *
   * @since 0.1.0
   */
  get problem(): string {
    return this.reason === "NoAddress" && Option.isSome(this.family)
      ? `the name has no IPv${this.family.value} address`
      : problems[this.reason]
  }

  override get message(): string {
    const code = Option.match(this.code, { onNone: () => "", onSome: (code) => ` (${code})` })
    return `lookup of ${this.host}: ${this.problem}${code}`
  }
}

/**
 * @since 0.1.0
 * @category options
 */
export interface LookupOptions {
  /** Only addresses of this family. Any by default. */
  readonly family?: 4 | 6 | undefined
  /** The `hints` of `dns.lookup`, for a resolver that knows them. None by default. */
  readonly hints?: number | undefined
}

/**
 * What a resolver does.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * All addresses of a name, best first: numeric, without brackets, with a zone where they need one (`fe80::1%eth0`).
   *
   * **Interruption**
   *
   * Returns at once, whatever becomes of the lookup.
   */
  readonly lookup: (host: string, options?: LookupOptions) => Effect.Effect<ReadonlyArray<string>, ResolveError>
  /**
   * Whether a lookup of one family can be quicker than one of both: false by default.
   *
   * **Details**
   *
   * The system's resolver answers when it has both families, and in an order of its own (RFC 6724). One that sends the
   * questions itself has an answer for IPv4 while that for IPv6 is still awaited. A dialler then asks for the families
   * side by side, prefers IPv6, and gives a slow answer for it 50 milliseconds (RFC 8305 §3).
   */
  readonly separateFamilies?: boolean | undefined
}

/**
 * The service that turns names into addresses.
 *
 * @since 0.1.0
 * @category tags
 * @example
 * ```ts
 * import { Resolver } from "effect-netstreams"
 * import { Effect, Layer } from "effect"
 *
 * // Every name is a container on this machine.
 * const local = Layer.succeed(Resolver.Resolver, {
 *   lookup: () => Effect.succeed(["127.0.0.1"])
 * })
 * ```
 */
export class Resolver extends Context.Tag("effect-netstreams/Resolver")<Resolver, Service>() {}

/**
 * All addresses of a name, best first. A numeric address is its own answer.
 *
 * @since 0.1.0
 * @category accessors
 */
export const lookup = (
  host: string,
  options?: LookupOptions
): Effect.Effect<ReadonlyArray<string>, ResolveError, Resolver> =>
  Effect.flatMap(Resolver, (resolver) => resolver.lookup(host, options))

// Names are compared as DNS does: without regard to case, and with or without the dot of the root.
const normalize = (host: string): string => (host.endsWith(".") ? host.slice(0, -1) : host).toLowerCase()

/**
 * A resolver that knows the given names and no other, as a hosts file does.
 *
 * **Details**
 *
 * Names are compared as DNS does, without regard to case. A name with an empty list exists, and has no address.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeStatic = (hosts: Readonly<Record<string, string | ReadonlyArray<string>>>): Service => {
  const known = new Map(
    Object.entries(hosts).map(([host, addresses]) =>
      [normalize(host), typeof addresses === "string" ? [addresses] : addresses] as const
    )
  )
  return {
    lookup: (host, options) =>
      Effect.suspend(() => {
        const family = options?.family
        const all = ipFamily(host) === 0 ? known.get(normalize(host)) : [host]
        const fitting = family === undefined ? all : all?.filter((address) => ipFamily(address) === family)
        return fitting !== undefined && fitting.length > 0
          ? Effect.succeed(fitting)
          : Effect.fail(
            new ResolveError({
              reason: all === undefined ? "NameNotFound" : "NoAddress",
              host,
              family: Option.fromNullable(family)
            })
          )
      })
  }
}

/**
 * Knows the given names and no other, as a hosts file does.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Network, Resolver } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const program = Network.openConnection({ host: "db.internal", port: 5432 }).pipe(
 *   Effect.provide(Resolver.layerStatic({ "db.internal": ["2001:db8::5", "192.0.2.5"] }))
 * )
 * ```
 */
export const layerStatic = (
  hosts: Readonly<Record<string, string | ReadonlyArray<string>>>
): Layer.Layer<Resolver> => Layer.sync(Resolver, () => makeStatic(hosts))
