/**
 * Reading into memory of our own: the transport of a dialled socket.
 *
 * Theory of operation. Node fills a buffer that we lend it (`onread`) and asks for the next one after every read. Two
 * ways of lending, each good at what the other is bad at:
 *
 * - **Small reads** go into one buffer that every connection of the process shares, and are copied out of it: a copy of a
 *   few hundred bytes costs less than the 64 KiB that Node allocates for a read whose size it can't know. A connection
 *   that waits holds no buffer at all.
 * - **Large reads** go into a slab of the connection's own, and are handed out as views of it, never copied.
 *
 * A read that fills most of the shared buffer moves the connection to a slab, and one that is small moves it back. The
 * shared buffer is filled and emptied within one call of Node's, so that connections can't meet in it; no chunk that is
 * handed out may ever be a view of it.
 *
 * Node calls the function that lends without saying for whom, but directly after the one that received. So the transport
 * that received leaves the next buffer in a variable for it.
 */
import * as Net from "node:net"
import type * as Address from "../../Address.js"
import type { Transport } from "../../Transport.js"
import { type AttemptFailure, type AttemptReceiver } from "../dial.js"
import { addressReason, codeOf } from "../errno.js"
import type { SocketSettings } from "./socketSettings.js"
import { localOf, remoteOf, SocketTransport, unnamed } from "./transport.js"

const sharedSize = 64 * 1024
const slabSize = 64 * 1024
/** A read of at least this much is worth a slab for the next one. */
const large = 32 * 1024
/** A slab with less room than this is done with. */
const leastRoom = 32 * 1024

let shared: Uint8Array | undefined

const sharedBuffer = (): Uint8Array => shared ??= new Uint8Array(sharedSize)

const attemptFailure = (cause: unknown): AttemptFailure => {
  const code = codeOf(cause)
  return { reason: addressReason(code), code, cause }
}

/** What the next read goes into: `undefined` is the shared buffer. */
let next: Uint8Array | undefined

const lend = (): Uint8Array => {
  const buffer = next ?? sharedBuffer()
  next = undefined
  return buffer
}

/**
 * The transport of a socket that this side connects.
 *
 * @internal
 */
export class DialledTransport extends SocketTransport {
  private paused = false
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
      socket.connect(options, () => {
        if (to._tag === "TcpAddress") {
          this.localAddress = localOf(socket)
          // To ask costs a system call, and other notations exist only for IPv6.
          if (to.family === 6 || to.host === "0.0.0.0") {
            this.remoteAddress = remoteOf(socket)
          }
        }
        this.attempt = undefined
        attempt.onConnected(this)
      })
    } catch (error) {
      socket.destroy()
      this.failed(error)
    }
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

  protected override flow(): void {
    this.stream.resume()
  }

  override pause(): void {
    this.paused = true
    this.stream.pause()
  }

  override resume(): void {
    this.paused = false
    this.stream.resume()
  }

  /** Takes what was read. False stops the reading. */
  read(size: number, buffer: Uint8Array): boolean {
    if (buffer === shared) {
      if (size >= large) {
        next = new Uint8Array(slabSize)
      }
      this.take(buffer.slice(0, size))
    } else {
      if (size >= large) {
        next = buffer.length - size >= leastRoom ? buffer.subarray(size) : new Uint8Array(slabSize)
      }
      this.take(new Uint8Array(buffer.buffer, buffer.byteOffset, size))
    }
    // `resume` and `pause` in one turn leave Node reading.
    return !this.paused
  }

  private take(chunk: Uint8Array): void {
    if (!this.dropped) {
      this.receiver!.onData(chunk)
    }
  }
}

/**
 * A transport that is still to be connected.
 *
 * @internal
 */
export const open = (options: SocketSettings): DialledTransport => {
  const socket = new Net.Socket(
    {
      allowHalfOpen: true,
      ...options,
      onread: { buffer: lend, callback: (size: number, buffer: Uint8Array) => transport.read(size, buffer) }
    } as Net.SocketConstructorOpts
  )
  const transport = new DialledTransport(socket, unnamed, unnamed)
  return transport
}
