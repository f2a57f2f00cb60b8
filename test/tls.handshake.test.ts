import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { once } from "node:events"
import * as Net from "node:net"
import * as NodeTls from "node:tls"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import * as Network from "../src/Network.js"
import { TlsError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import type * as Tls from "../src/Tls.js"
import { certificates, describeTls } from "./support/certificates.js"
import { handles, handlesLeft, leavesNoHandles } from "./support/handles.js"
import { rawConnect, rawServer, turns, until } from "./support/rawPeer.js"
import {
  between,
  causeOf,
  dialling,
  listening,
  nodeClient,
  nodeServer,
  only,
  outcome,
  outcomeOf,
  reason,
  text,
  trust,
  versions
} from "./support/tlsPeers.js"

leavesNoHandles()

const expectTlsError = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.instanceOf(error, TlsError)
    return error
  })

/** What was reported to a server, in short; the remote address has to be there. */
const reported = (reports: ReadonlyArray<{ readonly phase: string; readonly cause: Cause.Cause<unknown> }>) =>
  reports.map(({ cause, phase }) => `${phase}: ${causeOf(cause)}`)

describeTls("a certificate is rejected", () => {
  const cases: ReadonlyArray<
    readonly [what: string, server: () => Tls.ServerOptions, client: Tls.ClientOptions, code: string, message: RegExp]
  > = [
    ["that has expired", () => certificates.expired, {}, "CERT_HAS_EXPIRED", /expired.*renew/],
    ["that is not yet valid", () => certificates.notYetValid, {}, "CERT_NOT_YET_VALID", /not valid yet.*clock/],
    [
      "that is self-signed",
      () => certificates.selfSigned,
      {},
      "DEPTH_ZERO_SELF_SIGNED_CERT",
      /self-signed.*`ca`/
    ],
    [
      "whose root is unknown",
      () => certificates.stranger,
      {},
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      /issuer is not known.*`ca`/
    ],
    [
      "whose unknown root is sent along",
      () => ({
        ...certificates.stranger,
        certificate: certificates.stranger.certificate + certificates.strangerCa.certificate
      }),
      {},
      "SELF_SIGNED_CERT_IN_CHAIN",
      /root that is not trusted.*`ca`/
    ],
    [
      "that is for another name",
      () => certificates.named,
      { serverName: "two.example.org" },
      "ERR_TLS_CERT_ALTNAME_INVALID",
      /another name.*checked for "two.example.org".*one\.example\.org/
    ],
    [
      "whose wildcard does not reach as far",
      () => certificates.wildcard,
      { serverName: "a.b.example.org" },
      "ERR_TLS_CERT_ALTNAME_INVALID",
      /checked for "a.b.example.org"/
    ],
    [
      "for a reason that Node has no name for",
      () => certificates.critical,
      {},
      "UNSPECIFIED",
      /not accepted: unhandled critical extension, checked for "localhost" \(UNSPECIFIED\)$/
    ]
  ]

  for (const [what, server, client, code, message] of cases) {
    it.scopedLive.each(versions)(`${what}: %s`, (version) =>
      Effect.gen(function*() {
        const { accepted, port, reports } = yield* listening(server())
        const error = yield* expectTlsError(dialling(port, { serverName: "localhost", ...client, ...only(version) }))
        assert.strictEqual(error.reason, "CertificateRejected")
        assert.deepStrictEqual(error.code, Option.some(code))
        assert.match(error.message, message)
        assert.include(error.message, `127.0.0.1:${port}`)
        assert.include(error.message, `"${client.serverName ?? "localhost"}"`)
        assert.isDefined(error.cause)
        const encoded = yield* Schema.encode(TlsError)(error)
        const decoded = yield* Schema.decode(TlsError)(JSON.parse(JSON.stringify(encoded)))
        assert.strictEqual(decoded.message, error.message)
        if (version === "TLSv1.2") {
          // Here the server has the last word of the handshake: for it, there was a connection, which then broke off.
          const { reader } = yield* accepted
          assert.strictEqual(yield* reason(reader.readAll()), "ConnectionError Truncated")
          assert.strictEqual(reports.length, 0)
        } else {
          yield* until(() => reports.length > 0)
          yield* turns()
          assert.deepStrictEqual(reported(reports), ["handshake: TlsError Closed ECONNRESET"])
        }
        // Whoever comes next is served.
        yield* dialling(port, { verify: false, ...only(version) })
      }))
  }

  it.scopedLive("that was revoked, where there is a list of them", () =>
    Effect.gen(function*() {
      const { crl, ...revoked } = certificates.revoked
      const { port } = yield* listening(revoked)
      const error = yield* expectTlsError(dialling(port, { crl }))
      assert.strictEqual(error.reason, "CertificateRejected")
      assert.deepStrictEqual(error.code, Option.some("CERT_REVOKED"))
      assert.match(error.message, /revoked/)
      yield* dialling(port)
      const good = yield* listening()
      yield* dialling(good.port, { crl })
    }))

  it.scopedLive("but not where nothing is to be verified", () =>
    Effect.gen(function*() {
      for (const pair of [certificates.expired, certificates.selfSigned, certificates.named]) {
        const { port } = yield* listening(pair)
        yield* dialling(port, { verify: false })
      }
    }))
})

