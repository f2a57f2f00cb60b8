/** Servers that people run, and that go over to TLS: Dovecot with STARTTLS, PostgreSQL with its SSLRequest. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { describe, vi } from "vitest"
import type { Connection } from "../src/Connection.js"
import * as Network from "../src/Network.js"
import * as NodeNetwork from "../src/NodeNetwork.js"
import type * as Tls from "../src/Tls.js"
import { available, certificates, hasOpenssl } from "./support/certificates.js"
import { leavesNoHandles } from "./support/handles.js"
import { temporaryDirectory } from "./support/nodePeers.js"
import { program, serverProgram } from "./support/programs.js"
import { closeTag } from "./support/rawPeer.js"
import { only, reason, text, trust, versions } from "./support/tlsPeers.js"

leavesNoHandles()

// They take their time to start, and PostgreSQL to make its files.
vi.setConfig({ testTimeout: 120_000 })

/** Neither lets root in. */
const nobody = 65_534
const isRoot = process.getuid?.() === 0
const owner = isRoot ? nobody : process.getuid?.() ?? 0

/** A directory that belongs to whom the server runs as. */
const directory = Effect.acquireRelease(
  Effect.sync(() => {
    const path = temporaryDirectory()
    Fs.chownSync(path, owner, isRoot ? nobody : process.getgid?.() ?? 0)
    Fs.chmodSync(path, 0o700)
    return path
  }),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
)

/** The server's certificate and key where it may read them. */
const identityIn = (path: string) => {
  const write = (name: string, content: string) => {
    const file = Path.join(path, name)
    Fs.writeFileSync(file, content, { mode: 0o600 })
    Fs.chownSync(file, owner, isRoot ? nobody : process.getgid?.() ?? 0)
    return file
  }
  return {
    certificateFile: write("certificate.pem", certificates.server.certificate),
    keyFile: write("key.pem", certificates.server.key),
    caFile: write("ca.pem", certificates.ca.certificate)
  }
}

const asClient = (options: Tls.ClientOptions = {}): Tls.ClientUpgrade => ({
  role: "client",
  ...trust(),
  ...options,
  serverName: options.serverName ?? "localhost"
})

/** Connects, and closes with the test. */
const connecting = (port: number, tls?: Tls.ClientOptions) =>
  Network.openConnection({
    host: "127.0.0.1",
    port,
    limit: 4 * 1024 * 1024,
    ...(tls === undefined ? {} : { tls: { ...trust(), ...tls } })
  }).pipe(Effect.provide(NodeNetwork.layer))

// -----------------------------------------------------------------------------
// Dovecot
// -----------------------------------------------------------------------------

const hasDovecot = hasOpenssl && available("dovecot")

/** Why there are no tests with it, if there are none. */
const dovecotProblem = (): string | undefined => {
  if (!hasDovecot) {
    return "it is not installed here, or openssl is not"
  }
  const version = spawnSync("dovecot", ["--version"], { encoding: "utf8" }).stdout.trim()
  if (!version.startsWith("2.3.")) {
    return `this is ${version}, and the configuration below is that of 2.3`
  }
  return isRoot ? undefined : "only root can start it as Debian has set it up"
}
const withoutDovecot = dovecotProblem()
if (withoutDovecot !== undefined) {
  console.warn(`SKIPPED: tests with dovecot: ${withoutDovecot}`)
}

const dovecot = Effect.gen(function*() {
  const path = yield* directory
  // Its processes run under several names, and all look for its sockets.
  Fs.chmodSync(path, 0o755)
  const { certificateFile, keyFile } = identityIn(path)
  const configuration = Path.join(path, "dovecot.conf")
  const socket = Path.join(path, "run/imap.sock")
  const { port, server } = yield* serverProgram(
    "dovecot",
    (port) => {
      Fs.writeFileSync(
        configuration,
        [
          `base_dir = ${path}/run`,
          "log_path = /dev/stderr",
          "protocols = imap",
          "listen = 127.0.0.1",
          "ssl = required",
          `ssl_cert = <${certificateFile}`,
          `ssl_key = <${keyFile}`,
          "ssl_min_protocol = TLSv1.2",
          "first_valid_uid = 1",
          "passdb {",
          "driver = static",
          "args = password=secret",
          "}",
          "userdb {",
          "driver = static",
          `args = uid=${owner} gid=${owner} home=${path}/home`,
          "}",
          `mail_location = maildir:${path}/mail`,
          "service imap-login {",
          "inet_listener imap {",
          `port = ${port}`,
          "}",
          "inet_listener imaps {",
          "port = 0",
          "}",
          "unix_listener imap.sock {",
          "mode = 0666",
          "}",
          "}",
          ""
        ].join("\n")
      )
      return ["-F", "-c", configuration]
    },
    /starting up/,
    { stopWith: "SIGTERM" }
  )
  return { port, server, socket }
})

