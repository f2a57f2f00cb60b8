/**
 * Playing a script at one end of a connection.
 *
 * One fiber does the steps in order. What the program under test has sent is looked at byte by byte as it comes, so that
 * the first wrong byte fails the script, and not the absence of those that should have followed it. A script that fails
 * resets the connection, for the program may wait for an answer that will not come. A script that is done ends its side
 * and sees that nothing more comes.
 *
 * When the program is done, by the end of its scope or by `verify`, its end of the connection is closed. The script then
 * finds all that was sent, and the end after it, so that nothing it waits for can keep it waiting; what it still wants
 * to wait itself is cut short.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import { pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Address from "../Address.js"
import type * as Connection from "../Connection.js"
import * as Network from "../Network.js"
import type { ConnectionError, ListenError } from "../NetworkError.js"
import type * as Api from "../Script.js"
import type * as Server from "../Server.js"
import * as argument from "./argument.js"
import { isBytes } from "./bytes.js"
import { eventLoopTurn } from "./eventLoopTurn.js"
import { ScriptError } from "./scriptError.js"
import { difference, differsAt, Proceedings, quoted } from "./scriptReport.js"
import { pair } from "./testNetwork/service.js"

/** @internal */
export const TypeId: Api.TypeId = Symbol.for("effect-netstreams/Script") as Api.TypeId

// -----------------------------------------------------------------------------
// steps
// -----------------------------------------------------------------------------

type Step =
  | { readonly _tag: "Expect"; readonly bytes: Uint8Array }
  | { readonly _tag: "ExpectLine"; readonly pattern: RegExp }
  | { readonly _tag: "ExpectEof" }
  | { readonly _tag: "Send"; readonly bytes: Uint8Array }
  | { readonly _tag: "Wait"; readonly duration: Duration.Duration }
  | { readonly _tag: "Eof" }
  | { readonly _tag: "Reset" }

const nameOf = (step: Step): string => {
  switch (step._tag) {
    case "Expect":
      return `expect ${quoted(step.bytes)}`
    case "ExpectLine":
      return `expect a line that matches ${step.pattern}`
    case "ExpectEof":
      return "expect the end"
    case "Send":
      return `send ${quoted(step.bytes)}`
    case "Wait":
      return `wait ${Duration.format(step.duration)}`
    case "Eof":
      return "end this side"
    case "Reset":
      return "reset the connection"
  }
}

class ScriptImpl implements Api.Script {
  readonly [TypeId]: Api.TypeId = TypeId
  constructor(readonly steps: ReadonlyArray<Step>) {}
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/** @internal */
export const isScript = (u: unknown): u is Api.Script => hasProperty(u, TypeId)

const stepsOf = (script: Api.Script): ReadonlyArray<Step> => (script as ScriptImpl).steps
const one = (step: Step): Api.Script => new ScriptImpl([step])

const illegal = (message: string): never => {
  throw new Cause.IllegalArgumentException(message)
}

const encoder = new TextEncoder()
const bytesOf = (name: string, data: string | Uint8Array): Uint8Array => {
  const bytes = typeof data === "string"
    ? encoder.encode(data)
    : isBytes(data)
    ? new Uint8Array(data)
    : illegal(`${name}: data must be a Uint8Array or a string, got ${typeof data}`)
  return bytes.length === 0 ? illegal(`${name}: data must not be empty`) : bytes
}

/** @internal */
export const expect = (data: string | Uint8Array): Api.Script =>
  one({ _tag: "Expect", bytes: bytesOf("Script.expect", data) })
/** @internal */
export const expectLine = (pattern: RegExp): Api.Script => one({ _tag: "ExpectLine", pattern })
/** @internal */
export const expectEof: Api.Script = one({ _tag: "ExpectEof" })
/** @internal */
export const send = (data: string | Uint8Array): Api.Script =>
  one({ _tag: "Send", bytes: bytesOf("Script.send", data) })
/** @internal */
export const wait = (duration: Duration.DurationInput): Api.Script => {
  const problem = argument.duration("Script.wait: duration", duration)
  return problem === undefined ? one({ _tag: "Wait", duration: Duration.decode(duration) }) : illegal(problem)
}
/** @internal */
export const eof: Api.Script = one({ _tag: "Eof" })
/** @internal */
export const reset: Api.Script = one({ _tag: "Reset" })

/** What a step may not follow: nothing is sent after the end of a side, and nothing at all after a reset. */
const misplaced = (steps: ReadonlyArray<Step>): readonly [late: number, end: number] | undefined => {
  for (let late = 0; late < steps.length; late++) {
    const { _tag } = steps[late]!
    const end = steps.findIndex((step, i) =>
      i < late && (step._tag === "Reset" || (step._tag === "Eof" && (_tag === "Send" || _tag === "Eof")))
    )
    if (end >= 0) {
      return [late, end]
    }
  }
  return undefined
}

/** @internal */
export const make = (...scripts: ReadonlyArray<Api.Script>): Api.Script => {
  const steps = scripts.flatMap(stepsOf)
  const wrong = misplaced(steps)
  if (wrong === undefined) {
    return new ScriptImpl(steps)
  }
  const [late, end] = wrong
  return illegal(
    `Script: step ${late + 1} (${nameOf(steps[late]!)}) must not come after step ${end + 1} (${nameOf(steps[end]!)})`
  )
}

/** @internal */
export const andThen: {
  (that: Api.Script): (self: Api.Script) => Api.Script
  (self: Api.Script, that: Api.Script): Api.Script
} = dual(2, (self: Api.Script, that: Api.Script) => make(self, that))

/** @internal */
export const repeat: {
  (times: number): (self: Api.Script) => Api.Script
  (self: Api.Script, times: number): Api.Script
} = dual(2, (self: Api.Script, times: number) => {
  const problem = argument.notNegative("Script.repeat: times", times)
  return problem === undefined ? make(...Array.from({ length: times }, () => self)) : illegal(problem)
})

// -----------------------------------------------------------------------------
// playing
// -----------------------------------------------------------------------------

/** How much more than it wants a step looks at, so that what is wrong is seen in its context. */
const lookahead = 256

const emptyBytes = new Uint8Array(0)

const joined = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(a.length + b.length)
  bytes.set(a)
  bytes.set(b, a.length)
  return bytes
}

