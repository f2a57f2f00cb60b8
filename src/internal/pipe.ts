/**
 * One direction of a link: what is written at one end comes out at the other, later, in pieces, or not at all.
 *
 * Theory of operation. Bytes wait in the *outbox* until fewer than the window's are on their way; the sender sees those
 * that wait, and only those, as buffered. On their way they are *parcels*, each with the time at which it has departed
 * (the bandwidth's doing) and at which it arrives (latency and jitter). None overtakes another. An arrived parcel that
 * the receiver does not take stays on its way, so a receiver that pauses stops the sender.
 *
 * Ends and resets are parcels too, and so is any message of the two ends to each other (a handshake). A reset is the last
 * of all, and what has not departed before it never will.
 *
 * One parcel is delivered in a turn, a microtask, and never within the call that sends it. So whoever reads has run
 * before the next one comes, and sees every piece by itself.
 *
 * What befalls the bytes at a certain place in the stream is a *breakpoint*: a delivery is cut there, and its task run
 * when exactly so many bytes have come out.
 */
import type { TransportFailure } from "../Transport.js"
import { type Bytes, concat, emptyBytes } from "./bytes.js"
import type { Random } from "./random.js"
import type { Timeline } from "./timeline.js"

/** What a direction is like. */
export interface PipeConditions {
  /** In milliseconds, as is `jitter`, which is added to it by chance, from nothing to all. */
  readonly latency: number
  readonly jitter: number
  /** In bytes a millisecond. */
  readonly bandwidth: number
  /** How many bytes are on their way at most. */
  readonly window: number
  /** What is sent is cut to so many bytes at most, or anywhere. */
  readonly fragment: number | "random"
  /** For how many milliseconds bytes wait for more to be sent with them; `undefined` sends each write by itself. */
  readonly coalesce: number | undefined
}

/** Who writes. */
export interface PipeSource {
  /** Less waits in the outbox than before. */
  readonly onRoom: () => void
}

/** Who takes what comes out. */
export interface PipeSink {
  /** Whether anything is taken now. */
  readonly ready: boolean
  /** Whether anything will ever be: what is not ready takes a reset all the same, and what came before it. */
  readonly started: boolean
  readonly onData: (bytes: Bytes) => void
  readonly onEnd: () => void
  readonly onReset: (failure: TransportFailure) => void
}

/** Why nothing comes out for now, as bits, for there may be several reasons. */
export const stalled = 1
export const partitioned = 2
export const lost = 4

interface Parcel {
  bytes: Bytes
  /** What happens on arrival, where it is no bytes that arrive. */
  readonly task: (() => void) | undefined
  readonly departAt: number
  readonly arriveAt: number
  /** Its place among what the timeline has for the same time. */
  readonly place: number
}

interface Breakpoint {
  readonly at: number
  readonly task: () => void
}

/** Who is at an end where there is no connection, because it had ended before. */
const nobody: PipeSource & PipeSink = {
  ready: false,
  started: false,
  onRoom: () => {},
  onData: () => {},
  onEnd: () => {},
  onReset: () => {}
}

export class Pipe {
  source: PipeSource = nobody
  sink: PipeSink = nobody
  /** Bytes that were written and are not on their way. */
  queued = 0
  /** Bytes on their way, or arrived and not taken. */
  inFlight = 0
  /** Bytes that came out. */
  delivered = 0
  /** Set when an end comes out unnoticed. */
  losesEnd = false
  /** The end has been sent. */
  ended = false

  private outbox: Array<Bytes> = []
  private ending = false
  /** Nothing is sent any more. */
  private closed = false
  /** What was ended early takes all that is still sent to nowhere. */
  private swallowing = false
  private holds = 0

