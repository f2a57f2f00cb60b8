/** What holds over TCP holds over TLS: the same tests over both. */
import { assert, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import type { Connection } from "../src/Connection.js"
import { describeTls } from "./support/certificates.js"
import { leavesNoHandles } from "./support/handles.js"
import { closeTag, turns, until } from "./support/rawPeer.js"
import { outcome, reason, tcp, text, tlsKinds } from "./support/tlsPeers.js"

leavesNoHandles()

const kinds = [tcp, ...tlsKinds]

const buffered = (connection: Connection): number => Effect.runSync(connection.writer.bufferedBytes)

const mebibyte = 1024 * 1024

/** A piece of data that is like no other. */
const piece = (size: number, n: number): Uint8Array =>
  new Uint8Array(size).map((_, i) => (i * 31 + n * 7 + (i >> 8)) & 255)

const pieces = Array.from({ length: 16 }, (_, n) => piece(mebibyte / 4, n))

/** Sends so much, and gives its hash. */
const send = ({ writer }: Connection, mebibytes: number) =>
  Effect.gen(function*() {
    const hash = createHash("sha256")
    for (let i = 0; i < mebibytes * 4; i++) {
      const data = pieces[i % pieces.length]!
      hash.update(data)
      yield* writer.write(data)
    }
    yield* writer.writeEof
    return hash.digest("hex")
  })

/** Reads to the end, with rests in between, and gives the hash. */
const receive = ({ reader }: Connection, restEvery: number) =>
  Effect.gen(function*() {
    const hash = createHash("sha256")
    let length = 0
    let next = restEvery
    while (true) {
      const data = yield* reader.read(mebibyte)
      if (data.length === 0) {
        return { hash: hash.digest("hex"), length }
      }
      hash.update(data)
      length += data.length
      if (length > next) {
        next += restEvery
        yield* turns(3)
      }
    }
  })

for (const kind of kinds) {
  describeTls(`over ${kind.name}`, () => {
    // The others are here to be compared with.
    const amount = kind.name.startsWith("TLSv1.3") ? 100 : 16

    it.scopedLive(
      `${amount} MiB each way arrive as they were sent, at readers that rest`,
      () =>
        Effect.gen(function*() {
          const { client, server } = yield* kind.open()
          const [sent, answered, received, answer] = yield* Effect.all([
            send(client, amount),
            send(server, amount),
            receive(server, 3 * mebibyte),
            receive(client, 5 * mebibyte)
          ], { concurrency: "unbounded" })
          assert.deepStrictEqual(received, { hash: sent, length: amount * mebibyte })
          assert.deepStrictEqual(answer, { hash: answered, length: amount * mebibyte })
        }),
      60_000
    )

    it.scopedLive("a peer that does not read stops the writer, and bounds what is held", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open({ limit: 1_000 })
        let written = 0
        const writing = yield* Effect.fork(
          Effect.forever(Effect.map(client.writer.write(new Uint8Array(65_536)), () => {
            written += 65_536
          }))
        )
        // The system takes more and more, and then no more.
        let before = -1
        while (written > before) {
          before = written
          yield* turns(200)
        }
        // The low-water mark.
        assert.isAbove(buffered(client), 16_384)
        assert.isBelow(buffered(client), 300_000)
        // Reading lets it go on.
        let received = 0
        yield* Effect.iterate(0, {
          while: () => written < before + 4 * mebibyte,
          body: () =>
            Effect.map(server.reader.read(mebibyte), ({ length }) => {
              received += length
              return 0
            })
        })
        assert.isAbove(received, 0)
        yield* Fiber.interrupt(writing)
      }))

    it.scopedLive("limits are the same, whatever records the bytes came in", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open({ limit: 10 })
        yield* client.writer.write("0123456789\n")
        assert.strictEqual(text(yield* server.reader.readLine), "0123456789\n")
        for (const character of "01234567890") {
          yield* client.writer.write(character)
        }
        yield* client.writer.write("\nnext\n")
        const error = yield* Effect.flip(server.reader.readLine)
        assert.strictEqual(error._tag, "LimitOverrunError")
        yield* server.reader.skipUntil("\n")
        assert.strictEqual(text(yield* server.reader.readLine), "next\n")
        yield* client.writer.write("five\nlines\nin\none\nwrite\n")
        yield* client.writer.writeEof
        const lines = yield* Stream.runCollect(server.reader.lines())
        assert.deepStrictEqual(Chunk.toReadonlyArray(lines), ["five", "lines", "in", "one", "write"])
      }))

    it.scopedLive("a read that is given up loses nothing, whenever that is", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open()
        const message = Array.from({ length: 200 }, (_, i) => `line ${i}\n`).join("")
        const sending = yield* Effect.fork(Effect.gen(function*() {
          for (let i = 0; i < message.length; i += 7) {
            yield* client.writer.write(message.slice(i, i + 7))
            yield* turns(i % 3)
          }
          yield* client.writer.writeEof
        }))
        const received: Array<string> = []
        for (let i = 0; received.join("").length < message.length; i++) {
          const read = yield* Effect.fork(server.reader.readLine)
          yield* i % 2 === 0 ? Effect.yieldNow() : turns(i % 5)
          const exit = yield* Fiber.interrupt(read)
          if (Exit.isSuccess(exit)) {
            received.push(text(exit.value))
          }
        }
        yield* Fiber.join(sending)
        assert.strictEqual(received.join(""), message)
      }))

    it.scopedLive("a write that is given up has been handed over whole or not at all", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open()
        const size = 100_000
        const handedOver: Array<number> = []
        const jam = yield* Effect.fork(client.writer.write(new Uint8Array(8 * mebibyte)))
        yield* until(() => buffered(client) > 0)
        const writes = yield* Effect.forEach([1, 2, 3, 4, 5, 6], (n) =>
          Effect.fork(Effect.map(client.writer.write(new Uint8Array(size).fill(n)), () => {
            handedOver.push(n)
          })))
        yield* turns()
        // In line behind one another; these two leave it.
        yield* Fiber.interrupt(writes[1]!)
        yield* Fiber.interrupt(writes[4]!)
        const reading = yield* Effect.fork(server.reader.readAll())
        yield* Effect.forEach([0, 2, 3, 5], (i) =>
          Fiber.join(writes[i]!))
        yield* Fiber.join(jam)
        yield* client.writer.writeEof
        const received = (yield* Fiber.join(reading)).subarray(8 * mebibyte)
        assert.deepStrictEqual(handedOver, [1, 3, 4, 6])
        assert.strictEqual(received.length, 4 * size)
        assert.isTrue(received.every((byte, i) =>
          byte === handedOver[Math.floor(i / size)]
        ))
      }))

    it.scopedLive("writes of many fibers arrive whole, and flush waits for them to leave", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open()
        const reading = yield* Effect.fork(server.reader.readAll())
        yield* Effect.forEach(
          Array.from({ length: 50 }, (_, n) => n),
          (n) => client.writer.writeAll([`${n}:`, "x".repeat(n * 97), "\n"]),
          { concurrency: "unbounded" }
        )
        yield* client.writer.flush
        assert.strictEqual(buffered(client), 0)
        yield* client.writer.writeEof
        const lines = text(yield* Fiber.join(reading)).trimEnd().split("\n")
        assert.strictEqual(lines.length, 50)
        for (const line of lines) {
          const [n, rest] = line.split(":")
          assert.strictEqual(rest, "x".repeat(Number(n) * 97))
        }
      }))

    it.scopedLive("a close that a peer holds up is an abort after closeTimeout", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open({ closeTimeout: "150 millis" })
        const write = yield* Effect.fork(outcome(client.writer.write(new Uint8Array(16 * mebibyte))))
        yield* until(() => buffered(client) > 0)
        const [elapsed] = yield* Effect.timed(client.close)
        assert.isAtLeast(Duration.toMillis(elapsed), 140)
        assert.strictEqual(yield* closeTag(client), "Aborted")
        assert.strictEqual(yield* Fiber.join(write), "ConnectionError Aborted")
        const exit = yield* Effect.exit(server.reader.readAll())
        assert.isTrue(Exit.isFailure(exit))
      }))

    it.scopedLive("both ends closing at once, under load, end in order", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open()
        yield* Effect.all([
          client.writer.write(new Uint8Array(200_000)),
          server.writer.write(new Uint8Array(200_000))
        ], { concurrency: 2 })
        yield* Effect.all([client.close, server.close], { concurrency: 2 })
        for (const end of [client, server]) {
          assert.strictEqual(yield* closeTag(end), "Local")
          assert.strictEqual(buffered(end), 0)
        }
      }))

    it.scopedLive("the end is noticed by whoever waits for it, and by nobody else's doing", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open()
        const waiting = yield* Effect.forEach([1, 2], () => Effect.fork(closeTag(client)))
        yield* turns()
        yield* Fiber.interrupt(waiting[0]!)
        assert.isTrue(Option.isNone(yield* Fiber.poll(waiting[1]!)))
        yield* Effect.fork(server.close)
        assert.strictEqual((yield* client.reader.readAll()).length, 0)
        yield* client.close
        assert.strictEqual(yield* Fiber.join(waiting[1]!), "Peer")
      }))

    it.scopedLive("an abort ends what waits at both ends", () =>
      Effect.gen(function*() {
        const { client, server } = yield* kind.open()
        const read = yield* Effect.fork(outcome(client.reader.readLine))
        const write = yield* Effect.fork(outcome(client.writer.write(new Uint8Array(16 * mebibyte))))
        yield* until(() => buffered(client) > 0)
        yield* client.abort
        assert.strictEqual(yield* Fiber.join(read), "ConnectionError Aborted")
        assert.strictEqual(yield* Fiber.join(write), "ConnectionError Aborted")
        assert.match(yield* reason(server.reader.readAll()), /ConnectionError (Reset|Truncated)/)
      }))

    it.scopedLive("fifty connections at once keep to themselves", () =>
      Effect.gen(function*() {
        yield* Effect.forEach(Array.from({ length: 50 }, (_, n) => n), (n) =>
          Effect.scoped(Effect.gen(function*() {
            const { client, server } = yield* kind.open()
            const message = `${n}\n`.repeat(100)
            yield* client.writer.write(message)
            yield* server.writer.write(yield* server.reader.readExactly(message.length))
            assert.strictEqual(text(yield* client.reader.readExactly(message.length)), message)
          })), { concurrency: 20 })
      }), 30_000)
  })
}
