/** Numbers in the stream, named as `DataView` names them. No view is made for their bytes. */
import * as Effectable from "effect/Effectable"
import type * as Api from "../StreamReader.js"
import type { InputBuffer, Outcome } from "./inputBuffer.js"
import { ReadOperation, type WaitingPlace } from "./readOperation.js"

export interface NumberFormat<A> {
  readonly name: string
  /** In bytes. */
  readonly size: number
  /** Takes one, whose bytes must be there. */
  readonly take: (input: InputBuffer<any>, littleEndian: boolean) => A
}

const uint64 = (input: InputBuffer<any>, littleEndian: boolean): bigint => {
  const first = BigInt(input.takeUint(4, littleEndian))
  const second = BigInt(input.takeUint(4, littleEndian))
  return littleEndian ? second << 32n | first : first << 32n | second
}

export const numberFormats = {
  readUint8: { name: "readUint8", size: 1, take: (input) => input.takeUint(1, false) },
  readInt8: { name: "readInt8", size: 1, take: (input) => input.takeUint(1, false) << 24 >> 24 },
  readUint16: { name: "readUint16", size: 2, take: (input, littleEndian) => input.takeUint(2, littleEndian) },
  readInt16: { name: "readInt16", size: 2, take: (input, littleEndian) => input.takeUint(2, littleEndian) << 16 >> 16 },
  readUint32: { name: "readUint32", size: 4, take: (input, littleEndian) => input.takeUint(4, littleEndian) },
  readInt32: { name: "readInt32", size: 4, take: (input, littleEndian) => input.takeUint(4, littleEndian) | 0 },
  readBigUint64: { name: "readBigUint64", size: 8, take: uint64 },
  readBigInt64: {
    name: "readBigInt64",
    size: 8,
    take: (input, littleEndian) => BigInt.asIntN(64, uint64(input, littleEndian))
  }
} satisfies Record<string, NumberFormat<number> | NumberFormat<bigint>>

class ReadNumber<A, E> extends ReadOperation<A, E> {
  constructor(
    place: WaitingPlace,
    private readonly format: NumberFormat<A>,
    private readonly littleEndian: boolean
  ) {
    super(place)
  }

  get name(): string {
    return this.format.name
  }

  override get wanted(): number {
    return this.format.size
  }

  attempt(): Outcome<A> {
    const { format, place: { input } } = this
    const there = input.has(format.size)
    return there === true ? format.take(input, this.littleEndian) : there
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

/** Those of one reader, each made when first used: most readers read no numbers, or one kind. */
export class NumberReads<E> {
  private uint8: Api.ReadNumber<number, E> | undefined = undefined
  private int8: Api.ReadNumber<number, E> | undefined = undefined
  private uint16: Api.ReadNumber<number, E> | undefined = undefined
  private int16: Api.ReadNumber<number, E> | undefined = undefined
  private uint32: Api.ReadNumber<number, E> | undefined = undefined
  private int32: Api.ReadNumber<number, E> | undefined = undefined
  private bigUint64: Api.ReadNumber<bigint, E> | undefined = undefined
  private bigInt64: Api.ReadNumber<bigint, E> | undefined = undefined

  constructor(private readonly place: WaitingPlace) {}

  get readUint8(): Api.ReadNumber<number, E> {
    return this.uint8 ??= makeReadNumber(this.place, numberFormats.readUint8)
  }
  get readInt8(): Api.ReadNumber<number, E> {
    return this.int8 ??= makeReadNumber(this.place, numberFormats.readInt8)
  }
  get readUint16(): Api.ReadNumber<number, E> {
    return this.uint16 ??= makeReadNumber(this.place, numberFormats.readUint16)
  }
  get readInt16(): Api.ReadNumber<number, E> {
    return this.int16 ??= makeReadNumber(this.place, numberFormats.readInt16)
  }
  get readUint32(): Api.ReadNumber<number, E> {
    return this.uint32 ??= makeReadNumber(this.place, numberFormats.readUint32)
  }
  get readInt32(): Api.ReadNumber<number, E> {
    return this.int32 ??= makeReadNumber(this.place, numberFormats.readInt32)
  }
  get readBigUint64(): Api.ReadNumber<bigint, E> {
    return this.bigUint64 ??= makeReadNumber(this.place, numberFormats.readBigUint64)
  }
  get readBigInt64(): Api.ReadNumber<bigint, E> {
    return this.bigInt64 ??= makeReadNumber(this.place, numberFormats.readBigInt64)
  }
}
