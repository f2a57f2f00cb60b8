/**
 * What it costs to ask for more: limits in time, spans, log annotations, the wire tap. Each contender is beside one that
 * asks for nothing, and so has what is always there, which is the counting of the metrics.
 */
import { Effect, Layer, Logger, Option, Tracer } from "effect"
import { type Connection, Network } from "effect-netstreams"
import { asClient, asServer, host, type Listening } from "../contenders.js"
import { source } from "../peer.js"
import type { Contender, Meter, Workload } from "../workload.js"
import { echo, size } from "./echo.js"

/** None of them is ever passed. */
const timeLimits: Connection.Options = {
  idleTimeout: "1 hour",
  readTimeout: "1 hour",
  writeTimeout: "1 hour",
  minReadRate: { bytesPerSecond: 1, gracePeriod: "1 hour" }
}

/** Keeps what a span is told, and sends it nowhere. */
const tracer = Tracer.make({
  span: (name, parent, context, links, startTime, kind) => {
    const attributes = new Map<string, unknown>()
    const span: Tracer.Span = {
      _tag: "Span",
      spanId: "1",
      traceId: Option.match(parent, { onNone: () => "1", onSome: ({ traceId }) => traceId }),
      name,
      parent,
      context,
      links: [...links],
      kind,
      sampled: true,
      attributes,
      status: { _tag: "Started", startTime },
      attribute: (key, value) => {
        attributes.set(key, value)
      },
      event: () => {},
      addLinks: () => {},
      end: () => {}
    }
    return span
  },
  context: (execution) => execution()
})

/** In turn: what takes part in each connection, and what a program is told once for all of them. */
const asked: ReadonlyArray<readonly [name: string, listening: Listening, target?: number]> = [
  ["nothing", {}],
  ["four limits in time", { options: timeLimits }, 0.9],
  ["a span", { within: Layer.setTracer(tracer) }],
  ["annotateLogs", { options: { annotateLogs: true } }],
  ["wireTap, to a logger that drops it", {
    options: { wireTap: true },
    within: Logger.replace(Logger.defaultLogger, Logger.none)
  }]
]

const first = <A>([head, ...rest]: ReadonlyArray<A>): readonly [A, ...Array<A>] => [head!, ...rest]

const served = (
  name: string,
  title: string,
  unit: string,
  peers: Parameters<typeof asServer>[0],
  warmUp?: number
): Workload => {
  const { library } = asServer(peers)
  return {
    name,
    title,
    unit,
    better: "higher",
    oneCore: true,
    warmUp,
    contenders: first(
      asked.map(([name, listening, target]) => library(name, echo, { ...listening, target }))
    )
  }
}

/** A read that the buffer serves is the one that can afford least. */
const bufferedReads = (): Workload => {
  const { library } = asClient(source(`${"x".repeat(79)}\n`))
  const lines = (name: string, options: Connection.Options, target?: number): Contender =>
    library(name, (port: number, meter: Meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port, ...options })
        while (true) {
          yield* reader.readLine
          meter.count++
        }
      }), { target })
  return {
    name: "extras-lines",
    title: "Lines of 80 bytes, beside a client that asks for nothing",
    unit: "lines/s",
    better: "higher",
    contenders: [lines("nothing", {}), lines("four limits in time", timeLimits, 0.9)]
  }
}

export const extras: ReadonlyArray<Workload> = [
  bufferedReads(),
  served("extras-echo", `Echo of ${size} bytes, beside a server that asks for nothing`, "round trips/s", {
    connections: 1,
    size
  }),
  served("extras-churn", "Accept, one round trip, close, beside a server that asks for nothing", "connections/s", {
    connections: 8,
    size,
    roundTrips: 1
  }, 2500)
]
