import { assert, describe, it } from "@effect/vitest"
import { vi } from "vitest"
import { ByteQueue } from "../src/internal/byteQueue.js"
import type * as BytesModule from "../src/internal/bytes.js"
import { lineFeed, Separator, separator, type SeparatorInput, separatorProblem } from "../src/internal/separator.js"
import { chunkings, cutAt, cutRandomly, latin1, Random, texts, toLatin1, utf8 } from "./support/chunkings.js"
import { firstMatch } from "./support/readerReference.js"

/** What the platform's byte search was given to look through. */
const looks = vi.hoisted(() => ({
  on: false,
  total: 0,
  /** How often each byte of each piece of memory was passed over. */
  at: new Map<ArrayBufferLike, Uint8Array>()
}))

vi.mock("../src/internal/bytes.js", async (original) => {
  const bytes = await original<typeof BytesModule>()
  const indexOfByte: typeof bytes.indexOfByte = (chunk, byte, from) => {
    const index = bytes.indexOfByte(chunk, byte, from)
    if (looks.on) {
      const counts = looks.at.get(chunk.buffer) ?? new Uint8Array(chunk.buffer.byteLength)
      looks.at.set(chunk.buffer, counts)
      for (let i = from; i <= (index < 0 ? chunk.length - 1 : index); i++) {
        counts[chunk.byteOffset + i]!++
        looks.total++
      }
    }
    return index
  }
  return { ...bytes, indexOfByte }
})

const countingLooks = <A>(run: () => A): { readonly result: A; readonly total: number; readonly most: number } => {
  looks.on = true
  looks.total = 0
  looks.at.clear()
  try {
    const result = run()
    const most = [...looks.at.values()].reduce((most, counts) => counts.reduce((a, b) => Math.max(a, b), most), 0)
    return { result, total: looks.total, most }
  } finally {
    looks.on = false
  }
}

/** Cuts a stream into messages as its chunks arrive, and never lets a search begin again where one has been. */
const messages = (chunks: ReadonlyArray<Uint8Array>, separator: Separator): Array<string> => {
  const queue = new ByteQueue()
  const found: Array<string> = []
  for (const chunk of chunks) {
    let from = queue.length
    queue.push(chunk)
    while (true) {
      const end = separator.find(queue, from)
      if (end < 0) {
        break
      }
      found.push(`${toLatin1(queue.take(end + 1 - separator.matched))}|${toLatin1(queue.take(separator.matched))}`)
      from = 0
    }
  }
  return [...found, toLatin1(queue.take(queue.length))]
}

const expectedMessages = (text: string, separators: ReadonlyArray<string>): Array<string> => {
  const found: Array<string> = []
  let rest = text
  for (let match = firstMatch(rest, separators); match !== undefined; match = firstMatch(rest, separators)) {
    found.push(`${rest.slice(0, match.start)}|${rest.slice(match.start, match.end)}`)
    rest = rest.slice(match.end)
  }
  return [...found, rest]
}

const checkMessages = (text: string, separators: ReadonlyArray<string>, random?: number) => {
  const expected = JSON.stringify(expectedMessages(text, separators))
  const prepared = new Separator(separators.map(latin1))
  for (const { chunks, name } of chunkings(latin1(text), random)) {
    const actual = JSON.stringify(messages(chunks, prepared))
    if (actual !== expected) {
      assert.fail(
        `${JSON.stringify(text)}, ${name}, by ${JSON.stringify(separators)}: ${actual} instead of ${expected}`
      )
    }
  }
}

/** Every word of up to `length` letters a and b. */
const words = (length: number): Array<string> =>
  length === 0
    ? [""]
    : words(length - 1).flatMap((word) => word.length === length - 1 ? [word, `${word}a`, `${word}b`] : word)

