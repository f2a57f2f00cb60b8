/**
 * The client's side of SMTP, as far as it takes to send a mail over a connection that goes over to TLS.
 */
import { Console, Data, Effect, Option, Stream } from "effect"
import { type Connection, Network, StreamReader } from "effect-netstreams"

/** The server said no. */
export class SmtpError extends Data.TaggedError("SmtpError")<{ readonly reply: string }> {
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

export interface Mail<E> {
  readonly from: string
  readonly to: string
  /** Headers and body, as they are in a file. */
  readonly message: Stream.Stream<Uint8Array, E>
}

/** Sends a mail by way of a server whose certificate must be for `host`. */
export const send = <E>(host: string, port: number, ca: Option.Option<string>, { from, message, to }: Mail<E>) =>
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
    const reader = yield* StreamReader.fromStream(message)
    yield* reader.lines().pipe(
      Stream.map((line) => `${line.startsWith(".") ? "." : ""}${line}\r\n`),
      Stream.run(secure.writer.sink)
    )
    yield* command(secure, ".", "250")
    yield* command(secure, "QUIT", "221")
  }).pipe(Effect.scoped)
