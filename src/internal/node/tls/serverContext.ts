/**
 * The server's part of a handshake.
 *
 * Node has a server for many connections. It is used through a *view* of it for each connection, so that what it reports is
 * about that one. Thereby client certificates are judged, names served and sessions resumed by Node's code.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Struct from "effect/Struct"
import { constants } from "node:crypto"
import { EventEmitter } from "node:events"
import type { Duplex } from "node:stream"
import * as NodeTls from "node:tls"
import type { Address } from "../../../Address.js"
import type { TlsError } from "../../../NetworkError.js"
import type * as Tls from "../../../Tls.js"
import type { Transport } from "../../../Transport.js"
import type { Timers } from "../../connectionState.js"
import { dnsNameOf } from "./dnsName.js"
import { handshakeError, invalidOptions, rejection } from "./errors.js"
import { begin, ignore, type Settle } from "./handshake.js"
import { alpnOf, broughtContext, contextOf, contextOptions, inheriting, prepareSessions } from "./material.js"
import { Recent } from "./recent.js"
import { Slim } from "./slim.js"
import { sessionOf } from "./transport.js"

/** Node has no word for a handshake that is not timed, as ours are; but no time below zero is set. */
const untimed = -1

/**
 * What a server presents and accepts.
 *
 * @internal
 */
export class ServerContext {
  /** Node's server, but for what it does with what it has to report. */
  private readonly view: View

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
      handshakeTimeout: untimed,
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
    const view: View = this.view = Object.create(server, {
      emit: { value: report },
      settle: { value: ignore, writable: true },
      requiresCertificate: { value: requestCertificate && rejectUnauthorized }
    })
    view.slim = new Slim(view)
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
      view.settle = settle
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
  slim: Slim
}

function report(this: View, event: string, ...args: ReadonlyArray<unknown>): boolean {
  if (event === "secureConnection") {
    const socket = args[0] as NodeTls.TLSSocket
    if (this.requiresCertificate && socket.getPeerX509Certificate() === undefined) {
      refuse(this, socket, noCertificate(), true)
    } else {
      this.slim.take(socket)
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
 * A context, or what is wrong with the options.
 *
 * @internal
 */
export const serverContext = (options: Tls.ServerOptions): Effect.Effect<ServerContext, TlsError> =>
  contextBy(() => new ServerContext(options))

/** A context by whatever makes it, or what is wrong with the options. */
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
 * The context of one connection among others that go over to TLS with the same options.
 *
 * @internal
 */
export const recentContext = (options: Tls.ServerUpgrade): Effect.Effect<ServerContext, TlsError> =>
  contextBy(() => recent.get(Struct.omit(options, ...ownOptions)))
