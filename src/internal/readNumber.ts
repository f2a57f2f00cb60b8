/** Numbers in the stream, named as `DataView` names them. No view is made for their bytes. */
import * as Effectable from "effect/Effectable"
import type * as Api from "../StreamReader.js"
import type { ByteQueue } from "./byteQueue.js"
import { type Outcome } from "./inputBuffer.js"
import { ReadOperation, type WaitingPlace } from "./readOperation.js"

/** How a number lies in its bytes. `at(i)` is the byte of the i-th place, the most significant first. */
export interface NumberFormat<A> {
  readonly name: string
  readonly size: number
  readonly decode: (at: (place: number) => number) => A
}

const unsigned32 = (at: (place: number) => number, from: number): number =>
  ((at(from) << 24) | (at(from + 1) << 16) | (at(from + 2) << 8) | at(from + 3)) >>> 0

const format = <A>(name: string, size: number, decode: NumberFormat<A>["decode"]): NumberFormat<A> => ({
  name,
  size,
  decode
})

const bigUnsigned64 = (at: (place: number) => number): bigint =>
  (BigInt(unsigned32(at, 0)) << 32n) | BigInt(unsigned32(at, 4))

export const numberFormats = {
  readUint8: format("readUint8", 1, (at) => at(0)),
  readInt8: format("readInt8", 1, (at) => at(0) << 24 >> 24),
  readUint16: format("readUint16", 2, (at) => (at(0) << 8) | at(1)),
  readInt16: format("readInt16", 2, (at) => ((at(0) << 8) | at(1)) << 16 >> 16),
  readUint32: format("readUint32", 4, (at) => unsigned32(at, 0)),
  readInt32: format("readInt32", 4, (at) => unsigned32(at, 0) | 0),
  readBigUint64: format("readBigUint64", 8, bigUnsigned64),
  readBigInt64: format("readBigInt64", 8, (at) => BigInt.asIntN(64, bigUnsigned64(at)))
}

class ReadNumber<A, E> extends ReadOperation<A, E> {
  readonly name: string
  private readonly at: (place: number) => number

  constructor(place: WaitingPlace, private readonly format: NumberFormat<A>, littleEndian: boolean) {
    super(place)
    this.name = format.name
    const queue: ByteQueue = place.input.queue
    const last = format.size - 1
    this.at = littleEndian ? (i) => queue.byteAt(last - i) : (i) => queue.byteAt(i)
  }

  override get wanted(): number {
    return this.format.size
  }

  attempt(): Outcome<A> {
    const input = this.place.input
    const there = input.has(this.format.size)
    if (there !== true) {
      return there
    }
    const value = this.format.decode(this.at)
    input.drop(this.format.size)
    return value
  }
}

/**
 * A function that is itself an Effect, as a `Context.Tag` is: `yield* reader.readUint32` is the big-endian read, and
 * `reader.readUint32(true)` the little-endian one.
 */
export const makeReadNumber = <A, E>(place: WaitingPlace, format: NumberFormat<A>): Api.ReadNumber<A, E> => {
  const bigEndian = new ReadNumber<A, any>(place, format, false)
  let littleEndian: ReadNumber<A, any> | undefined = undefined
  const read = (little?: boolean | undefined) =>
    little === true ? littleEndian ??= new ReadNumber<A, any>(place, format, true) : bigEndian
  return Object.assign(Object.setPrototypeOf(read, callableEffect), {
    commit: () => bigEndian,
    [Symbol.iterator]: () => bigEndian[Symbol.iterator]()
  })
}

const callableEffect = Object.create(Function.prototype, {
  ...Object.getOwnPropertyDescriptors(Effectable.CommitPrototype)
})
