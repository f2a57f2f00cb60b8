/**
 * What a script says when it was not met: bytes as text, where they differ, and what happened so far.
 */

/** A piece of text, and the bytes that it stands for. */
interface Token {
  readonly text: string
  readonly start: number
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const sequenceLength = (lead: number): number => lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1

const escapes: { readonly [char: string]: string | undefined } = {
  "\0": "\\0",
  "\t": "\\t",
  "\n": "\\n",
  "\r": "\\r",
  "\"": "\\\"",
  "\\": "\\\\"
}

const hex = (byte: number): string => byte.toString(16).padStart(2, "0")

/** Bytes as the characters that they are in UTF-8, and escaped where they are none that can be seen. */
const tokensOf = (bytes: Uint8Array): ReadonlyArray<Token> => {
  const tokens: Array<Token> = []
  for (let start = 0; start < bytes.length;) {
    const byte = bytes[start]!
    const length = sequenceLength(byte)
    let text = `\\x${hex(byte)}`
    let used = 1
    if (length > 1) {
      try {
        const char = strict.decode(bytes.subarray(start, start + length))
        if (/^[\p{L}\p{M}\p{N}\p{P}\p{S}]+$/u.test(char)) {
          text = char
          used = length
        }
      } catch {
        // Not a character.
      }
    } else if (byte < 128) {
      const char = String.fromCharCode(byte)
      text = escapes[char] ?? (byte >= 32 && byte < 127 ? char : text)
    }
    tokens.push({ text, start })
    start += used
  }
  return tokens
}

/** How many bytes are shown in one line. */
const longest = 200
/** How many are shown before the one that differs. */
const lead = 40

const textOf = (tokens: ReadonlyArray<Token>): string => tokens.map(({ text }) => text).join("")

/** Bytes as text in quotes. */
export const quoted = (bytes: Uint8Array): string =>
  bytes.length <= longest
    ? `"${textOf(tokensOf(bytes))}"`
    : `"${textOf(tokensOf(bytes.subarray(0, longest)))}"… (${bytes.length} bytes)`

/** The part of the tokens that begins a little before a position, and how wide what precedes the position is. */
const around = (bytes: Uint8Array, position: number): { readonly text: string; readonly width: number } => {
  const from = Math.max(0, position - lead)
  const tokens = tokensOf(bytes.subarray(from, from + longest))
  const begin = from === 0 ? "\"" : "…\""
  const end = from + longest < bytes.length ? "\"…" : "\""
  const before = tokens.filter(({ start }) => from + start < position)
  // A character whose middle is where the difference is counts as the place.
  const last = before[before.length - 1]
  const cut = last !== undefined && last.text.length > 0 && !tokens.some(({ start }) => from + start === position) &&
    position < bytes.length
  return {
    text: `${begin}${textOf(tokens)}${end}`,
    width: begin.length + textOf(cut ? before.slice(0, -1) : before).length
  }
}

const byteAt = (bytes: Uint8Array, position: number): string => {
  const byte = bytes[position]
  return byte === undefined
    ? "the end"
    : `0x${hex(byte)}${byte > 32 && byte < 127 ? ` "${String.fromCharCode(byte)}"` : ""}`
}

/** The first position at which the bytes are not those expected, or `undefined` where all that there are, are. */
export const differsAt = (expected: Uint8Array, received: Uint8Array): number | undefined => {
  const length = Math.min(expected.length, received.length)
  for (let i = 0; i < length; i++) {
    if (expected[i] !== received[i]) {
      return i
    }
  }
  return undefined
}

/** Both texts, one above the other, and a mark below the byte at which they part. */
export const difference = (expected: Uint8Array, received: Uint8Array, position: number): string => {
  const wanted = around(expected, position)
  const got = around(received, position)
  return [
    `  expected ${wanted.text}`,
    `  received ${got.text}`,
    `           ${" ".repeat(got.width)}^ byte ${position}: expected ${byteAt(expected, position)}, received ${
      byteAt(received, position)
    }`
  ].join("\n")
}

/** What one side did, and when. */
export interface Entry {
  /** In milliseconds since the script began. */
  readonly at: number
  readonly by: "program" | "script"
  readonly what: string | Uint8Array
}

/** Runs of bytes of one side at one time are one entry. */
export class Proceedings {
  readonly entries: Array<Entry> = []

  add(at: number, by: Entry["by"], what: string | Uint8Array): void {
    const last = this.entries[this.entries.length - 1]
    if (what instanceof Uint8Array && last?.what instanceof Uint8Array && last.by === by && last.at === at) {
      const joined = new Uint8Array(last.what.length + what.length)
      joined.set(last.what)
      joined.set(what, last.what.length)
      this.entries[this.entries.length - 1] = { at, by, what: joined }
    } else {
      this.entries.push({ at, by, what })
    }
  }

  print(): string {
    if (this.entries.length === 0) {
      return "  nothing has happened"
    }
    const times = this.entries.map(({ at }) => `${Math.round(at * 1000) / 1000} ms`)
    const width = Math.max(...times.map((time) => time.length))
    return this.entries.map(({ by, what }, i) =>
      `  ${times[i]!.padStart(width)}  ${by.padEnd(7)}  ${typeof what === "string" ? what : quoted(what)}`
    ).join("\n")
  }
}
