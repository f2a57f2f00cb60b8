/**
 * The cases of a connection: what the contract promises of a reader, a writer and their end, asked of two connected
 * ends from outside, through nothing but the public operations.
 *
 * Every case is run with the roles one way and then the other, for the two ends of a transport need not be alike. `near`
 * is the end that the case's name speaks of.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as Address from "../../Address.js"
import type * as Connection from "../../Connection.js"
import type { ConnectionError } from "../../NetworkError.js"
import type * as StreamReader from "../../StreamReader.js"
import type * as StreamWriter from "../../StreamWriter.js"
import { concat } from "../bytes.js"
import { Random } from "../random.js"
import type { ConformanceError } from "./conformanceError.js"
import { cutAt, Pattern, printed, sameBytes, utf8 } from "./pattern.js"
import { defectOf, outcomeOf, reasonOf, type Running, type Trial } from "./trial.js"

export interface End {
  readonly name: string
  readonly connection: Connection.Connection
  readonly reader: StreamReader.StreamReader
  readonly writer: StreamWriter.StreamWriter
}

export interface Means {
  readonly seed: number
  /** How many bytes go each way where it is to be many. */
  readonly size: number
  /** The most bytes that a connection may take from a writer whose peer reads nothing. */
  readonly inFlight: number
  /** The close timeout of a connection that was asked to have a short one, in milliseconds. */
  readonly closeTimeout: number
}

type Body = (t: Trial, near: End, far: End, means: Means) => Effect.Effect<void, ConformanceError>

export interface Definition {
  readonly name: string
  readonly rule: string
  readonly body: Body
  /** What the ends should be made with, where that can be said. */
  readonly options?: ((means: Means) => Connection.Options) | undefined
  /** What a transport must be able to do. */
  readonly needs?: "halfClose" | "reset" | "noReset" | undefined
}

/** What an end is asked to have where its close is to time out, in milliseconds. */
export const shortCloseTimeout = 200

// -----------------------------------------------------------------------------
// what cases are made of
// -----------------------------------------------------------------------------

const block = 65_536

const text = (bytes: Uint8Array): string => printed(bytes)

/** Reads the bytes of a pattern from one position up to another. */
const receive = (
  t: Trial,
  end: End,
  pattern: Pattern,
  from: number,
  to: number
): Effect.Effect<void, ConformanceError> =>
  Effect.gen(function*() {
    for (let at = from; at < to;) {
      const bytes = yield* t.result(
        `a read of ${end.name}, which has got ${at - from} of ${to - from} bytes,`,
        end.reader.read(Math.min(block, to - at))
      )
      if (bytes.length === 0) {
        return yield* t.fail(`${end.name} has read its end of stream after ${at - from} of ${to - from} bytes`)
      }
      yield* t.compare(end.name, bytes, pattern, at)
      at += bytes.length
    }
  })

/** Reads exactly these bytes. */
const receives = (t: Trial, end: End, expected: Uint8Array | string): Effect.Effect<void, ConformanceError> => {
  const bytes = typeof expected === "string" ? utf8(expected) : expected
  return Effect.flatMap(
    t.result(`readExactly(${bytes.length}) of ${end.name}`, end.reader.readExactly(bytes.length)),
    (got) =>
      t.check(sameBytes(got, bytes), () => `${end.name} has read ${text(got)}, and ${text(bytes)} was sent to it`)
  )
}

const readsText = (
  t: Trial,
  what: string,
  read: Effect.Effect<Uint8Array, unknown>,
  expected: string
): Effect.Effect<void, ConformanceError> =>
  Effect.flatMap(
    t.result(what, read),
    (got) =>
      t.check(sameBytes(got, utf8(expected)), () => `${what} gave ${text(got)} instead of ${text(utf8(expected))}`)
  )

/** The next read is of the end of the stream. */
const ends = (t: Trial, end: End): Effect.Effect<void, ConformanceError> =>
  Effect.flatMap(
    t.result(`a read of ${end.name}, whose peer has ended its side,`, end.reader.read(block)),
    (got) => t.check(got.length === 0, () => `${end.name} has read ${text(got)} where its stream should have ended`)
  )

const send = (t: Trial, end: End, data: Uint8Array | string): Effect.Effect<void, ConformanceError> =>
  t.result(`a write of ${end.name}`, end.writer.write(data))

/** Sends a chunk, and lets it arrive by itself as far as that can be done. */
const sendApart = (t: Trial, end: End, chunks: ReadonlyArray<Uint8Array>): Effect.Effect<void, ConformanceError> =>
  Effect.forEach(chunks, (chunk) =>
    Effect.zipRight(
      t.result(`a write and a flush of ${end.name}`, Effect.zipRight(end.writer.write(chunk), end.writer.flush)),
      t.settle
    ), { discard: true })

/** Ends a side, after what was written. */
const endSide = (t: Trial, end: End): Effect.Effect<void, ConformanceError> =>
  end.writer.canWriteEof
    ? t.result(`writeEof of ${end.name}`, end.writer.writeEof)
    : Effect.asVoid(t.begin(`close of ${end.name}`, end.connection.close))

interface Jam {
  /** How many bytes have been written, with those of the write that waits. */
  readonly written: number
  readonly waiting: Running<void, ConnectionError>
}

/** Writes until a write has to wait, for nobody reads. */
const jam = (t: Trial, end: End, pattern: Pattern, means: Means): Effect.Effect<Jam, ConformanceError> =>
  Effect.gen(function*() {
    for (let written = block; written <= means.inFlight; written += block) {
      const waiting = yield* t.begin(
        `a write of ${end.name}, whose peer reads nothing,`,
        end.writer.write(pattern.slice(written - block, written))
      )
      for (let i = 0; i < 3 && !waiting.isDone(); i++) {
        yield* t.settle
      }
      if (!waiting.isDone()) {
        return { written, waiting }
      }
      yield* waiting.result
    }
    return yield* t.fail(
      `${end.name} has written ${means.inFlight} bytes to a peer that reads nothing, and no write has had to wait`
    )
  })

const write = (end: End, pattern: Pattern, sizes: ReadonlyArray<number>): Effect.Effect<void, ConnectionError> => {
  let at = 0
  return Effect.forEach(sizes, (size) =>
    Effect.suspend(() => {
      const from = at
      at += size
      return end.writer.write(pattern.slice(from, at))
    }), { discard: true })
}

/** Sizes that look random, and add up to a total. */
const randomSizes = (seed: number, total: number, longest: number): ReadonlyArray<number> => {
  const random = new Random(seed)
  const sizes: Array<number> = []
  for (let rest = total; rest > 0;) {
    const size = Math.min(rest, 1 + Math.floor(random.next() * random.next() * longest))
    sizes.push(size)
    rest -= size
  }
  return sizes
}

