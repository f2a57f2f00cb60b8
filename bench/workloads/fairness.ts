/** How long a quiet connection waits for its answers while others of the same process are flooded. */
import { Effect } from "effect"
import { Network } from "effect-netstreams"
import * as Net from "node:net"
import { host, run } from "../contenders.js"
import { echo, source } from "../peer.js"
import { type Conditions, type Contender, type Sample, sleep, type Workload } from "../workload.js"
import { message, size } from "./echo.js"

const floods = 64
const line = `${"x".repeat(79)}\n`

/** Milliseconds of each round trip. */
type Trips = Array<number>

const measure = (
  name: string,
  kind: Contender["kind"],
  target: number | undefined,
  start: (flood: number, quiet: number, trips: Trips) => Promise<unknown>
): Contender => ({
  name,
  kind,
  target,
  measure: async (conditions: Conditions): Promise<Sample> => {
    const trips: Trips = []
    const started = start(await source(line)(conditions), await echo(conditions), trips)
    const measured = async (): Promise<Sample> => {
      await sleep(conditions.warmUp)
      trips.length = 0
      await sleep(2 * conditions.measured)
      const sorted = trips.slice().sort((a, b) => a - b)
      if (sorted.length === 0) {
        throw new Error("the quiet connection has starved")
      }
      return { value: sorted[Math.floor(sorted.length * 0.95)]! }
    }
    return Promise.race([measured(), started.then(() => sleep(2 ** 30) as Promise<never>)])
  }
})

export const fairness: Workload = {
  name: "fairness",
  title: `95th percentile of an echo beside ${floods} connections that flood`,
  unit: "ms",
  better: "lower",
  contenders: [
    measure("node:net, data events", "raw", undefined, (flood, quiet, trips) => {
      for (let i = 0; i < floods; i++) {
        let lines = 0
        Net.connect(flood, host).on("data", (chunk) => {
          let from = 0
          for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
            chunk.subarray(from, end)
            lines++
            from = end + 1
          }
          return lines
        })
      }
      const socket = Net.connect({ port: quiet, host, noDelay: true })
      let sent = performance.now()
      let missing = size
      socket.on("data", (chunk) => {
        missing -= chunk.length
        if (missing === 0) {
          missing = size
          trips.push(performance.now() - sent)
          sent = performance.now()
          socket.write(message)
        }
      })
      socket.write(message)
      return Promise.resolve()
    }),

    measure("readLine, readExactly", "library", 3, (flood, quiet, trips) =>
      run(Effect.gen(function*() {
        const flooded = Effect.scoped(Effect.gen(function*() {
          const { reader } = yield* Network.openConnection({ host, port: flood })
          while (true) {
            yield* reader.readLine
          }
        }))
        for (let i = 0; i < floods; i++) {
          yield* Effect.forkScoped(flooded)
        }
        const { reader, writer } = yield* Network.openConnection({ host, port: quiet })
        while (true) {
          const sent = performance.now()
          yield* writer.write(message)
          yield* reader.readExactly(size)
          trips.push(performance.now() - sent)
        }
      })))
  ]
}
