import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** Lets the event loop turn, which runs everything that can run, on any platform. */
export const eventLoopTurn: Effect.Effect<void> = Effect.async<void>((resume) => {
  const next = () => resume(Exit.void)
  if (typeof setImmediate === "function") {
    setImmediate(next)
  } else {
    setTimeout(next, 0)
  }
})
