/**
 * Listening on TCP.
 *
 * Theory of operation. A listener is one socket for each address. All of them are bound or none: what fails takes the
 * others with it. Three things need more than a call of `listen`.
 *
 * **One port for all.** With port 0 the system chooses for the first address, and the others are to have the same. There
 * it may be taken, so the whole is tried again with another one.
 *
 * **Both families.** Without a host there is one socket on `::`, which takes IPv4 as well, and where there is no IPv6 one
 * on `0.0.0.0`. Next to addresses of IPv4 a socket on `::` has to leave IPv4 to them.
 *
 * **Bound, not serving.** An address that is to refuse until it serves is bound and not listened on. Late releases of
 * Node 24 have a class for that (`net.BoundSocket`). Others have the function that `node:cluster` binds with, undocumented
 * (`net._createServerHandle`), whose result `server.listen` takes as documented. Where there should be neither, the
 * address is listened on, and what connects is reset until it serves: later, but as plainly, refused. So it is in a worker
 * of `node:cluster`, where an address is the primary's, which listens as soon as the first worker asks for it.
 *
 * From `bind` to the last address nothing interrupts, nor from there to the finalizer that closes it: all of this is run
 * where nothing can. None of it waits for anything but the system's own calls (in a worker of `node:cluster`, those of the
 * primary). Only names are looked up before, and there nothing is held.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import cluster from "node:cluster"
import * as Net from "node:net"
import { constants } from "node:os"
import { getSystemErrorName } from "node:util"
import * as Address from "../../Address.js"
import type { ListenError } from "../../NetworkError.js"
import type { Service as ResolverService } from "../../Resolver.js"
import type { Acceptor, Listener, Restore, TcpListenOptions } from "../../Transport.js"
import { addressReason, codeOf } from "../errno.js"
import { ipFamily } from "../ipAddress.js"
import { listenError } from "../listenError.js"
import { type Targets, targetsOf, wildcard } from "../listenTargets.js"
import { Acceptance, listening } from "./acceptance.js"
import { type SocketSettings, socketSettings } from "./socketSettings.js"
import { tcpAddress } from "./transport.js"

const defaultBacklog = 100
/** How often the port that the system chose may be taken on another address. */
const portAttempts = 16

/** `reusePort` came with Node 22.12 and 23.1; before, it is passed over in silence. */
const knowsReusePort = (): boolean => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  return major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12)
}

// ---------------------------------------------------------------------------
// one address
// ---------------------------------------------------------------------------

interface BindOptions {
  readonly host: string
  readonly port: number
  readonly backlog: number
  readonly ipv6Only: boolean
  readonly reusePort: boolean
}

interface BoundAddress {
  readonly address: string
  readonly port: number
}

/** What `server.listen` takes, bound and not yet listened on. */
interface BoundHandle {
  readonly close: () => void
}

interface Binding {
  readonly address: Address.TcpAddress
  readonly server: Net.Server
  readonly options: BindOptions
  handle: BoundHandle | undefined
}

const netWithBinding = Net as typeof Net & {
  readonly BoundSocket?: new(options: object) => BoundHandle & { readonly address: () => BoundAddress }
  readonly _createServerHandle?: (
    host: string,
    port: number,
    family: 4 | 6,
    fd: undefined,
    flags: number
  ) => (BoundHandle & { readonly getsockname: (out: object) => number }) | number
}

// libuv's names for these are internal to Node; the values are part of libuv's interface.
const ipv6OnlyFlag = 1
const reusePortFlag = 2

const errnoError = (errno: number, host: string, port: number): Error => {
  const code = getSystemErrorName(errno)
  return Object.assign(new Error(`bind ${code} ${host}:${port}`), { code, errno, syscall: "bind" })
}

/** Binds and does not listen; `undefined` where Node has no way to. */
const bindOnly = (options: BindOptions): { readonly handle: BoundHandle; readonly bound: BoundAddress } | undefined => {
  const { host, ipv6Only, port, reusePort } = options
  if (netWithBinding.BoundSocket !== undefined) {
    const socket = new netWithBinding.BoundSocket({ host, port, ipv6Only, reusePort })
    return { handle: socket, bound: socket.address() }
  }
  if (netWithBinding._createServerHandle === undefined) {
    return undefined
  }
  const flags = (ipv6Only ? ipv6OnlyFlag : 0) | (reusePort ? reusePortFlag : 0)
  const handle = netWithBinding._createServerHandle(host, port, host.includes(":") ? 6 : 4, undefined, flags)
  if (typeof handle === "number") {
    throw errnoError(handle, host, port)
  }
  // libuv keeps EADDRINUSE for the next call, and a socket on which the bind has failed has no name.
  const bound = { address: "", port: 0 }
  const errno = handle.getsockname(bound)
  if (errno !== 0 || bound.port === 0) {
    handle.close()
    throw errnoError(errno !== 0 ? errno : addressInUse(), host, port)
  }
  return { handle, bound }
}

/** Whether the address is the primary's, and the other workers'. What has `reusePort` a worker binds by itself. */
const sharesAddresses = (options: BindOptions): boolean => cluster.isWorker && !options.reusePort

const addressInUse = (): number => -constants.errno.EADDRINUSE

const serverAddress = (server: Net.Server): Address.TcpAddress | undefined => {
  const address = server.address()
  return typeof address === "object" && address !== null ? tcpAddress(address.address, address.port) : undefined
}

const withServer = (
  acceptance: Acceptance,
  settings: SocketSettings,
  options: BindOptions
): Effect.Effect<Binding, unknown> =>
  Effect.suspend(() => {
    const server = acceptance.server(settings)
    return Effect.map(
      listening(server, acceptance.onError, () => server.listen(options)),
      () => ({ address: serverAddress(server)!, server, options, handle: undefined })
    )
  })

