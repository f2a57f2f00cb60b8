import { assert, describe, it } from "@effect/vitest"
import { ServerState } from "../src/internal/serverState.js"
import { Random } from "./support/chunkings.js"

describe("the state of a server", () => {
  it("goes from starting by way of serving and draining to closed", () => {
    const state = new ServerState<number>()
    assert.strictEqual(state.phase, "starting")
    state.serve()
    assert.strictEqual(state.phase, "serving")
    state.enter(1)
    state.drain()
    assert.strictEqual(state.phase, "draining")
    state.freed()
    assert.strictEqual(state.phase, "draining")
    state.leave(1)
    assert.strictEqual(state.phase, "closed")
  })

  it("is not closed before the addresses are free", () => {
    const state = new ServerState<number>()
    state.serve()
    state.drain()
    assert.isFalse(state.isFree)
    assert.strictEqual(state.phase, "draining")
    state.freed()
    assert.isTrue(state.isFree)
    assert.strictEqual(state.phase, "closed")
  })

  it("drains without having served, and never serves again", () => {
    const state = new ServerState<number>()
    state.drain()
    state.serve()
    assert.strictEqual(state.phase, "draining")
    state.freed()
    state.serve()
    state.drain()
    assert.strictEqual(state.phase, "closed")
  })

  it("in any order of events goes forward only, and is closed exactly when it is drained, free and empty", () => {
    const order = ["starting", "serving", "draining", "closed"]
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed)
      const state = new ServerState<number>()
      const inside: Array<number> = []
      let drained = false
      let free = false
      let told = 0
      const look = () => {
        told += 1
        state.watch(look)
      }
      state.watch(look)
      for (let step = 0; step < 30; step++) {
        const before = order.indexOf(state.phase)
        const toldBefore = told
        const event = random.pick(["serve", "drain", "freed", "enter", "leave"])
        if (event === "serve") {
          state.serve()
        } else if (event === "drain") {
          drained = true
          state.drain()
        } else if (event === "freed" && drained) {
          free = true
          state.freed()
          assert.isAbove(told, toldBefore)
        } else if (event === "enter" && !drained) {
          inside.push(step)
          state.enter(step)
        } else if (event === "leave" && inside.length > 0) {
          state.leave(inside.splice(random.between(0, inside.length - 1), 1)[0]!)
          assert.isAbove(told, toldBefore)
        }
        assert.isAtLeast(order.indexOf(state.phase), before, `seed ${seed}`)
        assert.deepStrictEqual(Array.from(state.clients), inside)
        assert.strictEqual(state.phase === "closed", drained && free && inside.length === 0, `seed ${seed}`)
        assert.strictEqual(state.phase === "draining", drained && !(free && inside.length === 0), `seed ${seed}`)
      }
    }
  })

  it("calls who watches once, and not who gave up", () => {
    const state = new ServerState<number>()
    let a = 0
    let b = 0
    const lookA = () => {
      a += 1
    }
    const lookB = () => {
      b += 1
    }
    state.watch(lookA)
    state.watch(lookB)
    state.giveUp(lookB)
    state.enter(1)
    state.leave(1)
    state.enter(2)
    state.leave(2)
    assert.deepStrictEqual([a, b], [1, 0])
  })
})
