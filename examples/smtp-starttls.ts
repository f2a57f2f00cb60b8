/**
 * Sends a mail through a server that upgrades to TLS with STARTTLS, and prints the conversation.
 *
 *     npx tsx examples/smtp-starttls.ts host[:port] from to < message.txt
 *
 * The port is 587 by default. The server's certificate must be for the host, and be trusted; `SMTP_CA` may name a file
 * with a certificate to trust instead of the system's.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime, NodeStream } from "@effect/platform-node"
import { Config, Console, Data, Effect, Option, Stream } from "effect"
import { type Connection, Network, NodeNetwork, StreamReader } from "effect-netstreams"

class SmtpError extends Data.TaggedError("SmtpError")<{ readonly reply: string }> {
  override get message(): string {
    return `the server said no: ${this.reply}`
  }
}

/** A reply may have several lines, all but the last with a hyphen behind the code: "250-SIZE", "250 STARTTLS". */
const reply = ({ reader }: Connection.Connection) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    let last = false
    while (!last) {
      const line = new TextDecoder().decode(yield* reader.readUntil("\r\n")).trimEnd()
      lines.push(line)
      last = line[3] !== "-"
      yield* Console.log(`S: ${line}`)
    }
    return lines
  })

const expect = (connection: Connection.Connection, code: string) =>
  Effect.filterOrFail(
    reply(connection),
    (lines) => lines.every((line) => line.startsWith(code)),
    (lines) => new SmtpError({ reply: lines.join(" / ") })
  )

const command = (connection: Connection.Connection, line: string, code: string) =>
  Console.log(`C: ${line}`).pipe(
    Effect.zipRight(connection.writer.write(`${line}\r\n`)),
    Effect.zipRight(expect(connection, code))
  )

const send = (host: string, port: number, ca: Option.Option<string>, from: string, to: string) =>
  Effect.gen(function*() {
    const plain = yield* Network.openConnection({ host, port, connectTimeout: "10 seconds" })
    yield* expect(plain, "220")
    yield* command(plain, "EHLO localhost", "250")
    yield* command(plain, "STARTTLS", "220")
    // What the server said in the clear is forgotten here. Had it said more than its reply, this would fail.
    const secure = yield* plain.startTls({ role: "client", serverName: host, ca: Option.getOrUndefined(ca) })
    yield* Console.log(`-- ${Option.getOrThrow(secure.tls).protocol}`)
    yield* command(secure, "EHLO localhost", "250")
    yield* command(secure, `MAIL FROM:<${from}>`, "250")
    yield* command(secure, `RCPT TO:<${to}>`, "250")
    yield* command(secure, "DATA", "354")

    // Lines of the message that begin with a dot get another (RFC 5321 §4.5.2).
    const message = yield* StreamReader.fromStream(NodeStream.stdin)
    yield* message.lines().pipe(
      Stream.map((line) => `${line.startsWith(".") ? "." : ""}${line}\r\n`),
      Stream.run(secure.writer.sink)
    )
    yield* command(secure, ".", "250")
    yield* command(secure, "QUIT", "221")
  }).pipe(Effect.scoped)

const program = Effect.gen(function*() {
  const [target, from, to] = process.argv.slice(2)
  if (target === undefined || from === undefined || to === undefined) {
    return yield* Effect.fail(new Error("three arguments are needed: host[:port], from, to"))
  }
  const [host = "", port = "587"] = target.split(":")
  const file = yield* Config.option(Config.string("SMTP_CA"))
  const fs = yield* FileSystem.FileSystem
  const ca = Option.isSome(file) ? Option.some(yield* fs.readFileString(file.value)) : Option.none()
  yield* send(host, Number(port), ca, from, to)
})

NodeRuntime.runMain(program.pipe(Effect.provide(NodeNetwork.layer), Effect.provide(NodeContext.layer)))
