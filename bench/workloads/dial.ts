import { Effect } from "effect"
import { Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, host } from "../contenders.js"
import { echo } from "../peer.js"
import type { Workload } from "../workload.js"

const { library, raw } = asClient(echo)

export const dial: Workload = {
  name: "dial",
  title: "Connecting to a numeric address and closing, one after another",
  unit: "connections/s",
  better: "higher",
  warmUp: 2500,
  contenders: [
    raw("node:net", (port, meter) => {
      const connect = () => {
        const socket = Net.connect({ port, host, noDelay: true }, () => socket.end())
        socket.resume()
        socket.on("close", () => {
          meter.count++
          connect()
        })
      }
      connect()
    }),

    library("openConnection", (port, meter) =>
      Network.openConnection({ host, port }).pipe(
        Effect.scoped,
        Effect.tap(() => {
          meter.count++
        }),
        Effect.forever
      ), { target: 0.87 })
  ]
}
