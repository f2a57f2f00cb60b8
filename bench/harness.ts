/**
 * Runs workloads: each contender once in a round, one after another, so that what the machine does beside concerns all
 * of them. Figures of different rounds are never compared: a ratio is made within a round.
 */
import type { ContenderInput } from "./contender.js"
import { spawnNode } from "./spawnNode.js"
import { type Spread, spread } from "./statistics.js"
import type { Sample, Workload } from "./workload.js"

export interface Plan {
  readonly rounds: number
  /** Milliseconds. */
  readonly warmUp: number
  readonly measured: number
  readonly cores: readonly [contender: number, peer: number] | undefined
  /** The builds to run. Of all but the first only what is made with the library. */
  readonly builds: ReadonlyArray<Build>
}

export interface Build {
  /** Told behind the contender's name. */
  readonly label: string
  readonly folder: URL
}

export interface ContenderResult {
  readonly name: string
  readonly kind: "raw" | "library" | "rival"
  readonly value: Spread
  /**
   * To the first contender: of CPU time where there is a rate, for that is ours alone, whatever the peer and the rest
   * of the machine do. Of the time that went by, it says the same where our side is what takes its time.
   */
  readonly ratio: Spread | undefined
  readonly ratioByClock: Spread | undefined
  readonly busy: Spread | undefined
  readonly target: number | undefined
}

export interface WorkloadResult {
  readonly name: string
  readonly title: string
  readonly unit: string
  readonly better: "higher" | "lower"
  readonly contenders: ReadonlyArray<ContenderResult>
}

const patience = 60_000

const runOnce = (folder: URL, input: ContenderInput, core: number | undefined): Promise<Sample> =>
  new Promise((resolve, reject) => {
    const child = spawnNode(new URL("contender.js", folder), input, core)
    const timer = setTimeout(
      () => child.kill("SIGKILL"),
      patience + input.conditions.warmUp + input.conditions.measured
    )
    child.on("message", (sample) => resolve(sample as Sample))
    child.on("error", reject)
    child.on("exit", (code, signal) => {
      clearTimeout(timer)
      reject(new Error(`ended with ${signal ?? code} and no result`))
    })
  })

/** One entry of a round: a contender in a build. */
interface Entry {
  readonly name: string
  readonly index: number
  readonly build: Build
}

const entriesOf = (workload: Workload, builds: ReadonlyArray<Build>): ReadonlyArray<Entry> =>
  workload.contenders.flatMap(({ kind, name }, index) =>
    (kind === "library" ? builds : builds.slice(0, 1)).map((build) => ({
      name: `${name}${kind === "library" ? build.label : ""}`,
      index,
      build
    }))
  )

/** How many measurements a workload takes. */
export const measurements = (workload: Workload, plan: Plan): number =>
  plan.rounds * entriesOf(workload, plan.builds).length

export const runWorkload = async (
  workload: Workload,
  plan: Plan,
  onStep: (round: number, contender: string) => void
): Promise<WorkloadResult> => {
  const entries = entriesOf(workload, plan.builds)
  const samples: Array<Array<Sample>> = entries.map(() => [])
  const [core, otherCore] = plan.cores ?? []
  for (let round = 1; round <= plan.rounds; round++) {
    for (const [i, { build, index, name }] of entries.entries()) {
      onStep(round, name)
      samples[i]!.push(
        await runOnce(build.folder, {
          workload: workload.name,
          contender: index,
          conditions: {
            warmUp: Math.max(plan.warmUp, workload.warmUp ?? 0),
            measured: plan.measured,
            peerCore: workload.oneCore === true ? core : otherCore
          }
        }, core).catch((error: Error) => {
          throw new Error(`${workload.name}, ${name}: ${error.message}`)
        })
      )
    }
  }

  const ratios = (of: (sample: Sample) => number | undefined, own: ReadonlyArray<Sample>): Spread | undefined =>
    workload.compared === false ? undefined : spread(own.flatMap((sample, round) => {
      const [a, b] = [of(sample), of(samples[0]![round]!)]
      return a === undefined || b === undefined ? [] : [a / b]
    }))

  return {
    name: workload.name,
    title: workload.title,
    unit: workload.unit,
    better: workload.better,
    contenders: entries.map(({ index, name }, i) => {
      const { kind, target } = workload.contenders[index]!
      const own = samples[i]!
      return {
        name,
        kind,
        value: spread(own.map(({ value }) => value))!,
        ratio: ratios(({ byCpu, value }) => byCpu ?? value, own),
        ratioByClock: ratios(({ byCpu, value }) => byCpu === undefined ? undefined : value, own),
        busy: spread(own.flatMap(({ busy }) => busy === undefined ? [] : [busy])),
        target
      }
    })
  }
}
