/**
 * What the examples do, over a network in memory: where the answers break off, arrive late, in pieces or changed.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Exit, Option, type Scope, Stream } from "effect"
import { type Connection, Network, NodeNetwork, TestNetwork } from "effect-netstreams"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Catalog } from "../examples/demo/Catalog.js"
import * as Client from "../examples/demo/Client.js"
import * as Protocol from "../examples/demo/Protocol.js"
import { handler } from "../examples/demo/Server.js"
import * as Smtp from "../examples/smtp/Client.js"
import { certificates, describeTls } from "./support/certificates.js"
import { identity } from "./support/tlsPeers.js"

it("the program that the README shows for tests is one of them", () => {
  const read = (path: string) => Fs.readFileSync(Path.resolve(import.meta.dirname, path), "utf8")
  assert.include(read("../README.md"), "```ts\n" + read("testingYourProtocol.test.ts") + "```\n")
})

// -----------------------------------------------------------------------------
// the demo's file server and its clients
// -----------------------------------------------------------------------------

const catalogOf = (files: Record<string, Uint8Array>): Catalog =>
  new Map(
    Object.entries(files).map(([name, bytes]) => [
      name,
      { name, bytes, sha256: createHash("sha256").update(bytes).digest("hex") }
    ])
  )

const catalog = catalogOf({
  "README.md": new TextEncoder().encode("# A file\n"),
  "empty": new Uint8Array(0),
  "large": new Uint8Array(1_000_000).map((_, i) => i ^ (i >> 8))
})

const simulated =
  (conditions: TestNetwork.LinkConditions, seed?: number) =>
  <A, E>(program: Effect.Effect<A, E, Network.Network | TestNetwork.TestNetwork | Scope.Scope>) =>
    program.pipe(
      Effect.scoped,
      Effect.provide(TestNetwork.layerWith({ conditions, seed })),
      TestNetwork.simulate
    )

const serve = Network.startServer({ port: 9000, limit: Protocol.longestRequest }, handler(catalog))

const connect = Network.openConnection({ host: "localhost", port: 9000 })

const ignore = () => Effect.void

describe("the demo", () => {
  const links: ReadonlyArray<readonly [string, TestNetwork.LinkConditions]> = [
    ["all at once", {}],
    ["in pieces of 7 bytes", { fragment: 7 }],
    ["cut anywhere", { fragment: "random" }],
    ["from far away, a little at a time", { latency: "200 millis", jitter: "50 millis", bytesInFlight: 5000 }]
  ]
  for (const [name, conditions] of links) {
    it.effect(`lists and fetches, ${name}`, () =>
      Effect.gen(function*() {
        yield* serve
        const client = Client.make(yield* connect)
        assert.deepEqual(yield* client.list, Array.from(catalog.keys()))
        yield* client.get("README.md", ignore)
        yield* client.get("empty", ignore)
        assert.equal((yield* Effect.flip(client.get("missing", ignore)))._tag, "Refused")
        assert.equal((yield* Effect.flip(client.ask(`GET ${"x".repeat(2000)}`)))._tag, "Refused")
        yield* client.get("large", ignore)
      }).pipe(simulated(conditions)))
  }

  it.effect("a large file takes the time that the link takes for it", () =>
    Effect.gen(function*() {
      yield* serve
      const client = Client.make(yield* connect)
      yield* client.get("large", ignore)
      // A million bytes, and a head of 76, at a hundred thousand bytes a second. The request is 10 bytes long.
      assert.equal(Number(yield* Clock.currentTimeNanos) / 1e6, (1_000_076 + 10) / 100)
    }).pipe(simulated({ bandwidth: 100_000 })))

  it.effect("a file that was changed on its way is noticed, whichever byte it is", () =>
    Effect.gen(function*() {
      yield* serve
      for (const place of [0, 1, 4, 8]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const connection = yield* connect
          const head = `OK 9 ${catalog.get("README.md")!.sha256}\n`.length
          yield* (yield* TestNetwork.link(connection)).corruptAfter(head + place)
          const error = yield* Effect.flip(Client.make(connection).get("README.md", ignore))
          assert.equal(error._tag, "Mismatch")
        }))
      }
    }).pipe(simulated({})))

  it.effect("an answer that breaks off is an error, at every place and in both ways", () =>
    Effect.gen(function*() {
      yield* serve
      const length = `OK 9 ${catalog.get("README.md")!.sha256}\n`.length + 9
      for (let place = 0; place < length; place++) {
        for (const how of ["endAfter", "resetAfter"] as const) {
          yield* Effect.scoped(Effect.gen(function*() {
            const connection = yield* connect
            yield* (yield* TestNetwork.link(connection))[how](place)
            const outcome = yield* Effect.either(Client.make(connection).get("README.md", ignore))
            assert(Either.isLeft(outcome), `${how} ${place} was taken for the whole file`)
            if (how === "resetAfter") {
              assert.equal(outcome.left._tag, "ConnectionError")
            }
          }))
        }
      }
    }).pipe(simulated({})))

  it.effect("a client that does not read holds up its own file, and nobody else's", () =>
    Effect.gen(function*() {
      const server = yield* serve
      const idle = yield* connect
      yield* (yield* TestNetwork.link(idle)).stall({ direction: "received" })
      yield* idle.writer.write("GET large\n")
      yield* Effect.sleep("1 minute")
      const [stuck] = yield* server.connections
      // All of the file but what is on its way waits in one write.
      assert.equal(yield* stuck!.writer.bufferedBytes, 1_000_076 - 65_536)
      const client = Client.make(yield* connect)
      yield* client.get("large", ignore)
      assert.equal(yield* Clock.currentTimeMillis, 60_000)
      yield* idle.abort
    }).pipe(simulated({})))
})

// -----------------------------------------------------------------------------
// sending a mail
// -----------------------------------------------------------------------------

/** The console of a test: what was printed is of no interest. */
const quietly = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.consoleWith((console) => Effect.withConsole(effect, { ...console, log: () => Effect.void }))

