/**
 * What was made of options lately, for whoever comes with the same ones again: to read certificates takes as long as the
 * rest of a handshake, and only who comes back to the same context can resume a session.
 *
 * The same is what says the same, whether it is the same object or not. Arrays and bytes may be changed by whoever passed
 * them, so they are copied.
 */
import * as Redacted from "effect/Redacted"

/** How many are kept. */
const capacity = 8

/** @internal */
export class Recent<Options extends object, A> {
  /** The latest comes first. */
  private readonly kept: Array<{ readonly of: Options; readonly made: A }> = []

  /** `make` may throw, and is asked again then. */
  constructor(private readonly make: (options: Options) => A) {}

  get(options: Options): A {
    const found = this.kept.findIndex(({ of }) => alike(of, options))
    const [entry] = found < 0 ? [{ of: copy(options), made: this.make(options) }] : this.kept.splice(found, 1)
    this.kept.unshift(entry!)
    this.kept.length = Math.min(this.kept.length, capacity)
    return entry!.made
  }
}

type Plain = { readonly [key: string]: unknown }

const isPlain = (value: unknown): value is Plain =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype

const alike = (a: unknown, b: unknown): boolean => {
  if (a === b) {
    return true
  }
  if (a instanceof Uint8Array) {
    return b instanceof Uint8Array && Buffer.compare(a, b) === 0
  }
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((one, i) => alike(one, b[i]))
  }
  if (Redacted.isRedacted(a)) {
    return Redacted.isRedacted(b) && alike(Redacted.value(a), Redacted.value(b))
  }
  return isPlain(a) && isPlain(b) && Object.keys({ ...a, ...b }).every((key) => alike(a[key], b[key]))
}

const copy = <A>(value: A): A => copied(value) as A

const copied = (value: unknown): unknown =>
  value instanceof Uint8Array
    ? value.slice()
    : Array.isArray(value)
    ? value.map(copied)
    : Redacted.isRedacted(value)
    ? Redacted.make(copied(Redacted.value(value)))
    : isPlain(value)
    ? Object.fromEntries(Object.entries(value).map(([key, value]) => [key, copied(value)]))
    : value
