/**
 * The transport of a connection with TLS: Node's TLS over the ciphertext of another transport.
 *
 * TLS and what is below it end separately, and in either order. This transport has closed when both have.
 *
 * Node ends its stream alike on the peer's close_notify and on a TCP end without one. But it does so within the call that
 * delivers the cause, so whether TCP had ended by then tells one from the other.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { X509Certificate } from "node:crypto"
import type { TLSSocket } from "node:tls"
import type * as Tls from "../../../Tls.js"
import type { Transport, TransportFailure } from "../../../Transport.js"
import { StreamTransport } from "../transport.js"
import type { Ciphertext } from "./ciphertext.js"
import { handshakeError } from "./errors.js"

const defaultShutdownTimeout = Duration.seconds(30)

/** @internal */
export class TlsTransport extends StreamTransport<TLSSocket> {
  readonly tls: Tls.Session
  readonly closeTimeout: number
  private readonly allowTruncation: boolean
  private lowerClosed = false
  /** The peer has said close_notify. */
  private notified = false

  constructor(
    socket: TLSSocket,
    private readonly ciphertext: Ciphertext,
    private readonly lower: Transport,
    options: Tls.CommonOptions,
    serverName: string | undefined
  ) {
    super(socket, lower.localAddress, lower.remoteAddress)
    this.allowTruncation = options.allowTruncation === true
    this.closeTimeout = Duration.toMillis(options.shutdownTimeout ?? defaultShutdownTimeout)
    this.tls = new Session(socket, serverName)
    const push = socket.push
    socket.push = (chunk, encoding) => {
      if (chunk === null) {
        this.notified = !ciphertext.ended
      }
      return push.call(socket, chunk, encoding)
    }
  }

  override get bufferedBytes(): number {
    const plain = super.bufferedBytes
    return this.dropped || this.lowerClosed
      ? plain
      : plain + this.ciphertext.writableLength + this.lower.bufferedBytes
  }

  override destroy(): void {
    super.destroy()
    this.lower.destroy()
  }

  override abort(): void {
    super.destroy()
    this.lower.abort()
  }

  /** The stream has ended: by the peer's close_notify, or without one. */
  override ended(): void {
    if (this.notified || this.allowTruncation) {
      super.ended()
    } else if (!this.dropped) {
      this.failure ??= {
        reason: "Truncated",
        code: undefined,
        cause: new Error("the TCP connection ended without a TLS close_notify")
      }
      this.stream.destroy()
    }
  }

  /** Node reports what OpenSSL can't go on after, and leaves the stream open. */
  override failed(error: unknown): void {
    super.failed(error)
    if (this.failure?.reason === "Unknown" && this.failure.tls === undefined) {
      const tls = handshakeError(error, undefined, this.remoteAddress)
      this.failure = { ...this.failure, cause: tls, tls }
    }
    this.stream.destroy()
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

/** What was negotiated. The certificate is taken apart when somebody looks. */
class Session implements Tls.Session {
  readonly protocol: string
  readonly cipher: string
  readonly serverName: Option.Option<string>
  readonly alpnProtocol: Option.Option<string>
  readonly authorized: boolean
  readonly resumed: boolean
  private readonly certificate: X509Certificate | undefined
  private parsed: Option.Option<Tls.PeerCertificate> | undefined = undefined

  constructor(socket: TLSSocket, serverName: string | undefined) {
    this.protocol = socket.getProtocol() ?? "unknown"
    this.cipher = socket.getCipher().standardName
    this.serverName = Option.fromNullable(serverName)
    this.alpnProtocol = socket.alpnProtocol ? Option.some(socket.alpnProtocol) : Option.none()
    this.authorized = socket.authorized
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