const closeReason = (t: Trial, end: End): Effect.Effect<Connection.CloseReason, ConformanceError> =>
  t.result(`awaitClosed of ${end.name}`, end.connection.awaitClosed)

const closesAs = (
  t: Trial,
  end: End,
  ...tags: ReadonlyArray<Connection.CloseReason["_tag"]>
): Effect.Effect<void, ConformanceError> =>
  Effect.flatMap(closeReason(t, end), (reason) =>
    t.check(
      tags.includes(reason._tag),
      () =>
        `the connection of ${end.name} ended with ${reason._tag}${
          reason._tag === "Failed" ? ` (${reason.error.message})` : ""
        }, and should have with ${tags.join(" or ")}`
    ))

/** Reads until there is no more, whichever way that shows, and gives how it ended. */
const drainInput = (
  t: Trial,
  end: End,
  pattern: Pattern
): Effect.Effect<{ readonly bytes: number; readonly exit: Exit.Exit<unknown, unknown> }, ConformanceError> =>
  Effect.gen(function*() {
    for (let bytes = 0;;) {
      const exit = yield* t.exit(`a read of ${end.name}, whose peer is gone,`, end.reader.read(block))
      if (Exit.isFailure(exit) || exit.value.length === 0) {
        return { bytes, exit }
      }
      yield* t.compare(end.name, exit.value, pattern, bytes)
      bytes += exit.value.length
    }
  })

// -----------------------------------------------------------------------------
// the cases
// -----------------------------------------------------------------------------

const delivery = "every byte that is written arrives, once and in order"
const wholeness = "each write arrives whole, and in the order in which the writes were made"
const flushing = "flush waits until everything written so far has been handed over"
const halfClose = "writeEof ends one direction, after what was written, and leaves the other open"
const endOfStream = "the end of the stream comes after all data, wakes who waits, and is there for ever"
const dataFirst = "what was received is delivered before the error that came after it"
const oneReader = "one read waits at a time, and a second one does not disturb it"
const closing = "close sends what was written, ends both directions, wakes who waits and never fails"
const boundedClosing = "closing is bounded in time, whatever the peer does"
const afterClose = "after the end of its side, a write fails with a typed error at once"
const aborting = "abort drops the connection at once, wakes who waits, and is no end in order for the peer"
const reasons = "awaitClosed tells how the connection ended, and does not end it"
const interruption = "interruption loses nothing: what waits may be interrupted and asked again"
const limits = "whether a read overruns its limit does not depend on how the bytes were cut"
const separators = "what a separator ends does not depend on how the bytes were cut"
const backPressure = "a peer that does not read suspends the writer, and memory is bounded"
const addresses = "the addresses outlive the connection"

const deliveryCases: ReadonlyArray<Definition> = [
  {
    name: "writes of every size",
    rule: delivery,
    body: (t, near, far, { seed }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        const sizes = [
          1,
          1,
          2,
          3,
          7,
          100,
          1_000,
          1_460,
          4_096,
          16_383,
          16_384,
          16_385,
          1,
          65_535,
          65_536,
          65_537,
          200_000
        ]
        const total = sizes.reduce((a, b) => a + b)
        const writing = yield* t.begin(`the writing of ${near.name}`, write(near, pattern, sizes))
        yield* receive(t, far, pattern, 0, total)
        yield* writing.result
        yield* endSide(t, near)
        yield* ends(t, far)
      })
  },
  {
    name: "both ways at once, random data in random pieces",
    rule: delivery,
    body: (t, near, far, { seed, size }) =>
      Effect.gen(function*() {
        const there = new Pattern(seed)
        const back = new Pattern(seed + 1)
        const writing = [
          yield* t.begin(`the writing of ${near.name}`, write(near, there, randomSizes(seed, size, 50_000))),
          yield* t.begin(`the writing of ${far.name}`, write(far, back, randomSizes(seed + 1, size, 5_000)))
        ]
        yield* Effect.all([receive(t, far, there, 0, size), receive(t, near, back, 0, size)], { concurrency: 2 })
        yield* Effect.forEach(writing, (running) => running.result)
        if (near.writer.canWriteEof && far.writer.canWriteEof) {
          yield* endSide(t, near)
          yield* endSide(t, far)
          yield* ends(t, near)
          yield* ends(t, far)
        }
      })
  },
  {
    name: "a stream into the sink, and the stream of bytes out",
    rule: delivery,
    body: (t, near, far, { seed, size }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        const pieces = Stream.range(0, Math.ceil(size / 4096) - 1).pipe(
          Stream.map((i) => pattern.slice(i * 4096, Math.min(size, (i + 1) * 4096)))
        )
        const writing = yield* t.begin(
          `the sink of ${near.name}`,
          Effect.zipRight(
            Stream.run(pieces, near.writer.sink),
            near.writer.canWriteEof ? near.writer.writeEof : near.connection.close
          )
        )
        let at = 0
        let problem: string | undefined
        const reading = yield* t.begin(
          `the stream of ${far.name}'s bytes`,
          Stream.runForEach(far.reader.bytes, (bytes) =>
            Effect.sync(() => {
              problem ??= pattern.problem(bytes, at)
              at += bytes.length
            }))
        )
        // It goes on for as long as it takes, and has to get on.
        for (let seen = -1; !reading.isDone() && seen !== at;) {
          seen = at
          yield* t.until(`the next chunk in ${reading.what}`, () => at > seen || reading.isDone())
        }
        yield* reading.result
        yield* t.check(problem === undefined, () => `of what was sent to it, ${far.name} has read: ${problem}`)
        yield* t.check(at === size, () => `${far.name} has read ${at} bytes of ${size}`)
        if (near.writer.canWriteEof) {
          yield* writing.result
        }
      })
  },
  {
    name: "a chunk stays as it was when more arrives",
    rule: delivery,
    body: (t, near, far, { seed }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        const total = 40_000
        const writing = yield* t.begin(
          `the writing of ${near.name}`,
          write(near, pattern, Array.from({ length: 40 }, () => 1000))
        )
        const chunks: Array<Uint8Array> = []
        for (let at = 0; at < total;) {
          const chunk = yield* t.result(`a read of ${far.name}`, far.reader.read(1000))
          if (chunk.length === 0) {
            return yield* t.fail(`${far.name} has read its end of stream after ${at} of ${total} bytes`)
          }
          chunks.push(chunk)
          at += chunk.length
          yield* at % 5000 < 1000 ? t.settle : Effect.void
        }
        yield* writing.result
        yield* t.compare(far.name, concat(chunks), pattern, 0)
      })
  },
  {
    name: "what arrives alone is delivered without more",
    rule: delivery,
    body: (t, near, far) =>
      Effect.forEach(
        ["a", "bc", "def\n", "x".repeat(5000), "y"],
        (message) => Effect.zipRight(send(t, near, message), receives(t, far, message)),
        { discard: true }
      )
  },
  {
    name: "text as UTF-8, and nothing for what is empty",
    rule: wholeness,
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, near, "")
        yield* send(t, near, new Uint8Array(0))
        yield* t.result(`writeAll of ${near.name}`, near.writer.writeAll([]))
        yield* t.result(
          `writeAll of ${near.name}`,
          near.writer.writeAll(["one ", utf8("two "), "", new Uint8Array(0), "ünï€😀\n"])
        )
        yield* send(t, near, "漢字")
        yield* receives(t, far, "one two ünï€😀\n漢字")
        yield* endSide(t, near)
        yield* ends(t, far)
      })
  },
  {
    name: "many fibers write",
    rule: wholeness,
    body: (t, near, far, { seed }) =>
      Effect.gen(function*() {
        const fibers = 8
        const each = 12
        const random = new Random(seed)
        const message = (fiber: number, index: number): ReadonlyArray<Uint8Array> => {
          const length = Math.floor(random.next() * random.next() * 20_000)
          const body = new Uint8Array(length).fill(1 + fiber * 16 + index)
          return [new Uint8Array([fiber, index, length >> 8, length & 255]), body]
        }
        const writing = yield* Effect.forEach(Array.from({ length: fibers }, (_, i) => i), (fiber) =>
          t.begin(
            `the writing of fiber ${fiber} of ${near.name}`,
            Effect.forEach(Array.from({ length: each }, (_, i) => i), (index) =>
              Effect.suspend(() => {
                const pieces = message(fiber, index)
                return Effect.zipRight(
                  index % 2 === 0 ? near.writer.writeAll(pieces) : near.writer.write(concat(pieces)),
                  index % 3 === 0 ? Effect.yieldNow() : Effect.void
                )
              }), { discard: true })
          ))
        const next = Array.from({ length: fibers }, () => 0)
        for (let i = 0; i < fibers * each; i++) {
          const [fiber, index, high, low] = yield* t.result(`readExactly(4) of ${far.name}`, far.reader.readExactly(4))
          yield* t.check(
            next[fiber!] === index && index! < each,
            () => `message ${index} of fiber ${fiber} has come where message ${next[fiber!]} was due`
          )
          next[fiber!]! += 1
          const length = high! * 256 + low!
          const body = yield* t.result(`readExactly(${length}) of ${far.name}`, far.reader.readExactly(length))
          yield* t.check(
            body.every((byte) => byte === 1 + fiber! * 16 + index!),
            () => `message ${index} of fiber ${fiber} has bytes of another message in it`
          )
        }
        yield* Effect.forEach(writing, (running) => running.result)
      })
  },
  {
    name: "after a flush, nothing is buffered, and all of it arrives",
    rule: flushing,
    body: (t, near, far, { seed }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        const total = 300_000
        const writing = yield* t.begin(
          `writes and a flush of ${near.name}`,
          Effect.zipRight(write(near, pattern, [100_000, 1, 199_999]), near.writer.flush)
        )
        yield* receive(t, far, pattern, 0, total)
        yield* writing.result
        const buffered = yield* t.result(`bufferedBytes of ${near.name}`, near.writer.bufferedBytes)
        yield* t.check(buffered === 0, () => `bufferedBytes of ${near.name} is ${buffered} after a flush`)
        yield* t.result(`drain of ${near.name}, with nothing buffered,`, near.writer.drain)
      })
  }
]

