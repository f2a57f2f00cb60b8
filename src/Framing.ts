/**
 * Messages over a stream of bytes: by length, by separator, by line, as text or as JSON.
 *
 * A `Framing` is a value that says how messages lie in the bytes, for both directions. `read` takes the next one, `stream`
 * all of them, `write` sends one. The rules of `StreamReader` hold for every framing: nothing depends on how the bytes were
 * cut into chunks, a read that is interrupted leaves every byte, what was received comes before the error behind it, one
 * fiber reads at a time, and memory is bounded, by `maxLength` here: a length that promises more is an error before
 * there is memory for it.
 *
 * | what is spoken | framing |
 * |---|---|
 * | Kafka, Thrift (framed), many of one's own | `lengthPrefixed()` |
 * | DNS over TCP, RTP (RFC 4571) | `lengthPrefixed({ lengthBytes: 2 })` |
 * | native messaging of browsers | `lengthPrefixed({ littleEndian: true })`, of `json` |
 * | AMQP 1.0, SMPP, PostgreSQL's first message: the length counts itself | `lengthPrefixed({ adjustment: -4 })` |
 * | PostgreSQL: a type, then a length that counts itself | `lengthPrefixed({ headerBytes: 1, adjustment: -4 })` |
 * | gRPC: a flag, then a length | `lengthPrefixed({ headerBytes: 1 })` |
 * | MySQL: the length does not count the number behind it | `lengthPrefixed({ lengthBytes: 3, littleEndian: true, adjustment: 1 })` |
 * | HTTP/2: nor the six bytes behind it | `lengthPrefixed({ lengthBytes: 3, adjustment: 6 })` |
 * | AMQP 0-9-1: type and channel, length, and an end that it does not count | `lengthPrefixed({ headerBytes: 3, adjustment: 1 })` |
 * | Cassandra (v4): five bytes, then the length | `lengthPrefixed({ headerBytes: 5 })` |
 * | BGP: 16 bytes, then the length of everything | `lengthPrefixed({ headerBytes: 16, lengthBytes: 2, adjustment: -18 })` |
 * | TLS records: three bytes, then a length | `lengthPrefixed({ headerBytes: 3, lengthBytes: 2 })` |
 * | protobuf's delimited messages | `varintPrefixed()` |
 * | XML sockets, `find -print0` | `delimited("\0")` |
 * | most protocols of text | `lines({ eol: "\r\n" })` |
 * | JSON by line: NDJSON, JSON Lines, MCP over stdio | `ndjson(schema)` |
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { Pipeable } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import type * as Connection from "./Connection.js"
import * as internal from "./internal/framing.js"
import * as reading from "./internal/framingRead.js"
import * as writing from "./internal/framingWrite.js"
import type { ConnectionError, FramingError, IncompleteReadError, LimitOverrunError } from "./NetworkError.js"
import type * as StreamReader from "./StreamReader.js"
import type * as StreamWriter from "./StreamWriter.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = internal.TypeId

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * How messages lie in a stream of bytes: `In` is what is written, `Out` what is read, and `R` what a schema needs for it.
 *
 * **Details**
 *
 * It has no state, so one does for any number of connections. Make it once, where the protocol is described: a reader
 * keeps what it needs for the framing that it was last read by.
 *
 * @since 0.1.0
 * @category models
 */
export interface Framing<in In, out Out, out R = never> extends Pipeable {
  readonly [TypeId]: {
    readonly _In: Types.Contravariant<In>
    readonly _Out: Types.Covariant<Out>
    readonly _R: Types.Covariant<R>
  }
}

/**
 * What reading adds to the errors of the reader.
 *
 * **Details**
 *
 * `IncompleteReadError`: the stream ended within a frame; what was there of it is in `partial`, and consumed.
 * `LimitOverrunError`: the frame is longer than `maxLength`; nothing was consumed. `FramingError`: see its reasons.
 *
 * @since 0.1.0
 * @category models
 */
export type ReadError = IncompleteReadError | LimitOverrunError | FramingError

/**
 * How writing fails: the message can't be framed, and nothing of it was written, or the connection has ended.
 *
 * @since 0.1.0
 * @category models
 */
export type WriteError = FramingError | ConnectionError

/**
 * Whether something is a framing.
 *
 * @since 0.1.0
 * @category guards
 */
export const isFraming: (u: unknown) => u is Framing<never, unknown, unknown> = internal.isFraming

