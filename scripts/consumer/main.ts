import { NodeRuntime } from "@effect/platform-node"
import { Effect, Stream } from "effect"
import { Network, NodeNetwork } from "effect-netstreams"
import * as NetworkError from "effect-netstreams/NetworkError"
import assert from "node:assert/strict"

const program = Effect.gen(function*() {
  const server = yield* Network.startServer(
    { host: "127.0.0.1", port: 0 },
    ({ reader, writer }) => reader.lines().pipe(Stream.map((line) => `${line}\n`), Stream.run(writer.sink))
  )
  const [address] = server.addresses
  assert(address._tag === "TcpAddress")

  const { reader, writer } = yield* Network.openConnection({ host: address.host, port: address.port })
  yield* writer.write("Hello\nWorld!\n")
  yield* writer.writeEof
  assert.equal(new TextDecoder().decode(yield* reader.readAll()), "Hello\nWorld!\n")

  yield* server.close
  const error = yield* Effect.flip(Network.openConnection({ host: address.host, port: address.port }))
  assert(error instanceof NetworkError.ConnectError)
}).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))

NodeRuntime.runMain(program)
