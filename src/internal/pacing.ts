/**
 * Reports of something that may happen a thousand times a second, at most one a second of them.
 *
 * The first goes out at once. What comes within a second of a report is added up, and goes out at the end of it.
 */
import type { Timers } from "./connectionState.js"

/** How far two reports are apart, in milliseconds. */
export const reportInterval = 1000

export class Pacing<Report> {
  private pending: Report | undefined = undefined
  private cancel: (() => void) | undefined = undefined

  constructor(
    private readonly timers: Timers,
    private readonly add: (a: Report, b: Report) => Report,
    private readonly emit: (report: Report) => void
  ) {}

  report(report: Report): void {
    if (this.cancel === undefined) {
      this.cancel = this.timers.after(reportInterval, () => this.elapsed())
      this.emit(report)
    } else {
      this.pending = this.pending === undefined ? report : this.add(this.pending, report)
    }
  }

  /** Sends what is held back, and sets no timer until the next report. */
  flush(): void {
    this.cancel?.()
    this.cancel = undefined
    const pending = this.pending
    this.pending = undefined
    if (pending !== undefined) {
      this.emit(pending)
    }
  }

  private elapsed(): void {
    this.cancel = undefined
    const pending = this.pending
    if (pending !== undefined) {
      this.pending = undefined
      this.report(pending)
    }
  }
}
