/**
 * Dialling: from a name and a port to one open connection.
 *
 * ## Theory of operation
 *
 * A name has several addresses, and some of them may lead nowhere: IPv6 that is configured and goes through no
 * tunnel, one dead machine out of four. The kernel takes minutes to give up on such an address, so whoever tries one
 * after another looks hung. RFC 8305 ("happy eyeballs") tries them beside each other, with a head start of 250
 * milliseconds for each one over the next, so that a healthy network sees one connection and a sick one loses a quarter
 * of a second.
 *
 * Three parts, each with its counterpart there:
 *
 * **Lookup** (§3). The system's resolver answers for both families at once. One that can tell them apart is asked for
 * each by itself. IPv6 may start as soon as it is known; IPv4 waits for it, 50 milliseconds and no more. What comes
 * later joins the race under way.
 *
 * **Order** (§4). `interleave` lets the families take turns, by asyncio's rule. We trust the resolver for all else, as
 * asyncio does: `getaddrinfo` has sorted by RFC 6724 already.
 *
 * **Race** (§5). `dialRace.ts`. Each attempt has a head start of 250 milliseconds over the next, and the first to
 * connect wins. asyncio can do the same, and tries one after another unless told to. Node has a race of its own, which
 * ends each attempt after its 250 milliseconds, so that a slow route is no route.
 *
 * A numeric address is a race of one: no lookup, no fiber, and no timer but that of a time limit.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Address from "../Address.js"
import { type AddressReason, ConnectError } from "../NetworkError.js"
import { ResolveError, type Service as ResolverService } from "../Resolver.js"
import type { Restore, TcpDialOptions, UnixDialOptions } from "../Transport.js"
import { Background } from "./background.js"
import { Progress, withConnectTimeout } from "./connectTimeout.js"
import { anywhere, formatTarget, LocalEnd } from "./dialLocal.js"
import { type AttemptFailure, type Dialer, type Local, Race, type RaceOptions } from "./dialRace.js"
import { type DialObserver, observe } from "./dialTelemetry.js"
import { ipFamily } from "./ipAddress.js"
import { suspendOnce } from "./once.js"
import { addressesIn } from "./programResolver.js"

export { Progress, withConnectTimeout } from "./connectTimeout.js"
export { formatTarget } from "./dialLocal.js"
export type { AttemptFailure, AttemptReceiver, Dialer, Local } from "./dialRace.js"

/** RFC 8305 §5, "Connection Attempt Delay". */
const defaultDelay = 250

/** RFC 8305 §3, "Resolution Delay": how long the addresses of IPv4 wait for those of IPv6. */
const resolutionDelay = 50

// -----------------------------------------------------------------------------
// The order
// -----------------------------------------------------------------------------

/**
 * Lets the families take turns, in the order in which they first appear, after the first `count - 1` addresses of the
 * first family. 0 leaves the order as it is. It is asyncio's `interleave`, and `count` RFC 8305's "First Address Family
 * Count".
 *
 * @internal
 */
export const interleave = (
  addresses: ReadonlyArray<Address.TcpAddress>,
  count: number
): ReadonlyArray<Address.TcpAddress> => {
  if (count === 0 || addresses.length < 2) {
    return addresses
  }
  const first = addresses.filter((address) => address.family === addresses[0]?.family)
  if (first.length === addresses.length) {
    return addresses
  }
  const other = addresses.filter((address) => address.family !== addresses[0]?.family)
  return [
    ...first.splice(0, count - 1),
    ...Array.from(
      { length: Math.max(first.length, other.length) },
      (_, i) => [...first.slice(i, i + 1), ...other.slice(i, i + 1)]
    ).flat()
  ]
}

// -----------------------------------------------------------------------------
// Errors of lookup
// -----------------------------------------------------------------------------

/**
 * A lookup that failed, as the failure to connect that it is. What may pass is a `TimedOut`: that is what it is as a
 * rule, no name server having answered, and what a retry policy goes by.
 */
const reasonOf = (error: ResolveError): AddressReason =>
  error.reason === "Temporary" ? "TimedOut" : error.reason === "Unknown" ? "Unknown" : "NameNotFound"

