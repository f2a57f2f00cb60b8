import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Net from "node:net"
import { Duplex } from "node:stream"
import * as NodeTls from "node:tls"
import type * as Connection from "../src/Connection.js"
import * as Network from "../src/Network.js"
import { ReadAheadError, TlsError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as Tls from "../src/Tls.js"
import { certificates, describeTls } from "./support/certificates.js"
import { chunkings } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import { closeTag, dialled, portOf, rawConnect, rawServer, turns, until } from "./support/rawPeer.js"
import {
  collecting,
  type Ends,
  identity,
  only,
  outcome,
  reason,
  reasonOf,
  tcp,
  text,
  trust,
  versions
} from "./support/tlsPeers.js"

leavesNoHandles()

const asClient = (options: Tls.ClientOptions = {}): Tls.ClientUpgrade => ({
  role: "client",
  serverName: "localhost",
  ...trust(),
  ...options
} as Tls.ClientUpgrade)

const asServer = (options: Tls.ServerOptions = {}): Tls.ServerUpgrade => ({ role: "server", ...identity(), ...options })

/** Both ends go over to TLS. */
const upgraded = (ends: Ends, client: Tls.ClientUpgrade = asClient(), server: Tls.ServerUpgrade = asServer()) =>
  Effect.map(
    Effect.all([ends.client.startTls(client), ends.server.startTls(server)], { concurrency: 2 }),
    ([client, server]): Ends => ({ client, server })
  )

/** What has arrived and is not read yet. */
const arrived = (connection: Connection.Connection, bytes: number) => connection.reader.peek(bytes)

const echoes = ({ client, server }: Ends, message = "secret\n") =>
  Effect.gen(function*() {
    yield* client.writer.write(message)
    const line = yield* server.reader.readLine
    assert.strictEqual(text(line), message)
    yield* server.writer.write(line)
    assert.strictEqual(text(yield* client.reader.readLine), message)
  })

describeTls("startTls", () => {
  it.scopedLive("hands what is below the sockets over to Node's TLS, with what had come and was not read", () =>
    Effect.gen(function*() {
      const ends = yield* tcp.open()
      yield* ends.server.writer.write("220 ready\n")
      assert.strictEqual(text(yield* ends.client.reader.readLine), "220 ready\n")
      const client = yield* Effect.fork(ends.client.startTls(asClient()))
      yield* arrived(ends.server, 1)
      const server = yield* ends.server.startTls(asServer())
      const secure: Ends = { client: yield* Fiber.join(client), server }
      for (const role of ["client", "server"] as const) {
        const { stream } = (secure[role] as unknown as { readonly transport: { readonly stream: NodeTls.TLSSocket } })
          .transport
        const { _handle: { _parent: handle }, _parent: socket } = stream as unknown as {
          readonly _parent: Net.Socket | null
          readonly _handle: { readonly _parent: object }
        }
        assert.strictEqual(handle.constructor.name, "TCP")
        assert.isNull(socket)
        // What only the handshake of a server needed is gone with it.
        assert.strictEqual(stream.listenerCount("_tlsError"), 0)
      }
      yield* echoes(secure)
    }))

  it.scopedLive.each(versions)(
    "makes a new connection, and the old one is spent: %s",
    (version) =>
      Effect.gen(function*() {
        const ends = yield* tcp.open()
        yield* ends.client.writer.write("STARTTLS\n")
        assert.strictEqual(text(yield* ends.server.reader.readLine), "STARTTLS\n")
        const secure = yield* upgraded(ends, asClient(only(version)))
        yield* echoes(secure)
        for (const role of ["client", "server"] as const) {
          assert.strictEqual(Option.getOrThrow(secure[role].tls).protocol, version)
          assert.deepStrictEqual(ends[role].tls, Option.none())
          assert.deepStrictEqual(secure[role].localAddress, ends[role].localAddress)
          assert.deepStrictEqual(secure[role].remoteAddress, ends[role].remoteAddress)
          assert.strictEqual(yield* outcome(ends[role].reader.read(1)), "ConnectionError Closed")
          assert.strictEqual(yield* outcome(ends[role].reader.readLine), "ConnectionError Closed")
          assert.strictEqual(yield* outcome(ends[role].writer.write("x")), "ConnectionError Closed")
          assert.strictEqual(yield* outcome(ends[role].writer.writeEof), "ConnectionError Closed")
          assert.strictEqual(yield* outcome(ends[role].startTls(asServer())), "ConnectionError Closed")
          assert.isTrue(yield* ends[role].isClosing)
        }
        // Closing what is spent closes nothing.
        yield* ends.client.close
        yield* ends.server.abort
        yield* echoes(secure, "still here\n")
      })
  )

  it.scopedLive("leaves the limits and the marks as they were", () =>
    Effect.gen(function*() {
      const secure = yield* upgraded(yield* tcp.open({ limit: 10 }))
      assert.strictEqual(secure.client.reader.limit, 10)
      yield* secure.server.writer.write("twelve bytes")
      assert.strictEqual((yield* Effect.flip(secure.client.reader.readLine))._tag, "LimitOverrunError")
    }))

  it.live("is closed by the scope of the old connection", () =>
    Effect.gen(function*() {
      const server = yield* rawServer()
      const scope = yield* Scope.make()
      const connection = yield* Scope.extend(
        Effect.provide(Network.openConnection({ host: "127.0.0.1", port: server.port }), NodeNetwork.layer),
        scope
      )
      const peer = yield* server.accepted
      const socket = new NodeTls.TLSSocket(peer.socket, {
        isServer: true,
        cert: certificates.server.certificate,
        key: certificates.server.key
      })
      let ended = false
      socket.on("end", () => {
        ended = true
      })
      socket.resume()
      const secure = yield* connection.startTls(asClient())
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* closeTag(secure), "Local")
      yield* until(() => ended)
    }).pipe(Effect.scoped))

  it.scopedLive("is closed by a server with its client, and is the one among the server's connections", () =>
    Effect.gen(function*() {
      const secured: Array<Connection.Connection> = []
      const server = yield* Network.startServer(
        { host: "127.0.0.1", gracePeriod: 0 },
        (connection) =>
          Effect.flatMap(connection.startTls(asServer()), (connection) => {
            secured.push(connection)
            return connection.awaitClosed
          })
      )
      const plain = yield* Network.openConnection({ host: "127.0.0.1", port: portOf(server) })
      const client = yield* plain.startTls(asClient())
      yield* until(() => secured.length === 1)
      assert.deepStrictEqual(yield* server.connections, secured)
      const read = yield* Effect.fork(client.reader.readAll())
      yield* Effect.fork(Effect.zipRight(Fiber.join(read), client.close))
      yield* server.shutdown()
      assert.strictEqual((yield* Fiber.join(read)).length, 0)
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("sends what was written before in the clear, and then its handshake", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      const size = 4 * 1024 * 1024
      yield* Effect.fork(connection.writer.write(new Uint8Array(size)))
      yield* Effect.yieldNow()
      const upgrade = yield* Effect.fork(connection.startTls(asClient()))
      yield* turns()
      peer.read()
      yield* until(() => peer.bytes > size)
      assert.isTrue(peer.received.subarray(0, size).every((byte) => byte === 0))
      // A record of the handshake.
      assert.strictEqual(peer.received[size], 22)
      yield* Fiber.interrupt(upgrade)
    }))

  it.scopedLive("fails a read that waits, and leaves what comes then to the handshake", () =>
    Effect.gen(function*() {
      const ends = yield* tcp.open()
      const read = yield* Effect.fork(outcome(ends.client.reader.readLine))
      const exactly = yield* Effect.fork(outcome(ends.server.reader.readExactly(1_000_000)))
      yield* turns()
      const secure = yield* upgraded(ends)
      assert.strictEqual(yield* Fiber.join(read), "ConnectionError Closed")
      assert.strictEqual(yield* Fiber.join(exactly), "ConnectionError Closed")
      yield* echoes(secure)
    }))

  it.scopedLive.each(versions)(
    "resumes the sessions of clients that come back: %s",
    (version) =>
      Effect.gen(function*() {
        const { accepted, stayingHandler } = collecting()
        const server = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0 }, stayingHandler)
        const sessions = Tls.makeSessionCache()
        const resumed: Array<boolean> = []
        for (const tls of [{}, {}, { alpnProtocols: ["a"] }]) {
          const client = yield* Network.openConnection({ host: "127.0.0.1", port: portOf(server) })
          const ends = yield* upgraded(
            { client, server: yield* accepted },
            asClient({ ...only(version), sessions }),
            // As programs do: said anew for each connection.
            asServer({ ...tls, key: Redacted.make(certificates.server.key) })
          )
          yield* Effect.addFinalizer(() => ends.client.abort)
          yield* echoes(ends)
          resumed.push(Option.getOrThrow(ends.client.tls).resumed)
        }
        assert.deepStrictEqual(resumed, [false, true, false])
      }).pipe(Effect.provide(NodeNetwork.layer))
  )

  it.scopedLive("presents and asks for what it is told to, whatever one before it was told to", () =>
    Effect.gen(function*() {
      const { client, named, renewed, server } = certificates
      const bytes = Buffer.from(server.certificate)
      const changing = { certificate: [bytes], key: [server.key], contexts: { "one.example.org": named } }
      const presented = (serverTls: Tls.ServerOptions, clientTls: Tls.ClientOptions = {}) =>
        Effect.scoped(Effect.gen(function*() {
          const ends = yield* upgraded(yield* tcp.open(), asClient(clientTls), { role: "server", ...serverTls })
          yield* echoes(ends)
          yield* Effect.addFinalizer(() => Effect.zipRight(ends.client.abort, ends.server.abort))
          const { peerCertificate } = Option.getOrThrow(ends.client.tls)
          const { authorized } = Option.getOrThrow(ends.server.tls)
          return [Option.getOrThrow(peerCertificate).subject["CN"], authorized]
        }))
      const asking = { ca: certificates.ca.certificate, requestCertificate: true }
      const identity = { certificate: client.certificate, key: client.key }
      for (let round = 0; round < 2; round++) {
        assert.deepStrictEqual(yield* presented(server), ["localhost", false])
        assert.deepStrictEqual(yield* presented({ ...server, ...asking }, identity), ["localhost", true])
        assert.deepStrictEqual(yield* presented(renewed), ["renewed", false])
        assert.deepStrictEqual(yield* presented({ ...server, contexts: { localhost: renewed } }), ["renewed", false])
        assert.deepStrictEqual(yield* presented(changing), ["localhost", false])
        const again: typeof changing = { ...changing, contexts: { "one.example.org": { ...named } } }
        assert.deepStrictEqual(yield* presented(again), ["localhost", false])
        // The same objects, with something else in them.
        changing.key[0] = renewed.key
        changing.certificate[0] = Buffer.from(renewed.certificate)
        assert.deepStrictEqual(yield* presented(changing), ["renewed", false])
        changing.key[0] = server.key
        changing.certificate[0] = bytes
      }
    }))

  it.scopedLive("works once more on top: TLS in TLS, in TLS", () =>
    Effect.gen(function*() {
      const once = yield* upgraded(yield* tcp.open())
      yield* echoes(once)
      const twice = yield* upgraded(
        once,
        asClient({ ...only("TLSv1.2"), alpnProtocols: ["inner"] }),
        asServer({ alpnProtocols: ["inner"] })
      )
      assert.deepStrictEqual(Option.getOrThrow(twice.server.tls).alpnProtocol, Option.some("inner"))
      const thrice = yield* upgraded(twice)
      yield* echoes(thrice)
      const size = 8 * 1024 * 1024
      const sent = Buffer.alloc(size, "0123456789")
      yield* Effect.fork(Effect.zipRight(thrice.server.writer.write(sent), thrice.server.writer.writeEof))
      assert.isTrue(Buffer.from(yield* thrice.client.reader.readAll()).equals(sent))
      yield* thrice.client.writer.write("good-bye")
      yield* Effect.all([
        thrice.client.close,
        Effect.zipRight(thrice.server.reader.readAll(), thrice.server.close)
      ], { concurrency: 2 })
      assert.strictEqual(yield* closeTag(thrice.client), "Peer")
    }))

  it.scopedLive("counts what waits once, however many layers it waits in", () =>
    Effect.gen(function*() {
      const size = 10_000_000
      for (let layers = 1; layers <= 3; layers++) {
        let ends: Ends = yield* tcp.open({ limit: 1000 })
        for (let i = 0; i < layers; i++) {
          ends = yield* upgraded(ends)
        }
        const { client } = ends
        yield* Effect.addFinalizer(() => client.abort)
        yield* Effect.fork(Effect.either(client.writer.write(new Uint8Array(size))))
        let most = 0
        for (let turn = 0; turn < 50; turn++) {
          yield* turns()
          most = Math.max(most, yield* client.writer.bufferedBytes)
        }
        // Records add less than one part in a hundred.
        assert.isAtMost(most, size * 1.01 ** layers)
        assert.isAbove(most, size / 2)
        yield* client.abort
      }
    }))

  it.scopedLive("over a connection that has TLS from the start is TLS in TLS as well", () =>
    Effect.gen(function*() {
      const { accepted, onError, stayingHandler } = collecting()
      const server = yield* Network.startServer(
        { host: "127.0.0.1", tls: identity(), gracePeriod: 0, onError },
        stayingHandler
      )
      const client = yield* Network.openConnection({ host: "127.0.0.1", port: portOf(server), tls: trust() })
      yield* echoes(yield* upgraded({ client, server: yield* accepted }))
      yield* Effect.addFinalizer(() => client.abort)
    }).pipe(Effect.provide(NodeNetwork.layer)))
})

