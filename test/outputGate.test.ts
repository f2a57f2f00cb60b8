import { assert, describe, it } from "@effect/vitest"
import { OutputGate, sizeOf, type WaitingWrite } from "../src/internal/outputGate.js"
import { latin1, Random, toLatin1 } from "./support/chunkings.js"
import { FakeWire, LinedUp, text, Waiter } from "./support/fakeWire.js"

const make = (high: number, low: number) => {
  const wire = new FakeWire()
  const gate = new OutputGate(wire, high, low)
  wire.receiver = {
    onData: () => {},
    onEnd: () => {},
    onDrain: () => gate.drained(),
    onClosed: () => {}
  }
  const write = (data: string) => gate.write(text(data), data.length)
  const enqueue = (...parts: ReadonlyArray<string>) => {
    const write = new LinedUp(text(...parts))
    gate.enqueue(write)
    return write
  }
  const room = () => {
    const waiter = new Waiter()
    gate.awaitRoom(waiter)
    return waiter
  }
  const flush = () => {
    const waiter = new Waiter()
    gate.awaitFlush(waiter)
    return waiter
  }
  return { wire, gate, write, enqueue, room, flush }
}

const resumed = (...waiters: ReadonlyArray<Waiter>) => waiters.map((waiter) => waiter.resumed)

describe("the marks", () => {
  it.each([
    { high: 10, size: 10, blocked: false },
    { high: 10, size: 11, blocked: true },
    { high: 0, size: 1, blocked: true },
    { high: 0, size: 0, blocked: false }
  ])("with a high-water mark of $high, $size queued bytes block: $blocked", ({ blocked, high, size }) => {
    const { gate, write } = make(high, 0)
    write("x".repeat(size))
    assert.strictEqual(gate.blocked, blocked)
    assert.strictEqual(gate.bufferedBytes, size)
  })

  it("counts what is still queued, not what was written", () => {
    const { gate, wire, write } = make(10, 4)
    for (let i = 0; i < 100; i++) {
      write("0123456789")
      assert.isFalse(gate.blocked)
      wire.take()
    }
  })

  it("does not block where the network takes the bytes at once", () => {
    const { gate, wire, write } = make(10, 4)
    wire.window = 25
    write("x".repeat(30))
    assert.isFalse(gate.blocked)
    write("x".repeat(6))
    assert.isTrue(gate.blocked)
  })

  it.each([
    { low: 4, left: 5, open: false },
    { low: 4, left: 4, open: true },
    { low: 0, left: 1, open: false },
    { low: 0, left: 0, open: true },
    { low: 10, left: 10, open: true }
  ])("with a low-water mark of $low, $left bytes left open the gate: $open", ({ left, low, open }) => {
    const { gate, room, wire, write } = make(10, low)
    write("x".repeat(11))
    const waiter = room()
    wire.take(11 - left)
    assert.strictEqual(gate.blocked, !open)
    assert.deepStrictEqual(resumed(waiter), [open ? 1 : 0])
  })

  it("closes again only past the high-water mark, and not between the two", () => {
    const { gate, wire, write } = make(10, 4)
    write("x".repeat(11))
    wire.take(7)
    assert.isFalse(gate.blocked)
    write("x".repeat(6))
    assert.isFalse(gate.blocked)
    write("x")
    assert.isTrue(gate.blocked)
  })

  it("a drain above the low-water mark wakes nobody", () => {
    const { enqueue, room, wire, write } = make(10, 4)
    write("x".repeat(20))
    const waiters = [room(), enqueue("a")]
    for (let left = 20; left > 5; left--) {
      wire.take(1)
    }
    assert.deepStrictEqual(resumed(...waiters), [0, 0])
  })
})

