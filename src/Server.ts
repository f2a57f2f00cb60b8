/**
 * A server: it accepts connections, runs a handler for each, and looks after them to the end.
 *
 * Every handler runs in a fiber and a scope of its own. However it ends, its connection is closed, its failure is
 * reported, and nobody else is hurt.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Metric from "effect/Metric"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Address from "./Address.js"
import type * as Connection from "./Connection.js"
import * as internal from "./internal/server.js"
import * as serverMetrics from "./internal/serverMetrics.js"
import * as Network from "./Network.js"
import type { ListenError, TlsError } from "./NetworkError.js"
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
 * What is run for each connection.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<E, R> = (connection: Connection.Connection) => Effect.Effect<unknown, E, R>

/**
 * Something went wrong with one connection. The server and its other connections go on.
 *
 * **Details**
 *
 * `phase` is `"accept"` where the connection never came to be, `"handshake"` where TLS failed, and `"handler"` where the
 * handler failed or died, or a finalizer of its scope died.
 *
 * A handler that was only interrupted has not failed. Where the server itself has ended the connection (`closeClients`,
 * `abortClients`, `shutdown`), its handler's interruption and the `"Closed"` or `"Aborted"` of that connection, also as
 * the `cause` of another failure, are left out of `cause`; what else has gone wrong, defects above all, is told as ever.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerError {
  readonly phase: "accept" | "handshake" | "handler"
  readonly remoteAddress: Option.Option<Address.Address>
  readonly cause: Cause.Cause<unknown>
}

/**
 * How a shutdown went.
 *
 * @since 0.1.0
 * @category models
 */
export interface ShutdownReport {
  /** Handlers that returned by themselves within the grace period. */
  readonly finished: number
  /** Connections that were closed at the end of the grace period; not those that were being closed by then. */
  readonly closed: number
  /** Handlers that were interrupted, for the end of their connection did not end them. */
  readonly interrupted: number
  /**
   * Connections that this side reset in the meantime, whatever became of their handlers: whose close took longer than
   * `closeTimeout` or whose peer did not take what was queued for it (`writeTimeout`) above all.
   */
  readonly aborted: number
  readonly elapsed: Duration.Duration
}

/**
 * What a server can be told, whatever it listens on.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends Connection.Options {
  /**
   * How long the closing scope lets handlers finish, and the connections of those that have returned close, before it
   * closes the rest: 1 second. A handler that waits for an idle client will not finish by itself, so this is also how
   * long such a client delays the end.
   */
  readonly gracePeriod?: Duration.DurationInput | undefined
  /**
   * How many connections are served at once. No limit by default.
   *
   * **Details**
   *
   * A connection takes its place when it is accepted (with TLS: when its handshake is done), and gives it back when it has
   * ended and its handler has returned.
   */
  readonly maxConnections?: number | undefined
  /**
   * What becomes of a connection that finds all places taken: `"pause"` unless told otherwise.
   *
   * **Details**
   *
   * - `"pause"`: it waits, unread, and gets the place of the next one that leaves, in the order of arrival. To its client it
   *   looks like one that the system has not handed to the program yet. `maxWaiting` bounds their number; whoever comes
   *   on top is reset. A listener of Node's can't stop accepting without losing whom the system holds for it, so it never
   *   does: there is no second, lower mark (hysteresis) at which it would begin again, and no place is left empty while
   *   anybody waits.
   * - `"reject"`: it is reset at once.
   *
   * Connections that are reset reach `onError` as one `OverloadError` a second at most.
   */
  readonly onLimit?: "pause" | "reject" | undefined
  /**
   * How many connections may wait for a place where `onLimit` is `"pause"`: 1000. Each has a descriptor, and a few
   * kilobytes of memory; what its client sends stays in the system's buffers.
   */
  readonly maxWaiting?: number | undefined
  /**
   * Annotates every log line that a handler writes with `connection.id`, a number that no other connection of the process
   * has, and `network.peer.address`: false, for it costs each connection about a kilobyte.
   */
  readonly annotateLogs?: boolean | undefined
  /**
   * Told of everything that goes wrong with a connection. By default a log line with the peer's address. What can
   * happen to any number of connections at once (a full server, a system that is out of something) is told once a second.
   *
   * It holds nobody up: the connection is closed meanwhile, and a shutdown waits a second for it at most before it
   * interrupts it.
   */
  readonly onError?: ((error: ServerError) => Effect.Effect<void>) | undefined
}

