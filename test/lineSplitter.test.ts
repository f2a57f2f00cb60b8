import { assert, describe, it } from "@effect/vitest"
import { vi } from "vitest"
import type * as bytesModule from "../src/internal/bytes.js"
import { type Bytes } from "../src/internal/bytes.js"
import { type Failed, Incomplete, InputBuffer, Overrun, ReadFault } from "../src/internal/inputBuffer.js"
import {
  ByteLines,
  endOfLines,
  type LineSplitter,
  type Pulled,
  type TextLineOptions,
  TextLines
} from "../src/internal/lineSplitter.js"
import { encodingProblem, TextDecoding } from "../src/internal/textDecoding.js"
import { chunkings, cutAt, cutRandomly, latin1, Random, texts, toLatin1, utf8 } from "./support/chunkings.js"
import { failed, overrun, value, waits } from "./support/readerReference.js"

// Every search for a byte goes through one function, so that work can be counted.
const work = vi.hoisted(() => ({ searched: 0 }))
vi.mock("../src/internal/bytes.js", async (importOriginal) => {
  const original = await importOriginal<typeof bytesModule>()
  return {
    ...original,
    indexOfByte: (bytes: Uint8Array, byte: number, from: number) => {
      const index = original.indexOfByte(bytes, byte, from)
      work.searched += (index < 0 ? bytes.length : index + 1) - from
      return index
    }
  }
})

// -----------------------------------------------------------------------------
// the reference
// -----------------------------------------------------------------------------

type End = "open" | "eof" | "failed"

interface Options extends TextLineOptions {
  readonly bytes?: boolean
}

const noMore = "end"
const defaultLimit = 1000

const decoded = (encoding: string, bytes: Bytes): string => {
  const decoder = new TextDecoder(encoding, { ignoreBOM: true })
  return decoder.decode(bytes, { stream: true }) + decoder.decode()
}

/** The longest part of `bytes` up to `max` that is whole characters. For valid text. */
const headOf = (encoding: string, bytes: Bytes, max: number): string => {
  for (let n = max;; n--) {
    const text = decoded(encoding, bytes.subarray(0, n))
    if (!text.includes("\uFFFD")) {
      return text
    }
  }
}

/** What comes of looking for a line at the place `at`, when `bytes` is all that ever arrived, and where the next begins. */
const reference = (bytes: Bytes, at: number, end: End, options: Options): { outcome: string; next: number } => {
  const encoding = options.encoding ?? "utf-8"
  const wide = encoding.startsWith("utf-16")
  const width = wide && options.bytes !== true ? 2 : 1
  const max = options.maxLength ?? defaultLimit
  const rest = bytes.subarray(at)
  const unit = (i: number) =>
    width === 1 ? rest[i]! : encoding === "utf-16be" ? rest[i]! * 256 + rest[i + 1]! : rest[i]! + rest[i + 1]! * 256
  const text = (bytes: string) => value(at === 0 && bytes.startsWith("\uFEFF") ? bytes.slice(1) : bytes)
  const line = (part: Bytes) => options.bytes === true ? value(toLatin1(part)) : text(decoded(encoding, part))
  // With what ends it, for that shows a decoder where a character that was begun can't go on.
  const complete = (part: Bytes) =>
    options.bytes === true ? value(toLatin1(part)) : text(decoded(encoding, part).replace(/\r?\n$/, ""))
  const last = (line: string, partial: Bytes) =>
    options.lastLine === "drop"
      ? noMore
      : options.lastLine === "fail"
      ? `incomplete ${value(toLatin1(partial))}`
      : line

  let feed = 0
  while (feed + width <= rest.length && unit(feed) !== 10) {
    feed += width
  }
  const found = feed + width <= rest.length
  const atEof = !found && end === "eof"
  const size = found ? feed + width : rest.length
  const returned = options.bytes !== true && !atEof && feed >= width && unit(feed - width) === 13
  const before = atEof ? rest.length : returned ? feed - width : feed

  if (before > max) {
    if (options.onOverrun === "skip") {
      return found ? reference(bytes, at + size, end, options) : { outcome: ended(end, noMore), next: at + size }
    }
    if (options.onOverrun === "truncate") {
      const part = rest.subarray(0, max - max % width)
      const head = options.bytes === true ? value(toLatin1(part)) : text(headOf(encoding, part, part.length))
      return { outcome: found ? head : ended(end, last(head, part)), next: at + size }
    }
    return { outcome: overrun(before, max, found), next: at }
  }
  return found
    ? { outcome: complete(rest.subarray(0, size)), next: at + size }
    : {
      outcome: ended(end, line(rest) === `""` ? noMore : last(line(rest), rest)),
      next: end === "eof" ? at + size : at
    }
}

