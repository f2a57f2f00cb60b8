import type * as Clock from "effect/Clock"
import { clockTimers } from "./clockTimers.js"
import { Timeline } from "./timeline.js"

const timelines = new WeakMap<Clock.Clock, Timeline>()

/**
 * The timeline of a clock: everything that goes by one has the same, and so one timer.
 *
 * @internal
 */
export const timelineOf = (clock: Clock.Clock): Timeline => {
  let timeline = timelines.get(clock)
  if (timeline === undefined) {
    timeline = new Timeline(clockTimers(clock))
    timelines.set(clock, timeline)
  }
  return timeline
}
