/**
 * The sockets of the operating system, by way of Node's `net`: the network of a program that runs for real.
 *
 * Beside the layer there is the way in for what exists already: a socket that another library connected, any duplex
 * stream of bytes, a server or a listening descriptor that somebody else made (asyncio's `sock=`).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import { TLSSocket } from "node:tls"
import * as Address from "./Address.js"
import * as Connection from "./Connection.js"
import * as argument from "./internal/argument.js"
import { optionProblem, tlsProblem } from "./internal/connection.js"
import { connectionFailure } from "./internal/errno.js"
import { socketProblem } from "./internal/network.js"
import { addressOf, adoptDescriptor, adoptServer } from "./internal/node/adoption.js"
import { backend } from "./internal/node/backend.js"
import * as inherited from "./internal/node/inheritedListeners.js"
import { settingsOn } from "./internal/node/socketSettings.js"
import { connectTls } from "./internal/node/tls/client.js"
import { withTls } from "./internal/node/tls/listener.js"
import { fromTlsSocket } from "./internal/node/tls/transport.js"
import { upgrade } from "./internal/node/tls/upgrade.js"
import * as transports from "./internal/node/transport.js"
import { checked } from "./internal/server.js"
import * as Network from "./Network.js"
import { ConnectionError, type ListenError } from "./NetworkError.js"
import type * as Server from "./Server.js"
import type * as Tls from "./Tls.js"
import type * as Transport from "./Transport.js"

/**
 * The network of the operating system, as a value.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Network.Service> = Effect.sync(() => Network.make(backend))

/**
 * The network of the operating system.
 *
 * **Details**
 *
 * Names are looked up by the system's resolver, or by a `Resolver` that the program provides.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Network, NodeNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const time = Effect.gen(function*() {
 *   const { reader } = yield* Network.openConnection({ host: "time.nist.gov", port: 13 })
 *   return new TextDecoder().decode(yield* reader.readAll())
 * }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
 * ```
 */
export const layer: Layer.Layer<Network.Network> = Layer.effect(Network.Network, make)

/**
 * TLS by `node:tls`, over transports of any kind: what gives a `TestNetwork` TLS.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { NodeNetwork, TestNetwork } from "effect-netstreams"
 *
 * const network = TestNetwork.layerWith({ tls: NodeNetwork.tls })
 * ```
 */
export const tls: Transport.TlsProvider = { connect: connectTls, upgrade, listen: withTls }

/**
 * What an adopted socket can be told, beside what every connection can.
 *
 * @since 0.1.0
 * @category options
 */
export interface SocketOptions extends Connection.Options, Transport.SocketOptions {}

/**
 * What a server on an adopted listener can be told.
 *
 * @since 0.1.0
 * @category options
 */
export interface AdoptOptions extends Server.Options, Transport.SocketOptions {
  /** How many connections may wait to be accepted, where a descriptor is adopted: 100. */
  readonly backlog?: number | undefined
  /** Whether to accept at once: true. Otherwise whoever connects is reset until `startServing`. */
  readonly startServing?: boolean | undefined
  /** TLS for every connection: off by default. */
  readonly tls?: Tls.ServerOptions | undefined
}

const failed = (
  reason: ConnectionError["reason"],
  detail: string,
  cause?: unknown,
  code?: string | undefined
): Effect.Effect<never, ConnectionError> =>
  Effect.fail(
    new ConnectionError({
      reason,
      operation: "read",
      remoteAddress: Option.none(),
      code: Option.fromNullable(code),
      cause,
      detail: Option.some(detail)
    })
  )

/** Sockets that are to be adopted when they have connected. */
const awaited = new WeakSet<Net.Socket>()

