/**
 * What may name a Unix socket. Node before 24 cuts a name that is too long for the system, and connects to or creates
 * another.
 */
const linux = process.platform === "linux"
const windows = process.platform === "win32"

/** How many bytes the path of a socket may have: `sun_path` without its NUL. */
export const longestPath = linux ? 107 : 103
/** How many bytes an abstract name may have, with the NUL it begins with. */
const longestName = 108

const isAbstract = (path: string): boolean => path.startsWith("\0")

/** Whether there is a file of that name: neither for one in Linux's abstract namespace nor for a pipe of Windows. */
export const isFile = (path: string): boolean => !windows && !isAbstract(path)

export const fitsPath = (path: string): boolean => Buffer.byteLength(path) <= longestPath

/** Why a name can't be that of a socket, as an error with a code, or `undefined`. */
export const pathProblem = (path: string): Error | undefined => {
  if (windows) {
    return undefined
  }
  if (isAbstract(path)) {
    return linux
      ? tooLong("name", Buffer.byteLength(path), longestName)
      : problem("EINVAL", "only Linux has abstract socket names, which begin with a NUL")
  }
  return path.includes("\0")
    ? problem("EINVAL", "the path of a socket can't have a NUL in it")
    : tooLong("path", Buffer.byteLength(path), longestPath)
}

const problem = (code: string, message: string): Error => Object.assign(new Error(message), { code })

const tooLong = (what: string, length: number, most: number): Error | undefined =>
  length <= most
    ? undefined
    : problem("ENAMETOOLONG", `the ${what} of a socket can have ${most} bytes here, and this one has ${length}`)
