/**
 * Measures the library beside what can be written by hand with `node:net`, on this machine and in this run.
 *
 * ```
 * npm run bench                          all workloads
 * npm run bench -- echo frames           those whose names begin so
 * npm run bench -- --quick               few and short rounds, for a first look
 * npm run bench -- --against ../other    the library of another checkout beside this one's
 * npm run bench -- --list                the names
 * ```
 */
import * as fs from "node:fs"
import * as path from "node:path"
import { parseArgs } from "node:util"
import { build } from "./build.js"
import { measurements, type Plan, runWorkload, type WorkloadResult } from "./harness.js"
import { Progress } from "./progress.js"
import { json, machine, table } from "./report.js"
import { cores } from "./spawnNode.js"
import { workloads } from "./workloads/index.js"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    seconds: { type: "string" },
    against: { type: "string" },
    /** Keeps the results as those that the repository shows. */
    save: { type: "boolean", default: false },
    list: { type: "boolean", default: false }
  }
})

const chosen = positionals.length === 0
  ? workloads
  : workloads.filter(({ name }) => positionals.some((begin) => name.startsWith(begin)))
const unknown = positionals.filter((begin) => !workloads.some(({ name }) => name.startsWith(begin)))

if (values.list || unknown.length > 0) {
  if (unknown.length > 0) {
    console.error(`no workload is called ${unknown.join(", ")}; there are:`)
    process.exitCode = 1
  }
  workloads.forEach(({ name, title }) => console.log(`${name.padEnd(16)} ${title}`))
} else {
  const measured = Number(values.seconds ?? (values.quick ? 0.5 : 1.5)) * 1000
  const plan: Plan = {
    rounds: Number(values.rounds ?? (values.quick ? 2 : 5)),
    warmUp: values.quick ? 500 : 1500,
    measured,
    cores: cores(),
    builds: [
      { label: "", folder: build("bench") },
      ...values.against === undefined
        ? []
        : [{ label: " (other)", folder: build("bench-against", path.resolve(values.against)) }]
    ]
  }

  const { cores: count, cpu, node } = machine()
  console.log(`${cpu}, ${count} cores, Node ${node}; ${plan.rounds} rounds of ${measured / 1000} s\n`)
  const progress = new Progress(chosen.reduce((sum, workload) => sum + measurements(workload, plan), 0))
  const results: Array<WorkloadResult> = []
  for (const workload of chosen) {
    try {
      const result = await runWorkload(
        workload,
        plan,
        (round, contender) => progress.step(`${workload.name}, round ${round}: ${contender}`)
      )
      progress.clear()
      console.log(table(result))
      results.push(result)
    } catch (error) {
      progress.clear()
      console.error(error instanceof Error ? error.message : error)
      process.exitCode = 1
    }
  }

  const file = path.join(import.meta.dirname, values.save ? "results/latest.json" : "out/latest.json")
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, json({ rounds: plan.rounds, warmUp: plan.warmUp, measured }, results))
}
