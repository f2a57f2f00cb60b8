import * as fs from "node:fs"
import * as os from "node:os"
import type { WorkloadResult } from "./harness.js"
import type { Spread } from "./statistics.js"

// -----------------------------------------------------------------------------
// a table
// -----------------------------------------------------------------------------

const grouped = (value: number): string => value.toFixed(value < 100 ? 1 : 0).replace(/\B(?=(\d{3})+(?!\d))/g, " ")

const range = ({ max, min }: Spread, show: (value: number) => string): string => `${show(min)} … ${show(max)}`

const two = (value: number): string => value.toFixed(2)

// The ratio is one of CPU time where there is a rate.
const header = ["", "median", "least … most", "×raw", "least … most", "by clock", "busy", "aim"]

const aim = (workload: WorkloadResult, ratio: Spread | undefined, target: number | undefined): string => {
  if (ratio === undefined || target === undefined) {
    return ""
  }
  const met = workload.better === "higher" ? ratio.median >= target : ratio.median <= target
  return `${workload.better === "higher" ? "≥" : "≤"} ${target} ${met ? "✓" : "✗"}`
}

export const table = (workload: WorkloadResult): string => {
  const rows = workload.contenders.map(({ busy, name, ratio, ratioByClock, target, value }) => [
    name,
    grouped(value.median),
    range(value, grouped),
    ratio === undefined ? "" : two(ratio.median),
    ratio === undefined ? "" : range(ratio, two),
    ratioByClock === undefined ? "" : two(ratioByClock.median),
    busy === undefined ? "" : `${Math.round(busy.median * 100)} %`,
    aim(workload, ratio, target)
  ])
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i]!.length)))
  const line = (row: ReadonlyArray<string>): string =>
    `  ${row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ")}`.trimEnd()
  return [`${workload.name}: ${workload.title}; ${workload.unit}`, ...[header, ...rows].map(line), ""].join("\n")
}

// -----------------------------------------------------------------------------
// a file
// -----------------------------------------------------------------------------

const congestionControl = (): string | undefined => {
  try {
    return fs.readFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "utf8").trim()
  } catch {
    return undefined
  }
}

/** What the figures depend on. */
export const machine = () => ({
  date: new Date().toISOString().slice(0, 10),
  node: process.version,
  cpu: os.cpus()[0]?.model ?? "unknown",
  cores: os.cpus().length,
  platform: `${os.platform()} ${os.arch()}`,
  // Of the loopback too: it swings more under some than under others.
  congestionControl: congestionControl()
})

const rounded = (_: string, value: unknown): unknown =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value

export const json = (
  plan: { readonly rounds: number; readonly warmUp: number; readonly measured: number },
  workloads: ReadonlyArray<WorkloadResult>
): string => `${JSON.stringify({ ...machine(), ...plan, workloads }, rounded, 2)}\n`
