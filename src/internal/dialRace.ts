/**
 * The race of RFC 8305 §5, and what a backend brings to it.
 *
 * ## Theory of operation
 *
 * Attempt k+1 starts when attempt k fails, or when it has been under way for the delay. Only the last one started
 * counts: that an earlier one fails late hurries nobody. So there is at most one timer at any time, and one flag that
 * says whether the next attempt is *due*; it starts as soon as it is due and there is an address for it. The first to
 * succeed wins, the others are given up at once, and only then the winner is handed over. That is what
 * `asyncio.staggered.staggered_race` does.
 *
 * The race is a state machine without a fiber. Attempts, timers and lookups call it back, on one thread, and each call
 * runs to its end before the next. So "two successes in one turn" are two calls, of which the second finds the race
 * over and closes what it brought.
 *
 * The effect around it waits for one callback. That comes with the outcome when nothing else is open; and should the
 * effect fail in any way, also by being interrupted while it resumes, all is closed, the winner that nobody gets
 * included.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Address from "../Address.js"
import { type AddressReason, type ConnectAttempt, ConnectError } from "../NetworkError.js"
import type { Restore } from "../Transport.js"
import { connectProblem } from "./addressProblem.js"
import { asyncOwnedWithin, type Background } from "./background.js"
import { outOfTime, type Progress } from "./connectTimeout.js"
import { failedToBind } from "./dialLocal.js"
import type { DialObserver } from "./dialTelemetry.js"

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
  /** What there is to say of it beyond what the reason says. */
  readonly detail?: string | undefined
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
 * How a backend connects to one address. None of it blocks; what it throws is a defect.
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

/** How an attempt ended. @internal */
export type Outcome = "connected" | "given up" | AttemptFailure

class Attempt<A, Where extends Address.Address> implements AttemptReceiver<A> {
  readonly race: Race<A, Where>
  readonly address: Where
  /** Where it may be bound, of which it is at the one of this index. */
  readonly locals: ReadonlyArray<Local | undefined>
  local = 0
  /** Why it could not be bound to those before. */
  unbound: AttemptFailure | undefined = undefined
  readonly startedAt: bigint
  endedAt: bigint | undefined = undefined
  outcome: Outcome | undefined = undefined
  giveUp: (() => void) | undefined = undefined
  tell: ((outcome: Outcome) => void) | undefined = undefined

  constructor(race: Race<A, Where>, address: Where, locals: ReadonlyArray<Local | undefined>) {
    this.race = race
    this.address = address
    this.locals = locals
    this.startedAt = race.now()
  }

  // Bound, because a backend may pass them on as plain functions.
  readonly onConnected = (connected: A) => this.race.connected(this, connected)
  readonly onFailed = (failure: AttemptFailure) => this.race.failed(this, failure)

  end(outcome: Outcome): void {
    this.outcome = outcome
    try {
      this.tell?.(outcome)
    } catch {
      // A tracer or logger that throws has lost a span or a line. It does not decide what becomes of the attempt.
    }
  }
}

/** @internal */
export interface RaceOptions<A, Where extends Address.Address> {
  readonly background: Background
  readonly observer: DialObserver | undefined
  readonly progress: Progress
  readonly target: string
  readonly dialer: Dialer<A, Where>
  /** Where to bind an attempt: to the first of these that can be, at least one. */
  readonly localsOf: (address: Where) => ReadonlyArray<Local | undefined>
  /** What there is to say of a failure that has no detail of its own. */
  readonly detailOf: (failure: AttemptFailure, local: Local | undefined) => string | undefined
  /** Why a lookup brought no addresses that there may be; with a detail. */
  readonly lookupFailure?: AttemptFailure | undefined
  /** Milliseconds; 0 is all at once, infinity one after another. */
  readonly delay: number
  /** How long the race may last. */
  readonly timeout?: Duration.Duration | undefined
}

/** @internal */
export class Race<A, Where extends Address.Address> {
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
  private winner: Exit.Success<A, never> | undefined = undefined
  private over = false
  private advancing = false
  private resume: ((outcome: Effect.Effect<A, ConnectError>) => void) | undefined = undefined
  private cancelDelay: (() => void) | undefined = undefined

  constructor(options: RaceOptions<A, Where>) {
    this.options = options
    options.progress.dialling = this
  }

  /** The race as an effect; `begin` offers it the first addresses, or sees to it that someone does. */
  run(restore: Restore, begin: () => void): Effect.Effect<A, ConnectError> {
    return asyncOwnedWithin(restore, (resume) => {
      this.resume = resume
      try {
        begin()
        this.limit()
      } catch (defect) {
        // Thrown from here, it would leave open what has begun.
        this.finish(Exit.die(defect))
      }
      return Effect.suspend(() => this.stop())
    })
  }

