import { assert, describe, it } from "@effect/vitest"
import type * as NetworkError from "effect-netstreams/NetworkError"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InputBuffer } from "../src/internal/inputBuffer.js"
import { StreamReaderImpl } from "../src/internal/streamReader.js"
import { latin1, toLatin1 } from "./support/chunkings.js"
import {
  atEof,
  type Boom,
  boom,
  everyWay,
  fed,
  outcome,
  outcomeOfFiber,
  peek,
  type Read,
  read,
  readAll,
  readExactly,
  readLine,
  readUntil,
  settled,
  started
} from "./support/reader.js"
import { failed, value, waits } from "./support/readerReference.js"

describe("StreamReader and its source", () => {
  describe("what was received is delivered before the error", () => {
    it.effect("complete lines, enough bytes and numbers still come; then the error; what is left stays for read", () =>
      everyWay({
        input: "line\nabcde\x01\x02rest",
        end: "failed",
        reads: [
          [readLine, value("line\n")],
          [readExactly(5), value("abcde")],
          [(reader) => reader.readUint16, "258"],
          [readUntil("\n"), failed],
          [readLine, failed],
          [readExactly(5), failed],
          [(reader) => reader.readBigUint64, failed],
          [readAll, failed],
          [peek(5), failed],
          [atEof, "false"],
          [peek(4), value("rest")],
          [readExactly(2), value("re")],
          [readExactly(2), value("st")],
          [read(5), failed],
          [read(5), failed]
        ]
      }))

    it.effect("a failure of the user's own type reaches every read as it is", () =>
      Effect.gen(function*() {
        const mine = { _tag: "Mine" as const, n: 1 }
        const { feed, reader } = yield* StreamReader.make<typeof mine>()
        yield* feed.fail(mine)
        const exact: Effect.Effect<Uint8Array, NetworkError.IncompleteReadError | typeof mine> = reader.readExactly(1)
        assert.strictEqual(yield* Effect.flip(reader.read(1)), mine)
        assert.strictEqual(yield* Effect.flip(exact), mine)
        assert.strictEqual(yield* Effect.flip(reader.readUntil(";")), mine)
        assert.strictEqual(yield* Effect.flip(reader.readLine), mine)
        assert.strictEqual(yield* Effect.flip(reader.readAll()), mine)
        assert.strictEqual(yield* Effect.flip(reader.readInto(new Uint8Array(1))), mine)
        assert.strictEqual(yield* Effect.flip(reader.peek(1)), mine)
        assert.strictEqual(yield* Effect.flip(reader.skipUntil(";")), mine)
        assert.strictEqual(yield* Effect.flip(reader.readInt8), mine)
      }))

    it.effect("data and the error in one tick, too little for the read that waits: it fails, and does not hang", () =>
      Effect.gen(function*() {
        const waiting: ReadonlyArray<Read> = [readExactly(5), readUntil("\n"), readLine, peek(5), readAll]
        for (const read of waiting) {
          const { feed, reader } = yield* fed("")
          const fiber = yield* started(read(reader))
          yield* feed.data(latin1("abc"))
          yield* feed.fail(boom)
          yield* settled
          assert.strictEqual(yield* outcomeOfFiber(fiber), failed)
          assert.strictEqual(yield* outcome(reader.readExactly(3)), value("abc"))
        }
      }))

    it.effect("data and the error in one tick, enough for the read that waits: it is served", () =>
      Effect.gen(function*() {
        const served: ReadonlyArray<readonly [Read, string]> = [
          [read(9), value("ab\n")],
          [readExactly(3), value("ab\n")],
          [readUntil("\n"), value("ab\n")],
          [readLine, value("ab\n")],
          [peek(3), value("ab\n")]
        ]
        for (const [read, expected] of served) {
          const { feed, reader } = yield* fed("")
          const fiber = yield* started(read(reader))
          yield* feed.data(latin1("ab\n"))
          yield* feed.fail(boom)
          yield* settled
          assert.strictEqual(yield* outcomeOfFiber(fiber), expected)
        }
      }))
  })

  describe("reads of long input", () => {
    const long = (n: number) => Uint8Array.from({ length: n }, (_, i) => i % 251)

    const fedInChunks = (bytes: Uint8Array, chunk: number) =>
      Effect.gen(function*() {
        const made = yield* StreamReader.make<Boom>()
        for (let at = 0; at < bytes.length; at += chunk) {
          yield* made.feed.data(bytes.slice(at, at + chunk))
        }
        yield* made.feed.eof
        return made.reader
      })

    it.effect("lose no byte of a megabyte, whatever the size of chunks and reads", () =>
      Effect.gen(function*() {
        const bytes = long(1_000_003)
        for (const chunk of [1000, 16_384, 65_536, 1_000_003]) {
          for (const n of [777, 65_536, 1_000_003]) {
            const reader = yield* fedInChunks(bytes, chunk)
            const all = new Uint8Array(bytes.length)
            let at = 0
            while (true) {
              const some = yield* reader.read(n)
              if (some.length === 0) {
                break
              }
              all.set(some, at)
              at += some.length
            }
            assert.isTrue(at === bytes.length && Buffer.compare(all, bytes) === 0, `chunks of ${chunk}, reads of ${n}`)
          }
        }
      }))

    it.effect("hand out views that later reads and later data leave alone", () =>
      Effect.gen(function*() {
        const { feed, reader } = yield* StreamReader.make<Boom>()
        const kept: Array<readonly [Uint8Array, string]> = []
        for (let i = 0; i < 300; i++) {
          yield* feed.data(latin1(`line ${i}\n`))
          if (i % 3 === 2) {
            const line = yield* reader.readLine
            kept.push([line, toLatin1(line)])
          }
        }
        kept.forEach(([line, text], i) => {
          assert.strictEqual(text, `line ${i}\n`)
          assert.strictEqual(toLatin1(line), text)
        })
      }))
  })

  describe("fromStream", () => {
    /** A source of chunks that counts what it was asked for. */
    const counted = (size: number, chunks = Infinity) => {
      const source = { pulled: 0, stream: Stream.never as Stream.Stream<Uint8Array, Boom> }
      source.stream = Stream.repeatEffectOption(Effect.suspend(() => {
        if (source.pulled === chunks) {
          return Effect.fail(Option.none<Boom>())
        }
        source.pulled++
        return Effect.succeed(new Uint8Array(size).fill(source.pulled))
      }))
      return source
    }

    it.scoped("reads any stream by line, length and separator", () =>
      Effect.gen(function*() {
        const reader = yield* StreamReader.fromStream(
          Stream.make("one\ntw", "o\x00\x03thr", "ee;rest").pipe(Stream.map(latin1))
        )
        assert.strictEqual(yield* outcome(reader.readLine), value("one\n"))
        assert.strictEqual(yield* outcome(reader.readExactly(3)), value("two"))
        assert.strictEqual(yield* outcome(reader.readUint16), "3")
        assert.strictEqual(yield* outcome(reader.readUntil(";")), value("three;"))
        assert.strictEqual(yield* outcome(reader.readAll()), value("rest"))
        assert.isTrue(yield* reader.atEof)
      }))

    it.scoped("has asyncio's limit, or the one it was given", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* StreamReader.fromStream(Stream.empty)).limit, 65_536)
        assert.strictEqual((yield* StreamReader.fromStream(Stream.empty, { limit: 3 })).limit, 3)
      }))

    it.scoped("does not start the source before the first read", () =>
      Effect.gen(function*() {
        const source = counted(10)
        const reader = yield* StreamReader.fromStream(source.stream)
        yield* settled
        assert.strictEqual(source.pulled, 0)
        yield* reader.read(0)
        yield* reader.unread(latin1("ab"))
        assert.isFalse(yield* reader.atEof)
        yield* settled
        assert.strictEqual(source.pulled, 0)
        yield* reader.read(2)
        yield* reader.read(1)
        assert.isAbove(source.pulled, 0)
      }))

    it.scoped("holds the source up: never more is buffered than twice the limit and a chunk", () =>
      Effect.gen(function*() {
        for (const [limit, size] of [[100, 10], [100, 1000], [1, 1], [1000, 7]] as const) {
          const source = counted(size)
          const reader = yield* StreamReader.fromStream(source.stream, { limit })
          let read = 0
          for (let i = 0; i < 60; i++) {
            read += (yield* reader.read(1 + i * 5)).length
            yield* settled
            const buffered = source.pulled * size - read
            assert.isAtMost(buffered, 2 * limit + size)
            if (buffered <= limit) {
              assert.fail(`the source waits though only ${buffered} bytes are buffered`)
            }
          }
        }
      }))

    it.scoped("goes on beyond that for a read that wants more, and no further than that read needs", () =>
      Effect.gen(function*() {
        const source = counted(10)
        const reader = yield* StreamReader.fromStream(source.stream, { limit: 20 })
        assert.strictEqual((yield* reader.readExactly(1000)).length, 1000)
        assert.strictEqual((yield* reader.peek(2000)).length, 2000)
        yield* settled
        assert.isAtMost(source.pulled * 10 - 1000, 2000 + 10)
      }))

    it.scoped("stops the source once a read that wanted more is interrupted", () =>
      Effect.gen(function*() {
        const source = counted(10)
        const reader = yield* StreamReader.fromStream(Stream.tap(source.stream, () => Effect.yieldNow()), { limit: 20 })
        const fiber = yield* Effect.fork(reader.readExactly(1_000_000))
        while (source.pulled < 10) {
          yield* Effect.yieldNow()
        }
        yield* Fiber.interrupt(fiber)
        const pulled = source.pulled
        yield* settled
        // A chunk was on its way, and another one before the pause is noticed.
        assert.isAtMost(source.pulled - pulled, 2)
        assert.strictEqual((yield* reader.readExactly(20))[19], 2)
      }))

    it.scoped("holds up a stream of lines as it is read", () =>
      Effect.gen(function*() {
        let pulled = 0
        const source = Stream.repeatEffect(Effect.sync(() => {
          pulled++
          return latin1("line\n")
        }))
        const reader = yield* StreamReader.fromStream(source, { limit: 50 })
        yield* started(Stream.runForEach(reader.lines(), () => Effect.never))
        yield* settled
        assert.isAtMost(pulled * 5, 4 * 50 + 10)
      }))

    it.scoped("fails as the source does, after everything that came before", () =>
      Effect.gen(function*() {
        class Mine extends Data.TaggedError("Mine")<{ readonly n: number }> {}
        const mine = new Mine({ n: 1 })
        const reader = yield* StreamReader.fromStream(Stream.concat(Stream.make(latin1("one\ntwo")), Stream.fail(mine)))
        const exact: Effect.Effect<Uint8Array, NetworkError.IncompleteReadError | Mine> = reader.readExactly(4)
        assert.strictEqual(yield* outcome(exact), value("one\n"))
        assert.strictEqual(yield* Effect.flip(reader.readLine), mine)
        assert.strictEqual(yield* outcome(reader.read(10)), value("two"))
        assert.strictEqual(yield* Effect.flip(reader.read(10)), mine)
        assert.isFalse(yield* reader.atEof)
      }))

    it.scoped("dies as the source does, after everything that came before", () =>
      Effect.gen(function*() {
        const reader = yield* StreamReader.fromStream(
          Stream.concat(Stream.make(latin1("one\ntwo")), Stream.die(new TypeError("mine")))
        )
        assert.strictEqual(yield* outcome(reader.readLine), value("one\n"))
        assert.strictEqual(yield* outcome(reader.readLine), "dies with TypeError")
        assert.strictEqual(yield* outcome(reader.readExactly(3)), value("two"))
        assert.strictEqual(yield* outcome(reader.read(1)), "dies with TypeError")
      }))

    it.scoped("provides the source with what it requires", () =>
      Effect.gen(function*() {
        class Greeting extends Context.Tag("Greeting")<Greeting, string>() {}
        const source = Stream.fromEffect(Effect.map(Greeting, latin1))
        const reader = yield* Effect.provideService(StreamReader.fromStream(source), Greeting, "hello")
        assert.strictEqual(yield* outcome(reader.readAll()), value("hello"))
      }))

    it.scoped("takes chunks of several elements, and empty ones", () =>
      Effect.gen(function*() {
        const source = Stream.fromChunks(
          Chunk.make(latin1("a"), latin1(""), latin1("b\n")),
          Chunk.empty<Uint8Array>(),
          Chunk.make(latin1("c"))
        )
        const reader = yield* StreamReader.fromStream(source)
        assert.strictEqual(yield* outcome(reader.readLine), value("ab\n"))
        assert.strictEqual(yield* outcome(reader.readLine), value("c"))
      }))

    describe("that is interrupted from within", () => {
      const sources: Record<string, Stream.Stream<never>> = {
        "by itself": Stream.fromEffect(Effect.interrupt),
        "by a fiber that it joins": Stream.fromEffect(Effect.flatMap(Effect.forkDaemon(Effect.interrupt), Fiber.join))
      }
      for (const [how, source] of Object.entries(sources)) {
        it.scoped(`${how}, says so: the scope is open, and who reads was not interrupted`, () =>
          Effect.gen(function*() {
            const reader = yield* StreamReader.fromStream(Stream.concat(Stream.make(latin1("ab")), source))
            const fiber = yield* started(reader.readExactly(3))
            const exit = yield* Fiber.await(fiber)
            assert(Exit.isFailure(exit))
            assert.match(
              String(Option.getOrThrow(Cause.dieOption(exit.cause))),
              /the stream of this reader, made by fromStream, was interrupted/
            )
            // What had come is there.
            assert.strictEqual(yield* outcome(reader.readExactly(2)), value("ab"))
            assert.match(String(yield* Effect.exit(reader.read(1))), /was interrupted/)
          }))
      }
    })

    describe("when its scope closes", () => {
      const until = (reader: StreamReader.StreamReader<never>, read: Effect.Effect<unknown, unknown>) =>
        Effect.gen(function*() {
          const fiber = yield* started(read)
          const exit = yield* outcomeOfFiber(fiber)
          assert.strictEqual(yield* outcome(reader.unread(latin1("x"))), "done")
          return exit
        })

      it.effect("ends a read that waits, with a defect that says so, and every later one", () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const source = Stream.concat(Stream.make(latin1("ab")), Stream.never)
          const reader = yield* Scope.extend(StreamReader.fromStream(source), scope)
          const fiber = yield* started(reader.readExactly(3))
          yield* Scope.close(scope, Exit.void)
          const exit = yield* Fiber.await(fiber)
          assert.include(String(exit), "the scope of this reader, made by fromStream, is closed")
          assert.strictEqual(yield* outcome(reader.readExactly(2)), value("ab"))
          assert.include(String(yield* Effect.exit(reader.read(1))), "is closed")
        }))

      it.effect("before the source has begun: a read does not wait for what will never come", () =>
        Effect.gen(function*() {
          const reader = yield* Effect.scoped(StreamReader.fromStream(Stream.make(latin1("ab"))))
          assert.match(yield* until(reader, reader.read(1)), /^dies/)
          const later = yield* Effect.scoped(Effect.zipLeft(StreamReader.fromStream(Stream.never), settled))
          assert.match(yield* until(later, later.read(1)), /^dies/)
        }))

      it.effect("stops the source, and lets it clean up", () =>
        Effect.gen(function*() {
          let closed = 0
          const source = Stream.make(latin1("ab")).pipe(
            Stream.concat(Stream.never),
            Stream.ensuring(Effect.sync(() => closed++))
          )
          yield* Effect.scoped(Effect.flatMap(StreamReader.fromStream(source), (reader) => reader.read(1)))
          assert.strictEqual(closed, 1)
        }))

      it.effect("leaves the end in order where the source had ended", () =>
        Effect.gen(function*() {
          const reader = yield* Effect.scoped(
            Effect.tap(StreamReader.fromStream(Stream.make(latin1("ab"))), (reader) => reader.peek(10))
          )
          assert.strictEqual(yield* outcome(reader.readAll()), value("ab"))
          assert.isTrue(yield* reader.atEof)
        }))

      it.effect("within a region that can't be interrupted, too", () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const reader = yield* Effect.uninterruptible(Scope.extend(StreamReader.fromStream(Stream.never), scope))
          const fiber = yield* started(reader.read(1))
          yield* Scope.close(scope, Exit.void)
          assert.match(yield* Effect.zipRight(settled, outcomeOfFiber(fiber)), /^dies/)
        }))
    })

    it.scoped("leaves the source alone where a read is interrupted", () =>
      Effect.gen(function*() {
        const mailbox = yield* Mailbox.make<Uint8Array>()
        const reader = yield* StreamReader.fromStream(Mailbox.toStream(mailbox))
        const fiber = yield* started(reader.readLine)
        yield* mailbox.offer(latin1("on"))
        yield* settled
        yield* Fiber.interrupt(fiber)
        yield* mailbox.offer(latin1("e\n"))
        assert.strictEqual(yield* outcome(reader.readLine), value("one\n"))
      }))

    it.scoped("does nothing until it is run, and each run has a source of its own", () =>
      Effect.gen(function*() {
        const make = StreamReader.fromStream(Stream.make(latin1("ab")))
        const one = yield* make
        const other = yield* make
        assert.strictEqual(yield* outcome(one.readAll()), value("ab"))
        assert.strictEqual(yield* outcome(other.readAll()), value("ab"))
      }))
  })

  describe("a transport that delivers while it is told to go on", () => {
    const reads: Record<string, Read> = {
      read: read(10),
      readInto: (reader) => Effect.map(reader.readInto(new Uint8Array(10)), (n) => "ab\n\n".slice(0, n)),
      readExactly: readExactly(4),
      readUntil: readUntil("\n\n"),
      readLine,
      peek: peek(4)
    }
    for (const [name, read] of Object.entries(reads)) {
      it.effect(`serves the ${name} that told it so`, () =>
        Effect.gen(function*() {
          const chunks = ["a", "b", "\n", "\n"].map(latin1)
          let flowing = false
          const input = new InputBuffer<Boom>(1, {
            pause: () => {
              flowing = false
            },
            resume: () => {
              flowing = true
              while (flowing && chunks.length > 0) {
                input.push(chunks.shift()!)
              }
            }
          })
          input.paused = true
          const reader = new StreamReaderImpl<Boom, Boom>(input, Exit.fail, undefined)
          const fiber = yield* started(read(reader))
          assert.notStrictEqual(yield* outcomeOfFiber(fiber), waits)
        }))
    }
  })
})