// ---------------------------------------------------------------------------
// constructors
// ---------------------------------------------------------------------------

/**
 * How long frames may be.
 *
 * @since 0.1.0
 * @category options
 */
export interface VarintPrefixedOptions {
  /** Bytes of a frame as it is read and written: 65 536. */
  readonly maxLength?: number | undefined
}

/**
 * How long frames may be.
 *
 * @since 0.1.0
 * @category options
 */
export interface DelimitedOptions {
  /** Bytes of a frame, without the separator: 65 536. */
  readonly maxLength?: number | undefined
}

/**
 * Where the length of a frame is, and what it counts. The table at the top has examples.
 *
 * @since 0.1.0
 * @category options
 */
export interface LengthPrefixedOptions {
  /** Bytes of the length, which is unsigned: 4. */
  readonly lengthBytes?: 1 | 2 | 3 | 4 | 8 | undefined
  /** Whether its lowest byte comes first: false. */
  readonly littleEndian?: boolean | undefined
  /**
   * Bytes before the length: 0. They belong to the frame, so where there are any, it is handed out whole, with them and
   * the length, and written so: what stands in the place of the length is not looked at, and the right one is sent.
   */
  readonly headerBytes?: number | undefined
  /**
   * What is to be added to the length to have the number of bytes that follow it: 0. Negative where the length counts
   * itself or what is before it, positive where it does not count all that is behind it.
   */
  readonly adjustment?: number | undefined
  /** Bytes of a frame as it is read and written: 65 536. */
  readonly maxLength?: number | undefined
}

/**
 * How lines are read and written.
 *
 * @since 0.1.0
 * @category options
 */
export interface LinesOptions {
  /** What ends a line that is written: `"\n"`. Those that are read may end with either. */
  readonly eol?: "\n" | "\r\n" | undefined
  /** Bytes of a line, without its end: 65 536. */
  readonly maxLength?: number | undefined
  /**
   * What becomes of a last line without its end, which may be half of one: `"fail"` with an `IncompleteReadError` that
   * has it (the default), or `"emit"` it.
   */
  readonly lastLine?: "fail" | "emit" | undefined
}

/**
 * Frames behind their length.
 *
 * **Details**
 *
 * Written strings are sent as UTF-8. A frame that is read is a view of the chunk it came in, where it can be.
 *
 * A length that promises more than `maxLength` is a `LimitOverrunError`, and one that is negative after `adjustment` a
 * `FramingError`. Both leave everything where it is, so that the same read fails again: the connection is to be closed.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { type Connection, Framing } from "effect-netstreams"
 * import { Effect, Option } from "effect"
 *
 * const frames = Framing.lengthPrefixed({ maxLength: 1024 * 1024 })
 *
 * const echo = ({ reader, writer }: Connection.Connection) =>
 *   Effect.gen(function*() {
 *     while (true) {
 *       const frame = yield* Framing.read(reader, frames)
 *       if (Option.isNone(frame)) {
 *         return // the peer has ended, between two frames
 *       }
 *       yield* Framing.write(writer, frames, frame.value)
 *     }
 *   })
 * ```
 */
export const lengthPrefixed: (
  options?: LengthPrefixedOptions | undefined
) => Framing<Uint8Array | string, Uint8Array> = internal.lengthPrefixed

/**
 * Frames behind their length as a varint, of seven bits a byte, the lowest first (LEB128), as protobuf's
 * `writeDelimitedTo` has them. Otherwise as `lengthPrefixed`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const varintPrefixed: (
  options?: VarintPrefixedOptions | undefined
) => Framing<Uint8Array | string, Uint8Array> = internal.varintPrefixed

/**
 * Frames with a separator behind each, which is no part of them.
 *
 * **Details**
 *
 * What comes after the last separator is no frame: an `IncompleteReadError` has it. A frame that contains the separator, or
 * ends so that one would begin before its end, can't be written: a `FramingError`, `"ContainsSeparator"`.
 *
 * After a `LimitOverrunError`, `reader.skipUntil(separator)` is the way on.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Framing, type StreamReader } from "effect-netstreams"
 * import { Stream } from "effect"
 *
 * // The output of `find -print0`.
 * const paths = (reader: StreamReader.StreamReader) =>
 *   Framing.stream(reader, Framing.text(Framing.delimited("\0"))).pipe(Stream.filter((path) => path.endsWith(".ts")))
 * ```
 */