const withoutServer = (
  acceptance: Acceptance,
  settings: SocketSettings,
  options: BindOptions
): Effect.Effect<Binding, unknown> =>
  Effect.suspend(() => {
    let bound: ReturnType<typeof bindOnly>
    try {
      bound = bindOnly(options)
    } catch (error) {
      return Effect.fail(error)
    }
    return bound === undefined ? withServer(acceptance, settings, options) : Effect.succeed({
      address: tcpAddress(bound.bound.address, bound.bound.port),
      server: acceptance.server(settings),
      options,
      handle: bound.handle
    })
  })

/** Frees the address, at once: neither Node nor the system waits for the connections that came by it. */
const unbind = (binding: Binding): void => {
  if (binding.server.listening) {
    binding.server.close()
  }
  binding.handle?.close()
  binding.handle = undefined
}

// ---------------------------------------------------------------------------
// all of them
// ---------------------------------------------------------------------------

/** This machine has no such address, or none of that family. */
const isMissing = (error: unknown): boolean => addressReason(codeOf(error)) === "AddressNotAvailable"

const isTaken = (error: unknown): boolean => addressReason(codeOf(error)) === "AddressInUse"

const bindAll = Effect.fnUntraced(function*(
  targets: Targets,
  options: TcpListenOptions,
  acceptance: Acceptance,
  bind: (options: BindOptions) => Effect.Effect<Binding, unknown>
) {
  const everywhere = targets === wildcard
  const port = options.port ?? 0
  const base = {
    backlog: options.backlog ?? defaultBacklog,
    ipv6Only: options.ipv6Only ?? targets.addresses.some((host) => ipFamily(host) === 4),
    reusePort: options.reusePort ?? false
  }
  for (let attempt = 1;; attempt++) {
    const bound: Array<Binding> = []
    let chosen = port
    let failed: { readonly host: string; readonly error: unknown } | undefined
    const missing = new Set<string>()
    for (const host of targets.addresses) {
      let result = yield* Effect.either(bind({ ...base, host, port: chosen }))
      if (everywhere && !base.ipv6Only && Either.isLeft(result) && isMissing(result.left)) {
        result = yield* Effect.either(bind({ ...base, host: "0.0.0.0", port: chosen }))
      }
      if (Either.isRight(result)) {
        bound.push(result.right)
        chosen = result.right.address.port
      } else if (!(isMissing(result.left) && targets.allowLack(missing.add(host)))) {
        failed = { host, error: result.left }
        break
      }
    }
    if (failed === undefined) {
      return bound as Arr.NonEmptyArray<Binding>
    }
    bound.forEach(unbind)
    // Who has come by one of them while the others were to be bound.
    acceptance.drop()
    const { error, host } = failed
    if (!(port === 0 && chosen !== 0 && isTaken(error) && attempt < portAttempts)) {
      return yield* Effect.fail(listenError(Address.tcp(host, chosen), error))
    }
  }
})

/** Serves on an address that is bound, or that an attempt to serve has lost. */
const serveOn = (binding: Binding, acceptance: Acceptance): Effect.Effect<void, ListenError> => {
  const { address, options, server } = binding
  return server.listening ? Effect.void : Effect.mapError(
    listening(server, acceptance.onError, () => {
      // Without a handle here, the listener could not have been made without listening.
      const handle = binding.handle ?? bindOnly({ ...options, port: address.port })?.handle
      binding.handle = undefined
      server.listen(handle, options.backlog)
    }),
    (error) => listenError(address, error)
  )
}

/**
 * Listens on TCP.
 *
 * **Interruption**
 *
 * To be run where nothing interrupts; `restore` is for the lookup of names, when nothing is bound.
 *
 * **Errors**
 *
 * The `address` of the error is the one that could not be bound. A name that has no address is shown in its place.
 *
 * @internal
 */
export const listenTcp = (
  options: TcpListenOptions,
  acceptor: Acceptor,
  resolver: ResolverService,
  restore: Restore
): Effect.Effect<Listener, ListenError> =>
  Effect.suspend(() => {
    const port = options.port ?? 0
    const hosts = typeof options.host === "string" ? [options.host] : options.host ?? []
    if (options.reusePort === true && !knowsReusePort()) {
      return Effect.fail(listenError(
        Address.tcp(hosts[0] ?? "::", port),
        undefined,
        `reusePort takes Node 22.12, or 23.1 and later; this is ${process.versions.node}`
      ))
    }
    return Effect.flatMap(
      restore(targetsOf(hosts, port, resolver)),
      (targets) => listen(targets, options, acceptor)
    )
  })

const listen = Effect.fnUntraced(function*(
  targets: Targets,
  options: TcpListenOptions,
  acceptor: Acceptor
) {
  const settings = socketSettings(options)
  const acceptance = new Acceptance(acceptor)
  const atOnce = options.startServing !== false
  const bindings = yield* Effect.onError(
    bindAll(
      targets,
      options,
      acceptance,
      (options) => (atOnce || sharesAddresses(options) ? withServer : withoutServer)(acceptance, settings, options)
    ),
    () => Effect.sync(() => acceptance.close())
  )
  let closed = false
  if (atOnce) {
    acceptance.serve()
  } else {
    acceptance.refuse()
  }

  const start = Effect.fnUntraced(function*() {
    for (const binding of bindings) {
      if (closed) {
        return
      }
      yield* serveOn(binding, acceptance)
    }
    acceptance.serve()
  })

  const listener: Listener = {
    addresses: Arr.map(bindings, (binding) => binding.address),
    start: Effect.uninterruptible(Effect.suspend(start)),
    close: Effect.sync(() => {
      closed = true
      acceptance.close()
      bindings.forEach(unbind)
    })
  }
  return listener
})
