/** Load by a generator that others wrote: redis-benchmark, against a server that knows enough of Redis for it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import type * as Connection from "../src/Connection.js"
import * as Network from "../src/Network.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import { toLatin1 } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import { program } from "./support/programs.js"
import { portOf, until } from "./support/rawPeer.js"

leavesNoHandles()

const hasGenerator = spawnSync("redis-benchmark", ["--version"]).status === 0
if (!hasGenerator) {
  console.warn("Skipped: redis-benchmark is not installed")
}

/** A command as Redis has it: how many words, and each of them by length. Nothing at the end. */
const command = ({ reader }: Connection.Connection) =>
  Effect.gen(function*() {
    const head = toLatin1(yield* reader.readLine)
    const words: Array<string> = []
    for (let left = Number(head.slice(1)); left > 0; left--) {
      const length = Number(toLatin1(yield* reader.readLine).slice(1))
      words.push(toLatin1((yield* reader.readExactly(length + 2)).subarray(0, length)))
    }
    return words
  })

describe.skipIf(!hasGenerator)("redis-benchmark", () => {
  for (const depth of [1, 16]) {
    it.scopedLive(
      `gets every answer, ${depth === 1 ? "one by one" : `of ${depth} requests at once`}`,
      () =>
        Effect.gen(function*() {
          const [clients, requests, size] = [50, 4_000, 2_000]
          const store = new Map<string, string>()
          const served = { SET: 0, GET: 0 }
          const failures: Array<unknown> = []
          let [open, most] = [0, 0]
          const server = yield* Network.startServer(
            { host: "127.0.0.1", gracePeriod: 0, onError: ({ cause }) => Effect.sync(() => failures.push(cause)) },
            (connection) =>
              Effect.gen(function*() {
                const { writer } = connection
                most = Math.max(most, ++open)
                for (let words = yield* command(connection); words.length > 0; words = yield* command(connection)) {
                  const [name, key = "", value = ""] = words
                  if (name === "SET") {
                    served.SET += 1
                    store.set(key, value)
                    yield* writer.write("+OK\r\n")
                  } else if (name === "GET") {
                    served.GET += 1
                    const found = store.get(key)
                    yield* writer.write(found === undefined ? "$-1\r\n" : `$${found.length}\r\n${found}\r\n`)
                  } else {
                    yield* writer.write(`-ERR unknown command '${name}'\r\n`)
                  }
                }
              }).pipe(
                // Those that are still under way when it has seen enough are cut off.
                Effect.catchTags({ ConnectionError: () => Effect.void, IncompleteReadError: () => Effect.void }),
                Effect.ensuring(Effect.sync(() => {
                  open -= 1
                }))
              )
          )
          const load = yield* program("redis-benchmark", [
            ...["-h", "127.0.0.1", "-p", `${portOf(server)}`, "-t", "set,get", "-d", `${size}`],
            ...["-c", `${clients}`, "-n", `${requests}`, "-P", `${depth}`, "--csv"]
          ])
          const report = yield* load.succeeds
          assert.match(report, /"SET","?\d/)
          assert.match(report, /"GET","?\d/)
          assert.isAtLeast(served.SET, requests)
          assert.isAtLeast(served.GET, requests)
          assert.deepStrictEqual(Array.from(store.values(), (value) => value.length), [size])
          assert.isAtLeast(most, clients)
          yield* until(() => open === 0)
          assert.deepStrictEqual(failures, [])
        }).pipe(Effect.provide(NodeNetwork.layer)),
      60_000
    )
  }
})
