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
import { isAbstract, problemOf } from "../unixPath.js"
import { type Binding, canonical, type Host, type Listening } from "./host.js"

interface Problem {
  readonly address: Address.Address
  readonly code: string
  readonly message?: string | undefined
}

const failed = ({ address, code, message }: Problem): Effect.Effect<never, ListenError> =>
  Effect.fail(listenError(address, errnoError("listen", code, Address.format(address), message), message))

/** `listen` says why the address can't be listened on, by the address and the system's name for it. */
const makeListener = (
  addresses: Arr.NonEmptyReadonlyArray<Address.Address>,
  listening: Listening,
  acceptor: Acceptor,
  startServing: boolean | undefined,
  listen: () => Problem | undefined,
  free: () => void
): Effect.Effect<Listener, ListenError> => {
  let closed = false
  const start = Effect.suspend(() => {
    const problem = closed ? undefined : listen()
    if (problem !== undefined) {
      return failed(problem)
    }
    if (!closed) {
      listening.acceptor = acceptor
    }
    return Effect.void
  })
  const listener: Listener = {
    addresses,
    start,
    close: Effect.sync(() => {
      if (!closed) {
        closed = true
        listening.acceptor = undefined
        free()
      }
    })
  }
  return Effect.as(startServing === false ? Effect.void : Effect.onError(start, () => listener.close), listener)
}

/** Binds every target to one port, and listens there if that is wanted. */
const bindAll = (
  host: Host,
  targets: Targets,
  port: number,
  options: TcpListenOptions,
  listening: Listening
): Arr.NonEmptyReadonlyArray<Binding> | Problem => {
  const ipv6Only = options.ipv6Only ?? targets.addresses.some((address) => ipFamily(address) === 4)
  const bound: Array<Binding> = []
  const missing = new Set<string>()
  for (const address of targets.addresses) {
    const binding: Binding = {
      address: Address.tcp(canonical(address), port),
      ipv6Only,
      reusePort: options.reusePort ?? false,
      listens: false,
      listening
    }
    const code = host.bind(binding) ?? (options.startServing === false ? undefined : host.listen(binding))
    if (code === undefined) {
      bound.push(binding)
    } else if (!(code === "EADDRNOTAVAIL" && targets.allowLack(missing.add(address)))) {
      bound.forEach((binding) => host.unbind(binding))
      return { address: binding.address, code }
    }
  }
  return bound as Arr.NonEmptyArray<Binding>
}

/** Listens on all that is bound, or on as much as there is until one is taken. */
const listenOnAll = (host: Host, bindings: ReadonlyArray<Binding>): Problem | undefined => {
  for (const binding of bindings) {
    const code = host.listen(binding)
    if (code !== undefined) {
      return { address: binding.address, code }
    }
  }
  return undefined
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
        return failed({
          address: Address.tcp(targets.addresses[0]!, 0),
          code: "EADDRINUSE",
          message: "all ports are in use"
        })
      }
      const bound = bindAll(host, targets, port, options, listening)
      return "code" in bound ? failed(bound) : makeListener(
        Arr.map(bound, (binding) => binding.address),
        listening,
        acceptor,
        options.startServing,
        () => listenOnAll(host, bound),
        () => bound.forEach((binding) => host.unbind(binding))
      )
    }
  )

/**
 * Listens on a path of a host, or on an abstract name.
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
    const problem = problemOf(path, "linux")
    if (problem !== undefined) {
      return Effect.fail(listenError(address, problem, problem.message))
    }
    const present = host.sockets.get(path)
    // A file on which nobody listens is there for the taking.
    if (present !== undefined && (present.acceptor !== undefined || options.unlinkStale === false)) {
      return failed({ address, code: "EADDRINUSE" })
    }
    const socket: Listening = { acceptor: isAbstract(path) ? refusing : undefined }
    host.sockets.set(path, socket)
    return makeListener(
      [address],
      socket,
      acceptor,
      options.startServing,
      () => {
        const present = host.sockets.get(path)
        if (present === undefined || present === socket) {
          host.sockets.set(path, socket)
          return undefined
        }
        return { address, code: "EADDRINUSE", message: "another server has taken the place" }
      },
      () => {
        if (host.sockets.get(path) === socket) {
          host.sockets.delete(path)
        }
      }
    )
  })

/** An abstract name can't be had without listening on it. */
const refusing: Acceptor = { onTransport: (transport) => transport.abort(), onError: () => {} }
