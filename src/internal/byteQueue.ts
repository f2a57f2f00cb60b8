/**
 * The bytes that have arrived and were not read yet, as a queue of the chunks they arrived in.
 *
 * A run of bytes that lies within one chunk leaves as a view of it, without a copy. `position` counts every byte that
 * was ever taken, so that a place in the stream keeps its number while the bytes before it go.
 *
 * Chunks that are much smaller than the object that describes them are gathered, or a peer that sends one byte a packet
 * would make a queue of n bytes cost a hundred times n.
 */
import { type Bytes, emptyBytes, indexOfByte } from "./bytes.js"

/** A chunk up to this size is copied behind the one before it, if one waits. */
const smallChunk = 128
/** What small chunks are gathered in. */
const gatherSize = 4096

/** The number of `size` bytes, at most four, with its bytes in the other order. */
const reversed = (value: number, size: number): number =>
  (value << 24 | (value & 0xff00) << 8 | value >>> 8 & 0xff00 | value >>> 24) >>> 8 * (4 - size)

export class ByteQueue {
  /** Bytes in the queue. */
  length = 0
  /** Bytes that were ever taken out of it (and not put back). */
  position = 0

  /** The chunks, from `head` on; what is before it is gone. */
  private readonly chunks: Array<Bytes> = []
  private head = 0

  // The first chunk, and what a view of it is made from, once that is asked for: reading these from a typed array costs
  // more than the view, and takes the bytes of a short one out of V8's heap.
  private first: Bytes = emptyBytes
  private firstBuffer: ArrayBufferLike | undefined = undefined
  private firstBase = 0
  private firstWhole = false
  /** Chunks that were put back, or handed out in part while they were the first, and are not now. */
  private seen: WeakSet<Bytes> | undefined = undefined
  /** How much of the first chunk has been taken. */
  private offset = 0

  /** What small chunks are gathered in, how full it is, and where in it the last chunk begins, or -1 if that is another. */
  private gather: Bytes | undefined = undefined
  private gathered = 0
  private run = -1

  /** Puts a chunk at the end. */
  push(chunk: Bytes): void {
    const size = chunk.length
    if (size === 0) {
      return
    }
    this.length += size
    if (size <= smallChunk && this.chunks.length > this.head) {
      this.pushSmall(chunk)
      return
    }
    this.run = -1
    this.chunks.push(chunk)
    if (this.chunks.length - this.head === 1) {
      this.setFirst(chunk)
    }
  }

  private pushSmall(chunk: Bytes): void {
    const size = chunk.length
    if (this.gather === undefined || this.gathered + size > gatherSize) {
      this.gather = new Uint8Array(gatherSize)
      this.gathered = 0
      this.run = -1
    }
    const start = this.gathered
    this.gather.set(chunk, start)
    this.gathered += size
    if (this.run < 0) {
      this.run = start
      this.chunks.push(this.gather.subarray(start, this.gathered))
      return
    }
    const last = this.chunks.length - 1
    // Views that were handed out see what is before their own end, and that never changes.
    const longer = this.gather.subarray(this.run, this.gathered)
    this.chunks[last] = longer
    if (last === this.head) {
      this.first = longer
    }
  }

  /** Puts a chunk before everything else. */
  unshift(chunk: Bytes): void {
    if (chunk.length === 0) {
      return
    }
    this.length += chunk.length
    this.position -= chunk.length
    this.seen ??= new WeakSet()
    if (this.chunks.length > this.head) {
      const seen = this.firstSeen
      if (this.offset > 0) {
        this.chunks[this.head] = this.first.subarray(this.offset)
        this.run = -1
      }
      if (seen) {
        this.seen.add(this.chunks[this.head]!)
        this.run = -1
      }
    }
    this.seen.add(chunk)
    if (this.head > 0) {
      this.chunks[--this.head] = chunk
    } else {
      this.chunks.unshift(chunk)
    }
    this.setFirst(chunk)
  }

  private setFirst(chunk: Bytes): void {
    this.first = chunk
    this.firstBuffer = undefined
    this.firstWhole = false
    this.offset = 0
  }

  /** Bytes of the first chunk: that chunk itself, if it is all of them and no `Buffer` or the like. */
  private view(start: number, n: number): Bytes {
    const { first } = this
    if (n === first.length && first.constructor === Uint8Array) {
      this.firstWhole = true
      return first
    }
    return this.part(start, n)
  }

  private part(start: number, n: number): Bytes {
    const { first } = this
    if (this.firstBuffer === undefined) {
      this.firstBuffer = first.buffer
      this.firstBase = first.byteOffset
    }
    return new Uint8Array(this.firstBuffer, this.firstBase + start, n)
  }

  private dropFirst(): void {
    this.chunks[this.head++] = emptyBytes
    const next = this.chunks[this.head]
    if (next !== undefined) {
      this.setFirst(next)
      if (this.head >= 64 && this.head * 2 >= this.chunks.length) {
        this.chunks.splice(0, this.head)
        this.head = 0
      }
      return
    }
    this.chunks.length = 0
    this.head = 0
    this.gather = undefined
    this.run = -1
    this.setFirst(emptyBytes)
  }

  /** Takes the first `n` bytes, which must be there. */
  take(n: number): Bytes {
    const start = this.offset
    const end = start + n
    const available = this.first.length
    if (end > available) {
      return this.takeAcross(n)
    }
    const bytes = this.view(start, n)
    this.advance(n, end)
    return bytes
  }

  /** Leaves `n` bytes of the first chunk behind, up to its `end`. */
  private advance(n: number, end: number): void {
    this.length -= n
    this.position += n
    if (end === this.first.length) {
      this.dropFirst()
    } else {
      this.offset = end
    }
  }

