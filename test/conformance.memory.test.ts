/**
 * The conformance kit over what is in memory: transports, the test network, and readers.
 */
import { describe } from "@effect/vitest"
import * as Conformance from "effect-netstreams/Conformance"
import * as Connection from "effect-netstreams/Connection"
import * as Faults from "effect-netstreams/Faults"
import * as Network from "effect-netstreams/Network"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as TestNetwork from "effect-netstreams/TestNetwork"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { over } from "./support/conformance.js"
import { memoryPair } from "./support/memoryTransport.js"

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

const overUnix = (options: Connection.Options) =>
  Effect.gen(function*() {
    const accepted = yield* Deferred.make<Connection.Connection>()
    yield* Network.startUnixServer(
      "/run/socket",
      { gracePeriod: 0, ...options },
      (connection) => Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)
    )
    const left = yield* Network.openUnixConnection("/run/socket", options)
    return { left, right: yield* Deferred.await(accepted) }
  }).pipe(Effect.provide(TestNetwork.layer))

describe("the test network, over a Unix socket", () => {
  over.virtual(Conformance.connection(overUnix, { reset: false }))
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

const underFaults = (options: Connection.Options) =>
  Effect.gen(function*() {
    const [left, right] = yield* TestNetwork.pair(options)
    const [overLeft] = yield* Faults.attach(left)
    const [overRight] = yield* Faults.attach(right)
    return [overLeft, overRight] as const
  })

describe("the test network, with a further link at each end", () => {
  over.virtual(Conformance.connection(underFaults))
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
