/**
 * Serves files of this repository over TCP and over a Unix socket, fetches them back through several connections at
 * once, and compares the digests. Then it asks for what must be refused. It needs no network and leaves nothing behind.
 *
 *     npm run demo
 *
 * Exits with 0 where every file arrived as it is, else with 1 and the reason. The parts are in the directory `demo`.
 */
import { FileSystem, Path } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Cause, Console, Data, Duration, Effect, Number, Option } from "effect"
import { Address, Network, NodeNetwork } from "effect-netstreams"
import * as Catalog from "./demo/Catalog.js"
import * as Client from "./demo/Client.js"
import * as Protocol from "./demo/Protocol.js"
import * as Report from "./demo/Report.js"
import { handler } from "./demo/Server.js"

/** What is served: all of the sources, and a file that is larger than every buffer on the way. */
const included = [
  "src",
  "README.md",
  "LICENSE",
  "package.json",
  "package-lock.json",
  "node_modules/typescript/lib/typescript.js"
]

const clients = 4

/** What must be refused, and leave the connection as it was. */
const refusals = [
  "GET ../package.json",
  "GET src/../../../../../../etc/passwd",
  "GET /etc/passwd",
  "GET src",
  "DELETE README.md",
  `GET ${"x".repeat(100_000)}`
]

class DemoFailed extends Data.TaggedError("DemoFailed")<{ readonly message: string }> {}

const connect = (address: Address.Address) =>
  Address.isTcpAddress(address)
    ? Network.openConnection({ host: address.host, port: address.port })
    : Network.openUnixConnection(Option.getOrThrow(address.path))

/** Fetches every file through each of several connections at once. */
const fetchAll = (address: Address.Address, catalog: Catalog.Catalog) =>
  Effect.gen(function*() {
    const transport = Address.isTcpAddress(address) ? "TCP" : "Unix socket"
    const bytes = clients * Number.sumAll(Array.from(catalog.values(), (entry) => entry.bytes.length))

    const fetch = (count: (bytes: number) => Effect.Effect<void>) =>
      Effect.gen(function*() {
        const client = Client.make(yield* connect(address))
        const names = yield* client.list
        return yield* Effect.forEach(names, (name) =>
          client.get(name, count).pipe(
            Effect.as(true),
            Effect.catchTag("Mismatch", (error) => Effect.as(Console.error(error.message), false))
          ))
      }).pipe(Effect.scoped)

    const [elapsed, fetched] = yield* Effect.timed(
      Report.withProgress(transport, bytes, (count) =>
        Effect.replicateEffect(fetch(count), clients, { concurrency: "unbounded" }))
    )
    const files = fetched.flat()
    return {
      transport,
      clients,
      files: files.length,
      verified: files.filter((same) =>
        same
      ).length,
      bytes,
      elapsed
    }
  })

/** Asks for what must be refused, all on one connection, which must be of use afterwards. */
const probe = (address: Address.Address) =>
  Effect.gen(function*() {
    const client = Client.make(yield* connect(address))
    for (const request of refusals) {
      yield* client.ask(request).pipe(
        Effect.flatMap(() => new DemoFailed({ message: `${request} should have been refused` })),
        Effect.catchTag("Refused", () => Effect.void)
      )
    }
    yield* client.list
  }).pipe(Effect.scoped)

const program = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path

  const catalog = yield* Catalog.load(path.resolve(import.meta.dirname, ".."), included)
  const socketFile = path.join(yield* fs.makeTempDirectoryScoped(), "demo.sock")

  const options = { limit: Protocol.longestRequest }
  const tcp = yield* Network.startServer({ ...options, host: "127.0.0.1" }, handler(catalog))
  const unix = yield* Network.startUnixServer(socketFile, { ...options, mode: 0o600 }, handler(catalog))
  const servers = [tcp, unix]
  const addresses = servers.map((server) => server.addresses[0])
  yield* Console.log(`Serving ${catalog.size} files on ${addresses.map(Address.format).join(" and ")}`)

  const results = yield* Effect.forEach(addresses, (address) => fetchAll(address, catalog))
  yield* Effect.forEach(addresses, probe)
  const ends = yield* Effect.forEach(servers, (server) => server.shutdown())

  yield* Console.log(`\n${Report.table(results)}\n`)
  yield* Console.log(`Refused, as they must be: ${refusals.length} requests on each that are wrong or lead elsewhere`)
  yield* Console.log(
    `Shut down in ${ends.map((end) => `${Math.round(Duration.toMillis(end.elapsed))} ms`).join(" and ")}`
  )

  if (results.some((result) => result.verified < result.files)) {
    return yield* new DemoFailed({ message: "not all files arrived as they are" })
  }
  if (yield* fs.exists(socketFile)) {
    return yield* new DemoFailed({ message: `${socketFile} was left behind` })
  }
}).pipe(Effect.scoped)

NodeRuntime.runMain(
  program.pipe(
    Effect.tapError((error) => Console.error(`The demo failed: ${error.message}`)),
    Effect.tapDefect((defect) => Console.error("The demo died:", Cause.pretty(defect))),
    Effect.provide([NodeNetwork.layer, NodeContext.layer])
  ),
  { disableErrorReporting: true }
)
