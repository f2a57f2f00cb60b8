import { Chunk, Effect, Stream } from "effect"
import { Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, host } from "../contenders.js"
import { source } from "../peer.js"
import { loops } from "../python.js"
import { carried, linesInMemory, platformLines, readlineEvents, readlineForAwait, split2Lines } from "../rivals.js"
import type { Contender, Meter, Workload } from "../workload.js"

const text = "The quick brown fox jumps over the lazy dog. ".repeat(30)

/** Counts a line, and is not fooled by half a one. */
const counting = (length: number) => (meter: Meter, line: { readonly length: number }): void => {
  if (line.length !== length) {
    throw new Error(`a line of length ${line.length}`)
  }
  meter.count++
}

const usual = 80

/** One size is enough for the others. */
const besides = (size: number, others: () => ReadonlyArray<Contender>): ReadonlyArray<Contender> =>
  size === usual ? others() : []

/** Lines of so many bytes, with their end. */
const linesAsBytes = (size: number): Workload => {
  const { library, python, raw, rival } = asClient(source(`${text.slice(0, size - 1)}\n`))
  const count = counting(size)
  return {
    name: size === usual ? "lines-bytes" : `lines-bytes-${size}`,
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
            count(meter, Buffer.concat([rest, chunk.subarray(0, end + 1)]))
            rest = Buffer.alloc(0)
            from = end + 1
            end = chunk.indexOf(10, from)
          }
          while (end >= 0) {
            count(meter, chunk.subarray(from, end + 1))
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
            count(meter, yield* reader.readLine)
          }
        }), { target: 0.9 }),

      library("byteLines, by chunk", (port, meter) =>
        Effect.gen(function*() {
          const { reader } = yield* Network.openConnection({ host, port })
          yield* Stream.runForEachChunk(reader.byteLines(), (lines) =>
            Effect.sync(() => {
              for (const line of lines) {
                count(meter, line)
              }
            }))
        })),

      ...besides(size, () => [
        rival("node:net, for await and carry", (port, meter) =>
          carried(port, (bytes) => {
            let from = 0
            for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
              count(meter, bytes.subarray(from, end + 1))
              from = end + 1
            }
            return from
          })),

        ...loops.map((loop) => python(`${loop} readline`, loop, "lines_bytes", size))
      ])
    ]
  }
}

const linesAsText = (size: number): Workload => {
  const { library, python, raw, rival } = asClient(source(`${text.slice(0, size - 1)}\n`))
  const count = counting(size - 1)
  return {
    name: size === usual ? "lines-text" : `lines-text-${size}`,
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
            count(meter, rest + text.slice(0, end))
            rest = ""
            from = end + 1
            end = text.indexOf("\n", from)
          }
          while (end >= 0) {
            count(meter, text.slice(from, end))
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
            Effect.sync(() => Chunk.forEach(lines, (line) => count(meter, line))))
        }), { target: 0.75 }),

      library("lines, by element", (port, meter) =>
        Effect.gen(function*() {
          const { reader } = yield* Network.openConnection({ host, port })
          yield* Stream.runForEach(reader.lines(), (line) => Effect.sync(() => count(meter, line)))
        }), { target: 0.4 }),

      library("forEachLine", (port, meter) =>
        Effect.gen(function*() {
          const { reader } = yield* Network.openConnection({ host, port })
          yield* reader.forEachLine((line) => count(meter, line))
        }), { target: 0.75 }),

      ...besides(size, () => [
        rival("node:readline, line events", (port, meter) => readlineEvents(port, (line) => count(meter, line))),
        rival("node:readline, for await", (port, meter) => readlineForAwait(port, (line) => count(meter, line))),
        rival("split2", (port, meter) => split2Lines(port, (line) => count(meter, line))),
        rival(
          "@effect/platform NodeSocket, splitLines",
          (port, meter) => platformLines(port, (line) => count(meter, line))
        ),
        rival(
          "Stream.runForEach over lines in memory",
          (_, meter) => linesInMemory(text.slice(0, size - 1), (line) => count(meter, line))
        ),

        ...loops.map((loop) => python(`${loop} readline, decode`, loop, "lines_text", size))
      ])
    ]
  }
}

const until: Workload = (() => {
  const size = 200
  const separator = "\r\n\r\n"
  const { library, python, raw, rival } = asClient(source(text.slice(0, size - 4) + separator))
  const count = counting(size)
  const take = (meter: Meter) => (bytes: Buffer): number => {
    let from = 0
    for (let end = bytes.indexOf(separator); end >= 0; end = bytes.indexOf(separator, from)) {
      count(meter, bytes.subarray(from, end + 4))
      from = end + 4
    }
    return from
  }
  return {
    name: "until",
    title: `Blocks of ${size} bytes, by their separator of 4`,
    unit: "blocks/s",
    better: "higher",
    contenders: [
      raw("node:net, indexOf and subarray", (port, meter) => {
        const taken = take(meter)
        let rest: Buffer = Buffer.alloc(0)
        Net.connect(port, host).on("data", (chunk) => {
          const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
          rest = bytes.subarray(taken(bytes))
        })
      }),

      library("readUntil", (port, meter) =>
        Effect.gen(function*() {
          const { reader } = yield* Network.openConnection({ host, port })
          while (true) {
            count(meter, yield* reader.readUntil(separator))
          }
        }), { target: 0.85 }),

      rival("node:net, for await and carry", (port, meter) => carried(port, take(meter))),

      ...loops.map((loop) => python(`${loop} readuntil`, loop, "until", size))
    ]
  }
})()

const sizes = [usual, 16, 1024]

export const lines: ReadonlyArray<Workload> = [...sizes.map(linesAsBytes), ...sizes.map(linesAsText), until]
