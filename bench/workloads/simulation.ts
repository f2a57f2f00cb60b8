import { Effect } from "effect"
import { Network, TestNetwork } from "effect-netstreams"
import { type Contender, type Meter, rate, type Workload } from "../workload.js"

const clients = 1000
const linesPerDay = clients * 24 * 60

/** Days and days in which every client sends a line a minute, each at its own time. */
const days = (meter: Meter) =>
  Effect.gen(function*() {
    yield* Network.startServer({ host: "127.0.0.1", port: 80 }, ({ reader }) =>
      reader.forEachLine(() => {
        meter.count++
      }))
    const client = (i: number) =>
      Effect.scoped(Effect.gen(function*() {
        const { writer } = yield* Network.openConnection({ host: "127.0.0.1", port: 80 })
        yield* Effect.sleep((i * 60_000) / clients)
        while (true) {
          yield* writer.write("nothing to report\n")
          yield* Effect.sleep("1 minute")
        }
      }))
    yield* Effect.forEach(Array.from({ length: clients }, (_, i) => i), client, {
      concurrency: "unbounded",
      discard: true
    })
  }).pipe(Effect.scoped)

const simulated = (name: string, link: TestNetwork.LinkConditions): Contender => ({
  name,
  kind: "library",
  measure: async (conditions) => {
    const meter: Meter = { count: 0 }
    const program = days(meter).pipe(Effect.provide(TestNetwork.layerWith({ conditions: link })), TestNetwork.simulate)
    const { busy, value } = await Promise.race([
      rate(conditions, meter, 1),
      Effect.runPromise(program).then(() => Promise.reject(new Error("the simulation ended")))
    ])
    return { value: linesPerDay / value, busy }
  }
})

export const simulation: Workload = {
  name: "simulation",
  title: `A simulated day in which ${clients} clients send a line a minute, at the pace of a part of it`,
  unit: "s",
  better: "lower",
  compared: false,
  contenders: [
    simulated("perfect links", {}),
    simulated("50 ms latency, cut anywhere", { latency: "50 millis", fragment: "random" })
  ]
}
