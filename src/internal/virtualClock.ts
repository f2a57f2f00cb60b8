/**
 * A clock that does not wait: when a program has come to rest, the time is at once that of what it waits for next.
 *
 * A program has come to rest when all microtasks have run, those in which fibers run among them; that is so in the next
 * macrotask. There everything that is due next is woken, all at the same time, and the program runs on until it rests
 * again. So a simulated day costs what the program does in it, and no more.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Agenda } from "./agenda.js"
import type { Timers } from "./connectionState.js"

/** How long a program may rest with nothing planned, in milliseconds of real time, before it counts as stuck. */
const patience = 2000

type Immediate = (task: () => void) => unknown

/** The next macrotask, as early as the platform has it. `setImmediate` is Node's. */
const nextMacrotask: Immediate = (globalThis as { readonly setImmediate?: Immediate }).setImmediate ??
  ((task) => setTimeout(task, 0))

/** @internal */
export class VirtualClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  private readonly agenda: Agenda = new Agenda()
  private time = 0
  private advancing = false
  private stopped = false
  private stuckTimer: ReturnType<typeof setTimeout> | undefined = undefined
  /** Told when the program rests, and nothing is planned that could wake it. */
  onStuck: (time: number) => void = () => {}

  readonly currentTimeMillis: Effect.Effect<number> = Effect.sync(() => this.time)
  readonly currentTimeNanos: Effect.Effect<bigint> = Effect.sync(() => this.unsafeCurrentTimeNanos())

  unsafeCurrentTimeMillis(): number {
    return this.time
  }

  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.round(this.time * 1e6))
  }

  readonly timers: Timers = {
    now: () => this.time,
    after: (millis, task) => {
      if (millis === Infinity) {
        return () => {}
      }
      const entry = this.agenda.plan(this.time + millis, task)
      this.advance()
      return () => this.agenda.callOff(entry)
    }
  }

  /** One that is interrupted stays on the agenda, as in `TestClock`: taking it off would cost every sleep more. */
  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      this.timers.after(Duration.toMillis(duration), () => resume(Effect.void))
    })
  }

  /** Goes on with time, as soon as the program rests. */
  advance(): void {
    clearTimeout(this.stuckTimer)
    if (!this.advancing && !this.stopped) {
      this.advancing = true
      nextMacrotask(this.step)
    }
  }

  private readonly step = (): void => {
    this.advancing = false
    const next = this.agenda.nextTime
    if (this.stopped) {
      return
    }
    if (next === undefined) {
      this.stuckTimer = setTimeout(() => this.onStuck(this.time), patience)
      return
    }
    this.time = Math.max(this.time, next)
    this.agenda.run(this.time)
    this.advance()
  }

  stop(): void {
    this.stopped = true
    clearTimeout(this.stuckTimer)
  }
}