  /** Takes the first `size` bytes, at most four, which must be there, as an unsigned integer. No view is made of them. */
  takeUint(size: number, littleEndian: boolean): number {
    const value = this.uintAt(0, size, littleEndian)
    const end = this.offset + size
    if (end <= this.first.length) {
      this.advance(size, end)
    } else {
      this.drop(size)
    }
    return value
  }

  /** The `size` bytes at `index`, at most four, which must be there, as an unsigned integer. */
  uintAt(index: number, size: number, littleEndian: boolean): number {
    const start = this.offset + index
    const end = start + size
    const first = this.first
    if (end > first.length) {
      return this.uintAcross(index, size, littleEndian)
    }
    let value = 0
    for (let i = start; i < end; i++) {
      value = value << 8 | first[i]!
    }
    return littleEndian ? reversed(value, size) : value >>> 0
  }

  private uintAcross(index: number, size: number, littleEndian: boolean): number {
    let value = 0
    for (let i = 0; i < size; i++) {
      value = value << 8 | this.byteAt(index + i)
    }
    return littleEndian ? reversed(value, size) : value >>> 0
  }

  /** Takes the first `total` bytes, which must be there, and gives the `size` of them that begin at index `from`. */
  takeWithin(from: number, size: number, total: number): Bytes {
    const start = this.offset
    const end = start + total
    if (end > this.first.length || size === 0) {
      return this.takeWithinAcross(from, size, total)
    }
    const bytes = this.part(start + from, size)
    this.advance(total, end)
    return bytes
  }

  private takeWithinAcross(from: number, size: number, total: number): Bytes {
    this.drop(from)
    const bytes = size === 0 ? emptyBytes : this.take(size)
    this.drop(total - from - size)
    return bytes
  }

  private takeAcross(n: number): Bytes {
    const bytes = new Uint8Array(n)
    this.copyTo(bytes, n)
    this.drop(n)
    return bytes
  }

  /** Takes what is left of the first chunk, at most `max` bytes; at least one must be there. */
  takeChunk(max: number): Bytes {
    const rest = this.first.length - this.offset
    return this.take(rest < max ? rest : max)
  }

  /** Drops the first `n` bytes, which must be there. */
  drop(n: number): void {
    this.length -= n
    this.position += n
    let left = n
    while (left > 0) {
      const rest = this.first.length - this.offset
      if (left < rest) {
        this.offset += left
        return
      }
      left -= rest
      this.dropFirst()
    }
  }

  /** The first `n` bytes, which must be there, without taking them. */
  peek(n: number): Bytes {
    if (this.offset + n <= this.first.length) {
      return this.view(this.offset, n)
    }
    const bytes = new Uint8Array(n)
    this.copyTo(bytes, n)
    return bytes
  }

  /** Copies the first `n` bytes, which must be there, to the beginning of `target`. */
  copyTo(target: Bytes, n: number): void {
    let done = 0
    let from = this.offset
    for (let i = this.head; done < n; i++) {
      const chunk = this.chunks[i]!
      const size = Math.min(chunk.length - from, n - done)
      target.set(from === 0 && size === chunk.length ? chunk : chunk.subarray(from, from + size), done)
      done += size
      from = 0
    }
  }

  /** The byte at `index`, which must be there. */
  byteAt(index: number): number {
    const inFirst = this.offset + index
    if (inFirst < this.first.length) {
      return this.first[inFirst]!
    }
    const cursor = this.cursorAt(index)
    return cursor.chunk[index - cursor.start]!
  }

  /** How many bytes precede the first `byte` of the first chunk, or -1. For searches that mostly end there. */
  indexInFirst(byte: number): number {
    const index = indexOfByte(this.first, byte, this.offset)
    return index < 0 ? -1 : index - this.offset
  }

  /** The first chunk, and how much of it has been taken. */
  get firstChunk(): Bytes {
    return this.first
  }
  get firstOffset(): number {
    return this.offset
  }
  /**
   * Whether the first chunk, or a part of it, has been handed out, so that its bytes are somebody else's too; or was made
   * here, of small chunks or for what was put back.
   */
  get firstSeen(): boolean {
    return this.firstWhole || this.firstBuffer !== undefined || this.seen?.has(this.first) === true ||
      this.first.buffer.byteLength === gatherSize
  }

  /**
   * The chunk that holds the byte at `index`, which must be there. Such a byte is near one of the two ends: a search
   * begins at the front, or goes on where it left off, which is what arrived last. The walk is from the nearer one.
   */
  cursorAt(index: number): Cursor {
    if (index * 2 < this.length) {
      const cursor = new Cursor(this.chunks, this.head, -this.offset)
      while (cursor.start + cursor.chunk.length <= index) {
        cursor.next()
      }
      return cursor
    }
    let i = this.chunks.length - 1
    let start = this.length - this.chunks[i]!.length
    while (start > index) {
      start -= this.chunks[--i]!.length
    }
    return new Cursor(this.chunks, i, start)
  }
}

/** A chunk of the queue, and a way to those behind it. Good until the queue changes. */
export class Cursor {
  chunk: Bytes
  constructor(
    private readonly chunks: ReadonlyArray<Bytes>,
    private at: number,
    /** The index in the queue of the chunk's first byte: negative where some of the first chunk has been taken. */
    public start: number
  ) {
    this.chunk = chunks[at]!
  }

  next(): boolean {
    const next = this.chunks[this.at + 1]
    if (next === undefined) {
      return false
    }
    this.start += this.chunk.length
    this.chunk = next
    this.at++
    return true
  }

  /** The chunk that is `steps` before this one, which must be there. */
  before(steps: number): Bytes {
    return this.chunks[this.at - steps]!
  }
}
