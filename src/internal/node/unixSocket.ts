/**
 * Listening on a Unix socket.
 *
 * Theory of operation. A socket of this kind is a file that outlives whoever made it, and `bind` neither replaces a file
 * nor makes it with chosen permissions, nor does libuv look at what it removes when it closes. What a server needs:
 * the file of a live server is never taken, that of a dead one is; nobody connects before the permissions hold; and
 * what is removed at the end is our own.
 *
 * **In place at once.** The socket is bound, listened on and given its mode inside a directory that only we can enter,
 * next to where it is to be, and then linked to its name. `link` fails where something is, so of several servers that
 * start at the same time one succeeds. The name that libuv knows, and removes, is the one in that directory, which is
 * gone by then. (It is also the name that `ss` and a client's `getpeername` show.)
 *
 * **Dead or alive.** Where something is, it has to be a socket, and connecting to it has to be refused: that is a file
 * whose server is gone. It is moved away, into our directory, where nobody else can touch it, and looked at again before
 * it is deleted. Should it have been replaced by a live one between the look and the move, that one is put back. All of
 * this happens within one turn, so within a process nothing comes between; between processes it is a few microseconds,
 * in which a third server would have to take the place as well.
 *
 * **Ours to remove.** At the end the file is removed if it is the one we made: by device and inode while we listen, for
 * then the inode can't be anybody else's; otherwise by its time as well, for a system gives out the same inode again at
 * once.
 *
 * **Bound, not serving.** A socket file on which nobody listens is refused, so such a file is put in place, and replaced
 * when serving begins. Another server can't tell it from a stale one. Nor could it if the socket behind it were still open.
 */
import * as Effect from "effect/Effect"
import cluster from "node:cluster"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Address from "../../Address.js"
import type { ListenError } from "../../NetworkError.js"
import type { Acceptor, Listener, UnixListenOptions } from "../../Transport.js"
import { codeOf } from "../errno.js"
import { listenError } from "../listenError.js"
import { Acceptance, listening } from "./acceptance.js"
import { unixSettings } from "./socketSettings.js"
import { fitsPath, isFile, longestPath, pathProblem } from "./unixPath.js"

const defaultBacklog = 100
/** How often the file that is in the way may change while it is looked at. */
const placeAttempts = 16

// ---------------------------------------------------------------------------
// files
// ---------------------------------------------------------------------------

/** Which file it is. An inode is used again for another file, so one that is not held open is told by its time too. */
interface Identity {
  readonly dev: bigint
  readonly ino: bigint
  readonly mtimeNs: bigint
}

const lookAt = (path: string): Fs.BigIntStats | undefined => Fs.lstatSync(path, { bigint: true, throwIfNoEntry: false })

const isSameInode = (a: Identity | undefined, b: Identity): boolean =>
  a !== undefined && a.dev === b.dev && a.ino === b.ino

const isSame = (a: Identity | undefined, b: Identity): boolean => isSameInode(a, b) && a!.mtimeNs === b.mtimeNs

/**
 * Does what may be done already, or be impossible for a reason that matters to nobody.
 *
 * @internal
 */
export const attempt = (action: () => void): void => {
  try {
    action()
  } catch {
    // See above.
  }
}

/** A directory beside the socket's place, which only we can enter. */
class Room {
  private constructor(private readonly directory: string, private readonly nameAsGiven: string) {}

  static make(path: string): Room {
    const place = Path.dirname(path)
    const directory = Fs.mkdtempSync(`${place === Path.sep ? "" : place}${Path.sep}.`)
    return new Room(Path.resolve(directory), `${directory}${Path.sep}s`)
  }

  /** The socket before it is in place. */
  get socket(): string {
    return Path.join(this.directory, "s")
  }

  /** Where something goes that was in the way. */
  get aside(): string {
    return Path.join(this.directory, "o")
  }

  private get kept(): string {
    return Path.join(this.directory, "k")
  }

  /** Calls `bind` with a name for the socket that is short enough to bind to. */
  withName(bind: (name: string) => void): void {
    const name = [this.nameAsGiven, this.socket].find(fitsPath)
    if (name !== undefined) {
      return bind(name)
    }
    if (process.platform !== "linux") {
      throw Object.assign(
        new Error(`a socket's path can have ${longestPath} bytes, and ${this.socket}, where it is made, has more`),
        { code: "ENAMETOOLONG" }
      )
    }
    const directory = Fs.openSync(this.directory, Fs.constants.O_RDONLY | Fs.constants.O_DIRECTORY)
    try {
      bind(`/proc/self/fd/${directory}/s`)
    } finally {
      Fs.closeSync(directory)
    }
  }

