/**
 * A network in memory, for tests: the same operations, addresses and errors as a real one, and nothing leaves the process.
 *
 * Time is that of Effect's `Clock`, so that under `TestClock`, or in a simulation (`simulate`), a test can say to the
 * millisecond when what was sent arrives. Chance comes from a seed. Nothing here needs Node, so that it runs in a browser
 * too.
 *
 * It does as a kernel and a network do, as far as a program can tell: connecting takes a round trip, the server gets its
 * connection half a round trip later; what was sent before a close arrives, and what nobody read is answered with a reset;
 * a reset drops what had not left; data for an end that is gone brings one back; who has seen the peer's end notices a
 * reset with the next write (`"BrokenPipe"`). Over a Unix socket an abort is an end in order, unless something was left
 * unread. An acknowledgement takes no time, so what a reader takes makes room for the writer at once.
 *
 * Under `TestClock` everything that is due at one moment is woken in one go, where a real event loop, as a simulation does,
 * takes one event after the other: of two reads that race, both may have taken their bytes when one wins.
 *
 * What it does not have: packets that are lost and sent again (a partition holds them back, however long), queues that
 * connections wait in to be accepted (`backlog`), permissions (`mode`, ports below 1024), and directories: a socket may
 * have any path that Linux has room for, and is found by that path as it was written. `noDelay`, `keepAlive` and
 * `lookupHints` are taken, and change nothing.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Address from "./Address.js"
import type * as Connection from "./Connection.js"
import type * as Faults from "./Faults.js"
import * as simulation from "./internal/simulate.js"
import * as internal from "./internal/testNetwork/service.js"
import * as Network from "./Network.js"
import type * as Resolver from "./Resolver.js"
import type * as Transport from "./Transport.js"

/**
 * What lies between two ends: how long it takes, how much it carries, and how it cuts.
 *
 * @since 0.1.0
 * @category options
 */
export type LinkConditions = Faults.LinkConditions

/**
 * What lies between a connection and its peer, in the hands of a test.
 *
 * @since 0.1.0
 * @category models
 */
export type Link = Faults.Link

/**
 * How to make a network.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** What all connections are like: perfect by default. */
  readonly conditions?: LinkConditions | undefined
  /** What chance goes by: 0 by default. The same seed gives the same jitter and the same cuts. */
  readonly seed?: number | undefined
  /**
   * Further machines, and the numeric addresses of each, which can't be those of a loopback: that every machine has for
   * itself. Their names can be looked up.
   */
  readonly hosts?: Readonly<Record<string, string | ReadonlyArray<string>>> | undefined
  /** Whether everything is noted that the connections do, for `transcript`: no by default, for it keeps every byte. */
  readonly record?: boolean | undefined
  /**
   * How TLS is made: not at all by default. `NodeNetwork.tls` is that of `node:tls`, which takes real time and chance for
   * its handshakes.
   */
  readonly tls?: Transport.TlsProvider | undefined
}

/**
 * Which connections are meant: those to a host, a port, a path. What is absent is any.
 *
 * @since 0.1.0
 * @category options
 */
export interface Target {
  /** The name of a host. */
  readonly host?: string | undefined
  readonly port?: number | undefined
  /** The path of a Unix socket. */
  readonly path?: string | undefined
}

/**
 * How something fails.
 *
 * @since 0.1.0
 * @category options
 */
export interface Failure {
  /** The system's name for it, such as `"ECONNREFUSED"`. */
  readonly code?: string | undefined
  /** How often it happens: always by default; 0 puts an end to it. */
  readonly times?: number | undefined
}

/**
 * How a lookup fails.
 *
 * @since 0.1.0
 * @category options
 */
export interface LookupFailure {
  /** `"NameNotFound"` by default. */
  readonly reason?: Resolver.ResolveError["reason"] | undefined
  /** How often it happens: always by default; 0 puts an end to it. */
  readonly times?: number | undefined
}

