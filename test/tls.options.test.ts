import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createPrivateKey, X509Certificate } from "node:crypto"
import * as NodeTls from "node:tls"
import type { Connection } from "../src/Connection.js"
import { type ConnectionError, TlsError } from "../src/NetworkError.js"
import * as Tls from "../src/Tls.js"
import { certificates, describeTls } from "./support/certificates.js"
import { leavesNoHandles } from "./support/handles.js"
import { until } from "./support/rawPeer.js"
import {
  between,
  dialling,
  identity,
  listening,
  nodeClient,
  nodeServer,
  only,
  outcome,
  outcomeOf,
  reason,
  secured,
  text,
  trust,
  versions
} from "./support/tlsPeers.js"

leavesNoHandles()

const sessionOf = (connection: Connection): Tls.Session => Option.getOrThrow(connection.tls)

const presented = (connection: Connection) =>
  Option.map(sessionOf(connection).peerCertificate, ({ subject }) => subject["CN"])

const der = (pem: string) => new X509Certificate(pem).raw

describeTls("the session", () => {
  it.scopedLive.each(versions)("tells what was negotiated: %s", (version) =>
    Effect.gen(function*() {
      const { client, server } = yield* secured({
        clientTls: { ...only(version), serverName: "localhost", alpnProtocols: ["h2", "echo"] },
        serverTls: { alpnProtocols: ["echo"] }
      })
      const here = sessionOf(client)
      const there = sessionOf(server)
      for (const session of [here, there]) {
        assert.strictEqual(session.protocol, version)
        assert.match(session.cipher, /^TLS_/)
        assert.deepStrictEqual(session.serverName, Option.some("localhost"))
        assert.deepStrictEqual(session.alpnProtocol, Option.some("echo"))
        assert.isFalse(session.resumed)
      }
      assert.isTrue(here.authorized)
      assert.isFalse(there.authorized)
      assert.deepStrictEqual(there.peerCertificate, Option.none())
      const certificate = Option.getOrThrow(here.peerCertificate)
      const expected = new X509Certificate(certificates.server.certificate)
      assert.deepStrictEqual(certificate.subject, { CN: "localhost" })
      assert.deepStrictEqual(certificate.issuer, { CN: "Test root" })
      assert.deepStrictEqual(certificate.subjectAltName, Option.fromNullable(expected.subjectAltName))
      assert.strictEqual(certificate.serialNumber, expected.serialNumber)
      assert.strictEqual(certificate.fingerprint256, expected.fingerprint256)
      assert.strictEqual(certificate.validTo.getTime(), Date.parse(expected.validTo))
      assert.strictEqual(certificate.validFrom.getTime(), Date.parse(expected.validFrom))
      assert.deepStrictEqual(Buffer.from(certificate.raw), expected.raw)
    }))

  it.scopedLive("outlives the connection", () =>
    Effect.gen(function*() {
      const { client } = yield* secured()
      yield* client.close
      assert.strictEqual(sessionOf(client).protocol, "TLSv1.3")
      assert.deepStrictEqual(presented(client), Option.some("localhost"))
    }))

  it.scopedLive("has no server name where an address was dialled, and the certificate must be for it all the same", () =>
    Effect.gen(function*() {
      const { client, server } = yield* secured()
      assert.deepStrictEqual(sessionOf(client).serverName, Option.none())
      assert.deepStrictEqual(sessionOf(server).serverName, Option.none())
      assert.isTrue(sessionOf(client).authorized)
      const other = yield* listening(certificates.named)
      assert.strictEqual(
        yield* outcome(dialling(other.port)),
        "TlsError CertificateRejected ERR_TLS_CERT_ALTNAME_INVALID"
      )
    }))

  it.scopedLive("is not authorized where nothing was verified", () =>
    Effect.gen(function*() {
      const { port } = yield* listening(certificates.selfSigned)
      const connection = yield* dialling(port, { ca: undefined, verify: false })
      assert.isFalse(sessionOf(connection).authorized)
      assert.deepStrictEqual(presented(connection), Option.some("localhost"))
    }))
})

