/**
 * What may name a Unix socket on this system. Node before 24 cuts a name that is too long for the system, and connects to
 * or creates another.
 */
import * as UnixPath from "../unixPath.js"

const system: UnixPath.System = process.platform === "linux"
  ? "linux"
  : process.platform === "win32"
  ? "windows"
  : "other"

/** How many bytes the path of a socket may have. */
export const longestPath = UnixPath.longestPath(system)

/** Whether there is a file of that name: neither for one in Linux's abstract namespace nor for a pipe of Windows. */
export const isFile = (path: string): boolean => system !== "windows" && !UnixPath.isAbstract(path)

export const fitsPath = (path: string): boolean => UnixPath.fits(path, system)

/** Why a name can't be that of a socket, as an error with a code, or `undefined`. */
export const pathProblem = (path: string): Error | undefined => UnixPath.problemOf(path, system)