const ended = (end: End, atEof: string): string => end === "eof" ? atEof : end === "failed" ? failed : waits

/** Every line, and what comes after the last. */
const referenceLines = (bytes: Bytes, end: End, options: Options): ReadonlyArray<string> => {
  const all: Array<string> = []
  for (let at = 0;;) {
    const { next, outcome } = reference(bytes, at, end, options)
    all.push(outcome)
    if (!outcome.startsWith(`"`)) {
      return all
    }
    at = next
  }
}

// -----------------------------------------------------------------------------
// the splitter
// -----------------------------------------------------------------------------

const source = { pause: () => {}, resume: () => {} }
const newBuffer = (limit = defaultLimit) => new InputBuffer<string>(limit, source)

const splitterOf = (buffer: InputBuffer<string>, options: Options): LineSplitter<Bytes | string> =>
  options.bytes === true ? new ByteLines(buffer, options) : new TextLines(buffer, options)

const finish = (buffer: InputBuffer<string>, end: End) => {
  if (end === "eof") {
    buffer.pushEof()
  } else if (end === "failed") {
    buffer.pushFailure("reset")
  }
}

const shown = (outcome: Pulled<Bytes | string>): string =>
  outcome === undefined
    ? waits
    : outcome === endOfLines
    ? noMore
    : outcome instanceof Overrun
    ? overrun(outcome.consumed, outcome.limit, outcome.found)
    : outcome instanceof Incomplete
    ? `incomplete ${value(toLatin1(outcome.partial))}`
    : outcome instanceof ReadFault
    ? (outcome as Failed).kind
    : value(typeof outcome === "string" ? outcome : toLatin1(outcome))

/** Pulls until no line comes, and gives what came. */
type Way = (splitter: LineSplitter<Bytes | string>) => Array<string>

const ways: Record<string, Way> = {
  batch: (splitter) => {
    const all: Array<string> = []
    while (true) {
      const batch = splitter.batch()
      if (!Array.isArray(batch)) {
        all.push(shown(batch as Pulled<string>))
        return all
      }
      assert.isAbove(batch.length, 0)
      batch.forEach((line) => all.push(shown(line)))
    }
  },
  next: (splitter) => {
    const all: Array<string> = []
    do {
      all.push(shown(splitter.next()))
    } while (all.at(-1)!.startsWith(`"`))
    return all
  },
  forEach: (splitter) => {
    const all: Array<string> = []
    all.push(shown(splitter.forEach<string>((line) => {
      all.push(shown(line))
      return undefined
    })))
    return all
  },
  "forEach, stopped by every line": (splitter) => {
    const all: Array<string> = []
    while (true) {
      const stopped = splitter.forEach((line) => ({ line }))
      if (stopped === undefined || stopped === endOfLines || stopped instanceof ReadFault) {
        all.push(shown(stopped))
        return all
      }
      all.push(shown(stopped.line))
    }
  }
}

const run = (chunks: ReadonlyArray<Bytes>, end: End, options: Options, way: Way): ReadonlyArray<string> => {
  const buffer = newBuffer()
  const splitter = splitterOf(buffer, options)
  const lines: Array<string> = []
  for (const chunk of chunks) {
    buffer.push(chunk)
    const all = way(splitter)
    const outcome = all.pop()!
    all.forEach((line) => lines.push(line))
    if (outcome !== waits) {
      return [...lines, outcome]
    }
  }
  finish(buffer, end)
  way(splitter).forEach((line) => lines.push(line))
  return lines
}

/** Where an over-long line has no terminator yet, how much of it is there depends on the chunks. */
const comparable = (outcomes: ReadonlyArray<string>): string => outcomes.join("\n").replace(/^overrun at.*/m, "overrun")

