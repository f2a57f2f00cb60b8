import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as Net from "node:net"
import * as Path from "node:path"
import { inheritedListeners } from "../src/internal/node/inheritedListeners.js"
import { leavesNoHandles } from "./support/handles.js"
import { freePort } from "./support/rawPeer.js"

leavesNoHandles()

const root = Path.resolve(import.meta.dirname, "..")

const found = (env: Record<string, string>, unset = false) =>
  Effect.map(
    inheritedListeners(env, 77, unset),
    (listeners) => listeners.map(({ fd, name }) => [fd, Option.getOrNull(name)])
  )

describe("inheritedListeners", () => {
  it.effect("counts from descriptor 3 on, with the names there are", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* found({ LISTEN_PID: "77", LISTEN_FDS: "3", LISTEN_FDNAMES: "web::admin" }),
        [[3, "web"], [4, null], [5, "admin"]]
      )
      assert.deepStrictEqual(yield* found({ LISTEN_PID: "77", LISTEN_FDS: "2" }), [[3, null], [4, null]])
      assert.deepStrictEqual(yield* found({ LISTEN_PID: "77", LISTEN_FDS: "2", LISTEN_FDNAMES: "web" }), [
        [3, "web"],
        [4, null]
      ])
      assert.deepStrictEqual(yield* found({ LISTEN_PID: "77", LISTEN_FDS: "0" }), [])
    }))

  it.effect("finds none where there are none, or they are another's", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* found({}), [])
      assert.deepStrictEqual(yield* found({ LISTEN_FDS: "1" }), [])
      assert.deepStrictEqual(yield* found({ LISTEN_PID: "77" }), [])
      assert.deepStrictEqual(yield* found({ LISTEN_PID: "78", LISTEN_FDS: "1" }), [])
    }))

  it.effect("leaves the environment as it is, unless asked to take it away, and that whatever comes of it", () =>
    Effect.gen(function*() {
      const kept = { LISTEN_PID: "77", LISTEN_FDS: "1", LISTEN_FDNAMES: "a", HOME: "/" }
      for (const env of [kept, { ...kept, LISTEN_PID: "1" }, { ...kept, LISTEN_FDS: "x" }]) {
        const given: Record<string, string> = { ...env }
        yield* Effect.exit(found(given))
        assert.deepStrictEqual(given, env)
        yield* Effect.exit(found(given, true))
        assert.deepStrictEqual(given, { HOME: "/" })
      }
    }))

  it.effect("says what is wrong with the environment", () =>
    Effect.gen(function*() {
      for (
        const [name, value] of [["LISTEN_FDS", "x"], ["LISTEN_FDS", "-1"], ["LISTEN_PID", ""], [
          "LISTEN_FDS",
          "99999999999"
        ]] as const
      ) {
        const error = yield* Effect.flip(found({ LISTEN_PID: "77", LISTEN_FDS: "1", [name]: value }))
        assert.include(error.message, `${name} must be a whole number, got ${JSON.stringify(value)}`)
      }
    }))
})

/** Serves on all that it inherits, tells their names, and what is left of the environment. */
const program = `
  import * as Effect from "effect/Effect"
  import * as Option from "effect/Option"
  import * as NodeNetwork from "./src/NodeNetwork.ts"
  await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const listeners = yield* NodeNetwork.inheritedListeners({ unset: true })
    for (const { fd, name } of listeners) {
      const title = Option.getOrElse(name, () => "nameless") + " on " + fd
      yield* NodeNetwork.startServerOn({ fd }, {}, ({ writer }) => writer.write(title))
    }
    const left = yield* NodeNetwork.inheritedListeners()
    console.log(listeners.length + " and then " + left.length)
    yield* Effect.never
  })))
`

const node = [process.execPath, "--import", "tsx", "--input-type=module", "-e", program]

/** Starts it, and ends it with the scope. */
const start = (command: ReadonlyArray<string>, descriptors: ReadonlyArray<number>) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(command[0]!, command.slice(1), {
        cwd: root,
        stdio: ["ignore", "pipe", "ignore", ...descriptors]
      })
    ),
    (child) =>
      Effect.promise(async () => {
        if (child.exitCode === null && child.signalCode === null) {
          const exited = once(child, "exit")
          child.kill("SIGKILL")
          await exited
        }
      })
  )

const greeting = (port: number): Effect.Effect<string> =>
  Effect.promise(async () => {
    const socket = Net.connect(port, "127.0.0.1")
    let text = ""
    for await (const chunk of socket) {
      text += String(chunk)
    }
    return text
  })

describe("a process that is handed its listeners", () => {
  it.scopedLive.skipIf(process.platform === "win32")(
    "serves on each of them (skipped on Windows)",
    () =>
      Effect.gen(function*() {
        const listeners = yield* Effect.acquireRelease(
          Effect.promise(async () => {
            const servers = [0, 1].map(() => Net.createServer().listen(0, "127.0.0.1"))
            await Promise.all(servers.map((server) => once(server, "listening")))
            return servers.map((server) => ({
              server,
              port: (server.address() as Net.AddressInfo).port,
              fd: (server as unknown as { readonly _handle: { readonly fd: number } })._handle.fd
            }))
          }),
          (listeners) => Effect.sync(() => listeners.forEach(({ server }) => server.close()))
        )
        const child = yield* start(
          ["sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web: exec \"$@\"", "sh", ...node],
          listeners.map(({ fd }) => fd)
        )
        const [line] = yield* Effect.promise(() => once(child.stdout!, "data"))
        assert.strictEqual(String(line), "2 and then 0\n")
        // From here on the child alone accepts.
        listeners.forEach(({ server }) => server.close())
        assert.strictEqual(yield* greeting(listeners[0]!.port), "web on 3")
        assert.strictEqual(yield* greeting(listeners[1]!.port), "nameless on 4")
      }),
    60_000
  )

  const activate = "systemd-socket-activate"
  const hasActivate = spawnSync(activate, ["--version"]).status === 0
  if (!hasActivate) {
    console.warn(`SKIPPED: socket activation by systemd, for there is no ${activate}`)
  }
  it.scopedLive.skipIf(!hasActivate)(
    "as systemd does it (skipped without systemd-socket-activate)",
    () =>
      Effect.gen(function*() {
        const port = yield* freePort
        yield* start([activate, "-l", `127.0.0.1:${port}`, "--fdname=web", ...node], [])
        // It listens in its own time, and starts the program for the first client, who waits in the queue.
        const first = yield* Effect.retry(
          Effect.tryPromise(async () => {
            const socket = Net.connect(port, "127.0.0.1")
            await once(socket, "connect")
            return socket
          }),
          Schedule.spaced("20 millis")
        )
        let text = ""
        first.on("data", (chunk) => {
          text += String(chunk)
        })
        yield* Effect.promise(() => once(first, "close"))
        assert.strictEqual(text, "web on 3")
      }),
    60_000
  )
})
