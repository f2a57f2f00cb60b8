/**
 * The vocabulary of TLS: what to present, what to accept, and what came of it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { SecureContext } from "node:tls"
import type { SessionCache } from "./internal/tlsSessionCache.js"
import * as internal from "./internal/tlsSessionCache.js"

/**
 * PEM text or DER bytes. One file of PEM may hold several certificates.
 *
 * @since 0.1.0
 * @category models
 */
export type Material = string | Uint8Array

/**
 * A private key, as PEM text or bytes. A `Redacted` one never shows in logs or errors.
 *
 * @since 0.1.0
 * @category models
 */
export type Key = Material | Redacted.Redacted<string> | Redacted.Redacted<Uint8Array>

/**
 * A version of the protocol. What is older is not spoken here (RFC 8996).
 *
 * @since 0.1.0
 * @category models
 */
export type Version = "TLSv1.2" | "TLSv1.3"

/**
 * What both roles have in common.
 *
 * @since 0.1.0
 * @category options
 */
export interface CommonOptions {
  /**
   * The certificates that may vouch for the peer's. The system's by default, as Node has them: its own,
   * `NODE_EXTRA_CA_CERTS`, and with `--use-openssl-ca` or `--use-system-ca` those of the operating system.
   */
  readonly ca?: Material | ReadonlyArray<Material> | undefined
  /** The lists of certificates that were taken back: one of each issuer in the chain. None are asked for by default. */
  readonly crl?: Material | ReadonlyArray<Material> | undefined
  /**
   * This side's certificate, followed by those between it and the root: in one PEM, or one by one. Several, each with a
   * key in `key`, are what to choose from by what the peer can verify; then a certificate that none of the keys belongs to
   * goes along with all of them.
   */
  readonly certificate?: Material | ReadonlyArray<Material> | undefined
  /** The key of `certificate`, or of each. */
  readonly key?: Key | ReadonlyArray<Key> | undefined
  /** What `key` is encrypted with. */
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
  /** Application protocols, in order of preference (RFC 7301). */
  readonly alpnProtocols?: ReadonlyArray<string> | undefined
  /** `"TLSv1.2"` by default. */
  readonly minVersion?: Version | undefined
  /** `"TLSv1.3"` by default. */
  readonly maxVersion?: Version | undefined
  /** How long the handshake may take, longer than 0: 60 seconds, as in asyncio. */
  readonly handshakeTimeout?: Duration.DurationInput | undefined
  /**
   * How long a close waits for the peer's close_notify, beside what `closeTimeout` says: 30 seconds, as in asyncio. Zero
   * aborts instead of closing.
   */
  readonly shutdownTimeout?: Duration.DurationInput | undefined
  /**
   * Takes a TCP end without close_notify for an end in order: false. Whoever can cut the connection can then cut the
   * data short without anyone noticing.
   */
  readonly allowTruncation?: boolean | undefined
  /**
   * A context of Node's own making (`tls.createSecureContext`), for what these options do not have. It replaces `ca`, `crl`,
   * `certificate`, `key`, `passphrase`, `minVersion` and `maxVersion`: any of them beside it is refused, as `InvalidOptions`.
   *
   * **Details**
   *
   * A server sets its session id context where it asks clients for certificates, and switches its session tickets off
   * where it resumes no sessions (see `contexts`).
   */
  readonly secureContext?: SecureContext | undefined
}

/**
 * The options of the side that connects.
 *
 * @since 0.1.0
 * @category options
 */
export interface ClientOptions extends CommonOptions {
  /** The name that the peer's certificate must be for, and that is sent to it (SNI). The host by default. */
  readonly serverName?: string | undefined
  /** Whether the peer's certificate must be valid, and for `serverName`: true. */
  readonly verify?: boolean | undefined
  /** Where sessions are kept to be resumed. None by default, and none where `verify` is false. */
  readonly sessions?: SessionCache | undefined
}

/**
 * What a server presents to clients that ask for a name, and whom it trusts then: without `ca`, whom it trusts anyway. The protocol's version has been settled
 * by the time the name is looked at, so it is the same for all names.
 *
 * @since 0.1.0
 * @category options
 */
export interface NamedContext
  extends Pick<CommonOptions, "ca" | "crl" | "certificate" | "key" | "passphrase" | "secureContext">
{}

/**
 * The options of the side that is connected to.
 *
 * @since 0.1.0
 * @category options
 */