const decoder = new TextDecoder()

/** One script at one end of one connection. */
class Player {
  private readonly record = new Proceedings()
  private began = 0
  /** The index of the step that is to be met next. */
  private step = 0
  /** The program is done: nothing is worth a wait any more. */
  private readonly concluded = Deferred.unsafeMake<void>(FiberId.none)
  /** How it ended, once it has. */
  verdict: Exit.Exit<void, ScriptError> | undefined = undefined

  constructor(
    private readonly steps: ReadonlyArray<Step>,
    private readonly connection: Connection.Connection,
    private readonly timeout: Duration.Duration | undefined,
    /** Which of several. */
    private readonly name: string
  ) {}

  /** Plays the script, and waits for the program to end its side. */
  get play(): Effect.Effect<void, ScriptError> {
    return Effect.gen(this, function*() {
      this.began = yield* Clock.currentTimeMillis
      for (const step of this.steps) {
        yield* this.perform(step)
        this.step++
      }
      if (this.steps.some(({ _tag }) => _tag === "Reset")) {
        return
      }
      if (!this.steps.some(({ _tag }) => _tag === "Eof")) {
        yield* Effect.ignore(this.connection.writer.writeEof)
        yield* this.note("script", "ends its side, for it is done")
      }
      yield* this.nothingMore
    }).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          this.verdict ??= exit
        })
      ),
      // The program may wait for an answer that will not come.
      Effect.tapError(() => this.connection.abort)
    )
  }

  get conclude(): Effect.Effect<void> {
    return Effect.asVoid(Deferred.succeed(this.concluded, undefined))
  }

  /** Decides that a script which has not ended never will. */
  get giveUp(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.verdict ??= Exit.fail(
        this.failure(
          this.step < this.steps.length
            ? `the test has ended, and the program is still connected, at step ${this.step + 1}`
            : "the test has ended, the script is done, and the program is still connected"
        )
      )
      return this.connection.abort
    })
  }

  private note(by: "program" | "script", what: string | Uint8Array): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (now) => this.record.add(now - this.began, by, what))
  }

  private failure(found: string): ScriptError {
    return new ScriptError({
      step: this.step + 1,
      found: `${this.name}${found}`,
      transcript: this.record.print(),
      remaining: this.steps.slice(this.step).map(nameOf)
    })
  }

  private fail(found: string): Effect.Effect<never, ScriptError> {
    return Effect.suspend(() => Effect.fail(this.failure(found)))
  }

  private get where(): string {
    return `step ${this.step + 1} of ${this.steps.length}, ${nameOf(this.steps[this.step]!)}`
  }

  private perform(step: Step): Effect.Effect<void, ScriptError> {
    switch (step._tag) {
      case "Expect":
        return this.expect(step.bytes)
      case "ExpectLine":
        return this.expectLine(step.pattern)
      case "ExpectEof":
        return this.expectEof
      case "Send":
        return this.send(step.bytes)
      case "Wait":
        return Effect.raceFirst(Effect.sleep(step.duration), Deferred.await(this.concluded))
      case "Eof":
        return Effect.zipRight(
          Effect.ignore(this.connection.writer.writeEof),
          this.note("script", "ends its side")
        )
      case "Reset":
        return Effect.zipRight(this.note("script", "resets the connection"), this.connection.abort)
    }
  }

  /** Bounds a wait for the program, where that was asked for. */
  private within<A, E>(
    effect: Effect.Effect<A, E>,
    onTimeout: () => Effect.Effect<never, ScriptError>
  ): Effect.Effect<A, E | ScriptError> {
    return this.timeout === undefined ? effect : Effect.flatMap(
      Effect.timeoutOption(effect, this.timeout),
      Option.match({ onNone: onTimeout, onSome: Effect.succeed })
    )
  }

  /** The next bytes from the program; how it ended, if it has. */
  private receive(n: number, received: () => Uint8Array): Effect.Effect<Uint8Array | string, ScriptError> {
    return this.within(
      Effect.matchEffect(this.connection.reader.read(n), {
        onSuccess: (bytes): Effect.Effect<Uint8Array | string> =>
          bytes.length > 0
            ? Effect.succeed(bytes)
            : Effect.as(this.note("program", "ends its side"), "has ended its side"),
        onFailure: (error) => this.lost(error)
      }),
      () => this.late(received())
    )
  }

  private lost(error: ConnectionError): Effect.Effect<string> {
    return error.reason === "Reset"
      ? Effect.as(this.note("program", "resets the connection"), "has reset the connection")
      : Effect.as(this.note("program", `is lost: ${error.message}`), `is lost (${error.message})`)
  }

  private late(received: Uint8Array): Effect.Effect<never, ScriptError> {
    const waited = Duration.format(this.timeout!)
    return Effect.zipRight(
      this.noteRest(received),
      this.fail(
        received.length === 0
          ? `${this.where}: nothing has come for ${waited}`
          : `${this.where}: nothing more has come for ${waited} after ${quoted(received)}`
      )
    )
  }

  private noteRest(received: Uint8Array): Effect.Effect<void> {
    return received.length === 0 ? Effect.void : this.note("program", received)
  }

  private expect(expected: Uint8Array): Effect.Effect<void, ScriptError> {
    return Effect.gen(this, function*() {
      let received: Uint8Array = emptyBytes
      while (received.length < expected.length) {
        const bytes = yield* this.receive(expected.length - received.length + lookahead, () => received)
        if (typeof bytes === "string") {
          const after = received.length === 0
            ? ""
            : ` after ${received.length} of ${expected.length} bytes:\n${
              difference(expected, received, received.length)
            }`
          return yield* this.fail(`${this.where}: the program ${bytes}${after}`)
        }
        received = joined(received, bytes)
        const at = differsAt(expected, received)
        if (at !== undefined) {
          yield* this.note("program", received)
          return yield* this.fail(`${this.where}: it has come differently\n${difference(expected, received, at)}`)
        }
      }
      if (received.length > expected.length) {
        yield* this.connection.reader.unread(received.subarray(expected.length))
      }
      yield* this.note("program", expected)
    })
  }

  private expectLine(pattern: RegExp): Effect.Effect<void, ScriptError> {
    return Effect.gen(this, function*() {
      let line: Uint8Array = emptyBytes
      for (let end = -1; end < 0;) {
        const bytes = yield* this.receive(lookahead, () => line)
        if (typeof bytes === "string") {
          yield* this.noteRest(line)
          return yield* this.fail(
            `${this.where}: the program ${bytes}${line.length === 0 ? "" : ` after ${quoted(line)}`}`
          )
        }
        const searched = line.length
        line = joined(line, bytes)
        end = line.indexOf(10, searched)
        if (end >= 0 && end + 1 < line.length) {
          yield* this.connection.reader.unread(line.subarray(end + 1))
          line = line.subarray(0, end + 1)
        }
      }
      yield* this.note("program", line)
      pattern.lastIndex = 0
      if (!pattern.test(decoder.decode(line).replace(/\r?\n$/, ""))) {
        return yield* this.fail(`${this.where}: it was ${quoted(line)}`)
      }
    })
  }

  private get expectEof(): Effect.Effect<void, ScriptError> {
    return Effect.gen(this, function*() {
      const bytes = yield* this.receive(lookahead, () => emptyBytes)
      if (typeof bytes !== "string") {
        yield* this.note("program", bytes)
        return yield* this.fail(`${this.where}: the program has sent ${quoted(bytes)}`)
      }
      if (bytes !== "has ended its side") {
        return yield* this.fail(`${this.where}: the program ${bytes}`)
      }
    })
  }

  private get nothingMore(): Effect.Effect<void, ScriptError> {
    return Effect.matchEffect(this.connection.reader.read(lookahead), {
      // However it ends, it ends after the script.
      onFailure: () => Effect.void,
      onSuccess: (bytes) =>
        bytes.length === 0 ? Effect.void : Effect.zipRight(
          this.note("program", bytes),
          this.fail(`the script is done, and the program has sent ${quoted(bytes)}`)
        )
    })
  }

  private send(bytes: Uint8Array): Effect.Effect<void, ScriptError> {
    return Effect.zipRight(
      this.note("script", bytes),
      this.within(
        Effect.catchAll(
          this.connection.writer.write(bytes),
          (error) => this.note("script", `could not send that: ${error.message}`)
        ),
        () => this.fail(`${this.where}: the program has not read it for ${Duration.format(this.timeout!)}`)
      )
    )
  }
}

