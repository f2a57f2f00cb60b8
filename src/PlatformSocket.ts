/**
 * To and from the `Socket` and `SocketServer` of `@effect/platform`.
 *
 * Code that is written against those (RPC's protocols, DevTools, `Socket.toChannel`) runs over the connections of this
 * library, with TLS, racing addresses, time limits and a network in memory: `fromConnection`, `layerSocket`,
 * `layerServer`. And a socket of the platform's, such as a WebSocket, gets a reader and a writer: `toConnection`.
 *
 * A socket that is made here does as the platform's own (`NodeSocket`) does, but for this:
 *
 * - A slow handler holds the peer up, where `NodeSocket` takes in all that comes (`Options.window`).
 * - At the end of the stream handlers that are still at work may finish, where `NodeSocket` interrupts them and succeeds
 *   (`Options.finishTimeout`).
 * - The end of the peer's side ends `run`, but not the connection: what was asked before it can still be answered.
 * - A write never hangs because nobody runs the socket: where there is a connection it writes, and after that has ended it
 *   fails. It returns when the write buffer has room, and not only when the system has taken the bytes.
 * - A `CloseEvent` closes in order, after what was written before it, and `run` fails with a `SocketCloseError` that has its
 *   code, whichever that is. TCP has no means to tell the peer.
 * - The `cause` of an error is ours: a `ConnectionError`, `ConnectError` or `TlsError`. (A `SocketCloseError` has one too,
 *   which its type does not know.)
 * - An exception in a handler that returns no effect is a defect of `run`, where it would end the process.
 *
 * `Socket.toChannel` and its kin queue what arrives without a bound, whatever socket they are given: where the consumer
 * may be slow, use `reader.bytes`.
 *
 * @since 0.1.0
 */
import * as Socket from "@effect/platform/Socket"
import * as SocketServer from "@effect/platform/SocketServer"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Address from "./Address.js"
import type * as Connection from "./Connection.js"
import * as internal from "./internal/platformSocket.js"
import * as server from "./internal/platformSocketServer.js"
import * as transport from "./internal/platformSocketTransport.js"
import * as Network from "./Network.js"
import type { ConnectError, ConnectionError, ListenError, TlsError } from "./NetworkError.js"

/**
 * How a socket runs its handler.
 *
 * **Details**
 *
 * The handler is called with each chunk, in order. Where it returns an effect, that runs in a fiber of its own, and the
 * next chunk need not wait for it: programs for `@effect/platform` rely on that (a handler of RPC waits for room in a
 * stream, which a later chunk may bring). One that never has to wait has ended before the next begins.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * How many handlers may be at work at once: `"unbounded"`, but for the window. With 1, chunks are handled one after
   * another, to the end of each. A handler that waits for a later chunk then waits for ever.
   */
  readonly concurrency?: number | "unbounded" | undefined
  /**
   * How many bytes the handlers that have not returned may have between them before nothing more is read, which stops the
   * peer: 1 MiB. A chunk is at most 64 KiB, and counts as 1 KiB at least.
   */
  readonly window?: number | undefined
  /**
   * How long handlers may go on after the end of the stream: 5 seconds. Those that are late are interrupted, and `run`
   * fails. With 0 they are interrupted at once, and that is no failure, as `NodeSocket` has it. A connection that fails
   * interrupts them in any case.
   */
  readonly finishTimeout?: Duration.DurationInput | undefined
}

/**
 * A connection as a platform socket.
 *
 * **Details**
 *
 * `run` reads the connection to its end, and nobody else may read meanwhile. It succeeds when the peer has ended its side
 * and the handlers have returned; it fails as the first handler that fails, or as the connection does. The connection is
 * not closed by that: its scope does it, or the server whose handler it is. A `run` that was interrupted leaves what it
 * has not handed to a handler to the next.
 *
 * A writer may write before `run` and after it, and any number of fibers at once. The end of its scope is the end of the
 * writing side (FIN), while reading goes on; nothing happens then where the connection's `canWriteEof` is false.
 *
 * **Interruption** of `run` interrupts the handlers and waits for them.
 *
 * **Errors**: `SocketGenericError` `"Read"` or `"Write"` with the `ConnectionError` as its cause. Reading after this side has
 * closed the connection is `SocketCloseError` with 1000, or the code of the `CloseEvent`; after it was aborted, 1006. Options
 * that can't be right are thrown.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Network, PlatformSocket } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const echo = Network.startServer({ port: 8888 }, (connection) =>
 *   Effect.gen(function*() {
 *     const socket = PlatformSocket.fromConnection(connection, { concurrency: 1 })
 *     const write = yield* socket.writer
 *     yield* socket.run((bytes) => write(bytes))
 *   }))
 * ```
 */
export const fromConnection: (
  connection: Connection.Connection,
  options?: Options | undefined
) => Socket.Socket = internal.fromConnection

