/** Contenders in Python: the model of this library, and its fast loop where Debian's package is installed. */
import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Conditions, Sample } from "./workload.js"

export type Loop = "asyncio" | "uvloop"

/** Debian's packages are those of its own Python. */
const interpreters = ["/usr/bin/python3", "python3"]

const interpreterOf = (loop: Loop): string | undefined =>
  interpreters.find((command) => spawnSync(command, ["-c", `import ${loop}`]).status === 0)

/** Which loops this machine has. */
export const loops = (["asyncio", "uvloop"] as const).filter((loop) => interpreterOf(loop) !== undefined)

export const python = (
  loop: Loop,
  work: string,
  port: number,
  connections: number,
  size: number,
  scale: number,
  { measured, warmUp }: Conditions
): Promise<Sample> =>
  new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL("./peers/rival.py", import.meta.url))
    const args = [loop, work, port, connections, size, warmUp / 1e3, measured / 1e3].map(String)
    const child = spawn(interpreterOf(loop)!, [script, ...args], { stdio: ["ignore", "pipe", "inherit"] })
    let output = ""
    child.stdout.on("data", (text) => {
      output += text
    })
    child.on("error", reject)
    child.on("close", (code) => {
      if (code !== 0) {
        reject(new Error(`${loop} ended with ${code}`))
        return
      }
      const { busy, byCpu, value } = JSON.parse(output) as { readonly [K in keyof Sample]-?: number }
      resolve({ value: value * scale, byCpu: byCpu * scale, busy })
    })
  })
