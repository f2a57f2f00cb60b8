/**
 * Effect's default scheduler, at less cost where there are many fibers.
 *
 * The default one runs each fiber in microtasks of its own, so that what one fiber has in its asynchronous context (an
 * `AsyncLocalStorage`) does not leak into another's, and finds what it keeps for a fiber in a `WeakMap`. Among a thousand
 * connections the way through that map costs more than all the rest of a wake-up, for every entry is work for the garbage
 * collector, and so is every entry of a fiber that is gone. Here a fiber carries what is kept for it. What runs when, in
 * which order and in which context, is the same.
 */
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as Scheduler from "effect/Scheduler"

/** As in the default scheduler: so many microtasks in a row, then a timer, or a fiber that only yields would stop the rest. */
const mostMicrotasks = 2048

const settled: Promise<void> = Promise.resolve()

/** What waits to be run of one fiber. That is hardly ever more than one task. */
class Runner {
  private task: Scheduler.Task | undefined = undefined
  private priority = 0
  private several: Scheduler.PriorityBuckets | undefined = undefined
  private running = false
  private depth = 0

  schedule(task: Scheduler.Task, priority: number): void {
    if (this.several !== undefined) {
      this.several.scheduleTask(task, priority)
    } else if (this.task === undefined) {
      this.task = task
      this.priority = priority
    } else {
      this.several = new Scheduler.PriorityBuckets()
      this.several.scheduleTask(this.task, this.priority)
      this.several.scheduleTask(task, priority)
      this.task = undefined
    }
    if (!this.running) {
      this.running = true
      this.depth = 0
      this.drainLater()
    }
  }

  private drainLater(): void {
    if (this.depth >= mostMicrotasks) {
      this.depth = 0
      setTimeout(this.drain, 0)
    } else {
      this.depth += 1
      void settled.then(this.drain)
    }
  }

  private readonly drain = (): void => {
    const { several, task } = this
    this.task = undefined
    this.several = undefined
    if (task !== undefined) {
      task()
    } else if (several !== undefined) {
      several.buckets.forEach(([, tasks]) => tasks.forEach((task) => task()))
    }
    if (this.task === undefined && this.several === undefined) {
      this.running = false
    } else {
      this.drainLater()
    }
  }
}

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

const runner: unique symbol = Symbol.for("effect-netstreams/handlerScheduler/runner")

class HandlerScheduler extends Scheduler.MixedScheduler {
  constructor() {
    super(mostMicrotasks)
  }

  override scheduleTask(task: Scheduler.Task, priority: number, fiber?: AnyFiber & { [runner]?: Runner }): void {
    if (fiber === undefined) {
      super.scheduleTask(task, priority)
    } else {
      ;(fiber[runner] ??= new Runner()).schedule(task, priority)
    }
  }
}

const handlerScheduler: Scheduler.Scheduler = new HandlerScheduler()

/** The runtime with this scheduler in place of the default one. A scheduler that the program has chosen stays. */
export const withHandlerScheduler = <R>(runtime: Runtime.Runtime<R>): Runtime.Runtime<R> =>
  FiberRefs.getOrDefault(runtime.fiberRefs, FiberRef.currentScheduler) === Scheduler.defaultScheduler
    ? Runtime.make({
      context: runtime.context,
      runtimeFlags: runtime.runtimeFlags,
      fiberRefs: FiberRefs.updateAs(runtime.fiberRefs, {
        fiberId: FiberId.none,
        fiberRef: FiberRef.currentScheduler,
        value: handlerScheduler
      })
    })
    : runtime
