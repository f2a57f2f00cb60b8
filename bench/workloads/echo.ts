import { Effect, Stream } from "effect"
import { type Connection, Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, asServer, host } from "../contenders.js"
import { echo as echoPeer } from "../peer.js"
import type { Meter, Workload } from "../workload.js"

/** Bytes of a message. */
export const size = 64
export const message = Buffer.alloc(size, "x")

const echoClient = (connections: number): Workload => {
  const { library, raw } = asClient(echoPeer, { connections })
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
        }), { target: 0.85 })
    ]
  }
}

export const echoRaw = (socket: Net.Socket, meter: Meter): void => {
  socket.on("data", (chunk) => {
    meter.count++
    socket.write(chunk)
  })
}

export const echo = ({ reader, writer }: Connection.Connection, meter: Meter) =>
  Effect.gen(function*() {
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

export const echoes: ReadonlyArray<Workload> = [echoClient(1), echoClient(64), echoServer(1), echoServer(64)]
