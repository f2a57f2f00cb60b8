import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import { pipeArguments } from "effect/Pipeable"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Scope from "effect/Scope"
import * as Address from "../Address.js"
import { type ListenError, OverloadError, TlsError } from "../NetworkError.js"
import type * as Api from "../Server.js"
import type * as Tls from "../Tls.js"
import type { AcceptError, Acceptor, Listener, Restore, Transport } from "../Transport.js"
import * as argument from "./argument.js"
import { clockTimers } from "./clockTimers.js"
import { ConnectionImpl, connectionLimits, optionProblem, tlsProblem } from "./connection.js"
import type { ConnectionLimits, Timers } from "./connectionState.js"
import { withoutDismissal } from "./dismissal.js"
import { codeOf } from "./errno.js"
import * as HandlerRuntime from "./handlerRuntime.js"
import * as HandlerScope from "./handlerScope.js"
import { Pacing } from "./pacing.js"
import { Places } from "./places.js"
import { Member } from "./roster.js"
import { closeReason, ServerMeter } from "./serverMetrics.js"
import { ServerState } from "./serverState.js"
import { type ConnectionTelemetry, observe } from "./serverTelemetry.js"
import { tapped } from "./wireTap.js"

/** @internal */
export const TypeId: Api.TypeId = Symbol.for("effect-netstreams/Server") as Api.TypeId

const defaultGracePeriod = Duration.seconds(1)
const defaultMaxWaiting = 1000

/** How long handlers that were interrupted may take over it, and `onError`, before a shutdown goes on without them. */
const interruptPatience = Duration.seconds(1)

/** One connection and the fiber of its handler, from the accept to the end of both. */
class Client extends Member {
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined = undefined
  /** Set when the server ends the connection: what its handler suffers from that is no news. */
  dismissed = false
  /** That of its handler. */
  readonly scope: Scope.CloseableScope = HandlerScope.make()

  constructor(
    readonly connection: ConnectionImpl,
    /** What its handler runs with, but for the scope. */
    readonly runtime: Runtime.Runtime<any>,
    readonly since: number,
    readonly telemetry: ConnectionTelemetry | undefined
  ) {
    super()
  }

  get isOpen(): boolean {
    return this.connection.latest.state.closed === undefined
  }

  /** The handler has not returned. */
  get isAtWork(): boolean {
    return this.fiber === undefined || this.fiber.unsafePoll() === null
  }
}

/** That of a server whose own is still being made, or never was. */
const noListener: Omit<Listener, "addresses"> = { start: Effect.void, close: Effect.void }

/** How a shutdown ended one connection. */
interface Dismissal {
  readonly closed: boolean
  readonly interrupted: boolean
}

class ServerImpl implements Api.Server {
  get [TypeId](): Api.TypeId {
    return TypeId
  }
  addresses!: Arr.NonEmptyReadonlyArray<Address.Address>

  private listener: Omit<Listener, "addresses"> = noListener
  private readonly state: ServerState<Client> = new ServerState()
  private readonly places: Places<Transport>
  /** What is told once a second at most, by what it is. */
  private readonly pacings: Map<string, Pacing<Api.ServerError>> = new Map()
  /** What `onError` is still at. */
  private readonly reports: Set<Fiber.RuntimeFiber<void>> = new Set()
  private shutdownFiber: Fiber.RuntimeFiber<Api.ShutdownReport> | undefined = undefined
  /** Who has asked for the shutdown: one that is a report itself is not waited for. */
  private readonly enders: WeakSet<object> = new WeakSet()

  private readonly limits: ConnectionLimits
  private readonly timers: Timers
  private readonly meter: ServerMeter
  private readonly observed: (() => ConnectionTelemetry) | undefined
  private readonly onError: (error: Api.ServerError) => Effect.Effect<void>

  constructor(
    private readonly runtime: Runtime.Runtime<any>,
    private readonly options: Api.Options,
    private readonly handler: Api.Handler<unknown, any>,
    fiber: Fiber.RuntimeFiber<unknown, unknown>
  ) {
    this.meter = new ServerMeter(fiber.getFiberRef(FiberRef.currentMetricLabels))
    this.limits = { ...connectionLimits(options), meter: this.meter }
    this.timers = clockTimers(Context.get(fiber.currentDefaultServices, Clock.Clock))
    this.observed = observe(fiber, options, this.limits)
    this.places = new Places(
      options.maxConnections ?? Infinity,
      options.onLimit === "reject" ? 0 : options.maxWaiting ?? defaultMaxWaiting
    )
    const onError = options.onError ?? logError
    this.onError = (error) =>
      Effect.catchAllCause(
        Effect.suspend(() => onError(error)),
        (cause) => Effect.logError("onError of a server failed", cause)
      )
  }

  attach(listener: Listener): void {
    this.listener = listener
    this.addresses = listener.addresses
  }

