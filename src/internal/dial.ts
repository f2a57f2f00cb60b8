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
 * **Race** (§5). Attempt k+1 starts when attempt k fails, or when it has been under way for the delay. Only the last
 * one started counts: that an earlier one fails late hurries nobody. So at any time there is at most one timer, and one
 * flag that says whether the next attempt is *due*. The first to succeed wins, the others are closed at once, and only
 * then the winner is handed over. That is `asyncio.staggered.staggered_race`, but for two things: asyncio goes one after
 * another unless told otherwise, and Node, which has a race of its own, ends each attempt after its 250 milliseconds, so
 * that a slow route is no route.
 *
 * The race is a state machine without a fiber. Attempts, timers and lookups call it back, on one thread; each call runs
 * to its end before the next, so "two successes in one turn" are two calls, of which the second finds the race over and
 * closes what it brought. The effect around it waits for one callback: that comes with the outcome when nothing else is
 * open, and what stops it closes everything, also a winner that interruption kept from being handed over. A numeric
 * address is a race of one, and costs little more than that one callback.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Address from "../Address.js"
import { type AddressReason, type ConnectAttempt, ConnectError } from "../NetworkError.js"
import { ResolveError, type Service as ResolverService } from "../Resolver.js"
import type { TcpDialOptions, UnixDialOptions } from "../Transport.js"
import { asyncOwned, Background } from "./background.js"
import { type DialObserver, observe } from "./dialTelemetry.js"
import { ipFamily } from "./ipAddress.js"

/** RFC 8305 §5, "Connection Attempt Delay". */
const defaultDelay = 250

/** RFC 8305 §3, "Resolution Delay": how long the addresses of IPv4 wait for those of IPv6. */
const resolutionDelay = 50

// -----------------------------------------------------------------------------
// What a backend brings
// -----------------------------------------------------------------------------

/**
 * Why one address could not be connected to.
 *
 * @internal
 */
export interface AttemptFailure {
  readonly reason: AddressReason
  /** The operating system's name for it, such as `ECONNREFUSED`. */
  readonly code: string | undefined
  readonly cause: unknown
}

/**
 * What an attempt reports to: one call, to one of the two.
 *
 * @internal
 */
export interface AttemptReceiver<A> {
  readonly onConnected: (connected: A) => void
  readonly onFailed: (failure: AttemptFailure) => void
}

/**
 * What to bind an attempt to before it connects. An absent address is any, an absent port any free one.
 *
 * @internal
 */
export interface Local {
  readonly address: string | undefined
  readonly port: number | undefined
}

/**
 * How a backend connects to one address. Neither function throws or blocks.
 *
 * @internal
 */
export interface Dialer<A, Where extends Address.Address = Address.TcpAddress> {
  /**
   * Begins an attempt. The receiver may be called before this returns.
   *
   * What is returned gives the attempt up: it frees all that the attempt holds before it returns. It is called at most
   * once, and never after the receiver.
   */
  readonly connect: (address: Where, local: Local | undefined, receiver: AttemptReceiver<A>) => () => void
  /** Frees what an attempt connected, now. */
  readonly close: (connected: A) => void
}

// -----------------------------------------------------------------------------
// The race
// -----------------------------------------------------------------------------

const givenUp = "given up"
const connected = "connected"

class Attempt<A, Where extends Address.Address> implements AttemptReceiver<A> {
  readonly race: Race<A, Where>
  readonly address: Where
  readonly startedAt: bigint
  outcome: undefined | typeof connected | typeof givenUp | AttemptFailure
  endedAt: bigint | undefined
  giveUp: (() => void) | undefined
  tell: ReturnType<DialObserver["attempt"]> | undefined

  constructor(race: Race<A, Where>, address: Where, startedAt: bigint) {
    this.race = race
    this.address = address
    this.startedAt = startedAt
  }

