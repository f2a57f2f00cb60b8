/**
 * The lines of an `InputBuffer`, as bytes or as text.
 *
 * Theory of operation. One loop finds complete lines and hands them to a function, each when it has been taken out of
 * the buffer and nothing behind it has. The three ways to pull are three such functions: one that stops at once (`next`),
 * one that collects (`batch`), and the user's own (`forEach`). When there is no complete line, `last` looks at the limit
 * first and at the end next, so that no outcome depends on how the bytes were cut into chunks.
 *
 * Most lines lie in one chunk with others. They are a run, in which the search begins where the line before ended. The
 * text of a run is decoded at once and cut as a string, while a second mark moves along in the chunk. A run is kept when
 * the function stops, for the next pull, and given up if someone else has read in between. Lest much be decoded in vain,
 * it is no longer than what was read since that last happened. A line that is kept keeps the text of its run in memory.
 *
 * A line that spans chunks is joined and decoded alone, and so is the first, which may have a byte order mark, and each
 * in an encoding with a state.
 *
 * A line over the limit is a fault, and stays in the buffer; or it counts as one that ended at the limit ("truncate"),
 * or that wasn't there ("skip"). Where the source ends amid such a line, `lastLine` is applied to what it counts as. Its
 * rest goes as it comes, but its beginning is handed out when its terminator is there: were it sooner, what a function
 * that stops there leaves in the buffer would depend on the chunks.
 */
import { type ByteQueue } from "./byteQueue.js"
import { type Bytes, emptyBytes, indexOfByte } from "./bytes.js"
import { Incomplete, type InputBuffer, Overrun, type ReadFault } from "./inputBuffer.js"
import { lineFeed, type Separator } from "./separator.js"
import { TextDecoding } from "./textDecoding.js"
import { youngArray } from "./youngArray.js"

export interface LineOptions {
  /** Bytes before the terminator; the buffer's limit. */
  readonly maxLength?: number | undefined
  /** What becomes of a longer line; "fail". */
  readonly onOverrun?: "fail" | "skip" | "truncate" | undefined
  /** What becomes of a last line without its terminator; "emit". */
  readonly lastLine?: "emit" | "drop" | "fail" | undefined
}

export interface TextLineOptions extends LineOptions {
  /** A label that has no `encodingProblem`; "utf-8". */
  readonly encoding?: string | undefined
}

/** There are no more lines. */
export const endOfLines: unique symbol = Symbol("endOfLines")

/** What a pull gives: a value, why there is none, that there are no more, or `undefined`: not yet. */
export type Pulled<A> = A | ReadFault | typeof endOfLines | undefined

/** Takes a line, and says with anything but `undefined` that it wants no more. */
export type OnLine<A, X> = (line: A) => X | undefined

/** Bytes that are taken for a batch, give or take a run. */
const batchBytes = 65_536
/** Bytes of a run. Strings much longer than that are slower to make. */
const shortestRun = 1024
const longestRun = 65_536

/** What is to be handed out in place of a line without a terminator, if anything is, and the bytes it came from. */
interface Unended<A> {
  readonly bytes: Bytes
  readonly line: A | undefined
}

const nothing: Unended<never> = { bytes: emptyBytes, line: undefined }

const itself = <A>(line: A): A => line

export abstract class LineSplitter<A> {
  protected readonly queue: ByteQueue
  protected readonly maxLength: number
  private readonly onOverrun: "fail" | "skip" | "truncate"
  private readonly lastLine: "emit" | "drop" | "fail"

  /** Of a line that is too long, of which the rest is to be dropped through its terminator. */
  private head: Unended<A> | undefined = undefined

  constructor(
    protected readonly buffer: InputBuffer<unknown>,
    options: LineOptions,
    private readonly separator: Separator,
    /** Bytes of a line feed, by which alone a line may be cut. */
    protected readonly width: 1 | 2
  ) {
    this.queue = buffer.queue
    this.maxLength = options.maxLength ?? buffer.limit
    this.onOverrun = options.onOverrun ?? "fail"
    this.lastLine = options.lastLine ?? "emit"
  }

