import { Effect, Stream } from "effect"
import { type Connection, Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, asServer, host } from "../contenders.js"
import { echo as echoPeer } from "../peer.js"
import { loops } from "../python.js"
import { platformEcho } from "../rivals.js"
import type { Meter, Workload } from "../workload.js"

/** Bytes of a message. */
export const size = 64
export const message = Buffer.alloc(size, "x")

const echoClient = (connections: number): Workload => {
  const { library, python, raw, rival } = asClient(echoPeer, { connections })
  return {
    name: `echo-client-${connections}`,
    title: `Echo of ${size} bytes as client, connections: ${connections}`,
    unit: "round trips/s",
    better: "higher",
    oneCore: connections === 1,
    contenders: [
      raw("node:net, data events", (port, meter) => {
        const socket = Net.connect({ port, host, noDelay: true })
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

      library("write, readExactly", (port, meter) =>
        Effect.gen(function*() {
          const { reader, writer } = yield* Network.openConnection({ host, port })
          while (true) {
            yield* writer.write(message)
            yield* reader.readExactly(size)
            meter.count++
          }
        }), { target: 0.85 }),

      rival("@effect/platform NodeSocket", (port, meter) => platformEcho(port, message, () => meter.count++)),

      ...loops.map((loop) => python(`${loop} write, drain, readexactly`, loop, "echo", size))
    ]
  }
}

/** Several requests at once, and their answers in order. */
const depth = 16

const pipelined: Workload = (() => {
  const { library, raw } = asClient(echoPeer)
  return {
    name: "echo-pipelined",
    title: `${depth} requests of ${size} bytes at once`,
    unit: "requests/s",
    better: "higher",
    oneCore: true,
    contenders: [
      raw("node:net, cork and data events", (port, meter) => {
        const socket = Net.connect({ port, host, noDelay: true })
        const send = () => {
          socket.cork()
          for (let i = 0; i < depth; i++) {
            socket.write(message)
          }
          socket.uncork()
        }
        let missing = size * depth
        socket.on("data", (chunk) => {
          missing -= chunk.length
          if (missing === 0) {
            missing = size * depth
            meter.count += depth
            send()
          }
        })
        send()
      }),

      library("writeAll, readExactly", (port, meter) =>
        Effect.gen(function*() {
          const { reader, writer } = yield* Network.openConnection({ host, port })
          const requests = Array.from({ length: depth }, () => message)
          while (true) {
            yield* writer.writeAll(requests)
            for (let i = 0; i < depth; i++) {
              yield* reader.readExactly(size)
              meter.count++
            }
          }
        }), { target: 0.85 })
    ]
  }
})()

export const echoRaw = (socket: Net.Socket, meter: Meter): void => {
  socket.on("data", (chunk) => {
    meter.count++
    socket.write(chunk)
  })
}

/** One generator function for all connections, as `Effect.fn` makes it. */
export const echo = Effect.fnUntraced(function*({ reader, writer }: Connection.Connection, meter: Meter) {
  while (true) {
    const data = yield* reader.read(65_536)
    if (data.length === 0) {
      return
    }
    meter.count++
    yield* writer.write(data)
  }
})

/** One for each connection, which V8 keeps until a full collection, with all that it closes over. */
export const echoByGen = (connection: Connection.Connection, meter: Meter) =>
  Effect.gen(function*() {
    const { reader, writer } = connection
    while (true) {
      const data = yield* reader.read(65_536)
      if (data.length === 0) {
        return
      }
      meter.count++
      yield* writer.write(data)
    }
  })

const echoServer = (connections: number): Workload => {
  const { library, raw } = asServer({ connections, size })
  return {
    name: `echo-server-${connections}`,
    title: `Echo of ${size} bytes as server, connections: ${connections}`,
    unit: "round trips/s",
    better: "higher",
    oneCore: connections === 1,
    contenders: [
      raw("node:net, data events", echoRaw),
      library("read, write", echo, { target: 0.85 }),
      library("bytes to sink", ({ reader, writer }, meter) =>
        Stream.run(
          Stream.map(reader.bytes, (data) => {
            meter.count++
            return data
          }),
          writer.sink
        ))
    ]
  }
}

export const echoes: ReadonlyArray<Workload> = [
  echoClient(1),
  echoClient(64),
  echoClient(1000),
  pipelined,
  echoServer(1),
  echoServer(64)
]
