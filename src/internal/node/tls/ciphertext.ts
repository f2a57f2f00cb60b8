/**
 * TLS over any transport, which here is the duplex stream that `node:tls` wants.
 *
 * Node decrypts a chunk within the call that delivers it, and keeps the result. So nothing has to be kept here: what the
 * transport delivers goes to TLS at once, and when TLS has enough, it is the transport that is told to pause.
 *
 * TLS and what is below it end separately, and in either order. The transport above both has closed when both have.
 */
import { Duplex } from "node:stream"
import type { TLSSocket } from "node:tls"
import type * as Tls from "../../../Tls.js"
import type { Transport, TransportFailure, TransportReceiver } from "../../../Transport.js"
import { type Carrier, TlsTransport } from "./transport.js"

/** Ciphertext that may wait below before TLS is told to wait. */
const highWaterMark = 65_536

/** @internal */
export class Ciphertext extends Duplex implements Carrier, TransportReceiver {
  readonly stream = this
  /** The peer has ended its side of TCP. */
  ended = false
  private upper: LayeredTlsTransport | undefined = undefined
  private written: (() => void) | undefined = undefined

  /**
   * Begins to read the transport; TLS has to listen before anything can come, which is in a later turn. An end before
   * the handshake is done is reported here, and what came before it TLS may have to report yet.
   */
  constructor(private readonly lower: Transport, private readonly endedEarly: (cause: unknown) => void) {
    super({ allowHalfOpen: true, autoDestroy: false, highWaterMark })
    this.on("error", ignore)
    lower.start(this)
  }

  secured(socket: TLSSocket, options: Tls.CommonOptions, session: Tls.Session): TlsTransport {
    return this.upper = new LayeredTlsTransport(socket, this, this.lower, options, session)
  }

  onData(chunk: Uint8Array): void {
    this.emit("data", chunk)
  }

  onEnd(): void {
    this.ended = true
    this.emit("end")
    if (this.upper === undefined) {
      this.endedEarly(undefined)
    }
  }

  onDrain(): void {
    const written = this.written
    if (written !== undefined && this.lower.bufferedBytes <= highWaterMark) {
      this.written = undefined
      written()
    }
    this.upper?.onLowerDrain()
  }

  onClosed(failure: TransportFailure | undefined): void {
    if (this.upper === undefined) {
      this.endedEarly(failure?.cause)
    } else {
      this.upper.onLowerClosed(failure)
    }
  }

  override pause(): this {
    this.lower.pause()
    return this
  }

  override resume(): this {
    this.lower.resume()
    return this
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.lower.write([chunk])
    this.waitForRoom(callback)
  }

  override _writev(chunks: Array<{ readonly chunk: Buffer }>, callback: () => void): void {
    this.lower.write(chunks.map(({ chunk }) => chunk))
    this.waitForRoom(callback)
  }

  private waitForRoom(callback: () => void): void {
    if (this.lower.bufferedBytes > highWaterMark) {
      this.written = callback
    } else {
      callback()
    }
  }

  override _final(callback: () => void): void {
    this.lower.end()
    callback()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.written = undefined
    if (this.upper === undefined) {
      this.lower.destroy()
    }
    callback(error)
  }
}

const ignore = () => {}

class LayeredTlsTransport extends TlsTransport {
  private lowerClosed = false

  constructor(
    socket: TLSSocket,
    private readonly ciphertext: Ciphertext,
    private readonly lower: Transport,
    options: Tls.CommonOptions,
    session: Tls.Session
  ) {
    super(socket, lower, options, session)
  }

  protected override carrierEnded(): boolean {
    return this.ciphertext.ended
  }

  /** What waits here waits below as well, encrypted, and until the transport has taken it in both places there. */
  override get bufferedBytes(): number {
    const plain = super.bufferedBytes
    return this.dropped || this.lowerClosed
      ? plain
      : Math.max(plain, this.ciphertext.writableLength, this.lower.bufferedBytes)
  }

  get writeProgress(): number | undefined {
    const { bufferedBytes, writeProgress = 0 } = this.lower
    return super.bufferedBytes + this.ciphertext.writableLength + bufferedBytes + writeProgress
  }

  override destroy(): void {
    super.destroy()
    this.lower.destroy()
  }

  override abort(): void {
    super.destroy()
    this.reset()
  }

  protected override reset(): void {
    this.lower.abort()
  }

  /** TLS has closed. */
  override ceased(): void {
    if (this.lowerClosed) {
      super.ceased()
    } else if (this.failure !== undefined || this.dropped) {
      this.lower.destroy()
    } else {
      // Both sides have said close_notify: what TCP does beyond sending ours no longer matters.
      this.lower.end()
      this.releaseLower()
    }
  }

  private releaseLower(): void {
    if (this.stream.closed && this.lower.bufferedBytes === 0) {
      this.lower.destroy()
    }
  }

  onLowerDrain(): void {
    this.releaseLower()
    if (!this.dropped) {
      this.receiver?.onDrain()
    }
  }

  onLowerClosed(failure: TransportFailure | undefined): void {
    this.lowerClosed = true
    this.failure ??= failure
    if (this.stream.closed) {
      super.ceased()
    } else if (failure !== undefined) {
      this.stream.destroy()
    }
  }
}
