import { assert, describe, it } from "@effect/vitest"
import type * as Connection from "effect-netstreams/Connection"
import * as Network from "effect-netstreams/Network"
import * as NodeNetwork from "effect-netstreams/NodeNetwork"
import * as Script from "effect-netstreams/Script"
import * as TestNetwork from "effect-netstreams/TestNetwork"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { difference, quoted } from "../src/internal/scriptReport.js"
import { utf8 } from "./support/chunkings.js"
import { leavesNoHandles } from "./support/handles.js"
import { settled } from "./support/reader.js"

leavesNoHandles()

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** Says hello, and goes. */
const client = ({ reader, writer }: Connection.Connection) =>
  Effect.gen(function*() {
    const greeting = yield* reader.readUntil("\r\n")
    yield* writer.write("EHLO me\r\n")
    const reply = yield* reader.readUntil("\r\n")
    yield* writer.write("QUIT\r\n")
    const bye = yield* reader.readAll()
    return [greeting, reply, bye].map(text)
  })

const smtp = Script.make(
  Script.send("220 ready\r\n"),
  Script.expect("EHLO me\r\n"),
  Script.send("250 ok\r\n"),
  Script.expect("QUIT\r\n"),
  Script.send("221 bye\r\n")
)

const scriptErrorOf = (exit: Exit.Exit<unknown, unknown>): Script.ScriptError => {
  assert(Exit.isFailure(exit), "the script was met")
  const error = Option.getOrElse(Cause.failureOption(exit.cause), () => Option.getOrThrow(Cause.dieOption(exit.cause)))
  assert.strictEqual((error as Script.ScriptError)._tag, "ScriptError", Cause.pretty(exit.cause))
  return error as Script.ScriptError
}

/** What is said of a script that is not met. */
const failure = <A, E>(
  script: Script.Script,
  program: (connection: Connection.Connection) => Effect.Effect<A, E>,
  options?: Script.Options
) => Effect.map(Effect.exit(Script.run(script, program, options)), scriptErrorOf)

