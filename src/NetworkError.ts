/**
 * Everything that can go wrong, as tagged errors that can be caught by kind, sent over a wire and read by a person.
 *
 * Each has a closed set of reasons to decide by (retry a `Refused`, give up on a `CertificateRejected`), the operating
 * system's own code beside it, and what the platform threw in `cause`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Address from "./Address.js"
import { addressProblems, connectProblem } from "./internal/addressProblem.js"

const absent = { default: () => Option.none() } as const

const code = Schema.Option(Schema.String)
const cause = Schema.optional(Schema.Defect)
const remoteAddress = Schema.Option(Address.Address)

// What a reader adds to its errors so that the message can say who was reading what from whom.
const readContext = {
  operation: Schema.optionalWith(Schema.String, { default: () => "read" }),
  remoteAddress: Schema.optionalWith(remoteAddress, absent)
}

const from = (address: Option.Option<Address.Address>): string =>
  Option.match(address, { onNone: () => "", onSome: (address) => ` from ${Address.format(address)}` })

const withCode = (code: Option.Option<string>): string =>
  Option.match(code, { onNone: () => "", onSome: (code) => ` (${code})` })

const plural = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`

/**
 * The end came before the read had all it asked for. What had arrived is in `partial`, and is consumed.
 *
 * **Details**
 *
 * `expected` is the number of bytes that a read by length asked for, and `None` where a separator was looked for. What a
 * `skipUntil` has dropped is not in `partial`.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { StreamReader } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const header = (reader: StreamReader.StreamReader) =>
 *   reader.readExactly(16).pipe(
 *     Effect.catchTag("IncompleteReadError", (error) => Effect.succeed(error.partial))
 *   )
 * ```
 */
export class IncompleteReadError
  extends Schema.TaggedError<IncompleteReadError>("effect-netstreams/IncompleteReadError")("IncompleteReadError", {
    partial: Schema.Uint8ArrayFromBase64,
    expected: Schema.Option(Schema.Number),
    ...readContext
  })
{
  override get message(): string {
    if (this.operation === "skipUntil") {
      return `skipUntil${from(this.remoteAddress)}: the stream ended before the separator came; ` +
        "what was skipped by then is gone"
    }
    const wanted = Option.match(this.expected, {
      onNone: () => this.operation.startsWith("Framing.") ? "the frame was complete" : "the separator came",
      onSome: (expected) => `all ${expected} had arrived`
    })
    return `${this.operation}${from(this.remoteAddress)}: the stream ended after ${
      plural(this.partial.length, "byte")
    }, before ${wanted}; the bytes are in \`partial\``
  }
}

/**
 * A read would have had to go past the reader's limit. The buffer is as it was before.
 *
 * **Details**
 *
 * `limit` is in bytes, and counts what comes before the separator. `consumed` is how much can be read away without
 * cutting a separator in two: the bytes before the separator when `found`, else what is certain not to begin one.
 *
 * The same read fails again as long as those bytes are there, also when the stream has ended behind them, so there has to
 * be another one before it. `readExactly(consumed)` keeps the bytes: what is left is a separator and what follows it, or,
 * not found, the rest, which may be over-long as well. `skipUntil(separator)` drops all of it, and fails with an
 * `IncompleteReadError` where the stream ends first. `lines` and `forEachLine` do this by themselves, with
 * `onOverrun: "skip"` or `"truncate"`.
 *
 * Of a frame (see `Framing`) it is the framing's `maxLength` that was passed. Where a length says how long the frame is,
 * `consumed` is all of it with its header: what `readExactly` would have to take to get past it.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { StreamReader } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * // Commands that are over-long are dropped, and the next one is read.
 * const command = (reader: StreamReader.StreamReader) =>
 *   reader.readLine.pipe(
 *     Effect.tapErrorTag("LimitOverrunError", () => reader.skipUntil("\n")),
 *     Effect.retry({ while: (error) => error._tag === "LimitOverrunError" })
 *   )
 * ```
 */
