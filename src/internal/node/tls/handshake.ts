/**
 * The handshake, in either role, over any transport.
 *
 * Theory of operation. A handshake is begun and then settles once: it succeeded, or failed, or took too long, or was given
 * up. In all cases but the first, everything it made is destroyed and the transport below is dropped, and nothing that
 * is still on its way can be heard any more.
 */
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import type { Duplex } from "node:stream"
import * as NodeTls from "node:tls"
import type { TlsError } from "../../../NetworkError.js"
import type * as Tls from "../../../Tls.js"
import type { Transport } from "../../../Transport.js"
import type { Timers } from "../../connectionState.js"
import { Ciphertext } from "./ciphertext.js"
import { handshakeError, handshakeTimeout, invalidOptions } from "./errors.js"
import { overSocket } from "./overSocket.js"
import type { Carrier, TlsTransport } from "./transport.js"

const defaultHandshakeTimeout = Duration.seconds(60)

/** How `attach` says what came of it. */
export type Settle = (outcome: NodeTls.TLSSocket | TlsError) => void

/** One handshake. Returns the function that gives it up. */
export const begin = (
  lower: Transport,
  options: Tls.CommonOptions,
  sessionOf: (socket: NodeTls.TLSSocket) => Tls.Session,
  timers: Timers,
  attach: (carrier: Duplex, settle: Settle) => NodeTls.TLSSocket | undefined,
  done: (exit: Exit.Exit<Transport, TlsError>) => void
): () => void => {
  let socket: NodeTls.TLSSocket | undefined
  let transport: TlsTransport | undefined
  let settled = false
  let abandoned = false
  let cancelTimer: (() => void) | undefined

  const giveUp = () => {
    settled = true
    cancelTimer?.()
    socket?.on("error", ignore)
    socket?.destroy()
    carrier.destroy()
  }
  const settle: Settle = (outcome) => {
    if (settled) {
      return
    }
    if (!(outcome instanceof NodeTls.TLSSocket)) {
      giveUp()
      return done(Exit.fail(outcome))
    }
    settled = true
    cancelTimer?.()
    socket = outcome
    transport = carrier.secured(outcome, options, sessionOf(outcome))
    // OpenSSL is still in the middle of the handshake, and nobody else's code shall run there.
    setImmediate(handOver)
  }
  const handOver = () => {
    if (!abandoned) {
      done(Exit.succeed(transport!))
    }
  }
  // TLS reports what it was told last in a later turn, and that says more: an alert, then the end.
  const settleLater = (cause: unknown = endedEarly()) => {
    if (!settled) {
      setImmediate(() => settle(handshakeError(cause, undefined, lower.remoteAddress)))
    }
  }

  const carrier: Carrier = overSocket(lower) ?? new Ciphertext(lower, settleLater)
  try {
    socket = attach(carrier.stream, settle)
  } catch (error) {
    settle(invalidOptions(error))
    return ignore
  }
  const timeout = Duration.decode(options.handshakeTimeout ?? defaultHandshakeTimeout)
  if (!settled && Duration.isFinite(timeout)) {
    cancelTimer = timers.after(
      Duration.toMillis(timeout),
      () => settle(handshakeTimeout(Duration.format(timeout), lower.remoteAddress))
    )
  }
  return () => {
    if (settled) {
      abandoned = true
      transport?.abort()
    } else {
      giveUp()
    }
  }
}

export const ignore = () => {}

export const endedEarly = (): Error =>
  Object.assign(new Error("the connection ended before the handshake was done"), { code: "ECONNRESET" })
