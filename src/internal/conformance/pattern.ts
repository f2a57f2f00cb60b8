/**
 * Bytes that look random, are the same in every run, and tell where they belong: what is lost, repeated or out of place
 * in a transfer shows at the byte where it happened.
 */
import { Random } from "../random.js"

/** Prime, so that no chunk of a usual size is a whole number of periods. */
const period = 65_521

/** How many bytes it takes to know a place again. */
const landmark = 8
/** How far away a place is looked for. */
const reach = 262_144

const hex = (byte: number): string => `0x${byte.toString(16).padStart(2, "0")}`

/** An endless stream of bytes. */
export class Pattern {
  private readonly table = new Uint8Array(period)

  constructor(seed: number) {
    const random = new Random(seed)
    for (let i = 0; i < period; i++) {
      this.table[i] = random.next() * 256
    }
  }

  at(position: number): number {
    return this.table[position % period]!
  }

  /** The bytes from one position up to another, in memory of their own. */
  slice(from: number, to: number): Uint8Array {
    const bytes = new Uint8Array(to - from)
    for (let at = from; at < to;) {
      const start = at % period
      const piece = this.table.subarray(start, Math.min(period, start + to - at))
      bytes.set(piece, at - from)
      at += piece.length
    }
    return bytes
  }

  /** What is wrong with bytes that should be those from a position on, or `undefined`. */
  problem(bytes: Uint8Array, from: number): string | undefined {
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] !== this.at(from + i)) {
        return `byte ${from + i} is ${hex(bytes[i]!)} and should be ${hex(this.at(from + i))}${
          this.explanation(bytes.subarray(i), from + i)
        }`
      }
    }
    return undefined
  }

  /** Where bytes that are in the wrong place come from. */
  private explanation(bytes: Uint8Array, position: number): string {
    if (bytes.length < landmark) {
      return ""
    }
    for (let distance = 1; distance <= reach; distance++) {
      if (this.matches(bytes, position + distance)) {
        return `: the bytes from ${position + distance} on have come instead, ${distance} too early`
      }
      if (distance <= position && this.matches(bytes, position - distance)) {
        return `: the bytes from ${position - distance} on have come a second time`
      }
    }
    return ""
  }

  private matches(bytes: Uint8Array, position: number): boolean {
    for (let i = 0; i < landmark; i++) {
      if (bytes[i] !== this.at(position + i)) {
        return false
      }
    }
    return true
  }
}

const encoder = new TextEncoder()
export const utf8 = (text: string): Uint8Array => encoder.encode(text)

/** Bytes as text that can be printed: one character a byte, escaped where it does not print. */
export const printed = (bytes: Uint8Array): string => {
  const shown = bytes.subarray(0, 60)
  let text = ""
  for (const byte of shown) {
    text += byte < 128 ? JSON.stringify(String.fromCharCode(byte)).slice(1, -1) : `\\x${byte.toString(16)}`
  }
  return bytes.length > shown.length ? `"${text}"… (${bytes.length} bytes)` : `"${text}"`
}

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])

/** Cuts before each of `points`, which must ascend and lie within. */
export const cutAt = (bytes: Uint8Array, points: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  let from = 0
  for (const point of [...points, bytes.length]) {
    if (point > from) {
      chunks.push(bytes.slice(from, point))
      from = point
    }
  }
  return chunks
}

export interface Chunking {
  readonly name: string
  readonly chunks: ReadonlyArray<Uint8Array>
}

/** All at once, one byte at a time, in two at every point, and some seeded ways more. */
export const chunkings = (bytes: Uint8Array, seed: number): ReadonlyArray<Chunking> => {
  const points = Array.from({ length: Math.max(0, bytes.length - 1) }, (_, i) => i + 1)
  const all: Array<Chunking> = [{ name: "all at once", chunks: cutAt(bytes, []) }]
  if (points.length > 0) {
    all.push({ name: "one byte at a time", chunks: cutAt(bytes, points) })
  }
  if (points.length > 1) {
    for (const point of points) {
      all.push({ name: `cut at ${point}`, chunks: cutAt(bytes, [point]) })
    }
    for (let i = 0; i < 4; i++) {
      const random = new Random(seed + i)
      const some = points.filter(() => random.next() < 0.4)
      all.push({ name: `cut at ${some.join(", ")}`, chunks: cutAt(bytes, some) })
    }
  }
  return all
}