describeTls("what does not speak TLS", () => {
  it.scopedLive("a server: the client says so", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const fiber = yield* Effect.fork(expectTlsError(dialling(port)))
      const peer = yield* accepted
      peer.read().socket.write("220 mail.example.org ESMTP\r\n")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.reason, "HandshakeFailed")
      assert.match(error.message, /not TLS.*in the clear/)
      yield* until(() => peer.closed || peer.ended)
    }))

  const plaintext: Record<string, string | Uint8Array> = {
    "an HTTP request": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a line": "EHLO localhost\r\n",
    "zeros": new Uint8Array(100),
    "a proxy's request": "CONNECT example.org:443 HTTP/1.1\r\n\r\n",
    "a record that is too long": new Uint8Array([22, 3, 1, 0xff, 0xff, ...new Uint8Array(100)]),
    "a ClientHello that makes no sense": new Uint8Array([22, 3, 1, 0, 100, 1, 0, 0, 96, ...new Uint8Array(96)])
  }

  it.scopedLive.each(Object.keys(plaintext))(
    "a client with %s: one report, one closed socket",
    (what) =>
      Effect.gen(function*() {
        const { count, port, reports } = yield* listening()
        const peer = yield* rawConnect({ host: "127.0.0.1", port })
        peer.read().socket.write(plaintext[what]!)
        yield* until(() => reports.length > 0 && (peer.ended || peer.closed))
        yield* turns()
        assert.match(reported(reports).join(), /^handshake: TlsError HandshakeFailed ERR_SSL_\w+$/)
        assert.strictEqual(count(), 0)
        assert.isTrue(Option.isSome(reports[0]!.remoteAddress))
        yield* dialling(port)
      })
  )
})

describeTls("a handshake that does not end", () => {
  it.scopedLive("is cut off by the client after handshakeTimeout", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const [elapsed, error] = yield* Effect.timed(
        expectTlsError(dialling(port, { handshakeTimeout: "120 millis", serverName: "localhost" }))
      )
      assert.strictEqual(error.reason, "HandshakeTimeout")
      assert.match(error.message, /120ms/)
      assert.isAtLeast(Duration.toMillis(elapsed), 110)
      assert.isBelow(Duration.toMillis(elapsed), 2_000)
      const peer = yield* accepted
      peer.read()
      yield* until(() => peer.ended || peer.closed)
    }))

  it.scopedLive("is cut off by the server after handshakeTimeout, and reported once", () =>
    Effect.gen(function*() {
      const { count, port, reports } = yield* listening({ handshakeTimeout: "120 millis" })
      const silent = yield* rawConnect({ host: "127.0.0.1", port })
      silent.read()
      const begun = yield* rawConnect({ host: "127.0.0.1", port })
      // The beginning of a ClientHello.
      begun.read().socket.write(new Uint8Array([22, 3, 1]))
      yield* until(() => [silent, begun].every(({ closed, ended }) => closed || ended))
      assert.deepStrictEqual(reported(reports), Array(2).fill("handshake: TlsError HandshakeTimeout"))
      assert.strictEqual(count(), 0)
    }))

  it.effect("is timed by the program's clock: 60 seconds unless told otherwise", () =>
    Effect.gen(function*() {
      const { port } = yield* rawServer()
      const fiber = yield* Effect.fork(
        Effect.exit(Network.openConnection({ host: "127.0.0.1", port, tls: trust() }))
      )
      yield* turns(50)
      yield* TestClock.adjust("59 seconds")
      yield* turns()
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(outcomeOf(yield* Fiber.join(fiber)), "TlsError HandshakeTimeout")
    }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer)))

  it.scopedLive("is cut off by connectTimeout as well", () =>
    Effect.gen(function*() {
      const { port } = yield* rawServer()
      const error = yield* Effect.flip(dialling(port, {}, { connectTimeout: "100 millis" }))
      assert.strictEqual(error._tag, "ConnectError")
      assert.include(error.message, "TLS")
    }))

  it.scopedLive("does not hold up others", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening()
      yield* Effect.forEach(Array(50), () => rawConnect({ host: "127.0.0.1", port }), { concurrency: "unbounded" })
      const client = yield* dialling(port)
      const server = yield* accepted
      yield* server.writer.write("served\n")
      assert.strictEqual(text(yield* client.reader.readLine), "served\n")
    }))

  it.scopedLive("ends with the server, without a report", () =>
    Effect.gen(function*() {
      const { port, reports, server } = yield* listening()
      const peer = yield* rawConnect({ host: "127.0.0.1", port })
      peer.read()
      yield* turns()
      yield* server.shutdown()
      yield* until(() => peer.ended || peer.closed)
      assert.strictEqual(reports.length, 0)
    }))
})