describeTls("startTls that fails", () => {
  it.scopedLive.each(versions)(
    "closes the connection on both sides: the name is always checked, %s",
    (version) =>
      Effect.gen(function*() {
        const ends = yield* tcp.open()
        const served = yield* Effect.fork(reason(ends.server.startTls(asServer())))
        const error = yield* Effect.flip(
          ends.client.startTls(asClient({ serverName: "example.org", ...only(version) }))
        )
        assert.instanceOf(error, TlsError)
        assert.strictEqual(error.reason, "CertificateRejected")
        assert.match(error.message, /checked for "example.org"/)
        assert.strictEqual(yield* closeTag(ends.client), "Failed CertificateRejected")
        const end = yield* ends.client.awaitClosed
        assert.strictEqual(end._tag === "Failed" && end.error, error)
        assert.strictEqual(
          yield* outcome(ends.client.writer.write("x")),
          "ConnectionError Closed ERR_TLS_CERT_ALTNAME_INVALID"
        )
        assert.strictEqual(
          yield* Fiber.join(served),
          version === "TLSv1.2" ? "succeeded" : "TlsError Closed"
        )
      })
  )

  it.scopedLive("without a name to check is not even begun, unless nothing is to be verified", () =>
    Effect.gen(function*() {
      const ends = yield* tcp.open()
      const exit = yield* Effect.exit(ends.client.startTls({ role: "client", ...trust() } as never))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), "serverName")
      assert.isTrue(
        Exit.isFailure(yield* Effect.exit(ends.client.startTls({ role: "client", serverName: "" })))
      )
      yield* ends.client.writer.write("nothing has happened\n")
      assert.strictEqual(text(yield* ends.server.reader.readLine), "nothing has happened\n")
      const secure = yield* upgraded(ends, { role: "client", verify: false })
      assert.isFalse(Option.getOrThrow(secure.client.tls).authorized)
      yield* echoes(secure)
    }))

  it.scopedLive("for its options closes the connection, and says so", () =>
    Effect.gen(function*() {
      for (const options of [asServer({ certificate: "nonsense" }), asClient({ alpnProtocols: [""] })]) {
        const { connection, peer } = yield* dialled()
        peer.read()
        assert.strictEqual(yield* reason(connection.startTls(options)), "TlsError InvalidOptions")
        assert.strictEqual(yield* closeTag(connection), "Failed InvalidOptions")
        yield* until(() => peer.ended || peer.closed)
      }
    }))

  it.scopedLive("for a peer that is silent, ends, resets, or talks on in the clear", () =>
    Effect.gen(function*() {
      const attempt = (options: Tls.Upgrade, act: (peer: { readonly socket: Net.Socket }) => void) =>
        Effect.gen(function*() {
          const { connection, peer } = yield* dialled()
          const upgrade = yield* Effect.fork(connection.startTls(options))
          peer.read()
          yield* turns()
          act(peer)
          const result = yield* reason(Fiber.join(upgrade))
          yield* connection.awaitClosed
          yield* until(() => peer.ended || peer.closed)
          return result
        })
      for (const options of [asClient(), asServer()]) {
        assert.strictEqual(
          yield* attempt({ ...options, handshakeTimeout: "80 millis" }, () => {}),
          "TlsError HandshakeTimeout"
        )
        assert.strictEqual(yield* attempt(options, ({ socket }) => socket.end()), "TlsError Closed")
        assert.strictEqual(yield* attempt(options, ({ socket }) => socket.resetAndDestroy()), "TlsError Closed")
        assert.strictEqual(
          yield* attempt(options, ({ socket }) => socket.write("500 no TLS here\r\n")),
          "TlsError HandshakeFailed"
        )
      }
    }))

  it.scopedLive("for a peer that does not take what was written before", () =>
    Effect.gen(function*() {
      const { connection } = yield* dialled()
      yield* Effect.fork(Effect.exit(connection.writer.write(new Uint8Array(16 * 1024 * 1024))))
      yield* turns()
      const [elapsed, result] = yield* Effect.timed(
        reason(connection.startTls(asClient({ handshakeTimeout: "100 millis" })))
      )
      assert.strictEqual(result, "TlsError HandshakeTimeout")
      assert.isBelow(Duration.toMillis(elapsed), 2_000)
      assert.strictEqual(yield* closeTag(connection), "Failed HandshakeTimeout")
    }))

  it.scopedLive("on a connection that has ended one way or the other", () =>
    Effect.gen(function*() {
      const closed = yield* tcp.open()
      yield* closed.client.abort
      assert.strictEqual(yield* outcome(closed.client.startTls(asClient())), "ConnectionError Aborted")
      const half = yield* tcp.open()
      yield* half.client.writer.writeEof
      assert.strictEqual(yield* outcome(half.client.startTls(asClient())), "ConnectionError Closed")
      const ended = yield* tcp.open()
      yield* ended.server.writer.writeEof
      assert.strictEqual((yield* ended.client.reader.readAll()).length, 0)
      assert.strictEqual(yield* reason(ended.client.startTls(asClient())), "TlsError Closed")
    }))
})

