/**
 * A platform socket as a transport.
 *
 * Theory of operation. A platform socket lives within its `run`: it opens there, calls a handler for what comes, and is
 * closed when `run` ends, for whatever reason. So one fiber runs it for as long as the transport lives, with another
 * beside it that writes, one piece after another. To destroy the transport is to interrupt the run, and the transport
 * has closed when that has ended.
 *
 * Such a socket can't be told to pause. What comes while the reader is full waits here, up to a limit; past that the
 * socket is given up, for there is no other way to stop the peer. The handler waits as long as the reader does, so that a
 * socket which heeds its handlers (one that was made of a connection of ours does) is held up long before.
 */
import * as Socket from "@effect/platform/Socket"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import * as Address from "../Address.js"
import type { Connection } from "../Connection.js"
import type { ConnectionError } from "../NetworkError.js"
import type * as Api from "../PlatformSocket.js"
import type { Transport, TransportFailure, TransportReceiver } from "../Transport.js"
import * as argument from "./argument.js"
import { Background } from "./background.js"
import { concat } from "./bytes.js"
import { fromTransport, optionProblem } from "./connection.js"
import { connectionError } from "./connectionError.js"
import { abortedClosure, closeCodeIsError, failureOfExit, normalClosure } from "./platformSocketError.js"

const defaultMaxPending = 16 * 1024 * 1024

/** How long a socket may take to be told that it is aborted. */
const abortPatience = "1 second"

type Write = (chunk: Uint8Array | Socket.CloseEvent) => Effect.Effect<void, Socket.SocketError>

class SocketTransport implements Transport {
  readonly localAddress: Address.Address
  readonly remoteAddress: Address.Address
  readonly canWriteEof: boolean
  /** What was written and the socket has not taken. */
  bufferedBytes = 0

  private readonly maxPending: number
  private readonly isError: (code: number) => boolean
  private receiver: TransportReceiver | undefined = undefined
  private paused = false
  /** What came while nobody took it. */
  private inbox: Array<Uint8Array> = []
  private inboxBytes = 0
  private outbox: Array<Uint8Array> = []
  private ending = false
  /** Wakes the fiber that writes. */
  private wake: (() => void) | undefined = undefined
  /** Given up by this side: nothing is delivered any more but the close. */
  private gone = false
  /** Why it was given up, where that is a failure. */
  private givenUp: TransportFailure | undefined = undefined
  /** The run has ended. */
  private over = false
  private failure: TransportFailure | undefined = undefined
  private closed = false
  private turning = false

  private readonly opening: Deferred.Deferred<void, ConnectionError> = Deferred.unsafeMake(FiberId.none)
  /** Open while what comes is taken at once. */
  private readonly flowing = Effect.unsafeMakeLatch(true)
  /** Open when the transport is aborted. */
  private readonly aborted = Effect.unsafeMakeLatch(false)
  private readonly fiber: Fiber.RuntimeFiber<void, Socket.SocketError>

  constructor(
    private readonly socket: Socket.Socket,
    options: Api.ConnectionOptions,
    runtime: Runtime.Runtime<never>
  ) {
    this.localAddress = options.localAddress ?? Address.unix()
    this.remoteAddress = options.remoteAddress ?? Address.unix()
    this.canWriteEof = options.canWriteEof ?? false
    this.maxPending = options.maxPending ?? defaultMaxPending
    this.isError = options.closeCodeIsError ?? closeCodeIsError
    this.fiber = Runtime.runFork(runtime, this.life)
    this.fiber.addObserver((exit) => this.ended(exit))
  }

  // ---------------------------------------------------------------------------
  // the socket
  // ---------------------------------------------------------------------------

  /** Waits until it is open. */
  get opened(): Effect.Effect<void, ConnectionError> {
    return Deferred.await(this.opening)
  }

  /** Ends it, whatever it is at. */
  get dismissed(): Effect.Effect<void> {
    return Effect.asVoid(Fiber.interrupt(this.fiber))
  }

  private get life(): Effect.Effect<void, Socket.SocketError> {
    return Effect.scopedWith((scope) =>
      Effect.gen(this, function*() {
        const writing = yield* Scope.fork(scope, ExecutionStrategy.sequential)
        const write = yield* Scope.extend(this.socket.writer, writing)
        const run = this.socket.run(
          (bytes) => this.arrived(bytes),
          { onOpen: Effect.sync(() => this.isOpen()) }
        )
        yield* Effect.raceFirst(
          run,
          Effect.raceFirst(this.writes(write, Scope.close(writing, Exit.void)), this.abortion(write))
        )
      })
    )
  }

  private isOpen(): void {
    Deferred.unsafeDone(this.opening, Exit.void)
  }

  private arrived(bytes: Uint8Array): Effect.Effect<void> | void {
    if (this.gone || this.givenUp !== undefined || bytes.length === 0) {
      return
    }
    this.isOpen()
    if (this.receiver !== undefined && !this.paused && this.inbox.length === 0) {
      this.receiver.onData(bytes)
    } else if (this.inboxBytes > this.maxPending) {
      this.giveUp({
        reason: "Unknown",
        code: "ENOBUFS",
        cause: undefined,
        detail: `the socket can't be paused, and ${this.inboxBytes} bytes had come that nobody read, more than ` +
          `maxPending (${this.maxPending}) allows: read faster, or let more wait`
      })
      return
    } else {
      this.inbox.push(bytes)
      this.inboxBytes += bytes.length
      this.flowing.unsafeClose()
    }
    return this.paused || this.inbox.length > 0 ? this.flowing.await : undefined
  }

