/**
 * The handshake, in either role, over any transport.
 *
 * Theory of operation. A handshake is begun and then settles once: it succeeded, or failed, or took too long, or was given
 * up. In all cases but the first, everything it made is destroyed and the transport below is dropped, and nothing that
 * is still on its way can be heard any more.
 *
 * Node has a client for one connection, and a server for many. The server's part is used through a *view* of it that has
 * an `emit` of its own, so that what it reports is about one connection. Thereby client certificates are judged, names
 * served and sessions resumed by Node's code.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { EventEmitter } from "node:events"
import * as Net from "node:net"
import * as NodeTls from "node:tls"
import { format } from "../../../Address.js"
import type { TlsError } from "../../../NetworkError.js"
import type * as Tls from "../../../Tls.js"
import type { Transport } from "../../../Transport.js"
import { clockTimers } from "../../clockTimers.js"
import type { Timers } from "../../connectionState.js"
import { Ciphertext } from "./ciphertext.js"
import { handshakeError, handshakeTimeout, invalidOptions } from "./errors.js"
import { contextOf, contextOptions } from "./material.js"
import { TlsTransport } from "./transport.js"

const defaultHandshakeTimeout = Duration.seconds(60)

/** Node's own timer for the handshake can't be switched off. Ours comes first. */
const never = 2 ** 31 - 1

type Settle = (outcome: NodeTls.TLSSocket | TlsError) => void

/** One handshake. Returns the function that gives it up. */
const begin = (
  lower: Transport,
  options: Tls.CommonOptions,
  serverName: (socket: NodeTls.TLSSocket) => string | undefined,
  timers: Timers,
  attach: (ciphertext: Ciphertext, settle: Settle) => NodeTls.TLSSocket | undefined,
  done: (exit: Exit.Exit<Transport, TlsError>) => void
): () => void => {
  const ciphertext = new Ciphertext(lower)
  let socket: NodeTls.TLSSocket | undefined
  let transport: TlsTransport | undefined
  let settled = false
  let cancelTimer: (() => void) | undefined

  const giveUp = () => {
    settled = true
    cancelTimer?.()
    socket?.on("error", ignore)
    socket?.destroy()
    ciphertext.destroy()
    lower.destroy()
  }
  const settle: Settle = (outcome) => {
    if (settled) {
      return
    }
    if (!(outcome instanceof NodeTls.TLSSocket)) {
      giveUp()
      return done(Exit.fail(outcome))
    }
    settled = true
    cancelTimer?.()
    socket = outcome
    transport = new TlsTransport(outcome, ciphertext, lower, options, serverName(outcome))
    done(Exit.succeed(transport))
  }

  ciphertext.on("error", ignore)
  socket = attach(ciphertext, settle)
  ciphertext.attach({
    decrypted: () => socket?.bytesRead ?? 0,
    onDrain: () => transport?.onLowerDrain(),
    onClosed: (failure) => {
      if (transport !== undefined) {
        transport.onLowerClosed(failure)
      } else {
        settle(handshakeError(failure?.cause ?? endedEarly(), undefined, lower.remoteAddress))
      }
    }
  })
  const timeout = Duration.decode(options.handshakeTimeout ?? defaultHandshakeTimeout)
  if (!settled && Duration.isFinite(timeout)) {
    cancelTimer = timers.after(
      Duration.toMillis(timeout),
      () => settle(handshakeTimeout(Duration.format(timeout), lower.remoteAddress))
    )
  }
  return () => {
    if (!settled) {
      giveUp()
    } else {
      transport?.abort()
    }
  }
}

const ignore = () => {}

const endedEarly = (): Error =>
  Object.assign(new Error("the connection ended before the handshake was done"), { code: "ECONNRESET" })

/**
 * The handshake of a client. `host` is the name to expect where the options have none.
 *
 * @internal
 */
