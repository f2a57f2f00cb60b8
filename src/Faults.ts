/**
 * What can go wrong between two ends, on purpose: for any connection, a real one too.
 *
 * Each function here takes a connection over, as `startTls` does, puts what is to happen between it and its transport,
 * and gives a connection over that. So faults can be laid over each other. The connection that was given is spent; the
 * scope closes the new one. Do it before anything is read or written: a write that waits for room fails.
 *
 * Connections of a `TestNetwork` have a `Link` already, which is what lies between the two machines: `TestNetwork.link`.
 *
 * What happens at a certain place in the stream happens to what this end receives, unless told otherwise, and what has no
 * place to both directions. Bytes are counted from the call on. Everything goes by Effect's `Clock`, and chance by a seed.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Connection from "./Connection.js"
import * as internal from "./internal/faults.js"

/**
 * What lies between two ends: how long it takes, how much it carries, and how it cuts.
 *
 * **Details**
 *
 * Without any of them a link is perfect: what is written arrives at once, each write in one piece. They hold for each
 * direction by itself, and nothing overtakes.
 *
 * @since 0.1.0
 * @category options
 */
export interface LinkConditions {
  /** How long each byte is on its way: no time by default. */
  readonly latency?: Duration.DurationInput | undefined
  /** How much longer it may take, by chance, and evenly so: no longer by default. */
  readonly jitter?: Duration.DurationInput | undefined
  /**
   * Bytes a second, in each direction of each connection: without limit by default. What is sent in one piece arrives
   * when its last byte does, so `fragment` says how soon the first ones are seen. With a latency, a write that fills
   * too much of `bytesInFlight` for others to be sent while it arrives goes in several pieces. So a writer with enough to
   * send reaches the bandwidth, where `bytesInFlight` is well above bandwidth times latency.
   */
  readonly bandwidth?: number | undefined
  /**
   * How many bytes one direction of a connection holds, on their way or not taken by a reader: 65 536 by default. What is
   * written beyond that waits in the writer's buffer, which so feels a slow reader.
   */
  readonly bytesInFlight?: number | undefined
  /**
   * Cuts what is sent to pieces of so many bytes at most, each of which is received by itself; `"random"` cuts it
   * anywhere, by the network's seed. `Infinity`, the default, cuts nothing.
   */
  readonly fragment?: number | "random" | undefined
  /**
   * Holds back what is sent for so long, and sends all of it in one piece, as Nagle's algorithm does. `0` joins what is
   * written in one go. By default, and with `false`, each write goes by itself.
   */
  readonly coalesce?: Duration.DurationInput | false | undefined
}

/**
 * Which bytes are meant, as seen from the connection at hand.
 *
 * @since 0.1.0
 * @category options
 */
export type Direction = "received" | "sent" | "both"

/**
 * @since 0.1.0
 * @category options
 */
export interface DirectionOptions {
  /** What this end receives, what it sends, or both, each by itself. */
  readonly direction?: Direction | undefined
}

