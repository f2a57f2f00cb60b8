/**
 * Sends a message to an echo server, and prints what comes back.
 *
 *     npx tsx examples/echo-client.ts [message] [port]
 *
 * The port is 8888 by default, that of echo-server.ts.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { Network, NodeNetwork } from "effect-netstreams"

const [message = "Hello World!", port = "8888"] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const { reader, writer } = yield* Network.openConnection({ host: "127.0.0.1", port: Number(port) })

  yield* Console.log(`Send: ${JSON.stringify(message)}`)
  yield* writer.write(message)
  // A read returns what has arrived, which may be half of a long message. The end of our side says where it ends.
  yield* writer.writeEof

  const data = yield* reader.readAll()
  yield* Console.log(`Received: ${JSON.stringify(new TextDecoder().decode(data))}`)
}).pipe(Effect.scoped)

NodeRuntime.runMain(program.pipe(Effect.provide(NodeNetwork.layer)))
