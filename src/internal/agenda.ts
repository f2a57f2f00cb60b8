/**
 * What is to happen, by time. What is due at the same time comes in the order in which it was planned.
 */

/** Something that is to happen. */
export interface Entry {
  readonly time: number
  readonly place: number
  /** `undefined` when it was called off, or has been done. */
  task: (() => void) | undefined
}

const isBefore = (a: Entry, b: Entry): boolean => a.time < b.time || (a.time === b.time && a.place < b.place)

export class Agenda {
  /** A binary heap: no entry is before its parent, which is at half its index. The first is at 1. */
  private readonly heap: Array<Entry> = []
  private places = 0
  /** How many entries have not been called off. */
  size = 0

  /** A place among what is planned for the same time. */
  takePlace(): number {
    return this.places++
  }

  plan(time: number, task: () => void, place: number): Entry {
    const entry: Entry = { time, place, task }
    this.insert(entry)
    this.size += 1
    return entry
  }

  callOff(entry: Entry): void {
    if (entry.task !== undefined) {
      entry.task = undefined
      this.size -= 1
      this.forgetCalledOff()
    }
  }

  /** Keeps no more of what was called off than of what was not. */
  private forgetCalledOff(): void {
    if (this.size === 0) {
      this.heap.length = 0
    } else if (this.heap.length > 2 * this.size + 64) {
      const entries = this.heap.filter(({ task }) => task !== undefined)
      this.heap.length = 0
      entries.forEach((entry) => this.insert(entry))
    }
  }

  /** The earliest time for which anything is planned. */
  get nextTime(): number | undefined {
    while (this.heap.length > 1 && this.heap[1]!.task === undefined) {
      this.removeFirst()
    }
    return this.heap[1]?.time
  }

  /** Does what is planned for up to that time, and nothing that is planned meanwhile. */
  run(time: number): void {
    const due: Array<Entry> = []
    while (this.heap.length > 1 && this.heap[1]!.time <= time) {
      due.push(this.removeFirst())
    }
    due.forEach((entry) => this.carryOut(entry))
  }

  /** Does what is planned next. */
  runNext(): void {
    if (this.nextTime !== undefined) {
      this.carryOut(this.removeFirst())
    }
  }

  private carryOut(entry: Entry): void {
    const { task } = entry
    this.callOff(entry)
    task?.()
  }

  private insert(entry: Entry): void {
    const heap = this.heap
    let index = Math.max(1, heap.length)
    while (index > 1 && isBefore(entry, heap[index >> 1]!)) {
      heap[index] = heap[index >> 1]!
      index >>= 1
    }
    heap[index] = entry
  }

  private removeFirst(): Entry {
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
