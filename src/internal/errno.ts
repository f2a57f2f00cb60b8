/**
 * From the names the platform gives its errors to the reasons a program decides by.
 *
 * The names are libuv's (`util.getSystemErrorMap`), those of `getaddrinfo` and the few that Node makes up. One table says
 * why an address could not be dialled or bound, the other why an open connection failed; what neither lists is
 * `Unknown`, and keeps its code. Where systems name one cause differently (a full queue of a Unix socket is
 * `ECONNREFUSED` on macOS and `EAGAIN` on Linux) the reason is the same.
 */
import type { AddressReason } from "../NetworkError.js"
import type { TransportFailure } from "../Transport.js"

const addressReasons = new Map<string, AddressReason>([
  // Nobody listens, or whoever does has no room for one more, and may have taken the connection to say so.
  ["ECONNREFUSED", "Refused"],
  ["ECONNRESET", "Refused"],
  ["EAGAIN", "Refused"],
  ["EWOULDBLOCK", "Refused"],
  // A path that is no socket: on Linux it is refused.
  ["ENOTSOCK", "Refused"],

  ["ETIMEDOUT", "TimedOut"],
  ["ETIME", "TimedOut"],
  ["ERR_SOCKET_CONNECTION_TIMEOUT", "TimedOut"],

  ["ENOTFOUND", "NameNotFound"],
  ["ENODATA", "NameNotFound"],
  ["EAI_NONAME", "NameNotFound"],
  ["EAI_NODATA", "NameNotFound"],
  ["EAI_ADDRFAMILY", "NameNotFound"],
  ["EAI_AGAIN", "NameNotFound"],
  ["EAI_FAIL", "NameNotFound"],

  ["ENOENT", "NotFound"],
  ["ENOTDIR", "NotFound"],
  ["ELOOP", "NotFound"],

  ["EHOSTUNREACH", "HostUnreachable"],
  ["EHOSTDOWN", "HostUnreachable"],

  ["ENETUNREACH", "NetworkUnreachable"],
  ["ENETDOWN", "NetworkUnreachable"],
  ["ENONET", "NetworkUnreachable"],

  ["EADDRINUSE", "AddressInUse"],
  ["EEXIST", "AddressInUse"],

  ["EADDRNOTAVAIL", "AddressNotAvailable"],
  // This machine has no address of the family at all.
  ["EAFNOSUPPORT", "AddressNotAvailable"],
  ["EPROTONOSUPPORT", "AddressNotAvailable"],
  ["ENODEV", "AddressNotAvailable"],

  ["EACCES", "PermissionDenied"],
  ["EPERM", "PermissionDenied"],
  ["EROFS", "PermissionDenied"]
])

const connectionReasons = new Map<string, TransportFailure["reason"]>([
  ["ECONNRESET", "Reset"],
  ["ECONNABORTED", "Reset"],
  ["ENETRESET", "Reset"],
  ["ENOTCONN", "Reset"],
  // The stream was dropped without an end.
  ["ERR_STREAM_PREMATURE_CLOSE", "Reset"],
  ["ERR_SOCKET_CLOSED", "Reset"],
  ["ERR_SOCKET_CLOSED_BEFORE_CONNECTION", "Reset"],

  ["EPIPE", "BrokenPipe"],
  ["ESHUTDOWN", "BrokenPipe"],
  ["ERR_STREAM_WRITE_AFTER_END", "BrokenPipe"],

  ["ETIMEDOUT", "TimedOut"],
  ["ETIME", "TimedOut"],
  // What a connection ends with when its packets went unanswered and a router had said why.
  ["EHOSTUNREACH", "TimedOut"],
  ["EHOSTDOWN", "TimedOut"],
  ["ENETUNREACH", "TimedOut"],
  ["ENETDOWN", "TimedOut"],
  ["ENONET", "TimedOut"],

  ["ERR_SSL_UNEXPECTED_EOF_WHILE_READING", "Truncated"]
])

/** Why an address could not be connected to or listened on. */
export const addressReason = (code: string | undefined): AddressReason =>
  (code === undefined ? undefined : addressReasons.get(code)) ?? "Unknown"

/** Why a connection that was open failed. */
export const connectionReason = (code: string | undefined): TransportFailure["reason"] =>
  (code === undefined ? undefined : connectionReasons.get(code)) ?? "Unknown"

/**
 * The name of an error, such as `ECONNRESET`.
 *
 * An error without a name of its own that gathers others has the name of the first of them that has one.
 */
export const codeOf = (cause: unknown): string | undefined => {
  if (typeof cause !== "object" || cause === null) {
    return undefined
  }
  const { code, errors } = cause as { readonly code?: unknown; readonly errors?: unknown }
  if (typeof code === "string" && code !== "") {
    return code
  }
  if (Array.isArray(errors)) {
    for (const error of errors) {
      const code = codeOf(error)
      if (code !== undefined) {
        return code
      }
    }
  }
  return undefined
}

/** A failure of an open connection, from what the platform threw. */
export const connectionFailure = (cause: unknown): TransportFailure => {
  const code = codeOf(cause)
  return { reason: connectionReason(code), code, cause }
}
