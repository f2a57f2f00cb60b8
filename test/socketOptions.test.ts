/** What the operating system is told about a socket, which shows in nothing that a connection does. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import { vi } from "vitest"
import * as Network from "../src/Network.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import { directory } from "./support/directory.js"
import { leavesNoHandles } from "./support/handles.js"
import { portOf, rawConnect, rawServer, until } from "./support/rawPeer.js"

leavesNoHandles()

/** What stands between Node and the system, for as long as the scope: each call of these methods is noted. */
const calls = (socket: Net.Socket, ...methods: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const noted: Array<ReadonlyArray<unknown>> = []
      const prototype = Object.getPrototypeOf((socket as unknown as { readonly _handle: object })._handle)
      const spies = methods.map((method) => {
        const original = prototype[method]
        return vi.spyOn(prototype, method).mockImplementation(function(this: unknown, ...args: ReadonlyArray<unknown>) {
          noted.push([method, ...args])
          return Reflect.apply(original, this, args)
        })
      })
      return { noted, spies }
    }),
    ({ spies }) => Effect.sync(() => spies.forEach((spy) => spy.mockRestore()))
  ).pipe(Effect.map(({ noted }) => noted))

describe("a socket over TCP", () => {
  const cases: ReadonlyArray<readonly [NodeNetwork.SocketOptions, ReadonlyArray<ReadonlyArray<unknown>>]> = [
    [{}, [["setNoDelay", true]]],
    [{ noDelay: false }, []],
    [{ noDelay: false, keepAlive: true }, [["setKeepAlive", true, 0]]],
    [{ keepAlive: false }, [["setNoDelay", true]]],
    // Whole seconds, and none is lost.
    [{ keepAlive: "1500 millis" }, [["setNoDelay", true], ["setKeepAlive", true, 2]]],
    [{ keepAlive: "1 minute" }, [["setNoDelay", true], ["setKeepAlive", true, 60]]]
  ]

  for (const [options, expected] of cases) {
    it.scopedLive(`sends small writes at once and probes as it is told: ${JSON.stringify(options)}`, () =>
      Effect.gen(function*() {
        const { accepted, port } = yield* rawServer()
        // Neither of these says anything to the system itself.
        const socket = (yield* rawConnect({ host: "127.0.0.1", port })).socket
        yield* accepted
        const noted = yield* calls(socket, "setNoDelay", "setKeepAlive")
        yield* Network.openConnection({ host: "127.0.0.1", port, closeTimeout: 0, ...options })
        yield* accepted
        assert.deepStrictEqual(noted.splice(0), expected, "dialled")

        let served = 0
        const server = yield* Network.startServer(
          { host: "127.0.0.1", closeTimeout: 0, ...options },
          () =>
            Effect.sync(() => {
              served += 1
            })
        )
        yield* rawConnect({ host: "127.0.0.1", port: portOf(server) })
        yield* until(() => served === 1)
        assert.deepStrictEqual(noted.splice(0), expected, "accepted")
      }).pipe(Effect.provide(NodeNetwork.layer)))
  }
})

describe("the queue of a listener is as long as it is told, and 100 otherwise", () => {
  const cases: ReadonlyArray<readonly [Pick<Network.ListenOptions, "backlog">, number]> = [
    [{}, 100],
    [{ backlog: 7 }, 7]
  ]
  for (const [options, expected] of cases) {
    it.scopedLive(`over TCP, at once or later: ${JSON.stringify(options)}`, () =>
      Effect.gen(function*() {
        const { port } = yield* rawServer()
        const noted = yield* calls((yield* rawConnect({ host: "127.0.0.1", port })).socket, "listen")
        yield* Network.startServer({ host: "127.0.0.1", ...options }, () => Effect.void)
        assert.deepStrictEqual(noted.splice(0), [["listen", expected]])
        const later = yield* Network.startServer(
          { host: "127.0.0.1", startServing: false, ...options },
          () => Effect.void
        )
        yield* later.startServing
        assert.deepStrictEqual(noted.splice(0), [["listen", expected]])
      }).pipe(Effect.provide(NodeNetwork.layer)))

    it.scopedLive(`over Unix sockets: ${JSON.stringify(options)}`, () =>
      Effect.gen(function*() {
        const folder = yield* directory
        yield* rawServer(`${folder}/raw`)
        const noted = yield* calls((yield* rawConnect({ path: `${folder}/raw` })).socket, "listen")
        yield* Network.startUnixServer(`${folder}/s`, options, () => Effect.void)
        assert.deepStrictEqual(noted.splice(0), [["listen", expected]])
        if (process.platform === "linux") {
          yield* Network.startUnixServer(`\0${folder}`, options, () => Effect.void)
          assert.deepStrictEqual(noted.splice(0), [["listen", expected]])
        }
      }).pipe(Effect.provide(NodeNetwork.layer)))
  }
})
