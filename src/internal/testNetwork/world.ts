/**
 * A network in memory: its hosts, what lies between them, the connections there are, and what a test has planned for them.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Address from "../../Address.js"
import type { LinkConditions } from "../../Faults.js"
import { makeStatic, ResolveError, type Service as ResolverService } from "../../Resolver.js"
import type { TlsProvider } from "../../Transport.js"
import type { Bytes } from "../bytes.js"
import { Endpoint, type EndpointEvent, type EndpointObserver, UnixEndpoint } from "../endpoint.js"
import { Lane, LinkImpl, linksByAddress, override } from "../link.js"
import { applyConditions } from "../linkConditions.js"
import { partitioned, Pipe, type PipeConditions } from "../pipe.js"
import { mixSeeds, Random } from "../random.js"
import type { Timeline } from "../timeline.js"
import { Host, localhost } from "./host.js"
import { FaultPlan } from "./plan.js"
import type { Recorder } from "./transcript.js"

/** A connection, from the moment in which it is dialled. */
export interface Link {
  readonly number: number
  readonly hosts: readonly [Host, Host]
  /** The end that dials, and the one that accepts. */
  readonly ends: readonly [Endpoint, Endpoint]
  /** What the first end writes, and what it reads. */
  readonly lanes: readonly [Lane, Lane]
  readonly timeline: Timeline
  readonly control: LinkImpl
  /** Called when a partition is laid over a connection that is being made. */
  onHeld: (() => void) | undefined
}

/** What the system calls it. */
const lookupCodes: { readonly [Reason in ResolveError["reason"]]: string | undefined } = {
  NameNotFound: "ENOTFOUND",
  NoAddress: "ENOTFOUND",
  Temporary: "EAI_AGAIN",
  Unknown: undefined
}

/** Two hosts, whichever comes first. */
const pairOf = (a: string, b: string): string => [a, b].sort().join("\0")

/** @internal */
export class World {
  readonly hosts: Map<string, Host> = new Map()
  readonly links: Set<Link> = new Set()
  readonly plan: FaultPlan = new FaultPlan()
  private names: Readonly<Record<string, ReadonlyArray<string>>> = { localhost: ["127.0.0.1", "::1"] }
  private resolverOfNames: ResolverService = makeStatic(this.names)
  private linkCount = 0
  private readonly between: Map<string, LinkConditions> = new Map()
  private readonly partitions: Set<string> = new Set()

  constructor(
    readonly seed: number,
    private everywhere: PipeConditions,
    readonly recorder: Recorder | undefined,
    readonly tls: TlsProvider | undefined
  ) {}

  // ---------------------------------------------------------------------------
  // hosts and names
  // ---------------------------------------------------------------------------

  readonly resolver: ResolverService = {
    lookup: (host, options) =>
      Effect.suspend(() => {
        const { delay, reason } = this.plan.lookup(host)
        const answer = reason === undefined
          ? this.resolverOfNames.lookup(host, options)
          : Effect.fail(new ResolveError({ reason, host, family: Option.fromNullable(options?.family) }))
        const coded = Effect.mapError(answer, ({ family, host, reason }) =>
          new ResolveError({ reason, host, family, code: Option.fromNullable(lookupCodes[reason]) }))
        return delay === undefined ? coded : Effect.delay(coded, delay)
      })
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
    this.resolverOfNames = makeStatic(this.names)
  }

  /** The host that an address belongs to, seen from another. */
  hostAt(address: string, from: Host): Host | undefined {
    return from.has(address)
      ? from
      : Array.from(this.hosts.values()).find((host) => host.addresses.includes(address))
  }

  // ---------------------------------------------------------------------------
  // what lies between
  // ---------------------------------------------------------------------------

  private conditionsOf([a, b]: readonly [Host, Host]): PipeConditions {
    const special = this.between.get(pairOf(a.name, b.name))
    return special === undefined ? this.everywhere : applyConditions(this.everywhere, special)
  }

  private isPartitioned([a, b]: readonly [Host, Host]): boolean {
    return a !== b && this.partitions.has(pairOf(a.name, b.name))
  }