describeTls("material", () => {
  const { ca, client, encryptedKey, passphrase, server } = certificates

  const works = (clientTls: Tls.ClientOptions, serverTls: Tls.ServerOptions) =>
    Effect.scoped(Effect.map(secured({ clientTls, serverTls }), ({ client }) => {
      assert.isTrue(sessionOf(client).authorized)
    }))

  it.live("is text or bytes, one or several", () =>
    Effect.gen(function*() {
      const bytes = (text: string) => new Uint8Array(Buffer.from(text))
      yield* works({ ca: bytes(ca.certificate) }, {
        certificate: bytes(server.certificate),
        key: bytes(server.key)
      })
      yield* works({ ca: [certificates.strangerCa.certificate, ca.certificate] }, {
        certificate: [server.certificate],
        key: [server.key]
      })
      yield* works({ ca: certificates.strangerCa.certificate + ca.certificate }, {})
      // A view into something larger is what was meant, and nothing around it.
      const around = new Uint8Array(Buffer.from(`x${ca.certificate}x`)).subarray(1, -1)
      yield* works({ ca: around }, {})
    }))

  it.live("may be DER", () =>
    Effect.gen(function*() {
      const pkcs8 = createPrivateKey(server.key).export({ type: "pkcs8", format: "der" })
      yield* works({ ca: der(ca.certificate) }, { certificate: der(server.certificate), key: pkcs8 })
      yield* works({}, { key: Redacted.make(new Uint8Array(pkcs8)) })
      const encrypted = createPrivateKey(server.key)
        .export({ type: "pkcs8", format: "der", cipher: "aes-256-cbc", passphrase })
      yield* works({}, { key: encrypted, passphrase })
    }))

  it.live("may be a chain, in one piece or several, PEM or DER", () =>
    Effect.gen(function*() {
      const { intermediate, leaf, leafClient } = certificates
      const key = createPrivateKey(leaf.key).export({ type: "pkcs8", format: "der" })
      const chains: ReadonlyArray<Tls.CommonOptions["certificate"]> = [
        leaf.certificate + intermediate.certificate,
        [leaf.certificate, intermediate.certificate],
        [leaf.certificate.trimEnd(), new Uint8Array(Buffer.from(intermediate.certificate))],
        [der(leaf.certificate), der(intermediate.certificate)],
        [leaf.certificate, der(intermediate.certificate), ca.certificate]
      ]
      for (const certificate of chains) {
        yield* works({}, { certificate, key: leaf.key })
        yield* works({}, { certificate, key: [key] })
      }
      const { server } = yield* secured({
        clientTls: { certificate: [leafClient.certificate, der(intermediate.certificate)], key: leafClient.key },
        serverTls: { ca: ca.certificate, requestCertificate: true }
      })
      assert.isTrue(sessionOf(server).authorized)
      const { port } = yield* listening({
        contexts: { localhost: { certificate: [leaf.certificate, intermediate.certificate], key: leaf.key } }
      })
      assert.deepStrictEqual(
        presented(yield* dialling(port, { serverName: "localhost" })),
        Option.some("leaf")
      )
    }).pipe(Effect.scoped))

  it.scopedLive("may be several identities, each with its chain", () =>
    Effect.gen(function*() {
      const { intermediate, leaf, rsa } = certificates
      const encrypted = createPrivateKey(leaf.key)
        .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase }) as string
      const keys: ReadonlyArray<Tls.CommonOptions> = [
        { key: [leaf.key, rsa.key] },
        { key: [rsa.key, Redacted.make(leaf.key)] },
        { key: [rsa.key, encrypted], passphrase }
      ]
      const lists: ReadonlyArray<Tls.CommonOptions["certificate"]> = [
        [leaf.certificate + intermediate.certificate, rsa.certificate],
        [leaf.certificate, intermediate.certificate, rsa.certificate],
        [rsa.certificate, leaf.certificate, der(intermediate.certificate)],
        [intermediate.certificate, der(leaf.certificate), rsa.certificate]
      ]
      const choices = [["ECDHE-ECDSA-AES128-GCM-SHA256", "leaf"], ["ECDHE-RSA-AES128-GCM-SHA256", "rsa"]] as const
      for (const [i, certificate] of lists.entries()) {
        const { port } = yield* listening({ certificate, ...keys[i % keys.length]! })
        for (const [ciphers, name] of choices) {
          const connection = yield* dialling(port, {
            ca: undefined,
            secureContext: NodeTls.createSecureContext({ ca: ca.certificate, ciphers, maxVersion: "TLSv1.2" })
          })
          assert.deepStrictEqual(presented(connection), Option.some(name))
        }
      }
      const wrong: ReadonlyArray<readonly [Tls.ServerOptions, RegExp]> = [
        [{ key: [rsa.key, client.key] }, /`key` is not the key of `certificate`/],
        [{ key: [leaf.key, "nonsense"] }, /`key` is no private key/],
        [{ key: [rsa.key, encrypted] }, /`passphrase`/],
        [{ key: [rsa.key, leaf.key], certificate: [leaf.certificate, "nonsense"] }, /no certificate in `certificate`/]
      ]
      for (const [tls, message] of wrong) {
        const error = yield* Effect.flip(
          listening({ certificate: [leaf.certificate, intermediate.certificate], ...tls })
        )
        assert.match(error.message, message)
      }
    }))

  it.live("may hide its key", () =>
    Effect.gen(function*() {
      yield* works({}, { key: Redacted.make(server.key) })
      yield* works({}, { key: [Redacted.make(new Uint8Array(Buffer.from(server.key)))] })
      yield* works({}, { key: encryptedKey, passphrase })
      yield* works({}, { key: Redacted.make(encryptedKey), passphrase: Redacted.make(passphrase) })
    }))

  it.scopedLive("that can't be used fails to listen, without a word of the key", () =>
    Effect.gen(function*() {
      const secureContext = NodeTls.createSecureContext({ cert: server.certificate, key: server.key })
      const without = { certificate: undefined, key: undefined }
      const cases: ReadonlyArray<readonly [Tls.ServerOptions, RegExp]> = [
        [{ certificate: "nonsense" }, /no certificate in `certificate`/],
        [{ key: "nonsense" }, /`key` is no private key/],
        [{ key: client.key }, /`key` is not the key of `certificate`/],
        [{ key: encryptedKey, passphrase: "guessed" }, /`passphrase`/],
        [{ key: encryptedKey }, /`passphrase`/],
        [{ certificate: server.key, key: server.key }, /no certificate/],
        [{ certificate: undefined, key: undefined }, /needs a certificate/],
        [{ certificate: server.certificate, key: undefined }, /belong together/],
        [{ ca: server.key }, /no certificate in `ca`/],
        [{ crl: "nonsense" }, /CRL/],
        [{ alpnProtocols: ["x".repeat(256)] }, /255/],
        [
          { contexts: { "a.example.org": { certificate: "nonsense", key: server.key } } },
          /contexts\["a.example.org"\].*PEM/
        ],
        [{ contexts: { "a.example.org": { key: server.key } } }, /contexts\["a.example.org"\].*belong together/],
        [{ minVersion: "TLSv1.3", maxVersion: "TLSv1.2" }, /version/i],
        [{ secureContext }, /`certificate`, `key` would have no effect beside `secureContext`/],
        [{ ...without, secureContext, minVersion: "TLSv1.3" }, /`minVersion` would have no effect/],
        [{ ...without, secureContext, ca: ca.certificate, crl: "x" }, /`ca`, `crl` would/],
        [{ ...without, secureContext, maxVersion: "TLSv1.3", passphrase }, /`passphrase`, `maxVersion` would/],
        [
          { contexts: { "a.example.org": { secureContext, key: server.key } } },
          /contexts\["a.example.org"\].*`key` would/
        ],
        [
          { ...without, secureContext, requestCertificate: true, contexts: { "a.example.org": certificates.named } },
          /contexts\["a.example.org"\].*`ca` must say whose clients to accept/
        ],
        [{ ...without, secureContext: {} as NodeTls.SecureContext }, /`secureContext` was not made by/]
      ]
      for (const [tls, message] of cases) {
        const error = yield* Effect.flip(listening(tls))
        assert.strictEqual(error._tag, "ListenError")
        assert.match(error.message, message)
        assert.strictEqual((error.cause as { readonly reason?: string }).reason, "InvalidOptions")
        assert.notInclude(error.message, "PRIVATE KEY")
        assert.notInclude(JSON.stringify(error), "guessed")
      }
    }))

  it.scopedLive("that can't be used fails to connect, and leaves the server alone", () =>
    Effect.gen(function*() {
      const { port } = yield* listening()
      const cases: ReadonlyArray<Tls.ClientOptions> = [
        { ca: "nonsense" },
        { certificate: client.certificate, key: server.key },
        { key: Redacted.make("nonsense"), certificate: client.certificate },
        { alpnProtocols: ["x".repeat(256)] },
        { alpnProtocols: [""] },
        { crl: "nonsense" },
        { secureContext: {} as NodeTls.SecureContext },
        { ca: ca.certificate, secureContext: NodeTls.createSecureContext() },
        { secureContext: NodeTls.createSecureContext(), maxVersion: "TLSv1.3" },
        { minVersion: "TLSv1.3", maxVersion: "TLSv1.2" }
      ]
      for (const tls of cases) {
        assert.strictEqual(
          yield* reason(dialling(port, tls)),
          "TlsError InvalidOptions",
          JSON.stringify(Object.keys(tls))
        )
      }
    }))

  it.scopedLive("is what a connection is held to, whatever one before it was held to", () =>
    Effect.gen(function*() {
      const { port } = yield* listening()
      const { certificate: ours } = certificates.ca
      const { certificate: theirs } = certificates.strangerCa
      const rejected = "TlsError CertificateRejected"
      const list = [theirs, ours]
      // The same again and again, changed in place, and more of them than anybody would keep.
      for (let round = 0; round < 3; round++) {
        assert.strictEqual(yield* reason(Effect.asVoid(dialling(port, { ca: ours }))), "succeeded")
        assert.strictEqual(yield* reason(Effect.asVoid(dialling(port, { ca: theirs }))), rejected)
        assert.strictEqual(yield* reason(Effect.asVoid(dialling(port, { ca: list }))), "succeeded")
        const before = list.pop()!
        assert.strictEqual(yield* reason(Effect.asVoid(dialling(port, { ca: list }))), rejected)
        list.push(before)
        for (let i = 0; i < 10; i++) {
          assert.strictEqual(yield* reason(dialling(port, { ca: `${theirs}${"\n".repeat(i)}` })), rejected)
        }
        const versions = yield* reason(Effect.asVoid(dialling(port, { ca: ours, ...only("TLSv1.2") })))
        assert.strictEqual(versions, "succeeded")
        const latest = yield* dialling(port, { ca: ours })
        assert.strictEqual(Option.getOrThrow(latest.tls).protocol, "TLSv1.3")
      }
    }))

  it.scopedLive("in a context of Node's own making", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening({
        certificate: undefined,
        key: undefined,
        requestCertificate: true,
        secureContext: NodeTls.createSecureContext({ cert: server.certificate, key: server.key, ca: ca.certificate })
      })
      const connection = yield* dialling(port, {
        ca: undefined,
        secureContext: NodeTls.createSecureContext({
          ca: ca.certificate,
          cert: client.certificate,
          key: client.key,
          ciphers: "TLS_CHACHA20_POLY1305_SHA256"
        })
      })
      assert.isTrue(sessionOf(connection).authorized)
      assert.strictEqual(sessionOf(connection).cipher, "TLS_CHACHA20_POLY1305_SHA256")
      assert.isTrue(sessionOf(yield* accepted).authorized)
    }))
})

