import { assert, describe, it } from "@effect/vitest"
import { vi } from "vitest"
import { ByteQueue } from "../src/internal/byteQueue.js"
import type * as BytesModule from "../src/internal/bytes.js"
import { Failed, Incomplete, InputBuffer, Overrun, ReadFault } from "../src/internal/inputBuffer.js"
import { Separator } from "../src/internal/separator.js"
import { chunkings, cutAt, cutRandomly, latin1, Random, toLatin1 } from "./support/chunkings.js"
import { type End, failed, incomplete, overrun, ReaderReference, value, waits } from "./support/readerReference.js"

/** How many bytes the platform's byte search has passed over. */
const looks = vi.hoisted(() => ({ total: 0 }))

vi.mock("../src/internal/bytes.js", async (original) => {
  const bytes = await original<typeof BytesModule>()
  const indexOfByte: typeof bytes.indexOfByte = (chunk, byte, from) => {
    const index = bytes.indexOfByte(chunk, byte, from)
    looks.total += (index < 0 ? chunk.length : index + 1) - from
    return index
  }
  return { ...bytes, indexOfByte }
})

// ---------------------------------------------------------------------------
// the machine and its reference, driven by the same operations
// ---------------------------------------------------------------------------

type Operation =
  | readonly ["read" | "readInto" | "readAll" | "readExactly" | "has" | "peek", number]
  | readonly ["readUntil" | "skipUntil", ...ReadonlyArray<string>]
  | readonly ["readLine"]

/** An operation, and where the stream was when it began. */
interface Attempt {
  readonly operation: Operation
  readonly since: number
}

const call = ([name, ...args]: Operation): string =>
  `${name}(${args.map((arg) => typeof arg === "string" ? value(arg) : arg).join(", ")})`

const sourceOf = () => {
  const calls: Array<"pause" | "resume"> = []
  return {
    calls,
    pause: () => {
      calls.push("pause")
    },
    resume: () => {
      calls.push("resume")
    }
  }
}

const bufferOf = (limit: number, source = sourceOf()): InputBuffer<string> => new InputBuffer(limit, source)

// A search goes on where it was only for the same separator.
const known = new Map<string, Separator>()
const prepared = (texts: ReadonlyArray<string>): Separator => {
  const key = JSON.stringify(texts)
  const separator = known.get(key) ?? new Separator(texts.map(latin1))
  known.set(key, separator)
  return separator
}

const shown = (outcome: unknown): string =>
  outcome === undefined
    ? waits
    : outcome instanceof Uint8Array
    ? value(toLatin1(outcome))
    : outcome instanceof Incomplete
    ? incomplete(toLatin1(outcome.partial), outcome.expected)
    : outcome instanceof Overrun
    ? overrun(outcome.consumed, outcome.limit, outcome.found)
    : outcome instanceof Failed
    ? failed
    : String(outcome)

/** Every view that leaves the machine also goes to `handedOut`. */
const perform = (
  buffer: InputBuffer<string>,
  [name, ...args]: Operation,
  since: number,
  handedOut: (view: Uint8Array) => void = () => {}
): string => {
  const n = args[0] as number
  const texts = args as ReadonlyArray<string>
  switch (name) {
    case "readInto": {
      const target = new Uint8Array(n + 1).fill(255)
      const outcome = buffer.readInto(target.subarray(0, n))
      const copied = typeof outcome === "number" ? outcome : 0
      if (target.subarray(copied).some((byte) => byte !== 255)) {
        return "readInto wrote more than it said"
      }
      return typeof outcome === "number" ? `${outcome} ${value(toLatin1(target.subarray(0, copied)))}` : shown(outcome)
    }
    case "skipUntil":
      return shown(buffer.skipUntil(prepared(texts), since))
    case "has":
      return shown(buffer.has(n))
    default: {
      const outcome = name === "readLine"
        ? buffer.readLine()
        : name === "readUntil"
        ? buffer.readUntil(prepared(texts))
        : buffer[name](n)
      const view = outcome instanceof Incomplete ? outcome.partial : outcome
      if (view instanceof Uint8Array) {
        handedOut(view)
      }
      return shown(outcome)
    }
  }
}

const refer = (reference: ReaderReference, [name, ...args]: Operation, since: number): string => {
  const n = args[0] as number
  const texts = args as ReadonlyArray<string>
  switch (name) {
    case "readLine":
      return reference.readLine()
    case "readUntil":
      return reference.readUntil(texts)
    case "skipUntil":
      return reference.skipUntil(texts, since)
    default:
      return reference[name](n)
  }
}

const endBuffer = (buffer: InputBuffer<string>, end: End) => {
  if (end === "eof") {
    buffer.pushEof()
  } else if (end === "failed") {
    buffer.pushFailure("broken")
  }
}

const leftIn = (buffer: InputBuffer<string>): string => toLatin1(buffer.queue.peek(buffer.queue.length))

/** A buffer of which `text` has arrived in these chunks, and the end with it. */
const filled = (limit: number, chunks: ReadonlyArray<Uint8Array>, end: End): InputBuffer<string> => {
  const buffer = bufferOf(limit)
  for (const chunk of chunks) {
    buffer.push(chunk)
  }
  endBuffer(buffer, end)
  return buffer
}

const separators: ReadonlyArray<ReadonlyArray<string>> = [
  ["\n"],
  ["\r\n"],
  ["\r\n", "\n"],
  ["\n", "\r"],
  ["aab"],
  ["ab", "abab"],
  ["aa", "b"],
  ["\r\n\r\n", "\n\n"],
  ["123456789"]
]

