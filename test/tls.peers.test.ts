/** Our TLS against that of OpenSSL, curl and Python, in both roles. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { vi } from "vitest"
import type * as Connection from "../src/Connection.js"
import * as Network from "../src/Network.js"
import type { ConnectError, TlsError } from "../src/NetworkError.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import type * as Tls from "../src/Tls.js"
import { available, certificates, describeTls, temporaryFile } from "./support/certificates.js"
import { leavesNoHandles } from "./support/handles.js"
import { program } from "./support/programs.js"
import { closeTag, portOf, until } from "./support/rawPeer.js"
import {
  collecting,
  dialling,
  identity,
  listening,
  only,
  outcome,
  reason,
  text,
  trust,
  versions
} from "./support/tlsPeers.js"

leavesNoHandles()

// Other people's programs take their time to start.
vi.setConfig({ testTimeout: 30_000 })

const hasCurl = available("curl")
const hasPython = available(
  "python3",
  "-c",
  "import asyncio, ssl, sys; sys.exit(not hasattr(asyncio.StreamWriter, 'start_tls'))"
)

const flag = { "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3" }

const echo = ({ reader, writer }: Connection.Connection) => Stream.run(reader.byteLines(), writer.sink)

const sClient = (port: number, ...parameters: ReadonlyArray<string>) =>
  program("openssl", [
    ...["s_client", "-connect", `127.0.0.1:${port}`, "-CAfile", certificates.ca.certificateFile],
    ...["-verify_return_error", ...parameters]
  ])

const asServer = (): Tls.ServerUpgrade => ({ role: "server", ...identity() })

/** What a connection fails with, which is not to succeed. */
const refusal = <R>(connecting: Effect.Effect<unknown, ConnectError | TlsError, R>) =>
  Effect.flip(Effect.asVoid(connecting))

/** Gives its port as well. */
const sServer = (...parameters: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { certificateFile, keyFile } = certificates.server
    const server = yield* program("openssl", [
      ...["s_server", "-accept", "127.0.0.1:0", "-cert", certificateFile, "-key", keyFile, ...parameters]
    ])
    const [, port] = yield* server.says(/ACCEPT 127\.0\.0\.1:(\d+)/)
    return { server, port: Number(port) }
  })

