/**
 * Both ends of connections with TLS, what may stand between them, and other people's TLS to hold against ours.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"
import * as NodeTls from "node:tls"
import type * as Connection from "../../src/Connection.js"
import * as Network from "../../src/Network.js"
import type { ConnectError, ListenError, TlsError } from "../../src/NetworkError.js"
import * as NodeNetwork from "../../src/NodeNetwork.js"
import type * as Server from "../../src/Server.js"
import type * as Tls from "../../src/Tls.js"
import { certificates } from "./certificates.js"
import { directory } from "./directory.js"
import { portOf, until } from "./rawPeer.js"

export const versions = ["TLSv1.2", "TLSv1.3"] as const

/** Allows only one version of the protocol. */
export const only = (version: Tls.Version) => ({ minVersion: version, maxVersion: version })

/** What our servers present unless a test says otherwise. */
export const identity = (): Tls.ServerOptions => ({
  certificate: certificates.server.certificate,
  key: certificates.server.key
})

/** Whom our clients trust unless a test says otherwise. */
export const trust = (): Tls.ClientOptions => ({ ca: certificates.ca.certificate })

/** A context of Node's has it all. */
const trustBeside = (tls: Tls.ClientOptions): Tls.ClientOptions => tls.secureContext === undefined ? trust() : {}

/** A server that notes what is reported to it, and whose connections a test takes one by one. */
export interface TestServer {
  readonly server: Server.Server
  readonly port: number
  readonly reports: ReadonlyArray<Server.ServerError>
  /** The next connection. It stays open until it has ended, or the test has. */
  readonly accepted: Effect.Effect<Connection.Connection>
  /** How many there were. */
  readonly count: () => number
}

/** What a handler is to a `TestServer`, for a server that is made in another way. */
export const collecting = () => {
  const connections: Array<Connection.Connection> = []
  const reports: Array<Server.ServerError> = []
  let taken = 0
  return {
    reports,
    onError: (error: Server.ServerError) =>
      Effect.sync(() => {
        reports.push(error)
      }),
    handler: (connection: Connection.Connection): Effect.Effect<unknown> => {
      connections.push(connection)
      return connection.awaitClosed
    },
    /** The same for connections that go over to TLS: it is not over when they are spent. */
    stayingHandler: (connection: Connection.Connection): Effect.Effect<unknown> => {
      connections.push(connection)
      return Effect.never
    },
    count: () => connections.length,
    accepted: Effect.suspend(() => {
      const index = taken++
      return Effect.map(until(() => connections.length > index), () => connections[index]!)
    })
  }
}

type ServerConnectionOptions = Partial<Omit<Network.ListenOptions, "tls" | "host" | "port">>

/** With the tests' certificate and on a port of its own, unless `tls` says otherwise. */
export const listening = (
  tls: Tls.ServerOptions = {},
  options: ServerConnectionOptions = {},
  handle?: ((connection: Connection.Connection) => Effect.Effect<unknown, unknown>) | undefined
): Effect.Effect<TestServer, ListenError, Scope.Scope> =>
  Effect.gen(function*() {
    const { handler, ...collected } = collecting()
    const server = yield* Network.startServer(
      { host: "127.0.0.1", gracePeriod: 0, onError: collected.onError, ...options, tls: { ...identity(), ...tls } },
      handle ?? handler
    )
    return { ...collected, server, port: portOf(server) }
  }).pipe(Effect.provide(NodeNetwork.layer))

/** A test that is not about closing need not wait for the other end to take notice. */
const abortedInTheEnd = (connection: Connection.Connection) => Effect.addFinalizer(() => connection.abort)

/** Trusts the tests' root, unless `tls` says otherwise. */
export const dialling = (
  port: number,
  tls: Tls.ClientOptions = {},
  options: Partial<Omit<Network.ConnectOptions, "tls">> = {}
): Effect.Effect<Connection.Connection, ConnectError | TlsError, Scope.Scope> =>
  Network.openConnection({ host: "127.0.0.1", port, ...options, tls: { ...trustBeside(tls), ...tls } }).pipe(
    Effect.tap(abortedInTheEnd),
    Effect.provide(NodeNetwork.layer)
  )

