/**
 * Sends everything that a client writes back to it, until the client ends its side. Any number of clients.
 *
 *     npx tsx examples/echo-server.ts [port]
 *
 * The port is 8888 by default, and 0 takes any free one. Ctrl+C ends it.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { Address, type Connection, Network, NodeNetwork } from "effect-netstreams"

const [port = "8888"] = process.argv.slice(2)

const echo = ({ reader, remoteAddress, writer }: Connection.Connection) =>
  Effect.gen(function*() {
    const peer = Address.format(remoteAddress)
    yield* Console.log(`${peer} is here`)
    yield* reader.bytes.pipe(Stream.run(writer.sink))
    yield* Console.log(`${peer} is done`)
  })

const program = Effect.gen(function*() {
  const server = yield* Network.startServer({ host: "127.0.0.1", port: Number(port) }, echo)
  yield* Console.log(`Serving on ${server.addresses.map(Address.format).join(", ")}`)
  yield* server.serveForever
}).pipe(Effect.scoped)

NodeRuntime.runMain(program.pipe(Effect.provide(NodeNetwork.layer)))
