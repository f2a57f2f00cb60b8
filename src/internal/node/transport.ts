/**
 * Transports over Node's streams.
 *
 * Theory of operation. A Node stream reports by events, loses what nobody listens to, and is closed when its `close`
 * event comes and not before. A transport promises more: nothing is delivered before `start`, nothing that arrived is
 * lost, and one last call says how it ended. So the transport listens for `end`, `error` and `close` from the moment it
 * exists, and only notes what happened; with `start` it begins to read, and reports what it has noted. `close` is the
 * one place where the life of a transport ends, whatever led to it.
 *
 * The listeners are three or four functions shared by all transports, which find theirs through a symbol on the stream:
 * a connection costs no closure until it writes.
 *
 * How bytes come in depends on who made the socket. One that was adopted emits `data`, each chunk in memory of its own,
 * 64 KiB of it however little was read. For those that this library dials or accepts, Node takes the buffers to read into
 * from us; `intake.ts` has what becomes of that.
 */
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import type * as Stream from "node:stream"
import * as Address from "../../Address.js"
import type { TlsError } from "../../NetworkError.js"
import type * as Tls from "../../Tls.js"
import type { Transport, TransportFailure, TransportReceiver } from "../../Transport.js"
import { codeOf, connectionFailure, connectionReason } from "../errno.js"
import { hiddenReset, isInHeap, readRest } from "./syscalls.js"

const owner: unique symbol = Symbol.for("effect-netstreams/node/transport")

interface Owned extends Stream.Duplex {
  [owner]?: StreamTransport | undefined
}

/** The transport of a stream, until it has closed. */
export const ownerOf = (stream: Stream.Duplex): StreamTransport | undefined => (stream as Owned)[owner]

function onData(this: Owned, chunk: Uint8Array | string): void {
  this[owner]?.received(chunk)
}

function onEnd(this: Owned): void {
  this[owner]?.ended()
}

// Stays on the stream for good: an error that comes after the close has nobody to tell, and must not end the process.
function onError(this: Owned, error: unknown): void {
  this[owner]?.failed(error)
}

function onFinish(this: Owned): void {
  this[owner]?.finished()
}

function onClose(this: Owned): void {
  this[owner]?.ceased()
}

const catchUp = (transport: StreamTransport): void => transport.report()

/**
 * Chunks below this size are copied together, which is cheaper than a place of their own in the system call; and of one
 * alone it is what the stream does with it that costs.
 */
const smallChunk = 4096
/** What is joined does not get larger than this, for it is memory beside what the chunks take themselves. */
const largestJoint = 1024 * 1024

/**
 * As few chunks as are worth it: runs of small ones are joined, empty ones left out.
 *
 * @internal
 */
export const coalesce = (chunks: ReadonlyArray<Uint8Array>): Array<Uint8Array> => {
  const pieces: Array<Uint8Array> = []
  let i = 0
  while (i < chunks.length) {
    const first = chunks[i]!
    let end = i + 1
    if (first.length < smallChunk) {
      let total = first.length
      while (end < chunks.length && chunks[end]!.length < smallChunk && total < largestJoint) {
        total += chunks[end++]!.length
      }
      if (total > first.length) {
        const joined = Buffer.allocUnsafe(total)
        for (let offset = 0; i < end; i++) {
          const chunk = chunks[i]!
          joined.set(chunk, offset)
          offset += chunk.length
        }
        pieces.push(joined)
        continue
      }
    }
    if (first.length > 0) {
      pieces.push(first)
    }
    i = end
  }
  return pieces
}

/** What a stream writes is a `Buffer` over the same memory, which costs five times as much to allocate as a copy to a pool. */
const pooled = (chunk: Uint8Array): Uint8Array => isInHeap(chunk) ? Buffer.from(chunk) : chunk

const hasWritev = (stream: { readonly _writev?: unknown }): boolean => typeof stream._writev === "function"

const totalLength = (chunks: ReadonlyArray<Uint8Array>): number =>
  chunks.reduce((total, chunk) => total + chunk.length, 0)

