/**
 * A scripted peer: what the program under test must send, and what it is answered, step by step.
 *
 * A script is a value, made of steps and of other scripts. It is played at the far end of a connection in memory
 * (`run`, `connection`), by a server (`serve`), or at one end of any connection (`play`). What was not met fails with a
 * `ScriptError` that shows where the bytes differ, what happened so far, and what was left to do.
 *
 * Nothing hangs: the first byte that is wrong fails the script, and a script that fails resets the connection. A script
 * that is done ends its side, so that a program which reads on finds the end; if it sends more, that is a failure. What
 * a script still expects when the program is done fails too.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Pipeable } from "effect/Pipeable"
import type * as Scope from "effect/Scope"
import type * as Connection from "./Connection.js"
import type { LinkConditions } from "./Faults.js"
import * as internal from "./internal/script.js"
import { ScriptError } from "./internal/scriptError.js"
import type * as Network from "./Network.js"
import type { ListenError } from "./NetworkError.js"
import type * as Server from "./Server.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = internal.TypeId

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * Steps, in order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Script extends Pipeable {
  readonly [TypeId]: TypeId
}

export {
  /**
   * A script was not met.
   *
   * **Details**
   *
   * `step` is the step that was not met, from 1; `found` says what came instead, with the bytes that differ one above the
   * other; `transcript` is what both sides have done; `remaining` are the steps that were left, this one first. The
   * message has all of them.
   *
   * @since 0.1.0
   * @category errors
   */
  ScriptError
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isScript: (u: unknown) => u is Script = internal.isScript

/**
 * The program must send these bytes next; a string stands for its UTF-8.
 *
 * @since 0.1.0
 * @category steps
 */
export const expect: (data: string | Uint8Array) => Script = internal.expect

/**
 * The program must send a line next, through `\n`, which matches a pattern. The pattern sees it without its terminator
 * (`\n`, `\r\n`).
 *
 * @since 0.1.0
 * @category steps
 */
export const expectLine: (pattern: RegExp) => Script = internal.expectLine

/**
 * The program must end its side next.
 *
 * @since 0.1.0
 * @category steps
 */
export const expectEof: Script = internal.expectEof

/**
 * Sends bytes; a string stands for its UTF-8. Whether the program has read them is not part of the script.
 *
 * @since 0.1.0
 * @category steps
 */
export const send: (data: string | Uint8Array) => Script = internal.send

/**
 * Waits, by the program's `Clock`. When the program is done, the rest of the wait is left out.
 *
 * @since 0.1.0
 * @category steps
 */
export const wait: (duration: Duration.DurationInput) => Script = internal.wait

/**
 * Ends the script's side in order: the program reads its end of stream, and may go on sending.
 *
 * @since 0.1.0
 * @category steps
 */
export const eof: Script = internal.eof

/**
 * Resets the connection: the program's reads fail. The last step of a script.
 *
 * @since 0.1.0
 * @category steps
 */
export const reset: Script = internal.reset

/**
 * One script of several, in order. Steps that can't follow each other (sending after the end) throw an
 * `IllegalArgumentException`.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Script } from "effect-netstreams"
 *
 * const greeting = Script.make(
 *   Script.send("220 ready\r\n"),
 *   Script.expectLine(/^EHLO \S+$/),
 *   Script.send("250 ok\r\n")
 * )
 * const session = greeting.pipe(
 *   Script.andThen(Script.expect("QUIT\r\n")),
 *   Script.andThen(Script.wait("1 second")),
 *   Script.andThen(Script.send("221 bye\r\n")),
 *   Script.andThen(Script.eof)
 * )
 * ```
 */
export const make: (...scripts: ReadonlyArray<Script>) => Script = internal.make

/**
 * One script after another.
 *
 * @since 0.1.0
 * @category combinators
 */
export const andThen: {
  (that: Script): (self: Script) => Script
  (self: Script, that: Script): Script
} = internal.andThen

/**
 * A script so many times.
 *
 * @since 0.1.0
 * @category combinators
 */
export const repeat: {
  (times: number): (self: Script) => Script
  (self: Script, times: number): Script
} = internal.repeat

/**
 * How a script is played.
 *
 * @since 0.1.0
 * @category options
 */
