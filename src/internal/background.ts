/**
 * What code that runs in callbacks needs of Effect: a way to be waited for, timers, and fibers; all owned by one effect,
 * so that none outlives it.
 *
 * A timer goes by the fiber's `Clock`, so that a test's virtual time moves it. The clock that every program has by
 * default sleeps by way of `setTimeout`, and there the timer is one, without the fiber around it.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import type { Restore } from "../Transport.js"
import { maskOnce } from "./once.js"
import { suspension } from "./suspension.js"

const liveClock = Context.get(DefaultServices.liveServices, Clock.Clock)

// What setTimeout can hold. A longer wait is one without end, as Effect's own clock has it.
const longestTimeout = 2 ** 31 - 1

const nothing = () => {}

/**
 * `Effect.async` for what must not leak: what `register` begins is ended by the effect that it returns, whenever the
 * outcome is not a success. To be run once, at once, where nothing interrupts; `restore` lets interruptions in. What
 * `register` has begun would be lost if it threw, so it must not.
 *
 * `Effect.async` puts its canceller in place one step after it has registered. An interruption that comes in between
 * (from what `register` itself calls, or because the scheduler let another fiber run after just that step) finds none.
 *
 * @internal
 */
export const asyncOwnedWithin = <A, E>(
  restore: Restore,
  register: (resume: (outcome: Effect.Effect<A, E>) => void) => Effect.Effect<void>
): Effect.Effect<A, E> => {
  const slot = new Slot<A, E>()
  const stop = register((outcome) => slot.put(outcome))
  return Effect.catchAllCause(restore(slot.taken()), (cause) => Effect.zipRight(stop, Effect.failCause(cause)))
}

/**
 * The same for whoever has nothing to lose between the success and what comes next.
 *
 * @internal
 */
export const asyncOwned = <A, E>(
  register: (resume: (outcome: Effect.Effect<A, E>) => void) => Effect.Effect<void>
): Effect.Effect<A, E> => maskOnce((restore) => asyncOwnedWithin(restore, register))

/** What is waited for, which may come before the wait. It knows nobody, for `restore` keeps the wait: see `once.ts`. */
class Slot<A, E> {
  private outcome: Effect.Effect<A, E> | undefined = undefined
  private resume: ((outcome: Effect.Effect<A, E>) => void) | undefined = undefined

  put(outcome: Effect.Effect<A, E>): void {
    if (this.resume === undefined) {
      this.outcome ??= outcome
    } else {
      this.resume(outcome)
    }
  }

  taken(): Effect.Effect<A, E> {
    return suspension((resume) => {
      this.resume = resume
      if (this.outcome !== undefined) {
        resume(this.outcome)
        this.outcome = undefined
      }
    })
  }
}

/** @internal */
export class Background {
  closed = false
  private readonly parent: Fiber.RuntimeFiber<unknown, unknown>
  // Made when they are needed: the common case needs none of them.
  private timers: Set<ReturnType<typeof setTimeout>> | undefined
  private fibers: Set<Fiber.RuntimeFiber<unknown, unknown>> | undefined
  private parentRuntime: Runtime.Runtime<never> | undefined

  constructor(parent: Fiber.RuntimeFiber<unknown, unknown>) {
    this.parent = parent
    this.timers = undefined
    this.fibers = undefined
    this.parentRuntime = undefined
  }

  get clock(): Clock.Clock {
    return Context.get(this.parent.currentDefaultServices, Clock.Clock)
  }

  /**
   * What the parent runs with, and interruptible whatever the parent is. A fiber that fails is not logged as unhandled:
   * whoever forks it is told.
   */
  get runtime(): Runtime.Runtime<never> {
    return this.parentRuntime ??= Runtime.make({
      context: this.parent.currentContext,
      fiberRefs: FiberRefs.updateAs(this.parent.getFiberRefs(), {
        fiberId: this.parent.id(),
        fiberRef: FiberRef.unhandledErrorLogLevel,
        value: Option.none()
      }),
      runtimeFlags: Runtime.defaultRuntimeFlags
    })
  }

  /** `onExit` is not called for a fiber that `closeWith` ended. */
  fork<A, E>(
    effect: Effect.Effect<A, E>,
    onExit: (exit: Exit.Exit<A, E>) => void,
    runtime = this.runtime
  ): Fiber.RuntimeFiber<A, E> {
    const fibers = this.fibers ??= new Set()
    const fiber = Runtime.runFork(runtime, effect)
    fibers.add(fiber)
    fiber.addObserver((exit) => {
      fibers.delete(fiber)
      if (!this.closed) {
        onExit(exit)
      }
    })
    return fiber
  }

  /** The same with an effect that nothing interrupts but for what it makes interruptible, so that its success arrives. */
  forkMasked<A, E>(effect: Effect.Effect<A, E>, onExit: (exit: Exit.Exit<A, E>) => void): Fiber.RuntimeFiber<A, E> {
    return this.fork(effect, onExit, Runtime.disableRuntimeFlag(this.runtime, RuntimeFlags.Interruption))
  }

  /** Runs the task later, unless what is returned is called before. */
  schedule(millis: number, task: () => void): () => void {
    if (this.closed) {
      return nothing
    }
    if (this.clock === liveClock) {
      if (millis > longestTimeout) {
        return nothing
      }
      const timers = this.timers ??= new Set()
      const timer = setTimeout(() => {
        timers.delete(timer)
        task()
      }, millis)
      timers.add(timer)
      return () => {
        timers.delete(timer)
        clearTimeout(timer)
      }
    }
    let cancelled = false
    const fiber = this.fork(this.clock.sleep(Duration.millis(millis)), (exit) => {
      if (!cancelled && Exit.isSuccess(exit)) {
        task()
      }
    })
    return () => {
      cancelled = true
      fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }

  /** Stops the timers at once; what is returned interrupts the fibers, waits for their end, and succeeds or fails. */
  closeWith<A, E>(exit: Exit.Exit<A, E>): Effect.Effect<A, E> {
    this.closed = true
    this.timers?.forEach(clearTimeout)
    return this.fibers === undefined || this.fibers.size === 0
      ? exit
      : Effect.uninterruptible(Effect.zipRight(Fiber.interruptAll(Array.from(this.fibers)), exit))
  }
}
