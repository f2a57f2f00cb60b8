/**
 * A primary of `node:cluster` and its workers, told what to do line by line: `fork tcp`, `fork unix PATH`, `1 serve`,
 * `1 disconnect`. What becomes of worker 1 is told in lines that begin so.
 */
import { NodeRuntime } from "@effect/platform-node"
import * as Effect from "effect/Effect"
import cluster from "node:cluster"
import { once } from "node:events"
import { createInterface } from "node:readline"
import * as Address from "../../src/Address.js"
import type * as Connection from "../../src/Connection.js"
import * as Network from "../../src/Network.js"
import * as NodeNetwork from "../../src/NodeNetwork.js"

const primary = () => {
  const say = (id: number, what: string) => void process.stdout.write(`${id} ${what}\n`)
  cluster.on("message", ({ id }, message: string) => say(id, message))
  cluster.on("exit", ({ id }, code, signal: string) => say(id, `exits ${signal ?? code}`))
  createInterface({ input: process.stdin }).on("line", (line) => {
    const [first = "", second = "", path] = line.split(" ")
    if (first === "fork") {
      cluster.fork(path === undefined ? {} : { SOCKET_PATH: path })
    } else if (second === "disconnect") {
      cluster.workers![first]!.disconnect()
    } else {
      cluster.workers![first]!.send(second)
    }
  })
}

/** Binds, serves when it is told to, and ends when its server has. Greets with its number. */
const worker = Effect.gen(function*() {
  const say = (what: string) => Effect.sync(() => void process.send!(what))
  const { SOCKET_PATH: path } = process.env
  const handler = ({ reader, writer }: Connection.Connection) =>
    Effect.zipRight(writer.write(`${cluster.worker!.id}\n`), reader.readAll())
  const options = { startServing: false, gracePeriod: 0 }
  const server = yield* path === undefined
    ? Network.startServer({ host: "127.0.0.1", port: 0, ...options }, handler)
    : Network.startUnixServer(path, options, handler)
  yield* say(`is bound to ${Address.format(server.addresses[0])}`)
  yield* Effect.promise(() => once(process, "message"))
  yield* server.startServing
  yield* say("serves")
  yield* server.serveForever
  yield* say("is over")
}).pipe(
  Effect.scoped,
  Effect.provide(NodeNetwork.layer),
  Effect.tapError((error) => Effect.sync(() => void process.send!(`fails: ${error.message}`)))
)

if (cluster.isPrimary) {
  primary()
} else {
  NodeRuntime.runMain(worker, { disableErrorReporting: true })
}