  /** Bytes on their way that wait for more to go with them. */
  private batch: Array<Bytes> = []
  private parcels: Array<Parcel> = []
  private first = 0
  private resetAt: number | undefined = undefined
  private lineFreeAt = 0
  private lastArrival = 0
  private turning = false
  private plannedFor = Infinity
  private breakpoints: Array<Breakpoint> = []
  /** What the next byte that comes out is changed by. */
  private corruption = 0

  constructor(
    readonly timeline: Timeline,
    private readonly random: Random,
    private conditions: PipeConditions
  ) {}

  /** What is sent from now on goes by these. */
  setConditions(conditions: PipeConditions): void {
    this.conditions = conditions
    if (this.admit()) {
      this.source.onRoom()
    }
  }

  // ---------------------------------------------------------------------------
  // what the sender does
  // ---------------------------------------------------------------------------

  /** The bytes are the pipe's from here on. */
  write(bytes: Bytes): void {
    if (!this.ending && !this.closed && bytes.length > 0) {
      this.outbox.push(bytes)
      this.queued += bytes.length
      this.admit()
    }
  }

  /** Ends after what was written. */
  end(): void {
    this.ending = true
    this.admit()
  }

  /** Ends after what is on its way. */
  endNow(): void {
    this.dropOutbox()
    this.end()
  }

  /** A message, in order with the bytes that are on their way. */
  signal(task: () => void): void {
    this.flushBatch()
    this.send(emptyBytes, task)
  }

  /** Drops what has not departed, and sends a reset after what has. */
  reset(failure: TransportFailure): void {
    if (this.close()) {
      this.sendReset(failure)
    }
  }

  /** Fails after everything that was written, whether there is room for it or not. */
  fail(failure: TransportFailure): void {
    if (!this.closed) {
      const waiting = this.outbox
      this.dropOutbox()
      this.closed = true
      this.flushBatch()
      if (!this.swallowing) {
        for (const bytes of waiting) {
          this.inFlight += bytes.length
          this.transmit(bytes)
        }
      }
      this.sendReset(failure)
    }
  }

  private sendReset(failure: TransportFailure): void {
    this.send(emptyBytes, () => this.sink.onReset(failure))
    this.resetAt = this.lastArrival
    this.wake()
  }

  /** Sends no more. What has departed goes on. */
  close(): boolean {
    if (this.closed) {
      return false
    }
    this.closed = true
    this.dropOutbox()
    this.batch.forEach((bytes) => this.inFlight -= bytes.length)
    this.batch = []
    const now = this.timeline.now()
    let last = this.parcels.length
    while (last > this.first && !this.timeline.isDue(this.parcels[last - 1]!.departAt)) {
      last -= 1
      this.inFlight -= this.parcels[last]!.bytes.length
    }
    this.parcels.length = last
    this.lineFreeAt = now
    this.lastArrival = last > this.first ? this.parcels[last - 1]!.arriveAt : now
    return true
  }

  private dropOutbox(): void {
    this.outbox = []
    this.queued = 0
  }

  /** Sends what there is room for, and then the end. */
  private admit(): boolean {
    if (this.closed) {
      return false
    }
    let sent = false
    while (this.outbox.length > 0 && this.inFlight < this.conditions.window) {
      const waiting = this.outbox[0]!
      const room = this.swallowing ? waiting.length : this.conditions.window - this.inFlight
      const bytes = waiting.length <= room ? waiting : waiting.subarray(0, room)
      if (bytes === waiting) {
        this.outbox.shift()
      } else {
        this.outbox[0] = waiting.subarray(room)
      }
      this.queued -= bytes.length
      sent = true
      if (!this.swallowing) {
        this.inFlight += bytes.length
        this.post(bytes)
      }
    }
    if (this.ending && !this.ended && this.outbox.length === 0) {
      this.ended = true
      this.signal(() => {
        if (!this.losesEnd && !this.swallowing) {
          this.sink.onEnd()
        }
      })
    }
    return sent
  }

