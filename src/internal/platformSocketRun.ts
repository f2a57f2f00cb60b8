/**
 * Handing what a connection receives to a handler, chunk by chunk: a platform socket's `run`.
 *
 * Theory of operation. `@effect/platform` runs the handler's effect for each chunk in a fiber of its own, and goes on
 * reading. Programs rely on that: a handler of RPC's client waits until a stream has room, and the answer that makes room
 * comes in a later chunk. So handlers overlap here, too. But how much they hold between them is bounded: each has the
 * bytes of its chunk from its start to its end, and while all of them have as much as the window, nothing is read, so that
 * the connection's reader fills up and stops the peer. Small chunks count as more than their bytes, for a fiber takes
 * memory as well. Handlers are started in the order of the chunks, and one that never waits has ended before the next
 * chunk is read.
 */
import * as Socket from "@effect/platform/Socket"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import type { Connection } from "../Connection.js"
import type { ConnectionError } from "../NetworkError.js"
import type * as Api from "../PlatformSocket.js"
import * as argument from "./argument.js"

/** The most that one handler is given, in bytes. */
const largestChunk = 65_536
/** What a handler counts as at least, in bytes. */
const smallestCharge = 1024

const defaultWindow = 1024 * 1024
const defaultFinishTimeout = Duration.seconds(5)

export interface RunLimits {
  readonly concurrency: number
  readonly window: number
  readonly finishTimeout: Duration.Duration
}

export const runProblem = (options: Api.Options): argument.Problem =>
  (options.concurrency === "unbounded" ? undefined : argument.positive("concurrency", options.concurrency)) ??
    argument.positive("window", options.window) ??
    argument.duration("finishTimeout", options.finishTimeout)

export const runLimits = (options: Api.Options): RunLimits => ({
  concurrency: options.concurrency === undefined || options.concurrency === "unbounded"
    ? Infinity
    : options.concurrency,
  window: options.window ?? defaultWindow,
  finishTimeout: Duration.decode(options.finishTimeout ?? defaultFinishTimeout)
})

/** The handlers that have not returned. */
class Handlers<E, R> {
  private readonly fibers: Set<Fiber.RuntimeFiber<unknown, E>> = new Set()
  /** What they have between them, in bytes. */
  private held = 0
  /** Told when one has returned. */
  private look: (() => void) | undefined = undefined
  private readonly failure: Deferred.Deferred<never, E> = Deferred.unsafeMake(FiberId.none)

  constructor(private readonly runtime: Runtime.Runtime<R>, private readonly limits: RunLimits) {}

  start(effect: Effect.Effect<unknown, E, R>, size: number): void {
    const charge = Math.max(size, smallestCharge)
    this.held += charge
    const fiber = Runtime.runFork(this.runtime, effect)
    this.fibers.add(fiber)
    fiber.addObserver((exit) => {
      this.fibers.delete(fiber)
      this.held -= charge
      // As the platform has it: one that was interrupted has not failed.
      if (Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)) {
        Deferred.unsafeDone(this.failure, Exit.failCause(exit.cause))
      }
      this.look?.()
    })
  }

  get isFull(): boolean {
    return this.fibers.size >= this.limits.concurrency || this.held >= this.limits.window
  }

  /** Waits until one more may be started. */
  get room(): Effect.Effect<void> {
    return this.until(() => !this.isFull)
  }

  /** Waits until all have returned; fails where that takes too long. */
  get finished(): Effect.Effect<void, Socket.SocketError> {
    const { finishTimeout } = this.limits
    return Effect.suspend(() =>
      this.fibers.size === 0 || Duration.toMillis(finishTimeout) === 0
        ? Effect.void
        : Effect.timeoutFail(this.until(() => this.fibers.size === 0), {
          duration: finishTimeout,
          onTimeout: () => new Socket.SocketGenericError({ reason: "Read", cause: this.lateness })
        })
    )
  }

  private get lateness(): Cause.TimeoutException {
    const { size } = this.fibers
    return new Cause.TimeoutException(
      `${size} ${size === 1 ? "handler" : "handlers"} had not returned ${
        Duration.format(this.limits.finishTimeout)
      } after the end of the stream, and ${size === 1 ? "was" : "were"} interrupted: see \`finishTimeout\``
    )
  }

  /** Fails as the first of them that does. */
  get failed(): Effect.Effect<never, E> {
    return Deferred.await(this.failure)
  }

  get interrupted(): Effect.Effect<void> {
    return Effect.suspend(() => Fiber.interruptAll(Array.from(this.fibers)))
  }

  /** One fiber waits at a time: the one that reads. */
  private until(condition: () => boolean): Effect.Effect<void> {
    return Effect.async((resume) => {
      const look = () => {
        if (condition()) {
          this.look = undefined
          resume(Effect.void)
        }
      }
      this.look = look
      look()
      return Effect.sync(() => {
        this.look = undefined
      })
    })
  }
}

export type Handler<E, R> = (bytes: Uint8Array) => Effect.Effect<unknown, E, R> | void

/** To the end of the stream, or the first failure. */
const readAll = <E, R>(
  connection: Connection,
  handlers: Handlers<E, R>,
  handler: Handler<E, R>
): Effect.Effect<void, ConnectionError> =>
  Effect.gen(function*() {
    while (true) {
      const chunk = yield* connection.reader.read(largestChunk)
      if (chunk.length === 0) {
        return
      }
      // A function may return anything where nothing is wanted.
      const result: unknown = handler(chunk)
      if (Effect.isEffect(result)) {
        handlers.start(result as Effect.Effect<unknown, E, R>, chunk.length)
        if (handlers.isFull) {
          yield* handlers.room
        }
      }
    }
  })

/**
 * What a program does when the socket has opened: it begins before the first chunk is handled, and need not have ended by
 * then, for it may wait for one.
 */
const opening = <E, E2>(
  onOpen: Effect.Effect<void>,
  failed: Effect.Effect<never, E>,
  reading: Effect.Effect<void, E2>
): Effect.Effect<void, E | E2> => {
  const opened = Effect.unsafeMakeLatch(false)
  return Effect.raceFirst(
    Effect.raceFirst(Effect.zipRight(onOpen, Effect.zipRight(opened.open, Effect.never)), failed),
    Effect.zipRight(reading, opened.await)
  )
}

/** `run`, but for opening and closing. To be interruptible, whatever its caller is, as the platform's is. */
export const runOver = <E, R>(
  connection: Connection,
  limits: RunLimits,
  handler: Handler<E, R>,
  onOpen: Effect.Effect<void> | undefined,
  toError: (error: ConnectionError) => Socket.SocketError
): Effect.Effect<void, Socket.SocketError | E, R> =>
  Effect.interruptible(Effect.flatMap(Effect.runtime<R>(), (runtime) =>
    Effect.acquireUseRelease(
      Effect.sync(() => new Handlers<E, R>(runtime, limits)),
      (handlers) => {
        const reading = Effect.zipRight(
          Effect.mapError(readAll(connection, handlers, handler), toError),
          handlers.finished
        )
        return onOpen === undefined
          ? Effect.raceFirst(handlers.failed, reading)
          : opening(onOpen, handlers.failed, reading)
      },
      (handlers) => handlers.interrupted
    )))
