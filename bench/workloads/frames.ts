import { Effect, Option, Stream } from "effect"
import { Framing, Network } from "effect-netstreams"
import * as Net from "node:net"
import { asClient, host } from "../contenders.js"
import { source } from "../peer.js"
import { loops } from "../python.js"
import { carried } from "../rivals.js"
import type { Meter, Workload } from "../workload.js"

/** Bytes of a frame, after the four that say how many there are. */
const size = 100

const { library, python, raw, rival } = asClient(source(`\0\0\0${String.fromCharCode(size)}${"x".repeat(size)}`))

const countFrame = (meter: Meter, frame: Uint8Array): void => {
  if (frame.length !== size) {
    throw new Error(`a frame of ${frame.length} bytes`)
  }
  meter.count++
}

const framing = Framing.lengthPrefixed()

export const frames: Workload = {
  name: "frames",
  title: `Frames of a 4-byte length and ${size} bytes`,
  unit: "frames/s",
  better: "higher",
  contenders: [
    raw("node:net, readUInt32BE and subarray", (port, meter) => {
      let rest = Buffer.alloc(0)
      Net.connect(port, host).on("data", (chunk) => {
        let from = 0
        // The frame that began in the chunk before.
        while (rest.length > 0) {
          const whole = rest.length < 4 ? 4 : 4 + rest.readUInt32BE(0)
          const more = chunk.subarray(from, from + whole - rest.length)
          rest = Buffer.concat([rest, more])
          from += more.length
          if (rest.length < whole) {
            return
          }
          if (whole > 4) {
            countFrame(meter, rest.subarray(4))
            rest = Buffer.alloc(0)
          }
        }
        while (from + 4 <= chunk.length) {
          const end = from + 4 + chunk.readUInt32BE(from)
          if (end > chunk.length) {
            break
          }
          countFrame(meter, chunk.subarray(from + 4, end))
          from = end
        }
        rest = chunk.subarray(from)
      })
    }),

    library("Framing.read", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        while (true) {
          countFrame(meter, Option.getOrThrow(yield* Framing.read(reader, framing)))
        }
      }), { target: 0.9 }),

    library("Framing.stream, by chunk", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        yield* Stream.runForEachChunk(Framing.stream(reader, framing), (frames) =>
          Effect.sync(() => {
            for (const frame of frames) {
              countFrame(meter, frame)
            }
          }))
      })),

    library("readUint32, readExactly", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        while (true) {
          const length = yield* reader.readUint32
          countFrame(meter, yield* reader.readExactly(length))
        }
      }), { target: 0.8 }),

    library("readExactly twice", (port, meter) =>
      Effect.gen(function*() {
        const { reader } = yield* Network.openConnection({ host, port })
        while (true) {
          const head = yield* reader.readExactly(4)
          const length = head[0]! * 0x1000000 + (head[1]! << 16 | head[2]! << 8 | head[3]!)
          countFrame(meter, yield* reader.readExactly(length))
        }
      }), { target: 0.6 }),

    rival("node:net, for await and carry", (port, meter) =>
      carried(port, (bytes) => {
        let from = 0
        while (from + 4 <= bytes.length) {
          const end = from + 4 + bytes.readUInt32BE(from)
          if (end > bytes.length) {
            break
          }
          countFrame(meter, bytes.subarray(from + 4, end))
          from = end
        }
        return from
      })),

    ...loops.map((loop) => python(`${loop} readexactly twice`, loop, "frames", size))
  ]
}
