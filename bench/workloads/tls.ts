import { Effect, type Scope } from "effect"
import { Network } from "effect-netstreams"
import { spawn } from "node:child_process"
import type * as Net from "node:net"
import * as Tls from "node:tls"
import { fileURLToPath } from "node:url"
import { makeCertificate } from "../certificate.js"
import { host, run } from "../contenders.js"
import { waitInFiber } from "../rivals.js"
import { pinned } from "../spawnNode.js"
import { type Conditions, type Contender, type Meter, rate, type Sample, sleep, type Workload } from "../workload.js"
import { message, size } from "./echo.js"
import { settle, takenAndInUse } from "./memory.js"

interface Peer {
  readonly port: number
  readonly certificate: string
}

/** Starts a program of the other side, and gives what it says when it is ready. */
const start = (script: string, args: ReadonlyArray<number>, conditions: Conditions): Promise<string> =>
  new Promise((resolve, reject) => {
    const file = fileURLToPath(new URL(`../peers/${script}.js`, import.meta.url))
    const [command, ...rest] = pinned(conditions.peerCore, [process.execPath, file, ...args.map(String)])
    const child = spawn(command!, rest, { stdio: ["pipe", "pipe", "inherit"] })
    child.on("error", reject)
    child.on("exit", (code, signal) => reject(new Error(`${script} ended with ${signal ?? code}`)))
    child.stdout.on("data", (line) => resolve(String(line)))
  })

const startPeer = async (conditions: Conditions): Promise<Peer> => JSON.parse(await start("tlsPeer", [], conditions))

const contender = (
  kind: Contender["kind"],
  name: string,
  scale: number,
  target: number | undefined,
  begin: (peer: Peer, meter: Meter) => Promise<unknown>
): Contender => ({
  name,
  kind,
  target,
  measure: async (conditions) => {
    const meter: Meter = { count: 0 }
    const started = begin(await startPeer(conditions), meter)
    return Promise.race([rate(conditions, meter, scale), started.then(() => new Promise<never>(() => {}))])
  }
})

const raw = (scale: number, start: (peer: Peer, meter: Meter) => void): Contender =>
  contender("raw", "node:tls", scale, undefined, (peer, meter) => {
    start(peer, meter)
    return Promise.resolve()
  })

type Program = Effect.Effect<unknown, unknown, Network.Network | Scope.Scope>

/** The two ways of ours: one that tells a cut connection from one that was closed, as is the default, and one that does not. */
const ours = (
  scale: number,
  target: number,
  program: (open: ReturnType<typeof opening>, meter: Meter) => Program
): ReadonlyArray<Contender> =>
  [false, true].map((allowTruncation) =>
    contender(
      "library",
      allowTruncation ? "openConnection, allowTruncation" : "openConnection",
      scale,
      target,
      (peer, meter) => run(program(opening(peer, allowTruncation), meter))
    )
  )

const opening = ({ certificate, port }: Peer, allowTruncation: boolean) =>
  Network.openConnection({ host, port, tls: { ca: certificate, allowTruncation } })

const connect = ({ certificate, port }: Peer) => Tls.connect({ host, port, ca: certificate })

const bulk: Workload = {
  name: "tls-bulk",
  title: "Receiving over TLS as much as comes",
  unit: "MB/s",
  better: "higher",
  contenders: [
    raw(1e-6, (peer, meter) => {
      const socket = connect(peer)
      socket.on("data", (chunk) => {
        meter.count += chunk.length
      })
      socket.write("b")
    }),
    ...ours(1e-6, 0.9, (open, meter) =>
      Effect.gen(function*() {
        const { reader, writer } = yield* open
        yield* writer.write("b")
        while (true) {
          const chunk = yield* reader.read(65_536)
          meter.count += chunk.length
        }
      }))
  ]
}

