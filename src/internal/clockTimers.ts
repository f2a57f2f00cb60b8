import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Timers } from "./connectionState.js"

/** Timers of the program's `Clock`, so that a test's clock drives them. */
export const clockTimers = (clock: Clock.Clock): Timers => ({
  now: () => clock.unsafeCurrentTimeMillis(),
  after: (millis, task) => {
    const fiber = Effect.runFork(Effect.zipRight(clock.sleep(Duration.millis(millis)), Effect.sync(task)))
    return () => fiber.unsafeInterruptAsFork(FiberId.none)
  }
})
