import { assert, describe, it } from "@effect/vitest"
import * as Address from "effect-netstreams/Address"
import * as NetworkError from "effect-netstreams/NetworkError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const peer = Address.tcp("192.0.2.1", 443)
const errno = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" })

const connectionReasons = [
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
] as const
const operations = ["read", "write", "close", "startTls"] as const
const addressReasons = [
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
] as const
const tlsReasons = [
  "CertificateRejected",
  "HandshakeFailed",
  "HandshakeTimeout",
  "UnexpectedPlaintext",
  "Closed",
  "InvalidOptions"
] as const

const attempt = (
  address: Address.Address,
  reason: NetworkError.AddressReason,
  code?: string
): NetworkError.ConnectAttempt => ({
  address,
  reason,
  code: Option.fromNullable(code),
  elapsed: Duration.millis(250)
})

// Every error with all of its fields, and with as few as it can have.
const incomplete = {
  full: new NetworkError.IncompleteReadError({
    partial: new Uint8Array([0, 127, 128, 255]),
    expected: Option.some(10),
    operation: "readExactly",
    remoteAddress: Option.some(peer)
  }),
  bare: new NetworkError.IncompleteReadError({ partial: new Uint8Array(0), expected: Option.none() })
}
const overrun = {
  full: new NetworkError.LimitOverrunError({
    consumed: 100,
    limit: 64,
    found: true,
    operation: "readUntil",
    remoteAddress: Option.some(Address.unix("/run/x.sock"))
  }),
  bare: new NetworkError.LimitOverrunError({ consumed: 65, limit: 64, found: false })
}
const connection = {
  full: new NetworkError.ConnectionError({
    reason: "Reset",
    operation: "read",
    remoteAddress: Option.some(peer),
    code: Option.some("ECONNRESET"),
    cause: errno
  }),
  bare: new NetworkError.ConnectionError({
    reason: "Closed",
    operation: "write",
    remoteAddress: Option.none(),
    code: Option.none()
  })
}
const connect = {
  full: new NetworkError.ConnectError({
    reason: "Refused",
    target: "localhost:8888",
    attempts: [
      attempt(Address.tcp("::1", 8888), "NetworkUnreachable", "ENETUNREACH"),
      attempt(Address.tcp("127.0.0.1", 8888), "Refused", "ECONNREFUSED")
    ],
    code: Option.some("ECONNREFUSED"),
    cause: errno,
    detail: Option.some("nobody was at home")
  }),
  bare: new NetworkError.ConnectError({ reason: "NameNotFound", target: "no.such.example:80", attempts: [] })
}
const listen = {
  full: new NetworkError.ListenError({
    reason: "AddressInUse",
    address: Address.tcp("::", 80),
    code: Option.some("EADDRINUSE"),
    cause: errno,
    detail: Option.some("another server listens there")
  }),
  bare: new NetworkError.ListenError({ reason: "NotFound", address: Address.unix("/no/x.sock"), code: Option.none() })
}
const tls = {
  full: new NetworkError.TlsError({
    reason: "CertificateRejected",
    code: Option.some("CERT_HAS_EXPIRED"),
    cause: errno,
    detail: Option.some("it ended yesterday"),
    remoteAddress: Option.some(peer)
  }),
  later: new NetworkError.TlsError({
    reason: "HandshakeFailed",
    code: Option.some("ERR_SSL_BAD_RECORD_MAC"),
    detail: Option.some("it was changed"),
    remoteAddress: Option.some(peer),
    established: true
  }),
  bare: new NetworkError.TlsError({ reason: "HandshakeFailed", code: Option.none() })
}
const overloads = (["MaxConnections", "MaxHandshakes", "Descriptors"] as const).flatMap((reason) => [
  new NetworkError.OverloadError({ reason, limit: 1, refused: 1 }),
  new NetworkError.OverloadError({ reason, limit: 100, refused: 7 })
])
const concurrent = new NetworkError.ConcurrentReadError({ operation: "readLine", waiting: "readExactly" })
const framing = {
  read: new NetworkError.FramingError({
    reason: "InvalidContent",
    operation: "read",
    detail: "what is in the frame is not what the schema wants: Expected number",
    frame: Option.some(new Uint8Array([34, 255])),
    remoteAddress: Option.some(peer),
    cause: new Error("Expected number")
  }),
  length: new NetworkError.FramingError({
    reason: "InvalidLength",
    operation: "read",
    detail: "a length of 3 is too little"
  }),
  write: new NetworkError.FramingError({
    reason: "TooLong",
    operation: "write",
    detail: "a frame of 3 bytes is longer than maxLength, 2",
    remoteAddress: Option.some(peer)
  })
}
const readAhead = new NetworkError.ReadAheadError({ operation: "readLine" })

