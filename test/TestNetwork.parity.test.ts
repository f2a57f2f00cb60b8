/** How a connection comes to its end, and what becomes of addresses, in memory as in reality: each session over both. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option, type Scope } from "effect"
import type { Address } from "effect-netstreams"
import { Connection, Network, NodeNetwork, type Server, TestNetwork } from "effect-netstreams"
import * as Path from "node:path"
import { directory } from "./support/directory.js"
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

const handler = (connection: Connection.Connection) => connection.awaitClosed

const listen = (options: Partial<Network.ListenOptions> = {}) =>
  Network.startServer({ host: "127.0.0.1", gracePeriod: 0, closeTimeout: 0, ...options }, handler)

const portOf = (address: Address.Address): number => {
  assert(address._tag === "TcpAddress")
  return address.port
}

const dial = (server: Server.Server, options: Partial<Network.ConnectOptions> = {}) =>
  Network.openConnection({ host: "127.0.0.1", port: portOf(server.addresses[0]), closeTimeout: 0, ...options })

const codeOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.match(effect, {
    onSuccess: () => "ok",
    onFailure: (error) => "code" in error ? Option.getOrElse(error.code as Option.Option<string>, () => "") : error._tag
  })

const listenUnix = (path: string, options: Network.UnixListenOptions = {}) =>
  Network.startUnixServer(path, { gracePeriod: 0, closeTimeout: 0, ...options }, handler)

const dialUnix = (path: string) => Network.openUnixConnection(path, { closeTimeout: 0 })

const linux = process.platform === "linux"

interface Program {
  readonly name: string
  readonly run: (directory: string) => Effect.Effect<ReadonlyArray<unknown>, unknown, Scope.Scope | Network.Network>
  readonly gives: ReadonlyArray<unknown>
}

const programs: ReadonlyArray<Program> = [
  {
    name: "what is bound and does not serve leaves its port to others, and serves when they are gone",
    run: () =>
      Effect.gen(function*() {
        const first = yield* listen({ startServing: false })
        const port = portOf(first.addresses[0])
        const second = yield* listen({ port, startServing: false })
        const third = yield* listen({ port, host: undefined })
        const error = yield* Effect.flip(first.startServing)
        assert.equal(error._tag, "ListenError")
        assert.deepEqual(error.address, first.addresses[0])
        const late = yield* codeOf(listen({ port, startServing: false }))
        const elsewhere = yield* codeOf(listen({ port, host: "127.0.0.2", startServing: false }))
        const dialled = yield* codeOf(dial(first))
        yield* third.close
        const refused = yield* codeOf(dial(first))
        return [
          [error.reason, Option.getOrNull(error.code), late, elsewhere, dialled, refused],
          [yield* codeOf(first.startServing), yield* codeOf(second.startServing), yield* first.isServing],
          [yield* second.isServing, yield* codeOf(dial(second))]
        ]
      }),
    gives: [
      ["AddressInUse", "EADDRINUSE", "EADDRINUSE", "EADDRINUSE", "ok", "ECONNREFUSED"],
      ["ok", "EADDRINUSE", true],
      [false, "ok"]
    ]
  },
  {
    name: "a port that the system chose for a connection is nobody else's at that address",
    run: () =>
      Effect.gen(function*() {
        const server = yield* listen()
        const other = yield* listen()
        const port = portOf((yield* dial(server)).localAddress)
        return [
          yield* codeOf(listen({ port })),
          yield* codeOf(listen({ port, startServing: false })),
          yield* codeOf(listen({ port, host: "0.0.0.0" })),
          yield* codeOf(dial(other, { localPort: port })),
          yield* codeOf(dial(other, { localPort: port, localAddress: "127.0.0.2" })),
          yield* codeOf(listen({ port, host: "127.0.0.3" })),
          // One that was bound is shared.
          yield* codeOf(listen({ port: portOf((yield* dial(server, { localAddress: "127.0.0.1" })).localAddress) }))
        ]
      }),
    gives: ["EADDRINUSE", "EADDRINUSE", "EADDRINUSE", "EADDRINUSE", "ok", "ok", "ok"]
  },
  {
    name: "a port may be dialled from that is bound and not listened on",
    run: () =>
      Effect.gen(function*() {
        const server = yield* listen()
        const bound = yield* listen({ startServing: false })
        const localPort = portOf(bound.addresses[0])
        return [yield* codeOf(dial(server, { localPort })), yield* codeOf(bound.startServing)]
      }),
    gives: ["ok", "ok"]
  },
  {
    name: "the file of a server that does not serve is taken by another, and then lost",
    run: (directory) =>
      Effect.gen(function*() {
        const path = Path.join(directory, "s")
        const first = yield* listenUnix(path, { startServing: false })
        const refused = yield* codeOf(dialUnix(path))
        const kept = yield* codeOf(listenUnix(path, { unlinkStale: false }))
        const second = yield* listenUnix(path)
        const error = yield* Effect.flip(first.startServing)
        assert.include(error.message, "another server has taken the place")
        const taken = yield* codeOf(dialUnix(path))
        yield* second.close
        const gone = yield* codeOf(dialUnix(path))
        yield* first.startServing
        return [refused, kept, error.reason, taken, gone, yield* codeOf(dialUnix(path))]
      }),
    gives: ["ECONNREFUSED", "EADDRINUSE", "AddressInUse", "ok", "ENOENT", "ok"]
  },
  {
    name: "names that can't be those of a socket",
    run: (directory) =>
      Effect.all(
        [`${directory}/a\0b`, `${directory}/${"a".repeat(120)}`, `\0${"a".repeat(108)}`].flatMap((path) => [
          codeOf(listenUnix(path)),
          codeOf(dialUnix(path))
        ])
      ),
    gives: ["EINVAL", "EINVAL", "ENAMETOOLONG", "ENAMETOOLONG", "ENAMETOOLONG", "ENAMETOOLONG"]
  },
  {
    name: "abstract names",
    run: (directory) =>
      Effect.gen(function*() {
        const name = `\0${directory}`
        const absent = yield* codeOf(dialUnix(name))
        const server = yield* listenUnix(name, { startServing: false })
        const twice = yield* codeOf(listenUnix(name))
        const dropped = yield* dialUnix(name)
        const nothing = yield* dropped.reader.readAll()
        yield* server.startServing
        const { reader } = yield* dialUnix(name)
        yield* server.closeClients
        return [
          [absent, twice, nothing.length, (yield* reader.readAll()).length],
          yield* codeOf(listenUnix(`\0${Path.basename(directory).padEnd(107, "x")}`))
        ]
      }),
    gives: [["ECONNREFUSED", "EADDRINUSE", 0, 0], "ok"]
  }
]

describe.runIf(linux)("addresses", () => {
  for (const [where, layer] of [["really", NodeNetwork.layer], ["in memory", TestNetwork.layer]] as const) {
    for (const { gives, name, run } of programs) {
      it.scopedLive(`${name}, ${where}`, () =>
        Effect.gen(function*() {
          assert.deepEqual(yield* run(yield* directory), gives)
        }).pipe(Effect.provide(layer)))
    }
  }
})
