import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import type * as Connection from "../src/Connection.js"
import { TlsError } from "../src/NetworkError.js"
import { describeTls } from "./support/certificates.js"
import { leavesNoHandles } from "./support/handles.js"
import { closeTag, turns, until } from "./support/rawPeer.js"
import {
  beginnings,
  dialling,
  listening,
  nodeClient,
  nodeServer,
  only,
  outcome,
  reason,
  reasonOf,
  secured,
  tapped,
  text,
  versions
} from "./support/tlsPeers.js"

leavesNoHandles()

const roles = ["client", "server"] as const
const everyEnd = beginnings.flatMap((beginning) =>
  versions.flatMap((version) => roles.map((role) => ({ beginning, version, role })))
)

const other = { client: "server", server: "client" } as const

/** The lane of what comes to the end of that role. */
const towards = { client: "toClient", server: "toServer" } as const

const truncated = "ConnectionError Truncated"

describeTls("an end of TCP without close_notify", () => {
  it.scopedLive.each(everyEnd)(
    "is Truncated, after everything that came: $role, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        const { middle, ...ends } = yield* tapped({ beginning, clientTls: only(version) })
        const here = ends[role]
        yield* ends[other[role]].writer.writeAll(["one\n", "two\n", "three"])
        assert.strictEqual(text(yield* here.reader.readLine), "one\n")
        middle[towards[role]].cut()
        assert.strictEqual(yield* closeTag(here), "Failed Truncated")
        assert.strictEqual(text(yield* here.reader.readLine), "two\n")
        assert.strictEqual(yield* outcome(here.reader.readLine), truncated)
        assert.strictEqual(yield* outcome(here.reader.readExactly(6)), truncated)
        assert.strictEqual(text(yield* here.reader.read(100)), "three")
        assert.strictEqual(yield* outcome(here.reader.read(100)), truncated)
        assert.strictEqual(yield* outcome(here.reader.readAll()), truncated)
        assert.strictEqual(yield* outcome(here.writer.write("x")), truncated)
        assert.isFalse(yield* here.reader.atEof)
      })
  )

  // As long as an alert is: what it is has to be known, and not guessed from its length.
  it.scopedLive.each(everyEnd)(
    "is Truncated behind records of any size: $role, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        for (const size of [1, 2, 3, 10, 11, 19, 16_384]) {
          const { middle, ...ends } = yield* tapped({ beginning, clientTls: only(version) })
          const data = "x".repeat(size)
          yield* ends[other[role]].writer.write(data)
          yield* ends[role].reader.peek(size)
          middle[towards[role]].cut()
          assert.strictEqual(yield* closeTag(ends[role]), "Failed Truncated")
          assert.strictEqual(text(yield* ends[role].reader.readExactly(size)), data)
          assert.strictEqual(yield* outcome(ends[role].reader.readAll()), truncated)
        }
      })
  )

  it.scopedLive.each(everyEnd)(
    "is Truncated within a record: $role, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        const { middle, ...ends } = yield* tapped({ beginning, clientTls: only(version) })
        const lane = middle[towards[role]]
        yield* ends[other[role]].writer.write("whole\n")
        assert.strictEqual(text(yield* ends[role].reader.readLine), "whole\n")
        lane.tamper = (chunk) => {
          setImmediate(() => lane.cut())
          return chunk.subarray(0, 10)
        }
        yield* ends[other[role]].writer.write("half\n")
        assert.strictEqual(yield* outcome(ends[role].reader.readLine), truncated)
      })
  )

  it.scopedLive.each(everyEnd)(
    "fails the read that waits: $role, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        const { middle, ...ends } = yield* tapped({ beginning, clientTls: only(version) })
        const read = yield* Effect.fork(outcome(ends[role].reader.readAll()))
        yield* turns()
        middle[towards[role]].cut()
        assert.strictEqual(yield* Fiber.join(read), truncated)
      })
  )

  it.scopedLive.each(everyEnd)(
    "is an end like any other with allowTruncation: $role, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        const { middle, ...ends } = yield* tapped({
          beginning,
          clientTls: { ...only(version), allowTruncation: true },
          serverTls: { allowTruncation: true }
        })
        yield* ends[other[role]].writer.write("all there is")
        yield* ends[role].reader.peek(12)
        middle[towards[role]].cut()
        assert.strictEqual(text(yield* ends[role].reader.readAll()), "all there is")
        assert.isTrue(yield* ends[role].reader.atEof)
      })
  )

  it.scopedLive.each(versions)(
    "is noticed behind a reader that lags, after all it had to read: %s",
    (version) =>
      Effect.gen(function*() {
        const { client, middle, server } = yield* tapped({ clientTls: only(version), limit: 1_000 })
        const size = 300_000
        const write = yield* Effect.fork(Effect.exit(server.writer.write(new Uint8Array(size))))
        yield* until(() => middle.toClient.passed > size)
        middle.toClient.cut()
        let received = 0
        const read = yield* Effect.exit(Effect.forever(Effect.map(client.reader.read(700), ({ length }) => {
          received += length
          assert.isAbove(length, 0)
        })))
        assert.strictEqual(received, size)
        assert.strictEqual(reasonOf(read), truncated)
        yield* Fiber.join(write)
      })
  )

  it.scopedLive.each(everyEnd)(
    "is told from an end in order however both come, at whatever pace they are read: $role, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        for (const size of [0, 1, 100, 16_384, 40_000, 65_536, 300_000]) {
          for (const limit of [100, 65_536]) {
            for (const inOrder of [true, false]) {
              const { middle, ...ends } = yield* tapped({ beginning, limit, clientTls: only(version) })
              const here = ends[role]
              const there = ends[other[role]]
              const lane = middle[towards[role]]
              // Everything goes out in one piece, with the end of TCP, and with the alert before it or not.
              const held: Array<Buffer> = []
              lane.passEnd = false
              lane.tamper = (chunk) => {
                held.push(chunk)
                return undefined
              }
              yield* Effect.fork(there.writer.writeAll([new Uint8Array(size), "!"]))
              const length = () => Buffer.concat(held).length
              yield* until(() => length() > size)
              yield* there.writer.flush
              yield* turns(20)
              const data = length()
              yield* Effect.fork(there.close)
              yield* until(() => lane.ended)
              assert.isAbove(length(), data)
              lane.to.end(Buffer.concat(held).subarray(0, inOrder ? undefined : data))
              if (limit < size) {
                // What comes then is not wanted yet, and still the end is.
                yield* here.reader.peek(1)
                yield* turns(3)
              }
              assert.strictEqual(yield* here.reader.skipUntil("!"), size + 1)
              assert.strictEqual(yield* reason(here.reader.readAll()), inOrder ? "succeeded" : truncated)
              yield* here.abort
            }
          }
        }
      }),
    30_000
  )

  it.scopedLive.each(versions)("of Node's own making is no different: %s", (version) =>
    Effect.gen(function*() {
      const node = yield* nodeServer(only(version))
      for (const way of ["end", "close_notify"] as const) {
        const connection = yield* dialling(node.port)
        const peer = yield* node.accepted
        yield* Effect.async<void>((resume) => {
          peer.socket.write("message", () => resume(Effect.void))
        })
        yield* connection.reader.peek(7)
        if (way === "end") {
          peer.raw.end()
        } else {
          peer.socket.end()
        }
        assert.strictEqual(
          yield* reason(connection.reader.readAll()),
          way === "end" ? truncated : "succeeded"
        )
      }
    }))

  it.scopedLive("that answers our own close is none of our business", () =>
    Effect.gen(function*() {
      const { client, middle } = yield* tapped()
      const close = yield* Effect.fork(client.close)
      yield* until(() => middle.toServer.ended)
      middle.toClient.cut()
      yield* Fiber.join(close)
      assert.strictEqual(yield* closeTag(client), "Local")
    }))

  it.scopedLive.each(everyEnd)(
    "can't be passed off as one in order: $role, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        // What somebody who has no keys can add: an alert in the clear, something like an encrypted one, a repeated record.
        const forgeries: ReadonlyArray<(latest: Buffer) => Buffer> = [
          () => Buffer.from([21, 3, 3, 0, 2, 1, 0]),
          () => Buffer.from([21, 3, 3, 0, 26, ...new Uint8Array(26)]),
          () => Buffer.from([23, 3, 3, 0, 19, ...new Uint8Array(19)]),
          (latest) => latest
        ]
        for (const forge of forgeries) {
          const { middle, ...ends } = yield* tapped({ beginning, clientTls: only(version) })
          const lane = middle[towards[role]]
          let latest: Buffer = Buffer.alloc(0)
          lane.tamper = (chunk) => latest = chunk
          yield* ends[other[role]].writer.write("xy")
          yield* ends[role].reader.peek(2)
          lane.to.write(forge(latest))
          lane.cut()
          const exit = yield* Effect.exit(ends[role].reader.readAll())
          assert.isTrue(Exit.isFailure(exit))
          assert.match(reasonOf(exit), /ConnectionError (Unknown|Truncated)/)
        }
      })
  )
})