describe("a script that is met", () => {
  for (const conditions of [{}, { fragment: 1 }, { coalesce: 0 }, { fragment: "random" }] as const) {
    it.effect(`is met over a link with ${JSON.stringify(conditions)}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* Script.run(smtp, client, { conditions }), [
          "220 ready\r\n",
          "250 ok\r\n",
          "221 bye\r\n"
        ])
      }))
  }

  it.effect("ends its side when it is done, so that a program which reads on finds the end", () =>
    Effect.gen(function*() {
      const rest = yield* Script.run(Script.send("all"), ({ reader }) => reader.readAll())
      assert.strictEqual(text(rest), "all")
      assert.strictEqual((yield* Script.run(Script.make(), ({ reader }) => reader.read(1))).length, 0)
    }))

  it.effect("waits by the clock", () =>
    Effect.gen(function*() {
      const script = Script.make(
        Script.expect("ask\n"),
        Script.wait("1 second"),
        Script.send("answer\n"),
        Script.wait("2 minutes"),
        Script.eof,
        Script.expect("late"),
        Script.expectEof
      )
      const times: Array<number> = []
      const fiber = yield* Effect.fork(Script.run(script, ({ reader, writer }) =>
        Effect.gen(function*() {
          yield* writer.write("ask\n")
          yield* reader.readLine
          times.push(yield* Clock.currentTimeMillis)
          yield* reader.readAll()
          times.push(yield* Clock.currentTimeMillis)
          yield* writer.write("late")
          yield* writer.writeEof
        })))
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(times, [])
      yield* TestClock.adjust("1 day")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(times, [1000, 121_000])
    }))

  it.effect("expects lines by a pattern, in whatever pieces they come", () =>
    Effect.gen(function*() {
      const script = Script.make(
        Script.expectLine(/^EHLO \S+$/),
        Script.expectLine(/^MAIL FROM:<.*>$/g).pipe(Script.repeat(2)),
        Script.expect("DATA\r\n")
      )
      yield* Script.run(script, ({ writer }) =>
        writer.writeAll(["EHLO a.b", "\r\nMAIL FROM:<x>\r\nMAIL FR", "OM:<>\nDATA\r\n"]))
      yield* Script.run(
        script,
        ({ writer }) =>
          writer.write("EHLO ä\r\nMAIL FROM:<x>\r\nMAIL FROM:<y>\r\nDATA\r\n"),
        { conditions: { fragment: 1 } }
      )
    }))

  it.effect("resets", () =>
    Effect.gen(function*() {
      const script = Script.make(Script.send("half"), Script.expect("go"), Script.reset)
      const [error, got] = yield* Script.run(script, ({ reader, writer }) =>
        Effect.gen(function*() {
          const got = yield* reader.readExactly(4)
          yield* writer.write("go")
          return [yield* Effect.flip(reader.read(1)), text(got)] as const
        }))
      assert.strictEqual(got, "half")
      assert.strictEqual(error.reason, "Reset")
    }))

  it.effect("is a value, to be joined, repeated and run again", () =>
    Effect.gen(function*() {
      const ping = Script.expect("PING\n").pipe(Script.andThen(Script.send("PONG\n")))
      const three = Script.andThen(Script.repeat(ping, 3), Script.expectEof)
      const program = ({ reader, writer }: Connection.Connection) =>
        Effect.zipRight(
          Effect.repeatN(Effect.zipRight(writer.write("PING\n"), reader.readLine), 2),
          writer.writeEof
        )
      yield* Script.run(three, program)
      yield* Script.run(three, program)
      assert.isTrue(Script.isScript(three))
      assert.isFalse(Script.isScript({}))
    }))

  it.effect("does not mind a program that leaves without reading what it was sent", () =>
    Effect.gen(function*() {
      const much = new Uint8Array(1_000_000)
      yield* Script.run(Script.make(Script.expect("go"), Script.send(much)), ({ writer }) => writer.write("go"))
      yield* Script.run(Script.make(Script.expect("go"), Script.send(much)), ({ abort, writer }) =>
        Effect.zipRight(Effect.zipRight(writer.write("go"), settled), abort))
    }))

  it.effect("leaves out the rest of a wait when the program is done", () =>
    Script.run(Script.make(Script.wait("1 hour"), Script.expect("at once")), ({ writer }) => writer.write("at once")))
})

describe("a script that is not met", () => {
  it.effect("says where the bytes differ, what has happened, and what is left", () =>
    Effect.gen(function*() {
      const error = yield* failure(smtp, ({ reader, writer }) =>
        Effect.gen(function*() {
          yield* reader.readUntil("\r\n")
          yield* Effect.sleep("250 millis")
          yield* writer.write("EHLO you\r\n")
          yield* reader.readUntil("\r\n")
        })).pipe(Effect.fork, Effect.zipLeft(TestClock.adjust("1 second")), Effect.flatMap(Fiber.join))
      assert.strictEqual(error.step, 2)
      assert.strictEqual(
        error.message,
        String.raw`the script was not met: step 2 of 5, expect "EHLO me\r\n": it has come differently
  expected "EHLO me\r\n"
  received "EHLO you\r\n"
                 ^ byte 5: expected 0x6d "m", received 0x79 "y"
what has happened:
    0 ms  script   "220 ready\r\n"
  250 ms  program  "EHLO you\r\n"
what is left of the script:
  2. expect "EHLO me\r\n"
  3. send "250 ok\r\n"
  4. expect "QUIT\r\n"
  5. send "221 bye\r\n"`
      )
    }))

  it.effect("tells what has happened in its order, each at its time", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(failure(
        Script.make(
          Script.send("one"),
          Script.send(" two"),
          Script.wait("1500 millis"),
          Script.send(" three"),
          Script.expect("ok"),
          Script.eof,
          Script.expect("more")
        ),
        ({ reader, writer }) => Effect.zipRight(reader.readExactly(13), writer.write("ok"))
      ))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(
        (yield* Fiber.join(fiber)).transcript,
        [
          "     0 ms  script   \"one two\"",
          "  1500 ms  script   \" three\"",
          "  1500 ms  program  \"ok\"",
          "  1500 ms  script   ends its side",
          "  1500 ms  program  ends its side"
        ].join("\n")
      )
    }))

  it.effect("fails at the first wrong byte, and does not wait for the others", () =>
    Effect.gen(function*() {
      const error = yield* failure(Script.expect("a long line\n"), ({ reader, writer }) =>
        Effect.zipRight(writer.write("a short"), reader.readLine))
      assert.include(error.message, "byte 2: expected 0x6c \"l\", received 0x73 \"s\"")
    }))

  it.effect("finds the first difference in whatever pieces it comes", () =>
    Effect.gen(function*() {
      for (const conditions of [{ fragment: 1 }, { fragment: 2 }, { fragment: 3 }]) {
        const error = yield* failure(
          Script.make(Script.expect("one\n"), Script.expect("two\n")),
          ({ reader, writer }) => Effect.zipRight(writer.write("one\ntwe\n"), reader.readLine),
          { conditions }
        )
        assert.strictEqual(error.step, 2)
        assert.include(error.message, "byte 2: expected 0x6f \"o\", received 0x65 \"e\"")
      }
    }))

  it.effect("fails the reads of a program that would wait for an answer", () =>
    Effect.gen(function*() {
      const reasons: Array<string> = []
      yield* failure(Script.make(Script.expect("right"), Script.send("answer")), ({ reader, writer }) =>
        writer.write("wrong").pipe(
          Effect.zipRight(reader.readLine),
          Effect.tapErrorTag("ConnectionError", (error) =>
            Effect.sync(() => reasons.push(error.reason)))
        ))
      assert.deepStrictEqual(reasons, ["Reset"])
    }))

  it.effect("because the program has sent nothing", () =>
    Effect.gen(function*() {
      const error = yield* failure(Script.expect("hello"), () => Effect.void)
      assert.include(error.message, "step 1 of 1, expect \"hello\": the program has ended its side")
      assert.include(error.message, "  0 ms  program  ends its side")
    }))

  it.effect("because the program has sent too little", () =>
    Effect.gen(function*() {
      const error = yield* failure(Script.expect("hello, world"), ({ writer }) => writer.write("hello"))
      assert.include(
        error.message,
        "the program has ended its side after 5 of 12 bytes:\n" +
          "  expected \"hello, world\"\n" +
          "  received \"hello\"\n" +
          "                 ^ byte 5: expected 0x2c \",\", received the end"
      )
    }))

  it.effect("because the program closes early", () =>
    Effect.gen(function*() {
      const error = yield* failure(smtp, ({ close, reader }) => Effect.zipRight(reader.readUntil("\r\n"), close))
      assert.strictEqual(error.step, 2)
      assert.include(error.message, "the program has ended its side")
      assert.deepStrictEqual(error.remaining, [
        "expect \"EHLO me\\r\\n\"",
        "send \"250 ok\\r\\n\"",
        "expect \"QUIT\\r\\n\"",
        "send \"221 bye\\r\\n\""
      ])
    }))

  it.effect("because the program resets the connection", () =>
    Effect.gen(function*() {
      const error = yield* failure(smtp, ({ abort }) => abort)
      assert.include(error.message, "the program has reset the connection")
      const end = yield* failure(Script.expectEof, ({ abort }) => abort)
      assert.include(end.message, "step 1 of 1, expect the end: the program has reset the connection")
    }))

  it.effect("because the program sends too much", () =>
    Effect.gen(function*() {
      const error = yield* failure(Script.expect("one"), ({ writer }) => writer.write("one and more"))
      assert.include(error.message, "the script is done, and the program has sent \" and more\"")
      assert.deepStrictEqual(error.remaining, [])
      const late = yield* failure(smtp, (connection) =>
        Effect.zipRight(client(connection), connection.writer.write("RSET\r\n")))
      assert.include(late.message, "the script is done, and the program has sent \"RSET\\r\\n\"")
    }))

  it.effect("because the program goes on where its end was due", () =>
    Effect.gen(function*() {
      const error = yield* failure(Script.expectEof, ({ writer }) => writer.write("x"))
      assert.include(error.message, "step 1 of 1, expect the end: the program has sent \"x\"")
    }))

  it.effect("because a line does not match", () =>
    Effect.gen(function*() {
      const error = yield* failure(Script.expectLine(/^EHLO /), ({ writer }) => writer.write("HELO x\r\nmore"))
      assert.include(error.message, "expect a line that matches /^EHLO /: it was \"HELO x\\r\\n\"")
      const short = yield* failure(Script.expectLine(/^EHLO /), ({ writer }) => writer.write("EHLO x"))
      assert.include(short.message, "the program has ended its side after \"EHLO x\"")
    }))

  it.effect("because the program keeps it waiting, where there is a limit to that", () =>
    Effect.gen(function*() {
      const never = yield* Effect.fork(
        failure(smtp, ({ reader }) => Effect.zipRight(reader.readUntil("\r\n"), reader.readLine), {
          timeout: "5 seconds"
        })
      )
      const partly = yield* Effect.fork(
        failure(
          Script.expect("hello"),
          ({ reader, writer }) => Effect.zipRight(writer.write("hel"), reader.readLine),
          { timeout: "5 seconds" }
        )
      )
      const full = yield* Effect.fork(
        failure(Script.send(new Uint8Array(1_000_000)), () => Effect.sleep("1 minute"), { timeout: "5 seconds" })
      )
      yield* TestClock.adjust("4999 millis")
      assert.isNull(never.unsafePoll())
      yield* TestClock.adjust("1 minute")
      assert.include(
        (yield* Fiber.join(never)).message,
        "step 2 of 5, expect \"EHLO me\\r\\n\": nothing has come for 5s"
      )
      assert.include((yield* Fiber.join(partly)).message, "nothing more has come for 5s after \"hel\"")
      assert.include((yield* Fiber.join(full)).message, "the program has not read it for 5s")
    }))

  it.effect("comes before what the program makes of it, and after what the program failed of by itself", () =>
    Effect.gen(function*() {
      const broken = yield* Effect.exit(
        Script.run(
          Script.expect("a"),
          ({ reader, writer }) => Effect.zipRight(writer.write("b"), reader.readExactly(1))
        )
      )
      assert(Exit.isFailure(broken))
      const tags = (exit: Exit.Failure<unknown, unknown>) =>
        Array.from(Cause.failures(exit.cause)).map((error) => (error as { _tag: string })._tag ?? error)
      assert.deepStrictEqual(tags(broken as never), ["ScriptError", "ConnectionError"])
      const bug = yield* Effect.exit(Script.run(Script.expect("a"), () => Effect.fail("a bug")))
      assert(Exit.isFailure(bug))
      assert.deepStrictEqual(tags(bug as never), ["a bug", "ScriptError"])
    }))

  it.effect("says so when the program is interrupted", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(Script.run(smtp, ({ reader }) => reader.readExactly(1000)))
      yield* settled
      const exit = yield* Fiber.interrupt(fiber)
      assert(Exit.isFailure(exit) && Cause.isInterrupted(exit.cause))
      assert.include(Cause.pretty(exit.cause), "the program has ended its side")
    }))
})

describe("connection", () => {
  it.effect("dies at the end of the scope where the script was not met", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.scoped(Effect.flatMap(
        Script.connection(smtp),
        ({ reader }) => reader.readUntil("\r\n")
      )))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.include(scriptErrorOf(exit).message, "step 2 of 5")
    }))

  it.scoped("succeeds where it was", () => Effect.flatMap(Script.connection(smtp), client))

  it.effect("is verified on demand, and then the scope says nothing", () =>
    Effect.gen(function*() {
      const met = yield* Script.connection(smtp)
      yield* client(met)
      yield* Script.verify(met)
      yield* Script.verify(met)
      assert.isTrue(yield* met.isClosing)
      const unmet = yield* Script.connection(smtp)
      const error = yield* Effect.flip(Script.verify(unmet))
      assert.strictEqual(error.step, 2)
      assert.strictEqual((yield* Effect.flip(Script.verify(unmet))).message, error.message)
    }).pipe(Effect.scoped))

  it.effect("knows what is to be verified", () =>
    Effect.gen(function*() {
      const [other] = yield* TestNetwork.pair()
      const exit = yield* Effect.exit(Script.verify(other))
      assert(Exit.isFailure(exit))
      assert.include(Cause.pretty(exit.cause), "this was not made by Script.connection or Script.serve")
    }).pipe(Effect.scoped))

  it.effect("is subject to options", () =>
    Effect.gen(function*() {
      const connection = yield* Script.connection(Script.send("0123456789\n"), { limit: 5 })
      const error = yield* Effect.flip(connection.reader.readLine)
      assert.strictEqual(error._tag, "LimitOverrunError")
      const exit = yield* Effect.exit(Script.connection(smtp, { timeout: -1 }))
      assert(Exit.isFailure(exit))
      assert.include(Cause.pretty(exit.cause), "timeout must be a duration, 0 or longer, got -1")
    }).pipe(Effect.scoped))
})

const dial = (port: number) => Network.openConnection({ host: "localhost", port })

describe("serve", () => {
  it.scoped("plays one script for every connection", () =>
    Effect.gen(function*() {
      const server = yield* Script.serve({ port: 25 }, smtp)
      for (let i = 0; i < 3; i++) {
        const words = yield* Effect.scoped(Effect.flatMap(dial(25), client))
        assert.strictEqual(words[2], "221 bye\r\n")
      }
      yield* Script.verify(server)
    }).pipe(Effect.provide(TestNetwork.layer)))

  it.scoped("plays several, one for each connection", () =>
    Effect.gen(function*() {
      yield* Script.serve({ port: 25 }, [Script.reset, smtp])
      const first = yield* Effect.exit(Effect.scoped(Effect.flatMap(dial(25), client)))
      assert.isTrue(Exit.isFailure(first))
      yield* Effect.scoped(Effect.flatMap(dial(25), client))
    }).pipe(Effect.provide(TestNetwork.layer)))

  const verdict = <E>(
    scripts: Script.Script | ReadonlyArray<Script.Script>,
    program: Effect.Effect<unknown, E, Network.Network | Scope.Scope>
  ) =>
    Effect.gen(function*() {
      yield* Script.serve({ port: 25 }, scripts)
      yield* Effect.exit(program)
    }).pipe(Effect.scoped, Effect.exit, Effect.map(scriptErrorOf), Effect.provide(TestNetwork.layer))

  it.effect("says which connection has not met its script", () =>
    Effect.gen(function*() {
      const error = yield* verdict(
        [smtp, smtp],
        Effect.zipRight(
          Effect.scoped(Effect.flatMap(dial(25), client)),
          Effect.scoped(Effect.flatMap(dial(25), ({ writer }) => writer.write("HELO")))
        )
      )
      assert.match(error.message, /^the script was not met: connection 2, from 127\.0\.0\.1:\d+: step 2 of 5, /)
      assert.include(error.message, "expected 0x45 \"E\", received 0x48 \"H\"")
    }))

  it.effect("misses connections that did not come, and minds those that were not due", () =>
    Effect.gen(function*() {
      const once = Effect.scoped(Effect.flatMap(dial(25), client))
      assert.include(
        (yield* verdict(smtp, Effect.void)).message,
        "nobody has connected, and the script is for at least one"
      )
      const missed = yield* verdict([smtp, smtp, Script.expect("third")], Effect.zipRight(once, once))
      assert.include(missed.message, "2 connections have come, and there are scripts for 3")
      assert.deepStrictEqual(missed.remaining, ["expect \"third\""])
      assert.match(
        (yield* verdict([smtp], Effect.zipRight(once, once))).message,
        /connection 2, from 127\.0\.0\.1:\d+: there are scripts for 1 only/
      )
    }))

  it.effect("ends although a program stays connected, and says where that was", () =>
    Effect.gen(function*() {
      const outer = yield* Scope.make()
      const error = yield* verdict(
        Script.make(Script.send("220 ready\r\n"), Script.wait("1 hour"), Script.expect("EHLO")),
        Scope.extend(
          Effect.flatMap(dial(25), ({ reader }) => reader.readUntil("\r\n")),
          outer
        )
      )
      assert.include(error.message, "the test has ended, and the program is still connected, at step 3")
      yield* Scope.close(outer, Exit.void)
    }))

  it.scopedLive("works over sockets, as does the handler that plays a script", () =>
    Effect.gen(function*() {
      const portOf = ({ addresses: [address] }: { readonly addresses: readonly [unknown, ...Array<unknown>] }) =>
        (address as { readonly port: number }).port
      const server = yield* Script.serve({ host: "127.0.0.1" }, smtp)
      yield* Effect.scoped(
        Effect.flatMap(Network.openConnection({ host: "127.0.0.1", port: portOf(server) }), client)
      )
      yield* Script.verify(server)
      const failed = yield* Deferred.make<string>()
      const other = yield* Network.startServer(
        {
          host: "127.0.0.1",
          onError: ({ cause }) => Deferred.succeed(failed, Cause.pretty(cause))
        },
        Script.play(smtp)
      )
      const exit = yield* Effect.exit(Effect.scoped(Effect.flatMap(
        Network.openConnection({ host: "127.0.0.1", port: portOf(other) }),
        ({ reader, writer }) => Effect.zipRight(writer.write("QUIT\r\n"), reader.readAll())
      )))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(yield* Deferred.await(failed), "step 2 of 5, expect \"EHLO me\\r\\n\": it has come differently")
    }).pipe(Effect.provide(NodeNetwork.layer)))
})

describe("what makes no sense", () => {
  const thrown = (make: () => unknown): string => {
    try {
      make()
    } catch (error) {
      assert.isTrue(Cause.isIllegalArgumentException(error))
      return (error as Error).message
    }
    return "nothing"
  }

  it("throws where the script is made", () => {
    assert.strictEqual(thrown(() => Script.expect("")), "Script.expect: data must not be empty")
    assert.strictEqual(
      thrown(() => Script.send(5 as never)),
      "Script.send: data must be a Uint8Array or a string, got number"
    )
    assert.strictEqual(
      thrown(() => Script.make(Script.expect("a"), Script.eof, Script.expect("b"), Script.send("c"))),
      "Script: step 4 (send \"c\") must not come after step 2 (end this side)"
    )
    assert.strictEqual(
      thrown(() => Script.andThen(Script.reset, Script.expectEof)),
      "Script: step 2 (expect the end) must not come after step 1 (reset the connection)"
    )
    assert.strictEqual(
      thrown(() => Script.repeat(smtp, -1)),
      "Script.repeat: times must be a whole number, 0 or more, got -1"
    )
    assert.strictEqual(
      thrown(() => Script.wait(-1)),
      "Script.wait: duration must be a duration, 0 or longer, got -1"
    )
  })
})

describe("how bytes are shown", () => {
  it("as the characters that they are, and escaped where they are none", () => {
    const shown = (bytes: ReadonlyArray<number> | string) =>
      quoted(typeof bytes === "string" ? utf8(bytes) : Uint8Array.from(bytes))
    assert.strictEqual(shown("a\"b\\c\r\n\t\0"), String.raw`"a\"b\\c\r\n\t\0"`)
    assert.strictEqual(shown("ü€😀漢"), "\"ü€😀漢\"")
    assert.strictEqual(shown([0x1b, 0x7f, 0x80, 0xff, 0xc3]), String.raw`"\x1b\x7f\x80\xff\xc3"`)
    // What can't be seen, or looks like something else.
    assert.strictEqual(shown("\u00a0\u200b"), String.raw`"\xc2\xa0\xe2\x80\x8b"`)
    assert.strictEqual(shown([0xe2, 0x82, 0x41]), String.raw`"\xe2\x82A"`)
    assert.strictEqual(shown("x".repeat(300)), `"${"x".repeat(200)}"… (300 bytes)`)
  })

  const marked = (expected: Uint8Array | string, received: Uint8Array | string, position: number): string => {
    const bytes = (data: Uint8Array | string) => typeof data === "string" ? utf8(data) : data
    const lines = difference(bytes(expected), bytes(received), position).split("\n")
    const column = lines[2]!.indexOf("^")
    return `${lines[0]!.slice(column, column + 4)}|${lines[1]!.slice(column, column + 4)}`
  }

  it("with the mark below the difference, whatever stands before it", () => {
    assert.strictEqual(marked("\r\nüabcd", "\r\nüxbcd", 4), "abcd|xbcd")
    assert.strictEqual(marked(`${"=".repeat(500)}abcd`, `${"=".repeat(500)}xbcd`, 500), "abcd|xbcd")
    assert.strictEqual(marked(`abcd${"=".repeat(500)}`, `xbcd${"=".repeat(500)}`, 0), "abcd|xbcd")
    // In the middle of a character, which is where the mark goes.
    assert.strictEqual(marked("ü12", "ö12", 1), "ü12\"|ö12\"")
    assert.strictEqual(marked("abcd", "ab", 2), "cd\"|\"")
  })
})
