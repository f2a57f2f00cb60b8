import { Effect } from "effect"
import { StreamReader } from "effect-netstreams"
import type { Contender, Workload } from "../workload.js"

const mebibyte = 2 ** 20

const readLine = (size: number) =>
  Effect.gen(function*() {
    const { feed, reader } = yield* StreamReader.make({ limit: size * mebibyte })
    const waiting = yield* Effect.fork(reader.readLine)
    for (let i = 0; i < size * 1024; i++) {
      yield* feed.data(new Uint8Array(1024))
      yield* Effect.yieldNow()
    }
    yield* feed.data(new Uint8Array([10]))
    const { length } = yield* Effect.fromFiber(waiting)
    if (length !== size * mebibyte + 1) {
      yield* Effect.dieMessage(`a line of ${length} bytes`)
    }
  })

/** A line of so many MiB that arrives by the KiB, and is looked for after each. */
const line = (size: number, target?: number): Contender => ({
  name: `readLine, ${size} MiB`,
  kind: "library",
  target,
  measure: async () => {
    await Effect.runPromise(readLine(16))
    const before = process.cpuUsage()
    await Effect.runPromise(readLine(size))
    const { system, user } = process.cpuUsage(before)
    return { value: size / ((system + user) / 1e6) }
  }
})

export const longLine: Workload = {
  name: "long-line",
  title: "One line that arrives by the KiB: as fast a MiB, however long",
  unit: "MiB a CPU second",
  better: "higher",
  contenders: [line(16), line(32, 0.7), line(64, 0.7)]
}
