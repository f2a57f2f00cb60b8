/** TLS over everything that carries bytes: Unix sockets, adopted sockets and listeners, streams of any kind. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import { once } from "node:events"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import * as NodeTls from "node:tls"
import type { Connection } from "../src/Connection.js"
import * as Network from "../src/Network.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import type * as Tls from "../src/Tls.js"
import { certificates, describeTls } from "./support/certificates.js"
import { directory } from "./support/directory.js"
import { leavesNoHandles } from "./support/handles.js"
import { closeTag, portOf, turns, until } from "./support/rawPeer.js"
import {
  collecting,
  dialling,
  identity,
  nodeClient,
  type NodePeer,
  nodeServer,
  only,
  outcome,
  reason,
  text,
  trust,
  versions
} from "./support/tlsPeers.js"

leavesNoHandles()

const named: Tls.NamedClientOptions = { serverName: "localhost" }

const asClient = (): Tls.ClientUpgrade => ({ role: "client", ...trust(), ...named })
const asServer = (): Tls.ServerUpgrade => ({ role: "server", ...identity() })

const bulk = Buffer.alloc(4 * 1024 * 1024, "something long enough to be cut anywhere. ")

/** Something small and something large, there and back, and an end in order on both sides. */
const converse = (client: Connection, server: Connection) =>
  Effect.gen(function*() {
    yield* client.writer.write("hello\n")
    assert.strictEqual(text(yield* server.reader.readLine), "hello\n")
    const [, received] = yield* Effect.all([
      Effect.zipRight(server.writer.write(bulk), server.writer.writeEof),
      client.reader.readAll()
    ], { concurrency: 2 })
    assert.isTrue(Buffer.from(received).equals(bulk))
    yield* client.writer.write("good-bye\n")
    yield* client.close
    assert.strictEqual(text(yield* server.reader.readAll()), "good-bye\n")
    assert.strictEqual(yield* closeTag(client), "Peer")
    assert.strictEqual(yield* closeTag(server), "Peer")
  })

/** A server of Node's that listens, for somebody to adopt. */
const netServer = (path?: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const server = Net.createServer()
      if (path === undefined) {
        server.listen(0, "127.0.0.1")
      } else {
        server.listen(path)
      }
      await once(server, "listening")
      return server
    }),
    (server) => Effect.sync(() => server.close())
  )

/** How many connections Node counts for a server. */
const countOf = (server: Net.Server): Effect.Effect<number> =>
  Effect.promise(() =>
    new Promise((resolve, reject) =>
      server.getConnections((error, count) => error === null ? resolve(count) : reject(error))
    )
  )

/** Two streams of bytes, each of which reads what is written to the other, in pieces of some size. */
const duplexPair = (pieceSize: number): readonly [Duplex, Duplex] => {
  const waiting: Array<(() => void) | undefined> = [undefined, undefined]
  const make = (i: 0 | 1): Duplex =>
    new Duplex({
      allowHalfOpen: true,
      read: () => {
        const go = waiting[i]
        waiting[i] = undefined
        go?.()
      },
      write: (chunk: Buffer, _encoding, callback) => {
        const other = pair[1 - i]!
        let more = true
        for (let at = 0; at < chunk.length; at += pieceSize) {
          more = other.push(chunk.subarray(at, at + pieceSize))
        }
        if (more) {
          setImmediate(callback)
        } else {
          waiting[1 - i] = callback
        }
      },
      final: (callback) => {
        pair[1 - i]!.push(null)
        callback()
      }
    })
  const pair = [make(0), make(1)] as const
  return pair
}

describeTls("over a Unix socket", () => {
  it.scopedLive("TLS works as over TCP, for a name that has to be said", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/s`
      const { accepted, handler, onError, reports } = collecting()
      const server = yield* Network.startUnixServer(path, { tls: identity(), onError, gracePeriod: 0 }, handler)
      const client = yield* Network.openUnixConnection(path, { tls: { ...trust(), ...named } })
      assert.deepStrictEqual(Option.getOrThrow(client.tls).serverName, Option.some("localhost"))
      yield* converse(client, yield* accepted)
      assert.strictEqual(
        yield* reason(Network.openUnixConnection(path, { tls: { ...trust(), serverName: "example.org" } })),
        "TlsError CertificateRejected"
      )
      yield* until(() => reports.length === 1)
      yield* server.setTls({ ...identity(), ...certificates.renewed })
      const after = yield* Network.openUnixConnection(path, { tls: { verify: false } })
      yield* Effect.addFinalizer(() => after.abort)
      const certificate = Option.flatMap(after.tls, ({ peerCertificate }) => peerCertificate)
      assert.deepStrictEqual(Option.getOrThrow(certificate).subject["CN"], "renewed")
      const nameless = yield* Effect.exit(Network.openUnixConnection(path, { tls: trust() as never }))
      assert.include(JSON.stringify(nameless), "serverName")
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("an upgrade works, and is TLS for a peer of Node's", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/s`
      const { accepted, stayingHandler } = collecting()
      yield* Network.startUnixServer(path, { gracePeriod: 0 }, stayingHandler)
      const plain = yield* Network.openUnixConnection(path)
      const [client, server] = yield* Effect.all([
        plain.startTls(asClient()),
        Effect.flatMap(accepted, (connection) => connection.startTls(asServer()))
      ], { concurrency: 2 })
      yield* converse(client, server)
    }).pipe(Effect.provide(NodeNetwork.layer)))
})

