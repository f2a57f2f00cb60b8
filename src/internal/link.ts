/**
 * What lies between a connection and its peer, in the hands of a test.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Address } from "../Address.js"
import type * as Api from "../Faults.js"
import * as argument from "./argument.js"
import { resetByPeer } from "./endpoint.js"
import { applyConditions, conditionProblems } from "./linkConditions.js"
import { lost, type Pipe, type PipeConditions, stalled } from "./pipe.js"

/**
 * One direction, and what it is like: what it was told itself, and for the rest what holds around it.
 *
 * @internal
 */
export class Lane {
  private own: Api.LinkConditions = {}

  constructor(readonly pipe: Pipe, private base: PipeConditions) {}

  surround(base: PipeConditions): void {
    this.base = base
    this.pipe.setConditions(applyConditions(base, this.own))
  }

  tell(conditions: Api.LinkConditions): void {
    this.own = override(this.own, conditions)
    this.surround(this.base)
  }
}

/**
 * The first conditions, where the second don't say otherwise.
 *
 * @internal
 */
export const override = (first: Api.LinkConditions, second: Api.LinkConditions): Api.LinkConditions => ({
  ...first,
  ...Object.fromEntries(Object.entries(second).filter(([, value]) => value !== undefined))
})

type Directions = Api.DirectionOptions | undefined

/** @internal */
export class LinkImpl implements Api.Link {
  /** What is planned, and is not to outlive the connection. */
  private readonly planned: Set<() => void> = new Set()

  constructor(private readonly sent: Lane, private readonly received: Lane) {}

  private act(
    options: Directions,
    otherwise: Api.Direction,
    problems: ReadonlyArray<argument.Problem>,
    act: (lane: Lane) => void
  ): Effect.Effect<void> {
    const problem = [
      argument.oneOf("direction", options?.direction, ["received", "sent", "both"]),
      ...problems
    ].find((problem) => problem !== undefined)
    return problem !== undefined ? argument.illegal(problem) : Effect.sync(() => {
      const direction = options?.direction ?? otherwise
      if (direction !== "sent") {
        act(this.received)
      }
      if (direction !== "received") {
        act(this.sent)
      }
    })
  }

  private after(bytes: number, options: Directions, task: (pipe: Pipe) => void): Effect.Effect<void> {
    return this.act(
      options,
      "received",
      [argument.count("bytes", bytes)],
      ({ pipe }) => pipe.after(bytes, () => task(pipe))
    )
  }

  private resetNow(dropArrived: boolean): void {
    this.sent.pipe.break(resetByPeer(), dropArrived)
    this.received.pipe.break(resetByPeer(), dropArrived)
  }

  setConditions(conditions: Api.LinkConditions, options?: Directions): Effect.Effect<void> {
    return this.act(options, "both", conditionProblems(conditions), (lane) => lane.tell(conditions))
  }

  get reset(): Effect.Effect<void> {
    return Effect.sync(() => this.resetNow(false))
  }

  resetAfter(bytes: number, options?: Directions): Effect.Effect<void> {
    return this.after(bytes, options, () => this.resetNow(true))
  }

  resetIn(duration: Duration.DurationInput): Effect.Effect<void> {
    const problem = argument.duration("duration", duration)
    return problem !== undefined ? argument.illegal(problem) : Effect.sync(() => {
      const { timeline } = this.sent.pipe
      const time = timeline.now() + Duration.toMillis(duration)
      if (time === Infinity) {
        return
      }
      const cancel = timeline.at(time, () => {
        this.planned.delete(cancel)
        this.resetNow(false)
      })
      this.planned.add(cancel)
    })
  }

  stall(options?: Directions): Effect.Effect<void> {
    return this.act(options, "both", [], ({ pipe }) => pipe.hold(stalled))
  }

  stallAfter(bytes: number, options?: Directions): Effect.Effect<void> {
    return this.after(bytes, options, (pipe) => pipe.hold(stalled))
  }

  resume(options?: Directions): Effect.Effect<void> {
    return this.act(options, "both", [], ({ pipe }) => pipe.release(stalled))
  }

  private loseAll(): void {
    this.sent.pipe.hold(lost)
    this.received.pipe.hold(lost)
  }

  get blackHole(): Effect.Effect<void> {
    return Effect.sync(() => this.loseAll())
  }

  blackHoleAfter(bytes: number, options?: Directions): Effect.Effect<void> {
    return this.after(bytes, options, () => this.loseAll())
  }

  endAfter(bytes: number, options?: Directions): Effect.Effect<void> {
    return this.after(bytes, options, (pipe) => pipe.truncate())
  }

  loseEnd(options?: Directions): Effect.Effect<void> {
    return this.act(options, "received", [], ({ pipe }) => {
      pipe.losesEnd = true
    })
  }

  corruptAfter(bytes: number, options?: Directions & { readonly mask?: number | undefined }): Effect.Effect<void> {
    const mask = options?.mask ?? 0xff
    const problem = Number.isInteger(mask) && mask >= 1 && mask <= 0xff
      ? undefined
      : `mask must be a byte that changes something, 1 to 255, got ${mask}`
    return problem !== undefined
      ? argument.illegal(problem)
      : this.after(bytes, options, (pipe) => pipe.corruptNext(mask))
  }

  /** The connection has ended. */
  dispose(): void {
    this.planned.forEach((cancel) => cancel())
  }
}

/**
 * The links of a network's connections, by the address of the end. It is the same object in all that is laid over a
 * transport, TLS among it.
 *
 * @internal
 */
export const linksByAddress: WeakMap<Address, LinkImpl> = new WeakMap()
