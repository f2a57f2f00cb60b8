/**
 * What a trace and the log show of a server's connections: a span around each handler, and annotations on its lines.
 *
 * Either costs more than accepting the connection does, so each is there only where somebody looks. Spans are made where
 * the program has a tracer of its own, unless tracing is switched off; annotations where the server is told to make
 * them. Otherwise `begin` is two comparisons.
 *
 * Names are those of OpenTelemetry's semantic conventions, where it has one. A connection begins a trace of its own:
 * the span in which the server was started would have no end of children.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as HashMap from "effect/HashMap"
import * as Runtime from "effect/Runtime"
import * as Tracer from "effect/Tracer"
import * as Address from "../Address.js"
import type { Transport } from "../Transport.js"
import type { ConnectionImpl } from "./connection.js"
import type { ConnectionLimits, Meter } from "./connectionState.js"
import { closeReason } from "./serverMetrics.js"

const nativeTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

let latestId = 0

/** Counts for one connection as well as for the server. */
class ConnectionMeter implements Meter {
  bytesReceived = 0
  bytesSent = 0

  constructor(private readonly all: Meter | undefined) {}

  received(bytes: number): void {
    this.bytesReceived += bytes
    this.all?.received(bytes)
  }

  sent(bytes: number): void {
    this.bytesSent += bytes
    this.all?.sent(bytes)
  }
}

/** What is shown of one connection. */
export class ConnectionTelemetry {
  private readonly id: number = ++latestId
  private readonly meter: ConnectionMeter
  private span: Tracer.Span | undefined = undefined
  /** What the connection is to be made with. */
  readonly limits: ConnectionLimits

  constructor(
    private readonly clock: Clock.Clock,
    private readonly tracing: boolean,
    private readonly timing: boolean,
    private readonly annotating: boolean,
    limits: ConnectionLimits
  ) {
    this.meter = new ConnectionMeter(limits.meter)
    this.limits = { ...limits, meter: this.meter }
  }

  /** The runtime of its handler. */
  runtime<R>(runtime: Runtime.Runtime<R>, transport: Transport): Runtime.Runtime<R> {
    let { context, fiberRefs } = runtime
    if (this.annotating) {
      const annotations = FiberRefs.getOrDefault(fiberRefs, FiberRef.currentLogAnnotations)
      fiberRefs = FiberRefs.updateAs(fiberRefs, {
        fiberId: FiberId.none,
        fiberRef: FiberRef.currentLogAnnotations,
        value: annotations.pipe(
          HashMap.set<string, unknown>("connection.id", this.id),
          HashMap.set<string, unknown>("network.peer.address", Address.format(transport.remoteAddress))
        )
      })
    }
    if (this.tracing) {
      const attributes = { "connection.id": this.id, ...attributesOf(transport) }
      this.span = Runtime.runSync(
        runtime,
        Effect.makeSpan(`${attributes["network.transport"]}.connection`, {
          kind: "server",
          root: true,
          captureStackTrace: false,
          attributes
        })
      )
      context = Context.add(context, Tracer.ParentSpan, this.span)
    }
    return Runtime.make({ context, fiberRefs, runtimeFlags: runtime.runtimeFlags })
  }

  end(connection: ConnectionImpl, exit: Exit.Exit<unknown, unknown>): void {
    const span = this.span
    if (span !== undefined) {
      const { closed } = connection.latest.state
      span.attribute("netstreams.close.reason", closed === undefined ? "Unknown" : closeReason(closed))
      if (closed?.by === "Failed") {
        span.attribute("error.type", closed.failure.code ?? closed.failure.reason)
      }
      span.attribute("netstreams.bytes.received", this.meter.bytesReceived)
      span.attribute("netstreams.bytes.sent", this.meter.bytesSent)
      span.end(this.timing ? this.clock.unsafeCurrentTimeNanos() : BigInt(0), exit)
    }
  }
}

/** What makes them, or `undefined` where nobody looks. */
export const observe = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  options: { readonly annotateLogs?: boolean | undefined },
  limits: ConnectionLimits
): (() => ConnectionTelemetry) | undefined => {
  const tracing = fiber.currentTracer !== nativeTracer && fiber.getFiberRef(FiberRef.currentTracerEnabled)
  const annotating = options.annotateLogs === true
  if (!tracing && !annotating) {
    return undefined
  }
  const timing = fiber.getFiberRef(FiberRef.currentTracerTimingEnabled)
  const clock = Context.get(fiber.currentDefaultServices, Clock.Clock)
  return () => new ConnectionTelemetry(clock, tracing, timing, annotating, limits)
}

const attributesOf = ({ localAddress, remoteAddress, tls }: Transport) => ({
  ...(remoteAddress._tag === "TcpAddress"
    ? {
      "network.transport": "tcp",
      "network.type": `ipv${remoteAddress.family}`,
      "network.peer.address": remoteAddress.host,
      "network.peer.port": remoteAddress.port
    } as const
    : { "network.transport": "unix", "network.peer.address": Address.format(remoteAddress) } as const),
  ...(localAddress._tag === "TcpAddress"
    ? { "network.local.address": localAddress.host, "network.local.port": localAddress.port }
    : { "network.local.address": Address.format(localAddress) }),
  ...(tls === undefined ? {} : {
    "tls.protocol.name": "tls",
    "tls.protocol.version": tls.protocol.replace(/^TLSv/, ""),
    "tls.cipher": tls.cipher
  })
})
