/**
 * The guard against a step back that nobody sees: ratios of this run beside those that are kept.
 *
 * A ratio is made within a round, so it is the same on a slow machine as on a fast one; but a round may be disturbed. The
 * best of the rounds counts, and half of what is kept must be there: what halves the work of a second is found, and no
 * noise that was seen comes near. (The causes that were found so far cost a factor of two to five.)
 */
import type { ContenderResult, WorkloadResult } from "./harness.js"
import type { Workload } from "./workload.js"

/** What is guarded: workloads in which our side alone does the work. */
export const guarded = ["lines-bytes", "lines-text", "frames", "until"]

const margin = 0.5

/** A workload without its rivals, which come last. */
export const ownOf = (workload: Workload): Workload => {
  const [first, ...others] = workload.contenders
  const rival = others.findIndex(({ kind }) => kind === "rival")
  return { ...workload, contenders: [first, ...rival < 0 ? others : others.slice(0, rival)] }
}

/** What has fallen too far, a line each. */
export const fallen = (
  results: ReadonlyArray<WorkloadResult>,
  kept: ReadonlyArray<WorkloadResult>
): ReadonlyArray<string> =>
  results.flatMap(({ contenders, name }) => {
    const before = kept.find((result) => result.name === name)?.contenders ?? []
    const ratioBefore = (contender: ContenderResult): number =>
      before.find((other) => other.name === contender.name)?.ratio?.median ?? 0
    return contenders
      .filter((contender) => contender.kind === "library")
      .filter((contender) => (contender.ratio?.max ?? 0) < margin * ratioBefore(contender))
      .map((contender) =>
        `${name}, ${contender.name}: ×${contender.ratio?.max.toFixed(2)} of node:net at best, where ×${
          ratioBefore(contender).toFixed(2)
        } was kept`
      )
  })