describe("InputBuffer against the reference", () => {
  const operations: ReadonlyArray<Operation> = [
    ...[0, 1, 2, 5, 100].flatMap((n): ReadonlyArray<Operation> => [
      ["read", n],
      ["readInto", n],
      ["readAll", n],
      ["readExactly", n],
      ["has", n],
      ["peek", n]
    ]),
    ["readAll", Infinity],
    ["readLine"],
    ...separators.flatMap((texts): ReadonlyArray<Operation> => [["readUntil", ...texts], ["skipUntil", ...texts]])
  ]

  it("every operation on everything that may have arrived, cut in every way, whatever the end and the limit", () => {
    for (const text of ["", "\n", "abc\n", "abcd\r\n", "aaab", "ababab", "a\r\n\r\nb", "ab\ncd\nef", "abcdefghijk"]) {
      for (let length = text.length > 4 ? 3 : 0; length <= text.length; length++) {
        const arrived = text.slice(0, length)
        for (const { chunks, name } of chunkings(latin1(arrived), 1)) {
          for (const end of ["open", "eof", "failed"] as const) {
            for (const limit of length === text.length ? [1, 2, 3, 4, 5, 6, 7, 8, 65_536] : [3]) {
              for (const operation of operations) {
                const buffer = filled(limit, chunks, end)
                const reference = new ReaderReference(limit)
                reference.rest = arrived
                reference.end = end
                for (const attempt of ["first", "second"]) {
                  const expected = refer(reference, operation, 0)
                  const actual = perform(buffer, operation, 0)
                  if (actual !== expected || leftIn(buffer) !== reference.rest || buffer.atEof !== reference.atEof) {
                    assert.fail(
                      `${JSON.stringify(arrived)} (${name}, ${end}), limit ${limit}, ${
                        call(operation)
                      }, ${attempt} time: ` +
                        `${actual}, left ${value(leftIn(buffer))}; not ${expected}, left ${value(reference.rest)}`
                    )
                  }
                }
              }
            }
          }
        }
      }
    }
  })

  let recycled = 0

  /**
   * Random operations in any order while chunks arrive, the source is told to pause and to resume, and reads wait, are
   * given up, or give bytes back.
   */
  const run = (
    seed: number,
    options: {
      readonly alphabet: string
      readonly length: number
      readonly longest: number
      readonly limit: number
      readonly size: number
    }
  ) => {
    const { alphabet, length, limit, longest, size } = options
    const random = new Random(seed)
    let text = random.text(length, alphabet)
    const end = random.pick<End>(["open", "eof", "failed"])
    const arriving = [...cutRandomly(latin1(text), random, longest)]

    const source = {
      ...sourceOf(),
      // Whoever still looks at it would see that.
      recycle: (chunk: Uint8Array) => {
        recycled++
        chunk.fill(0xee)
      }
    }
    const buffer = bufferOf(limit, source)
    const reference = new ReaderReference(limit)
    let wanted = 0
    let arrivals = 0
    buffer.consumer = {
      wanted: () => wanted,
      waits: () => false,
      onArrival: () => {
        arrivals++
      }
    }
    // What the source must have been told, and how often whoever reads.
    const calls: Array<string> = []
    let paused = false
    let expectedArrivals = 0
    const resume = () => {
      if (paused) {
        paused = false
        calls.push("resume")
      }
    }

    // All that has left the buffer for good, and the views of it. What was put back but had never arrived counts as input.
    let delivered = ""
    let inserted = 0
    const views: Array<readonly [Uint8Array, string]> = []

    const trace: Array<string> = []
    const check = (actual: unknown, expected: unknown, what: string) => {
      if (actual !== expected) {
        assert.fail(
          `seed ${seed}, limit ${limit}: ${what} is ${actual}, not ${expected}; at step ${trace.length}, after\n  ` +
            trace.slice(-60).join("\n  ")
        )
      }
    }

    const number = () => random.pick([0, 1, 2, limit, limit + 1, random.between(0, size)])
    const randomOperation = (): Operation => {
      switch (random.between(0, 13)) {
        case 0:
          return ["read", number()]
        case 1:
          return ["readInto", number()]
        case 2:
          return ["readAll", random.pick([Infinity, number()])]
        case 3:
        case 4:
          return ["readExactly", number()]
        case 5:
          return ["has", number()]
        case 6:
          return ["peek", number()]
        case 7:
          return ["skipUntil", ...random.pick(separators)]
        case 8:
        case 9:
          return ["readLine"]
        default:
          return ["readUntil", ...random.pick(separators)]
      }
    }

    // Reads that wait are tried again as chunks arrive, most of the time.
    let waiting: Attempt | undefined = undefined
    let idle = 0
    while (idle < 20) {
      if (random.chance(0.4)) {
        const chunk = arriving.shift()
        if (chunk !== undefined) {
          trace.push(`push ${value(toLatin1(chunk))}`)
          buffer.push(chunk)
          reference.rest += toLatin1(chunk)
          if (!paused && reference.rest.length > 2 * limit && reference.rest.length >= wanted) {
            paused = true
            calls.push("pause")
          }
          expectedArrivals++
        } else if (reference.end === "open" && end !== "open") {
          trace.push(end)
          endBuffer(buffer, end)
          reference.end = end
          expectedArrivals++
        } else {
          idle++
        }
      } else if (random.chance(0.08)) {
        // Back comes what was read, or something that never arrived.
        const given: string = random.chance(0.7)
          ? delivered.slice(delivered.length - random.between(0, Math.min(delivered.length, size)))
          : random.text(random.between(1, 5), alphabet)
        if (given !== "") {
          trace.push(`unread ${value(given)}`)
          buffer.unread(latin1(given))
          reference.unread(given)
          expectedArrivals++
          if (delivered.endsWith(given)) {
            delivered = delivered.slice(0, -given.length)
          } else {
            text = delivered + given + text.slice(delivered.length)
            inserted += given.length
          }
        }
      } else {
        const attempt: Attempt = waiting !== undefined && random.chance(0.8)
          ? waiting
          : { operation: randomOperation(), since: reference.position }
        const { operation, since } = attempt
        wanted = 0
        trace.push(call(operation))
        const before = reference.position
        const expected = refer(reference, operation, since)
        const actual = perform(buffer, operation, since, (view) => views.push([view, toLatin1(view)]))
        check(actual, expected, "the outcome")
        if (reference.position > before) {
          delivered += text.slice(delivered.length, delivered.length + reference.position - before)
          if (reference.rest.length <= limit) {
            resume()
          }
        }
        waiting = actual === waits ? attempt : undefined
        if (waiting !== undefined && random.chance(0.7)) {
          const n = operation[1]
          wanted = typeof n === "number" && operation[0] !== "read" && operation[0] !== "readInto" ? n : 0
          buffer.resume()
          resume()
        }
      }
      check(reference.position, delivered.length - inserted, "the amount delivered")
      check(delivered + leftIn(buffer), text.slice(0, delivered.length + reference.rest.length), "the whole stream")
      check(buffer.queue.length, reference.rest.length, "the length")
      check(buffer.queue.position, reference.position, "the position")
      check(buffer.atEof, reference.atEof, "atEof")
      check(buffer.paused, paused, "paused")
      check(source.calls.join(), calls.join(), "what the source was told")
      check(arrivals, expectedArrivals, "the number of arrivals")
    }
    for (const [view, bytes] of views) {
      check(toLatin1(view), bytes, "a view handed out earlier")
    }
  }

  it("programs of random operations, by tiny limits", () => {
    for (let seed = 1; seed <= 500; seed++) {
      const limit = 1 + seed % 8
      run(seed, { alphabet: "aaabbcd\r\n\n", length: 80, longest: 1 + seed % 7, limit, size: 12 })
    }
  })

  it("programs of random operations on a text full of separators", () => {
    for (let seed = 1001; seed <= 1300; seed++) {
      run(seed, { alphabet: seed % 2 === 0 ? "ab" : "\r\n", length: 60, longest: 5, limit: 65_536, size: 8 })
    }
  })

  it("programs of random operations, with messages across chunks of hundreds of bytes", () => {
    for (let seed = 2001; seed <= 2060; seed++) {
      const alphabet = `${"abcdefgh".repeat(8)}\r\n\n`
      run(seed, { alphabet, length: 6000, longest: 400, limit: [100, 300, 65_536][seed % 3]!, size: 500 })
    }
    assert.isAbove(recycled, 50)
  })
})

