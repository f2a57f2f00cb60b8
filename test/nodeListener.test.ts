import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Tls from "node:tls"
import * as Address from "../src/Address.js"
import { Acceptance, listening } from "../src/internal/node/acceptance.js"
import { listenTcp } from "../src/internal/node/listener.js"
import { resolver } from "../src/internal/node/resolver.js"
import { socketSettings } from "../src/internal/node/socketSettings.js"
import type { ListenError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as Resolver from "../src/Resolver.js"
import type { Listener, TcpListenOptions } from "../src/Transport.js"
import { leavesNoHandles } from "./support/handles.js"
import { Accepted, hasIPv6, Peer, portOf, Recorder, runScript, temporaryDirectory, until } from "./support/nodePeers.js"

leavesNoHandles()

const v4 = "127.0.0.1"
const [nodeMajor = 0, nodeMinor = 0] = process.versions.node.split(".").map(Number)

const listen = (
  options: TcpListenOptions,
  acceptor = new Accepted(),
  names: Resolver.Service = resolver
): Effect.Effect<Listener, ListenError, Scope.Scope> =>
  Effect.acquireRelease(
    listenTcp(options, acceptor, names, identity),
    (listener) =>
      Effect.zipRight(
        listener.close,
        Effect.sync(() => acceptor.transports.forEach((transport) => transport.destroy()))
      )
  )

const hosts = (listener: Listener) => listener.addresses.map((address) => (address as Address.TcpAddress).host)
const ports = (listener: Listener) => listener.addresses.map((address) => (address as Address.TcpAddress).port)
const portOfFirst = (listener: Listener) => ports(listener)[0]!

const occupied = (host: string, port = 0) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const server = Net.createServer().listen({ host, port, ipv6Only: true })
      await once(server, "listening")
      return server
    }),
    (server) => Effect.sync(() => server.close())
  )

/** How connecting ends: "connected", or the code of the error. */
const connect = (port: number, host = v4): Effect.Effect<string> =>
  Effect.async((resume) => {
    const socket = Net.connect({ port, host, autoSelectFamily: false })
    const settle = (outcome: string) => {
      socket.destroy()
      resume(Effect.succeed(outcome))
    }
    socket.on("connect", () => settle("connected"))
    socket.on("error", (error: NodeJS.ErrnoException) => settle(error.code ?? "?"))
  })

const free = (port: number) => Effect.asVoid(Effect.scoped(occupied(v4, port)))

/** Makes `listen` fail as the system would, where `codeFor` has a code. */
const failingListen = (codeFor: (options: Net.ListenOptions) => string | undefined) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { listen } = Net.Server.prototype
      Net.Server.prototype.listen = function(this: Net.Server, ...args: Array<any>) {
        const code = codeFor(args[0])
        if (code === undefined) {
          return Reflect.apply(listen, this, args)
        }
        process.nextTick(() => this.emit("error", Object.assign(new Error(`listen ${code}`), { code })))
        return this
      }
      return listen
    }),
    (listen) =>
      Effect.sync(() => {
        Net.Server.prototype.listen = listen
      })
  )

