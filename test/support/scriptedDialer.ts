/**
 * A network that follows a script: what each address does and when, and a record of what the dialler did about it.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Supervisor from "effect/Supervisor"
import * as TestClock from "effect/TestClock"
import * as Address from "../../src/Address.js"
import type { AttemptFailure, Dialer, Local } from "../../src/internal/dial.js"
import type { AddressReason, ConnectError } from "../../src/NetworkError.js"
import type { LookupOptions, Service as ResolverService } from "../../src/Resolver.js"
import { ResolveError } from "../../src/Resolver.js"

const reasons: Record<string, AddressReason> = {
  ECONNREFUSED: "Refused",
  ETIMEDOUT: "TimedOut",
  EHOSTUNREACH: "HostUnreachable",
  ENETUNREACH: "NetworkUnreachable",
  EADDRNOTAVAIL: "AddressNotAvailable",
  EADDRINUSE: "AddressInUse",
  EACCES: "PermissionDenied"
}

/** By an errno, after the name of the system call that it comes from where that is not `connect`. */
export const failure = (outcome: string): AttemptFailure => {
  const [code = "", syscall = "connect"] = outcome.split(" ").reverse()
  return {
    reason: reasons[code] ?? "Unknown",
    code,
    cause: Object.assign(new Error(`${syscall} ${code}`), { code, syscall })
  }
}

/**
 * What an address does: `[after, "connects"]`, `[after, errno]`, `[after, "bind errno"]`, or never answers. 0 is before
 * `connect` returns.
 */
export type Behaviour = readonly [after: number, outcome: string] | "never answers"

/** By address, or by what it is connected to from and that: `"192.0.2.1 -> 10.0.0.1"`. */
export interface Script {
  readonly [address: string]: Behaviour
}

/** The value of a connection: one object each, so that a leak can be told from the winner. */
export class Socket {
  readonly address: string
  constructor(address: string) {
    this.address = address
  }
}

export interface ScriptedDialer extends Dialer<Socket, Address.Address> {
  /** `"250 start 10.0.0.1"` and so on, in the order in which it happened. */
  readonly events: Array<string>
  /** Attempts that were neither ended nor given up, and sockets that were not closed. */
  readonly open: Set<string>
  readonly locals: Array<Local | undefined>
  /** Is told each event when it happens. */
  onEvent: (count: number) => void
  readonly note: (event: string) => void
}

export const scriptedDialer = (script: Script): Effect.Effect<ScriptedDialer> =>
  Effect.gen(function*() {
    const runtime = yield* Effect.runtime<never>()
    const clock = yield* Effect.clock
    const origin = clock.unsafeCurrentTimeMillis()
    const dialer: ScriptedDialer = {
      events: [],
      open: new Set(),
      locals: [],
      onEvent: () => {},
      note: (event) => {
        dialer.events.push(`${clock.unsafeCurrentTimeMillis() - origin} ${event}`)
        dialer.onEvent(dialer.events.length)
      },
      connect: (address, local, receiver) => {
        const host = address._tag === "TcpAddress" ? address.host : Address.format(address)
        const behaviour = script[`${local?.address} -> ${host}`] ?? script[host]!
        dialer.locals.push(local)
        dialer.open.add(host)
        dialer.note(`start ${host}`)
        const end = (outcome: string) => {
          if (outcome === "connects") {
            dialer.note(`connected ${host}`)
            receiver.onConnected(new Socket(host))
          } else {
            dialer.open.delete(host)
            dialer.note(`${outcome} ${host}`)
            receiver.onFailed(failure(outcome))
          }
        }
        if (behaviour === "never answers") {
          return giveUp
        }
        const [after, outcome] = behaviour
        let timer: Fiber.RuntimeFiber<void> | undefined
        if (after === 0) {
          end(outcome)
        } else {
          timer = Runtime.runFork(runtime, Effect.zipRight(Effect.sleep(after), Effect.sync(() => end(outcome))))
        }
        return () => {
          if (timer !== undefined) {
            Runtime.runFork(runtime, Fiber.interruptFork(timer))
          }
          giveUp()
        }
        function giveUp() {
          dialer.open.delete(host)
          dialer.note(`give up ${host}`)
        }
      },
      close: (socket) => {
        dialer.open.delete(socket.address)
        dialer.note(`close ${socket.address}`)
      }
    }
    return dialer
  })

/** An answer after some time, or a failure: `[after, addresses]`, `[after, reason]`, or never one. */
export type Answer =
  | readonly [after: number, answer: ReadonlyArray<string> | ResolveError["reason"]]
  | "never answers"

const answer = (host: string, family: 4 | 6 | undefined, answer: Answer) => {
  if (answer === "never answers") {
    return Effect.never
  }
  const [after, outcome] = answer
  return Effect.zipRight(
    after === 0 ? Effect.void : Effect.sleep(after),
    typeof outcome === "string"
      ? Effect.fail(
        new ResolveError({
          reason: outcome,
          host,
          family: Option.fromNullable(family),
          code: Option.some(outcome === "Temporary" ? "EAI_AGAIN" : "ENOTFOUND"),
          cause: new Error("getaddrinfo")
        })
      )
      : Effect.succeed(outcome)
  )
}

export interface ScriptedResolver extends ResolverService {
  readonly questions: Array<LookupOptions & { readonly host: string }>
}

/** Answers every name the same: both families at once, or each by itself. */
export const scriptedResolver = (
  script: Answer | { readonly 4: Answer; readonly 6: Answer }
): ScriptedResolver => {
  const questions: ScriptedResolver["questions"] = []
  const together = Array.isArray(script) || typeof script === "string"
  return {
    questions,
    separateFamilies: !together,
    lookup: (host, options = {}) =>
      Effect.suspend(() => {
        questions.push({ host, ...options })
        return answer(
          host,
          options.family,
          together ? script as Answer : (script as { 4: Answer; 6: Answer })[options.family!]
        )
      })
  }
}

export interface Run {
  readonly exit: Exit.Exit<Socket, ConnectError>
  /** What happened, with `"700 handed over 10.0.0.1"` or `"700 failed"` as the last word. */
  readonly events: ReadonlyArray<string>
  readonly open: ReadonlyArray<string>
  /** Fibers that the dialling started and that were alive when it had ended. */
  readonly fibersLeft: number
}

/** Runs the dialling to its end in virtual time. */
export const runToEnd = (
  dialer: ScriptedDialer,
  dialling: Effect.Effect<Socket, ConnectError>
): Effect.Effect<Run> =>
  Effect.gen(function*() {
    const supervisor = yield* Supervisor.track
    const fiber = yield* dialling.pipe(
      Effect.supervised(supervisor),
      Effect.exit,
      Effect.flatMap((exit) =>
        Effect.map(supervisor.value, (fibers) => {
          dialer.note(exit._tag === "Success" ? `handed over ${exit.value.address}` : "failed")
          return { exit, fibersLeft: fibers.length }
        })
      ),
      Effect.fork
    )
    yield* TestClock.adjust("10 minutes")
    const { exit, fibersLeft } = yield* Fiber.join(fiber)
    return { exit, events: dialer.events, open: Array.from(dialer.open), fibersLeft }
  })
