/**
 * The network as a service: open connections, start servers.
 *
 * A program names the service, and its entry point chooses the backend: `NodeNetwork.layer` for the sockets of the
 * operating system.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Connection from "./Connection.js"
import * as internal from "./internal/network.js"
import type { ConnectError, ListenError, TlsError } from "./NetworkError.js"
import type * as Server from "./Server.js"
import type * as Tls from "./Tls.js"
import type * as Transport from "./Transport.js"

/**
 * How to open a TCP connection.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectOptions extends Transport.TcpDialOptions, Connection.Options {}

/**
 * How to open a connection to a Unix socket.
 *
 * @since 0.1.0
 * @category options
 */
export interface UnixConnectOptions extends Omit<Transport.UnixDialOptions, "tls">, Connection.Options {
  /** TLS: off by default. A path has no host's name to expect, so a name must be said, or nothing verified. */
  readonly tls?: false | Tls.NamedClientOptions | undefined
}

/**
 * How to serve TCP.
 *
 * @since 0.1.0
 * @category options
 */
export interface ListenOptions extends Transport.TcpListenOptions, Server.Options {}

/**
 * How to serve on a Unix socket.
 *
 * @since 0.1.0
 * @category options
 */
export interface UnixListenOptions extends Transport.UnixListenOptions, Server.Options {}

/**
 * What the service can do. Each method exists as an accessor of the same name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly openConnection: (
    options: ConnectOptions
  ) => Effect.Effect<Connection.Connection, ConnectError | TlsError, Scope.Scope>
  readonly openUnixConnection: (
    path: string,
    options?: UnixConnectOptions | undefined
  ) => Effect.Effect<Connection.Connection, ConnectError | TlsError, Scope.Scope>
  readonly startServer: <E, R>(
    options: ListenOptions,
    handler: Server.Handler<E, R>
  ) => Effect.Effect<Server.Server, ListenError, Scope.Scope | Exclude<R, Scope.Scope>>
  readonly startUnixServer: <E, R>(
    path: string,
    options: UnixListenOptions,
    handler: Server.Handler<E, R>
  ) => Effect.Effect<Server.Server, ListenError, Scope.Scope | Exclude<R, Scope.Scope>>
}

/**
 * The service, as what a program requires. Its entry point provides it: `NodeNetwork.layer`, or `TestNetwork.layer` in
 * tests.
 *
 * @since 0.1.0
 * @category tags
 */
export class Network extends Context.Tag("effect-netstreams/Network")<Network, Service>() {}

/**
 * The service over a backend: the sockets of the operating system, a network in memory, or one of your own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (backend: Transport.Backend) => Service = internal.make

/**
 * Opens a TCP connection. The scope closes it.
 *
 * **Details**
 *
 * All addresses of a name are tried, in turn and beside each other as RFC 8305 has it, and the first that answers wins.
 *
 * Each lookup is a span, `dns.lookup`, and so is each attempt, `tcp.connect` (`unix.connect` for a Unix socket), with
 * OpenTelemetry's attributes: `server.address`, `network.peer.address`, `network.peer.port`, `error.type` and so on. They
 * are made inside another span, or where the program has a tracer of its own. How each ended is a line at debug level,
 * annotated with the same attributes.
 *
 * **Interruption** leaves no socket, timer or descriptor behind.
 *
 * **Errors**: `ConnectError`, with what became of each address. Arguments that can't be right are defects.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Network, NodeNetwork } from "effect-netstreams"
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Console, Effect } from "effect"
 *
 * const client = Effect.gen(function*() {
 *   const { reader, writer } = yield* Network.openConnection({ host: "127.0.0.1", port: 8888 })
 *   yield* writer.write("Hello World!")
 *   const data = yield* reader.read(100)
 *   yield* Console.log(new TextDecoder().decode(data))
 * }).pipe(Effect.scoped)
 *
 * NodeRuntime.runMain(client.pipe(Effect.provide(NodeNetwork.layer)))
 * ```
 */
export const openConnection = (
  options: ConnectOptions
): Effect.Effect<Connection.Connection, ConnectError | TlsError, Network | Scope.Scope> =>
  Effect.withFiberRuntime((fiber) =>
    Context.unsafeGet(fiber.currentContext as Context.Context<Network>, Network).openConnection(options)
  )

