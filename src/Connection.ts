/**
 * A connection: a reader, a writer, two addresses and one end.
 *
 * @since 0.1.0
 */
import type * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as LogLevel from "effect/LogLevel"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Address from "./Address.js"
import * as internal from "./internal/connection.js"
import type { ConnectionError, TlsError } from "./NetworkError.js"
import type * as StreamReader from "./StreamReader.js"
import type * as StreamWriter from "./StreamWriter.js"
import type * as Tls from "./Tls.js"
import type * as Transport from "./Transport.js"

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
 * How a connection ended.
 *
 * **Details**
 *
 * `Local`: this side closed it. `Peer`: the peer ended it in order, before this side did. `Aborted`: this side dropped
 * it, or its close took longer than `closeTimeout`. `Failed`: neither, and `error` says what happened.
 *
 * @since 0.1.0
 * @category models
 */
export type CloseReason = Data.TaggedEnum<{
  Local: {}
  Peer: {}
  Aborted: {}
  Failed: { readonly error: ConnectionError | TlsError }
}>

/**
 * Makes and matches close reasons.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Connection } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const explain = (connection: Connection.Connection) =>
 *   connection.awaitClosed.pipe(Effect.map(Connection.CloseReason.$match({
 *     Local: () => "we closed it",
 *     Peer: () => "the peer closed it",
 *     Aborted: () => "we dropped it",
 *     Failed: ({ error }) => error.message
 *   })))
 * ```
 */
export const CloseReason: Data.TaggedEnum.Constructor<CloseReason> = internal.CloseReason

/**
 * An open connection. Its scope closes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connection {
  readonly [TypeId]: TypeId
  readonly reader: StreamReader.StreamReader
  readonly writer: StreamWriter.StreamWriter
  /** Known for good, also after the end. */
  readonly localAddress: Address.Address
  readonly remoteAddress: Address.Address

  /** What the TLS handshake settled; `None` for a connection in the clear. */
  readonly tls: Option.Option<Tls.Session>

  /**
   * Goes over to TLS in the middle of a protocol: a new connection over the same socket. This one is spent: its
   * operations fail with `"Closed"`. The scope closes the new one.
   *
   * **Details**
   *
   * What was written before is sent in the clear first. What was received before and not read is the residue: a client
   * rejects it, a server hands it to the handshake, unless told otherwise. The peer's certificate must be for
   * `serverName`, always, unless `verify` is false. Where a stream of lines has taken the reader over, and may have read
   * ahead, it dies with a `ReadAheadError` before anything is spent: make such a stream with `{ readAhead: false }`.
   *
   * To close or abort this connection while that goes on cuts it off, at once. When it is done, neither does anything.
   *
   * **Interruption** closes the connection, as a failure does.
   *
   * **Errors**: `TlsError`; `ConnectionError` where the connection ended before the handshake began, or was closed
   * or aborted here before it was done.
   *
   * @example
   * ```ts
   * import type { Connection } from "effect-netstreams"
   * import { Effect } from "effect"
   *
   * const secure = (plain: Connection.Connection) =>
   *   Effect.gen(function*() {
   *     yield* plain.writer.write("STARTTLS\r\n")
   *     yield* plain.reader.readUntil("\r\n")
   *     return yield* plain.startTls({ role: "client", serverName: "mail.example.org" })
   *   })
   * ```
   */
  startTls(options: Tls.Upgrade): Effect.Effect<Connection, TlsError | ConnectionError>

  /**
   * Closes in order: sends what is queued and our end, and waits for the connection's end.
   *
   * **Details**
   *
   * A read that waits fails with `"Closed"`; what was received before stays readable. What the peer still sends is
   * dropped. The peer is given time to end its side, so that nothing on its way is lost, but one that stays silent for
   * a second after everything was sent is not waited for. Past `closeTimeout` the close turns into an abort, and one
   * that does not take what is queued for it is reset past `writeTimeout`. A transport that was given up and does not say
   * that it has closed, as a stream may that was adopted, is left after another second. Never fails; closing again waits
   * for the same end.
   *
   * **Interruption** stops waiting; the close goes on.
   */
  readonly close: Effect.Effect<void>

  /**
   * Drops what is queued and resets the connection, where the platform can; the peer's reads fail.
   *
   * **Interruption** stops waiting; the connection is gone all the same.
   */
  readonly abort: Effect.Effect<void>

  /** Whether a close or an abort has begun, or the connection has ended. */
  readonly isClosing: Effect.Effect<boolean>

  /**
   * Waits for the end, without causing it.
   *
   * **Details**
   *
   * A peer that has only ended its side, while this one may still write, has not ended the connection.
   *
   * **Interruption** of one who waits leaves the others waiting.
   */
  readonly awaitClosed: Effect.Effect<CloseReason>
}

