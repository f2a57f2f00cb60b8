/** What an operator sees of a server: metrics, spans, annotations, and what goes over the wire. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Tracer from "effect/Tracer"
import * as Address from "../src/Address.js"
import type * as Connection from "../src/Connection.js"
import * as Faults from "../src/Faults.js"
import { hexDump } from "../src/internal/hexDump.js"
import { withTls } from "../src/internal/node/tls/listener.js"
import * as Network from "../src/Network.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as Server from "../src/Server.js"
import { describeTls } from "./support/certificates.js"
import { utf8 } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import { client, echo, serve } from "./support/memoryServer.js"
import { MemoryListener, settle } from "./support/memoryTransport.js"
import { portOf, rawConnect, until } from "./support/rawPeer.js"
import { dialling, identity, listening, trust } from "./support/tlsPeers.js"

leavesNoHandles()

/** The numbers with a label, so that no other server of this process is in them. */
const read = (label: string) =>
  Effect.gen(function*() {
    const counter = (metric: Metric.Metric.Counter<number>) =>
      Effect.map(Metric.value(Metric.tagged(metric, "server", label)), ({ count }) => count)
    const by = (metric: Metric.Metric.Counter<number>, key: string, value: string) =>
      counter(metric.pipe(Metric.tagged(key, value)))
    const gauge = (metric: Metric.Metric.Gauge<number>) =>
      Effect.map(Metric.value(Metric.tagged(metric, "server", label)), ({ value }) => value)
    const { metrics } = Server
    const durations = yield* Metric.value(Metric.tagged(metrics.connectionDuration, "server", label))
    const handshakes = yield* Metric.value(Metric.tagged(metrics.handshakeDuration, "server", label))
    return {
      active: yield* gauge(metrics.connectionsActive),
      waiting: yield* gauge(metrics.connectionsWaiting),
      accepted: yield* counter(metrics.connectionsAccepted),
      rejected: yield* by(metrics.connectionsRejected, "limit", "MaxConnections"),
      dropped: yield* by(metrics.connectionsRejected, "limit", "Closing"),
      peer: yield* by(metrics.connectionsClosed, "reason", "Peer"),
      local: yield* by(metrics.connectionsClosed, "reason", "Local"),
      aborted: yield* by(metrics.connectionsClosed, "reason", "Aborted"),
      reset: yield* by(metrics.connectionsClosed, "reason", "Reset"),
      received: yield* counter(metrics.bytesReceived),
      sent: yield* counter(metrics.bytesSent),
      durations: [durations.count, durations.sum],
      handshakes: handshakes.count,
      handshakesFailed: yield* counter(metrics.handshakesFailed)
    }
  })

const nothing = {
  active: 0,
  waiting: 0,
  accepted: 0,
  rejected: 0,
  dropped: 0,
  peer: 0,
  local: 0,
  aborted: 0,
  reset: 0,
  received: 0,
  sent: 0,
  durations: [0, 0],
  handshakes: 0,
  handshakesFailed: 0
}

