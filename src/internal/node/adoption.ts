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
import { listenError } from "../listenError.js"
import { Acceptance, listening } from "./acceptance.js"
import { socketSettings } from "./socketSettings.js"
import { tcpAddress } from "./transport.js"
import { isFile } from "./unixPath.js"
import { attempt, link } from "./unixSocket.js"

/** @internal */
export interface AdoptOptions extends SocketOptions {
  readonly backlog?: number | undefined
}

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
  Effect.sync(() => {
    const path = pathOf(server)
    const settings = socketSettings(options)
    const acceptance = new Acceptance(acceptor, path)
    const detach = acceptance.attach(server, (socket) => {
      // The server was made without our options.
      socket.allowHalfOpen = true
      socket.setNoDelay(settings.noDelay)
      if (settings.keepAlive) {
        socket.setKeepAlive(true, settings.keepAliveInitialDelay)
      }
    })
    server.on("error", acceptance.onError)
    acceptance.serve()
    return listenerOf(server, acceptance, path, () => {
      detach()
      server.removeListener("error", acceptance.onError)
    })
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
        onSuccess: () => {
          acceptance.serve()
          return listenerOf(server, acceptance)
        }
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
  path?: string | undefined,
  release?: (() => void) | undefined
): Listener => ({
  addresses: [addressOf(server)],
  start: Effect.void,
  close: Effect.sync(() => {
    acceptance.close()
    if (server.listening) {
      closeKeeping(server, path !== undefined && isFile(path) ? path : undefined)
    }
    release?.()
  })
})

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