  private post(bytes: Bytes): void {
    const { coalesce, window } = this.conditions
    if (coalesce === undefined && this.batch.length === 0) {
      return this.transmit(bytes)
    }
    this.batch.push(bytes)
    if (this.inFlight >= window) {
      // Nothing could join it any more.
      this.flushBatch()
    } else if (this.batch.length === 1) {
      const batch = this.batch
      const flush = () => {
        if (this.batch === batch) {
          this.flushBatch()
        }
      }
      if (coalesce === 0) {
        queueMicrotask(flush)
      } else {
        this.timeline.at(this.timeline.now() + coalesce!, flush)
      }
    }
  }

  private flushBatch(): void {
    const batch = this.batch
    if (batch.length > 0) {
      this.batch = []
      this.transmit(batch.length === 1 ? batch[0]! : concat(batch))
    }
  }

  private transmit(bytes: Bytes): void {
    const { fragment } = this.conditions
    const most = this.longestPiece
    if (fragment !== "random" && Math.min(fragment, most) >= bytes.length) {
      return this.send(bytes, undefined)
    }
    for (let from = 0; from < bytes.length;) {
      const length = Math.min(most, fragment === "random" ? this.random.magnitude(bytes.length - from) : fragment)
      this.send(bytes.subarray(from, from + length), undefined)
      from += length
    }
  }

  /**
   * How long a piece may be, lest the line be idle: for as long as one is on its way, what is sent behind it has to fit
   * into the window. Where that can't be, pieces are short by comparison with the window.
   */
  private get longestPiece(): number {
    const { bandwidth, jitter, latency, window } = this.conditions
    return bandwidth === Infinity
      ? Infinity
      : Math.max(1, Math.floor(Math.max(window / 8, window - bandwidth * (latency + jitter))))
  }

  private send(bytes: Bytes, task: (() => void) | undefined): void {
    const { bandwidth, jitter, latency } = this.conditions
    const departAt = Math.max(this.timeline.now(), this.lineFreeAt) + bytes.length / bandwidth
    const arriveAt = departAt + latency + (jitter === 0 ? 0 : jitter * this.random.next())
    this.lineFreeAt = departAt
    this.lastArrival = Math.max(arriveAt, this.lastArrival)
    this.parcels.push({ bytes, task, departAt, arriveAt: this.lastArrival, place: this.timeline.takePlace() })
    this.wake()
  }

  // ---------------------------------------------------------------------------
  // what comes out
  // ---------------------------------------------------------------------------

  /** Looks whether something can be delivered, now or at a time that is known. The sink calls it when it is ready. */
  wake(): void {
    const parcel = this.parcels[this.first]
    if (parcel === undefined || this.holds !== 0 || this.turning) {
      return
    }
    const time = this.sink.ready ? parcel.arriveAt : this.sink.started ? this.resetAt : undefined
    if (time === undefined) {
      return
    }
    if (this.timeline.isDue(time)) {
      this.turning = true
      queueMicrotask(this.turn)
    } else if (time < this.plannedFor) {
      this.plannedFor = time
      this.timeline.at(time, this.turnInTime, parcel.place)
    }
  }

  private readonly turnInTime = (): void => {
    this.plannedFor = Infinity
    if (!this.turning) {
      this.turn()
    }
  }

  private readonly turn = (): void => {
    this.turning = false
    const parcel = this.parcels[this.first]
    if (parcel === undefined || this.holds !== 0) {
      return
    }
    if (this.sink.ready) {
      if (this.timeline.isDue(parcel.arriveAt)) {
        this.deliver(parcel)
      }
    } else if (this.sink.started && this.resetAt !== undefined && this.timeline.isDue(this.resetAt)) {
      while (this.first < this.parcels.length && this.holds === 0) {
        this.deliver(this.parcels[this.first]!)
      }
    }
    this.wake()
  }

