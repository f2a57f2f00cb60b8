/**
 * Abuse of a server, in full or shortened, with figures.
 *
 * ```
 * npm run soak                    everything
 * npm run soak -- --short         a tenth of it, in half a minute
 * npm run soak -- hold churn      those scenarios
 * ```
 */
import { parseArgs } from "node:util"
import { killAll } from "./process.js"
import * as scenarios from "./scenarios.js"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { short: { type: "boolean", default: false } }
})

interface Scenario {
  readonly title: string
  readonly long: () => Promise<scenarios.Figures>
  /** Absent where the length is what it is about. */
  readonly short?: () => Promise<scenarios.Figures>
}

const all: Record<string, Scenario> = {
  hold: {
    title: "Connections opened and held",
    long: () => scenarios.hold(10_000),
    short: () => scenarios.holdAtMost(1_000)
  },
  drip: {
    title: "Slow clients beside one that behaves",
    long: () => scenarios.drip(2_000, 5_000, 1_000, true),
    short: () => scenarios.drip(500, 1_000, 1_000, false)
  },
  shed: {
    title: "Slow clients where a rate is demanded",
    long: () => scenarios.shed(2_000, 500),
    short: () => scenarios.shed(300, 500)
  },
  churn: {
    title: "Connect and reset",
    long: () => scenarios.churn(20_000, 4, 100),
    short: () => scenarios.churn(2_000, 2, 1_000)
  },
  growth: {
    title: "Connect and reset, for growth that is slow",
    long: () => scenarios.churn(100_000, 5, 20)
  },
  kill: {
    title: "Half of all clients killed in the middle of a request",
    long: () => scenarios.killHalf(2_000, 4_000),
    short: () => scenarios.killHalf(200, 1_000)
  },
  stubborn: {
    title: "Handlers that can't be interrupted, and a shutdown",
    long: () => scenarios.stubborn(500, 30_000),
    short: () => scenarios.stubborn(100, 20_000)
  },
  terminate: {
    title: "SIGTERM under load",
    long: () => scenarios.terminate(500, 50, 5_000),
    short: () => scenarios.terminate(100, 50, 300)
  },
  exhaust: {
    title: "No descriptors left, and recovery",
    long: () => scenarios.exhaust(1_024, 3_000),
    short: () => scenarios.exhaust(256, 600)
  },
  queue: {
    title: "More clients than maxConnections",
    long: () => scenarios.queue(50, 1_000, 10),
    short: () => scenarios.queue(10, 100, 5)
  }
}

/** A scenario that hangs has failed. */
const tooLong = () =>
  new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`not done after ${patience / 1000} seconds`)), patience).unref()
  })
const patience = values.short ? 60_000 : 300_000

const chosen = positionals.length > 0
  ? positionals
  : Object.keys(all).filter((name) => !values.short || all[name]!.short !== undefined)
let failed = 0
for (const name of chosen) {
  const scenario = all[name]
  if (scenario === undefined) {
    console.error(`there is no scenario ${name}; there are: ${Object.keys(all).join(", ")}`)
    failed += 1
    continue
  }
  const begin = performance.now()
  try {
    const figures = await Promise.race([
      values.short && scenario.short !== undefined ? scenario.short() : scenario.long(),
      tooLong()
    ])
    console.log(`ok   ${name}: ${scenario.title} (${((performance.now() - begin) / 1000).toFixed(1)} s)`)
    for (const [what, figure] of Object.entries(figures)) {
      console.log(`       ${what.padEnd(28)} ${figure}`)
    }
  } catch (error) {
    failed += 1
    console.log(`FAIL ${name}: ${scenario.title}`)
    console.log(error instanceof Error ? error.stack : error)
    await killAll()
  }
}
console.log(`${chosen.length - failed} of ${chosen.length} scenarios passed`)
// What a scenario that hangs has started would keep this process.
process.exit(failed === 0 ? 0 : 1)