/** The two ends of one connection. */
export interface Ends {
  readonly client: Connection.Connection
  readonly server: Connection.Connection
}

/** How two ends come to be: the same tests are run for all of these. */
export interface Kind {
  readonly name: string
  readonly open: (options?: Connection.Options) => Effect.Effect<Ends, never, Scope.Scope>
}

const openWith = (
  client: Tls.ClientOptions | undefined,
  server: Tls.ServerOptions | undefined,
  options: Connection.Options = {}
): Effect.Effect<Ends, never, Scope.Scope> =>
  Effect.gen(function*() {
    const accepted = yield* Deferred.make<Connection.Connection>()
    const listener = yield* Network.startServer(
      { host: "127.0.0.1", gracePeriod: 0, ...options, ...(server === undefined ? {} : { tls: server }) },
      // The connection may go over to TLS, and then it is another one that has to stay open.
      (connection) => Effect.zipRight(Deferred.succeed(accepted, connection), Effect.never)
    )
    const connection = yield* Network.openConnection({
      host: "127.0.0.1",
      port: portOf(listener),
      ...options,
      ...(client === undefined ? {} : { tls: client })
    })
    yield* abortedInTheEnd(connection)
    return { client: connection, server: yield* Deferred.await(accepted) }
  }).pipe(Effect.orDie, Effect.provide(NodeNetwork.layer))

/** TLS from the start, which has the socket to itself, or over a connection that was in use before. */
export const beginnings = ["from the start", "after startTls"] as const

/** How two ends come to TLS. */
export interface SecuredOptions extends Connection.Options {
  readonly clientTls?: Tls.ClientOptions | undefined
  readonly serverTls?: Tls.ServerOptions | undefined
  readonly beginning?: typeof beginnings[number] | undefined
}

const goingOver = (
  { client, server }: Ends,
  clientTls: Tls.ClientOptions,
  serverTls: Tls.ServerOptions
): Effect.Effect<Ends> =>
  Effect.all({
    client: client.startTls({ role: "client", ...clientTls, serverName: "localhost" }),
    server: server.startTls({ role: "server", ...serverTls })
  }, { concurrency: 2 }).pipe(Effect.orDie)

/** Two ends with TLS, of ours. */
export const secured = (options: SecuredOptions = {}): Effect.Effect<Ends, never, Scope.Scope> => {
  const { beginning, clientTls, serverTls, ...rest } = options
  const client = { ...trust(), ...clientTls }
  const server = { ...identity(), ...serverTls }
  return beginning === "after startTls"
    ? Effect.flatMap(openWith(undefined, undefined, rest), (ends) => goingOver(ends, client, server))
    : openWith(client, server, rest)
}

export const tcp: Kind = { name: "TCP", open: (options) => openWith(undefined, undefined, options) }

export const unix: Kind = {
  name: "a Unix socket",
  open: (options) =>
    Effect.gen(function*() {
      const path = `${yield* directory}/s`
      const accepted = yield* Deferred.make<Connection.Connection>()
      yield* Network.startUnixServer(
        path,
        { gracePeriod: 0, ...options },
        (connection) => Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)
      )
      const client = yield* Network.openUnixConnection(path, options)
      return { client, server: yield* Deferred.await(accepted) }
    }).pipe(Effect.orDie, Effect.provide(NodeNetwork.layer))
}

export const tlsKinds: ReadonlyArray<Kind> = beginnings.flatMap((beginning) =>
  versions.map((version) => ({
    name: `${version} ${beginning}`,
    open: (options = {}) => secured({ ...options, beginning, clientTls: only(version) })
  }))
)

// -----------------------------------------------------------------------------
// between the two
// -----------------------------------------------------------------------------