  // Bound, because a backend may pass them on as plain functions.
  readonly onConnected = (value: A) => this.race.connected(this, value)
  readonly onFailed = (failure: AttemptFailure) => this.race.failed(this, failure)

  end(outcome: typeof connected | typeof givenUp | AttemptFailure, at: bigint): void {
    this.outcome = outcome
    this.endedAt = at
    this.tell?.(outcome)
  }
}

interface RaceOptions<A, Where extends Address.Address> {
  readonly background: Background
  readonly observer: DialObserver | undefined
  readonly progress: Progress
  readonly target: string
  readonly dialer: Dialer<A, Where>
  readonly local: ((address: Where) => Local | undefined) | undefined
  /** Milliseconds; 0 is all at once, infinity one after another. */
  readonly delay: number
}

class Race<A, Where extends Address.Address> {
  private readonly options: RaceOptions<A, Where>
  private readonly attempts: Array<Attempt<A, Where>> = []
  /** What has not been started, from `next` on. */
  private queue: ReadonlyArray<Where> = []
  private next = 0
  /** Whether a lookup may bring more. */
  private expecting = false
  /** Whether nothing but the lack of an address holds the next attempt back. */
  private due = true
  private running = 0
  private winner: Exit.Exit<A> | undefined
  private over = false
  private advancing = false
  private resume: (outcome: Effect.Effect<A, ConnectError>) => void = () => {}
  private cancelDelay: () => void = () => {}

  constructor(options: RaceOptions<A, Where>) {
    this.options = options
  }

  /** The race as an effect; `begin` offers it the first addresses, or sees to it that someone does. */
  run(begin: () => void): Effect.Effect<A, ConnectError> {
    return asyncOwned((resume) => {
      this.resume = resume
      this.options.progress.attempts = () => this.report()
      begin()
      return Effect.suspend(() => this.stop())
    })
  }

  /** All addresses known so far, in order; those that have been started are passed over. */
  offer(addresses: ReadonlyArray<Where>, expecting: boolean): void {
    this.queue = this.attempts.length === 0
      ? addresses
      : addresses.filter((address) => !this.attempts.some((attempt) => Equal.equals(attempt.address, address)))
    this.next = 0
    this.expecting = expecting
    this.advance()
  }

  /** Ends the race, and hands its outcome over once nothing else is open. */
  finish(outcome: Exit.Exit<A, ConnectError>): void {
    if (!this.over) {
      this.giveUpAll()
      this.resume(this.options.background.closeWith(outcome))
    }
  }

  private stop(): Effect.Effect<void> {
    this.giveUpAll()
    if (this.winner !== undefined && Exit.isSuccess(this.winner)) {
      this.options.dialer.close(this.winner.value)
    }
    return this.options.background.closeWith(Exit.void)
  }

  private giveUpAll(): void {
    this.over = true
    for (const attempt of this.attempts) {
      if (attempt.outcome === undefined && attempt.giveUp !== undefined) {
        attempt.end(givenUp, this.now())
        attempt.giveUp()
      }
    }
  }

  private now(): bigint {
    return this.options.background.clock.unsafeCurrentTimeNanos()
  }

  private advance(): void {
    // An attempt may fail while it is being started. The loop that started it goes on then.
    if (this.advancing) {
      return
    }
    this.advancing = true
    while (!this.over && this.due && this.next < this.queue.length) {
      this.start(this.queue[this.next++]!)
    }
    this.advancing = false
    if (!this.over && this.running === 0 && this.next === this.queue.length && !this.expecting) {
      this.finish(Exit.fail(this.failure()))
    }
  }

