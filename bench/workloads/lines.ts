import { Chunk, Effect, Stream } from "effect"
import { Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, host } from "../contenders.js"
import { source } from "../peer.js"
import type { Meter, Workload } from "../workload.js"

/** Bytes of a line, with its end. */
const size = 80

const text = "The quick brown fox jumps over the lazy dog. ".repeat(2)

const { library, raw } = asClient(source(`${text.slice(0, size - 1)}\n`))

/** Counts a line, and is not fooled by half a one. */
const countBytes = (meter: Meter, line: Uint8Array): void => {
  if (line.length !== size) {
    throw new Error(`a line of ${line.length} bytes`)
  }
  meter.count++
}

const countText = (meter: Meter, line: string): void => {
  if (line.length !== size - 1) {
    throw new Error(`a line of ${line.length} characters`)
  }
  meter.count++
}

export const linesAsBytes: Workload = {
  name: "lines-bytes",
  title: `Lines of ${size} bytes, as bytes`,
  unit: "lines/s",
  better: "higher",
  contenders: [
    raw("node:net, indexOf and subarray", (port, meter) => {
      let rest = Buffer.alloc(0)
      Net.connect(port, host).on("data", (chunk) => {
        let from = 0
        let end = chunk.indexOf(10)
        if (rest.length > 0 && end >= 0) {
          countBytes(meter, Buffer.concat([rest, chunk.subarray(0, end + 1)]))
          rest = Buffer.alloc(0)
          from = end + 1
          end = chunk.indexOf(10, from)
        }
        while (end >= 0) {
          countBytes(meter, chunk.subarray(from, end + 1))
          from = end + 1
          end = chunk.indexOf(10, from)
        }
        rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk.subarray(from)
      })
    }),

    library("readLine", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        while (true) {
          countBytes(meter, yield* reader.readLine)
        }
      }), { target: 0.9 }),

    library("byteLines, by chunk", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        yield* Stream.runForEachChunk(reader.byteLines(), (lines) =>
          Effect.sync(() => {
            for (const line of lines) {
              countBytes(meter, line)
            }
          }))
      }))
  ]
}

export const linesAsText: Workload = {
  name: "lines-text",
  title: `Lines of ${size} bytes, as strings`,
  unit: "lines/s",
  better: "higher",
  contenders: [
    raw("node:net, decode a chunk and slice", (port, meter) => {
      let rest = ""
      Net.connect(port, host).setEncoding("utf8").on("data", (data) => {
        const text = data as unknown as string
        let from = 0
        let end = text.indexOf("\n")
        if (end >= 0) {
          countText(meter, rest + text.slice(0, end))
          rest = ""
          from = end + 1
          end = text.indexOf("\n", from)
        }
        while (end >= 0) {
          countText(meter, text.slice(from, end))
          from = end + 1
          end = text.indexOf("\n", from)
        }
        rest += text.slice(from)
      })
    }),

    library("lines, by chunk", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        yield* Stream.runForEachChunk(reader.lines(), (lines) =>
          Effect.sync(() => Chunk.forEach(lines, (line) => countText(meter, line))))
      }), { target: 0.75 }),

    library("lines, by element", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        yield* Stream.runForEach(reader.lines(), (line) => Effect.sync(() => countText(meter, line)))
      }), { target: 0.4 }),

    library("forEachLine", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        yield* reader.forEachLine((line) => countText(meter, line))
      }), { target: 0.75 })
  ]
}
