/**
 * An echo server on all cores: one process each, on one port. SIGHUP replaces them one after another, without a client
 * being refused or cut off; Ctrl+C or SIGTERM ends them all, and a second one does so at once.
 *
 *     npx tsx examples/cluster.ts [port] [processes]
 *
 * The port is 8888 by default. The clients of a process that is replaced or ended have five seconds to finish.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Queue, Stream } from "effect"
import { Address, Network, NodeNetwork } from "effect-netstreams"
import cluster, { type Worker } from "node:cluster"
import { once } from "node:events"
import { availableParallelism } from "node:os"

const [port = "8888", processes = `${availableParallelism()}`] = process.argv.slice(2)

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const

// A process that serves knows nothing of the others. Node hands it connections as long as it listens.
const serve = Effect.gen(function*() {
  // A terminal, or systemd, sends a signal to every process there is. Here it must not be the end before the clients'.
  signals.forEach((signal) => process.on(signal, () => {}))
  const server = yield* Network.startServer(
    { host: "127.0.0.1", port: Number(port), gracePeriod: "5 seconds" },
    ({ reader, writer }) => reader.bytes.pipe(Stream.run(writer.sink))
  )
  yield* Console.log(`${process.pid} serves on ${server.addresses.map(Address.format).join(", ")}`)
  yield* server.serveForever
}).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))

/** That closes its server. So `serveForever` returns, and its scope ends, which lets the clients finish. */
const stop = (worker: Worker): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (worker.isDead()) {
      return resume(Effect.void)
    }
    worker.once("exit", () => resume(Effect.void))
    worker.disconnect()
  })

/** One that listens, or has died over it. */
const start: Effect.Effect<Worker, Error> = Effect.tryPromise({
  try: async () => {
    // One that is about to end can't be told to, which is an error.
    const worker = cluster.fork().on("error", () => {})
    await Promise.race([
      once(worker, "listening"),
      once(worker, "exit").then(([code, signal]) => Promise.reject(new Error(`a process ended with ${code ?? signal}`)))
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

  const replaceAll = Effect.gen(function*() {
    for (const worker of Array.from(workers)) {
      yield* add
      yield* stop(worker)
      workers.delete(worker)
      yield* Console.log(`${worker.process.pid} is replaced`)
    }
    yield* Console.log("All are replaced")
  })
  yield* Queue.take(hangup).pipe(
    Effect.zipRight(replaceAll),
    Effect.catchAll((error) => Console.error(`Those that are left go on, for ${error.message}`)),
    Effect.forever
  )
}).pipe(Effect.scoped)

NodeRuntime.runMain(cluster.isPrimary ? supervise : serve)
