/** Frames that are read: against a reference that is as naive as can be, over every cut, end and interruption. */
import { assert, describe, it } from "@effect/vitest"
import * as Framing from "effect-netstreams/Framing"
import * as NetworkError from "effect-netstreams/NetworkError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Random } from "./support/chunkings.js"
import { everyWay, orOverrun, outcomeOf, type Read } from "./support/reader.js"
import { type End, failed, incomplete, overrun, value, waits } from "./support/readerReference.js"

const end = value("end")

/** The reason stands for the whole error. */
const reason = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.catchIf(
    effect,
    (error): error is E & NetworkError.FramingError => error instanceof NetworkError.FramingError,
    (error) => Effect.succeed(error.reason)
  )

type AnyFraming = Framing.Framing<never, unknown>

const frame = (framing: AnyFraming): Read => (reader) =>
  reason(Effect.map(Framing.read(reader, framing), Option.match({ onNone: () => "end", onSome: identity })))

/** All that a stream emits, and how it ends. */
const frames = (framing: AnyFraming, options?: Framing.StreamOptions): Read => (reader) =>
  Effect.suspend(() => {
    const seen: Array<unknown> = []
    return Effect.map(
      Effect.exit(reason(Stream.runForEach(
        Framing.stream(reader, framing, options),
        (one) => Effect.sync(() => seen.push(one))
      ))),
      (
        exit
      ) => [...seen.map((one) => outcomeOf(Exit.succeed(one))), Exit.isSuccess(exit) ? exit.value : outcomeOf(exit)]
    )
  })

// ---------------------------------------------------------------------------
// the reference
// ---------------------------------------------------------------------------

/** What the beginning of a text is: a frame and how much it takes, an error, or `undefined`: not yet whole. */
type First = { readonly frame: string; readonly size: number } | { readonly fault: string } | undefined

interface Kind {
  readonly framing: AnyFraming
  readonly first: (text: string, end: End) => First
  /** How many bytes a frame that is incomplete was to have. */
  readonly expected?: (text: string) => number | undefined
  /** Of these it is made up. */
  readonly pieces: ReadonlyArray<string>
}

const lengthOf = (text: string, lengthBytes: number, littleEndian: boolean): number =>
  [...text.slice(0, lengthBytes)].reduce(
    (length, c, i) => length + c.charCodeAt(0) * 256 ** (littleEndian ? i : lengthBytes - 1 - i),
    0
  )

const byLength = (options: Framing.LengthPrefixedOptions & { readonly maxLength: number }): Kind => {
  const { adjustment = 0, headerBytes = 0, lengthBytes = 4, littleEndian = false, maxLength } = options
  const header = headerBytes + lengthBytes
  const size = (text: string) => lengthOf(text.slice(headerBytes), lengthBytes, littleEndian) + adjustment
  return {
    framing: Framing.lengthPrefixed(options),
    pieces: [0, 1, 2, 3, maxLength, maxLength + 1].map((n) => {
      const bytes = [...String.fromCharCode(n).padStart(lengthBytes, "\0")]
      return "T".repeat(headerBytes) + (littleEndian ? bytes.reverse() : bytes).join("") +
        "abcdef".slice(0, Math.max(0, n + adjustment))
    }),
    expected: (text) => text.length < header ? header : header + size(text),
    first: (text) =>
      text.length < header
        ? undefined
        : size(text) < 0
        ? { fault: value("InvalidLength") }
        : size(text) + (headerBytes > 0 ? header : 0) > maxLength
        ? { fault: overrun(header + size(text), maxLength, true) }
        : text.length < header + size(text)
        ? undefined
        : { frame: text.slice(headerBytes > 0 ? 0 : header, header + size(text)), size: header + size(text) }
  }
}