describeTls("client certificates", () => {
  const mutual = (): Tls.ServerOptions => ({ ca: certificates.ca.certificate, requestCertificate: true })
  const { certificate, key } = certificates.client
  const client = { certificate, key }

  it.scopedLive.each(versions)("are verified both ways: %s", (version) =>
    Effect.gen(function*() {
      const ends = yield* secured({ clientTls: { ...client, ...only(version) }, serverTls: mutual() })
      assert.isTrue(sessionOf(ends.server).authorized)
      assert.deepStrictEqual(presented(ends.server), Option.some("a client"))
    }))

  const refused = (version: Tls.Version, tls: Tls.ClientOptions, code: string) =>
    Effect.gen(function*() {
      const { count, port, reports } = yield* listening(mutual())
      // In TLS 1.3 the client is done before the server has seen its certificate: its first read learns of it.
      const exit = yield* Effect.exit(
        Effect.flatMap(dialling(port, { ...tls, ...only(version) }), ({ reader }) => reader.readAll())
      )
      assert.isTrue(Exit.isFailure(exit))
      yield* until(() => reports.length > 0)
      assert.deepStrictEqual(
        reports.map(({ cause, phase, remoteAddress }) => [phase, Option.isSome(remoteAddress), codeOf(cause)]),
        [["handshake", true, code]]
      )
      assert.strictEqual(count(), 0)
      return exit
    })

  const codeOf = (cause: Cause.Cause<unknown>) =>
    Option.getOrUndefined((Cause.squash(cause) as { readonly code: Option.Option<string> }).code)

  it.scopedLive.each(versions)("are required: %s", (version) =>
    Effect.gen(function*() {
      const exit = yield* refused(version, {}, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE")
      if (version === "TLSv1.2") {
        // OpenSSL 3.2 has another name for it.
        assert.match(outcomeOf(exit), /^TlsError HandshakeFailed ERR_SSL_SSL(V3|\/TLS)_ALERT_HANDSHAKE_FAILURE$/)
      } else {
        assert.strictEqual(outcomeOf(exit), "ConnectionError Unknown ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED")
        const error = Cause.squash(Exit.isFailure(exit) ? exit.cause : Cause.empty) as ConnectionError
        assert.match(error.message, /^read from .*: TLS failed: .*pass `certificate` and `key`/)
        const { cause } = error as { readonly cause?: unknown }
        assert.instanceOf(cause, TlsError)
        assert.isTrue(cause.established)
        assert.match(cause.message, /failed after the handshake: .*pass `certificate` and `key`/)
      }
    }))

  it.scopedLive.each(versions)(
    "of another root are refused: %s",
    (version) => refused(version, certificates.strangerClient, "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
  )

  it.scopedLive.each(versions)("are refused also where Node can't say why: %s", (version) =>
    Effect.gen(function*() {
      const { port, reports } = yield* listening(mutual())
      const { certificate, key } = certificates.critical
      yield* Effect.exit(
        Effect.flatMap(dialling(port, { certificate, key, ...only(version) }), ({ reader }) => reader.readAll())
      )
      yield* until(() => reports.length > 0)
      const error = Cause.squash(reports[0]!.cause)
      assert.instanceOf(error, TlsError)
      assert.strictEqual(error.reason, "CertificateRejected")
      assert.isFalse(error.established)
      assert.match(error.message, /not accepted: .*no name.*openssl verify.*\(UNSPECIFIED\)$/)
    }))

  it.scopedLive.each(versions)("can be asked for and not required: %s", (version) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening({ ...mutual(), rejectUnauthorized: false })
      yield* dialling(port, only(version))
      const none = sessionOf(yield* accepted)
      assert.isFalse(none.authorized)
      assert.deepStrictEqual(none.peerCertificate, Option.none())
      yield* dialling(port, { ...certificates.strangerClient, ...only(version) })
      const stranger = yield* accepted
      assert.isFalse(sessionOf(stranger).authorized)
      assert.deepStrictEqual(presented(stranger), Option.some("nobody"))
      yield* dialling(port, { ...client, ...only(version) })
      assert.isTrue(sessionOf(yield* accepted).authorized)
    }))

  it.scopedLive("that were revoked are refused", () =>
    Effect.gen(function*() {
      const { certificate, crl, key } = certificates.revoked
      const { port, reports } = yield* listening({ ...mutual(), crl })
      yield* Effect.exit(Effect.flatMap(dialling(port, { certificate, key }), ({ reader }) => reader.readAll()))
      yield* until(() => reports.length > 0)
      assert.strictEqual(codeOf(reports[0]!.cause), "CERT_REVOKED")
      const accepted = yield* dialling(port, client)
      assert.isTrue(sessionOf(accepted).authorized)
    }))
})