/**
 * A server that listens, or is about to. Its scope shuts it down.
 *
 * @since 0.1.0
 * @category models
 */
export interface Server {
  readonly [TypeId]: TypeId

  /** Where it listens, with the ports it was given. */
  readonly addresses: Arr.NonEmptyReadonlyArray<Address.Address>

  /** Whether connections are accepted. */
  readonly isServing: Effect.Effect<boolean>

  /** How many connections wait for a place, where there is a `maxConnections`. */
  readonly waiting: Effect.Effect<number>

  /**
   * Begins to accept, where the server was made with `startServing: false`. Does nothing where it has begun, or is closed.
   *
   * **Errors**: `ListenError` where the address has been taken in the meantime; it can be tried again.
   */
  readonly startServing: Effect.Effect<void, ListenError>

  /**
   * Begins to accept where it has not (a failure of which is a defect here), and waits until the server is closed.
   *
   * **Interruption** does not close it.
   */
  readonly serveForever: Effect.Effect<void>

  /**
   * Changes the certificates and all else that new connections are met with, where the server has TLS. Those that are
   * open go on with what they have.
   *
   * **Errors**: `TlsError` `"InvalidOptions"`; then nothing has changed.
   */
  setTls(options: Tls.ServerOptions): Effect.Effect<void, TlsError>

  /** Accepts no more, and frees the addresses. Connections go on. */
  readonly close: Effect.Effect<void>

  /**
   * Closes every connection in order, and waits for their end: as long as the slowest takes, and `closeTimeout` at most.
   * Handlers see their reads fail with `"Closed"`. The server goes on to accept.
   *
   * **Interruption** stops waiting; the closes that have begun go on.
   */
  readonly closeClients: Effect.Effect<void>

  /** Aborts every connection, and waits for their end. Handlers see their reads fail with `"Aborted"`. */
  readonly abortClients: Effect.Effect<void>

  /**
   * Waits until the server is closed, every connection has ended and every handler has returned. Causes none of it.
   *
   * **Interruption** of one who waits leaves the others waiting.
   */
  readonly awaitClosed: Effect.Effect<void>

  /**
   * Closes the server, lets handlers finish for `gracePeriod`, then closes their connections, then interrupts the
   * handlers that this did not end.
   *
   * **Details**
   *
   * A handler that waits for its client's next request is not told of this: the README ("Ending") shows how to end one
   * between two requests. The connection of a handler that returns is closed as ever, and its client given time to end
   * its side; as soon as all handlers have returned and their connections have closed, all is over.
   *
   * The scope's end does the same. A close that is late aborts its connection, so the whole is bounded by the grace
   * period and `closeTimeout`; a handler that can't be interrupted is left behind after that. A second call waits for
   * the first.
   *
   * **Interruption** stops waiting; the shutdown goes on.
   */
  readonly shutdown: (
    options?: { readonly gracePeriod?: Duration.DurationInput | undefined } | undefined
  ) => Effect.Effect<ShutdownReport>

  /** The connections that are open now. */
  readonly connections: Effect.Effect<ReadonlyArray<Connection.Connection>>
}

/**
 * The server as a service, for programs made of layers.
 *
 * @since 0.1.0
 * @category tags
 */
export const Server: Context.Tag<Server, Server> = Context.GenericTag<Server>("effect-netstreams/Server")

/**
 * What the servers of this process count, as metrics of Effect: they reach whatever exports those.
 *
 * **Details**
 *
 * All names begin with `netstreams_server_`. A server's numbers have the labels of whoever started it, so two servers can
 * be told apart by `Effect.tagMetrics`.
 *
 * - `connections_active`: gauge; connections that have a handler
 * - `connections_waiting`: gauge; connections that wait for a place
 * - `connections_accepted`: counter; connections that were given to a handler
 * - `connections_rejected`: counter, by `limit`: `MaxConnections`, `MaxHandshakes`, `Descriptors`, and `Closing` for those
 *   that still waited for a place or their handshake when the server closed, or were in the middle of it
 * - `connections_closed`: counter, by `reason`: `Peer`, `Local`, `Aborted`, or that of the `ConnectionError`
 * - `bytes_received`, `bytes_sent`: counters
 * - `connection_duration_seconds`: histogram
 * - `handshake_duration_seconds`: histogram; TLS handshakes that succeeded, whatever became of the connection then
 * - `handshakes_failed`: counter; those that the server broke off to close are `Closing`
 *
 * @since 0.1.0
 * @category metrics
 * @example
 * ```ts
 * import { Network, Server } from "effect-netstreams"
 * import { Effect, Metric } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   yield* Network.startServer({ port: 8888 }, ({ writer }) => writer.write("hello\n")).pipe(
 *     Effect.tagMetrics("server", "greeter")
 *   )
 *   const { value } = yield* Metric.value(Server.metrics.connectionsActive).pipe(Effect.tagMetrics("server", "greeter"))
 *   yield* Effect.log(`${value} connections`)
 * })
 * ```
 */
