/** From our options to Node's. Secrets are revealed here, and nowhere else. */
import * as Redacted from "effect/Redacted"
import { constants, createPrivateKey, randomBytes, X509Certificate } from "node:crypto"
import * as NodeTls from "node:tls"
import type * as Tls from "../../../Tls.js"
import { Recent } from "./recent.js"

/** The tag of every DER structure that is of interest here. */
const derSequence = 0x30

/** Node takes PEM alone. */
const toPem = (label: string, material: Tls.Material): string | Buffer => {
  if (typeof material === "string") {
    return material
  }
  const bytes = Buffer.from(material.buffer, material.byteOffset, material.length)
  return bytes[0] === derSequence
    ? [`-----BEGIN ${label}-----`, ...bytes.toString("base64").match(/.{1,64}/g)!, `-----END ${label}-----`, ""].join(
      "\n"
    )
    : bytes
}

const reveal = <A extends Tls.Material>(secret: A | Redacted.Redacted<A>): A =>
  Redacted.isRedacted(secret) ? Redacted.value(secret) : secret

/** @internal */
export const list = <A extends object | string>(oneOrMore: A | ReadonlyArray<A>): ReadonlyArray<A> =>
  Array.isArray(oneOrMore) ? oneOrMore : [oneOrMore as A]

/** Node takes anything for a root, and then trusts nobody. */
const authorities = (ca: NonNullable<Tls.CommonOptions["ca"]>): Array<string | Buffer> =>
  list(ca).map((material) => {
    const pem = toPem("CERTIFICATE", material)
    if (!/-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/.test(pem.toString("latin1"))) {
      throw new Error("there is no certificate in `ca`, as PEM or DER")
    }
    return pem
  })

/**
 * What makes a context: certificates, keys and versions. Throws what is certain to fail every handshake.
 *
 * @internal
 */
export const contextOptions = (
  options: Tls.NamedContext & Pick<Tls.CommonOptions, "minVersion" | "maxVersion">
): NodeTls.SecureContextOptions => {
  const { ca, certificate, crl, key, maxVersion = "TLSv1.3", minVersion = "TLSv1.2", passphrase } = options
  if ((certificate === undefined) !== (key === undefined)) {
    throw new Error("`certificate` and `key` belong together, and one of them is missing")
  }
  if (minVersion > maxVersion) {
    throw new Error(`no version is left between minVersion ${minVersion} and maxVersion ${maxVersion}`)
  }
  return {
    minVersion,
    maxVersion,
    ...(ca === undefined ? {} : { ca: authorities(ca) }),
    ...(crl === undefined ? {} : { crl: list(crl).map((material) => toPem("X509 CRL", material)) }),
    ...(certificate === undefined || key === undefined
      ? {}
      : identities(certificate, key, passphrase === undefined ? undefined : reveal(passphrase)))
  }
}

/**
 * Certificates with their keys. Node takes every element for an identity of its own; here one that no key belongs to is a
 * certificate between an identity and the root, and goes along with each of them.
 */
const identities = (
  certificate: NonNullable<Tls.CommonOptions["certificate"]>,
  key: NonNullable<Tls.CommonOptions["key"]>,
  passphrase: string | undefined
): NodeTls.SecureContextOptions => {
  const label = passphrase === undefined ? "PRIVATE KEY" : "ENCRYPTED PRIVATE KEY"
  const certificates = list(certificate).map((material) => toPem("CERTIFICATE", material))
  const keys = list(key).map((key) => toPem(label, reveal<Tls.Material>(key)))
  const owners = certificates.length === 1 ? certificates : ownersOf(certificates, keys, passphrase)
  const others = certificates.filter((one) => !owners.includes(one))
  return {
    cert: owners.map((owner) => others.length === 0 ? owner : [owner, ...others].join("\n")),
    key: keys,
    ...(passphrase === undefined ? {} : { passphrase })
  }
}

/** The certificates that one of the keys belongs to. */
const ownersOf = (
  certificates: ReadonlyArray<string | Buffer>,
  keys: ReadonlyArray<string | Buffer>,
  passphrase: string | undefined
): ReadonlyArray<string | Buffer> => {
  if (keys.length === 1) {
    return certificates.slice(0, 1)
  }
  const all = keys.map((key) => createPrivateKey({ key, passphrase: passphrase ?? "" }))
  const owners = certificates.filter((certificate) => {
    const first = new X509Certificate(certificate)
    return all.some((key) => first.checkPrivateKey(key))
  })
  // Where there are none, Node says what is wrong.
  return owners.length === 0 ? certificates : owners
}

