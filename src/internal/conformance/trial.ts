/**
 * What a case of the conformance kit is run with.
 *
 * A transport that is to be tested may do anything: hang where it should end, end where it should wait. So nothing here
 * waits for the thing under test without a bound. Whatever it is asked runs in a fiber of its own, which is looked at
 * now and then; in between, the event loop turns, and then time passes, more and more of it. Where a wait's patience is
 * at its end, the case fails, and the fiber is left to its fate.
 *
 * Time passes by `advance`: the program's clock is slept on, and a test's clock is set forward. Either way a wait that
 * succeeds takes no longer than it must, and one that does not ends.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import { hasProperty, isTagged } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import type * as Api from "../../Conformance.js"
import { eventLoopTurn } from "../eventLoopTurn.js"
import { ConformanceError } from "./conformanceError.js"
import type { Pattern } from "./pattern.js"

export interface Settings {
  readonly settle: Effect.Effect<void>
  readonly advance: (duration: Duration.Duration) => Effect.Effect<void>
  /** In milliseconds. */
  readonly patience: number
}

const turns = (count: number): Effect.Effect<void> => Effect.repeatN(eventLoopTurn, count - 1)

const passTime = (duration: Duration.Duration): Effect.Effect<void> =>
  Effect.flatMap(
    Clock.clockWith(Effect.succeed),
    (clock) => hasProperty(clock, "adjust") ? TestClock.adjust(duration) : Effect.sleep(duration)
  )

export const settings = (options: Api.Options): Settings => {
  const advance = options.advance ?? passTime
  return {
    advance,
    settle: options.settle ?? Effect.zipRight(turns(4), Effect.zipRight(advance(Duration.millis(1)), turns(2))),
    patience: Duration.toMillis(options.patience ?? Duration.seconds(10))
  }
}

/** The longest step in which time passes, in milliseconds: the most that is lost by not looking. */
const longestStep = 100

/** Polls until there is something, or the patience is at its end. */
const watch = <A>(settings: Settings, patience: number, poll: () => A | null): Effect.Effect<A | null> =>
  Effect.gen(function*() {
    for (let i = 0; i < 60; i++) {
      const found = poll()
      if (found !== null) {
        return found
      }
      yield* i < 8 ? Effect.yieldNow() : eventLoopTurn
    }
    for (let waited = 0, step = 1; waited < patience; step = Math.min(step * 1.5, longestStep)) {
      yield* settings.advance(Duration.millis(step))
      waited += step
      for (let i = 0; i < 3; i++) {
        const found = poll()
        if (found !== null) {
          return found
        }
        yield* eventLoopTurn
      }
    }
    return poll()
  })

const described = (cause: Cause.Cause<unknown>): string =>
  Option.match(Cause.failureOption(cause), {
    onSome: (error) => `failed: ${nameOf(error)}`,
    onNone: () =>
      Option.match(Cause.dieOption(cause), {
        onSome: (defect) => `died: ${nameOf(defect)}`,
        onNone: () => "was interrupted"
      })
  })

const nameOf = (error: unknown): string =>
  error instanceof Error ? `${error.name} (${error.message})` : `${String(error)}`

export const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isSuccess(exit) ? "succeeded" : described(exit.cause)

/** The reason of the `ConnectionError` that an effect failed with. */
export const reasonOf = (exit: Exit.Exit<unknown, unknown>): string | undefined =>
  Exit.isFailure(exit)
    ? Option.getOrUndefined(Option.map(
      Option.filter(Cause.failureOption(exit.cause), isTagged("ConnectionError")),
      (error) => (error as unknown as { readonly reason: string }).reason
    ))
    : undefined

/** The tag of what an effect failed with. */
export const tagOf = (exit: Exit.Exit<unknown, unknown>): string | undefined =>
  Exit.isFailure(exit)
    ? Option.getOrUndefined(
      Option.map(Cause.failureOption(exit.cause), (error) => hasProperty(error, "_tag") ? String(error._tag) : "")
    )
    : undefined

/** The name of the defect that an effect died with. */
export const defectOf = (exit: Exit.Exit<unknown, unknown>): string | undefined =>
  Exit.isFailure(exit)
    ? Option.getOrUndefined(
      Option.map(Cause.dieOption(exit.cause), (defect) => defect instanceof Error ? defect.name : String(defect))
    )
    : undefined

/** Something that was begun, and may end. */
export interface Running<out A, out E> {
  readonly what: string
  readonly isDone: () => boolean
  /** Waits for it to end, in any way. */
  readonly exit: Effect.Effect<Exit.Exit<A, E>, ConformanceError>
  /** Waits for it to succeed. */
  readonly result: Effect.Effect<A, ConformanceError>
  /** Interrupts it, and waits for it to end in any way. */
  readonly interrupt: Effect.Effect<Exit.Exit<A, E>, ConformanceError>
}

/** One run of one case. */
export class Trial {
  private readonly fibers: Array<Fiber.RuntimeFiber<unknown, unknown>> = []

  constructor(readonly name: string, readonly rule: string, readonly settings: Settings) {}

  fail(found: string, cause?: unknown): Effect.Effect<never, ConformanceError> {
    return Effect.fail(new ConformanceError({ case: this.name, rule: this.rule, found, cause }))
  }

  check(condition: boolean, found: () => string): Effect.Effect<void, ConformanceError> {
    return condition ? Effect.void : this.fail(found())
  }

  get settle(): Effect.Effect<void> {
    return this.settings.settle
  }

  /** Begins something, and lets it go as far as it can without time. */
  begin<A, E>(what: string, effect: Effect.Effect<A, E>): Effect.Effect<Running<A, E>> {
    return Effect.flatMap(Effect.forkDaemon(Effect.interruptible(effect)), (fiber) => {
      this.fibers.push(fiber)
      return Effect.as(Effect.yieldNow(), this.running(what, fiber))
    })
  }