/**
 * What lies between a connection and its peer, in the hands of a test. Nothing it does waits, and all of it can be done
 * at any time; after the connection's end it does nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Link {
  /** What is sent from now on goes by these conditions. What they don't say stays as it is. Both directions. */
  setConditions(conditions: LinkConditions, options?: DirectionOptions | undefined): Effect.Effect<void>
  /**
   * Resets both ends now (`ECONNRESET`), after what they have received. What was on its way is lost.
   *
   * The peer has it as the system tells it. Over a real Unix socket that is an end in order, unless this end has left
   * something unread; and an end that had seen the other's end notices it with its next write (`"BrokenPipe"`).
   */
  readonly reset: Effect.Effect<void>
  /** Resets both ends once so many bytes have been received, and not one more. */
  resetAfter(bytes: number, options?: DirectionOptions | undefined): Effect.Effect<void>
  /** Resets both ends at a time. */
  resetIn(duration: Duration.DurationInput): Effect.Effect<void>
  /** Lets nothing arrive, neither bytes nor ends nor resets, until `resume`. Both directions. */
  stall(options?: DirectionOptions | undefined): Effect.Effect<void>
  /** The same once so many bytes have been received. */
  stallAfter(bytes: number, options?: DirectionOptions | undefined): Effect.Effect<void>
  /** Lets what has stalled arrive. Both directions. */
  resume(options?: DirectionOptions | undefined): Effect.Effect<void>
  /**
   * Lets nothing arrive any more, in either direction, for good; neither end is told. A writer goes on until no more may
   * be on its way.
   */
  readonly blackHole: Effect.Effect<void>
  /** The same once so many bytes have been received. */
  blackHoleAfter(bytes: number, options?: DirectionOptions | undefined): Effect.Effect<void>
  /**
   * Ends one direction in order once so many bytes have been received, as if the peer had half-closed there. What it
   * still sends is lost, and it does not notice.
   */
  endAfter(bytes: number, options?: DirectionOptions | undefined): Effect.Effect<void>
  /** Loses the end in order: who receives waits on. A reset still arrives. */
  loseEnd(options?: DirectionOptions | undefined): Effect.Effect<void>
  /** Changes the byte that comes after so many, by exclusive or with `mask`: 255, which flips every bit. */
  corruptAfter(
    bytes: number,
    options?: DirectionOptions & { readonly mask?: number | undefined } | undefined
  ): Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category options
 */
export interface AttachOptions {
  /** What the link is like: perfect by default, so that nothing changes. */
  readonly conditions?: LinkConditions | undefined
  /** What chance goes by: 0 by default. */
  readonly seed?: number | undefined
}

/**
 * Puts a link between a connection and its transport, and gives the connection over it, and the link.
 *
 * **Details**
 *
 * `flush` waits until the bytes have passed the link and the system has taken them. A connection that is closing, or has
 * ended, is given back as it is.
 *
 * **Interruption**: it does not wait.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Faults, Network } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const frozen = Effect.gen(function*() {
 *   const [connection, link] = yield* Faults.attach(yield* Network.openConnection({ host: "localhost", port: 8888 }))
 *   yield* connection.writer.write("ping\n")
 *   yield* link.stall()
 *   const answer = yield* Effect.timeoutOption(connection.reader.readLine, "1 second")
 *   yield* link.resume()
 *   return answer
 * })
 * ```
 */
export const attach: (
  connection: Connection.Connection,
  options?: AttachOptions | undefined
) => Effect.Effect<readonly [connection: Connection.Connection, link: Link]> = internal.attach

const isDataFirst = (args: IArguments): boolean => Connection.isConnection(args[0])

/**
 * Gives the link of a connection conditions: latency, bandwidth, cuts.
 *
 * @since 0.1.0
 * @category combinators
 * @example
 * ```ts
 * import { Faults, Network } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const slow = Network.openConnection({ host: "localhost", port: 8888 }).pipe(
 *   Effect.flatMap(Faults.withConditions({ latency: "300 millis", bandwidth: 2400, fragment: "random" }))
 * )
 * ```
 */
export const withConditions: {
  (
    conditions: LinkConditions,
    options?: DirectionOptions | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    conditions: LinkConditions,
    options?: DirectionOptions | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, conditions: LinkConditions, options?: DirectionOptions) =>
    internal.over(connection, (link) => link.setConditions(conditions, options))
)

/**
 * Cuts what goes either way to pieces of so many bytes at most, or anywhere: each is received by itself.
 *
 * @since 0.1.0
 * @category combinators
 */
export const fragment: {
  (
    size: number | "random",
    options?: DirectionOptions | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    size: number | "random",
    options?: DirectionOptions | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, size: number | "random", options?: DirectionOptions) =>
    internal.over(connection, (link) => link.setConditions({ fragment: size }, options))
)

/**
 * Delays what goes either way.
 *
 * @since 0.1.0
 * @category combinators
 */