export const metrics: {
  readonly connectionsActive: Metric.Metric.Gauge<number>
  readonly connectionsWaiting: Metric.Metric.Gauge<number>
  readonly connectionsAccepted: Metric.Metric.Counter<number>
  readonly connectionsRejected: Metric.Metric.Counter<number>
  readonly connectionsClosed: Metric.Metric.Counter<number>
  readonly bytesReceived: Metric.Metric.Counter<number>
  readonly bytesSent: Metric.Metric.Counter<number>
  readonly connectionDuration: Metric.Metric.Histogram<number>
  readonly handshakeDuration: Metric.Metric.Histogram<number>
  readonly handshakesFailed: Metric.Metric.Counter<number>
} = serverMetrics.metrics

/**
 * A server over a listener of any backend. The scope shuts it down.
 *
 * **Interruption**
 *
 * Nothing interrupts `listen`, but for what it puts into `restore`. Where it fails, connections that it has handed over
 * are closed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: <E, R>(
  listen: (
    acceptor: Transport.Acceptor,
    restore: Transport.Restore
  ) => Effect.Effect<Transport.Listener, ListenError>,
  options: Options & { readonly startServing?: boolean | undefined },
  handler: Handler<E, R>
) => Effect.Effect<Server, ListenError, Scope.Scope | Exclude<R, Scope.Scope>> = internal.make

/**
 * A server for as long as the layer lives.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { NodeNetwork, Server } from "effect-netstreams"
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Layer, Stream } from "effect"
 *
 * const Echo = Server.layer({ host: "127.0.0.1", port: 8888 }, ({ reader, writer }) =>
 *   reader.bytes.pipe(Stream.run(writer.sink)))
 *
 * NodeRuntime.runMain(Layer.launch(Echo.pipe(Layer.provide(NodeNetwork.layer))))
 * ```
 */
export const layer = <E, R>(
  options: Network.ListenOptions,
  handler: Handler<E, R>
): Layer.Layer<Server, ListenError, Network.Network | Exclude<R, Scope.Scope>> =>
  Layer.scoped(Server, Network.startServer(options, handler))

/**
 * The same on a Unix socket.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Server } from "effect-netstreams"
 * import { Stream } from "effect"
 *
 * const Echo = Server.layerUnix("/run/echo/echo.sock", { mode: 0o660 }, ({ reader, writer }) =>
 *   reader.bytes.pipe(Stream.run(writer.sink)))
 * ```
 */
export const layerUnix = <E, R>(
  path: string,
  options: Network.UnixListenOptions,
  handler: Handler<E, R>
): Layer.Layer<Server, ListenError, Network.Network | Exclude<R, Scope.Scope>> =>
  Layer.scoped(Server, Network.startUnixServer(path, options, handler))

/**
 * A server whose options come from the program's configuration.
 *
 * **Errors**: `ConfigError` where something is missing or no value of its kind.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Server } from "effect-netstreams"
 * import { Config, Stream } from "effect"
 *
 * const Echo = Server.layerConfig(
 *   Config.all({
 *     host: Config.string("HOST"),
 *     port: Config.integer("PORT"),
 *     maxConnections: Config.withDefault(Config.integer("MAX_CONNECTIONS"), 1000),
 *     tls: Config.all({
 *       certificate: Config.string("TLS_CERTIFICATE"),
 *       key: Config.redacted("TLS_KEY")
 *     })
 *   }),
 *   ({ reader, writer }) => reader.bytes.pipe(Stream.run(writer.sink))
 * )
 * ```
 */
export const layerConfig = <E, R>(
  options: Config.Config<Network.ListenOptions>,
  handler: Handler<E, R>
): Layer.Layer<Server, ListenError | ConfigError.ConfigError, Network.Network | Exclude<R, Scope.Scope>> =>
  Layer.scoped(Server, Effect.flatMap(options, (options) => Network.startServer(options, handler)))
