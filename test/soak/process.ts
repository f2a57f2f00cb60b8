/**
 * Programs in processes of their own, which are asked over a channel and answer: so that clients and server share
 * neither an event loop nor a limit of descriptors.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as Path from "node:path"

const here = import.meta.dirname

/** What is said over the channel. Answers carry the number of their question; what is said unasked has number 0. */
interface Message {
  readonly number: number
  readonly body: unknown
}

/** What has been started and has not ended. */
const running = new Set<Program>()

/** Ends what a scenario has left that failed or was not done in time. */
export const killAll = async (): Promise<void> => {
  await Promise.all(Array.from(running, (program) => program.kill()))
}

export class Program {
  private questions = 0
  private readonly pending = new Map<number, (answer: unknown) => void>()
  private readonly unasked: Array<unknown> = []
  private complaints = ""
  private readonly ended: Promise<unknown>

  private constructor(private readonly name: string, readonly child: ChildProcess) {
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.complaints += text
    })
    child.on("message", ({ body, number }: Message) => {
      if (number === 0) {
        this.unasked.push(body)
      } else {
        this.pending.get(number)?.(body)
        this.pending.delete(number)
      }
    })
    running.add(this)
    this.ended = once(child, "exit").finally(() => running.delete(this))
  }

  /** Starts `test/soak/<name>.ts` and waits for its first word. */
  static async start(
    name: string,
    settings: unknown,
    options: { readonly limitFiles?: number | undefined; readonly nodeOptions?: ReadonlyArray<string> } = {}
  ): Promise<Program> {
    const node = [process.execPath, ...options.nodeOptions ?? [], "--import", "tsx", Path.join(here, `${name}.ts`)]
    const limit = options.limitFiles === undefined ? "" : `ulimit -n ${options.limitFiles} && `
    const child = spawn("sh", ["-c", `${limit}exec "$@"`, "sh", ...node, JSON.stringify(settings)], {
      cwd: Path.join(here, "../.."),
      stdio: ["ignore", "inherit", "pipe", "ipc"]
    })
    const program = new Program(name, child)
    await program.until(() => program.unasked.length > 0)
    return program
  }

  /** The first thing it said of itself that fits. */
  async said<A>(fits: (body: unknown) => body is A): Promise<A> {
    await this.until(() => this.unasked.some(fits))
    return this.unasked.find(fits)!
  }

  async ask<A>(question: unknown): Promise<A> {
    const number = ++this.questions
    let answer: { readonly body: unknown } | undefined
    this.pending.set(number, (body) => {
      answer = { body }
    })
    this.child.send({ number, body: question } satisfies Message)
    await this.until(() => answer !== undefined)
    return answer!.body as A
  }

  private async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`${this.name} ended (${this.child.exitCode ?? this.child.signalCode}): ${this.complaints}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** How it ended: a code or the name of a signal. */
  async exit(): Promise<number | string> {
    await this.ended
    return this.child.exitCode ?? this.child.signalCode!
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL")
    await this.ended
  }
}

/** The other end of the channel. */
export const serveChannel = (answer: (question: any) => unknown): void => {
  // Nobody is left to ask.
  process.on("disconnect", () => process.exit())
  process.on("message", ({ body, number }: Message) => {
    void Promise.resolve(answer(body)).then((body) => process.send?.({ number, body } satisfies Message))
  })
}

export const say = (body: unknown): void => {
  process.send?.({ number: 0, body } satisfies Message)
}