describeTls("interrupting startTls", () => {
  it.scopedLive("at any moment leaves no connection and no handle", () =>
    Effect.gen(function*() {
      for (const role of ["client", "server"] as const) {
        for (let turn = 0; turn < 25; turn++) {
          const ends = yield* tcp.open()
          const there = yield* Effect.fork(
            Effect.exit(role === "client" ? ends.server.startTls(asServer()) : ends.client.startTls(asClient()))
          )
          const here = yield* Effect.fork(
            role === "client" ? ends.client.startTls(asClient()) : ends.server.startTls(asServer())
          )
          yield* turn < 5 ? Effect.repeatN(Effect.yieldNow(), turn) : turns(turn - 5)
          const exit = yield* Fiber.interrupt(here)
          if (Exit.isSuccess(exit)) {
            // It was done already.
            yield* exit.value.abort
          } else {
            assert.isTrue(Cause.isInterruptedOnly(exit.cause))
            assert.strictEqual(yield* closeTag(ends[role]), "Aborted")
          }
          const other = yield* Fiber.join(there)
          if (Exit.isSuccess(other)) {
            yield* other.value.awaitClosed
          }
        }
      }
    }))

  it.scopedLive("while it waits for what was written before", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      yield* Effect.fork(Effect.exit(connection.writer.write(new Uint8Array(16 * 1024 * 1024))))
      yield* turns()
      const upgrade = yield* Effect.fork(connection.startTls(asClient()))
      yield* turns()
      yield* Fiber.interrupt(upgrade)
      assert.strictEqual(yield* closeTag(connection), "Aborted")
      peer.read(false)
      yield* until(() => peer.closed || peer.ended)
    }))

  it.live("by the end of the connection's scope", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* rawServer()
      const scope = yield* Scope.make()
      const connection = yield* Scope.extend(
        Effect.provide(Network.openConnection({ host: "127.0.0.1", port }), NodeNetwork.layer),
        scope
      )
      const upgrade = yield* Effect.fork(reason(connection.startTls(asClient())))
      const peer = yield* accepted
      peer.read()
      yield* turns()
      yield* Scope.close(scope, Exit.void)
      assert.match(yield* Fiber.join(upgrade), /TlsError|ConnectionError/)
      yield* until(() => peer.closed || peer.ended)
    }).pipe(Effect.scoped))
})