/** Encodes to JSON and back. */
const sent = <A, I>(schema: Schema.Schema<A, I>, error: A): A =>
  Schema.decodeUnknownSync(schema)(JSON.parse(JSON.stringify(Schema.encodeSync(schema)(error))))

/** All fields, an error's `cause` by what a defect keeps of it. */
const fields = (error: object): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(error).map((
      [name, value]
    ) => [name, value instanceof Error ? `${value.name}: ${value.message}` : value])
  )

const survives = <A extends Error, I>(schema: Schema.Schema<A, I>, ...errors: ReadonlyArray<A>) => {
  for (const error of errors) {
    const back = sent(schema, error)
    assert.strictEqual(back.constructor, error.constructor)
    assert.deepStrictEqual(fields(back), fields(error))
    assert.strictEqual(back.message, error.message)
    for (const [name, value] of Object.entries(error)) {
      // Bytes have no equality by value.
      if (Equal.isEqual(value) && name !== "frame") {
        assert.isTrue(Equal.equals(value, back[name as keyof A]), name)
      }
    }
  }
}

describe("NetworkError", () => {
  describe("survives Schema.encode and Schema.decode with its fields:", () => {
    it("IncompleteReadError", () => survives(NetworkError.IncompleteReadError, incomplete.full, incomplete.bare))
    it("LimitOverrunError", () => survives(NetworkError.LimitOverrunError, overrun.full, overrun.bare))
    it("ConnectionError", () => survives(NetworkError.ConnectionError, connection.full, connection.bare))
    it("ConnectionError with a detail", () =>
      survives(
        NetworkError.ConnectionError,
        new NetworkError.ConnectionError({
          ...connection.bare,
          reason: "ReadTimeout",
          detail: Option.some("nothing came for 1s")
        }),
        connection.bare
      ))
    it("ConnectError", () => survives(NetworkError.ConnectError, connect.full, connect.bare))
    it("ListenError", () => survives(NetworkError.ListenError, listen.full, listen.bare))
    it("TlsError", () => survives(NetworkError.TlsError, tls.full, tls.later, tls.bare))
    it("OverloadError", () => survives(NetworkError.OverloadError, ...overloads))
    it("ConcurrentReadError", () => survives(NetworkError.ConcurrentReadError, concurrent))
    it("FramingError", () => survives(NetworkError.FramingError, framing.read, framing.length, framing.write))
    it("ReadAheadError", () => survives(NetworkError.ReadAheadError, readAhead))

    it("every reason and operation", () => {
      for (const reason of connectionReasons) {
        for (const operation of operations) {
          survives(
            NetworkError.ConnectionError,
            new NetworkError.ConnectionError({ reason, operation, remoteAddress: Option.none(), code: Option.none() })
          )
        }
      }
      for (const reason of addressReasons) {
        survives(
          NetworkError.ConnectError,
          new NetworkError.ConnectError({ reason, target: "a:1", attempts: [attempt(peer, reason)] })
        )
        survives(NetworkError.ListenError, new NetworkError.ListenError({ reason, address: peer, code: Option.none() }))
      }
      for (const reason of tlsReasons) {
        survives(NetworkError.TlsError, new NetworkError.TlsError({ reason, code: Option.none() }))
      }
    })

    it("the addresses and times of attempts, as values", () => {
      const back = sent(NetworkError.ConnectError, connect.full)
      back.attempts.forEach((one, i) => {
        const other = connect.full.attempts[i]!
        assert.isTrue(Equal.equals(one.address, other.address))
        assert.isTrue(Duration.equals(one.elapsed, other.elapsed))
        assert.strictEqual(one.reason, other.reason)
        assert.deepStrictEqual(one.code, other.code)
      })
    })

    it("a cause that is no error", () => {
      const odd = new NetworkError.ConnectionError({
        reason: "Unknown",
        operation: "read",
        remoteAddress: Option.none(),
        code: Option.none(),
        cause: "odd"
      })
      assert.strictEqual(sent(NetworkError.ConnectionError, odd).cause, "odd")
    })
  })

  describe("can be left out:", () => {
    it("what a reader adds, a code, a detail, an address and a cause", () => {
      assert.strictEqual(incomplete.bare.operation, "read")
      assert.deepStrictEqual(incomplete.bare.remoteAddress, Option.none())
      assert.strictEqual(overrun.bare.operation, "read")
      assert.deepStrictEqual(connect.bare.code, Option.none())
      assert.deepStrictEqual(connect.bare.detail, Option.none())
      assert.strictEqual(connect.bare.cause, undefined)
      assert.deepStrictEqual(listen.bare.detail, Option.none())
      assert.deepStrictEqual(tls.bare.remoteAddress, Option.none())
    })
  })

  it.effect("is caught by its tag", () =>
    Effect.gen(function*() {
      const all = [
        incomplete.full,
        overrun.full,
        connection.full,
        connect.full,
        listen.full,
        tls.full,
        concurrent,
        readAhead
      ]
      for (const error of all) {
        assert.strictEqual(error._tag, error.constructor.name)
        assert.strictEqual(error.name, error._tag)
        assert.isTrue(error instanceof Error)
        assert.strictEqual(yield* Effect.flip(error as Effect.Effect<never, unknown>), error)
      }
      const caught = yield* Effect.fail(connection.full as NetworkError.ConnectionError | NetworkError.TlsError).pipe(
        Effect.catchTags({
          ConnectionError: (error) => Effect.succeed(error.reason),
          TlsError: () => Effect.succeed("no")
        })
      )
      assert.strictEqual(caught, "Reset")
    }))

  it("keeps what the platform threw as the cause that is printed with it", () => {
    assert.strictEqual(connection.full.cause, errno)
    assert.include(Cause.pretty(Cause.fail(connection.full), { renderErrorCause: true }), "read ECONNRESET")
  })

  describe("says", () => {
    it("how much an unfinished read had, of how much, from whom, and where it is", () => {
      assert.strictEqual(
        incomplete.full.message,
        "readExactly from 192.0.2.1:443: the stream ended after 4 bytes, before all 10 had arrived; " +
          "the bytes are in `partial`"
      )
      assert.strictEqual(
        incomplete.bare.message,
        "read: the stream ended after 0 bytes, before the separator came; the bytes are in `partial`"
      )
      assert.include(
        new NetworkError.IncompleteReadError({ partial: new Uint8Array(1), expected: Option.some(2) }).message,
        "after 1 byte, before all 2 had arrived"
      )
    })

    it("that what a skipUntil has dropped at the end is gone", () => {
      assert.strictEqual(
        new NetworkError.IncompleteReadError({
          partial: new Uint8Array(1),
          expected: Option.none(),
          operation: "skipUntil",
          remoteAddress: Option.some(peer)
        }).message,
        "skipUntil from 192.0.2.1:443: the stream ended before the separator came; what was skipped by then is gone"
      )
    })

    it("how far a read went past its limit, that nothing is lost, and three ways on", () => {
      assert.strictEqual(
        overrun.full.message,
        "readUntil from unix:/run/x.sock: the separator was found after 100 bytes, past the limit of 64; " +
          "nothing was consumed: raise the limit, take the bytes with readExactly(consumed), or drop them with skipUntil"
      )
      assert.include(overrun.bare.message, "read: no end was found in 65 bytes, past the limit of 64")
    })

    it("what became of a connection, which, and the system's code", () => {
      assert.strictEqual(
        connection.full.message,
        "read from 192.0.2.1:443: the peer reset the connection (ECONNRESET)"
      )
      assert.strictEqual(connection.bare.message, "write: the connection is closed on this side")
      const write = new NetworkError.ConnectionError({
        reason: "BrokenPipe",
        operation: "write",
        remoteAddress: Option.some(peer),
        code: Option.some("EPIPE")
      })
      assert.strictEqual(write.message, "write to 192.0.2.1:443: the peer no longer takes data (EPIPE)")
    })

    it("something else for each reason", () => {
      const connections = connectionReasons.map((reason) =>
        new NetworkError.ConnectionError({
          reason,
          operation: "read",
          remoteAddress: Option.none(),
          code: Option.none()
        }).message
      )
      const connects = addressReasons.map((reason) =>
        new NetworkError.ConnectError({ reason, target: "a:1", attempts: [] }).message
      )
      const handshakes = tlsReasons.map((reason) => new NetworkError.TlsError({ reason, code: Option.none() }).message)
      for (const messages of [connections, connects, handshakes]) {
        assert.strictEqual(new Set(messages).size, messages.length)
        assert.isTrue(messages.every((message) => !message.includes("undefined")))
      }
    })

    it("where a connection was wanted, and why there is none, where nothing was tried", () => {
      assert.strictEqual(connect.bare.message, "connect to no.such.example:80: the name has no address")
      assert.strictEqual(
        new NetworkError.ConnectError({
          reason: "NameNotFound",
          target: "a:1",
          attempts: [],
          code: Option.some("ENOTFOUND")
        }).message,
        "connect to a:1: the name has no address (ENOTFOUND)"
      )
    })

    it("which address of a name was tried, where there was one", () => {
      const one = (target: string, address: Address.Address) =>
        new NetworkError.ConnectError({
          reason: "Refused",
          target,
          attempts: [attempt(address, "Refused", "ECONNREFUSED")],
          code: Option.some("ECONNREFUSED")
        }).message
      assert.strictEqual(
        one("localhost:80", Address.tcp("127.0.0.1", 80)),
        "connect to localhost:80 at 127.0.0.1:80: nobody listens there (ECONNREFUSED)"
      )
      assert.strictEqual(
        one("127.0.0.1:80", Address.tcp("127.0.0.1", 80)),
        "connect to 127.0.0.1:80: nobody listens there (ECONNREFUSED)"
      )
      assert.strictEqual(
        one("/run/x.sock", Address.unix("/run/x.sock")),
        "connect to /run/x.sock: nobody listens there (ECONNREFUSED)"
      )
    })

    it("who has no room for one more, as the system says of Unix sockets", () => {
      const full = attempt(Address.unix("/run/x.sock"), "Refused", "EAGAIN")
      const error = { reason: "Refused", code: Option.some("EAGAIN") } as const
      assert.strictEqual(
        new NetworkError.ConnectError({ ...error, target: "/run/x.sock", attempts: [full] }).message,
        "connect to /run/x.sock: the queue of whoever listens there is full (EAGAIN)"
      )
      assert.strictEqual(
        new NetworkError.ConnectError({ ...error, target: "x", attempts: [full, full] }).message,
        "connect to x: the queue of whoever listens there is full; 2 addresses were tried\n" +
          "  unix:/run/x.sock: the queue of whoever listens there is full (EAGAIN) after 250ms\n" +
          "  unix:/run/x.sock: the queue of whoever listens there is full (EAGAIN) after 250ms"
      )
    })

    it("who takes it only to reset it", () => {
      const reset = attempt(Address.tcp("127.0.0.1", 80), "Refused", "ECONNRESET")
      const error = { reason: "Refused", code: Option.some("ECONNRESET") } as const
      assert.strictEqual(
        new NetworkError.ConnectError({ ...error, target: "127.0.0.1:80", attempts: [reset] }).message,
        "connect to 127.0.0.1:80: whoever listens there has reset it at once (ECONNRESET)"
      )
    })

    it("what became of each address, where there were several", () => {
      const { detail: _, ...rest } = connect.full
      assert.strictEqual(
        new NetworkError.ConnectError(rest).message,
        "connect to localhost:8888: nobody listens there; 2 addresses were tried\n" +
          "  [::1]:8888: the network can't be reached (ENETUNREACH) after 250ms\n" +
          "  127.0.0.1:8888: nobody listens there (ECONNREFUSED) after 250ms"
      )
      const lookup = { ...rest, reason: "TimedOut", code: Option.some("EAI_AGAIN") } as const
      assert.strictEqual(
        new NetworkError.ConnectError({
          ...lookup,
          attempts: [attempt(Address.tcp("::1", 8888), "NetworkUnreachable", "ENETUNREACH")]
        }).message,
        "connect to localhost:8888: no answer in time (EAI_AGAIN); 1 address was tried\n" +
          "  [::1]:8888: the network can't be reached (ENETUNREACH) after 250ms"
      )
      assert.include(connect.full.message, "connect to localhost:8888: nobody was at home; 2 addresses were tried\n")
    })

    it("where nothing can be listened on, and why", () => {
      assert.strictEqual(listen.full.message, "listen on [::]:80: another server listens there (EADDRINUSE)")
      assert.strictEqual(listen.bare.message, "listen on unix:/no/x.sock: no such path")
    })

    it("with whom TLS could not be established, why, and what was checked", () => {
      assert.strictEqual(
        tls.full.message,
        "TLS with 192.0.2.1:443: the peer's certificate was not accepted: it ended yesterday (CERT_HAS_EXPIRED)"
      )
      assert.strictEqual(
        tls.later.message,
        "TLS with 192.0.2.1:443: the connection failed after the handshake: it was changed (ERR_SSL_BAD_RECORD_MAC)"
      )
      assert.strictEqual(tls.bare.message, "TLS: the handshake failed")
    })

    it("what a server has too much of, how many were sent away, and what to do about it", () => {
      assert.deepStrictEqual(overloads.map(({ message }) => message), [
        "1 connection was refused: 1 is being served, which is maxConnections, and no more may wait",
        "7 connections were refused: 100 are being served, which is maxConnections, and no more may wait",
        "1 connection was refused: 1 handshake is under way, which is maxHandshakes, and no more may wait",
        "7 connections were refused: 100 handshakes are under way, which is maxHandshakes, and no more may wait",
        "1 connection was refused: the process is about to run out of descriptors, of which it may have 1; raise the " +
        "limit (ulimit -n, LimitNOFILE) or set maxConnections below it",
        "7 connections were refused: the process is about to run out of descriptors, of which it may have 100; raise the " +
        "limit (ulimit -n, LimitNOFILE) or set maxConnections below it"
      ])
    })

    it("which two reads met, and what to do instead", () => {
      assert.strictEqual(
        concurrent.message,
        "readLine can't wait for data: another fiber already waits in readExactly on the same reader; " +
          "let one fiber read, and hand what it read to the others"
      )
    })

    it("what became of a message, and what to do", () => {
      assert.deepStrictEqual([framing.read.message, framing.length.message, framing.write.message], [
        "Framing.read from 192.0.2.1:443: what is in the frame is not what the schema wants: Expected number; the frame was " +
        "consumed, and the next read goes on behind it",
        "Framing.read: a length of 3 is too little; nothing was consumed, and where the next frame begins is not known: " +
        "close the connection, or check the framing's options",
        "Framing.write to 192.0.2.1:443: a frame of 3 bytes is longer than maxLength, 2; nothing of it was written"
      ])
      assert.strictEqual(
        new NetworkError.LimitOverrunError({ consumed: 70, limit: 64, found: true, operation: "Framing.read" }).message,
        "Framing.read: the frame has 70 bytes, past the limit of 64; nothing was consumed: raise maxLength, or close the " +
          "connection"
      )
      assert.strictEqual(
        new NetworkError.IncompleteReadError({
          partial: new Uint8Array(2),
          expected: Option.none(),
          operation: "Framing.read"
        }).message,
        "Framing.read: the stream ended after 2 bytes, before the frame was complete; the bytes are in `partial`"
      )
    })

    it("why a read can't be trusted after a stream of lines, and what to do instead", () => {
      assert.strictEqual(
        readAhead.message,
        "readLine: a stream of lines or frames has read ahead on this reader, so the next bytes may be gone; " +
          "read everything through that stream, or make it with { readAhead: false }"
      )
    })
  })
})
