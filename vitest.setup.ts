import { addEqualityTesters } from "@effect/vitest"
import * as Option from "effect/Option"
import { chai } from "vitest"

addEqualityTesters()

/** What can be iterated over, chai compares by what comes of that, and then `None` is as good as any `Some`. */
const sameOption = (a: unknown, b: unknown): boolean | null =>
  (Option.isOption(a) || Option.isOption(b)) && !(Option.isOption(a) && Option.isOption(b) && a._tag === b._tag)
    ? false
    : null

chai.config.deepEqual = (expected, actual) => chai.util.eql(expected, actual, { comparator: sameOption })
