/**
 * Reading from a stream of bytes: some, exactly so many, up to a separator, line by line.
 *
 * A reader belongs to a connection, or is made from any `Stream` of bytes, or is fed by hand. These rules hold for all
 * of its operations:
 *
 * 1. Whether a read succeeds or overruns the limit does not depend on how the bytes were cut into chunks.
 * 2. Nothing is dropped in silence.
 * 3. A read that is interrupted, at any moment, leaves every byte for the next one. (In `Effect.timeout` and `Effect.race`
 *    it runs in a fiber of its own. One that has ended there has taken its bytes, and they go with it where the whole is
 *    interrupted in that moment: use them inside of the timeout where that matters.)
 * 4. What was received is delivered before the error, or the end, that came after it.
 * 5. One fiber waits at a time. A second read that would have to wait dies with `ConcurrentReadError`.
 * 6. What is buffered stays within twice the limit and one chunk, unless a read asks for more. A slow reader stops the
 *    peer.
 *
 * Bytes are handed out as views of the chunk they arrived in where they can be. A view keeps its chunk (up to 64 KiB)
 * alive: `slice()` what is small and kept for long.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as internal from "./internal/streamReader.js"
import type { ConnectionError, IncompleteReadError, LimitOverrunError } from "./NetworkError.js"

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
 * What ends a message: bytes, a string (as UTF-8), or several of them, of which the match that ends first wins, and of
 * two that end together the longer.
 *
 * @since 0.1.0
 * @category models
 */
export type Separator = string | Uint8Array | readonly [string | Uint8Array, ...Array<string | Uint8Array>]

/**
 * A number in the stream's bytes: itself the read of a big-endian one, and a function of `littleEndian`.
 *
 * **Errors**
 *
 * `IncompleteReadError` when the end comes first.
 *
 * @since 0.1.0
 * @category models
 * @example
 * ```ts
 * import type { StreamReader } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const frame = (reader: StreamReader.StreamReader) =>
 *   Effect.gen(function*() {
 *     const kind = yield* reader.readUint8
 *     const length = yield* reader.readUint32(true) // little-endian
 *     const body = yield* reader.readExactly(length)
 *     return { kind, body }
 *   })
 * ```
 */
export interface ReadNumber<out A, out E> extends Effect.Effect<A, IncompleteReadError | E> {
  (littleEndian?: boolean | undefined): Effect.Effect<A, IncompleteReadError | E>
}

/**
 * How lines are found.
 *
 * @since 0.1.0
 * @category options
 */
export interface ByteLinesOptions {
  /** How long a line may be, in bytes, without its terminator. The reader's limit by default. */
  readonly maxLength?: number | undefined
  /**
   * What becomes of a longer line: `"fail"` with a `LimitOverrunError` that leaves it in the buffer (the default),
   * `"skip"` it whole, or `"truncate"` it to `maxLength`. The last two take its rest as it comes, in constant memory,
   * as `skipUntil` does: who is interrupted amid such a line leaves the next read within it.
   */
  readonly onOverrun?: "fail" | "skip" | "truncate" | undefined
  /**
   * What becomes of a last line without its terminator: `"emit"` it (the default), `"drop"` it, or `"fail"` with an
   * `IncompleteReadError` that has it.
   */
  readonly lastLine?: "emit" | "drop" | "fail" | undefined
  /**
   * Whether to read ahead: true. All complete lines that have arrived are then emitted as one chunk, which is many
   * times as fast, and the stream takes the reader over: see `lines`.
   */
  readonly readAhead?: boolean | undefined
}

/**
 * How lines are found and decoded.
 *
 * @since 0.1.0
 * @category options
 */
export interface LinesOptions extends ByteLinesOptions {
  /** Any label that `TextDecoder` knows: `"utf-8"` by default. What can't be decoded becomes U+FFFD. */
  readonly encoding?: string | undefined
}

/**
 * The errors that a stream of lines adds to those of its source.
 *
 * @since 0.1.0
 * @category models
 */
export type LinesError = LimitOverrunError | IncompleteReadError

