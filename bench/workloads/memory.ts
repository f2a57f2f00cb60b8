import { Effect, Schedule, Stream } from "effect"
import { type Connection, Network } from "effect-netstreams"
import * as Net from "node:net"
import * as v8 from "node:v8"
import { host, listen, listenRaw, run } from "../contenders.js"
import { clients, source } from "../peer.js"
import { waitInFiber } from "../rivals.js"
import { type Conditions, type Contender, type Meter, type Sample, sleep, type Workload } from "../workload.js"

export const settle = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) {
    globalThis.gc!()
    await sleep(50)
  }
}

// -----------------------------------------------------------------------------
// idle connections
// -----------------------------------------------------------------------------

const few = 200
const many = 5000

/**
 * What V8 has in use, on its heap and beside it, to within two in a hundred whatever the number of connections.
 *
 * The process as a whole tells less than nothing: while the connections come, V8 gives back what starting the program
 * had taken, and that is as much as thousands of them take. What is not counted here is the 400 bytes that Node and
 * libuv allocate for the handle of any connection, whoever uses it.
 */
const inUse = (): number => {
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

/**
 * What the process takes beside V8's heap, and what is in use of that; for what is mostly allocated by libraries, as the
 * memory of TLS is.
 */
export const takenAndInUse = (): number => {
  const { total_physical_size, used_heap_size } = v8.getHeapStatistics()
  return process.memoryUsage.rss() - total_physical_size + used_heap_size
}

/** By how much that grows with each connection. Some come before, for what is made once. */
const perConnection = async (port: number, accepted: Meter, conditions: Conditions): Promise<Sample> => {
  const open = async (connections: number) => {
    const all = accepted.count + connections
    await clients(port, { connections, size: 64, roundTrips: 0 }, conditions)
    while (accepted.count < all) {
      await sleep(50)
    }
    await settle()
    return inUse()
  }
  const before = await open(few)
  const after = await open(many)
  return { value: (after - before) / many }
}

const byHand = (kind: Contender["kind"], name: string, handler: (socket: Net.Socket) => void): Contender => ({
  name,
  kind,
  measure: async (conditions) => {
    const accepted: Meter = { count: 0 }
    const port = await listenRaw((socket) => {
      accepted.count++
      handler(socket)
    })
    return perConnection(port, accepted, conditions)
  }
})

const idle = (
  name: string,
  handler: (connection: Connection.Connection) => Effect.Effect<unknown, unknown>,
  target?: number
): Contender => ({
  name,
  kind: "library",
  target,
  measure: (conditions) => {
    const accepted: Meter = { count: 0 }
    return run(Effect.flatMap(
      listen((connection) => {
        accepted.count++
        return handler(connection)
      }),
      (port) => Effect.promise(() => perConnection(port, accepted, conditions))
    ))
  }
})

export const idleMemory: Workload = {
  name: "idle-memory",
  title: `Memory that V8 has in use for an idle accepted connection, of ${many}`,
  unit: "bytes",
  better: "lower",
  contenders: [
    byHand("raw", "node:net, data, error and close events", (socket) => {
      socket.on("data", (chunk) => socket.write(chunk))
      socket.on("error", () => {})
      socket.on("close", () => {})
    }),
    idle("handler in readLine", ({ reader }) => reader.readLine, 1.8),
    idle(
      "handler in a loop of read and write",
      Effect.fnUntraced(function*({ reader, writer }) {
        while (true) {
          yield* writer.write(yield* reader.read(65_536))
        }
      }),
      1.8
    ),
    byHand("rival", "node:net and a fiber for each", waitInFiber)
  ]
}

// -----------------------------------------------------------------------------
// slow consumers
// -----------------------------------------------------------------------------

const mebibyte = 2 ** 20

/** By how much this process grows at most while a peer sends what it can and our side takes a piece now and then. */
const slow = (
  name: string,
  kind: Contender["kind"],
  start: (port: number) => Promise<unknown> | void
): Contender => ({
  name,
  kind,
  measure: async (conditions) => {
    const port = await source(`${"x".repeat(79)}\n`)(conditions)
    await settle()
    const before = process.memoryUsage.rss()
    let most = before
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage.rss())
    }, 10)
    await Promise.race([
      sleep(conditions.warmUp + conditions.measured),
      Promise.resolve(start(port)).then(() => Promise.reject(new Error("the source ended")))
    ])
    clearInterval(watch)
    return { value: (most - before) / mebibyte }
  }
})

const pause = Effect.sleep("100 millis")

const slowLibrary = (
  name: string,
  consume: (connection: Connection.Connection) => Effect.Effect<unknown, unknown>
): Contender => slow(name, "library", (port) => run(Effect.flatMap(Network.openConnection({ host, port }), consume)))

export const slowConsumer: Workload = {
  name: "slow-consumer",
  title: "Growth while the peer sends without end and something is read ten times a second",
  unit: "MiB",
  better: "lower",
  compared: false,
  contenders: [
    slow("node:net, for await", "raw", async (port) => {
      for await (const _ of Net.connect(port, host)) {
        await sleep(100)
      }
    }),
    slowLibrary("read(65536)", ({ reader }) => Effect.repeat(reader.read(65_536), Schedule.spaced("100 millis"))),
    slowLibrary("readLine", ({ reader }) => Effect.repeat(reader.readLine, Schedule.spaced("100 millis"))),
    slowLibrary("bytes", ({ reader }) => Stream.runForEach(reader.bytes, () => pause)),
    slowLibrary("lines", ({ reader }) => Stream.runForEach(reader.lines(), () => pause)),
    slowLibrary("forEachLine", ({ reader }) => reader.forEachLine(() => pause))
  ]
}
