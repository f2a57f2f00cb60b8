/**
 * The network in memory as services.
 */
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Scope from "effect/Scope"
import * as Address from "../../Address.js"
import type { Connection } from "../../Connection.js"
import type * as Network from "../../Network.js"
import type * as Api from "../../TestNetwork.js"
import * as argument from "../argument.js"
import { connectionLimits, openIn, optionProblem } from "../connection.js"
import { ipFamily } from "../ipAddress.js"
import { type LinkImpl, linksByAddress } from "../link.js"
import { applyConditions, conditionProblems, perfect, seedProblem } from "../linkConditions.js"
import * as network from "../network.js"
import { timelineOf } from "../timelineOf.js"
import { backendOf } from "./backend.js"
import { canonical, type Host, isLoopback, isWildcard, localhost } from "./host.js"
import { Recorder } from "./transcript.js"
import { World } from "./world.js"

const list = (addresses: string | ReadonlyArray<string>): ReadonlyArray<string> =>
  typeof addresses === "string" ? [addresses] : addresses

const addressProblem = (name: string, address: string): argument.Problem =>
  ipFamily(address) === 0 ? `the address of ${name} must be numeric, got ${JSON.stringify(address)}` : undefined

/** Every host has a loopback, and reaches itself by it. */
const ownProblem = (name: string, address: string): argument.Problem =>
  isLoopback(canonical(address)) || isWildcard(canonical(address))
    ? `the address of ${name} must be one by which others reach it, got ${JSON.stringify(address)}`
    : undefined

const hostProblems = (hosts: NonNullable<Api.Options["hosts"]>): ReadonlyArray<argument.Problem> => {
  const seen = new Map<string, string>()
  return Object.entries(hosts).flatMap(([name, addresses]) => [
    argument.notEmpty("the name of a host", name),
    ...list(addresses).map((address) => {
      const problem = addressProblem(name, address) ?? ownProblem(name, address)
      if (problem !== undefined) {
        return problem
      }
      const other = seen.get(canonical(address))
      seen.set(canonical(address), name)
      return other === undefined
        ? undefined
        : `the hosts ${other} and ${name} must not both have the address ${address}`
    })
  ])
}

const makeWorld = (options: Pick<Api.Options, "conditions" | "seed" | "tls">, recorder?: Recorder | undefined): World =>
  new World(options.seed ?? 0, applyConditions(perfect, options.conditions ?? {}), recorder, options.tls)

const firstOf = (problems: ReadonlyArray<argument.Problem>): argument.Problem =>
  problems.find((problem) => problem !== undefined)

/** @internal */
export const make = (options: Api.Options = {}): Effect.Effect<Api.Service> => {
  const { hosts = {} } = options
  const problem = firstOf([
    seedProblem(options.seed),
    argument.oneOf("record", options.record, [true, false]),
    ...conditionProblems(options.conditions ?? {}),
    ...hostProblems({ [localhost.name]: localhost.addresses, ...hosts })
  ])
  return problem !== undefined ? argument.illegal(problem) : Effect.clockWith((clock) =>
    Effect.sync(() => {
      const world = makeWorld(
        options,
        options.record === true ? new Recorder(timelineOf(clock)) : undefined
      )
      world.addHost(localhost.name, localhost.addresses)
      for (const [name, addresses] of Object.entries(hosts)) {
        world.addHost(name, list(addresses))
      }
      return new ServiceImpl(world)
    })
  )
}

const timesProblem = (times: number | undefined): argument.Problem =>
  times === Infinity ? undefined : argument.notNegative("times", times)

class ServiceImpl implements Api.Service {
  readonly network: Network.Service
  private readonly networks: Map<Host, Network.Service> = new Map()

  constructor(private readonly world: World) {
    this.network = this.networkOf(world.hosts.get(localhost.name)!)
  }

  private networkOf(host: Host): Network.Service {
    let known = this.networks.get(host)
    if (known === undefined) {
      known = network.make(backendOf(this.world, host))
      this.networks.set(host, known)
    }
    return known
  }

  /** With hosts that there are, by name; absent ones are all others. */
  private withHosts<A>(
    names: ReadonlyArray<string>,
    use: (hosts: ReadonlyArray<Host>) => A
  ): Effect.Effect<A> {
    return Effect.suspend(() => {
      const stranger = names.find((name) => !this.world.hosts.has(name))
      return stranger === undefined
        ? Effect.sync(() => use(names.map((name) => this.world.hosts.get(name)!)))
        : argument.illegal(
          `there is no host ${JSON.stringify(stranger)} in this network, only ${
            Array.from(this.world.hosts.keys()).join(", ")
          }`
        )
    })
  }

  private changing(problems: ReadonlyArray<argument.Problem>, change: () => void): Effect.Effect<void> {
    const problem = firstOf(problems)
    return problem !== undefined ? argument.illegal(problem) : Effect.sync(change)
  }

  readonly on: Api.Service["on"] = (name) => this.withHosts([name], ([host]) => this.networkOf(host!))

  readonly addHost: Api.Service["addHost"] = (name, addresses) =>
    Effect.suspend(() => {
      const known = Object.fromEntries(Array.from(this.world.hosts, ([name, host]) => [name, host.addresses]))
      return this.changing(
        [
          this.world.hosts.has(name) ? `there is a host ${JSON.stringify(name)} already` : undefined,
          ...hostProblems({ ...known, [name]: addresses })
        ],
        () => this.world.addHost(name, list(addresses))
      )
    })