// ---------------------------------------------------------------------------
// whatever the cut
// ---------------------------------------------------------------------------

describe("InputBuffer, whatever the cut of the chunks", () => {
  /** Tries the read again at every arrival, as a waiting reader does. */
  const arriving = (
    chunks: ReadonlyArray<Uint8Array>,
    limit: number,
    end: End,
    operation: Operation
  ): readonly [string, string] => {
    const buffer = bufferOf(limit)
    let outcome = perform(buffer, operation, 0)
    const steps = [...chunks.map((chunk) => () => buffer.push(chunk)), () => endBuffer(buffer, end)]
    for (const step of steps) {
      if (outcome !== waits) {
        break
      }
      step()
      outcome = perform(buffer, operation, 0)
    }
    return [outcome, outcome === waits ? "" : leftIn(buffer)]
  }

  it("a read comes to the same; of an overrun only `consumed` and `found` say how far it got", () => {
    const sort = (outcome: string) => outcome.startsWith("overrun") ? "overrun" : outcome
    const operations: ReadonlyArray<Operation> = [
      ["readLine"],
      ...separators.map((texts): Operation => ["readUntil", ...texts]),
      ...separators.map((texts): Operation => ["skipUntil", ...texts]),
      ["readAll", 3],
      ["readExactly", 5],
      ["peek", 5]
    ]
    for (const text of ["abc\n", "abcd\n", "abc\r\n", "abcd\r\n", "abcde", "aaaab", "abababab", "12345678901234\n\n"]) {
      for (const limit of [1, 2, 3, 4, 5, 8]) {
        for (const end of ["open", "eof", "failed"] as const) {
          for (const operation of operations) {
            const [expected] = arriving([latin1(text)], limit, end, operation)
            for (const { chunks, name } of chunkings(latin1(text), 3)) {
              const [actual] = arriving(chunks, limit, end, operation)
              if (sort(actual) !== sort(expected)) {
                assert.fail(
                  `${value(text)}, ${name}, ${end}, limit ${limit}, ${call(operation)}: ${actual}; at once: ${expected}`
                )
              }
            }
          }
        }
      }
    }
  })

  it("`consumed` bytes can be taken after an overrun without cutting a separator in two", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new Random(seed)
      const texts = random.pick(separators)
      const message = random.text(random.between(0, 30), "abc1\r\n")
      const text = message + random.pick(texts) + random.text(8, "abc")
      const reference = new ReaderReference(Infinity)
      reference.rest = text
      const expected = refer(reference, ["readUntil", ...texts], 0)
      for (const { chunks, name } of chunkings(latin1(text), 2)) {
        const buffer = bufferOf(random.between(1, 8))
        const steps = [...chunks]
        let got = ""
        for (let i = 0; i < 200 && value(got) !== expected; i++) {
          const outcome = buffer.readUntil(prepared(texts))
          if (outcome === undefined) {
            buffer.push(steps.shift() ?? assert.fail(`seed ${seed}, ${name}: still waits`))
          } else if (outcome instanceof Overrun) {
            got += toLatin1(buffer.readExactly(outcome.consumed) as Uint8Array)
          } else {
            got += toLatin1(outcome as Uint8Array)
            break
          }
        }
        assert.strictEqual(value(got), expected, `seed ${seed}, ${name}, ${JSON.stringify(texts)}`)
      }
    }
  })

  it("skipUntil drops the same, and never keeps more than a separator that may have begun", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new Random(seed)
      const texts = random.pick(separators)
      const text = random.text(random.between(0, 60), "aabc\r\n")
      const reference = new ReaderReference(1)
      reference.rest = text
      reference.end = "eof"
      const expected = reference.skipUntil(texts, 0)
      for (const { chunks, name } of chunkings(latin1(text), 2)) {
        const buffer = bufferOf(1)
        let outcome = shown(buffer.skipUntil(prepared(texts), 0))
        let unread = ""
        for (const chunk of chunks) {
          if (outcome !== waits) {
            unread += toLatin1(chunk)
            continue
          }
          assert.isBelow(buffer.queue.length, prepared(texts).max, `seed ${seed}, ${name}`)
          buffer.push(chunk)
          outcome = shown(buffer.skipUntil(prepared(texts), 0))
        }
        if (outcome === waits) {
          buffer.pushEof()
          outcome = shown(buffer.skipUntil(prepared(texts), 0))
        }
        assert.deepStrictEqual(
          [outcome, leftIn(buffer) + unread],
          [expected, reference.rest],
          `seed ${seed}, ${name}, ${JSON.stringify(texts)} in ${value(text)}`
        )
      }
    }
  })
})