describe("metrics", () => {
  it.scoped("count connections, how they ended, how long they took, and bytes", () =>
    Effect.gen(function*() {
      const { listener, server } = yield* serve(echo, { maxConnections: 2, maxWaiting: 2 }).pipe(
        Effect.tagMetrics("server", "one")
      )
      assert.deepStrictEqual(yield* read("one"), nothing)
      const clients = Array.from({ length: 6 }, () => client(listener))
      clients[0]!.send("hello")
      yield* settle
      assert.deepStrictEqual(yield* read("one"), {
        ...nothing,
        active: 2,
        waiting: 2,
        accepted: 2,
        rejected: 2,
        received: 5,
        sent: 5
      })
      yield* TestClock.adjust("3 seconds")
      clients[0]!.transport.end()
      yield* settle
      clients[1]!.transport.abort()
      yield* settle
      assert.deepStrictEqual(yield* read("one"), {
        ...nothing,
        active: 2,
        waiting: 0,
        accepted: 4,
        rejected: 2,
        peer: 1,
        reset: 1,
        received: 5,
        sent: 5,
        durations: [2, 6]
      })
      const late = client(listener)
      yield* settle
      yield* server.close
      const later = client(listener)
      yield* settle
      assert.isTrue(late.closed && later.closed)
      yield* server.abortClients
      yield* settle
      const after = yield* read("one")
      assert.deepStrictEqual([after.active, after.waiting, after.aborted, after.dropped], [0, 0, 2, 2])
    }))

  it.scoped("bytes are counted as they come, not when the connection ends, in any number of pieces", () =>
    Effect.gen(function*() {
      const { listener } = yield* serve(({ reader, writer }) =>
        Effect.gen(function*() {
          for (;;) {
            const bytes = yield* reader.readExactly(10)
            yield* writer.writeAll([bytes, bytes, "!"])
          }
        })
      ).pipe(Effect.tagMetrics("server", "bytes"))
      const its = client(listener)
      for (const byte of "0123456789abcde") {
        its.send(byte)
        yield* settle
      }
      const { received, sent } = yield* read("bytes")
      assert.deepStrictEqual([received, sent], [15, 21])
      its.transport.abort()
    }))

  it.scoped("bytes are counted once, however often something is put between connection and network before they are read", () =>
    Effect.gen(function*() {
      for (const times of [0, 1, 2, 3]) {
        const { listener } = yield* serve((plain) =>
          Effect.gen(function*() {
            yield* plain.reader.peek(6)
            let connection: Connection.Connection = plain
            for (let i = 0; i < times; i++) {
              ;[connection] = yield* Faults.attach(connection)
              if (i === 1) {
                yield* connection.reader.readExactly(2)
              }
            }
            yield* Stream.run(connection.reader.bytes, connection.writer.sink)
          })
        ).pipe(Effect.tagMetrics("server", `interposed ${times}`))
        const its = client(listener)
        its.send("hello\n")
        yield* TestClock.adjust(0)
        yield* settle
        its.send("and more")
        yield* TestClock.adjust(0)
        yield* settle
        const said = times < 2 ? "hello\nand more" : "llo\nand more"
        assert.strictEqual(its.text(), said)
        const { received, sent } = yield* read(`interposed ${times}`)
        assert.deepStrictEqual([received, sent], [14, said.length])
        its.transport.end()
        yield* settle
      }
    }))

  it.scoped("of two servers are told apart by the labels of those who started them", () =>
    Effect.gen(function*() {
      const a = yield* serve(echo).pipe(Effect.tagMetrics("server", "a"))
      yield* serve(echo).pipe(Effect.tagMetrics("server", "b"))
      client(a.listener)
      yield* settle
      assert.strictEqual((yield* read("a")).accepted, 1)
      assert.deepStrictEqual(yield* read("b"), nothing)
    }))
})

describeTls("metrics of TLS", () => {
  it.scopedLive("have the handshakes, and bytes in the clear", () =>
    Effect.gen(function*() {
      const { port } = yield* listening({}, {}, echo).pipe(Effect.tagMetrics("server", "tls"))
      const { reader, writer } = yield* dialling(port)
      yield* writer.write("hello")
      yield* reader.readExactly(5)
      const broken = (yield* rawConnect({ host: "127.0.0.1", port })).read()
      broken.socket.end("this is no handshake")
      yield* until(() => broken.closed || broken.ended)
      while ((yield* read("tls")).handshakesFailed === 0) {
        yield* Effect.sleep(1)
      }
      const { accepted, handshakes, handshakesFailed, received, sent } = yield* read("tls")
      assert.deepStrictEqual([accepted, handshakes, handshakesFailed, received, sent], [1, 1, 1, 5, 5])
    }))

  it.scopedLive("have every handshake that succeeds, also of those that find all places taken", () =>
    Effect.gen(function*() {
      for (const onLimit of ["pause", "reject"] as const) {
        const label = `full: ${onLimit}`
        const { port } = yield* listening({}, { maxConnections: 1, onLimit }).pipe(
          Effect.tagMetrics("server", label)
        )
        yield* Effect.forEach([1, 2, 3], () => Effect.exit(dialling(port)))
        while ((yield* read(label)).handshakes < 3) {
          yield* Effect.sleep(1)
        }
        const { accepted, handshakes, rejected, waiting } = yield* read(label)
        assert.deepStrictEqual(
          { accepted, handshakes, rejected, waiting },
          {
            accepted: 1,
            handshakes: 3,
            ...(onLimit === "pause" ? { rejected: 0, waiting: 2 } : { rejected: 2, waiting: 0 })
          }
        )
      }
    }))

  it.scoped("have those that the close finds in their handshake, or waiting for it, as dropped", () =>
    Effect.gen(function*() {
      const listener = new MemoryListener()
      const reports: Array<string> = []
      const server = yield* Server.make(
        (acceptor) =>
          withTls({ ...identity(), maxHandshakes: 2 }, Address.tcp("127.0.0.1", 1), acceptor, listener.listen),
        { onError: ({ phase }) => Effect.sync(() => reports.push(phase)) },
        echo
      ).pipe(Effect.tagMetrics("server", "handshakes"))
      const clients = Array.from({ length: 5 }, () => client(listener))
      clients[0]!.send("this is no handshake")
      while ((yield* read("handshakes")).handshakesFailed === 0) {
        yield* settle
      }
      yield* server.close
      const late = client(listener)
      yield* settle
      yield* server.close
      assert.isTrue([...clients, late].every(({ closed }) => closed))
      assert.deepStrictEqual(yield* read("handshakes"), { ...nothing, handshakesFailed: 1, dropped: 5 })
      assert.deepStrictEqual(reports, ["handshake"])
    }))
})

