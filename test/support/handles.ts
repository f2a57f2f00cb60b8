/**
 * What a suite must leave behind: nothing. No socket, no server, no timer, no descriptor outlives its tests.
 */
import { assert } from "@effect/vitest"
import { afterAll, beforeAll } from "vitest"
import { type Handles, handles, handlesLeft } from "./openHandles.js"

export { type Handles, handles, handlesLeft } from "./openHandles.js"

/** The smaller count of everything. */
const fewest = (a: Handles, b: Handles): Handles => ({
  resources: new Map(
    Array.from(a.resources, ([kind, count]) => [kind, Math.min(count, b.resources.get(kind) ?? 0)] as const)
  ),
  sockets: Math.min(a.sockets, b.sockets)
})

/** Fails the suite that calls it where something is left; what is on its way out is given two seconds. */
export const leavesNoHandles = (): void => {
  let before: Handles | undefined
  // What Node or the tests' runner has open for a moment is none of what was there before.
  beforeAll(async () => {
    before = handles()
    for (let waited = 0; waited < 300; waited += 20) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      before = fewest(before, handles())
    }
  })
  afterAll(async () => {
    for (let waited = 0; waited < 2_000 && handlesLeft(before!).length > 0; waited += 20) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    assert.deepStrictEqual(handlesLeft(before!), [], "left open")
  })
}
