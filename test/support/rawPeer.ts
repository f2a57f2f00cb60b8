/**
 * The other end of a connection, made of `node:net` alone, that does what a test tells it and notes what it sees.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"
import type * as Address from "../../src/Address.js"
import * as Connection from "../../src/Connection.js"
import type * as Network from "../../src/Network.js"
import * as NodeNetwork from "../../src/NodeNetwork.js"

/** Lets the event loop turn until the condition holds; the test's own time limit ends it. */
export const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.promise(async (signal) => {
    while (!condition() && !signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  })

/** A few turns of the event loop, for what must not happen in them. */
export const turns = (count = 10): Effect.Effect<void> =>
  Effect.promise(async () => {
    for (let i = 0; i < count; i++) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  })

export class RawPeer {
  /** How many bytes came. */
  bytes = 0
  ended = false
  closed = false
  /** The errno of the failure, if it failed. */
  code: string | undefined = undefined
  private readonly chunks: Array<Buffer> = []

  constructor(readonly socket: Net.Socket) {
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

  /** Begins to read, and keeps what comes, or only counts it. */
  read(keep = true): this {
    this.socket.on("data", (chunk: Buffer) => {
      this.bytes += chunk.length
      if (keep) {
        this.chunks.push(chunk)
      }
    })
    this.socket.resume()
    return this
  }

  /** Ends its side when the other has ended. */
  endsToo(): this {
    this.socket.on("end", () => this.socket.end())
    return this
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString("utf8")
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks)
  }
}

/** A listener whose connections do nothing by themselves, not even read. */
export const rawServer = (path?: string): Effect.Effect<
  { readonly server: Net.Server; readonly port: number; readonly accepted: Effect.Effect<RawPeer> },
  never,
  Scope.Scope
> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const peers: Array<RawPeer> = []
      let taken = 0
      const server = Net.createServer({ allowHalfOpen: true, pauseOnConnect: true })
      server.on("connection", (socket) => {
        peers.push(new RawPeer(socket))
      })
      if (path === undefined) {
        server.listen(0, "127.0.0.1")
      } else {
        server.listen(path)
      }
      await once(server, "listening")
      return {
        server,
        peers,
        port: path === undefined ? (server.address() as Net.AddressInfo).port : 0,
        accepted: Effect.suspend(() => {
          const index = taken++
          return Effect.map(until(() => peers.length > index), () => peers[index]!)
        })
      }
    }),
    ({ peers, server }) =>
      Effect.promise(async () => {
        peers.forEach((peer) => peer.socket.destroy())
        await new Promise((resolve) => server.close(resolve))
      })
  )

/** A port on which nobody listens: somebody has just left it. */
export const freePort: Effect.Effect<number> = Effect.scoped(Effect.map(rawServer(), ({ port }) => port))

/** A raw client of a server. */
export const rawConnect = (options: Net.NetConnectOpts): Effect.Effect<RawPeer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const socket = new Net.Socket({ allowHalfOpen: true })
      socket.pause()
      socket.connect(options)
      await once(socket, "connect")
      return new RawPeer(socket)
    }),
    (peer) =>
      Effect.promise(async () => {
        peer.socket.destroy()
        if (!peer.closed) {
          await once(peer.socket, "close")
        }
      })
  )

/** A connection of ours, dialled, and its raw end. */
export const dialled = (
  options: Partial<Network.ConnectOptions> = {}
): Effect.Effect<
  { readonly connection: Connection.Connection; readonly peer: RawPeer },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const { accepted, port } = yield* rawServer()
    const network = yield* NodeNetwork.make
    const connection = yield* Effect.orDie(network.openConnection({ host: "127.0.0.1", port, ...options }))
    return { connection, peer: yield* accepted }
  })

/** The port of a server's first address. */
export const portOf = (server: { readonly addresses: ReadonlyArray<Address.Address> }): number => {
  const address = server.addresses[0]
  return address?._tag === "TcpAddress" ? address.port : 0
}

/** Whether `awaitClosed` came to the end, and how. */
export const closeTag = (connection: Connection.Connection): Effect.Effect<string> =>
  Effect.map(
    connection.awaitClosed,
    Connection.CloseReason.$match({
      Local: () => "Local",
      Peer: () => "Peer",
      Aborted: () => "Aborted",
      Failed: ({ error }) => `Failed ${error.reason}`
    })
  )
