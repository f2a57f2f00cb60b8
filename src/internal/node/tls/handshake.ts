/**
 * The handshake, in either role, over any transport.
 *
 * Theory of operation. A handshake is begun and then settles once: it succeeded, or failed, or took too long, or was given
 * up. In all cases but the first, everything it made is destroyed and the transport below is dropped, and nothing that
 * is still on its way can be heard any more.
 *
 * Node has a client for one connection, and a server for many. The server's part is used through a *view* of it for each
 * connection, so that what it reports is about that one. Thereby client certificates are judged, names
 * served and sessions resumed by Node's code.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Struct from "effect/Struct"
import { constants, createHash } from "node:crypto"
import { EventEmitter } from "node:events"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import * as NodeTls from "node:tls"
import { domainToASCII } from "node:url"
import { type Address, format } from "../../../Address.js"
import type { TlsError } from "../../../NetworkError.js"
import type * as Tls from "../../../Tls.js"
import type { Transport } from "../../../Transport.js"
import { asyncOwned } from "../../background.js"
import { clockTimers } from "../../clockTimers.js"
import type { Timers } from "../../connectionState.js"
import { Ciphertext } from "./ciphertext.js"
import { handshakeError, handshakeTimeout, invalidOptions } from "./errors.js"
import {
  alpnOf,
  broughtContext,
  connectContext,
  contextOf,
  contextOptions,
  inheriting,
  list,
  prepareSessions
} from "./material.js"
import { overSocket } from "./overSocket.js"
import { Recent } from "./recent.js"
import { type Carrier, Session, sessionOf, type TlsTransport } from "./transport.js"

const defaultHandshakeTimeout = Duration.seconds(60)

/** Node's own timer for the handshake can't be switched off. Ours comes first. */
const never = 2 ** 31 - 1

type Settle = (outcome: NodeTls.TLSSocket | TlsError) => void

