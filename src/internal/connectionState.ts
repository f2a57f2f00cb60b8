/**
 * The life of a connection, in one place. Reader, writer, server and metrics look here; none keeps a flag of its own.
 *
 * ```
 * open ──close──▶ closing ──both ends done, or the peer silent, or late──▶ closed(reason)
 *   ├──────────────abort, a failure, both directions ended─────────────────▶
 *   ├──expire, a limit in time was passed: in order, as close, or at once ──▶ (failed, whatever follows)
 *   │         (of one that is closing already, that of what is queued alone: at once)
 *   └──spend──▶ spent, while another takes the transport over ──surrender──▶
 * ```
 *
 * A close of one that is spent cuts the transport off: in the middle of a handshake there is nothing to be ended in order.
 *
 * Each direction may end before that: reading by the peer's end (`input.end`), writing by `writeEof`.
 *
 * Closing in order. What is queued is sent, then our end. Giving the socket back at that moment would be a mistake: a
 * kernel that still holds unread data from the peer, or receives more, answers with a reset, and a reset destroys what
 * the peer had not read yet. So the peer is listened to, and what it sends dropped, until it ends its side too. A peer
 * that has nothing more to say and does not care to close is left after `lingerTime` of silence, which endangers nothing:
 * all that we sent is on its way. Past the close timeout, the rest is an abort. And a transport that was given up, and does
 * not say that it has closed, is waited for no longer than `lastWait`.
 */
import type { ConnectionError } from "../NetworkError.js"
import type { TransportFailure, TransportReceiver } from "../Transport.js"
import type { Bytes } from "./bytes.js"
import { ConnectionTimeouts, type Timed, type TimeoutLimits } from "./connectionTimeouts.js"
import { Handover } from "./handover.js"
import { InputBuffer, type Source } from "./inputBuffer.js"
import { type Output, OutputGate } from "./outputGate.js"

/** Why an operation can't be done any more; the part of a `ConnectionError` that all operations share. */
export interface Ending {
  readonly reason: ConnectionError["reason"]
  readonly code: string | undefined
  readonly cause: unknown
  /** What there is to say beyond the reason. */
  readonly detail?: string | undefined
}

/** How a connection ended. */
export type Closed =
  | { readonly by: "Local" | "Peer" | "Aborted" }
  | { readonly by: "Failed"; readonly failure: Ending & Pick<TransportFailure, "tls"> }

/** The part of a transport that the state drives. */
export interface Wire extends Source, Output {
  readonly end: () => void
  readonly destroy: () => void
  readonly abort: () => void
  readonly closeTimeout?: number | undefined
  readonly writeProgress?: number | undefined
}

/** Time, wherever it comes from. */
export interface Timers {
  readonly now: () => number
  /** Runs `task` after `millis`, unless the function it returns is called before. */
  readonly after: (millis: number, task: () => void) => () => void
}

/** How long a peer that neither sends nor ends keeps a closing connection from being closed, in milliseconds. */
export const lingerTime = 1000

/** How long a transport that has been given up may take to close, in milliseconds. */
export const lastWait = 1000

/** Who counts the bytes, if anybody does. */
export interface Meter {
  readonly received: (bytes: number) => void
  readonly sent: (bytes: number) => void
}

export interface ConnectionLimits {
  readonly limit: number
  readonly highWaterMark: number
  readonly lowWaterMark: number
  /** In milliseconds. */
  readonly closeTimeout: number
  readonly meter?: Meter | undefined
  /** Absent where there are none. */
  readonly timeouts?: TimeoutLimits | undefined
}

const closedHere: Ending = { reason: "Closed", code: undefined, cause: undefined }
const abortedHere: Ending = { reason: "Aborted", code: undefined, cause: undefined }

export class ConnectionState implements TransportReceiver, Timed {
  readonly input: InputBuffer<Ending>
  readonly output: OutputGate
  /** How it ended, once it has. */
  closed: Closed | undefined = undefined

  private phase: "open" | "closing" | "aborting" | "spent" = "open"
  /** By `writeEof`. */
  private writeEnded = false
  /** Who will have ended it, when the close that has begun succeeds. */
  private closingBy: "Local" | "Peer" = "Local"