// ---------------------------------------------------------------------------
// asyncio's tables
// ---------------------------------------------------------------------------

describe("InputBuffer as asyncio", () => {
  interface Row {
    /** Where it isn't clear from the row, or not asyncio's. */
    readonly name?: string
    readonly limit?: number
    readonly text: string
    readonly end?: End
    /** One after another. */
    readonly reads: ReadonlyArray<readonly [Operation, string]>
    readonly left: string
  }

  const table = (rows: ReadonlyArray<Row>) => {
    for (const { end = "open", left, limit = 3, name, reads, text } of rows) {
      const what = `${value(text)}, ${end}: ${reads.map(([operation, to]) => `${call(operation)} → ${to}`).join("; ")}`
      it(name === undefined ? what : `${name}: ${what}`, () => {
        for (const { chunks, name } of chunkings(latin1(text))) {
          const buffer = filled(limit, chunks, end)
          for (const [operation, outcome] of reads) {
            assert.strictEqual(perform(buffer, operation, buffer.queue.position), outcome, name)
          }
          assert.strictEqual(leftIn(buffer), left, name)
        }
      })
    }
  }
  const nine = "123456789"

  describe("readUntil (limit 3)", () => {
    const until = (
      outcome: string,
      ...texts: ReadonlyArray<string>
    ): Row["reads"] => [[["readUntil", ...texts], outcome]]
    table([
      { text: "abc\n", reads: until(value("abc\n"), "\n"), left: "" },
      { text: "abc\r\n", reads: until(value("abc\r\n"), "\r\n"), left: "" },
      { text: "abcd\n", reads: until(overrun(4, 3, true), "\n"), left: "abcd\n" },
      { text: "abcdefgh\nxy", reads: until(overrun(8, 3, true), "\n"), left: "abcdefgh\nxy" },
      { text: "abc", reads: until(waits, "\n"), left: "abc" },
      { text: "abcd", reads: until(overrun(4, 3, false), "\n"), left: "abcd" },
      { text: "abcd", reads: until(waits, "\r\n"), left: "abcd" },
      { text: "abcde", reads: until(overrun(4, 3, false), "\r\n"), left: "abcde" },
      { text: "abcdefg", reads: until(waits, nine), left: "abcdefg" },
      { text: "abcdefghijkl", reads: until(overrun(4, 3, false), nine), left: "abcdefghijkl" },
      { text: "abc", end: "eof", reads: until(incomplete("abc"), "\n"), left: "" },
      { text: "abcd", end: "eof", reads: until(overrun(4, 3, false), "\n"), left: "abcd" },
      { text: "abcdef", end: "eof", reads: until(incomplete("abcdef"), nine), left: "" },
      { text: "ab\ncdefghijkl", reads: until(value("ab\n"), "\n"), left: "cdefghijkl" },
      {
        name: "an overrun stays one however often it is tried, until `consumed` bytes are taken",
        text: "abcdefg",
        end: "eof",
        reads: [
          [["readUntil", "\r\n"], overrun(6, 3, false)],
          [["readUntil", "\r\n"], overrun(6, 3, false)],
          [["readExactly", 6], value("abcdef")],
          [["readUntil", "\r\n"], incomplete("g")]
        ],
        left: ""
      },
      {
        name: "part of a separator may be in what is incomplete",
        text: "ab\r",
        end: "eof",
        reads: until(incomplete("ab\r"), "\r\n"),
        left: ""
      }
    ])
  })

  describe("readUntil one of several", () => {
    table([
      { limit: 9, text: "ABCDEFG", reads: [[["readUntil", "DEF", "BCDE"], value("ABCDE")]], left: "FG" },
      {
        name: "the first end wins, though another would begin as early",
        limit: 9,
        text: "abab",
        reads: [[["readUntil", "ab", "abab"], value("ab")]],
        left: "ab"
      },
      { limit: 9, text: "a\rb\n", reads: [[["readUntil", "\n", "\r\n"], value("a\rb\n")]], left: "" },
      {
        limit: 9,
        text: "line 1\nline 2\r",
        reads: [[["readUntil", "\r", "\n"], value("line 1\n")], [["readUntil", "\r", "\n"], value("line 2\r")]],
        left: ""
      },
      {
        name: "unlike asyncio, of two that end together the longer counts, so this one passes",
        text: "abc\r\n",
        reads: [[["readUntil", "\r\n", "\n"], value("abc\r\n")]],
        left: ""
      },
      {
        name: "and the limit counts what comes before the longer",
        text: "abcd\r\n",
        reads: [[["readUntil", "\n", "\r\n"], overrun(4, 3, true)]],
        left: "abcd\r\n"
      },
      {
        name: "while nothing is found the longest separator counts",
        text: "abcd",
        reads: [[["readUntil", "\r\n", "\n"], waits]],
        left: "abcd"
      },
      {
        name: "while nothing is found the longest separator counts",
        text: "abcde",
        reads: [[["readUntil", "\r\n", "\n"], overrun(4, 3, false)]],
        left: "abcde"
      }
    ])
  })

  describe("readLine (limit 3)", () => {
    table([
      { text: "abc\n", reads: [[["readLine"], value("abc\n")]], left: "" },
      { text: "abc", reads: [[["readLine"], waits]], left: "abc" },
      { limit: 7, text: "1234567\n", reads: [[["readLine"], value("1234567\n")]], left: "" },
      { limit: 7, text: "12345678\n", reads: [[["readLine"], overrun(8, 7, true)]], left: "12345678\n" },
      { text: "a\rb\r\n", reads: [[["readLine"], overrun(4, 3, true)]], left: "a\rb\r\n" },
      { text: "\r\n\n", reads: [[["readLine"], value("\r\n")], [["readLine"], value("\n")]], left: "" },
      {
        name: "at EOF what is left, then nothing for ever",
        text: "a\nbc",
        end: "eof",
        reads: [
          [["readLine"], value("a\n")],
          [["readLine"], value("bc")],
          [["readLine"], value("")],
          [["readLine"], value("")]
        ],
        left: ""
      },
      {
        name: "unlike asyncio, a line that is too long stays, and so does what follows it",
        text: "abcd\nef\n",
        reads: [
          [["readLine"], overrun(4, 3, true)],
          [["readLine"], overrun(4, 3, true)],
          [["skipUntil", "\n"], value(5)],
          [["readLine"], value("ef\n")]
        ],
        left: ""
      },
      {
        name: "unlike asyncio, the beginning of a line that is too long stays",
        text: "abcd",
        reads: [[["readLine"], overrun(4, 3, false)]],
        left: "abcd"
      },
      {
        name: "unlike asyncio, a last line that is too long stays",
        text: "abcd",
        end: "eof",
        reads: [[["readLine"], overrun(4, 3, false)], [["read", 9], value("abcd")], [["readLine"], value("")]],
        left: ""
      },
      {
        name: "unlike asyncio, nothing of these lines is lost",
        text: "abc\nabcdef\nxy",
        end: "eof",
        reads: [
          [["readLine"], value("abc\n")],
          [["readLine"], overrun(6, 3, true)],
          [["readExactly", 6], value("abcdef")],
          [["readLine"], value("\n")],
          [["readLine"], value("xy")],
          [["readLine"], value("")]
        ],
        left: ""
      }
    ])

    it("unlike asyncio, the rest of a line that was too long is not a line of its own", () => {
      const buffer = filled(3, [latin1("abcd")], "open")
      assert.strictEqual(perform(buffer, ["readLine"], 0), overrun(4, 3, false))
      buffer.push(latin1("ef\ngh\n"))
      assert.strictEqual(perform(buffer, ["readLine"], 0), overrun(6, 3, true))
      assert.strictEqual(perform(buffer, ["skipUntil", "\n"], 0), value(7))
      assert.strictEqual(perform(buffer, ["readLine"], 0), value("gh\n"))
    })
  })

  describe("read", () => {
    table([
      { text: "", reads: [[["read", 0], value("")], [["read", 1], waits]], left: "" },
      { text: "abc", reads: [[["read", 0], value("")]], left: "abc" },
      { text: "abc", end: "eof", reads: [[["read", 0], value("")]], left: "abc" },
      { text: "abc", reads: [[["read", 2], value("ab")], [["read", 2], value("c")], [["read", 2], waits]], left: "" },
      { name: "the limit is not read's", limit: 1, text: "abcdef", reads: [[["read", 5], value("abcde")]], left: "f" },
      { text: "", end: "eof", reads: [[["read", 5], value("")], [["read", 5], value("")]], left: "" },
      { text: "ab", end: "eof", reads: [[["read", 5], value("ab")], [["read", 5], value("")]], left: "" }
    ])
  })

  describe("readExactly", () => {
    table([
      { text: "", reads: [[["readExactly", 0], value("")]], left: "" },
      { text: "", end: "eof", reads: [[["readExactly", 0], value("")]], left: "" },
      { text: "abc", reads: [[["readExactly", 2], value("ab")], [["readExactly", 2], waits]], left: "c" },
      {
        name: "the limit is not readExactly's",
        limit: 1,
        text: "abcdef",
        reads: [[["readExactly", 5], value("abcde")]],
        left: "f"
      },
      {
        text: "abc",
        end: "eof",
        reads: [[["readExactly", 5], incomplete("abc", 5)], [["read", 5], value("")], [
          ["readExactly", 1],
          incomplete("", 1)
        ]],
        left: ""
      }
    ])
  })

  describe("readAll", () => {
    table([
      { text: "abcdef", reads: [[["readAll", Infinity], waits]], left: "abcdef" },
      {
        text: "abcdef",
        end: "eof",
        reads: [[["readAll", Infinity], value("abcdef")], [["readAll", 0], value("")]],
        left: ""
      },
      { text: "abcdef", end: "eof", reads: [[["readAll", 6], value("abcdef")]], left: "" },
      { text: "abcdef", end: "eof", reads: [[["readAll", 5], overrun(5, 5, false)]], left: "abcdef" },
      { text: "abcdef", reads: [[["readAll", 5], overrun(5, 5, false)]], left: "abcdef" },
      {
        name: "unlike asyncio, a failure loses nothing",
        text: "abc",
        end: "failed",
        reads: [[["readAll", Infinity], failed], [["read", 5], value("abc")]],
        left: ""
      }
    ])
  })

  describe("after a failure, unlike asyncio, what was received comes first", () => {
    const end = "failed"
    table([
      {
        text: "",
        end,
        reads: [[["read", 0], value("")], [["readExactly", 0], value("")], [["peek", 0], value("")]],
        left: ""
      },
      { text: "", end, reads: [[["read", 1], failed], [["readInto", 1], failed], [["readLine"], failed]], left: "" },
      {
        text: "ab\ncd",
        end,
        reads: [
          [["readLine"], value("ab\n")],
          [["readLine"], failed],
          [["readUntil", "\r\n"], failed],
          [["readExactly", 3], failed],
          [["has", 3], failed],
          [["peek", 3], failed],
          [["peek", 2], value("cd")],
          [["has", 2], "true"],
          [["readExactly", 1], value("c")],
          [["readInto", 9], `1 "d"`],
          [["read", 9], failed],
          [["read", 9], failed]
        ],
        left: ""
      },
      {
        name: "the limit comes before the failure",
        text: "abcd",
        end,
        reads: [[["readLine"], overrun(4, 3, false)]],
        left: "abcd"
      }
    ])

    it("and the first end stays the end", () => {
      const buffer = bufferOf(3)
      buffer.pushFailure("reset")
      buffer.pushFailure("again")
      buffer.pushEof()
      assert.deepStrictEqual([buffer.end, buffer.failure, buffer.atEof], ["failed", "reset", false])
      const ended = bufferOf(3)
      ended.pushEof()
      ended.pushFailure("reset")
      assert.deepStrictEqual([ended.end, ended.failure, ended.atEof], ["eof", undefined, true])
    })
  })

  it("atEof is EOF with nothing buffered", () => {
    const buffer = filled(3, [latin1("a")], "eof")
    assert.isFalse(buffer.atEof)
    buffer.read(1)
    assert.isTrue(buffer.atEof)
    buffer.unread(latin1("b"))
    assert.isFalse(buffer.atEof)
  })

  it("every fault is a ReadFault of its kind", () => {
    const faults = [
      filled(3, [], "eof").has(1),
      filled(3, [latin1("abcd")], "open").readLine(),
      filled(3, [], "failed").read(1)
    ]
    assert.isTrue(faults.every((fault) => fault instanceof ReadFault))
    assert.deepStrictEqual(faults.map((fault) => (fault as ReadFault).kind), ["incomplete", "overrun", "failed"])
  })
})

