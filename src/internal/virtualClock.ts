/**
 * A clock that does not wait: when a program has come to rest, the time is at once that of what it waits for next.
 *
 * A program has come to rest when all microtasks have run, those in which its fibers run among them, and none of them
 * waits for a turn of the event loop. The clock looks in the next macrotask. Then what is due next is woken, and the
 * program runs on until it rests again, before anything else that is due at the same time: as in reality, where every
 * event has a macrotask of its own, and a read that loses against a timeout of the same moment leaves its bytes. So a
 * simulated day costs what the program does in it, and no more.
 *
 * Fibers run in *rounds*: all that are ready, one after the other. A program that never rests (it polls by yielding, or
 * sends without end to a reader without pause) would keep both the event loop and the time where they are. So the event
 * loop turns after so many rounds, and after very many of them time flows, about as fast as it does for such a program in
 * reality, until it rests.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import { asyncOwned } from "./background.js"
import type { Timers } from "./connectionState.js"
import { afterTurn, nextMacrotask, turnsAwaited } from "./eventLoopTurn.js"
import { Timeline } from "./timeline.js"

/** How long a program may rest with nothing planned, in milliseconds of real time, before it counts as stuck. */
const patience = 2000

/** How many rounds there are in one go before the event loop turns, as with Effect's own scheduler. */
const roundsInOneGo = 2048

/** How many rounds a program may take without a rest before time flows: a second or two of real time. */
const roundsWithoutRest = 2 ** 19

/** How many rounds take a millisecond when time flows. */
const roundsInMillisecond = 512

/** @internal */
export class VirtualClock extends Timeline implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  readonly origin = 0
  private time = this.origin
  private looking = false
  private stopped = false
  /** Whether fibers have run since the last look, and how many turns had been waited for by then, by whomever. */
  private busy = false
  private turnsAwaited = 0
  /** How many rounds there have been since the event loop turned, and since the program rested or time flowed. */
  private roundsInTurn = 0
  private rounds = 0
  private stuckTimer: ReturnType<typeof setTimeout> | undefined = undefined
  /** Told when the program rests, and nothing is planned that could wake it. */
  onStuck: (time: number) => void = () => {}

  readonly currentTimeMillis: Effect.Effect<number> = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos: Effect.Effect<bigint> = Effect.sync(() => this.unsafeCurrentTimeNanos())

  /** Whole ones, as any clock gives, whatever a bandwidth or a jitter made of the time. */
  unsafeCurrentTimeMillis(): number {
    return Math.floor(this.time)
  }

  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.round(this.time * 1e6))
  }

  now(): number {
    return this.time
  }

  readonly timers: Timers = {
    now: () => this.time,
    after: (millis, task) => millis === Infinity ? () => {} : this.at(this.time + millis, task)
  }

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    // `Effect.async` with a canceller costs as much as all else that a sleep does.
    return Effect.suspend(() =>
      asyncOwned((resume) => Effect.sync(this.timers.after(Duration.toMillis(duration), () => resume(Effect.void))))
    )
  }

  private readonly runner = new Scheduler.SchedulerRunner((_, drain) => {
    this.drain = drain
    this.advance()
    if (this.roundsInTurn < roundsInOneGo) {
      queueMicrotask(this.round)
    } else {
      this.roundsInTurn = 0
      afterTurn(this.round, undefined)
    }
  })

  private drain: (depth: number) => void = () => {}

  private readonly round = (): void => {
    this.busy = true
    this.rounds += 1
    this.roundsInTurn += 1
    this.drain(0)
  }

  /** What the program's fibers are to run by: the clock has to know when they do. */
  readonly scheduler: Scheduler.Scheduler = Scheduler.make((task, priority) => this.runner.scheduleTask(task, priority))

  protected onChange(): void {
    this.advance()
  }

  /** Goes on with time, as soon as the program rests. */
  advance(): void {
    if (!this.looking && !this.stopped) {
      this.looking = true
      clearTimeout(this.stuckTimer)
      nextMacrotask(this.look, undefined)
    }
  }

  private readonly look = (): void => {
    this.looking = false
    this.roundsInTurn = 0
    if (this.stopped) {
      return
    }
    if (this.goesOn()) {
      if (this.rounds >= roundsWithoutRest + roundsInMillisecond) {
        this.rounds -= roundsInMillisecond
        this.proceed(this.time + 1)
      }
      return this.advance()
    }
    this.rounds = 0
    const next = this.agenda.nextTime
    if (next === undefined) {
      this.stuckTimer = setTimeout(() => this.onStuck(this.time), patience)
    } else {
      this.time = Math.max(this.time, next)
      this.agenda.runNext()
      this.advance()
    }
  }

  /** Whether a fiber waits for a turn of the event loop, as far as is known: one that ran, and someone does. */
  private goesOn(): boolean {
    const turns = turnsAwaited()
    const goesOn = this.busy && turns !== this.turnsAwaited
    this.busy = false
    this.turnsAwaited = turns
    return goesOn
  }

  private proceed(time: number): void {
    this.time = time
    this.runDue()
  }

  stop(): void {
    this.stopped = true
    clearTimeout(this.stuckTimer)
  }
}