/**
 * Opens a connection to a Unix socket. The scope closes it.
 *
 * **Details**
 *
 * On Linux a path that begins with a NUL is a name in the abstract namespace.
 *
 * **Interruption** leaves no socket, timer or descriptor behind.
 *
 * **Errors**: `ConnectError`, with the path as its target: `"NotFound"` where there is no such file, `"Refused"` where
 * nobody listens or the listener's queue is full. `TlsError` where TLS was asked for. Arguments that can't be right are
 * defects.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Network } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const version = Effect.gen(function*() {
 *   const { reader, writer } = yield* Network.openUnixConnection("/var/run/docker.sock", { connectTimeout: "1 second" })
 *   yield* writer.write("GET /version HTTP/1.0\r\n\r\n")
 *   return new TextDecoder().decode(yield* reader.readAll())
 * }).pipe(Effect.scoped)
 * ```
 */
export const openUnixConnection = (
  path: string,
  options?: UnixConnectOptions | undefined
): Effect.Effect<Connection.Connection, ConnectError | TlsError, Network | Scope.Scope> =>
  Effect.flatMap(Network, (network) => network.openUnixConnection(path, options))

/**
 * Starts a TCP server and runs `handler` for each connection, in a fiber and a scope of its own. The scope shuts the
 * server down.
 *
 * **Details**
 *
 * In a worker of `node:cluster` the address is shared with the other workers, unless `reusePort` is true. A worker that
 * the primary disconnects accepts no more: its server is closed, and `serveForever` returns.
 *
 * **Interruption** leaves nothing bound. Once it has succeeded, interruption is the scope's business.
 *
 * **Errors**: `ListenError` where an address can't be listened on; then none is. Arguments that can't be right are
 * defects. What goes wrong with a connection later on goes to `onError`.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Address, Network, NodeNetwork } from "effect-netstreams"
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Console, Effect, Stream } from "effect"
 *
 * const server = Effect.gen(function*() {
 *   const server = yield* Network.startServer({ host: "127.0.0.1", port: 8888 }, ({ reader, writer }) =>
 *     reader.lines().pipe(Stream.map((line) => `${line}\n`), Stream.run(writer.sink)))
 *   yield* Console.log(server.addresses.map(Address.format))
 *   yield* server.serveForever
 * }).pipe(Effect.scoped)
 *
 * NodeRuntime.runMain(server.pipe(Effect.provide(NodeNetwork.layer)))
 * ```
 */
export const startServer = <E, R>(
  options: ListenOptions,
  handler: Server.Handler<E, R>
): Effect.Effect<Server.Server, ListenError, Network | Scope.Scope | Exclude<R, Scope.Scope>> =>
  Effect.flatMap(Network, (network) => network.startServer(options, handler))

/**
 * Starts a server on a Unix socket.
 *
 * **Details**
 *
 * A socket file that nobody listens on is replaced, unless `unlinkStale` is false. The file is removed with the server,
 * where it is still the one that this server made. `mode` is in force before anyone can connect.
 *
 * Nobody shares a path: of the workers of `node:cluster` only one can have it, and each other needs a path of its own.
 *
 * **Interruption** leaves neither a socket nor a file.
 *
 * **Errors**: `ListenError`: `"AddressInUse"` where another server accepts connections there, or a file is there that is
 * no socket; `"NotFound"` and `"PermissionDenied"` are about the directory. Arguments that can't be right are defects.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Network } from "effect-netstreams"
 * import { Effect, Stream } from "effect"
 *
 * const echo = Network.startUnixServer("/run/echo/echo.sock", { mode: 0o660 }, ({ reader, writer }) =>
 *   reader.bytes.pipe(Stream.run(writer.sink))).pipe(
 *   Effect.flatMap((server) => server.serveForever),
 *   Effect.scoped
 * )
 * ```
 */
export const startUnixServer = <E, R>(
  path: string,
  options: UnixListenOptions,
  handler: Server.Handler<E, R>
): Effect.Effect<Server.Server, ListenError, Network | Scope.Scope | Exclude<R, Scope.Scope>> =>
  Effect.flatMap(Network, (network) => network.startUnixServer(path, options, handler))
