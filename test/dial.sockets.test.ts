/**
 * Dialling with the sockets and the resolver of the operating system, where the network is as bad as it can be.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Address from "../src/Address.js"
import { resolver } from "../src/internal/node/resolver.js"
import type * as Network from "../src/Network.js"
import { ConnectError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as Resolver from "../src/Resolver.js"
import { Random } from "./support/chunkings.js"
import { deafServer } from "./support/deafServer.js"
import { handles, handlesLeft, leavesNoHandles } from "./support/handles.js"
import * as Namespace from "./support/namespace.js"
import { freePort, portOf, turns, until } from "./support/rawPeer.js"

leavesNoHandles()

const { namespaceProblem } = Namespace
if (namespaceProblem !== undefined) {
  console.warn(`SKIPPED: dialling in a network namespace, for ${namespaceProblem}`)
}
const ownAddresses = new Set(
  Object.values(Os.networkInterfaces()).flatMap((them) => them!).map(({ address }) => address)
)
const hasIpv6 = ownAddresses.has("::1")
if (!hasIpv6) {
  console.warn("SKIPPED: a name with both families, for there is no IPv6 loopback here")
}

const hostOf = (address: Address.Address): string => address._tag === "TcpAddress" ? address.host : ""

const refused = (error: unknown): ConnectError => {
  assert(error instanceof ConnectError, String(error))
  return error
}

describe("one listener of two families", () => {
  for (const host of ["127.0.0.1", "::1"]) {
    it.scopedLive.skipIf(!hasIpv6)(
      `a name with both reaches the one on ${host} (skipped without IPv6)`,
      () =>
        Effect.gen(function*() {
          const network = yield* NodeNetwork.make
          const server = yield* network.startServer({ host, ipv6Only: true }, () => Effect.void)
          for (const order of [["::1", "127.0.0.1"], ["127.0.0.1", "::1"]]) {
            for (const happyEyeballsDelay of ["1 hour", 0] as const) {
              const { remoteAddress } = yield* network.openConnection({
                host: "localhost",
                port: portOf(server),
                happyEyeballsDelay
              }).pipe(Effect.provide(Resolver.layerStatic({ localhost: order })))
              assert.strictEqual(Address.format(remoteAddress), Address.format(server.addresses[0]))
            }
          }
        })
    )
  }

  it.scopedLive("this machine's own `localhost` reaches a listener on any of its addresses", () =>
    Effect.gen(function*() {
      const network = yield* NodeNetwork.make
      // A machine without IPv6 may well keep ::1 among its names.
      const hosts = (yield* resolver.lookup("localhost")).filter((host) => ownAddresses.has(host))
      assert.isNotEmpty(hosts)
      for (const host of hosts) {
        const server = yield* network.startServer({ host, ipv6Only: true }, () => Effect.void)
        const { remoteAddress } = yield* network.openConnection({ host: "localhost", port: portOf(server) })
        assert.strictEqual(Address.format(remoteAddress), Address.format(server.addresses[0]))
      }
    }))
})

describe.skipIf(process.platform !== "linux")("a listener whose queue is full (skipped beside Linux)", () => {
  const dial = (port: number, options: Partial<Network.ConnectOptions> = {}) =>
    Effect.flatMap(NodeNetwork.make, (network) => network.openConnection({ host: "127.0.0.1", port, ...options }))

  it.scopedLive("answers nobody: a time limit ends the attempt, and leaves no socket", () =>
    Effect.gen(function*() {
      const { port } = yield* deafServer
      const before = handles()
      const error = refused(yield* Effect.flip(dial(port, { connectTimeout: "60 millis" })))
      assert.strictEqual(handles().sockets, before.sockets)
      yield* until(() => handlesLeft(before).length === 0)
      assert.strictEqual(error.reason, "TimedOut")
      assert.strictEqual(
        error.message,
        `connect to 127.0.0.1:${port}: no connection within 60ms, the time ran out while connecting over TCP`
      )
      assert.deepStrictEqual(error.attempts.map(({ reason }) => reason), ["TimedOut"])
    }))

  it.scopedLive("interruption ends the attempt, and leaves no socket", () =>
    Effect.gen(function*() {
      const { port } = yield* deafServer
      const before = handles()
      const fiber = yield* Effect.fork(Effect.scoped(dial(port)))
      yield* until(() => handlesLeft(before).length > 0)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(handles().sockets, before.sockets)
      yield* until(() => handlesLeft(before).length === 0)
    }))

  it.scopedLive("the next address wins, and the attempt that hangs is closed by then", () =>
    Effect.gen(function*() {
      const { port } = yield* deafServer
      const network = yield* NodeNetwork.make
      yield* network.startServer({ host: "127.0.0.2", port }, ({ reader }) => reader.readAll())
      const before = handles().sockets
      const { remoteAddress } = yield* dial(port, { host: "two.test", happyEyeballsDelay: "30 millis" }).pipe(
        Effect.provide(Resolver.layerStatic({ "two.test": ["127.0.0.1", "127.0.0.2"] }))
      )
      assert.strictEqual(Address.format(remoteAddress), `127.0.0.2:${port}`)
      // The two ends of the one connection; where descriptors can be counted.
      yield* until(() => handles().sockets <= before + 2)
    }))
})

describe.skipIf(process.platform !== "linux")("the local end (skipped beside Linux)", () => {
  it.scopedLive("a name is bound to the first of its addresses that can be", () =>
    Effect.gen(function*() {
      const network = yield* NodeNetwork.make
      const server = yield* network.startServer(
        { host: "127.0.0.1", closeTimeout: 0 },
        ({ reader }) => reader.readAll()
      )
      const names = Resolver.layerStatic({ "me.test": ["192.0.2.77", "::1", "127.0.0.5"] })
      const { localAddress } = yield* network.openConnection({
        host: "127.0.0.1",
        port: portOf(server),
        localAddress: "me.test"
      }).pipe(Effect.provide(names))
      assert.strictEqual(hostOf(localAddress), "127.0.0.5")
    }))

  it.scopedLive("what is wrong with it is told by the system call that failed", () =>
    Effect.gen(function*() {
      const network = yield* NodeNetwork.make
      const server = yield* network.startServer(
        { host: "127.0.0.1", closeTimeout: 0 },
        ({ reader }) => reader.readAll()
      )
      const port = portOf(server)
      const local = { localAddress: "127.0.0.1", localPort: yield* freePort }
      yield* network.openConnection({ host: "127.0.0.1", port, ...local })
      const messageOf = (options: Partial<Network.ConnectOptions>) =>
        network.openConnection({ host: "127.0.0.1", port, ...options }).pipe(
          Effect.flip,
          Effect.map((error) => error.message)
        )
      assert.strictEqual(
        yield* messageOf(local),
        `connect to 127.0.0.1:${port}: there is such a connection from 127.0.0.1:${local.localPort} already ` +
          "(EADDRNOTAVAIL)"
      )
      assert.strictEqual(
        yield* messageOf({ ...local, localAddress: "192.0.2.77" }),
        `connect to 127.0.0.1:${port}: the local address 192.0.2.77:${local.localPort} is not one of this machine's ` +
          "(EADDRNOTAVAIL)"
      )
      assert.strictEqual(
        yield* messageOf({ localPort: port }),
        `connect to 127.0.0.1:${port}: the local address *:${port} is in use (EADDRINUSE)`
      )
    }))
})

it.scopedLive("a refused port is refused at once, whatever limit there is", () =>
  Effect.gen(function*() {
    const network = yield* NodeNetwork.make
    const port = yield* freePort
    const error = refused(
      yield* Effect.flip(network.openConnection({ host: "127.0.0.1", port, connectTimeout: "1 hour" }))
    )
    assert.strictEqual(error.message, `connect to 127.0.0.1:${port}: nobody listens there (ECONNREFUSED)`)
  }))

describe.skipIf(namespaceProblem !== undefined)("in a network of our own (skipped where none can be made)", () => {
  layer(Namespace.layer, { excludeTestServices: true, timeout: "60 seconds" })((it) => {
    const ask = (request: Parameters<typeof Namespace.Namespace.Service.ask>[0]) =>
      Effect.map(Effect.flatMap(Namespace.Namespace, ({ ask }) => ask(request)), (answer) => {
        assert.deepStrictEqual(answer.left, [], "left open")
        return answer
      })
    const hosts = (
      answer: { readonly error?: { readonly attempts: ReadonlyArray<ReadonlyArray<unknown>> } | undefined }
    ) => answer.error?.attempts.map((attempt) => attempt.slice(0, 3))
    const slow = { timeout: 60_000 }

    it.effect("`localhost` has both families, and one of them listens", () =>
      Effect.gen(function*() {
        for (const host of ["127.0.0.1", "::1"]) {
          const answer = yield* ask({ listen: [host], options: { host: "localhost", happyEyeballsDelay: "1 hour" } })
          assert.strictEqual(answer.connected, host)
        }
      }), slow)

    it.effect("`localhost` has both families, and both or neither listens", () =>
      Effect.gen(function*() {
        const both = yield* ask({ listen: ["127.0.0.1", "::1"], options: { host: "localhost" } })
        assert.strictEqual(both.connected, "::1")
        const { error } = yield* ask({ options: { host: "localhost" } })
        assert.strictEqual(error?.reason, "Refused")
        assert.deepStrictEqual(hosts({ error }), [
          ["::1", "Refused", "ECONNREFUSED"],
          ["127.0.0.1", "Refused", "ECONNREFUSED"]
        ])
        assert.match(error!.message, /^connect to localhost:PORT: nobody listens there; 2 addresses were tried\n/)
      }), slow)

    it.effect("`family` chooses", () =>
      Effect.gen(function*() {
        const answer = yield* ask({ listen: ["127.0.0.1", "::1"], options: { host: "localhost", family: 4 } })
        assert.strictEqual(answer.connected, "127.0.0.1")
      }), slow)

    it.effect("an address with a zone is reached in its zone, and nowhere else", () =>
      Effect.gen(function*() {
        const there = yield* ask({ listen: ["fe80::1%lo"], options: { host: "fe80::1%lo" } })
        assert.strictEqual(there.connected, "fe80::1%lo")
        const { error } = yield* ask({
          listen: ["fe80::1%lo"],
          options: { host: "fe80::1%hole0", connectTimeout: 100 }
        })
        assert.isDefined(error)
      }), slow)

    it.effect(
      "a zone is the name of an interface, whatever characters that has, or its number",
      () =>
        Effect.gen(function*() {
          const lan = "fe80::7%br_lan"
          for (
            const [host, localAddress, connected] of [
              [lan, undefined, lan],
              ["fe80::7%77", undefined, lan],
              [lan, "fe80::7%77", lan],
              ["fe80::7%77", lan, lan],
              // The name comes first.
              ["fe80::9%42", undefined, "fe80::9%42"],
              ["fe80::9%78", "fe80::9%42", "fe80::9%42"]
            ]
          ) {
            const answer = yield* ask({ listen: ["::"], options: { host: host!, localAddress } })
            assert.strictEqual(answer.connected, connected, `${host} from ${localAddress}: ${answer.error?.message}`)
          }
        }),
      slow
    )

    it.effect("a zone that is missing, or that there is not, is named", () =>
      Effect.gen(function*() {
        const missing = "a link-local address needs the interface that leads to it, such as fe80::7%eth0"
        const cases = [
          ["fe80::7", undefined, missing],
          ["fe80::7%nowhere", undefined, "this machine has no interface nowhere"],
          ["fe80::7%no_where", undefined, "this machine has no interface no_where"],
          ["fe80::7%4711", undefined, "this machine has no interface 4711"],
          ["fe80::7%br_lan", "fe80::7", `the local address fe80::7: ${missing}`],
          ["::1", "fe80::7%4711", "the local address fe80::7%4711: this machine has no interface 4711"],
          // There are both, and no way from the one to the other.
          ["fe80::7%br_lan", "fe80::9%42", "it failed"]
        ] as const
        for (const [host, localAddress, message] of cases) {
          const { error } = yield* ask({ listen: ["::"], options: { host, localAddress } })
          assert.strictEqual(error?.message, `connect to [${host}]:PORT: ${message} (EINVAL)`)
          assert.strictEqual(error?.code, "EINVAL")
        }
      }), slow)

    it.effect("a black hole is left after the head start, and closed", () =>
      Effect.gen(function*() {
        const answer = yield* ask({ listen: ["127.0.0.1"], options: { host: "half-hole.test" } })
        assert.strictEqual(answer.connected, "127.0.0.1")
        assert.isAtLeast(answer.millis, 245)
      }), slow)

    it.effect("where all is a black hole, the time limit lists what was tried", () =>
      Effect.gen(function*() {
        const answer = yield* ask({ options: { host: "hole.test", connectTimeout: "600 millis" } })
        assert.strictEqual(answer.error?.reason, "TimedOut")
        assert.deepStrictEqual(hosts(answer), [
          ["2001:db8::2", "TimedOut", null],
          ["192.0.2.2", "TimedOut", null]
        ])
        assert.include(answer.error!.message, "within 600ms, the time ran out while connecting over TCP")
        assert.isAtLeast(answer.error!.attempts[0]![3] - answer.error!.attempts[1]![3], 245)
      }), slow)

    it.effect("a black hole alone holds nobody who gives up", () =>
      Effect.gen(function*() {
        const answer = yield* ask({ options: { host: "192.0.2.2" }, interruptAfter: 50 })
        assert.isTrue(answer.interrupted)
      }), slow)

    it.effect("routes that say no are told apart", () =>
      Effect.gen(function*() {
        for (
          const [host, reason, code] of [
            ["198.51.100.1", "HostUnreachable", "EHOSTUNREACH"],
            ["203.0.113.1", "PermissionDenied", "EACCES"],
            ["100.64.0.1", "NetworkUnreachable", "ENETUNREACH"],
            ["2001:db8:1::1", "NetworkUnreachable", "ENETUNREACH"]
          ]
        ) {
          const { error } = yield* ask({ options: { host: host! } })
          assert.deepStrictEqual([error?.reason, error?.code], [reason, code], host)
        }
      }), slow)

    it.effect("a name that does not exist, and one that has no address of the family", () =>
      Effect.gen(function*() {
        const missing = yield* ask({ options: { host: "missing.test" } })
        assert.deepStrictEqual([missing.error?.reason, missing.error?.code], ["NameNotFound", "ENOTFOUND"])
        assert.strictEqual(
          missing.error!.message,
          "connect to missing.test:PORT: there is no such name (ENOTFOUND)"
        )
        const other = yield* ask({ options: { host: "there.test", family: 6 } })
        assert.strictEqual(other.error?.reason, "NameNotFound")
        assert.include(other.error!.message, "the name has no IPv6 address")
        const there = yield* ask({ listen: ["127.0.0.1"], options: { host: "there.test" } })
        assert.strictEqual(there.connected, "127.0.0.1")
      }), slow)

    it.effect("a name server that is out of order may do better another time", () =>
      Effect.gen(function*() {
        const { error } = yield* ask({ options: { host: "failing.test" } })
        assert.deepStrictEqual([error?.reason, error?.code], ["TimedOut", "EAI_AGAIN"])
        assert.include(error!.message, "can't be looked up for the moment, and trying again may help")
      }), slow)

    it.effect(
      "a name server that never answers: the time limit says where it struck, and interruption does not wait",
      () =>
        Effect.gen(function*() {
          const { error } = yield* ask({ options: { host: "silent.test", connectTimeout: "100 millis" } })
          assert.strictEqual(
            error?.message,
            "connect to silent.test:PORT: no connection within 100ms, the time ran out during name lookup"
          )
          const { interrupted } = yield* ask({ options: { host: "silent.test" }, interruptAfter: 20 })
          assert.isTrue(interrupted)
        }),
      slow
    )
  })
})

/** Open files of any kind, where the system shows them. */
const descriptors = (): number => Fs.existsSync("/proc/self/fd") ? Fs.readdirSync("/proc/self/fd").length : 0

