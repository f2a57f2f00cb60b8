/** What OpenSSL and Node say about a handshake that failed, and what comes after one, as what a person can act on. */
import * as Option from "effect/Option"
import type { TLSSocket } from "node:tls"
import type * as Address from "../../../Address.js"
import { TlsError } from "../../../NetworkError.js"
import type { TransportFailure } from "../../../Transport.js"
import { codeOf } from "../../errno.js"

/** The certificate that was presented to us was not accepted. */
const certificateProblems: Record<string, string> = {
  CERT_HAS_EXPIRED: "it has expired: the peer has to renew it",
  CERT_NOT_YET_VALID: "it is not valid yet: check the clocks",
  CERT_REVOKED: "it was revoked",
  DEPTH_ZERO_SELF_SIGNED_CERT: "it is self-signed: pass it as `ca` if you trust it",
  SELF_SIGNED_CERT_IN_CHAIN:
    "its chain ends in a root that is not trusted here: pass that root as `ca` if you trust it",
  UNABLE_TO_GET_ISSUER_CERT: "the certificate of its issuer is missing: the peer should send it, or pass it as `ca`",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    "its issuer is not known here: pass the issuer's certificate as `ca` if you trust it",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    "its issuer is not known here, or was not sent along: pass the issuer's certificate as `ca` if you trust it",
  UNABLE_TO_GET_CRL: "one of its issuers has no list of revoked certificates in `crl`",
  CRL_HAS_EXPIRED: "a list in `crl` has expired: fetch it again",
  CRL_NOT_YET_VALID: "a list in `crl` is not valid yet: check the clocks",
  CRL_SIGNATURE_FAILURE: "a list in `crl` was not signed by its issuer",
  CERT_UNTRUSTED: "its root is not trusted for this purpose",
  CERT_REJECTED: "its root is rejected for this purpose",
  CERT_SIGNATURE_FAILURE: "its signature is wrong",
  CERT_CHAIN_TOO_LONG: "its chain is too long",
  INVALID_CA: "one of its issuers may not issue certificates",
  INVALID_PURPOSE: "it is not meant for this purpose",
  PATH_LENGTH_EXCEEDED: "its chain is longer than one of its issuers allows",
  HOSTNAME_MISMATCH: "it is for another name",
  ERR_TLS_CERT_ALTNAME_INVALID: "it is for another name",
  ERR_TLS_CERT_ALTNAME_FORMAT: "the names in it can't be read",
  ERR_SSL_CERTIFICATE_VERIFY_FAILED: "it could not be verified",
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "the peer presented none, and one is required"
}

// OpenSSL 3.2 calls SSL/TLS what was SSLV3 before.
const protocolProblems: Record<string, string> = {
  ERR_SSL_WRONG_VERSION_NUMBER: "what the peer sent is not TLS: does it speak in the clear on this port?",
  ERR_SSL_HTTP_REQUEST: "the peer sent an HTTP request in the clear",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "what the peer sent is not TLS: does it speak in the clear on this port?",
  ERR_SSL_UNKNOWN_PROTOCOL: "what the peer sent is not TLS: does it speak in the clear on this port?",
  ERR_SSL_BAD_RECORD_TYPE: "what the peer sent is not TLS: does it speak in the clear on this port?",
  ERR_SSL_UNEXPECTED_MESSAGE: "the peer sent what was not due",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "the peer speaks no version that is allowed here: see minVersion and maxVersion",
  ERR_SSL_VERSION_TOO_LOW: "the peer speaks no version that is allowed here: see minVersion and maxVersion",
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: "the peer allows no version that is spoken here: see minVersion and maxVersion",
  ERR_SSL_TLSV1_ALERT_INSUFFICIENT_SECURITY: "the peer asks for stronger ciphers or keys",
  ERR_SSL_NO_SHARED_CIPHER: "there is no cipher that both sides allow, or no certificate here that fits one",
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE:
    "the peer found nothing that both sides allow: versions, ciphers, or a certificate it requires",
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: "the peer speaks none of the alpnProtocols",
  ERR_SSL_NO_APPLICATION_PROTOCOL: "there is no application protocol that both sides speak: see alpnProtocols",
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: "the peer does not trust the issuer of our certificate",
  ERR_SSL_TLSV1_UNRECOGNIZED_NAME: "the peer does not know the server name",
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: "the peer does not accept our certificate",
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: "the peer does not accept our certificate",
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: "the peer finds our certificate expired",
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED: "the peer finds our certificate revoked",
  ERR_SSL_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: "the peer can't use our certificate",
  ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: "what came was damaged on the way, or somebody changed it",
  ERR_SSL_CIPHER_OPERATION_FAILED: "what came was damaged on the way, or somebody changed it",
  ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC: "what was sent reached the peer damaged, or somebody changed it",
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "the peer requires a certificate: pass `certificate` and `key`"
}

