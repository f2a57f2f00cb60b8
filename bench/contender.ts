/** The process of one contender in one round. */
import { inputOf } from "./spawnNode.js"
import type { Conditions } from "./workload.js"
import { workloads } from "./workloads/index.js"

export interface ContenderInput {
  readonly workload: string
  readonly contender: number
  readonly conditions: Conditions
}

const { conditions, contender, workload } = inputOf<ContenderInput>()

const sample = await workloads.find(({ name }) => name === workload)!.contenders[contender]!.measure(conditions)
process.send!(sample, () => process.exit())