describeTls("application protocols", () => {
  it.scopedLive("are chosen by the server's preference", () =>
    Effect.gen(function*() {
      const { client } = yield* secured({
        clientTls: { alpnProtocols: ["a", "b"] },
        serverTls: { alpnProtocols: ["b", "a"] }
      })
      assert.deepStrictEqual(sessionOf(client).alpnProtocol, Option.some("b"))
    }))

  it.scopedLive("are none where one side has none", () =>
    Effect.gen(function*() {
      const one = yield* secured({ clientTls: { alpnProtocols: ["a"] } })
      assert.deepStrictEqual(sessionOf(one.client).alpnProtocol, Option.none())
      const other = yield* secured({ serverTls: { alpnProtocols: ["a"] } })
      assert.deepStrictEqual(sessionOf(other.server).alpnProtocol, Option.none())
    }))

  it.scopedLive.each(versions)(
    "that have nothing in common fail the handshake: %s",
    (version) =>
      Effect.gen(function*() {
        const { port, reports } = yield* listening({ alpnProtocols: ["a"] })
        const error = yield* Effect.flip(dialling(port, { alpnProtocols: ["b"], ...only(version) }))
        assert.strictEqual((error as { readonly reason: string }).reason, "HandshakeFailed")
        assert.include(error.message, "alpnProtocols")
        yield* until(() => reports.length > 0)
        assert.include(String(Cause.squash(reports[0]!.cause)), "alpnProtocols")
      })
  )
})

