import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { VirtualClock } from "./virtualClock.js"

const stuckAfter = (time: number): Exit.Exit<never> =>
  Exit.die(
    new Cause.RuntimeException(
      `the program waits for something that nothing can bring about any more, after ${
        Duration.format(Duration.millis(time))
      } of simulated time`
    )
  )

/** How a program has ended, or that it never will. */
interface Outcome<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly stuck: boolean
}

const outcomeOf = <A, E>(fiber: Fiber.RuntimeFiber<A, E>, clock: VirtualClock): Effect.Effect<Outcome<A, E>> =>
  Effect.async((resume) => {
    const observer = (exit: Exit.Exit<A, E>) => resume(Effect.succeed({ exit, stuck: false }))
    clock.onStuck = (time) => {
      fiber.removeObserver(observer)
      resume(Effect.succeed({ exit: stuckAfter(time), stuck: true }))
    }
    fiber.addObserver(observer)
    clock.advance()
    return Effect.sync(() => fiber.removeObserver(observer))
  })

/**
 * The program is a fiber that nobody has to wait for: one that can't be interrupted, or whose finalizers hang, would hold
 * up the report that it is stuck. It is interrupted all the same, and time goes on for its finalizers, until it has ended
 * or is stuck once more.
 *
 * @internal
 */
export const simulate = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const clock = new VirtualClock()
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkDaemon(restore(effect))
        const interrupted = Effect.zipRight(
          Effect.fiberIdWith((id) => Fiber.interruptAsFork(fiber, id)),
          outcomeOf(fiber, clock)
        )
        const first = yield* Effect.exit(restore(outcomeOf(fiber, clock)))
        if (Exit.isFailure(first)) {
          return yield* (yield* interrupted).exit
        }
        if (first.value.stuck) {
          yield* interrupted
        } else {
          yield* fiber.inheritAll
        }
        return yield* first.value.exit
      })
    ).pipe(
      Effect.withClock(clock),
      Effect.withScheduler(clock.scheduler),
      Effect.ensuring(Effect.sync(() => clock.stop()))
    )
  })