describeTls("closing or aborting a connection that goes over to TLS", () => {
  const ways = [
    { how: "close", failure: "Closed", end: "Local" },
    { how: "abort", failure: "Aborted", end: "Aborted" }
  ] as const

  it.scopedLive.each(ways)("cuts the handshake off: $how", ({ end, failure, how }) =>
    Effect.gen(function*() {
      for (const options of [asClient(), asServer()]) {
        const { connection, peer } = yield* dialled({ closeTimeout: Duration.infinity })
        peer.read()
        const upgrade = yield* Effect.fork(reason(connection.startTls({ ...options, handshakeTimeout: Infinity })))
        yield* options.role === "client" ? until(() => peer.bytes > 0) : turns()
        yield* connection[how]
        assert.strictEqual(yield* Fiber.join(upgrade), `ConnectionError ${failure}`)
        assert.strictEqual(yield* closeTag(connection), end)
        yield* until(() => peer.ended || peer.closed)
      }
    }))

  it.scopedLive.each(ways)(
    "cuts off what was written before and is not sent: $how",
    ({ end, failure, how }) =>
      Effect.gen(function*() {
        const { connection, peer } = yield* dialled({ closeTimeout: Duration.infinity })
        yield* Effect.fork(Effect.exit(connection.writer.write(new Uint8Array(16 * 1024 * 1024))))
        yield* turns()
        const upgrade = yield* Effect.fork(reason(connection.startTls({ ...asClient(), handshakeTimeout: Infinity })))
        yield* turns()
        yield* connection[how]
        assert.strictEqual(yield* Fiber.join(upgrade), `ConnectionError ${failure}`)
        assert.strictEqual(yield* closeTag(connection), end)
        peer.read(false)
        yield* until(() => peer.closed || peer.ended)
      })
  )

  it.scopedLive.each(ways)(
    "at any moment, leaves a connection that is gone or one that is whole: $how",
    ({ end, failure, how }) =>
      Effect.gen(function*() {
        const outcomes = new Set<string>()
        // TLS over a socket, and over TLS.
        for (const layers of [1, 2]) {
          for (const role of ["client", "server"] as const) {
            for (let turn = 0; turn < 25; turn++) {
              const plain = yield* tcp.open()
              const ends = layers === 1 ? plain : yield* upgraded(plain)
              const there = yield* Effect.fork(
                Effect.exit(role === "client" ? ends.server.startTls(asServer()) : ends.client.startTls(asClient()))
              )
              const here = yield* Effect.fork(
                Effect.exit(role === "client" ? ends.client.startTls(asClient()) : ends.server.startTls(asServer()))
              )
              yield* turn < 5 ? Effect.repeatN(Effect.yieldNow(), turn) : turns(turn - 5)
              yield* ends[role][how]
              const exit = yield* Fiber.join(here)
              outcomes.add(reasonOf(exit))
              if (Exit.isSuccess(exit)) {
                const other = yield* Effect.flatten(Fiber.join(there))
                yield* echoes(
                  role === "client" ? { client: exit.value, server: other } : { client: other, server: exit.value }
                )
                yield* exit.value.abort
              } else {
                assert.strictEqual(yield* closeTag(ends[role]), end)
                const other = yield* Fiber.join(there)
                if (Exit.isSuccess(other)) {
                  yield* other.value.awaitClosed
                }
              }
            }
          }
        }
        outcomes.delete("succeeded")
        assert.deepStrictEqual([...outcomes], [`ConnectionError ${failure}`])
      }),
    30_000
  )
})

