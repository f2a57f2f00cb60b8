/**
 * TLS over a socket that nobody reads from: Node's TLS reads and writes it itself, without a detour through JavaScript.
 *
 * Then nobody here sees the end of TCP, by which close_notify is told from an end without one. But libuv stops reading at
 * that end before it reports it, and not otherwise; and to start reading where reading goes on is refused
 * (`UV_EALREADY`, as its documentation has it). So within the call in which TLS ends, that question is put to it. Where TLS
 * itself had stopped the reading, no end of TCP can have come.
 *
 * What a socket has for a handle is not documented by Node. Where there is none of that kind, TLS goes over the transport.
 */
import type * as Net from "node:net"
import type { TLSSocket } from "node:tls"
import { getSystemErrorName } from "node:util"
import type * as Tls from "../../../Tls.js"
import type { Transport } from "../../../Transport.js"
import { connectionFailure } from "../../errno.js"
import { Inherited } from "../../inherited.js"
import { IntakeTransport } from "../intake.js"
import { resetBehind } from "../syscalls.js"
import { queueSizeOf, SocketTransport } from "../transport.js"
import { handleBelow, handleOf, ownsSockets, socketBelow, takeHandle } from "./handles.js"
import { type Carrier, TlsTransport } from "./transport.js"

/**
 * The carrier for a transport that has not been started, if it is one of a socket that TLS can take over: a fresh one, or
 * one that was a connection's, and is made as good as new.
 *
 * @internal
 */
export const overSocket = (lower: Transport): Carrier | undefined => {
  const transport = lower instanceof Inherited
    ? lower.yieldTo((transport, received) => isSocket(transport) && transport.rewind(received) ? transport : undefined)
    : isSocket(lower) && !lower.started && lower.stream.readableLength === 0
    ? lower
    : undefined
  return transport === undefined ? undefined : new SocketCarrier(transport)
}

const isSocket = (transport: Transport): transport is SocketTransport =>
  transport instanceof SocketTransport && !("encrypted" in transport.stream) &&
  handleOf(transport.stream) !== undefined &&
  transport.stream.readable && transport.stream.writable && transport.stream.writableLength === 0

class SocketCarrier implements Carrier {
  readonly stream: Net.Socket

  constructor(private readonly lower: SocketTransport) {
    this.stream = lower.stream
    // A peer that ends in the middle of the handshake is not coming back. TLS takes this over.
    this.stream.allowHalfOpen = false
  }

  secured(socket: TLSSocket, options: Tls.CommonOptions, session: Tls.Session): TlsTransport {
    socket.allowHalfOpen = true
    const transport = new SocketTlsTransport(socket, this.lower, options, session)
    if (this.lower instanceof IntakeTransport && ownsSockets()) {
      takeHandle(socket, this.stream)
    }
    return transport
  }

  destroy(): void {
    this.lower.destroy()
  }
}

class SocketTlsTransport extends TlsTransport {
  protected override carrierEnded(): boolean {
    const handle = handleBelow(this.stream)
    if (handle === undefined) {
      return true
    }
    if (handle.reading === false) {
      return false
    }
    const refused = handle.readStart()
    if (refused < 0) {
      return getSystemErrorName(refused) !== "EALREADY"
    }
    handle.readStop()
    const reset = resetBehind(handle.fd ?? -1)
    if (reset !== undefined) {
      this.failure ??= connectionFailure(reset)
    }
    return true
  }

  /** What OpenSSL has encrypted and the socket not taken, and what the system has not. */
  get writeProgress(): number | undefined {
    return (queueSizeOf(this.stream) ?? 0) + (handleBelow(this.stream)?.writeQueueSize ?? 0)
  }

  override destroy(): void {
    this.dropped = true
    this.discard()
  }

  /**
   * The close of a socket below is that of TLS. To close TLS itself over a socket that is on its way out would free at once
   * what OpenSSL may be in the middle of using, as it is when data that it has decrypted led to this call.
   */
  protected override discard(): void {
    if (socketBelow(this.stream)?.destroyed !== true) {
      this.stream.destroy()
    }
  }
}
