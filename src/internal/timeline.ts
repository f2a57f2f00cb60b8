/**
 * What is to happen at which time, for everything that goes by one clock.
 *
 * However much is planned, the clock is asked for one timer, that of the earliest moment: a thousand deliveries which are
 * due together cost a test's clock one step.
 */
import { Agenda } from "./agenda.js"
import type { Timers } from "./connectionState.js"

/** Times are in milliseconds, with a fraction. What a nanosecond separates is simultaneous. */
const instant = 1e-6

export class Timeline {
  private readonly agenda: Agenda = new Agenda()
  private timer: { readonly time: number; readonly cancel: () => void } | undefined = undefined

  constructor(private readonly timers: Timers) {}

  now(): number {
    return this.timers.now()
  }

  /** Whether that time has come. */
  isDue(time: number): boolean {
    return time <= this.timers.now() + instant
  }

  /** Runs the task when it is time, in a later turn at the earliest, unless what is returned is called before. */
  at(time: number, task: () => void): () => void {
    const entry = this.agenda.plan(time, task)
    this.arm()
    return () => {
      this.agenda.callOff(entry)
      if (this.agenda.size === 0) {
        this.timer?.cancel()
        this.timer = undefined
      }
    }
  }

  private arm(): void {
    const time = this.agenda.nextTime
    if (time === undefined || (this.timer !== undefined && this.timer.time <= time)) {
      return
    }
    this.timer?.cancel()
    this.timer = {
      time,
      cancel: this.timers.after(Math.max(0, time - this.timers.now()), () => this.run())
    }
  }

  private run(): void {
    this.timer = undefined
    this.agenda.run(this.timers.now() + instant)
    this.arm()
  }
}