describeTls("a reset", () => {
  it.scopedLive.each(versions)("is one over TLS as well, after what had come: %s", (version) =>
    Effect.gen(function*() {
      const { client, middle, server } = yield* tapped({ clientTls: only(version) })
      yield* server.writer.write("before")
      yield* client.reader.peek(6)
      middle.client.resetAndDestroy()
      assert.strictEqual(yield* closeTag(client), "Failed Reset")
      assert.strictEqual(text(yield* client.reader.readExactly(6)), "before")
      assert.strictEqual(yield* outcome(client.reader.read(1)), "ConnectionError Reset ECONNRESET")
      assert.strictEqual(yield* outcome(client.writer.write("x")), "ConnectionError Reset ECONNRESET")
    }))

  it.scopedLive.each(everyEnd.flatMap((end) => [false, true].map((ended) => ({ ...end, ended }))))(
    "that comes behind data that is waiting is no end in order: $role, $version, $beginning, this side has ended $ended",
    ({ beginning, ended, role, version }) =>
      Effect.gen(function*() {
        const allowTruncation = { allowTruncation: true }
        const { middle, ...ends } = yield* tapped({
          beginning,
          limit: 1_000,
          clientTls: { ...only(version), ...allowTruncation },
          serverTls: allowTruncation
        })
        const size = 300_000
        if (ended) {
          yield* ends[role].writer.writeEof
          assert.strictEqual((yield* ends[other[role]].reader.read(1)).length, 0)
        }
        yield* Effect.fork(ends[other[role]].writer.write(new Uint8Array(size)))
        yield* until(() => middle[towards[role]].passed > size)
        yield* turns()
        middle[role].resetAndDestroy()
        yield* turns()
        assert.strictEqual(
          yield* reason(Effect.forever(Effect.filterOrFail(
            ends[role].reader.read(1_000),
            ({ length }) => length > 0
          ))),
          "ConnectionError Reset"
        )
      })
  )

  it.scopedLive.each(versions)("is what an abort sends: %s", (version) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening()
      const peer = yield* nodeClient(port, only(version))
      const server = yield* accepted
      yield* server.writer.write("x")
      // Data that nobody has read yet would hide the reset from Node.
      yield* until(() => peer.text === "x")
      yield* server.abort
      yield* until(() => peer.closed)
      assert.strictEqual(peer.code, "ECONNRESET")
      assert.strictEqual(yield* closeTag(server), "Aborted")
    }))
})

