/**
 * The patience of a connection: how long nothing may come or go, a read may wait, the peer may leave what is queued for
 * it, and how slowly it may send. What goes beyond ends the connection.
 *
 * Theory of operation. One timer a connection, set to the earliest moment at which any limit can have been passed. What
 * happens on the connection moves these moments into the future, and leaves the timer where it is: it only notes the
 * time. When the timer fires, it looks at what is true by then, and is set anew. So the busier a connection is, the less
 * a limit costs for each thing that happens. A connection without limits has no object of this class.
 *
 * - **idle**: since something last came or went, or the peer was last held up by us.
 * - **read**: since the waiting read began to wait, or something last came.
 * - **write**: since something was queued, or the network last took some of it. The only one that is left when the
 *   connection closes: the others are about what is still to come.
 * - **rate**: measured while the peer is sending: from the first byte that comes after our last write until our next one,
 *   and only while a read waits. In each `period` of such waiting, `bytesPerSecond` must be reached. A peer that says
 *   nothing at all is not slow but idle, and one that the program does not listen to is neither.
 */
import type { Ending, Timers } from "./connectionState.js"

/** In milliseconds; `Infinity` is no limit. */
export interface TimeoutLimits {
  readonly idle: number
  readonly read: number
  readonly write: number
  readonly rate: { readonly bytesPerSecond: number; readonly period: number } | undefined
}

/** The connection, as far as its limits need to see it. */
export interface Timed {
  /** Whether a read waits for more to come. */
  readonly readWaits: boolean
  /** Whether the peer is held up, for the program takes no more. */
  readonly paused: boolean
  readonly queuedBytes: number
  /** A number that changes when the network takes a part of something that is queued. */
  readonly writeProgress: number | undefined
  /** Ends the connection: in order, or at once. One that is closing is only ever ended at once. */
  readonly expire: (ending: Ending, how: "close" | "abort") => void
}

const format = (millis: number): string => {
  for (const [unit, name] of [[3_600_000, "h"], [60_000, "m"], [1000, "s"]] as const) {
    if (millis % unit === 0) {
      return `${millis / unit}${name}`
    }
  }
  return `${millis}ms`
}

const ending = (reason: Ending["reason"], detail: string): Ending => ({
  reason,
  code: undefined,
  cause: undefined,
  detail
})

const bytes = (n: number): string => `${n} byte${n === 1 ? "" : "s"}`

export class ConnectionTimeouts {
  private lastReceived: number
  private lastSent: number
  /** When the read that waits, or the last that did, began to. */
  private readSince = 0
  /** When the queue was last seen to become something, or less. */
  private writeSince = 0
  /** Whether the queue was something when it was last looked at: then what the network takes of it is progress. */
  private writing = false
  private writeProgress: number | undefined = undefined

  // Of the period under way.
  private measuring = false
  private waited = 0
  private receivedBytes = 0
  /** Up to when waiting has been counted. */
  private countedTo = 0

  private timerAt = Infinity
  private cancelTimer: (() => void) | undefined = undefined
  private stopped = false

  constructor(
    private limits: TimeoutLimits,
    private readonly timers: Timers,
    private readonly timed: Timed
  ) {
    this.lastReceived = this.lastSent = timers.now()
    this.schedule(this.lastReceived)
  }

  /** Of a connection that closes, only what is still queued is waited for. */
  closing(): void {
    if (!this.stopped) {
      this.limits = { idle: Infinity, read: Infinity, write: this.limits.write, rate: undefined }
      this.measuring = false
      this.cancel()
      this.schedule(this.timers.now())
    }
  }

  /** The connection ends, or is no longer ours. */
  stop(): void {
    this.stopped = true
    this.cancel()
  }

  private cancel(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    this.timerAt = Infinity
  }

  // What happens. Each is called when it has happened, but `received`, which comes before the bytes are handed on.

  received(size: number): void {
    if (this.stopped) {
      return
    }
    const now = this.timers.now()
    this.lastReceived = now
    if (this.limits.rate !== undefined) {
      this.receivedBytes += size
      if (this.measuring) {
        this.count(now)
      } else {
        this.measuring = true
        this.countedTo = now
        this.watchRate(now)
      }
    }
  }

  readBegins(): void {
    if (!this.stopped) {
      const now = this.readSince = this.timers.now()
      if (now + this.limits.read < this.timerAt) {
        this.schedule(now)
      } else if (this.measuring) {
        this.watchRate(now)
      }
    }
  }

