import type { Address } from "../Address.js"
import type { Transport, TransportReceiver } from "../Transport.js"
import { concat } from "./bytes.js"
import type { Handover } from "./handover.js"

/** The transport of a spent connection, for whoever takes it over. */
export class Inherited implements Transport {
  readonly localAddress: Address
  readonly remoteAddress: Address
  readonly canWriteEof: boolean
  readonly startTls: Transport["startTls"]
  readonly tls: Transport["tls"]
  readonly closeTimeout: Transport["closeTimeout"]

  constructor(
    private readonly transport: Transport,
    private readonly handover: Handover,
    private residue: Uint8Array
  ) {
    this.localAddress = transport.localAddress
    this.remoteAddress = transport.remoteAddress
    this.canWriteEof = transport.canWriteEof
    this.startTls = transport.startTls
    this.tls = transport.tls
    this.closeTimeout = transport.closeTimeout
  }

  get bufferedBytes(): number {
    return this.transport.bufferedBytes
  }
  get writeProgress(): number | undefined {
    return this.transport.writeProgress
  }
  /**
   * For whoever does better with the transport itself. `take` gets it, and what it had delivered, and says whether it takes
   * both; then this one is of no use any more. It has not been started.
   */
  yieldTo<A extends Transport>(take: (transport: Transport, received: Uint8Array) => A | undefined): A | undefined {
    if (!this.handover.isOpen) {
      return undefined
    }
    this.residue = concat([this.residue, this.handover.takeReceived()])
    return take(this.transport, this.residue)
  }
  start(receiver: TransportReceiver): void {
    this.handover.onData(this.residue)
    this.handover.start(receiver)
    this.transport.resume()
  }
  pause(): void {
    this.transport.pause()
  }
  resume(): void {
    this.transport.resume()
  }
  write(chunks: ReadonlyArray<Uint8Array>): void {
    this.transport.write(chunks)
  }
  end(): void {
    this.transport.end()
  }
  destroy(): void {
    this.transport.destroy()
  }
  abort(): void {
    this.transport.abort()
  }
}
