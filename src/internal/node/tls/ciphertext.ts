/**
 * The stream of ciphertext below TLS: any transport, as the duplex stream that `node:tls` wants.
 *
 * It also notes whether the peer's last word was an alert, which is how its close_notify is told from a mere TCP end; see
 * `tlsRecords.ts`.
 */
import { Duplex } from "node:stream"
import type { Transport, TransportFailure, TransportReceiver } from "../../../Transport.js"
import { RecordWatch } from "../../tlsRecords.js"

/** Ciphertext that may wait below before TLS is told to wait. */
const highWaterMark = 65_536

export interface CiphertextOwner {
  /** Bytes that TLS has decrypted so far. */
  readonly decrypted: () => number
  readonly onDrain: () => void
  readonly onClosed: (failure: TransportFailure | undefined) => void
}

/** @internal */
export class Ciphertext extends Duplex implements TransportReceiver {
  /** The peer's last record was an alert. */
  alerted = false
  private owner: CiphertextOwner | undefined = undefined
  private readonly watch: RecordWatch = new RecordWatch()
  private candidate: Buffer | undefined = undefined
  private written: (() => void) | undefined = undefined
  private decryptedBefore = 0

  constructor(private readonly lower: Transport) {
    super({ allowHalfOpen: true, autoDestroy: false, highWaterMark })
    // One listener before that of TLS, one behind it: what TLS makes of a chunk happens between the two.
    this.on("data", this.beforeTls)
    this.pause()
  }

  /** To be called when TLS listens. */
  attach(owner: CiphertextOwner): void {
    this.owner = owner
    this.on("data", this.afterTls)
    this.lower.start(this)
  }

  private readonly beforeTls = (): void => {
    this.decryptedBefore = this.owner?.decrypted() ?? 0
  }

  private readonly afterTls = (chunk: Buffer): void => {
    this.alerted = chunk === this.candidate && this.owner?.decrypted() === this.decryptedBefore
    if (chunk === this.candidate) {
      this.candidate = undefined
    }
  }

  onData(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    const cut = this.watch.split(chunk)
    let more = true
    if (cut < 0) {
      more = this.push(bytes)
    } else {
      if (cut > 0) {
        this.push(bytes.subarray(0, cut))
      }
      this.candidate = cut > 0 ? bytes.subarray(cut) : bytes
      more = this.push(this.candidate)
    }
    if (!more) {
      this.lower.pause()
    }
  }

  onEnd(): void {
    this.push(null)
  }

  onDrain(): void {
    const written = this.written
    if (written !== undefined && this.lower.bufferedBytes <= highWaterMark) {
      this.written = undefined
      written()
    }
    this.owner?.onDrain()
  }

  onClosed(failure: TransportFailure | undefined): void {
    if (failure !== undefined) {
      // Whatever came before the failure is decrypted now, though nobody may have asked for it yet.
      while (this.read() !== null) {
        // `read` has told the listeners.
      }
    }
    this.owner?.onClosed(failure)
  }

  override _read(): void {
    this.lower.resume()
  }

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
