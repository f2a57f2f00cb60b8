/** The cases of the conformance kit as tests. */
import { it } from "@effect/vitest"
import type * as Conformance from "effect-netstreams/Conformance"

/** What the clock of the test is: real sockets want real time. */
export const over = {
  live: <E>(cases: ReadonlyArray<Conformance.Case<E>>) => {
    for (const { name, run } of cases) {
      it.live(name, () => run, 60_000)
    }
  },
  virtual: <E>(cases: ReadonlyArray<Conformance.Case<E>>) => {
    for (const { name, run } of cases) {
      it.effect(name, () => run, 60_000)
    }
  }
}
