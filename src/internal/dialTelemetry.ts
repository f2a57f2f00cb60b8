/**
 * What a trace and a debug log show of dialling: a span for each lookup and each attempt, and a line for how it ended.
 *
 * Making spans costs more than a literal address costs to dial, and a log line that nobody prints is not free either.
 * So there is an observer only where someone looks: spans are made inside another span, or where the program has a
 * tracer of its own, unless tracing is switched off; lines are written where the minimum log level lets debug lines
 * through. Otherwise `observe` is two comparisons, and everything after it one test for `undefined`.
 *
 * Names are those of OpenTelemetry's semantic conventions.
 */
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as LogLevel from "effect/LogLevel"
import * as Runtime from "effect/Runtime"
import * as Tracer from "effect/Tracer"
import * as Address from "../Address.js"
import type { ResolveError } from "../Resolver.js"
import type { Background } from "./background.js"
import type { Outcome } from "./dialRace.js"

const nativeTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** @internal */
export interface DialObserver {
  readonly lookup: (
    lookup: Effect.Effect<ReadonlyArray<string>, ResolveError>,
    host: string,
    family: 4 | 6 | undefined
  ) => Effect.Effect<ReadonlyArray<string>, ResolveError>
  /** An attempt begins. What is returned is to be told how it ended. */
  readonly attempt: (address: Address.Address) => (outcome: Outcome) => void
}

/** @internal */
export const observe = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  background: Background,
  server: { readonly host: string; readonly port: number | undefined }
): DialObserver | undefined => {
  const tracing = (fiber.currentSpan !== undefined || fiber.currentTracer !== nativeTracer) &&
    fiber.getFiberRef(FiberRef.currentTracerEnabled)
  const logging = LogLevel.lessThanEqual(fiber.getFiberRef(FiberRef.currentMinimumLogLevel), LogLevel.Debug)
  if (!tracing && !logging) {
    return undefined
  }

  const serverAttributes = server.port === undefined
    ? { "server.address": server.host }
    : { "server.address": server.host, "server.port": server.port }

  return {
    lookup: (lookup, host, family) => {
      const attributes = {
        "server.address": host,
        ...(family === undefined ? {} : { "network.type": `ipv${family}` })
      }
      const told = Effect.tapBoth(lookup, {
        onFailure: (error) => Effect.logDebug(error.message),
        onSuccess: (addresses) =>
          Effect.zipRight(
            tracing ? Effect.annotateCurrentSpan("dns.answers", addresses) : Effect.void,
            Effect.logDebug(`lookup of ${host}: ${addresses.join(", ")}`)
          )
      })
      const traced = tracing
        ? Effect.withSpan(told, "dns.lookup", { kind: "client", captureStackTrace: false, attributes })
        : told
      return Effect.annotateLogs(traced, attributes)
    },

    attempt: (address) => {
      const attributes = { ...serverAttributes, ...peer(address) }
      const span = tracing
        ? Runtime.runSync(
          background.runtime,
          Effect.makeSpan(`${attributes["network.transport"]}.connect`, {
            kind: "client",
            captureStackTrace: false,
            attributes
          })
        )
        : undefined
      return (outcome) => {
        const [problem, exit] = outcome === "connected"
          ? [outcome, Exit.void]
          : outcome === "given up"
          ? [outcome, Exit.interrupt(FiberId.none)]
          : [`failed: ${outcome.reason}${outcome.code === undefined ? "" : ` (${outcome.code})`}`, Exit.fail(outcome)]
        if (span !== undefined) {
          if (typeof outcome === "object") {
            span.attribute("error.type", outcome.code ?? outcome.reason)
          }
          const timing = fiber.getFiberRef(FiberRef.currentTracerTimingEnabled)
          span.end(timing ? background.clock.unsafeCurrentTimeNanos() : BigInt(0), exit)
        }
        if (logging) {
          Runtime.runFork(
            background.runtime,
            Effect.annotateLogs(Effect.logDebug(`connect to ${Address.format(address)}: ${problem}`), attributes)
          )
        }
      }
    }
  }
}

const peer = (address: Address.Address) =>
  address._tag === "TcpAddress"
    ? {
      "network.transport": "tcp",
      "network.type": `ipv${address.family}`,
      "network.peer.address": address.host,
      "network.peer.port": address.port
    } as const
    : { "network.transport": "unix", "network.peer.address": Address.format(address) } as const
