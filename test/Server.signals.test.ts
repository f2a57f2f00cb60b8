/** What ends a server from outside: signals under `runMain`, and a sibling in a layer that fails. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as Server from "../src/Server.js"
import { isEnd } from "./soak/protocol.js"
import { toLatin1, utf8 } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import { MemoryListener, settle } from "./support/memoryTransport.js"
import { rawConnect, until } from "./support/rawPeer.js"
import { startServer } from "./support/soakPrograms.js"

leavesNoHandles()

describe("a signal under runMain", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.scopedLive(
      `${signal}: who is being served is served, who is idle is closed in order, nobody else gets in`,
      () =>
        Effect.gen(function*() {
          const { port, program } = yield* startServer({ gracePeriod: "3 seconds" })
          const busy = (yield* rawConnect({ host: "127.0.0.1", port })).read()
          const idle = (yield* rawConnect({ host: "127.0.0.1", port })).read().endsToo()
          idle.socket.write("echo idle\n")
          busy.socket.write("echo busy\nwork 500\n")
          yield* until(() => busy.text === "busy\n" && idle.text === "idle\n")

          program.signal(signal)
          const refused = rawConnect({ host: "127.0.0.1", port }).pipe(
            Effect.scoped,
            Effect.catchAllDefect(Effect.succeed)
          )
          while (!((yield* refused) instanceof Error)) {
            // The signal is on its way.
          }
          yield* until(() => busy.text === "busy\n500\n")
          assert.isFalse(busy.ended)
          busy.socket.end()
          yield* until(() => idle.closed && busy.closed)
          assert.isUndefined(idle.code)
          assert.isUndefined(busy.code)
          const { report } = yield* Effect.promise(() => program.said(isEnd))
          // Attempts that came before the signal were served as well.
          assert.isAtLeast(report.finished, 1)
          assert.deepStrictEqual({ ...report, finished: 1 }, { finished: 1, closed: 1, interrupted: 0, aborted: 0 })
          assert.strictEqual(yield* Effect.promise(() => program.exit()), 0)
        }),
      30_000
    )
  }
})

describe("a sibling in a layer that fails", () => {
  it.effect("drains the server before the failure is seen", () =>
    Effect.gen(function*() {
      const listener = new MemoryListener()
      const fail = yield* Deferred.make<void>()
      const Work = Layer.scoped(
        Server.Server,
        Server.make(listener.listen, { gracePeriod: "5 seconds" }, ({ reader, writer }) =>
          Effect.gen(function*() {
            yield* reader.readLine
            yield* Effect.sleep("2 seconds")
            yield* writer.write("done")
          }))
      )
      const Sibling = Layer.effectDiscard(Effect.zipRight(Deferred.await(fail), Effect.fail("no database")))
      const program = yield* Effect.fork(Layer.launch(Layer.merge(Work, Sibling)))
      yield* settle
      const client = listener.dial()
      let received = ""
      let end: string | undefined
      client.start({
        onData: (chunk) => {
          received += toLatin1(chunk)
        },
        onEnd: () => client.end(),
        onDrain: () => {},
        onClosed: (failure) => {
          end = failure?.reason ?? "in order"
        }
      })
      client.write([utf8("work\n")])
      yield* settle
      yield* Deferred.succeed(fail, void 0)
      yield* settle
      assert.strictEqual(listener.closed, 1)
      assert.isNull(program.unsafePoll())
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.await(program), Exit.fail("no database"))
      assert.strictEqual(received, "done")
      assert.strictEqual(end, "in order")
    }))
})