  readonly addName: Api.Service["addName"] = (name, addresses) =>
    this.changing(
      [argument.notEmpty("name", name), ...list(addresses).map((address) => addressProblem(name, address))],
      () => this.world.addName(name, list(addresses))
    )

  readonly addStaleSocket: Api.Service["addStaleSocket"] = (path, host = localhost.name) =>
    this.withHosts([host], ([host]) => {
      if (!host!.sockets.has(path)) {
        host!.sockets.set(path, { acceptor: undefined })
      }
    })

  readonly setConditions: Api.Service["setConditions"] = (conditions) =>
    this.changing(conditionProblems(conditions), () => this.world.setConditions(conditions))

  readonly setConditionsBetween: Api.Service["setConditionsBetween"] = (host, other, conditions) =>
    Effect.zipRight(
      this.changing(conditionProblems(conditions), () => {}),
      this.withHosts([host, other], ([a, b]) => this.world.setConditionsBetween(a!, b!, conditions))
    )

  /** Two sides, by name: the second is all others where it is absent. */
  private withSides(
    hosts: string | ReadonlyArray<string>,
    others: string | ReadonlyArray<string> | undefined,
    use: (some: ReadonlyArray<Host>, others: ReadonlyArray<Host>) => void
  ): Effect.Effect<void> {
    return Effect.suspend(() => {
      const some = list(hosts)
      const rest = others === undefined
        ? Array.from(this.world.hosts.keys()).filter((name) => !some.includes(name))
        : list(others)
      return this.withHosts([...some, ...rest], (all) => use(all.slice(0, some.length), all.slice(some.length)))
    })
  }

  readonly partition: Api.Service["partition"] = (hosts, others) =>
    this.withSides(hosts, others, (some, others) => this.world.partition(some, others))

  readonly heal: Api.Service["heal"] = (hosts, others) =>
    Effect.suspend(() => {
      const all = Array.from(this.world.hosts.keys())
      return this.withSides(
        hosts ?? all,
        others ?? (hosts === undefined ? all : undefined),
        (some, others) => this.world.heal(some, others)
      )
    })

  private plan(
    target: Api.Target,
    failure: Api.Failure,
    plan: (times: number) => void
  ): Effect.Effect<void> {
    return Effect.zipRight(
      this.changing(
        [
          timesProblem(failure.times),
          argument.notEmpty("code", failure.code),
          argument.port("port", target.port)
        ],
        () => {}
      ),
      this.withHosts(target.host === undefined ? [] : [target.host], () => plan(failure.times ?? Infinity))
    )
  }

  readonly failConnect: Api.Service["failConnect"] = (target, failure = {}) =>
    this.plan(target, failure, (times) => this.world.plan.connects.plan(target, failure.code ?? "ECONNREFUSED", times))

  readonly failAccept: Api.Service["failAccept"] = (target, failure = {}) =>
    this.plan(target, failure, (times) => this.world.plan.accepts.plan(target, failure.code ?? "EMFILE", times))

  readonly failLookup: Api.Service["failLookup"] = (name, failure = {}) =>
    this.changing(
      [
        timesProblem(failure.times),
        argument.oneOf("reason", failure.reason, ["NameNotFound", "NoAddress", "Temporary", "Unknown"])
      ],
      () => this.world.plan.failLookup(name, failure.reason ?? "NameNotFound", failure.times ?? Infinity)
    )

  readonly delayLookup: Api.Service["delayLookup"] = (name, delay) =>
    this.changing([argument.duration("delay", delay)], () => this.world.plan.delayLookup(name, delay))

  get transcript(): Effect.Effect<Api.Transcript> {
    const { recorder } = this.world
    return recorder === undefined
      ? argument.illegal("the network records nothing: make it with { record: true }")
      : Effect.sync(() => recorder.transcript)
  }

  get openConnections(): Effect.Effect<number> {
    return Effect.sync(() => this.world.links.size)
  }
}

/** @internal */
export const link = (connection: Connection): Effect.Effect<LinkImpl> => {
  const link = linksByAddress.get(connection.localAddress)
  return link === undefined
    ? argument.illegal("the connection is not one of a test network; Faults.attach gives it a link")
    : Effect.succeed(link)
}

const parallelScope = Effect.flatMap(Effect.scope, (scope) => Scope.fork(scope, ExecutionStrategy.parallel))

/** @internal */
export const pair = (
  options: Api.PairOptions = {}
): Effect.Effect<readonly [Connection, Connection], never, Scope.Scope> => {
  const problem = firstOf([
    seedProblem(options.seed),
    ...conditionProblems(options.conditions ?? {}),
    optionProblem(options)
  ])
  return problem !== undefined ? argument.illegal(problem) : Effect.uninterruptible(
    // Both are closed at once: one after the other, each would wait a moment for its peer, which a test's clock never ends.
    Effect.flatMap(Effect.zip(Effect.clock, parallelScope), ([clock, scope]) => {
      const world = makeWorld(options)
      const host = world.addHost(localhost.name, localhost.addresses)
      const address = () => Address.tcp("127.0.0.1", host.freePort()!)
      const { ends } = world.lay([host, host], address(), address(), timelineOf(clock))
      ends.forEach((end) => {
        end.established = true
      })
      const limits = connectionLimits(options)
      return Effect.zip(openIn(scope, ends[0], limits), openIn(scope, ends[1], limits))
    })
  )
}