/**
 * A transport over any duplex stream of bytes.
 *
 * @internal
 */
export class StreamTransport<S extends Stream.Duplex = Stream.Duplex> implements Transport {
  protected receiver: TransportReceiver | undefined = undefined
  protected failure: TransportFailure | undefined = undefined
  /** What has been received since a write failed, or had been and was in the system's hands. */
  protected rest: Array<Uint8Array> | undefined = undefined
  /** The callback of every write, made with the first one. */
  private written: ((error?: Error | null) => void) | undefined = undefined
  /** What `bufferedBytes` was when the receiver last could know it. */
  private reportedBytes = 0
  /** The peer has ended its side. */
  protected peerEnded: boolean
  private endReported = false
  /** This side has ended its own. */
  protected ending: boolean
  /** This side gave the connection up: nothing is delivered any more but its close. */
  protected dropped = false
  private closed = false
  private closeReported = false

  constructor(
    readonly stream: S,
    public localAddress: Address.Address,
    public remoteAddress: Address.Address
  ) {
    this.peerEnded = stream.readableEnded
    this.ending = stream.writableEnded
    ;(stream as Owned)[owner] = this
    stream.on("end", onEnd)
    stream.on("error", onError)
    stream.on("close", onClose)
  }

  /** Its end was reported, or its close. */
  protected get peerHasGone(): boolean {
    return this.peerEnded || this.closed
  }

  /** Whether anybody has begun to read. */
  get started(): boolean {
    return this.receiver !== undefined
  }

  get canWriteEof(): boolean {
    return true
  }

  /** `node:tls` is loaded by the programs that use it. */
  startTls(lower: Transport, options: Tls.Upgrade): Effect.Effect<Transport, TlsError> {
    return Effect.flatMap(Effect.promise(() => import("./tls/upgrade.js")), ({ upgrade }) => upgrade(lower, options))
  }

  get bufferedBytes(): number {
    if (this.dropped || this.closed) {
      return 0
    }
    // A write that fails leaves the count before its error is known, as if it had been taken.
    return this.hasFailed ? this.reportedBytes : this.stream.writableLength
  }

  /** Nothing that the stream still has will be sent, whether its close has come or not. */
  private get hasFailed(): boolean {
    return this.stream.errored !== null || this.stream.destroyed
  }

  start(receiver: TransportReceiver): void {
    this.receiver = receiver
    if (this.peerEnded || this.closed) {
      process.nextTick(catchUp, this)
    } else if (!this.dropped && !this.hasFailed) {
      this.flow()
    }
  }

  /** Begins to read. */
  protected flow(): void {
    this.stream.on("data", onData)
    if (this.stream.readableFlowing === false) {
      this.stream.resume()
    }
  }

  pause(): void {
    this.stream.pause()
  }

  /** A stream that has failed would drop what it has, which comes with its close. */
  resume(): void {
    if (!this.hasFailed) {
      this.stream.resume()
    }
  }

  write(chunks: ReadonlyArray<Uint8Array>): void {
    const stream = this.stream
    if (!stream.writable) {
      if (!this.ending) {
        this.lose(chunks, endedElsewhere)
      }
      return
    }
    const pieces = chunks.length === 1 ? chunks : coalesce(chunks)
    if (pieces.length === 1) {
      this.writeOne(pieces[0]!)
    } else if (pieces.length > 1) {
      this.writeGathered(pieces)
    }
  }

  private writeOne(chunk: Uint8Array): void {
    const stream = this.stream
    const size = chunk.length
    if (size === 0) {
      return
    }
    const taken = size <= smallChunk && stream.writableLength === 0 ? this.writeNow(chunk) : 0
    if (taken === size) {
      this.reportedBytes = 0
    } else if (typeof taken === "number") {
      stream.write(taken === 0 ? pooled(chunk) : chunk.subarray(taken), this.written ??= this.makeWritten())
      this.handedOver(size)
    } else {
      this.salvage(taken)
      this.lose([chunk], () => taken)
    }
  }