describeTls("openssl s_client", () => {
  it.scopedLive.each(versions)("talks to our server, and ends in order: %s", (version) =>
    Effect.gen(function*() {
      const { accepted, port, reports } = yield* listening({ alpnProtocols: ["echo"] })
      const client = yield* sClient(port, flag[version], "-brief", "-servername", "localhost", "-alpn", "echo")
      const connection = yield* accepted
      client.child.stdin.write("hello\n")
      assert.strictEqual(text(yield* connection.reader.readLine), "hello\n")
      yield* connection.writer.write("hello yourself\n")
      yield* client.says(/hello yourself/)
      assert.include(client.output, `Protocol version: ${version}`)
      assert.include(client.output, "Verification: OK")
      const session = Option.getOrThrow(connection.tls)
      assert.strictEqual(session.protocol, version)
      assert.deepStrictEqual(session.serverName, Option.some("localhost"))
      assert.deepStrictEqual(session.alpnProtocol, Option.some("echo"))
      client.child.stdin.end()
      assert.strictEqual((yield* connection.reader.readAll()).length, 0)
      assert.isTrue(yield* connection.reader.atEof)
      yield* connection.close
      assert.strictEqual(yield* closeTag(connection), "Peer")
      yield* client.succeeds
      assert.strictEqual(reports.length, 0)
    }))

  it.scopedLive.each(versions)("that is killed has truncated the stream: %s", (version) =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening()
      const client = yield* sClient(port, flag[version], "-quiet")
      const connection = yield* accepted
      client.child.stdin.write("half of it")
      yield* connection.reader.peek(10)
      client.child.kill("SIGKILL")
      assert.match(yield* reason(connection.reader.readAll()), /ConnectionError (Truncated|Reset)/)
      assert.strictEqual(text(yield* connection.reader.read(100)), "half of it")
    }))

  it.scopedLive("gets the certificate of the name that it asks for", () =>
    Effect.gen(function*() {
      const { port } = yield* listening(
        { contexts: { "*.example.org": certificates.wildcard, "one.example.org": certificates.named } },
        {},
        echo
      )
      for (
        const [name, subject] of [["one.example.org", "named"], ["b.example.org", "wildcard"], ["x.y", "localhost"]]
      ) {
        const client = yield* sClient(port, "-servername", name!)
        client.child.stdin.end()
        yield* client.says(new RegExp(`subject=CN ?= ?${subject}\\n`))
      }
    }))

  it.scopedLive.each(versions)("shows its certificate, or is refused: %s", (version) =>
    Effect.gen(function*() {
      const { accepted, port, reports } = yield* listening({
        ca: certificates.ca.certificate,
        requestCertificate: true
      })
      const { certificateFile, keyFile } = certificates.client
      yield* sClient(port, flag[version], "-quiet", "-cert", certificateFile, "-key", keyFile)
      const { peerCertificate } = Option.getOrThrow((yield* accepted).tls)
      assert.strictEqual(Option.getOrThrow(peerCertificate).subject["CN"], "a client")
      const refused = yield* sClient(port, flag[version], "-quiet")
      yield* refused.says(version === "TLSv1.3" ? /certificate required/ : /handshake failure/)
      yield* until(() => reports.length === 1)
    }))

  it.scopedLive.each(versions)("goes over with STARTTLS: %s", (version) =>
    Effect.gen(function*() {
      const { accepted, stayingHandler } = collecting()
      const server = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0 }, stayingHandler)
      const client = yield* sClient(portOf(server), flag[version], "-quiet", "-starttls", "smtp")
      const plain = yield* accepted
      yield* plain.writer.write("220 mail.example.org ESMTP\r\n")
      assert.match(text(yield* plain.reader.readLine), /^EHLO/)
      yield* plain.writer.write("250-mail.example.org\r\n250 STARTTLS\r\n")
      assert.strictEqual(text(yield* plain.reader.readLine), "STARTTLS\r\n")
      yield* plain.writer.write("220 go ahead\r\n")
      const secure = yield* plain.startTls(asServer())
      client.child.stdin.write("EHLO again\r\n")
      assert.strictEqual(text(yield* secure.reader.readLine), "EHLO again\r\n")
      yield* secure.writer.write("250 welcome\r\n")
      yield* client.says(/250 welcome/)
      assert.strictEqual(Option.getOrThrow(secure.tls).protocol, version)
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive("may change its keys, and ask us to", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening({}, {})
      const client = yield* sClient(port, "-tls1_3")
      const connection = yield* accepted
      yield* client.says(/Verify return code: 0/)
      // A command is the whole of what the program reads at once.
      let times = 0
      for (const command of ["k", "K", "K", "k"]) {
        client.child.stdin.write(`${command}\n`)
        yield* client.says(/KEYUPDATE/, ++times)
        client.child.stdin.write("after it\n")
        assert.strictEqual(text(yield* connection.reader.readLine), "after it\n")
        yield* connection.writer.write(`answer ${times}\n`)
        yield* client.says(new RegExp(`answer ${times}`))
      }
      // At the very moment of an end as well.
      client.child.stdin.write("K\n")
      yield* connection.writer.writeEof
      client.child.stdin.end()
      assert.strictEqual((yield* connection.reader.readAll()).length, 0)
      yield* connection.close
    }))

  it.scopedLive("may negotiate anew where the version has that", () =>
    Effect.gen(function*() {
      const { accepted, port } = yield* listening()
      const client = yield* sClient(port, "-tls1_2")
      const connection = yield* accepted
      yield* client.says(/Verify return code: 0/)
      client.child.stdin.write("R\n")
      yield* client.says(/RENEGOTIATING/)
      client.child.stdin.write("after it\n")
      assert.strictEqual(text(yield* connection.reader.readLine), "after it\n")
      yield* connection.writer.write("answer\n")
      yield* client.says(/answer/)
      // Over and over it is an attack.
      const read = yield* Effect.fork(outcome(connection.reader.readLine))
      for (let times = 2; times <= 4; times++) {
        client.child.stdin.write("R\n")
        yield* client.says(/RENEGOTIATING/, times)
      }
      assert.match(yield* Fiber.join(read), /ConnectionError/)
    }))

  it.scopedLive.each(versions)("resumes a session: %s", (version) =>
    Effect.gen(function*() {
      const { port } = yield* listening({}, {}, echo)
      const file = temporaryFile(`session-${version}`)
      for (const [option, expected] of [["-sess_out", /New, TLS/], ["-sess_in", /Reused, TLS/]] as const) {
        const client = yield* sClient(port, flag[version], option, file)
        client.child.stdin.write("hello\n")
        yield* client.says(/^hello$/m)
        client.child.stdin.end()
        yield* client.says(expected)
        yield* client.succeeds
      }
    }))
})

