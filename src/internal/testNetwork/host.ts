/**
 * A machine of a network in memory: its addresses, and who uses which port and which path.
 */
import * as Address from "../../Address.js"
import type { Acceptor } from "../../Transport.js"
import * as IpAddress from "../ipAddress.js"

/** The first of the ports that are given out (RFC 6335 §6), and the last. */
const firstEphemeral = 49_152
const lastEphemeral = 65_535

/** The machine that a program under test runs on. Its addresses are for documentation (RFC 5737, RFC 3849). */
export const localhost = { name: "localhost", addresses: ["192.0.2.1", "2001:db8::1"] }

/** How a listener takes a connection; `undefined` when it refuses. */
export interface Listening {
  acceptor: Acceptor | undefined
}

/** A hold on one address. */
interface Hold {
  readonly address: Address.TcpAddress
  readonly ipv6Only: boolean
  readonly reusePort: boolean
}

/** That of a listener. What is only bound leaves the address to others, as on Linux with `SO_REUSEADDR`. */
export interface Binding extends Hold {
  readonly listening: Listening
  listens: boolean
}

/** Whether an address is one by which a machine reaches itself. */
export const isLoopback = (address: string): boolean => address === "::1" || address.startsWith("127.")

/** Whether an address stands for any that the machine has. */
export const isWildcard = (address: string): boolean => address === "::" || address === "0.0.0.0"

/** The one way to write an address. Zones mean nothing here. */
export const canonical = (address: string): string => IpAddress.canonical(address.replace(/%.*$/, ""))

/** What is reached by an address; by that of no machine, this one. */
export const dialledAddress = (address: string): string =>
  address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : canonical(address)

const familyOf = (address: string): 4 | 6 => address.includes(":") ? 6 : 4

/** Whether a hold takes what is for an address. */
const covers = (hold: Hold, address: string): boolean =>
  hold.address.host === address ||
  (hold.address.host === "::" && (familyOf(address) === 6 || !hold.ipv6Only)) ||
  (hold.address.host === "0.0.0.0" && familyOf(address) === 4)

const overlap = (a: Hold, b: Hold): boolean => covers(a, b.address.host) || covers(b, a.address.host)

/** @internal */
export class Host {
  private readonly bindings: Array<Binding> = []
  /** Those that connections use which were dialled here, and for each the two addresses of every such connection. */
  private readonly ports: Map<number, Set<string>> = new Map()
  /** The ports that the system chose for connections from any address: nobody else gets those. */
  private readonly chosen: Map<number, Hold> = new Map()
  /** The files of Unix sockets, and their abstract names. Whoever made one that refuses may be gone. */
  readonly sockets: Map<string, Listening> = new Map()
  private nextPort = firstEphemeral
  private turn = 0

  readonly addresses: ReadonlyArray<string>

  constructor(readonly name: string, addresses: ReadonlyArray<string>) {
    this.addresses = addresses.map(canonical)
  }

  /** Whether it is this machine that has the address. */
  has(address: string): boolean {
    return isLoopback(address) || isWildcard(address) || this.addresses.includes(address)
  }

  /** The address from which this machine speaks to another address, if it has one. */
  sourceFor(address: string): string | undefined {
    return this.has(address)
      ? address.startsWith("127.") ? "127.0.0.1" : address
      : this.addresses.find((own) => familyOf(own) === familyOf(address))
  }

  // ---------------------------------------------------------------------------
  // listeners
  // ---------------------------------------------------------------------------

  /** Binds, or says why not, by the system's name for it. */
  bind(binding: Binding): string | undefined {
    if (!this.has(binding.address.host)) {
      return "EADDRNOTAVAIL"
    }
    if (this.isTaken(binding)) {
      return "EADDRINUSE"
    }
    this.bindings.push(binding)
    return undefined
  }

  /** Listens on what is bound, or says why not. */
  listen(binding: Binding): string | undefined {
    if (!binding.listens && this.isTaken(binding)) {
      return "EADDRINUSE"
    }
    binding.listens = true
    return undefined
  }

  private isTaken(hold: Hold): boolean {
    const chosen = this.chosen.get(hold.address.port)
    return (chosen !== undefined && overlap(hold, chosen)) ||
      this.bindings.some((other) => other.listens && conflict(hold, other))
  }

  unbind(binding: Binding): void {
    const index = this.bindings.indexOf(binding)
    if (index >= 0) {
      this.bindings.splice(index, 1)
    }
  }

  /** Who listens for what comes to an address; in turn, where several share it. */
  listeningOn(address: string, port: number): Listening | undefined {
    const all = this.bindings.filter((binding) =>
      binding.address.port === port && covers(binding, address) && binding.listening.acceptor !== undefined
    )
    const exact = all.filter((binding) => binding.address.host === address)
    const best = exact.length > 0 ? exact : all
    return best.length > 1 ? best[this.turn++ % best.length]!.listening : best[0]?.listening
  }

  // ---------------------------------------------------------------------------
  // ports
  // ---------------------------------------------------------------------------

  /** A port that nobody uses, or none, where all are in use. */
  freePort(): number | undefined {
    for (let i = firstEphemeral; i <= lastEphemeral; i++) {
      const port = this.nextPort
      this.nextPort = port === lastEphemeral ? firstEphemeral : port + 1
      if (!this.ports.has(port) && !this.isBound(port)) {
        return port
      }
    }
    return undefined
  }

  private isBound(port: number): boolean {
    return this.bindings.some((binding) => binding.address.port === port)
  }

  /** Why nobody can connect from an address and port, by the system's name for it. Port 0 is any free one. */
  connectFromProblem(address: string, port: number): string | undefined {
    const hold: Hold = { address: Address.tcp(address, port), ipv6Only: false, reusePort: false }
    return !this.has(address)
      ? "EADDRNOTAVAIL"
      : this.isTaken(hold)
      ? "EADDRINUSE"
      : undefined
  }

  /**
   * Takes a port for a connection: that which was asked for, where no other connection has the same two ends; any other
   * number of connections may have it as well. One that was not asked for nobody else has; 0 asks for any.
   */
  takePort(asked: number | undefined, from: string, to: Address.TcpAddress): number | undefined {
    const port = asked === undefined || asked === 0 ? this.freePort() : asked
    if (port === undefined) {
      return undefined
    }
    const connections = this.ports.get(port) ?? new Set()
    const connection = endsOf(from, to)
    if (connections.has(connection)) {
      return undefined
    }
    this.ports.set(port, connections.add(connection))
    if (asked === undefined) {
      this.chosen.set(port, { address: Address.tcp(from, port), ipv6Only: false, reusePort: false })
    }
    return port
  }

  returnPort(from: Address.TcpAddress, to: Address.TcpAddress): void {
    const connections = this.ports.get(from.port)
    connections?.delete(endsOf(from.host, to))
    if (connections?.size === 0) {
      this.ports.delete(from.port)
      this.chosen.delete(from.port)
    }
  }
}

const endsOf = (from: string, to: Address.TcpAddress): string => `${from} ${Address.format(to)}`

const conflict = (a: Hold, b: Hold): boolean =>
  a.address.port === b.address.port && overlap(a, b) && !(a.reusePort && b.reusePort)
