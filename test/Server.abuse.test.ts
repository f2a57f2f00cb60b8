/** The quick part of the abuse: a few clients of every kind, in processes of their own. `npm run soak` is the long one. */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { killAll } from "./soak/process.js"
import * as scenarios from "./soak/scenarios.js"
import { leavesNoHandles } from "./support/handles.js"

leavesNoHandles()

afterAll(killAll)

/** Processes take their time to start on a machine that is busy. */
const patience = 60_000

describe("a server bears", () => {
  // Elsewhere the limit of a process can't be seen from within.
  it.skipIf(process.platform !== "linux")(
    "running out of descriptors: some are refused, which is told, and later ones are served",
    async () => {
      const figures = await scenarios.exhaust(256, 400)
      assert.isAbove(Number(figures["refused"]), 150)
    },
    patience
  )

  it("SIGTERM under load: every request that was read is answered", async () => {
    const figures = await scenarios.terminate(40, 50, 80)
    assert.strictEqual(figures["requests read"], figures["answers received"])
  }, patience)

  it("half of its clients killed in the middle of a request", async () => {
    await scenarios.killHalf(60, 300)
  }, patience)

  it("handlers that can't be interrupted", async () => {
    await scenarios.stubborn(30, 30_000)
  }, patience)

  it("clients that connect and reset", async () => {
    await scenarios.churn(300, 1, 10_000)
  }, patience)

  it("slow clients, whom it sheds where a rate is demanded", async () => {
    await scenarios.shed(60, 200)
  }, patience)
})