// ---------------------------------------------------------------------------
// the source
// ---------------------------------------------------------------------------

describe("InputBuffer and its source", () => {
  const bytes = (n: number) => new Uint8Array(n)

  it("gives back what came from it, and nothing that was made here", () => {
    const recycled: Array<Uint8Array> = []
    const buffer = new InputBuffer<string>(65_536, { ...sourceOf(), recycle: (chunk) => recycled.push(chunk) })
    // The short ones are gathered, in a buffer that more may still come into.
    const chunks = [bytes(5000), bytes(10), bytes(5000), bytes(10)]
    chunks.forEach((chunk) => buffer.push(chunk))
    assert.strictEqual(buffer.readInto(bytes(20_000)), 10_020)
    assert.deepStrictEqual(recycled.map(({ buffer }) => chunks.findIndex((chunk) => chunk.buffer === buffer)), [0, 2])
    buffer.push(bytes(5000))
    buffer.unread(bytes(3000))
    assert.strictEqual(buffer.readInto(bytes(20_000)), 8000)
    assert.deepStrictEqual(recycled.map(({ length }) => length), [5000, 5000, 5000])
  })

  it("pauses when more than twice the limit is buffered, once", () => {
    const source = sourceOf()
    const buffer = bufferOf(10, source)
    buffer.push(bytes(20))
    assert.deepStrictEqual(source.calls, [])
    buffer.push(bytes(1))
    assert.deepStrictEqual(source.calls, ["pause"])
    buffer.push(bytes(50))
    assert.deepStrictEqual([source.calls, buffer.paused], [["pause"], true])
  })

  const consuming: ReadonlyArray<readonly [string, (buffer: InputBuffer<string>, n: number) => unknown]> = [
    ["read", (buffer, n) => buffer.read(n)],
    ["readInto", (buffer, n) => buffer.readInto(new Uint8Array(n))],
    ["readExactly", (buffer, n) => buffer.readExactly(n)],
    ["readLine", (buffer) => buffer.readLine()],
    ["readUntil", (buffer) => buffer.readUntil(prepared(["\n"]))],
    ["skipUntil", (buffer) => buffer.skipUntil(prepared(["\n"]), 0)],
    ["skipUntil that goes on", (buffer, n) => buffer.skipUntil(prepared(["a", "x".repeat(31 - n)]), 0)],
    ["take", (buffer, n) => buffer.take(n)],
    ["drop", (buffer, n) => buffer.drop(n)]
  ]
  for (const [name, consume] of consuming) {
    it(`goes on when ${name} leaves at most the limit, and no sooner`, () => {
      for (const n of [15, 16]) {
        const source = sourceOf()
        const buffer = bufferOf(15, source)
        buffer.push(latin1(name.endsWith("goes on") ? "-".repeat(31) : `${"x".repeat(n - 1)}\n`.padEnd(31, "x")))
        consume(buffer, name.endsWith("goes on") ? n - 1 : n)
        assert.strictEqual(buffer.queue.length, 31 - n)
        assert.deepStrictEqual(source.calls, n === 16 ? ["pause", "resume"] : ["pause"])
        assert.strictEqual(buffer.paused, n !== 16)
      }
    })
  }

  it("stays paused while nothing is taken", () => {
    const source = sourceOf()
    const buffer = bufferOf(10, source)
    buffer.push(bytes(30))
    for (const operation of [["peek", 30], ["has", 30], ["readLine"], ["readAll", 5], ["read", 0]] as const) {
      perform(buffer, operation, 0)
    }
    buffer.unread(bytes(1))
    assert.deepStrictEqual(source.calls, ["pause"])
  })

  it("goes on when a read waits, and only once", () => {
    const source = sourceOf()
    const buffer = bufferOf(10, source)
    buffer.resume()
    assert.deepStrictEqual(source.calls, [])
    buffer.push(bytes(21))
    buffer.resume()
    buffer.resume()
    assert.deepStrictEqual(source.calls, ["pause", "resume"])
  })

  it("never pauses below what a read waits for", () => {
    const source = sourceOf()
    const buffer = bufferOf(10, source)
    buffer.consumer = { wanted: () => 100, waits: () => false, onArrival: () => {} }
    for (let i = 0; i < 99; i++) {
      buffer.push(bytes(1))
    }
    assert.deepStrictEqual(source.calls, [])
    buffer.push(bytes(1))
    assert.deepStrictEqual(source.calls, ["pause"])
  })

  it("pauses at the next chunk when the read that waited for more was given up", () => {
    const source = sourceOf()
    const buffer = bufferOf(10, source)
    let wanted = Infinity
    buffer.consumer = { wanted: () => wanted, waits: () => false, onArrival: () => {} }
    buffer.push(bytes(50))
    assert.deepStrictEqual(source.calls, [])
    wanted = 0
    buffer.push(bytes(1))
    assert.deepStrictEqual(source.calls, ["pause"])
  })

  it("tells whoever reads of bytes, of bytes put back and of the end, once they can be seen", () => {
    for (const end of ["eof", "failed"] as const) {
      const source = sourceOf()
      const buffer = bufferOf(1, source)
      const seen: Array<unknown> = []
      buffer.consumer = {
        wanted: () => 0,
        waits: () => false,
        onArrival: () => seen.push([leftIn(buffer), buffer.end, buffer.paused])
      }
      buffer.push(latin1("a"))
      buffer.unread(latin1("b"))
      buffer.push(latin1("c"))
      endBuffer(buffer, end)
      endBuffer(buffer, "eof")
      endBuffer(buffer, "failed")
      assert.deepStrictEqual(seen, [
        ["a", "open", false],
        ["ba", "open", false],
        ["bac", "open", true],
        ["bac", end, true]
      ])
      assert.strictEqual(buffer.failure, end === "failed" ? "broken" : undefined)
    }
  })

  it("with a source that does as it is told, holds at most twice the limit, or what a read wants, and one chunk", () => {
    for (let seed = 1; seed <= 80; seed++) {
      const random = new Random(seed)
      const limit = random.between(1, 40)
      const chunk = random.between(1, 60)
      const source = sourceOf()
      const buffer = bufferOf(limit, source)
      let most = 0
      let wanted = 0
      buffer.consumer = { wanted: () => wanted, waits: () => false, onArrival: () => {} }
      // What reads wanted is still there when they are given up, and little by little goes.
      let allowed = 0
      const push = (what: string) => {
        allowed = Math.max(2 * limit, wanted, buffer.queue.length > 2 * limit ? allowed : 0)
        buffer.push(latin1(random.text(random.between(1, chunk), "ab\r\nc")))
        most = Math.max(most, buffer.queue.length)
        if (buffer.queue.length > allowed + chunk) {
          assert.fail(`seed ${seed}, limit ${limit}, chunks of up to ${chunk}, ${what}: ${buffer.queue.length}`)
        }
      }
      for (let step = 0; step < 400; step++) {
        const operation = random.pick<Operation>([
          ["read", random.between(1, 50)],
          ["readExactly", random.between(1, 150)],
          ["readLine"],
          ["readUntil", "\r\n", "c"],
          ["skipUntil", "cc"],
          ["peek", random.between(1, 150)]
        ])
        for (let tries = 0; tries < 20 && perform(buffer, operation, 0) === waits; tries++) {
          wanted = operation[0] === "readExactly" || operation[0] === "peek" ? operation[1] : 0
          buffer.resume()
          push(`step ${step}, ${call(operation)}`)
        }
        wanted = 0
        while (!buffer.paused && random.chance(0.9)) {
          push(`step ${step}, after ${call(operation)}`)
        }
        if (buffer.paused && buffer.queue.length <= limit) {
          assert.fail(`seed ${seed}, step ${step}, limit ${limit}: paused with ${buffer.queue.length} bytes`)
        }
      }
      assert.isAbove(most, 2 * limit)
    }
  })
})