const timeoutProblem = (options: Api.PlayOptions): argument.Problem => argument.duration("timeout", options.timeout)

const playerOf = (
  script: Api.Script,
  connection: Connection.Connection,
  options: Api.PlayOptions,
  name = ""
): Player =>
  new Player(
    stepsOf(script),
    connection,
    options.timeout === undefined ? undefined : Duration.decode(options.timeout),
    name
  )

/** @internal */
export const play = (script: Api.Script, options: Api.PlayOptions = {}) => {
  const problem = timeoutProblem(options)
  return (connection: Connection.Connection): Effect.Effect<void, ScriptError> =>
    problem !== undefined
      ? argument.illegal(problem)
      : Effect.suspend(() => playerOf(script, connection, options).play)
}

// -----------------------------------------------------------------------------
// verdicts
// -----------------------------------------------------------------------------

/** What is to be verified of a connection or a server that was made here. */
interface Verifiable {
  /** Ends it, and says whether the script was met. */
  readonly conclude: Effect.Effect<void, ScriptError>
  /** Somebody has asked, and so knows. */
  asked: boolean
}

const verifiables = new WeakMap<object, Verifiable>()

const register = (
  subject: object,
  conclude: Effect.Effect<void, ScriptError>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.suspend(() => {
    const verifiable: Verifiable = { conclude, asked: false }
    verifiables.set(subject, verifiable)
    return Effect.addFinalizer(() =>
      Effect.flatMap(Effect.exit(conclude), (exit) => verifiable.asked ? Effect.void : Effect.orDie(exit))
    )
  })

/** @internal */
export const verify = (subject: Connection.Connection | Server.Server): Effect.Effect<void, ScriptError> =>
  Effect.suspend(() => {
    const verifiable = verifiables.get(subject)
    if (verifiable === undefined) {
      return argument.illegal("Script.verify: this was not made by Script.connection or Script.serve")
    }
    verifiable.asked = true
    return verifiable.conclude
  })

interface Scripted {
  /** The program's end. */
  readonly end: Connection.Connection
  readonly player: Player
  /** Closes the program's end, which the script sees after all that was sent, and gives the verdict. */
  readonly conclude: Effect.Effect<void, ScriptError>
}

const scripted = (script: Api.Script, options: Api.Options): Effect.Effect<Scripted, never, Scope.Scope> => {
  const problem = timeoutProblem(options)
  return problem !== undefined ? argument.illegal(problem) : Effect.uninterruptible(Effect.gen(function*() {
    const [end, peer] = yield* pair(options)
    const player = playerOf(script, peer, options)
    const playing = yield* Effect.forkScoped(Effect.interruptible(Effect.ensuring(player.play, peer.close)))
    const conclude = player.conclude.pipe(
      Effect.zipRight(Effect.all([end.close, Fiber.await(playing)], { concurrency: 2 })),
      Effect.flatMap(([_, exit]) => exit)
    )
    return { end, player, conclude }
  }))
}

/** @internal */
export const connection = (
  script: Api.Script,
  options: Api.Options = {}
): Effect.Effect<Connection.Connection, never, Scope.Scope> =>
  Effect.uninterruptible(
    Effect.flatMap(scripted(script, options), ({ conclude, end }) => Effect.as(register(end, conclude), end))
  )

/** @internal */
export const run = <A, E, R>(
  script: Api.Script,
  program: (connection: Connection.Connection) => Effect.Effect<A, E, R>,
  options: Api.Options = {}
): Effect.Effect<A, E | ScriptError, Exclude<R, Scope.Scope>> =>
  Effect.scoped(Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const { conclude, end, player } = yield* scripted(script, options)
      const exit = yield* Effect.exit(restore(Effect.suspend(() => program(end))))
      // A script that fails breaks the connection, and so the program: what the program says of that comes second.
      const scriptFirst = player.verdict !== undefined
      const verdict = yield* Effect.exit(conclude)
      if (Exit.isSuccess(verdict)) {
        return yield* exit
      }
      if (Exit.isSuccess(exit)) {
        return yield* Exit.failCause(verdict.cause)
      }
      return yield* Exit.failCause(
        scriptFirst ? Cause.sequential(verdict.cause, exit.cause) : Cause.sequential(exit.cause, verdict.cause)
      )
    })
  ))

