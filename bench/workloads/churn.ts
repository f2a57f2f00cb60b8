import { Effect } from "effect"
import { Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, asServer, host } from "../contenders.js"
import { echo as echoPeer } from "../peer.js"
import { echoInFiber } from "../rivals.js"
import type { Workload } from "../workload.js"
import { echo, echoByGen, echoRaw, message, size } from "./echo.js"

/** How many connections are made and closed side by side. */
const atOnce = 8
/** Node takes thousands of connections to come up to speed. */
const warmUp = 2500

const churnClient = (): Workload => {
  const { library, raw } = asClient(echoPeer, { connections: atOnce })
  return {
    name: "churn-client",
    title: `Connect, one round trip of ${size} bytes, close, as client, ${atOnce} at a time`,
    unit: "connections/s",
    better: "higher",
    warmUp,
    contenders: [
      raw("node:net, data events", (port, meter) => {
        const connect = () => {
          let missing = size
          const socket = Net.connect({ port, host, noDelay: true })
          socket.on("data", (chunk) => {
            missing -= chunk.length
            if (missing === 0) {
              socket.end()
            }
          })
          socket.on("close", () => {
            meter.count++
            connect()
          })
          socket.write(message)
        }
        connect()
      }),

      library("openConnection", (port, meter) =>
        Effect.gen(function*() {
          const { reader, writer } = yield* Network.openConnection({ host, port })
          yield* writer.write(message)
          yield* reader.readExactly(size)
        }).pipe(
          Effect.scoped,
          Effect.tap(() => {
            meter.count++
          }),
          Effect.forever
        ), { target: 0.75 })
    ]
  }
}

const churnServer = (): Workload => {
  const { library, raw, rival } = asServer({ connections: atOnce, size, roundTrips: 1 })
  return {
    name: "churn-server",
    title: `Accept, one round trip of ${size} bytes, close, as server, ${atOnce} at a time`,
    unit: "connections/s",
    better: "higher",
    warmUp,
    contenders: [
      raw("node:net, data events", echoRaw),
      library("startServer, Effect.fn", echo, { target: 0.75 }),
      library("startServer, Effect.gen", echoByGen),
      rival("node:net and a fiber for each", (socket, meter) =>
        echoInFiber(socket, () => {
          meter.count++
        }))
    ]
  }
}

export const churns: ReadonlyArray<Workload> = [churnClient(), churnServer()]