export const connectTls = (
  lower: Transport,
  options: Tls.ClientOptions,
  host: string | undefined
): Effect.Effect<Transport, TlsError> =>
  Effect.clockWith((clock) =>
    Effect.async<Transport, TlsError>((resume) => {
      const name = options.serverName ?? host
      const isName = name !== undefined && Net.isIP(name) === 0
      const verify = options.verify ?? true
      const server = `${name ?? ""}@${format(lower.remoteAddress)}`
      let secureContext: NodeTls.SecureContext
      try {
        secureContext = contextOf(options)
      } catch (error) {
        lower.destroy()
        resume(Effect.fail(invalidOptions(error)))
        return
      }
      const attach = (ciphertext: Ciphertext, settle: Settle): NodeTls.TLSSocket => {
        const session = options.sessions?.get(server)
        const socket = NodeTls.connect({
          socket: ciphertext,
          secureContext,
          rejectUnauthorized: verify,
          // An address is never sent (RFC 6066 §3), but the certificate must be for it.
          ...(name === undefined ? {} : isName ? { servername: name } : { host: name }),
          ...(options.alpnProtocols === undefined ? {} : { ALPNProtocols: options.alpnProtocols.slice() }),
          ...(session === undefined ? {} : { session: Buffer.from(session) })
        })
        const onError = (error: unknown) =>
          settle(handshakeError(error, verify ? name : undefined, lower.remoteAddress))
        const onClose = () => onError(endedEarly())
        socket.on("error", onError)
        socket.on("close", onClose)
        socket.once("secureConnect", () => {
          settle(socket)
          socket.removeListener("error", onError)
          socket.removeListener("close", onClose)
        })
        if (options.sessions !== undefined) {
          socket.on("session", (session) => options.sessions?.set(server, session))
        }
        return socket
      }
      const giveUp = begin(lower, options, () => isName ? name : undefined, clockTimers(clock), attach, resume)
      return Effect.sync(giveUp)
    })
  )

/**
 * What a server presents and accepts.
 *
 * @internal
 */
export class ServerContext {
  private readonly server: NodeTls.Server

  /** Throws where the options can't be used. */
  constructor(private readonly options: Tls.ServerOptions) {
    this.server = NodeTls.createServer({
      ...contextOptions(options),
      handshakeTimeout: never,
      requestCert: options.requestCertificate ?? false,
      rejectUnauthorized: options.rejectUnauthorized ?? true,
      ...(options.alpnProtocols === undefined ? {} : { ALPNProtocols: options.alpnProtocols.slice() })
    })
    if (options.secureContext !== undefined) {
      // Node's server takes no context that exists already, but keeps its own here.
      Object.assign(this.server, { _sharedCreds: options.secureContext })
    }
    for (const [name, context] of Object.entries(options.contexts ?? {})) {
      this.server.addContext(name, contextOf(context))
    }
  }

  /** Begins a handshake, and returns the function that gives it up. */
  accept(lower: Transport, timers: Timers, done: (exit: Exit.Exit<Transport, TlsError>) => void): () => void {
    const attach = (ciphertext: Ciphertext, settle: Settle): undefined => {
      const view: NodeTls.Server = Object.create(this.server, {
        emit: {
          value: (event: string, ...args: ReadonlyArray<unknown>): boolean => {
            if (event === "secureConnection") {
              settle(args[0] as NodeTls.TLSSocket)
            } else if (event === "tlsClientError") {
              const socket = args[1] as NodeTls.TLSSocket
              settle(handshakeError(rejection(socket) ?? args[0], undefined, lower.remoteAddress))
              socket.on("error", ignore)
              socket.destroy()
            } else {
              return false
            }
            return true
          }
        }
      })
      EventEmitter.prototype.emit.call(view, "connection", ciphertext)
    }
    return begin(lower, this.options, requestedName, timers, attach, done)
  }
}

const requestedName = (socket: NodeTls.TLSSocket): string | undefined => {
  const name = (socket as { readonly servername?: string | false | null }).servername
  return typeof name === "string" ? name : undefined
}

/** Node says only that the connection was reset, when it is Node who did not accept the client's certificate. */
const rejection = (socket: NodeTls.TLSSocket): Error | undefined => {
  const problem: unknown = socket.authorizationError
  return problem === null || problem === undefined
    ? undefined
    : problem instanceof Error
    ? problem
    : Object.assign(new Error(String(problem)), { code: String(problem) })
}

/**
 * A context, or what is wrong with the options.
 *
 * @internal
 */
export const serverContext = (options: Tls.ServerOptions): Effect.Effect<ServerContext, TlsError> =>
  Effect.try({ try: () => new ServerContext(options), catch: invalidOptions })

/**
 * The handshake of a connection that goes over to TLS.
 *
 * @internal
 */
export const upgrade = (lower: Transport, options: Tls.Upgrade): Effect.Effect<Transport, TlsError> =>
  options.role === "client" ? connectTls(lower, options, undefined) : Effect.flatMap(
    Effect.zip(serverContext(options), Effect.clock),
    ([context, clock]) =>
      Effect.async<Transport, TlsError>((resume) => Effect.sync(context.accept(lower, clockTimers(clock), resume)))
  )
