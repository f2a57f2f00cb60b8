/**
 * Errors, from ours to those of `@effect/platform`'s sockets and back.
 *
 * There, a socket's end is a number, which comes from WebSockets, and everything else is an operation and an unknown
 * cause. So ours go into the `cause`, whole, and come out of it again.
 */
import * as Socket from "@effect/platform/Socket"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import type { ConnectError, TlsError } from "../NetworkError.js"
import { ConnectionError } from "../NetworkError.js"
import type { TransportFailure } from "../Transport.js"
import { codeOf, connectionFailure, connectionReason } from "./errno.js"

/** RFC 6455 §7.4.1. */
export const normalClosure = 1000
const goingAway = 1001
const noStatus = 1005
const abnormalClosure = 1006
/** For applications to give a meaning to (RFC 6455 §7.4.2); browsers let a program send no other beside 1000. */
export const abortedClosure = 4000

// ---------------------------------------------------------------------------
// from ours
// ---------------------------------------------------------------------------

const closeError = (code: number, closeReason: string | undefined, cause: ConnectionError): Socket.SocketCloseError => {
  // The platform's type has no cause, but every error may.
  const fields = { reason: "Close" as const, code, closeReason, cause }
  return new Socket.SocketCloseError(fields)
}

/** How `run` fails where reading does. `event` is what the program closed the connection with, if it did. */
export const readError = (error: ConnectionError, event: Socket.CloseEvent | undefined): Socket.SocketError => {
  switch (error.reason) {
    case "Closed":
      return closeError(event?.code ?? normalClosure, event?.reason, error)
    case "Aborted":
      return closeError(abnormalClosure, undefined, error)
    default:
      return new Socket.SocketGenericError({ reason: "Read", cause: error })
  }
}

export const writeError = (cause: ConnectionError): Socket.SocketError =>
  new Socket.SocketGenericError({ reason: "Write", cause })

export const openError = (cause: ConnectError | TlsError): Socket.SocketError =>
  new Socket.SocketGenericError({
    reason: cause.reason === "TimedOut" || cause.reason === "HandshakeTimeout" ? "OpenTimeout" : "Open",
    cause
  })

// ---------------------------------------------------------------------------
// to ours
// ---------------------------------------------------------------------------

/** Whether a close code stands for more than an end in order, unless the program knows better. */
export const closeCodeIsError = (code: number): boolean =>
  code !== normalClosure && code !== goingAway && code !== noStatus

/** What the platform's error was made of: what Node threw, what a WebSocket reported in an event, or an error of ours. */
const originOf = (cause: unknown): unknown =>
  hasProperty(cause, "error") && cause.error !== undefined ? cause.error : cause

const openingFailed = (cause: Socket.SocketError, origin: unknown): TransportFailure => ({
  reason: connectionReason(codeOf(origin)),
  code: codeOf(origin),
  cause,
  detail: origin instanceof Error && origin.message !== ""
    ? `the socket could not be opened: ${origin.message}`
    : "the socket could not be opened"
})

/** Of ours, what a transport can say by itself; the rest is in the detail. */
const failureOfOurs = (cause: Socket.SocketError, origin: ConnectionError): TransportFailure => {
  const code = Option.getOrUndefined(origin.code)
  switch (origin.reason) {
    case "Reset":
    case "BrokenPipe":
    case "TimedOut":
    case "Truncated":
      return { reason: origin.reason, code, cause }
    default:
      return { reason: "Unknown", code, cause, detail: origin.message }
  }
}

const failureOf = (error: Socket.SocketError): TransportFailure => {
  switch (error.reason) {
    case "Close": {
      const reason = error.closeReason === undefined || error.closeReason === "" ? "" : `: ${error.closeReason}`
      return {
        reason: error.code === abnormalClosure ? "Reset" : "Unknown",
        code: String(error.code),
        cause: error,
        detail: `the socket was closed with code ${error.code}${reason}`
      }
    }
    case "OpenTimeout":
      return { reason: "TimedOut", code: undefined, cause: error, detail: "the socket did not open in time" }
    case "Open":
      return openingFailed(error, originOf(error.cause))
    case "Read":
    case "Write": {
      const origin = originOf(error.cause)
      return origin instanceof ConnectionError
        ? failureOfOurs(error, origin)
        : { ...connectionFailure(origin), cause: error }
    }
  }
}

/** How a platform socket's `run` ended: `undefined` in order. */
export const failureOfExit = (
  exit: Exit.Exit<unknown, Socket.SocketError>,
  isError: (code: number) => boolean
): TransportFailure | undefined => {
  if (Exit.isSuccess(exit)) {
    return undefined
  }
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  if (error !== undefined) {
    return error.reason === "Close" && !isError(error.code) ? undefined : failureOf(error)
  }
  return Cause.isInterruptedOnly(exit.cause)
    ? { reason: "Unknown", code: undefined, cause: undefined, detail: "the socket's `run` was interrupted" }
    : connectionFailure(Cause.squash(exit.cause))
}