/**
 * One thing that an end of a connection did, or that happened to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TranscriptEvent {
  /** Since the network was made; where it was made under another clock, since that of the connection began. */
  readonly at: Duration.Duration
  /**
   * Connections are numbered from 1, in the order in which they are dialled. One that fails has a number, too, unless it
   * was never sent for: where there is no way to a host, or no port to dial from, nothing is noted.
   */
  readonly connection: number
  readonly client: Address.Address
  readonly server: Address.Address
  readonly by: "client" | "server"
  readonly what:
    | "dials"
    | "connects"
    | "fails"
    | "accepts"
    | "sends"
    | "receives"
    | "ends"
    | "sees the end"
    | "resets"
    | "is reset"
  /** What was sent or received. */
  readonly bytes: Uint8Array
  /** Why it failed to connect, by the system's name; `None` where it was given up. */
  readonly code: Option.Option<string>
}

/**
 * @since 0.1.0
 * @category options
 */
export interface TranscriptFormat {
  /** Whether to show what arrives, or only what is sent: true. */
  readonly received?: boolean | undefined
  /** How many bytes to show of each piece: 120. */
  readonly maxBytes?: number | undefined
}

/**
 * Who sent what to whom, when it arrived, and how it ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transcript {
  readonly events: ReadonlyArray<TranscriptEvent>
  /**
   * A line for each event, to be read by a person and compared with a snapshot:
   *
   * ```text
   *  0 ms  #1 client dials 127.0.0.1:25 from 127.0.0.1:49152
   * 20 ms  #1 client connects
   * 20 ms  #1 client sends 8 bytes: "EHLO x\\r\\n"
   * ```
   */
  format(options?: TranscriptFormat | undefined): string
  /** `format` without options. */
  toString(): string
}

/**
 * What a test can do to the network, and learn of it. Each method exists as an accessor of the same name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The network as the program under test sees it, from a machine called `localhost`. */
  readonly network: Network.Service
  readonly on: (host: string) => Effect.Effect<Network.Service>
  readonly addHost: (name: string, addresses: string | ReadonlyArray<string>) => Effect.Effect<void>
  readonly addName: (name: string, addresses: string | ReadonlyArray<string>) => Effect.Effect<void>
  readonly addStaleSocket: (path: string, host?: string | undefined) => Effect.Effect<void>
  readonly setConditions: (conditions: LinkConditions) => Effect.Effect<void>
  readonly setConditionsBetween: (host: string, other: string, conditions: LinkConditions) => Effect.Effect<void>
  readonly partition: (
    hosts: string | ReadonlyArray<string>,
    others?: string | ReadonlyArray<string> | undefined
  ) => Effect.Effect<void>
  readonly heal: (
    hosts?: string | ReadonlyArray<string> | undefined,
    others?: string | ReadonlyArray<string> | undefined
  ) => Effect.Effect<void>
  readonly failConnect: (target: Target, failure?: Failure | undefined) => Effect.Effect<void>
  readonly failAccept: (target: Target, failure?: Failure | undefined) => Effect.Effect<void>
  readonly failLookup: (name: string, failure?: LookupFailure | undefined) => Effect.Effect<void>
  readonly delayLookup: (name: string, delay: Duration.DurationInput) => Effect.Effect<void>
  readonly transcript: Effect.Effect<Transcript>
  readonly openConnections: Effect.Effect<number>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class TestNetwork extends Context.Tag("effect-netstreams/TestNetwork")<TestNetwork, Service>() {}

/**
 * A network by itself, as a value.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options?: Options | undefined) => Effect.Effect<Service> = internal.make

/**
 * A network in memory, with one machine, `localhost`, and perfect links.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Network, TestNetwork } from "effect-netstreams"
 * import { Effect, Stream } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const server = yield* Network.startServer({ port: 7 }, ({ reader, writer }) =>
 *     reader.bytes.pipe(Stream.run(writer.sink)))
 *   const { reader, writer } = yield* Network.openConnection({ host: "localhost", port: 7 })
 *   yield* writer.write("hello\n")
 *   return yield* reader.readLine
 * }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer))
 * ```
 */