const bySeparator = (
  framing: AnyFraming,
  pattern: RegExp,
  longest: number,
  pieces: ReadonlyArray<string>,
  lastToo = false
): Kind => ({
  framing,
  pieces,
  first: (text, end) => {
    const match = pattern.exec(text)
    return match !== null
      ? match.index > 3
        ? { fault: "overrun" }
        : { frame: text.slice(0, match.index), size: match.index + match[0].length }
      : text.length + 1 - longest > 3
      ? { fault: "overrun" }
      : end !== "eof" || !lastToo
      ? undefined
      : text.length > 3
      ? { fault: "overrun" }
      : { frame: text, size: text.length }
  }
})

const linePieces = ["a", "b", "\r", "\n", "abc\r\n", "abc\n", "ab\r\r\n"]

const varintOf = (text: string): { readonly size: number; readonly length: number } | undefined => {
  const bytes = /^[\x80-\xff]{0,9}[\0-\x7f]/.exec(text)?.[0]
  return bytes === undefined ? undefined : {
    size: bytes.length,
    length: [...bytes].reduce((length, c, i) => length + c.charCodeAt(0) % 128 * 128 ** i, 0)
  }
}

const kinds: Record<string, Kind> = {
  "a length of 1 byte": byLength({ lengthBytes: 1, maxLength: 4 }),
  "a length of 2 bytes": byLength({ lengthBytes: 2, maxLength: 3 }),
  "a length of 2 bytes, little-endian": byLength({ lengthBytes: 2, littleEndian: true, maxLength: 3 }),
  "a length of 3 bytes that does not count 2": byLength({ lengthBytes: 3, adjustment: 2, maxLength: 5 }),
  "a length of 4 bytes": byLength({ maxLength: 4 }),
  "a length of 4 bytes, little-endian": byLength({ littleEndian: true, maxLength: 4 }),
  "a length of 8 bytes": byLength({ lengthBytes: 8, maxLength: 4 }),
  "a length of 8 bytes, little-endian": byLength({ lengthBytes: 8, littleEndian: true, maxLength: 4 }),
  "a length that counts itself": byLength({ lengthBytes: 1, adjustment: -1, maxLength: 4 }),
  "a type, and a length that counts itself": byLength({ headerBytes: 1, lengthBytes: 1, adjustment: -1, maxLength: 5 }),
  "a varint": {
    framing: Framing.varintPrefixed({ maxLength: 3 }),
    pieces: ["\0", "\x02ab", "\x81\0a", "\x83\x80\x80\0abc", "\x03abc", "\x84\0abcd", "\x80\x02", "\x80".repeat(10)],
    expected: (text) => {
      const header = varintOf(text)
      return header === undefined ? undefined : header.size + header.length
    },
    first: (text) => {
      const header = varintOf(text)
      return header === undefined
        ? text.length < 10 ? undefined : { fault: value("InvalidLength") }
        : header.length > 3
        ? { fault: overrun(header.size + header.length, 3, true) }
        : text.length < header.size + header.length
        ? undefined
        : { frame: text.slice(header.size, header.size + header.length), size: header.size + header.length }
    }
  },
  "a separator of 1 byte": bySeparator(Framing.delimited("b", { maxLength: 3 }), /b/, 1, ["a", "aa", "aaab", "b"]),
  "a separator of 3 bytes": bySeparator(Framing.delimited("aba", { maxLength: 3 }), /aba/, 3, [
    "a",
    "aaaaba",
    "aaab",
    "aba",
    "b"
  ]),
  "a fixed number of bytes": {
    framing: Framing.fixed(3),
    pieces: ["a", "b"],
    expected: () => 3,
    first: (text) => text.length < 3 ? undefined : { frame: text.slice(0, 3), size: 3 }
  },
  "lines": bySeparator(Framing.lines({ maxLength: 3 }), /\r?\n/, 2, linePieces),
  "lines, the last one too": bySeparator(
    Framing.lines({ maxLength: 3, lastLine: "emit" }),
    /\r?\n/,
    2,
    linePieces,
    true
  )
}

