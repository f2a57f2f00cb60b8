/**
 * What is to happen at which time, for everything that goes by one clock.
 *
 * However much is planned, the clock is asked for one timer, that of the earliest moment: a thousand deliveries which are
 * due together cost a test's clock one step. What is due at the same time happens in the order in which it was planned.
 */
import type { Timers } from "./connectionState.js"

/** Times are in milliseconds, with a fraction. What a nanosecond separates is simultaneous. */
const instant = 1e-6

interface Planned {
  readonly time: number
  readonly order: number
  /** `undefined` when it was called off. */
  task: (() => void) | undefined
}

const isBefore = (a: Planned, b: Planned): boolean => a.time < b.time || (a.time === b.time && a.order < b.order)

export class Timeline {
  /** A binary heap: no entry is before its parent, which is at half its index. The first is at 1. */
  private readonly heap: Array<Planned> = []
  private planned = 0
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
    const planned: Planned = { time, order: this.planned++, task }
    this.insert(planned)
    this.arm()
    return () => this.cancel(planned)
  }

  private arm(): void {
    const first = this.heap[1]
    if (first === undefined || (this.timer !== undefined && this.timer.time <= first.time)) {
      return
    }
    this.timer?.cancel()
    this.timer = {
      time: first.time,
      cancel: this.timers.after(Math.max(0, first.time - this.timers.now()), () => this.run())
    }
  }

  private run(): void {
    this.timer = undefined
    // What a task plans for now is for the next turn.
    const due: Array<Planned> = []
    while (this.heap.length > 1 && this.isDue(this.heap[1]!.time)) {
      due.push(this.removeFirst())
    }
    for (const planned of due) {
      planned.task?.()
    }
    this.arm()
  }

  private cancel(planned: Planned): void {
    planned.task = undefined
    if (this.heap.includes(planned)) {
      const rest = this.heap.slice(1).filter((other) => other !== planned)
      this.heap.length = 0
      rest.forEach((other) => this.insert(other))
      if (rest.length === 0) {
        this.timer?.cancel()
        this.timer = undefined
      }
    }
  }

  private insert(planned: Planned): void {
    const heap = this.heap
    let index = Math.max(1, heap.length)
    while (index > 1 && isBefore(planned, heap[index >> 1]!)) {
      heap[index] = heap[index >> 1]!
      index >>= 1
    }
    heap[index] = planned
  }

  private removeFirst(): Planned {
    const heap = this.heap
    const first = heap[1]!
    const last = heap.pop()!
    const length = heap.length
    if (length > 1) {
      let index = 1
      for (let child = 2; child < length; child = 2 * index) {
        if (child + 1 < length && isBefore(heap[child + 1]!, heap[child]!)) {
          child += 1
        }
        if (!isBefore(heap[child]!, last)) {
          break
        }
        heap[index] = heap[child]!
        index = child
      }
      heap[index] = last
    }
    return first
  }
}