/**
 * What a platform socket can be told that is to be a connection.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectionOptions extends Connection.Options {
  /**
   * Whether the end of the socket's writer ends the writing side alone: false, for a WebSocket has no such end. It is true
   * of `NodeSocket`. Where it is false, to end the writing side is to close the socket, with code 1000.
   */
  readonly canWriteEof?: boolean | undefined
  /**
   * How many bytes may wait while the reader is full before the socket is given up: 16 MiB. One message more than that is
   * held at most.
   */
  readonly maxPending?: number | undefined
  /** Which close codes are failures: all but 1000 (normal), 1001 (going away) and 1005 (none given). */
  readonly closeCodeIsError?: ((code: number) => boolean) | undefined
  /** What there is to know of the socket's ends, for it does not say: unnamed ones by default. */
  readonly localAddress?: Address.Address | undefined
  readonly remoteAddress?: Address.Address | undefined
}

/**
 * A platform socket as a connection: a WebSocket, or whatever else there is a `Socket` of. The scope closes it.
 *
 * **Details**
 *
 * The socket is run, so nobody else may run it, and the connection is there when it has opened. The connection is a stream
 * of bytes: the borders of the messages that come are lost, and text comes as UTF-8. Each `write` or `writeAll` is one
 * message of bytes.
 *
 * A platform socket can't be paused. What arrives while the reader is full waits in memory, `maxPending` bytes at most; past
 * that the connection fails (`"Unknown"`, `ENOBUFS`), once what had come has been read. So over a WebSocket the two programs
 * have to see to it that neither sends more than that unasked. (A socket that was made by `fromConnection` is held up
 * before, as long as its `window` is less than `maxPending`.) Nor does a WebSocket say when what it was given to send has
 * left: writing to one is held up by nobody.
 *
 * When the socket's `run` succeeds, or fails with a close code that is no failure, the peer has ended in order, and nothing
 * can be written any more. An abort is a close with code 4000.
 *
 * **Interruption** leaves no socket behind.
 *
 * **Errors**: `ConnectionError` where the socket does not open. Afterwards: `"Reset"` for code 1006, `"Unknown"` for other
 * close codes, with the number as `code`; for other failures, the reason that the cause's errno stands for. `Socket.makeWebSocket`
 * takes 1006, which is a connection that was cut off, for an end in order, unless it is told otherwise:
 * `closeCodeIsError: (code) => code !== 1000`.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { PlatformSocket } from "effect-netstreams"
 * import { Socket } from "@effect/platform"
 * import { Effect } from "effect"
 *
 * const greeting = Effect.gen(function*() {
 *   const webSocket = yield* Socket.makeWebSocket("wss://example.org/lines", {
 *     closeCodeIsError: (code) => code !== 1000
 *   })
 *   const { reader, writer } = yield* PlatformSocket.toConnection(webSocket)
 *   yield* writer.write("hello\n")
 *   return new TextDecoder().decode(yield* reader.readLine)
 * }).pipe(Effect.scoped, Effect.provide(Socket.layerWebSocketConstructorGlobal))
 * ```
 */
export const toConnection: (
  socket: Socket.Socket,
  options?: ConnectionOptions | undefined
) => Effect.Effect<Connection.Connection, ConnectionError, Scope.Scope> = transport.toConnection

/**
 * How to open a connection that is a platform socket.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectOptions extends Network.ConnectOptions, Options {}

/**
 * The same for a Unix socket.
 *
 * @since 0.1.0
 * @category options
 */
export interface UnixConnectOptions extends Network.UnixConnectOptions, Options {}

/**
 * A platform socket over a connection that is opened now. The scope closes it.
 *
 * **Details**
 *
 * The first `run` has this connection. It is closed when that ends, however it does, and each later `run` opens another, as
 * those of `NodeSocket` do: so a program that runs its socket again has reconnected. A write waits while that goes on, and
 * fails while no connection is open nor being opened.
 *
 * **Interruption** leaves nothing behind, as with `Network.openConnection`.
 *
 * **Errors**: those of `Network.openConnection`. A later `run` fails with `SocketGenericError` `"Open"`, or `"OpenTimeout"`
 * where it took too long, with the same as its cause; otherwise as with `fromConnection`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeSocket = (
  options: ConnectOptions
): Effect.Effect<Socket.Socket, ConnectError | TlsError, Network.Network | Scope.Scope> =>
  Effect.flatMap(Network.Network, (network) => internal.makeSocket(network.openConnection(options), options))

/**
 * The same over a Unix socket.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeUnixSocket = (
  path: string,
  options: UnixConnectOptions = {}
): Effect.Effect<Socket.Socket, ConnectError | TlsError, Network.Network | Scope.Scope> =>
  Effect.flatMap(Network.Network, (network) => internal.makeSocket(network.openUnixConnection(path, options), options))

/**
 * A platform socket over a connection, which is opened with the layer: see `makeSocket`.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { NodeNetwork, PlatformSocket } from "effect-netstreams"
 * import { Socket } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * // Written for any socket of the platform's.
 * const program = Effect.gen(function*() {
 *   const socket = yield* Socket.Socket
 *   const write = yield* socket.writer
 *   yield* write("hello\n")
 *   yield* socket.run((bytes) => Effect.log(bytes.length))
 * }).pipe(Effect.scoped)
 *
 * const Secure = PlatformSocket.layerSocket({ host: "example.org", port: 443, tls: true, connectTimeout: "5 seconds" })
 *
 * const main = program.pipe(Effect.provide(Secure.pipe(Layer.provide(NodeNetwork.layer))))
 * ```
 */