  private writeGathered(pieces: ReadonlyArray<Uint8Array>): void {
    const stream = this.stream
    const written = this.written ??= this.makeWritten()
    // A stream that takes all of them at once, as a socket does, has nothing to tell before the last.
    const between = hasWritev(stream) ? undefined : written
    stream.cork()
    const last = pieces.length - 1
    for (let i = 0; i < last; i++) {
      stream.write(pieces[i], between)
    }
    stream.write(pieces[last], written)
    stream.uncork()
    this.handedOver(totalLength(pieces))
  }

  private handedOver(size: number): void {
    const { errored, writableLength } = this.stream
    if (errored === null) {
      this.reportedBytes = writableLength
    } else {
      this.reportedBytes += size
      this.salvage(errored)
    }
  }

  /**
   * Writes a small chunk past the stream, which has nothing queued, as far as that can be: the number of bytes that went,
   * or what has ended the connection.
   */
  protected writeNow(_chunk: Uint8Array): number | Error {
    return 0
  }

  /** A write has failed, and the stream is about to close: keeps what has been received and not been read. */
  protected salvage(_error: Error): void {}

  /** What comes after the failure is lost, and must not look sent. Where that is what fails, `error` makes the cause. */
  protected lose(chunks: ReadonlyArray<Uint8Array>, error: () => unknown): void {
    this.reportedBytes += totalLength(chunks)
    if (!this.hasFailed) {
      this.failed(error())
      this.discard()
    }
  }

  /** Closes the stream, and lets it tell why. */
  protected discard(): void {
    this.stream.destroy()
  }

  private makeWritten(): (error?: Error | null) => void {
    return (error) => {
      const { destroyed, writableLength } = this.stream
      if (error !== null && error !== undefined) {
        this.salvage(error)
        return
      }
      // Most writes are taken by the system at once, and then there is nothing to report.
      if (writableLength < this.reportedBytes && !destroyed) {
        this.reportedBytes = writableLength
        if (!this.dropped) {
          this.receiver?.onDrain()
        }
      }
    }
  }

  end(): void {
    if (!this.ending) {
      this.ending = true
      this.stream.end()
    }
  }

  destroy(): void {
    this.dropped = true
    this.stream.destroy()
  }

  abort(): void {
    this.destroy()
  }

  // What the listeners call.

  received(chunk: Uint8Array | string): void {
    if (this.dropped) {
      return
    }
    const bytes: Uint8Array = typeof chunk === "string" ? Buffer.from(chunk) : chunk
    if (bytes.length > 0) {
      this.receiver!.onData(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length))
    }
  }

  ended(): void {
    this.peerHasEnded()
  }

  peerHasEnded(): void {
    this.peerEnded = true
    if (this.receiver !== undefined) {
      this.report()
    }
  }

  failed(error: unknown): void {
    this.failure ??= connectionFailure(error)
  }

  finished(): void {}

  ceased(): void {
    this.closed = true
    if (this.receiver !== undefined) {
      this.report()
    }
  }

  /** Tells the receiver how far things have ended, if it does not know. */
  report(): void {
    if (this.peerEnded && !this.endReported) {
      this.endReported = true
      if (!this.dropped) {
        this.receiver!.onEnd()
      }
    }
    if (this.closed && !this.closeReported) {
      this.closeReported = true
      const stream = this.stream
      if (!this.dropped) {
        if (this.failure === undefined && !(this.peerEnded && stream.writableFinished)) {
          this.failure = connectionFailure(prematureClose())
        }
        this.deliverRest()
      }
      this.rest = undefined
      ;(stream as Owned)[owner] = undefined
      this.letGo()
      this.receiver!.onClosed(this.failure)
    }
  }

  /** Whoever keeps a connection that has closed does not keep the ten times larger stream below it. */
  letGo(): void {
    ;(this as { stream: Stream.Duplex }).stream = gone ??= new Net.Socket().destroy()
  }

  /** An error closes a stream over what it has received and not handed out yet: the time of a pause, or before `start`. */
  private deliverRest(): void {
    const stream = this.stream
    if (stream.readableLength > 0) {
      stream.removeListener("data", onData)
      for (let chunk = stream.read(); chunk !== null && !this.dropped; chunk = stream.read()) {
        this.received(chunk)
      }
    }
    this.rest?.forEach((chunk) => this.received(chunk))
  }
}