export class LimitOverrunError
  extends Schema.TaggedError<LimitOverrunError>("effect-netstreams/LimitOverrunError")("LimitOverrunError", {
    consumed: Schema.Number,
    limit: Schema.Number,
    found: Schema.Boolean,
    ...readContext
  })
{
  override get message(): string {
    if (this.operation.startsWith("Framing.")) {
      return `${this.operation}${from(this.remoteAddress)}: the frame has ${this.found ? "" : "at least "}${
        plural(this.consumed, "byte")
      }, past the limit of ${this.limit}; nothing was consumed: raise maxLength, or close the connection`
    }
    const seen = this.found
      ? `the separator was found after ${plural(this.consumed, "byte")}`
      : `no end was found in ${plural(this.consumed, "byte")}`
    return `${this.operation}${from(this.remoteAddress)}: ${seen}, past the limit of ${this.limit}; ` +
      "nothing was consumed: raise the limit, take the bytes with readExactly(consumed), or drop them with skipUntil"
  }
}

const framingAdvice = {
  read: {
    InvalidLength:
      "nothing was consumed, and where the next frame begins is not known: close the connection, or check " +
      "the framing's options",
    InvalidContent: "the frame was consumed, and the next read goes on behind it"
  },
  write: "nothing of it was written"
}

/**
 * What came is no frame, or not one that means anything; or a value can't be written as a frame.
 *
 * **Details**
 *
 * | reason | when reading | when writing |
 * |---|---|---|
 * | `InvalidLength` | a length that can't be: less than nothing, or a varint that does not end or fits no 64 bits. Nothing was consumed, and the same read fails again, for where the next frame begins can't be known | |
 * | `InvalidContent` | the frame is not what the framing's schema wants. It was consumed, and is in `frame`; the next read goes on behind it | the value is not what the schema wants |
 * | `TooLong` | see `LimitOverrunError` | longer than `maxLength`, or than the length field can say |
 * | `TooShort` | | shorter than a frame of that kind is |
 * | `ContainsSeparator` | | it would be read as two |
 *
 * When writing, nothing of the value was written, and the connection is as it was.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { Framing, type StreamReader } from "effect-netstreams"
 * import { Effect, Schema } from "effect"
 *
 * const events = Framing.ndjson(Schema.Struct({ id: Schema.Number }))
 *
 * // What is no event is passed over.
 * const next = (reader: StreamReader.StreamReader) =>
 *   Framing.read(reader, events).pipe(
 *     Effect.retry({ while: (error) => error._tag === "FramingError" && error.reason === "InvalidContent" })
 *   )
 * ```
 */
export class FramingError extends Schema.TaggedError<FramingError>("effect-netstreams/FramingError")("FramingError", {
  reason: Schema.Literal("InvalidLength", "InvalidContent", "TooLong", "TooShort", "ContainsSeparator"),
  operation: Schema.Literal("read", "write"),
  detail: Schema.String,
  frame: Schema.optionalWith(Schema.Option(Schema.Uint8ArrayFromBase64), absent),
  remoteAddress: Schema.optionalWith(remoteAddress, absent),
  cause
}) {
  override get message(): string {
    const peer = Option.match(this.remoteAddress, {
      onNone: () => "",
      onSome: (address) => ` ${this.operation === "read" ? "from" : "to"} ${Address.format(address)}`
    })
    const advice = this.operation === "write"
      ? framingAdvice.write
      : framingAdvice.read[this.reason === "InvalidLength" ? "InvalidLength" : "InvalidContent"]
    return `Framing.${this.operation}${peer}: ${this.detail}; ${advice}`
  }
}

const connectionProblems = {
  Reset: "the peer reset the connection",
  BrokenPipe: "the peer no longer takes data",
  TimedOut: "the peer stopped answering",
  Closed: "the connection is closed on this side",
  Aborted: "the connection was aborted",
  Truncated: "the connection ended without a TLS close_notify, so data may be missing",
  IdleTimeout: "nothing came or went for too long",
  ReadTimeout: "nothing came for too long",
  WriteTimeout: "the peer took nothing for too long",
  RateTooLow: "the peer sent too slowly",
  Unknown: "the connection failed"
}

