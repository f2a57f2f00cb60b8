/**
 * The part that all listeners share: from a `net.Server`'s events to an acceptor.
 *
 * A server may accept before its listener is complete (a second address is still to be bound), before it is to serve,
 * and in the very turn in which it closes. In the first case its connections wait, in the others they are dropped, with
 * a reset where that is the way to refuse.
 *
 * A server may also be closed by others: by whoever gave it to us, and in a worker of `node:cluster` by Node, when the
 * worker is disconnected. The acceptor is told.
 */
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import { OverloadError } from "../../NetworkError.js"
import type { Acceptor, Transport } from "../../Transport.js"
import { AcceptedTransports } from "./accepted.js"
import { descriptorLimit, descriptorOf, firstReserved } from "./descriptors.js"
import type { SocketSettings } from "./socketSettings.js"
import { ownerOf } from "./transport.js"

/** @internal */
export class Acceptance {
  private waiting: Array<Transport> = []
  private phase: "binding" | "refusing" | "serving" | "closed" = "binding"
  private readonly descriptors = descriptorLimit()
  private readonly reserved = firstReserved(this.descriptors)

  /** `path` is that of a Unix listener. */
  constructor(private readonly acceptor: Acceptor, private readonly path?: string | undefined) {}

  /** A server whose connections come here. */
  server(settings: SocketSettings): Net.Server {
    // Nothing is read before somebody wants it: connections may wait, and what they send waits in the system.
    const server = Net.createServer({ allowHalfOpen: true, pauseOnConnect: true, ...settings })
    this.take(server, new AcceptedTransports(server, true, this.path))
    return server
  }

  /** Takes the connections of somebody's server, each of which `prepare` sees first, until what it returns is called. */
  attach(server: Net.Server, prepare: (socket: Net.Socket) => void): () => void {
    return this.take(server, new AcceptedTransports(server, false, this.path), prepare)
  }

  private take(
    server: Net.Server,
    transports: AcceptedTransports,
    prepare?: ((socket: Net.Socket) => void) | undefined
  ): () => void {
    const onConnection = (socket: Net.Socket) => {
      // One of its own listeners has adopted it.
      if (ownerOf(socket) !== undefined) {
        return
      }
      prepare?.(socket)
      const transport = transports.make(socket)
      if (descriptorOf(socket) >= this.reserved) {
        this.refuseForWant(transport)
      } else {
        this.accept(transport)
      }
    }
    server.on("connection", onConnection)
    const unwatch = watchClose(server, this.onClose)
    return () => {
      server.removeListener("connection", onConnection)
      unwatch()
    }
  }

  private accept(transport: Transport): void {
    if (this.phase === "serving") {
      this.acceptor.onTransport(transport)
    } else if (this.phase === "binding") {
      this.waiting.push(transport)
    } else {
      transport.abort()
    }
  }

  private refuseForWant(transport: Transport): void {
    transport.abort()
    this.acceptor.onError({
      phase: "accept",
      remoteAddress: transport.remoteAddress,
      error: new OverloadError({ reason: "Descriptors", limit: this.descriptors, refused: 1 }, {
        disableValidation: true
      })
    })
  }

  /** Node tells nobody but this listener why it could not accept, and goes on. */
  readonly onError = (error: unknown): void => {
    if (this.phase !== "closed") {
      this.acceptor.onError({ phase: "accept", remoteAddress: undefined, error })
    }
  }

  private readonly onClose = (): void => {
    if (this.phase === "serving" || this.phase === "refusing") {
      this.acceptor.onClosed?.()
    }
  }

  /** Hands over what has been accepted, and from here on what will be. */
  serve(): void {
    if (this.phase !== "closed") {
      this.enter("serving")
    }
  }

  /** Until it serves, whoever gets through is reset. */
  refuse(): void {
    this.enter("refusing")
  }

  close(): void {
    this.enter("closed")
  }

  /** Resets whoever has been accepted and not handed over. */
  drop(): void {
    this.takeWaiting().forEach((transport) => transport.abort())
  }

  private enter(phase: "serving" | "refusing" | "closed"): void {
    this.phase = phase
    this.takeWaiting().forEach((transport) => this.accept(transport))
  }

  private takeWaiting(): ReadonlyArray<Transport> {
    const waiting = this.waiting
    this.waiting = []
    return waiting
  }
}

/**
 * Calls `told` when somebody closes the server, until what it returns is called. The server has an event for it, but
 * that comes when its last connection has ended, and whoever is told may be the one to end them.
 */
const watchClose = (server: Net.Server, told: () => void): () => void => {
  const { close } = server
  const closeAndTell: Net.Server["close"] = (callback) => {
    Reflect.apply(close, server, [callback])
    told()
    return server
  }
  server.close = closeAndTell
  return () => {
    // Who has put something else in its place since has it call ours.
    if (server.close === closeAndTell) {
      server.close = close
    }
  }
}

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
