import { FileSystem } from "@effect/platform"
import { NodeContext, NodeStream } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { Address, Network, NodeNetwork, StreamReader } from "effect-netstreams"
import { spawn } from "node:child_process"
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
const start = (example: string, ...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, ["--import", "tsx", `examples/${example}.ts`, ...args], {
          cwd: root,
          stdio: ["ignore", "pipe", "pipe"]
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
      interrupt: Effect.sync(() => child.kill("SIGINT"))
    }
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

describe("examples", () => {
  it("are all tested here", () => {
    const examples = Fs.readdirSync(Path.join(root, "examples")).filter((name) => name.endsWith(".ts")).sort()
    assert.deepStrictEqual(examples, [
      "adopt-socket.ts",
      "demo.ts",
      "echo-client.ts",
      "echo-server.ts",
      "http-headers.ts"
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

  it.scopedLive("http-headers wants an http URL", () =>
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
