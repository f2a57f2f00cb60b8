/**
 * What a test has planned to go wrong: which attempts to connect, accepts and lookups fail, and how often.
 */
import type * as Duration from "effect/Duration"
import type { ResolveError } from "../../Resolver.js"
import type { Target } from "../../TestNetwork.js"
import type { Host } from "./host.js"

/** Where a connection is to be made. */
export interface Destination {
  readonly host: Host
  readonly port?: number | undefined
  readonly path?: string | undefined
}

interface Planned<A> {
  readonly target: Target
  readonly fault: A
  left: number
}

const matches = (target: Target, { host, path, port }: Destination): boolean =>
  (target.host === undefined || target.host === host.name) &&
  (target.port === undefined || target.port === port) &&
  (target.path === undefined || target.path === path)

const isSame = (a: Target, b: Target): boolean => a.host === b.host && a.port === b.port && a.path === b.path

/** Faults by target; of several that match, the latest holds. */
class Faults<A> {
  private planned: Array<Planned<A>> = []

  plan(target: Target, fault: A, times: number): void {
    this.planned = [
      ...(times > 0 ? [{ target, fault, left: times }] : []),
      ...this.planned.filter((planned) => !isSame(planned.target, target))
    ]
  }

  /** The fault that strikes now, which is then used up by one. */
  strike(destination: Destination): A | undefined {
    const planned = this.planned.find(({ target }) => matches(target, destination))
    if (planned === undefined) {
      return undefined
    }
    planned.left -= 1
    if (planned.left === 0) {
      this.planned = this.planned.filter((other) => other !== planned)
    }
    return planned.fault
  }
}

const normalize = (name: string): string => name.replace(/\.$/, "").toLowerCase()

/** @internal */
export class FaultPlan {
  /** By the system's name for what happens. */
  readonly connects: Faults<string> = new Faults()
  readonly accepts: Faults<string> = new Faults()
  private readonly lookups: Map<string, { readonly reason: ResolveError["reason"]; left: number }> = new Map()
  private readonly delays: Map<string, Duration.DurationInput> = new Map()

  failLookup(name: string, reason: ResolveError["reason"], times: number): void {
    if (times > 0) {
      this.lookups.set(normalize(name), { reason, left: times })
    } else {
      this.lookups.delete(normalize(name))
    }
  }

  delayLookup(name: string, delay: Duration.DurationInput): void {
    this.delays.set(normalize(name), delay)
  }

  /** What becomes of a lookup. */
  lookup(name: string): {
    readonly reason: ResolveError["reason"] | undefined
    readonly delay: Duration.DurationInput | undefined
  } {
    const key = normalize(name)
    const planned = this.lookups.get(key)
    if (planned !== undefined) {
      planned.left -= 1
      if (planned.left === 0) {
        this.lookups.delete(key)
      }
    }
    return { reason: planned?.reason, delay: this.delays.get(key) }
  }
}
