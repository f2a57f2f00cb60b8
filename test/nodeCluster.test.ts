/** Servers in the workers of `node:cluster`, whose addresses are the primary's. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import * as Path from "node:path"
import { directory } from "./support/directory.js"
import { leavesNoHandles } from "./support/handles.js"
import { program } from "./support/programs.js"
import { rawConnect, RawPeer, until } from "./support/rawPeer.js"

leavesNoHandles()

/** Three processes have to start. */
const patience = 60_000

const cluster = Effect.map(
  program(process.execPath, ["--import", "tsx", Path.join(import.meta.dirname, "support/clusterProgram.ts")]),
  (program) => ({
    tell: (line: string) => Effect.sync(() => void program.child.stdin.write(`${line}\n`)),
    says: program.says.bind(program)
  })
)

const host = "127.0.0.1"

describe.skipIf(process.platform === "win32")("a worker of node:cluster (skipped on Windows)", () => {
  it.scopedLive(
    "that is bound and not serving has the others' address, and resets who comes until it serves",
    () =>
      Effect.gen(function*() {
        const { says, tell } = yield* cluster
        yield* tell("fork tcp")
        const port = Number((yield* says(/1 is bound to 127\.0\.0\.1:(\d+)\n/))[1])
        const early = new RawPeer(Net.connect({ host, port })).read()
        yield* until(() => early.closed)
        assert.deepStrictEqual([early.bytes, early.code], [0, "ECONNRESET"])
        yield* tell("fork tcp")
        yield* says(new RegExp(`2 is bound to 127\\.0\\.0\\.1:${port}\n`))
        for (const id of [1, 2]) {
          yield* tell(`${id} serve`)
          yield* says(new RegExp(`${id} serves\n`))
        }
        const greetings = new Set<string>()
        while (greetings.size < 2) {
          const client = (yield* rawConnect({ host, port })).read()
          yield* until(() => client.text.endsWith("\n"))
          greetings.add(client.text)
        }
        assert.deepStrictEqual(Array.from(greetings).sort(), ["1\n", "2\n"])
      }),
    patience
  )

  it.scopedLive("that is disconnected drains, and ends", () =>
    Effect.gen(function*() {
      const { says, tell } = yield* cluster
      yield* tell("fork tcp")
      const port = Number((yield* says(/1 is bound to 127\.0\.0\.1:(\d+)\n/))[1])
      yield* tell("1 serve")
      yield* says(/1 serves\n/)
      const idle = (yield* rawConnect({ host, port })).read().endsToo()
      yield* until(() => idle.text === "1\n")
      yield* tell("1 disconnect")
      // While a client is still there.
      yield* says(/1 is over\n/)
      yield* until(() => idle.closed)
      assert.isUndefined(idle.code)
      yield* says(/1 exits 0\n/)
    }), patience)

  it.scopedLive("can't listen on a path on which another does, and is told so", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/s`
      const { says, tell } = yield* cluster
      yield* tell(`fork unix ${path}`)
      yield* says(/1 is bound/)
      yield* tell("1 serve")
      yield* says(/1 serves\n/)
      yield* tell(`fork unix ${path}`)
      const [, message] = yield* says(/2 fails: (.*)\n/)
      assert.include(message!, "another server accepts connections there")
      assert.include(message!, "of the workers of node:cluster only one can have a path")
      yield* says(/2 exits 1\n/)
      const client = (yield* rawConnect({ path })).read()
      yield* until(() => client.text === "1\n")
    }), patience)
})
