/**
 * Where one message ends and the next one begins: frames of bytes, both ways.
 *
 * Theory of operation. To find a frame is one thing, and to take it another: a decoder looks at what has arrived, and
 * says where the frame lies (`from`, `size`) and how many bytes it takes with all that goes with it (`total`), or how many
 * there must be before it can say more (`wanted`). Nothing is taken before all of it is there. So a read that waits holds no
 * bytes, and what is too long or makes no sense is found by its header, before there is memory for it, and left where it
 * is. What a decoder says holds until the buffer changes; each belongs to one reader.
 *
 * Whether a frame is too long is looked at before the end of the stream is, and by what the frame has, not by what has
 * arrived of it, so that no outcome depends on how the bytes were cut into chunks.
 */
import { ByteQueue } from "./byteQueue.js"
import { type Bytes, concat, indexOfByte } from "./bytes.js"
import { Incomplete, type InputBuffer, Overrun, ReadFault } from "./inputBuffer.js"
import { Separator } from "./separator.js"

/** What came is no frame, and was left where it is, or is not what was expected in one, and was taken. */
export class Malformed extends ReadFault {
  readonly kind = "malformed"
  constructor(
    readonly reason: "InvalidLength" | "InvalidContent",
    readonly detail: string,
    readonly frame: Bytes | undefined,
    readonly cause: unknown
  ) {
    super()
  }
}

/** Why a value can't be a frame, or what is in a frame is no value. */
export class Refusal {
  constructor(
    readonly reason: "TooLong" | "TooShort" | "ContainsSeparator" | "InvalidContent",
    readonly detail: string,
    readonly cause: unknown = undefined
  ) {}
}

/** The end came where a frame would have begun. */
export const endOfFrames: unique symbol = Symbol("endOfFrames")

/** Where the first frame is, why there is none, that there are no more, or `undefined`: not yet. */
export type Located = true | ReadFault | typeof endOfFrames | undefined

export abstract class FrameDecoder {
  from = 0
  size = 0
  total = 0
  /** How many bytes must be there before there is a point in looking again. */
  wanted = 0

  constructor(protected readonly input: InputBuffer<any>) {}

  abstract locate(): Located

  /** Takes the frame that was located. */
  take(): Bytes {
    return this.input.takeWithin(this.from, this.size, this.total)
  }

  /** There are too few bytes. */
  protected lacking(expected: number | undefined): Located {
    const { input } = this
    return input.end !== "eof"
      ? input.ended()
      : input.queue.length === 0
      ? endOfFrames
      : new Incomplete(input.takeRest(), expected)
  }

  /** There are too few bytes, and it is known how many there have to be. */
  protected awaiting(total: number): Located {
    this.wanted = total
    return this.lacking(total)
  }

  /** A frame that is `size` bytes behind a header of `header` bytes. */
  protected behind(header: number, size: number): Located {
    const total = header + size
    if (this.input.queue.length < total) {
      return this.awaiting(total)
    }
    this.from = header
    this.size = size
    this.total = total
    return true
  }
}

/** How frames lie in a stream. */
export interface FrameCodec {
  readonly decoder: (input: InputBuffer<any>) => FrameDecoder
  /** What is to be written for one, in one piece. */
  readonly encode: (frame: Bytes) => ReadonlyArray<Bytes> | Refusal
}

/** What is no longer than that is copied into one piece with its header or separator. */
const shortFrame = 1024

const joined = (first: Bytes, second: Bytes): ReadonlyArray<Bytes> => {
  if (first.length + second.length > shortFrame) {
    return [first, second]
  }
  const bytes = new Uint8Array(first.length + second.length)
  bytes.set(first)
  bytes.set(second, first.length)
  return [bytes]
}

const tooLong = (size: number, maxLength: number): Refusal | undefined =>
  size > maxLength
    ? new Refusal("TooLong", `a frame of ${size} bytes is longer than maxLength, ${maxLength}`)
    : undefined

// ---------------------------------------------------------------------------
// a length before the frame
// ---------------------------------------------------------------------------

export interface LengthFormat {
  readonly lengthBytes: 1 | 2 | 3 | 4 | 8
  readonly littleEndian: boolean
  /** Bytes before the length, which are then part of the frame, as the length is. */
  readonly headerBytes: number
  /** What is added to the length to get how many bytes follow it. */
  readonly adjustment: number
  readonly maxLength: number
}

const two32 = 0x1_0000_0000