  // ---------------------------------------------------------------------------
  // connections
  // ---------------------------------------------------------------------------

  onTransport(transport: Transport, handshakeMillis: number | undefined): void {
    if (handshakeMillis !== undefined) {
      this.meter.handshakeSucceeded(handshakeMillis)
    }
    if (this.state.phase === "draining" || this.state.phase === "closed") {
      transport.abort()
      return this.onDropped(1)
    }
    switch (this.places.arrive(transport)) {
      case "enters":
        return this.serve(transport)
      case "waits":
        return this.meter.waiting(1)
      case "refused":
        transport.abort()
        return this.onAcceptError({
          phase: "accept",
          remoteAddress: transport.remoteAddress,
          error: overload("MaxConnections", this.places.places, 1)
        })
    }
  }

  /** So many were reset, for the server closes. */
  onDropped(count: number): void {
    this.meter.rejected("Closing", count)
  }

  private serve(transport: Transport): void {
    this.meter.opened()
    const telemetry = this.observed?.()
    const runtime = telemetry?.runtime(this.runtime, transport) ?? this.runtime
    const client = new Client(
      new ConnectionImpl(tapped(transport, this.options, runtime), telemetry?.limits ?? this.limits, this.timers),
      runtime,
      this.timers.now(),
      telemetry
    )
    this.state.enter(client)
    client.fiber = Runtime.runFork(HandlerRuntime.ofHandler(runtime, client.scope), this.handle(client.connection))
    client.fiber.addObserver(this.observer(client))
  }

  /** Made here, for a function keeps all that the functions around it have in common. */
  private observer(client: Client): (exit: Exit.Exit<unknown, unknown>) => void {
    return (exit) => this.handled(client, exit)
  }

  /**
   * The handler has returned. What is to be done now is done without a fiber where that can be: to wait within the
   * handler's would cost every idle connection two kilobytes of frames, and one of its own a fifth of what a short
   * connection costs altogether.
   */
  private handled(client: Client, exit: Exit.Exit<unknown, unknown>): void {
    const release = () => client.connection.releaseThen(() => this.leave(client, exit))
    if (Exit.isFailure(exit)) {
      this.report(client, exit.cause)
    }
    if (HandlerScope.closeUnused(client.scope, exit)) {
      release()
    } else {
      Runtime.runFork(client.runtime, this.closeScope(client, exit)).addObserver(release)
    }
  }

  private leave(client: Client, exit: Exit.Exit<unknown, unknown>): void {
    client.telemetry?.end(client.connection, exit)
    const { closed } = client.connection.latest.state
    this.meter.closed(closed === undefined ? "Unknown" : closeReason(closed), this.timers.now() - client.since)
    this.state.leave(client)
    const next = this.places.leave()
    if (next !== undefined) {
      this.meter.waiting(-1)
      this.serve(next)
    }
  }

