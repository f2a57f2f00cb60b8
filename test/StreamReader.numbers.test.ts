import { assert, describe, it } from "@effect/vitest"
import type * as StreamReader from "effect-netstreams/StreamReader"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { latin1, toLatin1 } from "./support/chunkings.js"
import {
  type Boom,
  everyWay,
  fed,
  outcome,
  outcomeOfFiber,
  readAll,
  type Reader,
  rest,
  settled,
  started
} from "./support/reader.js"
import { failed, incomplete, value, waits } from "./support/readerReference.js"

interface Format {
  readonly name: string
  readonly size: number
  readonly property: (reader: Reader) => StreamReader.ReadNumber<number | bigint, Boom>
  /** How a `DataView` writes one. */
  readonly write: (view: DataView, value: never, littleEndian: boolean) => void
  readonly values: ReadonlyArray<number | bigint>
}

const unsigned = (bits: number): ReadonlyArray<number> => [0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2 ** bits - 1]
const signed = (bits: number): ReadonlyArray<number> => [0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]

const formats: ReadonlyArray<Format> = [
  {
    name: "readUint8",
    size: 1,
    property: (reader) => reader.readUint8,
    write: (view, n) => view.setUint8(0, n),
    values: unsigned(8)
  },
  {
    name: "readInt8",
    size: 1,
    property: (reader) => reader.readInt8,
    write: (view, n) => view.setInt8(0, n),
    values: signed(8)
  },
  {
    name: "readUint16",
    size: 2,
    property: (reader) => reader.readUint16,
    write: (view, n, little) => view.setUint16(0, n, little),
    values: [...unsigned(16), 0x0102, 0xff00]
  },
  {
    name: "readInt16",
    size: 2,
    property: (reader) => reader.readInt16,
    write: (view, n, little) => view.setInt16(0, n, little),
    values: [...signed(16), 0x0102, -256]
  },
  {
    name: "readUint32",
    size: 4,
    property: (reader) => reader.readUint32,
    write: (view, n, little) => view.setUint32(0, n, little),
    values: [...unsigned(32), 0x01020304, 0xff000000]
  },
  {
    name: "readInt32",
    size: 4,
    property: (reader) => reader.readInt32,
    write: (view, n, little) => view.setInt32(0, n, little),
    values: [...signed(32), 0x01020304, -256]
  },
  {
    name: "readBigUint64",
    size: 8,
    property: (reader) => reader.readBigUint64,
    write: (view, n, little) => view.setBigUint64(0, n, little),
    values: [0n, 1n, 2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 0x0102030405060708n, 0xff00000000n]
  },
  {
    name: "readBigInt64",
    size: 8,
    property: (reader) => reader.readBigInt64,
    write: (view, n, little) => view.setBigInt64(0, n, little),
    values: [0n, 1n, -1n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n), 0x0102030405060708n, -0xff00000000n]
  }
]

const encoded = ({ size, write }: Format, n: number | bigint, littleEndian: boolean): string => {
  const bytes = new Uint8Array(size)
  write(new DataView(bytes.buffer), n as never, littleEndian)
  return toLatin1(bytes)
}

const printed = (n: number | bigint): string => typeof n === "bigint" ? `${n}n` : String(n)