export interface PlayOptions {
  /**
   * How long the script may wait for the program to send something, or to read what it is sent, by the `Clock`. Whatever
   * comes begins it anew, so a step that is met bit by bit may take longer. Without limit by default: a program that
   * neither sends nor ends is then waited for until its scope does.
   */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * How a script and a program are connected in memory.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends PlayOptions, Connection.Options {
  /** What lies between the two: perfect by default. `{ fragment: 1 }` is every byte alone. */
  readonly conditions?: LinkConditions | undefined
  /** What chance goes by: 0 by default. */
  readonly seed?: number | undefined
}

/**
 * How scripts are served: as any server, on any network.
 *
 * @since 0.1.0
 * @category options
 */
export interface ServeOptions extends Network.ListenOptions, PlayOptions {}

/**
 * Runs a program with a connection whose peer is the script. Succeeds with what the program does where the script was
 * met, and fails with a `ScriptError` where it was not, whatever the program made of it.
 *
 * **Details**
 *
 * The connection is closed when the program has returned.
 *
 * @since 0.1.0
 * @category running
 * @example
 * ```ts
 * import { type Connection, Script } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const ping = ({ reader, writer }: Connection.Connection) =>
 *   Effect.zipRight(writer.write("PING\r\n"), reader.readUntil("\r\n"))
 *
 * const test = Script.run(
 *   Script.make(Script.expect("PING\r\n"), Script.send("PONG\r\n")),
 *   ping
 * )
 * ```
 */
export const run: <A, E, R>(
  script: Script,
  program: (connection: Connection.Connection) => Effect.Effect<A, E, R>,
  options?: Options | undefined
) => Effect.Effect<A, E | ScriptError, Exclude<R, Scope.Scope>> = internal.run

/**
 * A connection whose peer is the script. The scope closes it, and dies with the `ScriptError` where the script was not
 * met, unless `verify` was asked before.
 *
 * @since 0.1.0
 * @category running
 */
export const connection: (
  script: Script,
  options?: Options | undefined
) => Effect.Effect<Connection.Connection, never, Scope.Scope> = internal.connection

/**
 * Plays a script at one end of a connection, and waits for the program at the other end to end its side. As a function of
 * the connection it is the handler of a server.
 *
 * **Details**
 *
 * As a handler, its failure goes to the server's `onError`: use `serve` to have it fail the test.
 *
 * @since 0.1.0
 * @category running
 * @example
 * ```ts
 * import { Script, TestNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const script = Script.make(Script.expect("PING\r\n"), Script.send("PONG\r\n"))
 *
 * const test = Effect.gen(function*() {
 *   const [client, server] = yield* TestNetwork.pair()
 *   const playing = yield* Effect.fork(Script.play(script)(server))
 *   yield* client.writer.write("PING\r\n")
 *   yield* client.close
 *   yield* playing
 * }).pipe(Effect.scoped)
 * ```
 */
export const play: (
  script: Script,
  options?: PlayOptions | undefined
) => (connection: Connection.Connection) => Effect.Effect<void, ScriptError> = internal.play

/**
 * A server that plays scripts: one for every connection, or of several the first for the first connection and so on. The
 * scope stops it, and dies with the `ScriptError` where a script was not met, a connection came for which there is no
 * script, or one did not come, unless `verify` was asked before.
 *
 * **Details**
 *
 * A program that is still connected when the scope ends has not met its script.
 *
 * @since 0.1.0
 * @category running
 * @example
 * ```ts
 * import { Network, Script, TestNetwork } from "effect-netstreams"
 * import { Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   yield* Script.serve({ port: 6379 }, Script.make(Script.expect("PING\r\n"), Script.send("+PONG\r\n")))
 *   const { reader, writer } = yield* Network.openConnection({ host: "localhost", port: 6379 })
 *   yield* writer.write("PING\r\n")
 *   return yield* reader.readLine
 * }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer))
 * ```
 */
export const serve: (
  options: ServeOptions,
  scripts: Script | ReadonlyArray<Script>
) => Effect.Effect<Server.Server, ListenError, Network.Network | Scope.Scope> = internal.serve

/**
 * Says that the program is done, and whether the script was met: of a connection made by `connection`, which it closes,
 * or of a server made by `serve`.
 *
 * @since 0.1.0
 * @category running
 */
export const verify: (
  subject: Connection.Connection | Server.Server
) => Effect.Effect<void, ScriptError> = internal.verify
