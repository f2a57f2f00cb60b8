import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import * as os from "node:os"
import { fileURLToPath } from "node:url"

/** The cores for the two sides of a measurement, where processes can be bound to one. */
export const cores = (): readonly [contender: number, peer: number] | undefined => {
  const last = os.cpus().length - 1
  return last > 0 && spawnSync("taskset", ["-c", String(last), "true"]).status === 0 ? [last, last - 1] : undefined
}

/** A command, bound to a core. */
export const pinned = (core: number | undefined, command: ReadonlyArray<string>): ReadonlyArray<string> =>
  core === undefined ? command : ["taskset", "-c", String(core), ...command]

/** Runs a script with a channel for messages. `input` is what it finds in `inputOf`. */
export const spawnNode = (script: URL, input: unknown, core: number | undefined): ChildProcess => {
  const [command, ...args] = pinned(core, [
    process.execPath,
    "--expose-gc",
    "--enable-source-maps",
    fileURLToPath(script),
    JSON.stringify(input)
  ])
  return spawn(command!, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] })
}

export const inputOf = <A>(): A => JSON.parse(process.argv[2]!)