export const layer: Layer.Layer<Network.Network | TestNetwork> = Layer.suspend(() => layerWith({}))

/**
 * A network in memory, as the options have it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<Network.Network | TestNetwork> =>
  Layer.effectContext(
    Effect.map(make(options), (service) =>
      Context.make(TestNetwork, service).pipe(Context.add(Network.Network, service.network)))
  )

/**
 * Runs a program as on another machine of the network: what it opens and serves, it does from there.
 *
 * @since 0.1.0
 * @category combinators
 * @example
 * ```ts
 * import { Network, TestNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   yield* Network.startServer({ port: 5432 }, ({ writer }) => writer.write("ready\n")).pipe(
 *     TestNetwork.runOn("db")
 *   )
 *   const { reader } = yield* Network.openConnection({ host: "db", port: 5432 })
 *   return yield* reader.readLine
 * }).pipe(Effect.scoped, Effect.provide(TestNetwork.layerWith({ hosts: { db: "192.0.2.5" } })))
 * ```
 */
export const runOn: {
  (host: string): <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, TestNetwork | Exclude<R, Network.Network>>
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    host: string
  ): Effect.Effect<A, E, TestNetwork | Exclude<R, Network.Network>>
} = dual(
  2,
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    host: string
  ): Effect.Effect<A, E, TestNetwork | Exclude<R, Network.Network>> =>
    Effect.flatMap(
      TestNetwork,
      (testNetwork) => Effect.provideServiceEffect(effect, Network.Network, testNetwork.on(host))
    )
)

/**
 * Runs a program in simulated time: whenever it can't go on but for time, it is at once as late as it waits for.
 *
 * **Details**
 *
 * It is `TestClock` that needs no adjusting: the time begins at 0, sleeps and timeouts and links take exactly what they
 * say, and a day with a million messages is over in seconds. What is due at the same time happens in the order in which it
 * was planned; only of what one connection receives at that time, each piece waits until the one before has been seen.
 * So the program, its scope and its servers' handlers can be written as they are, where under `TestClock` they have to run
 * in a fiber of their own while the test adjusts.
 *
 * The time stands still while the program can go on, however much there is to do. A program that never rests (it polls by
 * yielding, or writes without end to a reader without pause over a perfect link) would stop it for good. So, after its
 * fibers have had half a million turns without a rest, time flows all the same, a millisecond for every 512 of them.
 *
 * Only what Effect's `Clock` knows of is waited for: for what comes from elsewhere (real sockets, files, `node:tls`) the
 * time does not stand still.
 *
 * A program that waits for what nothing can bring about any more dies, and says at which time, instead of hanging. (After
 * two seconds in which nothing happened; the one thing here that goes by real time.) It is interrupted, and its finalizers
 * have the simulated time that they take; where it can't be interrupted, or a finalizer is stuck as well, it is left behind.
 *
 * **Interruption** interrupts the program, and waits for its finalizers in the same way.
 *
 * @since 0.1.0
 * @category combinators
 * @example
 * ```ts
 * import { Network, TestNetwork } from "effect-netstreams"
 * import { Clock, Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   yield* Network.startServer({ port: 7 }, ({ writer }) =>
 *     Effect.zipRight(Effect.sleep("1 hour"), writer.write("at last\n")))
 *   const { reader } = yield* Network.openConnection({ host: "localhost", port: 7 })
 *   yield* reader.readLine
 *   return yield* Clock.currentTimeMillis // 3 600 150: an hour, and three times 50 ms
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(TestNetwork.layerWith({ conditions: { latency: "50 millis" } })),
 *   TestNetwork.simulate
 * )
 * ```
 */
