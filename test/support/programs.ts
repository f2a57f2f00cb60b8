/** Other people's programs, each for the length of a test. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ChildProcessWithoutNullStreams } from "node:child_process"
import { spawn } from "node:child_process"
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
        program.child.kill("SIGKILL")
        return until(() => program.ended !== undefined)
      })
  )
