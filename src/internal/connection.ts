import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Scope from "effect/Scope"
import type { Address } from "../Address.js"
import type * as Api from "../Connection.js"
import { type ConnectionError, ReadAheadError, TlsError } from "../NetworkError.js"
import type * as Tls from "../Tls.js"
import type { Transport } from "../Transport.js"
import * as argument from "./argument.js"
import { emptyBytes } from "./bytes.js"
import { clockTimers } from "./clockTimers.js"
import { connectionError } from "./connectionError.js"
import { type Closed, type ConnectionLimits, ConnectionState, type Ending, type Timers } from "./connectionState.js"
import type { TimeoutLimits } from "./connectionTimeouts.js"
import { Inherited } from "./inherited.js"
import { maskOnce, waitOnce } from "./once.js"
import { defaultLimit, StreamReaderImpl } from "./streamReader.js"
import { StreamWriterImpl } from "./streamWriter.js"
import { suspension } from "./suspension.js"
import { isTapped, tapped } from "./wireTap.js"

/** @internal */
export const TypeId: Api.TypeId = Symbol.for("effect-netstreams/Connection") as Api.TypeId

/** @internal */
export const isConnection = (u: unknown): u is Api.Connection => hasProperty(u, TypeId)

/** @internal */
export const CloseReason: Data.TaggedEnum.Constructor<Api.CloseReason> = Data.taggedEnum<Api.CloseReason>()

const defaultHighWaterMark = 65_536
const defaultCloseTimeout = Duration.seconds(30)

/** What is wrong with the options of a connection. */
export const optionProblem = (options: Api.Options): argument.Problem =>
  argument.positive("limit", options.limit) ??
    argument.duration("closeTimeout", options.closeTimeout) ??
    argument.notNegative("highWaterMark", options.highWaterMark) ??
    argument.notNegative("lowWaterMark", options.lowWaterMark) ??
    (typeof options.wireTap === "object"
      ? argument.notNegative("wireTap: maxBytes", options.wireTap.maxBytes)
      : undefined) ??
    (options.lowWaterMark !== undefined && options.highWaterMark !== undefined &&
        options.lowWaterMark > options.highWaterMark
      ? `lowWaterMark must not be above highWaterMark (${options.highWaterMark}), got ${options.lowWaterMark}`
      : undefined) ??
    argument.timeLimit("idleTimeout", options.idleTimeout) ??
    argument.timeLimit("readTimeout", options.readTimeout) ??
    argument.timeLimit("writeTimeout", options.writeTimeout) ??
    (options.minReadRate === undefined ? undefined : rateProblem(options.minReadRate))

const rateProblem = (rate: NonNullable<Api.Options["minReadRate"]>): argument.Problem =>
  argument.positive("minReadRate: bytesPerSecond", rate.bytesPerSecond ?? NaN) ??
    argument.timeLimit("minReadRate: gracePeriod", rate.gracePeriod)

/** The options with their defaults, worked out once for a server and all of its connections. */
export const connectionLimits = (options: Api.Options): ConnectionLimits => {
  const highWaterMark = options.highWaterMark ??
    (options.lowWaterMark === undefined ? defaultHighWaterMark : 4 * options.lowWaterMark)
  return {
    limit: options.limit ?? defaultLimit,
    highWaterMark,
    lowWaterMark: options.lowWaterMark ?? Math.floor(highWaterMark / 4),
    closeTimeout: Duration.toMillis(options.closeTimeout ?? defaultCloseTimeout),
    timeouts: timeoutLimits(options)
  }
}

const defaultRatePeriod = Duration.seconds(5)

const timeoutLimits = (options: Api.Options): TimeoutLimits | undefined => {
  const { idleTimeout, minReadRate, readTimeout, writeTimeout } = options
  return idleTimeout === undefined && readTimeout === undefined && writeTimeout === undefined &&
      minReadRate === undefined
    ? undefined
    : {
      idle: Duration.toMillis(idleTimeout ?? Duration.infinity),
      read: Duration.toMillis(readTimeout ?? Duration.infinity),
      write: Duration.toMillis(writeTimeout ?? Duration.infinity),
      rate: minReadRate === undefined ? undefined : {
        bytesPerSecond: minReadRate.bytesPerSecond,
        period: Duration.toMillis(minReadRate.gracePeriod ?? defaultRatePeriod)
      }
    }
}

