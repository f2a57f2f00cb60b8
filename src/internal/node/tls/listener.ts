/**
 * A listener whose connections are accepted when their handshake is done. Each has its own time for it, so that a slow
 * one holds nobody up.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Address from "../../../Address.js"
import { ListenError, OverloadError, type TlsError } from "../../../NetworkError.js"
import type * as Tls from "../../../Tls.js"
import type { AcceptError, Acceptor, Listener, Transport } from "../../../Transport.js"
import { clockTimers } from "../../clockTimers.js"
import type { Timers } from "../../connectionState.js"
import { Places } from "../../places.js"
import { type ServerContext, serverContext } from "./serverContext.js"

/** How many connections may wait for their handshake to begin, where their number is limited. */
const mostWaiting = 1000

class TlsAcceptor implements Acceptor {
  /** What gives up the handshakes under way; `undefined` when closed. */
  private handshakes: Set<() => void> | undefined = new Set()
  private readonly places: Places<Transport>

  constructor(
    private readonly upper: Acceptor,
    public context: ServerContext,
    private readonly timers: Timers,
    maxHandshakes: number | undefined
  ) {
    this.places = new Places(maxHandshakes ?? Infinity, mostWaiting)
  }

  readonly onTransport = (lower: Transport): void => {
    if (this.handshakes === undefined) {
      lower.abort()
      this.upper.onDropped?.(1)
      return
    }
    switch (this.places.arrive(lower)) {
      case "enters":
        return this.begin(lower, this.handshakes)
      case "waits":
        return
      case "refused":
        lower.abort()
        return this.upper.onError({
          phase: "accept",
          remoteAddress: lower.remoteAddress,
          error: new OverloadError(
            { reason: "MaxHandshakes", limit: this.places.places, refused: 1 },
            { disableValidation: true }
          )
        })
    }
  }

  private begin(lower: Transport, handshakes: Set<() => void>): void {
    let giveUp: (() => void) | undefined = undefined
    let done = false
    const begun = this.timers.now()
    giveUp = this.context.accept(lower, this.timers, (exit) => {
      done = true
      if (giveUp !== undefined) {
        handshakes.delete(giveUp)
      }
      if (Exit.isSuccess(exit)) {
        this.upper.onTransport(exit.value, this.timers.now() - begun)
      } else {
        this.upper.onError({
          phase: "handshake",
          remoteAddress: lower.remoteAddress,
          error: Cause.squash(exit.cause)
        })
      }
      const next = this.places.leave()
      if (next !== undefined) {
        this.begin(next, handshakes)
      }
    })
    if (!done) {
      handshakes.add(giveUp)
    }
  }

  readonly onError = (error: AcceptError): void => this.upper.onError(error)

  readonly onClosed = (): void => this.upper.onClosed?.()

  close(): void {
    const handshakes = this.handshakes ?? new Set()
    this.handshakes = undefined
    const waiting = this.places.dismiss()
    waiting.forEach((lower) => lower.abort())
    handshakes.forEach((giveUp) => giveUp())
    const dropped = waiting.length + handshakes.size
    if (dropped > 0) {
      this.upper.onDropped?.(dropped)
    }
  }
}

/**
 * Puts TLS between a listener and its acceptor, where there are options for it.
 *
 * @internal
 */
export const withTls = (
  options: Tls.ServerOptions | undefined,
  address: Address.Address,
  acceptor: Acceptor,
  listen: (acceptor: Acceptor) => Effect.Effect<Listener, ListenError>
): Effect.Effect<Listener, ListenError> => {
  if (options === undefined) {
    return listen(acceptor)
  }
  const make = Effect.zip(
    Effect.mapError(serverContext(options), (error) => notUsable(address, error)),
    Effect.clock
  )
  return Effect.flatMap(make, ([context, clock]) => {
    const secure = new TlsAcceptor(acceptor, context, clockTimers(clock), options.maxHandshakes)
    return Effect.map(listen(secure), (listener): Listener => ({
      addresses: listener.addresses,
      start: listener.start,
      close: Effect.zipRight(Effect.sync(() => secure.close()), listener.close),
      setTls: (options) =>
        Effect.map(serverContext(options), (context) => {
          secure.context = context
        })
    }))
  })
}

const notUsable = (address: Address.Address, error: TlsError): ListenError =>
  new ListenError({
    reason: "Unknown",
    address,
    code: error.code,
    cause: error,
    detail: Option.map(error.detail, (detail) => `the TLS options can't be used: ${detail}`)
  })

/** The address that a listener was to have, for its errors. */
export const intendedAddress = (host: string | ReadonlyArray<string> | undefined, port: number | undefined) =>
  Address.tcp(typeof host === "string" ? host : host?.[0] ?? "::", port ?? 0)