  /** Who waits for the end; made when somebody does. */
  private closeWaiters: Set<() => void> | undefined = undefined
  private cancelTimer: (() => void) | undefined = undefined
  private closeDeadline = 0
  /** Once it is spent: who is told instead. */
  private handover: Handover | undefined = undefined
  private lastActivity = 0
  /** How many of the next bytes another connection has received and counted already. */
  countedAlready = 0
  private readonly timeouts: ConnectionTimeouts | undefined
  /** The limit that was passed. */
  private expired: Ending | undefined = undefined

  constructor(
    private readonly wire: Wire,
    private readonly limits: ConnectionLimits,
    private readonly timers: Timers
  ) {
    this.input = new InputBuffer<Ending>(limits.limit, wire)
    if (limits.timeouts === undefined) {
      this.timeouts = undefined
      this.output = new OutputGate(wire, limits.highWaterMark, limits.lowWaterMark, limits.meter)
    } else {
      const timeouts = this.timeouts = new ConnectionTimeouts(limits.timeouts, timers, this)
      this.output = new OutputGate(
        new TimedOutput(wire, timeouts),
        limits.highWaterMark,
        limits.lowWaterMark,
        limits.meter
      )
      this.input.onWait = () => timeouts.readBegins()
      this.input.onResume = () => timeouts.resumed()
    }
  }

  get isClosing(): boolean {
    return this.phase !== "open" || this.closed !== undefined
  }

  /** This side has reset it: it was aborted, or its close was late, or a limit was passed. */
  get isReset(): boolean {
    return this.phase === "aborting"
  }

  /** Why nothing can be written any more, or `undefined`. */
  get writeEnding(): Ending | undefined {
    if (this.closed !== undefined) {
      return endingOf(this.closed)
    }
    return this.expired ??
      (this.phase === "aborting" ? abortedHere : this.phase !== "open" || this.writeEnded ? closedHere : undefined)
  }

  /** Why `writeEof` can't end this side, or `undefined`. Where it has, it may be done again, as long as all goes in order. */
  get eofEnding(): Ending | undefined {
    const ending = this.writeEnding
    return this.writeEnded && ending === closedHere && !this.isSpent ? undefined : ending
  }

  /** Why what was handed over will not be sent any more, or `undefined`: after an end in order all of it has been. */
  get flushEnding(): Ending | undefined {
    return this.closed !== undefined
      ? this.endedInOrder && this.output.unsent === 0 ? undefined : endingOf(this.closed)
      : this.phase === "aborting"
      ? this.expired ?? abortedHere
      : undefined
  }

  private get endedInOrder(): boolean {
    return this.handover === undefined && (this.closed?.by === "Local" || this.closed?.by === "Peer")
  }

  // ---------------------------------------------------------------------------
  // what this side does
  // ---------------------------------------------------------------------------

  writeEof(): void {
    if (!this.writeEnded && !this.isClosing) {
      this.writeEnded = true
      this.output.close()
      this.wire.end()
    }
  }

  /** Another is taking the transport over, or has, and this side has not cut that off. */
  get isSpent(): boolean {
    return this.phase === "spent"
  }

  close(): void {
    if (this.isSpent && this.closed === undefined) {
      this.phase = "closing"
      this.wire.abort()
      this.waitForLast()
    } else if (!this.isClosing) {
      this.closeInOrder()
    }
  }

  private closeInOrder(): void {
    this.phase = "closing"
    this.timeouts?.closing()
    this.closingBy = this.input.end === "eof" ? "Peer" : "Local"
    this.input.pushFailure(this.expired ?? closedHere)
    this.output.close()
    if (!this.writeEnded) {
      this.wire.end()
    }
    this.wire.resume()
    this.closeDeadline = this.timers.now() + Math.min(this.limits.closeTimeout, this.wire.closeTimeout ?? Infinity)
    this.lastActivity = this.timers.now()
    this.watch()
  }

  abort(): void {
    if (this.closed !== undefined || this.phase === "aborting") {
      return
    }
    this.phase = "aborting"
    this.timeouts?.stop()
    this.input.pushFailure(this.expired ?? abortedHere)
    this.output.end()
    this.wire.abort()
    this.waitForLast()
  }

  expire(ending: Ending, how: "close" | "abort"): void {
    // One that a limit has closed, and then ends at once, ends for the first.
    this.expired ??= ending
    this[how]()
  }

  /** Gives the transport up to another connection: nothing can be read or written here any more. */
  spend(): Handover {
    this.phase = "spent"
    this.timeouts?.stop()
    const handover = this.handover = new Handover(this.input.takeRest(), this.input.end === "eof")
    this.input.pushFailure(closedHere)
    this.output.close()
    this.wire.pause()
    return handover
  }

