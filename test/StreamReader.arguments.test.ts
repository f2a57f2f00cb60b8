import { assert, describe, it } from "@effect/vitest"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { runInNewContext } from "node:vm"
import { latin1, toLatin1 } from "./support/chunkings.js"
import { defect, fed, outcome, type Reader, rest, started } from "./support/reader.js"
import { value } from "./support/readerReference.js"

/** Dies with what names the operation, the argument and its value. */
const isIllegal = (died: unknown, ...named: ReadonlyArray<string>) => {
  assert.isTrue(Cause.isIllegalArgumentException(died), String(died))
  for (const name of named) {
    assert.include((died as Error).message, name)
  }
}

type Call = (reader: Reader, value: never) => Effect.Effect<unknown, unknown>

const counts: Record<string, readonly [call: Call, argument: string]> = {
  read: [(reader, n) => reader.read(n), "n"],
  readExactly: [(reader, n) => reader.readExactly(n), "n"],
  peek: [(reader, n) => reader.peek(n), "n"],
  readAll: [(reader, maxBytes) => reader.readAll({ maxBytes }), "maxBytes"]
}

const wrongCounts: ReadonlyArray<readonly [value: unknown, shown: string]> = [
  [-1, "-1"],
  [-0.5, "-0.5"],
  [1.5, "1.5"],
  [NaN, "NaN"],
  [-Infinity, "-Infinity"],
  [2 ** 53, "9007199254740992"],
  ["10", "\"10\""],
  [10n, "10"]
]

const separators: Record<string, Call> = {
  readUntil: (reader, separator) => reader.readUntil(separator),
  skipUntil: (reader, separator) => reader.skipUntil(separator)
}

const wrongSeparators: ReadonlyArray<readonly [value: unknown, shown: ReadonlyArray<string>]> = [
  ["", ["at least one byte", "\"\""]],
  [new Uint8Array(0), ["at least one byte", "Uint8Array"]],
  [[], ["must not be empty", "[]"]],
  [["a", ""], ["at least one byte", "index 1"]],
  [["", "a"], ["at least one byte", "index 0"]],
  [[latin1("a"), "b", new Uint8Array(0)], ["at least one byte", "index 2"]],
  [10, ["a string, a Uint8Array or a list of them", "number"]],
  [undefined, ["a string, a Uint8Array or a list of them", "undefined"]],
  [null, ["a string, a Uint8Array or a list of them"]],
  [["a", 10], ["a string, a Uint8Array or a list of them", "number at index 1"]],
  [{ length: 1 }, ["a string, a Uint8Array or a list of them", "object"]]
]

const noBytes: ReadonlyArray<readonly [value: unknown, kind: string]> = [
  ["abc", "string"],
  [3, "number"],
  [undefined, "undefined"],
  [[1, 2], "object"],
  [new ArrayBuffer(2), "object"],
  [new Uint16Array(2), "object"]
]

const wrongLimits: ReadonlyArray<readonly [value: unknown, shown: string]> = [
  [0, "0"],
  [-1, "-1"],
  [1.5, "1.5"],
  [NaN, "NaN"],
  [Infinity, "Infinity"],
  [null, "null"],
  ["1024", "\"1024\""]
]