/** What keeps a stream from being adopted: it can't be read as bytes, or not by us alone, or the options are wrong. */
const problemOf = (stream: Duplex, options: Connection.Options | undefined): argument.Problem => {
  const problem = argument.given("the stream", stream) ?? optionProblem(options ?? {})
  if (problem !== undefined) {
    return problem
  }
  if (!stream.destroyed && transports.ownerOf(stream) !== undefined) {
    return adoptedAlready
  }
  if (stream.readableEncoding !== null) {
    return `a stream with setEncoding("${stream.readableEncoding}") delivers strings, and can't be read as bytes`
  }
  if (stream.readableObjectMode || stream.writableObjectMode) {
    return "a stream in object mode can't be read and written as bytes"
  }
  return stream.listenerCount("readable") > 0
    ? "the stream has a listener for \"readable\", which takes what is to be read here: remove it first"
    : undefined
}

const adoptedAlready = "the stream has been adopted already: share the connection that it has become"

const connected = (socket: Net.Socket): Effect.Effect<void, ConnectionError> =>
  Effect.async((resume) => {
    const event = socket instanceof TLSSocket ? "secure" : "connect"
    const settle = (result: Effect.Effect<void, ConnectionError>) => {
      socket.removeListener(event, onConnect)
      socket.removeListener("error", onError)
      socket.removeListener("close", onClose)
      resume(result)
    }
    const onConnect = () => {
      // One that does not trust its peer has destroyed itself by now, and says why next.
      if (!socket.destroyed) {
        settle(Effect.void)
      }
    }
    const onClose = () => settle(failed("Closed", "the adopted socket was destroyed before it was connected"))
    const onError = (error: unknown) => {
      const { cause, code, reason } = connectionFailure(error)
      const why = error instanceof Error ? `: ${error.message}` : ""
      settle(failed(reason, `the adopted socket could not connect${why}`, cause, code))
    }
    socket.on(event, onConnect)
    socket.on("error", onError)
    socket.on("close", onClose)
    return Effect.sync(() => settle(Effect.void))
  })

const adopt = (
  stream: Duplex,
  options: Connection.Options | undefined,
  toTransport: () => Transport.Transport
): Effect.Effect<Connection.Connection, ConnectionError, Scope.Scope> =>
  Effect.suspend(() => {
    const problem = problemOf(stream, options)
    if (problem !== undefined) {
      return argument.illegal(problem)
    }
    if (stream.destroyed) {
      return failed("Closed", "what was to be adopted has been destroyed", stream.errored ?? undefined)
    }
    const writeEnded = stream.writableEnded
    return Effect.flatMap(
      Effect.sync(toTransport),
      (transport) => Connection.fromTransport(transport, options)
    ).pipe(
      // Its former owner has ended the writing side: the writer has to know.
      Effect.tap((connection) => writeEnded ? Effect.ignore(connection.writer.writeEof) : Effect.void)
    )
  })

/**
 * Takes over a socket, connected or connecting, and makes a connection of it. The scope closes it.
 *
 * **Details**
 *
 * From here on the socket is the connection's: nobody else may read, write, end or destroy it. What it has received and
 * not handed out is delivered, and half-closing works whatever the socket was made with, but for one made with `onread`,
 * whose bytes go elsewhere. The addresses of a Unix socket are unnamed, for Node knows no path.
 *
 * Small writes are sent at once, whatever the socket was told before, unless `noDelay` is false; its keep-alive stays as
 * it is, unless `keepAlive` says something.
 *
 * A socket of `node:tls` is taken over when its handshake is done, and `connection.tls` says what that has settled. But its
 * end is taken for one in order with or without close_notify, which Node does not tell apart; and a client's that resumed
 * a session is not `authorized`, for there is no certificate to see. To adopt the socket below it and call `startTls`
 * avoids both.
 *
 * **Interruption**
 *
 * While the socket still connects, it is destroyed.
 *
 * **Errors**
 *
 * `ConnectionError` with the reason `"Closed"` where the socket is destroyed already, and with that of its failure where
 * it could not connect. A socket that was told to deliver strings (`setEncoding`), that nobody has connected, or that has
 * been adopted already, is a defect; it is left as it is, and so it is where the options can't be right.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { NodeNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 * import * as Net from "node:net"
 *
 * const hello = Effect.gen(function*() {
 *   const { writer } = yield* NodeNetwork.fromSocket(Net.connect(8888, "127.0.0.1"))
 *   yield* writer.write("hello\n")
 * }).pipe(Effect.scoped)
 * ```
 */
