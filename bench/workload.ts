/**
 * What a workload is: one thing to be done, and several ways of doing it.
 *
 * Each contender is measured in a process of its own, once in every round. The first one is what the others are
 * compared with: the same thing written by hand with `node:net`, unless the workload says otherwise.
 */

/** What came of one measurement. */
export interface Sample {
  /** In the workload's unit. */
  readonly value: number
  /** A rate by the CPU time that the process spent, all its threads counted, instead of the time that went by. */
  readonly byCpu?: number | undefined
  /** CPU seconds a second: well below 1, something else was the bottleneck. */
  readonly busy?: number | undefined
}

/** What a measurement is to keep to. Times in milliseconds. */
export interface Conditions {
  readonly warmUp: number
  readonly measured: number
  /** The core for the process on the other side. */
  readonly peerCore: number | undefined
}

export interface Contender {
  readonly name: string
  readonly kind: "raw" | "library" | "rival"
  readonly measure: (conditions: Conditions) => Promise<Sample>
  /** The ratio to the first contender that is aimed at: at least, or at most where less is better. */
  readonly target?: number | undefined
}

export interface Workload {
  readonly name: string
  readonly title: string
  readonly unit: string
  readonly better: "higher" | "lower"
  /** Whether the figure says something beside another, or only by itself. */
  readonly compared?: boolean | undefined
  /** A warm-up of at least so many milliseconds. */
  readonly warmUp?: number | undefined
  /**
   * Whether both processes share a core. Where one of them always waits for the other, two cores would measure how
   * fast the machine wakes an idle one.
   */
  readonly oneCore?: boolean | undefined
  readonly contenders: readonly [Contender, ...Array<Contender>]
}

/** Raised by a contender as it goes. */
export interface Meter {
  count: number
}

export const sleep = (millis: number): Promise<void> => new Promise((resume) => setTimeout(resume, millis))

/** Until so much time has been used here. On a machine that is busy with something else that takes longer. */
const use = async (millis: number): Promise<void> => {
  const start = process.cpuUsage()
  const end = performance.now() + 4 * millis
  await sleep(millis)
  while (performance.now() < end && cpuTime(process.cpuUsage(start)) < millis / 1e3) {
    await sleep(20)
  }
}

/** In seconds, of all threads. */
const cpuTime = ({ system, user }: NodeJS.CpuUsage): number => (system + user) / 1e6

/** What a contender that goes on and on does between the warm-up and the end. */
export const rate = async (conditions: Conditions, meter: Meter, scale: number): Promise<Sample> => {
  await use(conditions.warmUp)
  const before = meter.count
  const cpuBefore = process.cpuUsage()
  const start = performance.now()
  await use(conditions.measured)
  const seconds = (performance.now() - start) / 1e3
  const cpu = cpuTime(process.cpuUsage(cpuBefore))
  const count = (meter.count - before) * scale
  if (count === 0) {
    throw new Error("nothing was done")
  }
  return { value: count / seconds, byCpu: count / cpu, busy: cpu / seconds }
}
