/** The saved results as a picture: each workload with a bar for each contender, as long as its ratio to the first. */
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