describe("Separator.find", () => {
  const overlapping: ReadonlyArray<ReadonlyArray<string>> = [
    ["a"],
    ["aa"],
    ["aab"],
    ["aba"],
    ["abab"],
    ["ab", "abab"],
    ["b", "ab", "aab"],
    ["a", "b"],
    ["a", "bb"],
    ["aa", "ab"],
    ["ab", "ba"],
    ["abba", "bb"],
    ["aba", "bab", "aaaa"],
    ["a", "ba", "b", "ab"],
    ["ab", "ab"]
  ]

  it("finds what a naive search finds in every text of a and b, whole and as it arrives", () => {
    for (const text of words(7)) {
      for (const separators of overlapping) {
        checkMessages(text, separators, 0)
      }
    }
  })

  it("finds what a naive search finds with random separators in random texts", () => {
    const random = new Random(1)
    for (let i = 0; i < 400; i++) {
      const alphabet = random.pick(["ab", "ab", "abc", "\r\nab"])
      const separators = Array.from({ length: random.between(1, 4) }, () => random.text(random.between(1, 6), alphabet))
      checkMessages(random.text(random.between(0, 60), alphabet), separators, 2)
    }
  })

  it("finds lines in every text", () => {
    for (const text of texts) {
      for (const separators of [["\n"], ["\r\n"], ["\r\n", "\n"], ["\n", "\r"], ["\r\n", "\n", "\r"], ["\r\n\r\n"]]) {
        checkMessages(toLatin1(utf8(text)), separators)
      }
    }
  })

  it("finds what lies across chunks too long to be gathered", () => {
    const random = new Random(2)
    for (let i = 0; i < 60; i++) {
      const separators = [random.text(random.between(1, 300), "ab"), random.text(random.between(8, 300), "ab")]
      const text = Array.from({ length: 4 }, () => random.text(random.between(0, 400), "ab") + random.pick(separators))
        .join("")
      const expected = expectedMessages(text, separators)
      const prepared = new Separator(separators.map(latin1))
      for (const longest of [150, 400]) {
        assert.deepStrictEqual(messages(cutRandomly(latin1(text), random, longest), prepared), expected, `text ${i}`)
      }
    }
  })

  const find = (text: string, separators: ReadonlyArray<string>, from = 0) => {
    const queue = new ByteQueue()
    queue.push(latin1(text))
    const prepared = new Separator(separators.map(latin1))
    const end = prepared.find(queue, from)
    return end < 0 ? "none" : text.slice(end + 1 - prepared.matched, end + 1)
  }

  it("the match that ends first wins, wherever it begins", () => {
    assert.strictEqual(find("ABCDEFG", ["DEF", "BCDE"]), "BCDE")
    assert.strictEqual(find("ABCDEFG", ["CDEF", "D"]), "D")
  })

  it("of two matches that end together the longer wins, in whatever order they were given", () => {
    for (const separators of [["\n", "\r\n"], ["\r\n", "\n"]]) {
      assert.strictEqual(find("abc\r\n", separators), "\r\n")
      assert.strictEqual(find("abc\n", separators), "\n")
    }
    assert.strictEqual(find("xabab", ["ab", "xabab", "bab"]), "ab")
    assert.strictEqual(find("xxbab", ["ab", "xbab", "bab"]), "xbab")
  })

  it("passes over matches that end before `from`, and finds one that began before it", () => {
    assert.strictEqual(find("ab ab", ["ab"], 2), "ab")
    assert.strictEqual(find("ab", ["ab"], 1), "ab")
    assert.strictEqual(find("ab", ["ab"], 2), "none")
    assert.strictEqual(find("", ["ab"], 0), "none")
  })

  it("never finds a match that begins with bytes already taken", () => {
    for (const first of ["xa", `${"x".repeat(200)}a`]) {
      const queue = new ByteQueue()
      queue.push(latin1(first))
      queue.push(latin1("b".repeat(200)))
      queue.drop(first.length)
      assert.strictEqual(new Separator([latin1("ab")]).find(queue, 0), -1)
      const shared = new ByteQueue()
      shared.push(latin1(`${first}b`))
      shared.drop(first.length)
      assert.strictEqual(new Separator([latin1("ab"), latin1("xab")]).find(shared, 0), -1)
    }
  })

  it("tells the length of the shortest and of the longest", () => {
    const prepared = new Separator(["bb", "a", "dddd", "ccc"].map(latin1))
    assert.deepStrictEqual([prepared.min, prepared.max], [1, 4])
  })
})

describe("Separator.find looks at a byte once", () => {
  const text = new Random(3).text(3000, "abcdefgh\r\n")

  it("where all separators end with the same byte", () => {
    for (const separators of [["\n"], ["\r\n"], ["\r\n", "\n"], ["abcd\n", "\r\n"]]) {
      const prepared = new Separator(separators.map(latin1))
      for (const longest of [1, 10, 300, 3000]) {
        const chunks = cutRandomly(latin1(text), new Random(longest), longest)
        const { most, total } = countingLooks(() => messages(chunks, prepared))
        assert.strictEqual(most, 1, `${JSON.stringify(separators)} in chunks of up to ${longest}`)
        assert.isAbove(total, text.length * 0.8)
      }
    }
  })

  it("where they end with different bytes", () => {
    // A candidate is compared with each separator: itself, and no more than one byte before it.
    const prepared = new Separator(["z\r", "z\n"].map(latin1))
    for (const size of [250, 3000]) {
      const looked = new Uint8Array(text.length)
      let base = 0
      const queue = new ByteQueue()
      for (const chunk of cutAt(latin1(text), Array.from({ length: 3000 / size - 1 }, (_, i) => size * (i + 1)))) {
        const from = queue.length
        const start = base
        base += chunk.length
        queue.push(
          new Proxy(chunk, {
            get: (chunk, key) => {
              if (typeof key === "string" && /^\d+$/.test(key)) {
                looked[start + Number(key)]!++
              }
              return Reflect.get(chunk, key, chunk)
            }
          })
        )
        assert.strictEqual(prepared.find(queue, from), -1)
      }
      for (let i = 1; i < text.length; i++) {
        const compared = "\r\n".includes(text[i]!) ? 2 : 0
        const beside = "\r\n".includes(text[i + 1] ?? " ") ? 1 : 0
        if (looked[i]! < 1 || looked[i]! > 1 + compared + beside) {
          assert.fail(`in chunks of ${size} byte ${i} was looked at ${looked[i]} times`)
        }
      }
    }
  })

  it("and compares candidates across chunks without looking through the chunks around them", () => {
    const chunks = 4000
    const queue = new ByteQueue()
    for (let i = 0; i < chunks; i++) {
      queue.push(latin1(`\n${"x".repeat(198)}\r`))
    }
    const internals = queue as unknown as { chunks: Array<Uint8Array> }
    assert.isArray(internals.chunks)
    let steps = 0
    internals.chunks = new Proxy(internals.chunks, {
      get: (chunks, key) => {
        steps++
        return Reflect.get(chunks, key)
      }
    })
    assert.strictEqual(new Separator([latin1("y\r\n")]).find(queue, 0), -1)
    assert.isBelow(steps / chunks, 20)
  })
})