describeTls("a record that was changed on the way", () => {
  it.scopedLive.each(everyEnd)(
    "ends the connection with what happened: $role, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        const { middle, ...ends } = yield* tapped({ beginning, clientTls: only(version) })
        const here = ends[role]
        const there = ends[other[role]]
        yield* there.writer.write("good\n")
        yield* here.reader.peek(5)
        middle[towards[role]].tamper = (chunk) => {
          const changed = Buffer.from(chunk)
          changed[chunk.length - 1]! ^= 1
          return changed
        }
        yield* there.writer.write("bad\n")
        const end = yield* here.awaitClosed
        assert.strictEqual(end._tag, "Failed")
        const error = end._tag === "Failed" ? end.error : undefined
        assert.instanceOf(error, TlsError)
        assert.match(error.message, /: the connection failed after the handshake: .*(damaged|changed)/)
        assert.isTrue(error.established)
        assert.strictEqual(text(yield* here.reader.readLine), "good\n")
        const failure = yield* Effect.flip(here.reader.readLine)
        assert.strictEqual(failure._tag === "ConnectionError" && failure.reason, "Unknown")
        assert.instanceOf(failure.cause, TlsError)
        assert.match(failure.message, /^read from .*: TLS failed: .*(damaged|changed).*\(ERR_SSL_/)
        // The other side is told by an alert.
        assert.match(yield* outcome(there.reader.readAll()), /^ConnectionError Unknown ERR_SSL_\S*BAD_RECORD_MAC$/)
      })
  )
})