/** Sends a command, and gives the lines of the answer. */
const command = ({ reader, writer }: Connection, tag: string, words: string) =>
  Effect.gen(function*() {
    yield* writer.write(`${tag} ${words}\r\n`)
    const lines: Array<string> = []
    while (true) {
      const line = text(yield* reader.readLine)
      lines.push(line)
      if (line.startsWith(`${tag} `) || line === "") {
        assert.match(line, new RegExp(`^${tag} OK`), words)
        return lines.join("")
      }
    }
  })

/** From the greeting to where TLS begins. */
const untilStartTls = (plain: Connection) =>
  Effect.gen(function*() {
    assert.match(text(yield* plain.reader.readLine), /^\* OK .*STARTTLS/)
    assert.include(yield* command(plain, "a1", "CAPABILITY"), "STARTTLS")
    yield* command(plain, "a2", "STARTTLS")
  })

const letter = `Subject: large\r\n\r\n${"The same line over and over.\r\n".repeat(40_000)}`

describe.skipIf(withoutDovecot !== undefined)("Dovecot 2.3", () => {
  it.scopedLive("takes a letter and gives it back, after STARTTLS, over TCP and over its Unix socket", () =>
    Effect.gen(function*() {
      const { port, socket } = yield* dovecot
      const overUnix = Network.openUnixConnection(socket, { limit: 4 * 1024 * 1024 }).pipe(
        Effect.provide(NodeNetwork.layer)
      )
      for (const open of [connecting(port), overUnix]) {
        for (const version of versions) {
          const plain = yield* open
          yield* untilStartTls(plain)
          const imap = yield* plain.startTls(asClient(only(version)))
          assert.strictEqual(Option.getOrThrow(imap.tls).protocol, version)
          yield* command(imap, "b1", "LOGIN somebody secret")
          yield* command(imap, "b2", "SELECT INBOX")
          yield* imap.writer.write(`b3 APPEND INBOX {${letter.length}}\r\n`)
          assert.match(text(yield* imap.reader.readLine), /^\+ /)
          yield* imap.writer.writeAll([letter, "\r\n"])
          assert.match(text(yield* imap.reader.readLine), /^(\*|b3 OK)/)
          yield* command(imap, "b4", "NOOP")
          yield* imap.writer.write("b5 FETCH * BODY.PEEK[]\r\n")
          yield* imap.reader.readUntil(`{${letter.length}}\r\n`)
          assert.strictEqual(text(yield* imap.reader.readExactly(letter.length)), letter)
          yield* imap.reader.readUntil("b5 OK")
          yield* imap.reader.readLine
          yield* command(imap, "b6", "LOGOUT")
          // It says close_notify, so that this is an end and not a truncation.
          assert.strictEqual((yield* imap.reader.readAll()).length, 0)
          yield* imap.close
          assert.strictEqual(yield* closeTag(imap), "Peer")
        }
      }
    }))

  it.scopedLive("is not believed for another name, and sees us go", () =>
    Effect.gen(function*() {
      const { port, server } = yield* dovecot
      const plain = yield* connecting(port)
      yield* untilStartTls(plain)
      const refused = yield* reason(plain.startTls(asClient({ serverName: "example.org" })))
      assert.strictEqual(refused, "TlsError CertificateRejected")
      assert.strictEqual(yield* closeTag(plain), "Failed CertificateRejected")
      yield* server.says(/imap-login: .*Disconnected.*TLS/)
    }))
})

// -----------------------------------------------------------------------------
// PostgreSQL
// -----------------------------------------------------------------------------

/** Debian keeps its programs where no path leads. */
const postgresFolder = (): string | undefined => {
  const root = "/usr/lib/postgresql"
  const folders = Fs.existsSync(root) ? Fs.readdirSync(root).map((version) => `${root}/${version}/bin/`) : []
  return folders.find((folder) => Fs.existsSync(`${folder}postgres`) && Fs.existsSync(`${folder}initdb`)) ??
    (available("postgres") && available("initdb") ? "" : undefined)
}