describeTls("a peer that goes away", () => {
  it.scopedLive("from a server: before a word, in the middle of one, by its end or a reset", () =>
    Effect.gen(function*() {
      const { count, port, reports } = yield* listening()
      const ways: ReadonlyArray<(socket: Net.Socket) => void> = [
        (socket) => socket.end(),
        (socket) => socket.end(new Uint8Array([22, 3, 1, 0])),
        (socket) => socket.destroy(),
        (socket) => socket.resetAndDestroy(),
        (socket) => socket.write(new Uint8Array([22, 3, 1, 0]), () => socket.resetAndDestroy())
      ]
      for (const [i, way] of ways.entries()) {
        const peer = yield* rawConnect({ host: "127.0.0.1", port })
        peer.read()
        way(peer.socket)
        yield* until(() => reports.length > i && (peer.closed || peer.ended))
      }
      yield* turns()
      assert.deepStrictEqual(reported(reports), Array(ways.length).fill("handshake: TlsError Closed ECONNRESET"))
      assert.strictEqual(count(), 0)
    }))

  it.scopedLive.each(versions)("from both, after any number of messages: %s", (version) =>
    Effect.gen(function*() {
      const node = yield* listening(only(version))
      let limit = 0
      let passed = 0
      let hard = false
      const tap = yield* between(node.port, (middle) => {
        passed = 0
        const tamper = (chunk: Buffer) => {
          passed += chunk.length
          if (passed <= limit) {
            return chunk
          }
          if (hard) {
            middle.client.resetAndDestroy()
            middle.server.resetAndDestroy()
          } else {
            middle.client.end()
            middle.server.end()
          }
          return undefined
        }
        middle.toServer.tamper = tamper
        middle.toClient.tamper = tamper
      })
      let failures = 0
      for (const size of [0, 100, 600, 1_500]) {
        for (const way of [false, true]) {
          limit = size
          hard = way
          const exit = yield* Effect.exit(Effect.scoped(dialling(tap.port, only(version))))
          if (Exit.isFailure(exit)) {
            failures += 1
            assert.strictEqual(outcomeOf(exit), "TlsError Closed ECONNRESET")
          }
        }
      }
      assert.isAtLeast(failures, 4)
      yield* until(() => node.reports.length >= failures)
      for (const report of reported(node.reports)) {
        assert.match(report, /^handshake: TlsError (Closed E\w+|HandshakeFailed)/)
      }
    }))

  it.scopedLive("from a client: by its end, and with an alert that says why", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const first = yield* Effect.fork(outcome(dialling(port)))
      const silent = yield* accepted
      silent.socket.end()
      assert.strictEqual(yield* Fiber.join(first), "TlsError Closed ECONNRESET")
      const second = yield* Effect.fork(outcome(dialling(port)))
      const refusing = yield* accepted
      // Fatal: access denied. The end comes in the same segment.
      refusing.socket.end(new Uint8Array([21, 3, 3, 0, 2, 2, 49]))
      assert.strictEqual(yield* Fiber.join(second), "TlsError HandshakeFailed ERR_SSL_TLSV1_ALERT_ACCESS_DENIED")
    }))
})

