/**
 * Measures the library beside what can be written by hand with `node:net`, on this machine and in this run.
 *
 * ```
 * npm run bench                          all workloads
 * npm run bench -- echo frames           those whose names begin so
 * npm run bench -- --quick               few and short rounds, for a first look
 * npm run bench -- --against ../other    the library of another checkout beside this one's
 * npm run bench -- --save                keeps the results, and draws them, as those that the repository shows
 * npm run bench -- --guard               fails where a ratio has fallen far below the one that is kept
 * npm run bench -- --list                the names
 * ```
 */
import * as fs from "node:fs"
import * as path from "node:path"
import { parseArgs } from "node:util"
import { build } from "./build.js"
import { chart } from "./chart.js"
import { fallen, guarded, ownOf } from "./guard.js"
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
    /** Fails where a ratio has fallen far below the one that is kept. */
    guard: { type: "boolean", default: false },
    list: { type: "boolean", default: false }
  }
})

/** The results that the repository shows. */
const kept = path.join(import.meta.dirname, "results/latest.json")

const saved = (): ReadonlyArray<WorkloadResult> =>
  fs.existsSync(kept)
    ? (JSON.parse(fs.readFileSync(kept, "utf8")) as { readonly workloads: ReadonlyArray<WorkloadResult> }).workloads
    : []

const write = (file: string, content: string): void => {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, content)
}

const chosen = values.guard
  ? workloads.filter(({ name }) => guarded.includes(name)).map(ownOf)
  : positionals.length === 0
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
  const quick = values.quick || values.guard
  const measured = Number(values.seconds ?? (quick ? 0.5 : 1.5)) * 1000
  const plan: Plan = {
    rounds: Number(values.rounds ?? (values.guard ? 3 : quick ? 2 : 5)),
    warmUp: quick ? 500 : 1500,
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

  const conditions = { rounds: plan.rounds, warmUp: plan.warmUp, measured }
  if (values.guard) {
    const falls = fallen(results, saved())
    falls.forEach((fall) => console.error(fall))
    if (falls.length > 0) {
      process.exitCode = 1
    }
  } else if (values.save) {
    const all = workloads.flatMap(({ name }) => {
      const result = results.find((result) => result.name === name) ?? saved().find((result) => result.name === name)
      return result === undefined ? [] : [result]
    })
    write(kept, json(conditions, all))
    write(
      path.join(path.dirname(kept), "chart.svg"),
      chart(all, `Work by CPU time beside node:net by hand. ${cpu}, ${count} cores, Node ${node}; higher is better.`)
    )
  } else {
    write(path.join(import.meta.dirname, "out/latest.json"), json(conditions, results))
  }
}
