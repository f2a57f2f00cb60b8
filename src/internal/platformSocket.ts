/**
 * Connections as platform sockets: one that exists, and one that is dialled anew for each `run`.
 */
import * as Socket from "@effect/platform/Socket"
import type * as SocketServer from "@effect/platform/SocketServer"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Address from "../Address.js"
import type { Connection } from "../Connection.js"
import type { ConnectError, TlsError } from "../NetworkError.js"
import type * as Api from "../PlatformSocket.js"
import type { Restore } from "../Transport.js"
import * as argument from "./argument.js"
import { ConnectionImpl } from "./connection.js"
import { connectionError } from "./connectionError.js"
import { openError, readError, writeError } from "./platformSocketError.js"
import { type Handler, type RunLimits, runLimits, runOver, runProblem } from "./platformSocketRun.js"

/** @internal */
export const fromAddress = (address: Address.Address): SocketServer.Address =>
  address._tag === "TcpAddress"
    ? { _tag: "TcpAddress", hostname: address.host, port: address.port }
    : { _tag: "UnixAddress", path: Option.getOrElse(address.path, () => "") }

/** @internal */
export const toAddress = (address: SocketServer.Address): Address.Address =>
  address._tag === "TcpAddress" ? Address.tcp(address.hostname, address.port) : Address.unix(address.path)

type Chunk = Uint8Array | string | Socket.CloseEvent
type Written = Effect.Effect<void, Socket.SocketError>

interface RunOptions {
  readonly onOpen?: Effect.Effect<void> | undefined
}

/** A connection, and what the platform's program has said to it. */
class Link {
  /** What the program closed it with. */
  private closeEvent: Socket.CloseEvent | undefined = undefined

  constructor(readonly connection: Connection) {}

  write(chunk: Chunk): Written {
    return Socket.isCloseEvent(chunk)
      ? this.close(chunk)
      : Effect.mapError(this.connection.writer.write(chunk), writeError)
  }

  /** Begins to close, and waits for nothing, as the platform has it. */
  private close(event: Socket.CloseEvent): Effect.Effect<void> {
    const { connection } = this
    return Effect.flatMap(connection.isClosing, (isClosing) => {
      if (isClosing) {
        return Effect.void
      }
      this.closeEvent = event
      // Whoever implements the interface otherwise has only a close that waits.
      return connection instanceof ConnectionImpl
        ? Effect.sync(() => connection.releaseThen(() => {}))
        : connection.close
    })
  }

  /** What becomes of the writing side when a writer's scope closes. */
  get end(): Effect.Effect<void> {
    const { writer } = this.connection
    return writer.canWriteEof ? Effect.ignore(writer.writeEof) : Effect.void
  }

  run<E, R>(limits: RunLimits, handler: Handler<E, R>, options: RunOptions | undefined) {
    return runOver(
      this.connection,
      limits,
      handler,
      options?.onOpen,
      (error) => readError(error, this.closeEvent)
    )
  }
}

const makeWriter = (write: (chunk: Chunk) => Written, end: Effect.Effect<void>): Socket.Socket["writer"] =>
  Effect.acquireRelease(Effect.succeed(write), () => end)

/** @internal */
export const fromConnection = (connection: Connection, options: Api.Options = {}): Socket.Socket => {
  const problem = runProblem(options)
  if (problem !== undefined) {
    throw new Cause.IllegalArgumentException(`fromConnection: ${problem}`)
  }
  const limits = runLimits(options)
  const link = new Link(connection)
  const run: Socket.Socket["run"] = (handler, options) => link.run(limits, handler, options)
  return Socket.Socket.of({
    [Socket.TypeId]: Socket.TypeId,
    run,
    runRaw: run,
    writer: makeWriter((chunk) => link.write(chunk), link.end)
  })
}

// ---------------------------------------------------------------------------
// dialled
// ---------------------------------------------------------------------------

/** A connection in a scope of its own. */
interface Dialled {
  readonly link: Link
  readonly close: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>
}

/** What a program has that writes while no connection is open. */
const notOpen = (last: Connection): Socket.SocketError =>
  writeError(connectionError(
    {
      reason: "Closed",
      code: undefined,
      cause: undefined,
      detail: "the socket's connection has ended; the next `run` opens another"
    },
    "write",
    last.remoteAddress
  ))