describe("writes in line", () => {
  it("are handed over in the order in which they came, each as one write with its own chunks", () => {
    const { enqueue, wire, write } = make(10, 4)
    write("x".repeat(11))
    wire.look()
    const writes = [enqueue("a"), enqueue("b", "cc"), enqueue("d")]
    assert.deepStrictEqual(wire.look(), [])
    wire.take()
    assert.deepStrictEqual(wire.look(), ["write a", "write b|cc", "write d"])
    assert.deepStrictEqual(writes.map(({ state }) => state), ["done", "done", "done"])
  })

  it("are handed over until the gate closes again; the one that closed it waits for room", () => {
    const { enqueue, gate, wire, write } = make(10, 4)
    write("x".repeat(11))
    const writes = [enqueue("a"), enqueue("b".repeat(20)), enqueue("c"), enqueue("d")]
    wire.look()
    wire.take()
    assert.deepStrictEqual(wire.look(), ["write a", `write ${"b".repeat(20)}`])
    assert.isTrue(gate.blocked)
    assert.deepStrictEqual(writes.map(({ state }) => state), ["done", "handed over", "in line", "in line"])
    wire.take(17)
    assert.deepStrictEqual(wire.look(), ["write c", "write d"])
    assert.deepStrictEqual(writes.map(({ state }) => state), ["done", "done", "done", "done"])
    assert.strictEqual(gate.bufferedBytes, 6)
  })

  it("keep what is queued below within the high-water mark and one write, however many there are", () => {
    const { enqueue, gate, wire, write } = make(100, 25)
    write("x".repeat(101))
    for (let i = 0; i < 1000; i++) {
      enqueue("y".repeat(50))
    }
    assert.strictEqual(gate.bufferedBytes, 101)
    let most = 0
    while (gate.bufferedBytes > 0) {
      wire.take(Math.min(30, gate.bufferedBytes))
      most = Math.max(most, gate.bufferedBytes)
    }
    assert.isAtMost(most, 100 + 50)
  })

  it("at an open gate one is handed over at once", () => {
    const { enqueue, gate, wire } = make(10, 4)
    assert.strictEqual(enqueue("abc").state, "done")
    const last = enqueue("x".repeat(10))
    assert.strictEqual(last.state, "handed over")
    assert.isTrue(gate.blocked)
    assert.deepStrictEqual(wire.look(), ["write abc", "write xxxxxxxxxx"])
  })

  it("one that comes while the gate admits others is not let past them", () => {
    const { gate, wire, write } = make(10, 4)
    write("x".repeat(11))
    const last = new LinedUp(text("last"))
    const first: WaitingWrite = {
      chunks: text("first"),
      handedOver: false,
      resume: () => gate.enqueue(last)
    }
    gate.enqueue(first)
    gate.enqueue(new LinedUp(text("2nd")))
    wire.look()
    wire.take()
    assert.deepStrictEqual(wire.look(), ["write first", "write 2nd", "write last"])
  })
})

describe("giving up", () => {
  it("in line, takes the bytes out of it, and nobody else's", () => {
    const { enqueue, gate, wire, write } = make(10, 4)
    write("x".repeat(11))
    const [a, b, c] = [enqueue("a"), enqueue("b"), enqueue("c")]
    gate.giveUp(b)
    wire.look()
    wire.take()
    assert.deepStrictEqual(wire.look(), ["write a", "write c"])
    assert.deepStrictEqual([a.state, b.state, c.state], ["done", "in line", "done"])
    assert.strictEqual(b.resumed, 0)
  })

  it("after the bytes were handed over, leaves them, and wakes nobody", () => {
    const { enqueue, gate, wire } = make(10, 4)
    const write = enqueue("x".repeat(11))
    const next = enqueue("next")
    gate.giveUp(write)
    wire.take()
    assert.strictEqual(write.resumed, 0)
    assert.strictEqual(next.state, "done")
    assert.deepStrictEqual(wire.look(), ["write xxxxxxxxxxx", "write next"])
  })

  it("waiting for room or for a flush, wakes nobody", () => {
    const { flush, gate, room, wire, write } = make(10, 4)
    write("x".repeat(11))
    const [r1, r2, f1, f2] = [room(), room(), flush(), flush()]
    gate.giveUp(r1)
    gate.giveUp(f1)
    wire.take()
    assert.deepStrictEqual(resumed(r1, r2, f1, f2), [0, 1, 0, 1])
  })

  it("when the wait is over, or twice, or by a stranger, does nothing", () => {
    const { enqueue, gate, room, wire, write } = make(10, 4)
    write("x".repeat(11))
    const [done, waiting] = [room(), enqueue("a")]
    wire.take()
    gate.giveUp(done)
    gate.giveUp(done)
    gate.giveUp(waiting)
    gate.giveUp(new Waiter())
    assert.deepStrictEqual(resumed(done, waiting), [1, 1])
  })

  it("over and over with the same bytes, leaves nothing behind", () => {
    const { gate, wire, write } = make(10, 4)
    write("x".repeat(11))
    wire.look()
    for (let i = 0; i < 10_000; i++) {
      const attempt = new LinedUp(text("retried"))
      gate.enqueue(attempt)
      gate.giveUp(attempt)
    }
    wire.take()
    assert.deepStrictEqual(wire.look(), [])
    assert.strictEqual(gate.bufferedBytes, 0)
  })
})

