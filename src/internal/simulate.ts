import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import { VirtualClock } from "./virtualClock.js"

/** All fibers run in microtasks, however long that takes: a macrotask is where the clock looks whether they rest. */
const makeScheduler = (): Scheduler.Scheduler => {
  const runner = new Scheduler.SchedulerRunner((_, drain) => queueMicrotask(() => drain(0)))
  return Scheduler.make((task, priority) => runner.scheduleTask(task, priority))
}

/** @internal */
export const simulate = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const clock = new VirtualClock()
    const stuck = Effect.async<never>((resume) => {
      clock.onStuck = (time) =>
        resume(Effect.die(
          new Cause.RuntimeException(
            `the program waits for something that nothing can bring about any more, after ${
              Duration.format(Duration.millis(time))
            } of simulated time`
          )
        ))
      clock.advance()
    })
    return effect.pipe(
      Effect.raceFirst(stuck),
      Effect.withClock(clock),
      Effect.withScheduler(makeScheduler()),
      Effect.ensuring(Effect.sync(() => clock.stop()))
    )
  })
