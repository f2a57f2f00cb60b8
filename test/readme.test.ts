/**
 * Recipes of the README, as they stand there.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Equal, Fiber, Logger, LogLevel, Option, TestClock } from "effect"
import {
  Address,
  type Connection,
  Network,
  NetworkError,
  type Server,
  StreamReader,
  TestNetwork
} from "effect-netstreams"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { toLatin1, utf8 } from "./support/chunkings.js"

// Recipe.
// The next line that is not too long. Empty at the end, as `readLine` has it.
const command = (reader: StreamReader.StreamReader) =>
  reader.readLine.pipe(
    Effect.timeout("30 seconds"), // what has arrived by then stays for the next read
    Effect.tapErrorTag("LimitOverrunError", () => reader.skipUntil("\n")),
    Effect.retry({ while: (error) => error._tag === "LimitOverrunError" })
  )

// Recipe.
const onError = ({ cause, phase, remoteAddress }: Server.ServerError) => {
  const error = Cause.squash(cause)
  // Of this connection, not of one to a third party; and nothing has died beside it.
  const clientIsGone = error instanceof NetworkError.ConnectionError && !Cause.isDie(cause) &&
    Equal.equals(error.remoteAddress, remoteAddress)
  return Effect.annotateLogs(
    clientIsGone ? Effect.logDebug(error.message) : Effect.logError(`${phase} failed`, cause),
    "network.peer.address",
    Option.match(remoteAddress, { onNone: () => "unknown", onSome: Address.format })
  )
}

it("the recipes here are those of the README", () => {
  const read = (path: string) => Fs.readFileSync(Path.resolve(import.meta.dirname, path), "utf8")
  const recipes = Array.from(
    read("readme.test.ts").matchAll(/^\/\/ Recipe\.\n(.*?\n)\n/gms),
    ([, it]) => it!
  )
  assert.strictEqual(recipes.length, 2)
  const readme = read("../README.md")
  recipes.forEach((recipe) => assert.include(readme, `\n${recipe}\`\`\`\n`))
})

describe("commands of which some are too long", () => {
  const commands = (reader: StreamReader.StreamReader) => Effect.map(command(reader), toLatin1)

  it.effect("gives those that are not, and then the end", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* StreamReader.make({ limit: 4 })
      yield* feed.data(utf8("long one\n\nlong two\nlong three\nok\nlong four\nlast"))
      yield* feed.eof
      const seen = [yield* commands(reader), yield* commands(reader), yield* commands(reader), yield* commands(reader)]
      assert.deepStrictEqual(seen, ["\n", "ok\n", "last", ""])
    }))

  it.effect("fails where the last one is too long", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* StreamReader.make({ limit: 4 })
      yield* feed.data(utf8("long one\nlong two"))
      yield* feed.eof
      assert.strictEqual((yield* Effect.flip(commands(reader)))._tag, "IncompleteReadError")
      assert.strictEqual(yield* commands(reader), "")
    }))

  it.effect("loses nothing by a time limit", () =>
    Effect.gen(function*() {
      const { feed, reader } = yield* StreamReader.make({ limit: 4 })
      yield* feed.data(utf8("ha"))
      const late = yield* Effect.fork(Effect.flip(commands(reader)))
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* Fiber.join(late))._tag, "TimeoutException")
      yield* feed.data(utf8("lf\n"))
      assert.strictEqual(yield* commands(reader), "half\n")
    }))
})

describe("a server that tells clients that vanish from mistakes", () => {
  const debug = Effect.provide(Logger.minimumLogLevel(LogLevel.Debug))

  /** The lines about a handler that fails so. Its client resets the connection where it says so. */
  const logged = (
    handler: (connection: Connection.Connection) => Effect.Effect<unknown, unknown>,
    client: "resets" | "stays" = "stays"
  ) =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const told = yield* Deferred.make<void>()
      const logger = Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ annotations, logLevel, message }) => {
          if (Array.from(annotations).some(([name]) => name === "network.peer.address")) {
            lines.push(`${logLevel.label} ${(message as ReadonlyArray<unknown>)[0]}`)
          }
        })
      )
      yield* Effect.gen(function*() {
        const tell = (error: Server.ServerError) => Effect.ensuring(onError(error), Deferred.succeed(told, undefined))
        yield* Network.startServer({ port: 7, onError: tell }, handler)
        const connection = yield* Network.openConnection({ host: "localhost", port: 7 })
        if (client === "resets") {
          yield* connection.abort
        }
        yield* Deferred.await(told)
      }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer), debug, Effect.provide(logger), TestNetwork.simulate)
      // Dialling writes lines at this level, too.
      return lines.filter((line) => !line.includes("connect to"))
    })

  it.effect("a reset is a line for debugging", () =>
    Effect.gen(function*() {
      const [line, ...others] = yield* logged(({ reader }) => reader.readLine, "resets")
      assert.match(line!, /^DEBUG read from 127\.0\.0\.1:\d+: the peer reset the connection/)
      assert.deepStrictEqual(others, [])
    }))

  it.effect("everything else is an error", () =>
    Effect.gen(function*() {
      const third = new NetworkError.ConnectionError({
        reason: "Reset",
        operation: "read",
        remoteAddress: Option.some(Address.tcp("192.0.2.1", 80)),
        code: Option.none()
      })
      const failed = ["ERROR handler failed"]
      assert.deepStrictEqual(yield* logged(() => Effect.fail("no")), failed)
      assert.deepStrictEqual(yield* logged(() => Effect.fail(third)), failed)
      const ofThis = ({ remoteAddress }: Connection.Connection) =>
        new NetworkError.ConnectionError({ ...third, remoteAddress: Option.some(remoteAddress) })
      assert.deepStrictEqual(
        yield* logged((connection) => Effect.ensuring(Effect.fail(ofThis(connection)), Effect.die("too"))),
        failed
      )
    }))
})
