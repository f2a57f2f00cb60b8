/**
 * A server of ours as a platform server.
 *
 * Theory of operation. The platform's server listens first, and is given its handler later, by `run`, perhaps by several
 * one after another. So the handler that our server has from the start is a doorkeeper: it takes each connection to
 * whoever runs the server, or lets it wait until somebody does. The platform's handler is run within ours, with the
 * services of whoever called `run`, so that all that our server does for a connection (places, metrics, reports, the end)
 * it does for these.
 */
import type * as Socket from "@effect/platform/Socket"
import * as SocketServer from "@effect/platform/SocketServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import type { Connection } from "../Connection.js"
import type { ListenError } from "../NetworkError.js"
import type * as Api from "../PlatformSocket.js"
import type * as Server from "../Server.js"
import * as argument from "./argument.js"
import { fromAddress, fromConnection } from "./platformSocket.js"
import { runProblem } from "./platformSocketRun.js"

const defaultGracePeriod = Duration.seconds(1)
const defaultBacklog = 100

/** How long handlers that were interrupted may take over it, before whoever ran them goes on without them. */
const interruptPatience = Duration.seconds(1)

type Handle = (connection: Connection) => Effect.Effect<unknown, unknown>

/** One `run`: its handler, and the connections that it was given and that are not done. */
class Taker {
  private readonly fibers: Set<Fiber.RuntimeFiber<unknown, unknown>> = new Set()
  private look: (() => void) | undefined = undefined

  constructor(private readonly handle: Handle) {}

  serve(connection: Connection): Effect.Effect<unknown, unknown> {
    return Effect.withFiberRuntime<unknown, unknown>((fiber) => {
      this.fibers.add(fiber)
      return Effect.ensuring(
        Effect.suspend(() => this.handle(connection)),
        Effect.sync(() => {
          this.fibers.delete(fiber)
          this.look?.()
        })
      )
    })
  }

  /** Lets handlers finish, and then interrupts them. */
  leave(gracePeriod: Duration.Duration): Effect.Effect<void> {
    const interrupted = Effect.suspend(() =>
      Effect.zipRight(
        Effect.forEach(Array.from(this.fibers), Fiber.interruptFork, { discard: true }),
        this.doneWithin(interruptPatience)
      )
    )
    return Effect.suspend(() =>
      this.fibers.size === 0
        ? Effect.void
        : Effect.zipRight(this.doneWithin(gracePeriod), interrupted)
    )
  }

  /** Waits for the last handler's end, but no longer than that. */
  private doneWithin(duration: Duration.Duration): Effect.Effect<void> {
    const done = Effect.async<void>((resume) => {
      const look = () => {
        if (this.fibers.size === 0) {
          resume(Effect.void)
        }
      }
      this.look = look
      look()
      return Effect.sync(() => {
        this.look = undefined
      })
    })
    // A wait that nothing can interrupt would have no end but its own.
    return Effect.asVoid(Effect.timeoutOption(Effect.interruptible(done), duration))
  }
}

const tooManyWait = (backlog: number): SocketServer.SocketServerError =>
  new SocketServer.SocketServerError({
    reason: "Unknown",
    cause: new Error(
      `the connection was reset: nobody runs the server, and ${backlog} connections wait for that, which is its backlog`
    )
  })

class Door {
  /** Who runs the server. The last one takes the connections, as the platform has it. */
  private readonly takers: Array<Taker> = []
  /** Connections that wait for one. */
  private readonly waiting: Set<Deferred.Deferred<void>> = new Set()
  private closed = false

  constructor(private readonly backlog: number) {}

  /** Our server's handler. */
  admit(connection: Connection): Effect.Effect<unknown, unknown> {
    return Effect.suspend(() => {
      const taker = this.takers[this.takers.length - 1]
      return this.closed
        ? Effect.void
        : taker !== undefined
        ? taker.serve(connection)
        : this.waiting.size >= this.backlog
        ? Effect.zipRight(connection.abort, Effect.fail(tooManyWait(this.backlog)))
        : this.wait(connection)
    })
  }

  /** One whose client has gone does not wait any more. */
  private wait(connection: Connection): Effect.Effect<unknown, unknown> {
    const called = Deferred.unsafeMake<void>(FiberId.none)
    this.waiting.add(called)
    return Effect.raceFirst(
      Effect.as(Deferred.await(called), true),
      Effect.as(connection.awaitClosed, false)
    ).pipe(
      Effect.ensuring(Effect.sync(() => this.waiting.delete(called))),
      Effect.flatMap((isOpen) => isOpen ? this.admit(connection) : Effect.void)
    )
  }

  private callAll(): void {
    this.waiting.forEach((called) => Deferred.unsafeDone(called, Effect.void))
  }

  enter(taker: Taker): void {
    this.takers.push(taker)
    this.callAll()
  }

  leave(taker: Taker): void {
    const at = this.takers.indexOf(taker)
    if (at >= 0) {
      this.takers.splice(at, 1)
    }
  }

  /** Whoever waits is let go. */
  close(): void {
    this.closed = true
    this.callAll()
  }
}

const serverError = (reason: SocketServer.SocketServerError["reason"]) => (cause: unknown) =>
  new SocketServer.SocketServerError({ reason, cause })

const run = <R, E, _>(
  server: Server.Server,
  door: Door,
  options: Api.Options & Server.Options,
  handler: (socket: Socket.Socket) => Effect.Effect<_, E, R>
): Effect.Effect<never, SocketServer.SocketServerError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const runtime = yield* Effect.runtime<R>()
      const taker = new Taker((connection) =>
        Effect.provide(Effect.suspend(() => handler(fromConnection(connection, options))), runtime)
      )
      yield* Effect.mapError(server.startServing, serverError("Open"))
      door.enter(taker)
      return yield* Effect.ensuring(
        restore(Effect.zipRight(
          server.awaitClosed,
          Effect.fail(serverError("Unknown")(new Error("the server was closed")))
        )),
        Effect.suspend(() => {
          door.leave(taker)
          return taker.leave(Duration.decode(options.gracePeriod ?? defaultGracePeriod))
        })
      )
    })
  )

/** @internal */
export const makeServer = <R>(
  start: (
    handler: Server.Handler<unknown, never>
  ) => Effect.Effect<Server.Server, ListenError, R>,
  options: Api.Options & Server.Options & { readonly backlog?: number | undefined }
): Effect.Effect<SocketServer.SocketServer["Type"], ListenError, R | Scope.Scope> => {
  const problem = runProblem(options)
  return problem !== undefined ? argument.illegal(problem) : Effect.gen(function*() {
    const door = new Door(options.backlog ?? defaultBacklog)
    const server = yield* start((connection) => door.admit(connection))
    // Runs before the server's own, which lets its handlers finish.
    yield* Effect.addFinalizer(() => Effect.sync(() => door.close()))
    return SocketServer.SocketServer.of({
      address: fromAddress(server.addresses[0]),
      run: (handler) => run(server, door, options, handler)
    })
  })
}