describe("listening on TCP", () => {
  it.scopedLive("hands each connection over, with its addresses, and the port that was chosen", () =>
    Effect.gen(function*() {
      const acceptor = new Accepted()
      const listener = yield* listen({ host: v4 }, acceptor)
      const port = portOfFirst(listener)
      assert.isAbove(port, 0)
      const socket = Net.connect(port, v4)
      yield* Effect.promise(() => until(() => acceptor.transports.length === 1))
      const [transport] = acceptor.transports
      assert.deepStrictEqual(transport!.localAddress, Address.tcp(v4, port))
      assert.deepStrictEqual(transport!.remoteAddress, Address.tcp(v4, socket.localPort!))
      transport!.destroy()
      socket.destroy()
    }))

  it.scopedLive("frees the address on close, and leaves connections alone", () =>
    Effect.gen(function*() {
      const acceptor = new Accepted()
      const listener = yield* listen({ host: v4 }, acceptor)
      const peer = new Peer(Net.connect(portOfFirst(listener), v4))
      yield* Effect.promise(() => until(() => acceptor.transports.length === 1))
      yield* listener.close
      yield* listener.close
      yield* listener.start
      yield* free(portOfFirst(listener))
      assert.strictEqual(yield* connect(portOfFirst(listener)), "ECONNREFUSED")
      const [transport] = acceptor.transports
      transport!.start(new Recorder())
      transport!.write([new Uint8Array(3)])
      yield* Effect.promise(() => until(() => peer.bytes === 3))
      transport!.destroy()
    }))

  it.scopedLive("drops a connection that is accepted while it closes", () =>
    Effect.gen(function*() {
      const acceptor = new Accepted()
      const listener = yield* listen({ host: v4 }, acceptor)
      const peers = Array.from({ length: 20 }, () => new Peer(Net.connect(portOfFirst(listener), v4)))
      yield* Effect.promise(() => once(peers[0]!.socket, "connect"))
      yield* listener.close
      yield* Effect.promise(() => until(() => peers.every((peer, i) => i < acceptor.transports.length || peer.closed)))
      acceptor.transports.forEach((transport) => transport.destroy())
    }))

  it.scopedLive("fails with the address that is in use", () =>
    Effect.gen(function*() {
      const port = portOf(yield* occupied(v4))
      const error = yield* Effect.flip(listen({ host: v4, port }))
      assert.strictEqual(error.reason, "AddressInUse")
      assert.deepStrictEqual(error.code, Option.some("EADDRINUSE"))
      assert.deepStrictEqual(error.address, Address.tcp(v4, port))
      assert.strictEqual(error.message, `listen on 127.0.0.1:${port}: the address is in use (EADDRINUSE)`)
    }))

  it.scopedLive("binds all addresses or none", () =>
    Effect.gen(function*() {
      const port = portOf(yield* occupied("127.0.0.2"))
      const error = yield* Effect.flip(listen({ host: [v4, "127.0.0.2"], port }))
      assert.deepStrictEqual(error.address, Address.tcp("127.0.0.2", port))
      yield* free(port)
    }))

  it.scopedLive("fails on an address that this machine does not have", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(listen({ host: "203.0.113.7" }))
      assert.strictEqual(error.reason, "AddressNotAvailable")
      assert.deepStrictEqual(error.code, Option.some("EADDRNOTAVAIL"))
    }))

  it.scopedLive("gives several addresses the same port", () =>
    Effect.gen(function*() {
      const listener = yield* listen({ host: [v4, "127.0.0.2", "127.0.0.3"] })
      assert.deepStrictEqual(hosts(listener), [v4, "127.0.0.2", "127.0.0.3"])
      assert.strictEqual(new Set(ports(listener)).size, 1)
      for (const host of hosts(listener)) {
        assert.strictEqual(yield* connect(portOfFirst(listener), host), "connected")
      }
    }))

  it.scopedLive("tries another port where the one that was chosen is taken on another address", () =>
    Effect.gen(function*() {
      const taken: Array<number> = []
      let times = 3
      const pretend = failingListen(({ host, port }) => {
        if (host !== "127.0.0.2" || taken.length >= times) {
          return undefined
        }
        taken.push(port!)
        return "EADDRINUSE"
      })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* pretend
        const listener = yield* listen({ host: [v4, "127.0.0.2"] })
        assert.strictEqual(taken.length, 3)
        assert.strictEqual(new Set(ports(listener)).size, 1)
        assert.isFalse(taken.includes(portOfFirst(listener)))
        // It does not go on for ever.
        times = Infinity
        taken.length = 0
        const error = yield* Effect.flip(listen({ host: [v4, "127.0.0.2"] }))
        assert.strictEqual(error.reason, "AddressInUse")
        assert.strictEqual(taken.length, 16)
        assert.deepStrictEqual(error.address, Address.tcp("127.0.0.2", taken[15]!))
      }))
      yield* Effect.forEach(taken, free)
    }))

  it.scopedLive("resets who has come by one address while another is bound in vain, and tells nobody of them", () =>
    Effect.gen(function*() {
      for (const code of ["EACCES", "EADDRINUSE"]) {
        const peers: Array<Peer> = []
        yield* Effect.scoped(Effect.gen(function*() {
          const { listen: systems } = Net.Server.prototype
          const servers: Array<Net.Server> = []
          Net.Server.prototype.listen = function(this: Net.Server, ...args: Array<any>) {
            const { host, port } = args[0] as Net.ListenOptions
            if (host !== "127.0.0.2" || peers.length > 0) {
              servers.push(this)
              return Reflect.apply(systems, this, args)
            }
            // It takes until a client has come by the first address.
            servers[0]!.once(
              "connection",
              () => this.emit("error", Object.assign(new Error(`listen ${code}`), { code }))
            )
            peers.push(new Peer(Net.connect(port!, v4)))
            return this
          }
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              Net.Server.prototype.listen = systems
            })
          )
          const acceptor = new Accepted()
          const result = yield* Effect.either(Effect.asVoid(listen({ host: [v4, "127.0.0.2"] }, acceptor)))
          // With another port it succeeds.
          assert.strictEqual(result._tag, code === "EADDRINUSE" ? "Right" : "Left")
          yield* Effect.promise(() => until(() => peers[0]!.closed))
          assert.strictEqual(peers.length, 1)
          assert.deepStrictEqual([acceptor.transports, acceptor.errors], [[], []])
        }))
      }
    }))

  it.scopedLive("binds an address once, however often it is named", () =>
    Effect.gen(function*() {
      const names = Resolver.makeStatic({ one: [v4], other: [v4, "127.0.0.2"] })
      const listener = yield* listen({ host: ["one", v4, "other", "one"] }, new Accepted(), names)
      assert.deepStrictEqual(hosts(listener), [v4, "127.0.0.2"])
    }))

  it.scopedLive.skipIf(!hasIPv6)(
    "binds an address once, in however many ways it is written",
    () =>
      Effect.gen(function*() {
        const names = Resolver.makeStatic({ one: ["::0001", "::ffff:127.0.0.1"] })
        for (const startServing of [true, false]) {
          const listener = yield* listen(
            { host: ["::1", "0:0:0:0:0:0:0:1", "one", v4], startServing },
            new Accepted(),
            names
          )
          assert.deepStrictEqual(hosts(listener), ["::1", v4])
        }
      })
  )

  it.scopedLive("passes over an address of a name that this machine lacks, but not over the only one", () =>
    Effect.gen(function*() {
      const names = Resolver.makeStatic({ both: ["203.0.113.7", v4], lost: ["203.0.113.7", "198.51.100.7"] })
      const listener = yield* listen({ host: "both" }, new Accepted(), names)
      assert.deepStrictEqual(hosts(listener), [v4])
      const error = yield* Effect.flip(listen({ host: "lost" }, new Accepted(), names))
      assert.strictEqual(error.reason, "AddressNotAvailable")
    }))

  it.scopedLive("fails where nothing is left of a name, or a number is missing, whatever else is asked for", () =>
    Effect.gen(function*() {
      const names = Resolver.makeStatic({ both: ["203.0.113.7", v4], lost: ["203.0.113.7", "198.51.100.7"] })
      const port = yield* Effect.scoped(Effect.map(occupied(v4), portOf))
      for (
        const [host, missing] of [
          [[v4, "lost"], "198.51.100.7"],
          [["lost", v4], "198.51.100.7"],
          [["both", "lost"], "198.51.100.7"],
          [["both", "203.0.113.7"], "203.0.113.7"],
          [["203.0.113.7", "both"], "203.0.113.7"]
        ] as const
      ) {
        for (const startServing of [true, false]) {
          const error = yield* Effect.flip(Effect.asVoid(listen({ host, port, startServing }, new Accepted(), names)))
          assert.strictEqual(error.reason, "AddressNotAvailable")
          assert.deepStrictEqual(error.address, Address.tcp(missing, port))
          yield* free(port)
        }
      }
    }))

  it.scopedLive("fails where a name has no address, and says which", () =>
    Effect.gen(function*() {
      for (const names of [Resolver.makeStatic({}), { lookup: () => Effect.succeed([]) }]) {
        const error = yield* Effect.flip(
          Effect.asVoid(listen({ host: [v4, "nowhere"], port: 80 }, new Accepted(), names))
        )
        assert.strictEqual(error.reason, "NameNotFound")
        assert.include(error.message, "nowhere:80")
      }
    }))

  it.scopedLive("dies where the resolver answers with what is no address, and Node would look it up", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(
        listen({ host: "svc" }, undefined, { lookup: () => Effect.succeed(["localhost"]) })
      )
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.include(
        Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "",
        `the resolver answered "localhost" for svc, which is no numeric address`
      )
    }))

  it.scopedLive("can be interrupted while a name is looked up", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const never: Resolver.Service = {
        lookup: () => Effect.zipRight(Deferred.succeed(asked, void 0), Effect.never)
      }
      const fiber = yield* Effect.fork(
        Effect.uninterruptibleMask((restore) => listenTcp({ host: "slow" }, new Accepted(), never, restore))
      )
      yield* Deferred.await(asked)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    }))

  it.scopedLive.skipIf(!hasIPv6)("takes both families on all interfaces", () =>
    Effect.gen(function*() {
      const acceptor = new Accepted()
      const listener = yield* listen({}, acceptor)
      assert.deepStrictEqual(hosts(listener), ["::"])
      assert.strictEqual(yield* connect(portOfFirst(listener), v4), "connected")
      assert.strictEqual(yield* connect(portOfFirst(listener), "::1"), "connected")
      yield* Effect.promise(() => until(() => acceptor.transports.length === 2))
      assert.deepStrictEqual(
        acceptor.transports.map(({ localAddress }) => Address.format(localAddress)),
        [`127.0.0.1:${portOfFirst(listener)}`, `[::1]:${portOfFirst(listener)}`]
      )
    }))

  it.scopedLive("takes IPv4 on all interfaces where there is no IPv6", () =>
    Effect.gen(function*() {
      yield* failingListen(({ host }) => host === "::" ? "EAFNOSUPPORT" : undefined)
      const listener = yield* listen({})
      assert.deepStrictEqual(hosts(listener), ["0.0.0.0"])
      assert.strictEqual(yield* connect(portOfFirst(listener), v4), "connected")
      for (const options of [{ ipv6Only: true }, { host: "::" }]) {
        const error = yield* Effect.flip(listen(options))
        assert.strictEqual(error.reason, "AddressNotAvailable")
      }
    }))

  it.scopedLive.skipIf(!hasIPv6)("leaves IPv4 alone with ipv6Only", () =>
    Effect.gen(function*() {
      const listener = yield* listen({ ipv6Only: true })
      assert.strictEqual(yield* connect(portOfFirst(listener), v4), "ECONNREFUSED")
      assert.strictEqual(yield* connect(portOfFirst(listener), "::1"), "connected")
    }))

  it.scopedLive.skipIf(!hasIPv6)("lets :: and 0.0.0.0 stand side by side", () =>
    Effect.gen(function*() {
      for (const startServing of [true, false]) {
        const listener = yield* listen({ host: ["0.0.0.0", "::"], startServing })
        yield* listener.start
        assert.strictEqual(new Set(ports(listener)).size, 1)
        assert.strictEqual(yield* connect(portOfFirst(listener), v4), "connected")
        assert.strictEqual(yield* connect(portOfFirst(listener), "::1"), "connected")
      }
    }))

  it.scopedLive("shares a port with reusePort, or says what that takes", () =>
    Effect.gen(function*() {
      const result = yield* Effect.either(listen({ host: v4, reusePort: true }))
      if (nodeMajor > 23 || (nodeMajor === 23 && nodeMinor >= 1) || (nodeMajor === 22 && nodeMinor >= 12)) {
        assert.strictEqual(result._tag, "Right")
        if (result._tag === "Right") {
          const again = yield* listen({
            host: v4,
            port: portOfFirst(result.right),
            reusePort: true,
            startServing: false
          })
          yield* again.start
          assert.deepStrictEqual(again.addresses, result.right.addresses)
        }
      } else {
        assert.strictEqual(result._tag, "Left")
        if (result._tag === "Left") {
          assert.match(result.left.message, /reusePort takes Node 22\.12/)
        }
      }
    }))

  it("goes on serving after there were no descriptors left", () => {
    const { status, stderr, stdout } = runScript(
      `
        import * as Effect from "effect/Effect"
        import * as Fs from "node:fs"
        import * as Net from "node:net"
        import { listenTcp } from "./src/internal/node/listener.ts"
        const accepted = [], errors = []
        const listener = await Effect.runPromise(listenTcp({ host: "127.0.0.1" }, {
          onTransport: (transport) => accepted.push(transport),
          onError: (error) => errors.push(error)
        }, undefined, (effect) => effect))
        const port = listener.addresses[0].port
        const until = async (condition) => {
          while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1))
        }
        const files = []
        const fill = () => {
          try { for (;;) files.push(Fs.openSync("/dev/null", "r")) } catch {}
        }
        // Leaves a descriptor for the client and none for the server. libuv lets no connection wait for one: it has one
        // set aside, accepts with it, and drops what it accepted.
        let dropped = false
        const attempt = () => {
          fill()
          Fs.closeSync(files.pop())
          Net.connect(port, "127.0.0.1").on("error", () => {}).on("close", () => { dropped = true }).resume()
          process.nextTick(fill)
        }
        while (!dropped && errors.length === 0) {
          const before = accepted.length
          attempt()
          // Something else of the process may have let go of a descriptor just then.
          await until(() => dropped || errors.length > 0 || accepted.length > before)
        }
        const before = accepted.length
        files.forEach((file) => Fs.closeSync(file))
        Net.connect(port, "127.0.0.1")
        await until(() => accepted.length > before)
        console.log("goes on")
        process.exit(0)
        `,
      { limitFiles: 256 }
    )
    assert.strictEqual(status, 0, stderr)
    assert.strictEqual(stdout, "goes on\n")
  }, 30_000)

  it.scopedLive("keeps a connection that is accepted before the listener is complete", () =>
    Effect.gen(function*() {
      const acceptor = new Accepted()
      const acceptance = new Acceptance(acceptor)
      const server = acceptance.server(socketSettings({}))
      yield* listening(server, acceptance.onError, () => server.listen(0, v4))
      const peers = [1, 2].map(() => new Peer(Net.connect(portOf(server), v4)))
      yield* Effect.promise(() => once(server, "connection"))
      yield* Effect.promise(() => until(() => peers.every((peer) => !peer.socket.connecting)))
      assert.strictEqual(acceptor.transports.length, 0)
      acceptance.serve()
      yield* Effect.promise(() => until(() => acceptor.transports.length === 2))
      acceptance.close()
      server.close()
      acceptor.transports.forEach((transport) => transport.destroy())
    }))

  it.scopedLive("reports what kept a connection from being accepted, and goes on", () =>
    Effect.gen(function*() {
      const acceptor = new Accepted()
      const acceptance = new Acceptance(acceptor)
      const server = acceptance.server(socketSettings({}))
      yield* listening(server, acceptance.onError, () => server.listen(0, v4))
      acceptance.serve()
      // As Node does when `accept` has failed.
      server.emit("error", Object.assign(new Error("accept ENOBUFS"), { code: "ENOBUFS" }))
      assert.strictEqual((acceptor.errors[0] as NodeJS.ErrnoException).code, "ENOBUFS")
      assert.strictEqual(yield* connect(portOf(server)), "connected")
      yield* Effect.promise(() => until(() => acceptor.transports.length === 1))
      acceptor.transports[0]!.destroy()
      acceptance.close()
      server.emit("error", new Error("late"))
      assert.strictEqual(acceptor.errors.length, 1)
      server.close()
    }))
})