/** One handshake. Returns the function that gives it up. */
const begin = (
  lower: Transport,
  options: Tls.CommonOptions,
  sessionOf: (socket: NodeTls.TLSSocket) => Tls.Session,
  timers: Timers,
  attach: (carrier: Duplex, settle: Settle) => NodeTls.TLSSocket | undefined,
  done: (exit: Exit.Exit<Transport, TlsError>) => void
): () => void => {
  let socket: NodeTls.TLSSocket | undefined
  let transport: TlsTransport | undefined
  let settled = false
  let abandoned = false
  let cancelTimer: (() => void) | undefined

  const giveUp = () => {
    settled = true
    cancelTimer?.()
    socket?.on("error", ignore)
    socket?.destroy()
    carrier.destroy()
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
    transport = carrier.secured(outcome, options, sessionOf(outcome))
    // OpenSSL is still in the middle of the handshake, and nobody else's code shall run there.
    setImmediate(handOver)
  }
  const handOver = () => {
    if (!abandoned) {
      done(Exit.succeed(transport!))
    }
  }
  // TLS reports what it was told last in a later turn, and that says more: an alert, then the end.
  const settleLater = (cause: unknown = endedEarly()) => {
    if (!settled) {
      setImmediate(() => settle(handshakeError(cause, undefined, lower.remoteAddress)))
    }
  }

  const carrier: Carrier = overSocket(lower) ?? new Ciphertext(lower, settleLater)
  try {
    socket = attach(carrier.stream, settle)
  } catch (error) {
    settle(invalidOptions(error))
    return ignore
  }
  const timeout = Duration.decode(options.handshakeTimeout ?? defaultHandshakeTimeout)
  if (!settled && Duration.isFinite(timeout)) {
    cancelTimer = timers.after(
      Duration.toMillis(timeout),
      () => settle(handshakeTimeout(Duration.format(timeout), lower.remoteAddress))
    )
  }
  return () => {
    if (settled) {
      abandoned = true
      transport?.abort()
    } else {
      giveUp()
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
    asyncOwned<Transport, TlsError>((resume) => {
      const name = options.serverName ?? host
      const expected = name === undefined ? undefined : expectedOf(name)
      const dnsName = expected !== undefined && Net.isIP(expected) === 0 ? expected : undefined
      const verify = options.verify ?? true
      let dropSession = ignore
      const attach = (carrier: Duplex, settle: Settle): NodeTls.TLSSocket => {
        // One that was made where nobody minded the name would be resumed without a look at it, and be authorized.
        const sessions = verify ? options.sessions : undefined
        const key = sessions === undefined ? "" : sessionKey(options, name, lower.remoteAddress)
        const session = sessions?.get(key)
        const socket = NodeTls.connect({
          socket: carrier,
          ...connectContext(options),
          rejectUnauthorized: verify,
          // An address is never sent (RFC 6066 §3), but the certificate must be for it.
          ...(expected === undefined ? {} : dnsName === undefined ? { host: expected } : { servername: dnsName }),
          ...alpnOf(options),
          ...(session === undefined ? {} : { session: Buffer.from(session) })
        })
        const onError = (error: unknown) =>
          settle(
            handshakeError(
              error,
              verify ? name : undefined,
              lower.remoteAddress,
              verify && rejection(socket) !== undefined
            )
          )
        const onClose = () => onError(endedEarly())
        socket.on("error", onError)
        socket.on("close", onClose)
        socket.once("secureConnect", () => {
          settle(socket)
          socket.removeListener("error", onError)
          socket.removeListener("close", onClose)
        })
        if (sessions !== undefined) {
          socket.on("session", (session) => sessions.set(key, session))
        }
        if (session !== undefined) {
          dropSession = () => sessions!.drop(key, session)
        }
        return socket
      }
      // Without a name to expect, Node takes "localhost" for it.
      const sessionOf = (socket: NodeTls.TLSSocket) =>
        new Session(socket, dnsName, socket.authorized && name !== undefined)
      const done = (exit: Exit.Exit<Transport, TlsError>) => {
        if (Exit.isFailure(exit)) {
          // Without it the next handshake may succeed.
          dropSession()
        }
        resume(exit)
      }
      return Effect.sync(begin(lower, options, sessionOf, clockTimers(clock), attach, done))
    })
  )

/** What the certificate must be for. An address may be written in a way that is none yet, such as "127.1". */
const expectedOf = (name: string): string => Net.isIP(name) === 0 ? dnsNameOf(name) : name

/** As it goes over the wire: without the dot that ends it, in ASCII. */
const dnsNameOf = (name: string): string => {
  const relative = name.endsWith(".") ? name.slice(0, -1) : name
  return domainToASCII(relative) || relative
}

/**
 * With a session, what was verified when it was made is taken for verified. So it is only for a connection that would
 * have verified the same.
 */
const sessionKey = (options: Tls.ClientOptions, name: string | undefined, remoteAddress: Address): string => {
  const { ca, certificate, crl, secureContext } = options
  const rules = createHash("sha256")
  for (const material of [ca, certificate, crl]) {
    const all = material === undefined ? [] : list(material)
    rules.update(`${all.length}:`)
    all.forEach((one) => rules.update(`${one.length}:`).update(one))
  }
  return `${name ?? ""}@${format(remoteAddress)} ${
    secureContext === undefined ? rules.digest("hex") : identityOf(secureContext)
  }`
}

const identities = new WeakMap<object, number>()
let latestIdentity = 0

const identityOf = (context: object): number => {
  const identity = identities.get(context) ?? ++latestIdentity
  identities.set(context, identity)
  return identity
}

/**
 * What a server presents and accepts.
 *
 * @internal
 */
export class ServerContext {
  /** Node's server, but for what it does with what it has to report. */
  private readonly view: NodeTls.Server

  /** Throws where the options can't be used. */
  constructor(private readonly options: Tls.ServerOptions) {
    const { contexts = {}, rejectUnauthorized = true, requestCertificate = false } = options
    const secureContext = broughtContext(options)
    const names = Object.keys(contexts)
    if (secureContext === undefined && options.certificate === undefined && names.length === 0) {
      throw new Error("a server needs a certificate: pass `certificate` and `key`, or `contexts`")
    }
    const resumes = names.length === 0 || resumesByName(options)
    const server = NodeTls.createServer({
      ...(secureContext === undefined ? contextOptions(options) : {}),
      secureOptions: resumes ? 0 : constants.SSL_OP_NO_TICKET,
      handshakeTimeout: never,
      requestCert: requestCertificate,
      rejectUnauthorized,
      ...alpnOf(options),
      ...(names.length === 0 ? {} : { SNICallback: serverNames(contexts, options) })
    })
    if (secureContext !== undefined) {
      prepareSessions(secureContext, resumes, requestCertificate)
      // Node's server takes no context that exists already, but keeps its own here.
      Object.assign(server, { _sharedCreds: secureContext })
    }
    this.view = Object.create(server, {
      emit: { value: report },
      requiresCertificate: { value: requestCertificate && rejectUnauthorized }
    })
  }

  /** Begins a handshake, and returns the function that gives it up. */
  accept(
    lower: Transport,
    timers: Timers,
    done: (exit: Exit.Exit<Transport, TlsError>) => void,
    options: Tls.CommonOptions = this.options
  ): () => void {
    const attach = (carrier: Duplex, settle: Settle): undefined => {
      const view: View = Object.create(this.view)
      const settleOnce: Settle = (outcome) => {
        // The view lives as long as the connection, and this is over.
        view.settle = ignore
        settle(outcome)
      }
      // Assigned as a literal it would be old at once, with all that the handshake holds: see `suspension.ts`.
      view.settle = settleOnce
      view.remoteAddress = lower.remoteAddress
      EventEmitter.prototype.emit.call(view, "connection", carrier)
    }
    return begin(lower, options, sessionOf, timers, attach, done)
  }
}

/** Node's server as one connection sees it. */
interface View extends NodeTls.Server {
  settle: Settle
  remoteAddress: Address
  readonly requiresCertificate: boolean
}

function report(this: View, event: string, ...args: ReadonlyArray<unknown>): boolean {
  if (event === "secureConnection") {
    const socket = args[0] as NodeTls.TLSSocket
    if (this.requiresCertificate && socket.getPeerX509Certificate() === undefined) {
      refuse(this, socket, noCertificate(), true)
    } else {
      this.settle(socket)
    }
  } else if (event === "tlsClientError") {
    const socket = args[1] as NodeTls.TLSSocket
    const problem = rejection(socket)
    refuse(this, socket, problem ?? args[0], problem !== undefined)
  } else {
    return false
  }
  return true
}

const refuse = (view: View, socket: NodeTls.TLSSocket, cause: unknown, verified: boolean): void => {
  socket.on("error", ignore)
  // Before what is below it, or OpenSSL's memory would be freed under its feet.
  socket.destroy()
  view.settle(handshakeError(cause, undefined, view.remoteAddress, verified))
}

/** OpenSSL requires one where it makes a session, but not where it resumes one of a server that did not ask for it. */
const noCertificate = (): Error =>
  Object.assign(new Error("peer did not return a certificate"), { code: "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE" })

/**
 * Whether a server with names may resume sessions. One that was made under one name is taken under every other, without a
 * look at that one's context: so not where clients are judged by it. And Node does not tell which name a client asks for
 * that resumes a session of TLS 1.2.
 */
const resumesByName = ({ minVersion, requestCertificate }: Tls.ServerOptions): boolean =>
  minVersion === "TLSv1.3" && requestCertificate !== true

/** What to present by name. A name that is there wins over a wildcard, and upper and lower case are one (RFC 4343). */
const serverNames = (contexts: NonNullable<Tls.ServerOptions["contexts"]>, server: Tls.ServerOptions) => {
  const byName = new Map(
    Object.entries(contexts).map(([name, context]) => {
      try {
        return [dnsNameOf(name).toLowerCase(), contextOf(inheriting(context, server))]
      } catch (error) {
        throw invalidOptions(error, `contexts[${JSON.stringify(name)}]: `)
      }
    })
  )
  return (name: string, callback: (error: null, context: NodeTls.SecureContext | undefined) => void): void => {
    const lowerCase = name.toLowerCase()
    callback(null, byName.get(lowerCase) ?? byName.get(lowerCase.replace(/^[^.]+/, "*")))
  }
}

/**
 * What Node has against the peer's certificate. Of a client's it says only that the connection was reset, when it is Node
 * who did not accept it.
 */
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
  contextBy(() => new ServerContext(options))

const contextBy = (make: () => ServerContext): Effect.Effect<ServerContext, TlsError> =>
  Effect.try({ try: make, catch: (error) => invalidOptions(error) })

/** Those of connections that went over to TLS one by one. */
const recent = new Recent((options: Tls.ServerOptions) => new ServerContext(options))

/** What has nothing to do with the context. */
const ownOptions = [
  "role",
  "residue",
  "handshakeTimeout",
  "shutdownTimeout",
  "allowTruncation",
  "maxHandshakes"
] as const

/**
 * The handshake of a connection that goes over to TLS.
 *
 * @internal
 */
export const upgrade = (lower: Transport, options: Tls.Upgrade): Effect.Effect<Transport, TlsError> =>
  options.role === "client" ? connectTls(lower, options, undefined) : Effect.flatMap(
    Effect.zip(contextBy(() => recent.get(Struct.omit(options, ...ownOptions))), Effect.clock),
    ([context, clock]) =>
      asyncOwned<Transport, TlsError>((resume) =>
        Effect.sync(context.accept(lower, clockTimers(clock), resume, options))
      )
  )
