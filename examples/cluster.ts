/**
 * An echo server on all cores: one process each, on one port. SIGHUP replaces them one after another, without a client
 * being refused or cut off; Ctrl+C or SIGTERM ends them all.
 *
 *     npx tsx examples/cluster.ts [port] [processes]
 *
 * The port is 8888 by default. The clients of a process that is replaced have five seconds to finish.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Queue, Stream } from "effect"
import { Address, Network, NodeNetwork } from "effect-netstreams"
import cluster, { type Worker } from "node:cluster"
import { once } from "node:events"
import { availableParallelism } from "node:os"

const [port = "8888", processes = `${availableParallelism()}`] = process.argv.slice(2)

// A process that serves knows nothing of the others. Node hands it connections as long as it listens.
const serve = Effect.gen(function*() {
  const server = yield* Network.startServer(
    { host: "127.0.0.1", port: Number(port), gracePeriod: "5 seconds" },
    ({ reader, writer }) => reader.bytes.pipe(Stream.run(writer.sink))
  )
  yield* Console.log(`${process.pid} serves on ${server.addresses.map(Address.format).join(", ")}`)
  yield* server.serveForever
}).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))

/** Its server drains on SIGTERM, for that ends its scope. */
const stop = (worker: Worker): Effect.Effect<void> =>
  Effect.promise(async () => {
    if (!worker.isDead()) {
      const exited = once(worker, "exit")
      worker.process.kill("SIGTERM")
      await exited
    }
  })

/** One that listens, or has died over it. */
const start: Effect.Effect<Worker, Error> = Effect.tryPromise({
  try: async () => {
    const worker = cluster.fork()
    await Promise.race([
      once(worker, "listening"),
      once(worker, "exit").then(([code]) => Promise.reject(new Error(`a process ended with ${code}`)))
    ])
    return worker
  },
  catch: (error) => error as Error
})

/** Those that come while there is still one to be dealt with count as that one. Without a listener one would be the end. */
const hangups = Effect.gen(function*() {
  const queue = yield* Queue.sliding<void>(1)
  const hangup = () => void queue.unsafeOffer(undefined)
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("SIGHUP", hangup)),
    () => Effect.sync(() => process.off("SIGHUP", hangup))
  )
  return queue
})

const supervise = Effect.gen(function*() {
  const hangup = yield* hangups
  const workers = new Set<Worker>()
  const add = Effect.uninterruptible(Effect.map(start, (worker) => workers.add(worker)))
  yield* Effect.addFinalizer(() => Effect.forEach(workers, stop, { concurrency: "unbounded" }))
  yield* Effect.all(Array.from({ length: Number(processes) }, () => add), { concurrency: "unbounded" })
  yield* Console.log("Ready")

  yield* Queue.take(hangup).pipe(
    Effect.zipRight(Effect.forEach(Array.from(workers), (worker) =>
      Effect.gen(function*() {
        yield* add
        yield* stop(worker)
        workers.delete(worker)
        yield* Console.log(`${worker.process.pid} is replaced`)
      }))),
    Effect.zipRight(Console.log("All are replaced")),
    Effect.forever
  )
}).pipe(Effect.scoped)

NodeRuntime.runMain(cluster.isPrimary ? supervise : serve)