/** Over all chunkings, ways to pull and `ends`. */
const check = (
  bytes: Bytes,
  options: Options,
  ends: ReadonlyArray<End> = ["open", "eof", "failed"],
  random = 1
): void => {
  for (const end of ends) {
    const expected = referenceLines(bytes, end, options)
    const comparableExpected = comparable(expected)
    for (const { chunks, name } of chunkings(bytes, random)) {
      for (const way of Object.keys(ways)) {
        const actual = run(chunks, end, options, ways[way]!)
        const exact = name === "all at once" && end === "open"
        if (exact ? actual.join("\n") !== expected.join("\n") : comparable(actual) !== comparableExpected) {
          const input = `${value(toLatin1(bytes))}, ${JSON.stringify(options)}, ${end}`
          assert.deepStrictEqual(actual, expected, `${input}, ${name}, ${way}`)
        }
      }
    }
  }
}

// -----------------------------------------------------------------------------
// encodings
// -----------------------------------------------------------------------------

/** ASCII as it is, and characters that are followed by their bytes. */
const encoder = (table: string) => {
  const known = new Map(
    table.split(" ").map((entry) => {
      const [char, ...hex] = [...entry]
      return [char!, Buffer.from(hex.join(""), "hex")] as const
    })
  )
  return (text: string): Bytes =>
    Uint8Array.from([...text].flatMap((char) => char < "\x80" ? char.charCodeAt(0) : [...known.get(char)!]))
}

const utf16le = (text: string): Bytes =>
  Uint8Array.from({ length: text.length * 2 }, (_, i) => (text.charCodeAt(i >> 1) >> (i % 2 * 8)) & 255)
const utf16be = (text: string): Bytes =>
  Uint8Array.from({ length: text.length * 2 }, (_, i) => (text.charCodeAt(i >> 1) >> ((1 - i % 2) * 8)) & 255)

/** Some with what looks like an end, or a backslash, as part of a character. */
const samples: Record<string, readonly [encode: (text: string) => Bytes, text: string]> = {
  "utf-8": [utf8, "aß\n€漢\r\n\r😀\n\n👩‍👩‍👧\r\r\nĊ"],
  latin1: [encoder("€80 ée9 ÿff œ9c"), "a€\né\r\n\rÿ\n\nœ"],
  "windows-1251": [encoder("Пcf рf0 иe8 вe2 еe5 тf2 мec яff Ёa8"), "Привет\r\nмир\n\rя\n\nЁ"],
  "windows-1253": [encoder("Γc3 εe5 ιe9 άdc σf3 οef υf5 ωf9 Άa2"), "Γειά\r\nσου\n\rω\n\nΆ"],
  "koi8-r": [encoder("Пf0 рd2 иc9 вd7 еc5 тd4 мcd яd1 ╬be"), "Привет\r\nмир\n\rя\n\n╬"],
  gbk: [encoder("漢9d68 丂8140 字d7d6 語d55a 乗815c"), "漢丂\r\n字\n\r語a\n\n乗"],
  gb18030: [encoder("漢9d68 字d7d6 😀9439fc36 乗815c"), "漢😀\r\n字\n\r😀a\n\n乗"],
  shift_jis: [encoder("ソ835c 表955c 日93fa ｱb1 本967b 語8cea"), "ソ表\r\n日ｱ\n\r本a\n\n語"],
  "euc-kr": [encoder("한c7d1 국b1b9 어beee 가b0a1 하c7cf"), "한국\r\n어\n\r가a\n\n하"],
  big5: [encoder("功a55c 能afe0 漢ba7e 許b35c 蓋bb5c"), "功能\r\n漢\n\r許a\n\n蓋"],
  "euc-jp": [encoder("日c6fc 本cbdc 丂8fb0a1 ｱ8eb1 語b8ec"), "日丂\r\n本ｱ\n\r語a\n\n丂"],
  "utf-16le": [utf16le, "aĊ\nഊ\r\n\r😀਍\n\nਊ\r\r\nčĊ"],
  "utf-16be": [utf16be, "aĊ\nഊ\r\n\r😀਍\n\nਊ\r\r\nčĊ"]
}