/** Everything in a text, one frame after another, and what comes of the last read. */
const reference = ({ expected, first }: Kind, text: string, ending: End): ReadonlyArray<string> => {
  const all: Array<string> = []
  for (let at = 0;;) {
    const left = text.slice(at)
    const one = left === "" ? undefined : first(left, ending)
    if (one === undefined || "fault" in one) {
      return [
        ...all,
        one !== undefined
          ? one.fault
          : ending !== "eof"
          ? ending === "failed" ? failed : waits
          : left === ""
          ? end
          : incomplete(left, expected?.(left))
      ]
    }
    all.push(value(one.frame))
    at += one.size
  }
}

/** Every beginning of some texts, with every end, and each piece before others, whole. */
const sessions = (
  kind: Kind,
  texts: number,
  check: (text: string, ending: End, outcomes: ReadonlyArray<string>) => Effect.Effect<void>
) =>
  Effect.gen(function*() {
    const random = new Random(7)
    for (let i = 0; i < texts; i++) {
      let text = ""
      while (text.length < 12) {
        text += random.pick(kind.pieces)
      }
      text = text.slice(0, 12)
      for (let length = 0; length <= text.length; length++) {
        for (const ending of ["open", "eof", "failed"] as const) {
          const beginning = text.slice(0, length)
          yield* check(beginning, ending, reference(kind, beginning, ending))
        }
      }
    }
    for (const piece of kind.pieces) {
      const text = piece + random.pick(kind.pieces) + random.pick(kind.pieces)
      yield* check(text, "eof", reference(kind, text, "eof"))
    }
  })

const isFault = (outcome: string): boolean => outcome.startsWith("overrun") || outcome === value("InvalidLength")

describe("Framing", () => {
  it("the reference meets all there is", () => {
    const met = (kind: Kind) => {
      const all = new Set<string>()
      Effect.runSync(
        sessions(
          kind,
          4,
          (_, __, outcomes) =>
            Effect.sync(() =>
              outcomes.forEach((one) => all.add(isFault(one) ? "fault" : one.replace(/^(incomplete|").*/, "$1")))
            )
        )
      )
      return Array.from(all).sort()
    }
    for (const [name, kind] of Object.entries(kinds)) {
      const expected = ["\"", failed, "fault", "incomplete", waits]
        .filter((one) =>
          one === "fault"
            ? name !== "a fixed number of bytes"
            : one !== "incomplete" || name !== "lines, the last one too"
        )
      assert.deepStrictEqual(met(kind), expected, name)
    }
  })

  for (const [name, kind] of Object.entries(kinds)) {
    describe(name, () => {
      it.effect(
        "read gives every frame, whatever the cut, and what comes behind them",
        () =>
          sessions(kind, 1, (input, ending, outcomes) => {
            const last = outcomes[outcomes.length - 1]!
            return everyWay({
              input,
              end: ending,
              limit: 2,
              reads: [
                ...outcomes.map((one) => [frame(kind.framing), orOverrun(one)] as const),
                // What can't be read is left where it is, and met again.
                ...(isFault(last) ? [[frame(kind.framing), orOverrun(last)] as const] : [])
              ],
              compare: orOverrun
            })
          }),
        60_000
      )

      for (const readAhead of [true, false]) {
        it.effect(
          `stream gives the same, ${readAhead ? "reading ahead" : "one by one"}`,
          () =>
            sessions(kind, 1, (input, ending, outcomes) => {
              const list = outcomes.map((one) => orOverrun(one))
              return everyWay({
                input,
                end: ending,
                limit: 2,
                reads: [[
                  (reader) =>
                    Effect.map(frames(kind.framing, { readAhead })(reader), (seen) =>
                      (seen as ReadonlyArray<string | undefined>).map((one) =>
                        one === undefined ? end : one === "InvalidLength" ? value(one) : orOverrun(one)
                      )),
                  list.includes(waits) ? waits : JSON.stringify(list)
                ]]
              })
            }),
          60_000
        )
      }
    })
  }
})
