/** The other side: a process that does as little as it can, so that what is measured is ours. */
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { pinned } from "./spawnNode.js"
import type { Conditions } from "./workload.js"

const compiled = fileURLToPath(new URL("./peers/peer", import.meta.url))
const script = fileURLToPath(new URL("./peers/peer.js", import.meta.url))

/** Starts a peer, and gives the port it says when it is ready. It ends when this process does. */
const startPeer = (args: ReadonlyArray<string | number>, conditions: Conditions): Promise<number> =>
  new Promise((resolve, reject) => {
    const program = fs.existsSync(compiled) ? [compiled] : [process.execPath, script]
    const [command, ...rest] = pinned(conditions.peerCore, [...program, ...args.map(String)])
    const child = spawn(command!, rest, { stdio: ["pipe", "pipe", "inherit"] })
    child.on("error", reject)
    child.on("exit", (code, signal) => reject(new Error(`the peer (${args[0]}) ended with ${signal ?? code}`)))
    child.stdout.on("data", (port) => resolve(Number(port)))
  })

/** A server that sends the same bytes over and over. */
export const source = (unit: string) => (conditions: Conditions): Promise<number> =>
  startPeer(["source", Buffer.from(unit, "latin1").toString("hex")], conditions)

/** A server that sends back what it receives. */
export const echo = (conditions: Conditions): Promise<number> => startPeer(["echo"], conditions)

/** A server that reads and forgets. */
export const sink = (conditions: Conditions): Promise<number> => startPeer(["sink"], conditions)

export interface Clients {
  readonly connections: number
  /** Bytes of a message. */
  readonly size: number
  /** After so many they close and connect anew. `undefined` is never; with 0 they only connect. */
  readonly roundTrips?: number | undefined
}

/** Clients that send something, wait for it to come back, and begin again. Ready when all are connected. */
export const clients = (
  port: number,
  { connections, roundTrips, size }: Clients,
  conditions: Conditions
): Promise<number> => startPeer(["client", port, connections, size, roundTrips ?? -1], conditions)
