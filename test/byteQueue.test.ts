import { assert, describe, it } from "@effect/vitest"
import { ByteQueue } from "../src/internal/byteQueue.js"
import { latin1, Random, toLatin1 } from "./support/chunkings.js"

/** Around the sizes at which a chunk is copied or kept, and at which a place to gather in is full. */
const sizes = [0, 1, 1, 1, 2, 3, 17, 126, 127, 128, 128, 129, 130, 500, 3967, 3968, 3969, 4095, 4096, 4097]

/** The same bytes in an array of their own, amid others, or in one of Node's. */
const dressed = (bytes: Uint8Array, random: Random): Uint8Array => {
  switch (random.between(0, 2)) {
    case 0:
      return bytes
    case 1: {
      const amid = new Uint8Array(bytes.length + 20).fill(random.between(0, 255))
      amid.set(bytes, 7)
      return amid.subarray(7, 7 + bytes.length)
    }
    default:
      return Buffer.from(bytes)
  }
}

const isPlain = (bytes: Uint8Array): boolean => Object.getPrototypeOf(bytes) === Uint8Array.prototype

/** The chunks behind a queue, as a walk from its first byte meets them. */
const chunksOf = (queue: ByteQueue): Array<Uint8Array> => {
  const cursor = queue.cursorAt(0)
  const chunks = [cursor.chunk]
  while (cursor.next()) {
    chunks.push(cursor.chunk)
  }
  return chunks
}

/** Bytes of memory that the chunks keep alive. */
const pinned = (queue: ByteQueue): number =>
  [...new Set(chunksOf(queue).map((chunk) => chunk.buffer))].reduce((sum, buffer) => sum + buffer.byteLength, 0)

const queueOf = (...chunks: ReadonlyArray<Uint8Array>): ByteQueue => {
  const queue = new ByteQueue()
  for (const chunk of chunks) {
    queue.push(chunk)
  }
  return queue
}

