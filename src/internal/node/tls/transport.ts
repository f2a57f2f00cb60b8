/**
 * The transport of a connection with TLS: Node's TLS, over what carries its ciphertext.
 *
 * Node ends its stream alike on the peer's close_notify and on a TCP end without one. But it does so within the call that
 * delivers the cause, so whether TCP had ended by then tells one from the other. What is below TLS knows that.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { X509Certificate } from "node:crypto"
import type * as Net from "node:net"
import { type Duplex, Readable } from "node:stream"
import { TLSSocket } from "node:tls"
import type * as Tls from "../../../Tls.js"
import type { Transport } from "../../../Transport.js"
import { readAllOf } from "../syscalls.js"
import { isOver, ownerOf, queueSizeOf, reset, StreamTransport, takeOver } from "../transport.js"
import { tlsFailure } from "./errors.js"
import { descriptorBelow, handleBelow, receive, socketBelow } from "./handles.js"

const defaultShutdownTimeout = Duration.seconds(30)

/** What carries the ciphertext of one connection. */
export interface Carrier {
  /** What Node's TLS is to be put over. */
  readonly stream: Duplex
  /** The transport of a TLS whose handshake is done. Called within the call that says so. */
  readonly secured: (socket: TLSSocket, options: Tls.CommonOptions, session: Tls.Session) => TlsTransport
  /** Gives back what is held, where there was no such TLS. */
  readonly destroy: () => void
}

/** @internal */
export abstract class TlsTransport extends StreamTransport<TLSSocket> {
  readonly closeTimeout: number
  private readonly allowTruncation: boolean
  /** The peer has said close_notify. */
  private notified = false
  /** The close of the stream has waited for what was to be salvaged. It does so once. */
  private heldUp = false

  constructor(
    socket: TLSSocket,
    lower: Pick<Transport, "localAddress" | "remoteAddress">,
    options: Tls.CommonOptions,
    readonly tls: Tls.Session
  ) {
    super(socket, lower.localAddress, lower.remoteAddress)
    this.allowTruncation = options.allowTruncation === true
    this.closeTimeout = Duration.toMillis(options.shutdownTimeout ?? defaultShutdownTimeout)
    socket.push = push
    socket.destroy = destroy
  }

  /** Takes what has been decrypted once the stream has failed, which would drop it; false where it has not. */
  keeps(chunk: Uint8Array): boolean {
    const failed = this.stream.errored !== null
    if (failed) {
      ;(this.rest ??= []).push(chunk)
    }
    return failed
  }

  /**
   * Whether the close of the stream is to wait. A write has found the connection gone, and Node would close it over what has
   * been received and not been read (see `readRest`). That is ciphertext, which only OpenSSL can make sense of, and it may
   * be busy with what came before: a reader who is told of something may answer at once.
   */
  holdsUp(error: Error | undefined): boolean {
    if (
      error === undefined || error !== this.stream.errored || !isOver(error) || this.heldUp || this.peerHasGone ||
      this.dropped
    ) {
      return false
    }
    this.heldUp = true
    setImmediate(salvage, this, error)
    return true
  }

  /** Decrypts what the system still has. */
  salvageNow(error: Error): void {
    if (!this.dropped && !this.stream.destroyed) {
      readAllOf(descriptorBelow(this.stream)).forEach((ciphertext) => receive(this.stream, ciphertext))
    }
    this.stream.destroy(error)
  }

  /** TLS ends. */
  ends(): void {
    this.notified = !this.carrierEnded()
  }

  /** Whether the peer has ended what carries TLS. Asked in the very call in which TLS ends. */
  protected abstract carrierEnded(): boolean

  /**
   * In a later turn: an end in the middle of OpenSSL's doings (it is Node's data event that has led to this call) would
   * make it throw away what it has received and not decrypted yet, and forget close_notify during the handshake.
   */
  override end(): void {
    if (!this.ending) {
      this.ending = true
      setImmediate(end, this.stream)
    }
  }

  /** The stream has ended: by the peer's close_notify, or without one. */
  override ended(): void {
    if (this.failure !== undefined) {
      this.discard()
    } else if (this.notified || this.allowTruncation) {
      super.ended()
    } else if (!this.dropped) {
      this.failure = {
        reason: "Truncated",
        code: undefined,
        cause: new Error("the TCP connection ended without a TLS close_notify")
      }
      this.discard()
    }
  }

  /** Node reports what OpenSSL can't go on after, and leaves the stream open. */
  override failed(error: unknown): void {
    super.failed(error)
    if (this.failure?.reason === "Unknown" && this.failure.tls === undefined) {
      this.failure = tlsFailure(this.failure, this.remoteAddress) ?? this.failure
    }
    this.discard()
  }

  override abort(): void {
    this.dropped = true
    const { writableEnded, writableFinished, writableLength } = this.stream
    if (writableEnded && !writableFinished && writableLength === 0) {
      // Libuv does not reset while it shuts the writing side down, which takes a turn unless the system takes no more.
      setImmediate(() => setImmediate(resetOrDiscard, this))
    } else {
      this.reset()
    }
  }

