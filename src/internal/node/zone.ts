/**
 * The zones of link-local addresses (RFC 4007): which interface leads there, by its name or its number.
 *
 * What takes the one does not take the other. Windows knows numbers, everyone else names; and Node has a notion of its
 * own of what a name may be, which leaves out those with a `_`. So a number becomes the name it stands for, and an
 * address that Node would take for a name to look up goes to the handle of the socket, past it.
 */
import type * as Net from "node:net"
import { isIPv6 } from "node:net"
import { networkInterfaces } from "node:os"
import { failedToBind } from "../dialLocal.js"
import type { AttemptFailure, AttemptReceiver, Local } from "../dialRace.js"

const windows = process.platform === "win32"

const split = (address: string): readonly [address: string, zone: string | undefined] => {
  const percent = address.indexOf("%")
  return percent === -1 ? [address, undefined] : [address.slice(0, percent), address.slice(percent + 1)]
}

/** The interfaces that are up, by name; with their numbers where they have addresses of IPv6. */
const interfaces = (): ReadonlyMap<string, number | undefined> =>
  new Map(
    Object.entries(networkInterfaces()).map(([name, addresses]) => [
      name,
      addresses?.find((address): address is typeof address & { readonly family: "IPv6" } =>
        address.family === "IPv6" && address.scopeid !== 0
      )?.scopeid
    ])
  )

/** With the name of its interface, where the zone is a number and no name. */
const named = (address: string): string => {
  const [prefix, zone = ""] = split(address)
  if (windows || !/^\d+$/.test(zone)) {
    return address
  }
  const all = interfaces()
  const name = all.has(zone) ? zone : Array.from(all).find(([, number]) => number === Number(zone))?.[0]
  return name === undefined ? address : `${prefix}%${name}`
}

interface Handle {
  connect6?: (request: unknown, address: string, port: number) => number
  bind6?: (address: string, port: number, flags: number) => number
}

const hasZone = (address: string | undefined): address is string => address?.includes("%") === true

/**
 * `socket.connect`, to and from IPv6 addresses of any zone.
 *
 * @internal
 */
export const connectToZone = (socket: Net.Socket, options: Net.NetConnectOpts): void => {
  if (!("port" in options) || !(hasZone(options.host) || hasZone(options.localAddress))) {
    socket.connect(options)
    return
  }
  const host = named(options.host ?? "")
  const localAddress = options.localAddress === undefined ? undefined : named(options.localAddress)
  if (isIPv6(host) && (localAddress === undefined || isIPv6(localAddress))) {
    socket.connect({ ...options, host, localAddress })
    return
  }
  socket.connect({ ...options, host: split(host)[0], localAddress: localAddress && split(localAddress)[0] })
  // Node begins to connect in the next tick.
  const handle = (socket as { readonly _handle?: Handle | null })._handle
  const { bind6, connect6 } = handle ?? {}
  if (handle && connect6 && bind6) {
    handle.connect6 = (request, _, port) => connect6.call(handle, request, host, port)
    handle.bind6 = (address, port, flags) => bind6.call(handle, localAddress ?? address, port, flags)
  }
}

/** Whether an address means something only together with an interface (fe80::/10). */
const isLinkLocal = (address: string | undefined): boolean => address !== undefined && /^fe[89ab]/i.test(address)

/** Why the system took no link-local address, which it tells with one code for all that can't be right. */
const zoneProblem = (address: string): string | undefined => {
  const [, zone] = split(address)
  const all = interfaces()
  return !isLinkLocal(address)
    ? undefined
    : zone === undefined
    ? `a link-local address needs the interface that leads to it, such as ${address}%eth0`
    : all.has(zone) || Array.from(all.values()).includes(Number(zone))
    ? undefined
    : `this machine has no interface ${zone}`
}

const explained = (failure: AttemptFailure, host: string, localAddress: string | undefined): AttemptFailure => {
  if (failure.code !== "EINVAL") {
    return failure
  }
  const isLocal = failedToBind(failure.cause) && localAddress !== undefined
  const problem = zoneProblem(isLocal ? localAddress : host)
  return problem === undefined
    ? failure
    : { ...failure, detail: isLocal ? `the local address ${localAddress}: ${problem}` : problem }
}

/**
 * The receiver of an attempt, which is told what is wrong with the zone of a link-local address.
 *
 * @internal
 */
export const explainingZones = <A>(
  receiver: AttemptReceiver<A>,
  host: string,
  local: Local | undefined
): AttemptReceiver<A> =>
  isLinkLocal(host) || isLinkLocal(local?.address)
    ? {
      onConnected: receiver.onConnected,
      onFailed: (failure) => receiver.onFailed(explained(failure, host, local?.address))
    }
    : receiver