export const fromSocket = (
  socket: Net.Socket,
  options?: SocketOptions | undefined
): Effect.Effect<Connection.Connection, ConnectionError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const problem = problemOf(socket, options) ?? socketProblem(options ?? {}) ??
        (awaited.has(socket) ? adoptedAlready : undefined)
      if (problem !== undefined) {
        return argument.illegal(problem)
      }
      const adopted = adopt(socket, options, () => {
        settingsOn(socket, options ?? {})
        return fromTlsSocket(socket) ?? transports.fromSocket(socket)
      })
      if (socket.connecting || isShakingHands(socket)) {
        awaited.add(socket)
        return Effect.onError(restore(connected(socket)), () => Effect.sync(() => discard(socket))).pipe(
          Effect.zipRight(adopted),
          Effect.ensuring(Effect.sync(() => awaited.delete(socket)))
        )
      }
      return socket.pending && !socket.destroyed
        ? argument.illegal("the socket is not connected, and not connecting")
        : adopted
    })
  )

/** What is settled by ALPN is `false` or a name when the handshake is done. */
const isShakingHands = (socket: Net.Socket): boolean =>
  socket instanceof TLSSocket && !socket.destroyed && socket.alpnProtocol === null

/** Its error may still be on the way. */
const discard = (socket: Net.Socket): void => {
  socket.on("error", () => {})
  socket.destroy()
}

/**
 * Takes over any duplex stream of bytes, and makes a connection of it. The scope closes it.
 *
 * **Details**
 *
 * The stream may be a child's input and output, an SSH channel, one end of a pair in memory. Both addresses are unnamed
 * (`unix:`). A `net.Socket` is treated as by `fromSocket`. Where somebody else ends its writing side, the connection fails
 * with the next write.
 *
 * **Errors**
 *
 * `ConnectionError` with the reason `"Closed"` where the stream is destroyed already. A stream of strings or of objects,
 * or one that has been adopted already, is a defect; it is left as it is.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { NodeNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 * import { spawn } from "node:child_process"
 * import { Duplex } from "node:stream"
 *
 * const sorted = Effect.gen(function*() {
 *   const child = spawn("sort")
 *   const { reader, writer } = yield* NodeNetwork.fromDuplex(
 *     Duplex.from({ writable: child.stdin, readable: child.stdout })
 *   )
 *   yield* writer.write("b\na\n")
 *   yield* writer.writeEof
 *   return yield* reader.readAll()
 * }).pipe(Effect.scoped)
 * ```
 */
export const fromDuplex = (
  duplex: Duplex,
  options?: Connection.Options | undefined
): Effect.Effect<Connection.Connection, ConnectionError, Scope.Scope> =>
  Effect.suspend(() =>
    duplex instanceof Net.Socket
      ? fromSocket(duplex, options)
      : Effect.uninterruptible(adopt(duplex, options, () => transports.fromDuplex(duplex)))
  )

/**
 * Takes over a listener, and serves on it: a `net.Server` that listens, or a descriptor that is bound. The scope shuts
 * the server down and closes the listener.
 *
 * **Details**
 *
 * A descriptor is what a supervisor hands to the process it starts: systemd's first is 3. The path of a Unix socket is
 * left in place, for it was not made here; that of a descriptor Node does not know, so the address is unnamed.
 *
 * A `net.Server` keeps its own listeners for `"connection"`, if it has any, and they see each socket first; one
 * that they have adopted is theirs. Where somebody else closes it, this server is closed as well: it accepts no more, and
 * `serveForever` returns.
 *
 * In a worker of `node:cluster` a descriptor is one of the primary's, as Node has it.
 *
 * **Errors**
 *
 * `ListenError` where the descriptor can't be listened on. A server that does not listen (yet) is a defect, and so are one
 * that has been adopted already, and one of `node:tls`: give the `net.Server` below it.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { NodeNetwork } from "effect-netstreams"
 * import { Effect, Stream } from "effect"
 *
 * // Started by systemd, which has bound the socket.
 * const echo = NodeNetwork.startServerOn({ fd: 3 }, {}, ({ reader, writer }) =>
 *   reader.bytes.pipe(Stream.run(writer.sink))).pipe(
 *   Effect.flatMap((server) => server.serveForever),
 *   Effect.scoped
 * )
 * ```
 */