/** A tracer that keeps what it made. */
const tracing = () => {
  const native = Effect.runSync(Effect.tracer)
  const spans: Array<Tracer.Span> = []
  const ended: Array<string> = []
  const tracer = Tracer.make({
    span: (name, parent, context, links, startTime, kind) => {
      const span = native.span(name, parent, context, links, startTime, kind)
      const { end } = span
      span.end = (endTime, exit) => {
        ended.push(`${name} ${exit._tag}`)
        end.call(span, endTime, exit)
      }
      spans.push(span)
      return span
    },
    context: (f) => f()
  })
  return { spans, ended, layer: Layer.setTracer(tracer) }
}

describe("spans", () => {
  it.scoped("there is one for each connection, with OpenTelemetry's names, and the handler's are below it", () =>
    Effect.gen(function*() {
      const { ended, layer, spans } = tracing()
      yield* Effect.gen(function*() {
        const { listener } = yield* serve((connection) => Effect.withSpan(echo(connection), "work"))
        const [one, two] = [client(listener), client(listener)]
        one.send("hello")
        yield* settle
        assert.deepStrictEqual(spans.map(({ name }) => name), ["tcp.connection", "work", "tcp.connection", "work"])
        const [span, work] = spans
        assert.strictEqual(span!.kind, "server")
        assert.deepStrictEqual(span!.parent, Option.none())
        assert.strictEqual(Option.getOrThrow(work!.parent).spanId, span!.spanId)
        const attributes = Object.fromEntries(span!.attributes)
        const id = attributes["connection.id"]
        assert.isNumber(id)
        assert.notStrictEqual(id, spans[2]!.attributes.get("connection.id"))
        assert.deepStrictEqual(attributes, {
          "connection.id": id,
          "network.transport": "tcp",
          "network.type": "ipv4",
          "network.peer.address": "127.0.0.1",
          "network.peer.port": Number(one.address.split(":")[1]),
          "network.local.address": "127.0.0.1",
          "network.local.port": 1000
        })
        assert.deepStrictEqual(ended, [])

        one.transport.end()
        yield* settle
        assert.deepStrictEqual(ended, ["work Success", "tcp.connection Success"])
        assert.strictEqual(span!.attributes.get("netstreams.close.reason"), "Peer")
        assert.strictEqual(span!.attributes.get("netstreams.bytes.received"), 5)
        assert.strictEqual(span!.attributes.get("netstreams.bytes.sent"), 5)
        two.transport.abort()
        yield* settle
        assert.strictEqual(ended.at(-1), "tcp.connection Failure")
        assert.strictEqual(spans[2]!.attributes.get("netstreams.close.reason"), "Reset")
        assert.strictEqual(spans[2]!.attributes.get("error.type"), "ECONNRESET")
      }).pipe(Effect.provide(layer), Effect.withSpan("the program"))
    }))

  it.scoped("there is none where tracing is off, or the program has no tracer of its own", () =>
    Effect.gen(function*() {
      const { layer, spans } = tracing()
      yield* Effect.gen(function*() {
        const { listener } = yield* serve(echo)
        client(listener)
        yield* settle
      }).pipe(Effect.withTracerEnabled(false), Effect.provide(layer))
      assert.deepStrictEqual(spans, [])
      const seen: Array<boolean> = []
      const { listener } = yield* serve(() =>
        Effect.map(Effect.option(Effect.currentSpan), (span) => seen.push(Option.isSome(span)))
      )
      client(listener)
      yield* settle
      assert.deepStrictEqual(seen, [false])
    }))

  describeTls("over TLS", () => {
    it.scopedLive("say what was settled", () =>
      Effect.gen(function*() {
        const { layer, spans } = tracing()
        yield* Effect.gen(function*() {
          const { accepted, port } = yield* listening()
          yield* dialling(port)
          yield* accepted
          const { attributes } = spans.find(({ name }) => name === "tcp.connection")!
          assert.strictEqual(attributes.get("tls.protocol.version"), "1.3")
          assert.match(String(attributes.get("tls.cipher")), /^TLS_/)
        }).pipe(Effect.provide(layer))
      }))
  })
})

