/** Other people's programs, each for the length of a test. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ChildProcessWithoutNullStreams } from "node:child_process"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Net from "node:net"
import { until } from "./rawPeer.js"

export class Program {
  stdout = ""
  stderr = ""
  /** Set when it has ended: its exit code, or the signal that ended it. */
  ended: number | string | undefined = undefined

  constructor(readonly child: ChildProcessWithoutNullStreams, readonly name: string) {
    child.stdout.on("data", (chunk: Buffer) => {
      this.stdout += chunk.toString("latin1")
    })
    child.stderr.on("data", (chunk: Buffer) => {
      this.stderr += chunk.toString("latin1")
    })
    child.stdin.on("error", () => {})
    child.on("error", (error) => {
      this.ended = error.message
    })
    child.on("close", (code, signal) => {
      this.ended ??= code ?? signal ?? "gone"
    })
  }

  get output(): string {
    return this.stdout + this.stderr
  }

  /** Waits until it has said something so many times. */
  says(what: RegExp, times = 1): Effect.Effect<RegExpMatchArray> {
    const every = new RegExp(what, `g${what.flags}`)
    const matches = () => Array.from(this.output.matchAll(every))
    return Effect.map(until(() => matches().length >= times || this.ended !== undefined), () => {
      const match = matches()[times - 1]
      if (match === undefined) {
        throw new Error(`${this.name} ended (${this.ended}) without saying ${what}, ${times} times:\n${this.output}`)
      }
      return match
    })
  }

  /** Waits for its end, and wants it to be a success. */
  get succeeds(): Effect.Effect<string> {
    return Effect.map(until(() => this.ended !== undefined), () => {
      if (this.ended !== 0) {
        throw new Error(`${this.name} failed (${this.ended}):\n${this.output}`)
      }
      return this.stdout
    })
  }
}

export interface ProgramOptions {
  /** Who runs it, where that is not who runs the tests. */
  readonly uid?: number | undefined
  readonly cwd?: string | undefined
  /** How it is told to stop: `"SIGKILL"`, which leaves behind what it has started. */
  readonly stopWith?: NodeJS.Signals | undefined
}

/** Starts a program, which the scope kills if it has not ended by then. */
export const program = (
  command: string,
  parameters: ReadonlyArray<string>,
  options: ProgramOptions = {}
): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { cwd, uid } = options
      const child = spawn(command, parameters, {
        stdio: "pipe",
        // Errors in the language that the tests expect.
        env: { ...process.env, LC_ALL: "C" },
        ...(cwd === undefined ? {} : { cwd }),
        ...(uid === undefined ? {} : { uid, gid: uid })
      })
      return new Program(child, command)
    }),
    (program) =>
      Effect.suspend(() => {
        program.child.kill(options.stopWith ?? "SIGKILL")
        return until(() => program.ended !== undefined)
      })
  )

/** A port on which nobody listens, for a program that can't be asked which one it took. */
const freePort: Effect.Effect<number> = Effect.promise(async () => {
  const server = Net.createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as Net.AddressInfo
  server.close()
  await once(server, "close")
  return port
})

/** Starts a server on a port of its choice, and once more on another where somebody was faster. */
export const serverProgram = (
  command: string,
  parameters: (port: number) => ReadonlyArray<string>,
  ready: RegExp,
  options: ProgramOptions = {}
): Effect.Effect<{ readonly server: Program; readonly port: number }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const port = yield* freePort
    const server = yield* program(command, parameters(port), options)
    yield* until(() => ready.test(server.output) || server.ended !== undefined)
    if (server.ended !== undefined && /address already in use/i.test(server.output)) {
      return yield* serverProgram(command, parameters, ready, options)
    }
    yield* server.says(ready)
    return { server, port }
  })