/** Node shows every socket that it accepts to those who ask for it, until what this gives is called. */
const shown = (watch: (socket: Net.Socket) => void) => {
  const onMessage = (message: unknown) => watch((message as { readonly socket: Net.Socket }).socket)
  return Effect.acquireRelease(
    Effect.sync(() => {
      subscribe("net.server.socket", onMessage)
      return () => void unsubscribe("net.server.socket", onMessage)
    }),
    (unwatch) => Effect.sync(unwatch)
  )
}

describeTls("over a socket of ours", () => {
  it.scopedLive.each(versions)(
    "a connection that has ended does not count any more: %s",
    (version) =>
      Effect.gen(function*() {
        const listeners: Array<Net.Server> = []
        const unwatch = yield* shown((socket) => {
          unwatch()
          listeners.push((socket as unknown as { readonly server: Net.Server }).server)
        })
        const { accepted, handler } = collecting()
        const server = yield* Network.startServer({ host: "127.0.0.1", port: 0, tls: identity() }, handler)
        const client = yield* dialling(portOf(server), only(version))
        const listener = listeners[0]!
        assert.strictEqual(yield* countOf(listener), 1)
        yield* converse(client, yield* accepted)
        assert.strictEqual(yield* countOf(listener), 0)
      }).pipe(Effect.provide(NodeNetwork.layer))
  )

  it.scopedLive("whoever is shown what a program accepts sees it close", () =>
    Effect.gen(function*() {
      const sockets: Array<Net.Socket> = []
      yield* shown((socket) => sockets.push(socket))
      const { accepted, handler } = collecting()
      const server = yield* Network.startServer({ host: "127.0.0.1", port: 0, tls: identity() }, handler)
      yield* converse(yield* dialling(portOf(server)), yield* accepted)
      assert.lengthOf(sockets, 1)
      yield* until(() => sockets.every(({ closed }) => closed))
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("a client of TLS 1.2 may renegotiate", () =>
    Effect.gen(function*() {
      const { accepted, handler } = collecting()
      const server = yield* Network.startServer({ host: "127.0.0.1", port: 0, tls: identity() }, handler)
      const peer = yield* nodeClient(portOf(server), only("TLSv1.2"))
      const { reader, writer } = yield* accepted
      for (let round = 0; round < 2; round++) {
        yield* Effect.async<void, Error>((resume) => {
          peer.socket.renegotiate({}, (error) => resume(error === null ? Effect.void : Effect.fail(error)))
        })
        peer.socket.write(`hello ${round}\n`)
        assert.strictEqual(text(yield* reader.readLine), `hello ${round}\n`)
        yield* writer.write(`good day ${round}\n`)
        yield* until(() => peer.text.endsWith(`good day ${round}\n`))
      }
    }).pipe(Effect.provide(NodeNetwork.layer)))
})

describeTls("over an adopted socket", () => {
  it.scopedLive("an upgrade works in both roles", () =>
    Effect.gen(function*() {
      const listener = yield* netServer()
      const raw = Net.connect((listener.address() as Net.AddressInfo).port, "127.0.0.1")
      const [socket] = yield* Effect.promise(() => once(listener, "connection") as Promise<[Net.Socket]>)
      const client = yield* NodeNetwork.fromSocket(raw)
      const server = yield* NodeNetwork.fromSocket(socket)
      const secure = yield* Effect.all([client.startTls(asClient()), server.startTls(asServer())], { concurrency: 2 })
      yield* converse(...secure)
    }))

  it.scopedLive("that has TLS of Node's already, there may be more of it", () =>
    Effect.gen(function*() {
      const { accepted, onError, stayingHandler } = collecting()
      const server = yield* Network.startServer(
        { host: "127.0.0.1", tls: identity(), onError, gracePeriod: 0 },
        stayingHandler
      )
      const socket = NodeTls.connect({
        host: "127.0.0.1",
        port: portOf(server),
        servername: "localhost",
        ca: certificates.ca.certificate
      })
      yield* Effect.promise(() => once(socket, "secureConnect"))
      const client = yield* NodeNetwork.fromSocket(socket)
      const there = yield* accepted
      yield* client.writer.write("one layer\n")
      assert.strictEqual(text(yield* there.reader.readLine), "one layer\n")
      const inner = yield* Effect.all([client.startTls(asClient()), there.startTls(asServer())], { concurrency: 2 })
      yield* inner[0].writer.write("two layers\n")
      assert.strictEqual(text(yield* inner[1].reader.readLine), "two layers\n")
      yield* Effect.all([
        inner[0].close,
        Effect.zipRight(inner[1].reader.readAll(), inner[1].close)
      ], { concurrency: 2 })
    }).pipe(Effect.provide(NodeNetwork.layer)))
})

describeTls("over any stream", () => {
  it.scopedLive.each([1, 7, 1_000, 100_000])(
    "an upgrade works, whatever the pieces: %i bytes",
    (size) =>
      Effect.gen(function*() {
        const [a, b] = duplexPair(size)
        const client = yield* NodeNetwork.fromDuplex(a)
        const server = yield* NodeNetwork.fromDuplex(b)
        const secure = yield* Effect.all([client.startTls(asClient()), server.startTls(asServer())], { concurrency: 2 })
        if (size >= 1_000) {
          yield* converse(...secure)
        } else {
          yield* secure[0].writer.write("hello\n")
          assert.strictEqual(text(yield* secure[1].reader.readLine), "hello\n")
          yield* Effect.all([
            secure[0].close,
            Effect.zipRight(secure[1].reader.readAll(), secure[1].close)
          ], { concurrency: 2 })
        }
      })
  )

  it.scopedLive("its failure is the connection's", () =>
    Effect.gen(function*() {
      const [a, b] = duplexPair(1_000)
      const client = yield* NodeNetwork.fromDuplex(a)
      const server = yield* NodeNetwork.fromDuplex(b)
      const secure = yield* Effect.all([client.startTls(asClient()), server.startTls(asServer())], { concurrency: 2 })
      a.destroy(Object.assign(new Error("the tunnel broke down"), { code: "ETUNNEL" }))
      assert.strictEqual(yield* outcome(secure[0].reader.read(1)), "ConnectionError Unknown ETUNNEL")
      assert.strictEqual(yield* closeTag(secure[0]), "Failed Unknown")
      yield* secure[1].abort
    }))
})

describeTls("on an adopted listener", () => {
  it.scopedLive("every connection has TLS", () =>
    Effect.gen(function*() {
      const listener = yield* netServer()
      const { accepted, handler, onError, reports } = collecting()
      const server = yield* NodeNetwork.startServerOn(listener, { tls: identity(), onError, gracePeriod: 0 }, handler)
      const client = yield* dialling(portOf(server))
      yield* converse(client, yield* accepted)
      const peer = yield* nodeClient(portOf(server))
      const served = yield* accepted
      yield* served.writer.write("hello\n")
      yield* until(() => peer.text === "hello\n")
      const plain = Net.connect(portOf(server), "127.0.0.1")
      plain.on("error", () => {})
      plain.write("no TLS\r\n")
      plain.resume()
      yield* until(() => reports.length === 1 && plain.closed)
      assert.strictEqual(reports[0]!.phase, "handshake")
      yield* server.setTls({ ...identity(), ...certificates.renewed })
      const after = yield* dialling(portOf(server), { verify: false })
      const certificate = Option.flatMap(after.tls, ({ peerCertificate }) => peerCertificate)
      assert.deepStrictEqual(Option.getOrThrow(certificate).subject["CN"], "renewed")
      listener.close()
      assert.isFalse(yield* server.isServing)
    }))

  it.scopedLive("whoever has the sockets as well sees them close, and can close them", () =>
    Effect.gen(function*() {
      const listener = yield* netServer()
      const sockets: Array<Net.Socket> = []
      listener.on("connection", (socket) => sockets.push(socket))
      const { accepted, handler } = collecting()
      const server = yield* NodeNetwork.startServerOn(listener, { tls: identity(), gracePeriod: 0 }, handler)
      yield* converse(yield* dialling(portOf(server)), yield* accepted)
      yield* until(() => sockets[0]!.closed)
      yield* dialling(portOf(server))
      const served = yield* accepted
      sockets[1]!.destroy()
      assert.strictEqual(yield* outcome(served.reader.readLine), "ConnectionError Reset ERR_STREAM_PREMATURE_CLOSE")
      assert.strictEqual(yield* countOf(listener), 0)
    }))

  it.scopedLive("options that can't be used leave the listener to whoever made it", () =>
    Effect.gen(function*() {
      const listener = yield* netServer()
      const error = yield* Effect.flip(
        NodeNetwork.startServerOn(listener, { tls: { certificate: "nonsense", key: "nonsense" } }, () => Effect.void)
      )
      assert.include(error.message, "no certificate in `certificate`")
      assert.include(error.message, "127.0.0.1")
      assert.isTrue(listener.listening)
    }))

  it.scopedLive("a socket of node:tls can be adopted, and says what its handshake settled", () =>
    Effect.gen(function*() {
      const { accepted, handler, onError } = collecting()
      const server = yield* Network.startServer(
        { host: "127.0.0.1", gracePeriod: 0, onError, tls: { ...identity(), alpnProtocols: ["a"] } },
        handler
      ).pipe(Effect.provide(NodeNetwork.layer))
      const peer = yield* nodeClient(portOf(server), { ALPNProtocols: ["a"], maxVersion: "TLSv1.2" })
      const connection = yield* NodeNetwork.fromSocket(peer.socket)
      const session = Option.getOrThrow(connection.tls)
      assert.strictEqual(session.protocol, "TLSv1.2")
      assert.deepStrictEqual(session.alpnProtocol, Option.some("a"))
      assert.deepStrictEqual(session.serverName, Option.some("localhost"))
      assert.isTrue(session.authorized)
      const served = yield* accepted
      yield* served.writer.write("hello\n")
      assert.strictEqual(text(yield* connection.reader.readLine), "hello\n")
      yield* connection.writer.write("bye\n")
      assert.strictEqual(text(yield* served.reader.readLine), "bye\n")
    }))

  it.scopedLive("one that connects is adopted when its handshake is done, and not where that fails", () =>
    Effect.gen(function*() {
      const { accepted, handler, onError } = collecting()
      const server = yield* Network.startServer(
        { host: "127.0.0.1", gracePeriod: 0, onError, tls: identity() },
        handler
      ).pipe(Effect.provide(NodeNetwork.layer))
      const connect = (options: NodeTls.ConnectionOptions) =>
        NodeTls.connect({ host: "127.0.0.1", port: portOf(server), servername: "localhost", ...options })
      const trusted = { ca: certificates.ca.certificate }
      const connection = yield* NodeNetwork.fromSocket(connect(trusted))
      assert.isTrue(Option.isSome(connection.tls))
      yield* connection.writer.write("hello\n")
      assert.strictEqual(text(yield* (yield* accepted).reader.readLine), "hello\n")

      const raw = Net.connect(portOf(server), "127.0.0.1")
      yield* Effect.promise(() => once(raw, "connect"))
      const over = yield* NodeNetwork.fromSocket(NodeTls.connect({ socket: raw, servername: "localhost", ...trusted }))
      assert.isTrue(Option.isSome(over.tls))

      const untrusting = connect({})
      const error = yield* Effect.flip(NodeNetwork.fromSocket(untrusting))
      assert.include(error.message, "the adopted socket could not connect: ")
      assert.isTrue(untrusting.destroyed)
    }))
  const hidden = (socket: Net.Socket) => {
    const stream = new Duplex({
      read: () => socket.resume(),
      write: (chunk, _encoding, callback) => socket.write(chunk, callback),
      final: (callback) => socket.end(callback),
      destroy: (error, callback) => {
        socket.destroy()
        callback(error)
      }
    })
    socket.on("data", (chunk) => stream.push(chunk))
    socket.on("end", () => stream.push(null))
    return stream as Net.Socket
  }

  /** A client of Node's that was adopted, and Node's end of it. */
  const adopted = (carrier: typeof carriers[number], version: Tls.Version) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* nodeServer(only(version))
      const trusted = { servername: "localhost", ca: certificates.ca.certificate }
      const connect = () => Net.connect({ host: "127.0.0.1", port })
      const connection = yield* NodeNetwork.fromSocket(
        carrier === "its own"
          ? NodeTls.connect({ host: "127.0.0.1", port, ...trusted })
          : NodeTls.connect({ socket: carrier === "a socket" ? connect() : hidden(connect()), ...trusted })
      )
      yield* Effect.addFinalizer(() => connection.abort)
      return { connection, peer: yield* accepted }
    })

  const carriers = ["its own", "a socket", "a stream"] as const
  const kinds = carriers.flatMap((carrier) => versions.map((version) => ({ carrier, version })))

  it.scopedLive.each(versions)(
    "one that is over TLS of Node's is not said to be tampered with when it breaks: %s",
    (version) =>
      Effect.gen(function*() {
        const { accepted, port } = yield* nodeServer(only(version))
        const trusted = { servername: "localhost", ca: certificates.ca.certificate }
        const outer = NodeTls.connect({ host: "127.0.0.1", port, ...trusted })
        outer.on("error", () => {})
        const { raw, socket } = yield* accepted
        socket.removeAllListeners("data")
        const { certificate: cert, key } = certificates.server
        const inner = NodeTls.createServer({ cert, key, ...only(version) })
        const served = once(inner, "secureConnection")
        inner.emit("connection", socket)
        const connection = yield* NodeNetwork.fromSocket(NodeTls.connect({ socket: outer, ...trusted }), {
          limit: 1_000
        })
        yield* Effect.addFinalizer(() => connection.abort)
        const [peer] = (yield* Effect.promise(() => served)) as [NodeTls.TLSSocket]
        peer.on("error", () => {})
        yield* Effect.async<void>((resume) => {
          peer.write("x".repeat(100_000), () => resume(Effect.void))
        })
        yield* turns(20)
        raw.destroy()
        yield* until(() => raw.closed)
        const failed = yield* Effect.flip(Effect.forever(Effect.zipRight(connection.writer.write("anyone?"), turns())))
        assert.include(["Reset", "BrokenPipe"], failed.reason)
      })
  )

  it.scopedLive.each(kinds)(
    "one that is adopted loses nothing where it ends its writing side: over $carrier, $version",
    ({ carrier, version }) =>
      Effect.gen(function*() {
        for (const wait of [0, 1, 2]) {
          const { connection, peer } = yield* adopted(carrier, version)
          // In one turn, so that they come in one segment.
          for (let i = 0; i < 50; i++) {
            peer.socket.write(Buffer.alloc(1000, i))
          }
          const first = yield* connection.reader.read(1_000_000)
          for (let i = 0; i < wait; i++) {
            yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
          }
          yield* connection.writer.writeEof
          yield* until(() => peer.ended)
          peer.socket.end("end")
          const rest = yield* connection.reader.readAll()
          assert.strictEqual(first.length + rest.length, 50_003)
          assert.strictEqual(yield* closeTag(connection), "Peer")
        }
      })
  )

  type Moment = (connection: Connection, peer: NodePeer) => Effect.Effect<unknown, unknown>
  const moments: Record<string, Moment> = {
    "that is idle": () => Effect.void,
    "that ends its writing side in this turn": ({ writer }) => writer.writeEof,
    "that is ending its writing side": ({ writer }) =>
      Effect.zipRight(writer.writeEof, Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))),
    "that has ended its writing side": ({ writer }, peer) => Effect.zipRight(writer.writeEof, until(() => peer.ended)),
    "whose peer does not read": ({ writer }, peer) =>
      Effect.gen(function*() {
        peer.socket.pause()
        yield* Effect.timeoutOption(writer.write(new Uint8Array(50_000_000)), 50)
        assert.isAbove(yield* writer.bufferedBytes, 0)
      }),
    "that has received what nobody reads": (_, peer) =>
      Effect.promise(() => new Promise((resolve) => peer.socket.write("unread", resolve)))
  }
  // An end that came before the reset stands, and so does data: Node does not see the reset then.
  const hidesReset = ["that is ending its writing side", "that has ended its writing side", "whose peer does not read"]

  it.scopedLive.each(
    kinds.flatMap((kind) => Object.keys(moments).map((moment) => ({ ...kind, moment })))
  )(
    "one that is adopted and aborted is reset: over $carrier, $version, $moment",
    ({ carrier, moment, version }) =>
      Effect.gen(function*() {
        const { connection, peer } = yield* adopted(carrier, version)
        yield* connection.writer.write("x")
        yield* until(() => peer.text === "x")
        yield* moments[moment]!(connection, peer)
        yield* connection.abort
        assert.strictEqual(yield* closeTag(connection), "Aborted")
        peer.socket.resume()
        yield* until(() => peer.closed || peer.ended)
        assert.isBelow(peer.bytes, 50_000_000)
        if (carrier !== "a stream" && !hidesReset.includes(moment)) {
          yield* until(() => peer.closed)
          assert.strictEqual(peer.code, "ECONNRESET")
        }
      })
  )
})
