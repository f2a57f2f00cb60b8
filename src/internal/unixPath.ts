/**
 * What may name a Unix socket, on each system.
 */

/** `windows` has named pipes in their place. */
export type System = "linux" | "windows" | "other"

/** How many bytes an abstract name may have, with the NUL it begins with. */
const longestName = 108

const lengthOf = (path: string): number => new TextEncoder().encode(path).length

/** Whether a name is in Linux's abstract namespace, which has no files. */
export const isAbstract = (path: string): boolean => path.startsWith("\0")

/** How many bytes the path of a socket may have: `sun_path` without its NUL. */
export const longestPath = (system: System): number => system === "linux" ? 107 : 103

/** Whether a path is short enough. */
export const fits = (path: string, system: System): boolean => lengthOf(path) <= longestPath(system)

/** Why a name can't be that of a socket, as an error with a code, or `undefined`. */
export const problemOf = (path: string, system: System): Error | undefined => {
  if (system === "windows") {
    return undefined
  }
  if (isAbstract(path)) {
    return system === "linux"
      ? tooLong("name", lengthOf(path), longestName)
      : problem("EINVAL", "only Linux has abstract socket names, which begin with a NUL")
  }
  return path.includes("\0")
    ? problem("EINVAL", "the path of a socket can't have a NUL in it")
    : tooLong("path", lengthOf(path), longestPath(system))
}

const problem = (code: string, message: string): Error => Object.assign(new Error(message), { code })

const tooLong = (what: string, length: number, most: number): Error | undefined =>
  length <= most
    ? undefined
    : problem("ENAMETOOLONG", `the ${what} of a socket can have ${most} bytes here, and this one has ${length}`)
