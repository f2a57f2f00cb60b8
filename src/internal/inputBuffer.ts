/**
 * The reading half of a byte stream as a machine: what has arrived, how it ended, and every way of reading it.
 *
 * A read either completes with what is here, or says why it never can (a `ReadFault`), or returns `undefined` and has
 * changed nothing: it is to be tried again when more has arrived. So a read that waits holds no bytes, and giving it up
 * at any moment loses none.
 *
 * The source is asked to pause when more than twice the limit is buffered, and to go on when at most the limit is, or
 * when a read waits for more. (asyncio has the same thresholds.)
 */
import { ByteQueue } from "./byteQueue.js"
import { type Bytes, emptyBytes } from "./bytes.js"
import { lineFeed, type Separator } from "./separator.js"

/** Why a read can never complete. */
export abstract class ReadFault {
  abstract readonly kind: "incomplete" | "overrun" | "malformed" | "failed"
}

/** The end came first; `partial` has been consumed. */
export class Incomplete extends ReadFault {
  readonly kind = "incomplete"
  constructor(readonly partial: Bytes, readonly expected: number | undefined) {
    super()
  }
}

/** The limit came first; nothing was consumed. */
export class Overrun extends ReadFault {
  readonly kind = "overrun"
  constructor(readonly consumed: number, readonly limit: number, readonly found: boolean) {
    super()
  }
}

/** The source failed first, with what `InputBuffer.failure` holds; nothing was consumed. */
export class Failed extends ReadFault {
  readonly kind = "failed"
}

const failed = new Failed()

/** What a read gives: a result, why there is none, or `undefined`: not yet. */
export type Outcome<A> = A | ReadFault | undefined

/**
 * Where bytes come from, as far as the buffer needs to know. Both are only hints, and may be repeated. Neither delivers
 * anything before it returns.
 */
export interface Source {
  readonly pause: () => void
  readonly resume: () => void
  /** Takes a chunk back that nobody has seen any of. */
  readonly recycle?: ((chunk: Bytes) => void) | undefined
}

/** Who reads, as far as the buffer needs to know. */
export interface Consumer {
  /** How many bytes a waiting read needs in the buffer before it can go on: they may go beyond twice the limit. */
  readonly wanted: () => number
  /** Whether a read waits. */
  readonly waits: () => boolean
  /** More bytes are there, or the end is. */
  readonly onArrival: () => void
}

/** A chunk that is at least this long is handed out as it is, rather than joined with the next one. */
const wholeChunk = 16_384
/** What short chunks are joined to at most. */
const joinedChunk = 65_536

export class InputBuffer<F> {
  readonly queue: ByteQueue = new ByteQueue()
  end: "open" | "eof" | "failed" = "open"
  failure: F | undefined = undefined
  paused = false

  /** Whoever reads, or nobody yet. */
  consumer: Consumer = nobody
  /** Told when a read begins to wait. */
  onWait: (() => void) | undefined = undefined
  /** Told when the source goes on that was paused. */
  onResume: (() => void) | undefined = undefined

  // How far the last search got: no match for `searched` ends before the position `searchedTo`.
  private searched: Separator | undefined = undefined
  private searchedTo = 0

  constructor(readonly limit: number, readonly source: Source) {}

  // ---------------------------------------------------------------------------
  // the source's side
  // ---------------------------------------------------------------------------

  push(chunk: Bytes): void {
    this.queue.push(chunk)
    if (!this.paused && this.queue.length > 2 * this.limit && this.queue.length >= this.consumer.wanted()) {
      this.paused = true
      this.source.pause()
    }
    this.consumer.onArrival()
  }

  pushEof(): void {
    if (this.end === "open") {
      this.end = "eof"
      this.consumer.onArrival()
    }
  }

  /** A failure after the end in order is none: everything had arrived. */
  pushFailure(failure: F): void {
    if (this.end === "open") {
      this.end = "failed"
      this.failure = failure
      this.consumer.onArrival()
    }
  }

  // ---------------------------------------------------------------------------
  // the reader's side
  // ---------------------------------------------------------------------------

  get atEof(): boolean {
    return this.end === "eof" && this.queue.length === 0
  }

  /**
   * Whether a read waits for what is here. Another one that would have to wait as well is going to be refused, and must
   * leave everything to it.
   */
  get isAwaited(): boolean {
    return this.end === "open" && this.consumer.waits()
  }

  /** A read found too little and waits: whatever is buffered, more must come. */
  resume(): void {
    if (this.paused) {
      this.paused = false
      this.onResume?.()
      this.source.resume()
    }
  }

  /** To be called after bytes were taken. */
  private consumed(): void {
    if (this.paused && this.queue.length <= this.limit) {
      this.resume()
    }
  }

  take(n: number): Bytes {
    const bytes = this.queue.take(n)
    this.consumed()
    return bytes
  }

  /** The `size` bytes from index `from` on, of the first `total`, which are taken. */
  takeWithin(from: number, size: number, total: number): Bytes {
    const bytes = this.queue.takeWithin(from, size, total)
    this.consumed()
    return bytes
  }

  takeUint(size: number, littleEndian: boolean): number {
    const value = this.queue.takeUint(size, littleEndian)
    this.consumed()
    return value
  }

  drop(n: number): void {
    this.queue.drop(n)
    this.consumed()
  }

  /** The bytes are copied: they may lie in a buffer that its owner uses again, as that of `readInto`. */
  unread(bytes: Bytes): void {
    this.queue.unshift(new Uint8Array(bytes))
    this.searched = undefined
    this.consumer.onArrival()
  }