/** The reads that can wait, and what each comes to at the end of a stream without data. */
const waits: ReadonlyArray<{
  readonly name: string
  readonly read: (reader: StreamReader.StreamReader) => Effect.Effect<unknown, unknown>
  readonly atEnd: "succeeds" | "IncompleteReadError"
}> = [
  { name: "read", read: (reader) => reader.read(10), atEnd: "succeeds" },
  { name: "readInto", read: (reader) => reader.readInto(new Uint8Array(10)), atEnd: "succeeds" },
  { name: "readLine", read: (reader) => reader.readLine, atEnd: "succeeds" },
  { name: "readAll", read: (reader) => reader.readAll(), atEnd: "succeeds" },
  { name: "peek", read: (reader) => reader.peek(10), atEnd: "succeeds" },
  { name: "readExactly", read: (reader) => reader.readExactly(10), atEnd: "IncompleteReadError" },
  { name: "readUntil", read: (reader) => reader.readUntil("\r\n"), atEnd: "IncompleteReadError" },
  { name: "skipUntil", read: (reader) => reader.skipUntil("\r\n"), atEnd: "IncompleteReadError" },
  { name: "readUint32", read: (reader) => reader.readUint32, atEnd: "IncompleteReadError" },
  { name: "lines", read: (reader) => Stream.runDrain(reader.lines()), atEnd: "succeeds" },
  { name: "forEachLine", read: (reader) => reader.forEachLine(() => {}), atEnd: "succeeds" },
  { name: "bytes", read: (reader) => Stream.runDrain(reader.bytes), atEnd: "succeeds" }
]

