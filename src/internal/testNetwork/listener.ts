/**
 * Listening in memory. All addresses are bound or none, and with port 0 all have the same one.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Address from "../../Address.js"
import type { ListenError } from "../../NetworkError.js"
import type { Service as ResolverService } from "../../Resolver.js"
import type { Acceptor, Listener, Restore, TcpListenOptions, UnixListenOptions } from "../../Transport.js"
import { errnoError } from "../errnoError.js"
import { ipFamily } from "../ipAddress.js"
import { listenError } from "../listenError.js"
import { type Targets, targetsOf } from "../listenTargets.js"
import { type Binding, canonical, type Host, type Listening } from "./host.js"

const failed = (address: Address.Address, code: string, message?: string): Effect.Effect<never, ListenError> =>
  Effect.fail(listenError(address, errnoError("listen", code, Address.format(address), message)))

const makeListener = (
  addresses: Arr.NonEmptyReadonlyArray<Address.Address>,
  listening: Listening,
  acceptor: Acceptor,
  startServing: boolean | undefined,
  free: () => void
): Listener => {
  let closed = false
  const start = () => {
    if (!closed) {
      listening.acceptor = acceptor
    }
  }
  if (startServing !== false) {
    start()
  }
  return {
    addresses,
    start: Effect.sync(start),
    close: Effect.sync(() => {
      if (!closed) {
        closed = true
        listening.acceptor = undefined
        free()
      }
    })
  }
}

/** Binds every target to one port, or to as many as there are until one is taken. */
const bindAll = (
  host: Host,
  targets: Targets,
  port: number,
  options: TcpListenOptions,
  listening: Listening
): Arr.NonEmptyReadonlyArray<Binding> | { readonly address: Address.TcpAddress; readonly code: string } => {
  const ipv6Only = options.ipv6Only ?? targets.addresses.some((address) => ipFamily(address) === 4)
  const bound: Array<Binding> = []
  const missing = new Set<string>()
  for (const address of targets.addresses) {
    const binding: Binding = {
      address: Address.tcp(canonical(address), port),
      ipv6Only,
      reusePort: options.reusePort ?? false,
      listening
    }
    const code = host.bind(binding)
    if (code === undefined) {
      bound.push(binding)
    } else if (!(code === "EADDRNOTAVAIL" && targets.allowLack(missing.add(address)))) {
      bound.forEach((binding) => host.unbind(binding))
      return { address: binding.address, code }
    }
  }
  return bound as Arr.NonEmptyArray<Binding>
}

/**
 * Listens on the addresses of a host.
 *
 * @internal
 */
export const listenTcp = (
  host: Host,
  options: TcpListenOptions,
  acceptor: Acceptor,
  resolver: ResolverService,
  restore: Restore
): Effect.Effect<Listener, ListenError> =>
  Effect.flatMap(
    restore(
      targetsOf(typeof options.host === "string" ? [options.host] : options.host ?? [], options.port ?? 0, resolver)
    ),
    (targets) => {
      const listening: Listening = { acceptor: undefined }
      // A port that no one uses is free on every address.
      const port = options.port === undefined || options.port === 0 ? host.freePort() : options.port
      if (port === undefined) {
        return failed(Address.tcp(targets.addresses[0]!, 0), "EADDRINUSE", "all ports are in use")
      }
      const bound = bindAll(host, targets, port, options, listening)
      return "code" in bound ? failed(bound.address, bound.code) : Effect.succeed(
        makeListener(
          Arr.map(bound, (binding) => binding.address),
          listening,
          acceptor,
          options.startServing,
          () => bound.forEach((binding) => host.unbind(binding))
        )
      )
    }
  )

/** What Linux allows (`sun_path`), in bytes. */
const longestPath = 107

/** Why a path can't be that of a socket. */
export const pathProblem = (path: string): Error | undefined => {
  const length = new TextEncoder().encode(path).length
  return length <= longestPath ? undefined : errnoError(
    "bind",
    "ENAMETOOLONG",
    path,
    `the path of a socket can have ${longestPath} bytes, and this one has ${length}`
  )
}

/**
 * Listens on a path of a host.
 *
 * @internal
 */
export const listenUnix = (
  host: Host,
  path: string,
  options: UnixListenOptions,
  acceptor: Acceptor
): Effect.Effect<Listener, ListenError> =>
  Effect.suspend(() => {
    const address = Address.unix(path)
    const problem = pathProblem(path)
    if (problem !== undefined) {
      return Effect.fail(listenError(address, problem, problem.message))
    }
    const present = host.sockets.get(path)
    if (present !== undefined && (!present.stale || options.unlinkStale === false)) {
      return failed(address, "EADDRINUSE")
    }
    const socket = { acceptor: undefined, stale: false }
    host.sockets.set(path, socket)
    return Effect.succeed(makeListener([address], socket, acceptor, options.startServing, () => {
      if (host.sockets.get(path) === socket) {
        host.sockets.delete(path)
      }
    }))
  })
