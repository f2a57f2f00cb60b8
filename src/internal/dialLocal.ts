/**
 * The end of a connection that is on this machine: where an attempt is to be bound, and what to say where that fails.
 */
import type { ResolveError } from "../Resolver.js"
import type { AttemptFailure, Local } from "./dialRace.js"
import { ipFamily } from "./ipAddress.js"

/**
 * A host and port as people write them.
 *
 * @internal
 */
export const formatTarget = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

/**
 * No end of its own.
 *
 * @internal
 */
export const anywhere: ReadonlyArray<Local | undefined> = [undefined]

/** @internal */
export class LocalEnd {
  constructor(
    /** A name or an address, as it was asked for. */
    private readonly host: string | undefined,
    private readonly port: number | undefined,
    /** What that is in addresses. */
    private readonly addresses: ReadonlyArray<string> = host === undefined ? [] : [host]
  ) {}

  /** Where to bind, to connect to an address of a family: the first that can be. Nowhere, if none is of the family. */
  for(family: 4 | 6): ReadonlyArray<Local | undefined> {
    const { host, port } = this
    return host !== undefined
      ? this.addresses.filter((address) => ipFamily(address) === family).map((address) => ({ address, port }))
      : port === undefined
      ? anywhere
      : [{ address: undefined, port }]
  }

  /** Why none can be bound to for a lookup that failed. */
  unresolved(error: ResolveError): string {
    return `the local address ${this.host}: ${error.problem}`
  }

  /** Why none is of the family that all addresses to connect to have. */
  unfit(family: 4 | 6 | undefined): string {
    return `the addresses to connect to are all IPv${family}, and the local address ${this.host} is not`
  }

  /** What there is to say of a failure that is about this end. */
  problemOf({ cause, reason }: AttemptFailure, local: Local | undefined): string | undefined {
    if (local === undefined) {
      return undefined
    }
    const { address, port } = local
    const unnamed = port === undefined ? address : formatTarget(address ?? "*", port)
    const end = address === this.host ? unnamed : `${unnamed} (${this.host})`
    switch (reason) {
      case "AddressInUse":
        return `the local address ${end} is in use`
      case "PermissionDenied":
        return failedToBind(cause) ? `the local address ${end} may not be used` : undefined
      case "AddressNotAvailable":
        return address === undefined
          ? `this machine has no address of that family, or has such a connection from port ${port} already`
          : failedToBind(cause)
          ? `the local address ${end} is not one of this machine's`
          : port === undefined || port === 0
          ? undefined
          : `there is such a connection from ${end} already`
      default:
        return undefined
    }
  }
}

/**
 * Whether it is the local address that an attempt came to grief over, by the system call that failed.
 *
 * @internal
 */
export const failedToBind = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "syscall" in cause && cause.syscall === "bind"