  /** One line. What is behind it stays in the buffer. */
  next(): Pulled<A> {
    return this.forEach<A>(itself)
  }

  /** The complete lines that have arrived, at least one; where they are many, some 64 KiB of them. */
  batch(): Pulled<ReadonlyArray<A>> {
    const { queue } = this
    const lines: Array<A> = youngArray()
    const collect = (line: A): undefined => {
      lines.push(line)
    }
    let enough: number
    let overrun: Overrun | undefined
    do {
      enough = queue.position + batchBytes
      overrun = this.complete(collect, enough, lines)
      // All of that may have been skipped.
    } while (lines.length === 0 && overrun === undefined && queue.position >= enough)
    if (lines.length > 0) {
      // The next pull meets the overrun again.
      return lines
    }
    return overrun ?? this.last((line) => [line])
  }

  /**
   * Calls `f` with each line, until it returns something, which is handed back, or throws. That line is over and done
   * with, and what is behind it stays in the buffer.
   */
  forEach<X>(f: OnLine<A, X>): Pulled<X> {
    const stopped = this.complete(f, Infinity)
    return stopped !== undefined ? stopped : this.last(f)
  }

  /**
   * The lines that have their terminator. After the position `enough`, no run is begun any more. Where all that the
   * function does is to add them to a `list`, they may be added without it.
   */
  private complete<X>(f: OnLine<A, X>, enough: number, list?: Array<A> | undefined): X | Overrun | undefined {
    do {
      const stopped = this.run(f, list)
      if (stopped !== undefined) {
        return stopped
      }
      const end = this.buffer.search(this.separator)
      if (end < 0) {
        return undefined
      }
      const line = this.head !== undefined
        ? this.dropThrough(end + 1)
        : this.startRun(end)
        ? undefined
        : this.single(end + 1)
      if (line instanceof Overrun) {
        return line
      }
      const result = line === undefined ? undefined : f(line)
      if (result !== undefined) {
        return result
      }
    } while (this.queue.position < enough)
    return undefined
  }

  /** The first `size` bytes, which are a line. */
  private single(size: number): A | Overrun | undefined {
    const before = this.content(size - this.width)
    return before > this.maxLength ? this.overlong(before, size) : this.lineOf(this.buffer.take(size))
  }

  /** The first `size` bytes, which are a line with `before` bytes before its terminator, and that is too many. */
  protected overlong(before: number, size: number): A | Overrun | undefined {
    return this.overrun(before, true) ?? this.dropThrough(size - this.head!.bytes.length)
  }

  /** The first line has `before` bytes before its terminator, or none that is there, and that is too many. */
  private overrun(before: number, found: boolean): Overrun | undefined {
    if (this.onOverrun === "fail") {
      return new Overrun(before, this.maxLength, found)
    }
    if (this.onOverrun === "skip") {
      this.head = nothing
    } else {
      const bytes = this.buffer.take(this.maxLength - this.maxLength % this.width)
      this.head = { bytes, line: this.headOf(bytes) }
    }
    return undefined
  }

  /** The first `size` bytes, which are the rest of `head`. */
  private dropThrough(size: number): A | undefined {
    this.discard(size)
    const line = this.head!.line
    this.head = undefined
    return line
  }

  /** What there is without a terminator. */
  private last<X>(f: OnLine<A, X>): Pulled<X> {
    const { buffer, queue } = this
    const eof = buffer.end === "eof"
    if (!eof && this.onOverrun !== "fail" && buffer.isAwaited) {
      return buffer.ended()
    }
    if (this.head === undefined) {
      const before = eof ? queue.length : this.content(this.wholeUnits())
      const overrun = before > this.maxLength ? this.overrun(before, false) : undefined
      if (overrun !== undefined) {
        return overrun
      }
    }
    if (this.head !== undefined) {
      this.discard(eof ? queue.length : this.wholeUnits())
    }
    if (!eof) {
      return buffer.ended()
    }
    const { bytes, line } = this.head ?? this.rest()
    this.head = undefined
    if (line === undefined || this.lastLine === "drop") {
      return endOfLines
    }
    if (this.lastLine === "fail") {
      return new Incomplete(bytes, undefined)
    }
    const result = f(line)
    // The function may have put something back.
    return result !== undefined ? result : queue.length === 0 ? endOfLines : this.forEach(f)
  }

