/**
 * The part that all listeners share: from a `net.Server`'s events to an acceptor.
 *
 * A server may accept before its listener is complete (a second address is still to be bound), before it is to serve,
 * and in the very turn in which it closes. In the first case its connections wait, in the others they are dropped, with
 * a reset where that is the way to refuse.
 */
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import type { Acceptor } from "../../Transport.js"
import type { SocketSettings } from "./socketSettings.js"
import { AcceptedTransports } from "./transport.js"

/** @internal */
export class Acceptance {
  private readonly transports: AcceptedTransports
  private waiting: Array<Net.Socket> | undefined = []
  private phase: "binding" | "refusing" | "serving" | "closed" = "binding"

  constructor(private readonly acceptor: Acceptor, path?: string | undefined) {
    this.transports = new AcceptedTransports(path)
  }

  readonly onConnection = (socket: Net.Socket): void => {
    if (this.phase === "serving") {
      this.acceptor.onTransport(this.transports.make(socket))
    } else {
      // What breaks before anyone has looked at it was never a connection.
      socket.on("error", ignore)
      if (this.phase === "binding") {
        this.waiting?.push(socket)
      } else {
        refuse(socket)
      }
    }
  }

  /** Node tells nobody but this listener why it could not accept, and goes on. */
  readonly onError = (error: unknown): void => {
    if (this.phase !== "closed") {
      this.acceptor.onError({ phase: "accept", remoteAddress: undefined, error })
    }
  }

  /** A server whose connections come here. */
  server(settings: SocketSettings): Net.Server {
    const server = Net.createServer({ allowHalfOpen: true, ...settings })
    server.on("connection", this.onConnection)
    return server
  }

  /** Hands over what has been accepted, and from here on what will be. */
  serve(): void {
    if (this.phase !== "closed") {
      this.phase = "serving"
      for (const socket of this.takeWaiting()) {
        if (!socket.destroyed) {
          this.onConnection(socket)
        }
      }
    }
  }

  /** Until it serves, whoever gets through is reset. */
  refuse(): void {
    this.phase = "refusing"
    this.takeWaiting().forEach(refuse)
  }

  close(): void {
    this.phase = "closed"
    this.takeWaiting().forEach(refuse)
  }

  private takeWaiting(): ReadonlyArray<Net.Socket> {
    const waiting = this.waiting ?? []
    this.waiting = undefined
    return waiting
  }
}

const refuse = (socket: Net.Socket): void => {
  if (socket.localAddress === undefined) {
    socket.destroy()
  } else {
    socket.resetAndDestroy()
  }
}

const ignore = (): void => {}

/**
 * Calls what makes a server listen, and waits until it does. It takes no longer than the system's calls do, so it is not
 * to be interrupted. From then on errors are those of accepting.
 *
 * @internal
 */
export const listening = (
  server: Net.Server,
  onError: (error: unknown) => void,
  listen: () => void
): Effect.Effect<void, unknown> =>
  Effect.uninterruptible(Effect.async((resume) => {
    const settle = (result: Effect.Effect<void, unknown>) => {
      server.removeListener("listening", listened)
      server.removeListener("error", failed)
      resume(result)
    }
    const listened = () => {
      server.on("error", onError)
      settle(Effect.void)
    }
    const failed = (error: unknown) => settle(Effect.fail(error))
    server.on("listening", listened)
    server.on("error", failed)
    try {
      listen()
    } catch (error) {
      return failed(error)
    }
    // The event would come in the next turn, and not at all for a server that is closed before that.
    if (server.listening) {
      listened()
    }
  }))