  /** The peer was held up, and is no longer. */
  resumed(): void {
    if (!this.stopped) {
      this.lastReceived = this.timers.now()
    }
  }

  wrote(): void {
    if (this.stopped) {
      return
    }
    this.measuring = false
    this.waited = 0
    this.receivedBytes = 0
    this.lastSent = this.timers.now()
    if (!this.writing && this.timed.queuedBytes > 0) {
      this.writing = true
      this.writeSince = this.lastSent
      this.writeProgress = this.timed.writeProgress
      this.schedule(this.lastSent)
    }
  }

  drained(): void {
    if (!this.stopped) {
      this.lastSent = this.writeSince = this.timers.now()
      this.writing = this.timed.queuedBytes > 0
      this.writeProgress = this.timed.writeProgress
    }
  }

  // When the limits are reached.

  private get idleAt(): number {
    return Math.max(this.lastReceived, this.lastSent) + this.limits.idle
  }

  private get readAt(): number {
    return this.timed.readWaits ? Math.max(this.readSince, this.lastReceived) + this.limits.read : Infinity
  }

  private get writeAt(): number {
    return this.writing ? this.writeSince + this.limits.write : Infinity
  }

  private get rateAt(): number {
    return this.limits.rate !== undefined && this.measuring && this.timed.readWaits
      ? Math.max(this.countedTo, this.readSince) + this.limits.rate.period - this.waited
      : Infinity
  }

  /** Sees to it that the timer is not too late for the end of the period. */
  private watchRate(now: number): void {
    if (now + this.limits.rate!.period - this.waited < this.timerAt) {
      this.schedule(now)
    }
  }

  /** Counts the time up to now, if a read has waited. */
  private count(now: number): void {
    if (this.timed.readWaits) {
      this.waited += now - Math.max(this.countedTo, this.readSince)
    }
    this.countedTo = now
  }

  private schedule(now: number): void {
    const next = Math.min(this.idleAt, this.readAt, this.writeAt, this.rateAt)
    if (next < this.timerAt) {
      this.cancelTimer?.()
      this.timerAt = next
      this.cancelTimer = this.timers.after(Math.max(0, next - now), () => this.look())
    }
  }

  private look(): void {
    this.cancelTimer = undefined
    this.timerAt = Infinity
    const now = this.timers.now()
    this.notice(now)
    const { idle, rate, read, write } = this.limits
    if (this.writeAt <= now) {
      const left = bytes(this.timed.queuedBytes)
      this.expire(
        ending("WriteTimeout", `the peer made no room for ${format(write)} (writeTimeout), and ${left} are queued`)
      )
    } else if (this.readAt <= now) {
      this.expire(ending("ReadTimeout", `nothing came for ${format(read)} (readTimeout)`))
    } else if (this.rateAt <= now && this.isTooSlow(now)) {
      const { bytesPerSecond, period } = rate!
      this.expire(ending(
        "RateTooLow",
        `${bytes(this.receivedBytes)} came in ${
          format(period)
        }, which is below ${bytesPerSecond} a second (minReadRate)`
      ))
    } else if (this.idleAt <= now) {
      this.expire(ending("IdleTimeout", `nothing came or went for ${format(idle)} (idleTimeout)`))
    } else {
      this.schedule(now)
    }
  }

  /** What nobody tells: that the network takes a long write bit by bit, and that the peer is held up by us. */
  private notice(now: number): void {
    if (this.writing && this.timed.writeProgress !== this.writeProgress) {
      this.writeProgress = this.timed.writeProgress
      this.lastSent = this.writeSince = now
    }
    if (this.timed.paused) {
      this.lastReceived = now
    }
  }

  /** At the end of a period. If it was well used, the next one begins. */
  private isTooSlow(now: number): boolean {
    const { bytesPerSecond, period } = this.limits.rate!
    if (this.receivedBytes * 1000 < bytesPerSecond * period) {
      return true
    }
    this.waited = 0
    this.receivedBytes = 0
    this.countedTo = now
    return false
  }

  private expire(ending: Ending): void {
    // A peer that is silent, but to which all has been sent, is told in order, and loses nothing.
    const how = ending.reason === "ReadTimeout" || (ending.reason === "IdleTimeout" && this.timed.queuedBytes === 0)
      ? "close"
      : "abort"
    this.timed.expire(ending, how)
  }
}