describe("an address that is bound and not serving", () => {
  it.scopedLive("refuses until it is started", () =>
    Effect.gen(function*() {
      const acceptor = new Accepted()
      const listener = yield* listen({ host: [v4, "127.0.0.2"], startServing: false }, acceptor)
      const port = portOfFirst(listener)
      assert.isAbove(port, 0)
      assert.strictEqual(yield* connect(port), "ECONNREFUSED")
      assert.strictEqual(yield* connect(port, "127.0.0.2"), "ECONNREFUSED")
      yield* listener.start
      yield* listener.start
      assert.strictEqual(yield* connect(port), "connected")
      assert.strictEqual(yield* connect(port, "127.0.0.2"), "connected")
      yield* Effect.promise(() => until(() => acceptor.transports.length === 2))
    }))

  it.scopedLive("is told from the first that the address is in use", () =>
    Effect.gen(function*() {
      const port = portOf(yield* occupied(v4))
      const error = yield* Effect.flip(listen({ host: v4, port, startServing: false }))
      assert.strictEqual(error.reason, "AddressInUse")
      const missing = yield* Effect.flip(listen({ host: "203.0.113.7", startServing: false }))
      assert.strictEqual(missing.reason, "AddressNotAvailable")
    }))

  it.scopedLive("is free again when it is closed without having served", () =>
    Effect.gen(function*() {
      const listener = yield* listen({ host: v4, startServing: false })
      yield* listener.close
      yield* listener.start
      yield* free(portOfFirst(listener))
      assert.strictEqual(yield* connect(portOfFirst(listener)), "ECONNREFUSED")
    }))

  it.scopedLive("can fail to serve, and serve when it is tried again", () =>
    Effect.gen(function*() {
      // Two that are only bound may share an address; the first to listen has it.
      const first = yield* listen({ host: v4, startServing: false })
      const second = yield* listen({ host: v4, port: portOfFirst(first), startServing: false })
      yield* first.start
      const error = yield* Effect.flip(second.start)
      assert.strictEqual(error.reason, "AddressInUse")
      assert.deepStrictEqual(error.address, second.addresses[0])
      yield* first.close
      yield* second.start
      assert.strictEqual(yield* connect(portOfFirst(second)), "connected")
    }))

  it("refuses, if later, where Node can't bind without listening", () => {
    const { status, stderr, stdout } = runScript(`
      import { createRequire } from "node:module"
      const net = createRequire(import.meta.url)("node:net")
      delete net.BoundSocket
      delete net._createServerHandle
      const { syncBuiltinESMExports } = await import("node:module")
      syncBuiltinESMExports()
      const Effect = await import("effect/Effect")
      const { listenTcp } = await import("./src/internal/node/listener.ts")
      const accepted = []
      const listener = await Effect.runPromise(listenTcp({ host: "127.0.0.1", startServing: false }, {
        onTransport: (transport) => accepted.push(transport),
        onError: () => {}
      }, undefined, (effect) => effect))
      const port = listener.addresses[0].port
      const outcome = () => new Promise((resolve) => {
        const socket = net.connect(port, "127.0.0.1")
        socket.on("connect", () => setTimeout(() => resolve("connected"), 100))
        socket.on("error", (error) => resolve(error.code))
      })
      console.log(await outcome(), accepted.length)
      await Effect.runPromise(listener.start)
      console.log(await outcome(), accepted.length)
      process.exit(0)
    `)
    assert.strictEqual(status, 0, stderr)
    assert.strictEqual(stdout, "ECONNRESET 0\nconnected 1\n")
  }, 30_000)
})

