/** Our streams against programs that people run: socat over TCP and Unix sockets, nginx with HTTP/1.1. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { vi } from "vitest"
import type * as Connection from "../src/Connection.js"
import * as Network from "../src/Network.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import { available } from "./support/certificates.js"
import { Random } from "./support/chunkings.js"
import { directory } from "./support/directory.js"
import { leavesNoHandles } from "./support/handles.js"
import { program, serverProgram } from "./support/programs.js"
import { closeTag, portOf } from "./support/rawPeer.js"
import { text } from "./support/tlsPeers.js"

leavesNoHandles()

// Other people's programs take their time to start.
vi.setConfig({ testTimeout: 60_000 })

const random = new Random(1603)
/** Every byte there is, and more of them than any buffer between the two holds. */
const payload = Uint8Array.from({ length: 3_000_000 }, () => random.between(0, 255))

const same = (actual: Uint8Array) => assert.isTrue(Buffer.compare(actual, payload) === 0, `${actual.length} bytes`)

const echo = ({ reader, writer }: Connection.Connection) => Stream.run(reader.bytes, writer.sink)

/** How long socat waits for the one side when the other has ended. */
const patient = ["-t", "60"]

describe.skipIf(!available("socat", "-V"))("socat (skipped where there is none)", () => {
  /** Sends it all, ends, and gets it back. */
  const echoed = (connection: Connection.Connection) =>
    Effect.gen(function*() {
      const { reader, writer } = connection
      const [answer] = yield* Effect.all([
        reader.readAll({ maxBytes: payload.length }),
        Effect.zipRight(writer.write(payload), writer.writeEof)
      ], { concurrency: 2 })
      same(answer)
      yield* connection.close
      assert.strictEqual(yield* closeTag(connection), "Peer")
    })

  /** Says nothing before it has seen the end. */
  const holdingBack = "SYSTEM:cat > held; cat held"

  it.scopedLive("echoes what we send, having seen our end, over TCP", () =>
    Effect.gen(function*() {
      const cwd = yield* directory
      const { port } = yield* serverProgram(
        "socat",
        (port) => ["-d", "-d", ...patient, `TCP-LISTEN:${port},bind=127.0.0.1`, holdingBack],
        /listening on/,
        { cwd }
      )
      yield* echoed(yield* Network.openConnection({ host: "127.0.0.1", port }))
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("echoes what we send, having seen our end, over a Unix socket", () =>
    Effect.gen(function*() {
      const cwd = yield* directory
      const server = yield* program(
        "socat",
        ["-d", "-d", ...patient, `UNIX-LISTEN:${cwd}/s`, holdingBack],
        { cwd }
      )
      yield* server.says(/listening on/)
      yield* echoed(yield* Network.openUnixConnection(`${cwd}/s`))
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("hears from our servers what it has sent, after its end, over TCP and over a Unix socket", () =>
    Effect.gen(function*() {
      const path = `${yield* directory}/s`
      const server = yield* Network.startServer({ host: "127.0.0.1" }, echo)
      yield* Network.startUnixServer(path, {}, echo)
      for (const address of [`TCP:127.0.0.1:${portOf(server)}`, `UNIX-CONNECT:${path}`]) {
        const client = yield* program("socat", [...patient, "-", address])
        client.child.stdin.end(payload)
        same(Buffer.from(yield* client.succeeds, "latin1"))
      }
    }).pipe(Effect.provide(NodeNetwork.layer)))
})

/** Its answer: the first line, the headers by their names in small letters, and the body. */
const answerOf = ({ reader }: Connection.Connection) =>
  Effect.gen(function*() {
    const status = text(yield* reader.readLine)
    const headers = new Map<string, string>()
    while (true) {
      const line = text(yield* reader.readLine)
      if (line === "\r\n") {
        break
      }
      const [, name, value] = /^([^:]+): *(.*)\r\n$/.exec(line)!
      headers.set(name!.toLowerCase(), value!)
    }
    const body = yield* reader.readExactly(Number(headers.get("content-length")))
    return { status, headers, body }
  })

describe.skipIf(!available("nginx", "-v"))("nginx (skipped where there is none)", () => {
  const nginx = Effect.gen(function*() {
    const path = yield* directory
    const { stderr: built } = spawnSync("nginx", ["-V"], { encoding: "utf8" })
    // Where it keeps what it can't hold; it knows only the kinds that it was built with.
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].filter((kind) =>
      !built.includes(`--without-http_${kind}_module`)
    )
    Fs.writeFileSync(`${path}/large`, payload.subarray(0, 500_000))
    Fs.writeFileSync(`${path}/small`, "a page\n")
    const { port } = yield* serverProgram(
      "nginx",
      (port) => {
        Fs.writeFileSync(
          `${path}/nginx.conf`,
          [
            "daemon off;",
            "master_process off;",
            `pid ${path}/pid;`,
            "error_log stderr notice;",
            "events {}",
            "http {",
            "access_log off;",
            ...temporary.map((kind) => `${kind}_temp_path ${path}/${kind};`),
            `server { listen 127.0.0.1:${port}; root ${path}; }`,
            "}",
            ""
          ].join("\n")
        )
        return ["-p", path, "-c", `${path}/nginx.conf`]
      },
      /using the "\w+" event method/
    )
    return port
  })

  it.scopedLive("gives pages by HTTP/1.1, one request after another on one connection, and ends it when asked to", () =>
    Effect.gen(function*() {
      const port = yield* nginx
      const connection = yield* Network.openConnection({ host: "127.0.0.1", port })
      const get = (path: string, how: "keep-alive" | "close") =>
        Effect.zipRight(
          connection.writer.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: ${how}\r\n\r\n`),
          answerOf(connection)
        )
      const large = yield* get("/large", "keep-alive")
      assert.strictEqual(large.status, "HTTP/1.1 200 OK\r\n")
      assert.strictEqual(large.headers.get("connection"), "keep-alive")
      assert.isTrue(Buffer.compare(large.body, payload.subarray(0, 500_000)) === 0, `${large.body.length} bytes`)
      const missing = yield* get("/missing", "keep-alive")
      assert.strictEqual(missing.status, "HTTP/1.1 404 Not Found\r\n")
      assert.strictEqual(missing.headers.get("connection"), "keep-alive")
      const small = yield* get("/small", "close")
      assert.strictEqual(small.status, "HTTP/1.1 200 OK\r\n")
      assert.strictEqual(small.headers.get("connection"), "close")
      assert.strictEqual(text(small.body), "a page\n")
      assert.strictEqual((yield* connection.reader.readAll()).length, 0)
      yield* connection.close
      assert.strictEqual(yield* closeTag(connection), "Peer")
    }).pipe(Effect.provide(NodeNetwork.layer)))
})
