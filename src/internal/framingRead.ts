/**
 * Reading messages: one at a time, or as a `Stream` that reads ahead.
 */
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Address } from "../Address.js"
import type * as Api from "../Framing.js"
import { FramingError } from "../NetworkError.js"
import type * as StreamReader from "../StreamReader.js"
import * as argument from "./argument.js"
import { served, YieldOnce } from "./fastPath.js"
import { type AnyFraming, causeOf, type FramingImpl, implOf, isFraming, Suspended } from "./framing.js"
import { endOfFrames, type FrameDecoder, Malformed, Refusal } from "./framingCodec.js"
import type { ReadFault } from "./inputBuffer.js"
import { type Outcome } from "./inputBuffer.js"
import { endOfLines } from "./lineSplitter.js"
import { ReadOperation } from "./readOperation.js"
import { oneByOne, readingAhead } from "./readStream.js"
import { some } from "./some.js"
import { isStreamReader, type StreamReaderImpl } from "./streamReader.js"
import { youngArray } from "./youngArray.js"

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