describe("ByteQueue", () => {
  describe("against a plain array of bytes", () => {
    /** Thousands of operations in a row, on a queue that is kept near `target` bytes. */
    const run = (
      seed: number,
      options: {
        readonly steps: number
        readonly target: number
        readonly size: (random: Random) => number
        /** How often bytes are put back rather than added. */
        readonly back?: number
      }
    ) => {
      const { back = 0.15, size, steps, target } = options
      const random = new Random(seed)
      const queue = new ByteQueue()
      let model: Uint8Array = new Uint8Array(0)
      let position = 0
      const handedOut: Array<{ readonly step: number; readonly view: Uint8Array; readonly bytes: string }> = []
      let last: ReadonlyArray<unknown> = []
      let step = 0

      const check = (holds: boolean, what: string) => {
        if (!holds) {
          assert.fail(`seed ${seed}, step ${step}, ${last.join(" ")}: ${what}`)
        }
      }
      const checkBytes = (actual: Uint8Array, expected: Uint8Array, what: string) => {
        check(
          actual.length === expected.length && Buffer.compare(actual, expected) === 0,
          `${what} has the wrong bytes`
        )
        check(isPlain(actual), `${what} is a ${actual.constructor.name}`)
      }
      const taken = (view: Uint8Array, n: number) => {
        checkBytes(view, model.subarray(0, n), "what was taken")
        handedOut.push({ step, view, bytes: toLatin1(view) })
        model = model.slice(n)
        position += n
      }
      /** Some number of bytes that are there, now and then exactly the first chunk or all. */
      const some = (): number => {
        const rest = queue.firstChunk.length - queue.firstOffset
        const n = random.chance(0.01)
          ? model.length
          : random.pick([0, 1, rest, rest + 1, rest - 1, random.between(0, 300), size(random), size(random)])
        return Math.max(0, Math.min(n, model.length))
      }

      for (step = 0; step < steps; step++) {
        const growing = random.chance(model.length < target ? 0.7 : 0.3)
        if (growing) {
          const bytes = random.bytes(size(random))
          if (!random.chance(back)) {
            last = ["push", bytes.length]
            queue.push(dressed(bytes, random))
            model = Buffer.concat([model, bytes])
          } else {
            last = ["unshift", bytes.length]
            queue.unshift(dressed(bytes, random))
            model = Buffer.concat([bytes, model])
            position -= bytes.length
          }
        } else {
          const n = some()
          switch (random.between(0, 3)) {
            case 0:
            case 1:
              last = ["take", n]
              taken(queue.take(n), n)
              break
            case 2:
              last = ["drop", n]
              queue.drop(n)
              model = model.slice(n)
              position += n
              break
            case 3:
              if (model.length > 0 && n > 0) {
                last = ["takeChunk", n]
                const rest = queue.firstChunk.length - queue.firstOffset
                taken(queue.takeChunk(n), Math.min(n, rest))
              }
          }
        }

        check(queue.length === model.length, `length is ${queue.length}, not ${model.length}`)
        check(queue.position === position, `position is ${queue.position}, not ${position}`)
        const rest = model.subarray(0, queue.firstChunk.length - queue.firstOffset)
        check((rest.length > 0) === (model.length > 0), "the first chunk is used up")
        check(
          toLatin1(queue.firstChunk.subarray(queue.firstOffset)) === toLatin1(rest),
          "the first chunk has the wrong bytes"
        )
        const byte = random.chance(0.5) && rest.length > 0 ? rest[random.between(0, rest.length - 1)]! : 0
        check(queue.indexInFirst(byte) === rest.indexOf(byte), `indexInFirst(${byte}) is ${queue.indexInFirst(byte)}`)

        const n = some()
        const view = queue.peek(n)
        checkBytes(view, model.subarray(0, n), `peek(${n})`)
        handedOut.push({ step, view, bytes: toLatin1(view) })
        const copy = new Uint8Array(n + 2).fill(7)
        queue.copyTo(copy, n)
        checkBytes(copy.subarray(0, n), model.subarray(0, n), `copyTo(${n})`)
        check(copy[n] === 7 && copy[n + 1] === 7, `copyTo(${n}) wrote more`)

        if (model.length > 0) {
          for (
            const index of [0, model.length - 1, Math.min(n, model.length - 1), random.between(0, model.length - 1)]
          ) {
            check(queue.byteAt(index) === model[index], `byteAt(${index}) is ${queue.byteAt(index)}`)
            const cursor = queue.cursorAt(index)
            check(
              cursor.start <= index && index < cursor.start + cursor.chunk.length,
              `cursorAt(${index}) is at ${cursor.start}`
            )
            check(cursor.chunk[index - cursor.start] === model[index], `cursorAt(${index}) sees another byte`)
          }
        }
        if (step % 16 === 0 && model.length > 0) {
          const cursor = queue.cursorAt(random.between(0, model.length - 1))
          while (true) {
            const start = Math.max(0, cursor.start)
            const end = cursor.start + cursor.chunk.length
            const bytes = cursor.chunk.subarray(start - cursor.start)
            check(Buffer.compare(bytes, model.subarray(start, end)) === 0, "a walked chunk has the wrong bytes")
            if (!cursor.next()) {
              check(end === model.length, `a walk ends at ${end}`)
              break
            }
            check(cursor.start === end, `a walk goes from ${end} to ${cursor.start}`)
          }
        }
      }

      for (const given of handedOut) {
        if (toLatin1(given.view) !== given.bytes) {
          assert.fail(`seed ${seed}: the view handed out at step ${given.step} has changed`)
        }
      }
    }

    it("chunks of every size", () => {
      for (let seed = 1; seed <= 4; seed++) {
        run(seed, { steps: 2500, target: 12_000, size: (random) => random.pick(sizes) })
      }
    })

    it("small chunks, which are gathered", () => {
      for (let seed = 101; seed <= 104; seed++) {
        run(seed, { steps: 2500, target: 9000, size: (random) => random.between(0, 130) })
        run(seed, { steps: 1500, target: 9000, size: (random) => random.between(0, 128), back: 0.01 })
      }
    })

    it("a queue that is nearly always empty", () => {
      for (let seed = 201; seed <= 204; seed++) {
        run(seed, { steps: 2000, target: 2, size: (random) => random.between(0, 4) })
      }
    })

    it("hundreds of chunks, taken from the front while more arrive", () => {
      for (let seed = 301; seed <= 303; seed++) {
        run(seed, { steps: 2500, target: 40_000, size: (random) => random.between(129, 140) })
      }
    })
  })

  describe("copies no more than it must", () => {
    it("what lies within one chunk is a view of it", () => {
      const chunk = latin1("hello world")
      const queue = queueOf(chunk, new Uint8Array(200))
      for (const view of [queue.peek(3), queue.take(5), queue.takeChunk(3), queue.take(3)]) {
        assert.strictEqual(view.buffer, chunk.buffer)
      }
      assert.strictEqual(toLatin1(chunk), "hello world")
      assert.strictEqual(queue.length, 200)
    })

    it("what lies across chunks is one copy, and the chunks go", () => {
      const queue = queueOf(new Uint8Array(200).fill(1), new Uint8Array(200).fill(2), new Uint8Array(200).fill(3))
      assert.deepStrictEqual([...new Set(queue.take(300))], [1, 2])
      assert.strictEqual(queue.firstOffset, 100)
      assert.strictEqual(pinned(queue), 400)
    })

    it("a chunk of 129 bytes is kept as it is, one of 128 is copied behind the one that waits", () => {
      const first = new Uint8Array(1)
      const large = new Uint8Array(129)
      const small = new Uint8Array(128)
      const chunks = chunksOf(queueOf(first, large, small))
      assert.strictEqual(chunks[0], first)
      assert.strictEqual(chunks[1], large)
      assert.notStrictEqual(chunks[2]!.buffer, small.buffer)
    })

    it("a small chunk that comes into an empty queue is not copied", () => {
      const chunk = latin1("ping")
      const queue = queueOf(chunk)
      assert.strictEqual(queue.take(4).buffer, chunk.buffer)
      queue.push(chunk)
      assert.strictEqual(queue.take(4).buffer, chunk.buffer)
    })

    it("empty chunks leave no trace", () => {
      const queue = queueOf(new Uint8Array(0), latin1("a"), new Uint8Array(0), new Uint8Array(200), new Uint8Array(0))
      queue.unshift(new Uint8Array(0))
      assert.deepStrictEqual([queue.length, queue.position, chunksOf(queue).length], [201, 0, 2])
      queue.drop(201)
      queue.push(new Uint8Array(0))
      assert.deepStrictEqual([queue.length, queue.firstChunk.length], [0, 0])
    })
  })

  describe("memory", () => {
    it("a peer that sends 100 000 chunks of one byte costs a few chunks of 4 KiB", () => {
      const queue = new ByteQueue()
      for (let i = 0; i < 100_000; i++) {
        queue.push(Uint8Array.of(i % 251))
      }
      assert.strictEqual(queue.length, 100_000)
      assert.isAtMost(chunksOf(queue).length, 26)
      assert.isAtMost(pinned(queue), 104_000)
      assert.isTrue(queue.take(100_000).every((byte, i) => byte === i % 251))
    })

    it("small chunks are gathered again after a large one, and after the queue was empty", () => {
      const queue = new ByteQueue()
      const small = () => {
        for (let i = 0; i < 1000; i++) {
          queue.push(Uint8Array.of(i))
        }
      }
      small()
      queue.push(new Uint8Array(1000))
      small()
      assert.isAtMost(chunksOf(queue).length, 4)
      queue.drop(queue.length)
      small()
      assert.isAtMost(chunksOf(queue).length, 2)
      queue.drop(500)
      queue.unshift(Uint8Array.of(1))
      small()
      assert.isAtMost(chunksOf(queue).length, 4)
    })

    it("small and large chunks by turns cost little more than their bytes", () => {
      const queue = new ByteQueue()
      for (let i = 0; i < 1000; i++) {
        queue.push(new Uint8Array(129))
        queue.push(Uint8Array.of(i))
      }
      assert.isBelow(pinned(queue), 1.1 * queue.length)
    })

    it("chunks that were taken are let go while the queue never runs empty", () => {
      const queue = queueOf(new Uint8Array(200))
      for (let i = 0; i < 10_000; i++) {
        queue.push(new Uint8Array(200))
        queue.take(200)
      }
      const list = (queue as unknown as { readonly chunks: ReadonlyArray<Uint8Array> }).chunks
      assert.isAtMost(list.length, 128)
      assert.strictEqual(list.reduce((sum, chunk) => sum + chunk.length, 0), 200)
    })
  })

  describe("work", () => {
    /** From here on, how often the list of chunks is looked at or changed. */
    const countSteps = (queue: ByteQueue): () => number => {
      const internals = queue as unknown as { chunks: Array<Uint8Array> }
      assert.isArray(internals.chunks)
      let steps = 0
      internals.chunks = new Proxy(internals.chunks, {
        get: (chunks, key) => {
          steps++
          return Reflect.get(chunks, key)
        },
        set: (chunks, key, value) => {
          steps++
          return Reflect.set(chunks, key, value)
        }
      })
      return () => steps
    }

    it("a message that lies across two chunks costs the same whether ten or ten thousand wait behind it", () => {
      for (const size of [1, 50, 150, 249]) {
        const queue = new ByteQueue()
        for (let i = 0; i < 10_000; i++) {
          queue.push(new Uint8Array(200).fill(i))
        }
        const steps = countSteps(queue)
        let messages = 0
        while (messages < 5000 && queue.length > size) {
          queue.byteAt(size)
          queue.cursorAt(size)
          queue.peek(size)
          queue.take(size)
          messages++
        }
        assert.isBelow(steps() / messages, 50, `messages of ${size} bytes`)
      }
    })

    it("going on behind the last byte that was looked at costs the same however much waits before it", () => {
      const queue = queueOf(new Uint8Array(200))
      const steps = countSteps(queue)
      for (let i = 0; i < 10_000; i++) {
        const index = queue.length
        queue.push(new Uint8Array(200))
        queue.cursorAt(index)
      }
      assert.isBelow(steps() / 10_000, 20)
    })
  })
})
