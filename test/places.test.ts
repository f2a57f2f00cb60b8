import { assert, describe, it } from "@effect/vitest"
import type { Timers } from "../src/internal/connectionState.js"
import { Pacing } from "../src/internal/pacing.js"
import { Places } from "../src/internal/places.js"
import { Random } from "./support/chunkings.js"

describe("places", () => {
  it("are given in the order of arrival, and no more than there are", () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed)
      const limit = random.between(1, 5)
      const queueLength = random.between(0, 4)
      const places = new Places<number>(limit, queueLength)
      // The same with two arrays.
      let inside = 0
      let queue: Array<number> = []
      for (let guest = 0; guest < 60; guest++) {
        if (random.chance(0.6)) {
          const expected = inside < limit ? "enters" : queue.length < queueLength ? "waits" : "refused"
          assert.strictEqual(places.arrive(guest), expected, `seed ${seed}`)
          if (expected === "enters") {
            inside += 1
          } else if (expected === "waits") {
            queue.push(guest)
          }
        } else if (inside > 0) {
          assert.strictEqual(places.leave(), queue[0], `seed ${seed}`)
          if (queue.shift() === undefined) {
            inside -= 1
          }
        }
        if (random.chance(0.02)) {
          assert.deepStrictEqual(places.dismiss(), queue)
          queue = []
        }
        assert.strictEqual(places.taken, inside)
        assert.strictEqual(places.waiting, queue.length)
      }
    }
  })

  it("without a limit are enough for everyone", () => {
    const places = new Places<number>(Infinity, 0)
    for (let i = 0; i < 1000; i++) {
      assert.strictEqual(places.arrive(i), "enters")
    }
    assert.isUndefined(places.leave())
    assert.strictEqual(places.taken, 999)
  })
})

describe("pacing", () => {
  /** Time that goes by when it is told to. */
  class ManualTimers implements Timers {
    private time = 0
    private readonly tasks = new Map<object, { readonly at: number; readonly task: () => void }>()
    now = () => this.time
    after = (millis: number, task: () => void) => {
      const key = {}
      this.tasks.set(key, { at: this.time + millis, task })
      return () => {
        this.tasks.delete(key)
      }
    }
    get pending(): number {
      return this.tasks.size
    }
    advance(millis: number): void {
      this.time += millis
      for (const [key, { at, task }] of this.tasks) {
        if (at <= this.time) {
          this.tasks.delete(key)
          task()
        }
      }
    }
  }

  const make = () => {
    const timers = new ManualTimers()
    const told: Array<string> = []
    const pacing = new Pacing<number>(timers, (a, b) => a + b, (n) => {
      told.push(`${timers.now()}: ${n}`)
    })
    return { timers, told, pacing }
  }

  it("tells the first at once, and adds up what comes within a second of it", () => {
    const { pacing, timers, told } = make()
    pacing.report(1)
    assert.deepStrictEqual(told, ["0: 1"])
    pacing.report(1)
    timers.advance(999)
    pacing.report(2)
    assert.deepStrictEqual(told, ["0: 1"])
    timers.advance(1)
    assert.deepStrictEqual(told, ["0: 1", "1000: 3"])
    // That was a report as well.
    timers.advance(500)
    pacing.report(4)
    assert.strictEqual(told.length, 2)
    timers.advance(500)
    assert.deepStrictEqual(told, ["0: 1", "1000: 3", "2000: 4"])
    timers.advance(1000)
    assert.strictEqual(timers.pending, 0)
    pacing.report(5)
    assert.strictEqual(told.at(-1), "3000: 5")
  })

  it("leaves nothing untold and no timer when it is flushed", () => {
    const { pacing, timers, told } = make()
    pacing.flush()
    pacing.report(1)
    pacing.report(2)
    pacing.report(3)
    pacing.flush()
    assert.deepStrictEqual(told, ["0: 1", "0: 5"])
    assert.strictEqual(timers.pending, 0)
    pacing.flush()
    assert.strictEqual(told.length, 2)
  })

  it("tells every report exactly once, whatever the rate, and never two within a second", () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = new Random(seed)
      const { pacing, timers, told } = make()
      let reported = 0
      for (let i = 0; i < 100; i++) {
        if (random.chance(0.7)) {
          reported += 1
          pacing.report(1)
        } else {
          timers.advance(random.between(0, 800))
        }
      }
      const times = told.map((line) => Number(line.split(":")[0]))
      times.forEach((time, i) => assert.isTrue(i === 0 || time - times[i - 1]! >= 1000, `seed ${seed}: ${times}`))
      pacing.flush()
      assert.strictEqual(told.reduce((sum, line) => sum + Number(line.split(" ")[1]), 0), reported, `seed ${seed}`)
    }
  })
})