const endCases: ReadonlyArray<Definition> = [
  {
    name: "after writeEof, the other direction goes on",
    rule: halfClose,
    needs: "halfClose",
    body: (t, near, far, { seed, size }) =>
      Effect.gen(function*() {
        yield* t.check(near.writer.canWriteEof, () => `canWriteEof of ${near.name} is false`)
        yield* send(t, near, "a question")
        yield* endSide(t, near)
        yield* receives(t, far, "a question")
        yield* ends(t, far)
        const closed = (yield* t.result(`isClosing of ${far.name}`, far.connection.isClosing)) ||
          (yield* t.result(`isClosing of ${near.name}`, near.connection.isClosing))
        yield* t.check(!closed, () => "a connection that one side has ended counts as closing")
        const pattern = new Pattern(seed)
        const writing = yield* t.begin(
          `the writing of ${far.name}`,
          write(far, pattern, randomSizes(seed, size, 60_000))
        )
        yield* receive(t, near, pattern, 0, size)
        yield* writing.result
        yield* endSide(t, far)
        yield* ends(t, near)
        // Both directions have ended in order, and that is the end.
        yield* closesAs(t, near, "Peer")
        yield* closesAs(t, far, "Peer")
      })
  },
  {
    name: "writeEof twice is the same, and writes after it fail",
    rule: afterClose,
    needs: "halfClose",
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, near, "all")
        yield* endSide(t, near)
        yield* endSide(t, near)
        yield* t.failsFor(["Closed"], `a write of ${near.name} after writeEof`, near.writer.write("more"))
        yield* t.failsFor(["Closed"], `writeAll of ${near.name} after writeEof`, near.writer.writeAll(["m", "ore"]))
        yield* receives(t, far, "all")
        yield* ends(t, far)
        yield* send(t, far, "reply")
        yield* receives(t, near, "reply")
      })
  },
  {
    name: "writeEof sends what was written before it",
    rule: halfClose,
    needs: "halfClose",
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const pattern = new Pattern(means.seed)
        const { waiting, written } = yield* jam(t, near, pattern, means)
        yield* endSide(t, near)
        yield* receive(t, far, pattern, 0, written)
        yield* waiting.result
        yield* ends(t, far)
      })
  },
  {
    name: "the end after data, and for ever",
    rule: endOfStream,
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, near, "one\ntw")
        yield* endSide(t, near)
        yield* readsText(t, `readLine of ${far.name}`, far.reader.readLine, "one\n")
        const early = yield* t.result(`atEof of ${far.name}`, far.reader.atEof)
        yield* t.check(!early, () => `atEof of ${far.name} is true while bytes are left`)
        yield* readsText(t, `readLine of ${far.name}`, far.reader.readLine, "tw")
        for (let i = 0; i < 3; i++) {
          yield* ends(t, far)
          yield* readsText(t, `readLine of ${far.name} at the end`, far.reader.readLine, "")
          yield* readsText(t, `readAll of ${far.name} at the end`, far.reader.readAll(), "")
          yield* readsText(t, `peek(1) of ${far.name} at the end`, far.reader.peek(1), "")
          yield* t.failsWith(
            "IncompleteReadError",
            `readExactly(1) of ${far.name} at the end`,
            far.reader.readExactly(1)
          )
          yield* t.failsWith("IncompleteReadError", `readUntil of ${far.name} at the end`, far.reader.readUntil("\n"))
          const atEof = yield* t.result(`atEof of ${far.name}`, far.reader.atEof)
          yield* t.check(atEof, () => `atEof of ${far.name} is false at the end`)
          yield* t.settle
        }
      })
  },
  {
    name: "the end of a side that never sent anything",
    rule: endOfStream,
    body: (t, near, far) => Effect.zipRight(endSide(t, near), ends(t, far))
  },
  ...waits.map(({ atEnd, name, read }): Definition => ({
    name: `the end wakes ${name}`,
    rule: endOfStream,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const reading = yield* t.beginWaiting(`${name} of ${far.name}`, read(far.reader))
        yield* endSide(t, near)
        if (atEnd === "succeeds") {
          yield* reading.result
        } else {
          const exit = yield* reading.exit
          yield* t.failsWith(atEnd, reading.what, exit)
        }
      })
  }))
]

const errorCases: ReadonlyArray<Definition> = [
  {
    name: "a reset after data",
    rule: dataFirst,
    needs: "reset",
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, near, "one\ntwo\nthr")
        yield* t.result(`peek(11) of ${far.name}`, far.reader.peek(11))
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        yield* closesAs(t, far, "Failed")
        yield* readsText(t, `readLine of ${far.name}`, far.reader.readLine, "one\n")
        yield* readsText(t, `readExactly(4) of ${far.name}`, far.reader.readExactly(4), "two\n")
        for (const read of [far.reader.readLine, far.reader.readExactly(4), far.reader.readUntil("\n")]) {
          yield* t.failsFor([], `a read of ${far.name} that can't be served`, read)
        }
        yield* readsText(t, `read(10) of ${far.name}`, far.reader.read(10), "thr")
        yield* t.failsFor([], `a read of ${far.name} after all was read`, far.reader.read(10))
        const atEof = yield* t.result(`atEof of ${far.name}`, far.reader.atEof)
        yield* t.check(!atEof, () => `atEof of ${far.name} is true after a reset`)
      })
  },
  ...waits.map(({ name, read }): Definition => ({
    name: `a reset fails ${name}`,
    rule: aborting,
    needs: "reset",
    body: (t, near, far) =>
      Effect.gen(function*() {
        const reading = yield* t.beginWaiting(`${name} of ${far.name}`, read(far.reader))
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        yield* t.failedFor([], `${reading.what}, whose peer has reset the connection,`, yield* reading.exit)
      })
  })),
  {
    name: "an abort ends the peer's read",
    rule: aborting,
    needs: "noReset",
    body: (t, near, far) =>
      Effect.gen(function*() {
        const reading = yield* t.beginWaiting(`a read of ${far.name}`, far.reader.read(10))
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        const exit = yield* reading.exit
        yield* t.check(
          Exit.isSuccess(exit) ? exit.value.length === 0 : reasonOf(exit) !== undefined,
          () => `${reading.what} ${outcomeOf(exit)} when its peer had dropped the connection`
        )
      })
  }
]

const busyCases: ReadonlyArray<Definition> = [
  {
    name: "a second read dies, and the first gets its bytes",
    rule: oneReader,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const first = yield* t.beginWaiting(`readExactly(6) of ${near.name}`, near.reader.readExactly(6))
        for (const second of [near.reader.read(1), near.reader.readLine, near.reader.readAll()]) {
          const exit = yield* t.exit(`a second read of ${near.name}`, second)
          yield* t.check(
            defectOf(exit) === "ConcurrentReadError",
            () => `a second read of ${near.name} should die with ConcurrentReadError, but ${outcomeOf(exit)}`
          )
        }
        yield* send(t, far, "first!second")
        yield* readsText(t, first.what, first.result, "first!")
        yield* receives(t, near, "second")
      })
  },
  {
    name: "an interrupted read frees its place",
    rule: oneReader,
    body: (t, near, far) =>
      Effect.gen(function*() {
        for (let i = 0; i < 3; i++) {
          const first = yield* t.beginWaiting(`a read of ${near.name}`, near.reader.readLine)
          yield* first.interrupt
        }
        const second = yield* t.beginWaiting(`a read of ${near.name} after one was interrupted`, near.reader.readLine)
        yield* send(t, far, "line\n")
        yield* readsText(t, second.what, second.result, "line\n")
      })
  }
]

