/**
 * What a process holds: sockets, servers, timers, descriptors.
 */
import * as Fs from "node:fs"

/** Open sockets and servers of any kind, requests on their way, and timers. */
const resources = (): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) {
    if (!kind.startsWith("FSReq") && kind !== "Immediate") {
      counts.set(kind, (counts.get(kind) ?? 0) + 1)
    }
  }
  return counts
}

/** How many sockets the process holds, where the system shows it; a socket that Node forgot is still one of these. */
const socketDescriptors = (): number => {
  let count = 0
  for (const fd of Fs.existsSync("/proc/self/fd") ? Fs.readdirSync("/proc/self/fd") : []) {
    try {
      if (Fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:")) {
        count += 1
      }
    } catch {
      // The descriptor that lists the directory.
    }
  }
  return count
}

export interface Handles {
  readonly resources: ReadonlyMap<string, number>
  readonly sockets: number
}

export const handles = (): Handles => ({ resources: resources(), sockets: socketDescriptors() })

/** What is open now and was not then. */
export const handlesLeft = (before: Handles): ReadonlyArray<string> => {
  const left: Array<string> = []
  const now = handles()
  for (const [kind, count] of now.resources) {
    const more = count - (before.resources.get(kind) ?? 0)
    if (more > 0) {
      left.push(`${more} ${kind}`)
    }
  }
  if (now.sockets > before.sockets) {
    left.push(`${now.sockets - before.sockets} socket descriptors`)
  }
  return left
}
