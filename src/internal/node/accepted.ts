/**
 * The transports of connections that a server of ours accepts.
 */
import type * as Net from "node:net"
import * as Address from "../../Address.js"
import { IntakeTransport, lend, lends } from "./intake.js"
import { localOf, ownerOf, remoteOf, SocketTransport, tcpAddress, unnamed } from "./transport.js"
import { lendTo } from "./userBuffer.js"

/** Shared by all sockets: a closure for each would be memory for as long as it is open. */
const lender = {
  buffer: lend,
  callback(this: Net.Socket, size: number, buffer: Uint8Array): boolean {
    return (ownerOf(this) as AcceptedTransport).read(size, buffer)
  }
}

/**
 * The transport of a socket that came paused, and that nobody else reads.
 *
 * @internal
 */
export class AcceptedTransport extends IntakeTransport {
  protected override borrows(): boolean {
    return lends && lendTo(this.stream, lender)
  }
}

/**
 * Makes the transports of one server, which have their local address in common where it listens on a single one.
 *
 * @internal
 */
export class AcceptedTransports {
  private shared: Address.Address | "none" | undefined = undefined

  /** `ours`: the server was made here, and shows its sockets to nobody else. `path` is that of a Unix listener. */
  constructor(
    private readonly server: Net.Server,
    private readonly ours: boolean,
    private readonly path?: string | undefined
  ) {}

  make(socket: Net.Socket): SocketTransport {
    const shared = this.shared ??= this.findShared()
    const local = shared === "none" ? localOf(socket) : shared
    const remote = local._tag === "TcpAddress" ? remoteOf(socket) : unnamed
    return this.ours ? new AcceptedTransport(socket, local, remote) : new SocketTransport(socket, local, remote)
  }

  private findShared(): Address.Address | "none" {
    if (this.path !== undefined) {
      return Address.unix(this.path)
    }
    const address = this.server.address()
    return typeof address !== "object" || address === null || address.address === "::" || address.address === "0.0.0.0"
      ? "none"
      : tcpAddress(address.address, address.port)
  }
}