  private refresh(): void {
    for (const link of this.links) {
      const conditions = this.conditionsOf(link.hosts)
      link.lanes.forEach((lane) => lane.surround(conditions))
    }
  }

  setConditions(conditions: LinkConditions): void {
    this.everywhere = applyConditions(this.everywhere, conditions)
    this.refresh()
  }

  setConditionsBetween(a: Host, b: Host, conditions: LinkConditions): void {
    const pair = pairOf(a.name, b.name)
    this.between.set(pair, override(this.between.get(pair) ?? {}, conditions))
    this.refresh()
  }

  partition(some: ReadonlyArray<Host>, others: ReadonlyArray<Host>): void {
    some.forEach((a) => others.forEach((b) => this.partitions.add(pairOf(a.name, b.name))))
    for (const link of this.links) {
      if (this.isPartitioned(link.hosts)) {
        link.lanes.forEach(({ pipe }) => pipe.hold(partitioned))
        link.onHeld?.()
      }
    }
  }

  heal(some: ReadonlyArray<Host>, others: ReadonlyArray<Host>): void {
    some.forEach((a) => others.forEach((b) => this.partitions.delete(pairOf(a.name, b.name))))
    for (const link of this.links) {
      if (!this.isPartitioned(link.hosts)) {
        link.lanes.forEach(({ pipe }) => pipe.release(partitioned))
      }
    }
  }

  // ---------------------------------------------------------------------------
  // connections
  // ---------------------------------------------------------------------------

  /** Lays a link, over which nothing has been said yet. The addresses are those of the end that dials. */
  lay(hosts: readonly [Host, Host], local: Address.Address, remote: Address.Address, timeline: Timeline): Link {
    const number = ++this.linkCount
    const conditions = this.conditionsOf(hosts)
    const lane = (direction: number) => {
      const pipe = new Pipe(timeline, new Random(mixSeeds(this.seed, 2 * number + direction)), conditions)
      if (this.isPartitioned(hosts)) {
        pipe.hold(partitioned)
      }
      return new Lane(pipe, conditions)
    }
    const there = lane(0)
    const back = lane(1)
    let open = 2
    const observer: EndpointObserver = {
      onSent: (end, event, bytes) => this.record(link, end, "sent", event, bytes),
      onReceived: (end, event, bytes) => this.record(link, end, "received", event, bytes),
      onGone: () => {
        open -= 1
        if (open === 0) {
          this.forget(link)
        }
      }
    }
    const End = remote._tag === "UnixAddress" ? UnixEndpoint : Endpoint
    const client = new End(local, remote, there.pipe, back.pipe, observer)
    const server = new End(copyOf(remote), copyOf(local), back.pipe, there.pipe, observer)
    client.startTls = this.tls?.upgrade
    server.startTls = this.tls?.upgrade
    const control = new LinkImpl(there, back)
    const link: Link = {
      number,
      hosts,
      timeline,
      control,
      ends: [client, server],
      lanes: [there, back],
      onHeld: undefined
    }
    linksByAddress.set(client.localAddress, control)
    linksByAddress.set(server.localAddress, new LinkImpl(back, there))
    this.links.add(link)
    return link
  }

  private record(link: Link, end: Endpoint, phase: "sent" | "received", event: EndpointEvent, bytes: Bytes): void {
    this.recorder?.note(link, end === link.ends[0] ? "client" : "server", words[phase][event], bytes)
  }

  /** The link is no more, and its port is free. */
  forget(link: Link): void {
    if (this.links.delete(link)) {
      link.ends.forEach((end) => linksByAddress.get(end.localAddress)?.dispose())
      const { localAddress, remoteAddress } = link.ends[0]
      if (localAddress._tag === "TcpAddress" && remoteAddress._tag === "TcpAddress") {
        link.hosts[0].returnPort(localAddress, remoteAddress)
      }
    }
  }
}

const words = {
  sent: { data: "sends", end: "ends", reset: "resets" },
  received: { data: "receives", end: "sees the end", reset: "is reset" }
} as const

const copyOf = (address: Address.Address): Address.Address =>
  address._tag === "TcpAddress"
    ? Address.tcp(address.host, address.port)
    : new Address.UnixAddress({ path: address.path }, { disableValidation: true })
