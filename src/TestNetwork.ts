/**
 * A network in memory, for tests: the same operations, addresses and errors as a real one, and nothing leaves the process.
 *
 * Time is that of Effect's `Clock`, so that under `TestClock` a test decides when what was sent arrives, and can say to the
 * millisecond when it should. Chance comes from a seed. Nothing here needs Node, so that it runs in a browser too.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Connection from "./Connection.js"
import type * as Faults from "./Faults.js"
import * as internal from "./internal/testNetwork/service.js"
import * as Network from "./Network.js"

/**
 * What lies between two ends: how long it takes, how much it carries, and how it cuts.
 *
 * @since 0.1.0
 * @category options
 */
export type LinkConditions = Faults.LinkConditions

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
  /** Further machines, and the numeric addresses of each. Their names can be looked up. */
  readonly hosts?: Readonly<Record<string, string | ReadonlyArray<string>>> | undefined
}

/**
 * What a test can do to the network, and learn of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The network as the program under test sees it, from a machine called `localhost`. */
  readonly network: Network.Service
  /** The network as one of the `hosts` sees it. A host that there is not is a defect. */
  readonly on: (host: string) => Effect.Effect<Network.Service>
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
