/**
 * The transport of a socket that this side connects.
 */
import * as Net from "node:net"
import type * as Address from "../../Address.js"
import type { Transport } from "../../Transport.js"
import { type AttemptFailure, type AttemptReceiver } from "../dial.js"
import { addressReason, codeOf } from "../errno.js"
import { IntakeTransport, lend, lends } from "./intake.js"
import type { SocketSettings } from "./socketSettings.js"
import { localOf, ownerOf, remoteOf, unnamed } from "./transport.js"
import { connectToZone } from "./zone.js"

const attemptFailure = (cause: unknown): AttemptFailure => {
  const code = codeOf(cause)
  return { reason: addressReason(code), code, cause }
}

function onConnect(this: Net.Socket): void {
  ;(ownerOf(this) as DialledTransport | undefined)?.connected()
}

/** @internal */
export class DialledTransport extends IntakeTransport {
  /** Told of the outcome while the socket connects. */
  private attempt: AttemptReceiver<Transport> | undefined = undefined

  /** Begins to connect, and calls the receiver once. A transport that is destroyed before that calls nobody. */
  connect(options: Net.NetConnectOpts, to: Address.Address, attempt: AttemptReceiver<Transport>): void {
    const socket = this.stream
    this.attempt = attempt
    this.remoteAddress = to
    // Nothing is to be read before `start`.
    socket.pause()
    try {
      socket.on("connect", onConnect)
      connectToZone(socket, options)
    } catch (error) {
      socket.destroy()
      this.failed(error)
    }
  }

  connected(): void {
    const { attempt, remoteAddress: to, stream: socket } = this
    if (to._tag === "TcpAddress") {
      this.localAddress = localOf(socket)
      // To ask costs a system call, and other notations exist only for IPv6.
      if (to.family === 6 || to.host === "0.0.0.0") {
        this.remoteAddress = remoteOf(socket)
      }
    }
    this.attempt = undefined
    attempt?.onConnected(this)
  }

  override failed(error: unknown): void {
    super.failed(error)
    const attempt = this.attempt
    if (attempt !== undefined) {
      this.attempt = undefined
      attempt.onFailed(attemptFailure(error))
    }
  }

  override destroy(): void {
    this.attempt = undefined
    super.destroy()
  }

  protected override borrows(): boolean {
    return lends
  }
}

/**
 * A transport that is still to be connected.
 *
 * @internal
 */
export const open = (settings: SocketSettings): DialledTransport => {
  const transport: DialledTransport = new DialledTransport(
    new Net.Socket(
      // Node copies the options, and sets the second to the fifth on the copy, to what they are here. Where the copy lacks
      // one of them, V8 makes hidden classes for each socket anew: ten microseconds, and a kilobyte that only a full
      // collection frees.
      {
        onread: lends ? { buffer: lend, callback: (size, buffer) => transport.read(size, buffer) } : undefined,
        allowHalfOpen: true,
        emitClose: false,
        autoDestroy: true,
        decodeStrings: false,
        noDelay: settings.noDelay,
        keepAlive: settings.keepAlive,
        keepAliveInitialDelay: settings.keepAliveInitialDelay
      } as Net.SocketConstructorOpts & { readonly onread?: Net.OnReadOpts | undefined }
    ),
    unnamed,
    unnamed
  )
  return transport
}