  resetOrDiscard(): void {
    if (this.stream.writableFinished) {
      this.reset()
    } else {
      this.discard()
    }
  }

  /** Closes what carries TLS, and TLS with it, by a reset where that can be. */
  protected reset(): void {
    const socket = socketBelow(this.stream)
    if (socket !== undefined) {
      return reset.call(socket)
    }
    const handle = handleBelow(this.stream)
    if (typeof handle?.reset === "function") {
      // How TLS closes what is below it.
      handle.close = handle.reset
    }
    this.discard()
  }
}

const resetOrDiscard = (transport: TlsTransport): void => transport.resetOrDiscard()

/** Shared by all: one made here would be old at once, and its connection with it; see `suspension.ts`. */
function push(this: TLSSocket, chunk: unknown, encoding?: BufferEncoding): boolean {
  const transport = ownerOf(this) as TlsTransport | undefined
  if (chunk === null) {
    transport?.ends()
  } else if (transport?.keeps(chunk as Uint8Array) === true) {
    return true
  }
  return Readable.prototype.push.call(this, chunk, encoding)
}

/** Node closes by it, and so does whoever has the socket. */
function destroy(this: TLSSocket, error?: Error, ...rest: ReadonlyArray<unknown>): TLSSocket {
  const transport = ownerOf(this) as TlsTransport | undefined
  return transport?.holdsUp(error) === true
    ? this
    : Reflect.apply(Readable.prototype.destroy, this, [error, ...rest]) as TLSSocket
}

const salvage = (transport: TlsTransport, error: Error): void => transport.salvageNow(error)

/**
 * Over a socket of TLS that somebody else made. Nobody here sees the end of TCP, so that any end is one in order.
 */
class AdoptedTlsTransport extends TlsTransport {
  constructor(socket: TLSSocket) {
    super(socket, takeOver(socket), {}, sessionOf(socket))
  }

  protected override carrierEnded(): boolean {
    return false
  }

  get writeProgress(): number | undefined {
    return queueSizeOf(this.stream)
  }
}

/**
 * Takes over a socket, if it is one of Node's TLS.
 *
 * @internal
 */
export const fromTlsSocket = (socket: Net.Socket): TlsTransport | undefined =>
  socket instanceof TLSSocket ? new AdoptedTlsTransport(socket) : undefined

/**
 * What a socket of Node's tells by itself. A client without a certificate is authorized for Node where it resumes a session
 * of TLS 1.3.
 */
export const sessionOf = (socket: TLSSocket): Session =>
  new Session(socket, requestedName(socket), socket.authorized && socket.getPeerX509Certificate() !== undefined)

/** The name that the client has asked for. */
const requestedName = (socket: TLSSocket): string | undefined => {
  const name = (socket as { readonly servername?: string | false | null }).servername
  return typeof name === "string" ? name : undefined
}

const end = (socket: TLSSocket): void => {
  socket.end()
}

/** The names of protocols and ciphers, of which OpenSSL has a few dozen, and Node makes one for whoever asks. */
const names = new Map<string, string>()

/** The same name, in the memory that it has already. */
const shared = (name: string): string => {
  const known = names.get(name)
  if (known === undefined) {
    names.set(name, name)
  }
  return known ?? name
}

/**
 * What was negotiated. The certificate is taken apart when somebody looks.
 *
 * @internal
 */
export class Session implements Tls.Session {
  readonly protocol: string
  readonly cipher: string
  readonly serverName: Option.Option<string>
  readonly alpnProtocol: Option.Option<string>
  readonly resumed: boolean
  private readonly certificate: X509Certificate | undefined
  private parsed: Option.Option<Tls.PeerCertificate> | undefined = undefined

  constructor(socket: TLSSocket, serverName: string | undefined, readonly authorized: boolean) {
    this.protocol = shared(socket.getProtocol() ?? "unknown")
    this.cipher = shared(socket.getCipher().standardName)
    this.serverName = Option.fromNullable(serverName)
    this.alpnProtocol = socket.alpnProtocol ? Option.some(socket.alpnProtocol) : Option.none()
    this.resumed = socket.isSessionReused()
    this.certificate = socket.getPeerX509Certificate()
  }

  get peerCertificate(): Option.Option<Tls.PeerCertificate> {
    return this.parsed ??= Option.map(Option.fromNullable(this.certificate), describe)
  }
}

const describe = (certificate: X509Certificate): Tls.PeerCertificate => {
  const { issuer, subject } = certificate.toLegacyObject()
  const plain = (name: object): Tls.PeerCertificate["subject"] => ({ ...name })
  return {
    subject: plain(subject),
    issuer: plain(issuer),
    subjectAltName: Option.fromNullable(certificate.subjectAltName),
    validFrom: new Date(certificate.validFrom),
    validTo: new Date(certificate.validTo),
    serialNumber: certificate.serialNumber,
    fingerprint256: certificate.fingerprint256,
    raw: new Uint8Array(certificate.raw)
  }
}