interface Detailed {
  readonly reason: AddressReason
  readonly detail: string
}

const failureOf = (error: ResolveError, detail: string): AttemptFailure & Detailed => ({
  reason: reasonOf(error),
  code: Option.getOrUndefined(error.code),
  cause: error.cause ?? error,
  detail
})

/** One error for two lookups that failed: the one that may pass, else the one that says more. */
const eitherOf = (a: ResolveError, b: ResolveError): ResolveError => {
  const order: ReadonlyArray<ResolveError["reason"]> = ["Temporary", "Unknown", "NameNotFound", "NoAddress"]
  const error = order.indexOf(a.reason) <= order.indexOf(b.reason) ? a : b
  return error.reason !== "NoAddress" ? error : new ResolveError({
    reason: error.reason,
    host: error.host,
    code: error.code,
    cause: error.cause
  })
}

// -----------------------------------------------------------------------------
// Dialling
// -----------------------------------------------------------------------------

/**
 * Connects to the first address of a host that answers.
 *
 * **Interruption**
 *
 * At any moment it leaves no socket, timer or fiber behind. To be run where nothing interrupts; `restore` lets
 * interruptions in.
 *
 * **Errors**
 *
 * `reason`, `code` and `cause` are those of the attempt that got furthest, and the first of these: `Refused` before
 * `TimedOut`, before `HostUnreachable`, `PermissionDenied`, `AddressInUse`, `Unknown`, `NetworkUnreachable`,
 * `AddressNotAvailable`. A name that does not exist, or has no address of the family, is a `NameNotFound`; a lookup
 * that may do better another time a `TimedOut`; no local address of the right family an `AddressNotAvailable`. These
 * three have no attempts, and say in `detail` what happened. Where a lookup of one family failed, and might do better
 * another time, and the addresses of the other lead nowhere, its failure counts as that of an attempt does.
 *
 * @internal
 */
export const dial = <A>(
  options: TcpDialOptions,
  resolver: ResolverService,
  dialer: Dialer<A>,
  restore: Restore
): Effect.Effect<A, ConnectError> =>
  isNumeric(options)
    ? Effect.withFiberRuntime((fiber) =>
      begin(fiber, new Progress(), options, resolver, dialer, restore, limitOf(options))
    )
    : withConnectTimeout(
      {
        target: formatTarget(options.host, options.port),
        timeout: options.connectTimeout,
        close: dialer.close
      },
      restore,
      (progress, fiber, restore) => begin(fiber, progress, options, resolver, dialer, restore)
    )

/** Whether there is nothing to look up: then the race is all there is, and keeps to a time limit by itself. */
const isNumeric = ({ host, localAddress }: TcpDialOptions): boolean =>
  ipFamily(host) !== 0 && (localAddress === undefined || ipFamily(localAddress) !== 0)

const limitOf = (options: { readonly connectTimeout?: Duration.DurationInput | undefined }) => {
  const timeout = Duration.decode(options.connectTimeout ?? Duration.infinity)
  return Duration.isFinite(timeout) ? timeout : undefined
}

const begin = <A>(
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  progress: Progress,
  options: TcpDialOptions,
  resolver: ResolverService,
  dialer: Dialer<A>,
  restore: Restore,
  timeout?: Duration.Duration
): Effect.Effect<A, ConnectError> => {
  const background = new Background(fiber)
  return new TcpDial(background, observe(fiber, background, options), progress, options, resolver, dialer, timeout)
    .run(restore)
}

/**
 * The same as a part of more: under a time limit that the caller sets, and with what comes after (TLS) under it too.
 *
 * @internal
 */
export const dialWithin = <A>(
  progress: Progress,
  options: TcpDialOptions,
  resolver: ResolverService,
  dialer: Dialer<A>,
  restore: Restore
): Effect.Effect<A, ConnectError> =>
  Effect.withFiberRuntime((fiber) => begin(fiber, progress, options, resolver, dialer, restore))

type Addresses = ReadonlyArray<Address.TcpAddress>

