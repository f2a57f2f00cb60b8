/** The saved results as a picture: each workload with a bar for each contender, as long as its ratio to the first. */
import type { Growth } from "./growth.js"
import type { ContenderResult, WorkloadResult } from "./harness.js"

/** What the picture shows, in this order; the tables have the rest. */
const shown = ["bulk", "lines-bytes", "lines-text", "frames", "until", "echo-client-64", "write-64"]

const left = 300
const right = 90
const barWidth = 430
const rowHeight = 20
const titleHeight = 40

const colours = { raw: "#8c8c8c", library: "#2f6fde", rival: "#d9a441" }

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** Work by CPU time says what a process can do, whoever else has the machine. */
const ratioOf = ({ ratio }: ContenderResult): number => ratio?.median ?? 0

const text = (x: number, y: number, content: string, more = ""): string =>
  `<text x="${x}" y="${y}"${more}>${escaped(content)}</text>`

const panel = ({ contenders, title, unit }: WorkloadResult, top: number): string => {
  const longest = Math.max(...contenders.map(ratioOf))
  const rows = contenders.map((contender, i) => {
    const y = top + titleHeight + i * rowHeight
    const width = Math.max(1, ratioOf(contender) / longest * barWidth)
    return [
      text(left - 8, y + 14, contender.name, ` text-anchor="end"`),
      `<rect x="${left}" y="${y + 3}" width="${width.toFixed(1)}" height="${rowHeight - 6}" fill="${
        colours[contender.kind]
      }"/>`,
      text(left + width + 6, y + 14, `×${ratioOf(contender).toFixed(2)}`)
    ].join("")
  })
  return [text(16, top + 28, `${title} (${unit})`, ` font-weight="600"`), ...rows].join("\n")
}

const heightOf = ({ contenders }: WorkloadResult): number => titleHeight + contenders.length * rowHeight

export const chart = (results: ReadonlyArray<WorkloadResult>, caption: string): string => {
  const workloads = shown.flatMap((name) => results.filter((result) => result.name === name))
  const panels: Array<string> = []
  let top = 8
  for (const workload of workloads) {
    panels.push(panel(workload, top))
    top += heightOf(workload)
  }
  const width = left + barWidth + right
  const height = top + 40
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-family="system-ui, sans-serif" font-size="12" fill="#222">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...panels,
    text(16, height - 14, caption, ` fill="#666"`),
    "</svg>",
    ""
  ].join("\n")
}

// -----------------------------------------------------------------------------
// cost as work grows
// -----------------------------------------------------------------------------

const plot = { width: 560, height: 300, left: 60, right: 150, top: 40, bottom: 46 }
const lineColours: Record<Growth["kind"], string> = { line: "#2f6fde", frame: "#d9a441", connection: "#3a9d5d" }

/** Both scales are logarithmic: what grows in proportion lies flat, what grows with the square rises by a decade each. */
export const growthChart = (growths: ReadonlyArray<Growth>): string => {
  const points = growths.flatMap(({ points }) => points)
  const decades = (values: ReadonlyArray<number>): readonly [number, number] => [
    Math.floor(Math.log10(Math.min(...values))),
    Math.ceil(Math.log10(Math.max(...values)))
  ]
  const [fromN, toN] = decades(points.map(({ n }) => n))
  const [fromMicros, toMicros] = decades(points.map(({ micros }) => micros))
  const x = (n: number): number => plot.left + (Math.log10(n) - fromN) / (toN - fromN) * plot.width
  const y = (micros: number): number =>
    plot.top + (toMicros - Math.log10(micros)) / (toMicros - fromMicros) * plot.height
  const scale = (from: number, to: number): ReadonlyArray<number> =>
    Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i))
  const shown = (value: number): string => value.toLocaleString("en", { maximumSignificantDigits: 3 })
  const width = plot.left + plot.width + plot.right
  const height = plot.top + plot.height + plot.bottom
  const bottom = plot.top + plot.height
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-family="system-ui, sans-serif" font-size="12" fill="#222">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    text(16, 24, "Microseconds of CPU time for one, where there are so many", ` font-weight="600"`),
    ...scale(fromN, toN).map((n) =>
      `<line x1="${x(n)}" x2="${x(n)}" y1="${plot.top}" y2="${bottom}" stroke="#eee"/>` +
      text(x(n), bottom + 18, shown(n), ` text-anchor="middle"`)
    ),
    ...scale(fromMicros, toMicros).map((micros) =>
      `<line x1="${plot.left}" x2="${plot.left + plot.width}" y1="${y(micros)}" y2="${y(micros)}" stroke="#eee"/>` +
      text(plot.left - 8, y(micros) + 4, shown(micros), ` text-anchor="end"`)
    ),
    ...growths.map(({ kind, points }) => {
      const last = points[points.length - 1]!
      const path = points.map(({ micros, n }) => `${x(n).toFixed(1)},${y(micros).toFixed(1)}`).join(" ")
      return `<polyline points="${path}" fill="none" stroke="${lineColours[kind]}" stroke-width="2"/>` +
        text(x(last.n) + 8, y(last.micros) + 4, `a ${kind}`, ` fill="${lineColours[kind]}"`)
    }),
    "</svg>",
    ""
  ].join("\n")
}
