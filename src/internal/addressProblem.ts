/**
 * Why an address could not be connected to or listened on, in words.
 */
import * as Option from "effect/Option"
import type { AddressReason } from "../NetworkError.js"

/** @internal */
export const addressProblems: Record<AddressReason, string> = {
  Refused: "nobody listens there",
  TimedOut: "no answer in time",
  NameNotFound: "the name has no address",
  NotFound: "no such path",
  HostUnreachable: "the host can't be reached",
  NetworkUnreachable: "the network can't be reached",
  AddressInUse: "the address is in use",
  AddressNotAvailable: "the address is not one of this machine's",
  PermissionDenied: "permission denied",
  Unknown: "it failed"
}

// That of a Unix socket on Linux; elsewhere it can't be told from nobody who listens.
const isQueueFull = Option.contains("EAGAIN")

const isReset = Option.contains("ECONNRESET")

/**
 * Why it could not be connected to.
 *
 * @internal
 */
export const connectProblem = (reason: AddressReason, code: Option.Option<string>): string =>
  reason === "Refused" && isQueueFull(code)
    ? "the queue of whoever listens there is full"
    : reason === "Refused" && isReset(code)
    ? "whoever listens there has reset it at once"
    // These two are about this end.
    : reason === "AddressNotAvailable"
    ? "this machine has no such address, or no free port, to connect from"
    : reason === "AddressInUse"
    ? "the local address is in use"
    : addressProblems[reason]