describe("LineSplitter", () => {
  describe("against a naive reference, however the bytes were cut", () => {
    it("texts that break readers, as text and as bytes, with every end", () => {
      for (const text of texts) {
        check(utf8(text), {})
        check(utf8(text), { bytes: true })
      }
    })

    it("every lastLine", () => {
      for (const text of texts) {
        for (const lastLine of ["drop", "fail"] as const) {
          check(utf8(text), { lastLine }, ["eof"])
          check(utf8(text), { bytes: true, lastLine }, ["eof"])
        }
      }
    })

    it("limits around the lengths of the lines, with each onOverrun and lastLine", () => {
      for (const text of ["abc\ndef", "ab\rc\r\r\nd\r", "abcdef\r\n\nghi\r", "a€\nß\r\n😀b"]) {
        const bytes = utf8(text)
        for (let maxLength = 1; maxLength < 7; maxLength++) {
          for (const onOverrun of ["fail", "skip", "truncate"] as const) {
            check(bytes, { maxLength, onOverrun })
            check(bytes, { bytes: true, maxLength, onOverrun })
            for (const lastLine of ["drop", "fail"] as const) {
              check(bytes, { maxLength, onOverrun, lastLine }, ["eof"], 0)
              check(bytes, { bytes: true, maxLength, onOverrun, lastLine }, ["eof"], 0)
            }
          }
        }
      }
    })

    for (const [encoding, [encode, text]] of Object.entries(samples)) {
      it(`${encoding}: whole, skipped and truncated`, () => {
        const bytes = encode(text)
        assert.deepStrictEqual(
          run([bytes], "eof", { encoding }, ways["batch"]!),
          [...text.split(/\r?\n/).map((line) => JSON.stringify(line)), noMore]
        )
        check(bytes, { encoding })
        for (let maxLength = 1; maxLength < 12; maxLength++) {
          for (const onOverrun of ["fail", "skip", "truncate"] as const) {
            check(bytes, { encoding, maxLength, onOverrun }, ["eof"])
          }
        }
      })

      it(`${encoding}: what is no text`, () => {
        const random = new Random(7)
        const alphabet = [
          ...encode("\r\na"),
          ...encode(text),
          0x0a,
          0x0a,
          0x0d,
          0x80,
          0xff,
          0xc3,
          0xe2,
          0xf0,
          0x81,
          0x1a,
          0x30
        ]
        for (let i = 0; i < 100; i++) {
          const bytes = Uint8Array.from({ length: random.between(1, 30) }, () => random.pick(alphabet))
          const end = random.pick<End>(["open", "eof", "failed"])
          const options = {
            encoding,
            ...(random.chance(0.5) ? { maxLength: random.between(1, 9) } : {}),
            onOverrun: random.pick(["fail", "skip"] as const),
            lastLine: random.pick(["emit", "drop", "fail"] as const)
          }
          check(bytes, options, [end])
        }
      })
    }

    it("long texts, with runs of every length, and someone else reading between the lines", () => {
      const random = new Random(11)
      for (let i = 0; i < 100; i++) {
        const encoding = random.pick(Object.keys(samples))
        const [encode, sample] = samples[encoding]!
        const options: Options = {
          encoding,
          bytes: random.chance(0.2),
          ...(random.chance(0.5) ? { maxLength: random.between(1, 40) } : {}),
          onOverrun: random.pick(["skip", "truncate"] as const)
        }
        let text = ""
        const ascii = random.chance(0.5)
        for (let n = random.between(1, 250); n > 0; n--) {
          text += random.pick([
            "\n",
            "\r\n",
            random.text(random.between(0, 60), "abc \r"),
            ...(ascii ? [] : [[...sample].slice(0, 6).join("")])
          ])
        }
        const bytes = encode(text)
        const buffer = newBuffer()
        const splitter = splitterOf(buffer, options)
        let arrived = 0
        let at = 0
        const pull = () => {
          while (true) {
            const { next, outcome } = reference(bytes.subarray(0, arrived), at, buffer.end, options)
            const message = `${i}, ${encoding}, at ${at} of ${arrived}`
            if (random.chance(0.3)) {
              const all: Array<string> = []
              const wanted = random.between(1, 5)
              const stopped = splitter.forEach((line) => {
                all.push(shown(line))
                return all.length === wanted ? all : undefined
              })
              for (const line of all) {
                const expected = reference(bytes.subarray(0, arrived), at, buffer.end, options)
                assert.strictEqual(line, expected.outcome, message)
                at = expected.next
              }
              if (stopped !== all) {
                const expected = reference(bytes.subarray(0, arrived), at, buffer.end, options)
                assert.strictEqual(shown(stopped as Pulled<string>), expected.outcome, message)
                return
              }
            } else {
              assert.strictEqual(shown(splitter.next()), outcome, message)
              if (!outcome.startsWith(`"`)) {
                return
              }
              at = next
            }
            assert.strictEqual(buffer.queue.position, at, message)
            if (random.chance(0.1)) {
              const n = Math.min(random.between(1, 3) * 2, arrived - at)
              assert.deepStrictEqual(buffer.readExactly(n), Uint8Array.from(bytes.subarray(at, at + n)))
              if (random.chance(0.5)) {
                buffer.unread(Uint8Array.from(bytes.subarray(at, at + n)))
              } else {
                at += n
              }
            }
          }
        }
        for (const chunk of cutRandomly(bytes, random, random.pick([100, 300, 5000, 50_000]))) {
          buffer.push(chunk)
          arrived += chunk.length
          pull()
        }
        buffer.pushEof()
        pull()
      }
    })
  })

  describe("encodings", () => {
    it("one that TextDecoder doesn't know is known before", () => {
      assert.isUndefined(encodingProblem("utf-8"))
      assert.isUndefined(encodingProblem("Latin1"))
      assert.match(encodingProblem("utf-9")!, /"utf-9"/)
    })

    it("windows-1252 isn't ISO-8859-1, and its ÿ no byte order mark", () => {
      assert.deepStrictEqual(
        run([latin1("ÿ\x80\nÿ\x80\n")], "eof", { encoding: "windows-1252" }, ways["batch"]!),
        [`"ÿ€"`, `"ÿ€"`, noMore]
      )
    })

    it("in each of one byte, and of several, a line feed is one after any byte", () => {
      for (const encoding of Object.keys(samples).filter((name) => !name.startsWith("utf-16"))) {
        for (let first = 0; first < 256; first++) {
          if (first === 10) {
            continue
          }
          for (const prefix of [[first], [first, 0x30], [0x81, first], [0x8f, 0xb0, first], [0x81, 0x30, first]]) {
            const text = decoded(encoding, Uint8Array.from([...prefix, 10, 97, 10]))
            assert.isTrue(text.endsWith("\na\n"), `${prefix} in ${encoding}`)
            assert.isAtMost(text.length, prefix.length + 3)
            assert.strictEqual(text.split("\n").length, prefix.includes(10) ? 4 : 3)
          }
        }
      }
    })

    it("iso-2022-jp keeps its state from line to line, through skipped and truncated ones", () => {
      // ESC ( J is JIS X 0201, where a backslash is a yen sign; ESC $ B is JIS X 0208, in two bytes.
      const input = "a\\\n\x1b(J\\b\\\r\n\\\n\x1b$B$\"$$\x1b(J\\\nlong\x1b(B\\long\n\\\n\x1b(J"
      const lines = ["a\\", "¥b¥", "¥", "あい¥", "long\\long", "\\"]
      for (const { chunks, name } of chunkings(latin1(input))) {
        for (const way of Object.keys(ways)) {
          const expect = (options: Options, ...expected: ReadonlyArray<string>) =>
            assert.deepStrictEqual(
              run(chunks, "eof", { encoding: "iso-2022-jp", ...options }, ways[way]!),
              [...expected.map((line) => JSON.stringify(line)), noMore],
              `${name}, ${way}`
            )
          expect({}, ...lines)
          expect({ maxLength: 11, onOverrun: "skip" }, ...lines.filter((line) => !line.startsWith("long")))
          expect({ maxLength: 6, onOverrun: "truncate" }, "a\\", "¥b¥", "¥", "あ", "long", "\\")
          expect({ maxLength: 4, onOverrun: "truncate" }, "a\\", "¥", "¥", "", "long", "\\")
        }
      }
    })

    it("iso-2022-jp passes over what its decoder can't make anything of, however it is cut", () => {
      const random = new Random(7)
      const pieces = ["\x1b", "$", "(", "B", "J", "$B", "\x1b$B", "\x1b(J", "\x1b(B", "\\", "a", "$\"", "\x80", "\xff"]
      for (let i = 0; i < 300; i++) {
        const rubbish = Array.from({ length: random.between(3, 10) }, () => random.pick(pieces)).join("")
        // The line behind it says which characters a backslash stands for by then.
        const bytes = latin1(`${rubbish}\n\\\n`)
        const texts = new TextDecoder("iso-2022-jp").decode(bytes).split("\n")
        // Within two bytes, Node's decoder takes the line feed for the second.
        const decoded = texts.length === 3 ? texts[1]! : "\\"
        for (const onOverrun of ["skip", "truncate"] as const) {
          for (const { chunks, name } of chunkings(bytes)) {
            for (const way of Object.keys(ways)) {
              const lines = run(chunks, "eof", { encoding: "iso-2022-jp", maxLength: 2, onOverrun }, ways[way]!)
              assert.deepStrictEqual(
                lines.slice(-2),
                [JSON.stringify(decoded), noMore],
                `${JSON.stringify(rubbish)}, ${onOverrun}, ${name}, ${way}`
              )
            }
          }
        }
      }
    })

    it("a byte order mark goes from the first line, and from no other", () => {
      const text = "\uFEFFa\n\uFEFFb\n\uFEFF"
      for (
        const [encoding, bytes] of [["utf-8", utf8(text)], ["utf-16le", utf16le(text)], [
          "utf-16be",
          utf16be(text)
        ]] as const
      ) {
        for (const { chunks } of chunkings(bytes)) {
          for (const way of Object.values(ways)) {
            assert.deepStrictEqual(
              run(chunks, "eof", { encoding }, way),
              [`"a"`, `"\uFEFFb"`, `"\uFEFF"`, noMore]
            )
          }
        }
      }
    })

    it("nothing but a byte order mark is no line", () => {
      for (const lastLine of ["emit", "drop", "fail"] as const) {
        assert.deepStrictEqual(run([utf8("\uFEFF")], "eof", { lastLine }, ways["next"]!), [noMore])
      }
      assert.deepStrictEqual(run([utf8("\uFEFF\n")], "eof", {}, ways["next"]!), [`""`, noMore])
    })

    it("a byte order mark counts", () => {
      assert.deepStrictEqual(run([utf8("\uFEFFab\n")], "eof", { maxLength: 5 }, ways["next"]!), [`"ab"`, noMore])
      assert.deepStrictEqual(
        run([utf8("\uFEFFab\n")], "eof", { maxLength: 4, onOverrun: "truncate" }, ways["next"]!),
        [`"a"`, noMore]
      )
    })
  })

  describe("limits", () => {
    const lines = (bytes: Bytes, options: Options) => {
      const buffer = newBuffer(4)
      buffer.push(bytes)
      return { buffer, splitter: splitterOf(buffer, options) }
    }

    it("the limit is the buffer's unless it is given", () => {
      const { buffer, splitter } = lines(latin1("abcd\r\nabcde\n"), {})
      assert.strictEqual(splitter.next(), "abcd")
      assert.deepStrictEqual(splitter.next(), new Overrun(5, 4, true))
      assert.deepStrictEqual(splitter.batch(), new Overrun(5, 4, true))
      assert.deepStrictEqual(buffer.readLine(), new Overrun(5, 4, true))
      assert.deepStrictEqual(buffer.readExactly(6), latin1("abcde\n"))
    })

    it("a line that is skipped after a whole run of others is skipped to its end", () => {
      const buffer = newBuffer(10)
      const splitter = splitterOf(buffer, { bytes: true, onOverrun: "skip" })
      buffer.push(latin1(`a\n${"x".repeat(70_000)}\n${"y".repeat(15)}`))
      assert.deepStrictEqual(splitter.next(), latin1("a\n"))
      assert.isUndefined(splitter.next())
      buffer.push(latin1("yyy\ngood\n"))
      assert.deepStrictEqual(splitter.next(), latin1("good\n"))
      buffer.push(latin1(`${"z".repeat(200)}\nlast`))
      assert.isUndefined(splitter.next())
      buffer.pushEof()
      assert.deepStrictEqual(splitter.next(), latin1("last"))
    })

    it("an overrun is one before the end is looked at, and leaves the buffer as it was", () => {
      for (const end of ["open", "eof", "failed"] as const) {
        const { buffer, splitter } = lines(latin1("a\nabcde"), {})
        finish(buffer, end)
        assert.deepStrictEqual(splitter.batch(), ["a"])
        for (let i = 0; i < 3; i++) {
          assert.deepStrictEqual(splitter.batch(), new Overrun(5, 4, false))
        }
        assert.deepStrictEqual(buffer.readExactly(5), latin1("abcde"))
      }
    })

    it("a carriage return that may yet be half of a terminator isn't over the limit", () => {
      const { buffer, splitter } = lines(latin1("abcd\r"), {})
      assert.isUndefined(splitter.next())
      buffer.push(latin1("\n"))
      assert.strictEqual(splitter.next(), "abcd")
      buffer.push(latin1("abcd\r"))
      buffer.pushEof()
      assert.deepStrictEqual(splitter.next(), new Overrun(5, 4, false))
    })

    it("as bytes, a truncated line has no terminator", () => {
      const { splitter } = lines(latin1("abcde\nab\n"), { bytes: true, onOverrun: "truncate" })
      assert.deepStrictEqual(splitter.batch(), [latin1("abcd"), latin1("ab\n")])
    })

    it("a line that is too long takes no memory", () => {
      for (const encoding of ["utf-8", "utf-16le", "iso-2022-jp"]) {
        for (const onOverrun of ["skip", "truncate"] as const) {
          const { buffer, splitter } = lines(new Uint8Array(0), { encoding, onOverrun })
          const chunk = latin1("x\0".repeat(500)).subarray(0, 999)
          for (let i = 0; i < 1000; i++) {
            buffer.push(chunk)
            assert.isUndefined(splitter.next())
            assert.isAtMost(buffer.queue.length, 1)
          }
        }
      }
    })

    it("a batch is bounded", () => {
      for (const bytes of [true, false]) {
        const buffer = newBuffer()
        buffer.push(latin1("0123456789\n".repeat(100_000)))
        const splitter = splitterOf(buffer, { bytes })
        let lines = 0
        while (lines < 100_000) {
          const batch = splitter.batch() as ReadonlyArray<unknown>
          assert.isAtMost(batch.length, 3 * 65_536 / 11)
          lines += batch.length
        }
        assert.strictEqual(buffer.queue.length, 0)
      }
    })

    it("a batch with nothing but skipped lines goes on", () => {
      const buffer = newBuffer()
      buffer.push(latin1(`first\n${"too long\n".repeat(50_000)}last\n`))
      const splitter = splitterOf(buffer, { maxLength: 5, onOverrun: "skip" })
      assert.deepStrictEqual([splitter.batch(), splitter.batch(), splitter.batch()], [["first"], ["last"], undefined])
    })
  })

  describe("what a function leaves", () => {
    const text = "one\r\ntwo\nthrée\nfour\nfive"

    it("one that throws is done with its line", () => {
      for (const options of [{}, { bytes: true }, { encoding: "iso-2022-jp" }]) {
        const buffer = newBuffer()
        const splitter = splitterOf(buffer, options)
        buffer.push(utf8(text))
        for (const rest of ["two\nthrée\nfour\nfive", "thrée\nfour\nfive", "four\nfive", "five"]) {
          assert.throws(() =>
            splitter.forEach(() => {
              throw new Error("no")
            }), "no")
          assert.deepStrictEqual(buffer.peek(buffer.queue.length), utf8(rest))
        }
      }
    })

    it("one that reads by itself finds what comes after its line", () => {
      for (const options of [{}, { bytes: true }]) {
        const buffer = newBuffer()
        const splitter = splitterOf(buffer, options)
        buffer.push(utf8("start\n" + "3\nabc5\nd\nef\n0\n".repeat(100)))
        const all: Array<string> = []
        splitter.forEach((line) => {
          const text = typeof line === "string" ? line : toLatin1(line).trim()
          all.push(text, toLatin1(buffer.readExactly(Number(text) || 0) as Bytes))
          return undefined
        })
        assert.strictEqual(all.join("|"), "start||" + Array(100).fill("3|abc|5|d\nef\n|0|").join("|"))
      }
    })

    it("bytes that were put back are read as lines, in place of what was decoded ahead", () => {
      const buffer = newBuffer()
      const splitter = new TextLines(buffer)
      buffer.push(utf8("a\nb\nc\nd\n"))
      assert.deepStrictEqual([splitter.next(), splitter.next()], ["a", "b"])
      assert.deepStrictEqual(buffer.readExactly(2), utf8("c\n"))
      buffer.unread(utf8("é\n"))
      assert.deepStrictEqual([splitter.next(), splitter.next(), splitter.next()], ["é", "d", undefined])
    })
  })

  describe("work", () => {
    /** Bytes searched and decoded for each that there were. */
    const count = (chunks: ReadonlyArray<Bytes>, options: Options, pull: Way) => {
      const decode = vi.spyOn(TextDecoding.prototype, "decode")
      work.searched = 0
      const buffer = newBuffer(1e9)
      const splitter = splitterOf(buffer, options)
      for (const chunk of chunks) {
        buffer.push(chunk)
        pull(splitter)
      }
      buffer.pushEof()
      while (splitter.next() !== endOfLines) {
        // Only to the end.
      }
      const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      const text = decode.mock.calls.reduce((sum, [bytes]) => sum + bytes.length, 0)
      decode.mockRestore()
      return { searched: work.searched / size, decoded: text / size }
    }

    const everyWay = (chunks: ReadonlyArray<Bytes>, options: Options, most: number) => {
      for (const way of Object.values(ways)) {
        const { decoded, searched } = count(chunks, options, way)
        assert.isAtMost(searched, most)
        assert.isAtMost(decoded, most)
      }
    }

    const split = (text: string, size: number) => {
      const bytes = utf8(text)
      return cutAt(bytes, Array.from({ length: Math.floor(bytes.length / size) }, (_, i) => (i + 1) * size))
    }

    it("is linear in the length of a line", () => {
      for (const options of [{}, { bytes: true }, { onOverrun: "skip", maxLength: 1000 }] as const) {
        everyWay(split("x".repeat(4 << 20) + "\ny\n", 1024), options, 2.1)
      }
    })

    it("doesn't begin anew when a long line grows by little", () => {
      for (const options of [{}, { bytes: true }]) {
        everyWay([utf8("\n" + "x".repeat(50_000)), ...split("x".repeat(5000) + "\ny\n", 1)], options, 2.1)
      }
    })

    it("is linear in the number of lines in a chunk", () => {
      for (const text of ["a\n".repeat(30_000), "é\n".repeat(20_000), "a".repeat(1500) + "\n" + "a\n".repeat(30_000)]) {
        for (const options of [{}, { bytes: true }, { encoding: "latin1" }]) {
          everyWay([utf8(text)], options, 2.1)
        }
      }
    })

    it("is linear where every other line is too long", () => {
      for (const onOverrun of ["skip", "truncate"] as const) {
        everyWay([utf8("a\nlong\n".repeat(50_000))], { maxLength: 3, onOverrun }, 2.1)
      }
    })

    it("doesn't decode a chunk for a line", () => {
      const buffer = newBuffer(1e9)
      const decode = vi.spyOn(TextDecoding.prototype, "decode")
      buffer.push(utf8("10\n0123456789".repeat(10_000)))
      const splitter = new TextLines(buffer)
      for (let i = 0; i < 10_000; i++) {
        assert.strictEqual(splitter.next(), "10")
        assert.strictEqual((buffer.readExactly(10) as Bytes).length, 10)
      }
      const text = decode.mock.calls.reduce((sum, [bytes]) => sum + bytes.length, 0)
      decode.mockRestore()
      assert.isBelow(text, 10_000 * 1100)
    })
  })
})