describe("5 000 dials, interrupted at random", () => {
  const dials = 5_000
  const atOnce = 25

  it.scopedLive("leave no descriptor, timer or socket behind", () =>
    Effect.gen(function*() {
      const network = yield* NodeNetwork.make
      const server = yield* network.startServer(
        { host: "127.0.0.1", backlog: 511, closeTimeout: 0 },
        () => Effect.void
      )
      const port = portOf(server)
      const targets: ReadonlyArray<Network.ConnectOptions> = [
        { host: "127.0.0.1", port },
        { host: "127.0.0.1", port, connectTimeout: "1 millis" },
        { host: "127.0.0.1", port: yield* freePort },
        // By the system's resolver, in its threads.
        { host: "localhost", port },
        // What answers and what does not, side by side.
        { host: "some.test", port: yield* freePort, happyEyeballsDelay: 0 },
        { host: "hole.test", port: (yield* deafServer).port, happyEyeballsDelay: "1 millis" },
        { host: "hole.test", port: (yield* deafServer).port, connectTimeout: "2 millis" }
      ]
      const names = Resolver.makeStatic({
        "some.test": ["127.0.0.1", "127.0.0.2", "127.0.0.3"],
        "hole.test": ["127.0.0.1", "127.0.0.2"]
      })
      const lookup: Resolver.Service["lookup"] = (host, options) =>
        (host === "localhost" ? resolver : names).lookup(host, options)

      const random = new Random(8305)
      const ends = { connected: 0, failed: 0, interrupted: 0 }
      const dial = (target: Network.ConnectOptions) =>
        Effect.scoped(network.openConnection({ closeTimeout: 0, ...target }))
      // Some steps of the fiber, some turns of the event loop, some milliseconds, or at the end.
      const moment = () => {
        const kind = random.between(0, 4)
        const n = random.between(0, 6)
        return kind === 0
          ? Effect.repeatN(Effect.yieldNow(), n)
          : kind === 1
          ? turns(n)
          : kind === 2
          ? Effect.sleep(n)
          : Effect.sleep(random.between(0, 60))
      }

      const run = (count: number) =>
        Effect.forEach(Array.from({ length: count }), () =>
          Effect.gen(function*() {
            const fiber = yield* Effect.fork(dial(random.pick(targets)))
            yield* Effect.race(moment(), Fiber.await(fiber))
            const exit = yield* Fiber.interrupt(fiber)
            if (Exit.isSuccess(exit)) {
              ends.connected++
            } else if (Cause.isInterruptedOnly(exit.cause)) {
              ends.interrupted++
            } else {
              assert(Cause.isFailType(exit.cause), Cause.pretty(exit.cause))
              ends.failed++
            }
          }), { concurrency: atOnce, discard: true }).pipe(Effect.provideService(Resolver.Resolver, { lookup }))

      const before = handles()
      const descriptorsBefore = descriptors()
      yield* run(dials)
      yield* until(() => handlesLeft(before).length === 0 && descriptors() <= descriptorsBefore)
      console.log(
        `of ${dials} dials ${ends.connected} connected, ${ends.failed} failed, ${ends.interrupted} interrupted`
      )
      for (const count of Object.values(ends)) {
        assert.isAbove(count, 20)
      }
    }), 120_000)
})