/**
 * The reading side of a stream of bytes. `E` is how its source fails.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamReader<out E = ConnectionError> {
  readonly [TypeId]: TypeId

  /** The most bytes that may precede a separator. */
  readonly limit: number

  /**
   * Reads 1 to `n` bytes, as soon as any are there. Empty at the end of the stream, and for `n = 0`.
   *
   * **Details**
   *
   * A read is not filled up to `n`: use `readExactly` for that. One call returns at most 64 KiB or one chunk.
   *
   * **Interruption** leaves every byte.
   *
   * **Errors**: how the source failed, once everything that was received has been read.
   */
  read(n: number): Effect.Effect<Uint8Array, E>

  /**
   * Reads everything until the end of the stream.
   *
   * **Details**
   *
   * The bytes are held in the buffer until the end comes, however many they are, unless `maxBytes` bounds them.
   *
   * **Interruption** leaves every byte, including those that had arrived.
   *
   * **Errors**: `LimitOverrunError` as soon as more than `maxBytes` have arrived; they stay in the buffer.
   */
  readAll(
    options?: { readonly maxBytes?: number | undefined } | undefined
  ): Effect.Effect<Uint8Array, LimitOverrunError | E>

  /**
   * Reads `n` bytes, which may be more than the limit.
   *
   * **Interruption** leaves every byte.
   *
   * **Errors**: `IncompleteReadError` when the end comes first; what was there is in its `partial`, and consumed.
   */
  readExactly(n: number): Effect.Effect<Uint8Array, IncompleteReadError | E>

  /**
   * Reads up to and with a separator.
   *
   * **Details**
   *
   * The limit counts the bytes before the separator: `limit` bytes and a separator pass.
   *
   * **Interruption** leaves every byte.
   *
   * **Errors**: `LimitOverrunError` when more than the limit precede the separator, or no separator can begin within
   * the limit any more; the buffer is as it was. `IncompleteReadError` when the end comes first; what was there is in
   * its `partial`, and consumed.
   *
   * @example
   * ```ts
   * import type { StreamReader } from "effect-netstreams"
   *
   * const head = (reader: StreamReader.StreamReader) => reader.readUntil("\r\n\r\n")
   * const line = (reader: StreamReader.StreamReader) => reader.readUntil(["\r\n", "\n", "\r"])
   * ```
   */
  readUntil(separator: Separator): Effect.Effect<Uint8Array, IncompleteReadError | LimitOverrunError | E>

  /**
   * Reads up to and with `\n`. At the end of the stream what is left, and then empty for ever.
   *
   * **Interruption** leaves every byte.
   *
   * **Errors**: `LimitOverrunError` as `readUntil`; the buffer is as it was, so reading again fails again. Its
   * documentation has the ways on.
   */
  readonly readLine: Effect.Effect<Uint8Array, LimitOverrunError | E>

  /** Whether the end of the stream has come and nothing is left to read. */
  readonly atEof: Effect.Effect<boolean>

  /**
   * Waits for `n` bytes, or the end, and returns them without consuming any. Shorter than `n` only at the end. `n` may be
   * more than the limit; what a read waits for is buffered.
   *
   * **Interruption** leaves every byte.
   *
   * **Errors**: how the source failed, where that came before the `n` bytes.
   */
  peek(n: number): Effect.Effect<Uint8Array, E>

  /** Puts a copy of bytes back to the front of the buffer. */
  unread(bytes: Uint8Array): Effect.Effect<void>

  /**
   * Drops everything through a separator, in constant memory whatever the limit: the way on after a
   * `LimitOverrunError`. Returns the number of bytes dropped.
   *
   * **Interruption** leaves the reader within the part that was to be dropped, so that the next `skipUntil` goes on
   * there. A separator is never cut in two.
   *
   * **Errors**: `IncompleteReadError` when the end comes first. What was dropped by then is not in its `partial`.
   */
  skipUntil(separator: Separator): Effect.Effect<number, IncompleteReadError | E>

  /** Reads one unsigned byte. */
  readonly readUint8: ReadNumber<number, E>
  /** Reads one signed byte. */
  readonly readInt8: ReadNumber<number, E>
  /** Reads an unsigned integer of 2 bytes. */
  readonly readUint16: ReadNumber<number, E>
  /** Reads a signed integer of 2 bytes. */
  readonly readInt16: ReadNumber<number, E>
  /** Reads an unsigned integer of 4 bytes. */
  readonly readUint32: ReadNumber<number, E>
  /** Reads a signed integer of 4 bytes. */
  readonly readInt32: ReadNumber<number, E>
  /** Reads an unsigned integer of 8 bytes. */
  readonly readBigUint64: ReadNumber<bigint, E>
  /** Reads a signed integer of 8 bytes. */
  readonly readBigInt64: ReadNumber<bigint, E>

  /**
   * Reads 1 to `buffer.length` bytes into a buffer of yours. 0 at the end of the stream.
   *
   * **Details**
   *
   * The bytes are copied. A connection reads into the chunks that they came in again, so that bulk costs no memory but
   * yours.
   *
   * **Interruption** leaves every byte, and the buffer untouched.
   */
  readInto(buffer: Uint8Array): Effect.Effect<number, E>

  /**
   * Calls `f` with each line to the end of the stream: the fastest way through text. Where `f` returns an effect, it is
   * run before the next line.
   *
   * **Details**
   *
   * A line has been consumed when `f` is called with it, and nothing after it has. So stopping early, by a failure of
   * the effect, an interruption or an exception in `f` (a defect), leaves the rest to the next read. (Of a line that is
   * too long that may be its end: see `onOverrun`.)
   *
   * @example
   * ```ts
   * import type { StreamReader } from "effect-netstreams"
   * import { Effect } from "effect"
   *
   * const count = (reader: StreamReader.StreamReader) =>
   *   Effect.gen(function*() {
   *     let errors = 0
   *     yield* reader.forEachLine((line) => {
   *       if (line.includes("ERROR")) errors++
   *     })
   *     return errors
   *   })
   * ```
   */
  forEachLine<E2 = never, R2 = never>(
    f: (line: string) => Effect.Effect<unknown, E2, R2> | void,
    options?: Omit<LinesOptions, "readAhead"> | undefined
  ): Effect.Effect<void, LimitOverrunError | IncompleteReadError | E | E2, R2>

  /**
   * The rest of the stream, in the chunks that arrive; short ones that wait together are joined. Never reads ahead: what
   * it has not emitted is there for the next read.
   */
  readonly bytes: Stream.Stream<Uint8Array, E>

  /**
   * The rest of the stream as lines of text, without their terminators (`\n`, `\r\n`).
   *
   * **Details**
   *
   * The stream reads ahead: it emits every complete line that has arrived as one chunk. It takes the reader over, and
   * where it is stopped before its end (by `Stream.take`, an interruption, a failure downstream) lines may be gone with
   * it, so that every later read dies with `ReadAheadError`. A stream that fails by itself leaves the reader usable.
   * `{ readAhead: false }` emits line by line and leaves the rest to the next read, as a loop of `readLine` does.
   *
   * **Errors**: `LimitOverrunError` with `onOverrun: "fail"`, `IncompleteReadError` with `lastLine: "fail"`.
   *
   * @example
   * ```ts
   * import type { StreamReader } from "effect-netstreams"
   * import { Console, Stream } from "effect"
   *
   * const print = (reader: StreamReader.StreamReader) =>
   *   reader.lines({ maxLength: 1000, onOverrun: "truncate" }).pipe(Stream.runForEach((line) => Console.log(line)))
   * ```
   */
  readonly lines: LinesMethod<string, LinesOptions, E>

  /**
   * The rest of the stream as lines of bytes with their `\n`, as asyncio's `async for` has them. Otherwise as `lines`.
   */
  readonly byteLines: LinesMethod<Uint8Array, ByteLinesOptions, E>
}

