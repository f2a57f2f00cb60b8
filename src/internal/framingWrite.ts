/**
 * Writing messages, each in one piece; and reading and writing those of one connection.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Sink from "effect/Sink"
import type * as Connection from "../Connection.js"
import type * as Api from "../Framing.js"
import { type ConnectionError, FramingError } from "../NetworkError.js"
import type * as StreamWriter from "../StreamWriter.js"
import * as argument from "./argument.js"
import { type Bytes } from "./bytes.js"
import { served, YieldOnce } from "./fastPath.js"
import { causeOf, type FramingImpl, implOf, isFraming, settled, Suspended } from "./framing.js"
import { Refusal } from "./framingCodec.js"
import { read, stream } from "./framingRead.js"
import { isStreamWriter, type StreamWriterImpl } from "./streamWriter.js"

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