/** A stream to a socket, with something that goes out in one segment with the first write. */
const withHeader = (header: string, socket: Net.Socket): Duplex => {
  let pending = Buffer.from(header)
  const stream = new Duplex({
    read: () => {},
    write: (chunk, _encoding, callback) => {
      socket.write(Buffer.concat([pending, chunk]))
      pending = Buffer.alloc(0)
      callback()
    }
  })
  socket.on("data", (chunk) => stream.push(chunk))
  socket.resume()
  return stream
}

describeTls("bytes that were not read before startTls", () => {
  const injected = new Uint8Array(Buffer.from("220 ready\r\n250 injected\r\n"))

  it.scopedLive("are refused by a client, however they came", () =>
    Effect.gen(function*() {
      for (const { chunks, name } of chunkings(injected, 2)) {
        const { connection, peer } = yield* dialled()
        for (const chunk of chunks) {
          peer.socket.write(chunk)
        }
        assert.strictEqual(text(yield* connection.reader.readLine), "220 ready\r\n", name)
        yield* arrived(connection, 14)
        const error = yield* Effect.flip(connection.startTls(asClient()))
        assert.instanceOf(error, TlsError)
        assert.strictEqual(error.reason, "UnexpectedPlaintext", name)
        assert.match(error.message, /14 bytes/)
        assert.strictEqual(yield* closeTag(connection), "Failed UnexpectedPlaintext")
        peer.socket.destroy()
      }
    }))

  it.scopedLive("are refused as well where they come a moment later", () =>
    Effect.gen(function*() {
      for (let cut = 11; cut < injected.length; cut++) {
        const { connection, peer } = yield* dialled()
        peer.socket.write(injected.subarray(0, cut))
        assert.strictEqual(text(yield* connection.reader.readLine), "220 ready\r\n")
        yield* arrived(connection, cut - 11)
        const upgrade = yield* Effect.fork(reason(connection.startTls(asClient())))
        peer.read().socket.write(injected.subarray(cut))
        assert.strictEqual(
          yield* Fiber.join(upgrade),
          cut === 11 ? "TlsError HandshakeFailed" : "TlsError UnexpectedPlaintext"
        )
      }
    }))

  it.scopedLive("are refused by a server that is told to, and dropped by both where they are told to", () =>
    Effect.gen(function*() {
      const refusing = yield* tcp.open()
      yield* refusing.client.writer.write("early")
      yield* arrived(refusing.server, 5)
      assert.strictEqual(
        yield* reason(refusing.server.startTls({ ...asServer(), residue: "reject" })),
        "TlsError UnexpectedPlaintext"
      )
      const dropping = yield* tcp.open()
      yield* dropping.client.writer.write("early")
      yield* dropping.server.writer.write("early")
      yield* arrived(dropping.server, 5)
      yield* arrived(dropping.client, 5)
      yield* echoes(
        yield* upgraded(dropping, { ...asClient(), residue: "discard" }, { ...asServer(), residue: "discard" })
      )
    }))

  it.scopedLive("are the ClientHello of a client that did not wait: after a PROXY header, in one segment", () =>
    Effect.gen(function*() {
      const header = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
      const { accepted, stayingHandler } = collecting()
      const server = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0 }, stayingHandler)
      for (let split = -1; split < 3; split++) {
        const raw = yield* rawConnect({ host: "127.0.0.1", port: portOf(server) })
        const client = NodeTls.connect({
          socket: withHeader(header, raw.socket),
          servername: "localhost",
          ca: certificates.ca.certificate
        })
        let echoed = ""
        client.on("error", () => {})
        client.on("data", (chunk: Buffer) => {
          echoed += chunk.toString()
        })
        const connection = yield* accepted
        assert.strictEqual(text(yield* connection.reader.readLine), header)
        // All of the ClientHello has come, some of it, or nobody has looked.
        if (split >= 0) {
          yield* arrived(connection, [1, 5, 200][split]!)
        }
        const secure = yield* connection.startTls(asServer())
        assert.deepStrictEqual(Option.getOrThrow(secure.tls).serverName, Option.some("localhost"))
        client.write("hello\n")
        yield* secure.writer.write(yield* secure.reader.readLine)
        yield* until(() => echoed === "hello\n")
        client.destroy()
      }
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("are the whole of what a client says at once, and none of it is lost", () =>
    Effect.gen(function*() {
      const ends = yield* tcp.open()
      const client = yield* Effect.fork(ends.client.startTls(asClient()))
      yield* arrived(ends.server, 100)
      const server = yield* ends.server.startTls(asServer())
      yield* echoes({ client: yield* Fiber.join(client), server })
    }))
  const aheadOf: Record<string, (reader: Connection.Connection["reader"]) => Effect.Effect<unknown, unknown>> = {
    "lines": (reader) => Stream.runHead(reader.lines()),
    "byteLines": (reader) => Stream.runHead(reader.byteLines()),
    "lines up to one that ends": (reader) =>
      Stream.runDrain(Stream.takeUntil(reader.lines(), (line) => line.startsWith("220 ")))
  }

  it.scopedLive.each(Object.keys(aheadOf))(
    "must not be in a stream of lines that has read ahead: %s",
    (how) =>
      Effect.gen(function*() {
        for (const { chunks, name } of chunkings(injected, 2)) {
          const { connection, peer } = yield* dialled()
          for (const chunk of chunks) {
            peer.socket.write(chunk)
          }
          yield* arrived(connection, injected.length)
          yield* aheadOf[how]!(connection.reader)
          for (const options of [asClient(), { ...asClient(), residue: "handOff" }, asServer()] as const) {
            const exit = yield* Effect.exit(connection.startTls(options))
            assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause), name)
            const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
            assert.instanceOf(defect, ReadAheadError)
            assert.match(defect.message, /^startTls: .*readAhead: false/)
          }
          // Nothing is spent.
          yield* connection.writer.write("still here\n")
          peer.read()
          yield* until(() => peer.bytes === 11)
          peer.socket.destroy()
        }
      })
  )

  it.scopedLive("may follow a stream of lines that does not read ahead", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* dialled()
      peer.socket.write(injected)
      yield* arrived(connection, injected.length)
      yield* Stream.runHead(connection.reader.lines({ readAhead: false }))
      assert.strictEqual(yield* reason(connection.startTls(asClient())), "TlsError UnexpectedPlaintext")
    }))
})