/**
 * A stream of lines fails with `IncompleteReadError` only where it was asked to.
 *
 * @since 0.1.0
 * @category models
 */
export interface LinesMethod<out A, in Options extends ByteLinesOptions, out E> {
  (options?: Options & { readonly lastLine?: "emit" | "drop" | undefined }): Stream.Stream<A, LimitOverrunError | E>
  (options: Options): Stream.Stream<A, LinesError | E>
}

/**
 * Whether something is a reader, whatever its source.
 *
 * @since 0.1.0
 * @category guards
 */
export const isStreamReader: (u: unknown) => u is StreamReader<unknown> = internal.isStreamReader

/**
 * How a reader is made.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The most bytes that may precede a separator: 65 536 by default, as in asyncio. */
  readonly limit?: number | undefined
}

/**
 * What feeds a reader by hand.
 *
 * @since 0.1.0
 * @category models
 */
export interface Feed<in E> {
  /** Adds bytes, which must not be changed afterwards. Dies after the end. */
  readonly data: (bytes: Uint8Array) => Effect.Effect<void>
  /** Ends the stream. Does nothing where it has ended. */
  readonly eof: Effect.Effect<void>
  /** Ends the stream with a failure. Does nothing where it has ended. */
  readonly fail: (error: E) => Effect.Effect<void>
}

/**
 * A reader that is fed by hand: asyncio's `feed_data`, `feed_eof` and `set_exception`. It buffers whatever it is fed.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { StreamReader } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { feed, reader } = yield* StreamReader.make()
 *   yield* feed.data(new TextEncoder().encode("one\ntwo\n"))
 *   yield* feed.eof
 *   return yield* reader.readLine // "one\n"
 * })
 * ```
 */
export const make: <E = ConnectionError>(
  options?: Options | undefined
) => Effect.Effect<{ readonly reader: StreamReader<E>; readonly feed: Feed<E> }> = internal.make

/**
 * A reader over any stream of bytes: a request's body, a file, a child's output. How the stream fails, the reads fail.
 *
 * **Details**
 *
 * A fiber in the scope runs the stream, and is held up while more than twice the limit is buffered. It starts with the
 * first read.
 *
 * Where the scope is closed before the stream has ended, or the stream is interrupted by something within it, a read that
 * wants more than has come dies, and says which.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { StreamReader } from "effect-netstreams"
 * import { Effect, Stream } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const reader = yield* StreamReader.fromStream(Stream.make(new Uint8Array([0, 2, 104]), new Uint8Array([105])))
 *   const length = yield* reader.readUint16
 *   return yield* reader.readExactly(length) // "hi"
 * }).pipe(Effect.scoped)
 * ```
 */
export const fromStream: <E, R>(
  stream: Stream.Stream<Uint8Array, E, R>,
  options?: Options | undefined
) => Effect.Effect<StreamReader<E>, never, Scope.Scope | R> = internal.fromStream
