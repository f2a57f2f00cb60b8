/**
 * One end of a connection that two pipes lead to and from: a transport.
 *
 * It does as a kernel does. What was sent before a close still arrives; a close on data that nobody took is a reset, and
 * so is the answer to data for an end that is gone. An end that has seen its peer's waits for nothing more from there, and
 * so takes no notice of a reset before it writes.
 */
import type * as Address from "../Address.js"
import type { Transport, TransportFailure, TransportReceiver } from "../Transport.js"
import { type Bytes, concat } from "./bytes.js"
import { connectionFailure } from "./errno.js"
import type { Pipe, PipeSink, PipeSource } from "./pipe.js"

/** What the peer's reset is to this end. */
export const resetByPeer = (): TransportFailure =>
  connectionFailure(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET", syscall: "read" }))

/** What writing is where nobody is left to read. */
const brokenPipe = (): TransportFailure =>
  connectionFailure(Object.assign(new Error("write EPIPE"), { code: "EPIPE", syscall: "write" }))

/** Who is told what an end does. */
export interface EndpointObserver {
  readonly onSent: (endpoint: Endpoint, event: EndpointEvent, bytes: Bytes) => void
  readonly onReceived: (endpoint: Endpoint, event: EndpointEvent, bytes: Bytes) => void
  /** Nothing is left of it. */
  readonly onGone: (endpoint: Endpoint) => void
}

/** @internal */
export type EndpointEvent = "data" | "end" | "reset"

/** How an end came to its own. */
export type Ending = "ended" | "destroyed" | "aborted" | "reset"

const nothing = new Uint8Array(0)

/** @internal */
export class Endpoint implements Transport, PipeSource, PipeSink {
  readonly canWriteEof: boolean = true
  startTls: Transport["startTls"] = undefined

  /** Before, only the handshake's messages come. */
  established = false

  private receiver: TransportReceiver | undefined = undefined
  private paused = false
  private ending = false
  private endReported = false
  /** It was reset after the peer's end, and has not noticed. */
  private broken = false
  /** No more is delivered but the close. */
  protected gone = false
  private closed = false
  private failure: TransportFailure | undefined = undefined

  constructor(
    readonly localAddress: Address.Address,
    readonly remoteAddress: Address.Address,
    protected readonly out: Pipe,
    protected readonly inward: Pipe,
    private readonly observer: EndpointObserver
  ) {
    out.source = this
    inward.sink = this
  }

  // ---------------------------------------------------------------------------
  // the transport
  // ---------------------------------------------------------------------------

  get bufferedBytes(): number {
    return this.out.queued
  }

  start(receiver: TransportReceiver): void {
    this.receiver = receiver
    if (this.closed) {
      queueMicrotask(() => receiver.onClosed(this.failure))
    } else {
      this.inward.wake()
    }
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    this.inward.wake()
  }

  write(chunks: ReadonlyArray<Bytes>): void {
    if (!this.ending && !this.gone) {
      const bytes = concat(chunks)
      if (bytes.length > 0) {
        this.observer.onSent(this, "data", bytes)
        this.out.write(bytes)
        if (this.broken) {
          this.fail(brokenPipe())
        }
      }
    }
  }

  end(): void {
    if (!this.ending && !this.gone) {
      this.ending = true
      this.observer.onSent(this, "end", nothing)
      this.out.end()
      queueMicrotask(() => this.closeIfEnded())
    }
  }

  destroy(): void {
    this.leave("destroyed")
  }

  abort(): void {
    this.reset()
  }

  /** Ends at once: in order, or by a reset where there is something that nobody took. */
  protected leave(how: Ending): void {
    if (this.gone) {
      return
    }
    if (this.inward.hasUntaken) {
      return this.reset()
    }
    if (!this.ending) {
      this.ending = true
      this.observer.onSent(this, "end", nothing)
    }
    this.out.endNow()
    this.close(how)
  }

  /** Ends at once, and the peer is told so by a reset. */
  reset(): void {
    if (!this.gone) {
      this.observer.onSent(this, "reset", nothing)
      this.out.reset(resetByPeer())
      this.close("aborted")
    }
  }

  private close(how: Ending): void {
    this.gone = true
    this.observer.onGone(this)
    this.inward.wake()
    this.release(how)
  }

  /** Gives back what is held, and calls `released` in a later turn, when it is given back. */
  protected release(_how: Ending): void {
    queueMicrotask(() => this.released())
  }

  protected released(): void {
    if (!this.closed) {
      this.closed = true
      this.receiver?.onClosed(this.failure)
    }
  }

  /** Both directions have ended in order. */
  protected get hasEnded(): boolean {
    return this.endReported && (this.out.ended || (this.broken && this.ending))
  }

  protected closeIfEnded(): void {
    if (this.hasEnded && !this.gone) {
      this.close("ended")
    }
  }

  // ---------------------------------------------------------------------------
  // the pipes
  // ---------------------------------------------------------------------------

  get ready(): boolean {
    return this.gone || !this.established || (this.receiver !== undefined && !this.paused)
  }

  get started(): boolean {
    return this.gone || this.receiver !== undefined
  }

  onRoom(): void {
    if (!this.gone) {
      this.receiver?.onDrain()
      this.closeIfEnded()
    }
  }

  onData(bytes: Bytes): void {
    if (this.gone) {
      this.answerWhenGone()
      return
    }
    this.observer.onReceived(this, "data", bytes)
    this.receiver?.onData(bytes)
  }

  /** Data has come for an end that is gone. */
  protected answerWhenGone(): void {
    this.out.reset(resetByPeer())
  }

  onEnd(): void {
    if (!this.gone && !this.endReported) {
      this.observer.onReceived(this, "end", nothing)
      this.endReported = true
      this.receiver?.onEnd()
      this.closeIfEnded()
    }
  }

  onReset(failure: TransportFailure): void {
    if (!this.gone) {
      this.observer.onReceived(this, "reset", nothing)
      if (!this.endReported) {
        this.fail(failure)
      } else if (failure.reason === "BrokenPipe" || this.out.queued > 0) {
        this.fail(brokenPipe())
      } else {
        this.out.close()
        this.broken = true
      }
    }
  }

  protected fail(failure: TransportFailure): void {
    this.failure = failure
    this.out.close()
    this.close("reset")
  }
}

/**
 * One end of a connection over a Unix socket. There are no packets, so a write knows at once that nobody is left to read,
 * and to abort is to end in order.
 *
 * @internal
 */
export class UnixEndpoint extends Endpoint {
  override abort(): void {
    this.leave("aborted")
  }

  protected override answerWhenGone(): void {
    this.out.reset(brokenPipe())
  }
}
