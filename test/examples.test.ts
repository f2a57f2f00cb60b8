import { FileSystem } from "@effect/platform"
import { NodeContext, NodeStream } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Stream } from "effect"
import { Address, Network, NodeNetwork, StreamReader } from "effect-netstreams"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Catalog from "../examples/demo/Catalog.js"
import * as Client from "../examples/demo/Client.js"

const root = Path.resolve(import.meta.dirname, "..")

/** A process takes its time to start on a machine that is busy. */
const patience = 60_000

/**
 * Starts an example, and kills it at the end of the scope if it has not ended by then.
 *
 * It is what `npx tsx` starts, without the process that stands in front of it there: that one kills a program which does
 * not hear of a signal within 30 milliseconds.
 */
const start = (example: string, ...args: ReadonlyArray<string>) => startWith({}, example, ...args)

interface Given {
  readonly env?: Record<string, string>
  readonly input?: string
  readonly folder?: string
  /** Whether it has a process group of its own, as a terminal gives one to what it starts. */
  readonly group?: boolean
}

/** The same with what it finds in its environment and on its standard input, or out of another folder. */
const startWith = (
  given: Given,
  example: string,
  ...args: ReadonlyArray<string>
) =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, ["--import", "tsx", Path.join(given.folder ?? "examples", `${example}.ts`), ...args], {
          cwd: root,
          detached: given.group ?? false,
          env: { ...process.env, ...given.env },
          stdio: ["pipe", "pipe", "pipe"]
        })
      ),
      (child) =>
        Effect.promise(async () => {
          if (child.exitCode === null && child.signalCode === null) {
            const exited = once(child, "exit")
            child.kill("SIGKILL")
            await exited
          }
        })
    )
    child.stdin.on("error", () => {}).end(given.input ?? "")
    const closed = once(child, "close")
    let complaints = ""
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaints += text
    })
    const output = yield* StreamReader.fromStream(
      NodeStream.fromReadable(() => child.stdout, (cause) => new Error("stdout failed", { cause }))
    )
    const nextLine = Effect.map(output.readLine, (line) => new TextDecoder().decode(line))

    return {
      nextLine,
      /** Waits for a line of output that begins so, and returns what follows on it. */
      lineAfter: (beginning: string) =>
        Effect.gen(function*() {
          let seen = ""
          for (;;) {
            const line = yield* nextLine
            if (line === "") {
              return yield* Effect.fail(
                new Error(`${example} ended without ${JSON.stringify(beginning)}:\n${seen}${complaints}`)
              )
            }
            if (line.startsWith(beginning)) {
              return line.slice(beginning.length).trim()
            }
            seen += line
          }
        }),
      /** Everything else that it prints, to its end. */
      rest: Effect.map(output.readAll(), (bytes) => new TextDecoder().decode(bytes)),
      complaints: Effect.sync(() => complaints),
      /** How it ended: a code, or the name of a signal. */
      exit: Effect.promise(async () => {
        await closed
        return child.exitCode ?? child.signalCode
      }),
      interrupt: Effect.sync(() => child.kill("SIGINT")),
      hangUp: Effect.sync(() => child.kill("SIGHUP")),
      /** To its group: to it and to all that it has started. */
      signalAll: (signal: NodeJS.Signals) => Effect.sync(() => process.kill(-child.pid!, signal))
    }
  })

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0
if (!hasOpenssl) {
  console.warn("SKIPPED: the examples with TLS, for there is no openssl to make certificates")
}

/** A certificate for 127.0.0.1 that vouches for itself. */
const certificate = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const file = Path.join(folder, "cert.pem")
  const keyFile = Path.join(folder, "key.pem")
  spawnSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"],
    ...["-keyout", keyFile, "-out", file, "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
  ])
  const tls = { certificate: yield* fs.readFileString(file), key: yield* fs.readFileString(keyFile) }
  return { file, tls }
})

const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(":") + 1))

