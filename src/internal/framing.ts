/**
 * Messages over a reader and a writer.
 *
 * Theory of operation. A framing is a codec, which finds frames of bytes and is plain and synchronous (`framingCodec.ts`),
 * and a step each way between such bytes and what they stand for. A step gives its result at once, where it can: only a
 * schema that has something to wait for is an effect (`Suspended`), and only a framing with a schema may have one. So a read
 * is one operation of the reader, tried again as a whole until the frame is there, and what is made of the frame is made in
 * the same breath. Where that has to wait, the frame has been taken, and is put back if the wait is interrupted.
 */
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import { pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type { Address } from "../Address.js"
import type * as Connection from "../Connection.js"
import type * as Api from "../Framing.js"
import { type ConnectionError, FramingError } from "../NetworkError.js"
import type * as StreamReader from "../StreamReader.js"
import type * as StreamWriter from "../StreamWriter.js"
import * as argument from "./argument.js"
import { type Bytes, encodeUtf8, isBytes, toBytes } from "./bytes.js"
import { served, YieldOnce } from "./fastPath.js"
import {
  endOfFrames,
  fixedCodec,
  type FrameCodec,
  type FrameDecoder,
  lengthCodec,
  lineCodec,
  Malformed,
  Refusal,
  separatedCodec,
  varintCodec
} from "./framingCodec.js"
import type { ReadFault } from "./inputBuffer.js"
import { type Outcome } from "./inputBuffer.js"
import { endOfLines } from "./lineSplitter.js"
import { ReadOperation } from "./readOperation.js"
import { oneByOne, readingAhead } from "./readStream.js"
import { some } from "./some.js"
import { defaultLimit, isStreamReader, type StreamReaderImpl } from "./streamReader.js"
import { isStreamWriter, type StreamWriterImpl } from "./streamWriter.js"
import { TextDecoding } from "./textDecoding.js"
import { youngArray } from "./youngArray.js"

/** @internal */
export const TypeId: Api.TypeId = Symbol.for("effect-netstreams/Framing") as Api.TypeId

/** @internal */
export const isFraming = (u: unknown): u is Api.Framing<never, unknown, unknown> => hasProperty(u, TypeId)

// ---------------------------------------------------------------------------
// framings
// ---------------------------------------------------------------------------

type AnyFraming = Api.Framing<any, any, any> | Api.Framing<never, any, any>

/** What is still to be done to have a result. */
class Suspended {
  constructor(readonly effect: Effect.Effect<any, Refusal, any>) {}
}

/** One step of the way between bytes and a value: gives a result, a `Refusal` or a `Suspended`. */
type Step = (value: any) => unknown

const settled = (result: unknown): Effect.Effect<unknown, Refusal, any> =>
  result instanceof Suspended
    ? result.effect
    : result instanceof Refusal
    ? Exit.fail(result)
    : Exit.succeed(result)

const andThen = (first: Step | undefined, second: Step): Step =>
  first === undefined ? second : (value) => {
    const result = first(value)
    return result instanceof Suspended
      ? new Suspended(Effect.flatMap(result.effect, (value) => settled(second(value))))
      : result instanceof Refusal
      ? result
      : second(result)
  }

const variance = { _In: (_: any) => _, _Out: (_: never) => _, _R: (_: never) => _ }

class FramingImpl implements Api.Framing<any, any, any> {
  constructor(
    readonly codec: FrameCodec,
    /** From a frame's bytes; they are the result where there is none. */
    readonly decode: Step | undefined,
    /** To a frame's bytes. */
    readonly encode: Step | undefined,
    /** Whether `decode` always gives a result. */
    readonly total: boolean
  ) {}

  get [TypeId]() {
    return variance
  }

  pipe() {
    return pipeArguments(this, arguments)
  }

  /** What is to be written for a value: pieces, a `Refusal` or a `Suspended`. */
  chunksOf(value: unknown): ReadonlyArray<Bytes> | Refusal | Suspended {
    const frame = this.encode === undefined ? value : this.encode(value)
    return frame instanceof Refusal
      ? frame
      : frame instanceof Suspended
      ? new Suspended(Effect.flatMap(frame.effect, (frame) => settled(this.encoded(frame))))
      : this.encoded(frame)
  }

  private encoded(frame: unknown): ReadonlyArray<Bytes> | Refusal {
    if (typeof frame !== "string" && !isBytes(frame)) {
      throw new Cause.IllegalArgumentException(
        `Framing.write: a frame must be a Uint8Array or a string, got ${typeof frame}`
      )
    }
    return this.codec.encode(toBytes(frame))
  }
}

const implOf = (framing: AnyFraming): FramingImpl => framing as FramingImpl

const orThrow = (...problems: ReadonlyArray<argument.Problem>): void => {
  const problem = problems.find((problem) => problem !== undefined)
  if (problem !== undefined) {
    throw new Cause.IllegalArgumentException(problem)
  }
}

const ofBytes = (codec: FrameCodec): Api.Framing<Uint8Array | string, Uint8Array> =>
  new FramingImpl(codec, undefined, undefined, true)

/** @internal */
export const lengthPrefixed = (
  options: Api.LengthPrefixedOptions = {}
): Api.Framing<Uint8Array | string, Uint8Array> => {
  const adjustment = options.adjustment ?? 0
  orThrow(
    argument.oneOf("lengthPrefixed: lengthBytes", options.lengthBytes, [1, 2, 3, 4, 8]),
    argument.oneOf("lengthPrefixed: littleEndian", options.littleEndian, [true, false]),
    argument.notNegative("lengthPrefixed: headerBytes", options.headerBytes),
    argument.positive("lengthPrefixed: maxLength", options.maxLength),
    Number.isSafeInteger(adjustment)
      ? undefined
      : `lengthPrefixed: adjustment must be a whole number of bytes, got ${adjustment}`
  )
  return ofBytes(lengthCodec({
    lengthBytes: options.lengthBytes ?? 4,
    littleEndian: options.littleEndian ?? false,
    headerBytes: options.headerBytes ?? 0,
    adjustment,
    maxLength: options.maxLength ?? defaultLimit
  }))
}

/** @internal */
export const varintPrefixed = (
  options: Api.VarintPrefixedOptions = {}
): Api.Framing<Uint8Array | string, Uint8Array> => {
  orThrow(argument.positive("varintPrefixed: maxLength", options.maxLength))
  return ofBytes(varintCodec(options.maxLength ?? defaultLimit))
}

/** @internal */
export const delimited = (
  separator: Uint8Array | string,
  options: Api.DelimitedOptions = {}
): Api.Framing<Uint8Array | string, Uint8Array> => {
  orThrow(
    typeof separator === "string" || isBytes(separator)
      ? undefined
      : `delimited: separator must be a Uint8Array or a string, got ${typeof separator}`,
    separator.length === 0 ? "delimited: separator must not be empty" : undefined,
    argument.positive("delimited: maxLength", options.maxLength)
  )
  // A copy: `toBytes` gives a view, or the very bytes.
  return ofBytes(separatedCodec(new Uint8Array(toBytes(separator)), options.maxLength ?? defaultLimit))
}

/** @internal */
export const fixed = (length: number): Api.Framing<Uint8Array | string, Uint8Array> => {
  orThrow(argument.given("fixed: length", length), argument.positive("fixed: length", length))
  return ofBytes(fixedCodec(length))
}

const utf8 = new TextDecoding("utf-8")
const toText: Step = (bytes: Bytes) => utf8.decode(bytes)
const fromText: Step = (text: unknown) => {
  if (typeof text !== "string") {
    throw new Cause.IllegalArgumentException(`Framing.write: a text must be a string, got ${typeof text}`)
  }
  return encodeUtf8(text)
}

/** @internal */
export const lines = (options: Api.LinesOptions = {}): Api.Framing<string, string> => {
  orThrow(
    argument.oneOf("lines: eol", options.eol, ["\n", "\r\n"]),
    argument.oneOf("lines: lastLine", options.lastLine, ["fail", "emit"]),
    argument.positive("lines: maxLength", options.maxLength)
  )
  const codec = lineCodec(
    new Uint8Array(encodeUtf8(options.eol ?? "\n")),
    options.maxLength ?? defaultLimit,
    options.lastLine === "emit"
  )
  return new FramingImpl(codec, toText, fromText, true)
}

/** @internal */
export const text = <R>(self: Api.Framing<Uint8Array, Uint8Array, R>): Api.Framing<string, string, R> =>
  mapBoth(self, { decode: toText as (bytes: Uint8Array) => string, encode: fromText as (text: string) => Uint8Array })

/** @internal */
export const map: {
  <Out, Out2>(
    f: (message: Out) => Out2
  ): <In, R>(self: Api.Framing<In, Out, R>) => Api.Framing<In, Out2, R>
  <In, Out, R, Out2>(self: Api.Framing<In, Out, R>, f: (message: Out) => Out2): Api.Framing<In, Out2, R>
} = dual(2, (self: Api.Framing<any, any, any>, f: Step) => {
  const { codec, decode, encode, total } = implOf(self)
  return new FramingImpl(codec, andThen(decode, f), encode, total)
})

/** @internal */
export const mapInput: {
  <In2, In>(
    f: (message: In2) => In
  ): <Out, R>(self: Api.Framing<In, Out, R>) => Api.Framing<In2, Out, R>
  <In, Out, R, In2>(self: Api.Framing<In, Out, R>, f: (message: In2) => In): Api.Framing<In2, Out, R>
} = dual(2, (self: Api.Framing<any, any, any>, f: Step) => {
  const { codec, decode, encode, total } = implOf(self)
  return new FramingImpl(codec, decode, encode === undefined ? f : andThen(f, encode), total)
})

/** @internal */
export const mapBoth: {
  <Out, Out2, In2, In>(options: {
    readonly decode: (message: Out) => Out2
    readonly encode: (message: In2) => In
  }): <R>(self: Api.Framing<In, Out, R>) => Api.Framing<In2, Out2, R>
  <In, Out, R, Out2, In2>(self: Api.Framing<In, Out, R>, options: {
    readonly decode: (message: Out) => Out2
    readonly encode: (message: In2) => In
  }): Api.Framing<In2, Out2, R>
} = dual(
  2,
  (self: Api.Framing<any, any, any>, options: { readonly decode: Step; readonly encode: Step }) =>
    mapInput(map(self, options.decode), options.encode)
)

/** A schema's own way: an `Either` where nothing has to be waited for. */
const schemaStep =
  (run: (input: unknown) => Effect.Effect<unknown, ParseResult.ParseIssue, any>, what: string): Step => (input) => {
    const refusal = (issue: ParseResult.ParseIssue): Refusal =>
      new Refusal(
        "InvalidContent",
        `${what} is not what the schema wants: ${ParseResult.TreeFormatter.formatIssueSync(issue)}`,
        ParseResult.parseError(issue)
      )
    const result = run(input)
    return !Either.isEither(result)
      ? new Suspended(Effect.mapError(result, refusal))
      : Either.isRight(result)
      ? result.right
      : refusal(result.left as ParseResult.ParseIssue)
  }

/** @internal */
export const schema: {
  <A, I, R>(
    schema: Schema.Schema<A, I, R>
  ): <R2>(self: Api.Framing<I, I, R2>) => Api.Framing<A, A, R | R2>
  <A, I, R, R2>(self: Api.Framing<I, I, R2>, schema: Schema.Schema<A, I, R>): Api.Framing<A, A, R | R2>
} = dual(2, (self: Api.Framing<any, any, any>, schema: Schema.Schema<any, any, any>) => {
  const { codec, decode, encode } = implOf(self)
  const fromFrame = schemaStep(ParseResult.decodeUnknown(schema), "what is in the frame")
  const toFrame = schemaStep(ParseResult.encodeUnknown(schema), "the message")
  return new FramingImpl(
    codec,
    andThen(decode, fromFrame),
    encode === undefined ? toFrame : andThen(toFrame, encode),
    false
  )
})

/** @internal */
export const json: {
  <A, I, R>(
    schema: Schema.Schema<A, I, R>
  ): <R2>(self: Api.Framing<Uint8Array, Uint8Array, R2>) => Api.Framing<A, A, R | R2>
  <A, I, R, R2>(
    self: Api.Framing<Uint8Array, Uint8Array, R2>,
    schema: Schema.Schema<A, I, R>
  ): Api.Framing<A, A, R | R2>
} = dual(
  2,
  (self: Api.Framing<Uint8Array, Uint8Array, any>, message: Schema.Schema<any, any, any>) =>
    schema(text(self), Schema.parseJson(message))
)

/** @internal */
export const ndjson = <A, I, R>(
  message: Schema.Schema<A, I, R>,
  options?: Api.LinesOptions | undefined
): Api.Framing<A, A, R> => schema(lines(options), Schema.parseJson(message))

// ---------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------

const causeOf = (cause: unknown) => cause === undefined ? {} : { cause }

const malformed = (fault: Malformed, remoteAddress: Address | undefined): FramingError =>
  new FramingError({
    reason: fault.reason,
    operation: "read",
    detail: fault.detail,
    frame: Option.fromNullable(fault.frame),
    remoteAddress: Option.fromNullable(remoteAddress),
    ...causeOf(fault.cause)
  }, { disableValidation: true })

type AnyReader = StreamReaderImpl<any, any>

/** A read of frames: its faults are those of a reader, and what is no frame besides. */
abstract class FrameOperation<A> extends ReadOperation<A, any> {
  protected readonly decoder: FrameDecoder

  constructor(
    private readonly reader: AnyReader,
    protected readonly framing: FramingImpl,
    readonly name: string,
    decoder = framing.codec.decoder(reader.input)
  ) {
    super(reader.place)
    this.decoder = decoder
  }

  override get wanted(): number {
    return this.decoder.wanted
  }

  override fail(fault: ReadFault): Exit.Exit<never, any> {
    return fault instanceof Malformed ? Exit.fail(malformed(fault, this.reader.remoteAddress)) : super.fail(fault)
  }

  /** Takes the frame that was located, and makes of it what it stands for. */
  protected take(): unknown | Malformed | Suspended {
    const { decoder, framing: { decode, total }, place: { input } } = this
    if (decode === undefined) {
      return decoder.take()
    }
    if (total) {
      return decode(decoder.take())
    }
    const { from, size } = decoder
    const bytes = input.take(decoder.total)
    const frame = bytes.subarray(from, from + size)
    const refused = (refusal: Refusal) => new Malformed("InvalidContent", refusal.detail, frame, refusal.cause)
    const message = decode(frame)
    return message instanceof Refusal
      ? refused(message)
      : message instanceof Suspended
      ? new Suspended(
        message.effect.pipe(
          Effect.catchAll((refusal) => this.fail(refused(refusal))),
          Effect.onInterrupt(() => Effect.sync(() => input.unread(bytes)))
        )
      )
      : message
  }
}

/** One frame, or `None` at the end. */
class ReadFrame extends FrameOperation<Option.Option<unknown> | Suspended> {
  attempt(): Outcome<Option.Option<unknown> | Suspended> {
    const located = this.decoder.locate()
    if (located !== true) {
      return located === endOfFrames ? none : located
    }
    const message = this.take()
    return this.framing.total
      ? some(message)
      : message instanceof Malformed || message instanceof Suspended
      ? message
      : some(message)
  }
}

const none: Option.Option<unknown> = Option.none()

/** One that is nothing but bytes, which is read the most often: what it gives is never a fault. */
class ReadBytes extends ReadFrame {
  override [Symbol.iterator](): Effect.EffectGenerator<Effect.Effect<any, any>> {
    const { decoder, place } = this
    if (!place.mayServe(this)) {
      return new YieldOnce(this)
    }
    const located = decoder.locate()
    return located === true ? served.with(some(decoder.take())) : this.instead(located)
  }

  /** There is no frame, or not yet. */
  private instead(
    located: ReadFault | typeof endOfFrames | undefined
  ): Effect.EffectGenerator<Effect.Effect<any, any>> {
    return located === undefined
      ? new YieldOnce(this.place.wait(this))
      : located === endOfFrames
      ? served.with(none)
      : new YieldOnce(this.fail(located))
  }
}

const readEffect = (
  reader: AnyReader,
  framing: FramingImpl,
  name: string
): Effect.Effect<Option.Option<any>, any, any> => {
  const read = framing.decode === undefined
    ? new ReadBytes(reader, framing, name)
    : new ReadFrame(reader, framing, name)
  return framing.total
    ? read as Effect.Effect<any, any>
    : Effect.flatMap(read, (message) =>
      message instanceof Suspended
        ? Effect.map(message.effect, Option.some)
        : Exit.succeed(message))
}

/** What a reader keeps of the framing that it was last read by. */
class Frames {
  readonly read: Effect.Effect<Option.Option<any>, any, any>
  constructor(reader: AnyReader, readonly framing: FramingImpl) {
    this.read = readEffect(reader, framing, "Framing.read")
  }
}

const firstRead = (
  reader: StreamReader.StreamReader<any>,
  framing: AnyFraming
): Effect.Effect<Option.Option<any>, any, any> => {
  const problem = !isStreamReader(reader)
    ? `Framing.read: reader must be a StreamReader, got ${typeof reader}`
    : isFraming(framing)
    ? undefined
    : `Framing.read: framing must be a Framing, got ${typeof framing}`
  if (problem !== undefined) {
    return argument.illegal(problem)
  }
  const frames = new Frames(reader as AnyReader, implOf(framing))
  ;(reader as AnyReader).frames = frames
  return frames.read
}

/** @internal */
export const read: {
  <Out, R>(
    framing: Api.Framing<never, Out, R>
  ): <E>(reader: StreamReader.StreamReader<E>) => Effect.Effect<Option.Option<Out>, Api.ReadError | E, R>
  <E, Out, R>(
    reader: StreamReader.StreamReader<E>,
    framing: Api.Framing<never, Out, R>
  ): Effect.Effect<Option.Option<Out>, Api.ReadError | E, R>
} = dual(
  2,
  (reader: StreamReader.StreamReader<any>, framing: Api.Framing<never, any, any>) => {
    const kept = (reader as AnyReader).frames as Frames | undefined
    return kept !== undefined && kept.framing === framing ? kept.read : firstRead(reader, framing)
  }
)

/** Bytes that are taken for a batch, give or take a frame. */
const batchBytes = 65_536

type Batch = ReadonlyArray<unknown> | typeof endOfLines | Effect.Effect<unknown, any, any>

/** What the pulls of one stream have in common: what was met behind frames that are handed out before it. */
interface Pulling {
  readonly decoder: FrameDecoder
  met: ReadFault | Suspended | undefined
}

/** The frames that have arrived, at least one; where they are many, some 64 KiB of them. */
class PullFrames extends FrameOperation<Batch> {
  constructor(
    reader: AnyReader,
    framing: FramingImpl,
    private readonly pulling: Pulling,
    private readonly ahead: boolean
  ) {
    super(reader, framing, "Framing.stream", pulling.decoder)
  }

  override get readsAhead(): boolean {
    return this.ahead
  }

  attempt(): Outcome<Batch> {
    const { decoder, framing: { total }, place: { input: { queue } }, pulling } = this
    const { met } = pulling
    if (met !== undefined) {
      pulling.met = undefined
      return met instanceof Suspended ? met.effect : met
    }
    const frames: Array<unknown> = youngArray()
    const enough = queue.position + batchBytes
    do {
      const located = decoder.locate()
      if (located !== true) {
        return this.afterwards(frames, located === endOfFrames ? endOfLines : located)
      }
      const message = this.take()
      if (!total && (message instanceof Malformed || message instanceof Suspended)) {
        return this.afterwards(frames, message)
      }
      frames.push(message)
    } while (queue.position < enough)
    return frames
  }

  /** What comes behind the frames, which may have been consumed with what was met, has its turn after them. */
  private afterwards(
    frames: ReadonlyArray<unknown>,
    next: ReadFault | Suspended | typeof endOfLines | undefined
  ): Outcome<Batch> {
    if (frames.length === 0) {
      return next instanceof Suspended ? next.effect : next
    }
    if (next !== undefined && next !== endOfLines) {
      this.pulling.met = next
    }
    return frames
  }
}

const streamOf = (
  reader: StreamReader.StreamReader<any>,
  framing: Api.Framing<never, any, any>,
  options: Api.StreamOptions | undefined
): Stream.Stream<any, any, any> => {
  const problem = argument.oneOf("Framing.stream: readAhead", options?.readAhead, [true, false]) ??
    (isFraming(framing) ? undefined : `Framing.stream: framing must be a Framing, got ${typeof framing}`)
  if (problem !== undefined) {
    return Stream.fromEffect(argument.illegal(problem))
  }
  const source = reader as AnyReader
  const impl = implOf(framing)
  return Stream.fromChannel(Channel.suspend(() => {
    if (options?.readAhead === false) {
      return oneByOne(Effect.map(
        readEffect(source, impl, "Framing.stream"),
        (message) => Option.isSome(message) ? message.value : endOfLines
      ))
    }
    const pulling: Pulling = { decoder: impl.codec.decoder(source.input), met: undefined }
    return readingAhead(
      source.place,
      // The first pull is a read like any other, and dies where another stream has the reader.
      new PullFrames(source, impl, pulling, false),
      new PullFrames(source, impl, pulling, true)
    )
  }))
}

/** @internal */
export const stream: {
  <Out, R>(
    framing: Api.Framing<never, Out, R>,
    options?: Api.StreamOptions | undefined
  ): <E>(reader: StreamReader.StreamReader<E>) => Stream.Stream<Out, Api.ReadError | E, R>
  <E, Out, R>(
    reader: StreamReader.StreamReader<E>,
    framing: Api.Framing<never, Out, R>,
    options?: Api.StreamOptions | undefined
  ): Stream.Stream<Out, Api.ReadError | E, R>
} = dual((args) => isStreamReader(args[0]), streamOf)

// ---------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------

type Writing = Effect.Effect<void, FramingError | ConnectionError, any>

const refused = (writer: StreamWriterImpl, refusal: Refusal): Exit.Exit<never, FramingError> =>
  Exit.fail(
    new FramingError({
      reason: refusal.reason,
      operation: "write",
      detail: refusal.detail,
      frame: Option.none(),
      remoteAddress: Option.some(writer.remoteAddress),
      ...causeOf(refusal.cause)
    }, { disableValidation: true })
  )

/** Writes what was made, when it has been made. */
const whenMade = (writer: StreamWriterImpl, effect: Effect.Effect<ReadonlyArray<Bytes>, Refusal, any>): Writing =>
  Effect.matchEffect(effect, {
    onFailure: (refusal) => refused(writer, refusal),
    onSuccess: (chunks) => writer.start(chunks) ?? Exit.void
  })

class WriteFrame extends Effectable.Class<void, FramingError | ConnectionError, any> {
  constructor(
    private readonly writer: StreamWriterImpl,
    private readonly framing: FramingImpl,
    private readonly value: unknown
  ) {
    super()
  }

  /** `undefined` when that was all, else what is left to do. */
  private start(): Writing | undefined {
    const { framing, value, writer } = this
    const chunks = framing.chunksOf(value)
    return chunks instanceof Refusal
      ? refused(writer, chunks)
      : chunks instanceof Suspended
      ? whenMade(writer, chunks.effect)
      : writer.start(chunks)
  }

  override commit(): Writing {
    return this.start() ?? Exit.void
  }

  /** A write that need not wait completes inside `yield*`. */
  override [Symbol.iterator](): Effect.EffectGenerator<Writing> {
    const rest = this.start()
    return rest === undefined
      ? served.with(undefined)
      : new YieldOnce(rest as Effect.Effect<void, FramingError | ConnectionError>)
  }
}

const checked = (writer: StreamWriter.StreamWriter, framing: Api.Framing<any, any, any>): argument.Problem =>
  isStreamWriter(writer)
    ? isFraming(framing) ? undefined : `Framing.write: framing must be a Framing, got ${typeof framing}`
    : `Framing.write: writer must be a StreamWriter, got ${typeof writer}`

/** @internal */
export const write: {
  <In, R>(
    framing: Api.Framing<In, unknown, R>,
    message: In
  ): (writer: StreamWriter.StreamWriter) => Effect.Effect<void, Api.WriteError, R>
  <In, R>(
    writer: StreamWriter.StreamWriter,
    framing: Api.Framing<In, unknown, R>,
    message: In
  ): Effect.Effect<void, Api.WriteError, R>
} = dual(3, (writer: StreamWriter.StreamWriter, framing: Api.Framing<any, unknown, any>, message: unknown): Writing => {
  const problem = checked(writer, framing)
  return problem === undefined
    ? new WriteFrame(writer as StreamWriterImpl, implOf(framing), message)
    : argument.illegal(problem)
})

/** All of them in one piece, or none. */
const writeList = (writer: StreamWriterImpl, framing: FramingImpl, messages: ReadonlyArray<unknown>): Writing => {
  const all: Array<Bytes> = []
  for (const message of messages) {
    const chunks = framing.chunksOf(message)
    if (chunks instanceof Refusal) {
      return refused(writer, chunks)
    }
    if (chunks instanceof Suspended) {
      const each = Effect.forEach(messages, (message) => settled(framing.chunksOf(message)))
      return whenMade(writer, Effect.map(each, (chunks) => (chunks as Array<Array<Bytes>>).flat()))
    }
    for (const chunk of chunks) {
      all.push(chunk)
    }
  }
  return writer.start(all) ?? Exit.void
}

/** @internal */
export const writeAll: {
  <In, R>(
    framing: Api.Framing<In, unknown, R>,
    messages: Iterable<In>
  ): (writer: StreamWriter.StreamWriter) => Effect.Effect<void, Api.WriteError, R>
  <In, R>(
    writer: StreamWriter.StreamWriter,
    framing: Api.Framing<In, unknown, R>,
    messages: Iterable<In>
  ): Effect.Effect<void, Api.WriteError, R>
} = dual(
  3,
  (
    writer: StreamWriter.StreamWriter,
    framing: Api.Framing<any, unknown, any>,
    messages: Iterable<unknown>
  ): Writing => {
    const problem = checked(writer, framing)
    return problem === undefined
      ? Effect.suspend(() => writeList(writer as StreamWriterImpl, implOf(framing), Array.from(messages)))
      : argument.illegal(problem)
  }
)

/** As many as can be written, and how that ends: what becomes of a message must not depend on the chunk it is in. */
const writeChunk = (writer: StreamWriterImpl, framing: FramingImpl, messages: ReadonlyArray<unknown>): Writing => {
  const all: Array<Bytes> = []
  for (let i = 0; i < messages.length; i++) {
    const chunks = framing.chunksOf(messages[i])
    if (chunks instanceof Refusal) {
      return Effect.zipRight(writer.start(all) ?? Exit.void, refused(writer, chunks))
    }
    if (chunks instanceof Suspended) {
      return Effect.zipRight(
        writer.start(all) ?? Exit.void,
        Effect.zipRight(
          whenMade(writer, chunks.effect),
          Effect.suspend(() => writeChunk(writer, framing, messages.slice(i + 1)))
        )
      )
    }
    for (const chunk of chunks) {
      all.push(chunk)
    }
  }
  return writer.start(all) ?? Exit.void
}

/** @internal */
export const sink: {
  <In, R>(
    framing: Api.Framing<In, unknown, R>
  ): (writer: StreamWriter.StreamWriter) => Sink.Sink<void, In, never, Api.WriteError, R>
  <In, R>(
    writer: StreamWriter.StreamWriter,
    framing: Api.Framing<In, unknown, R>
  ): Sink.Sink<void, In, never, Api.WriteError, R>
} = dual(2, (writer: StreamWriter.StreamWriter, framing: Api.Framing<any, unknown, any>) => {
  const problem = checked(writer, framing)
  return problem === undefined
    ? Sink.forEachChunk((chunk: Chunk.Chunk<unknown>) =>
      Effect.suspend(() => writeChunk(writer as StreamWriterImpl, implOf(framing), Chunk.toReadonlyArray(chunk)))
    )
    : Sink.fromEffect(argument.illegal(problem))
})

/** @internal */
export const framed: {
  <In, Out, R>(
    framing: Api.Framing<In, Out, R>
  ): (connection: Pick<Connection.Connection, "reader" | "writer">) => Api.Framed<In, Out, R>
  <In, Out, R>(
    connection: Pick<Connection.Connection, "reader" | "writer">,
    framing: Api.Framing<In, Out, R>
  ): Api.Framed<In, Out, R>
} = dual(
  2,
  <In, Out, R>(
    { reader, writer }: Pick<Connection.Connection, "reader" | "writer">,
    framing: Api.Framing<In, Out, R>
  ): Api.Framed<In, Out, R> => ({
    read: read(reader, framing),
    stream: (options) => stream(reader, framing, options),
    write: (message) => write(writer, framing, message),
    writeAll: (messages) => writeAll(writer, framing, messages),
    sink: sink(writer, framing)
  })
)
