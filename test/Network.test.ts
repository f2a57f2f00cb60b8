import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Dns from "node:dns"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Net from "node:net"
import { expectTypeOf } from "vitest"
import * as Address from "../src/Address.js"
import type * as Connection from "../src/Connection.js"
import * as Network from "../src/Network.js"
import { ConnectError, ListenError, type TlsError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as Resolver from "../src/Resolver.js"
import type * as Server from "../src/Server.js"
import type { Backend } from "../src/Transport.js"
import { directory } from "./support/directory.js"
import { handles, handlesLeft, leavesNoHandles } from "./support/handles.js"
import { MemoryListener, memoryPair } from "./support/memoryTransport.js"
import { freePort, portOf, rawServer, turns, until } from "./support/rawPeer.js"

leavesNoHandles()

const noHandler = () => Effect.void

// ---------------------------------------------------------------------------
// arguments
// ---------------------------------------------------------------------------

/** A network that is there to be asked, and notes what for. */
const askedFor = () => {
  const asked: Array<ReadonlyArray<unknown>> = []
  const listen = (acceptor: Parameters<Backend["listen"]>[1]) => new MemoryListener().listen(acceptor)
  const connect = Effect.sync(() => {
    const [near, far] = memoryPair()
    far.abort()
    return near
  })
  const network = Network.make({
    connect: (options) => (asked.push(["connect", options]), connect),
    connectUnix: (path, options) => (asked.push(["connectUnix", path, options]), connect),
    listen: (options, acceptor) => (asked.push(["listen", options]), listen(acceptor)),
    listenUnix: (path, options, acceptor) => (asked.push(["listenUnix", path, options]), listen(acceptor))
  })
  return { network, asked }
}

type Call = (network: Network.Service, options: any) => Effect.Effect<unknown, unknown, Scope.Scope>

const calls: Record<string, { readonly call: Call; readonly base: object }> = {
  openConnection: { call: (network, options) => network.openConnection(options), base: { host: "h", port: 1 } },
  openUnixConnection: {
    call: (network, { path, ...options }) => network.openUnixConnection(path, options),
    base: { path: "/p" }
  },
  startServer: { call: (network, options) => network.startServer(options, noHandler), base: {} },
  startUnixServer: {
    call: (network, { path, ...options }) => network.startUnixServer(path, options, noHandler),
    base: { path: "/p" }
  }
}

const ofConnections: ReadonlyArray<readonly [options: object, name: string, value: string]> = [
  [{ limit: 0 }, "limit", "0"],
  [{ limit: -5 }, "limit", "-5"],
  [{ limit: 1.5 }, "limit", "1.5"],
  [{ limit: Infinity }, "limit", "Infinity"],
  [{ limit: "10" }, "limit", "\"10\""],
  [{ highWaterMark: -1 }, "highWaterMark", "-1"],
  [{ highWaterMark: NaN }, "highWaterMark", "NaN"],
  [{ lowWaterMark: -1 }, "lowWaterMark", "-1"],
  [{ lowWaterMark: 0.5 }, "lowWaterMark", "0.5"],
  [{ highWaterMark: 100, lowWaterMark: 101 }, "lowWaterMark", "101"],
  [{ closeTimeout: -1 }, "closeTimeout", "-1"],
  [{ closeTimeout: NaN }, "closeTimeout", "NaN"],
  [{ closeTimeout: "-5 seconds" }, "closeTimeout", "\"-5 seconds\""],
  [{ closeTimeout: "soon" }, "closeTimeout", "\"soon\""]
]

const ofSockets: typeof ofConnections = [
  [{ noDelay: "yes" }, "noDelay", "\"yes\""],
  [{ keepAlive: -1 }, "keepAlive", "-1"],
  [{ keepAlive: NaN }, "keepAlive", "NaN"],
  [{ keepAlive: "often" }, "keepAlive", "\"often\""]
]

const ofServers: typeof ofConnections = [
  [{ backlog: 0 }, "backlog", "0"],
  [{ backlog: -1 }, "backlog", "-1"],
  [{ backlog: 1.5 }, "backlog", "1.5"],
  [{ startServing: "later" }, "startServing", "\"later\""],
  [{ gracePeriod: -1 }, "gracePeriod", "-1"],
  [{ gracePeriod: NaN }, "gracePeriod", "NaN"]
]

const ports = (name: string): typeof ofConnections => [
  [{ [name]: 70_000 }, name, "70000"],
  [{ [name]: 65_536 }, name, "65536"],
  [{ [name]: -1 }, name, "-1"],
  [{ [name]: 1.5 }, name, "1.5"],
  [{ [name]: NaN }, name, "NaN"],
  [{ [name]: "80" }, name, "\"80\""]
]

const illegal: Record<string, typeof ofConnections> = {
  openConnection: [
    ...ports("port"),
    ...ports("localPort"),
    [{ port: undefined }, "port", "undefined"],
    [{ port: null }, "port", "null"],
    [{ host: "" }, "host", "\"\""],
    [{ host: undefined }, "host", "undefined"],
    [{ host: null }, "host", "null"],
    [{ host: "localhost\0.evil.example" }, "host", "\"localhost\\u0000.evil.example\""],
    [{ path: "/p" }, "path", "\"/p\""],
    [{ family: 5 }, "family", "5"],
    [{ family: "4" }, "family", "\"4\""],
    [{ lookupHints: -1 }, "lookupHints", "-1"],
    [{ lookupHints: 1 }, "lookupHints", "1"],
    [{ lookupHints: Dns.ALL | 1 }, "lookupHints", String(Dns.ALL | 1)],
    [{ lookupHints: 0.5 }, "lookupHints", "0.5"],
    [{ lookupHints: NaN }, "lookupHints", "NaN"],
    [{ lookupHints: "16" }, "lookupHints", "\"16\""],
    [{ lookupHints: null }, "lookupHints", "null"],
    [{ lookupHints: 2 ** 32 }, "lookupHints", String(2 ** 32)],
    [{ lookupHints: 2 ** 40 + Dns.ALL }, "lookupHints", String(2 ** 40 + Dns.ALL)],
    [{ localAddress: "" }, "localAddress", "\"\""],
    [{ localAddress: "127.0.0.1\0" }, "localAddress", "\"127.0.0.1\\u0000\""],
    [{ happyEyeballsDelay: -1 }, "happyEyeballsDelay", "-1"],
    [{ happyEyeballsDelay: NaN }, "happyEyeballsDelay", "NaN"],
    [{ happyEyeballsDelay: [-1, 0] }, "happyEyeballsDelay", "-1,0"],
    [{ interleave: 0 }, "interleave", "0"],
    [{ connectTimeout: -1 }, "connectTimeout", "-1"],
    [{ connectTimeout: NaN }, "connectTimeout", "NaN"],
    [{ connectTimeout: [NaN, 0] }, "connectTimeout", "NaN,0"],
    [{ connectTimeout: [0, NaN] }, "connectTimeout", "0,NaN"],
    [{ connectTimeout: [1, -2_000_000_000] }, "connectTimeout", "1,-2000000000"],
    ...ofConnections,
    ...ofSockets
  ],
  openUnixConnection: [
    [{ path: "" }, "path", "\"\""],
    [{ path: 5 }, "path", "5"],
    [{ path: undefined }, "path", "undefined"],
    [{ path: null }, "path", "null"],
    [{ tls: true }, "tls: serverName", "undefined"],
    [{ tls: {} }, "tls: serverName", "undefined"],
    [{ host: "h" }, "host", "\"h\""],
    [{ port: 80 }, "port", "80"],
    [{ connectTimeout: -1 }, "connectTimeout", "-1"],
    ...ofConnections
  ],
  startServer: [
    ...ports("port"),
    [{ host: "" }, "host", "\"\""],
    [{ host: [] }, "host", "[]"],
    [{ host: null }, "host", "null"],
    [{ host: ["127.0.0.1", undefined] }, "host", "undefined"],
    [{ host: ["127.0.0.1", ""] }, "host", "\"\""],
    [{ host: "127.0.0.1\0x" }, "host", "\"127.0.0.1\\u0000x\""],
    [{ host: ["127.0.0.1", "::1\0"] }, "host", "\"::1\\u0000\""],
    [{ path: "/p" }, "path", "\"/p\""],
    [{ reusePort: 1 }, "reusePort", "1"],
    [{ ipv6Only: "no" }, "ipv6Only", "\"no\""],
    ...ofConnections,
    ...ofSockets,
    ...ofServers
  ],
  startUnixServer: [
    [{ path: "" }, "path", "\"\""],
    [{ path: undefined }, "path", "undefined"],
    [{ path: null }, "path", "null"],
    [{ host: "h" }, "host", "\"h\""],
    [{ port: 80 }, "port", "80"],
    [{ mode: 0o7777 }, "mode", "4095"],
    [{ mode: -1 }, "mode", "-1"],
    [{ mode: 0.5 }, "mode", "0.5"],
    [{ path: "\0name", mode: 0o600 }, "mode", "384"],
    [{ unlinkStale: "yes" }, "unlinkStale", "\"yes\""],
    ...ofConnections,
    ...ofServers
  ]
}

describe("arguments that can't be right", () => {
  for (const [name, cases] of Object.entries(illegal)) {
    it.scoped(`${name} dies of them at once, names the argument and the value, and asks nothing of the network`, () =>
      Effect.gen(function*() {
        const { asked, network } = askedFor()
        const { base, call } = calls[name]!
        const wrong: Array<string> = []
        for (const [options, argument, value] of cases) {
          const exit = yield* Effect.exit(call(network, { ...base, ...options }))
          const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
          const shown = JSON.stringify(
            options,
            (_, value) => typeof value === "number" ? String(value) : value as unknown
          )
          if (!Cause.isIllegalArgumentException(defect)) {
            wrong.push(`${shown}: ${Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "was let through"}`)
          } else if (!defect.message.startsWith(argument) || !defect.message.includes(`got ${value}`)) {
            wrong.push(`${shown}: ${defect.message}`)
          }
        }
        assert.deepStrictEqual(wrong, [])
        assert.deepStrictEqual(asked, [])
      }))
  }

  it.scoped("what can be right, however odd, reaches the network", () =>
    Effect.gen(function*() {
      const odd: Record<string, ReadonlyArray<object>> = {
        openConnection: [
          { port: 0 },
          { port: 65_535, localPort: 0 },
          { limit: 1 },
          { highWaterMark: 0 },
          { lowWaterMark: 0 },
          { lowWaterMark: 1_000_000 },
          { highWaterMark: 5, lowWaterMark: 5 },
          { closeTimeout: 0 },
          { closeTimeout: Duration.infinity },
          { closeTimeout: Infinity },
          { happyEyeballsDelay: Duration.infinity, connectTimeout: Duration.infinity },
          { happyEyeballsDelay: 0, interleave: 100 },
          { happyEyeballsDelay: [0, 0], connectTimeout: [1, -1], closeTimeout: [0, Infinity] },
          { family: 6, lookupHints: 0, localAddress: "::1" },
          { lookupHints: Dns.ADDRCONFIG },
          { lookupHints: Dns.V4MAPPED | Dns.ALL },
          { lookupHints: Dns.ADDRCONFIG | Dns.V4MAPPED | Dns.ALL },
          { tls: false },
          { keepAlive: true, noDelay: false },
          { keepAlive: "1 minute" },
          {
            family: undefined,
            limit: undefined,
            closeTimeout: undefined,
            keepAlive: undefined,
            connectTimeout: undefined
          }
        ],
        openUnixConnection: [{ path: "\0abstract" }, { connectTimeout: "1 second" }, { tls: false }],
        startServer: [
          { port: 65_535 },
          { host: "::", ipv6Only: true, reusePort: false },
          { host: ["127.0.0.1", "::1"] },
          { backlog: 1, gracePeriod: 0 },
          { gracePeriod: Duration.infinity, startServing: false }
        ],
        startUnixServer: [{ mode: 0 }, { mode: 0o777, unlinkStale: false }]
      }
      for (const [name, cases] of Object.entries(odd)) {
        for (const options of cases) {
          const { asked, network } = askedFor()
          const { base, call } = calls[name]!
          yield* Effect.scoped(call(network, { ...base, ...options }))
          assert.strictEqual(asked.length, 1, `${name} ${JSON.stringify(options)}`)
        }
      }
    }))

  it.scoped("the brackets that a URL writes around an IPv6 address are taken off", () =>
    Effect.gen(function*() {
      const { asked, network } = askedFor()
      yield* network.openConnection({ host: new URL("http://[::1]:80").hostname, port: 80 })
      assert.strictEqual((asked[0]![1] as Network.ConnectOptions).host, "::1")
      yield* network.startServer({ host: "[::1]" }, () => Effect.void)
      yield* network.startServer({ host: ["127.0.0.1", "[::1]"] }, () => Effect.void)
      yield* network.startServer({}, () => Effect.void)
      assert.deepStrictEqual(
        asked.slice(1).map(([, options]) => (options as Network.ListenOptions).host),
        ["::1", ["127.0.0.1", "::1"], undefined]
      )
    }))
})

// ---------------------------------------------------------------------------
// what the system refuses
// ---------------------------------------------------------------------------

const connectError = (
  connect: Effect.Effect<Connection.Connection, ConnectError | TlsError, Network.Network | Scope.Scope>
): Effect.Effect<ConnectError> =>
  Effect.scoped(connect).pipe(
    Effect.provide(NodeNetwork.layer),
    Effect.flip,
    Effect.flatMap((error) => error instanceof ConnectError ? Effect.succeed(error) : Effect.die(error)),
    Effect.orDieWith(() => new Error("it connected"))
  )

const listenError = (
  listen: Effect.Effect<Server.Server, ListenError, Network.Network | Scope.Scope>
): Effect.Effect<ListenError> =>
  Effect.scoped(listen).pipe(
    Effect.provide(NodeNetwork.layer),
    Effect.flip,
    Effect.tap((error) => assert.instanceOf(error, ListenError)),
    Effect.orDieWith(() => new Error("it listened"))
  )

describe("what the system refuses to connect is a ConnectError", () => {
  it.scopedLive("where nobody listens: Refused", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const error = yield* connectError(Network.openConnection({ host: "127.0.0.1", port }))
      assert.strictEqual(error.reason, "Refused")
      assert.deepStrictEqual(error.code, Option.some("ECONNREFUSED"))
      assert.strictEqual(error.target, `127.0.0.1:${port}`)
      assert.strictEqual(error.attempts.length, 1)
      const attempt = error.attempts[0]!
      assert.isTrue(Equal.equals(attempt.address, Address.tcp("127.0.0.1", port)))
      assert.deepStrictEqual([attempt.reason, attempt.code], ["Refused", Option.some("ECONNREFUSED")])
      assert.isBelow(Duration.toMillis(attempt.elapsed), 5_000)
      assert.strictEqual(error.message, `connect to 127.0.0.1:${port}: nobody listens there (ECONNREFUSED)`)
      assert.instanceOf(error.cause, Error)
    }))

  it.scopedLive("where a name has several addresses: each is told", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const error = yield* connectError(Network.openConnection({ host: "both.test", port, happyEyeballsDelay: 0 }))
        .pipe(
          Effect.provide(Resolver.layerStatic({ "both.test": ["127.0.0.1", "127.0.0.2"] }))
        )
      assert.strictEqual(error.reason, "Refused")
      assert.deepStrictEqual(error.attempts.map(({ address }) => Address.format(address)), [
        `127.0.0.1:${port}`,
        `127.0.0.2:${port}`
      ])
      assert.match(
        error.message,
        new RegExp(`^connect to both\\.test:${port}: nobody listens there; 2 addresses were tried\n`)
      )
      assert.include(error.message, `127.0.0.2:${port}: nobody listens there (ECONNREFUSED) after`)
    }))

  it.scopedLive("where a name has no address: NameNotFound", () =>
    Effect.gen(function*() {
      const error = yield* connectError(Network.openConnection({ host: "nobody.invalid", port: 80 }))
      // A machine without a name server says "try again".
      assert.include(["NameNotFound", "TimedOut"], error.reason)
      assert.isTrue(Option.isSome(error.code))
      assert.deepStrictEqual(error.attempts, [])
      assert.strictEqual(error.target, "nobody.invalid:80")
      assert.match(error.message, /^connect to nobody\.invalid:80: .*(no address|not found|exist|name)/i)
      // Where nobody answers, the system asks again and again before it gives up.
    }), 60_000)

  it.scopedLive("where there is no such path: NotFound", () =>
    Effect.gen(function*() {
      const folder = yield* directory
      Fs.writeFileSync(`${folder}/file`, "")
      for (const [path, code] of [["missing", "ENOENT"], ["file/below", "ENOTDIR"]] as const) {
        const error = yield* connectError(Network.openUnixConnection(`${folder}/${path}`))
        assert.strictEqual(error.reason, "NotFound")
        assert.deepStrictEqual(error.code, Option.some(code))
        assert.strictEqual(error.target, `${folder}/${path}`)
        assert.isTrue(Equal.equals(error.attempts[0]!.address, Address.unix(`${folder}/${path}`)))
        assert.strictEqual(error.message, `connect to ${folder}/${path}: no such path (${code})`)
      }
    }))

  it.scopedLive("where a socket file is left of a server that is gone, or a path is no socket: Refused", () =>
    Effect.gen(function*() {
      const folder = yield* directory
      Fs.writeFileSync(`${folder}/file`, "")
      const error = yield* connectError(Network.openUnixConnection(`${folder}/file`))
      assert.strictEqual(error.reason, "Refused")
    }))

  it.scopedLive("where the address to connect from is not ours: AddressNotAvailable", () =>
    Effect.gen(function*() {
      const error = yield* connectError(
        Network.openConnection({ host: "127.0.0.1", port: yield* freePort, localAddress: "203.0.113.1" })
      )
      assert.strictEqual(error.reason, "AddressNotAvailable")
      assert.deepStrictEqual(error.code, Option.some("EADDRNOTAVAIL"))
    }))

  // The superuser is refused nothing here.
  it.scopedLive.skipIf(process.getuid?.() === 0)(
    "where permissions forbid it: PermissionDenied (skipped for the superuser)",
    () =>
      Effect.gen(function*() {
        const folder = yield* directory
        Fs.chmodSync(folder, 0)
        const error = yield* connectError(Network.openUnixConnection(`${folder}/s`))
        assert.strictEqual(error.reason, "PermissionDenied")
        assert.deepStrictEqual(error.code, Option.some("EACCES"))
        assert.include(error.message, "permission denied (EACCES)")
      })
  )
})

