import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ConnectError, TlsError } from "../NetworkError.js"
import type * as Tls from "../Tls.js"
import type { TlsProvider, Transport } from "../Transport.js"
import { type Progress, withConnectTimeout } from "./connectTimeout.js"

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
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(restore(dial(progress)), (lower) => {
          progress.phase = "tls"
          return Effect.onInterrupt(restore(connectTls(lower, options, host)), () => Effect.sync(() => lower.abort()))
        })
      )
  )
