/** The client's part of a handshake: whom to expect, what to offer, and which session to resume. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { createHash } from "node:crypto"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import * as NodeTls from "node:tls"
import { type Address, format } from "../../../Address.js"
import type { TlsError } from "../../../NetworkError.js"
import type * as Tls from "../../../Tls.js"
import type { Transport } from "../../../Transport.js"
import { asyncOwned } from "../../background.js"
import { clockTimers } from "../../clockTimers.js"
import { dnsNameOf } from "./dnsName.js"
import { handshakeError, rejection } from "./errors.js"
import { begin, endedEarly, ignore, type Settle } from "./handshake.js"
import { alpnOf, connectContext, list } from "./material.js"
import { Session } from "./transport.js"

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