/**
 * A socket that has a connection for each `run`, as the platform's own have, so that a program that runs it again
 * reconnects. The first is there before anybody runs it.
 */
class DialledSocket {
  /** What writers write to. */
  private current: Link
  /** That nobody has run yet. */
  private fresh: Dialled | undefined
  private isOpen = true
  /** What writers wait for while the next connection is being made. */
  private dialling: Deferred.Deferred<Link, Socket.SocketError> | undefined = undefined

  constructor(
    first: Dialled,
    private readonly dial: (restore: Restore) => Effect.Effect<Dialled, ConnectError | TlsError>,
    private readonly limits: RunLimits
  ) {
    this.fresh = first
    this.current = first.link
  }

  write(chunk: Chunk): Written {
    return Effect.suspend(() =>
      this.isOpen
        ? this.current.write(chunk)
        : this.dialling === undefined
        ? Effect.fail(notOpen(this.current.connection))
        : Effect.flatMap(Deferred.await(this.dialling), (link) => link.write(chunk))
    )
  }

  get end(): Effect.Effect<void> {
    return Effect.suspend(() => this.isOpen ? this.current.end : Effect.void)
  }

  run<E, R>(handler: Handler<E, R>, options: RunOptions | undefined): Effect.Effect<void, Socket.SocketError | E, R> {
    return Effect.interruptible(
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          this.take(restore),
          (dialled) =>
            Effect.onExit(restore(dialled.link.run(this.limits, handler, options)), (exit) => {
              if (this.current === dialled.link) {
                this.isOpen = false
              }
              return dialled.close(exit)
            })
        )
      )
    )
  }

  private take(restore: Restore): Effect.Effect<Dialled, Socket.SocketError> {
    return Effect.suspend(() => {
      const { fresh } = this
      this.fresh = undefined
      return fresh === undefined ? this.redial(restore) : Effect.succeed(fresh)
    })
  }

  private redial(restore: Restore): Effect.Effect<Dialled, Socket.SocketError> {
    const dialling = this.dialling = Deferred.unsafeMake<Link, Socket.SocketError>(FiberId.none)
    return Effect.onExit(Effect.mapError(this.dial(restore), openError), (exit) =>
      Effect.sync(() => {
        if (this.dialling === dialling) {
          this.dialling = undefined
        }
        if (Exit.isSuccess(exit)) {
          this.current = exit.value.link
          this.isOpen = true
        }
        Deferred.unsafeDone(
          dialling,
          Exit.isSuccess(exit)
            ? Exit.succeed(exit.value.link)
            // Whoever writes was not interrupted.
            : Cause.isInterrupted(exit.cause)
            ? Exit.fail(notOpen(this.current.connection))
            : Exit.failCause(exit.cause)
        )
      }))
  }
}

/**
 * A socket over connections that `open` makes, of which the first is made at once.
 *
 * @internal
 */
export const makeSocket = (
  open: Effect.Effect<Connection, ConnectError | TlsError, Scope.Scope>,
  options: Api.Options
): Effect.Effect<Socket.Socket, ConnectError | TlsError, Scope.Scope> => {
  const problem = runProblem(options)
  return problem !== undefined ?
    argument.illegal(problem) :
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const scope = yield* Effect.scope
        const dial = (restore: Restore) =>
          Effect.flatMap(Scope.fork(scope, ExecutionStrategy.sequential), (own) =>
            Effect.map(
              Effect.onError(
                restore(Scope.extend(open, own)),
                (cause) => Scope.close(own, Exit.failCause(cause))
              ),
              (connection): Dialled => ({ link: new Link(connection), close: (exit) => Scope.close(own, exit) })
            ))
        const socket = new DialledSocket(yield* dial(restore), dial, runLimits(options))
        const run: Socket.Socket["run"] = (handler, options) => socket.run(handler, options)
        return Socket.Socket.of({
          [Socket.TypeId]: Socket.TypeId,
          run,
          runRaw: run,
          writer: makeWriter((chunk) => socket.write(chunk), socket.end)
        })
      })
    )
}