describeTls("half-closing", () => {
  it.scopedLive.each(everyEnd)(
    "leaves the other direction open: $role ends first, $version, $beginning",
    ({ beginning, role, version }) =>
      Effect.gen(function*() {
        const ends = yield* secured({ beginning, clientTls: only(version) })
        const here = ends[role]
        const there = ends[other[role]]
        assert.isTrue(here.writer.canWriteEof)
        yield* here.writer.write("question")
        yield* here.writer.writeEof
        assert.strictEqual(text(yield* there.reader.readAll()), "question")
        const answer = yield* Effect.fork(
          Effect.zipRight(there.writer.write(new Uint8Array(1024 * 1024)), there.writer.writeEof)
        )
        assert.strictEqual((yield* here.reader.readAll()).length, 1024 * 1024)
        yield* Fiber.join(answer)
        assert.strictEqual(yield* closeTag(here), "Peer")
        assert.strictEqual(yield* closeTag(there), "Peer")
        assert.strictEqual(yield* outcome(here.writer.write("more")), "ConnectionError Closed")
      })
  )

  it.scopedLive.each(versions)("works with Node's TLS at the other end: %s", (version) =>
    Effect.gen(function*() {
      const node = yield* nodeServer(only(version))
      const client = yield* dialling(node.port)
      const peer = yield* node.accepted
      yield* client.writer.write("question")
      yield* client.writer.writeEof
      yield* until(() => peer.ended)
      assert.strictEqual(peer.text, "question")
      peer.socket.end(Buffer.alloc(1024 * 1024))
      assert.strictEqual((yield* client.reader.readAll()).length, 1024 * 1024)

      const { accepted, port } = yield* listening(only(version))
      const asking = yield* nodeClient(port)
      const server = yield* accepted
      asking.socket.end("question")
      assert.strictEqual(text(yield* server.reader.readAll()), "question")
      yield* server.writer.write(new Uint8Array(1024 * 1024))
      yield* server.close
      yield* until(() => asking.ended)
      assert.strictEqual(asking.bytes, 1024 * 1024)
      assert.isUndefined(asking.code)
    }))

  it.scopedLive.each(versions)(
    "is not hurt by data that is still on its way to us: %s",
    (version) =>
      Effect.gen(function*() {
        const ends = yield* secured({ clientTls: only(version) })
        const size = 4 * 1024 * 1024
        const sending = yield* Effect.fork(
          Effect.zipRight(ends.server.writer.write(new Uint8Array(size)), ends.server.writer.writeEof)
        )
        yield* ends.client.reader.read(1_000)
        yield* ends.client.writer.writeEof
        assert.strictEqual((yield* ends.server.reader.readAll()).length, 0)
        let received = 0
        yield* Effect.iterate(1, {
          while: (length) => length > 0,
          body: () =>
            Effect.map(ends.client.reader.read(65_536), ({ length }) => {
              received += length
              return length
            })
        })
        assert.isAtLeast(received, size - 1_000)
        yield* Fiber.join(sending)
      })
  )
})