/** One direction of a `Middle`. */
export class Lane {
  /** How many bytes have been passed on. */
  passed = 0
  /** What each chunk is turned into; nothing stops it. */
  tamper: (chunk: Buffer) => Buffer | undefined = (chunk) => chunk
  /** The sender has ended. */
  ended = false
  /** Whether its end is passed on. */
  passEnd = true

  constructor(from: Net.Socket, readonly to: Net.Socket) {
    from.on("data", (chunk) => {
      const rest = this.tamper(chunk)
      if (rest !== undefined && rest.length > 0 && !to.destroyed) {
        this.passed += rest.length
        if (!to.write(rest)) {
          from.pause()
          to.once("drain", () => from.resume())
        }
      }
    })
    from.on("end", () => {
      this.ended = true
      if (this.passEnd) {
        to.end()
      }
    })
  }

  /** Ends TCP towards the receiver, without a word of TLS. */
  cut(): void {
    this.tamper = () => undefined
    this.passEnd = false
    this.to.end()
  }
}

/** Whoever sits on the wire: passes everything on, until told to do otherwise. */
export class Middle {
  readonly toClient: Lane
  readonly toServer: Lane
  code: string | undefined = undefined

  constructor(readonly client: Net.Socket, readonly server: Net.Socket) {
    this.toServer = new Lane(client, server)
    this.toClient = new Lane(server, client)
    for (const socket of [client, server]) {
      socket.on("error", (error: NodeJS.ErrnoException) => {
        this.code ??= error.code
      })
      socket.on("close", () => {
        client.destroy()
        server.destroy()
      })
    }
  }
}

/** Puts somebody in front of a port. */
export const between = (
  port: number,
  prepare: (middle: Middle) => void = () => {}
): Effect.Effect<{ readonly port: number; readonly middle: Effect.Effect<Middle> }, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const middles: Array<Middle> = []
      const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
        const target = Net.connect({ host: "127.0.0.1", port, allowHalfOpen: true, noDelay: true })
        const middle = new Middle(client, target)
        prepare(middle)
        middles.push(middle)
      })
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      return { server, middles }
    }),
    ({ middles, server }) =>
      Effect.promise(async () => {
        middles.forEach(({ client, server }) => {
          client.destroy()
          server.destroy()
        })
        await new Promise((resolve) => server.close(resolve))
      })
  ).pipe(
    Effect.map(({ middles, server }) => {
      let taken = 0
      return {
        port: (server.address() as Net.AddressInfo).port,
        middle: Effect.suspend(() => {
          const index = taken++
          return Effect.map(until(() => middles.length > index), () => middles[index]!)
        })
      }
    })
  )

/** Two ends of ours with somebody between them. */
export const tapped = (
  options: SecuredOptions = {}
): Effect.Effect<Ends & { readonly middle: Middle }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { beginning, clientTls, serverTls, ...rest } = options
    if (beginning !== "after startTls") {
      const { accepted, port } = yield* listening(serverTls, rest)
      const tap = yield* between(port)
      const client = yield* dialling(tap.port, clientTls, rest)
      return { client, server: yield* accepted, middle: yield* tap.middle }
    }
    const { accepted, stayingHandler } = collecting()
    const listener = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0, ...rest }, stayingHandler)
    const tap = yield* between(portOf(listener))
    const plain = yield* Network.openConnection({ host: "127.0.0.1", port: tap.port, ...rest })
    yield* abortedInTheEnd(plain)
    const ends = { client: plain, server: yield* accepted }
    const secure = yield* goingOver(ends, { ...trust(), ...clientTls }, { ...identity(), ...serverTls })
    yield* abortedInTheEnd(secure.client)
    return { ...secure, middle: yield* tap.middle }
  }).pipe(Effect.orDie, Effect.provide(NodeNetwork.layer))

// -----------------------------------------------------------------------------
// Node's own TLS
// -----------------------------------------------------------------------------