export const simulate: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = simulation.simulate

const operation = <Args extends ReadonlyArray<unknown>, A>(
  act: (service: Service, ...args: Args) => Effect.Effect<A>
) =>
(...args: Args): Effect.Effect<A, never, TestNetwork> => Effect.flatMap(TestNetwork, (service) => act(service, ...args))

/**
 * Adds a machine. Its addresses are numeric, and its name can be looked up.
 *
 * @since 0.1.0
 * @category operations
 */
export const addHost: (
  name: string,
  addresses: string | ReadonlyArray<string>
) => Effect.Effect<void, never, TestNetwork> = operation((service, name, addresses) => service.addHost(name, addresses))

/**
 * Lets a name be looked up, or changes what it stands for. With an empty list it exists, and has no address.
 *
 * @since 0.1.0
 * @category operations
 */
export const addName: (
  name: string,
  addresses: string | ReadonlyArray<string>
) => Effect.Effect<void, never, TestNetwork> = operation((service, name, addresses) => service.addName(name, addresses))

/**
 * Leaves the file of a Unix socket whose server is gone, as one that crashed does, on `localhost` by default.
 *
 * @since 0.1.0
 * @category operations
 */
export const addStaleSocket: (
  path: string,
  host?: string | undefined
) => Effect.Effect<void, never, TestNetwork> = operation((service, path, host) => service.addStaleSocket(path, host))

/**
 * Changes what all connections are like, those that are open and those to come. What is not said stays as it is.
 *
 * **Details**
 *
 * What was told between two hosts, or to a connection's own link, goes before this. What is on its way arrives when it
 * would have.
 *
 * @since 0.1.0
 * @category operations
 */
export const setConditions: (conditions: LinkConditions) => Effect.Effect<void, never, TestNetwork> = operation((
  service,
  conditions
) => service.setConditions(conditions))

/**
 * Changes what connections between two hosts are like, whichever dials. `localhost` is a host, too.
 *
 * @since 0.1.0
 * @category operations
 */
export const setConditionsBetween: (
  host: string,
  other: string,
  conditions: LinkConditions
) => Effect.Effect<void, never, TestNetwork> = operation((service, host, other, conditions) =>
  service.setConditionsBetween(host, other, conditions)
)

/**
 * Cuts hosts off from others, or from all others. Nothing arrives from one side at the other until `heal`.
 *
 * **Details**
 *
 * Open connections stay open and notice nothing: what is sent arrives after the healing, as TCP sends again until it is
 * acknowledged. A connection that is dialled meanwhile times out after 127 seconds, as on Linux, unless it heals before.
 *
 * @since 0.1.0
 * @category operations
 * @example
 * ```ts
 * import { TestNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const outage = TestNetwork.partition("db").pipe(
 *   Effect.zipRight(Effect.sleep("30 seconds")),
 *   Effect.zipRight(TestNetwork.heal("db"))
 * )
 * ```
 */
export const partition: (
  hosts: string | ReadonlyArray<string>,
  others?: string | ReadonlyArray<string> | undefined
) => Effect.Effect<void, never, TestNetwork> = operation((service, hosts, others) => service.partition(hosts, others))

/**
 * Ends partitions: between hosts and others, between hosts and all others, or all of them.
 *
 * @since 0.1.0
 * @category operations
 */
export const heal: (
  hosts?: string | ReadonlyArray<string> | undefined,
  others?: string | ReadonlyArray<string> | undefined
) => Effect.Effect<void, never, TestNetwork> = operation((service, hosts, others) => service.heal(hosts, others))

/**
 * Lets attempts to connect fail, whoever listens: `"ECONNREFUSED"` by default. `"ETIMEDOUT"` takes the 127 seconds that
 * it takes on Linux.
 *
 * @since 0.1.0
 * @category operations
 * @example
 * ```ts
 * import { TestNetwork } from "effect-netstreams"
 *
 * // The first two attempts are refused, and the third succeeds.
 * const restarting = TestNetwork.failConnect({ port: 5432 }, { times: 2 })
 * ```
 */