/**
 * Whether something is a connection.
 *
 * @since 0.1.0
 * @category guards
 */
export const isConnection: (u: unknown) => u is Connection = internal.isConnection

/**
 * How a connection writes down what goes over the wire.
 *
 * @since 0.1.0
 * @category options
 */
export interface WireTap {
  /** The level of its log lines: `LogLevel.Info`. */
  readonly level?: LogLevel.LogLevel | undefined
  /** How many bytes of what was received or sent in one piece are shown: 256. Of the rest, the number. */
  readonly maxBytes?: number | undefined
}

/**
 * What every connection can be told, dialled, accepted or adopted.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends StreamReader.Options {
  /** How long a close in order may take before it turns into an abort: 30 seconds. `writeTimeout` may end it before. */
  readonly closeTimeout?: Duration.DurationInput | undefined
  /** Queued bytes above which writes wait: 65 536, as in asyncio. Given only the low mark, four times that. */
  readonly highWaterMark?: number | undefined
  /** Queued bytes at which they go on: a quarter of the high-water mark. */
  readonly lowWaterMark?: number | undefined
  /**
   * Logs everything that is received and sent, as hexadecimal numbers and as text: off. With TLS it is what was encrypted,
   * so it may have passwords in it, which are then in the log.
   */
  readonly wireTap?: boolean | WireTap | undefined
  /**
   * How long nothing may come or go before the connection is closed (`"IdleTimeout"`). No limit by default.
   *
   * **Details**
   *
   * Time in which the peer is held up because the program does not read what has come does not count. Time in which the
   * program works on an answer does.
   *
   * This and the other limits here end the connection: reads and writes fail with the reason, once what was received has
   * been read, and `awaitClosed` gives it. The two that only a silent peer passes, `idleTimeout` and `readTimeout`, end
   * it in order (but `idleTimeout` by a reset where the peer has not taken what is queued for it), the other two by a
   * reset. A limit for a single read is `Effect.timeout` around it, which loses no byte and leaves the connection as it
   * is. Around a write it leaves open whether that was sent: see `StreamWriter.write`.
   */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /**
   * How long a read may wait without anything coming before the connection is closed (`"ReadTimeout"`). No limit by
   * default.
   *
   * **Details**
   *
   * A peer to which the program does not listen is not late. One that sends a byte now and then never is: that is what
   * `minReadRate` is for.
   */
  readonly readTimeout?: Duration.DurationInput | undefined
  /**
   * How long the peer may take nothing of what is queued for it before the connection is reset (`"WriteTimeout"`). No
   * limit by default.
   *
   * **Details**
   *
   * Whether anybody waits for it or not, and also while the connection closes, when it is the only one of these limits that
   * still counts: so a client that does not take its answer holds no place of a server for longer, though the handler has
   * returned. `awaitClosed` gives it then as well; reads fail with `"Closed"`, as they did since the close began.
   *
   * What the system has taken counts as taken, which may be megabytes before the peer is seen to take nothing. And Linux
   * takes more only when a third of its send buffer (`tcp_wmem`, up to 4 MB) is free again: a peer that reads slowly, but
   * steadily, needs that long for each step, so the limit is to be longer.
   */
  readonly writeTimeout?: Duration.DurationInput | undefined
  /**
   * How slowly the peer may send before the connection is reset (`"RateTooLow"`): a defence against clients that occupy a
   * server by sending a byte now and then. No limit by default.
   *
   * **Details**
   *
   * For protocols of question and answer. It is measured from the first byte that comes after our last write until our
   * next one, and only while a read waits: each `gracePeriod` of that has to bring `bytesPerSecond`. So neither a peer that
   * has yet to say something is too slow (see `idleTimeout`), nor one that waits for its answer. Time in reads that are
   * interrupted does not count.
   */
  readonly minReadRate?: MinReadRate | undefined
}

/**
 * The rate at which a peer has to send, once it has begun to.
 *
 * @since 0.1.0
 * @category options
 */
export interface MinReadRate {
  readonly bytesPerSecond: number
  /** How long it may be slower than that, and over how long the rate is taken: 5 seconds. */
  readonly gracePeriod?: Duration.DurationInput | undefined
}

/**
 * A connection over a transport of any backend, which must not have been started. The scope closes it.
 *
 * **Errors**: none. Options that can't be right are defects, and then the transport is destroyed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromTransport: (
  transport: Transport.Transport,
  options?: Options | undefined
) => Effect.Effect<Connection, never, Scope.Scope> = internal.fromTransport
