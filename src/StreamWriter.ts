/**
 * Writing to a connection, held up by a peer that does not read.
 *
 * Any number of fibers may write: each write arrives whole, and in the order in which they were made.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Sink from "effect/Sink"
import * as internal from "./internal/streamWriter.js"
import type { ConnectionError } from "./NetworkError.js"

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
 * The writing side of a connection.
 *
 * **Details**
 *
 * Strings go out as UTF-8. Bytes are not copied: from `write` until `flush`, what was written must not be changed.
 *
 * **Errors**
 *
 * After the connection ended or `writeEof`, every write fails with a `ConnectionError` that carries the cause, and a
 * wait fails as soon as the connection ends, unless all was sent and the end was in order.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamWriter {
  readonly [TypeId]: TypeId

  /**
   * Writes in one piece, and waits while the write buffer is above its high-water mark.
   *
   * **Details**
   *
   * Returning does not mean that the peer has it, nor that the operating system has: see `flush`.
   *
   * **Interruption**: it has been handed over whole, or not at all, and whoever interrupts it is not told which. So
   * after a timeout nothing more can be said to the peer that makes sense to it: to limit writing, use the connection's
   * `writeTimeout`, or close the connection. A write that must not be broken off, such as a request on a connection that
   * others use too, is to be made `Effect.uninterruptible`, within `Effect.disconnect` where its caller may give it up.
   *
   * @example
   * ```ts
   * import type { StreamWriter } from "effect-netstreams"
   * import { Effect } from "effect"
   *
   * const greet = (writer: StreamWriter.StreamWriter) =>
   *   writer.write("220 ready\r\n").pipe(
   *     Effect.catchTag("ConnectionError", (error) => Effect.logInfo(error.message))
   *   )
   * ```
   */
  write(data: Uint8Array | string): Effect.Effect<void, ConnectionError>

  /**
   * Writes several pieces as one, gathered into one system call.
   *
   * **Interruption**: as `write`, all of them or none.
   */
  writeAll(chunks: Iterable<Uint8Array | string>): Effect.Effect<void, ConnectionError>

  /**
   * Waits while the write buffer is above its low-water mark, after it passed the high one. Not a flush.
   *
   * **Interruption** changes nothing.
   */
  readonly drain: Effect.Effect<void, ConnectionError>

  /**
   * Waits until everything written so far has been handed to the operating system.
   *
   * **Interruption** changes nothing: it goes out all the same.
   *
   * **Errors**: how the connection ended, where something was still to be sent or the end was not in order.
   */
  readonly flush: Effect.Effect<void, ConnectionError>

  /**
   * Ends the writing side after what is queued: the peer reads its end of stream, and may go on sending.
   *
   * **Details**
   *
   * A write that other fibers have in line, waiting for room, fails. To end it again does nothing, also when the peer has
   * ended its side too, or the connection was closed.
   *
   * **Errors**: `"Closed"` where the connection was closed before; how it ended where that was not in order.
   */
  readonly writeEof: Effect.Effect<void, ConnectionError>

  /** Whether `writeEof` leaves the reading side open. */
  readonly canWriteEof: boolean

  /** Whether the connection is closing or closed. The end of the peer's side alone does not close it. */
  readonly isClosing: Effect.Effect<boolean>

  /** Bytes that were written and that the operating system has not taken yet. */
  readonly bufferedBytes: Effect.Effect<number>

  /**
   * Writes all that a stream emits; each chunk of the stream is one gathered write. Does not end the writing side.
   *
   * @example
   * ```ts
   * import type { Connection } from "effect-netstreams"
   * import { Stream } from "effect"
   *
   * const echo = ({ reader, writer }: Connection.Connection) => reader.bytes.pipe(Stream.run(writer.sink))
   * ```
   */
  readonly sink: Sink.Sink<void, Uint8Array | string, never, ConnectionError>
}

/**
 * Whether something is a writer.
 *
 * @since 0.1.0
 * @category guards
 */
export const isStreamWriter: (u: unknown) => u is StreamWriter = internal.isStreamWriter