export const delay: {
  (
    latency: Duration.DurationInput,
    options?: DirectionOptions | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    latency: Duration.DurationInput,
    options?: DirectionOptions | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, latency: Duration.DurationInput, options?: DirectionOptions) =>
    internal.over(connection, (link) => link.setConditions({ latency }, options))
)

/**
 * Resets the connection, and its peer, once so many bytes have been received, and not one more.
 *
 * **Details**
 *
 * A read that can still be served by them is; the next one fails with `"Reset"`.
 *
 * @since 0.1.0
 * @category combinators
 * @example
 * ```ts
 * import { Faults, Network } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * // The answer breaks off in the middle of a line.
 * const answer = Network.openConnection({ host: "localhost", port: 8888 }).pipe(
 *   Effect.flatMap(Faults.resetAfter(10)),
 *   Effect.flatMap(({ reader }) => reader.readLine),
 *   Effect.scoped
 * )
 * ```
 */
export const resetAfter: {
  (
    bytes: number,
    options?: DirectionOptions | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    bytes: number,
    options?: DirectionOptions | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, bytes: number, options?: DirectionOptions) =>
    internal.over(connection, (link) => link.resetAfter(bytes, options))
)

/**
 * Resets the connection, and its peer, at a time.
 *
 * @since 0.1.0
 * @category combinators
 */
export const resetIn: {
  (duration: Duration.DurationInput): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (connection: Connection.Connection, duration: Duration.DurationInput): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, duration: Duration.DurationInput) =>
    internal.over(connection, (link) => link.resetIn(duration))
)

/**
 * Lets nothing more arrive once so many bytes have been received, and neither end is told.
 *
 * @since 0.1.0
 * @category combinators
 */
export const stallAfter: {
  (
    bytes: number,
    options?: DirectionOptions | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    bytes: number,
    options?: DirectionOptions | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, bytes: number, options?: DirectionOptions) =>
    internal.over(connection, (link) => link.stallAfter(bytes, options))
)

/**
 * Lets nothing more arrive, in either direction, once so many bytes have been received. Neither end is told.
 *
 * @since 0.1.0
 * @category combinators
 */
export const blackHoleAfter: {
  (
    bytes: number,
    options?: DirectionOptions | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    bytes: number,
    options?: DirectionOptions | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, bytes: number, options?: DirectionOptions) =>
    internal.over(connection, (link) => link.blackHoleAfter(bytes, options))
)

/**
 * Ends one direction in order once so many bytes have been received, as a peer does that half-closes. The rest is lost.
 *
 * @since 0.1.0
 * @category combinators
 */
export const endAfter: {
  (
    bytes: number,
    options?: DirectionOptions | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    bytes: number,
    options?: DirectionOptions | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, bytes: number, options?: DirectionOptions) =>
    internal.over(connection, (link) => link.endAfter(bytes, options))
)

/**
 * Changes the byte that comes after so many, by exclusive or with `mask`: 255, which flips every bit.
 *
 * @since 0.1.0
 * @category combinators
 */
export const corruptAfter: {
  (
    bytes: number,
    options?: DirectionOptions & { readonly mask?: number | undefined } | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    bytes: number,
    options?: DirectionOptions & { readonly mask?: number | undefined } | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (
    connection: Connection.Connection,
    bytes: number,
    options?: DirectionOptions & { readonly mask?: number | undefined }
  ) => internal.over(connection, (link) => link.corruptAfter(bytes, options))
)

/**
 * Loses the end in order: who receives waits on.
 *
 * @since 0.1.0
 * @category combinators
 */
export const loseEnd: {
  (
    options?: DirectionOptions | undefined
  ): (connection: Connection.Connection) => Effect.Effect<Connection.Connection>
  (
    connection: Connection.Connection,
    options?: DirectionOptions | undefined
  ): Effect.Effect<Connection.Connection>
} = dual(
  isDataFirst,
  (connection: Connection.Connection, options?: DirectionOptions) =>
    internal.over(connection, (link) => link.loseEnd(options))
)
