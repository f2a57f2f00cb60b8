import type * as Clock from "effect/Clock"
import { clockTimers } from "./clockTimers.js"
import { ClockTimeline, type Timeline } from "./timeline.js"
import { VirtualClock } from "./virtualClock.js"

const timelines = new WeakMap<Clock.Clock, Timeline>()

/**
 * The timeline of a clock: everything that goes by one has the same.
 *
 * @internal
 */
export const timelineOf = (clock: Clock.Clock): Timeline => {
  if (clock instanceof VirtualClock) {
    return clock
  }
  let timeline = timelines.get(clock)
  if (timeline === undefined) {
    timeline = new ClockTimeline(clockTimers(clock))
    timelines.set(clock, timeline)
  }
  return timeline
}