describe("a flush", () => {
  it("waits for what was written before it, and for no more", () => {
    const { flush, wire, write } = make(100, 25)
    write("first")
    const first = flush()
    write("second")
    const second = flush()
    wire.take(4)
    assert.deepStrictEqual(resumed(first, second), [0, 0])
    wire.take(1)
    assert.deepStrictEqual(resumed(first, second), [1, 0])
    wire.take(5)
    assert.deepStrictEqual(resumed(first, second), [1, 0])
    write("third")
    wire.take(1)
    assert.deepStrictEqual(resumed(first, second), [1, 1])
  })

  it("does not wait for writes in line, which nobody has been promised yet", () => {
    const { enqueue, flush, wire, write } = make(10, 0)
    write("x".repeat(11))
    const flushed = flush()
    enqueue("y".repeat(100))
    wire.take(11)
    assert.deepStrictEqual(resumed(flushed), [1])
    assert.strictEqual(wire.bufferedBytes, 100)
  })

  it("counts what the network took within the write", () => {
    const { flush, wire, write } = make(100, 25)
    wire.window = 6
    write("0123456789")
    const flushed = flush()
    wire.take(3)
    assert.deepStrictEqual(resumed(flushed), [0])
    wire.take(1)
    assert.deepStrictEqual(resumed(flushed), [1])
  })

  it("is over before the gate opens", () => {
    const { flush, wire, write } = make(10, 0)
    write("0123456789")
    const flushed = flush()
    write("0123456789")
    wire.take(10)
    assert.deepStrictEqual(resumed(flushed), [1])
  })
})

describe("the end", () => {
  const everything = () => {
    const made = make(10, 4)
    made.write("x".repeat(5))
    const flushed = made.flush()
    const handedOver = made.enqueue("y".repeat(11))
    return { ...made, flushed, handedOver, room: made.room(), lined: [made.enqueue("a"), made.enqueue("b")] }
  }

  it("of writing refuses the line, and lets what was handed over go on", () => {
    const { flushed, gate, handedOver, lined, room, wire } = everything()
    wire.look()
    gate.close()
    assert.deepStrictEqual(lined.map(({ state }) => state), ["refused", "refused"])
    assert.deepStrictEqual(resumed(flushed, handedOver, room), [0, 0, 0])
    wire.take()
    assert.deepStrictEqual(resumed(flushed, handedOver, room, ...lined), [1, 1, 1, 1, 1])
    assert.deepStrictEqual(wire.look(), [])
  })

  it("of everything wakes everyone, once", () => {
    const { flushed, gate, handedOver, lined, room, wire } = everything()
    wire.look()
    gate.end()
    assert.deepStrictEqual(resumed(flushed, handedOver, room, ...lined), [1, 1, 1, 1, 1])
    assert.deepStrictEqual(lined.map(({ state }) => state), ["refused", "refused"])
    gate.end()
    gate.close()
    wire.take()
    assert.deepStrictEqual(resumed(flushed, handedOver, room, ...lined), [1, 1, 1, 1, 1])
    assert.deepStrictEqual(wire.look(), [])
  })
})