describe("NodeNetwork.startServerOn", () => {
  const exchange = (options: Net.NetConnectOpts): Effect.Effect<string> =>
    Effect.async((resume) => {
      const peer = new Peer(Net.connect({ ...options, allowHalfOpen: true } as Net.NetConnectOpts))
      peer.socket.end("hello")
      void until(() => peer.ended).then(() => resume(Effect.succeed(peer.received)))
    })

  it.scopedLive("serves on a server that listens, and closes it with the scope", () =>
    Effect.gen(function*() {
      // Without half-open connections, which an echo that answers after the end can't do without.
      const server = yield* occupied(v4)
      const port = portOf(server)
      yield* Effect.scoped(Effect.gen(function*() {
        const adopted = yield* NodeNetwork.startServerOn(
          server,
          { gracePeriod: 0 },
          ({ reader, writer }) => Effect.flatMap(reader.readAll(), (bytes) => writer.write(bytes))
        )
        assert.deepStrictEqual(adopted.addresses, [Address.tcp(v4, port)])
        assert.strictEqual(yield* exchange({ port, host: v4 }), "hello")
      }))
      assert.isFalse(server.listening)
      assert.deepStrictEqual([server.listenerCount("connection"), server.listenerCount("error")], [0, 0])
      yield* free(port)
    }))

  it.scopedLive("is closed as soon as somebody else closes the server, and its connections go on", () =>
    Effect.gen(function*() {
      const server = yield* occupied(v4)
      const port = portOf(server)
      const adopted = yield* NodeNetwork.startServerOn(
        server,
        { gracePeriod: 0 },
        ({ reader, writer }) => Effect.flatMap(reader.readLine, (line) => writer.write(line))
      )
      const peer = new Peer(Net.connect(port, v4))
      yield* Effect.promise(() => once(server, "connection"))
      let closed = false
      assert.strictEqual(server.close(() => closed = true), server)
      assert.isFalse(yield* adopted.isServing)
      yield* adopted.serveForever
      assert.isFalse(closed)
      yield* free(port)
      peer.socket.end("still there?\n")
      yield* Effect.promise(() => until(() => peer.ended))
      assert.strictEqual(peer.received, "still there?\n")
      yield* adopted.awaitClosed
      yield* Effect.promise(() => until(() => closed))
      assert.deepStrictEqual([server.listenerCount("connection"), server.listenerCount("error")], [0, 0])
    }))

  it.scopedLive("takes nothing else away from an adopted server that somebody has put in its place since", () =>
    Effect.gen(function*() {
      const server = yield* occupied(v4)
      const calls: Array<string> = []
      yield* Effect.scoped(Effect.gen(function*() {
        yield* NodeNetwork.startServerOn(server, { gracePeriod: 0 }, () => Effect.void)
        const { close } = server
        server.close = function(callback) {
          calls.push("theirs")
          return Reflect.apply(close, this, [callback])
        }
      }))
      assert.isFalse(server.listening)
      assert.deepStrictEqual(calls, ["theirs"])
      server.close()
      assert.deepStrictEqual(calls, ["theirs", "theirs"])
    }))

  it.scopedLive("leaves the path of an adopted server in place", () =>
    Effect.gen(function*() {
      const directory = temporaryDirectory()
      const path = `${directory}/s`
      const server = Net.createServer().listen(path)
      yield* Effect.promise(() => once(server, "listening"))
      yield* Effect.scoped(Effect.gen(function*() {
        const adopted = yield* NodeNetwork.startServerOn(server, { gracePeriod: 0 }, ({ reader, writer }) =>
          Effect.flatMap(reader.readAll(), (bytes) =>
            writer.write(bytes)))
        assert.deepStrictEqual(adopted.addresses, [Address.unix(path)])
        assert.strictEqual(yield* exchange({ path }), "hello")
      }))
      assert.deepStrictEqual(Fs.readdirSync(directory), ["s"])
      Fs.rmSync(directory, { recursive: true })
    }))

  it.scopedLive("serves on a descriptor that it inherits, and leaves its path in place", () =>
    Effect.gen(function*() {
      const directory = temporaryDirectory()
      const path = `${directory}/s`
      const server = Net.createServer().listen(path)
      yield* Effect.promise(() => once(server, "listening"))
      const { _handle } = server as unknown as { readonly _handle: { readonly fd: number } }
      const { status, stderr, stdout } = runScript(
        `
        import * as Effect from "effect/Effect"
        import * as Fs from "node:fs"
        import * as Net from "node:net"
        import * as NodeNetwork from "./src/NodeNetwork.ts"
        const path = ${JSON.stringify(path)}
        await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
          const adopted = yield* NodeNetwork.startServerOn({ fd: 3 }, { gracePeriod: 0 }, ({ reader, writer }) =>
            Effect.flatMap(reader.readAll(), (bytes) => writer.write(bytes)))
          console.log(adopted.addresses.map(String).join())
          yield* Effect.async((resume) => {
            const socket = Net.connect({ path, allowHalfOpen: true })
            socket.end("hello")
            socket.on("data", (data) => console.log(data.toString()))
            socket.on("end", () => resume(Effect.void))
          })
        })))
        console.log(Fs.existsSync(path))
        process.exit(0)
        `,
        { descriptor: _handle.fd }
      )
      assert.strictEqual(status, 0, stderr)
      assert.strictEqual(stdout, "unix:\nhello\ntrue\n")
      server.close()
      Fs.rmSync(directory, { recursive: true })
    }), 30_000)

  it.scopedLive("fails on a descriptor that can't be listened on", () =>
    Effect.gen(function*() {
      const fd = Fs.openSync("/dev/null", "r")
      const error = yield* Effect.flip(NodeNetwork.startServerOn({ fd }, {}, () => Effect.void))
      assert.include(error.message, `file descriptor ${fd} can't be listened on`)
      Fs.closeSync(fd)
    }))

  it.scopedLive("dies of options that can't be right, and leaves the listener alone", () =>
    Effect.gen(function*() {
      const server = yield* occupied(v4)
      const wrong: ReadonlyArray<readonly [options: object, message: RegExp]> = [
        [{ noDelay: "yes" }, /^noDelay must be .*got "yes"/],
        [{ noDelay: 1 }, /^noDelay must be .*got 1/],
        [{ keepAlive: -1 }, /^keepAlive must be .*got -1/],
        [{ keepAlive: NaN }, /^keepAlive must be .*got NaN/],
        [{ keepAlive: "often" }, /^keepAlive must be .*got "often"/],
        [{ backlog: 0 }, /^backlog must be .*got 0/]
      ]
      for (const [options, message] of wrong) {
        for (const listener of [server, { fd: 0 }]) {
          const exit = yield* Effect.exit(
            Effect.asVoid(NodeNetwork.startServerOn(listener, options as NodeNetwork.AdoptOptions, () => Effect.void))
          )
          const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
          assert.isTrue(Cause.isIllegalArgumentException(defect), JSON.stringify(options))
          assert.match((defect as Error).message, message)
        }
      }
      assert.isTrue(server.listening)
      assert.strictEqual(yield* connect(portOf(server)), "connected")
      assert.deepStrictEqual([server.listenerCount("connection"), server.listenerCount("error")], [0, 0])
    }))

  it.scopedLive("dies of what is no listener", () =>
    Effect.gen(function*() {
      for (const server of [Net.createServer(), Tls.createServer(), { fd: -1 }, { fd: 1.5 }]) {
        const exit = yield* Effect.exit(NodeNetwork.startServerOn(server, {}, () => Effect.void))
        assert.isTrue(
          Exit.isFailure(exit) && Option.exists(Cause.dieOption(exit.cause), Cause.isIllegalArgumentException),
          String(exit)
        )
      }
    }))
})