describeTls("names", () => {
  const { named, wildcard } = certificates

  const contexts = { "*.example.org": wildcard, "one.example.org": named, "*.Example.COM": wildcard }

  const presentedTo = (port: number, serverName: string | undefined) =>
    Effect.scoped(
      Effect.map(
        dialling(port, { serverName, verify: false }),
        (connection) => Option.getOrThrow(presented(connection))
      )
    )

  it.scopedLive("are answered with their certificate, the exact one before a wildcard", () =>
    Effect.gen(function*() {
      const { port } = yield* listening({ contexts })
      const expected: Record<string, string> = {
        "one.example.org": "named",
        "ONE.Example.Org": "named",
        "one.example.org.": "named",
        "two.example.org": "wildcard",
        "a.b.example.org": "localhost",
        "example.org": "localhost",
        "xexample.org": "localhost",
        "a.example.com": "wildcard",
        "localhost": "localhost"
      }
      for (const [name, certificate] of Object.entries(expected)) {
        assert.strictEqual(yield* presentedTo(port, name), certificate, name)
      }
      assert.strictEqual(yield* presentedTo(port, undefined), "localhost")
      const verified = yield* dialling(port, { serverName: "two.example.org" })
      assert.isTrue(sessionOf(verified).authorized)
    }))

  it.scopedLive("can be all that a server has", () =>
    Effect.gen(function*() {
      const { port } = yield* listening({ certificate: undefined, key: undefined, contexts })
      assert.strictEqual(yield* presentedTo(port, "two.example.org"), "wildcard")
      assert.strictEqual(yield* reason(dialling(port, { serverName: "localhost" })), "TlsError HandshakeFailed")
    }))

  it.scopedLive("can trust clients of their own", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening({
        ca: certificates.ca.certificate,
        requestCertificate: true,
        contexts: { "*.example.org": { ...wildcard, ca: certificates.strangerCa.certificate } }
      })
      yield* dialling(port, { ...certificates.strangerClient, serverName: "a.example.org" })
      assert.isTrue(sessionOf(yield* accepted).authorized)
      yield* dialling(port, certificates.client)
      assert.isTrue(sessionOf(yield* accepted).authorized)
    }))
})

describeTls("names that say nothing of whom to trust", () => {
  const { wildcard } = certificates

  const outcomes = (server: Tls.ServerOptions, clients: ReadonlyArray<Tls.ClientOptions>) =>
    Effect.gen(function*() {
      const { accepted, port, reports } = yield* listening({ requestCertificate: true, ...server })
      yield* Effect.forkScoped(Effect.forever(Effect.flatMap(accepted, ({ writer }) => writer.write("hello\n"))))
      const seen: Array<boolean> = []
      for (const { certificate, key } of clients) {
        const failed = reports.length
        const exit = yield* Effect.exit(Effect.scoped(
          Effect.flatMap(
            dialling(port, { certificate, key, serverName: "a.example.org" }),
            (one) => one.reader.readLine
          )
        ))
        seen.push(Exit.isSuccess(exit))
        yield* until(() => Exit.isSuccess(exit) || reports.length > failed)
      }
      return seen
    })

  it.scopedLive("trust whom the server trusts, and not the public", () =>
    Effect.gen(function*() {
      const { ca, client, revoked, strangerCa, strangerClient } = certificates
      const clients = [client, revoked, strangerClient]
      const server = { ca: ca.certificate, crl: revoked.crl }
      assert.deepStrictEqual(
        yield* outcomes({ ...server, contexts: { "*.example.org": wildcard } }, clients),
        [true, false, false]
      )
      assert.deepStrictEqual(
        yield* outcomes(
          { ca: ca.certificate, contexts: { "*.example.org": { ...wildcard, crl: revoked.crl } } },
          clients
        ),
        [true, false, false]
      )
      // A list of the server's says nothing of those whom others have issued.
      assert.deepStrictEqual(
        yield* outcomes(
          { ...server, contexts: { "*.example.org": { ...wildcard, ca: strangerCa.certificate } } },
          clients
        ),
        [false, false, true]
      )
    }))
})

