import * as Effect from "effect/Effect"
import type { TlsError } from "../../../NetworkError.js"
import type * as Tls from "../../../Tls.js"
import type { Transport } from "../../../Transport.js"
import { asyncOwned } from "../../background.js"
import { clockTimers } from "../../clockTimers.js"
import { connectTls } from "./client.js"
import { recentContext } from "./serverContext.js"

/**
 * The handshake of a connection that goes over to TLS.
 *
 * @internal
 */
export const upgrade = (lower: Transport, options: Tls.Upgrade): Effect.Effect<Transport, TlsError> =>
  options.role === "client" ? connectTls(lower, options, undefined) : Effect.flatMap(
    Effect.zip(recentContext(options), Effect.clock),
    ([context, clock]) =>
      asyncOwned<Transport, TlsError>((resume) =>
        Effect.sync(context.accept(lower, clockTimers(clock), resume, options))
      )
  )
