/**
 * The conformance kit over every transport that there is.
 */
import { describe, it } from "@effect/vitest"
import * as Conformance from "effect-netstreams/Conformance"
import * as Connection from "effect-netstreams/Connection"
import * as Network from "effect-netstreams/Network"
import * as NodeNetwork from "effect-netstreams/NodeNetwork"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as TestNetwork from "effect-netstreams/TestNetwork"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Net from "node:net"
import { type Duplex, duplexPair } from "node:stream"
import { describeTls } from "./support/certificates.js"
import { leavesNoHandles } from "./support/handles.js"
import { memoryPair } from "./support/memoryTransport.js"
import { temporaryDirectory } from "./support/nodePeers.js"
import { type Ends, tcp, tlsKinds } from "./support/tlsPeers.js"

leavesNoHandles()

/** What the clock of the test is: real sockets want real time. */
const over = {
  live: <E>(cases: ReadonlyArray<Conformance.Case<E>>) => {
    for (const { name, run } of cases) {
      it.live(name, () => run, 60_000)
    }
  },
  virtual: <E>(cases: ReadonlyArray<Conformance.Case<E>>) => {
    for (const { name, run } of cases) {
      it.effect(name, () => run, 60_000)
    }
  }
}

const pairOf = ({ client, server }: Ends) => ({ left: client, right: server })

describe("TCP", () => {
  over.live(Conformance.connection((options) => Effect.map(tcp.open(options), pairOf)))
})

const unix = (options: Connection.Options) =>
  Effect.gen(function*() {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(temporaryDirectory),
      (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
    )
    const accepted = yield* Deferred.make<Connection.Connection>()
    yield* Network.startUnixServer(
      `${directory}/s`,
      { gracePeriod: 0, ...options },
      (connection) => Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)
    )
    const left = yield* Network.openUnixConnection(`${directory}/s`, options)
    return { left, right: yield* Deferred.await(accepted) }
  }).pipe(Effect.provide(NodeNetwork.layer))

describe("Unix sockets", () => {
  over.live(Conformance.connection(unix, { reset: false }))
})

for (const { name, open } of tlsKinds) {
  describeTls(name, () => {
    over.live(Conformance.connection((options) => Effect.map(open(options), pairOf)))
  })
}

/** Both ends taken over from sockets that others have made. */
const adopted = (options: Connection.Options) =>
  Effect.gen(function*() {
    const server = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const server = Net.createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1")
        await once(server, "listening")
        return server
      }),
      (server) => Effect.promise(() => new Promise((resolve) => server.close(resolve)))
    )
    const [left, right] = yield* Effect.promise(async () => {
      const left = Net.connect((server.address() as Net.AddressInfo).port, "127.0.0.1")
      const [[right]] = await Promise.all([once(server, "connection"), once(left, "connect")])
      return [left, right as Net.Socket] as const
    })
    return yield* Effect.all([NodeNetwork.fromSocket(left, options), NodeNetwork.fromSocket(right, options)])
  })

describe("fromSocket", () => {
  over.live(Conformance.connection(adopted))
})

/** Two streams of which one learns when the other is destroyed, as those of a real channel do. */
const linkedDuplexes = () => {
  const [left, right] = duplexPair()
  const link = (from: Duplex, to: Duplex) =>
    from.once("close", () => {
      if (!to.readableEnded) {
        to.destroy(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }))
      }
    })
  link(left, right)
  link(right, left)
  return [left, right] as const
}

const duplexes = (options: Connection.Options) =>
  Effect.suspend(() => {
    const [left, right] = linkedDuplexes()
    return Effect.all([NodeNetwork.fromDuplex(left, options), NodeNetwork.fromDuplex(right, options)])
  })

describe("fromDuplex", () => {
  over.live(Conformance.connection(duplexes))
})

const inMemory = (options: Connection.Options = {}) =>
  Effect.suspend(() => {
    const [left, right] = memoryPair()
    return Effect.all([Connection.fromTransport(left, options), Connection.fromTransport(right, options)])
  })

describe("a transport in memory, on virtual time", () => {
  over.virtual(Conformance.connection(inMemory))
})

describe("a transport in memory, with the options that connections have by default", () => {
  over.virtual(Conformance.connection(inMemory()))
})

const overTestNetwork = (options: Connection.Options) =>
  Effect.gen(function*() {
    const accepted = yield* Deferred.make<Connection.Connection>()
    yield* Network.startServer(
      { port: 7, gracePeriod: 0, ...options },
      (connection) => Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)
    )
    const left = yield* Network.openConnection({ host: "localhost", port: 7, ...options })
    return { left, right: yield* Deferred.await(accepted) }
  }).pipe(Effect.provide(TestNetwork.layer))

describe("the test network", () => {
  over.virtual(Conformance.connection(overTestNetwork))
})

const fragments = (options: Connection.Options) => TestNetwork.pair({ ...options, conditions: { fragment: 1 } })

describe("the test network, with every byte alone", () => {
  over.virtual(Conformance.connection(fragments, { size: 65_536 }))
})

const faraway = (options: Connection.Options) =>
  TestNetwork.pair({
    ...options,
    seed: 7,
    conditions: { latency: "50 millis", jitter: "10 millis", fragment: "random" }
  })

describe("the test network, with a long and uneven link that cuts anywhere", () => {
  over.virtual(Conformance.connection(faraway, { size: 200_000, settle: TestClock.adjust("100 millis") }))
})

describe("the test network, on real time", () => {
  over.live(Conformance.connection((options) => TestNetwork.pair(options)))
})

describe("readers that are fed by hand", () => {
  over.virtual(Conformance.reader<string, never, never>(StreamReader.make, { failure: "boom" }))
})

/** A reader over a stream of what it is fed. */
const overStream = (options: StreamReader.Options) =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<Exit.Exit<Uint8Array, Option.Option<string>>>()
    const reader = yield* StreamReader.fromStream(
      Stream.repeatEffectOption(Effect.flatten(Queue.take(queue))),
      options
    )
    const feed: StreamReader.Feed<string> = {
      data: (bytes) => Effect.asVoid(Queue.offer(queue, Exit.succeed(bytes))),
      eof: Effect.asVoid(Queue.offer(queue, Exit.fail(Option.none()))),
      fail: (error) => Effect.asVoid(Queue.offer(queue, Exit.fail(Option.some(error))))
    }
    return { reader, feed }
  })

describe("readers over a stream", () => {
  over.virtual(Conformance.reader(overStream, { failure: "boom" }))
})

/** A reader of a connection, fed by what its peer writes. */
const overConnection = (options: StreamReader.Options) =>
  Effect.gen(function*() {
    const [near, { writer }] = yield* inMemory(options)
    yield* Effect.addFinalizer(() => near.abort)
    return {
      reader: near.reader,
      feed: {
        data: (bytes: Uint8Array) => Effect.orDie(Effect.zipRight(writer.write(bytes), writer.flush)),
        eof: Effect.orDie(writer.writeEof),
        // Never called: how a peer makes a read fail, and with what, is for the cases of connections.
        fail: () => Effect.void
      }
    }
  })

describe("readers of a connection", () => {
  over.virtual(Conformance.reader(overConnection))
})