describeTls("Server.setTls", () => {
  it.scopedLive("changes the certificate of new connections, and no others", () =>
    Effect.gen(function*() {
      const { accepted, port, server } = yield* listening()
      const before = yield* dialling(port)
      const served = yield* accepted
      assert.deepStrictEqual(presented(before), Option.some("localhost"))
      yield* server.setTls({ ...certificates.renewed, alpnProtocols: ["new"] })
      const after = yield* dialling(port, { alpnProtocols: ["new"] })
      assert.deepStrictEqual(presented(after), Option.some("renewed"))
      assert.deepStrictEqual(sessionOf(after).alpnProtocol, Option.some("new"))
      yield* served.writer.write("still here\n")
      assert.strictEqual(text(yield* before.reader.readLine), "still here\n")
    }))

  it.scopedLive("changes nothing where the new options can't be used", () =>
    Effect.gen(function*() {
      const { port, server } = yield* listening()
      assert.strictEqual(
        yield* reason(server.setTls({ certificate: "nonsense", key: "nonsense" })),
        "TlsError InvalidOptions"
      )
      assert.deepStrictEqual(presented(yield* dialling(port)), Option.some("localhost"))
    }))
})

describeTls("versions", () => {
  it.scopedLive("are the highest that both allow", () =>
    Effect.gen(function*() {
      const { port } = yield* listening({ maxVersion: "TLSv1.2" })
      assert.strictEqual(sessionOf(yield* dialling(port)).protocol, "TLSv1.2")
      assert.strictEqual(sessionOf((yield* secured()).client).protocol, "TLSv1.3")
    }))

  it.scopedLive("that have nothing in common fail on both sides, and say what to look at", () =>
    Effect.gen(function*() {
      const { port, reports } = yield* listening({ minVersion: "TLSv1.3" })
      const error = yield* Effect.flip(dialling(port, { maxVersion: "TLSv1.2" }))
      assert.strictEqual((error as { readonly reason: string }).reason, "HandshakeFailed")
      assert.include(error.message, "minVersion")
      yield* until(() => reports.length > 0)
      assert.include(String(Cause.squash(reports[0]!.cause)), "minVersion")
    }))
})

/** A cache that takes whatever session comes last, and one that offers it to whatever server. */
const theft = () => {
  let stolen: Uint8Array | undefined
  const take: Tls.SessionCache = {
    get: () => undefined,
    set: (_server, session) => {
      stolen = session
    },
    drop: () => {}
  }
  const use: Tls.SessionCache = {
    get: () => {
      assert.isDefined(stolen)
      return stolen
    },
    set: () => {},
    drop: () => {}
  }
  return { take, use }
}