  private start(address: Where): void {
    const { dialer, local, observer, progress } = this.options
    const attempt = new Attempt<A, Where>(this, address, this.now())
    this.attempts.push(attempt)
    this.running += 1
    this.due = false
    progress.phase = address._tag === "TcpAddress" ? "tcp" : "unix"
    try {
      attempt.tell = observer?.attempt(address)
      attempt.giveUp = dialer.connect(address, local?.(address), attempt)
    } catch (defect) {
      // Thrown into a timer it would end the process, with the other attempts still open.
      attempt.outcome = givenUp
      return this.finish(Exit.die(defect))
    }
    if (attempt.outcome !== undefined) {
      return
    }
    if (this.over) {
      this.giveUpAll()
    } else if (this.options.delay === 0) {
      this.due = true
    } else if (this.options.delay !== Infinity && (this.next < this.queue.length || this.expecting)) {
      this.cancelDelay = this.options.background.schedule(this.options.delay, () => {
        this.due = true
        this.advance()
      })
    }
  }

  connected(attempt: Attempt<A, Where>, value: A): void {
    if (this.over || attempt.outcome !== undefined) {
      attempt.outcome ??= givenUp
      return this.options.dialer.close(value)
    }
    this.running -= 1
    attempt.end(connected, this.now())
    this.finish(this.winner = Exit.succeed(value))
  }

  failed(attempt: Attempt<A, Where>, failure: AttemptFailure): void {
    if (attempt.outcome !== undefined) {
      return
    }
    this.running -= 1
    attempt.end(failure, this.now())
    if (attempt === this.attempts[this.attempts.length - 1]) {
      this.cancelDelay()
      this.due = true
    }
    this.advance()
  }

  /** The attempts as an error lists them. One that has not failed was cut short by a time limit, or it is not listed. */
  private report(): ReadonlyArray<ConnectAttempt> {
    return this.attempts.filter((attempt) => attempt.outcome !== givenUp).map((attempt) => {
      const failure = typeof attempt.outcome === "object" ? attempt.outcome : undefined
      const end = failure !== undefined && attempt.endedAt !== undefined ? attempt.endedAt : this.now()
      return {
        address: attempt.address,
        reason: failure?.reason ?? "TimedOut",
        code: Option.fromNullable(failure?.code),
        elapsed: Duration.millis(Math.ceil(Number(end - attempt.startedAt) / 1_000_000))
      }
    })
  }

  private failure(): ConnectError {
    const failures = this.attempts.flatMap((attempt) => typeof attempt.outcome === "object" ? [attempt.outcome] : [])
    const telling = failures.reduce((a, b) => rank(b.reason) < rank(a.reason) ? b : a)
    return new ConnectError({
      reason: telling.reason,
      target: this.options.target,
      attempts: this.report(),
      code: Option.fromNullable(telling.code),
      cause: telling.cause
    }, trusted)
  }
}

// Nothing here comes from outside the type system.
const trusted = { disableValidation: true } as const

/**
 * Which reason speaks for all attempts where they differ: that of the attempt which got furthest, and the first of
 * those.
 *
 * An answer from the host comes before none, none before a way there that is broken, and then what this machine
 * refused. Last are the two that a machine without IPv6 says of every IPv6 address, and that so tell nothing about the
 * host. What may pass thereby comes before what will not, which is what a retry policy wants to know.
 */
const byTelling: ReadonlyArray<AddressReason> = [
  "Refused",
  "TimedOut",
  "HostUnreachable",
  "PermissionDenied",
  "AddressInUse",
  "NotFound",
  "NameNotFound",
  "Unknown",
  "NetworkUnreachable",
  "AddressNotAvailable"
]

