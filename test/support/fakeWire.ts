/**
 * A wire and timers in the hand of a test: nothing happens by itself, and all that was asked for is on record.
 */
import type { Timers, Wire } from "../../src/internal/connectionState.js"
import type { TransportFailure, TransportReceiver } from "../../src/Transport.js"
import { latin1, toLatin1 } from "./chunkings.js"

export const text = (...parts: ReadonlyArray<string>): ReadonlyArray<Uint8Array> => parts.map(latin1)

export class FakeWire implements Wire {
  /** What was asked of the wire, writes as `write a|b`. */
  readonly calls: Array<string> = []
  bufferedBytes = 0
  /** How many of the next bytes the network takes within the write itself. */
  window = 0
  receiver: TransportReceiver | undefined = undefined
  /** What the wire does when it is told to end, destroy or abort; nothing by default. */
  onCall: (call: string) => void = () => {}

  private call(call: string): void {
    this.calls.push(call)
    this.onCall(call)
  }

  write(chunks: ReadonlyArray<Uint8Array>): void {
    this.call(`write ${chunks.map(toLatin1).join("|")}`)
    const size = chunks.reduce((size, chunk) => size + chunk.length, 0)
    const taken = Math.min(size, this.window)
    this.window -= taken
    this.bufferedBytes += size - taken
  }

  readonly pause = (): void => this.call("pause")
  readonly resume = (): void => this.call("resume")
  readonly end = (): void => this.call("end")
  readonly destroy = (): void => this.call("destroy")
  readonly abort = (): void => this.call("abort")

  /** The network takes `n` of the queued bytes, all of them by default. */
  take(n: number = this.bufferedBytes): void {
    this.bufferedBytes -= Math.min(n, this.bufferedBytes)
    this.receiver?.onDrain()
  }

  /** The end of the wire, with what was queued gone, as a socket's is. */
  close(failure?: TransportFailure): void {
    this.bufferedBytes = 0
    this.receiver?.onClosed(failure)
  }

  /** What was asked since the last look. */
  look(): ReadonlyArray<string> {
    return this.calls.splice(0)
  }
}

/** Time that passes when it is told to, in milliseconds. */
export class FakeTimers implements Timers {
  private time = 0
  private readonly tasks: Set<{ readonly at: number; readonly task: () => void }> = new Set()

  readonly now = (): number => this.time

  readonly after = (millis: number, task: () => void): () => void => {
    const entry = { at: this.time + millis, task }
    this.tasks.add(entry)
    return () => {
      this.tasks.delete(entry)
    }
  }

  /** How many tasks wait. */
  get pending(): number {
    return this.tasks.size
  }

  /** Lets the time pass, and runs each task at its own. */
  advance(millis: number): void {
    const until = this.time + millis
    for (;;) {
      const [next] = Array.from(this.tasks).filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)
      if (next === undefined) {
        break
      }
      this.tasks.delete(next)
      this.time = Math.max(this.time, next.at)
      next.task()
    }
    this.time = until
  }
}

/** Somebody who waits, and counts how often they were told to go on. */
export class Waiter {
  resumed = 0
  readonly resume = (): void => {
    this.resumed += 1
  }
}

/** A write in line. */
export class LinedUp extends Waiter {
  handedOver = false
  constructor(readonly chunks: ReadonlyArray<Uint8Array>) {
    super()
  }

  get state(): "in line" | "handed over" | "done" | "refused" {
    return this.resumed === 0
      ? this.handedOver ? "handed over" : "in line"
      : this.handedOver
      ? "done"
      : "refused"
  }
}

export const reset: TransportFailure = { reason: "Reset", code: "ECONNRESET", cause: new Error("read ECONNRESET") }
