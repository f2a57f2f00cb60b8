/**
 * Chunks that are garbage when nobody has them any more.
 *
 * `Chunk` wraps what it holds in an object literal, and `youngArray.ts` says what comes of that. An instance of a class
 * is not counted, so a wrapper of ours is always born young. Its fields are those that `Chunk` gives to a chunk of its
 * own; should a version of Effect have others, `Chunk` makes the chunks.
 */
import * as Chunk from "effect/Chunk"

interface Fields {
  backing: object
  length: number
  depth: number
  left: unknown
  right: unknown
}

class ArrayBacking {
  readonly _tag = "IArray"
  constructor(readonly array: ReadonlyArray<unknown>) {}
}

class SingletonBacking {
  readonly _tag = "ISingleton"
  constructor(readonly a: unknown) {}
}

const model = Chunk.of(0) as unknown as Fields
const proto: object = Object.getPrototypeOf(model)

const make = (backing: object, length: number): Chunk.Chunk<never> => {
  const chunk = Object.create(proto)
  chunk.backing = backing
  chunk.length = length
  chunk.depth = 0
  chunk.left = model.left
  chunk.right = model.right
  return chunk
}

const sameFields = (a: object, b: object): boolean => {
  const entries = Object.entries(b)
  return Object.keys(a).length === entries.length &&
    entries.every(([key, value]) => Object.entries(a).some(([k, v]) => k === key && (v === value || key === "backing")))
}

const alike = (ours: object, theirs: object): boolean =>
  sameFields(ours, theirs) && sameFields((ours as Fields).backing, (theirs as Fields).backing)

const items = [0, 0]
const known = alike(make(new ArrayBacking(items), 2), Chunk.unsafeFromArray(items)) &&
  alike(make(new SingletonBacking(0), 1), Chunk.of(0))

/** A chunk of the array, which nobody changes any more. */
export const fromArray: <A>(array: ReadonlyArray<A>) => Chunk.Chunk<A> = known
  ? (array) => make(new ArrayBacking(array), array.length)
  : Chunk.unsafeFromArray

export const of: <A>(a: A) => Chunk.Chunk<A> = known ? (a) => make(new SingletonBacking(a), 1) : Chunk.of
