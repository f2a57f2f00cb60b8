/**
 * The conformance kit over the sockets and streams of a system.
 */
import { describe } from "@effect/vitest"
import * as Conformance from "effect-netstreams/Conformance"
import type * as Connection from "effect-netstreams/Connection"
import * as Faults from "effect-netstreams/Faults"
import * as NodeNetwork from "effect-netstreams/NodeNetwork"
import * as Effect from "effect/Effect"
import { once } from "node:events"
import * as Net from "node:net"
import { type Duplex, duplexPair } from "node:stream"
import { describeTls } from "./support/certificates.js"
import { over } from "./support/conformance.js"
import { leavesNoHandles } from "./support/handles.js"
import { type Ends, tcp, tlsKinds, unix } from "./support/tlsPeers.js"

leavesNoHandles()

const pairOf = ({ client, server }: Ends) => ({ left: client, right: server })

describe("TCP", () => {
  over.live(Conformance.connection((options) => Effect.map(tcp.open(options), pairOf)))
})

describe("TCP, with a link for faults at each end", () => {
  const underFaults = (options: Connection.Options) =>
    Effect.gen(function*() {
      const { client, server } = yield* tcp.open(options)
      const [left] = yield* Faults.attach(client)
      const [right] = yield* Faults.attach(server)
      return { left, right }
    })
  over.live(Conformance.connection(underFaults))
})

describe("Unix sockets", () => {
  over.live(Conformance.connection((options) => Effect.map(unix.open(options), pairOf), { reset: false }))
})

for (const { name, open } of tlsKinds) {
  describeTls(name, () => {
    over.live(Conformance.connection((options) => Effect.map(open(options), pairOf)))
  })
}

/** Both ends taken over from sockets that others have made. */
const adopted = (options: Connection.Options) =>
  Effect.gen(function*() {
    const server = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const server = Net.createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1")
        await once(server, "listening")
        return server
      }),
      (server) => Effect.promise(() => new Promise((resolve) => server.close(resolve)))
    )
    const [left, right] = yield* Effect.promise(async () => {
      const left = Net.connect((server.address() as Net.AddressInfo).port, "127.0.0.1")
      const [[right]] = await Promise.all([once(server, "connection"), once(left, "connect")])
      return [left, right as Net.Socket] as const
    })
    return yield* Effect.all([NodeNetwork.fromSocket(left, options), NodeNetwork.fromSocket(right, options)])
  })

describe("fromSocket", () => {
  over.live(Conformance.connection(adopted))
})

/** Two streams of which one learns when the other is destroyed, as those of a real channel do. */
const linkedDuplexes = () => {
  const [left, right] = duplexPair()
  const link = (from: Duplex, to: Duplex) =>
    from.once("close", () => {
      if (!to.readableEnded) {
        to.destroy(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }))
      }
    })
  link(left, right)
  link(right, left)
  return [left, right] as const
}

const duplexes = (options: Connection.Options) =>
  Effect.suspend(() => {
    const [left, right] = linkedDuplexes()
    return Effect.all([NodeNetwork.fromDuplex(left, options), NodeNetwork.fromDuplex(right, options)])
  })

describe("fromDuplex", () => {
  over.live(Conformance.connection(duplexes))
})