describe("what the system refuses to listen on is a ListenError", () => {
  it.scopedLive("where somebody listens already: AddressInUse, with the address", () =>
    Effect.gen(function*() {
      const { port } = yield* rawServer()
      const error = yield* listenError(Network.startServer({ host: "127.0.0.1", port }, noHandler))
      assert.strictEqual(error.reason, "AddressInUse")
      assert.deepStrictEqual(error.code, Option.some("EADDRINUSE"))
      assert.isTrue(Equal.equals(error.address, Address.tcp("127.0.0.1", port)))
      assert.strictEqual(error.message, `listen on 127.0.0.1:${port}: the address is in use (EADDRINUSE)`)
    }))

  it.scopedLive("where one of several addresses is taken, none is listened on", () =>
    Effect.gen(function*() {
      const { port } = yield* rawServer()
      const error = yield* listenError(Network.startServer({ host: ["127.0.0.2", "127.0.0.1"], port }, noHandler))
      assert.strictEqual(error.reason, "AddressInUse")
      assert.strictEqual(Address.format(error.address), `127.0.0.1:${port}`)
      const refused = yield* connectError(Network.openConnection({ host: "127.0.0.2", port }))
      assert.strictEqual(refused.reason, "Refused")
    }))

  it.scopedLive("where a Unix server lives at the path, which is left to it: AddressInUse", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/s`
      const { accepted } = yield* rawServer(path)
      const error = yield* listenError(Network.startUnixServer(path, {}, noHandler))
      assert.strictEqual(error.reason, "AddressInUse")
      assert.isTrue(Equal.equals(error.address, Address.unix(path)))
      assert.strictEqual(error.message, `listen on unix:${path}: another server accepts connections there (EADDRINUSE)`)
      yield* Effect.scoped(Effect.zipRight(Network.openUnixConnection(path, { closeTimeout: 0 }), accepted)).pipe(
        Effect.provide(NodeNetwork.layer)
      )
    }))

  it.scopedLive("where the address is no address of this machine: AddressNotAvailable", () =>
    Effect.gen(function*() {
      const error = yield* listenError(Network.startServer({ host: "203.0.113.1" }, noHandler))
      assert.strictEqual(error.reason, "AddressNotAvailable")
      assert.strictEqual(
        error.message,
        "listen on 203.0.113.1:0: the address is not one of this machine's (EADDRNOTAVAIL)"
      )
    }))

  it.scopedLive("where the directory is missing: NotFound", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/missing/s`
      const error = yield* listenError(Network.startUnixServer(path, {}, noHandler))
      assert.strictEqual(error.reason, "NotFound")
      assert.deepStrictEqual(error.code, Option.some("ENOENT"))
      assert.include(error.message, `unix:${path}: no such path`)
    }))

  it.scopedLive("where a name has no address: NameNotFound", () =>
    Effect.gen(function*() {
      const error = yield* listenError(Network.startServer({ host: "nobody.test" }, noHandler)).pipe(
        Effect.provide(Resolver.layerStatic({}))
      )
      assert.strictEqual(error.reason, "NameNotFound")
      assert.include(error.message, "nobody.test")
    }))

  // Linux has directories in which not even the superuser makes a socket.
  it.scopedLive.skipIf(process.platform !== "linux")(
    "where permissions forbid it: PermissionDenied (on Linux)",
    () =>
      Effect.gen(function*() {
        const error = yield* listenError(Network.startUnixServer("/sys/s", {}, noHandler))
        assert.strictEqual(error.reason, "PermissionDenied")
        assert.include(["EPERM", "EACCES"], Option.getOrNull(error.code))
        assert.include(error.message, "listen on unix:/sys/s: permission denied")
      })
  )
})