/**
 * A connection that was open ended, or can no longer do what was asked of it.
 *
 * **Details**
 *
 * | reason | what happened |
 * |---|---|
 * | `Reset` | the peer, or something on the way, reset it (`ECONNRESET`) |
 * | `BrokenPipe` | the peer takes no more (`EPIPE`) |
 * | `TimedOut` | the peer's machine no longer answers (`ETIMEDOUT`) |
 * | `Closed` | this side closed it, ended its writing, or gave it up to TLS |
 * | `Aborted` | this side aborted it |
 * | `Truncated` | TLS: the end came without close_notify |
 * | `IdleTimeout`, `ReadTimeout`, `WriteTimeout`, `RateTooLow` | the connection's limit of that name was passed (`minReadRate`) |
 * | `Unknown` | anything else: see `code` and `cause` |
 *
 * `detail` says more where the reason alone would not help, such as the limit that was passed.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import type { Connection } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * // A client that went away is no failure of its handler.
 * const greet = ({ writer }: Connection.Connection) =>
 *   writer.write("220 ready\r\n").pipe(
 *     Effect.catchIf(
 *       (error) => error.reason === "Reset" || error.reason === "BrokenPipe",
 *       (error) => Effect.logDebug(error.message)
 *     )
 *   )
 * ```
 */
export class ConnectionError
  extends Schema.TaggedError<ConnectionError>("effect-netstreams/ConnectionError")("ConnectionError", {
    reason: Schema.Literal(
      "Reset",
      "BrokenPipe",
      "TimedOut",
      "Closed",
      "Aborted",
      "Truncated",
      "IdleTimeout",
      "ReadTimeout",
      "WriteTimeout",
      "RateTooLow",
      "Unknown"
    ),
    operation: Schema.Literal("read", "write", "close", "startTls"),
    remoteAddress,
    code,
    cause,
    detail: Schema.optionalWith(Schema.Option(Schema.String), absent)
  })
{
  override get message(): string {
    const peer = Option.match(this.remoteAddress, {
      onNone: () => "",
      onSome: (address) => ` ${this.operation === "read" ? "from" : "to"} ${Address.format(address)}`
    })
    const problem = Option.getOrElse(this.detail, () => connectionProblems[this.reason])
    return `${this.operation}${peer}: ${problem}${withCode(this.code)}`
  }
}

const addressReason = Schema.Literal(
  "Refused",
  "TimedOut",
  "NameNotFound",
  "NotFound",
  "HostUnreachable",
  "NetworkUnreachable",
  "AddressInUse",
  "AddressNotAvailable",
  "PermissionDenied",
  "Unknown"
)

/**
 * Why an address could not be connected to, or listened on.
 *
 * @since 0.1.0
 * @category errors
 */
export type AddressReason = typeof addressReason.Type

const attempt = Schema.Struct({
  address: Address.Address,
  reason: addressReason,
  code,
  elapsed: Schema.Duration
})

/**
 * One address that was tried: what became of it, and how long that took.
 *
 * @since 0.1.0
 * @category errors
 */
export type ConnectAttempt = typeof attempt.Type

/**
 * No connection could be made.
 *
 * **Details**
 *
 * `target` is what was asked for (`"localhost:8888"`, a path), `attempts` every address that was tried, in the order
 * in which the attempts began. It is empty where there was none to try. `reason` is that of all attempts where they
 * agree, and else that of the attempt which got furthest: an answer from the host (`Refused`) before none (`TimedOut`),
 * none before a way there that is broken, and last what a machine without the address's family says of every such
 * address (`NetworkUnreachable`, `AddressNotAvailable`). A lookup of one family that failed, and may do better another
 * time, counts as an attempt that timed out. `code` and `cause` belong to the reason, whether it came from an attempt or
 * from name lookup. `detail` says more where the reason alone would not help, such as the phase in which a time limit
 * struck.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { Network } from "effect-netstreams"
 * import { Effect, Schedule } from "effect"
 *
 * // A server that is being restarted refuses for a moment; a name that does not exist will not appear.
 * const patient = Network.openConnection({ host: "localhost", port: 8888 }).pipe(
 *   Effect.retry({
 *     while: (error) => error._tag === "ConnectError" && error.reason === "Refused",
 *     schedule: Schedule.exponential("100 millis").pipe(Schedule.intersect(Schedule.recurs(5)))
 *   })
 * )
 * ```
 */