export const delimited: (
  separator: Uint8Array | string,
  options?: DelimitedOptions | undefined
) => Framing<Uint8Array | string, Uint8Array> = internal.delimited

/**
 * Frames that all have the same number of bytes, which may be more than the limit of the reader.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fixed: (length: number) => Framing<Uint8Array | string, Uint8Array> = internal.fixed

/**
 * Lines of text in UTF-8, without their ends.
 *
 * **Details**
 *
 * What is no UTF-8 becomes U+FFFD. A text with a line feed in it, or with a carriage return at its end where `eol` is
 * `"\n"`, would not be read as it was, so it can't be written: a `FramingError`, `"ContainsSeparator"`.
 *
 * `reader.lines` is for text that is only to be read: it knows other encodings, and does with long lines and the last one
 * as it is told.
 *
 * @since 0.1.0
 * @category constructors
 */
export const lines: (options?: LinesOptions | undefined) => Framing<string, string> = internal.lines

/**
 * A JSON document a line, as NDJSON and JSON Lines have it, through a schema both ways.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { type Connection, Framing } from "effect-netstreams"
 * import { Schema, Stream } from "effect"
 *
 * class Sum extends Schema.Class<Sum>("Sum")({ terms: Schema.Array(Schema.Number) }) {}
 *
 * const add = ({ reader, writer }: Connection.Connection) =>
 *   Framing.stream(reader, Framing.ndjson(Sum)).pipe(
 *     Stream.map(({ terms }) => terms.reduce((a, b) => a + b, 0)),
 *     Stream.run(Framing.sink(writer, Framing.ndjson(Schema.Number)))
 *   )
 * ```
 */
export const ndjson: <A, I, R>(
  message: Schema.Schema<A, I, R>,
  options?: LinesOptions | undefined
) => Framing<A, A, R> = internal.ndjson

// ---------------------------------------------------------------------------
// combinators
// ---------------------------------------------------------------------------

/**
 * Makes something else of what is read, by a function that has a result for all of it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const map: {
  <Out, Out2>(f: (message: Out) => Out2): <In, R>(self: Framing<In, Out, R>) => Framing<In, Out2, R>
  <In, Out, R, Out2>(self: Framing<In, Out, R>, f: (message: Out) => Out2): Framing<In, Out2, R>
} = internal.map

/**
 * Takes something else to be written, by a function that has a result for all of it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const mapInput: {
  <In2, In>(f: (message: In2) => In): <Out, R>(self: Framing<In, Out, R>) => Framing<In2, Out, R>
  <In, Out, R, In2>(self: Framing<In, Out, R>, f: (message: In2) => In): Framing<In2, Out, R>
} = internal.mapInput

/**
 * `map` and `mapInput` at once.
 *
 * @since 0.1.0
 * @category combinators
 * @example
 * ```ts
 * import { Framing } from "effect-netstreams"
 *
 * interface Message {
 *   readonly type: string
 *   readonly body: Uint8Array
 * }
 *
 * // PostgreSQL: a letter, a length that counts itself, and the rest.
 * const messages = Framing.lengthPrefixed({ headerBytes: 1, adjustment: -4 }).pipe(
 *   Framing.mapBoth({
 *     decode: (frame): Message => ({ type: String.fromCharCode(frame[0]!), body: frame.subarray(5) }),
 *     encode: ({ body, type }: Message) => {
 *       const frame = new Uint8Array(5 + body.length) // the length is filled in
 *       frame[0] = type.charCodeAt(0)
 *       frame.set(body, 5)
 *       return frame
 *     }
 *   })
 * )
 * ```
 */
export const mapBoth: {
  <Out, Out2, In2, In>(options: {
    readonly decode: (message: Out) => Out2
    readonly encode: (message: In2) => In
  }): <R>(self: Framing<In, Out, R>) => Framing<In2, Out2, R>
  <In, Out, R, Out2, In2>(self: Framing<In, Out, R>, options: {
    readonly decode: (message: Out) => Out2
    readonly encode: (message: In2) => In
  }): Framing<In2, Out2, R>
} = internal.mapBoth

/**
 * Frames of bytes as text in UTF-8. What is no UTF-8 becomes U+FFFD.
 *
 * @since 0.1.0
 * @category combinators
 */
export const text: <R>(self: Framing<Uint8Array, Uint8Array, R>) => Framing<string, string, R> = internal.text

