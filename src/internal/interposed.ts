/**
 * Two pipes between a connection and the transport it had: what lies between may then be slow, cut, and fail.
 *
 * The connection gets one end of them for its transport. At the other end, what comes out is written to the transport
 * below, and what that delivers goes in. When the end is given up, so is the transport, whatever is still on its way.
 */
import type { Transport, TransportFailure } from "../Transport.js"
import { type Ending, Endpoint, type EndpointObserver } from "./endpoint.js"
import type { Pipe } from "./pipe.js"

/** How much the transport below may hold before nothing more comes out of the pipe, in bytes. */
const highWaterMark = 65_536

/** @internal */
export class InterposedEnd extends Endpoint {
  override readonly canWriteEof: boolean
  readonly tls: Transport["tls"]
  readonly closeTimeout: Transport["closeTimeout"]
  private lowerClosed = false

  constructor(private readonly lower: Transport, out: Pipe, inward: Pipe, observer: EndpointObserver) {
    super(lower.localAddress, lower.remoteAddress, out, inward, observer)
    this.canWriteEof = lower.canWriteEof
    this.startTls = lower.startTls
    this.tls = lower.tls
    this.closeTimeout = lower.closeTimeout
    this.established = true

    const isReady = () => this.lowerClosed || lower.bufferedBytes <= highWaterMark
    out.sink = {
      started: true,
      get ready() {
        return isReady()
      },
      onData: (bytes) => {
        lower.write([bytes])
        this.onRoom()
      },
      onEnd: () => lower.end(),
      onReset: () => lower.abort()
    }

    let paused = false
    inward.source = {
      onRoom: () => {
        if (paused && inward.queued === 0) {
          paused = false
          lower.resume()
        }
      }
    }
    lower.start({
      onData: (chunk) => {
        inward.write(chunk)
        if (!paused && inward.queued > 0) {
          paused = true
          lower.pause()
        }
      },
      onEnd: () => inward.end(),
      onDrain: () => {
        this.onRoom()
        out.wake()
      },
      onClosed: (failure) => this.onLowerClosed(failure)
    })
  }

  /** What has not reached the system. */
  override get bufferedBytes(): number {
    return this.gone ? 0 : this.out.queued + this.out.inFlight + this.lower.bufferedBytes
  }

  /** What is counted as a whole is so below. */
  get writeProgress(): number | undefined {
    return this.lower.writeProgress
  }

  /** A failure of what is below is one that was noticed. */
  override onReset(failure: TransportFailure): void {
    if (this.lowerClosed && !this.gone) {
      this.fail(failure)
    } else {
      super.onReset(failure)
    }
  }

  private onLowerClosed(failure: TransportFailure | undefined): void {
    this.lowerClosed = true
    if (this.gone) {
      this.released()
    } else if (failure !== undefined) {
      this.inward.fail(failure)
    } else {
      this.closeIfEnded()
    }
  }

  protected override get hasEnded(): boolean {
    return super.hasEnded && this.lowerClosed
  }

  protected override release(how: Ending): void {
    if (how === "destroyed") {
      this.lower.destroy()
    } else if (how !== "ended") {
      this.lower.abort()
    }
    super.release(how)
  }

  protected override released(): void {
    if (this.lowerClosed) {
      super.released()
    }
  }
}