class LengthDecoder extends FrameDecoder {
  private readonly queue: ByteQueue
  private readonly header: number
  private readonly lengthAt: number
  private readonly lengthBytes: number
  private readonly littleEndian: boolean
  private readonly adjustment: number
  private readonly maxLength: number
  /** How many bytes may be behind the length. */
  private readonly most: number

  constructor(input: InputBuffer<any>, format: LengthFormat) {
    super(input)
    this.queue = input.queue
    this.lengthAt = format.headerBytes
    this.lengthBytes = format.lengthBytes
    this.header = format.headerBytes + format.lengthBytes
    this.littleEndian = format.littleEndian
    this.adjustment = format.adjustment
    this.maxLength = format.maxLength
    this.from = format.headerBytes > 0 ? 0 : this.header
    this.most = format.maxLength - (this.header - this.from)
  }

  /** What is short here is inlined where frames are read: all but the common case is elsewhere. */
  locate(): Located {
    const { header, queue } = this
    if (queue.length < header) {
      return this.awaiting(header)
    }
    const behind = this.lengthBytes <= 4
      ? queue.uintAt(this.lengthAt, this.lengthBytes, this.littleEndian) + this.adjustment
      : this.longLength() + this.adjustment
    const total = header + behind
    if (behind < 0 || behind > this.most || queue.length < total) {
      return this.uncommon(behind)
    }
    this.size = total - this.from
    this.total = total
    return true
  }

  private uncommon(behind: number): Located {
    const { adjustment, header, maxLength, most } = this
    return behind < 0
      ? new Malformed(
        "InvalidLength",
        `a length of ${behind - adjustment} says that ${behind} bytes follow it (adjustment ${adjustment})`,
        undefined,
        undefined
      )
      : behind > most
      ? new Overrun(header + behind, maxLength, true)
      : this.awaiting(header + behind)
  }

  /** Beyond 2^53 to within a few parts in 2^53, which is too long in any case. */
  private longLength(): number {
    const { lengthAt, littleEndian, queue } = this
    const first = queue.uintAt(lengthAt, 4, littleEndian)
    const second = queue.uintAt(lengthAt + 4, 4, littleEndian)
    return littleEndian ? second * two32 + first : first * two32 + second
  }
}

/** Writes an unsigned integer. */
const setUint = (bytes: Bytes, at: number, size: number, littleEndian: boolean, value: number): void => {
  let rest = value
  for (let i = 0; i < size; i++) {
    bytes[littleEndian ? at + i : at + size - 1 - i] = rest % 256
    rest = Math.floor(rest / 256)
  }
}

export const lengthCodec = (format: LengthFormat): FrameCodec => {
  const { adjustment, headerBytes, lengthBytes, littleEndian, maxLength } = format
  const header = headerBytes + lengthBytes
  const largest = lengthBytes === 8 ? Number.MAX_SAFE_INTEGER : 256 ** lengthBytes - 1
  return {
    decoder: (input) => new LengthDecoder(input, format),
    encode: (frame) => {
      const size = headerBytes > 0 ? frame.length - header : frame.length
      const length = size - adjustment
      if (size < 0) {
        return new Refusal(
          "TooShort",
          `a frame of ${frame.length} bytes has no room for its header of ${headerBytes} and its length of ${lengthBytes}`
        )
      }
      if (length < 0) {
        return new Refusal("TooShort", `a frame must have ${adjustment} bytes behind its length, got ${size}`)
      }
      if (length > largest) {
        return new Refusal(
          "TooLong",
          `a frame of ${frame.length} bytes has a length that does not fit ${lengthBytes} bytes`
        )
      }
      const problem = tooLong(frame.length, maxLength)
      if (problem !== undefined) {
        return problem
      }
      const body = headerBytes > 0 ? frame.subarray(header) : frame
      const isShort = header + body.length <= shortFrame
      // What is before the length is copied, so that the frame stays as it is.
      const head = new Uint8Array(isShort ? header + body.length : header)
      if (headerBytes > 0) {
        head.set(frame.subarray(0, headerBytes))
      }
      setUint(head, headerBytes, lengthBytes, littleEndian, length)
      if (!isShort) {
        return [head, body]
      }
      head.set(body, header)
      return [head]
    }
  }
}

// ---------------------------------------------------------------------------
// a length of 7 bits a byte
// ---------------------------------------------------------------------------

/** 64 bits. */
const longestVarint = 10

class VarintDecoder extends FrameDecoder {
  constructor(input: InputBuffer<any>, private readonly maxLength: number) {
    super(input)
  }