  private wholeUnits(): number {
    return this.queue.length - this.queue.length % this.width
  }

  private rest(): Unended<A> {
    const bytes = this.buffer.takeRest()
    return bytes.length === 0 ? nothing : { bytes, line: this.restOf(bytes) }
  }

  /** The lines of the run, if there is one. */
  protected abstract run<X>(f: OnLine<A, X>, list: Array<A> | undefined): X | Overrun | undefined
  /** Starts a run with the line that ends at index `end` of the queue, or doesn't. */
  protected abstract startRun(end: number): boolean
  /** How many of the first `size` bytes can't be part of a terminator of which a line feed comes next. */
  protected abstract content(size: number): number
  /** A line, from all its bytes. */
  protected abstract lineOf(bytes: Bytes): A
  /** A line, from its beginning. */
  protected abstract headOf(bytes: Bytes): A
  /** A last line without a terminator. */
  protected abstract restOf(bytes: Bytes): A | undefined
  /** Drops the first `n` bytes. */
  protected abstract discard(n: number): void
}

/** Lines as bytes, each with the `\n` that ends it, but for a truncated one. */
export class ByteLines extends LineSplitter<Bytes> {
  /** Lines are looked for in the first chunk first. */
  private running = false

  constructor(buffer: InputBuffer<unknown>, options: LineOptions = {}) {
    super(buffer, options, lineFeed, 1)
  }

  protected run<X>(f: OnLine<Bytes, X>): X | Overrun | undefined {
    const { buffer, maxLength, queue } = this
    const enough = queue.position + longestRun
    while (this.running && queue.position < enough) {
      const before = queue.indexInFirst(10)
      if (before < 0) {
        break
      }
      let result: X | undefined
      if (before <= maxLength) {
        result = f(buffer.take(before + 1))
      } else {
        const line = this.overlong(before, before + 1)
        if (line instanceof Overrun) {
          return line
        }
        result = line === undefined ? undefined : f(line)
      }
      if (result !== undefined) {
        return result
      }
    }
    // However it ended: what is found next may be the rest of a line of which the beginning was too long.
    this.running = false
    return undefined
  }

  /** With the line after this one, of which the end is known already. */
  protected startRun(): boolean {
    this.running = true
    return false
  }

  protected content(size: number): number {
    return size
  }

  protected lineOf(bytes: Bytes): Bytes {
    return bytes
  }

  protected headOf(bytes: Bytes): Bytes {
    return bytes
  }

  protected restOf(bytes: Bytes): Bytes {
    return bytes
  }

  protected discard(n: number): void {
    this.buffer.drop(n)
  }
}

/** Lines as text, without the `\n` or `\r\n` that ends them. */
export class TextLines extends LineSplitter<string> {
  private readonly decoding: TextDecoding
  /** Where the first line began. */
  private readonly start: number
  /** No one else has read since. */
  private undisturbed: number

  // The run: its text, the chunk it is from, and where the next line begins in either.
  private text = ""
  private at = 0
  private chunk: Bytes = emptyBytes
  private offset = 0
  /** A unit of the text is always `width` bytes of the chunk. */
  private aligned = false

  constructor(buffer: InputBuffer<unknown>, options: TextLineOptions = {}) {
    const decoding = new TextDecoding(options.encoding ?? "utf-8")
    super(buffer, options, decoding.lineFeed, decoding.width)
    this.decoding = decoding
    this.start = this.undisturbed = buffer.queue.position
  }

  protected run<X>(f: OnLine<string, X>, list: Array<string> | undefined): X | Overrun | undefined {
    const { aligned, buffer, chunk, maxLength, queue, text, width } = this
    if (list !== undefined && aligned) {
      this.add(list)
    }
    let { at, offset } = this
    let feed: number
    while ((feed = text.indexOf("\n", at)) >= 0) {
      if (!this.isAtRun()) {
        this.undisturbed = queue.position
        break
      }
      const size = aligned ? (feed + 1 - at) * width : indexOfByte(chunk, 10, offset) + 1 - offset
      const end = this.endOfLine(at, feed)
      const before = size - (feed + 1 - end) * width
      let line: string | Overrun | undefined
      if (before <= maxLength) {
        line = text.slice(at, end)
        buffer.drop(size)
      } else {
        line = this.overlong(before, size)
        if (line instanceof Overrun) {
          return line
        }
      }
      this.at = at = feed + 1
      this.offset = offset += size
      const result = line === undefined ? undefined : f(line)
      if (result !== undefined) {
        return result
      }
    }
    // Nothing is kept of a run that is over.
    this.text = ""
    this.at = 0
    this.chunk = emptyBytes
    return undefined
  }

  /** Adds the lines of the run that are not too long, up to one that is. Nobody looks on, so they leave the buffer together. */
  private add(list: Array<string>): void {
    const { at: start, maxLength, text, width } = this
    let at = start
    let feed: number
    while ((feed = text.indexOf("\n", at)) >= 0) {
      const end = this.endOfLine(at, feed)
      if ((end - at) * width > maxLength) {
        break
      }
      list.push(text.slice(at, end))
      at = feed + 1
    }
    const size = (at - start) * width
    this.at = at
    this.offset += size
    if (size > 0) {
      this.buffer.drop(size)
    }
  }

  /** Whether the first bytes of the buffer are those of the run: nobody else has read. */
  private isAtRun(): boolean {
    const { chunk, offset, queue } = this
    return queue.firstChunk === chunk && queue.firstOffset === offset
  }

  /** Where the line of the run ends that begins at `at` and has its line feed at `feed`. */
  private endOfLine(at: number, feed: number): number {
    return feed > at && this.text.charCodeAt(feed - 1) === 13 ? feed - 1 : feed
  }

  protected startRun(end: number): boolean {
    const { decoding, queue, width } = this
    const chunk = queue.firstChunk
    const offset = queue.firstOffset
    const reach = Math.min(Math.max(queue.position - this.undisturbed, shortestRun), longestRun)
    const size = Math.min(chunk.length - offset, reach)
    if (end >= size || decoding.stateful || queue.position === this.start) {
      return false
    }
    const bytes = chunk.subarray(offset, offset + size - size % width)
    this.text = decoding.decode(bytes)
    this.at = 0
    this.chunk = chunk
    this.offset = offset
    this.aligned = this.text.length * width === bytes.length
    return true
  }

  protected content(size: number): number {
    const { queue, width } = this
    return size >= width && this.decoding.isCarriageReturn(queue, size - width) ? size - width : size
  }

  protected lineOf(bytes: Bytes): string {
    const text = this.unmarked(this.decoding.decode(bytes), bytes)
    return text.endsWith("\r\n") ? text.slice(0, -2) : text.endsWith("\n") ? text.slice(0, -1) : text
  }

  protected headOf(bytes: Bytes): string {
    return this.unmarked(this.decoding.decodeHead(bytes), bytes)
  }

  /** There is none where there is nothing but a byte order mark, or a return to ASCII. */
  protected restOf(bytes: Bytes): string | undefined {
    return this.unmarked(this.decoding.decodeLast(bytes), bytes) || undefined
  }

  /** Without a byte order mark, if the bytes, which have just been taken, were the first. */
  private unmarked(text: string, bytes: Bytes): string {
    return this.decoding.marked && text.charCodeAt(0) === 0xfeff && this.queue.position - bytes.length === this.start
      ? text.slice(1)
      : text
  }

  protected discard(n: number): void {
    if (this.decoding.stateful) {
      this.decoding.skip(this.buffer.take(n))
    } else {
      this.buffer.drop(n)
    }
  }
}
