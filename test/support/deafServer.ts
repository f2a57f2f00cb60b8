/**
 * A listener that accepts nobody, with its queue full: whoever dials it now gets no answer, neither yes nor no. (Linux;
 * elsewhere a full queue may refuse.)
 *
 * A thread of its own listens, and sleeps.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"
import { Worker } from "node:worker_threads"

const sleeper = `
  const { parentPort, workerData } = require("node:worker_threads")
  const server = require("node:net").createServer()
  server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    parentPort.postMessage(server.address().port)
    Atomics.wait(workerData, 0, 0)
    process.exit()
  })
`

/** How long a connection to the loopback takes at most, if it is to come about at all. */
const patience = 200

export const deafServer: Effect.Effect<{ readonly port: number }, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(async () => {
    const flag = new Int32Array(new SharedArrayBuffer(4))
    const worker = new Worker(sleeper, { eval: true, workerData: flag })
    const [port] = await once(worker, "message") as [number]
    const fillers: Array<Net.Socket> = []
    // As many as fit in, and one that does not.
    for (let full = false; !full;) {
      const socket = Net.connect(port, "127.0.0.1").on("error", () => {})
      fillers.push(socket)
      full = await new Promise((resolve) => {
        const timer = setTimeout(() => resolve(true), patience)
        socket.once("connect", () => {
          clearTimeout(timer)
          resolve(false)
        })
      })
    }
    return { port, flag, worker, fillers }
  }),
  ({ fillers, flag, worker }) =>
    Effect.promise(async () => {
      fillers.forEach((socket) => socket.destroy())
      Atomics.store(flag, 0, 1)
      Atomics.notify(flag, 0)
      await once(worker, "exit")
    })
)
