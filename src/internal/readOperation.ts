/**
 * One read, as an Effect.
 *
 * Theory of operation. A read is tried at once. If the buffer can serve it, `yield*` completes inside the generator,
 * without a turn of Effect's run loop; that is worth a factor of four for short lines. Else the fiber parks in the
 * reader's one waiting place, and tries the same read again when more has arrived: what waits is the intention, so an
 * interrupted read has taken nothing.
 *
 * Between taking bytes and handing them over nothing may interrupt, or they would be lost. The run loop lets others run,
 * and so an interruption in, only after a number of operations; a read that is about to be cut off there yields first
 * and takes then.
 *
 * A reader whose buffer never runs dry would keep its fiber running for ever. Every 4 096th read goes through the run loop
 * and lets the event loop turn.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as RuntimeFlags from "effect/RuntimeFlags"
import { ConcurrentReadError, ReadAheadError } from "../NetworkError.js"
import { breathe } from "./eventLoopTurn.js"
import { served, YieldOnce } from "./fastPath.js"
import { type Consumer, type InputBuffer, type Outcome, ReadFault } from "./inputBuffer.js"
import { suspension } from "./suspension.js"

const breath = 4096
/**
 * How many operations of the run loop lie between taking bytes and the fiber going on with them, with room to spare: one
 * for each generator that returns what it read, some fifteen for a stream that hands on one element, ten for each span,
 * scope or annotation around the read. Effect's own limit, beyond which it yields, is 2 048.
 */
const margin = 256

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** Asked for at each read: where Effect keeps the fiber is looked at first, for an `Option` costs more than the rest. */
const currentFiber = (): AnyFiber =>
  (globalThis as { readonly "effect/FiberCurrent"?: AnyFiber | undefined })["effect/FiberCurrent"] ??
    Option.getOrThrow(Fiber.getCurrentFiber())

const isInterrupted = (fiber: AnyFiber): boolean => !Cause.isEmpty(fiber.getFiberRef(FiberRef.interruptedCause))

/**
 * Whether an interruption ends what the fiber, which is running, does now. Effect keeps that in a field of the fiber which
 * is not among its types; where it should not be found, every wait counts as one that can be ended.
 */
const isInterruptible = (fiber: AnyFiber): boolean => {
  const { currentRuntimeFlags: flags } = fiber as {
    readonly currentRuntimeFlags?: RuntimeFlags.RuntimeFlags | undefined
  }
  return flags === undefined || RuntimeFlags.interruptible(flags)
}

/** How a reader turns a fault of its buffer into its own errors. */
export interface Faults<out E> {
  readonly onFault: (fault: ReadFault, operation: string) => Exit.Exit<never, E>
}

/** The place where a read waits: one at a time. */
export class WaitingPlace implements Consumer {
  /** The read that waits, or that was woken and has not run yet. It may have been interrupted since: see `contend`. */
  private holder: Waiter<any, any> | undefined = undefined
  /** One effect for every wait: it belongs to whoever holds the place. A canceler would cost more than the wait does. */
  private parked: Effect.Effect<any, any> | undefined = undefined
  /** Reads that were served in a row without a wait. */
  served = 0
  /** Set while a stream of lines has taken the reader over, and for good if it was stopped before its end. */
  takenOver = false
  /** The fiber that was last found to have the margin before it, and how many operations it had behind it then. */
  private reader: FiberId.FiberId | undefined = undefined
  private readerOps = 0

  constructor(readonly input: InputBuffer<any>, private readonly faults: Faults<any>) {
    input.consumer = this
  }

  wanted(): number {
    return this.holder === undefined || this.holder.isGone ? 0 : this.holder.operation.wanted
  }

  waits(): boolean {
    return this.holder !== undefined && !this.holder.isGone
  }

  onArrival(): void {
    const holder = this.holder
    if (
      holder !== undefined &&
      (this.input.queue.length >= holder.operation.wanted || this.input.end !== "open" || this.input.paused)
    ) {
      holder.wake()
    }
  }

  begin<A, E>(operation: ReadOperation<A, E>): Effect.Effect<A, E> {
    if (++this.served >= breath) {
      this.served = 0
      return Effect.flatMap(breathe, () => this.attempt(operation) ?? this.wait(operation))
    }
    if (!this.hasMargin()) {
      return Effect.flatMap(Effect.yieldNow(), () => this.attempt(operation) ?? this.wait(operation))
    }
    return this.attempt(operation) ?? this.wait(operation)
  }

  /** Whether the fiber will get as far as going on with what it takes now. */
  private hasMargin(): boolean {
    const fiber = currentFiber()
    const ops = fiber.currentOpCount
    // The fiber itself would keep what it ended with.
    const id = fiber.id()
    // One that has run nothing since is where it was: asking it for its limit costs as much as a read.
    if (id === this.reader && ops === this.readerOps) {
      return true
    }
    if (ops > fiber.getFiberRef(FiberRef.currentMaxOpsBeforeYield) - margin) {
      return false
    }
    this.reader = id
    this.readerOps = ops
    return true
  }

  /** Whether a read may be served within its generator, without the run loop. */
  mayServe(operation: ReadOperation<any, any>): boolean {
    return ++this.served < breath && this.hasMargin() && (!this.takenOver || operation.readsAhead)
  }

