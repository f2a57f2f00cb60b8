/**
 * Waits for data on a socket that exists already: one end of a pair is made a connection, which owns it from then on.
 *
 *     npx tsx examples/adopt-socket.ts
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { NodeNetwork } from "effect-netstreams"
import { once } from "node:events"
import * as Net from "node:net"

/** Node has no socketpair(2): the two ends of a connection of this process with itself. */
const socketPair = Effect.acquireRelease(
  Effect.promise(async () => {
    const server = Net.createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    const there = Net.connect((server.address() as Net.AddressInfo).port, "127.0.0.1")
    const [here] = await once(server, "connection") as [Net.Socket]
    server.close()
    return { here, there }
  }),
  ({ here, there }) => Effect.sync(() => [here, there].forEach((socket) => socket.destroy()))
)

const program = Effect.gen(function*() {
  const { here, there } = yield* socketPair
  const { reader } = yield* NodeNetwork.fromSocket(here)

  // Something arrives from the network, a little later.
  setTimeout(() => there.end("abc"), 100)

  const data = yield* reader.read(100)
  yield* Console.log(`Received: ${new TextDecoder().decode(data)}`)
}).pipe(Effect.scoped)

NodeRuntime.runMain(program)
