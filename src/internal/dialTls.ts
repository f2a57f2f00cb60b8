import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ConnectError, TlsError } from "../NetworkError.js"
import type * as Tls from "../Tls.js"
import type { Restore, TlsProvider, Transport } from "../Transport.js"
import { type Progress, withConnectTimeout } from "./connectTimeout.js"
import { suspendOnce } from "./once.js"

/**
 * Dials, and then makes the handshake, under one time limit. To be run where nothing interrupts.
 *
 * @internal
 */
export const dialTls = (
  connectTls: TlsProvider["connect"],
  target: string,
  timeout: Duration.DurationInput | undefined,
  dial: (progress: Progress, restore: Restore) => Effect.Effect<Transport, ConnectError>,
  options: Tls.ClientOptions,
  host: string | undefined,
  restore: Restore
): Effect.Effect<Transport, ConnectError | TlsError> =>
  withConnectTimeout(
    { target, timeout, close: (transport) => transport.abort() },
    restore,
    (progress, _fiber, restore) =>
      Effect.flatMap(dial(progress, restore), (lower) => {
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