describe("separator", () => {
  const patterns = (input: SeparatorInput) => {
    const { max, min } = separator(input)
    return [min, max]
  }
  const finds = (prepared: Separator, bytes: Uint8Array): boolean => {
    const queue = new ByteQueue()
    queue.push(bytes)
    return prepared.find(queue, 0) === bytes.length - 1
  }

  it("takes a string, bytes, and lists of both", () => {
    for (const input of ["\r\n", latin1("\r\n"), Buffer.from("\r\n"), ["\r\n"], [latin1("\r\n")]]) {
      assert.deepStrictEqual(patterns(input), [2, 2])
      assert.isTrue(finds(separator(input), latin1("a\r\n")))
    }
    const mixed = separator(["\r\n", latin1("."), Buffer.from("end")])
    assert.deepStrictEqual([mixed.min, mixed.max], [1, 3])
    for (const end of ["\r\n", ".", "end"]) {
      assert.isTrue(finds(mixed, latin1(`message${end}`)), end)
    }
  })

  it("a string is UTF-8, and its length is counted in bytes", () => {
    for (const [text, length] of [["é", 2], ["€", 3], ["😀", 4], ["→\n", 4], ["\uD800", 3]] as const) {
      for (const input of [text, [text]]) {
        assert.deepStrictEqual(patterns(input), [length, length], text)
        for (const { chunks, name } of chunkings(utf8(`ab${text}cd`))) {
          const [first, rest] = messages(chunks, separator(input))
          assert.deepStrictEqual([first, rest], [`ab|${toLatin1(utf8(text))}`, "cd"], `${text}, ${name}`)
        }
      }
    }
  })

  it("the same string gives the same separator, so that a search goes on where it was", () => {
    assert.strictEqual(separator("\r\n"), separator("\r\n"))
    assert.strictEqual(separator("\n"), lineFeed)
  })

  it("any number of strings may be used", () => {
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 300; i++) {
        assert.isTrue(finds(separator(`boundary-${i}`), latin1(`a boundary-${i}`)), `boundary-${i}`)
      }
    }
  })

  it("what the caller does to the bytes or the list afterwards has no effect", () => {
    const spoil: ReadonlyArray<(bytes: Uint8Array) => SeparatorInput> = [
      (bytes) => bytes,
      (bytes) => [bytes],
      (bytes) => ["longer", bytes]
    ]
    for (const make of [latin1, (text: string) => Buffer.from(text)]) {
      for (const input of spoil) {
        const bytes = make("END")
        const prepared = separator(input(bytes))
        bytes.fill(0)
        assert.isTrue(finds(prepared, latin1("the END")), `${bytes.constructor.name}: ${input}`)
        assert.isFalse(finds(prepared, new Uint8Array(7)))
      }
    }
    const list: Array<string | Uint8Array> = ["END"]
    const prepared = separator(list)
    list[0] = "x"
    list.push("D")
    assert.isTrue(finds(prepared, latin1("the END")))
    assert.isFalse(finds(prepared, latin1("x")))
  })
})

describe("separatorProblem", () => {
  const cases: ReadonlyArray<readonly [SeparatorInput, RegExp | undefined]> = [
    ["\n", undefined],
    ["é", undefined],
    ["\0", undefined],
    [latin1("\r\n"), undefined],
    [["\n"], undefined],
    [["\n", latin1("\r\n")], undefined],
    ["", /at least one byte, got ""$/],
    [new Uint8Array(0), /at least one byte, got an empty Uint8Array$/],
    [[], /must not be empty, got \[\]$/],
    [[""], /at least one byte.* index 0$/],
    [["a", "b", ""], /at least one byte.* index 2$/],
    [["a", new Uint8Array(0)], /at least one byte.* index 1$/],
    [[latin1("a"), "", new Uint8Array(0)], /at least one byte.* index 1$/]
  ]

  for (const [input, problem] of cases) {
    it(`${JSON.stringify(input)} is ${problem === undefined ? "a separator" : "none"}`, () => {
      const actual = separatorProblem(input)
      if (problem === undefined) {
        assert.isUndefined(actual)
      } else {
        assert.match(actual ?? "", problem)
      }
    })
  }
})