const closeCases: ReadonlyArray<Definition> = [
  {
    name: "what was written before close arrives",
    rule: closing,
    body: (t, near, far, { seed }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        const sizes = [100_000, 1, 299_999, 3_000, 4_000, 5_000]
        const total = sizes.reduce((a, b) => a + b)
        const written = yield* t.begin(
          `writes and a close of ${near.name}`,
          Effect.zipRight(write(near, pattern, sizes), near.connection.close)
        )
        yield* t.settle
        yield* receive(t, far, pattern, 0, total)
        yield* ends(t, far)
        yield* t.result(`close of ${far.name}`, far.connection.close)
        yield* written.result
        yield* closesAs(t, near, "Local")
        yield* closesAs(t, far, "Peer")
      })
  },
  {
    name: "close wakes the reads that wait, here and there",
    rule: closing,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const here = yield* t.beginWaiting(`readLine of ${near.name}`, near.reader.readLine)
        const there = yield* t.beginWaiting(`a read of ${far.name}`, far.reader.read(10))
        const close = yield* t.begin(`close of ${near.name}`, near.connection.close)
        yield* t.settle
        yield* t.check(here.isDone(), () => `${here.what}, which it closes, still waits while the close does`)
        yield* t.failedFor(["Closed"], `${here.what}, which it has closed,`, yield* here.exit)
        const got = yield* there.result
        yield* t.check(got.length === 0, () => `${far.name} has read ${text(got)}, and nothing was sent to it`)
        yield* t.result(`close of ${far.name}`, far.connection.close)
        yield* close.result
      })
  },
  {
    name: "close twice, at once and later, and abort after it",
    rule: closing,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const closes = [
          yield* t.begin(`close of ${near.name}`, near.connection.close),
          yield* t.begin(`a second close of ${near.name}`, near.connection.close)
        ]
        yield* ends(t, far)
        yield* t.result(`close of ${far.name}`, far.connection.close)
        yield* Effect.forEach(closes, (close) => close.result)
        yield* t.result(`close of ${near.name}, which is closed,`, near.connection.close)
        yield* t.result(`abort of ${near.name}, which is closed,`, near.connection.abort)
        const isClosing = yield* t.result(`isClosing of ${near.name}`, near.connection.isClosing)
        yield* t.check(isClosing, () => `isClosing of ${near.name} is false after a close`)
        yield* closesAs(t, near, "Local")
      })
  },
  {
    name: "close drops what the peer still sends, and takes nothing from it",
    rule: closing,
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const { waiting } = yield* jam(t, far, new Pattern(means.seed), means)
        yield* send(t, near, "last words")
        const close = yield* t.begin(
          `close of ${near.name}, which has not read what it was sent,`,
          near.connection.close
        )
        yield* waiting.result
        yield* receives(t, far, "last words")
        yield* ends(t, far)
        yield* t.result(`close of ${far.name}`, far.connection.close)
        yield* close.result
        yield* closesAs(t, near, "Local")
        yield* closesAs(t, far, "Peer")
      })
  },
  {
    name: "both close at once",
    rule: closing,
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, near, "unread")
        yield* send(t, far, "unread")
        const here = yield* t.begin(`close of ${near.name}`, near.connection.close)
        const there = yield* t.begin(`close of ${far.name}`, far.connection.close)
        yield* here.result
        yield* there.result
        yield* closesAs(t, near, "Local", "Peer")
        yield* closesAs(t, far, "Local", "Peer")
      })
  },
  {
    name: "after a close, writes fail and what was received can be read",
    rule: afterClose,
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, far, "left over")
        yield* t.result(`peek(9) of ${near.name}`, near.reader.peek(9))
        const close = yield* t.begin(`close of ${near.name}`, near.connection.close)
        const check = (when: string) =>
          Effect.gen(function*() {
            yield* t.failsFor(["Closed"], `a write of ${near.name} ${when}`, near.writer.write("x"))
            yield* t.failsFor(["Closed"], `writeAll of ${near.name} ${when}`, near.writer.writeAll(["x", "y"]))
            yield* t.failsFor(["Closed"], `writeEof of ${near.name} ${when}`, near.writer.writeEof)
            yield* t.failsFor(["Closed"], `readExactly(10) of ${near.name} ${when}`, near.reader.readExactly(10))
            const isClosing = yield* t.result(`isClosing of ${near.name}'s writer`, near.writer.isClosing)
            yield* t.check(isClosing, () => `isClosing of ${near.name}'s writer is false ${when}`)
          })
        yield* check("while it closes")
        yield* ends(t, far)
        yield* t.result(`close of ${far.name}`, far.connection.close)
        yield* close.result
        yield* check("after its close")
        yield* readsText(t, `read(100) of ${near.name}`, near.reader.read(100), "left over")
        yield* t.failsFor(["Closed"], `a read of ${near.name} after all was read`, near.reader.read(100))
      })
  },
  {
    name: "close of a connection that the peer has ended",
    rule: reasons,
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, far, "good-bye")
        const there = yield* t.begin(`close of ${far.name}`, far.connection.close)
        yield* receives(t, near, "good-bye")
        yield* ends(t, near)
        yield* t.result(`close of ${near.name}`, near.connection.close)
        yield* there.result
        yield* closesAs(t, near, "Peer")
        yield* closesAs(t, far, "Local")
      })
  },
  {
    name: "close ends although the peer does not",
    rule: boundedClosing,
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, near, "last words")
        yield* t.result(`close of ${near.name}, whose peer does not close,`, near.connection.close)
        // It was all on its way.
        yield* receives(t, far, "last words")
      })
  },
  {
    name: "close ends although the peer does not read",
    rule: boundedClosing,
    options: (means) => ({ closeTimeout: means.closeTimeout }),
    body: (t, near, _far, means) =>
      Effect.gen(function*() {
        yield* jam(t, near, new Pattern(means.seed), means)
        // A kernel may still take what waits now, bit by bit. It does not take this.
        const waiting = yield* t.begin(
          `a write of ${near.name} of ${means.inFlight} bytes, whose peer reads nothing,`,
          near.writer.write(new Uint8Array(means.inFlight))
        )
        yield* t.result(
          `close of ${near.name}, whose peer does not read,`,
          near.connection.close,
          means.closeTimeout + t.settings.patience
        )
        yield* t.failedFor(
          [],
          `${waiting.what} which has not been sent when the connection is closed,`,
          yield* waiting.exit
        )
        yield* closesAs(t, near, "Aborted")
      })
  },
  {
    name: "an abort cuts a close short",
    rule: boundedClosing,
    body: (t, near, _far, means) =>
      Effect.gen(function*() {
        yield* jam(t, near, new Pattern(means.seed), means)
        const close = yield* t.beginWaiting(`close of ${near.name}, whose peer does not read,`, near.connection.close)
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        yield* close.result
        yield* closesAs(t, near, "Aborted")
      })
  }
]

