import { assert, describe, it } from "@effect/vitest"
import { Chunk, Console, Context, Deferred, Duration, Effect, Fiber, Layer, Option, Ref, Stream } from "effect"
import type { Scope, Sink } from "effect"
import {
  Address,
  type Connection,
  Network,
  type NetworkError,
  NodeNetwork,
  Server,
  type StreamReader,
  type StreamWriter
} from "effect-netstreams"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { expectTypeOf } from "vitest"
import { leavesNoHandles } from "./support/handles.js"

leavesNoHandles()

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** A console that keeps what is said. */
const keeping = Effect.map(Effect.console, (console) => {
  const lines: Array<unknown> = []
  return {
    lines,
    console: { ...console, log: (line: unknown) => Effect.sync(() => void lines.push(line)) }
  }
})

const portOf = (server: Server.Server): number => {
  const [address] = server.addresses
  return address._tag === "TcpAddress" ? address.port : 0
}

const temporaryPath = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "end-to-end-"))),
    (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
  ),
  (directory) => `${directory}/s`
)

describe("the first program", () => {
  it.scopedLive("over TCP says hello and hears it back", () =>
    Effect.gen(function*() {
      const { console, lines } = yield* keeping
      const listening = yield* Deferred.make<number>()

      const client = (port: number) =>
        Effect.gen(function*() {
          const { reader, writer } = yield* Network.openConnection({ host: "127.0.0.1", port })
          yield* writer.write("Hello World!")
          yield* writer.writeEof
          const data = yield* reader.read(100)
          yield* Console.log(new TextDecoder().decode(data))
        }).pipe(Effect.scoped)

      const server = Effect.gen(function*() {
        const server = yield* Network.startServer(
          { host: "127.0.0.1", port: 0 },
          ({ reader, writer }) => reader.lines().pipe(Stream.map((line) => `${line}\n`), Stream.run(writer.sink))
        )
        yield* Console.log(server.addresses.map(Address.format))
        yield* Deferred.succeed(listening, portOf(server))
        yield* server.serveForever
      }).pipe(Effect.scoped)

      const running = yield* Effect.fork(server.pipe(Effect.provide(NodeNetwork.layer), Effect.withConsole(console)))
      const port = yield* Deferred.await(listening)
      yield* client(port).pipe(Effect.provide(NodeNetwork.layer), Effect.withConsole(console))
      yield* Fiber.interrupt(running)
      assert.deepStrictEqual(lines, [[`127.0.0.1:${port}`], "Hello World!\n"])
    }))

  it.scopedLive("over a Unix socket does the same, and the path is gone afterwards", () =>
    Effect.gen(function*() {
      const path = yield* temporaryPath
      yield* Effect.gen(function*() {
        const server = yield* Network.startUnixServer(path, { mode: 0o600 }, ({ reader, writer }) =>
          reader.lines().pipe(
            Stream.map((line) => `${line}\n`),
            Stream.run(writer.sink)
          ))
        assert.deepStrictEqual(server.addresses.map(Address.format), [`unix:${path}`])
        assert.strictEqual(Fs.statSync(path).mode & 0o777, 0o600)
        const connection = yield* Network.openUnixConnection(path)
        yield* connection.writer.write("Hello World!\n")
        assert.strictEqual(decode(yield* connection.reader.read(100)), "Hello World!\n")
        assert.deepStrictEqual(connection.remoteAddress, Address.unix(path))
        assert.deepStrictEqual(connection.localAddress, new Address.UnixAddress({ path: Option.none() }))
        const [accepted] = yield* server.connections
        assert.deepStrictEqual(accepted?.localAddress, Address.unix(path))
        yield* connection.writer.writeEof
        yield* connection.awaitClosed
      }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
      assert.isFalse(Fs.existsSync(path))
    }))
})

describe("a program made of services", () => {
  // A key-value store: one line a command, values by length.
  class Store extends Context.Tag("test/Store")<Store, Ref.Ref<ReadonlyMap<string, string>>>() {}

  const command = (line: string, { reader, writer }: Connection.Connection) =>
    Effect.gen(function*() {
      const store = yield* Store
      const [verb, key = "", size] = line.split(" ")
      if (verb === "set") {
        const value = decode(yield* reader.readExactly(Number(size)))
        yield* Ref.update(store, (map) => new Map(map).set(key, value))
        yield* writer.write("stored\n")
      } else if (verb === "get") {
        const value = (yield* Ref.get(store)).get(key)
        yield* value === undefined
          ? writer.write("missing\n")
          : writer.writeAll([`value ${value.length}\n`, value])
      } else {
        yield* writer.write("what?\n")
      }
    })

  const StoreServer = Server.layer(
    { host: "127.0.0.1", limit: 100, gracePeriod: 0 },
    (connection) =>
      Effect.gen(function*() {
        for (;;) {
          const line = decode(yield* connection.reader.readLine)
          if (line === "") {
            return
          }
          yield* command(line.trim(), connection)
        }
      }).pipe(
        Effect.catchTag("LimitOverrunError", () => connection.writer.write("too long\n")),
        Effect.catchTag("IncompleteReadError", ({ partial }) => connection.writer.write(`only ${partial.length}\n`))
      )
  )

  const App = StoreServer.pipe(
    Layer.provide(Layer.effect(Store, Ref.make<ReadonlyMap<string, string>>(new Map()))),
    Layer.provideMerge(NodeNetwork.layer)
  )

  it.scopedLive("talks with its clients", () =>
    Effect.gen(function*() {
      const port = portOf(yield* Server.Server)
      const connect = Network.openConnection({ host: "127.0.0.1", port, connectTimeout: "5 seconds" })
      const first = yield* connect
      const second = yield* connect
      yield* first.writer.writeAll(["set name 5\n", "he", "llo", "get name\n"])
      assert.strictEqual(decode(yield* first.reader.readLine), "stored\n")
      assert.strictEqual(decode(yield* first.reader.readUntil("\n")), "value 5\n")
      assert.strictEqual(decode(yield* first.reader.readExactly(5)), "hello")
      yield* second.writer.write("get name\nget nobody\nhm\n")
      yield* second.writer.writeEof
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Stream.runCollect(second.reader.lines())), [
        "value 5",
        "hellomissing",
        "what?"
      ])
      yield* first.writer.write("x".repeat(101))
      assert.strictEqual(decode(yield* first.reader.readLine), "too long\n")
      assert.isTrue(yield* Effect.map(first.reader.readLine, (rest) => rest.length === 0))
      const third = yield* connect
      yield* third.writer.write("set cut 10\nhalf")
      yield* third.writer.writeEof
      assert.strictEqual(decode(yield* third.reader.readAll()), "only 4\n")
    }).pipe(Effect.provide(App)))

  it("needs what it says", () => {
    expectTypeOf(StoreServer).toEqualTypeOf<
      Layer.Layer<Server.Server, NetworkError.ListenError, Network.Network | Store>
    >()
    expectTypeOf(App).toEqualTypeOf<Layer.Layer<Server.Server | Network.Network, NetworkError.ListenError>>()
  })
})