/** One end that `node:tls` made, on a socket that a test can do things to. */
export class NodePeer {
  text = ""
  bytes = 0
  ended = false
  closed = false
  code: string | undefined = undefined

  constructor(readonly socket: NodeTls.TLSSocket, readonly raw: Net.Socket) {
    socket.on("data", (chunk: Buffer) => {
      this.bytes += chunk.length
      this.text += this.bytes < 1024 * 1024 ? chunk.toString("latin1") : ""
    })
    socket.on("end", () => {
      this.ended = true
    })
    socket.on("close", () => {
      this.closed = true
    })
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.code ??= error.code
    })
  }
}

/** A server of Node's. */
export const nodeServer = (
  options: NodeTls.TlsOptions = {}
): Effect.Effect<{ readonly port: number; readonly accepted: Effect.Effect<NodePeer> }, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const peers: Array<NodePeer> = []
      const { certificate: cert, key } = certificates.server
      const secure = NodeTls.createServer({ cert, key, allowHalfOpen: true, ...options })
      const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (raw) => {
        raw.on("error", () => {})
        raws.push(raw)
        secure.once("secureConnection", (socket) => {
          peers.push(new NodePeer(socket, raw))
        })
        secure.emit("connection", raw)
      })
      const raws: Array<Net.Socket> = []
      secure.on("tlsClientError", () => {})
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      return { peers, raws, server }
    }),
    ({ raws, server }) =>
      Effect.promise(async () => {
        raws.forEach((raw) => raw.destroy())
        await new Promise((resolve) => server.close(resolve))
      })
  ).pipe(
    Effect.map(({ peers, server }) => {
      let taken = 0
      return {
        port: (server.address() as Net.AddressInfo).port,
        accepted: Effect.suspend(() => {
          const index = taken++
          return Effect.map(until(() => peers.length > index), () => peers[index]!)
        })
      }
    })
  )

/** A client of Node's, connected or not. */
export const nodeClient = (
  port: number,
  options: NodeTls.ConnectionOptions = {}
): Effect.Effect<NodePeer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const raw = Net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
      raw.on("error", () => {})
      await once(raw, "connect")
      const socket = NodeTls.connect({
        socket: raw,
        servername: "localhost",
        ca: certificates.ca.certificate,
        ...options
      })
      const peer = new NodePeer(socket, raw)
      await new Promise((resolve) => {
        socket.once("secureConnect", resolve)
        socket.once("close", resolve)
      })
      return peer
    }),
    ({ raw, socket }) =>
      Effect.promise(async () => {
        socket.destroy()
        raw.destroy()
        if (!raw.closed) {
          await once(raw, "close")
        }
      })
  )

// -----------------------------------------------------------------------------
// what became of it
// -----------------------------------------------------------------------------

/** `"TlsError CertificateRejected CERT_HAS_EXPIRED"`, `"ConnectionError Truncated"`, `"succeeded"`. */
export const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isSuccess(exit) ? "succeeded" : causeOf(exit.cause)

/** The same of a cause, as servers report it. */
export const causeOf = (cause: Cause.Cause<unknown>): string => {
  const error = Option.getOrUndefined(Cause.failureOption(cause))
  if (error === undefined) {
    return Cause.isInterruptedOnly(cause) ? "interrupted" : Cause.pretty(cause)
  }
  const { _tag, code, reason } = error as {
    readonly _tag: string
    readonly reason?: string
    readonly code?: Option.Option<string>
  }
  return [_tag, reason, code === undefined ? undefined : Option.getOrUndefined(code)]
    .filter((part) => part !== undefined)
    .join(" ")
}

export const reasonOf = (exit: Exit.Exit<unknown, unknown>): string => outcomeOf(exit).split(" ").slice(0, 2).join(" ")

/** The outcome of an effect. */
export const outcome = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), outcomeOf)

export const reason = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), reasonOf)

export const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1")