  private giveUp(failure: TransportFailure): void {
    this.givenUp = failure
    this.fiber.unsafeInterruptAsFork(FiberId.none)
  }

  private writes(write: Write, endWriting: Effect.Effect<void>): Effect.Effect<never, Socket.SocketError> {
    const loop: Effect.Effect<never, Socket.SocketError> = Effect.suspend(() => {
      const bytes = this.outbox.shift()
      return bytes !== undefined
        ? Effect.flatMap(write(bytes), () => {
          this.taken(bytes.length)
          return loop
        })
        : this.ending
        ? Effect.zipRight(
          this.canWriteEof ? endWriting : write(new Socket.CloseEvent(normalClosure)),
          Effect.never
        )
        : Effect.zipRight(this.work, loop)
    })
    return loop
  }

  /** Waits until there is something to write, or to end. */
  private get work(): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.outbox.length > 0 || this.ending) {
        resume(Effect.void)
      } else {
        this.wake = () => {
          this.wake = undefined
          resume(Effect.void)
        }
      }
      return Effect.sync(() => {
        this.wake = undefined
      })
    })
  }

  private taken(size: number): void {
    if (!this.gone) {
      this.bufferedBytes -= size
      this.receiver?.onDrain()
    }
  }

  /** Tells the peer, where the socket can, that this is no end in order. */
  private abortion(write: Write): Effect.Effect<void> {
    return Effect.zipRight(
      this.aborted.await,
      Effect.ignore(Effect.timeoutOption(write(new Socket.CloseEvent(abortedClosure, "aborted")), abortPatience))
    )
  }

  private ended(exit: Exit.Exit<void, Socket.SocketError>): void {
    this.over = true
    this.failure = this.givenUp ?? failureOfExit(exit, this.isError)
    Deferred.unsafeDone(
      this.opening,
      this.failure === undefined ? Exit.void : Exit.fail(connectionError(this.failure, "read", this.remoteAddress))
    )
    this.turn()
  }

  // ---------------------------------------------------------------------------
  // the transport
  // ---------------------------------------------------------------------------

  start(receiver: TransportReceiver): void {
    this.receiver = receiver
    this.turn()
  }

  pause(): void {
    this.paused = true
    this.flowing.unsafeClose()
  }

  resume(): void {
    this.paused = false
    this.turn()
  }

  write(chunks: ReadonlyArray<Uint8Array>): void {
    if (!this.ending && !this.gone) {
      const bytes = chunks.length === 1 ? chunks[0]! : concat(chunks)
      if (bytes.length > 0) {
        this.outbox.push(bytes)
        this.bufferedBytes += bytes.length
        this.wake?.()
      }
    }
  }

  end(): void {
    this.ending = true
    this.wake?.()
  }

  destroy(): void {
    if (this.leave()) {
      this.fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }

  abort(): void {
    if (this.leave()) {
      this.aborted.unsafeOpen()
    }
  }

  /** Whether there is still something to be left. */
  private leave(): boolean {
    const left = !this.gone
    this.gone = true
    this.inbox = []
    this.inboxBytes = 0
    this.outbox = []
    this.bufferedBytes = 0
    this.turn()
    return left && !this.over
  }

  /** Delivers in a later microtask what there is to deliver. */
  private turn(): void {
    if (!this.turning && this.receiver !== undefined) {
      const receiver = this.receiver
      this.turning = true
      queueMicrotask(() => {
        this.turning = false
        this.deliver(receiver)
      })
    }
  }

  private deliver(receiver: TransportReceiver): void {
    while (this.inbox.length > 0 && !this.paused && !this.gone) {
      const bytes = this.inbox.shift()!
      this.inboxBytes -= bytes.length
      receiver.onData(bytes)
    }
    if (this.inbox.length > 0) {
      return
    }
    if (!this.paused) {
      this.flowing.unsafeOpen()
    }
    if (this.over && !this.closed) {
      this.closed = true
      if (!this.gone && this.failure === undefined) {
        receiver.onEnd()
      }
      receiver.onClosed(this.gone ? undefined : this.failure)
    }
  }
}

/** @internal */
export const toConnection = (
  socket: Socket.Socket,
  options: Api.ConnectionOptions = {}
): Effect.Effect<Connection, ConnectionError, Scope.Scope> => {
  const problem = argument.oneOf("canWriteEof", options.canWriteEof, [true, false]) ??
    argument.notNegative("maxPending", options.maxPending) ??
    optionProblem(options)
  return problem !== undefined ?
    argument.illegal(problem) :
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime((fiber) => {
        const transport = new SocketTransport(socket, options, new Background(fiber).runtime)
        return Effect.zipRight(
          Effect.onError(restore(transport.opened), () => transport.dismissed),
          fromTransport(transport, options)
        )
      })
    )
}