const replaced = ["ca", "crl", "certificate", "key", "passphrase", "minVersion", "maxVersion"] as const

/**
 * The context that is brought along, if there is one. Throws where something beside it would have no effect.
 *
 * @internal
 */
export const broughtContext = (options: Tls.CommonOptions): NodeTls.SecureContext | undefined => {
  const ignored = options.secureContext === undefined ? [] : replaced.filter((option) => options[option] !== undefined)
  if (ignored.length > 0) {
    throw new Error(
      `${
        ignored.map((option) => `\`${option}\``).join(", ")
      } would have no effect beside \`secureContext\`, which is made ` +
        "with all of them: give them to tls.createSecureContext, or leave it out"
    )
  }
  return options.secureContext
}

/**
 * A context of these options, or the one they bring.
 *
 * @internal
 */
export const contextOf = (options: Parameters<typeof contextOptions>[0]): NodeTls.SecureContext =>
  broughtContext(options) ?? NodeTls.createSecureContext(contextOptions(options))

/**
 * The options of one of a server's contexts. Without a word about whom to trust it is whom the server trusts.
 *
 * @internal
 */
export const inheriting = (context: Tls.NamedContext, server: Tls.ServerOptions): Tls.NamedContext => {
  if (context.secureContext !== undefined || context.ca !== undefined) {
    return context
  }
  if (server.secureContext !== undefined && server.requestCertificate === true) {
    throw new Error("`ca` must say whose clients to accept, for whose `secureContext` accepts can't be found out")
  }
  return { ...context, ca: server.ca, crl: context.crl ?? server.crl }
}

/** What a context is made of in Node, which has no documented way to change one that is made. */
interface Native {
  readonly setOptions: (options: number) => void
  readonly setSessionIdContext: (id: string) => void
}

const identified = new WeakSet<NodeTls.SecureContext>()

/**
 * Gives a context that was brought along what Node's server gives its own. OpenSSL takes back no session of clients that
 * are asked for certificates unless it has an id, which belongs to this context alone.
 *
 * @internal
 */
export const prepareSessions = (context: NodeTls.SecureContext, resumes: boolean, asksClients: boolean): void => {
  const native: Partial<Native> | undefined = context.context
  if (typeof native?.setOptions !== "function" || typeof native.setSessionIdContext !== "function") {
    throw new Error("`secureContext` was not made by tls.createSecureContext")
  }
  if (!resumes) {
    native.setOptions(constants.SSL_OP_NO_TICKET)
  }
  if (asksClients && !identified.has(context)) {
    identified.add(context)
    native.setSessionIdContext(randomBytes(16).toString("hex"))
  }
}

/** Contexts that hold no secret. */
const recent = new Recent((rules: Pick<Tls.CommonOptions, "ca" | "crl" | "minVersion" | "maxVersion">) =>
  NodeTls.createSecureContext(contextOptions(rules))
)

/**
 * The context of one connection, as the options of `tls.connect`. One that only says whom to trust is kept for the next
 * connection that says the same; any other is Node's to make, which frees it with the connection.
 *
 * @internal
 */
export const connectContext = (options: Tls.CommonOptions): NodeTls.ConnectionOptions => {
  const { ca, certificate, crl, key, maxVersion, minVersion, passphrase } = options
  const secureContext = broughtContext(options)
  return secureContext !== undefined
    ? { secureContext }
    : ca !== undefined && certificate === undefined && key === undefined && passphrase === undefined
    ? { secureContext: recent.get({ ca, crl, minVersion, maxVersion }) }
    : contextOptions(options)
}

/**
 * Application protocols. Node does not survive an empty name (RFC 7301 §3.1 has 1 to 255 bytes).
 *
 * @internal
 */
export const alpnOf = ({ alpnProtocols = [] }: Tls.CommonOptions): { readonly ALPNProtocols?: Array<string> } => {
  const wrong = alpnProtocols.find((name) => name.length === 0 || Buffer.byteLength(name) > 255)
  if (wrong !== undefined) {
    throw new Error(`the names in alpnProtocols must have 1 to 255 bytes, got ${JSON.stringify(wrong)}`)
  }
  return alpnProtocols.length === 0 ? {} : { ALPNProtocols: alpnProtocols.slice() }
}