/** What Node and OpenSSL say of certificates and keys that they can't take. */
const materialProblems: Record<string, string> = {
  ERR_OSSL_PEM_NO_START_LINE: "there is no certificate in `certificate`, as PEM or DER",
  ERR_OSSL_UNSUPPORTED: "`key` is no private key in PEM, or in DER as PKCS #8, or `passphrase` is wrong",
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: "`key` is not the key of `certificate`: do they match, and does it come first?",
  ERR_OSSL_BAD_DECRYPT: "`key` is encrypted, and `passphrase` is missing or wrong"
}

// Node's names for a connection that ended before the handshake did.
const ends: ReadonlyArray<string> = [
  "ECONNRESET",
  "EPIPE",
  "ERR_STREAM_PREMATURE_CLOSE",
  "ERR_STREAM_DESTROYED",
  "ERR_SOCKET_CLOSED",
  "ETIMEDOUT"
]

/**
 * Why a handshake failed. `serverName` is the name that the certificate was to be for; `verified` says that Node has looked
 * at the certificate, and this is what it has against it.
 *
 * @internal
 */
export const handshakeError = (
  cause: unknown,
  serverName: string | undefined,
  remoteAddress: Address.Address,
  verified = false
): TlsError => {
  const code = codeOf(cause)
  const certificate = certificateProblems[code ?? ""] ?? (verified ? unnamedProblem(cause, code) : undefined)
  const checked = serverName === undefined ? "" : `, checked for "${serverName}"`
  const ended = code !== undefined && ends.includes(code)
  return new TlsError({
    reason: certificate !== undefined ? "CertificateRejected" : ended ? "Closed" : "HandshakeFailed",
    code: Option.fromNullable(code),
    cause,
    detail: certificate !== undefined
      ? Option.some(`${certificate}${checked}${namesIn(cause)}`)
      : Option.fromNullable(protocolProblem(cause, code) ?? (ended ? undefined : messageOf(cause))),
    remoteAddress: Option.some(remoteAddress)
  })
}

/**
 * What Node has against the peer's certificate. Of a client's it says only that the connection was reset, when it is Node
 * who did not accept it.
 *
 * @internal
 */
export const rejection = (socket: TLSSocket): Error | undefined => {
  const problem: unknown = socket.authorizationError
  return problem === null || problem === undefined
    ? undefined
    : problem instanceof Error
    ? problem
    : Object.assign(new Error(String(problem)), { code: String(problem) })
}

/** Node has names for some of OpenSSL's objections, and a client is told of the others in OpenSSL's words. */
const unnamedProblem = (cause: unknown, code: string | undefined): string => {
  const words = messageOf(cause)
  return words === undefined || words === code
    ? "for a reason that Node has no name for: `openssl verify` tells it"
    : words
}

const protocolProblem = (cause: unknown, code = codeOf(cause)): string | undefined =>
  protocolProblems[code?.replace("SSL/TLS", "SSLV3") ?? ""]

/**
 * What OpenSSL says of a connection whose handshake was done; `undefined` where it is not OpenSSL who says something.
 *
 * @internal
 */
export const tlsFailure = (
  { cause, code }: TransportFailure,
  remoteAddress: Address.Address
): TransportFailure | undefined => {
  if (code === undefined || !/^ERR_(SSL|OSSL|TLS)_/.test(code)) {
    return undefined
  }
  const problem = protocolProblem(cause, code) ?? messageOf(cause)
  const tls = new TlsError({
    reason: "HandshakeFailed",
    established: true,
    code: Option.some(code),
    cause,
    detail: Option.fromNullable(problem),
    remoteAddress: Option.some(remoteAddress)
  })
  return {
    reason: "Unknown",
    code,
    cause: tls,
    tls,
    detail: problem === undefined ? "TLS failed" : `TLS failed: ${problem}`
  }
}

/** In OpenSSL's errors the reason, and with Node's about a name, which names the certificate is for. */
const reasonOf = (cause: unknown): string | undefined =>
  cause instanceof Error && "reason" in cause && typeof cause.reason === "string" ? cause.reason : undefined

const messageOf = (cause: unknown): string | undefined =>
  reasonOf(cause) ?? (cause instanceof Error ? cause.message : undefined)

const namesIn = (cause: unknown): string => {
  const reason = reasonOf(cause)
  return reason === undefined ? "" : ` (${reason})`
}

/** @internal */
export const handshakeTimeout = (after: string, remoteAddress: Address.Address): TlsError =>
  new TlsError({
    reason: "HandshakeTimeout",
    code: Option.none(),
    detail: Option.some(`it was not done within ${after}`),
    remoteAddress: Option.some(remoteAddress)
  })

/**
 * `where` says which of several options it is.
 *
 * @internal
 */
export const invalidOptions = (cause: unknown, where = ""): TlsError => {
  if (cause instanceof TlsError) {
    return cause
  }
  const code = codeOf(cause)
  const problem = materialProblems[code ?? ""] ?? messageOf(cause)
  return new TlsError({
    reason: "InvalidOptions",
    code: Option.fromNullable(code),
    cause,
    detail: problem === undefined ? Option.none() : Option.some(`${where}${problem}`)
  })
}
