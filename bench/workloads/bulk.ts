import { Effect, Stream } from "effect"
import { Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, host } from "../contenders.js"
import { source } from "../peer.js"
import { loops } from "../python.js"
import { chunks, platformStream, readableStream } from "../rivals.js"
import type { Workload } from "../workload.js"

const { library, python, raw, rival } = asClient(source("x"), { scale: 1e-6 })

export const bulk: Workload = {
  name: "bulk",
  title: "Receiving as much as comes",
  unit: "MB/s",
  better: "higher",
  contenders: [
    raw("node:net, data events", (port, meter) => {
      Net.connect(port, host).on("data", (chunk) => {
        meter.count += chunk.length
      })
    }),

    raw("node:net, onread into 256 KiB", (port, meter) => {
      Net.connect({
        port,
        host,
        onread: {
          buffer: new Uint8Array(262_144),
          callback: (size) => {
            meter.count += size
            return true
          }
        }
      })
    }),

    library("read(65536)", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        while (true) {
          const chunk = yield* reader.read(65_536)
          meter.count += chunk.length
        }
      }), { target: 0.9 }),

    library("bytes", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        yield* Stream.runForEach(reader.bytes, (chunk) =>
          Effect.sync(() => {
            meter.count += chunk.length
          }))
      }), { target: 0.9 }),

    library("readInto 256 KiB", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        const buffer = new Uint8Array(262_144)
        while (true) {
          meter.count += yield* reader.readInto(buffer)
        }
      }), { target: 2 }),

    rival("node:net, for await", (port, meter) =>
      chunks(port, (chunk) => {
        meter.count += chunk.length
      })),

    rival("NodeStream.fromReadable", (port, meter) =>
      readableStream(port).pipe(
        Stream.runForEach((chunk) =>
          Effect.sync(() => {
            meter.count += chunk.length
          })
        ),
        Effect.runPromise
      )),

    rival("@effect/platform NodeSocket, Stream", (port, meter) =>
      platformStream(port).pipe(
        Stream.runForEach((chunk) =>
          Effect.sync(() => {
            meter.count += chunk.length
          })
        ),
        Effect.scoped,
        Effect.runPromise
      )),

    ...loops.map((loop) => python(`${loop} read(65536)`, loop, "bulk", 0))
  ]
}