  private limit(): void {
    const { background, progress, target, timeout } = this.options
    if (timeout !== undefined && !this.over) {
      background.schedule(
        Duration.toMillis(timeout),
        () => this.finish(Exit.fail(outOfTime(target, timeout, progress)))
      )
    }
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
      this.resume?.(this.options.background.closeWith(outcome))
    }
  }

  private stop(): Effect.Effect<void> {
    this.giveUpAll()
    if (this.winner !== undefined) {
      this.options.dialer.close(this.winner.value)
    }
    return this.options.background.closeWith(Exit.void)
  }

  private giveUpAll(): void {
    this.over = true
    for (const attempt of this.attempts) {
      if (attempt.outcome === undefined && attempt.giveUp !== undefined) {
        attempt.end("given up")
        attempt.giveUp()
      }
    }
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
    if (!this.over && this.running === 0 && this.next === this.queue.length) {
      if (this.expecting) {
        this.options.progress.phase = "lookup"
      } else {
        this.finish(Exit.fail(this.failure()))
      }
    }
  }

  private start(address: Where): void {
    const { background, delay, progress } = this.options
    const attempt = new Attempt<A, Where>(this, address, this.options.localsOf(address))
    this.attempts.push(attempt)
    this.running += 1
    this.due = false
    progress.phase = address._tag === "TcpAddress" ? "tcp" : "unix"
    this.connect(attempt)
    if (this.over || attempt.outcome !== undefined) {
      return
    }
    if (delay === 0) {
      this.due = true
    } else if (delay !== Infinity && (this.next < this.queue.length || this.expecting)) {
      this.cancelDelay = background.schedule(delay, () => {
        this.due = true
        this.advance()
      })
    }
  }

  /** Connects from the first local address that can be bound to, as asyncio does. */
  private connect(attempt: Attempt<A, Where>): void {
    const { dialer, observer } = this.options
    try {
      attempt.tell ??= observer?.attempt(attempt.address)
      let local: number
      // Binding may fail before `connect` returns. The loop goes on then.
      do {
        local = attempt.local
        attempt.giveUp = undefined
        attempt.giveUp = dialer.connect(attempt.address, attempt.locals[local], attempt)
      } while (local !== attempt.local)
    } catch (defect) {
      // Thrown into a timer it would end the process, with the other attempts still open.
      attempt.end("given up")
      return this.finish(Exit.die(defect))
    }
    if (this.over) {
      this.giveUpAll()
    }
  }

  connected(attempt: Attempt<A, Where>, value: A): void {
    if (this.over || attempt.outcome !== undefined) {
      attempt.outcome ??= "given up"
      return this.options.dialer.close(value)
    }
    this.running -= 1
    this.winner = Exit.succeed(value) as Exit.Success<A, never>
    attempt.end("connected")
    this.finish(this.winner)
  }

  failed(attempt: Attempt<A, Where>, failure: AttemptFailure): void {
    if (attempt.outcome !== undefined) {
      return
    }
    const detail = failure.detail ?? this.options.detailOf(failure, attempt.locals[attempt.local])
    let told = detail === undefined ? failure : { ...failure, detail }
    if (failedToBind(failure.cause)) {
      told = moreTelling(attempt.unbound ?? told, told)
      if (!this.over && attempt.local + 1 < attempt.locals.length) {
        attempt.unbound = told
        attempt.local += 1
        return attempt.giveUp === undefined ? undefined : this.connect(attempt)
      }
    }
    this.running -= 1
    attempt.endedAt = this.now()
    attempt.end(told)
    if (attempt === this.attempts[this.attempts.length - 1]) {
      this.cancelDelay?.()
      this.due = true
    }
    this.advance()
  }

  now(): bigint {
    return this.options.background.clock.unsafeCurrentTimeNanos()
  }

  /** The attempts as an error lists them: those that failed, and those that a time limit cuts short. */
  report(): ReadonlyArray<ConnectAttempt> {
    return this.attempts.filter((attempt) => attempt.outcome !== "given up").map((attempt) => {
      const failure = typeof attempt.outcome === "object" ? attempt.outcome : undefined
      const nanos = (attempt.endedAt ?? this.now()) - attempt.startedAt
      return {
        address: attempt.address,
        reason: failure?.reason ?? "TimedOut",
        code: Option.fromNullable(failure?.code),
        elapsed: Duration.millis(Math.ceil(Number(nanos) / 1_000_000))
      }
    })
  }

  private failure(): ConnectError {
    const { lookupFailure, target } = this.options
    const failures = this.attempts.flatMap((attempt) => typeof attempt.outcome === "object" ? [attempt.outcome] : [])
    const telling = (lookupFailure === undefined ? failures : [...failures, lookupFailure]).reduce(moreTelling)
    const code = Option.fromNullable(telling.code)
    return new ConnectError({
      reason: telling.reason,
      target,
      attempts: this.report(),
      code,
      cause: telling.cause,
      detail: Option.fromNullable(
        lookupFailure === undefined || telling === lookupFailure
          ? telling.detail
          // No attempt's line shows it.
          : `${lookupFailure.detail}; ${telling.detail ?? connectProblem(telling.reason, code)}`
      )
    })
  }
}

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

const moreTelling = (a: AttemptFailure, b: AttemptFailure): AttemptFailure => rank(b.reason) < rank(a.reason) ? b : a
