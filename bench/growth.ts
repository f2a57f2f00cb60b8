/**
 * What one line, one frame and one connection cost where there are few and where there are very many: CPU time each, over
 * four orders of magnitude. Flat is linear.
 *
 * ```
 * npm run bench:growth              a table
 * npm run bench:growth -- --save    and the picture that the repository shows
 * ```
 */
import * as fs from "node:fs"
import * as path from "node:path"
import { build } from "./build.js"
import { growthChart } from "./chart.js"
import { machine } from "./report.js"
import { cores, spawnNode } from "./spawnNode.js"
import { spread } from "./statistics.js"

export interface Amount {
  readonly kind: "line" | "frame" | "connection"
  readonly n: number
}

export interface Growth {
  readonly kind: Amount["kind"]
  /** Microseconds of CPU time for one, where there are `n`. */
  readonly points: ReadonlyArray<{ readonly n: number; readonly micros: number }>
}

// Both ends of a connection are in one process, which rarely may have more than 20 000 descriptors.
const amounts: ReadonlyArray<{ readonly kind: Amount["kind"]; readonly ns: ReadonlyArray<number> }> = [
  { kind: "line", ns: [1e3, 1e4, 1e5, 1e6, 1e7] },
  { kind: "frame", ns: [1e3, 1e4, 1e5, 1e6, 1e7] },
  { kind: "connection", ns: [1, 10, 100, 1e3, 8e3] }
]

const rounds = 3

const measure = (folder: URL, amount: Amount, core: number | undefined): Promise<number> =>
  new Promise((resolve, reject) => {
    const child = spawnNode(new URL("growthRun.js", folder), amount, core)
    child.on("message", (micros) => resolve(Number(micros)))
    child.on("error", reject)
    child.on("exit", (code, signal) => reject(new Error(`${amount.kind} × ${amount.n} ended with ${signal ?? code}`)))
  })

const main = async (): Promise<void> => {
  const folder = build("bench-growth")
  const [core] = cores() ?? []
  const growths: Array<Growth> = []
  for (const { kind, ns } of amounts) {
    const points: Array<Growth["points"][number]> = []
    for (const n of ns) {
      const values: Array<number> = []
      for (let round = 0; round < rounds; round++) {
        values.push(await measure(folder, { kind, n }, core))
      }
      const micros = spread(values)!.median
      points.push({ n, micros })
      console.log(`${kind.padEnd(12)}${String(n).padStart(10)}  ${micros.toPrecision(3)} µs each`)
    }
    growths.push({ kind, points })
  }
  if (process.argv.includes("--save")) {
    const results = path.join(import.meta.dirname, "results")
    fs.mkdirSync(results, { recursive: true })
    fs.writeFileSync(path.join(results, "growth.json"), `${JSON.stringify({ ...machine(), growths }, undefined, 2)}\n`)
    fs.writeFileSync(path.join(results, "growth.svg"), growthChart(growths))
  }
}

// Its types are imported by the process that it starts.
if (process.argv[1] === import.meta.filename) {
  await main()
}
