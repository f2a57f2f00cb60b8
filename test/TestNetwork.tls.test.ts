import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Option, type Scope } from "effect"
import { type Connection, Network, NodeNetwork, TestNetwork } from "effect-netstreams"
import { certificates, describeTls } from "./support/certificates.js"
import { identity, trust } from "./support/tlsPeers.js"

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** Handshakes take real time, so this runs on the platform's clock. */
const test = (
  name: string,
  conditions: TestNetwork.LinkConditions,
  body: Effect.Effect<void, unknown, Network.Network | TestNetwork.TestNetwork | Scope.Scope>
) => it.scopedLive(name, () => Effect.provide(body, TestNetwork.layerWith({ conditions, tls: NodeNetwork.tls })))

/** Both ends of a connection that was dialled over TLS. */
const connected = Effect.gen(function*() {
  const accepted = yield* Deferred.make<Connection.Connection>()
  yield* TestNetwork.addName("localhost", ["127.0.0.1"])
  yield* Network.startServer(
    { host: "127.0.0.1", port: 443, tls: identity() },
    (connection) => Effect.zipRight(Deferred.succeed(accepted, connection), connection.awaitClosed)
  )
  const client = yield* Network.openConnection({ host: "localhost", port: 443, tls: trust() })
  const server = yield* Deferred.await(accepted)
  yield* Effect.addFinalizer(() => server.abort)
  return [client, server] as const
})

describeTls("TLS over a test network", () => {
  for (const [name, conditions] of [["whole", {}], ["byte by byte", { fragment: 1 }]] as const) {
    test(
      `is dialled and accepted, ${name}`,
      conditions,
      Effect.gen(function*() {
        const [client, server] = yield* connected
        assert.equal(Option.getOrThrow(client.tls).authorized, true)
        assert.deepEqual(Option.getOrThrow(server.tls).serverName, Option.some("localhost"))
        const bytes = new Uint8Array(200_000).map((_, i) => i * 7)
        const [received] = yield* Effect.all([
          server.reader.readAll(),
          Effect.zipRight(client.writer.write(bytes), client.writer.writeEof)
        ], { concurrency: 2 })
        assert.deepEqual(received, bytes)
        yield* server.writer.write("done")
        yield* server.close
        assert.equal(text(yield* client.reader.readAll()), "done")
      })
    )

    test(
      `is gone over to in the middle, ${name}`,
      conditions,
      Effect.gen(function*() {
        yield* Network.startServer({ host: "127.0.0.1", port: 25 }, (plain) =>
          Effect.gen(function*() {
            yield* plain.writer.write("220 ready\r\n")
            assert.equal(text(yield* plain.reader.readUntil("\r\n")), "STARTTLS\r\n")
            yield* plain.writer.write("220 go ahead\r\n")
            const secure = yield* plain.startTls({ role: "server", ...identity() })
            yield* secure.writer.write(`250 ${text(yield* secure.reader.readUntil("\r\n"))}`)
          }))
        const plain = yield* Network.openConnection({ host: "127.0.0.1", port: 25 })
        yield* plain.reader.readUntil("\r\n")
        yield* plain.writer.write("STARTTLS\r\n")
        yield* plain.reader.readUntil("\r\n")
        const secure = yield* plain.startTls({
          role: "client",
          serverName: "localhost",
          ca: certificates.ca.certificate
        })
        yield* secure.writer.write("EHLO x\r\n")
        assert.equal(text(yield* secure.reader.readUntil("\r\n")), "250 EHLO x\r\n")
      })
    )
  }

  test(
    "an end in the middle is a truncation",
    {},
    Effect.gen(function*() {
      const [client, server] = yield* connected
      yield* server.writer.write("half of")
      assert.equal(text(yield* client.reader.readExactly(7)), "half of")
      yield* (yield* TestNetwork.link(client)).endAfter(0)
      assert.equal((yield* Effect.flip(client.reader.read(1))).reason, "Truncated")
    })
  )

  test(
    "a byte that was changed does not get through",
    {},
    Effect.gen(function*() {
      const [client, server] = yield* connected
      yield* server.writer.write("fine")
      assert.equal(text(yield* client.reader.readExactly(4)), "fine")
      yield* (yield* TestNetwork.link(client)).corruptAfter(10)
      yield* server.writer.write("forged")
      yield* Effect.flip(client.reader.read(1))
      assert.equal((yield* client.awaitClosed)._tag, "Failed")
    })
  )

  test(
    "a certificate that is not for the host is rejected",
    {},
    Effect.gen(function*() {
      yield* TestNetwork.addName("elsewhere.test", "127.0.0.1")
      yield* Network.startServer(
        { host: "127.0.0.1", port: 443, tls: identity(), onError: () => Effect.void },
        () => Effect.void
      )
      const error = yield* Effect.flip(Network.openConnection({ host: "elsewhere.test", port: 443, tls: trust() }))
      assert(error._tag === "TlsError")
      assert.equal(error.reason, "CertificateRejected")
    })
  )

  it.scopedLive("a network without it says how to get it", () =>
    Effect.gen(function*() {
      const listen = yield* Effect.flip(Network.startServer({ port: 443, tls: identity() }, () => Effect.void))
      assert.match(listen.message, /this network has no TLS: make it with \{ tls: NodeNetwork\.tls \}/)
      yield* Network.startServer({ port: 80 }, (connection) => connection.awaitClosed)
      const dial = yield* Effect.flip(Network.openConnection({ host: "127.0.0.1", port: 80, tls: true }))
      assert.match(dial.message, /this network has no TLS/)
      const plain = yield* Network.openConnection({ host: "127.0.0.1", port: 80 })
      const upgrade = yield* Effect.flip(plain.startTls({ role: "client", verify: false }))
      assert.equal(upgrade.reason, "InvalidOptions")
    }).pipe(Effect.provide(TestNetwork.layer)))
})