describe("the types of the contract", () => {
  it("are those of the page", () => {
    type Fails<E> = Effect.Effect<void, E>
    expectTypeOf<Connection.Connection>().toHaveProperty("close").toEqualTypeOf<Effect.Effect<void>>()
    expectTypeOf<Connection.Connection>().toHaveProperty("abort").toEqualTypeOf<Effect.Effect<void>>()
    expectTypeOf<Connection.Connection>().toHaveProperty("isClosing").toEqualTypeOf<Effect.Effect<boolean>>()
    expectTypeOf<Connection.Connection>().toHaveProperty("awaitClosed").toEqualTypeOf<
      Effect.Effect<Connection.CloseReason>
    >()
    expectTypeOf<Connection.Connection>().toHaveProperty("reader").toEqualTypeOf<StreamReader.StreamReader>()
    expectTypeOf<Connection.Connection>().toHaveProperty("writer").toEqualTypeOf<StreamWriter.StreamWriter>()
    expectTypeOf<Connection.Connection>().toHaveProperty("remoteAddress").toEqualTypeOf<Address.Address>()

    type Writer = StreamWriter.StreamWriter
    type WriteError = NetworkError.ConnectionError
    expectTypeOf<ReturnType<Writer["write"]>>().toEqualTypeOf<Fails<WriteError>>()
    expectTypeOf<Parameters<Writer["write"]>>().toEqualTypeOf<[data: Uint8Array | string]>()
    expectTypeOf<ReturnType<Writer["writeAll"]>>().toEqualTypeOf<Fails<WriteError>>()
    expectTypeOf<Parameters<Writer["writeAll"]>>().toEqualTypeOf<[chunks: Iterable<Uint8Array | string>]>()
    expectTypeOf<Writer["drain"]>().toEqualTypeOf<Fails<WriteError>>()
    expectTypeOf<Writer["flush"]>().toEqualTypeOf<Fails<WriteError>>()
    expectTypeOf<Writer["writeEof"]>().toEqualTypeOf<Fails<WriteError>>()
    expectTypeOf<Writer["canWriteEof"]>().toEqualTypeOf<boolean>()
    expectTypeOf<Writer["isClosing"]>().toEqualTypeOf<Effect.Effect<boolean>>()
    expectTypeOf<Writer["bufferedBytes"]>().toEqualTypeOf<Effect.Effect<number>>()
    expectTypeOf<Writer["sink"]>().toEqualTypeOf<Sink.Sink<void, Uint8Array | string, never, WriteError>>()

    expectTypeOf<Server.Server["isServing"]>().toEqualTypeOf<Effect.Effect<boolean>>()
    expectTypeOf<Server.Server["startServing"]>().toEqualTypeOf<Fails<NetworkError.ListenError>>()
    expectTypeOf<
      Server.Server["serveForever" | "close" | "closeClients" | "abortClients" | "awaitClosed"]
    >().toEqualTypeOf<Effect.Effect<void>>()
    expectTypeOf<ReturnType<Server.Server["shutdown"]>>().toEqualTypeOf<Effect.Effect<Server.ShutdownReport>>()
    expectTypeOf<Server.ShutdownReport>().toEqualTypeOf<{
      readonly finished: number
      readonly closed: number
      readonly interrupted: number
      readonly aborted: number
      readonly elapsed: Duration.Duration
    }>()
    expectTypeOf<Server.Server["connections"]>().toEqualTypeOf<
      Effect.Effect<ReadonlyArray<Connection.Connection>>
    >()
    expectTypeOf(NodeNetwork.layer).toEqualTypeOf<Layer.Layer<Network.Network>>()
    // Every accessor runs inside `Effect.scoped` alone.
    expectTypeOf(Effect.scoped(Network.openConnection({ host: "h", port: 1 }))).toEqualTypeOf<
      Effect.Effect<
        Connection.Connection,
        NetworkError.ConnectError | NetworkError.TlsError,
        Network.Network
      >
    >()
    const options = {
      host: "h",
      port: 1,
      limit: 1,
      family: 4,
      lookupHints: 0,
      localAddress: "127.0.0.1",
      localPort: 0,
      happyEyeballsDelay: "250 millis",
      interleave: 1,
      connectTimeout: Duration.seconds(1),
      closeTimeout: 1000,
      noDelay: true,
      keepAlive: "1 minute",
      highWaterMark: 1,
      lowWaterMark: 1
    } satisfies Network.ConnectOptions
    const listen = {
      host: ["127.0.0.1", "::1"],
      port: 0,
      limit: 1,
      backlog: 1,
      reusePort: false,
      ipv6Only: true,
      noDelay: false,
      keepAlive: true,
      closeTimeout: "1 second",
      highWaterMark: 1,
      lowWaterMark: undefined,
      startServing: true,
      gracePeriod: "1 second",
      onError: ({ cause, phase, remoteAddress }) =>
        Effect.logWarning(phase, cause, Option.map(remoteAddress, Address.format))
    } satisfies Network.ListenOptions
    const unix = { mode: 0o600, unlinkStale: false, backlog: 5 } satisfies Network.UnixListenOptions
    expectTypeOf<Scope.Scope>().not.toBeNever()
    assert.isDefined([options, listen, unix])
  })
})