const defaultHandshakeTimeout = Duration.seconds(60)

/** What was written in the clear must leave before the handshake, which a peer that does not read can hold up. */
const withinHandshake = <A, E>(
  effect: Effect.Effect<A, E>,
  options: Tls.Upgrade,
  remoteAddress: Address
): Effect.Effect<A, E | TlsError> =>
  Effect.timeoutFail(effect, {
    duration: options.handshakeTimeout ?? defaultHandshakeTimeout,
    onTimeout: () =>
      new TlsError({
        reason: "HandshakeTimeout",
        code: Option.none(),
        detail: Option.some("what was written before it could not be sent"),
        remoteAddress: Option.some(remoteAddress)
      })
  })

const noTls = (remoteAddress: Address): TlsError =>
  new TlsError({
    reason: "InvalidOptions",
    code: Option.none(),
    detail: Option.some("this connection's transport can't go over to TLS"),
    remoteAddress: Option.some(remoteAddress)
  })

/** What the handshake begins with. */
const residueOf = (options: Tls.Upgrade, received: Uint8Array): Uint8Array | TlsError => {
  const residue = options.residue ?? (options.role === "client" ? "reject" : "handOff")
  return received.length === 0 || residue === "handOff"
    ? received
    : residue === "discard"
    ? emptyBytes
    : new TlsError({
      reason: "UnexpectedPlaintext",
      code: Option.none(),
      detail: Option.some(
        `${received.length} bytes had come in the clear and were not read; they may have been injected, so they are ` +
          "not believed: read all replies before the upgrade, or choose another `residue`"
      )
    })
}

const failedUpgrade = (cause: Cause.Cause<TlsError | ConnectionError>): Closed => {
  const error = Option.getOrUndefined(Cause.failureOption(cause))
  return error === undefined ? { by: "Aborted" } : {
    by: "Failed",
    failure: {
      reason: "Closed",
      code: Option.getOrUndefined(error.code),
      cause: error,
      ...(error._tag === "TlsError" ? { tls: error } : {})
    }
  }
}

const upgradeProblem = (options: Tls.Upgrade): argument.Problem =>
  argument.oneOf("startTls: role", options.role ?? "none", ["client", "server"]) ??
    argument.oneOf("startTls: residue", options.residue, ["reject", "handOff", "discard"]) ??
    tlsProblem("startTls: ", options) ??
    (options.role === "client" && options.verify !== false && options.serverName === undefined
      ? "startTls: serverName must say whom the certificate must be for, unless verify is false, got undefined"
      : undefined)

/** What is wrong with TLS options, as far as that can be said without looking at certificates. */
export const tlsProblem = (
  prefix: string,
  options: Tls.CommonOptions & Pick<Tls.ClientOptions, "serverName"> & Pick<Tls.ServerOptions, "maxHandshakes">
): argument.Problem =>
  argument.timeLimit(`${prefix}handshakeTimeout`, options.handshakeTimeout) ??
    argument.duration(`${prefix}shutdownTimeout`, options.shutdownTimeout) ??
    argument.oneOf(`${prefix}minVersion`, options.minVersion, versions) ??
    argument.oneOf(`${prefix}maxVersion`, options.maxVersion, versions) ??
    argument.notEmpty(`${prefix}serverName`, options.serverName) ??
    argument.positive(`${prefix}maxHandshakes`, options.maxHandshakes)

const versions = ["TLSv1.2", "TLSv1.3"]

const failRead = (ending: Ending, remoteAddress: Address | undefined): Exit.Exit<never, ConnectionError> =>
  Exit.fail(connectionError(ending, "read", remoteAddress))

