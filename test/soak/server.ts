/**
 * The server that is abused. Clients say line by line what they want: `echo WORD`, `work MILLIS`, `stubborn MILLIS`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Cause, Duration, Effect, Option } from "effect"
import { Address, type Connection, Network, NodeNetwork, type Server } from "effect-netstreams"
import * as Fs from "node:fs"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { say, serveChannel } from "./process.js"
import type { ServerEnd, ServerQuestion, ServerSettings, ServerStatistics } from "./protocol.js"

const settings: ServerSettings = JSON.parse(process.argv[2]!)
const text = new TextDecoder()
let accepted = 0
let begun = 0
let answered = 0
const reports: Array<string> = []
const delay = monitorEventLoopDelay({ resolution: 5 })
delay.enable()

const handler = ({ reader, writer }: Connection.Connection) =>
  Effect.gen(function*() {
    accepted += 1
    for (;;) {
      const line = text.decode(yield* reader.readLine)
      if (line === "") {
        return
      }
      begun += 1
      const [order, argument] = line.trim().split(" ")
      if (order === "work") {
        yield* Effect.sleep(Number(argument))
      } else if (order === "stubborn") {
        yield* Effect.uninterruptible(Effect.sleep(Number(argument)))
      }
      yield* writer.write(`${argument}\n`)
      answered += 1
    }
  })

const onError = ({ cause, phase, remoteAddress }: Server.ServerError) =>
  Effect.sync(() => {
    // Clients that vanish are what this is about.
    if (phase !== "handler") {
      const peer = Option.match(remoteAddress, { onNone: () => "", onSome: Address.format })
      reports.push(`${phase} ${peer} ${Cause.pretty(cause)}`)
    }
  })

const program = Effect.gen(function*() {
  const server = yield* Network.startServer({ ...settings.listen, onError }, handler)
  yield* Effect.addFinalizer(() =>
    Effect.map(server.shutdown(), ({ elapsed, ...report }) => {
      say({ report, elapsed: Duration.toMillis(elapsed), begun, answered } satisfies ServerEnd)
    })
  )
  serveChannel(({ collect }: ServerQuestion) => {
    if (collect) {
      globalThis.gc!()
    }
    const { heapUsed, rss } = process.memoryUsage()
    const statistics: ServerStatistics = {
      connections: Effect.runSync(server.connections).length,
      accepted,
      begun,
      answered,
      reports,
      rss,
      heapUsed,
      // Takes a descriptor itself.
      descriptors: Fs.existsSync("/proc/self/fd") ? Fs.readdirSync("/proc/self/fd").length : 0,
      longestTurn: delay.max / 1e6
    }
    delay.reset()
    return statistics
  })
  const [address] = server.addresses
  say({ listening: address._tag === "TcpAddress" ? address.port : 0 })
  yield* server.serveForever
}).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))

NodeRuntime.runMain(program)
