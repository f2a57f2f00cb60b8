/** How many connections a server has at once, and what becomes of the others. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as Net from "node:net"
import * as Address from "../src/Address.js"
import { withTls } from "../src/internal/node/tls/listener.js"
import * as Network from "../src/Network.js"
import { OverloadError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as Server from "../src/Server.js"
import { describeTls } from "./support/certificates.js"
import { toLatin1 } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import { client, counts, echo, isDone, serve } from "./support/memoryServer.js"
import { MemoryListener, settle } from "./support/memoryTransport.js"
import { portOf, rawConnect, RawPeer, turns, until } from "./support/rawPeer.js"
import { dialling, identity, listening } from "./support/tlsPeers.js"

leavesNoHandles()

/** The overloads among the reports, as "reason limit refused". */
const overloads = (reports: ReadonlyArray<{ readonly phase: string; readonly cause: Cause.Cause<unknown> }>) =>
  reports.map(({ cause, phase }) => {
    const error = Cause.squash(cause)
    return error instanceof OverloadError ? `${phase} ${error.reason} ${error.limit} ${error.refused}` : String(error)
  })

describe("maxConnections, pausing", () => {
  it.scoped("those on top wait, and are served in the order of arrival as places get free", () =>
    Effect.gen(function*() {
      const { listener, reports, server } = yield* serve(echo, { maxConnections: 2 })
      const clients = Array.from({ length: 5 }, () => client(listener))
      clients.forEach((its, i) => its.send(`${i}`))
      yield* settle
      assert.deepStrictEqual(clients.map((its) => its.text()), ["0", "1", "", "", ""])
      assert.strictEqual((yield* server.connections).length, 2)
      assert.strictEqual(yield* server.waiting, 3)
      assert.isTrue(yield* server.isServing)

      clients[1]!.transport.end()
      yield* settle
      assert.deepStrictEqual(clients.map((its) => its.text()), ["0", "1", "2", "", ""])
      clients[2]!.transport.abort()
      yield* settle
      clients[0]!.transport.end()
      yield* settle
      assert.deepStrictEqual(clients.map((its) => its.text()), ["0", "1", "2", "3", "4"])
      assert.strictEqual(yield* server.waiting, 0)
      clients[3]!.transport.end()
      clients[4]!.transport.end()
      yield* settle
      // All places are free again.
      const again = [client(listener), client(listener), client(listener)]
      again.forEach((its) => its.send("again"))
      yield* settle
      assert.deepStrictEqual(again.map((its) => its.text()), ["again", "again", ""])
      assert.deepStrictEqual(overloads(reports.slice(1)), [])
    }))

  it.scoped("a place is free when the connection has ended and the handler has returned, not before", () =>
    Effect.gen(function*() {
      const { listener } = yield* serve(
        (connection) => Effect.zipRight(Effect.ignore(echo(connection)), Effect.sleep("10 seconds")),
        { maxConnections: 1 }
      )
      const [first, second] = [client(listener), client(listener)]
      second.send("second")
      yield* settle
      first.transport.end()
      yield* settle
      assert.strictEqual(second.text(), "")
      yield* TestClock.adjust("10 seconds")
      yield* settle
      assert.strictEqual(second.text(), "second")
    }))

  it.scoped("what waiting clients send is not read, and one that has gone is noticed when it is its turn", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo, { maxConnections: 1 })
      const first = client(listener)
      const full = client(listener, { window: 1000 })
      const gone = client(listener)
      full.send("x".repeat(5000))
      gone.transport.abort()
      yield* settle
      assert.strictEqual(full.transport.bufferedBytes, 4000)
      first.transport.end()
      yield* settle
      assert.strictEqual(full.text().length, 5000)
      full.transport.end()
      yield* settle
      assert.strictEqual(yield* server.waiting, 0)
      assert.deepStrictEqual(yield* server.connections, [])
    }))

  it.scoped("whoever finds maxWaiting waiting is reset, which is told once a second with the number", () =>
    Effect.gen(function*() {
      const { listener, reports } = yield* serve(echo, { maxConnections: 1, maxWaiting: 2 })
      const clients = Array.from({ length: 10 }, () => client(listener))
      yield* settle
      assert.deepStrictEqual(
        clients.map(({ failure }) => failure?.reason),
        [undefined, undefined, undefined, ...Array.from({ length: 7 }, () => "Reset")]
      )
      assert.deepStrictEqual(overloads(reports), ["accept MaxConnections 1 1"])
      assert.strictEqual(reports[0]!.address, clients[3]!.address)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(overloads(reports), ["accept MaxConnections 1 1", "accept MaxConnections 1 6"])
      client(listener)
      yield* TestClock.adjust("5 seconds")
      client(listener)
      yield* settle
      assert.deepStrictEqual(overloads(reports).slice(2), ["accept MaxConnections 1 1", "accept MaxConnections 1 1"])
    }))

  it.scoped("1000 may wait unless it says otherwise", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo, { maxConnections: 1 })
      const clients = Array.from({ length: 1003 }, () => client(listener))
      yield* settle
      assert.strictEqual(yield* server.waiting, 1000)
      assert.deepStrictEqual(clients.flatMap(({ closed }, i) => closed ? [i] : []), [1001, 1002])
    }))

  it.scoped("handlers that return at once let everyone through, however long the queue", () =>
    Effect.gen(function*() {
      const { listener } = yield* serve(({ writer }) => writer.write("x"), { maxConnections: 1 })
      const clients = Array.from({ length: 500 }, () => client(listener))
      yield* Effect.repeat(settle, { until: () => clients.every(({ closed }) => closed), times: 200 })
      assert.isTrue(clients.every((its) => its.text() === "x"))
    }))

  it.scoped("who waits when the server closes is reset, and who is served is served", () =>
    Effect.gen(function*() {
      const { listener, reports, server } = yield* serve(echo, { maxConnections: 1, maxWaiting: 1 })
      const [first, second] = [client(listener), client(listener)]
      client(listener)
      client(listener)
      yield* settle
      yield* server.close
      yield* settle
      assert.strictEqual(second.failure?.reason, "Reset")
      assert.strictEqual(yield* server.waiting, 0)
      // What was held back is told before it is forgotten.
      assert.deepStrictEqual(overloads(reports), ["accept MaxConnections 1 1", "accept MaxConnections 1 1"])
      first.send("still here")
      yield* settle
      assert.strictEqual(first.text(), "still here")
      const waits = yield* Effect.fork(server.awaitClosed)
      first.transport.end()
      yield* Fiber.join(waits)
    }))

  it.scoped("a shutdown counts those it served alone", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(() => Effect.sleep("1 second"), {
        maxConnections: 2,
        gracePeriod: "5 seconds"
      })
      const clients = Array.from({ length: 6 }, () => client(listener))
      yield* settle
      const shutdown = yield* Effect.fork(server.shutdown())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(counts(yield* Fiber.join(shutdown)), {
        finished: 2,
        closed: 0,
        interrupted: 0,
        aborted: 0
      })
      assert.isTrue(clients.every(({ closed }) => closed))
    }))
})