/** @internal */
export class ConnectionImpl implements Api.Connection {
  readonly reader: StreamReaderImpl<Ending, ConnectionError>
  readonly writer: StreamWriterImpl
  readonly localAddress: Address
  readonly remoteAddress: Address
  readonly state: ConnectionState
  /** The connection that took this one's place. */
  private successor: ConnectionImpl | undefined = undefined

  constructor(
    private readonly transport: Transport,
    private readonly limits: ConnectionLimits,
    private readonly timers: Timers
  ) {
    this.localAddress = transport.localAddress
    this.remoteAddress = transport.remoteAddress
    this.state = new ConnectionState(transport, limits, timers)
    this.reader = new StreamReaderImpl(this.state.input, failRead, transport.remoteAddress)
    this.writer = new StreamWriterImpl(this.state, transport.canWriteEof, transport.remoteAddress)
    transport.start(this.state)
  }

  get [TypeId](): Api.TypeId {
    return TypeId
  }

  get tls(): Option.Option<Tls.Session> {
    return Option.fromNullable(this.transport.tls)
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.state.close()
      return this.waitForEnd()
    })
  }

  get abort(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.state.abort()
      return this.waitForEnd()
    })
  }

  get isClosing(): Effect.Effect<boolean> {
    return Effect.sync(() => this.state.isClosing)
  }

  get awaitClosed(): Effect.Effect<Api.CloseReason> {
    return Effect.map(this.ended, () => this.closeReason(this.state.closed!))
  }

  /** Succeeds when the connection has ended. */
  get ended(): Effect.Effect<void> {
    return Effect.suspend(() => this.waitForEnd())
  }

  private waitForEnd(): Effect.Effect<void> {
    return this.state.closed !== undefined ? Exit.void : waitOnce<void>((resume) => {
      const done = () => resume(Exit.void)
      if (this.state.closed !== undefined) {
        done()
      } else {
        this.state.awaitClosed(done)
      }
      return () => this.state.giveUpClosed(done)
    })
  }

  private closeReason(closed: Closed): Api.CloseReason {
    return closed.by === "Failed"
      ? CloseReason.Failed({
        error: closed.failure.tls ?? connectionError(closed.failure, "close", this.remoteAddress)
      })
      : CloseReason[closed.by]()
  }

  /** This connection, or the one that has its transport now. */
  get latest(): ConnectionImpl {
    return this.successor === undefined ? this : this.successor.latest
  }

  /** What its owner does in the end: closes whatever it has become. */
  get release(): Effect.Effect<void> {
    return Effect.suspend(() => this.latest.close)
  }

  /** The same for whoever has no fiber to wait in: calls back when it is done. */
  releaseThen(done: () => void): void {
    const latest = this.latest
    latest.state.close()
    if (latest.state.closed !== undefined) {
      done()
    } else {
      latest.state.awaitClosed(done)
    }
  }

  get releaseNow(): Effect.Effect<void> {
    return Effect.suspend(() => this.latest.abort)
  }

  startTls(options: Tls.Upgrade): Effect.Effect<Api.Connection, TlsError | ConnectionError> {
    const problem = upgradeProblem(options)
    return problem !== undefined
      ? argument.illegal(problem)
      : Effect.suspend(() => {
        const ending = this.state.writeEnding
        return ending !== undefined
          ? Effect.fail(connectionError(ending, "startTls", this.remoteAddress))
          : this.reader.place.takenOver
          // What was injected, or a ClientHello that came early, may be among what was read ahead.
          ? Effect.die(new ReadAheadError({ operation: "startTls" }))
          : this.transport.startTls === undefined
          ? Effect.fail(noTls(this.remoteAddress))
          : this.upgrade(options, this.transport.startTls.bind(this.transport))
      })
  }

  /** Whatever happens from here on, the connection is the new one's or gone. */
  private upgrade(
    options: Tls.Upgrade,
    startTls: NonNullable<Transport["startTls"]>
  ): Effect.Effect<Api.Connection, TlsError | ConnectionError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(this, function*() {
        const handover = this.state.spend()
        const transport = yield* withinHandshake(this.writer.flushFor("startTls"), options, this.remoteAddress).pipe(
          Effect.zipRight(Effect.suspend(() => {
            const residue = residueOf(options, handover.takeReceived())
            return residue instanceof TlsError
              ? Effect.fail(residue)
              : startTls(new Inherited(this.transport, handover, residue), options)
          })),
          restore,
          Effect.matchEffect({
            onFailure: (error) => Effect.fail(this.state.isSpent ? error : this.cutOff),
            onSuccess: (transport) =>
              this.state.isSpent
                ? Effect.succeed(transport)
                : Effect.zipRight(Effect.sync(() => transport.abort()), Effect.fail(this.cutOff))
          }),
          Effect.onError((cause) =>
            Effect.sync(() => {
              this.transport.abort()
              this.state.surrender(failedUpgrade(cause))
            })
          )
        )
        const successor = new ConnectionImpl(transport, this.limits, this.timers)
        this.successor = successor
        this.state.surrender({ by: "Local" })
        return successor
      })
    )
  }

  /** How an upgrade fails while which this connection was closed or aborted. */
  private get cutOff(): ConnectionError {
    return connectionError(this.state.writeEnding!, "startTls", this.remoteAddress)
  }

  /**
   * Puts something between this connection and its transport, and gives the connection over that. This one is spent.
   * One that is closing stays as it is.
   */
  interpose(wrap: (lower: Transport) => Transport): ConnectionImpl {
    if (this.state.isClosing) {
      return this
    }
    const ended = this.state.writeEnding !== undefined
    const handover = this.state.spend()
    const received = handover.takeReceived()
    const lower = new Inherited(this.transport, handover, received)
    const successor = this.successor = new ConnectionImpl(wrap(lower), this.limits, this.timers)
    successor.state.countedAlready = this.state.countedAlready + received.length
    this.state.surrender({ by: "Local" })
    if (ended) {
      successor.state.writeEof()
    }
    return successor
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}

