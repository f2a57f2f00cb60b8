import type { Workload } from "../workload.js"
import { bulk } from "./bulk.js"
import { churns } from "./churn.js"
import { dial } from "./dial.js"
import { echoes } from "./echo.js"
import { extras } from "./extras.js"
import { fairness } from "./fairness.js"
import { frames } from "./frames.js"
import { lines } from "./lines.js"
import { longLine } from "./longLine.js"
import { idleMemory, slowConsumer } from "./memory.js"
import { simulation } from "./simulation.js"
import { tls } from "./tls.js"
import { writes } from "./writes.js"

export const workloads: ReadonlyArray<Workload> = [
  bulk,
  ...lines,
  frames,
  ...writes,
  ...echoes,
  ...churns,
  dial,
  idleMemory,
  slowConsumer,
  longLine,
  fairness,
  simulation,
  ...tls,
  ...extras
]