  read(max: number): Outcome<Bytes> {
    if (max === 0) {
      return emptyBytes
    }
    const n = this.readable(max)
    return n > 0 ? this.take(n) : this.end === "eof" ? emptyBytes : this.ended()
  }

  /** How much a read of up to `max` bytes takes: the first chunk, or several that are short. A long one is never cut. */
  private readable(max: number): number {
    let n = this.queue.firstChunk.length - this.queue.firstOffset
    if (n < wholeChunk && n < max && n < this.queue.length) {
      const cursor = this.queue.cursorAt(0)
      while (n < max && cursor.next() && cursor.chunk.length < wholeChunk && n + cursor.chunk.length <= joinedChunk) {
        n += cursor.chunk.length
      }
    }
    return n < max ? n : max
  }

  readInto(target: Bytes): Outcome<number> {
    if (target.length === 0) {
      return 0
    }
    const n = Math.min(this.queue.length, target.length)
    if (n === 0) {
      return this.end === "eof" ? 0 : this.ended()
    }
    const { queue, source } = this
    for (let done = 0; done < n;) {
      const chunk = queue.firstChunk
      const from = queue.firstOffset
      const size = Math.min(chunk.length - from, n - done)
      target.set(size === chunk.length ? chunk : chunk.subarray(from, from + size), done)
      const recyclable = from + size === chunk.length && !queue.firstSeen
      queue.drop(size)
      if (recyclable) {
        source.recycle?.(chunk)
      }
      done += size
    }
    this.consumed()
    return n
  }

  readAll(maxBytes: number): Outcome<Bytes> {
    const length = this.queue.length
    if (length > maxBytes) {
      return new Overrun(maxBytes, maxBytes, false)
    }
    return this.end === "eof" ? this.takeRest() : this.ended()
  }

  readExactly(n: number): Outcome<Bytes> {
    if (n <= this.queue.length) {
      return n === 0 ? emptyBytes : this.take(n)
    }
    return this.end === "eof" ? new Incomplete(this.takeRest(), n) : this.ended()
  }

  /** Whether `n` bytes are there to be looked at; consumes what is left when they never will be. */
  has(n: number): Outcome<true> {
    return n <= this.queue.length
      ? true
      : this.end === "eof"
      ? new Incomplete(this.takeRest(), n)
      : this.ended()
  }

  peek(n: number): Outcome<Bytes> {
    const length = this.queue.length
    if (n <= length) {
      return n === 0 ? emptyBytes : this.queue.peek(n)
    }
    return this.end === "eof" ? length === 0 ? emptyBytes : this.queue.peek(length) : this.ended()
  }

  readUntil(separator: Separator): Outcome<Bytes> {
    const size = this.locate(separator, this.limit)
    return typeof size === "number"
      ? this.take(size)
      : size ?? (this.end === "eof" ? new Incomplete(this.takeRest(), undefined) : this.ended())
  }

  /** How many bytes there are up to and with a separator, before which there may be `limit`. `undefined`: none is here. */
  locate(separator: Separator, limit: number): number | Overrun | undefined {
    const end = this.search(separator)
    if (end < 0) {
      return this.overrun(separator, limit)
    }
    const before = end + 1 - separator.matched
    return before > limit ? new Overrun(before, limit, true) : end + 1
  }

  readLine(): Outcome<Bytes> {
    if (this.searched !== lineFeed || this.searchedTo <= this.queue.position) {
      // The common case: the whole line lies in the first chunk, and nothing of it has been searched.
      const before = this.queue.indexInFirst(10)
      if (before >= 0 && before <= this.limit) {
        return this.take(before + 1)
      }
      if (before < 0) {
        this.searched = lineFeed
        this.searchedTo = this.queue.position + this.queue.firstChunk.length - this.queue.firstOffset
      }
    }
    const line = this.readUntil(lineFeed)
    return line instanceof Incomplete ? line.partial : line
  }

  /**
   * Drops everything through the separator. What can't be part of it goes at once, so this is the one read that makes
   * progress while it waits. Gives the number of bytes dropped since the position `since`.
   */
  skipUntil(separator: Separator, since: number): Outcome<number> {
    const end = this.search(separator)
    if (end >= 0) {
      this.drop(end + 1)
      return this.queue.position - since
    }
    const safe = this.queue.length + 1 - separator.max
    if (safe > 0 && !this.isAwaited) {
      this.drop(safe)
    }
    return this.end === "eof" ? new Incomplete(this.takeRest(), undefined) : this.ended()
  }

  /** The index of the last byte of the first match, or -1. Bytes that were searched before are not searched again. */
  search(separator: Separator): number {
    const position = this.queue.position
    const from = this.searched === separator && this.searchedTo > position ? this.searchedTo - position : 0
    const end = separator.find(this.queue, from)
    this.searched = separator
    this.searchedTo = position + (end < 0 ? this.queue.length : end)
    return end
  }

  /**
   * Whether a search that found nothing has gone past the limit: no separator can begin within it any more. That many
   * bytes can be taken without cutting one in two.
   */
  private overrun(separator: Separator, limit: number): Overrun | undefined {
    const safe = this.queue.length + 1 - separator.max
    return safe > limit ? new Overrun(safe, limit, false) : undefined
  }

  takeRest(): Bytes {
    const length = this.queue.length
    return length === 0 ? emptyBytes : this.take(length)
  }

  /** What a read that found too little is to do. */
  ended(): Failed | undefined {
    return this.end === "failed" ? failed : undefined
  }
}

const nobody: Consumer = { wanted: () => 0, waits: () => false, onArrival: () => {} }
