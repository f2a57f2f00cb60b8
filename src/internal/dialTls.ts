import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ConnectError, TlsError } from "../NetworkError.js"
import type * as Tls from "../Tls.js"
import type { TlsProvider, Transport } from "../Transport.js"
import { type Progress, withConnectTimeout } from "./connectTimeout.js"
import { maskOnce, suspendOnce } from "./once.js"

/**
 * Dials, and then makes the handshake, under one time limit.
 *
 * @internal
 */
export const dialTls = (
  connectTls: TlsProvider["connect"],
  target: string,
  timeout: Duration.DurationInput | undefined,
  dial: (progress: Progress) => Effect.Effect<Transport, ConnectError>,
  options: Tls.ClientOptions,
  host: string | undefined
): Effect.Effect<Transport, ConnectError | TlsError> =>
  withConnectTimeout(
    { target, timeout, close: (transport) => transport.abort() },
    (progress) =>
      maskOnce((restore) =>
        Effect.flatMap(restore(dial(progress)), (lower) => {
          progress.phase = "tls"
          return Effect.catchAllCause(
            restore(suspendOnce(() => connectTls(lower, options, host))),
            (cause) => {
              if (Cause.isInterrupted(cause)) {
                lower.abort()
              }
              return Effect.failCause(cause)
            }
          )
        })
      )
  )