/** A closed stream, as good as any other. */
let gone: Net.Socket | undefined

const endedElsewhere = (): Error =>
  Object.assign(new Error("The writing side of the stream was ended by somebody else"), {
    code: "ERR_STREAM_WRITE_AFTER_END"
  })

const prematureClose = (): Error =>
  Object.assign(new Error("The stream was closed before it had ended"), { code: "ERR_STREAM_PREMATURE_CLOSE" })

/**
 * A transport over a duplex stream that somebody else made, which may lack what `net.Socket` is sure to do.
 *
 * @internal
 */
export class DuplexTransport extends StreamTransport {
  constructor(stream: Stream.Duplex, localAddress: Address.Address, remoteAddress: Address.Address) {
    super(stream, localAddress, remoteAddress)
    stream.on("finish", onFinish)
    // One made with `emitClose: false` does not say that it has closed.
    const destroy = stream._destroy
    stream._destroy = (error, callback) =>
      destroy.call(stream, error, (error) => {
        callback(error)
        setImmediate(ceaseNow, this)
      })
    this.finished()
  }

  /** What carries out a write may throw. */
  override write(chunks: ReadonlyArray<Uint8Array>): void {
    try {
      super.write(chunks)
    } catch (error) {
      this.lose(chunks, () => error)
    }
  }

  override end(): void {
    try {
      super.end()
    } catch (error) {
      this.failed(error)
    }
  }

  override destroy(): void {
    this.dropped = true
    this.discard()
  }

  override ended(): void {
    super.ended()
    this.finished()
  }

  /** Closes a stream whose two directions have ended, which does not do so by itself without `autoDestroy`. */
  override finished(): void {
    if (this.stream.readableEnded && this.stream.writableFinished) {
      this.discard()
    }
  }

  /** Without `autoDestroy` a stream that has failed stays open. */
  override failed(error: unknown): void {
    super.failed(error)
    if (!this.stream.destroyed) {
      this.discard()
    }
  }

  protected override discard(): void {
    let refused = false
    try {
      this.stream.destroy()
    } catch (error) {
      super.failed(error)
      refused = true
    }
    // One that can't be closed never says that it has, and one that failed to may not.
    if (refused || this.stream.closed) {
      setImmediate(ceaseNow, this)
    }
  }
}

const ceaseNow = (transport: StreamTransport): void => transport.ceased()

/** Whether an error of a write has ended the connection: a peer that may still send would not let its bytes come to an end. */
export const isOver = (error: Error): boolean => connectionReason(codeOf(error)) !== "Unknown"

/**
 * A transport over a socket.
 *
 * @internal
 */
export class SocketTransport extends StreamTransport<Net.Socket> {
  private get isTcp(): boolean {
    return this.localAddress._tag === "TcpAddress"
  }

  /** The end of the peer's side, or what libuv takes for it. */
  override ended(): void {
    const failure = this.dropped ? undefined : hiddenReset(this.stream)
    if (failure === undefined) {
      super.ended()
    } else {
      this.stream.destroy(failure)
    }
  }

  protected override salvage(error: Error): void {
    if (isOver(error) && !this.peerEnded && !this.dropped) {
      this.rest ??= readRest(this.stream)
    }
  }

  get writeProgress(): number | undefined {
    return queueSizeOf(this.stream)
  }

  /**
   * Undoes `start`: the bytes, which have been delivered, come again before all that is still to come, and nobody is told
   * of anything. The transport must be paused. False, and all as it was, where that can't be.
   */
  rewind(delivered: Uint8Array): boolean {
    const stream = this.stream
    if (this.peerHasGone || this.ending || this.dropped || stream.errored !== null || sawEnd(stream)) {
      return false
    }
    this.receiver = undefined
    stream.removeListener("data", onData)
    if (delivered.length > 0) {
      stream.unshift(delivered)
    }
    return true
  }

