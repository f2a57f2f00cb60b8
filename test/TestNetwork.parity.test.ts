/** How a connection comes to its end, in memory as in reality: each session over both. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option, type Scope } from "effect"
import { Connection, Network, TestNetwork } from "effect-netstreams"
import { leavesNoHandles } from "./support/handles.js"
import { tcp, unix } from "./support/tlsPeers.js"

leavesNoHandles()

interface Ends {
  readonly client: Connection.Connection
  readonly server: Connection.Connection
}

const inMemory = (how: "TCP" | "Unix sockets") =>
  Effect.gen(function*() {
    const accepted = yield* Deferred.make<Connection.Connection>()
    const handler = (connection: Connection.Connection) =>
      Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)
    const options = { gracePeriod: 0 }
    if (how === "TCP") {
      yield* Network.startServer({ port: 7, ...options }, handler)
    } else {
      yield* Network.startUnixServer("/run/socket", options, handler)
    }
    const client = yield* how === "TCP"
      ? Network.openConnection({ host: "localhost", port: 7 })
      : Network.openUnixConnection("/run/socket")
    return { client, server: yield* Deferred.await(accepted) }
  }).pipe(Effect.provide(TestNetwork.layer))

const kinds = [
  { how: "TCP", where: "really", open: tcp.open() },
  { how: "TCP", where: "in memory", open: inMemory("TCP") },
  { how: "Unix sockets", where: "really", open: unix.open() },
  { how: "Unix sockets", where: "in memory", open: inMemory("Unix sockets") }
] as const

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const reasonOf = Connection.CloseReason.$match({
  Local: () => "Local",
  Peer: () => "Peer",
  Aborted: () => "Aborted",
  Failed: ({ error }) => `${error.reason} ${Option.getOrElse(error.code, () => "")}`
})

const ending = (connection: Connection.Connection) => Effect.map(connection.awaitClosed, reasonOf)

/** What was read to the end, or the error and what had come before. */
const rest = ({ reader }: Connection.Connection) =>
  reader.readAll().pipe(
    Effect.map(text),
    Effect.catchAll((error) =>
      Effect.map(reader.read(1000), (bytes) =>
        `${text(bytes)}, ${error._tag === "ConnectionError" ? error.reason : error._tag}`)
    )
  )

interface Session {
  readonly name: string
  readonly run: (ends: Ends) => Effect.Effect<ReadonlyArray<unknown>, unknown, Scope.Scope>
  readonly over: { readonly [How in "TCP" | "Unix sockets"]: ReadonlyArray<unknown> }
}

/** The peer ends in order, and is aborted when that has been seen. */
const endThenAbort = ({ client, server }: Ends) =>
  Effect.gen(function*() {
    yield* server.writer.write("bye")
    yield* server.writer.writeEof
    const all = yield* rest(client)
    yield* server.abort
    yield* server.awaitClosed
    return all
  })

const sessions: ReadonlyArray<Session> = [
  {
    name: "an abort is a reset, or over a Unix socket an end in order",
    run: ({ client, server }) =>
      Effect.gen(function*() {
        yield* server.writer.write("half of the ans")
        yield* server.writer.flush
        yield* server.abort
        return [yield* rest(client), yield* ending(server)]
      }),
    over: {
      "TCP": ["half of the ans, Reset", "Aborted"],
      "Unix sockets": ["half of the ans", "Aborted"]
    }
  },
  {
    name: "an abort that leaves something unread is a reset",
    run: ({ client, server }) =>
      Effect.gen(function*() {
        const writing = yield* Effect.fork(Effect.exit(client.writer.write(new Uint8Array(10_000_000))))
        yield* server.reader.read(1)
        yield* server.abort
        const how = yield* ending(client)
        yield* Fiber.join(writing)
        return [how]
      }),
    over: { "TCP": ["Reset ECONNRESET"], "Unix sockets": ["Reset ECONNRESET"] }
  },
  {
    name: "a reset that comes after the end is noticed by the next write, which is handed over",
    run: (ends) =>
      Effect.gen(function*() {
        const all = yield* endThenAbort(ends)
        const closing = yield* ends.client.isClosing
        yield* ends.client.writer.write("x")
        const how = yield* ending(ends.client)
        const error = yield* Effect.flip(ends.client.writer.write("y"))
        return [all, closing, how, error.reason]
      }),
    over: {
      "TCP": ["bye", false, "BrokenPipe EPIPE", "BrokenPipe"],
      "Unix sockets": ["bye", false, "BrokenPipe EPIPE", "BrokenPipe"]
    }
  },
  {
    name: "a reset that comes after the end is not noticed by a close",
    run: (ends) =>
      Effect.gen(function*() {
        yield* endThenAbort(ends)
        yield* ends.client.close
        return [yield* ending(ends.client)]
      }),
    over: { "TCP": ["Peer"], "Unix sockets": ["Peer"] }
  },
  {
    name: "a reset that comes after the end is noticed by a write that waits",
    run: ({ client, server }) =>
      Effect.gen(function*() {
        const writing = yield* Effect.fork(Effect.flip(client.writer.write(new Uint8Array(10_000_000))))
        yield* server.writer.writeEof
        yield* client.reader.read(1)
        yield* server.reader.read(1)
        yield* server.abort
        return [(yield* Fiber.join(writing)).reason, yield* ending(client), yield* rest(client)]
      }),
    over: { "TCP": ["BrokenPipe", "BrokenPipe EPIPE", ""], "Unix sockets": ["BrokenPipe", "BrokenPipe EPIPE", ""] }
  },
  {
    name: "over a Unix socket, the first write to who is gone is told so",
    run: ({ client, server }) =>
      Effect.gen(function*() {
        yield* server.abort
        yield* Effect.exit(client.reader.read(1))
        yield* Effect.exit(client.writer.write("x"))
        return [yield* ending(client)]
      }),
    over: { "TCP": ["Reset ECONNRESET"], "Unix sockets": ["BrokenPipe EPIPE"] }
  }
]

for (const { how, open, where } of kinds) {
  describe(`${how}, ${where}`, () => {
    for (const { name, over, run } of sessions) {
      it.scopedLive(name, () =>
        Effect.gen(function*() {
          const seen = yield* Effect.flatMap(open, run)
          assert.deepEqual(seen, over[how])
        }))
    }
  })
}