class TcpDial<A> implements RaceOptions<A, Address.TcpAddress> {
  readonly background: Background
  readonly observer: DialObserver | undefined
  readonly progress: Progress
  readonly target: string
  readonly dialer: Dialer<A>
  readonly delay: number
  private readonly options: TcpDialOptions
  private readonly resolver: ResolverService
  private readonly race: Race<A, Address.TcpAddress>
  private local: LocalEnd
  /** Why one family has no addresses, where it may have some. */
  lookupFailure: (AttemptFailure & Detailed) | undefined = undefined

  constructor(
    background: Background,
    observer: DialObserver | undefined,
    progress: Progress,
    options: TcpDialOptions,
    resolver: ResolverService,
    dialer: Dialer<A>,
    readonly timeout: Duration.Duration | undefined
  ) {
    this.background = background
    this.observer = observer
    this.progress = progress
    this.target = formatTarget(options.host, options.port)
    this.dialer = dialer
    this.delay = options.happyEyeballsDelay === undefined ? defaultDelay : Duration.toMillis(options.happyEyeballsDelay)
    this.options = options
    this.resolver = resolver
    this.local = new LocalEnd(options.localAddress, options.localPort)
    this.race = new Race(this)
  }

  run(restore: Restore): Effect.Effect<A, ConnectError> {
    const { family, localAddress, localPort } = this.options
    if (localAddress === undefined || ipFamily(localAddress) !== 0) {
      return this.connect(restore)
    }
    return Effect.matchEffect(restore(this.lookup(localAddress, family)), {
      onFailure: (error) => {
        const failure = failureOf(error, this.local.unresolved(error))
        return Effect.fail(this.refusal(
          failure.reason === "NameNotFound" ? { ...failure, reason: "AddressNotAvailable" } : failure
        ))
      },
      onSuccess: (addresses) => {
        this.local = new LocalEnd(localAddress, localPort, addresses.map((address) => address.host))
        return this.connect(restore)
      }
    })
  }

  private connect(restore: Restore): Effect.Effect<A, ConnectError> {
    const { family, host, port } = this.options
    const literal = ipFamily(host)
    if (literal !== 0) {
      return family === undefined || family === literal
        ? this.race.run(restore, () => this.offer([Address.tcp(host, port)], false))
        : Effect.fail(
          this.refusal({
            reason: "NameNotFound",
            detail: `it is an IPv${literal} address, and one of IPv${family} was asked for`
          })
        )
    }
    if (family === undefined && this.resolver.separateFamilies === true) {
      return this.race.run(restore, () => this.lookupApart())
    }
    return Effect.matchEffect(restore(this.lookup(host, family)), {
      onFailure: (error) => Effect.fail(this.unresolved(error)),
      onSuccess: (addresses) => this.race.run(restore, () => this.offer(addresses, false))
    })
  }

  /** The addresses of a name, each once, and of the family asked for. */
  private lookup(host: string, family: 4 | 6 | undefined): Effect.Effect<Addresses, ResolveError> {
    const answer = suspendOnce(() => this.resolver.lookup(host, { family, hints: this.options.lookupHints }))
    return Effect.flatMap(
      this.observer === undefined ? answer : this.observer.lookup(answer, host, family),
      (answer) =>
        Effect.map(
          addressesIn(answer, host, family),
          (found) => found.map((text) => Address.tcp(text, this.options.port))
        )
    )
  }