describeTls("closing", () => {
  it.scopedLive.each(versions)("says close_notify, and waits for the peer's: %s", (version) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* nodeServer(only(version))
      const client = yield* dialling(port)
      const peer = yield* accepted
      yield* client.writer.write("the last\n")
      const close = yield* Effect.fork(client.close)
      yield* until(() => peer.ended)
      yield* turns()
      assert.isTrue((yield* Fiber.poll(close))._tag === "None")
      peer.socket.end()
      yield* Fiber.join(close)
      assert.strictEqual(yield* closeTag(client), "Local")
      assert.strictEqual(peer.text, "the last\n")
      yield* until(() => peer.closed)
      assert.isUndefined(peer.code)
    }))

  it.scopedLive.each(versions)("sends everything that is queued: %s", (version) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* nodeServer(only(version))
      const client = yield* dialling(port)
      const peer = yield* accepted
      peer.socket.pause()
      const size = 8 * 1024 * 1024
      const write = yield* Effect.fork(client.writer.write(new Uint8Array(size)))
      yield* until(() => Effect.runSync(client.writer.bufferedBytes) > 0)
      const close = yield* Effect.fork(client.close)
      yield* turns()
      peer.socket.resume()
      yield* until(() => peer.ended)
      assert.strictEqual(peer.bytes, size)
      peer.socket.end()
      yield* Fiber.join(close)
      yield* Fiber.join(write)
    }))

  /** How long the close of a connection took whose peer goes on sending and never ends. */
  const closeAgainst = (shutdownTimeout: Duration.DurationInput | undefined, closeTimeout?: Duration.DurationInput) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* nodeServer()
      const client = yield* dialling(port, { shutdownTimeout }, { closeTimeout })
      const peer = yield* accepted
      const talking = setInterval(() => peer.socket.write("still here\n"), 5)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(talking)))
      const [elapsed] = yield* Effect.timed(client.close)
      assert.strictEqual(yield* closeTag(client), "Aborted")
      yield* until(() => peer.closed)
      assert.include(["ECONNRESET", "EPIPE"], peer.code)
      return Duration.toMillis(elapsed)
    })

  it.scopedLive("waits no longer than shutdownTimeout", () =>
    Effect.gen(function*() {
      const elapsed = yield* closeAgainst("150 millis")
      assert.isAtLeast(elapsed, 140)
      assert.isBelow(elapsed, 2_000)
    }))

  it.scoped("waits 30 seconds unless shutdownTimeout says otherwise", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* nodeServer()
      const client = yield* dialling(port, {}, { closeTimeout: "1 hour" })
      const peer = yield* accepted
      // A close gives up sooner where there is nothing more to send, and the peer is silent.
      peer.socket.pause()
      const write = yield* Effect.fork(Effect.exit(client.writer.write(new Uint8Array(8 * 1024 * 1024))))
      yield* until(() => Effect.runSync(client.writer.bufferedBytes) > 0)
      const close = yield* Effect.fork(client.close)
      yield* until(() => Effect.runSync(client.isClosing))
      yield* TestClock.adjust(29_999)
      yield* turns()
      assert.isTrue(Option.isNone(yield* Fiber.poll(close)))
      yield* TestClock.adjust(1)
      yield* Fiber.join(close)
      yield* Fiber.join(write)
      assert.strictEqual(yield* closeTag(client), "Aborted")
    }))

  it.scopedLive("waits no longer than closeTimeout either", () =>
    Effect.gen(function*() {
      const elapsed = yield* closeAgainst("1 hour", "150 millis")
      assert.isAtLeast(elapsed, 140)
      assert.isBelow(elapsed, 2_000)
    }))

  it.scopedLive("aborts at once where shutdownTimeout is 0", () =>
    Effect.gen(function*() {
      assert.isBelow(yield* closeAgainst(0), 100)
    }))

  it.scopedLive.each(versions)(
    "of a server whose handler returns at once still delivers: %s",
    (version) =>
      Effect.gen(function*() {
        const { port, reports } = yield* listening(
          only(version),
          {},
          ({ writer }) => writer.write("hello and good-bye\n")
        )
        for (let i = 0; i < 20; i++) {
          const client = yield* dialling(port)
          assert.strictEqual(text(yield* client.reader.readAll()), "hello and good-bye\n")
          yield* client.close
        }
        const node = yield* nodeClient(port)
        yield* until(() => node.ended)
        assert.strictEqual(node.text, "hello and good-bye\n")
        assert.strictEqual(reports.length, 0)
      })
  )

  it.scopedLive("under a read and a write that wait ends both", () =>
    Effect.gen(function*() {
      const { client, server } = yield* secured()
      const read = yield* Effect.fork(outcome(client.reader.readLine))
      const write = yield* Effect.fork(outcome(Effect.forever(client.writer.write(new Uint8Array(1024 * 1024)))))
      yield* until(() => Effect.runSync(client.writer.bufferedBytes) > 65_536)
      yield* Effect.fork(client.abort)
      assert.strictEqual(yield* Fiber.join(read), "ConnectionError Aborted")
      assert.strictEqual(yield* Fiber.join(write), "ConnectionError Aborted")
      yield* server.abort
    }))
})

