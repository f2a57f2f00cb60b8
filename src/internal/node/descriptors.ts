/**
 * How near a process is to its limit of descriptors.
 *
 * Theory of operation. A server that is out of descriptors should wait until there are some. Node gives it no way to:
 * libuv has a descriptor set aside, and uses it to accept whoever connects then and to drop them, in silence. Nothing is
 * reported, so nobody could know, and meanwhile no handler can open a file. Nor can a `net.Server` be told to accept
 * no more for a while; to close it would send everyone away who waits in the system's queue, and its address might be
 * another's afterwards.
 *
 * So the last few descriptors are not for connections. A system gives out the lowest number that is free, so a socket that
 * gets number `n` says that all below are in use; nothing needs to be counted. A connection that would take one of the
 * last few is reset, and told of.
 */
import * as Fs from "node:fs"
import type * as Net from "node:net"

/** How many are kept for what else the program opens, as long as the limit is not tiny. */
const most = 32

/** How many descriptors the process may have, where the system shows it (on Linux), or infinitely many. */
export const descriptorLimit = (): number => {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(Fs.readFileSync("/proc/self/limits", "latin1"))?.[1]
    return soft === undefined ? Infinity : Number(soft)
  } catch {
    return Infinity
  }
}

/** The first number that a connection must not have. */
export const firstReserved = (limit: number): number => limit - Math.min(most, limit >> 3)

/** The number of a socket's descriptor; -1 where there is none or Node does not show it. */
export const descriptorOf = (socket: Net.Socket): number =>
  (socket as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1