/** A port on which nobody listens. */
const freePort = Effect.promise(async () => {
  const server = Net.createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as Net.AddressInfo
  server.close()
  return port
})

/** A client of an echo server, that looks whether it is still served. */
const asking = (network: Network.Service, port: number) =>
  Effect.map(network.openConnection({ host: "127.0.0.1", port }), ({ reader, writer }) => ({
    once: Effect.gen(function*() {
      yield* writer.write("still there?\n")
      assert.strictEqual(new TextDecoder().decode(yield* reader.readLine), "still there?\n")
    }),
    /** In order, from both sides. */
    end: Effect.gen(function*() {
      yield* writer.writeEof
      assert.strictEqual((yield* reader.readAll()).length, 0)
    })
  }))

describe("examples", () => {
  it("are all tested here", () => {
    const examples = Fs.readdirSync(Path.join(root, "examples")).filter((name) => name.endsWith(".ts")).sort()
    assert.deepStrictEqual(examples, [
      "adopt-socket.ts",
      "cluster.ts",
      "demo.ts",
      "echo-client.ts",
      "echo-server.ts",
      "http-headers.ts",
      "json-rpc.ts",
      "mtls-echo.ts",
      "smtp-starttls.ts"
    ])
    for (const name of examples) {
      const text = Fs.readFileSync(Path.join(root, "examples", name), "utf8")
      assert.include(text, name === "demo.ts" ? "npm run demo" : `npx tsx examples/${name}`)
    }
  })

  it.scopedLive(
    "echo-client gets its message back from echo-server, which ends with Ctrl+C",
    () =>
      Effect.gen(function*() {
        const server = yield* start("echo-server", "0")
        const port = portOf(yield* server.lineAfter("Serving on "))

        const message = "a message of two lines\nand some ünïcödé"
        const client = yield* start("echo-client", message, `${port}`)
        assert.strictEqual(yield* client.lineAfter("Send: "), JSON.stringify(message))
        assert.strictEqual(yield* client.lineAfter("Received: "), JSON.stringify(message))
        assert.strictEqual(yield* client.exit, 0)
        assert.match(yield* server.nextLine, /^127\.0\.0\.1:\d+ is here\n$/)
        assert.match(yield* server.nextLine, /^127\.0\.0\.1:\d+ is done\n$/)

        // Someone who stays silent does not keep it, and sees an end in order.
        const idle = yield* Effect.acquireRelease(
          Effect.sync(() => Net.connect(port, "127.0.0.1").resume()),
          (socket) => Effect.sync(() => socket.destroy())
        )
        const idleEnded = once(idle, "end")
        assert.match(yield* server.nextLine, / is here\n$/)
        yield* server.interrupt
        yield* Effect.promise(() => idleEnded)
        assert.strictEqual(yield* server.exit, 0)
        assert.strictEqual(yield* server.complaints, "")
      }),
    patience
  )

  it.scopedLive.skipIf(process.platform === "win32")(
    "cluster replaces its processes one after another, and ends, and no client on the way is cut off (skipped on Windows)",
    () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const example = yield* startWith({ group: true }, "cluster", `${port}`, "2")
        yield* example.lineAfter("Ready")
        const network = yield* NodeNetwork.make
        const asks = yield* asking(network, port)
        yield* asks.once
        // All of its processes get the signals, as from a terminal.
        yield* example.signalAll("SIGHUP")
        // The process that serves this client waits for it; the other is replaced meanwhile, or after.
        yield* asks.once
        yield* asks.end
        yield* example.lineAfter("All are replaced")

        const after = yield* asking(network, port)
        yield* after.once
        yield* example.signalAll("SIGINT")
        yield* Effect.scoped(network.openConnection({ host: "127.0.0.1", port })).pipe(
          Effect.delay("10 millis"),
          Effect.forever,
          Effect.flip
        )
        yield* after.once
        yield* after.end
        assert.strictEqual(yield* example.exit, 0)
        assert.strictEqual(yield* example.complaints, "")
      }),
    patience
  )

  it.scopedLive.skipIf(process.platform === "win32")(
    "cluster goes on with the processes that it has when a new one does not start (skipped on Windows)",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* fs.makeTempDirectoryScoped()
        const file = Path.join(folder, "cluster.ts")
        const good = yield* fs.readFileString(Path.join(root, "examples", "cluster.ts"))
        yield* fs.writeFileString(file, good)
        yield* fs.symlink(Path.join(root, "node_modules"), Path.join(folder, "node_modules"))
        yield* fs.writeFileString(Path.join(folder, "package.json"), `{ "type": "module" }`)
        const port = yield* freePort
        const example = yield* startWith({ folder }, "cluster", `${port}`, "1")
        yield* example.lineAfter("Ready")
        const asks = yield* asking(yield* NodeNetwork.make, port)
        yield* asks.once

        // The new version is no good.
        yield* fs.writeFileString(file, "process.exit(3)")
        yield* example.hangUp
        yield* Effect.delay(example.complaints, "10 millis").pipe(
          Effect.repeat({ until: (text) => text.includes("Those that are left go on, for a process ended with 3") })
        )
        yield* asks.once
        yield* fs.writeFileString(file, good)
        yield* example.hangUp
        yield* asks.end
        yield* example.lineAfter("All are replaced")
        yield* example.interrupt
        assert.strictEqual(yield* example.exit, 0)
      }).pipe(Effect.provide(NodeContext.layer)),
    patience
  )

  it.scopedLive("echo-client says where nobody listens", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const client = yield* start("echo-client", "Hello?", `${port}`)
      const output = (yield* client.rest) + (yield* client.complaints)
      assert.include(output, `connect to 127.0.0.1:${port}: nobody listens there (ECONNREFUSED)`)
      assert.strictEqual(yield* client.exit, 1)
    }), patience)

  it.scopedLive("http-headers prints the headers, and nothing else", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.promise(async () => {
          const server = Http.createServer((request, response) => {
            response.setHeader("X-Request", `${request.method} ${request.url} ${request.headers.host}`)
            response.end("no header")
          }).listen(0, "127.0.0.1")
          await once(server, "listening")
          return server
        }),
        (server) => Effect.sync(() => (server.closeAllConnections(), server.close()))
      )
      const { port } = server.address() as Net.AddressInfo
      const example = yield* start("http-headers", `http://127.0.0.1:${port}/a/page.html?q=1`)
      assert.strictEqual(yield* example.nextLine, "HTTP/1.1 200 OK\n")
      const headers = yield* example.rest
      assert.include(headers, `X-Request: HEAD /a/page.html?q=1 127.0.0.1:${port}\n`)
      assert.notInclude(headers, "no header")
      assert.strictEqual(yield* example.exit, 0)
    }), patience)

  it.scopedLive.skipIf(!hasOpenssl)("mtls-echo knows its client by the certificate", () =>
    Effect.gen(function*() {
      const example = yield* start("mtls-echo")
      assert.strictEqual(yield* example.rest, "hello, alice\nwho am I?\n")
      assert.strictEqual(yield* example.exit, 0)
    }), patience)

  it.scopedLive.skipIf(!hasOpenssl)(
    "http-headers reads from https, where the certificate can be trusted",
    () =>
      Effect.gen(function*() {
        const { file, tls } = yield* certificate
        const server = yield* Network.startServer(
          { host: "127.0.0.1", tls },
          ({ reader, writer }) =>
            Effect.zipRight(
              reader.readUntil("\r\n\r\n"),
              writer.write("HTTP/1.1 204 No Content\r\nX-Over: TLS\r\n\r\n")
            )
        )
        const url = `https://127.0.0.1:${portOf(Address.format(server.addresses[0]))}/`

        const trusting = yield* startWith({ env: { NODE_EXTRA_CA_CERTS: file } }, "http-headers", url)
        assert.strictEqual(yield* trusting.rest, "HTTP/1.1 204 No Content\nX-Over: TLS\n")
        assert.strictEqual(yield* trusting.exit, 0)

        const careful = yield* start("http-headers", url)
        assert.include((yield* careful.rest) + (yield* careful.complaints), "the peer's certificate was not accepted")
        assert.strictEqual(yield* careful.exit, 1)
      }).pipe(Effect.provide(NodeNetwork.layer), Effect.provide(NodeContext.layer)),
    patience
  )

  it.scopedLive.skipIf(!hasOpenssl)(
    "smtp-starttls sends its mail over TLS, and dots its dots",
    () =>
      Effect.gen(function*() {
        const { file, tls } = yield* certificate
        const mail = yield* Deferred.make<ReadonlyArray<string>>()
        const server = yield* Network.startServer({ host: "127.0.0.1" }, (plain) =>
          Effect.gen(function*() {
            yield* plain.writer.write("220 test\r\n")
            yield* plain.reader.readUntil("\r\n")
            yield* plain.writer.write("250-test\r\n250 STARTTLS\r\n")
            yield* plain.reader.readUntil("\r\n")
            yield* plain.writer.write("220 go\r\n")
            const secure = yield* plain.startTls({ role: "server", ...tls })
            const lines: Array<string> = []
            let inData = false
            yield* secure.reader.forEachLine((line) => {
              lines.push(line)
              if (inData && line !== ".") {
                return
              }
              inData = line === "DATA"
              return secure.writer.write(inData ? "354 go on\r\n" : line === "QUIT" ? "221 bye\r\n" : "250 ok\r\n")
            })
            yield* Deferred.succeed(mail, lines)
          }))
        const port = portOf(Address.format(server.addresses[0]))
        const example = yield* startWith(
          { env: { SMTP_CA: file }, input: "Subject: dots\n\n.one\n..two" },
          ...["smtp-starttls", `127.0.0.1:${port}`, "a@example.org", "b@example.org"] as const
        )
        const conversation = yield* example.rest
        assert.include(conversation, "C: STARTTLS\nS: 220 go\n-- TLSv1.3\nC: EHLO localhost\n")
        assert.strictEqual(yield* example.exit, 0)
        assert.deepStrictEqual(yield* Deferred.await(mail), [
          "EHLO localhost",
          "MAIL FROM:<a@example.org>",
          "RCPT TO:<b@example.org>",
          "DATA",
          "Subject: dots",
          "",
          "..one",
          "...two",
          ".",
          "QUIT"
        ])
      }).pipe(Effect.provide(NodeNetwork.layer), Effect.provide(NodeContext.layer)),
    patience
  )

  it.scopedLive("json-rpc answers what it is asked, and says what it can't", () =>
    Effect.gen(function*() {
      const server = yield* start("json-rpc", "0")
      const port = portOf(yield* server.lineAfter("Serving on "))
      const { reader, writer } = yield* (yield* NodeNetwork.make).openConnection({ host: "127.0.0.1", port })
      yield* writer.writeAll([
        `{"jsonrpc":"2.0","id":1,"method":"sum","params":[1,2,3]}\n`,
        `{"jsonrpc":"2.0","id":"b","method":"toString"}\r\n`,
        `{"id":3}\n`,
        `{"jsonrpc":"2.0","id":4,"method":"product"}\n`
      ])
      yield* writer.writeEof
      const [sum, none, bad, product, ...others] = Array.from(yield* Stream.runCollect(reader.lines()))
      assert.strictEqual(sum, `{"jsonrpc":"2.0","id":1,"result":6}`)
      assert.strictEqual(
        none,
        `{"jsonrpc":"2.0","id":"b","error":{"code":-32601,"message":"no such method: toString"}}`
      )
      assert.match(bad!, /^\{"jsonrpc":"2\.0","id":null,"error":\{"code":-32600,"message":".*jsonrpc.*is missing/)
      assert.strictEqual(product, `{"jsonrpc":"2.0","id":4,"result":1}`)
      assert.deepStrictEqual(others, [])
      yield* server.interrupt
      assert.strictEqual(yield* server.exit, 0)
    }), patience)

  it.scopedLive("http-headers wants a web URL", () =>
    Effect.gen(function*() {
      const example = yield* start("http-headers", "gopher://localhost/")
      assert.include((yield* example.rest) + (yield* example.complaints), "got \"gopher://localhost/\"")
      assert.strictEqual(yield* example.exit, 1)
    }), patience)

  it.scopedLive("adopt-socket waits for data on a socket that exists already", () =>
    Effect.gen(function*() {
      const example = yield* start("adopt-socket")
      assert.strictEqual(yield* example.lineAfter("Received: "), "abc")
      assert.strictEqual(yield* example.exit, 0)
    }), patience)
})

describe("demo", () => {
  it.scopedLive("fetches every file over both transports, and says so", () =>
    Effect.gen(function*() {
      const demo = yield* start("demo")
      const socket = (yield* demo.lineAfter("Serving ")).split(" and unix:")[1]!
      const output = yield* demo.rest
      for (const transport of ["TCP", "Unix socket"]) {
        const [, verified, files] = new RegExp(`^${transport} .* (\\d+) of (\\d+)$`, "m").exec(output) ?? []
        assert.isAbove(Number(files), 100, output)
        assert.strictEqual(verified, files)
      }
      assert.match(output, /^Refused, as they must be: \d+ requests/m)
      assert.strictEqual(yield* demo.exit, 0)
      assert.strictEqual(yield* demo.complaints, "")
      assert.isFalse(Fs.existsSync(Path.dirname(socket)))
    }), patience)

  /** A client of a server that answers every request with `response`. */
  const clientOf = (response: string) =>
    Effect.gen(function*() {
      const server = yield* Network.startServer({ host: "127.0.0.1" }, ({ reader, writer }) =>
        reader.lines().pipe(Stream.map(() => response), Stream.run(writer.sink)))
      const [address] = server.addresses
      assert(Address.isTcpAddress(address))
      return Client.make(yield* Network.openConnection({ host: address.host, port: address.port }))
    })

  const ignore = () => Effect.void

  it.scopedLive("does not take for a file what has another digest", () =>
    Effect.gen(function*() {
      const client = yield* clientOf(`OK 5 ${"0".repeat(64)}\nhello`)
      const error = yield* Effect.flip(client.get("README.md", ignore))
      assert.strictEqual(error._tag, "Mismatch")
      assert.include(error.message, "README.md arrived with the SHA-256 2cf24dba5fb0a30e26e83b2ac5b9e29e")
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("tells a refusal from nonsense", () =>
    Effect.gen(function*() {
      const refused = yield* Effect.flip((yield* clientOf("ERR no such file\n")).ask("GET x"))
      assert.strictEqual(refused.message, "GET x: the server refused: no such file")
      for (const response of ["HTTP/1.1 400\n", "OK many\n"]) {
        const nonsense = yield* Effect.flip((yield* clientOf(response)).list)
        assert.strictEqual(nonsense._tag, "ProtocolError")
      }
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("serves nothing from outside of its directory", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped()
      const inside = Path.join(directory, "inside")
      yield* fs.makeDirectory(Path.join(inside, "below"), { recursive: true })
      yield* fs.writeFileString(Path.join(directory, "secret"), "secret")
      yield* fs.writeFileString(Path.join(inside, "below", "file"), "file")
      yield* fs.symlink(Path.join(directory, "secret"), Path.join(inside, "below", "link"))
      yield* fs.symlink(Path.join(directory, "nowhere"), Path.join(inside, "below", "dangling"))

      const catalog = yield* Catalog.load(inside, ["below", "missing", "../secret"])
      assert.deepStrictEqual(Array.from(catalog.keys()), ["below/file"])
    }).pipe(Effect.provide(NodeContext.layer)))
})
