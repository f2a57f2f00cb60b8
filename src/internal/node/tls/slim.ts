/**
 * What Node's TLS keeps of a server's connection for as long as that lasts, though only its handshake needed it, or though it
 * is the same for all: together 400 bytes.
 */
import type { TLSSocket } from "node:tls"

/** Heard until the handshake is done: why it failed, and whether somebody wants its keys. */
const ofHandshake: ReadonlySet<string | symbol> = new Set(["_tlsError", "newListener"])

interface Inside {
  /** What the socket was made with, which Node does not document. */
  _tlsOptions?: object
  server?: object
}

/** The sockets of one server. */
export class Slim {
  private options: object | undefined = undefined

  /** `server` is told from here on what becomes of them. */
  constructor(private readonly server: object) {}

  /** Has a socket whose handshake is done keep no more than it needs. */
  take(socket: TLSSocket): void {
    const inside: Inside = socket as object
    if (inside._tlsOptions !== undefined) {
      inside._tlsOptions = this.options ??= { ...inside._tlsOptions, server: this.server }
      inside.server = this.server
    }
    // They are in a table that V8 makes twice as large for one name more than fits, and never smaller.
    const kept = socket.eventNames()
      .filter((name) => !ofHandshake.has(name))
      .map((name) => ({ name, listeners: socket.rawListeners(name) }))
    socket.removeAllListeners()
    kept.forEach(({ listeners, name }) =>
      listeners.forEach((listener) => socket.on(name as string, listener as () => void))
    )
  }
}