/**
 * Puts a schema over what is read and written.
 *
 * **Details**
 *
 * What the schema does not accept is a `FramingError`, `"InvalidContent"`. Reading has consumed the frame then, which is in
 * the error, and goes on behind it. Writing has written nothing of the message.
 *
 * **Interruption**: where the schema has something to wait for, and that is interrupted, `read` puts the frame back.
 *
 * @since 0.1.0
 * @category combinators
 * @example
 * ```ts
 * import { Framing } from "effect-netstreams"
 * import { Schema } from "effect"
 *
 * const numbers = Framing.lines().pipe(Framing.schema(Schema.NumberFromString))
 * ```
 */
export const schema: {
  <A, I, R>(schema: Schema.Schema<A, I, R>): <R2>(self: Framing<I, I, R2>) => Framing<A, A, R | R2>
  <A, I, R, R2>(
    self: Framing<Types.NoInfer<I>, Types.NoInfer<I>, R2>,
    schema: Schema.Schema<A, I, R>
  ): Framing<A, A, R | R2>
} = internal.schema

/**
 * Frames of bytes as a JSON document each, in UTF-8, through a schema. For one a line see `ndjson`.
 *
 * @since 0.1.0
 * @category combinators
 * @example
 * ```ts
 * import { Framing } from "effect-netstreams"
 * import { Schema } from "effect"
 *
 * // What a browser and a program of its native messaging say to each other.
 * const messages = Framing.lengthPrefixed({ littleEndian: true, maxLength: 1024 * 1024 }).pipe(
 *   Framing.json(Schema.Struct({ text: Schema.String }))
 * )
 * ```
 */
export const json: {
  <A, I, R>(
    schema: Schema.Schema<A, I, R>
  ): <R2>(self: Framing<Uint8Array, Uint8Array, R2>) => Framing<A, A, R | R2>
  <A, I, R, R2>(
    self: Framing<Uint8Array, Uint8Array, R2>,
    schema: Schema.Schema<A, I, R>
  ): Framing<A, A, R | R2>
} = internal.json

// ---------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------

/**
 * Reads the next message. `None` where the stream has ended in order, between two of them.
 *
 * **Details**
 *
 * A frame may be longer than the limit of the reader; `maxLength` is what counts. Other reads of the reader may come before
 * and after.
 *
 * **Interruption** leaves every byte.
 *
 * **Errors**: `ReadError`, and how the source failed, once every whole frame that was received has been read.
 *
 * @since 0.1.0
 * @category reading
 * @example
 * ```ts
 * import { Framing, type StreamReader } from "effect-netstreams"
 * import { Effect, Option } from "effect"
 *
 * const dns = Framing.lengthPrefixed({ lengthBytes: 2 })
 *
 * const answer = (reader: StreamReader.StreamReader) =>
 *   Framing.read(reader, dns).pipe(
 *     Effect.timeout("5 seconds"),
 *     Effect.map(Option.getOrThrow)
 *   )
 * ```
 */
export const read: {
  <Out, R>(
    framing: Framing<never, Out, R>
  ): <E>(reader: StreamReader.StreamReader<E>) => Effect.Effect<Option.Option<Out>, ReadError | E, R>
  <E, Out, R>(
    reader: StreamReader.StreamReader<E>,
    framing: Framing<never, Out, R>
  ): Effect.Effect<Option.Option<Out>, ReadError | E, R>
} = reading.read

/**
 * How messages are streamed.
 *
 * @since 0.1.0
 * @category options
 */
export interface StreamOptions {
  /** Whether to read ahead: true. See `stream`. */
  readonly readAhead?: boolean | undefined
}

/**
 * The rest of the stream as messages.
 *
 * **Details**
 *
 * It reads ahead, as `reader.lines` does: it emits all whole frames that have arrived (some 64 KiB of them) as one chunk. It
 * takes the reader over, and where it is stopped before its end, frames may be gone with it, so that every later read
 * dies with `ReadAheadError`. A stream that fails by itself leaves the reader usable, with everything behind what it failed
 * with. `{ readAhead: false }` emits message by message and leaves the rest to the next read.
 *
 * **Errors**: as `read`, behind all messages that came before.
 *
 * @since 0.1.0
 * @category reading
 */