  /** Ends the server behind the socket, whose file stays: libuv removes what has its name by then. */
  endServer(server: Net.Server): void {
    Fs.renameSync(this.socket, this.kept)
    server.close()
    Fs.renameSync(this.kept, this.socket)
  }

  remove(): void {
    attempt(() => Fs.unlinkSync(this.socket))
    attempt(() => Fs.rmdirSync(this.directory))
  }
}

/**
 * `link`, and where the file system has none, the next best. False where something is in the way.
 *
 * @internal
 */
export const link = (from: string, to: string): boolean => {
  try {
    Fs.linkSync(from, to)
    return true
  } catch (error) {
    switch (codeOf(error)) {
      case "EEXIST":
        return false
      case "ENOTSUP":
      case "EOPNOTSUPP":
      case "ENOSYS":
      case "EPERM":
        if (lookAt(to) !== undefined) {
          return false
        }
        Fs.renameSync(from, to)
        return true
      default:
        throw error
    }
  }
}

/** Removes the file if it is still the one that was found to be stale. */
const removeStale = (path: string, stale: Identity, room: Room): void => {
  if (!isSame(lookAt(path), stale)) {
    return
  }
  try {
    Fs.renameSync(path, room.aside)
  } catch (error) {
    if (codeOf(error) === "ENOENT") {
      return
    }
    throw error
  }
  if (!isSame(lookAt(room.aside), stale)) {
    attempt(() => Fs.linkSync(room.aside, path))
  }
  Fs.unlinkSync(room.aside)
}

// ---------------------------------------------------------------------------
// what is in the way
// ---------------------------------------------------------------------------

/** The code of the error with which a connection fails, or `undefined` where it is accepted. */
const probe = (path: string): Effect.Effect<string | undefined> =>
  Effect.async((resume) => {
    const socket = Net.connect({ path })
    const settle = (code: string | undefined) => {
      socket.destroy()
      resume(Effect.succeed(code))
    }
    socket.on("connect", () => settle(undefined))
    socket.on("error", (error) => settle(codeOf(error) ?? "UNKNOWN"))
  })

const inTheWay = (path: string, detail: string, code = "EADDRINUSE"): ListenError =>
  listenError(Address.unix(path), Object.assign(new Error(`${code}: ${detail}`), { code }), detail, "AddressInUse")

const workerNote = cluster.isWorker ? ", and of the workers of node:cluster only one can have a path" : ""

/** Links the socket in the room to its name, over a stale file if need be. `path` is as it was given, for it is short. */
const place = Effect.fnUntraced(function*(path: string, absolute: string, room: Room, unlinkStale: boolean) {
  for (let attempt = 0; attempt < placeAttempts; attempt++) {
    if (yield* guard(path, () => link(room.socket, absolute))) {
      return
    }
    const found = yield* guard(path, () => lookAt(absolute))
    if (found === undefined) {
      continue
    }
    if (!found.isSocket()) {
      return yield* Effect.fail(inTheWay(path, "a file is there that is not a socket"))
    }
    const code = yield* probe(path)
    if (code === "ENOENT") {
      continue
    }
    if (code !== "ECONNREFUSED") {
      return yield* Effect.fail(
        code === undefined || code === "EAGAIN"
          ? inTheWay(path, `another server accepts connections there${workerNote}`)
          : inTheWay(path, `a socket is there that may be in use: connecting to it fails with ${code}`)
      )
    }
    if (!unlinkStale) {
      return yield* Effect.fail(
        inTheWay(path, "the socket file of a server that is gone is there, and `unlinkStale` is false")
      )
    }
    yield* guard(path, () => removeStale(absolute, found, room))
  }
  return yield* Effect.fail(inTheWay(path, "other servers start there at the same time"))
})

const guard = <A>(path: string, action: () => A): Effect.Effect<A, ListenError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(action())
    } catch (error) {
      return Effect.fail(listenError(Address.unix(path), error))
    }
  })

// ---------------------------------------------------------------------------
// listening
// ---------------------------------------------------------------------------