describeTls("ending at any moment", () => {
  /** Numbers from 0 to below 1 that are the same in every run. */
  const seeded = (seed: number) => () => {
    seed = (seed * 1_664_525 + 1_013_904_223) % 2 ** 32
    return seed / 2 ** 32
  }

  it.scopedLive.each(beginnings)(
    "in the middle of what is decrypted, leaves nothing and ends both sides: %s",
    (beginning) =>
      Effect.gen(function*() {
        const random = seeded(1)
        const pick = <A>(all: ReadonlyArray<A>): A => all[Math.floor(random() * all.length)]!
        const once = Effect.scoped(Effect.gen(function*() {
          const version = pick(versions)
          const ends = yield* secured({ beginning, clientTls: only(version), closeTimeout: "1 second" })
          const fate = {
            after: Math.floor(random() * 300_000),
            role: pick(roles),
            by: pick(["abort", "close"] as const)
          }
          const sizes = [1, 100, 20_000, 200_000].map((size) => Math.ceil(random() * size))
          const both = roles.map((role) =>
            Effect.gen(function*() {
              const { reader, writer } = ends[role]
              const writing = Effect.forever(Effect.forEach(sizes, (size) => writer.write(new Uint8Array(size))))
              yield* Effect.fork(Effect.exit(writing))
              let received = 0
              const reading = Effect.forever(Effect.suspend(() =>
                Effect.flatMap(reader.read(pick([10, 16_384, 1_000_000])), ({ length }) => {
                  received += length
                  return length === 0
                    ? Effect.fail("ended")
                    : received > fate.after && role === fate.role
                    ? Effect.zipRight(ends[role][fate.by], Effect.fail("done"))
                    : Effect.void
                })
              ))
              yield* Effect.exit(reading)
              yield* ends[role].close
            })
          )
          yield* Effect.all(both, { concurrency: 2 })
          yield* Effect.all(roles.map((role) => ends[role].awaitClosed))
        }))
        yield* Effect.forEach(Array(150), () => once, { concurrency: 10, discard: true })
      }),
    60_000
  )
})

