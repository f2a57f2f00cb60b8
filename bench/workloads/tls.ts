import { Effect, type Scope } from "effect"
import { Network } from "effect-netstreams"
import { spawn } from "node:child_process"
import * as Tls from "node:tls"
import { fileURLToPath } from "node:url"
import { host, run } from "../contenders.js"
import { pinned } from "../spawnNode.js"
import { type Conditions, type Contender, type Meter, rate, type Workload } from "../workload.js"
import { message, size } from "./echo.js"

interface Peer {
  readonly port: number
  readonly certificate: string
}

const script = fileURLToPath(new URL("../peers/tlsPeer.js", import.meta.url))

const startPeer = (conditions: Conditions): Promise<Peer> =>
  new Promise((resolve, reject) => {
    const [command, ...args] = pinned(conditions.peerCore, [process.execPath, script])
    const child = spawn(command!, args, { stdio: ["pipe", "pipe", "inherit"] })
    child.on("error", reject)
    child.stdout.on("data", (line) => resolve(JSON.parse(String(line))))
  })

const contender = (
  kind: Contender["kind"],
  name: string,
  scale: number,
  target: number | undefined,
  start: (peer: Peer, meter: Meter) => Promise<unknown>
): Contender => ({
  name,
  kind,
  target,
  measure: async (conditions) => {
    const meter: Meter = { count: 0 }
    const started = start(await startPeer(conditions), meter)
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

export const tls: ReadonlyArray<Workload> = [bulk, echo, handshakes]