  /** The transport is another's, or gone. Where this side has cut it off, that is why. */
  surrender(closed: Closed): void {
    if (this.closed === undefined) {
      this.finish(this.isSpent ? closed : this.howClosed(undefined))
    }
  }

  /** Looks now and then at a connection that closes. */
  private watch(): void {
    this.cancelTimer = undefined
    if (this.closed !== undefined || this.phase !== "closing") {
      return
    }
    const now = this.timers.now()
    const late = this.closeDeadline - now
    const silent = this.lastActivity + lingerTime - now
    if (late <= 0) {
      this.abort()
    } else if (silent <= 0 && this.output.bufferedBytes === 0) {
      this.wire.destroy()
      this.waitForLast()
    } else {
      this.cancelTimer = this.timers.after(Math.min(late, silent > 0 ? silent : lingerTime), () => this.watch())
    }
  }

  private waitForLast(): void {
    if (this.closed === undefined) {
      this.cancelTimer?.()
      this.cancelTimer = this.timers.after(lastWait, () => this.finish(this.howClosed(undefined)))
    }
  }

  awaitClosed(resume: () => void): void {
    ;(this.closeWaiters ??= new Set()).add(resume)
  }

  giveUpClosed(resume: () => void): void {
    this.closeWaiters?.delete(resume)
  }

  // ---------------------------------------------------------------------------
  // what the limits in time look at
  // ---------------------------------------------------------------------------

  get readWaits(): boolean {
    return this.input.end === "open" && this.input.consumer.waits()
  }

  get paused(): boolean {
    return this.input.paused
  }

  get queuedBytes(): number {
    return this.wire.bufferedBytes
  }

  get writeProgress(): number | undefined {
    return this.wire.writeProgress
  }

  // ---------------------------------------------------------------------------
  // what the transport reports
  // ---------------------------------------------------------------------------

  onData(chunk: Bytes): void {
    if (this.phase === "open") {
      const known = Math.min(this.countedAlready, chunk.length)
      this.countedAlready -= known
      this.limits.meter?.received(chunk.length - known)
      this.timeouts?.received(chunk.length)
      this.input.push(chunk)
    } else if (this.handover !== undefined) {
      this.handover.onData(chunk)
    } else {
      this.lastActivity = this.timers.now()
    }
  }

  onEnd(): void {
    this.input.pushEof()
    this.handover?.onEnd()
  }

  onDrain(): void {
    if (this.phase === "closing" && this.output.bufferedBytes === 0) {
      this.lastActivity = this.timers.now()
    }
    this.timeouts?.drained()
    this.output.drained()
    this.handover?.onDrain()
  }

  onClosed(failure: TransportFailure | undefined): void {
    if (this.closed === undefined) {
      this.finish(this.howClosed(failure))
    }
    this.handover?.onClosed(failure)
  }

  private finish(closed: Closed): void {
    this.cancelTimer?.()
    this.timeouts?.stop()
    this.closed = closed
    this.input.pushFailure(endingOf(closed))
    this.output.end()
    const waiters = Array.from(this.closeWaiters ?? [])
    this.closeWaiters = undefined
    waiters.forEach((resume) => resume())
  }

  private howClosed(failure: TransportFailure | undefined): Closed {
    if (this.expired !== undefined) {
      return { by: "Failed", failure: this.expired }
    }
    if (this.phase === "aborting") {
      return { by: "Aborted" }
    }
    if (this.phase === "closing" && (failure === undefined || this.output.unsent === 0)) {
      // A peer that resets what it was done with takes nothing away.
      return { by: this.closingBy }
    }
    if (failure !== undefined) {
      return { by: "Failed", failure }
    }
    return { by: this.input.end === "eof" ? "Peer" : "Local" }
  }
}

/** Tells of each write. */
class TimedOutput implements Output {
  constructor(private readonly output: Output, private readonly timeouts: ConnectionTimeouts) {}

  get bufferedBytes(): number {
    return this.output.bufferedBytes
  }

  write(chunks: ReadonlyArray<Bytes>): void {
    this.output.write(chunks)
    this.timeouts.wrote()
  }
}

const endingOf = (closed: Closed): Ending =>
  closed.by === "Failed" ? closed.failure : closed.by === "Aborted" ? abortedHere : closedHere