const abortCases: ReadonlyArray<Definition> = [
  {
    name: "abort wakes the read and the write that wait",
    rule: aborting,
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const pattern = new Pattern(means.seed)
        const { waiting } = yield* jam(t, near, pattern, means)
        const reading = yield* t.beginWaiting(`a read of ${near.name}`, near.reader.readLine)
        const inLine = yield* t.beginWaiting(`a second write of ${near.name}`, near.writer.write("in line"))
        const flush = yield* t.beginWaiting(`flush of ${near.name}`, near.writer.flush)
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        for (const running of [waiting, reading, inLine, flush]) {
          yield* t.failedFor(["Aborted"], `${running.what}, which it has aborted,`, yield* running.exit)
        }
        yield* t.failsFor(["Aborted"], `a write of ${near.name} after its abort`, near.writer.write("x"))
        yield* t.result(`a second abort of ${near.name}`, near.connection.abort)
        yield* t.result(`close of ${near.name} after its abort`, near.connection.close)
        yield* closesAs(t, near, "Aborted")
        yield* drainInput(t, far, pattern)
      })
  },
  {
    name: "abort drops what was queued, and the peer learns that it is not the end",
    rule: aborting,
    needs: "reset",
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const pattern = new Pattern(means.seed)
        yield* jam(t, near, pattern, means)
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        const { exit } = yield* drainInput(t, far, pattern)
        yield* t.failedFor([], `the last read of ${far.name}, whose peer has aborted,`, exit)
        yield* closesAs(t, far, "Failed")
      })
  },
  {
    name: "an abort fails the peer's write that waits",
    rule: aborting,
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const { waiting } = yield* jam(t, far, new Pattern(means.seed), means)
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        yield* t.failedFor([], `${waiting.what.replace(/,$/, "")} and has gone,`, yield* waiting.exit)
      })
  },
  {
    name: "an abort of this end is no failure of awaitClosed",
    rule: reasons,
    body: (t, near) =>
      Effect.gen(function*() {
        const waits = yield* t.beginWaiting(`awaitClosed of ${near.name}`, near.connection.awaitClosed)
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        const reason = yield* waits.result
        yield* t.check(reason._tag === "Aborted", () => `awaitClosed gave ${reason._tag} after an abort`)
      })
  },
  {
    name: "awaitClosed does not end the connection, and may be given up",
    rule: reasons,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const waits = [
          yield* t.beginWaiting(`awaitClosed of ${near.name}`, near.connection.awaitClosed),
          yield* t.beginWaiting(`a second awaitClosed of ${near.name}`, near.connection.awaitClosed)
        ] as const
        yield* waits[0].interrupt
        yield* send(t, near, "there")
        yield* send(t, far, "back")
        yield* receives(t, far, "there")
        yield* receives(t, near, "back")
        yield* t.check(!waits[1].isDone(), () => "awaitClosed has ended while the connection goes on")
        const close = yield* t.begin(`close of ${near.name}`, near.connection.close)
        yield* ends(t, far)
        yield* t.result(`close of ${far.name}`, far.connection.close)
        yield* close.result
        const reason = yield* waits[1].result
        yield* t.check(reason._tag === "Local", () => `awaitClosed gave ${reason._tag} after a close of this side`)
      })
  },
  {
    name: "a close that the peer cuts off before all was sent is a failure",
    rule: reasons,
    needs: "reset",
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        yield* jam(t, near, new Pattern(means.seed), means)
        const close = yield* t.beginWaiting(`close of ${near.name}, whose peer does not read,`, near.connection.close)
        yield* t.result(`abort of ${far.name}`, far.connection.abort)
        yield* close.result
        yield* closesAs(t, near, "Failed")
      })
  },
  {
    name: "the end is told to one who does not read",
    rule: reasons,
    needs: "reset",
    body: (t, near, far) =>
      Effect.gen(function*() {
        yield* send(t, near, "unread")
        yield* t.settle
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        yield* closesAs(t, far, "Failed")
      })
  },
  {
    name: "the addresses stay",
    rule: addresses,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const now = () =>
          [near, far].flatMap(({ connection }) => [connection.localAddress, connection.remoteAddress])
            .map(Address.format).join(" ")
        const before = now()
        yield* t.result(`abort of ${near.name}`, near.connection.abort)
        yield* t.result(`abort of ${far.name}`, far.connection.abort)
        yield* t.check(now() === before, () => `they were ${before}, and are ${now()} after the end`)
      })
  }
]

/** Reads that are interrupted with a part of what they want before them, and what they give in the end. */
const resumptions: ReadonlyArray<{
  readonly name: string
  readonly first: string
  readonly rest: string
  /** What a read of everything gives after it. */
  readonly after: string
  readonly gives: string
  readonly read: (reader: StreamReader.StreamReader) => Effect.Effect<string, unknown>
}> = (() => {
  const latin1 = (bytes: Uint8Array): string => String.fromCharCode(...bytes)
  const asText =
    (read: (reader: StreamReader.StreamReader) => Effect.Effect<Uint8Array, unknown>) =>
    (reader: StreamReader.StreamReader) => Effect.map(read(reader), latin1)
  return [
    { name: "read", first: "", rest: "ab", after: "", gives: "ab", read: asText((reader) => reader.read(10)) },
    {
      name: "readExactly",
      first: "abc",
      rest: "defg",
      after: "fg",
      gives: "abcde",
      read: asText((reader) => reader.readExactly(5))
    },
    {
      name: "readUntil",
      first: "abc\r",
      rest: "\ndef",
      after: "def",
      gives: "abc\r\n",
      read: asText((reader) => reader.readUntil("\r\n"))
    },
    {
      name: "readLine",
      first: "abc",
      rest: "\ndef",
      after: "def",
      gives: "abc\n",
      read: asText((reader) => reader.readLine)
    },
    {
      name: "peek",
      first: "abc",
      rest: "defg",
      after: "abcdefg",
      gives: "abcde",
      read: asText((reader) => reader.peek(5))
    },
    {
      name: "readInto",
      first: "",
      rest: "abc",
      after: "",
      gives: "abc",
      read: (reader) =>
        Effect.suspend(() => {
          const buffer = new Uint8Array(10)
          return Effect.map(reader.readInto(buffer), (n) => latin1(buffer.subarray(0, n)))
        })
    },
    {
      name: "readUint32",
      first: "\u0001\u0002",
      rest: "\u0003\u0004ab",
      after: "ab",
      gives: String(0x01020304),
      read: (reader) => Effect.map(reader.readUint32, String)
    },
    {
      name: "skipUntil",
      first: "abc\r",
      rest: "\ndef",
      after: "def",
      gives: "",
      // How much it had dropped before it was interrupted is not in its result.
      read: (reader) => Effect.as(reader.skipUntil("\r\n"), "")
    },
    {
      name: "lines, without reading ahead",
      first: "ab",
      rest: "c\ndef\n",
      after: "def\n",
      gives: "abc",
      read: (reader) =>
        Effect.map(
          Stream.runHead(reader.lines({ readAhead: false })),
          Option.getOrElse(() => "nothing")
        )
    },
    {
      name: "byteLines, without reading ahead",
      first: "ab",
      rest: "c\ndef\n",
      after: "def\n",
      gives: "abc\n",
      read: (reader) =>
        Effect.map(
          Stream.runHead(reader.byteLines({ readAhead: false })),
          Option.match({ onNone: () => "nothing", onSome: latin1 })
        )
    },
    {
      name: "bytes",
      first: "",
      rest: "abc",
      after: "",
      gives: "abc",
      read: (reader) =>
        Effect.map(Stream.run(reader.bytes, Sink.take(1)), (chunks) => latin1(concat(Chunk.toReadonlyArray(chunks))))
    }
  ]
})()