  /** Begins something that is to wait: by the time this ends, it does. */
  beginWaiting<A, E>(what: string, effect: Effect.Effect<A, E>): Effect.Effect<Running<A, E>, ConformanceError> {
    return Effect.tap(this.begin(what, effect), (running) =>
      Effect.zipRight(
        this.settle,
        Effect.suspend(() =>
          running.isDone()
            ? Effect.flatMap(running.exit, (exit) => this.fail(`${what} had to wait, and ${outcomeOf(exit)}`))
            : Effect.void
        )
      ))
  }

  private running<A, E>(what: string, fiber: Fiber.RuntimeFiber<A, E>): Running<A, E> {
    const exit = this.ended(what, fiber)
    return {
      what,
      isDone: () => fiber.unsafePoll() !== null,
      exit,
      result: Effect.flatMap(exit, (exit) => this.successOf(what, exit)),
      interrupt: Effect.suspend(() => {
        fiber.unsafeInterruptAsFork(FiberId.none)
        return this.ended(`the interruption of ${what}`, fiber)
      })
    }
  }

  private ended<A, E>(
    what: string,
    fiber: Fiber.RuntimeFiber<A, E>,
    patience = this.settings.patience
  ): Effect.Effect<Exit.Exit<A, E>, ConformanceError> {
    return Effect.flatMap(watch(this.settings, patience, () => fiber.unsafePoll()), (exit) =>
      exit === null
        ? this.fail(`${what} does not end (waited for ${Duration.format(Duration.millis(patience))})`)
        : Effect.succeed(exit))
  }

  private successOf<A>(what: string, exit: Exit.Exit<A, unknown>): Effect.Effect<A, ConformanceError> {
    return Exit.isSuccess(exit)
      ? Effect.succeed(exit.value)
      : this.fail(`${what} ${described(exit.cause)}`, Cause.squash(exit.cause))
  }

  /** How something ends, which it must. */
  exit<A, E>(
    what: string,
    effect: Effect.Effect<A, E>,
    patience?: number
  ): Effect.Effect<Exit.Exit<A, E>, ConformanceError> {
    return Effect.flatMap(Effect.forkDaemon(Effect.interruptible(effect)), (fiber) => {
      this.fibers.push(fiber)
      return Effect.zipLeft(
        this.ended(what, fiber, patience),
        Effect.sync(() => this.fibers.splice(this.fibers.indexOf(fiber), 1))
      )
    })
  }

  /** What comes of something that must succeed. */
  result<A, E>(what: string, effect: Effect.Effect<A, E>, patience?: number): Effect.Effect<A, ConformanceError> {
    return Effect.flatMap(this.exit(what, effect, patience), (exit) => this.successOf(what, exit))
  }

  /** Fails unless something fails with the error of that tag. */
  failsWith(tag: string, what: string, effect: Effect.Effect<unknown, unknown>): Effect.Effect<void, ConformanceError> {
    return Effect.flatMap(
      this.exit(what, effect),
      (exit) => this.check(tagOf(exit) === tag, () => `${what} should fail with ${tag}, but ${outcomeOf(exit)}`)
    )
  }

  /** Fails unless something fails with a `ConnectionError` of one of those reasons, or of any. */
  failsFor(
    reasons: ReadonlyArray<string>,
    what: string,
    effect: Effect.Effect<unknown, unknown>
  ): Effect.Effect<void, ConformanceError> {
    return Effect.flatMap(this.exit(what, effect), (exit) => this.failedFor(reasons, what, exit))
  }

  failedFor(
    reasons: ReadonlyArray<string>,
    what: string,
    exit: Exit.Exit<unknown, unknown>
  ): Effect.Effect<void, ConformanceError> {
    const reason = reasonOf(exit)
    return this.check(
      reason !== undefined && (reasons.length === 0 || reasons.includes(reason)),
      () =>
        `${what} should fail with a ConnectionError${
          reasons.length === 0 ? "" : ` (${reasons.map((reason) => `"${reason}"`).join(" or ")})`
        }, but ${outcomeOf(exit)}`
    )
  }

  /** Waits for a condition. */
  until(what: string, condition: () => boolean): Effect.Effect<void, ConformanceError> {
    return Effect.flatMap(
      watch(this.settings, this.settings.patience, () => condition() ? true : null),
      (done) => done === null ? this.fail(`${what} does not come`) : Effect.void
    )
  }

  /** What bytes should have been those of the pattern. */
  compare(who: string, bytes: Uint8Array, pattern: Pattern, from: number): Effect.Effect<void, ConformanceError> {
    const problem = pattern.problem(bytes, from)
    return problem === undefined ? Effect.void : this.fail(`of what was sent to it, ${who} has read: ${problem}`)
  }

  /** Acquires, with the patience of a wait: what fails here is not the fault of what is tested. */
  acquire<A, E, R>(what: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | ConformanceError, R> {
    return Effect.flatMap(
      Effect.acquireUseRelease(
        Effect.forkDaemon(Effect.interruptible(effect)),
        (fiber) => this.ended(what, fiber),
        (fiber) => Effect.sync(() => fiber.unsafeInterruptAsFork(FiberId.none))
      ),
      (exit) => exit
    )
  }

  /** Interrupts what still runs, and does not wait for it. */
  get stop(): Effect.Effect<void> {
    return Effect.sync(() => {
      for (const fiber of this.fibers) {
        fiber.unsafeInterruptAsFork(FiberId.none)
      }
      this.fibers.length = 0
    })
  }
}

export type InScope<R> = Exclude<R, Scope.Scope>