describeTls("sessions", () => {
  const twice = (port: number, first: Tls.ClientOptions, second: Tls.ClientOptions = first) =>
    Effect.scoped(Effect.gen(function*() {
      const one = yield* dialling(port, first)
      assert.strictEqual(sessionOf(one).authorized, first.verify !== false)
      // In TLS 1.3 tickets come after the handshake.
      assert.strictEqual(text(yield* one.reader.readLine), "hello\n")
      const two = yield* dialling(port, second)
      assert.isTrue(sessionOf(two).authorized)
      assert.strictEqual(text(yield* two.reader.readLine), "hello\n")
      return [sessionOf(one).resumed, sessionOf(two).resumed]
    }))

  const greeting = (tls: Tls.ServerOptions = {}) => {
    const connections: Array<Connection> = []
    return Effect.map(
      listening(tls, {}, (connection) => {
        connections.push(connection)
        return Effect.zipRight(connection.writer.write("hello\n"), connection.awaitClosed)
      }),
      (server) => ({ ...server, connections, count: () => connections.length })
    )
  }

  it.scopedLive.each(versions)("are resumed: %s", (version) =>
    Effect.gen(function*() {
      const { port } = yield* greeting()
      const tls = { ...only(version), sessions: Tls.makeSessionCache() }
      assert.deepStrictEqual(yield* twice(port, tls), [false, true])
    }))

  it.scopedLive.each(versions)("are resumed with client certificates: %s", (version) =>
    Effect.gen(function*() {
      const { connections, port } = yield* greeting({ ca: certificates.ca.certificate, requestCertificate: true })
      const { certificate, key } = certificates.client
      const tls = { certificate, key, ...only(version), sessions: Tls.makeSessionCache() }
      assert.deepStrictEqual(yield* twice(port, tls), [false, true])
      assert.deepStrictEqual(
        connections.map((connection) => [sessionOf(connection).authorized, presented(connection)]),
        [[true, Option.some("a client")], [true, Option.some("a client")]]
      )
    }))

  const ofNode = () => ({
    certificate: undefined,
    key: undefined,
    secureContext: NodeTls.createSecureContext({
      cert: certificates.server.certificate,
      key: certificates.server.key,
      ca: certificates.ca.certificate
    })
  })

  it.scopedLive.each(versions)(
    "are resumed with client certificates in a context of Node's: %s",
    (version) =>
      Effect.gen(function*() {
        const { port, server } = yield* greeting({ ...ofNode(), requestCertificate: true })
        const { certificate, key } = certificates.client
        const tls = { certificate, key, ...only(version), sessions: Tls.makeSessionCache() }
        assert.deepStrictEqual(yield* twice(port, tls), [false, true])
        yield* server.setTls({ ...ofNode(), requestCertificate: true })
        assert.deepStrictEqual(yield* twice(port, tls), [false, true])
      })
  )

  it.scopedLive.each(versions)(
    "of a server without need of certificates get nobody in elsewhere: %s",
    (version) =>
      Effect.gen(function*() {
        const tls = ofNode()
        const { strangerClient, wildcard } = certificates
        const stranger = { certificate: strangerClient.certificate, key: strangerClient.key }
        const open = yield* greeting(tls)
        const lenient = yield* greeting({ ...tls, requestCertificate: true, rejectUnauthorized: false })
        const strict = yield* greeting({ ...tls, requestCertificate: true })
        const read = (port: number, options: Tls.ClientOptions) =>
          reason(Effect.scoped(
            Effect.flatMap(
              dialling(port, { ...options, ...only(version), serverName: "localhost" }),
              ({ reader }) => reader.readLine
            )
          ))
        const thieves: Array<Tls.ClientOptions> = []
        for (const [from, as] of [[open, {}], [open, stranger], [lenient, {}], [lenient, stranger]] as const) {
          const { take, use } = theft()
          assert.strictEqual(yield* read(from.port, { ...as, sessions: take }), "succeeded")
          thieves.push({ ...as, sessions: use })
        }
        for (const thief of thieves) {
          assert.strictEqual(yield* read(lenient.port, thief), "succeeded")
          assert.notStrictEqual(yield* read(strict.port, thief), "succeeded")
        }
        const again = lenient.connections.slice(-thieves.length).map(sessionOf)
        assert.deepStrictEqual(
          again.map(({ authorized, resumed }) => [authorized, resumed]),
          again.map(() => [false, true])
        )
        const { client } = certificates
        const { take, use } = theft()
        const trusted = { certificate: client.certificate, key: client.key }
        assert.strictEqual(yield* read(strict.port, { ...trusted, sessions: take }), "succeeded")
        const named = yield* greeting({
          ...tls,
          requestCertificate: true,
          contexts: { localhost: { ...wildcard, ca: certificates.strangerCa.certificate } }
        })
        assert.notStrictEqual(yield* read(named.port, { ...trusted, sessions: use }), "succeeded")
        yield* until(() => strict.reports.length === 4 && named.reports.length === 1)
        assert.deepStrictEqual([strict.count(), named.count()], [1, 0])
      })
  )

  it.scopedLive("that a handshake failed with are not offered again", () =>
    Effect.gen(function*() {
      const { port } = yield* greeting()
      let connections = 0
      const middle = yield* between(port, ({ client }) => {
        if (++connections === 3) {
          client.destroy()
        }
      })
      const tls = { sessions: Tls.makeSessionCache() }
      assert.deepStrictEqual(yield* twice(middle.port, tls), [false, true])
      assert.strictEqual(yield* reason(dialling(middle.port, tls)), "TlsError Closed")
      assert.deepStrictEqual(yield* twice(middle.port, tls), [false, true])
    }))

  it.scopedLive.each(versions)(
    "of one name get nobody in under another that does not trust them: %s",
    (version) =>
      Effect.gen(function*() {
        const { ca, client, strangerCa, wildcard } = certificates
        const { count, port, reports } = yield* greeting({
          ca: ca.certificate,
          requestCertificate: true,
          contexts: {
            "a.example.org": { ...wildcard, ca: ca.certificate },
            "b.example.org": { ...wildcard, ca: strangerCa.certificate }
          }
        })
        const { take, use } = theft()
        const identity = { certificate: client.certificate, key: client.key }
        const tryWith = (tls: Tls.ClientOptions) =>
          Effect.scoped(
            Effect.flatMap(dialling(port, { ...tls, ...only(version) }), ({ reader }) => reader.readLine)
          ).pipe(Effect.map(text), Effect.orElseSucceed(() => "refused"))
        let refused = 0
        for (const serverName of ["a.example.org", undefined]) {
          assert.strictEqual(yield* tryWith({ ...identity, serverName, sessions: take }), "hello\n")
          assert.strictEqual(yield* tryWith({ ...identity, serverName, sessions: use }), "hello\n")
          for (const presents of [identity, {}]) {
            assert.strictEqual(yield* tryWith({ ...presents, serverName: "b.example.org", sessions: use }), "refused")
            refused++
            yield* until(() => reports.length === refused)
          }
        }
        assert.strictEqual(count(), 4)
      })
  )

  it.scopedLive.each(versions)(
    "hide the name that a client asks for from no server with names: %s",
    (version) =>
      Effect.gen(function*() {
        const { connections, port } = yield* greeting({ contexts: { "*.example.org": certificates.wildcard } })
        const tls = { serverName: "a.example.org", ...only(version), sessions: Tls.makeSessionCache() }
        assert.deepStrictEqual(yield* twice(port, tls), [false, false])
        const latest = yield* greeting({ contexts: { "*.example.org": certificates.wildcard }, minVersion: "TLSv1.3" })
        if (version === "TLSv1.3") {
          assert.deepStrictEqual(yield* twice(latest.port, tls), [false, true])
        }
        for (const connection of [...connections, ...latest.connections]) {
          assert.deepStrictEqual(sessionOf(connection).serverName, Option.some("a.example.org"))
        }
      })
  )

  it.scopedLive.each(versions)(
    "do not make a client authorized that has no certificate: %s",
    (version) =>
      Effect.gen(function*() {
        const { connections, port } = yield* greeting({
          ca: certificates.ca.certificate,
          requestCertificate: true,
          rejectUnauthorized: false
        })
        const tls = { ...only(version), sessions: Tls.makeSessionCache() }
        assert.deepStrictEqual(yield* twice(port, tls), [false, true])
        for (const connection of connections) {
          assert.isFalse(sessionOf(connection).authorized)
          assert.deepStrictEqual(sessionOf(connection).peerCertificate, Option.none())
        }
      })
  )

  it.scopedLive.each(versions)(
    "do not make a server authorized that has another name: %s",
    (version) =>
      Effect.gen(function*() {
        const { port } = yield* greeting()
        const sessions = Tls.makeSessionCache()
        for (const serverName of ["bank.example.org", "localhost", undefined]) {
          const tls = { ...only(version), serverName, sessions }
          const authorized = serverName !== "bank.example.org"
          for (let i = 0; i < 2; i++) {
            const connection = yield* dialling(port, { ...tls, verify: false })
            assert.strictEqual(text(yield* connection.reader.readLine), "hello\n")
            assert.strictEqual(sessionOf(connection).authorized, authorized, serverName)
          }
          if (authorized) {
            yield* twice(port, tls)
            assert.isTrue(sessionOf(yield* dialling(port, tls)).authorized)
          }
        }
      })
  )

  it.scopedLive.each(versions)(
    "do not vouch for what was not verified when they were made: %s",
    (version) =>
      Effect.gen(function*() {
        const { port } = yield* greeting(certificates.named)
        const tls = { ...only(version), serverName: "localhost", sessions: Tls.makeSessionCache() }
        // The chain is good, and the name is wrong: only the handshake looks at names.
        assert.strictEqual(
          yield* outcome(twice(port, { ...tls, verify: false }, tls)),
          "TlsError CertificateRejected ERR_TLS_CERT_ALTNAME_INVALID"
        )
        const right = { ...tls, serverName: "one.example.org" }
        assert.strictEqual(
          yield* reason(twice(port, right, { ...right, ca: certificates.strangerCa.certificate })),
          "TlsError CertificateRejected"
        )
        assert.deepStrictEqual(
          yield* twice(port, right, {
            ...right,
            ca: [certificates.ca.certificate, certificates.strangerCa.certificate]
          }),
          [true, false]
        )
      })
  )

  it.scopedLive("of before a change of certificates are not resumed", () =>
    Effect.gen(function*() {
      const { port, server } = yield* greeting()
      const tls = { sessions: Tls.makeSessionCache() }
      assert.deepStrictEqual(yield* twice(port, tls), [false, true])
      yield* server.setTls({ ...identity(), ...certificates.renewed })
      const after = yield* dialling(port, tls)
      assert.isFalse(sessionOf(after).resumed)
      assert.deepStrictEqual(presented(after), Option.some("renewed"))
    }))

  it("are kept for as many servers as asked, the latest used", () => {
    const cache = Tls.makeSessionCache({ capacity: 2 })
    const session = (n: number) => new Uint8Array([n])
    cache.set("a", session(1))
    cache.set("b", session(2))
    assert.deepStrictEqual(cache.get("a"), session(1))
    cache.set("c", session(3))
    assert.isUndefined(cache.get("b"))
    assert.deepStrictEqual(cache.get("a"), session(1))
    assert.deepStrictEqual(cache.get("c"), session(3))
    // Only the one that was of no use goes.
    const latest = session(4)
    cache.set("c", latest)
    cache.drop("c", session(4))
    assert.strictEqual(cache.get("c"), latest)
    cache.drop("c", latest)
    assert.isUndefined(cache.get("c"))
  })

  it.scopedLive("work with a server of Node's, and a client of Node's with ours", () =>
    Effect.gen(function*() {
      const node = yield* nodeServer()
      yield* Effect.forkScoped(Effect.forever(Effect.map(node.accepted, ({ socket }) => socket.write("hello\n"))))
      assert.deepStrictEqual(yield* twice(node.port, { sessions: Tls.makeSessionCache() }), [false, true])
      const ours = yield* greeting()
      let session: Buffer | undefined
      const first = yield* nodeClient(ours.port)
      first.socket.on("session", (ticket: Buffer) => {
        session = ticket
      })
      yield* until(() => session !== undefined)
      const second = yield* nodeClient(ours.port, { session })
      assert.isTrue(second.socket.isSessionReused())
      yield* until(() => second.text === "hello\n")
    }))
})

describeTls("tls: true", () => {
  it.scopedLive("expects a certificate that the system trusts, for the host", () =>
    Effect.gen(function*() {
      const { port } = yield* listening()
      const error = yield* Effect.flip(dialling(port, { ...trust(), ca: undefined }))
      assert.strictEqual((error as { readonly reason: string }).reason, "CertificateRejected")
    }))
})