  locate(): Located {
    const { input: { queue }, maxLength } = this
    const here = Math.min(queue.length, longestVarint)
    let length = 0
    let unit = 1
    for (let i = 0; i < here; i++) {
      const byte = queue.byteAt(i)
      length += (byte & 0x7f) * unit
      unit *= 128
      if (byte < 0x80 && (i < longestVarint - 1 || byte <= 1)) {
        const header = i + 1
        return length > maxLength ? new Overrun(header + length, maxLength, true) : this.behind(header, length)
      }
    }
    if (here === longestVarint) {
      return new Malformed("InvalidLength", "a length as a varint has more than 64 bits", undefined, undefined)
    }
    this.wanted = here + 1
    return this.lacking(undefined)
  }
}

const varint = (value: number): Bytes => {
  const bytes: Array<number> = []
  let rest = value
  while (rest >= 0x80) {
    bytes.push(rest % 128 + 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return Uint8Array.from(bytes)
}

export const varintCodec = (maxLength: number): FrameCodec => ({
  decoder: (input) => new VarintDecoder(input, maxLength),
  encode: (frame) => tooLong(frame.length, maxLength) ?? joined(varint(frame.length), frame)
})

// ---------------------------------------------------------------------------
// always as long
// ---------------------------------------------------------------------------

class FixedDecoder extends FrameDecoder {
  constructor(input: InputBuffer<any>, private readonly length: number) {
    super(input)
  }

  locate(): Located {
    return this.behind(0, this.length)
  }
}

export const fixedCodec = (length: number): FrameCodec => ({
  decoder: (input) => new FixedDecoder(input, length),
  encode: (frame) =>
    frame.length === length ? [frame] : new Refusal(
      frame.length > length ? "TooLong" : "TooShort",
      `a frame must have ${length} bytes, got ${frame.length}`
    )
})

// ---------------------------------------------------------------------------
// a separator behind the frame
// ---------------------------------------------------------------------------

class SeparatedDecoder extends FrameDecoder {
  constructor(
    input: InputBuffer<any>,
    private readonly separator: Separator,
    private readonly maxLength: number,
    /** Whether what comes after the last separator is a frame. */
    private readonly lastToo: boolean
  ) {
    super(input)
  }

  locate(): Located {
    const { input, separator } = this
    const total = input.locate(separator, this.maxLength)
    if (typeof total === "number") {
      this.size = total - separator.matched
      this.total = total
      return true
    }
    if (total !== undefined) {
      return total
    }
    const { length } = input.queue
    if (!this.lastToo || input.end !== "eof" || length === 0) {
      return this.lacking(undefined)
    }
    if (length > this.maxLength) {
      return new Overrun(length, this.maxLength, false)
    }
    this.size = this.total = length
    return true
  }
}

const queueOf = (bytes: Bytes): ByteQueue => {
  const queue = new ByteQueue()
  queue.push(bytes)
  return queue
}

/** Whether the first `separator` behind a frame begins anywhere but where the frame ends. */
const isCut = (frame: Bytes, bytes: Bytes, separator: Separator): boolean => {
  if (bytes.length === 1) {
    return indexOfByte(frame, bytes[0]!, 0) >= 0
  }
  if (frame.length > 0 && separator.find(queueOf(frame), 0) >= 0) {
    return true
  }
  // The end of the frame and the beginning of the separator may be one, too.
  const end = concat([frame.subarray(Math.max(0, frame.length + 1 - bytes.length)), bytes])
  return separator.find(queueOf(end), 0) !== end.length - 1
}

export const separatedCodec = (bytes: Bytes, maxLength: number): FrameCodec => {
  const separator = new Separator([bytes])
  return {
    decoder: (input) => new SeparatedDecoder(input, separator, maxLength, false),
    encode: (frame) =>
      tooLong(frame.length, maxLength) ??
        (isCut(frame, bytes, separator)
          ? new Refusal("ContainsSeparator", `a frame of ${frame.length} bytes contains the separator`)
          : joined(frame, bytes))
  }
}

const lineEnds = new Separator([Uint8Array.from([13, 10]), Uint8Array.from([10])])

export const lineCodec = (eol: Bytes, maxLength: number, lastToo: boolean): FrameCodec => ({
  decoder: (input) => new SeparatedDecoder(input, lineEnds, maxLength, lastToo),
  encode: (line) =>
    tooLong(line.length, maxLength) ??
      (indexOfByte(line, 10, 0) >= 0
        ? new Refusal("ContainsSeparator", `a line of ${line.length} bytes contains a line feed`)
        : eol.length === 1 && line[line.length - 1] === 13
        ? new Refusal("ContainsSeparator", `a line of ${line.length} bytes ends with half a line end, "\\r"`)
        : joined(line, eol))
})
