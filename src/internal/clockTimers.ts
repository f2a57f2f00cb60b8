import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Timers } from "./connectionState.js"
import { VirtualClock } from "./virtualClock.js"

const liveClock = Context.get(DefaultServices.liveServices, Clock.Clock)

/** What `setTimeout` can count to. */
const longest = 2 ** 31 - 1

/** A fiber that sleeps costs twenty times as much as the timer it sleeps on, and every close sets one. */
const platformTimers: Timers = {
  // Time that only passes: the time of day may be set while a connection is open.
  now: () => performance.now(),
  after: (millis, task) => {
    const timer = setTimeout(task, Math.min(millis, longest))
    return () => clearTimeout(timer)
  }
}

/** Timers of the program's `Clock`, so that a test's clock drives them. */
export const clockTimers = (clock: Clock.Clock): Timers =>
  clock === liveClock ? platformTimers : clock instanceof VirtualClock ? clock.timers : {
    now: () => clock.unsafeCurrentTimeMillis(),
    after: (millis, task) => {
      const fiber = Effect.runFork(Effect.zipRight(clock.sleep(Duration.millis(millis)), Effect.sync(task)))
      return () => fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }
