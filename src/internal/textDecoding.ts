/**
 * Text out of the bytes of lines, in every encoding that `TextDecoder` knows.
 *
 * Theory of operation. To whoever looks for the ends of lines in bytes, there are three kinds of encodings:
 *
 * - In nearly all of them, the byte 0x0A is a line feed wherever it stands: no character contains it, and a decoder that
 *   meets it inside of one reports an error and reads it anew (WHATWG Encoding: "if byte is an ASCII byte, restore byte
 *   to ioQueue"). So lines that end with it decode together as they do one by one, and the n-th such byte is the n-th
 *   `"\n"`. No byte gives more than one unit of a string; hence, where a text is as long as its bytes, so is any part.
 * - In UTF-16, a line feed is two bytes, at an even distance from where the line begins. Each two bytes give one unit.
 * - In ISO-2022-JP, an escape sequence holds until the next one. Every byte must pass through the decoder, in order, but
 *   for those of a line that is passed over: there the last escape sequence is all that counts.
 *
 * A byte order mark is left where it is: only whoever cuts the lines knows which is the first.
 */
import { type ByteQueue } from "./byteQueue.js"
import { type Bytes } from "./bytes.js"
import { lineFeed, Separator } from "./separator.js"

// Text is mostly ASCII, and Node decodes that at the speed of a copy, but not in a TextDecoder. Looked up rather than
// imported, as in bytes.ts.
interface NodeBuffer {
  readonly isAscii: (bytes: Bytes) => boolean
}
interface NodeGlobals {
  readonly Buffer?: {
    readonly prototype: { readonly latin1Slice: (this: Bytes, start: number, end: number) => string }
  }
  readonly process?: { readonly getBuiltinModule?: (name: string) => NodeBuffer | undefined }
}
const { Buffer, process } = globalThis as NodeGlobals
const isAscii = process?.getBuiltinModule?.("node:buffer")?.isAscii
const latin1Slice = Buffer?.prototype.latin1Slice

const keepMark = { ignoreBOM: true }
const streaming = { stream: true }

/** Why a label can't name an encoding. */
export const encodingProblem = (label: string): string | undefined => {
  try {
    new TextDecoder(label)
    return undefined
  } catch {
    return `an encoding must be one that TextDecoder knows, got ${JSON.stringify(label)}`
  }
}

/** A line feed in UTF-16. The queue must begin where a line does. */
class LineFeed16 extends Separator {
  constructor(readonly littleEndian: boolean) {
    super([Uint8Array.from(littleEndian ? [10, 0] : [0, 10])])
  }

  override find(queue: ByteQueue, from: number): number {
    let end = super.find(queue, from)
    while (end >= 0 && end % 2 === 0) {
      end = super.find(queue, end + 1)
    }
    return end
  }
}

/** One sequence of lines has one. */
export class TextDecoding {
  readonly lineFeed: Separator
  /** Bytes of a line feed, and of a carriage return. */
  readonly width: 1 | 2
  /** Whether text may begin with a byte order mark. */
  readonly marked: boolean
  /** Whether a line can be decoded only after those before it. */
  readonly stateful: boolean

  private readonly utf8: boolean
  private decoder: InstanceType<typeof TextDecoder>
  private readonly escapes: EscapeSequences | undefined
  /** The decoder has not seen what came last. */
  private behind = false

  /** The label must have no problem. */
  constructor(label: string) {
    this.decoder = new TextDecoder(label, keepMark)
    const encoding = this.decoder.encoding
    this.lineFeed = encoding.startsWith("utf-16") ? new LineFeed16(encoding === "utf-16le") : lineFeed
    this.width = this.lineFeed instanceof LineFeed16 ? 2 : 1
    this.utf8 = encoding === "utf-8"
    this.marked = this.utf8 || this.width === 2
    this.stateful = encoding === "iso-2022-jp"
    this.escapes = this.stateful ? new EscapeSequences() : undefined
  }

  /** Whether a carriage return begins at `index` of the queue. */
  isCarriageReturn(queue: ByteQueue, index: number): boolean {
    if (!(this.lineFeed instanceof LineFeed16)) {
      return queue.byteAt(index) === 13
    }
    const low = this.lineFeed.littleEndian ? index : index + 1
    const high = this.lineFeed.littleEndian ? index + 1 : index
    return queue.byteAt(low) === 13 && queue.byteAt(high) === 0
  }

  /** Decodes whole lines. What else is behind them comes out damaged. */
  decode(bytes: Bytes): string {
    if (this.utf8 && isAscii !== undefined && latin1Slice !== undefined && isAscii(bytes)) {
      return latin1Slice.call(bytes, 0, bytes.length)
    }
    const text = this.stream(bytes)
    // In two steps, because for one Node 20 has a way of its own, which takes windows-1252 for ISO-8859-1, loses a 0xFF
    // that comes first (nodejs/node#56542, #61093), and in UTF-8 is slow for all that isn't ASCII.
    return this.stateful ? text : text + this.decoder.decode()
  }

  /** Decodes the beginning of a line, as far as its characters are whole. */
  decodeHead(bytes: Bytes): string {
    const text = this.stream(bytes)
    if (!this.stateful) {
      this.decoder.decode()
    }
    return text
  }

  /** Decodes a last line without a line feed. */
  decodeLast(bytes: Bytes): string {
    return this.stream(bytes) + this.decoder.decode()
  }

  private stream(bytes: Bytes): string {
    const { escapes } = this
    if (escapes !== undefined) {
      if (this.behind) {
        this.behind = false
        this.decoder = new TextDecoder(this.decoder.encoding, keepMark)
        this.decoder.decode(escapes.atLineStart(), streaming)
      }
      escapes.pass(bytes)
    }
    return this.decoder.decode(bytes, streaming)
  }

  /**
   * Passes over the rest of a line. Only what is stateful needs to know of it, and not by decoding it: Node 20 throws
   * where what was left undecided and a few bytes more give as many characters.
   */
  skip(bytes: Bytes): void {
    this.escapes?.pass(bytes)
    this.behind = true
  }
}

const escape = "\x1b"
/** ASCII, JIS X 0201 (Roman and Katakana), and JIS X 0208 (of 1978 and 1983). */
const designations = ["(B", "(J", "(I", "$@", "$B"]

/** The escape sequences of ISO-2022-JP: which one holds. */
class EscapeSequences {
  private readonly latin1: InstanceType<typeof TextDecoder> = new TextDecoder("latin1")
  private last = ""
  /** The last two bytes: a sequence of three may be cut. */
  private tail = ""

  pass(bytes: Bytes): void {
    const text = this.tail + this.latin1.decode(bytes)
    for (const part of text.split(escape).slice(1)) {
      const designation = part.slice(0, 2)
      if (designations.includes(designation)) {
        this.last = escape + designation
      }
    }
    this.tail = text.slice(-2)
  }

  /** What brings a new decoder to where one is that has seen all of it, the end of the line included. */
  atLineStart(): Bytes {
    return Uint8Array.from(`${this.last}\n`, (character) => character.charCodeAt(0))
  }
}
