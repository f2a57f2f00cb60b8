/**
 * Both ends of a connection read, write and end it in any order and at once, and give up what they wait for now and then.
 * Whatever becomes of it: nothing hangs, nothing dies, and what arrives are whole writes, in their order.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type * as Connection from "../src/Connection.js"
import { describeTls } from "./support/certificates.js"
import { Random } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import { type Ends, tcp, tlsKinds, unix } from "./support/tlsPeers.js"

leavesNoHandles()

/** A number, a length, and as many bytes that tell the number. */
const record = (id: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(8 + length).fill(id)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, id)
  view.setUint32(4, length)
  return bytes
}

/** The numbers of the records that are whole, and how many bytes there are of another one. */
const recordsOf = (bytes: Uint8Array) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const ids: Array<number> = []
  let at = 0
  while (at + 8 <= bytes.length) {
    const id = view.getUint32(at)
    const end = at + 8 + view.getUint32(at + 4)
    assert.isAbove(id, ids.at(-1) ?? 0, `what came after ${ids.length} records is none`)
    assert.isTrue(
      bytes.subarray(at + 8, Math.min(end, bytes.length)).every((byte) => byte === id),
      `record ${id} is torn`
    )
    if (end > bytes.length) {
      break
    }
    ids.push(id)
    at = end
  }
  return { ids, rest: bytes.length - at }
}

const ways = ["close", "close, and don't wait", "abort", "writeEof", "writeEof when all is written"] as const

/** One end, and what it has seen and done. */
class End {
  readonly received: Array<Uint8Array> = []
  readonly written: Array<number> = []
  readonly way: (typeof ways)[number]
  /** The peer's end was read. */
  sawEnd = false

  constructor(private readonly connection: Connection.Connection, private readonly random: Random) {
    this.way = random.pick(ways)
  }

  /** Gives up after a moment, now and then. */
  private patiently<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A | void, E> {
    return this.random.chance(0.2)
      ? Effect.map(Effect.timeoutOption(effect, this.random.between(0, 2)), () => {})
      : effect
  }

  get writes(): Effect.Effect<void> {
    const { random } = this
    const { writer } = this.connection
    return Effect.gen(this, function*() {
      for (let id = 1, last = random.between(0, 30); id <= last; id++) {
        const bytes = record(id, random.pick([0, 1, 100, 3_000, 70_000]))
        const written = Effect.sync(() => this.written.push(id))
        yield* this.patiently(random.pick([
          Effect.zipRight(writer.write(bytes), written),
          Effect.zipRight(writer.writeAll([bytes.subarray(0, 3), "", bytes.subarray(3)]), written),
          writer.flush,
          writer.drain,
          Effect.sleep(1)
        ]))
      }
    }).pipe(Effect.catchTag("ConnectionError", () => Effect.void))
  }

  private take(bytes: Uint8Array): void {
    this.received.push(bytes.slice())
    this.sawEnd ||= bytes.length === 0
  }

  /** To the end of the stream. */
  get reads(): Effect.Effect<void> {
    const { random } = this
    const { reader } = this.connection
    const take = (bytes: Uint8Array) => this.take(bytes)
    const some = () =>
      random.pick([
        () => Effect.map(reader.read(random.between(1, 100_000)), take),
        () => Effect.map(reader.readLine, take),
        () => Effect.map(reader.readUntil(new Uint8Array([random.between(0, 5)])), take),
        () => Effect.map(reader.readExactly(random.between(1, 200)), take),
        () => Effect.map(reader.readUint8, (byte) => take(new Uint8Array([byte]))),
        () => Effect.map(reader.peek(random.between(1, 20)), () => {}),
        () => {
          const into = new Uint8Array(random.between(1, 5_000))
          return Effect.map(reader.readInto(into), (n) => take(into.subarray(0, n)))
        },
        () =>
          Effect.uninterruptible(Effect.flatMap(reader.read(50), (bytes) => {
            const kept = random.between(1, bytes.length)
            take(bytes.subarray(0, kept))
            return reader.unread(bytes.subarray(kept))
          }))
      ])()
    return Effect.gen(this, function*() {
      while (!this.sawEnd) {
        yield* this.patiently(some()).pipe(
          Effect.catchTag("IncompleteReadError", ({ partial }) => Effect.sync(() => this.received.push(partial))),
          Effect.catchTag("LimitOverrunError", () => Effect.void)
        )
      }
    }).pipe(
      // What had arrived can still be read.
      Effect.catchTag("ConnectionError", () => Effect.forever(Effect.map(reader.read(1_000), take))),
      Effect.catchTag("ConnectionError", () => Effect.void)
    )
  }

  /** Ends this side, when its time has come. */
  ends(writes: Fiber.Fiber<void>): Effect.Effect<void> {
    const { abort, close, writer } = this.connection
    return Effect.zipRight(
      Effect.sleep(this.random.pick([0, 1, 3, 10, 30])),
      {
        close,
        "close, and don't wait": Effect.asVoid(Effect.timeoutOption(close, 0)),
        abort,
        "writeEof": Effect.ignore(writer.writeEof),
        "writeEof when all is written": Effect.zipRight(Fiber.join(writes), Effect.ignore(writer.writeEof))
      }[this.way]
    )
  }

  get closed(): Effect.Effect<Connection.CloseReason> {
    return Effect.zipRight(this.connection.close, this.connection.awaitClosed)
  }
}

type Open = (options: Connection.Options) => Effect.Effect<Ends, unknown, Scope.Scope>

const session = (open: Open, seed: number) =>
  Effect.gen(function*() {
    const random = new Random(seed)
    const { client, server } = yield* open({
      limit: random.pick([10, 1_000, 65_536]),
      highWaterMark: random.pick([0, 100, 65_536]),
      closeTimeout: "1 second"
    })
    const ends = [new End(client, random), new End(server, random)] as const
    const works = yield* Effect.forEach(ends, (end) =>
      Effect.gen(function*() {
        const writes = yield* Effect.fork(end.writes)
        return [writes, yield* Effect.fork(end.reads), yield* Effect.fork(end.ends(writes))]
      }))
    yield* Effect.forEach(works.flat(), Fiber.join, { concurrency: "unbounded" })
    const [one, other] = yield* Effect.all([ends[0].closed, ends[1].closed], { concurrency: 2 })

    const arrived = (from: End, sent: Connection.CloseReason, to: End) => {
      const { ids, rest } = recordsOf(Buffer.concat(to.received))
      if (to.sawEnd && from.way !== "abort" && sent._tag !== "Aborted" && sent._tag !== "Failed") {
        assert.strictEqual(rest, 0, "the end came in the middle of a write")
        if (to.way.startsWith("writeEof")) {
          assert.includeMembers(ids, from.written)
        }
      }
      return ids.length
    }
    return arrived(ends[0], one, ends[1]) + arrived(ends[1], other, ends[0])
  }).pipe(Effect.scoped)

const sessions = (open: Open) => {
  it.live(
    "is safe: nothing hangs or dies, and what arrives are whole writes in their order",
    () =>
      Effect.gen(function*() {
        let arrived = 0
        for (let seed = 1; seed <= 50; seed++) {
          arrived += yield* Effect.tapErrorCause(session(open, seed), () => Effect.logError(`of seed ${seed}`))
        }
        assert.isAbove(arrived, 0)
      }),
    120_000
  )
}

describe("any order, over TCP", () => {
  sessions(tcp.open)
})

describe("any order, over a Unix socket", () => {
  sessions(unix.open)
})

for (const { name, open } of tlsKinds) {
  describeTls(`any order, over ${name}`, () => {
    sessions(open)
  })
}