export const stream: {
  <Out, R>(
    framing: Framing<never, Out, R>,
    options?: StreamOptions | undefined
  ): <E>(reader: StreamReader.StreamReader<E>) => Stream.Stream<Out, ReadError | E, R>
  <E, Out, R>(
    reader: StreamReader.StreamReader<E>,
    framing: Framing<never, Out, R>,
    options?: StreamOptions | undefined
  ): Stream.Stream<Out, ReadError | E, R>
} = reading.stream

// ---------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------

/**
 * Writes a message whole, and waits while the write buffer is above its high-water mark, as `writer.write` does.
 *
 * **Details**
 *
 * Header and body go out as one. Bytes that are long, or need no header, are not copied, so that they must not be changed
 * until a `flush`.
 *
 * **Interruption**: as `writer.write`: it has been handed over whole, or not at all.
 *
 * **Errors**: `FramingError` where the message can't be framed; nothing of it was written, and the connection is as it was.
 *
 * @since 0.1.0
 * @category writing
 */
export const write: {
  <In, R>(
    framing: Framing<In, unknown, R>,
    message: In
  ): (writer: StreamWriter.StreamWriter) => Effect.Effect<void, WriteError, R>
  <In, R>(
    writer: StreamWriter.StreamWriter,
    framing: Framing<In, unknown, R>,
    message: In
  ): Effect.Effect<void, WriteError, R>
} = writing.write

/**
 * Writes several messages as one, gathered into one system call: all of them, or, where one can't be framed, none.
 *
 * @since 0.1.0
 * @category writing
 */
export const writeAll: {
  <In, R>(
    framing: Framing<In, unknown, R>,
    messages: Iterable<In>
  ): (writer: StreamWriter.StreamWriter) => Effect.Effect<void, WriteError, R>
  <In, R>(
    writer: StreamWriter.StreamWriter,
    framing: Framing<In, unknown, R>,
    messages: Iterable<In>
  ): Effect.Effect<void, WriteError, R>
} = writing.writeAll

/**
 * Writes all messages of a stream; those of a chunk are one gathered write. Where one can't be framed, those before it have
 * been written. Does not end the writing side.
 *
 * @since 0.1.0
 * @category writing
 */
export const sink: {
  <In, R>(
    framing: Framing<In, unknown, R>
  ): (writer: StreamWriter.StreamWriter) => Sink.Sink<void, In, never, WriteError, R>
  <In, R>(
    writer: StreamWriter.StreamWriter,
    framing: Framing<In, unknown, R>
  ): Sink.Sink<void, In, never, WriteError, R>
} = writing.sink

// ---------------------------------------------------------------------------
// both
// ---------------------------------------------------------------------------

/**
 * The two sides of a connection that speaks in messages.
 *
 * @since 0.1.0
 * @category models
 */
export interface Framed<in In, out Out, out R = never> {
  /** See `Framing.read`. */
  readonly read: Effect.Effect<Option.Option<Out>, ReadError | ConnectionError, R>
  /** See `Framing.stream`. */
  readonly stream: (options?: StreamOptions | undefined) => Stream.Stream<Out, ReadError | ConnectionError, R>
  /** See `Framing.write`. */
  readonly write: (message: In) => Effect.Effect<void, WriteError, R>
  /** See `Framing.writeAll`. */
  readonly writeAll: (messages: Iterable<In>) => Effect.Effect<void, WriteError, R>
  /** See `Framing.sink`. */
  readonly sink: Sink.Sink<void, In, never, WriteError, R>
}

/**
 * A connection that speaks in messages. It stays what it was, and whose it was: its scope closes it.
 *
 * @since 0.1.0
 * @category both
 * @example
 * ```ts
 * import { Framing, Network } from "effect-netstreams"
 * import { Effect, Schema } from "effect"
 *
 * const Request = Schema.Struct({ id: Schema.Number, method: Schema.String })
 *
 * const ask = Effect.gen(function*() {
 *   const connection = yield* Network.openConnection({ host: "localhost", port: 7000 })
 *   const { read, write } = Framing.framed(connection, Framing.ndjson(Request))
 *   yield* write({ id: 1, method: "ping" })
 *   return yield* read
 * }).pipe(Effect.scoped)
 * ```
 */
export const framed: {
  <In, Out, R>(
    framing: Framing<In, Out, R>
  ): (connection: Pick<Connection.Connection, "reader" | "writer">) => Framed<In, Out, R>
  <In, Out, R>(
    connection: Pick<Connection.Connection, "reader" | "writer">,
    framing: Framing<In, Out, R>
  ): Framed<In, Out, R>
} = writing.framed
