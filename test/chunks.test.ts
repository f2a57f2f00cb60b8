import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Equal from "effect/Equal"
import * as Hash from "effect/Hash"
import * as chunks from "../src/internal/chunks.js"

const cases: ReadonlyArray<readonly [string, Chunk.Chunk<number>, Chunk.Chunk<number>]> = [
  ["of one", chunks.of(7), Chunk.of(7)],
  ["from an array of two", chunks.fromArray([7, 8]), Chunk.make(7, 8)],
  ["from an array of one", chunks.fromArray([7]), Chunk.make(7)],
  ["from an array of many", chunks.fromArray(Chunk.toReadonlyArray(Chunk.range(1, 1000))), Chunk.range(1, 1000)]
]

describe.each(cases)("a chunk %s", (_, ours, theirs) => {
  it("has the very fields of one that Chunk has made", () => {
    assert.deepStrictEqual(Object.keys(ours), Object.keys(theirs))
    assert.strictEqual(Object.getPrototypeOf(ours), Object.getPrototypeOf(theirs))
  })

  it("is not made by Chunk: this version of Effect is one that is known", () => {
    const backing = (chunk: object) => Object.getPrototypeOf((chunk as { readonly backing: object }).backing)
    assert.notStrictEqual(backing(ours), Object.prototype)
    assert.strictEqual(backing(theirs), Object.prototype)
  })

  it("is equal to it, and works as it does", () => {
    const more = Chunk.make(1, 2, 3)
    assert.isTrue(Chunk.isChunk(ours))
    assert.isTrue(Equal.equals(ours, theirs))
    assert.isTrue(Equal.equals(theirs, ours))
    assert.strictEqual(Hash.hash(ours), Hash.hash(theirs))
    assert.deepStrictEqual([...ours], [...theirs])
    assert.deepStrictEqual(JSON.stringify(ours), JSON.stringify(theirs))
    const uses: ReadonlyArray<(chunk: Chunk.Chunk<number>) => Iterable<number>> = [
      (chunk) => Chunk.appendAll(chunk, more),
      (chunk) => Chunk.prependAll(chunk, more),
      (chunk) => Chunk.append(Chunk.prepend(chunk, 0), 9),
      (chunk) => Chunk.take(chunk, 1),
      (chunk) => Chunk.drop(chunk, 1),
      (chunk) => Chunk.drop(Chunk.appendAll(chunk, chunk), chunk.length),
      (chunk) => Chunk.map(chunk, (n) => n + 1),
      (chunk) => Chunk.filter(chunk, (n) => n % 2 === 0),
      (chunk) => Chunk.flatMap(chunk, (n) => Chunk.make(n, n)),
      (chunk) => Chunk.reverse(chunk),
      (chunk) => Chunk.flatten(Chunk.make(chunk, more, chunk)),
      (chunk) => Chunk.toReadonlyArray(chunk)
    ]
    for (const use of uses) {
      assert.deepStrictEqual([...use(ours)], [...use(theirs)])
    }
  })
})
