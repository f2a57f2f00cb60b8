/**
 * Listeners that somebody else made: a `net.Server`, or a file descriptor that was inherited (as from systemd).
 *
 * Whoever adopts one closes it. What must not happen is that a path goes which was not ours to make: a descriptor brings
 * no path that libuv would know, but a `net.Server` does, and libuv removes it with the close, without looking at what
 * is there by then. So the file is moved away while the server is closed, and put back, all in one turn.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import type * as Net from "node:net"
import * as Path from "node:path"
import * as Address from "../../Address.js"
import type { ListenError } from "../../NetworkError.js"
import type { Acceptor, Listener, SocketOptions } from "../../Transport.js"
import * as argument from "../argument.js"
import { listenError } from "../listenError.js"
import { Acceptance, listening } from "./acceptance.js"
import { settingsOn, socketSettings } from "./socketSettings.js"
import { tcpAddress } from "./transport.js"
import { isFile } from "./unixPath.js"
import { attempt, link } from "./unixSocket.js"

/** @internal */
export interface AdoptOptions extends SocketOptions {
  readonly backlog?: number | undefined
  readonly startServing?: boolean | undefined
}

/** Servers that have been adopted, and not yet been closed. */
const adopted = new WeakSet<Net.Server>()

/**
 * Takes over a server that listens.
 *
 * @internal
 */
export const adoptServer = (
  server: Net.Server,
  options: AdoptOptions,
  acceptor: Acceptor
): Effect.Effect<Listener, ListenError> =>
  Effect.suspend(() => {
    if (adopted.has(server)) {
      return argument.illegal("the server has been adopted already: whoever connects would be served twice")
    }
    adopted.add(server)
    const path = pathOf(server)
    const acceptance = new Acceptance(acceptor, path)
    const detach = acceptance.attach(server, (socket) => {
      // The server was made without our options.
      socket.allowHalfOpen = true
      settingsOn(socket, options)
    })
    server.on("error", acceptance.onError)
    return Effect.succeed(listenerOf(server, acceptance, options, path, () => {
      detach()
      server.removeListener("error", acceptance.onError)
      adopted.delete(server)
    }))
  })

/**
 * Listens on a descriptor that is bound.
 *
 * @internal
 */
export const adoptDescriptor = (
  fd: number,
  options: AdoptOptions,
  acceptor: Acceptor
): Effect.Effect<Listener, ListenError> =>
  Effect.suspend(() => {
    const acceptance = new Acceptance(acceptor)
    const server = acceptance.server(socketSettings(options))
    return Effect.mapBoth(
      listening(server, acceptance.onError, () => server.listen({ fd, backlog: options.backlog ?? 100 })),
      {
        onFailure: (error) => listenError(Address.unix(), error, `file descriptor ${fd} can't be listened on`),
        onSuccess: () => listenerOf(server, acceptance, options)
      }
    )
  })

const pathOf = (server: Net.Server): string | undefined => {
  const address = server.address()
  return typeof address === "string" ? address : undefined
}

/**
 * Where a server listens. Of a descriptor of a Unix socket Node does not know the path.
 *
 * @internal
 */
export const addressOf = (server: Net.Server): Address.Address => {
  const address = server.address()
  return typeof address === "object" && address !== null
    ? tcpAddress(address.address, address.port)
    : Address.unix(address ?? undefined)
}

const listenerOf = (
  server: Net.Server,
  acceptance: Acceptance,
  options: AdoptOptions,
  path?: string | undefined,
  release?: (() => void) | undefined
): Listener => {
  if (options.startServing === false) {
    acceptance.refuse()
  }
  return {
    addresses: [addressOf(server)],
    start: Effect.sync(() => acceptance.serve()),
    close: Effect.sync(() => {
      acceptance.close()
      if (server.listening) {
        closeKeeping(server, path !== undefined && isFile(path) ? path : undefined)
      }
      release?.()
    })
  }
}

const closeKeeping = (server: Net.Server, path: string | undefined): void => {
  let directory: string | undefined
  if (path !== undefined) {
    // Where nothing can be moved, nothing can be removed either.
    attempt(() => {
      const made = Fs.mkdtempSync(`${Path.resolve(path)}.`)
      try {
        Fs.renameSync(path, Path.join(made, "s"))
        directory = made
      } catch {
        Fs.rmdirSync(made)
      }
    })
  }
  server.close()
  if (path !== undefined && directory !== undefined) {
    const kept = Path.join(directory, "s")
    attempt(() => link(kept, path))
    attempt(() => Fs.unlinkSync(kept))
    attempt(() => Fs.rmdirSync(directory!))
  }
}