export class ConnectError extends Schema.TaggedError<ConnectError>("effect-netstreams/ConnectError")("ConnectError", {
  reason: addressReason,
  target: Schema.String,
  attempts: Schema.Array(attempt),
  code: Schema.optionalWith(code, absent),
  cause,
  detail: Schema.optionalWith(Schema.Option(Schema.String), absent)
}) {
  override get message(): string {
    const [first, ...others] = this.attempts
    // An abstract name begins with a NUL.
    const target = this.target.replace(/^\0/, "@")
    const isOnly = first !== undefined && others.length === 0 && first.reason === this.reason
    const code = isOnly ? first.code : this.code
    const problem = Option.getOrElse(this.detail, () => connectProblem(this.reason, code))
    if (first === undefined) {
      return `connect to ${target}: ${problem}${withCode(code)}`
    }
    if (isOnly) {
      const address = Address.format(first.address)
      const at = address === target || address === `unix:${target}` ? "" : ` at ${address}`
      return `connect to ${target}${at}: ${problem}${withCode(code)}`
    }
    const isShown = this.attempts.some((attempt) => Equal.equals(attempt.code, code))
    const tried = others.length === 0 ? "1 address was tried" : `${this.attempts.length} addresses were tried`
    return [`connect to ${target}: ${problem}${isShown ? "" : withCode(code)}; ${tried}`]
      .concat(
        this.attempts.map((attempt) => {
          const problem = connectProblem(attempt.reason, attempt.code)
          const elapsed = Duration.format(attempt.elapsed)
          return `  ${Address.format(attempt.address)}: ${problem}${withCode(attempt.code)} after ${elapsed}`
        })
      )
      .join("\n")
  }
}

/**
 * An address could not be listened on. None of those that were asked for is bound then.
 *
 * **Details**
 *
 * `address` is the one that failed, `code` the system's name for why (`"EADDRINUSE"`), and `detail` says more where the
 * reason alone would not help, such as who is in the way of a Unix socket.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { Network } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * // Port 7000, or any other one where that is taken.
 * const server = Network.startServer({ port: 7000 }, ({ writer }) => writer.write("hello\n")).pipe(
 *   Effect.catchIf(
 *     (error) => error.reason === "AddressInUse",
 *     () => Network.startServer({ port: 0 }, ({ writer }) => writer.write("hello\n"))
 *   )
 * )
 * ```
 */
export class ListenError extends Schema.TaggedError<ListenError>("effect-netstreams/ListenError")("ListenError", {
  reason: addressReason,
  address: Address.Address,
  code,
  cause,
  detail: Schema.optionalWith(Schema.Option(Schema.String), absent)
}) {
  override get message(): string {
    const problem = Option.getOrElse(this.detail, () => addressProblems[this.reason])
    return `listen on ${Address.format(this.address)}: ${problem}${withCode(this.code)}`
  }
}

/**
 * A server turned connections away, for it has all that it may have. They were reset, and no handler knows of them.
 *
 * **Details**
 *
 * A server tells its `onError` of them, at most once a second for each reason: `refused` is how many there were since it
 * last did. `limit` is the number that was reached: `maxConnections`, `maxHandshakes`, or the number of descriptors that
 * the system lets the process have (`ulimit -n`), of which a few are kept for all else that a program opens.
 *
 * @since 0.1.0
 * @category errors
 */
export class OverloadError
  extends Schema.TaggedError<OverloadError>("effect-netstreams/OverloadError")("OverloadError", {
    reason: Schema.Literal("MaxConnections", "MaxHandshakes", "Descriptors"),
    limit: Schema.Number,
    refused: Schema.Number
  })
{
  override get message(): string {
    const were = `${plural(this.refused, "connection")} ${this.refused === 1 ? "was" : "were"} refused`
    const are = this.limit === 1 ? "is" : "are"
    switch (this.reason) {
      case "MaxConnections":
        return `${were}: ${this.limit} ${are} being served, which is maxConnections, and no more may wait`
      case "MaxHandshakes":
        return `${were}: ${
          plural(this.limit, "handshake")
        } ${are} under way, which is maxHandshakes, and no more may wait`
      case "Descriptors":
        return `${were}: the process is about to run out of descriptors, of which it may have ${this.limit}; ` +
          "raise the limit (ulimit -n, LimitNOFILE) or set maxConnections below it"
    }
  }
}