  private handle(connection: ConnectionImpl): Effect.Effect<unknown, unknown, any> {
    try {
      return this.handler(connection)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  /** The handler's, whose finalizers may still write. */
  private closeScope(client: Client, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.catchAllCause(
      Scope.close(client.scope, exit),
      (cause) => Effect.sync(() => this.report(client, cause))
    )
  }

  private report(client: Client, cause: Cause.Cause<unknown>): void {
    const { remoteAddress } = client.connection
    const news = client.dismissed ? withoutDismissal(cause, remoteAddress) : cause
    if (!Cause.isInterruptedOnly(news)) {
      this.tell({ phase: "handler", remoteAddress: Option.some(remoteAddress), cause: news }, client.runtime)
    }
  }

  onAcceptError({ error, phase, remoteAddress }: AcceptError): void {
    const told = { phase, remoteAddress: Option.fromNullable(remoteAddress), cause: Cause.fail(error) }
    if (phase === "handshake") {
      this.meter.handshakeFailed()
      this.tell(told)
      return
    }
    if (error instanceof OverloadError) {
      this.meter.rejected(error.reason, error.refused)
    }
    const kind = error instanceof OverloadError ? error.reason : codeOf(error) ?? "other"
    let pacing = this.pacings.get(kind)
    if (pacing === undefined) {
      pacing = new Pacing(this.timers, addUp, (told) => this.tell(told))
      this.pacings.set(kind, pacing)
    }
    pacing.report(told)
  }

  /** Nobody waits for whoever is told, but for the end of the server. */
  private tell(error: Api.ServerError, runtime = this.runtime): void {
    const report = Runtime.runFork(runtime, this.onError(error))
    if (report.unsafePoll() === null) {
      this.reports.add(report)
      report.addObserver(() => this.reports.delete(report))
    }
  }

  get waiting(): Effect.Effect<number> {
    return Effect.sync(() => this.places.waiting)
  }

  get connections(): Effect.Effect<ReadonlyArray<ConnectionImpl>> {
    return Effect.sync(() =>
      Arr.fromIterable(this.state.clients)
        .filter((client) => client.isOpen)
        .map((client) => client.connection.latest)
    )
  }

  // ---------------------------------------------------------------------------
  // life
  // ---------------------------------------------------------------------------

  /** Waits until `condition` holds, looking again at each change. */
  private until(condition: () => boolean): Effect.Effect<void> {
    return Effect.suspend(() =>
      condition() ? Exit.void : Effect.async<void>((resume) => {
        const look = () => {
          if (condition()) {
            resume(Exit.void)
          } else {
            this.state.watch(look)
          }
        }
        look()
        return Effect.sync(() => this.state.giveUp(look))
      })
    )
  }

  get isServing(): Effect.Effect<boolean> {
    return Effect.sync(() => this.state.phase === "serving")
  }

  get startServing(): Effect.Effect<void, ListenError> {
    return Effect.suspend(() =>
      this.state.phase !== "starting"
        ? Effect.void
        : Effect.zipRight(this.listener.start, Effect.sync(() => this.state.serve()))
    )
  }

  get serveForever(): Effect.Effect<void> {
    return Effect.zipRight(Effect.orDie(this.startServing), this.until(() => this.state.isFree))
  }

  setTls(options: Tls.ServerOptions): Effect.Effect<void, TlsError> {
    const problem = tlsProblem("setTls: ", options)
    return problem !== undefined
      ? argument.illegal(problem)
      : Effect.suspend(() =>
        this.listener.setTls?.(options) ?? Effect.fail(
          new TlsError({
            reason: "InvalidOptions",
            code: Option.none(),
            detail: Option.some("setTls is for a server that was started with `tls`")
          })
        )
      )
  }

  get close(): Effect.Effect<void> {
    // Whoever waits for it is to be told, whatever becomes of whoever asked.
    return Effect.uninterruptible(Effect.suspend(() => {
      this.state.drain()
      this.places.dismiss().forEach((transport) => {
        this.meter.waiting(-1)
        this.onDropped(1)
        transport.abort()
      })
      this.pacings.forEach((pacing) => pacing.flush())
      return Effect.zipRight(this.listener.close, Effect.sync(() => this.state.freed()))
    }))
  }

  get awaitClosed(): Effect.Effect<void> {
    return this.until(() => this.state.phase === "closed")
  }

  private endAll(end: (connection: ConnectionImpl) => Effect.Effect<void>): Effect.Effect<void> {
    return Effect.suspend(() =>
      Effect.forEach(Array.from(this.state.clients), (client) => {
        client.dismissed = true
        return end(client.connection)
      }, { concurrency: "unbounded", discard: true })
    )
  }

  get closeClients(): Effect.Effect<void> {
    return this.endAll((connection) => connection.release)
  }

  get abortClients(): Effect.Effect<void> {
    return this.endAll((connection) => connection.releaseNow)
  }

  shutdown(
    options?: { readonly gracePeriod?: Duration.DurationInput | undefined } | undefined
  ): Effect.Effect<Api.ShutdownReport> {
    const problem = argument.duration("gracePeriod", options?.gracePeriod)
    return problem !== undefined ? argument.illegal(problem) : Effect.withFiberRuntime((fiber) => {
      this.enders.add(fiber)
      // In a fiber of its own, so that whoever asked may give up and the shutdown still ends.
      this.shutdownFiber ??= Runtime.runFork(
        this.runtime,
        this.drain(Duration.decode(options?.gracePeriod ?? this.options.gracePeriod ?? defaultGracePeriod))
      )
      // Not joined: that would make its fiber refs, the handlers' scheduler among them, those of whoever asks.
      return Effect.flatten(Fiber.await(this.shutdownFiber))
    })
  }

  private reportsUnderWay(): ReadonlyArray<Fiber.RuntimeFiber<void>> {
    return Array.from(this.reports).filter((report) => !this.enders.has(report))
  }

  private drain(gracePeriod: Duration.Duration): Effect.Effect<Api.ShutdownReport> {
    const { clients } = this.state
    return Effect.gen(this, function*() {
      yield* this.close
      const serving = clients.size
      const open = Arr.fromIterable(clients).filter((client) => client.isOpen)
      yield* Effect.timeoutOption(this.until(() => clients.size === 0), gracePeriod)
      const rest = Array.from(clients)
      const late = rest.filter((client) => client.isAtWork).length
      const ends = yield* Effect.forEach(rest, (client) => this.dismiss(client), { concurrency: "unbounded" })
      yield* Effect.timeoutOption(
        Effect.zipRight(
          this.until(() => clients.size === 0),
          Effect.suspend(() => Fiber.awaitAll(this.reportsUnderWay()))
        ),
        interruptPatience
      )
      yield* Effect.forEach(this.reportsUnderWay(), Fiber.interruptFork, { discard: true })
      return {
        finished: serving - late,
        closed: ends.filter((end) => end.closed).length,
        interrupted: ends.filter((end) => end.interrupted).length,
        // Those who left within the grace period among them: a close may have been late by then.
        aborted: open.filter(({ connection }) => connection.latest.state.isReset).length
      }
    }).pipe(
      Effect.timed,
      Effect.map(([elapsed, counts]) => ({ ...counts, elapsed }))
    )
  }

  /** Ends one connection in order, and interrupts the handler that goes on all the same. */
  private dismiss(client: Client): Effect.Effect<Dismissal> {
    return Effect.gen(this, function*() {
      const { connection, fiber } = client
      // That of a handler which has returned is being closed already, unless its finalizers take their time.
      const closed = client.isOpen && (client.isAtWork || !connection.latest.state.isClosing)
      client.dismissed = true
      yield* connection.release
      // Its last read has failed by now; let the handler see to it.
      yield* Effect.yieldNow()
      const interrupted = fiber !== undefined && client.isAtWork
      if (interrupted) {
        yield* Fiber.interruptFork(fiber)
      }
      return { closed, interrupted }
    })
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}

const overload = (reason: OverloadError["reason"], limit: number, refused: number): OverloadError =>
  new OverloadError({ reason, limit, refused }, { disableValidation: true })

/** Two reports of one kind as one: of the same failure, the later stands for both. */
const addUp = (a: Api.ServerError, b: Api.ServerError): Api.ServerError => {
  const [before, now] = [Cause.squash(a.cause), Cause.squash(b.cause)]
  return before instanceof OverloadError && now instanceof OverloadError
    ? { ...b, cause: Cause.fail(overload(now.reason, now.limit, before.refused + now.refused)) }
    : b
}

const logError = ({ cause, phase, remoteAddress }: Api.ServerError): Effect.Effect<void> =>
  Effect.annotateLogs(
    Effect.logError(`${phase === "handler" ? "connection handler" : phase} failed`, cause),
    "network.peer.address",
    Option.match(remoteAddress, { onNone: () => "unknown", onSome: Address.format })
  )

type Listen = (acceptor: Acceptor, restore: Restore) => Effect.Effect<Listener, ListenError>

/** @internal */
export const make = <E, R>(
  listen: Listen,
  options: Api.Options & { readonly startServing?: boolean | undefined },
  handler: Api.Handler<E, R>
): Effect.Effect<Api.Server, ListenError, Scope.Scope | Exclude<R, Scope.Scope>> =>
  checked([], listen, options, handler)

/** @internal */
export const checked = <E, R>(
  problems: ReadonlyArray<argument.Problem>,
  listen: Listen,
  options: Api.Options & { readonly startServing?: boolean | undefined },
  handler: Api.Handler<E, R>
): Effect.Effect<Api.Server, ListenError, Scope.Scope | Exclude<R, Scope.Scope>> => {
  const problem = [
    ...problems,
    optionProblem(options),
    argument.duration("gracePeriod", options.gracePeriod),
    argument.positive("maxConnections", options.maxConnections),
    argument.oneOf("onLimit", options.onLimit, ["pause", "reject"]),
    argument.notNegative("maxWaiting", options.maxWaiting),
    argument.oneOf("annotateLogs", options.annotateLogs, [true, false])
  ].find((problem) => problem !== undefined)
  return problem !== undefined ?
    argument.illegal(problem) :
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const scope = yield* Effect.scope
        const fiber = yield* Effect.withFiberRuntime<Fiber.RuntimeFiber<unknown, unknown>>((fiber) =>
          Effect.succeed(fiber)
        )
        // Nothing interrupts this fiber here; handlers are to be interruptible all the same.
        const runtime = HandlerRuntime.ofServer(Runtime.enableRuntimeFlag(
          yield* Effect.runtime<Exclude<R, Scope.Scope>>(),
          RuntimeFlags.Interruption
        ))
        const server = new ServerImpl(runtime, options, handler, fiber)
        const acceptor: Acceptor = {
          onTransport: (transport, handshakeMillis) => server.onTransport(transport, handshakeMillis),
          onError: (error) => server.onAcceptError(error),
          onClosed: () => void Runtime.runFork(runtime, server.close),
          onDropped: (count) => server.onDropped(count)
        }
        // Not as a whole where it can be interrupted: a listener that stood by then would be nobody's.
        server.attach(yield* Effect.onError(listen(acceptor, restore), () => server.shutdown({ gracePeriod: 0 })))
        yield* Scope.addFinalizer(scope, server.shutdown())
        if (options.startServing !== false) {
          yield* Effect.onError(server.startServing, () => server.close)
        }
        return server
      })
    )
}
