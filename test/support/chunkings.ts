/**
 * What arrives, cut in every way.
 *
 * No outcome may depend on how a peer, a kernel or a TLS record cut the bytes into chunks, so a test of reading runs over
 * all `chunkings` of its input. Everything here is the same in every run.
 */
import { Random as Numbers } from "../../src/internal/random.js"

/** Numbers that look random, and what tests make of them. */
export class Random extends Numbers {
  /** An integer of `min` to `max`, both included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<A>(from: ReadonlyArray<A>): A {
    return from[this.between(0, from.length - 1)]!
  }

  /** Letters of `alphabet`. */
  text(length: number, alphabet: string): string {
    let text = ""
    for (let i = 0; i < length; i++) {
      text += alphabet[this.between(0, alphabet.length - 1)]!
    }
    return text
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let i = 0; i < length; i++) {
      bytes[i] = this.next() * 256
    }
    return bytes
  }
}

/** One character a byte, so that bytes can be written, compared and printed as text. */
export const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))
export const toLatin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

/**
 * Texts that break readers: each way to end a line or not to, characters of one to four bytes, and what only looks like
 * an end.
 */
export const texts: ReadonlyArray<string> = [
  "",
  "a",
  "\n",
  "\r",
  "\r\n",
  "abc",
  "abc\n",
  "abc\r",
  "abc\r\n",
  "abc\ndef",
  "one\ntwo\nthree\n",
  "one\r\ntwo\r\nthree\r\n",
  "one\rtwo\nthree\r\nfour",
  "\n\n\n",
  "\r\r\r",
  "\r\n\r\n",
  "\r\r\n\n",
  "\n\r\n\r",
  "a\r\r\nb",
  "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody",
  "ünïcödé\nß\n",
  "€\r\n漢字\n",
  "😀\n👩‍👩‍👧\r\n𝄞",
  "\uFEFFbom\nmore\n",
  "not\u0085the\u2028end\u2029of\u000Ba\u000Cline\n",
  "nul\0\nbyte\0",
  "aaab",
  "ababab\nbab"
]

export interface Chunking {
  readonly name: string
  /** Each has memory of its own. */
  readonly chunks: ReadonlyArray<Uint8Array>
}

/** Cuts before each of `points`, which must ascend and lie within. */
export const cutAt = (bytes: Uint8Array, points: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  let from = 0
  for (const point of [...points, bytes.length]) {
    if (point > from) {
      chunks.push(Uint8Array.from(bytes.subarray(from, point)))
      from = point
    }
  }
  return chunks
}

/** Chunks of 1 to `longest` bytes. */
export const cutRandomly = (bytes: Uint8Array, random: Random, longest: number): ReadonlyArray<Uint8Array> => {
  const points: Array<number> = []
  for (let at = random.between(1, longest); at < bytes.length; at += random.between(1, longest)) {
    points.push(at)
  }
  return cutAt(bytes, points)
}

/** All at once, one byte at a time, in two at every point, and `random` seeded ways more. */
export const chunkings = (bytes: Uint8Array, random = 4): ReadonlyArray<Chunking> => {
  const all: Array<Chunking> = [{ name: "all at once", chunks: cutAt(bytes, []) }]
  if (bytes.length > 1) {
    const points = Array.from({ length: bytes.length - 1 }, (_, i) => i + 1)
    all.push({ name: "one byte at a time", chunks: cutAt(bytes, points) })
    for (const point of bytes.length > 2 ? points : []) {
      all.push({ name: `cut at ${point}`, chunks: cutAt(bytes, [point]) })
    }
  }
  for (let seed = 1; seed <= random && bytes.length > 3; seed++) {
    all.push({ name: `cut randomly, seed ${seed}`, chunks: cutRandomly(bytes, new Random(seed), 1 + bytes.length / 2) })
  }
  return all
}