/** A server that listens in a room of its own, put into its place by `toPlace`. What fails leaves nothing. */
const listenInRoom = (
  path: string,
  absolute: string,
  options: UnixListenOptions,
  acceptance: Acceptance,
  toPlace: (room: Room, server: Net.Server) => Effect.Effect<void, ListenError>
): Effect.Effect<{ readonly server: Net.Server; readonly file: Identity }, ListenError> =>
  Effect.flatMap(guard(path, () => Room.make(Path.resolve(path) === absolute ? path : absolute)), (room) => {
    const server = acceptance.server(unixSettings)
    const listened = listening(
      server,
      acceptance.onError,
      () =>
        room.withName((name) =>
          server.listen({ path: name, backlog: options.backlog ?? defaultBacklog, exclusive: true })
        )
    )
    return Effect.mapError(listened, (error) => listenError(Address.unix(path), error)).pipe(
      Effect.zipRight(guard(path, () => {
        if (options.mode !== undefined) {
          Fs.chmodSync(room.socket, options.mode)
        }
        return lookAt(room.socket)!
      })),
      Effect.tap(() => toPlace(room, server)),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (exit._tag === "Failure" && server.listening) {
            server.close()
          }
          room.remove()
        })
      ),
      Effect.map((file) => ({ server, file }))
    )
  })

const listenOnFile = Effect.fnUntraced(function*(path: string, options: UnixListenOptions, acceptor: Acceptor) {
  const acceptance = new Acceptance(acceptor, path)
  const atOnce = options.startServing !== false
  // The process may change its directory before it serves or closes.
  const absolute = yield* guard(path, () => Path.resolve(path))
  const first = yield* listenInRoom(
    path,
    absolute,
    options,
    acceptance,
    (room, server) =>
      Effect.zipRight(
        atOnce ? Effect.void : guard(path, () => room.endServer(server)),
        place(path, absolute, room, options.unlinkStale ?? true)
      )
  )
  let server = atOnce ? first.server : undefined
  let file: Identity = first.file
  let closed = false
  if (atOnce) {
    acceptance.serve()
  }

  const replace = (room: Room): Effect.Effect<void, ListenError> =>
    guard(path, () => {
      if (isSame(lookAt(absolute), file)) {
        Fs.renameSync(room.socket, absolute)
        return true
      }
      return link(room.socket, absolute)
    }).pipe(
      Effect.filterOrFail((placed) => placed, () => inTheWay(path, "another server has taken the place")),
      Effect.asVoid
    )

  const start = Effect.suspend(() => {
    if (closed || server !== undefined) {
      return Effect.void
    }
    return Effect.map(listenInRoom(path, absolute, options, acceptance, replace), (serving) => {
      server = serving.server
      file = serving.file
      if (closed) {
        free()
      } else {
        acceptance.serve()
      }
    })
  })

  // Whoever asks while another is at it finds it done.
  const starting = Effect.unsafeMakeSemaphore(1)

  const free = () => {
    attempt(() => {
      if ((server?.listening === true ? isSameInode : isSame)(lookAt(absolute), file)) {
        Fs.unlinkSync(absolute)
      }
    })
    server?.close()
  }

  const listener: Listener = {
    addresses: [Address.unix(path)],
    start: Effect.uninterruptible(starting.withPermits(1)(start)),
    close: Effect.sync(() => {
      if (!closed) {
        closed = true
        acceptance.close()
        free()
      }
    })
  }
  return listener
})

/** On a name without a file, an abstract one or a Windows pipe, which comes and goes with the server. */
const listenOnName = Effect.fnUntraced(function*(path: string, options: UnixListenOptions, acceptor: Acceptor) {
  const acceptance = new Acceptance(acceptor, path)
  const server = acceptance.server(unixSettings)
  yield* Effect.mapError(
    listening(
      server,
      acceptance.onError,
      () => server.listen({ path, backlog: options.backlog ?? defaultBacklog, exclusive: true })
    ),
    (error) => listenError(Address.unix(path), error)
  )
  if (options.startServing === false) {
    acceptance.refuse()
  } else {
    acceptance.serve()
  }
  const listener: Listener = {
    addresses: [Address.unix(path)],
    start: Effect.sync(() => acceptance.serve()),
    close: Effect.sync(() => {
      acceptance.close()
      if (server.listening) {
        server.close()
      }
    })
  }
  return listener
})

/**
 * Listens on a path, or on an abstract name.
 *
 * **Interruption**: to be run where nothing interrupts. It takes a few system calls.
 *
 * @internal
 */
export const listenUnix = (
  path: string,
  options: UnixListenOptions,
  acceptor: Acceptor
): Effect.Effect<Listener, ListenError> =>
  Effect.suspend(() => {
    const problem = pathProblem(path)
    return problem !== undefined
      ? Effect.fail(listenError(Address.unix(path), problem, problem.message))
      : (isFile(path) ? listenOnFile : listenOnName)(path, options, acceptor)
  })
