/** The two shapes that most contenders have: clients of a server on the other side, and the server of clients there. */
import { Effect, Layer, type Scope } from "effect"
import { type Address, type Connection, Network, NodeNetwork, type Server } from "effect-netstreams"
import * as Net from "node:net"
import { type Clients, clients } from "./peer.js"
import { python } from "./python.js"
import { type Conditions, type Contender, type Meter, rate, type Sample } from "./workload.js"

interface Options {
  /** How many at a time; 1 by default. */
  readonly connections?: number | undefined
  /** What the count is multiplied with to be in the workload's unit. */
  readonly scale?: number | undefined
}

interface More {
  readonly target?: number | undefined
}

export const host = "127.0.0.1"

type Program<A> = Effect.Effect<A, unknown, Network.Network | Scope.Scope>

export const run = <A>(program: Program<A>): Promise<A> =>
  Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeNetwork.layer)))

const endless = new Promise<never>(() => {})

/** What comes of the sample, unless the program breaks before. */
const measuring = (sample: Promise<Sample>, program: Promise<unknown>): Promise<Sample> =>
  Promise.race([sample, program.then(() => sample)])

/** Our side connects to a peer, and goes on for ever. */
export const asClient = (
  peer: (conditions: Conditions) => Promise<number>,
  { connections = 1, scale = 1 }: Options = {}
) => {
  const contender = (
    kind: Contender["kind"],
    start: (port: number, meter: Meter) => Promise<unknown>
  ) =>
  (name: string, { target }: More): Contender => ({
    name,
    kind,
    target,
    measure: async (conditions) => {
      const port = await peer(conditions)
      const meter: Meter = { count: 0 }
      const started = start(port, meter)
      return measuring(rate(conditions, meter, scale), started)
    }
  })
  return {
    raw: (name: string, start: (port: number, meter: Meter) => void, more: More = {}): Contender =>
      contender("raw", (port, meter) => {
        for (let i = 0; i < connections; i++) {
          start(port, meter)
        }
        return Promise.resolve()
      })(name, more),

    /** Something else that does the same. */
    rival: (name: string, start: (port: number, meter: Meter) => Promise<unknown> | void): Contender =>
      contender("rival", async (port, meter) => {
        await Promise.all(Array.from({ length: connections }, async () => start(port, meter)))
        return endless
      })(name, {}),

    /** The same in Python, by its `asyncio`: see `peers/rival.py`. */
    python: (name: string, loop: "asyncio" | "uvloop", work: string, size: number): Contender => ({
      name,
      kind: "rival",
      measure: async (conditions) => python(loop, work, await peer(conditions), connections, size, scale, conditions)
    }),

    library: (name: string, program: (port: number, meter: Meter) => Program<unknown>, more: More = {}): Contender =>
      contender("library", (port, meter) =>
        run(Effect.all(
          Array.from({ length: connections }, () => Effect.scoped(program(port, meter))),
          { concurrency: "unbounded" }
        )))(name, more)
  }
}

const portOf = (addresses: ReadonlyArray<Address.Address>): number =>
  addresses.flatMap((address) => address._tag === "TcpAddress" ? [address.port] : [])[0]!

/** Listens, and gives the port. */
export const listenRaw = (handler: (socket: Net.Socket) => void): Promise<number> =>
  new Promise((resolve) => {
    const server = Net.createServer({ noDelay: true }, handler)
    server.listen({ port: 0, host, backlog: 511 }, () => resolve((server.address() as Net.AddressInfo).port))
  })

/** What a server is told beside where it listens. */
export interface Listening {
  readonly options?: Server.Options | undefined
  /** What it is started within: a tracer, a logger. */
  readonly within?: Layer.Layer<never> | undefined
}

/** The same with the library, within the scope of the program. */
export const listen = (
  handler: (connection: Connection.Connection) => Effect.Effect<unknown, unknown>,
  { options, within = Layer.empty }: Listening = {}
) =>
  Effect.map(
    Network.startServer({ ...options, host, port: 0, backlog: 511 }, handler).pipe(Effect.provide(within)),
    (server) => portOf(server.addresses)
  )

/** Peers connect to our side, and go on for ever. */
export const asServer = (peers: Clients) => {
  const measure = async (port: number, meter: Meter, conditions: Conditions): Promise<Sample> => {
    await clients(port, peers, conditions)
    return rate(conditions, meter, 1)
  }
  const byHand =
    (kind: Contender["kind"]) =>
    (name: string, handler: (socket: Net.Socket, meter: Meter) => void, { target }: More = {}): Contender => ({
      name,
      kind,
      target,
      measure: async (conditions) => {
        const meter: Meter = { count: 0 }
        return measure(await listenRaw((socket) => handler(socket, meter)), meter, conditions)
      }
    })
  return {
    raw: byHand("raw"),

    rival: byHand("rival"),

    library: (
      name: string,
      handler: (connection: Connection.Connection, meter: Meter) => Effect.Effect<unknown, unknown>,
      { target, ...listening }: More & Listening = {}
    ): Contender => ({
      name,
      kind: "library",
      target,
      measure: (conditions) => {
        const meter: Meter = { count: 0 }
        return run(Effect.flatMap(
          listen((connection) => handler(connection, meter), listening),
          (port) => Effect.promise(() => measure(port, meter, conditions))
        ))
      }
    })
  }
}
