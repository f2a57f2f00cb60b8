/**
 * Letting the event loop turn, so that timers and sockets have theirs.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { suspension } from "./suspension.js"

type Immediate = <A>(task: (argument: A) => void, argument: A) => unknown

/** `setImmediate` is Node's. */
const immediate: Immediate | undefined = (globalThis as { readonly setImmediate?: Immediate }).setImmediate

let awaited = 0

/**
 * How many turns have been waited for so far. A program in simulated time that waits for one has not come to rest.
 */
export const turnsAwaited = (): number => awaited

/** The next macrotask, as early as the platform has it. */
export const nextMacrotask: Immediate = immediate ?? ((task, argument) => setTimeout(task, 0, argument))

/** The next macrotask, for who goes on with a program. */
export const afterTurn: Immediate = (task, argument) => {
  awaited += 1
  return nextMacrotask(task, argument)
}

/** Lets the event loop turn, which runs everything that can run, on any platform. */
export const eventLoopTurn: Effect.Effect<void> = suspension<void>((resume) => afterTurn(resume, Exit.void))

/**
 * Lets timers and sockets have a turn, where that is quick; `yieldNow` alone lets only other fibers.
 */
export const breathe: Effect.Effect<void> = immediate === undefined ? Effect.yieldNow() : eventLoopTurn