describe("StreamReader, wrong arguments", () => {
  for (const [name, [call, argument]] of Object.entries(counts)) {
    it.effect(`of ${name} are defects that name the argument and the value, and read nothing`, () =>
      Effect.gen(function*() {
        for (
          const [value, shown] of [...wrongCounts, ...(name === "readAll" ? [] : [[Infinity, "Infinity"] as const])]
        ) {
          const { feed, reader } = yield* fed("abc")
          isIllegal(yield* defect(call(reader, value as never)), name, argument, `got ${shown}`)
          assert.strictEqual(yield* rest(reader, feed), "abc")
        }
      }))
  }

  for (const [name, call] of Object.entries(separators)) {
    it.effect(`of ${name} are defects that say what is wrong with the separator, and read nothing`, () =>
      Effect.gen(function*() {
        for (const [value, shown] of wrongSeparators) {
          const { feed, reader } = yield* fed("abc")
          isIllegal(yield* defect(call(reader, value as never)), name, ...shown)
          assert.strictEqual(yield* rest(reader, feed), "abc")
        }
      }))
  }

  it.effect("that are no bytes are defects that say so, wherever bytes are wanted, and nothing is read or added", () =>
    Effect.gen(function*() {
      for (const [wrong, kind] of noBytes) {
        const { feed, reader } = yield* fed("abc")
        isIllegal(yield* defect(reader.readInto(wrong as never)), "readInto: buffer", `got ${kind}`)
        isIllegal(yield* defect(reader.unread(wrong as never)), "unread: bytes", `got ${kind}`)
        isIllegal(yield* defect(feed.data(wrong as never)), "feed.data: bytes", `got ${kind}`)
        assert.strictEqual(yield* rest(reader, feed), "abc")
        const over = Effect.flatMap(StreamReader.fromStream(Stream.make(wrong as never)), (reader) => reader.read(1))
        isIllegal(yield* defect(Effect.scoped(over)), "fromStream", `got ${kind}`)
      }
    }))

  it.effect("are not bytes of another realm, such as Node's own are to some test runners", () =>
    Effect.gen(function*() {
      const foreign = (text: string) => runInNewContext(`Uint8Array.from(${JSON.stringify(Array.from(latin1(text)))})`)
      assert.isFalse(foreign("a") instanceof Uint8Array)
      const { feed, reader } = yield* fed("")
      yield* feed.data(foreign("abc;de"))
      assert.strictEqual(toLatin1(yield* reader.readUntil(foreign(";"))), "abc;")
      const into = foreign("12")
      assert.strictEqual(yield* reader.readInto(into), 2)
      yield* reader.unread(into)
      assert.strictEqual(yield* rest(reader, feed), "de")
      const over = Effect.flatMap(StreamReader.fromStream(Stream.make(foreign("x\n"))), (reader) => reader.readLine)
      assert.strictEqual(toLatin1(yield* Effect.scoped(over)), "x\n")
    }))

  it.effect("of streams of lines are defects that name the option and the value", () =>
    Effect.gen(function*() {
      const wrong = [
        ["maxLength", 0],
        ["onOverrun", "drop"],
        ["lastLine", "skip"],
        ["readAhead", "no"],
        ["encoding", "utf-7"]
      ] as const
      for (const [option, value] of wrong) {
        const { reader } = yield* fed("abc")
        const options = { [option]: value } as never
        isIllegal(yield* defect(Stream.runDrain(reader.lines(options))), option, `got ${JSON.stringify(value)}`)
      }
    }))

  it.effect("of make and fromStream are defects that name the limit and its value", () =>
    Effect.gen(function*() {
      for (const [limit, shown] of wrongLimits) {
        isIllegal(yield* defect(StreamReader.make({ limit: limit as never })), "limit", `got ${shown}`)
        const over = StreamReader.fromStream(Stream.empty, { limit: limit as never })
        isIllegal(yield* defect(Effect.scoped(over)), "limit", `got ${shown}`)
      }
    }))

  it.effect("are found when the effect is run, and not when it is made", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed("abc")
      for (const [call] of Object.values(counts)) {
        for (const [value] of wrongCounts) {
          assert.isTrue(Effect.isEffect(call(reader, value as never)))
        }
      }
      for (const call of Object.values(separators)) {
        for (const [value] of wrongSeparators) {
          assert.isTrue(Effect.isEffect(call(reader, value as never)))
        }
      }
    }))

  it.effect("are found whatever state the reader is in: first of all", () =>
    Effect.gen(function*() {
      for (const end of ["eof", "failed"] as const) {
        const { reader } = yield* fed("", end)
        isIllegal(yield* defect(reader.read(-1)), "read", "-1")
        isIllegal(yield* defect(reader.readUntil("")), "readUntil")
      }
      const { reader } = yield* fed("")
      yield* started(reader.read(1))
      isIllegal(yield* defect(reader.readExactly(-1)), "readExactly", "-1")
    }))

  it.effect("are defects, which no handler of errors sees", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed("abc")
      const exit = yield* Effect.exit(Effect.catchAll(reader.read(-1), () => Effect.succeed(new Uint8Array(0))))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
    }))

  it.effect("are not those at the edge", () =>
    Effect.gen(function*() {
      const { reader } = yield* fed("abc", "eof", { limit: 1 })
      assert.strictEqual(yield* outcome(reader.read(0)), value(""))
      assert.strictEqual(yield* outcome(reader.peek(0)), value(""))
      assert.strictEqual(yield* outcome(reader.readExactly(0)), value(""))
      assert.strictEqual(yield* outcome(reader.read(-0)), value(""))
      assert.strictEqual(yield* outcome(reader.readAll({ maxBytes: Infinity })), value("abc"))
      assert.strictEqual(yield* outcome(reader.readAll({ maxBytes: 0 })), value(""))
      assert.strictEqual(yield* outcome(reader.peek(Number.MAX_SAFE_INTEGER)), value(""))
      assert.strictEqual((yield* StreamReader.make({ limit: Number.MAX_SAFE_INTEGER })).reader.limit, 2 ** 53 - 1)
    }))
})