describe("maxConnections, rejecting", () => {
  it.scoped("those on top are reset at once, until a place is free", () =>
    Effect.gen(function*() {
      const { listener, reports, server } = yield* serve(echo, { maxConnections: 2, onLimit: "reject" })
      const clients = [1, 2, 3, 4].map(() => client(listener))
      yield* settle
      assert.deepStrictEqual(clients.map(({ failure }) => failure?.reason), [undefined, undefined, "Reset", "Reset"])
      assert.strictEqual(yield* server.waiting, 0)
      assert.deepStrictEqual(overloads(reports), ["accept MaxConnections 2 1"])
      clients[0]!.transport.end()
      yield* settle
      const next = client(listener)
      next.send("next")
      yield* settle
      assert.strictEqual(next.text(), "next")
    }))
})

describe("what kept connections from being accepted", () => {
  it.scoped("is told once a second for each code, and handshakes each by itself", () =>
    Effect.gen(function*() {
      const { listener, reports } = yield* serve(echo)
      const fail = (phase: "accept" | "handshake", code: string) =>
        listener.acceptor.onError({ phase, remoteAddress: undefined, error: Object.assign(new Error(code), { code }) })
      for (let i = 0; i < 100; i++) {
        fail("accept", "ENOBUFS")
        fail("accept", "EMFILE")
      }
      fail("handshake", "A")
      fail("handshake", "A")
      yield* settle
      assert.deepStrictEqual(overloads(reports), ["Error: ENOBUFS", "Error: EMFILE", "Error: A", "Error: A"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(overloads(reports).slice(4).sort(), ["Error: EMFILE", "Error: ENOBUFS"])
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(reports.length, 6)
    }))
})

describeTls("maxHandshakes", () => {
  it.scopedLive("those on top wait until one that is under way has ended, well or not", () =>
    Effect.gen(function*() {
      const { port, reports } = yield* listening({ maxHandshakes: 2 }, {}, echo)
      const silent = [yield* rawConnect({ host: "127.0.0.1", port }), yield* rawConnect({ host: "127.0.0.1", port })]
      const outcomes: Array<string> = []
      const clients = yield* Effect.forEach([0, 1, 2], (i) =>
        Effect.fork(Effect.scoped(Effect.gen(function*() {
          const { reader, writer } = yield* dialling(port)
          yield* writer.write(`${i}\n`)
          outcomes.push(toLatin1(yield* reader.readLine).trim())
        }))))
      yield* turns(50)
      assert.deepStrictEqual(outcomes, [])
      silent[0]!.socket.destroy()
      yield* Effect.forEach(clients, Fiber.join)
      assert.deepStrictEqual(outcomes.sort(), ["0", "1", "2"])
      yield* until(() => reports.some(({ phase }) => phase === "handshake"))
    }))

  it.scoped("1000 may wait, and whoever comes then is reset, which is told", () =>
    Effect.gen(function*() {
      const listener = new MemoryListener()
      const reports: Array<{ readonly phase: string; readonly cause: Cause.Cause<unknown>; readonly address: string }> =
        []
      const server = yield* Server.make(
        (acceptor) =>
          withTls({ ...identity(), maxHandshakes: 2 }, Address.tcp("127.0.0.1", 1), acceptor, listener.listen),
        {
          onError: ({ cause, phase, remoteAddress }) =>
            Effect.sync(() => {
              reports.push({
                cause,
                phase,
                address: Option.match(remoteAddress, { onNone: () => "", onSome: Address.format })
              })
            })
        },
        echo
      )
      const clients = Array.from({ length: 1003 }, () => client(listener))
      yield* settle
      assert.deepStrictEqual(clients.flatMap(({ closed }, i) => closed ? [i] : []), [1002])
      assert.strictEqual(clients[1002]!.failure?.reason, "Reset")
      assert.deepStrictEqual(overloads(reports), ["accept MaxHandshakes 2 1"])
      assert.strictEqual(reports[0]!.address, clients[1002]!.address)
      yield* server.close
      yield* settle
      assert.isTrue(clients.every(({ closed }) => closed))
    }))

  it.scopedLive("one that can't be right is told at once", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(listening({ maxHandshakes: 0 }))
      assert(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.include(String(Cause.squash(exit.cause)), "maxHandshakes must be")
    }))

  it.scopedLive("who waits when the server closes is reset", () =>
    Effect.gen(function*() {
      const { port, server } = yield* listening({ maxHandshakes: 1 })
      const address = { host: "127.0.0.1", port }
      const peers = [(yield* rawConnect(address)).read(), (yield* rawConnect(address)).read()]
      yield* turns(50)
      yield* server.close
      yield* until(() => peers.every(({ closed, ended }) => closed || ended))
    }))
})

describe("limits that can't be right", () => {
  for (
    const options of [
      { maxConnections: 0 },
      { maxConnections: 1.5 },
      { maxWaiting: -1 },
      { onLimit: "wait" as "pause" }
    ]
  ) {
    it.scoped(`${JSON.stringify(options)} is told at once`, () =>
      Effect.gen(function*() {
        const [name] = Object.keys(options)
        const exit = yield* Effect.exit(Server.make(new MemoryListener().listen, options, echo))
        assert(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        assert.match(String(Cause.squash(exit.cause)), new RegExp(`IllegalArgumentException: ${name} must be`))
      }))
  }
})

describe("over sockets", () => {
  it.scopedLive("a client that waits keeps what it sent, and is served with it", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0, maxConnections: 1 }, echo)
      const address = { host: "127.0.0.1", port: portOf(server) }
      const first = (yield* rawConnect(address)).read()
      first.socket.write("first")
      yield* until(() => first.text === "first")
      const second = (yield* rawConnect(address)).read()
      const data = "y".repeat(300_000)
      second.socket.end(data)
      while ((yield* server.waiting) === 0) {
        yield* turns(1)
      }
      yield* turns(20)
      assert.strictEqual(second.bytes, 0)
      assert.strictEqual((yield* server.connections).length, 1)
      first.socket.end()
      yield* until(() => second.ended)
      assert.strictEqual(second.text, data)
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("a client that is rejected sees a reset", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer(
        { host: "127.0.0.1", gracePeriod: 0, maxConnections: 1, onLimit: "reject", onError: () => Effect.void },
        echo
      )
      const address = { host: "127.0.0.1", port: portOf(server) }
      const first = (yield* rawConnect(address)).read()
      first.socket.write("first")
      yield* until(() => first.text === "first")
      const second = new RawPeer(Net.connect(address)).read()
      yield* until(() => second.closed)
      assert.strictEqual(second.code, "ECONNRESET")
      first.socket.write(", on")
      yield* until(() => first.text === "first, on")
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("interrupting the whole while clients wait leaves nothing", () =>
    Effect.gen(function*() {
      const waiting = yield* Deferred.make<void>()
      const life = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
        const server = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0, maxConnections: 1 }, echo)
        yield* Effect.forEach([1, 2, 3], () =>
          Effect.forkScoped(
            Effect.scoped(
              Effect.flatMap(
                Network.openConnection({ host: "127.0.0.1", port: portOf(server) }),
                ({ reader }) => reader.readLine
              )
            )
          ), { discard: true })
        while ((yield* server.waiting) < 2) {
          yield* turns(1)
        }
        yield* Deferred.succeed(waiting, void 0)
        return yield* Effect.never
      })))
      yield* Deferred.await(waiting)
      yield* Fiber.interrupt(life)
      assert.isTrue(yield* isDone(life))
    }).pipe(Effect.provide(NodeNetwork.layer)))
})
