/**
 * What is to happen at which time, for everything that goes by one clock.
 */
import { Agenda } from "./agenda.js"
import type { Timers } from "./connectionState.js"

/** Times are in milliseconds, with a fraction. What a nanosecond separates is simultaneous. */
const instant = 1e-6

export abstract class Timeline {
  protected readonly agenda: Agenda = new Agenda()

  /** The time at which it began. */
  abstract readonly origin: number
  abstract now(): number
  /** Something was planned, or called off. */
  protected abstract onChange(): void

  /** Whether that time has come. */
  isDue(time: number): boolean {
    return time <= this.now() + instant
  }

  /** A place in the order of what is planned for one time, for who plans later. */
  takePlace(): number {
    return this.agenda.takePlace()
  }

  /** Runs the task when it is time, in a later turn at the earliest, unless what is returned is called before. */
  at(time: number, task: () => void, place: number = this.takePlace()): () => void {
    const entry = this.agenda.plan(time, task, place)
    this.onChange()
    return () => {
      this.agenda.callOff(entry)
      this.onChange()
    }
  }

  protected runDue(): void {
    this.agenda.run(this.now() + instant)
  }
}

/**
 * A timeline by a clock that has timers: it is asked for one of them, for the earliest moment, however much is planned. A
 * thousand deliveries which are due together cost a test's clock one step.
 */
export class ClockTimeline extends Timeline {
  readonly origin: number
  private timer: { readonly time: number; readonly cancel: () => void } | undefined = undefined

  constructor(private readonly timers: Timers) {
    super()
    this.origin = timers.now()
  }

  now(): number {
    return this.timers.now()
  }

  protected onChange(): void {
    const time = this.agenda.nextTime
    if (this.timer !== undefined && (time === undefined || time < this.timer.time)) {
      this.timer.cancel()
      this.timer = undefined
    }
    if (time !== undefined && this.timer === undefined) {
      this.timer = {
        time,
        cancel: this.timers.after(Math.max(0, time - this.timers.now()), () => {
          this.timer = undefined
          this.runDue()
          this.onChange()
        })
      }
    }
  }
}