  override abort(): void {
    const socket = this.stream
    if (socket.destroyed || socket.connecting || !this.isTcp) {
      return this.destroy()
    }
    this.dropped = true
    // Between the call that shuts the writing side down and its completion, which is the event loop's next turn, libuv
    // refuses to reset, and Node would then forget the descriptor without closing it.
    if (socket.writableEnded && !socket.writableFinished && socket.writableLength === 0) {
      socket.once("finish", reset)
    } else {
      reset.call(socket)
    }
  }
}

/**
 * Bytes that a socket has left of what it was given. Of a long write Node itself knows only when it is done.
 *
 * @internal
 */
export const queueSizeOf = (socket: Net.Socket): number | undefined =>
  (socket as { readonly _handle?: { readonly writeQueueSize?: number | undefined } | null })._handle?.writeQueueSize

/** Whether the end has come, though what is before it has not been read. Where Node does not say, it may have. */
const sawEnd = (stream: Stream.Readable): boolean =>
  (stream as { readonly _readableState?: { readonly ended?: boolean } })._readableState?.ended !== false

/** @internal */
export function reset(this: Net.Socket): void {
  if (this.destroyed) {
    return
  }
  try {
    this.resetAndDestroy()
  } catch {
    // Not a TCP socket at the bottom of it.
    this.destroy()
  }
}

const mapped = "::ffff:"

/**
 * The address of a TCP end. An IPv4 connection that a dual-stack listener accepted is one of IPv4.
 *
 * @internal
 */
export const tcpAddress = (host: string, port: number): Address.TcpAddress =>
  Address.tcp(host.startsWith(mapped) && host.includes(".") ? host.slice(mapped.length) : host, port)

/** @internal */
export const unnamed = Address.unix()

/**
 * The local address of an open socket. Node forgets it with the close, and knows no path.
 *
 * @internal
 */
export const localOf = (socket: Net.Socket): Address.Address => {
  const host = socket.localAddress
  return host === undefined || socket.localPort === undefined ? unnamed : tcpAddress(host, socket.localPort)
}

/**
 * The peer's address of a TCP connection. Of one that was reset before we looked, the system has forgotten it: that is
 * no address at all.
 *
 * @internal
 */
export const remoteOf = (socket: Net.Socket): Address.TcpAddress => {
  const host = socket.remoteAddress
  return host === undefined || socket.remotePort === undefined
    ? tcpAddress(socket.localFamily === "IPv6" ? "::" : "0.0.0.0", 0)
    : tcpAddress(host, socket.remotePort)
}

const adopt = (stream: Stream.Duplex): void => {
  stream.allowHalfOpen = true
  // What flows before `start` has been called would be lost.
  if (stream.readableFlowing === true) {
    stream.pause()
  }
}

/**
 * Takes over a socket that is open.
 *
 * @internal
 */
export const fromSocket = (socket: Net.Socket): SocketTransport => {
  const { localAddress, remoteAddress } = takeOver(socket)
  return new SocketTransport(socket, localAddress, remoteAddress)
}

/**
 * Makes a socket that is open ready for a transport, and tells its two ends.
 *
 * @internal
 */
export const takeOver = (socket: Net.Socket): Pick<Transport, "localAddress" | "remoteAddress"> => {
  adopt(socket)
  const localAddress = localOf(socket)
  return { localAddress, remoteAddress: localAddress._tag === "TcpAddress" ? remoteOf(socket) : unnamed }
}

/**
 * Takes over any open stream.
 *
 * @internal
 */
export const fromDuplex = (stream: Stream.Duplex): StreamTransport => {
  if (stream instanceof Net.Socket) {
    return fromSocket(stream)
  }
  adopt(stream)
  return new DuplexTransport(stream, unnamed, unnamed)
}