// ---------------------------------------------------------------------------
// memory and work
// ---------------------------------------------------------------------------

describe("InputBuffer hands out", () => {
  it("a view of the chunk, where what was read lies within one", () => {
    const chunk = latin1("abc\ndefgh\r\nijkl")
    const buffer = filled(100, [chunk], "eof")
    const views = [
      buffer.readLine(),
      buffer.peek(2),
      buffer.readExactly(2),
      buffer.readUntil(prepared(["\r\n"])),
      buffer.read(2),
      buffer.readAll(10)
    ]
    assert.deepStrictEqual(views.map(shown), ["abc\n", "de", "de", "fgh\r\n", "ij", "kl"].map(value))
    assert.isTrue(views.every((view) => (view as Uint8Array).buffer === chunk.buffer))
  })

  it("plain Uint8Arrays, though Node's Buffers arrive", () => {
    const buffer = bufferOf(1000)
    for (const size of [10, 10, 300, 300]) {
      buffer.push(Buffer.from(`${"x".repeat(size - 1)}\n`))
    }
    buffer.pushEof()
    const views = [
      buffer.peek(4),
      buffer.readExactly(4),
      buffer.readLine(),
      buffer.readExactly(30),
      buffer.readAll(1000)
    ]
    assert.isTrue(views.every((view) => Object.getPrototypeOf(view) === Uint8Array.prototype))
  })

  it("long chunks as they are, though a short one came before them", () => {
    const buffer = bufferOf(1 << 20)
    buffer.push(new Uint8Array(1000))
    const chunk = new Uint8Array(65_536)
    for (let i = 0; i < 10; i++) {
      buffer.push(chunk)
    }
    assert.strictEqual((buffer.read(1 << 20) as Uint8Array).length, 1000)
    for (let i = 0; i < 10; i++) {
      assert.strictEqual((buffer.read(1 << 20) as Uint8Array).buffer, chunk.buffer)
    }
  })

  it("short chunks joined, and a long one as it is", () => {
    const short = bufferOf(1 << 20)
    for (let i = 0; i < 100; i++) {
      short.push(new Uint8Array(1000).fill(i))
    }
    assert.strictEqual((short.read(5000) as Uint8Array).length, 5000)
    assert.isAtLeast((short.read(1 << 20) as Uint8Array).length, 60_000)

    const long = bufferOf(1 << 20)
    const chunk = new Uint8Array(65_536)
    long.push(chunk)
    long.push(new Uint8Array(65_536))
    assert.strictEqual((long.read(1000) as Uint8Array).buffer, chunk.buffer)
    const rest = long.read(1 << 20) as Uint8Array
    assert.deepStrictEqual([rest.length, rest.buffer === chunk.buffer], [64_536, true])
  })
})

