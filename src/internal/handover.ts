/**
 * A transport that changes hands: what it reports between the end of one receiver and the start of the next is kept, and
 * the next one finds it as if it had come from the transport just now.
 */
import type { TransportFailure, TransportReceiver } from "../Transport.js"
import { type Bytes, concat } from "./bytes.js"

export class Handover implements TransportReceiver {
  private received: Array<Bytes>
  private closed: { readonly failure: TransportFailure | undefined } | undefined = undefined
  private heir: TransportReceiver | undefined = undefined

  constructor(received: Bytes, private ended: boolean) {
    this.received = [received]
  }

  /** Neither the end has come nor the close. */
  get isOpen(): boolean {
    return !this.ended && this.closed === undefined
  }

  /** What came and was not read, for the last time. */
  takeReceived(): Bytes {
    const received = concat(this.received)
    this.received = []
    return received
  }

  /** The next receiver, which is told of everything once this has returned. */
  start(heir: TransportReceiver): void {
    queueMicrotask(() => {
      this.heir = heir
      const received = this.takeReceived()
      if (received.length > 0) {
        heir.onData(received)
      }
      if (this.ended) {
        heir.onEnd()
      }
      if (this.closed !== undefined) {
        heir.onClosed(this.closed.failure)
      }
    })
  }

  onData(chunk: Bytes): void {
    if (this.heir === undefined) {
      this.received.push(chunk)
    } else {
      this.heir.onData(chunk)
    }
  }

  onEnd(): void {
    this.ended = true
    this.heir?.onEnd()
  }

  onDrain(): void {
    this.heir?.onDrain()
  }

  onClosed(failure: TransportFailure | undefined): void {
    this.closed = { failure }
    this.heir?.onClosed(failure)
  }
}