describe("anything in any order", () => {
  // Bytes leave in the order of the writes, each write whole; nobody is woken twice, or not at all, or too early.
  const run = (seed: number) => {
    const random = new Random(seed)
    const high = random.between(0, 40)
    const low = random.between(0, high)
    const { gate, wire } = make(high, low)
    const live: Array<{ readonly waiter: Waiter; readonly kind: "write" | "room" | "flush"; readonly target: number }> =
      []
    const given: Array<LinedUp> = []
    const expected: Array<string> = []
    let names = 0
    let taken = 0
    let ended = false

    const largest = 12
    const chunks = () =>
      text(...Array.from({ length: random.between(1, 3) }, () => `${names++};`.padEnd(random.between(2, 4))))
    const written = () => taken + wire.bufferedBytes
    for (let step = 0; step < 120 && !ended; step++) {
      const action = random.between(0, 99)
      if (action < 40) {
        const write = new LinedUp(chunks())
        if (gate.blocked) {
          gate.enqueue(write)
          live.push({ waiter: write, kind: "write", target: 0 })
          given.push(write)
        } else {
          gate.write(write.chunks, sizeOf(write.chunks))
          expected.push(`write ${write.chunks.map(toLatin1).join("|")}`)
        }
      } else if (action < 50 && gate.blocked) {
        const waiter = new Waiter()
        gate.awaitRoom(waiter)
        live.push({ waiter, kind: "room", target: 0 })
      } else if (action < 60 && wire.bufferedBytes > 0) {
        const waiter = new Waiter()
        gate.awaitFlush(waiter)
        live.push({ waiter, kind: "flush", target: written() })
      } else if (action < 70 && live.length > 0) {
        const { waiter } = live.splice(random.between(0, live.length - 1), 1)[0]!
        const before = waiter.resumed
        gate.giveUp(waiter)
        if (waiter instanceof LinedUp && !waiter.handedOver) {
          given.splice(given.indexOf(waiter), 1)
        }
        assert.strictEqual(waiter.resumed, before)
      } else if (action < 98) {
        const n = random.between(0, wire.bufferedBytes)
        taken += n
        wire.take(n)
      } else {
        gate.end()
        ended = true
      }

      while (given.length > 0 && given[0]!.handedOver) {
        expected.push(`write ${given.shift()!.chunks.map(toLatin1).join("|")}`)
      }
      const hold = (condition: boolean, promise: string) => {
        if (!condition) {
          assert.fail(`seed ${seed}, step ${step}: ${promise}`)
        }
      }
      hold(wire.calls.length === expected.length, "what was handed over has been written")
      hold(given.every((write) => !write.handedOver), "nobody is let past another")
      hold(wire.bufferedBytes <= high + largest, "the high-water mark and one write")
      hold(gate.blocked || given.length === 0, "an open gate keeps no write waiting")
      for (let i = live.length - 1; i >= 0; i--) {
        const { kind, target, waiter } = live[i]!
        const over = ended ||
          (kind === "flush" ? taken >= target : !gate.blocked || (kind === "room" && waiter.resumed === 1) ||
            (waiter instanceof LinedUp && waiter.state === "done"))
        hold(waiter.resumed === (over ? 1 : 0), `a ${kind} is over: ${over}, and was woken ${waiter.resumed} times`)
        if (over) {
          live.splice(i, 1)
        }
      }
    }
    assert.deepStrictEqual(wire.calls, expected)
  }

  it("keeps its promises", () => {
    for (let seed = 0; seed < 200; seed++) {
      run(seed)
    }
  })
})

describe("sizes", () => {
  it("are those of all chunks together", () => {
    assert.strictEqual(sizeOf([]), 0)
    assert.strictEqual(sizeOf([latin1("ab"), latin1(""), latin1("cde")]), 5)
  })
})
