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

/** What has fallen too far, or can't be told, a line each. */
export const fallen = (
  results: ReadonlyArray<WorkloadResult>,
  kept: ReadonlyArray<WorkloadResult>
): ReadonlyArray<string> =>
  guarded.flatMap((name) => {
    const ours = (all: ReadonlyArray<WorkloadResult>): ReadonlyArray<ContenderResult> =>
      all.find((result) => result.name === name)?.contenders.filter(({ kind }) => kind === "library") ?? []
    const now = ours(results)
    const before = ours(kept)
    return now.length === 0 ? [`${name}: there is no result`] : now.flatMap((contender) => {
      const best = contender.ratio?.max
      const ratioBefore = before.find((other) => other.name === contender.name)?.ratio?.median
      const what = `${name}, ${contender.name}`
      if (best === undefined) {
        return [`${what}: there is no ratio`]
      }
      if (ratioBefore === undefined) {
        return [`${what}: no ratio is kept to compare with`]
      }
      return best < margin * ratioBefore
        ? [`${what}: ×${best.toFixed(2)} of node:net at best, where ×${ratioBefore.toFixed(2)} was kept`]
        : []
    })
  })