const postgresPrograms = hasOpenssl ? postgresFolder() : undefined

const postgres = Effect.gen(function*() {
  const path = yield* directory
  const data = Path.join(path, "data")
  const uid = isRoot ? owner : undefined
  const initdb = yield* program(`${postgresPrograms}initdb`, [
    ...["-D", data, "-U", "me", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"]
  ], { uid, cwd: path })
  yield* initdb.succeeds
  const { caFile, certificateFile, keyFile } = identityIn(path)
  Fs.writeFileSync(
    Path.join(data, "pg_hba.conf"),
    ["hostssl all me all trust", "hostssl all strict all trust clientcert=verify-ca", ""].join("\n")
  )
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    ssl: "on",
    ssl_cert_file: certificateFile,
    ssl_key_file: keyFile,
    ssl_ca_file: caFile,
    fsync: "off",
    max_connections: "10",
    shared_buffers: "1MB",
    lc_messages: "C"
  }
  return yield* serverProgram(
    `${postgresPrograms}postgres`,
    (port) => [
      ...["-D", data, "-p", `${port}`],
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    ],
    /ready to accept connections/,
    { uid, cwd: path, stopWith: "SIGQUIT" }
  )
})

const int32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(n)
  return bytes
}

const framed = (body: Buffer): Buffer => Buffer.concat([int32(body.length + 4), body])

const sslRequest = framed(int32(80_877_103))

const startup = (user: string) =>
  framed(Buffer.concat([int32(196_608), Buffer.from(`user\0${user}\0database\0postgres\0\0`)]))

const query = (sql: string) => Buffer.concat([Buffer.from("Q"), framed(Buffer.from(`${sql}\0`))])

/** Reads messages up to the one of this type, and gives what they hold, by type. */
const messagesUntil = ({ reader }: Connection, last: string) =>
  Effect.gen(function*() {
    const messages: { [type: string]: string } = {}
    while (true) {
      const type = String.fromCharCode(yield* reader.readUint8)
      const length = yield* reader.readInt32()
      messages[type] = text(yield* reader.readExactly(length - 4))
      if (type === last || type === "E") {
        return messages
      }
    }
  })

const upgraded = (port: number, tls: Tls.ClientOptions) =>
  Effect.gen(function*() {
    const plain = yield* connecting(port)
    yield* plain.writer.write(sslRequest)
    assert.strictEqual(text(yield* plain.reader.readExactly(1)), "S")
    return yield* plain.startTls(asClient(tls))
  })

describe.skipIf(postgresPrograms === undefined)("PostgreSQL", () => {
  it.scopedLive("answers over TLS after its SSLRequest, asks for a certificate, and says when it ends", () =>
    Effect.gen(function*() {
      const { port } = yield* postgres
      const { certificate, key } = certificates.client
      for (const version of versions) {
        const sql = yield* upgraded(port, { ...only(version), certificate, key })
        yield* sql.writer.write(startup("me"))
        const { R: authentication, Z: ready } = yield* messagesUntil(sql, "Z")
        assert.strictEqual(authentication, "\0\0\0\0")
        assert.strictEqual(ready, "I")
        yield* sql.writer.write(
          query("select version || ' ' || client_dn from pg_stat_ssl where pid = pg_backend_pid()")
        )
        const { D: row } = yield* messagesUntil(sql, "Z")
        assert.include(row, `${version} /CN=a client`)
        yield* sql.writer.write(query("select repeat('0123456789', 1000000)"))
        const { D: large } = yield* messagesUntil(sql, "Z")
        assert.strictEqual(large!.slice(6), "0123456789".repeat(1_000_000))
        yield* sql.writer.write(query(`select length('${"x".repeat(3_000_000)}')`))
        const { D: length } = yield* messagesUntil(sql, "Z")
        assert.include(length, "3000000")
        yield* sql.writer.write(Buffer.from("X\0\0\0\x04"))
        assert.strictEqual((yield* sql.reader.readAll()).length, 0)
        yield* sql.close
        assert.strictEqual(yield* closeTag(sql), "Peer")
      }
      // Whom it does not know it tells so, inside of TLS.
      const nobody = yield* upgraded(port, {})
      yield* nobody.writer.write(startup("strict"))
      const { E: error } = yield* messagesUntil(nobody, "Z")
      assert.include(error, "certificate")
      assert.strictEqual(yield* reason(upgraded(port, { serverName: "example.org" })), "TlsError CertificateRejected")
    }))
})