describeTls("openssl s_server", () => {
  it.scopedLive.each(versions)("answers our client: %s", (version) =>
    Effect.gen(function*() {
      const { port } = yield* sServer(flag[version], "-rev", "-alpn", "echo")
      const client = yield* dialling(port, { serverName: "localhost", alpnProtocols: ["echo"] })
      yield* client.writer.write("hello\n")
      assert.strictEqual(text(yield* client.reader.readLine), "olleh\n")
      const session = Option.getOrThrow(client.tls)
      assert.strictEqual(session.protocol, version)
      assert.deepStrictEqual(session.alpnProtocol, Option.some("echo"))
      yield* client.close
      assert.strictEqual(yield* closeTag(client), "Local")
    }))

  it.scopedLive.each(versions)("serves us a page, to its end: %s", (version) =>
    Effect.gen(function*() {
      const { port } = yield* sServer(flag[version], "-www")
      const client = yield* dialling(port)
      yield* client.writer.write("GET / HTTP/1.0\r\n\r\n")
      const page = text(yield* client.reader.readAll())
      assert.match(page, /^HTTP\/1\.0 200 ok/i)
      assert.include(page, version)
    }))

  it.scopedLive.each(versions)("asks us for a certificate: %s", (version) =>
    Effect.gen(function*() {
      const { port } = yield* sServer(
        ...[flag[version], "-rev", "-Verify", "2", "-verify_return_error", "-CAfile", certificates.ca.certificateFile]
      )
      const refused = yield* Effect.exit(
        Effect.flatMap(dialling(port), ({ reader }) => reader.readLine)
      )
      assert.isTrue(refused._tag === "Failure")
      const { certificate, key } = certificates.client
      const client = yield* dialling(port, { certificate, key })
      yield* client.writer.write("hello\n")
      assert.strictEqual(text(yield* client.reader.readLine), "olleh\n")
    }))

  it.scopedLive("without a version or a cipher in common is a handshake that failed, and says why", () =>
    Effect.gen(function*() {
      const { port } = yield* sServer("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305")
      const version = yield* refusal(dialling(port, only("TLSv1.3")))
      assert.strictEqual(version.reason, "HandshakeFailed")
      assert.include(version.message, "minVersion")
      const { port: strict } = yield* sServer("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
      const cipher = yield* refusal(dialling(strict))
      assert.strictEqual(cipher.reason, "HandshakeFailed")
      assert.include(cipher.message, "ciphers")
    }))
})

describeTls("curl", () => {
  it.scopedLive.skipIf(!hasCurl)("is served", () =>
    Effect.gen(function*() {
      const body = "x".repeat(1_000_000)
      const { port } = yield* listening({}, {}, ({ reader, writer }) =>
        Effect.gen(function*() {
          yield* reader.readUntil("\r\n\r\n")
          yield* writer.writeAll([`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n`, body])
        }))
      for (const version of ["1.2", "1.3"]) {
        const curl = yield* program("curl", [
          ...["--silent", "--show-error", "--max-time", "25", "--noproxy", "*", "--tls-max", version],
          ...["--cacert", certificates.ca.certificateFile, `https://localhost:${port}/`]
        ])
        assert.strictEqual((yield* curl.succeeds).length, body.length)
      }
    }))
})

/** What the scripts below have in common. */
const prelude = `
import asyncio, socket, ssl, sys
port, ca, cert, key = int(sys.argv[1]), *sys.argv[2:5]
def client(version=None):
    context = ssl.create_default_context(cafile=ca)
    if version:
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    return context
def server():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context
`

const python = (port: number, script: string) => {
  const { certificateFile, keyFile } = certificates.server
  return program("python3", [
    "-c",
    prelude + script,
    `${port}`,
    certificates.ca.certificateFile,
    certificateFile,
    keyFile
  ])
}

describeTls("Python", () => {
  it.scopedLive.skipIf(!hasPython)("its ssl talks to our server, and both say good-bye", () =>
    Effect.gen(function*() {
      const { accepted, port, reports } = yield* listening()
      const peer = yield* python(
        port,
        `
for version in ("TLSv1_2", "TLSv1_3"):
    with socket.create_connection(("127.0.0.1", port)) as raw:
        tls = client(version).wrap_socket(raw, server_hostname="localhost")
        tls.sendall(b"hello\\n" + b"x" * 1000000)
        assert tls.recv(100) == b"thanks\\n"
        tls.unwrap()
print("done")
`
      )
      for (const version of versions) {
        const connection = yield* accepted
        assert.strictEqual(text(yield* connection.reader.readLine), "hello\n")
        assert.strictEqual((yield* connection.reader.readExactly(1_000_000)).length, 1_000_000)
        yield* connection.writer.write("thanks\n")
        assert.strictEqual((yield* connection.reader.readAll()).length, 0)
        assert.strictEqual(Option.getOrThrow(connection.tls).protocol, version)
        yield* connection.close
        assert.strictEqual(yield* closeTag(connection), "Peer")
      }
      assert.strictEqual(yield* peer.succeeds, "done\n")
      assert.strictEqual(reports.length, 0)
    }))

  it.scopedLive.skipIf(!hasPython)("its asyncio opens a connection, and goes over later", () =>
    Effect.gen(function*() {
      const { accepted, stayingHandler } = collecting()
      const server = yield* Network.startServer({ host: "127.0.0.1", gracePeriod: 0 }, stayingHandler)
      const peer = yield* python(
        portOf(server),
        `
async def main():
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"STARTTLS\\n")
    assert await reader.readline() == b"go\\n"
    await writer.start_tls(client(), server_hostname="localhost")
    writer.write(b"secret\\n" + b"x" * 1000000)
    writer.write(b"\\n")
    assert await reader.readline() == b"secret\\n"
    writer.close()
    await writer.wait_closed()
    print("done")
asyncio.run(main())
`
      )
      const plain = yield* accepted
      assert.strictEqual(text(yield* plain.reader.readLine), "STARTTLS\n")
      yield* plain.writer.write("go\n")
      const { close, reader, writer } = yield* plain.startTls(asServer())
      assert.strictEqual(text(yield* reader.readLine), "secret\n")
      assert.strictEqual((yield* reader.readExactly(1_000_001)).length, 1_000_001)
      yield* writer.write("secret\n")
      assert.strictEqual((yield* reader.readAll()).length, 0)
      yield* close
      assert.strictEqual(yield* peer.succeeds, "done\n")
    }).pipe(Effect.provide(NodeNetwork.layer)))

  it.scopedLive.skipIf(!hasPython)("its asyncio serves us, from the start or later", () =>
    Effect.gen(function*() {
      const peer = yield* python(
        0,
        `
async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
async def later(reader, writer):
    assert await reader.readline() == b"STARTTLS\\n"
    writer.write(b"go\\n")
    await writer.start_tls(server())
    await echo(reader, writer)
async def main():
    a = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server(), limit=2000000)
    b = await asyncio.start_server(later, "127.0.0.1", 0, limit=2000000)
    print(a.sockets[0].getsockname()[1], b.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
`
      )
      const [, first, later] = yield* peer.says(/(\d+) (\d+)/)
      const line = `${"x".repeat(1_000_000)}\n`
      const direct = yield* dialling(Number(first), {}, { limit: line.length })
      const plain = yield* Network.openConnection({ host: "127.0.0.1", port: Number(later), limit: line.length })
      yield* plain.writer.write("STARTTLS\n")
      assert.strictEqual(text(yield* plain.reader.readLine), "go\n")
      const upgraded = yield* plain.startTls({ role: "client", ...trust(), serverName: "localhost" })
      for (const { close, reader, writer } of [direct, upgraded]) {
        yield* writer.write(line)
        assert.strictEqual(text(yield* reader.readLine), line)
        yield* writer.writeEof
        assert.strictEqual((yield* reader.readAll()).length, 0)
        yield* close
      }
      assert.strictEqual(peer.stderr, "")
    }).pipe(Effect.provide(NodeNetwork.layer)))
})
