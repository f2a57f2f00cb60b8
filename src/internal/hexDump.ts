/**
 * Bytes as a person reads them: sixteen to a line, as numbers and as text.
 *
 * ```
 * 00000000  48 65 6c 6c 6f 20 57 6f  72 6c 64 21 0a           |Hello World!.|
 * ```
 */
import type { Bytes } from "./bytes.js"

const perLine = 16

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0")

/** What is no printable ASCII is a dot. */
const printable = (byte: number): string => byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."

export const hexDump = (bytes: Bytes): string => {
  const lines: Array<string> = []
  for (let at = 0; at < bytes.length; at += perLine) {
    const line = Array.from(bytes.subarray(at, at + perLine))
    const digits = line.map((byte, i) => (i === perLine / 2 ? " " : "") + hex(byte, 2)).join(" ")
    lines.push(`${hex(at, 8)}  ${digits.padEnd(3 * perLine)}  |${line.map(printable).join("")}|`)
  }
  return lines.join("\n")
}
