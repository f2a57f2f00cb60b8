import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Connection from "../Connection.js"
import type * as Api from "../Network.js"
import type { Backend, Restore, SocketOptions, Transport } from "../Transport.js"
import * as argument from "./argument.js"
import { openWith, optionProblem, scopeOf, tlsProblem } from "./connection.js"
import { maskOnce } from "./once.js"
import * as server from "./server.js"

const booleans = [true, false]
const families = [4, 6]

/** @internal */
export const socketProblem = (options: SocketOptions): argument.Problem =>
  argument.oneOf("noDelay", options.noDelay, booleans) ??
    (typeof options.keepAlive === "boolean" ? undefined : argument.duration("keepAlive", options.keepAlive))

/** `both host and path`, which types forbid and programs without them try. */
const noPath = (options: object): argument.Problem =>
  "path" in options && options.path !== undefined
    ? `path must not be given with host and port, got ${JSON.stringify(options.path)}; use the Unix variant`
    : undefined

const noHost = (options: object): argument.Problem =>
  "host" in options && options.host !== undefined
    ? `host must not be given with a path, got ${JSON.stringify(options.host)}`
    : "port" in options && options.port !== undefined
    ? `port must not be given with a path, got ${JSON.stringify(options.port)}`
    : undefined

const hostProblems = (host: string | ReadonlyArray<string> | undefined): ReadonlyArray<argument.Problem> =>
  Array.isArray(host)
    ? host.length === 0
      ? ["host must not be an empty list, got []"]
      : host.map((host) => argument.given("host", host) ?? argument.host("host", host))
    : [argument.host("host", host as string | undefined)]

/** @internal */
export const make = (backend: Backend): Api.Service => ({
  openConnection: (options) =>
    open(
      options,
      noPath(options) ??
        argument.given("host", options.host) ??
        argument.host("host", options.host) ??
        argument.given("port", options.port) ??
        argument.port("port", options.port) ??
        argument.oneOf("family", options.family, families) ??
        argument.lookupHints(options.lookupHints) ??
        argument.host("localAddress", options.localAddress) ??
        argument.port("localPort", options.localPort) ??
        argument.duration("happyEyeballsDelay", options.happyEyeballsDelay) ??
        argument.positive("interleave", options.interleave) ??
        argument.duration("connectTimeout", options.connectTimeout) ??
        (typeof options.tls === "object" ? tlsProblem("tls: ", options.tls) : undefined) ??
        socketProblem(options) ??
        optionProblem(options),
      (restore) => {
        const host = unbracketed(options.host)
        return backend.connect(host === options.host ? options : { ...options, host }, restore)
      }
    ),

  openUnixConnection: (path, options = {}) => {
    const tls = options.tls === false ? undefined : options.tls
    return open(
      options,
      noHost(options) ??
        argument.given("path", path) ??
        argument.notEmpty("path", path) ??
        argument.duration("connectTimeout", options.connectTimeout) ??
        (tls === undefined ? undefined : tlsProblem("tls: ", tls)) ??
        (tls !== undefined && tls.verify !== false && tls.serverName === undefined
          ? "tls: serverName must say whom the certificate must be for, unless verify is false, got undefined"
          : undefined) ??
        optionProblem(options),
      (restore) => backend.connectUnix(path, { ...options, tls }, restore)
    )
  },

  startServer: (options, handler) =>
    server.checked(
      [
        noPath(options),
        ...hostProblems(options.host),
        argument.port("port", options.port),
        argument.positive("backlog", options.backlog),
        argument.oneOf("reusePort", options.reusePort, booleans),
        argument.oneOf("ipv6Only", options.ipv6Only, booleans),
        argument.oneOf("startServing", options.startServing, booleans),
        options.tls === undefined ? undefined : tlsProblem("tls: ", options.tls),
        socketProblem(options)
      ],
      (acceptor, restore) =>
        backend.listen(
          {
            ...options,
            host: typeof options.host === "string" ? unbracketed(options.host) : options.host?.map(unbracketed)
          },
          acceptor,
          restore
        ),
      options,
      handler
    ),

  startUnixServer: (path, options, handler) =>
    server.checked(
      [
        noHost(options),
        argument.given("path", path),
        argument.notEmpty("path", path),
        argument.positive("backlog", options.backlog),
        argument.fileMode("mode", options.mode),
        options.mode !== undefined && String(path).startsWith("\0")
          ? `mode must not be given for an abstract name, which has no file and is open to everyone, got ${options.mode}`
          : undefined,
        argument.oneOf("unlinkStale", options.unlinkStale, booleans),
        argument.oneOf("startServing", options.startServing, booleans),
        options.tls === undefined ? undefined : tlsProblem("tls: ", options.tls)
      ],
      (acceptor, restore) => backend.listenUnix(path, options, acceptor, restore),
      options,
      handler
    )
})

/** `URL.hostname` writes IPv6 addresses in brackets. */
const unbracketed = (host: string): string =>
  host.startsWith("[") && host.endsWith("]") && host.includes(":") ? host.slice(1, -1) : host

/** What a backend connects is in the scope's hands before anything can interrupt. */
const open = <E>(
  options: Connection.Options,
  problem: argument.Problem,
  connect: (restore: Restore) => Effect.Effect<Transport, E>
): Effect.Effect<Connection.Connection, E, Scope.Scope> =>
  problem !== undefined
    ? argument.illegal(problem)
    : Effect.withFiberRuntime((fiber) => {
      const scope = scopeOf(fiber)
      return maskOnce((restore) =>
        Effect.flatMap(connect(restore), (transport) => openWith(fiber, scope, transport, options))
      )
    })