export const layerSocket = (
  options: ConnectOptions
): Layer.Layer<Socket.Socket, ConnectError | TlsError, Network.Network> =>
  Layer.scoped(Socket.Socket, makeSocket(options))

/**
 * The same over a Unix socket.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUnixSocket = (
  path: string,
  options: UnixConnectOptions = {}
): Layer.Layer<Socket.Socket, ConnectError | TlsError, Network.Network> =>
  Layer.scoped(Socket.Socket, makeUnixSocket(path, options))

/**
 * How to serve TCP as a platform server.
 *
 * @since 0.1.0
 * @category options
 */
export interface ListenOptions extends Network.ListenOptions, Options {}

/**
 * How to serve on a Unix socket as a platform server.
 *
 * @since 0.1.0
 * @category options
 */
export interface UnixListenOptions extends Network.UnixListenOptions, Options {}

/**
 * A platform server, which listens from now on. The scope shuts it down.
 *
 * **Details**
 *
 * `address` is the first that it listens on. Connections that come before `run` wait for it, `backlog` of them at most (100);
 * whoever comes on top is reset. Each connection is given to the `run` that was called last, as with `NodeSocketServer`.
 *
 * A handler runs with the services of whoever called `run`, and within the server: `maxConnections` and the other limits
 * count, its failure goes to `onError` (by default an error in the log, where `NodeSocketServer` logs at debug level), and its
 * connection is closed when it ends, whether it ran its socket or not.
 *
 * A `run` that is interrupted is given no more connections. Its handlers may go on for `gracePeriod` (1 second), and
 * are interrupted then. `NodeSocketServer` does that at once: `gracePeriod: 0`. The end of the scope closes the connections
 * that wait, lets handlers finish in the same way, and then `run` fails with `SocketServerError` `"Unknown"`.
 *
 * With `startServing: false` the address is bound and refuses until the first `run`, which fails with `"Open"` where it
 * has been taken in the meantime.
 *
 * **Errors**: `ListenError`, as with `Network.startServer`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeServer = (
  options: ListenOptions
): Effect.Effect<SocketServer.SocketServer["Type"], ListenError, Network.Network | Scope.Scope> =>
  server.makeServer((handler) => Network.startServer(options, handler), options)

/**
 * The same on a Unix socket.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeUnixServer = (
  path: string,
  options: UnixListenOptions
): Effect.Effect<SocketServer.SocketServer["Type"], ListenError, Network.Network | Scope.Scope> =>
  server.makeServer((handler) => Network.startUnixServer(path, options, handler), options)

/**
 * A platform server for as long as the layer lives: see `makeServer`.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { NodeNetwork, PlatformSocket } from "effect-netstreams"
 * import { SocketServer } from "@effect/platform"
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 *
 * // Written for any server of the platform's.
 * const Echo = Layer.scopedDiscard(Effect.gen(function*() {
 *   const server = yield* SocketServer.SocketServer
 *   yield* server.run((socket) =>
 *     Effect.scoped(Effect.flatMap(socket.writer, (write) => socket.run((bytes) => write(bytes))))
 *   ).pipe(Effect.forkScoped)
 * }))
 *
 * const Server = PlatformSocket.layerServer({ host: "127.0.0.1", port: 8888, maxConnections: 1000 })
 *
 * NodeRuntime.runMain(Layer.launch(Echo.pipe(Layer.provide(Server), Layer.provide(NodeNetwork.layer))))
 * ```
 */
export const layerServer = (
  options: ListenOptions
): Layer.Layer<SocketServer.SocketServer, ListenError, Network.Network> =>
  Layer.scoped(SocketServer.SocketServer, makeServer(options))

/**
 * The same on a Unix socket.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUnixServer = (
  path: string,
  options: UnixListenOptions
): Layer.Layer<SocketServer.SocketServer, ListenError, Network.Network> =>
  Layer.scoped(SocketServer.SocketServer, makeUnixServer(path, options))

/**
 * An address of ours as the platform writes it. The end of a Unix socket that has no name gets an empty path.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Address, PlatformSocket } from "effect-netstreams"
 *
 * console.log(PlatformSocket.fromAddress(Address.tcp("::1", 80))) // { _tag: "TcpAddress", hostname: "::1", port: 80 }
 * ```
 */
export const fromAddress: (address: Address.Address) => SocketServer.Address = internal.fromAddress

/**
 * An address of the platform's as one of ours.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toAddress: (address: SocketServer.Address) => Address.Address = internal.toAddress
