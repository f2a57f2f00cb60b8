import { assert, describe, it } from "@effect/vitest"
import { Member, Roster } from "../src/internal/roster.js"
import { Random } from "./support/chunkings.js"

class Guest extends Member {
  constructor(readonly name: number) {
    super()
  }
}

const names = (roster: Roster<Guest>): ReadonlyArray<number> => Array.from(roster, ({ name }) => name)

describe("a roster", () => {
  it("is a set in the order of arrival, whatever comes and goes", () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed)
      const guests = Array.from({ length: 8 }, (_, i) => new Guest(i))
      const roster = new Roster<Guest>()
      const reference = new Set<Guest>()
      for (let step = 0; step < 60; step++) {
        const guest = random.pick(guests)
        const change = random.chance(0.5) ? "add" : "delete"
        roster[change](guest)
        reference[change](guest)
        assert.strictEqual(roster.size, reference.size)
        assert.deepStrictEqual(names(roster), Array.from(reference, ({ name }) => name), `seed ${seed}`)
      }
    }
  })

  it("leaves those who have gone with nobody at hand", () => {
    const roster = new Roster<Guest>()
    const [a, b, c] = [new Guest(1), new Guest(2), new Guest(3)]
    ;[a, b, c].forEach((guest) => roster.add(guest))
    roster.delete(b)
    assert.isTrue(b.previous === undefined && b.next === undefined)
    assert.isTrue(a.next === c && c.previous === a)
    roster.delete(a)
    roster.delete(c)
    assert.isTrue(a.next === undefined && c.previous === undefined)
    assert.deepStrictEqual(names(roster), [])
  })
})