const interruptionCases: ReadonlyArray<Definition> = [
  ...resumptions.map((one): Definition => ({
    name: `${one.name}, interrupted and asked again`,
    rule: interruption,
    needs: "halfClose",
    body: (t, near, far) =>
      Effect.gen(function*() {
        if (one.first !== "") {
          yield* send(t, near, one.first)
          yield* t.result(`peek(${one.first.length}) of ${far.name}`, far.reader.peek(one.first.length))
        }
        for (let i = 0; i < 2; i++) {
          const reading = yield* t.beginWaiting(`${one.name} of ${far.name}`, one.read(far.reader))
          yield* reading.interrupt
        }
        yield* send(t, near, one.rest)
        yield* endSide(t, near)
        if (one.first === "") {
          // All of it, so that one read has it.
          yield* t.result(`peek of ${far.name}`, far.reader.peek(one.rest.length))
        }
        const gave = yield* t.result(`${one.name} of ${far.name}, asked again,`, one.read(far.reader))
        yield* t.check(
          gave === one.gives,
          () =>
            `${one.name} of ${far.name}, asked again, gave ${JSON.stringify(gave)} and not ${JSON.stringify(one.gives)}`
        )
        yield* readsText(t, `readAll of ${far.name} after it`, far.reader.readAll(), one.after)
      })
  })),
  {
    name: "readAll, interrupted and asked again",
    rule: interruption,
    body: (t, near, far, { seed }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        yield* send(t, near, pattern.slice(0, 30_000))
        for (let i = 0; i < 2; i++) {
          const reading = yield* t.beginWaiting(`readAll of ${far.name}`, far.reader.readAll())
          yield* reading.interrupt
        }
        yield* send(t, near, pattern.slice(30_000, 30_010))
        yield* endSide(t, near)
        const all = yield* t.result(`readAll of ${far.name}`, far.reader.readAll())
        yield* t.compare(far.name, all, pattern, 0)
        yield* t.check(all.length === 30_010, () => `${far.name} has read ${all.length} bytes of 30010`)
      })
  },
  {
    name: "reads that are interrupted at any moment while data arrives",
    rule: interruption,
    body: (t, near, far, { seed }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        const random = new Random(seed)
        const total = 60_000
        const writing = yield* t.begin(
          `the writing of ${near.name}`,
          Effect.forEach(Array.from({ length: total / 300 }, (_, i) => i * 300), (at) =>
            Effect.zipRight(
              near.writer.write(pattern.slice(at, at + 300)),
              at % 1500 === 0 ? t.settle : Effect.yieldNow()
            ), { discard: true })
        )
        let idle = 0
        for (let at = 0; at < total;) {
          const size = 1 + Math.floor(random.next() * Math.min(500, total - at))
          const reading = yield* t.begin(
            `a read of ${far.name} at ${at} of ${total} bytes`,
            far.reader.readExactly(size)
          )
          // Most are given too little time, and are interrupted while what they want is on its way.
          const patient = ++idle > 50
          for (let i = Math.floor(random.next() * 4); i > 0 && !patient && !reading.isDone(); i--) {
            yield* Effect.yieldNow()
          }
          const exit = yield* patient ? reading.exit : reading.interrupt
          if (Exit.isSuccess(exit)) {
            yield* t.compare(far.name, exit.value, pattern, at)
            at += size
            idle = 0
          } else if (patient) {
            return yield* t.fail(`${reading.what} ${outcomeOf(exit)}`)
          }
        }
        yield* writing.result
      })
  },
  {
    name: "a write that waits in line, interrupted, is sent whole or not at all",
    rule: interruption,
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const pattern = new Pattern(means.seed)
        const { waiting, written } = yield* jam(t, near, pattern, means)
        const inLine = yield* t.beginWaiting(
          `a second write of ${near.name}, whose peer reads nothing,`,
          near.writer.writeAll(["<", "x".repeat(1000), ">"])
        )
        const drain = yield* t.beginWaiting(`drain of ${near.name}`, near.writer.drain)
        yield* inLine.interrupt
        yield* drain.interrupt
        yield* waiting.interrupt
        const after = yield* t.begin(`a third write of ${near.name}`, near.writer.write("[the end]"))
        yield* receive(t, far, pattern, 0, written)
        yield* after.result
        const rest = yield* t.result(`readUntil of ${far.name}`, far.reader.readUntil("[the end]"))
        yield* t.check(
          rest.length === 9 || (rest.length === 9 + 1002 && rest[0] === 60 && rest[1001] === 62),
          () => `of a write of 1002 bytes that was interrupted, ${rest.length - 9} have arrived`
        )
      })
  },
  {
    name: "flush and close, interrupted, go on",
    rule: interruption,
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const pattern = new Pattern(means.seed)
        const { waiting, written } = yield* jam(t, near, pattern, means)
        const flush = yield* t.beginWaiting(`flush of ${near.name}`, near.writer.flush)
        yield* flush.interrupt
        const close = yield* t.beginWaiting(`close of ${near.name}`, near.connection.close)
        yield* close.interrupt
        const isClosing = yield* t.result(`isClosing of ${near.name}`, near.connection.isClosing)
        yield* t.check(isClosing, () => `isClosing of ${near.name} is false after a close that was interrupted`)
        yield* receive(t, far, pattern, 0, written)
        yield* ends(t, far)
        yield* waiting.result
        yield* t.result(`close of ${far.name}`, far.connection.close)
        yield* closesAs(t, near, "Local")
      })
  }
]

const smallLimit = { options: () => ({ limit: 1000 }) }