// ---------------------------------------------------------------------------
// interruption
// ---------------------------------------------------------------------------

describe("interrupting openConnection", () => {
  it.scopedLive("leaves no socket, at whatever moment it comes", () =>
    Effect.gen(function*() {
      const { port, server } = yield* rawServer()
      const sockets = new Set<unknown>()
      server.on("connection", (socket) => {
        sockets.add(socket)
        socket.on("close", () => sockets.delete(socket)).resume().end()
      })
      const before = handles()
      let connected = 0
      for (let moment = 0; moment < 200; moment++) {
        const open = yield* Effect.fork(
          Effect.scoped(Effect.tap(
            Network.openConnection({ host: moment % 3 === 0 ? "localhost" : "127.0.0.1", port }),
            () => Effect.sync(() => connected++)
          )).pipe(Effect.provide(NodeNetwork.layer))
        )
        // From before the first step to some turns of the event loop later.
        for (let i = 0; i < moment % 10; i++) {
          yield* Effect.yieldNow()
        }
        yield* turns(Math.floor(moment / 10) % 5)
        yield* Fiber.interrupt(open)
      }
      yield* until(() => handlesLeft(before).length === 0 && sockets.size === 0)
      assert.isAbove(connected, 0)
      assert.isBelow(connected, 200)
    }))

  it.scopedLive("is possible while nobody answers", () =>
    Effect.gen(function*() {
      const before = handles()
      // An address for documentation (RFC 5737), which no machine has, though something on the way may answer for it.
      yield* Effect.scoped(Network.openConnection({ host: "203.0.113.1", port: 9, closeTimeout: 0 })).pipe(
        Effect.timeout("20 millis"),
        Effect.exit,
        Effect.provide(NodeNetwork.layer)
      )
      yield* until(() => handlesLeft(before).length === 0)
    }))

  it.scopedLive("after it has connected closes the connection with the scope, however close it comes", () =>
    Effect.gen(function*() {
      // The connection is made, and in the same tick the fiber that waits for it is interrupted.
      for (let moment = 0; moment < 5; moment++) {
        const [near] = memoryPair()
        let connected: (() => void) | undefined
        const network = Network.make({
          connect: (_, restore) =>
            restore(Effect.async((resume) => {
              connected = () => resume(Effect.succeed(near))
              return Effect.sync(() => near.destroy())
            })),
          connectUnix: () => Effect.never,
          listen: () => Effect.never,
          listenUnix: () => Effect.never
        })
        const open = yield* Effect.fork(Effect.scoped(
          Effect.zipRight(network.openConnection({ host: "h", port: 1, closeTimeout: 0 }), Effect.never)
        ))
        yield* turns(1)
        connected!()
        for (let i = 0; i < moment; i++) {
          yield* Effect.yieldNow()
        }
        yield* Fiber.interrupt(open)
        assert.isTrue(near.gone, `${moment} steps after`)
      }
    }))
})