  /**
   * Both families side by side. The race gets all that is known whenever that becomes more, but for IPv4 that waits for
   * IPv6.
   */
  private lookupApart(): void {
    const found: { 4?: Addresses; 6?: Addresses } = {}
    // The family that begins: IPv4 only where IPv6 has kept it waiting for too long.
    let first: 4 | 6 | undefined
    let failed: ResolveError | undefined
    let cancelWait = () => {}

    const tell = () => {
      const { 4: four = [], 6: six = [] } = found
      const expecting = found[4] === undefined || found[6] === undefined
      first ??= six.length > 0 ? 6 : four.length > 0 ? 4 : undefined
      if (first === undefined && !expecting && failed !== undefined) {
        this.race.finish(Exit.fail(this.unresolved(failed)))
      } else {
        this.offer(first === 4 ? [...four, ...six] : [...six, ...four], expecting)
      }
    }

    for (const family of [6, 4] as const) {
      // A resolver that answers at once may have let the race end already.
      if (this.background.closed) {
        return
      }
      this.background.fork(this.lookup(this.options.host, family), (exit) => {
        if (Exit.isSuccess(exit)) {
          found[family] = exit.value
        } else {
          // A lookup that asks several name servers fails with several errors.
          const error = Cause.failureOrCause(exit.cause)
          if (Either.isRight(error)) {
            return this.race.finish(Exit.failCause(error.right))
          }
          found[family] = []
          failed = failed === undefined ? error.left : eitherOf(failed, error.left)
          if (reasonOf(error.left) !== "NameNotFound") {
            this.lookupFailure = failureOf(error.left, `its IPv${family} addresses are unknown: ${error.left.problem}`)
          }
        }
        cancelWait()
        if (family === 4 && found[6] === undefined && Exit.isSuccess(exit)) {
          cancelWait = this.background.schedule(resolutionDelay, tell)
        } else {
          tell()
        }
      })
    }
  }

  /** Hands all addresses known so far to the race, or ends it where none can be bound to and no more will come. */
  private offer(addresses: Addresses, expecting: boolean): void {
    const fitting = addresses.filter((address) => this.localsOf(address).length > 0)
    if (fitting.length > 0 || expecting) {
      return this.race.offer(interleave(fitting, this.options.interleave ?? 1), expecting)
    }
    const unfit = this.local.unfit(addresses[0]?.family)
    const { lookupFailure } = this
    this.race.finish(Exit.fail(this.refusal(
      lookupFailure === undefined
        ? { reason: "AddressNotAvailable", detail: unfit }
        : { ...lookupFailure, detail: `${lookupFailure.detail}; ${unfit}` }
    )))
  }

  localsOf(address: Address.TcpAddress): ReadonlyArray<Local | undefined> {
    return this.local.for(address.family)
  }

  detailOf(failure: AttemptFailure, local: Local | undefined): string | undefined {
    return this.local.problemOf(failure, local)
  }

  private unresolved(error: ResolveError): ConnectError {
    return this.refusal(failureOf(error, error.problem))
  }

  /** An error that no attempt is to blame for. */
  private refusal({ cause, code, detail, reason }: Partial<AttemptFailure> & Detailed): ConnectError {
    return new ConnectError({
      reason,
      target: this.target,
      attempts: [],
      code: Option.fromNullable(code),
      cause,
      detail: Option.some(detail)
    })
  }
}

/**
 * Connects to a Unix socket.
 *
 * @internal
 */
export const dialUnix = <A>(
  path: string,
  options: UnixDialOptions,
  dialer: Dialer<A, Address.UnixAddress>,
  restore: Restore
): Effect.Effect<A, ConnectError> =>
  Effect.withFiberRuntime((fiber) => beginUnix(fiber, new Progress(), path, dialer, restore, limitOf(options)))

/**
 * The same as a part of more.
 *
 * @internal
 */
export const dialUnixWithin = <A>(
  progress: Progress,
  path: string,
  dialer: Dialer<A, Address.UnixAddress>,
  restore: Restore
): Effect.Effect<A, ConnectError> =>
  Effect.withFiberRuntime((fiber) => beginUnix(fiber, progress, path, dialer, restore))

const beginUnix = <A>(
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  progress: Progress,
  path: string,
  dialer: Dialer<A, Address.UnixAddress>,
  restore: Restore,
  timeout?: Duration.Duration
): Effect.Effect<A, ConnectError> => {
  const background = new Background(fiber)
  const race = new Race<A, Address.UnixAddress>({
    background,
    observer: observe(fiber, background, { host: path, port: undefined }),
    progress,
    target: path,
    dialer,
    localsOf: () => anywhere,
    detailOf: () => undefined,
    delay: Infinity,
    timeout
  })
  return race.run(restore, () => race.offer([Address.unix(path)], false))
}
