/**
 * A network in memory: its hosts, what lies between them, and the connections there are.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Address from "../../Address.js"
import { makeStatic, type Service as ResolverService } from "../../Resolver.js"
import { clockTimers } from "../clockTimers.js"
import { Pipe, type PipeConditions } from "../pipe.js"
import { mixSeeds, Random } from "../random.js"
import { Timeline } from "../timeline.js"
import { Endpoint, type EndpointObserver } from "../endpoint.js"
import { Host, localhost } from "./host.js"

const timelines = new WeakMap<Clock.Clock, Timeline>()

/** Everything that goes by one clock has one timeline, and so one timer. */
export const timelineOf = (clock: Clock.Clock): Timeline => {
  let timeline = timelines.get(clock)
  if (timeline === undefined) {
    timeline = new Timeline(clockTimers(clock))
    timelines.set(clock, timeline)
  }
  return timeline
}

/** @internal */
export interface Link {
  readonly number: number
  readonly hosts: readonly [Host, Host]
  /** The end that dials, and the one that accepts. */
  readonly ends: readonly [Endpoint, Endpoint]
  /** What the first end writes, and what it reads. */
  readonly pipes: readonly [Pipe, Pipe]
}

/** @internal */
export class World {
  readonly hosts: Map<string, Host> = new Map()
  readonly links: Set<Link> = new Set()
  private names: Readonly<Record<string, ReadonlyArray<string>>> = { localhost: ["127.0.0.1", "::1"] }
  private linkCount = 0

  constructor(readonly seed: number, public conditions: PipeConditions) {}

  readonly resolver: ResolverService = {
    lookup: (host, options) => Effect.suspend(() => makeStatic(this.names).lookup(host, options))
  }

  addHost(name: string, addresses: ReadonlyArray<string>): Host {
    const host = new Host(name, addresses)
    this.hosts.set(name, host)
    if (name !== localhost.name) {
      this.addName(name, addresses)
    }
    return host
  }

  addName(name: string, addresses: ReadonlyArray<string>): void {
    this.names = { ...this.names, [name]: addresses }
  }

  /** The host that an address belongs to, seen from another. */
  hostAt(address: string, from: Host): Host | undefined {
    return from.has(address)
      ? from
      : Array.from(this.hosts.values()).find((host) => host.addresses.includes(address))
  }

  /** Lays a link, over which nothing has been said yet. The addresses are those of the end that dials. */
  lay(hosts: readonly [Host, Host], local: Address.Address, remote: Address.Address, timeline: Timeline): Link {
    const number = ++this.linkCount
    const pipe = (direction: number) =>
      new Pipe(timeline, new Random(mixSeeds(this.seed, 2 * number + direction)), this.conditions)
    const there = pipe(0)
    const back = pipe(1)
    let open = 2
    const observer: EndpointObserver = {
      onSent: () => {},
      onReceived: () => {},
      onGone: () => {
        open -= 1
        if (open === 0) {
          this.forget(link)
        }
      }
    }
    const link: Link = {
      number,
      hosts,
      pipes: [there, back],
      ends: [
        new Endpoint(local, remote, there, back, observer),
        new Endpoint(copyOf(remote), copyOf(local), back, there, observer)
      ]
    }
    this.links.add(link)
    return link
  }

  /** The link is no more, and its port is free. */
  forget(link: Link): void {
    const { localAddress } = link.ends[0]
    if (this.links.delete(link) && localAddress._tag === "TcpAddress") {
      link.hosts[0].returnPort(localAddress.port)
    }
  }
}

const copyOf = (address: Address.Address): Address.Address =>
  address._tag === "TcpAddress"
    ? Address.tcp(address.host, address.port)
    : new Address.UnixAddress({ path: address.path }, { disableValidation: true })