/** @internal */
export const fromTransport = (
  transport: Transport,
  options: Api.Options = {}
): Effect.Effect<Api.Connection, never, Scope.Scope> => {
  const problem = optionProblem(options)
  return problem !== undefined
    ? Effect.zipRight(Effect.sync(() => transport.destroy()), argument.illegal(problem))
    : Effect.withFiberRuntime((fiber) => maskOnce(() => openWith(fiber, scopeOf(fiber), transport, options)))
}

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** What `Effect.scope` gives in this fiber. */
export const scopeOf = (fiber: AnyFiber): Scope.Scope =>
  Context.unsafeGet(fiber.currentContext as Context.Context<Scope.Scope>, Scope.Scope)

/** Makes the connection as the options say, and hands it to its scope, where nothing can interrupt. */
export const openWith = (
  fiber: AnyFiber,
  scope: Scope.Scope,
  transport: Transport,
  options: Api.Options
): Effect.Effect<ConnectionImpl> => {
  const limits = connectionLimits(options)
  return isTapped(options)
    ? Effect.flatMap(
      Effect.runtime<never>(),
      (runtime) => openNow(fiber, scope, tapped(transport, options, runtime), limits)
    )
    : openNow(fiber, scope, transport, limits)
}

/** Makes the connection and hands it to its scope, in one step. */
export const openIn = (
  scope: Scope.Scope,
  transport: Transport,
  limits: ConnectionLimits
): Effect.Effect<ConnectionImpl> =>
  Effect.withFiberRuntime((fiber) => maskOnce(() => openNow(fiber, scope, transport, limits)))

/** The same where nothing can interrupt anyway. */
const openNow = (
  fiber: AnyFiber,
  scope: Scope.Scope,
  transport: Transport,
  limits: ConnectionLimits
): Effect.Effect<ConnectionImpl> => {
  const clock = Context.get(fiber.currentDefaultServices, Clock.Clock)
  const connection = new ConnectionImpl(transport, limits, clockTimers(clock))
  return Effect.as(
    // An interruption, where one can come to a finalizer, leaves nothing to undo: who is called then is not there any more.
    Scope.addFinalizerExit(scope, () => suspension((resume) => connection.releaseThen(() => resume(Exit.void)))),
    connection
  )
}