export const failConnect: (
  target: Target,
  failure?: Failure | undefined
) => Effect.Effect<void, never, TestNetwork> = operation((service, target, failure) =>
  service.failConnect(target, failure)
)

/**
 * Lets a server fail to accept: `"EMFILE"` by default. The client has been connected by then, and is reset.
 *
 * @since 0.1.0
 * @category operations
 */
export const failAccept: (
  target: Target,
  failure?: Failure | undefined
) => Effect.Effect<void, never, TestNetwork> = operation((service, target, failure) =>
  service.failAccept(target, failure)
)

/**
 * Lets a name not be found, or its lookup fail otherwise. A resolver of the program's own is not affected.
 *
 * @since 0.1.0
 * @category operations
 */
export const failLookup: (
  name: string,
  failure?: LookupFailure | undefined
) => Effect.Effect<void, never, TestNetwork> = operation((service, name, failure) => service.failLookup(name, failure))

/**
 * Lets the lookup of a name take so long. `0` makes it quick again.
 *
 * @since 0.1.0
 * @category operations
 */
export const delayLookup: (
  name: string,
  delay: Duration.DurationInput
) => Effect.Effect<void, never, TestNetwork> = operation((service, name, delay) => service.delayLookup(name, delay))

/**
 * What the connections have done so far. The network must have been made with `record`; else it is a defect.
 *
 * @since 0.1.0
 * @category accessors
 */
export const transcript: Effect.Effect<Transcript, never, TestNetwork> = Effect.flatMap(
  TestNetwork,
  (service) => service.transcript
)

/**
 * How many connections there are, those that are being made or closed among them. At the end of a test it is 0, if the
 * program has left none behind.
 *
 * @since 0.1.0
 * @category accessors
 */
export const openConnections: Effect.Effect<number, never, TestNetwork> = Effect.flatMap(
  TestNetwork,
  (service) => service.openConnections
)

/**
 * What lies between the two machines of a connection, seen from this end: what can be done to it while it lives.
 *
 * **Details**
 *
 * It is for connections of a test network, dialled, accepted, or of a `pair`; any other is a defect (`Faults.attach` gives
 * it a link). What is laid over a connection (TLS, faults) leaves its link as it is.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { TestNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const [client, server] = yield* TestNetwork.pair()
 *   const link = yield* TestNetwork.link(client)
 *   yield* link.resetAfter(5)
 *   yield* server.writer.write("hello world")
 *   return yield* client.reader.readAll().pipe(Effect.flip) // after "hello": ECONNRESET
 * }).pipe(Effect.scoped)
 * ```
 */
export const link: (connection: Connection.Connection) => Effect.Effect<Link> = internal.link

/**
 * What the two ends of a pair are told, and what lies between them.
 *
 * @since 0.1.0
 * @category options
 */
export interface PairOptions extends Connection.Options {
  /** Perfect by default. */
  readonly conditions?: LinkConditions | undefined
  /** What chance goes by: 0 by default. */
  readonly seed?: number | undefined
  /** How `startTls` makes TLS: not at all by default. */
  readonly tls?: Transport.TlsProvider | undefined
}

/**
 * Two connections that are each other's peer, without a server and without a service. The scope closes them.
 *
 * **Details**
 *
 * The first is as if it had dialled, the second as if it had been accepted.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { TestNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const [client, server] = yield* TestNetwork.pair({ conditions: { fragment: 1 } })
 *   yield* client.writer.write("a line\n")
 *   return yield* server.reader.readLine
 * }).pipe(Effect.scoped)
 * ```
 */
export const pair: (
  options?: PairOptions | undefined
) => Effect.Effect<readonly [Connection.Connection, Connection.Connection], never, Scope.Scope> = internal.pair