/** A logger that keeps what it was given. */
const logged = () => {
  const lines: Array<{ readonly message: string; readonly annotations: Record<string, unknown> }> = []
  const logger = Logger.make(({ annotations, logLevel, message }) => {
    lines.push({
      message: `${logLevel.label} ${String(message)}`,
      annotations: Object.fromEntries(HashMap.toEntries(annotations))
    })
  })
  return { lines, layer: Logger.replace(Logger.defaultLogger, logger) }
}

describe("annotations", () => {
  it.scoped("each line of a handler, and that of its failure, says which connection and which peer", () =>
    Effect.gen(function*() {
      const { layer, lines } = logged()
      yield* Effect.gen(function*() {
        const { listener } = yield* serve(() => Effect.zipRight(Effect.log("hello"), Effect.fail("no good")), {
          annotateLogs: true,
          onError: ({ cause }) => Effect.log(`failed: ${Cause.squash(cause)}`)
        }).pipe(Effect.annotateLogs("service", "greeter"))
        const clients = [client(listener), client(listener)]
        yield* settle
        assert.deepStrictEqual(lines.map(({ message }) => message).sort(), [
          "INFO failed: no good",
          "INFO failed: no good",
          "INFO hello",
          "INFO hello"
        ])
        for (const { address } of clients) {
          const its = lines.filter(({ annotations }) => annotations["network.peer.address"] === address)
          assert.strictEqual(its.length, 2)
          assert.isNumber(its[0]!.annotations["connection.id"])
          assert.strictEqual(its[0]!.annotations["connection.id"], its[1]!.annotations["connection.id"])
          assert.strictEqual(its[0]!.annotations["service"], "greeter")
        }
        assert.strictEqual(new Set(lines.map(({ annotations }) => annotations["connection.id"])).size, 2)
      }).pipe(Effect.provide(layer))
    }))

  it.scoped("are made for those alone who ask for them", () =>
    Effect.gen(function*() {
      const { layer, lines } = logged()
      yield* Effect.gen(function*() {
        const { listener } = yield* serve(() => Effect.log("hello"))
        client(listener)
        yield* settle
        assert.deepStrictEqual(lines, [{ message: "INFO hello", annotations: {} }])
      }).pipe(Effect.provide(layer))
    }))
})