describeTls("a write that finds the connection gone", () => {
  // More than is read ahead by who has paused, and no more than that and what the system takes besides.
  const words = Array.from({ length: 8_000 }, (_, i) => `last words ${i}\n`).join("")

  const opened = Effect.fnUntraced(function*(version: (typeof versions)[number], role: (typeof roles)[number]) {
    const limit = 1_000
    if (role === "client") {
      const { accepted, port } = yield* nodeServer(only(version))
      return { connection: yield* dialling(port, only(version), { limit }), peer: yield* accepted }
    }
    const { accepted, port } = yield* listening(only(version), { limit })
    return { peer: yield* nodeClient(port, only(version)), connection: yield* accepted }
  })

  /** Waits for something of Node's, so many times. */
  const times = (count: number, defer: (then: () => void) => void) =>
    Effect.forEach(
      Array.from({ length: count }),
      () => Effect.async<void>((resume) => defer(() => resume(Effect.void))),
      { discard: true }
    )

  /** Reads until it fails. */
  const toTheEnd = <E>(read: Effect.Effect<Uint8Array, E>): Effect.Effect<string> => {
    let received = ""
    return Effect.forever(Effect.map(read, (chunk) => {
      received += text(chunk)
    })).pipe(Effect.flip, Effect.map(() => received))
  }

  /** Reads lines and answers each, to the end. */
  const answering = ({ reader, writer }: Connection.Connection) => {
    let received = ""
    return Effect.forever(Effect.flatMap(reader.readLine, (line) => {
      received += text(line)
      return Effect.ignore(Effect.zipRight(writer.write("indeed\n"), writer.flush))
    })).pipe(Effect.flip, Effect.map(() => received))
  }

  /** The peer has gone with its last words, of which whoever does not read has seen a part, and not the end. */
  const bereft = (version: (typeof versions)[number], role: (typeof roles)[number]) =>
    Effect.gen(function*() {
      const { connection, peer } = yield* opened(version, role)
      yield* connection.writer.write("hello\n")
      yield* until(() => peer.text === "hello\n")
      peer.socket.end(words)
      yield* until(() => peer.socket.writableFinished)
      yield* turns(20)
      peer.raw.destroy()
      yield* until(() => peer.raw.closed)
      return connection
    })

  for (const version of versions) {
    for (const role of roles) {
      it.scopedLive.each([1, 100_000])(
        `delivers what had been received, ${role}, ${version}, %i bytes`,
        (size) =>
          Effect.gen(function*() {
            const { reader, writer } = yield* bereft(version, role)
            const failed = yield* Effect.flip(Effect.forever(Effect.zipRight(writer.write("x".repeat(size)), turns())))
            assert.include(["Reset", "BrokenPipe"], failed.reason)
            const received = yield* toTheEnd(reader.read(700))
            assert.isTrue(received === words, `${received.length} of ${words.length} bytes came`)
            assert.include(["ConnectionError Reset", "ConnectionError BrokenPipe"], yield* reason(reader.read(700)))
          })
      )

      it.scopedLive(`delivers what had been received, to who comes to read at any moment, ${role}, ${version}`, () =>
        Effect.gen(function*() {
          for (let ticks = 0; ticks < 4; ticks++) {
            for (let immediates = 0; immediates < 3; immediates++) {
              const { reader, writer } = yield* bereft(version, role)
              yield* writer.write("anyone?\n")
              yield* turns(20)
              yield* writer.write("nobody?\n")
              yield* times(ticks, process.nextTick)
              yield* times(immediates, setImmediate)
              const received = yield* toTheEnd(reader.readLine)
              assert.isTrue(received === words, `${received.length} bytes after ${ticks} ticks, ${immediates} turns`)
            }
          }
        }))

      it.scopedLive(`delivers what had been received, to who answers each line, ${role}, ${version}`, () =>
        Effect.gen(function*() {
          const connection = yield* bereft(version, role)
          // The answer to this is a reset, which nobody has seen yet.
          yield* connection.writer.write("anyone?\n")
          yield* turns(20)
          const received = yield* answering(connection)
          assert.isTrue(received === words, `${received.length} of ${words.length} bytes came`)
        }))

      it.scopedLive(`delivers what came with the reset, to who answers each line, ${role}, ${version}`, () =>
        Effect.gen(function*() {
          const { connection, peer } = yield* opened(version, role)
          const answers = yield* Effect.fork(answering(connection))
          peer.socket.write("hello\n")
          yield* until(() => peer.text === "indeed\n")
          // OpenSSL has several records before it when the first line is answered, and a write finds the connection gone.
          const lines = words.slice(0, words.indexOf("\n", 40_000) + 1)
          peer.socket.write(lines)
          peer.raw.resetAndDestroy()
          const received = yield* Fiber.join(answers)
          assert.isTrue(received === `hello\n${lines}`, `${received.length} of ${lines.length} bytes came`)
        }))
    }
  }
})