describe("StreamReader, numbers", () => {
  for (const format of formats) {
    describe(format.name, () => {
      it.effect("reads what DataView writes, however it was cut", () =>
        Effect.forEach(format.values, (n) =>
          everyWay({
            input: `${encoded(format, n, false)}${encoded(format, n, true)}${encoded(format, n, false)}!`,
            reads: [
              [(reader) => format.property(reader), printed(n)],
              [(reader) => format.property(reader)(true), printed(n)],
              [(reader) => format.property(reader)(false), printed(n)],
              [readAll, value("!")]
            ]
          })))

      it.effect("called without an argument is the property", () =>
        Effect.gen(function*() {
          for (const n of format.values) {
            const { reader } = yield* fed(encoded(format, n, false).repeat(2))
            assert.strictEqual(yield* format.property(reader)(), n)
            assert.strictEqual(yield* format.property(reader)(undefined), n)
          }
        }))

      it.effect("has what came before the end in its error, and has consumed it", () =>
        everyWay({
          input: "x".repeat(format.size - 1),
          reads: [
            [(reader) => format.property(reader), incomplete("x".repeat(format.size - 1), format.size)],
            [(reader) => format.property(reader)(true), incomplete("", format.size)]
          ]
        }))

      it.effect("fails where the source did, and leaves what had arrived", () =>
        everyWay({
          input: "x".repeat(format.size * 2 - 1),
          end: "failed",
          limit: 1,
          reads: [
            [(reader) => reader.readExactly(format.size), value("x".repeat(format.size))],
            [(reader) => format.property(reader), failed],
            [(reader) => reader.readExactly(format.size - 1), value("x".repeat(format.size - 1))]
          ]
        }))

      it.effect("waits for all of its bytes, and takes none before", () =>
        Effect.gen(function*() {
          for (const littleEndian of [false, true]) {
            const { feed, reader } = yield* fed("x".repeat(format.size - 1))
            const fiber = yield* started(format.property(reader)(littleEndian))
            assert.strictEqual(yield* outcomeOfFiber(fiber), waits)
            yield* Fiber.interrupt(fiber)
            assert.strictEqual(yield* rest(reader, feed), "x".repeat(format.size - 1))
          }
        }))
    })
  }

  it.effect("are effects in every respect: they can be piped, mapped, collected and kept", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed("\x01\x00\x02\x00\x00\x00\x03\xff\x00\x04")
      assert.isTrue(Effect.isEffect(reader.readUint16))
      assert.strictEqual(yield* reader.readUint8.pipe(Effect.map((n) => n + 1)), 2)
      assert.deepStrictEqual(yield* Effect.all([reader.readUint16, reader.readUint32]), [2, 3])
      const kept = reader.readInt8
      assert.strictEqual(yield* Effect.zipRight(Effect.void, kept), -1)
      assert.strictEqual(yield* Effect.flatMap(Effect.void, () => reader.readUint16), 4)
    }))

  it.effect("of different kinds and readers do not mix", () =>
    Effect.gen(function*() {
      const one = yield* fed("\x01\x02\x03\x04\x05\x06")
      const other = yield* fed("\x07\x08")
      const big = one.reader.readUint16
      const little = one.reader.readUint16(true)
      assert.strictEqual(yield* little, 0x0201)
      assert.strictEqual(yield* other.reader.readUint16, 0x0708)
      assert.strictEqual(yield* big, 0x0304)
      assert.strictEqual(yield* little, 0x0605)
    }))

  it.effect("leave a frame's rest to the next read", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* fed("")
      const frame = Effect.gen(function*() {
        const kind = yield* reader.readUint8
        const length = yield* reader.readUint32(true)
        return [kind, toLatin1(yield* reader.readExactly(length))]
      })
      const fiber = yield* started(Effect.all([frame, frame]))
      yield* feed.data(latin1("\x01\x03\x00\x00"))
      yield* settled
      yield* feed.data(latin1("\x00abc\x02\x00\x00\x00\x00tail"))
      assert.deepStrictEqual(yield* Fiber.join(fiber), [[1, "abc"], [2, ""]])
      assert.strictEqual(yield* rest(reader, feed), "tail")
    }))

  it.effect("name themselves in their errors", () =>
    Effect.gen(function*() {
      for (const { name, property, size } of formats) {
        const { reader } = yield* fed("", "eof")
        const error = yield* Effect.flip(property(reader)(true))
        assert.include(String(error), `${name}: the stream ended after 0 bytes, before all ${size} had arrived`)
        assert.strictEqual(yield* outcome(property(reader)), incomplete("", size))
      }
    }))
})
