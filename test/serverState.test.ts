import { assert, describe, it } from "@effect/vitest"
import { Member } from "../src/internal/roster.js"
import { ServerState } from "../src/internal/serverState.js"
import { Random } from "./support/chunkings.js"

class Client extends Member {}

/** By identity: clients who hold each other by the hand are slow to compare. */
const isSame = (a: ReadonlyArray<Client>, b: ReadonlyArray<Client>): boolean =>
  a.length === b.length && a.every((client, i) => client === b[i])

describe("the state of a server", () => {
  it("goes from starting by way of serving and draining to closed", () => {
    const state = new ServerState<Client>()
    assert.strictEqual(state.phase, "starting")
    state.serve()
    assert.strictEqual(state.phase, "serving")
    const client = new Client()
    state.enter(client)
    state.drain()
    assert.strictEqual(state.phase, "draining")
    state.freed()
    assert.strictEqual(state.phase, "draining")
    state.leave(client)
    assert.strictEqual(state.phase, "closed")
  })

  it("is not closed before the addresses are free", () => {
    const state = new ServerState<Client>()
    state.serve()
    state.drain()
    assert.isFalse(state.isFree)
    assert.strictEqual(state.phase, "draining")
    state.freed()
    assert.isTrue(state.isFree)
    assert.strictEqual(state.phase, "closed")
  })

  it("drains without having served, and never serves again", () => {
    const state = new ServerState<Client>()
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
      const state = new ServerState<Client>()
      const inside: Array<Client> = []
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
          const client = new Client()
          inside.push(client)
          state.enter(client)
        } else if (event === "leave" && inside.length > 0) {
          state.leave(inside.splice(random.between(0, inside.length - 1), 1)[0]!)
          assert.isAbove(told, toldBefore)
        }
        assert.isAtLeast(order.indexOf(state.phase), before, `seed ${seed}`)
        assert.isTrue(isSame(Array.from(state.clients), inside), `seed ${seed}`)
        assert.strictEqual(state.phase === "closed", drained && free && inside.length === 0, `seed ${seed}`)
        assert.strictEqual(state.phase === "draining", drained && !(free && inside.length === 0), `seed ${seed}`)
      }
    }
  })

  it("calls who watches once, and not who gave up", () => {
    const state = new ServerState<Client>()
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
    for (const client of [new Client(), new Client()]) {
      state.enter(client)
      state.leave(client)
    }
    assert.deepStrictEqual([a, b], [1, 0])
  })
})