const rank = (reason: AddressReason): number => byTelling.indexOf(reason)

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
  const first = addresses.filter((address) => address.family === addresses[0]?.family)
  if (count === 0 || first.length === addresses.length) {
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
 * A host and port as people write them.
 *
 * @internal
 */
export const formatTarget = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

const refuse = (reason: AddressReason, target: string, detail: string): ConnectError =>
  new ConnectError({ reason, target, attempts: [], detail: Option.some(detail) }, trusted)

/**
 * A lookup that failed, as the failure to connect that it is. What may pass is a `TimedOut`: that is what it is as a
 * rule, no name server having answered, and what a retry policy goes by.
 */
const reasonOf = (error: ResolveError): AddressReason =>
  error.reason === "Temporary" ? "TimedOut" : error.reason === "Unknown" ? "Unknown" : "NameNotFound"

const unresolved = (target: string, error: ResolveError): ConnectError =>
  new ConnectError({
    reason: reasonOf(error),
    target,
    attempts: [],
    code: error.code,
    cause: error.cause ?? error,
    detail: Option.some(error.problem)
  }, trusted)

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
 * At any moment it leaves no socket, timer or fiber behind.
 *
 * **Errors**
 *
 * `reason`, `code` and `cause` are those of the attempt that got furthest, and the first of these: `Refused` before
 * `TimedOut`, before `HostUnreachable`, `PermissionDenied`, `AddressInUse`, `Unknown`, `NetworkUnreachable`,
 * `AddressNotAvailable`. A name that does not exist, or has no address of the family, is a `NameNotFound`; a lookup
 * that may do better another time a `TimedOut`; no local address of the right family an `AddressNotAvailable`. These
 * three have no attempts, and say in `detail` what happened.
 *
 * @internal
 */
export const dial = <A>(
  options: TcpDialOptions,
  resolver: ResolverService,
  dialer: Dialer<A>
): Effect.Effect<A, ConnectError> =>
  withConnectTimeout({
    target: formatTarget(options.host, options.port),
    timeout: options.connectTimeout,
    close: dialer.close
  }, (progress) => dialWithin(progress, options, resolver, dialer))

/**
 * The same as a part of more: under a time limit that the caller sets, and with what comes after (TLS) under it too.
 *
 * @internal
 */
export const dialWithin = <A>(
  progress: Progress,
  options: TcpDialOptions,
  resolver: ResolverService,
  dialer: Dialer<A>
): Effect.Effect<A, ConnectError> =>
  Effect.withFiberRuntime((fiber) => {
    const { family, host, localAddress, localPort, port } = options
    const target = formatTarget(host, port)
    const background = new Background(fiber)
    const observer = observe(fiber, background, options)

    const lookup = (
      host: string,
      family: 4 | 6 | undefined
    ): Effect.Effect<ReadonlyArray<Address.TcpAddress>, ResolveError> => {
      const answer = resolver.lookup(host, { family, hints: options.lookupHints })
      return Effect.flatMap(
        observer === undefined ? answer : observer.lookup(answer, host, family),
        (addresses) => checkAnswer(addresses, host, port, family)
      )
    }

    const connectFrom = (locals: ReadonlyArray<string> | undefined): Effect.Effect<A, ConnectError> => {
      const localOf = (address: Address.TcpAddress) => locals?.find((local) => ipFamily(local) === address.family)
      const race = new Race<A, Address.TcpAddress>({
        background,
        observer,
        progress,
        target,
        dialer,
        local: locals === undefined && localPort === undefined
          ? undefined
          : (address) => ({ address: localOf(address), port: localPort }),
        delay: options.happyEyeballsDelay === undefined ? defaultDelay : Duration.toMillis(options.happyEyeballsDelay)
      })

      /** Hands all addresses known so far to the race, or ends it where there is none and none will come. */
      const offer = (addresses: ReadonlyArray<Address.TcpAddress>, expecting: boolean) => {
        const fitting = locals === undefined ? addresses : addresses.filter((address) => localOf(address) !== undefined)
        if (fitting.length === 0 && !expecting) {
          const detail = `the addresses to connect to are all IPv${addresses[0]?.family}, ` +
            `and the local address ${localAddress} is not`
          return race.finish(Exit.fail(refuse("AddressNotAvailable", target, detail)))
        }
        race.offer(interleave(fitting, options.interleave ?? 1), expecting)
      }

      const literal = ipFamily(host)
      if (literal !== 0) {
        return family === undefined || family === literal
          ? race.run(() => offer([Address.tcp(host, port)], false))
          : Effect.fail(
            refuse("NameNotFound", target, `it is an IPv${literal} address, and one of IPv${family} was asked for`)
          )
      }
      if (family === undefined && resolver.separateFamilies === true) {
        return race.run(() =>
          lookupApart(
            background,
            (family) => lookup(host, family),
            offer,
            (cause) => race.finish(Exit.failCause(Cause.map(cause, (error) => unresolved(target, error))))
          )
        )
      }
      return Effect.matchEffect(lookup(host, family), {
        onFailure: (error) => Effect.fail(unresolved(target, error)),
        onSuccess: (addresses) => race.run(() => offer(addresses, false))
      })
    }

    if (localAddress === undefined || ipFamily(localAddress) !== 0) {
      return connectFrom(localAddress === undefined ? undefined : [localAddress])
    }
    return Effect.matchEffect(lookup(localAddress, family), {
      onFailure: (error) => {
        const reason = reasonOf(error)
        const detail = `the local address ${localAddress}: ${error.problem}`
        return Effect.fail(refuse(reason === "NameNotFound" ? "AddressNotAvailable" : reason, target, detail))
      },
      onSuccess: (addresses) => connectFrom(addresses.map((address) => address.host))
    })
  })

/** The addresses of an answer, each once, of the family asked for; a resolver need not see to either. */
const checkAnswer = (
  answer: ReadonlyArray<string>,
  host: string,
  port: number,
  family: 4 | 6 | undefined
): Effect.Effect<ReadonlyArray<Address.TcpAddress>, ResolveError> => {
  const seen = new Set<string>()
  const addresses: Array<Address.TcpAddress> = []
  for (const text of answer) {
    const found = ipFamily(text)
    if (found === 0) {
      return Effect.die(
        new Cause.IllegalArgumentException(
          `the resolver answered ${JSON.stringify(text)} for ${host}, which is not a numeric address`
        )
      )
    }
    if ((family === undefined || family === found) && !seen.has(text)) {
      seen.add(text)
      addresses.push(Address.tcp(text, port))
    }
  }
  return addresses.length > 0
    ? Effect.succeed(addresses)
    : Effect.fail(new ResolveError({ reason: "NoAddress", host, family: Option.fromNullable(family) }))
}

/** Both families side by side. `offer` gets all that is known whenever that becomes more, or nothing more will come. */
const lookupApart = (
  background: Background,
  lookup: (family: 4 | 6) => Effect.Effect<ReadonlyArray<Address.TcpAddress>, ResolveError>,
  offer: (addresses: ReadonlyArray<Address.TcpAddress>, expecting: boolean) => void,
  fail: (cause: Cause.Cause<ResolveError>) => void
): void => {
  const found: { 4?: ReadonlyArray<Address.TcpAddress>; 6?: ReadonlyArray<Address.TcpAddress> } = {}
  // The family that begins. IPv4 does where IPv6 has kept it waiting for too long.
  let first: 4 | 6 | undefined
  let failed: ResolveError | undefined
  let cancelWait = () => {}

  const tell = () => {
    const expecting = found[4] === undefined || found[6] === undefined
    first ??= found[6]?.length ? 6 : found[4]?.length ? 4 : undefined
    const [six = [], four = []] = [found[6], found[4]]
    const addresses = first === 4 ? [...four, ...six] : [...six, ...four]
    if (addresses.length === 0 && !expecting && failed !== undefined) {
      fail(Cause.fail(failed))
    } else {
      offer(addresses, expecting)
    }
  }

  for (const family of [6, 4] as const) {
    // A resolver that answers at once may have let the race end already.
    if (background.closed) {
      return
    }
    background.fork(lookup(family), (exit) => {
      if (Exit.isSuccess(exit)) {
        found[family] = exit.value
      } else if (exit.cause._tag === "Fail") {
        found[family] = []
        failed = failed === undefined ? exit.cause.error : eitherOf(failed, exit.cause.error)
      } else {
        return fail(exit.cause)
      }
      cancelWait()
      if (family === 4 && found[6] === undefined && Exit.isSuccess(exit)) {
        cancelWait = background.schedule(resolutionDelay, tell)
      } else {
        tell()
      }
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
  dialer: Dialer<A, Address.UnixAddress>
): Effect.Effect<A, ConnectError> =>
  withConnectTimeout(
    { target: path, timeout: options.connectTimeout, close: dialer.close },
    (progress) => dialUnixWithin(progress, path, dialer)
  )

/**
 * The same as a part of more.
 *
 * @internal
 */
export const dialUnixWithin = <A>(
  progress: Progress,
  path: string,
  dialer: Dialer<A, Address.UnixAddress>
): Effect.Effect<A, ConnectError> =>
  Effect.withFiberRuntime((fiber) => {
    const background = new Background(fiber)
    const race = new Race<A, Address.UnixAddress>({
      background,
      observer: observe(fiber, background, { host: path, port: undefined }),
      progress,
      target: path,
      dialer,
      local: undefined,
      delay: Infinity
    })
    return race.run(() => race.offer([Address.unix(path)], false))
  })

// -----------------------------------------------------------------------------
// The time limit
// -----------------------------------------------------------------------------

const phases = {
  lookup: "during name lookup",
  tcp: "while connecting over TCP",
  unix: "while connecting",
  tls: "during the TLS handshake"
}

/**
 * How far a connection in the making has come. Dialling keeps it; who goes on from there sets the phase.
 *
 * @internal
 */
export class Progress {
  phase: keyof typeof phases = "lookup"
  attempts: () => ReadonlyArray<ConnectAttempt> = () => []
}

/**
 * Puts all that it takes to connect under one time limit, which says in its error how far things had come.
 *
 * **Details**
 *
 * Without a limit this is `make`, and costs nothing. `close` gets what was made in the same moment as the caller was
 * interrupted.
 *
 * **Interruption**
 *
 * `make` is interrupted, and waited for. What it holds it frees.
 *
 * @internal
 */
export const withConnectTimeout = <A, E, R>(
  options: {
    readonly target: string
    readonly timeout: Duration.DurationInput | undefined
    readonly close: (made: A) => void
  },
  make: (progress: Progress) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | ConnectError, R> => {
  const timeout = Duration.decode(options.timeout ?? Duration.infinity)
  if (!Duration.isFinite(timeout)) {
    return Effect.suspend(() => make(new Progress()))
  }
  return Effect.withFiberRuntime((parent) =>
    asyncOwned<A, E | ConnectError>((resume) => {
      const background = new Background(parent)
      const progress = new Progress()
      const finish = (exit: Exit.Exit<A, E | ConnectError>) => resume(background.closeWith(exit))

      // The context that R asks for is the parent's, which the background runs everything with.
      const fiber = background.fork(make(progress) as Effect.Effect<A, E>, finish)
      const stop = Effect.suspend(() => Effect.zipRight(background.closeWith(Exit.void), Fiber.await(fiber)))
      background.schedule(Duration.toMillis(timeout), () => {
        const error = new ConnectError({
          reason: "TimedOut",
          target: options.target,
          attempts: progress.attempts(),
          detail: Option.some(
            `no connection within ${Duration.format(timeout)}, the time ran out ${phases[progress.phase]}`
          )
        }, trusted)
        resume(Effect.uninterruptible(Effect.flatMap(
          stop,
          (exit): Exit.Exit<A, E | ConnectError> =>
            Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause) ? Exit.fail(error) : exit
        )))
      })
      return Effect.map(stop, (exit) => {
        if (Exit.isSuccess(exit)) {
          options.close(exit.value)
        }
      })
    })
  )
}