  /** Tries a read that has not waited yet. `undefined`: it has to. */
  private attempt<A, E>(operation: ReadOperation<A, E>): Effect.Effect<A, E> | undefined {
    if (this.takenOver && !operation.readsAhead) {
      return Effect.die(new ReadAheadError({ operation: operation.name }))
    }
    const outcome = operation.attempt()
    return outcome === undefined ? undefined : this.settle(operation, outcome)
  }

  /** How a read fails with a fault. */
  fail(fault: ReadFault, operation: string): Exit.Exit<never, any> {
    return this.faults.onFault(fault, operation)
  }

  private settle<A, E>(operation: ReadOperation<A, E>, outcome: A | ReadFault): Exit.Exit<A, E> {
    return outcome instanceof ReadFault ? operation.fail(outcome) : Exit.succeed(outcome)
  }

  /** Waits for what a read needs that has found too little. */
  wait<A, E>(operation: ReadOperation<A, E>): Effect.Effect<A, E> {
    const fiber = currentFiber()
    // A place that this same fiber holds is one it was interrupted out of.
    return this.holder === undefined || this.holder.fiber === fiber
      ? this.park(new Waiter(this, operation, fiber))
      : this.contend(operation, this.holder)
  }

  private park<A, E>(waiter: Waiter<A, E>): Effect.Effect<A, E> {
    this.holder = waiter
    this.served = 0
    this.input.resume()
    this.input.onWait?.()
    return this.parked ??= suspension<any, any>((resume) => this.holder!.parked(resume))
  }

  /**
   * The place is taken. Its holder may have been interrupted without having said so; then it is free. An interruption on
   * its way, which may have to pass from fiber to fiber, is let arrive first.
   */
  private contend<A, E>(operation: ReadOperation<A, E>, holder: Waiter<unknown, unknown>): Effect.Effect<A, E> {
    return Effect.flatMap(breathe, () => {
      const settled = this.attempt(operation)
      if (settled !== undefined) {
        return settled
      }
      if (this.holder === holder && holder.isGone) {
        this.holder = undefined
      }
      return this.holder === undefined
        ? this.wait(operation)
        : Effect.die(new ConcurrentReadError({ operation: operation.name, waiting: this.holder.operation.name }))
    })
  }

  /** A waiter that was woken runs again, in its own fiber. */
  retry<A, E>(waiter: Waiter<A, E>): Effect.Effect<A, E> {
    if (this.holder === waiter) {
      // Before the attempt, which runs the user's function in `forEachLine`, and that may throw.
      this.holder = undefined
    }
    const outcome = waiter.operation.attempt()
    return outcome !== undefined
      ? this.settle(waiter.operation, outcome)
      : this.holder === undefined
      ? this.park(waiter)
      : this.contend(waiter.operation, this.holder)
  }
}

/** A read that waits: resumed with itself, it tries again. */
class Waiter<A, E> extends Effectable.Class<A, E> {
  private resume: ((effect: Effect.Effect<A, E>) => void) | undefined = undefined
  private woken = false
  private readonly interruptible: boolean

  constructor(
    private readonly place: WaitingPlace,
    readonly operation: ReadOperation<A, E>,
    readonly fiber: AnyFiber
  ) {
    super()
    this.interruptible = isInterruptible(fiber)
  }

  /** Whether it has been interrupted, and so waits no more. In a finalizer a fiber that was interrupted does wait. */
  get isGone(): boolean {
    return this.interruptible && isInterrupted(this.fiber)
  }

  override commit(): Effect.Effect<A, E> {
    return this.place.retry(this)
  }

  /** The fiber has parked. What arrived on its way here has woken it already. */
  parked(resume: (effect: Effect.Effect<A, E>) => void): void {
    if (this.woken) {
      this.woken = false
      resume(this)
    } else {
      this.resume = resume
    }
  }

  wake(): void {
    const resume = this.resume
    if (resume === undefined) {
      this.woken = true
    } else {
      this.resume = undefined
      resume(this)
    }
  }
}

export abstract class ReadOperation<A, E> extends Effectable.Class<A, E> {
  constructor(protected readonly place: WaitingPlace) {
    super()
  }

  /** What the user called. */
  abstract readonly name: string
  /** How many bytes must be buffered before there is a point in trying again. */
  get wanted(): number {
    return 0
  }
  /** Whether this is the stream that has taken the reader over. */
  get readsAhead(): boolean {
    return false
  }
  abstract attempt(): Outcome<A>

  /** How it fails with a fault. */
  fail(fault: ReadFault): Exit.Exit<never, any> {
    return this.place.fail(fault, this.name)
  }

  override commit(): Effect.Effect<A, E> {
    return this.place.begin(this)
  }

  override [Symbol.iterator](): Effect.EffectGenerator<Effect.Effect<A, E>> {
    const place = this.place
    if (place.mayServe(this)) {
      const outcome = this.attempt()
      return outcome === undefined
        // What comes of the generator's turn here is what the run loop runs next.
        ? new YieldOnce(place.wait(this))
        : outcome instanceof ReadFault
        ? new YieldOnce(this.fail(outcome))
        : served.with(outcome)
    }
    return new YieldOnce(this)
  }
}
