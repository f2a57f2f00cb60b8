/**
 * The rules of a connection and of a reader as cases that can be run: over the sockets of the operating system, over the
 * network in memory, and over a transport of your own.
 *
 * A case is an effect that succeeds where the rule holds and fails with a `ConformanceError` that names the rule where it
 * does not. It knows no test runner: give each case to the one that you use, or run them all in a loop. What is tested
 * may do anything, and no case hangs: each wait has a bound, after which the case fails.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Connection from "./Connection.js"
import * as internal from "./internal/conformance.js"
import { ConformanceError } from "./internal/conformance/conformanceError.js"
import type * as StreamReader from "./StreamReader.js"

export {
  /**
   * What was tested broke a rule.
   *
   * **Details**
   *
   * `case` is the name of the case, `rule` the rule in words, `found` what was seen instead, and `cause` what was thrown
   * or failed, where something was.
   *
   * @since 0.1.0
   * @category errors
   */
  ConformanceError
}

/**
 * One case.
 *
 * **Details**
 *
 * `rule` says in words what must hold; several cases may be of one rule. `run` makes what it tests in a scope of its own,
 * and may be run again. It fails with `E` where that could not be made.
 *
 * @since 0.1.0
 * @category models
 */
export interface Case<out E = never, out R = never> {
  readonly name: string
  readonly rule: string
  readonly run: Effect.Effect<void, ConformanceError | E, R>
}

/**
 * Two ends that are connected to each other.
 *
 * @since 0.1.0
 * @category models
 */
export type Pair =
  | { readonly left: Connection.Connection; readonly right: Connection.Connection }
  | readonly [left: Connection.Connection, right: Connection.Connection]

/**
 * What makes a pair, new with each run; or a function to that from the options which a case would like both ends to be
 * made with: a small `limit`, a short `closeTimeout`. With the function, the cases are stricter and quicker.
 *
 * @since 0.1.0
 * @category models
 */
export type MakePair<E, R> =
  | Effect.Effect<Pair, E, R>
  | ((options: Connection.Options) => Effect.Effect<Pair, E, R>)

/**
 * What makes a reader and what feeds it, new with each call. Whatever `feed` is given, the reader's reads come to.
 *
 * @since 0.1.0
 * @category models
 */
export type MakeReader<E, E2, R> = (options: StreamReader.Options) => Effect.Effect<
  { readonly reader: StreamReader.StreamReader<E>; readonly feed: StreamReader.Feed<E> },
  E2,
  R
>

/**
 * How cases are run.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * Lets time pass. By default a `TestClock` is set forward, and on any other clock it is slept.
   *
   * Sockets need real time: run cases over them with the live clock.
   */
  readonly advance?: ((duration: Duration.Duration) => Effect.Effect<void>) | undefined
  /**
   * Lets everything arrive that is on its way: some turns of the event loop and a millisecond by default. Where a network
   * has latency, it must be longer than that.
   */
  readonly settle?: Effect.Effect<void> | undefined
  /** How long a wait may last before it counts as one without end: 10 seconds. */
  readonly patience?: Duration.DurationInput | undefined
  /** What the random data and cuts come from: 1. */
  readonly seed?: number | undefined
}

/**
 * How the cases of a connection are run, and what the transport can do.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectionOptions extends Options {
  /** How many bytes go each way in the large transfers: 1 MiB. */
  readonly size?: number | undefined
  /** The most bytes that may be on their way to a peer that reads nothing, buffers of the system included: 32 MiB. */
  readonly inFlight?: number | undefined
  /** The `closeTimeout` that the ends are made with, where `makePair` is not told one: 30 seconds. */
  readonly closeTimeout?: Duration.DurationInput | undefined
  /** Whether one side can end while the other goes on: true. Cases that need it are left out otherwise. */
  readonly halfClose?: boolean | undefined
  /** Whether an abort can be told from an end in order, as TCP's reset can: true. A Unix socket's can't. */
  readonly reset?: boolean | undefined
}

/**
 * How the cases of a reader are run.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReaderOptions<out E> extends Options {
  /** What to fail the source with, in the cases in which it fails. They are left out without it. */
  readonly failure?: E | undefined
}

/**
 * The cases of a connection: bytes whole and in order, both ways at once; half-closing; the end of the stream; data before
 * errors; one reader at a time; back-pressure; closing, aborting and waiting for the end; interruption of every wait;
 * limits and separators.
 *
 * **Details**
 *
 * `makePair` gives two ends of a new connection, which its scope closes. Each case is there twice, with the roles of the
 * ends exchanged.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Conformance, type Connection, Network, NodeNetwork } from "effect-netstreams"
 * import { Console, Deferred, Effect } from "effect"
 *
 * const makePair = (options: Connection.Options) =>
 *   Effect.gen(function*() {
 *     const accepted = yield* Deferred.make<Connection.Connection>()
 *     const server = yield* Network.startServer(
 *       { host: "127.0.0.1", ...options },
 *       (connection) => Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)
 *     )
 *     const address = server.addresses[0]
 *     const port = address._tag === "TcpAddress" ? address.port : 0
 *     const left = yield* Network.openConnection({ host: "127.0.0.1", port, ...options })
 *     return { left, right: yield* Deferred.await(accepted) }
 *   })
 *
 * // Without a test runner. With vitest: for (const { name, run } of cases) it.live(name, () => run)
 * const cases = Conformance.connection(makePair)
 * const report = Effect.forEach(cases, ({ name, run }) =>
 *   run.pipe(
 *     Effect.zipRight(Console.log(`ok ${name}`)),
 *     Effect.catchTag("ConformanceError", (error) => Console.log(`not ok ${name}: ${error.message}`))
 *   )).pipe(Effect.provide(NodeNetwork.layer))
 * ```
 */
export const connection: <E, R>(
  makePair: MakePair<E, R>,
  options?: ConnectionOptions | undefined
) => ReadonlyArray<Case<E, Exclude<R, Scope.Scope>>> = internal.connection

/**
 * The cases of a reader: every kind of read over all cuts of its bytes into chunks, before and while it waits, and with
 * every wait interrupted.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Conformance, StreamReader } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const cases = Conformance.reader<string, never, never>(StreamReader.make, { failure: "boom" })
 * const all = Effect.forEach(cases, ({ run }) => run, { discard: true })
 * ```
 */
export const reader: <E, E2, R>(
  makeReader: MakeReader<E, E2, R>,
  options?: ReaderOptions<E> | undefined
) => ReadonlyArray<Case<E2, Exclude<R, Scope.Scope>>> = internal.reader