export const startServerOn = <E, R>(
  server: Net.Server | { readonly fd: number },
  options: AdoptOptions,
  handler: Server.Handler<E, R>
): Effect.Effect<Server.Server, ListenError, Scope.Scope | Exclude<R, Scope.Scope>> =>
  // Whether it listens is asked when it is to.
  Effect.suspend(() =>
    checked(
      [
        listenerProblem(server),
        argument.positive("backlog", options.backlog),
        argument.oneOf("startServing", options.startServing, [true, false]),
        socketProblem(options),
        options.tls === undefined ? undefined : tlsProblem("tls: ", options.tls)
      ],
      (acceptor) =>
        withTls(
          options.tls,
          server instanceof Net.Server ? addressOf(server) : Address.unix(),
          acceptor,
          (acceptor) =>
            server instanceof Net.Server
              ? adoptServer(server, options, acceptor)
              : adoptDescriptor(server.fd, options, acceptor)
        ),
      options,
      handler
    )
  )

const listenerProblem = (server: Net.Server | { readonly fd: number }): string | undefined => {
  if (!(server instanceof Net.Server)) {
    return argument.given("server", server) ?? argument.given("fd", server.fd) ??
      argument.notNegative("fd", server.fd)
  }
  return "setSecureContext" in server
    ? "a tls.Server makes connections of its own: give the net.Server below it, and TLS as an option"
    : server.listening
    ? undefined
    : "the server does not listen: call startServerOn once it does"
}

/**
 * A listening descriptor that a supervisor handed over.
 *
 * @since 0.1.0
 * @category models
 */
export interface InheritedListener {
  /** What `startServerOn` takes. */
  readonly fd: number
  /** The name that the supervisor gave it (systemd's `FileDescriptorName=`), if it gave names. */
  readonly name: Option.Option<string>
}

/**
 * The listeners that systemd, or whoever speaks its protocol of socket activation, has handed to this process; in their
 * order. None where it was started in another way.
 *
 * **Details**
 *
 * They are told by the environment: `LISTEN_PID` says for which process they are, `LISTEN_FDS` how many there are, from
 * descriptor 3 on, and `LISTEN_FDNAMES` what they are called. With `unset` the three are removed from the environment, so
 * that no child takes them for its own; a second call then finds none.
 *
 * A process that stands between systemd and Node (`npm start`, a shell that does not `exec`) has another number than
 * `LISTEN_PID` says, and then there are none.
 *
 * **Errors**: `ListenError` where the environment has no numbers for numbers.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { NodeNetwork } from "effect-netstreams"
 * import { Effect, Option, Stream } from "effect"
 *
 * // Whatever the sockets of the unit are, all of them echo.
 * const echo = Effect.gen(function*() {
 *   for (const { fd, name } of yield* NodeNetwork.inheritedListeners()) {
 *     yield* NodeNetwork.startServerOn({ fd }, {}, ({ reader, writer }) => reader.bytes.pipe(Stream.run(writer.sink)))
 *     yield* Effect.log(`serving on ${Option.getOrElse(name, () => `descriptor ${fd}`)}`)
 *   }
 *   yield* Effect.never
 * }).pipe(Effect.scoped)
 * ```
 */
export const inheritedListeners = (
  options?: { readonly unset?: boolean | undefined } | undefined
): Effect.Effect<ReadonlyArray<InheritedListener>, ListenError> =>
  Effect.suspend(() => inherited.inheritedListeners(process.env, process.pid, options?.unset === true))