describe("InputBuffer works in proportion to what arrives", () => {
  /** What is done to the queue: bytes searched, bytes copied, and looks at its list of chunks. */
  const countWork = (buffer: InputBuffer<string>) => {
    const internals = buffer.queue as unknown as { chunks: Array<Uint8Array> }
    assert.isArray(internals.chunks)
    const work = { searched: 0, copied: 0, steps: 0 }
    internals.chunks = new Proxy(internals.chunks, {
      get: (chunks, key) => {
        work.steps++
        return Reflect.get(chunks, key)
      }
    })
    const copy = vi.spyOn(ByteQueue.prototype, "copyTo")
    looks.total = 0
    return () => {
      work.searched = looks.total
      work.copied = copy.mock.calls.reduce((sum, [, n]) => sum + n, 0)
      copy.mockRestore()
      return work
    }
  }

  const mebibyte = 1 << 20

  const longLines = [["readLine", 64, ["\n"]], ["readUntil", 16, ["\r\n"]], ["readUntil", 16, ["\r\n", "\n"]]] as const
  for (const [name, mebibytes, texts] of longLines) {
    it(`a line of ${mebibytes} MiB in chunks of 1 KiB: ${name} ${JSON.stringify(texts)}`, () => {
      const length = mebibytes * mebibyte
      const buffer = bufferOf(2 * length)
      const chunk = new Uint8Array(1024).fill(120)
      const last = latin1("end\r\n")
      const separator = prepared(texts)
      const read = () => name === "readLine" ? buffer.readLine() : buffer.readUntil(separator)
      const work = countWork(buffer)
      let waited = 0
      // What is quadratic would take hours.
      for (let i = 0; i < length / 1024 && looks.total <= length; i++) {
        buffer.push(chunk)
        waited += read() === undefined ? 1 : 0
      }
      assert.strictEqual(waited, length / 1024)
      buffer.push(last)
      const line = read() as Uint8Array
      const { copied, searched, steps } = work()
      assert.strictEqual(line.length, length + 5)
      assert.deepStrictEqual([line[length - 1], toLatin1(line.subarray(length))], [120, "end\r\n"])
      assert.isAtMost(searched, length + 5)
      assert.isAbove(searched, length)
      assert.strictEqual(copied, length + 5)
      assert.isAtMost(steps, 20 * (length / 1024))
    })
  }

  it("skipping 16 MiB copies nothing", () => {
    const buffer = bufferOf(10)
    const chunk = new Uint8Array(1024).fill(120)
    const work = countWork(buffer)
    const ends = prepared(["\r\n", "\n"])
    let waited = 0
    for (let i = 0; i < 16_384 && looks.total <= 16 * mebibyte; i++) {
      buffer.push(chunk)
      waited += buffer.skipUntil(ends, 0) === undefined ? 1 : 0
    }
    assert.strictEqual(waited, 16_384)
    buffer.push(latin1("\n"))
    assert.strictEqual(buffer.skipUntil(ends, 0), 16 * mebibyte + 1)
    const { copied, searched, steps } = work()
    assert.strictEqual(copied, 0)
    assert.isAtMost(searched, 16 * mebibyte + 1)
    assert.isAtMost(steps, 30 * 16_384)
  })

  for (const name of ["readLine", "readUntil"] as const) {
    it(`${name} costs the same however many chunks wait behind the line, and no byte is searched twice`, () => {
      const chunks = 5000
      const buffer = bufferOf(64 * mebibyte)
      // Lines of 170 bytes, nearly all of which lie across two chunks.
      const text = latin1(`${"x".repeat(168)}\r\n`.repeat(chunks))
      for (const chunk of cutAt(text, Array.from({ length: chunks - 1 }, (_, i) => 170 * i + 85 + i % 170 - 84))) {
        buffer.push(chunk)
      }
      const work = countWork(buffer)
      for (let i = 0; i < chunks; i++) {
        const line = name === "readLine" ? buffer.readLine() : buffer.readUntil(prepared(["\r\n"]))
        assert.strictEqual((line as Uint8Array).length, 170)
      }
      const { copied, searched, steps } = work()
      assert.isAtMost(searched, text.length)
      assert.isAtMost(copied, text.length)
      assert.isAtMost(steps, 40 * chunks)
    })
  }

  it("a search goes on where it was after some of what was searched is read", () => {
    const buffer = bufferOf(mebibyte)
    const work = countWork(buffer)
    for (let i = 0; i < 1000; i++) {
      buffer.push(new Uint8Array(200).fill(120))
      assert.isUndefined(buffer.readUntil(prepared(["\r\n"])))
      buffer.readExactly(100)
    }
    assert.isAtMost(work().searched, 200_000)
  })
})
