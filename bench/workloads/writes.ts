import { Effect } from "effect"
import { Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, host } from "../contenders.js"
import { sink } from "../peer.js"
import { loops } from "../python.js"
import type { Workload } from "../workload.js"

const { library, python, raw } = asClient(sink)

/** Writes until the buffer is full, and goes on when it has drained. */
const writing = (socket: Net.Socket, write: () => boolean): void => {
  // A turn of the event loop now and then: a socket that takes everything at once would have it all.
  const turns = 256
  const go = (): void => {
    for (let i = 0; i < turns; i++) {
      if (!write()) {
        socket.once("drain", go)
        return
      }
    }
    setImmediate(go)
  }
  socket.on("connect", go)
}

const singly = (size: number, target: number): Workload => {
  const message = Buffer.alloc(size, "x")
  return {
    name: `write-${size}`,
    title: `Writes of ${size} bytes, one by one`,
    unit: "writes/s",
    better: "higher",
    contenders: [
      raw("node:net, write and drain", (port, meter) => {
        const socket = Net.connect({ port, host, noDelay: true })
        writing(socket, () => {
          meter.count++
          return socket.write(message)
        })
      }),
      library("write", (port, meter) =>
        Effect.gen(function*() {
          const { writer } = yield* Network.openConnection({ host, port })
          while (true) {
            yield* writer.write(message)
            meter.count++
          }
        }), { target }),
      ...loops.map((loop) => python(`${loop} write, drain`, loop, "write", size))
    ]
  }
}

const gathered = (size: number, count: number, target: number): Workload => {
  const messages = Array.from({ length: count }, () => Buffer.alloc(size, "x"))
  return {
    name: `write-all-${size}`,
    title: `Writes of ${size} bytes, ${count} at once`,
    unit: "writes/s",
    better: "higher",
    contenders: [
      raw("node:net, cork, write and uncork", (port, meter) => {
        const socket = Net.connect({ port, host, noDelay: true })
        writing(socket, () => {
          socket.cork()
          let room = true
          for (const message of messages) {
            room = socket.write(message)
          }
          socket.uncork()
          meter.count += count
          return room
        })
      }),
      library("writeAll", (port, meter) =>
        Effect.gen(function*() {
          const { writer } = yield* Network.openConnection({ host, port })
          while (true) {
            yield* writer.writeAll(messages)
            meter.count += count
          }
        }), { target })
    ]
  }
}

export const writes: ReadonlyArray<Workload> = [
  singly(64, 0.8),
  singly(65_536, 0.9),
  gathered(64, 64, 0.8),
  gathered(65_536, 8, 0.9)
]