const mail: Smtp.Mail<never> = {
  from: "me@example.org",
  to: "you@example.org",
  message: Stream.make(new TextEncoder().encode("Subject: dots\n\n.one\n..two\nthree"))
}

const send = (ca = Option.none<string>()) => quietly(Smtp.send("mail.test", 587, ca, mail))

const line = ({ reader }: Connection.Connection) =>
  Effect.map(reader.readUntil("\r\n"), (bytes) => new TextDecoder().decode(bytes).trimEnd())

describe("a mail", () => {
  const server = (handler: (connection: Connection.Connection) => Effect.Effect<unknown, unknown>) =>
    Effect.zipRight(
      TestNetwork.addName("mail.test", "127.0.0.1"),
      Network.startServer({ host: "127.0.0.1", port: 587, onError: () => Effect.void }, handler)
    )

  it.effect("is not sent to a server that says no, which is said in its words", () =>
    Effect.gen(function*() {
      yield* server(({ writer }) => writer.write("554-no\r\n554 not from you\r\n"))
      const error = yield* Effect.flip(send())
      assert.equal(error.message, "the server said no: 554-no / 554 not from you")
    }).pipe(simulated({ fragment: 1 })))

  it.effect("is not sent over a connection that stays in the clear", () =>
    Effect.gen(function*() {
      yield* server((connection) =>
        Effect.gen(function*() {
          yield* connection.writer.write("220 ready\r\n")
          yield* line(connection)
          yield* connection.writer.write("250-STARTTLS\r\n250 SIZE\r\n")
          yield* line(connection)
          yield* connection.writer.write("454 not now\r\n")
        })
      )
      const error = yield* Effect.flip(send())
      assert.equal(error.message, "the server said no: 454 not now")
    }).pipe(simulated({ latency: "100 millis" })))

  it.effect("a server that is silent is waited for no longer than the program says", () =>
    Effect.gen(function*() {
      yield* server(() => Effect.never)
      const exit = yield* Effect.exit(Effect.timeout(send(), "1 minute"))
      assert(Exit.isFailure(exit))
      assert.isAtLeast(yield* Clock.currentTimeMillis, 60_000)
    }).pipe(simulated({})))
})

describeTls("a mail, with TLS", () => {
  const run = (program: Effect.Effect<void, unknown, Network.Network | TestNetwork.TestNetwork | Scope.Scope>) =>
    Effect.provide(program, TestNetwork.layerWith({ conditions: { fragment: "random" }, tls: NodeNetwork.tls }))

  const sendTrusting = quietly(
    Smtp.send("localhost", 587, Option.some(certificates.ca.certificate), mail)
  )

  it.scopedLive("arrives as it was written, with its dots", () =>
    Effect.gen(function*() {
      const received: Array<string> = []
      yield* Network.startServer({ host: "127.0.0.1", port: 587 }, (plain) =>
        Effect.gen(function*() {
          yield* plain.writer.write("220 ready\r\n")
          yield* line(plain)
          yield* plain.writer.write("250 STARTTLS\r\n")
          yield* line(plain)
          yield* plain.writer.write("220 go ahead\r\n")
          const secure = yield* plain.startTls({ role: "server", ...identity() })
          for (const reply of ["250 hello", "250 ok", "250 ok", "354 go on"]) {
            received.push(yield* line(secure))
            yield* secure.writer.write(`${reply}\r\n`)
          }
          for (let text = ""; text !== "."; received.push(text)) {
            text = yield* line(secure)
          }
          yield* secure.writer.write("250 taken\r\n")
          yield* line(secure)
          yield* secure.writer.write("221 bye\r\n")
        }))
      yield* sendTrusting
      assert.deepEqual(received, [
        "EHLO localhost",
        "MAIL FROM:<me@example.org>",
        "RCPT TO:<you@example.org>",
        "DATA",
        "Subject: dots",
        "",
        "..one",
        "...two",
        "three",
        "."
      ])
    }).pipe(run))

  it.scopedLive("does not believe what was said in the clear after STARTTLS", () =>
    Effect.gen(function*() {
      yield* Network.startServer({ host: "127.0.0.1", port: 587, onError: () => Effect.void }, (plain) =>
        Effect.gen(function*() {
          yield* plain.writer.write("220 ready\r\n")
          yield* line(plain)
          yield* plain.writer.write("250 STARTTLS\r\n")
          yield* line(plain)
          yield* plain.writer.write("220 go ahead\r\n250 injected\r\n")
          yield* plain.awaitClosed
        }))
      const error = yield* Effect.flip(sendTrusting)
      assert(error._tag === "TlsError")
      assert.equal(error.reason, "UnexpectedPlaintext")
    }).pipe(Effect.provide(TestNetwork.layerWith({ tls: NodeNetwork.tls }))))
})
