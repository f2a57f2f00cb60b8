import { Effect } from "effect"
import { Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, host } from "../contenders.js"
import { echo } from "../peer.js"
import { scopedConnect } from "../rivals.js"
import type { Workload } from "../workload.js"

/**
 * A connection that has been closed keeps its pair of ports for a minute, and the fuller the range is, the longer the
 * system looks for a free one. So there are several servers, which take turns.
 */
const servers = 12
let ports: ReadonlyArray<number> = []
let turn = 0
const nextPort = () => ports[turn++ % ports.length]!

const { library, raw, rival } = asClient(async (conditions) => {
  ports = await Promise.all(Array.from({ length: servers }, () => echo(conditions)))
  return ports[0]!
})

export const dial: Workload = {
  name: "dial",
  title: "Connecting to a numeric address and closing, one after another",
  unit: "connections/s",
  better: "higher",
  warmUp: 2500,
  oneCore: true,
  contenders: [
    raw("node:net", (_, meter) => {
      const connect = () => {
        const socket = Net.connect({ port: nextPort(), host, noDelay: true }, () => socket.end())
        socket.resume()
        socket.on("close", () => {
          meter.count++
          connect()
        })
      }
      connect()
    }),

    library(
      "openConnection",
      (_, meter) =>
        Effect.suspend(() => Network.openConnection({ host, port: nextPort() })).pipe(
          Effect.scoped,
          Effect.tap(() => {
            meter.count++
          }),
          Effect.forever
        ),
      { target: 0.87 }
    ),

    rival(
      "node:net in Effect.scoped with a finalizer",
      (_, meter) =>
        Effect.suspend(() => scopedConnect(nextPort())).pipe(
          Effect.tap(() => {
            meter.count++
          }),
          Effect.forever,
          Effect.runPromise
        )
    )
  ]
}
