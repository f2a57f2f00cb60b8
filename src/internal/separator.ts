/**
 * Finding the end of a message: one separator, or several of which the match that ends first wins, and of two that end
 * together the longer.
 *
 * Theory of operation. A match is recognised at its last byte, so the search goes from one such byte to the next and
 * compares backwards. Where all separators end with the same byte, as `\n` and `\r\n` do, the platform's own byte search
 * finds the candidates; else a table of 256 flags does. Every byte is passed over once: the search returns where it
 * stopped, and goes on from there when more has arrived. How the bytes were cut into chunks has no influence.
 */
import { type ByteQueue, type Cursor } from "./byteQueue.js"
import { type Bytes, encodeUtf8, indexOfByte, isBytes } from "./bytes.js"

export type SeparatorInput = string | Bytes | ReadonlyArray<string | Bytes>

export class Separator {
  /** Length of the shortest and of the longest. */
  readonly min: number
  readonly max: number
  /** The byte that all of them end with, or -1. */
  private readonly lastByte: number
  /** Which bytes end one of them, where they differ. */
  private readonly ends: Bytes | undefined
  /** Longest first, so that of two that end together the longer is met first. */
  private readonly patterns: ReadonlyArray<Bytes>

  constructor(patterns: ReadonlyArray<Bytes>) {
    this.patterns = patterns.slice().sort((a, b) => b.length - a.length)
    this.max = this.patterns[0]!.length
    this.min = this.patterns[this.patterns.length - 1]!.length
    const lasts = patterns.map((pattern) => pattern[pattern.length - 1]!)
    if (lasts.every((last) => last === lasts[0])) {
      this.lastByte = lasts[0]!
      this.ends = undefined
    } else {
      this.lastByte = -1
      this.ends = new Uint8Array(256)
      for (const last of lasts) {
        this.ends[last] = 1
      }
    }
  }

  /**
   * Looks for the first match in `queue` whose last byte is at index `from` or later.
   *
   * Returns the index of that last byte, with the length of the match in `matched`, or -1 when there is none.
   */
  find(queue: ByteQueue, from: number): number {
    const start = Math.max(from, this.min - 1)
    if (start >= queue.length) {
      return -1
    }
    const cursor = queue.cursorAt(start)
    let at = start - cursor.start
    while (true) {
      at = this.nextEnd(cursor.chunk, at)
      if (at < 0) {
        if (!cursor.next()) {
          return -1
        }
        at = 0
        continue
      }
      const end = cursor.start + at
      this.matched = this.matchAt(cursor, at, end)
      if (this.matched > 0) {
        return end
      }
      at++
      if (at === cursor.chunk.length) {
        if (!cursor.next()) {
          return -1
        }
        at = 0
      }
    }
  }

  /** Length of the match that `find` found last. */
  matched = 0

  private nextEnd(chunk: Bytes, from: number): number {
    if (this.ends === undefined) {
      return indexOfByte(chunk, this.lastByte, from)
    }
    for (let i = from; i < chunk.length; i++) {
      if (this.ends[chunk[i]!] === 1) {
        return i
      }
    }
    return -1
  }

  private matchAt(cursor: Cursor, at: number, end: number): number {
    for (const pattern of this.patterns) {
      const size = pattern.length
      if (size > end + 1) {
        continue
      }
      let i = size - 1
      if (at >= i) {
        // Within one chunk.
        const chunk = cursor.chunk
        const base = at - i
        while (i >= 0 && chunk[base + i] === pattern[i]) {
          i--
        }
      } else {
        let chunk = cursor.chunk
        let steps = 0
        let j = at
        while (i >= 0 && chunk[j] === pattern[i]) {
          i--
          if (--j < 0 && i >= 0) {
            chunk = cursor.before(++steps)
            j = chunk.length - 1
          }
        }
      }
      if (i < 0) {
        return size
      }
    }
    return 0
  }
}

export const lineFeed: Separator = new Separator([new Uint8Array([10])])

/** Why a value can't be a separator. */
export const separatorProblem = (input: SeparatorInput): string | undefined => {
  if (!Array.isArray(input)) {
    return problemOfOne(input)
  }
  if (input.length === 0) {
    return "a list of separators must not be empty, got []"
  }
  for (let i = 0; i < input.length; i++) {
    const problem = problemOfOne(input[i])
    if (problem !== undefined) {
      return `${problem} at index ${i}`
    }
  }
  return undefined
}

const problemOfOne = (one: unknown): string | undefined =>
  typeof one !== "string" && !isBytes(one)
    ? `a separator must be a string, a Uint8Array or a list of them, got ${typeof one}`
    : one.length === 0
    ? `a separator must have at least one byte, got ${one === "" ? "\"\"" : "an empty Uint8Array"}`
    : undefined

// A protocol has a handful of separators and writes them as literals, so each is prepared once. That a search which
// was interrupted goes on where it was also hangs on the same value coming back.
const known = new Map<string, Separator>()
const knownLimit = 64

// `slice` of Node's Buffer is a view.
const copyOf = (bytes: Bytes): Bytes => new Uint8Array(bytes)

/** Prepares a separator. The input must have no problem. */
export const separator = (input: SeparatorInput): Separator => {
  if (typeof input !== "string") {
    return new Separator(
      Array.isArray(input)
        ? input.map((one: string | Bytes) => typeof one === "string" ? encodeUtf8(one) : copyOf(one))
        : [copyOf(input as Bytes)]
    )
  }
  let found = known.get(input)
  if (found === undefined) {
    found = input === "\n" ? lineFeed : new Separator([encodeUtf8(input)])
    if (known.size === knownLimit) {
      known.delete(known.keys().next().value!)
    }
    known.set(input, found)
  }
  return found
}
