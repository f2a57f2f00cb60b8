/** From our options to Node's. Secrets are revealed here, and nowhere else. */
import * as Redacted from "effect/Redacted"
import * as NodeTls from "node:tls"
import type * as Tls from "../../../Tls.js"

const toNode = (material: Tls.Material): string | Buffer =>
  typeof material === "string" ? material : Buffer.from(material.buffer, material.byteOffset, material.length)

const reveal = (key: Tls.Key): string | Buffer =>
  toNode(Redacted.isRedacted(key) ? Redacted.value<Tls.Material>(key) : key)

/** @internal */
export const list = <A extends object | string>(oneOrMore: A | ReadonlyArray<A>): ReadonlyArray<A> =>
  Array.isArray(oneOrMore) ? oneOrMore : [oneOrMore as A]

/**
 * What makes a context: certificates, keys and versions.
 *
 * @internal
 */
export const contextOptions = (
  options: Tls.NamedContext & Pick<Tls.CommonOptions, "minVersion" | "maxVersion">
): NodeTls.SecureContextOptions => ({
  ...(options.ca === undefined ? {} : { ca: list(options.ca).map(toNode) }),
  ...(options.crl === undefined ? {} : { crl: list(options.crl).map(toNode) }),
  ...(options.certificate === undefined ? {} : { cert: list(options.certificate).map(toNode) }),
  ...(options.key === undefined ? {} : { key: list(options.key).map(reveal) }),
  ...(options.passphrase === undefined
    ? {}
    : {
      passphrase: Redacted.isRedacted(options.passphrase) ? Redacted.value(options.passphrase) : options.passphrase
    }),
  minVersion: options.minVersion ?? "TLSv1.2",
  maxVersion: options.maxVersion ?? "TLSv1.3"
})

/**
 * A context of these options, or the one they bring. `sessionIdContext` tells a server's contexts from one another.
 *
 * @internal
 */
export const contextOf = (
  options: Parameters<typeof contextOptions>[0],
  sessionIdContext?: string
): NodeTls.SecureContext =>
  options.secureContext ?? NodeTls.createSecureContext({
    ...contextOptions(options),
    ...(sessionIdContext === undefined ? {} : { sessionIdContext })
  })
