/**
 * The stream of ciphertext below TLS: any transport, as the duplex stream that `node:tls` wants.
 *
 * Node decrypts a chunk within the call that delivers it, and keeps the result. So nothing has to be kept here: what the
 * transport delivers goes to TLS at once, and when TLS has enough, it is the transport that is told to pause.
 */
import { Duplex } from "node:stream"
import type { Transport, TransportFailure, TransportReceiver } from "../../../Transport.js"

/** Ciphertext that may wait below before TLS is told to wait. */
const highWaterMark = 65_536

/** Who is told what happens below TLS. */
export interface CiphertextOwner {
  readonly onDrain: () => void
  /** The peer has ended its side of TCP. TLS knows. */
  readonly onEnd: () => void
  readonly onClosed: (failure: TransportFailure | undefined) => void
}

/** @internal */
export class Ciphertext extends Duplex implements TransportReceiver {
  /** The peer has ended its side of TCP. */
  ended = false
  private written: (() => void) | undefined = undefined

  /** Begins to read the transport; TLS has to listen before anything can come, which is in a later turn. */
  constructor(private readonly lower: Transport, private readonly owner: CiphertextOwner) {
    super({ allowHalfOpen: true, autoDestroy: false, highWaterMark })
    lower.start(this)
  }

  onData(chunk: Uint8Array): void {
    this.emit("data", chunk)
  }

  onEnd(): void {
    this.ended = true
    this.emit("end")
    this.owner.onEnd()
  }

  onDrain(): void {
    const written = this.written
    if (written !== undefined && this.lower.bufferedBytes <= highWaterMark) {
      this.written = undefined
      written()
    }
    this.owner.onDrain()
  }

  onClosed(failure: TransportFailure | undefined): void {
    this.owner.onClosed(failure)
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
    callback(error)
  }
}
