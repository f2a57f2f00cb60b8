/**
 * The network in memory as services.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Address from "../../Address.js"
import type { Connection } from "../../Connection.js"
import type * as Network from "../../Network.js"
import type * as Api from "../../TestNetwork.js"
import * as argument from "../argument.js"
import { connectionLimits, openIn, optionProblems } from "../connection.js"
import { ipFamily } from "../ipAddress.js"
import { applyConditions, conditionProblems, perfect } from "../linkConditions.js"
import * as network from "../network.js"
import { backendOf } from "./backend.js"
import { type Host, localhost } from "./host.js"
import { timelineOf, World } from "./world.js"

const seedProblem = (seed: number | undefined): argument.Problem =>
  seed === undefined || Number.isSafeInteger(seed) ? undefined : `seed must be a whole number, got ${seed}`

const list = (addresses: string | ReadonlyArray<string>): ReadonlyArray<string> =>
  typeof addresses === "string" ? [addresses] : addresses

const hostProblems = (hosts: NonNullable<Api.Options["hosts"]>): ReadonlyArray<argument.Problem> => {
  const seen = new Map<string, string>()
  return Object.entries(hosts).flatMap(([name, addresses]) => [
    argument.notEmpty("hosts: the name of a host", name),
    ...list(addresses).map((address) => {
      const other = seen.get(address)
      seen.set(address, name)
      return ipFamily(address) === 0
        ? `hosts: the address of ${name} must be numeric, got ${JSON.stringify(address)}`
        : other !== undefined
        ? `hosts: ${other} and ${name} must not both have the address ${address}`
        : undefined
    })
  ])
}

const makeWorld = (options: Pick<Api.Options, "conditions" | "seed">): World =>
  new World(options.seed ?? 0, applyConditions(perfect, options.conditions ?? {}))

/** @internal */
export const make = (options: Api.Options = {}): Effect.Effect<Api.Service> => {
  const { hosts = {} } = options
  const problem = [
    seedProblem(options.seed),
    ...conditionProblems(options.conditions ?? {}),
    ...hostProblems(hosts)
  ].find((problem) => problem !== undefined)
  return problem !== undefined ? argument.illegal(problem) : Effect.sync(() => {
    const world = makeWorld(options)
    world.addHost(localhost.name, localhost.addresses)
    for (const [name, addresses] of Object.entries(hosts)) {
      world.addHost(name, list(addresses))
    }
    return serviceOf(world)
  })
}

const serviceOf = (world: World): Api.Service => {
  const networks = new Map<string, Network.Service>()
  const networkOf = (host: Host): Network.Service => {
    const known = networks.get(host.name) ?? network.make(backendOf(world, host))
    networks.set(host.name, known)
    return known
  }
  const on = (name: string) => {
    const host = world.hosts.get(name)
    return host !== undefined
      ? Effect.sync(() => networkOf(host))
      : argument.illegal(
        `there is no host ${JSON.stringify(name)} in this network, only ${Array.from(world.hosts.keys()).join(", ")}`
      )
  }
  return { network: networkOf(world.hosts.get(localhost.name)!), on: (name) => Effect.suspend(() => on(name)) }
}

/** @internal */
export const pair = (
  options: Api.PairOptions = {}
): Effect.Effect<readonly [Connection, Connection], never, Scope.Scope> => {
  const problem = [
    seedProblem(options.seed),
    ...conditionProblems(options.conditions ?? {}),
    ...optionProblems(options)
  ].find((problem) => problem !== undefined)
  return problem !== undefined ? argument.illegal(problem) : Effect.uninterruptible(
    Effect.flatMap(Effect.zip(Effect.clock, Effect.scope), ([clock, scope]) => {
      const world = makeWorld(options)
      const host = world.addHost(localhost.name, localhost.addresses)
      const port = host.takePort(undefined)!
      const link = world.lay(
        [host, host],
        Address.tcp("127.0.0.1", port),
        Address.tcp("127.0.0.1", host.takePort(undefined)!),
        timelineOf(clock)
      )
      link.ends.forEach((end) => {
        end.established = true
      })
      const limits = connectionLimits(options)
      return Effect.zip(openIn(scope, link.ends[0], limits), openIn(scope, link.ends[1], limits))
    })
  )
}
