/**
 * What a suite must leave behind: nothing. No socket, no server, no timer, no descriptor outlives its tests.
 */
import { assert } from "@effect/vitest"
import { afterAll, beforeAll } from "vitest"
import { type Handles, handles, handlesLeft } from "./openHandles.js"

export { type Handles, handles, handlesLeft } from "./openHandles.js"

/** Fails the suite that calls it where something is left; what is on its way out is given two seconds. */
export const leavesNoHandles = (): void => {
  let before: Handles | undefined
  beforeAll(() => {
    before = handles()
  })
  afterAll(async () => {
    for (let waited = 0; waited < 2_000 && handlesLeft(before!).length > 0; waited += 20) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    assert.deepStrictEqual(handlesLeft(before!), [], "left open")
  })
}
