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
import type * as Effect from "effect/Effect"
import { suspend } from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Address from "../Address.js"
import type { ConnectError } from "../NetworkError.js"
import { type AddressReason, type ConnectAttempt } from "../NetworkError.js"
import type { Background } from "./background.js"
import { asyncOwned } from "./background.js"
import type { Progress } from "./connectTimeout.js"
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
  readonly startedAt: bigint
  endedAt: bigint | undefined = undefined
  outcome: Outcome | undefined = undefined
  giveUp: (() => void) | undefined = undefined
  tell: ((outcome: Outcome) => void) | undefined = undefined

  constructor(race: Race<A, Where>, address: Where) {
    this.race = race
    this.address = address
    this.startedAt = race.now()
  }

  // Bound, because a backend may pass them on as plain functions.
  readonly onConnected = (connected: A) => this.race.connected(this, connected)
  readonly onFailed = (failure: AttemptFailure) => this.race.failed(this, failure)

  end(outcome: Outcome): void {
    this.outcome = outcome
    this.tell?.(outcome)
  }
}

/** @internal */
export interface RaceOptions<A, Where extends Address.Address> {
  readonly background: Background
  readonly observer: DialObserver | undefined
  readonly progress: Progress
  readonly target: string
  readonly dialer: Dialer<A, Where>
  readonly local: ((address: Where) => Local) | undefined
  /** Milliseconds; 0 is all at once, infinity one after another. */
  readonly delay: number
}

/** @internal */
export class Race<A, Where extends Address.Address> {
  private readonly options: RaceOptions<A, Where>
  private readonly attempts: Array<Attempt<A, Where>> = []
  /** What has not been started, from `next` on. */
  private queue: ReadonlyArray<Where> = this.attempts as ReadonlyArray<never>
  private next = 0
  /** Whether a lookup may bring more. */
  private expecting = false
  /** Whether nothing but the lack of an address holds the next attempt back. */
  private due = true
  private running = 0
  private winner: A | undefined = undefined
  private over = false
  private advancing = false
  private resume: ((outcome: Effect.Effect<A, ConnectError>) => void) | undefined = undefined
  private cancelDelay: (() => void) | undefined = undefined
}