export interface ServerOptions extends CommonOptions {
  /** Asks clients for a certificate: false. */
  readonly requestCertificate?: boolean | undefined
  /** Refuses clients without a valid certificate, where they are asked for one: true. */
  readonly rejectUnauthorized?: boolean | undefined
  /**
   * What to present by the name that the client asks for: `"example.org"`, or `"*.example.org"` for any one label before
   * it, unless that name is there by itself. For other names, and clients that ask for none, it is what these options
   * say.
   *
   * **Details**
   *
   * A server with these resumes no sessions, unless `minVersion` is `"TLSv1.3"` and clients are not asked for certificates.
   * For Node resumes under any name what was made under any other, and with the certificate that was accepted there; and
   * of a session of TLS 1.2 that is resumed it does not tell the name.
   *
   * The keys should all be of one kind (RSA, EC), those of these options and those of the names: Node presents one
   * certificate of a name's context, and beside it what these options have for keys of another kind.
   */
  readonly contexts?: { readonly [serverName: string]: NamedContext } | undefined
  /**
   * How many handshakes a server makes at once: no limit by default. A handshake takes a millisecond of processor time,
   * which is what makes a rush of them expensive, and a slow client may take `handshakeTimeout` for it.
   *
   * **Details**
   *
   * Whoever comes on top waits, unread, for one that is under way to end; of those who wait there are 1000 at most, and
   * whoever finds that many is reset, which reaches `onError` as one `OverloadError` a second at most. Of a listener the
   * number is fixed when it is made: `setTls` does not change it. Upgrades (`startTls`) are not counted.
   */
  readonly maxHandshakes?: number | undefined
}

/**
 * What becomes of bytes that were received and not yet read when a connection goes over to TLS.
 *
 * **Details**
 *
 * `"reject"` fails with `UnexpectedPlaintext`: whoever can inject a reply before the handshake must not be believed
 * after it. `"handOff"` gives them to the handshake: a ClientHello that came early. `"discard"` drops them.
 *
 * @since 0.1.0
 * @category options
 */
export type Residue = "reject" | "handOff" | "discard"

/**
 * How a client goes over to TLS. The peer's name must be said, for no host is known here, unless nothing is verified.
 *
 * @since 0.1.0
 * @category options
 */
export type ClientUpgrade = NamedClientOptions & {
  readonly role: "client"
  /** `"reject"` by default. */
  readonly residue?: Residue | undefined
}

/**
 * The options of a client where there is no host to take the name from.
 *
 * @since 0.1.0
 * @category options
 */
export type NamedClientOptions =
  & ClientOptions
  & ({ readonly serverName: string } | { readonly verify: false })

/**
 * How a server goes over to TLS.
 *
 * **Details**
 *
 * What is made of the certificates, keys and names is kept for the next connections that go over with the same ones, of
 * the latest eight, whether it is the same object that says so or not. So clients resume their sessions from one
 * connection to the next.
 *
 * @since 0.1.0
 * @category options
 */
export interface ServerUpgrade extends ServerOptions {
  readonly role: "server"
  /** `"handOff"` by default. */
  readonly residue?: Residue | undefined
}

/**
 * How a connection goes over to TLS, in the one role or the other.
 *
 * @since 0.1.0
 * @category options
 */
export type Upgrade = ClientUpgrade | ServerUpgrade

/**
 * What the handshake settled.
 *
 * @since 0.1.0
 * @category models
 */
export interface Session {
  /** `"TLSv1.3"`. */
  readonly protocol: string
  /** As IANA names it: `"TLS_AES_256_GCM_SHA384"`. */
  readonly cipher: string
  /** The name that the client asked for. A server does not learn it where it resumes a session of TLS 1.2. */
  readonly serverName: Option.Option<string>
  readonly alpnProtocol: Option.Option<string>
  /**
   * Whether the peer's certificate was verified, and is for the name that was expected. False for a client without one, and
   * where there was no name to expect. For a session that was resumed: whether it was when the session was made.
   */
  readonly authorized: boolean
  /** Whether an earlier session was resumed. */
  readonly resumed: boolean
  /** What the peer presented. A client that resumes a session is presented with nothing, and Node does not recall it. */
  readonly peerCertificate: Option.Option<PeerCertificate>
}

/**
 * The certificate that the peer presented.
 *
 * @since 0.1.0
 * @category models
 */
export interface PeerCertificate {
  /** The distinguished name of whom it is for: `{ CN: "example.org", O: "Example" }`. */
  readonly subject: { readonly [attribute: string]: string | ReadonlyArray<string> }
  readonly issuer: { readonly [attribute: string]: string | ReadonlyArray<string> }
  /** As OpenSSL writes it: `"DNS:example.org, IP Address:127.0.0.1"`. */
  readonly subjectAltName: Option.Option<string>
  readonly validFrom: Date
  readonly validTo: Date
  readonly serialNumber: string
  /** SHA-256, in hexadecimal with colons. */
  readonly fingerprint256: string
  /** DER. */
  readonly raw: Uint8Array
}

export {
  /**
   * Keeps the sessions of servers that were connected to, so that the next handshake with one of them is shorter.
   *
   * @since 0.1.0
   * @category models
   */
  type SessionCache
}

/**
 * Makes a cache of sessions, for the `sessions` of any number of connections.
 *
 * **Details**
 *
 * It holds the latest session of each server name and address, of at most `capacity` (100) of them. One with which a
 * handshake fails is dropped.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeSessionCache: (options?: { readonly capacity?: number | undefined } | undefined) => SessionCache =
  internal.make