  private deliver(parcel: Parcel): void {
    const room = (this.breakpoints[0]?.at ?? Infinity) - this.delivered
    let bytes = parcel.bytes
    if (bytes.length > room) {
      bytes = bytes.subarray(0, room)
      parcel.bytes = parcel.bytes.subarray(room)
    } else {
      this.first += 1
      if (this.first > 64 && 2 * this.first > this.parcels.length) {
        this.parcels.splice(0, this.first)
        this.first = 0
      }
    }
    if (parcel.task !== undefined) {
      return parcel.task()
    }
    this.inFlight -= bytes.length
    this.delivered += bytes.length
    this.sink.onData(this.corrupted(bytes))
    this.runBreakpoints()
    if (this.admit()) {
      this.source.onRoom()
    }
  }

  private corrupted(bytes: Bytes): Bytes {
    if (this.corruption === 0) {
      return bytes
    }
    const changed = bytes.slice()
    changed[0]! ^= this.corruption
    this.corruption = 0
    return changed
  }

  /** Bytes that have arrived and were not taken. */
  get hasUntaken(): boolean {
    const parcel = this.parcels[this.first]
    return parcel !== undefined && parcel.bytes.length > 0 && this.timeline.isDue(parcel.arriveAt)
  }

  // ---------------------------------------------------------------------------
  // what befalls it
  // ---------------------------------------------------------------------------

  hold(reason: number): void {
    this.holds |= reason
  }

  release(reason: number): void {
    this.holds &= ~reason
    this.wake()
  }

  get isHeld(): boolean {
    return this.holds !== 0
  }

  /** Runs the task when so many more bytes have come out, and before anything else does. */
  after(bytes: number, task: () => void): void {
    const at = this.delivered + bytes
    const index = this.breakpoints.findIndex((breakpoint) => breakpoint.at > at)
    this.breakpoints.splice(index < 0 ? this.breakpoints.length : index, 0, { at, task })
    this.runBreakpoints()
  }

  private runBreakpoints(): void {
    while (this.breakpoints.length > 0 && this.breakpoints[0]!.at <= this.delivered) {
      this.breakpoints.shift()!.task()
    }
  }

  /** Changes the next byte that comes out, by exclusive or. */
  corruptNext(mask: number): void {
    this.corruption ^= mask
  }

  /** Ends here for who takes, while who sends notices nothing. Messages arrive before the end, and a reset after it. */
  truncate(): void {
    const messages = this.parcels.slice(this.first).filter(({ task }) => task !== undefined)
    const reset = this.resetAt === undefined ? undefined : messages.pop()
    this.parcels = messages
    this.first = 0
    this.dropFrom(messages.length)
    this.swallowing = true
    this.put(() => this.sink.onEnd())
    if (reset !== undefined) {
      this.parcels.push(reset)
    }
    this.admit()
    // Even if nothing waited for room: a sender may wait for what was on its way, and is no more.
    this.source.onRoom()
  }

  /** A reset that comes from nowhere, and nothing holds it. What has arrived comes first, unless it is to be dropped. */
  break(failure: TransportFailure, dropArrived: boolean): void {
    let kept = this.first
    while (!dropArrived && kept < this.parcels.length && this.timeline.isDue(this.parcels[kept]!.arriveAt)) {
      kept += 1
    }
    this.closed = true
    this.holds = 0
    this.dropOutbox()
    this.dropFrom(kept)
    this.put(() => this.sink.onReset(failure))
    this.resetAt = this.timeline.now()
    this.wake()
  }

  /** Something arrives now, after all that is on its way. */
  private put(task: () => void): void {
    const now = this.timeline.now()
    this.parcels.push({ bytes: emptyBytes, task, departAt: now, arriveAt: now, place: this.timeline.takePlace() })
    this.wake()
  }

  private dropFrom(index: number): void {
    this.batch = []
    this.parcels.length = index
    this.inFlight = 0
    for (let i = this.first; i < index; i++) {
      this.inFlight += this.parcels[i]!.bytes.length
    }
  }
}