// -----------------------------------------------------------------------------
// serving
// -----------------------------------------------------------------------------

/** How often what is on its way may let the event loop turn before it counts as not coming. */
const lastTurns = 50

const numbered = (index: number, connection: Connection.Connection): string =>
  `connection ${index + 1}, from ${Address.format(connection.remoteAddress)}: `

class Cast {
  private readonly players: Array<Player> = []
  private superfluous: string | undefined = undefined

  constructor(
    private readonly scripts: Api.Script | ReadonlyArray<Api.Script>,
    private readonly options: Api.PlayOptions
  ) {}

  /** The handler of the server. What goes wrong is kept for the verdict. */
  readonly handle = (connection: Connection.Connection): Effect.Effect<void> =>
    Effect.suspend(() => {
      const index = this.players.length
      const script = isScript(this.scripts) ? this.scripts : this.scripts[index]
      if (script === undefined) {
        this.superfluous ??= `${numbered(index, connection)}there are scripts for ${index} only`
        return connection.abort
      }
      const player = playerOf(script, connection, this.options, numbered(index, connection))
      this.players.push(player)
      return Effect.ignore(player.play)
    })

  get conclude(): Effect.Effect<void, ScriptError> {
    return Effect.gen(this, function*() {
      yield* Effect.forEach(this.players, (player) => player.conclude, { discard: true })
      for (let i = 0; i < lastTurns && this.players.some(({ verdict }) => verdict === undefined); i++) {
        yield* eventLoopTurn
      }
      yield* Effect.forEach(
        this.players.filter(({ verdict }) => verdict === undefined),
        (player) => player.giveUp,
        { discard: true }
      )
      for (const { verdict } of this.players) {
        yield* verdict ?? Effect.void
      }
      const wanted = isScript(this.scripts) ? 1 : this.scripts.length
      const problem = this.superfluous ??
        (this.players.length < wanted
          ? `${
            this.players.length === 0 ? "nobody has connected" : `${this.players.length} connections have come`
          }, and ${isScript(this.scripts) ? "the script is for at least one" : `there are scripts for ${wanted}`}`
          : undefined)
      if (problem !== undefined) {
        const script = isScript(this.scripts) ? this.scripts : this.scripts[this.players.length]
        return yield* Effect.fail(
          new ScriptError({
            step: 1,
            found: problem,
            transcript: new Proceedings().print(),
            remaining: script === undefined ? [] : stepsOf(script).map(nameOf)
          })
        )
      }
    })
  }
}

/** @internal */
export const serve = (
  options: Api.ServeOptions,
  scripts: Api.Script | ReadonlyArray<Api.Script>
): Effect.Effect<Server.Server, ListenError, Network.Network | Scope.Scope> => {
  const { timeout, ...listenOptions } = options
  const problem = timeoutProblem({ timeout })
  return problem !== undefined ? argument.illegal(problem) : Effect.uninterruptible(Effect.gen(function*() {
    const cast = new Cast(scripts, { timeout })
    const server = yield* Network.startServer(listenOptions, cast.handle)
    yield* register(server, cast.conclude)
    return server
  }))
}