const echo: Workload = {
  name: "tls-echo",
  title: `Echo of ${size} bytes over TLS as client`,
  unit: "round trips/s",
  better: "higher",
  oneCore: true,
  contenders: [
    raw(1, (peer, meter) => {
      const socket = connect(peer)
      socket.setNoDelay(true)
      let missing = size
      socket.on("data", (chunk) => {
        missing -= chunk.length
        if (missing === 0) {
          missing = size
          meter.count++
          socket.write(message)
        }
      })
      socket.write(message)
    }),
    ...ours(1, 0.9, (open, meter) =>
      Effect.gen(function*() {
        const { reader, writer } = yield* open
        while (true) {
          yield* writer.write(message)
          yield* reader.readExactly(size)
          meter.count++
        }
      }))
  ]
}

const handshakes: Workload = {
  name: "tls-handshakes",
  title: "Connecting over TLS and closing, one after another",
  unit: "connections/s",
  better: "higher",
  contenders: [
    raw(1, (peer, meter) => {
      const next = () => {
        const socket = connect(peer)
        socket.on("secureConnect", () => socket.end())
        socket.resume()
        socket.on("close", () => {
          meter.count++
          next()
        })
      }
      next()
    }),
    ...ours(1, 0.9, (open, meter) =>
      open.pipe(
        Effect.scoped,
        Effect.tap(() => {
          meter.count++
        }),
        Effect.forever
      ))
  ]
}

// -----------------------------------------------------------------------------
// idle connections
// -----------------------------------------------------------------------------

/**
 * Before it is measured, the program has served as many as make V8 optimize it. What V8 needs for that is a megabyte or
 * two, and lies where OpenSSL's memory lies.
 */
const before = 4000
const few = 100
const many = 3000

/** By how much the process grows with each connection, the ends of both sides being in different processes. */
const perConnection = async (port: number, accepted: Meter, conditions: Conditions): Promise<Sample> => {
  const open = async (leave: number, stay: number) => {
    const all = accepted.count + leave + stay
    await start("tlsClients", [port, leave, stay], conditions)
    while (accepted.count < all) {
      await sleep(50)
    }
    await settle()
    return takenAndInUse()
  }
  const least = await open(before, few)
  const most = await open(0, many)
  return { value: (most - least) / many }
}

const idleByHand = (kind: Contender["kind"], name: string, handler: (socket: Net.Socket) => void): Contender => ({
  name,
  kind,
  measure: async (conditions) => {
    const accepted: Meter = { count: 0 }
    const server = Tls.createServer({ ...makeCertificate(), noDelay: true }, (socket) => {
      accepted.count++
      handler(socket)
    })
    await new Promise<void>((resolve) => server.listen({ port: 0, host, backlog: 511 }, resolve))
    return perConnection((server.address() as Net.AddressInfo).port, accepted, conditions)
  }
})

const idle: Workload = {
  name: "tls-idle-memory",
  title: `Memory of an idle accepted connection with TLS, of ${many}`,
  unit: "bytes",
  better: "lower",
  contenders: [
    idleByHand("raw", "node:tls, data, error and close events", (socket) => {
      socket.on("data", (chunk) => socket.write(chunk))
      socket.on("error", () => {})
      socket.on("close", () => {})
    }),
    {
      name: "handler in readLine",
      kind: "library",
      target: 1.1,
      measure: (conditions) => {
        const accepted: Meter = { count: 0 }
        const { cert, key } = makeCertificate()
        return run(Effect.flatMap(
          Network.startServer({ host, port: 0, backlog: 511, tls: { certificate: cert, key } }, ({ reader }) => {
            accepted.count++
            return reader.readLine
          }),
          ({ addresses: [address] }) =>
            Effect.promise(() => perConnection(address._tag === "TcpAddress" ? address.port : 0, accepted, conditions))
        ))
      }
    },
    idleByHand("rival", "node:tls and a fiber for each", waitInFiber)
  ]
}

export const tls: ReadonlyArray<Workload> = [bulk, echo, handshakes, idle]
