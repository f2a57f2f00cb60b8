import { Effect } from "effect"
import { Network, TestNetwork } from "effect-netstreams"
import type { Contender, Meter, Workload } from "../workload.js"

const clients = 1000
const minutes = 24 * 60

/** A day in which every client sends a line a minute, each at its own second. */
const day = (meter: Meter) =>
  Effect.gen(function*() {
    yield* Network.startServer({ host: "127.0.0.1", port: 80 }, ({ reader }) =>
      reader.forEachLine(() => {
        meter.count++
      }))
    const client = (i: number) =>
      Effect.scoped(Effect.gen(function*() {
        const { writer } = yield* Network.openConnection({ host: "127.0.0.1", port: 80 })
        yield* Effect.sleep((i * 60_000) / clients)
        for (let minute = 0; minute < minutes; minute++) {
          yield* writer.write("nothing to report\n")
          yield* Effect.sleep("1 minute")
        }
      }))
    yield* Effect.forEach(Array.from({ length: clients }, (_, i) => i), client, {
      concurrency: "unbounded",
      discard: true
    })
  }).pipe(Effect.scoped)

const simulated = (name: string, conditions: TestNetwork.LinkConditions): Contender => ({
  name,
  kind: "library",
  measure: async () => {
    const meter: Meter = { count: 0 }
    const start = performance.now()
    await Effect.runPromise(
      day(meter).pipe(
        Effect.provide(TestNetwork.layerWith({ conditions })),
        TestNetwork.simulate
      )
    )
    if (meter.count !== clients * minutes) {
      throw new Error(`${meter.count} lines have come, of ${clients * minutes}`)
    }
    return { value: (performance.now() - start) / 1e3 }
  }
})

export const simulation: Workload = {
  name: "simulation",
  title: `A simulated day in which ${clients} clients send a line a minute`,
  unit: "s",
  better: "lower",
  compared: false,
  contenders: [
    simulated("perfect links", {}),
    simulated("50 ms latency, cut anywhere", { latency: "50 millis", fragment: "random" })
  ]
}