describe("the wire tap", () => {
  it.scoped("shows what a server receives and sends, as numbers and as text, and how it ended", () =>
    Effect.gen(function*() {
      const { layer, lines } = logged()
      yield* Effect.gen(function*() {
        const { listener } = yield* serve(echo, { wireTap: { maxBytes: 20, level: LogLevel.Warning } })
        const its = client(listener)
        its.send("hello\n")
        yield* settle
        its.send("x".repeat(30))
        yield* settle
        its.transport.end()
        yield* settle
        const hello = "00000000  68 65 6c 6c 6f 0a                                 |hello.|"
        const xs = (n: number) => `${"78 ".repeat(n).trim()}`
        const long = [
          `00000000  ${xs(8)}  ${xs(8)}  |${"x".repeat(16)}|`,
          `00000010  ${xs(4).padEnd(48)}  |xxxx|`,
          "… and 10 more"
        ]
        assert.deepStrictEqual(lines.map(({ message }) => message.split("\n")), [
          ["WARN received 6 bytes", hello],
          ["WARN sent 6 bytes", hello],
          ["WARN received 30 bytes", ...long],
          ["WARN sent 30 bytes", ...long],
          ["WARN received the end"],
          ["WARN sent the end"],
          ["WARN closed"]
        ])
        assert.isTrue(lines.every(({ annotations }) => annotations["network.peer.address"] === its.address))
      }).pipe(Effect.provide(layer))
    }))

  it.scopedLive("shows what a client receives and sends", () =>
    Effect.gen(function*() {
      const { layer, lines } = logged()
      yield* Effect.gen(function*() {
        const server = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0 }, echo)
        yield* Effect.scoped(Effect.gen(function*() {
          const { reader, writer } = yield* Network.openConnection({
            host: "127.0.0.1",
            port: portOf(server),
            wireTap: true
          })
          yield* writer.write("ping")
          yield* reader.readExactly(4)
        }))
        const text = lines.map(({ message }) => message).join("\n")
        assert.include(text, "INFO sent 4 bytes\n00000000  70 69 6e 67 ")
        assert.include(text, "INFO received 4 bytes\n00000000  70 69 6e 67 ")
        assert.include(text, "INFO sent the end")
      }).pipe(Effect.provide(layer), Effect.provide(NodeNetwork.layer))
    }))

  describeTls("where a connection goes over to TLS", () => {
    it.scopedLive("shows what was encrypted, not what it looks like on the wire", () =>
      Effect.gen(function*() {
        const { layer, lines } = logged()
        yield* Effect.gen(function*() {
          const server = yield* Network.startServer(
            { host: "127.0.0.1", gracePeriod: 0 },
            (connection) =>
              Effect.gen(function*() {
                yield* connection.reader.readLine
                return yield* echo(yield* connection.startTls({ role: "server", ...identity() }))
              })
          )
          yield* Effect.scoped(Effect.gen(function*() {
            const plain = yield* Network.openConnection({ host: "127.0.0.1", port: portOf(server), wireTap: true })
            yield* plain.writer.write("STARTTLS\n")
            const secure = yield* plain.startTls({ ...trust(), role: "client", serverName: "127.0.0.1" })
            yield* secure.writer.write("secret")
            assert.deepStrictEqual(yield* secure.reader.readExactly(6), utf8("secret"))
            yield* secure.abort
          }))
          assert.deepStrictEqual(
            lines.map(({ message }) => message.split("\n")[0]).slice(0, 4),
            ["INFO sent 9 bytes", "INFO starts TLS as client", "INFO sent 6 bytes", "INFO received 6 bytes"]
          )
          assert.isTrue(lines.slice(4).every(({ message }) => !message.includes("bytes")))
        }).pipe(Effect.provide(layer), Effect.provide(NodeNetwork.layer))
      }))
  })
})

describe("hexDump", () => {
  it("shows every byte once, sixteen to a line", () => {
    assert.strictEqual(hexDump(new Uint8Array(0)), "")
    const all = hexDump(Uint8Array.from({ length: 256 }, (_, i) => i)).split("\n")
    assert.strictEqual(all.length, 16)
    assert.strictEqual(all[4], "00000040  40 41 42 43 44 45 46 47  48 49 4a 4b 4c 4d 4e 4f  |@ABCDEFGHIJKLMNO|")
    assert.strictEqual(all[7], "00000070  70 71 72 73 74 75 76 77  78 79 7a 7b 7c 7d 7e 7f  |pqrstuvwxyz{|}~.|")
    assert.strictEqual(all[15], "000000f0  f0 f1 f2 f3 f4 f5 f6 f7  f8 f9 fa fb fc fd fe ff  |................|")
    for (let length = 1; length <= 40; length++) {
      const bytes = Uint8Array.from({ length }, (_, i) => 97 + i % 26)
      const lines = hexDump(bytes).split("\n")
      assert.strictEqual(lines.length, Math.ceil(length / 16))
      const text = lines.map((line) => line.slice(line.indexOf("|") + 1, -1)).join("")
      assert.strictEqual(text, String.fromCharCode(...bytes))
      const numbers = lines.flatMap((line) => line.slice(10, line.indexOf("|")).trim().split(/ +/))
      assert.deepStrictEqual(numbers.map((number) => parseInt(number, 16)), Array.from(bytes))
    }
  })
})