describeTls("with Node's own TLS", () => {
  it.scopedLive.each(versions)(
    "as the server, which learns why it was refused: %s",
    (version) =>
      Effect.gen(function*() {
        const { accepted, port } = yield* nodeServer(only(version))
        const client = yield* dialling(port)
        const peer = yield* accepted
        peer.socket.write("hello\n")
        assert.strictEqual(text(yield* client.reader.readLine), "hello\n")
        yield* client.writer.write("from here\n")
        yield* until(() => peer.text === "from here\n")
      })
  )

  it.scopedLive("as the client, which gets the alert of a server that can't go on", () =>
    Effect.gen(function*() {
      const { port } = yield* listening({ minVersion: "TLSv1.3", alpnProtocols: ["a"] })
      const old = yield* nodeClient(port, { maxVersion: "TLSv1.2" })
      assert.strictEqual(old.code, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION")
      const other = yield* nodeClient(port, { ALPNProtocols: ["b"] })
      assert.strictEqual(other.code, "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL")
    }))
})

describeTls("nothing is left", () => {
  const heap = () => {
    V8.setFlagsFromString("--expose-gc")
    Vm.runInNewContext("gc")()
    return process.memoryUsage().heapUsed
  }

  /** Runs it a hundred times to warm up, then `count` times between two looks. */
  const leavesNothing = (count: number, handshake: Effect.Effect<unknown>) =>
    Effect.gen(function*() {
      const batch = (times: number) => Effect.forEach(Array(times), () => handshake, { concurrency: 20, discard: true })
      yield* batch(100)
      yield* turns()
      const before = { handles: handles(), heap: heap() }
      yield* batch(count)
      yield* until(() => handlesLeft(before.handles).length === 0)
      yield* turns()
      assert.isBelow(heap() - before.heap, 1024 * 1024)
    })

  it.scopedLive("of 1000 handshakes that failed", () =>
    Effect.gen(function*() {
      let reports = 0
      const onError = () =>
        Effect.sync(() => {
          reports += 1
        })
      const { port, server } = yield* listening(certificates.selfSigned, { onError })
      const secureContext = NodeTls.createSecureContext({ ca: certificates.ca.certificate })
      yield* leavesNothing(
        1_000,
        Effect.map(reason(Effect.scoped(dialling(port, { secureContext }))), (outcome) => {
          assert.strictEqual(outcome, "TlsError CertificateRejected")
        })
      )
      yield* until(() => reports === 1_100)
      assert.deepStrictEqual(yield* server.connections, [])
    }), 60_000)

  it.scopedLive("of 1000 handshakes that were interrupted", () =>
    Effect.gen(function*() {
      const silent = yield* Effect.acquireRelease(
        Effect.promise(async () => {
          const sockets = new Set<Net.Socket>()
          const server = Net.createServer((socket) => {
            sockets.add(socket)
            socket.on("error", () => {})
            socket.on("close", () => sockets.delete(socket))
            socket.resume()
          })
          server.listen(0, "127.0.0.1")
          await once(server, "listening")
          return { server, sockets }
        }),
        ({ server, sockets }) =>
          Effect.sync(() => {
            sockets.forEach((socket) => socket.destroy())
            server.close()
          })
      )
      const { port } = silent.server.address() as Net.AddressInfo
      const honest = yield* listening({}, { onError: () => Effect.void })
      let n = 0
      // Some while they connect, some while the server is silent, some in the middle of a handshake.
      const handshake = Effect.suspend(() => {
        n += 1
        return Effect.gen(function*() {
          const fiber = yield* Effect.fork(Effect.scoped(dialling(n % 2 === 0 ? port : honest.port)))
          yield* turns(n % 7)
          yield* Fiber.interrupt(fiber)
        })
      })
      yield* leavesNothing(1_000, handshake)
      yield* until(() => silent.sockets.size === 0)
      yield* dialling(honest.port)
    }), 60_000)

  it.scopedLive("of 1000 handshakes that a server gave up on", () =>
    Effect.gen(function*() {
      let reports = 0
      const onError = () =>
        Effect.sync(() => {
          reports += 1
        })
      const { port } = yield* listening({ handshakeTimeout: "20 millis" }, { onError })
      const handshake = Effect.scoped(Effect.gen(function*() {
        const peer = yield* rawConnect({ host: "127.0.0.1", port })
        peer.read().socket.write(new Uint8Array([22, 3]))
        yield* until(() => peer.ended || peer.closed)
      }))
      yield* leavesNothing(1_000, handshake)
      yield* until(() => reports === 1_100)
    }), 60_000)
})

describeTls("arguments", () => {
  it.scopedLive("that can't be right are defects", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [Tls.ClientOptions, string]> = [
        [{ handshakeTimeout: -1 }, "handshakeTimeout"],
        [{ handshakeTimeout: 0 }, "handshakeTimeout"],
        [{ shutdownTimeout: "soon" as never }, "shutdownTimeout"],
        [{ minVersion: "TLSv1.1" as never }, "minVersion"],
        [{ serverName: "" }, "serverName"]
      ]
      for (const [tls, name] of cases) {
        const exit = yield* Effect.exit(dialling(1, tls))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), name)
      }
    }))

  it.scopedLive("for a host in another script send its ASCII form", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening()
      yield* dialling(port, { serverName: "bücher.example.", verify: false })
      const { tls } = yield* accepted
      assert.deepStrictEqual(Option.getOrThrow(tls).serverName, Option.some("xn--bcher-kva.example"))
    }))
  it.scopedLive("for an address that is written in an unusual way send no name", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening()
      const client = yield* dialling(port, { serverName: "127.1" })
      assert.isTrue(Option.getOrThrow(client.tls).authorized)
      const { tls } = yield* accepted
      assert.deepStrictEqual(Option.getOrThrow(tls).serverName, Option.none())
      const error = yield* expectTlsError(dialling(port, { serverName: "127.2" }))
      assert.match(error.message, /checked for "127.2".*127\.0\.0\.2/)
    }))
})