const limitCases: ReadonlyArray<Definition> = [
  {
    name: "a line as long as the limit passes, however it is cut",
    rule: limits,
    ...smallLimit,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const limit = far.reader.limit
        const line = utf8(`${"a".repeat(limit)}\r\n`)
        for (const cuts of [[], [1], [limit - 1], [limit], [limit + 1], [limit, limit + 1]]) {
          const sending = yield* t.begin("", sendApart(t, near, cutAt(line, cuts)))
          const got = yield* t.result(
            `readUntil of ${far.name}, of a line as long as the limit, cut at [${cuts.join(", ")}],`,
            far.reader.readUntil("\r\n")
          )
          yield* t.check(sameBytes(got, line), () =>
            `readUntil of ${far.name} gave ${got.length} bytes of ${line.length}`)
          yield* sending.result
        }
      })
  },
  {
    name: "a line that is longer by one overruns, however it is cut, and nothing is lost",
    rule: limits,
    ...smallLimit,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const limit = far.reader.limit
        const line = utf8(`${"a".repeat(limit + 1)}\n`)
        for (const cuts of [[], [1], [limit], [limit + 1], [limit, limit + 1]]) {
          const sending = yield* t.begin("", sendApart(t, near, [...cutAt(line, cuts), utf8("next\n")]))
          const where = `of ${far.name}, of a line longer than the limit, cut at [${cuts.join(", ")}],`
          for (let again = 0; again < 2; again++) {
            yield* t.failsWith("LimitOverrunError", `readLine ${where}`, far.reader.readLine)
          }
          // Nothing was consumed: all of it is there, to be skipped or read.
          if (cuts.length % 2 === 0) {
            const skipped = yield* t.result(`skipUntil ${where}`, far.reader.skipUntil("\n"))
            yield* t.check(
              skipped === line.length,
              () => `skipUntil ${where} has dropped ${skipped} bytes of ${line.length}`
            )
          } else {
            yield* receives(t, far, line)
          }
          yield* readsText(t, `readLine ${where} after it`, far.reader.readLine, "next\n")
          yield* sending.result
        }
      })
  },
  {
    name: "readExactly takes more than the limit",
    rule: limits,
    ...smallLimit,
    body: (t, near, far, { seed }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        const size = far.reader.limit * 3 + 1
        const writing = yield* t.begin(`the writing of ${near.name}`, write(near, pattern, [size]))
        const got = yield* t.result(`readExactly(${size}) of ${far.name}`, far.reader.readExactly(size))
        yield* t.compare(far.name, got, pattern, 0)
        yield* writing.result
      })
  },
  {
    name: "separators of several bytes, cut at every point",
    rule: separators,
    body: (t, near, far) =>
      Effect.gen(function*() {
        const message = "ab\r\n\rc\n\r\n--=-d"
        const bytes = utf8(message)
        for (let cut = 0; cut < bytes.length; cut++) {
          const sending = yield* t.begin("", sendApart(t, near, cutAt(bytes, cut === 0 ? [] : [cut])))
          const check = (read: Effect.Effect<Uint8Array, unknown>, expected: string) =>
            readsText(t, `a read of ${far.name}, of ${JSON.stringify(message)} cut at ${cut},`, read, expected)
          yield* check(far.reader.readUntil(["\r\n", "\n"]), "ab\r\n")
          yield* check(far.reader.readUntil(["\n", "\n\r\n"]), "\rc\n")
          yield* check(far.reader.readUntil("\r\n"), "\r\n")
          yield* check(far.reader.readUntil(["--", "-=-"]), "--")
          yield* check(far.reader.readUntil("=-d"), "=-d")
          yield* sending.result
        }
      })
  },
  {
    name: "characters of several bytes, cut at every point",
    rule: separators,
    needs: "halfClose",
    body: (t, near, far) =>
      Effect.gen(function*() {
        const lines = ["ünï", "€\u0085", "", "漢字", "😀👩‍👩‍👧", "last"]
        const bytes = utf8(lines.join("\r\n"))
        const reading = yield* t.begin(`the lines of ${far.name}`, Stream.runCollect(far.reader.lines()))
        for (let i = 0; i < bytes.length; i++) {
          yield* sendApart(t, near, [bytes.slice(i, i + 1)])
        }
        yield* endSide(t, near)
        const got = Chunk.toReadonlyArray(yield* reading.result)
        yield* t.check(
          JSON.stringify(got) === JSON.stringify(lines),
          () =>
            `${far.name} has read the lines ${JSON.stringify(got)}, and ${
              JSON.stringify(lines)
            } were sent, byte by byte`
        )
      })
  }
]

const backPressureCases: ReadonlyArray<Definition> = [
  {
    name: "a writer waits for a peer that does not read, and goes on when it does",
    rule: backPressure,
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const pattern = new Pattern(means.seed)
        const { waiting, written } = yield* jam(t, near, pattern, means)
        yield* t.settle
        const buffered = yield* t.result(`bufferedBytes of ${near.name}`, near.writer.bufferedBytes)
        yield* t.check(
          waiting.isDone() || (buffered > 0 && buffered <= written),
          () => `bufferedBytes of ${near.name} is ${buffered} while a write waits`
        )
        yield* receive(t, far, pattern, 0, written)
        yield* waiting.result
        // And once more: it has not only been let go.
        const more = yield* t.begin(`the writing of ${near.name}`, write(near, pattern, [written]))
        yield* receive(t, far, pattern, 0, written)
        yield* more.result
        yield* t.result(`flush of ${near.name}`, near.writer.flush)
      })
  },
  {
    name: "a direction that is held up does not hold up the other",
    rule: backPressure,
    body: (t, near, far, means) =>
      Effect.gen(function*() {
        const pattern = new Pattern(means.seed)
        const { waiting, written } = yield* jam(t, near, pattern, means)
        const back = new Pattern(means.seed + 1)
        const writing = yield* t.begin(`the writing of ${far.name}`, write(far, back, [50_000, 50_000]))
        yield* receive(t, near, back, 0, 100_000)
        yield* writing.result
        yield* receive(t, far, pattern, 0, written)
        yield* waiting.result
      })
  },
  {
    name: "a slow reader loses nothing",
    rule: backPressure,
    options: () => ({ limit: 1000 }),
    body: (t, near, far, { seed, size }) =>
      Effect.gen(function*() {
        const pattern = new Pattern(seed)
        const total = Math.min(size, 400_000)
        const writing = yield* t.begin(
          `the writing of ${near.name}`,
          write(near, pattern, randomSizes(seed, total, 30_000))
        )
        for (let at = 0; at < total;) {
          const to = Math.min(total, at + 20_000)
          yield* receive(t, far, pattern, at, to)
          at = to
          yield* t.settle
        }
        yield* writing.result
      })
  }
]

/** @internal */
export const definitions: ReadonlyArray<Definition> = [
  ...deliveryCases,
  ...endCases,
  ...errorCases,
  ...busyCases,
  ...closeCases,
  ...abortCases,
  ...interruptionCases,
  ...limitCases,
  ...backPressureCases
]