const tlsProblems = {
  CertificateRejected: "the peer's certificate was not accepted",
  HandshakeFailed: "the handshake failed",
  HandshakeTimeout: "the handshake took too long",
  UnexpectedPlaintext: "data that was not encrypted came before the handshake",
  Closed: "the connection ended during the handshake",
  InvalidOptions: "the TLS options can't be used"
}

/**
 * TLS could not be established, or failed later.
 *
 * **Details**
 *
 * | reason | what happened |
 * |---|---|
 * | `CertificateRejected` | the peer's certificate has expired, is for another name, is signed by nobody known, was taken back |
 * | `HandshakeFailed` | the two have no version or cipher in common, or the peer does not speak TLS |
 * | `HandshakeTimeout` | it was not done within `handshakeTimeout` |
 * | `UnexpectedPlaintext` | `startTls`: bytes had come in the clear and were not read |
 * | `Closed` | the peer ended or reset the connection before it was done |
 * | `InvalidOptions` | a certificate, key or setting can't be used, or this transport has no TLS |
 *
 * `code` is OpenSSL's or Node's (`"CERT_HAS_EXPIRED"`). `detail` says what was checked, against which name, and what
 * to do about it. `established` is true where the handshake was done, as far as this side could see: the peer then
 * rejected something all the same, as a server of TLS 1.3 does with a client's certificate, or broke the protocol, or what
 * it sent was changed on the way. The reason is `HandshakeFailed` then as well.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { Network } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const protocol = Network.openConnection({ host: "example.org", port: 443, tls: true }).pipe(
 *   Effect.map(({ tls }) => tls),
 *   Effect.catchIf(
 *     (error) => error._tag === "TlsError" && error.reason === "CertificateRejected",
 *     (error) => Effect.dieMessage(error.message) // trying again will not help
 *   ),
 *   Effect.scoped
 * )
 * ```
 */
export class TlsError extends Schema.TaggedError<TlsError>("effect-netstreams/TlsError")("TlsError", {
  reason: Schema.Literal(
    "CertificateRejected",
    "HandshakeFailed",
    "HandshakeTimeout",
    "UnexpectedPlaintext",
    "Closed",
    "InvalidOptions"
  ),
  code,
  cause,
  detail: Schema.optionalWith(Schema.Option(Schema.String), absent),
  remoteAddress: Schema.optionalWith(remoteAddress, absent),
  established: Schema.optionalWith(Schema.Boolean, { default: () => false })
}) {
  override get message(): string {
    const peer = Option.match(this.remoteAddress, {
      onNone: () => "",
      onSome: (address) => ` with ${Address.format(address)}`
    })
    const problem = this.established ? "the connection failed after the handshake" : tlsProblems[this.reason]
    const detail = Option.match(this.detail, { onNone: () => "", onSome: (detail) => `: ${detail}` })
    return `TLS${peer}: ${problem}${detail}${withCode(this.code)}`
  }
}

/**
 * A defect: a second fiber read from a reader on which another one was already waiting. The first is not disturbed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConcurrentReadError
  extends Schema.TaggedError<ConcurrentReadError>("effect-netstreams/ConcurrentReadError")("ConcurrentReadError", {
    operation: Schema.String,
    waiting: Schema.String
  })
{
  override get message(): string {
    return `${this.operation} can't wait for data: another fiber already waits in ${this.waiting} on the same reader; ` +
      "let one fiber read, and hand what it read to the others"
  }
}

/**
 * A defect: a read on a reader that a stream of lines or frames has taken over, or was stopped on before its end, so that
 * what had already been read ahead may be gone.
 *
 * @since 0.1.0
 * @category errors
 */
export class ReadAheadError
  extends Schema.TaggedError<ReadAheadError>("effect-netstreams/ReadAheadError")("ReadAheadError", {
    operation: Schema.String
  })
{
  override get message(): string {
    return `${this.operation}: a stream of lines or frames has read ahead on this reader, so the next bytes may be gone; ` +
      "read everything through that stream, or make it with { readAhead: false }"
  }
}