describe("interrupting startServer", () => {
  it.scopedLive("leaves no listener, at whatever moment it comes", () =>
    Effect.gen(function*() {
      const before = handles()
      let started = 0
      for (const host of ["localhost", "127.0.0.1"]) {
        for (let steps = 0; steps < 6; steps++) {
          for (let later = 0; later < 4; later++) {
            const start = yield* Effect.fork(
              Effect.scoped(Effect.zipRight(
                Effect.tap(Network.startServer({ host }, noHandler), () => Effect.sync(() => started++)),
                Effect.never
              )).pipe(Effect.provide(NodeNetwork.layer))
            )
            for (let i = 0; i < steps; i++) {
              yield* Effect.yieldNow()
            }
            yield* turns(later)
            yield* Fiber.interrupt(start)
          }
        }
      }
      yield* until(() => handlesLeft(before).length === 0)
      assert.isAbove(started, 0)
      assert.isBelow(started, 48)
    }))

  it.scopedLive("because what is done beside it fails leaves no listener", () =>
    Effect.gen(function*() {
      const before = handles()
      for (let later = 0; later < 4; later++) {
        const exit = yield* Effect.all(
          [Network.startServer({ host: "127.0.0.1" }, noHandler), Effect.zipRight(turns(later), Effect.fail("x"))],
          { concurrency: "unbounded" }
        ).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer), Effect.exit)
        assert.isTrue(Exit.isFailure(exit))
      }
      yield* until(() => handlesLeft(before).length === 0)
    }))

  it.scopedLive("leaves no Unix server, nor its file where there was one of a server that is gone", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/s`
      const before = handles()
      for (let later = 0; later < 6; later++) {
        yield* Effect.promise(async () => {
          const server = Net.createServer().listen(`${path}.bound`)
          await once(server, "listening")
          Fs.renameSync(`${path}.bound`, path)
          await new Promise((resolve) => server.close(resolve))
        })
        // It has found the file and is about to connect to it, or has.
        const exit = yield* Effect.all(
          [Network.startUnixServer(path, {}, noHandler), Effect.zipRight(turns(later), Effect.fail("x"))],
          { concurrency: "unbounded" }
        ).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer), Effect.exit)
        assert.isTrue(Exit.isFailure(exit))
        assert.isFalse(Fs.existsSync(path), `${later} turns later`)
      }
      yield* until(() => handlesLeft(before).length === 0)
    }))

  it.scopedLive("is possible while a name is looked up, unless the program forbids it", () =>
    Effect.gen(function*() {
      for (const forbidden of [false, true]) {
        const asked = yield* Deferred.make<void>()
        const answer = yield* Deferred.make<ReadonlyArray<string>>()
        const slow = Layer.succeed(Resolver.Resolver, {
          lookup: () => Effect.zipRight(Deferred.succeed(asked, void 0), Deferred.await(answer))
        })
        const start = Effect.scoped(Network.startServer({ host: "slow.test" }, noHandler)).pipe(
          Effect.provide(slow),
          Effect.provide(NodeNetwork.layer)
        )
        const starting = yield* Effect.fork(forbidden ? Effect.uninterruptible(start) : start)
        yield* Deferred.await(asked)
        const interrupting = yield* Effect.fork(Fiber.interrupt(starting))
        yield* turns(3)
        assert.strictEqual(Option.isSome(yield* Fiber.poll(interrupting)), !forbidden)
        yield* Deferred.succeed(answer, ["127.0.0.1"])
        yield* Fiber.join(interrupting)
      }
    }))
})

// ---------------------------------------------------------------------------
// types
// ---------------------------------------------------------------------------

describe("the accessors", () => {
  it("say what they need and how they fail", () => {
    expectTypeOf(Network.openConnection({ host: "h", port: 1 })).toEqualTypeOf<
      Effect.Effect<Connection.Connection, ConnectError | TlsError, Network.Network | Scope.Scope>
    >()
    expectTypeOf(Network.openUnixConnection("/p")).toEqualTypeOf<
      Effect.Effect<Connection.Connection, ConnectError | TlsError, Network.Network | Scope.Scope>
    >()
    expectTypeOf(Network.startUnixServer("/p", {}, noHandler)).toEqualTypeOf<
      Effect.Effect<Server.Server, ListenError, Network.Network | Scope.Scope>
    >()
    // @ts-expect-error a port is needed
    void Network.openConnection({ host: "h" })
    // @ts-expect-error there is no such family
    void Network.openConnection({ host: "h", port: 1, family: 5 })
  })

  it.effect("are those of whatever network is provided", () =>
    Effect.gen(function*() {
      const { asked, network } = askedFor()
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Network.openConnection({ host: "h", port: 1 })
        yield* Network.openUnixConnection("/p")
        yield* Network.startServer({}, noHandler)
        yield* Network.startUnixServer("/q", {}, noHandler)
      })).pipe(Effect.provideService(Network.Network, network))
      assert.deepStrictEqual(asked.map(([name]) => name), ["connect", "connectUnix", "listen", "listenUnix"])
    }))

  it.scopedLive("a server tells the port it was given", () =>
    Effect.gen(function*() {
      const server = yield* Network.startServer({ host: "127.0.0.1" }, noHandler)
      assert.isAbove(portOf(server), 0)
    }).pipe(Effect.provide(NodeNetwork.layer)))
})
