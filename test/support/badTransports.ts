/**
 * Transports that break the contract, each in one way: what a conformance kit has to find.
 *
 * Each is a good pair in memory with something in between.
 */
import type { Transport, TransportFailure, TransportReceiver } from "../../src/Transport.js"
import { memoryPair } from "./memoryTransport.js"

/** Passes everything on. A fault overrides what it gets wrong. */
export class Passing implements Transport, TransportReceiver {
  protected receiver!: TransportReceiver

  constructor(protected readonly lower: Transport) {}

  get localAddress() {
    return this.lower.localAddress
  }
  get remoteAddress() {
    return this.lower.remoteAddress
  }
  get canWriteEof(): boolean {
    return this.lower.canWriteEof
  }
  get bufferedBytes(): number {
    return this.lower.bufferedBytes
  }
  start(receiver: TransportReceiver): void {
    this.receiver = receiver
    this.lower.start(this)
  }
  pause(): void {
    this.lower.pause()
  }
  resume(): void {
    this.lower.resume()
  }
  write(chunks: ReadonlyArray<Uint8Array>): void {
    this.lower.write(chunks)
  }
  end(): void {
    this.lower.end()
  }
  destroy(): void {
    this.lower.destroy()
  }
  abort(): void {
    this.lower.abort()
  }

  onData(chunk: Uint8Array): void {
    this.receiver.onData(chunk)
  }
  onEnd(): void {
    this.receiver.onEnd()
  }
  onDrain(): void {
    this.receiver.onDrain()
  }
  onClosed(failure: TransportFailure | undefined): void {
    this.receiver.onClosed(failure)
  }
}

class DropsAByte extends Passing {
  private received = 0
  override onData(chunk: Uint8Array): void {
    const at = 5000 - this.received
    this.received += chunk.length
    const found = at >= 0 && at < chunk.length
    super.onData(found ? Uint8Array.from(chunk.filter((_, i) => i !== at)) : chunk)
  }
}

class ChangesAByte extends Passing {
  private received = 0
  override onData(chunk: Uint8Array): void {
    const at = 5000 - this.received
    this.received += chunk.length
    super.onData(chunk.map((byte, i) => i === at ? byte ^ 1 : byte))
  }
}

class Duplicates extends Passing {
  private chunks = 0
  override onData(chunk: Uint8Array): void {
    super.onData(chunk)
    if (++this.chunks === 3) {
      super.onData(chunk)
    }
  }
}

class Reorders extends Passing {
  private chunks = 0
  private kept: Uint8Array | undefined
  override onData(chunk: Uint8Array): void {
    if (++this.chunks === 3) {
      this.kept = chunk
      return
    }
    super.onData(chunk)
    if (this.kept !== undefined) {
      super.onData(this.kept)
      this.kept = undefined
    }
  }
}

/** Delivers every chunk in the same memory. */
class ReusesItsMemory extends Passing {
  private readonly memory = new Uint8Array(65_536)
  override onData(chunk: Uint8Array): void {
    this.memory.set(chunk)
    super.onData(this.memory.subarray(0, chunk.length))
  }
}

/** Delivers a chunk when the next one comes. */
class HoldsBack extends Passing {
  private kept: Uint8Array | undefined
  override onData(chunk: Uint8Array): void {
    const kept = this.kept
    this.kept = chunk
    if (kept !== undefined) {
      super.onData(kept)
    }
  }
  override onEnd(): void {
    if (this.kept !== undefined) {
      super.onData(this.kept)
    }
    super.onEnd()
  }
}

class LosesTheEnd extends Passing {
  override onEnd(): void {}
}

/** Reports the end before the data that came with it. */
class EndsEarly extends Passing {
  private kept: Array<Uint8Array> = []
  private ended = false
  override onData(chunk: Uint8Array): void {
    this.kept.push(chunk)
    setImmediate(() => this.kept.splice(0).forEach((chunk) => super.onData(chunk)))
  }
  override onEnd(): void {
    if (!this.ended) {
      this.ended = true
      super.onEnd()
    }
  }
}

class DeliversAfterTheEnd extends Passing {
  override onEnd(): void {
    super.onEnd()
    setImmediate(() => super.onData(new Uint8Array([33])))
  }
}

/** As a stream without `allowHalfOpen`. */
class EndsBothWays extends Passing {
  override onEnd(): void {
    super.onEnd()
    this.lower.end()
  }
}

/** Gives up what is queued with the end. */
class EndDropsTheQueue extends Passing {
  private queue: Array<Uint8Array> = []
  override get bufferedBytes(): number {
    return this.lower.bufferedBytes + this.queue.reduce((total, { length }) => total + length, 0)
  }
  override write(chunks: ReadonlyArray<Uint8Array>): void {
    if (this.lower.bufferedBytes > 0) {
      this.queue.push(...chunks)
    } else {
      super.write(chunks)
    }
  }
  override onDrain(): void {
    if (this.lower.bufferedBytes === 0) {
      super.write(this.queue.splice(0))
    }
    super.onDrain()
  }
  override end(): void {
    this.queue = []
    super.end()
  }
}

class TakesEverything extends Passing {
  override get bufferedBytes(): number {
    return 0
  }
}

class NeverDrains extends Passing {
  override onDrain(): void {}
}

/** Hears nothing while somebody has to wait for it. */
class HalfDuplex extends Passing {
  private kept: Array<Uint8Array> = []
  override onData(chunk: Uint8Array): void {
    if (this.lower.bufferedBytes > 0) {
      this.kept.push(chunk)
    } else {
      super.onData(chunk)
    }
  }
  override onDrain(): void {
    super.onDrain()
    if (this.lower.bufferedBytes === 0) {
      this.kept.splice(0).forEach((chunk) => super.onData(chunk))
    }
  }
}

class NeverCloses extends Passing {
  override destroy(): void {}
  override abort(): void {}
  override onClosed(): void {}
}

class AbortsInOrder extends Passing {
  override abort(): void {
    this.lower.end()
    this.receiver.onClosed(undefined)
  }
}

/** Leaves the peer in the dark about an abort. */
class AbortsInSilence extends Passing {
  override abort(): void {
    this.lower.pause()
    queueMicrotask(() => this.receiver.onClosed(undefined))
  }
}

/** Sends the first halves of what is written at once, and then the second halves. */
class Interleaves extends Passing {
  private halves: Array<Uint8Array> = []
  override write(chunks: ReadonlyArray<Uint8Array>): void {
    for (const chunk of chunks) {
      const half = chunk.length >> 1
      super.write([chunk.subarray(0, half)])
      this.halves.push(chunk.subarray(half))
    }
    queueMicrotask(() => super.write(this.halves.splice(0)))
  }
}

class WritesTheFirstPieceOnly extends Passing {
  override write(chunks: ReadonlyArray<Uint8Array>): void {
    super.write(chunks.slice(0, 1))
  }
}

class Throws extends Passing {
  private writes = 0
  override write(chunks: ReadonlyArray<Uint8Array>): void {
    if (++this.writes === 5) {
      throw new Error("write after something")
    }
    super.write(chunks)
  }
}

/** Calls an end in order a failure. */
class FailsInTheEnd extends Passing {
  override onClosed(failure: TransportFailure | undefined): void {
    super.onClosed(failure ?? { reason: "Unknown", code: "EODD", cause: undefined })
  }
}

class NoHalfClose extends Passing {
  override get canWriteEof(): boolean {
    return false
  }
}

const both = (Fault: new(lower: Transport) => Transport) => (): readonly [Transport, Transport] => {
  const [left, right] = memoryPair()
  return [new Fault(left), new Fault(right)]
}

/** What a transport gets wrong, the rule that it breaks, and what a case of that rule finds. */
export const badTransports: ReadonlyArray<
  readonly [name: string, rule: string, found: RegExp, make: () => readonly [Transport, Transport]]
> = [
  [
    "drops a byte",
    "every byte that is written arrives, once and in order",
    /5001 on have come instead, 1 too early/,
    both(DropsAByte)
  ],
  [
    "changes a byte",
    "every byte that is written arrives, once and in order",
    /byte 5000 is .* and should be/,
    both(ChangesAByte)
  ],
  ["duplicates", "every byte that is written arrives, once and in order", /have come a second time/, both(Duplicates)],
  ["reorders", "every byte that is written arrives, once and in order", /too early/, both(Reorders)],
  ["reuses its memory", "every byte that is written arrives, once and in order", /byte \d+ is/, both(ReusesItsMemory)],
  [
    "holds back what comes last",
    "every byte that is written arrives, once and in order",
    /does not end/,
    both(HoldsBack)
  ],
  [
    "throws",
    "every byte that is written arrives, once and in order",
    /died: Error \(write after something\)/,
    both(Throws)
  ],
  [
    "interleaves writes",
    "each write arrives whole, and in the order in which the writes were made",
    /has read|has come|bytes of another/,
    both(Interleaves)
  ],
  [
    "writes the first piece only",
    "each write arrives whole, and in the order in which the writes were made",
    /does not end|has read/,
    both(WritesTheFirstPieceOnly)
  ],
  [
    "loses the end",
    "the end of the stream comes after all data, wakes who waits, and is there for ever",
    /does not end/,
    both(LosesTheEnd)
  ],
  [
    "ends before its data",
    "the end of the stream comes after all data, wakes who waits, and is there for ever",
    /gave ""/,
    both(EndsEarly)
  ],
  [
    "delivers after the end",
    "the end of the stream comes after all data, wakes who waits, and is there for ever",
    /"!"/,
    both(DeliversAfterTheEnd)
  ],
  [
    "ends both ways",
    "writeEof ends one direction, after what was written, and leaves the other open",
    /of \d+ bytes/,
    both(EndsBothWays)
  ],
  [
    "can't half-close",
    "writeEof ends one direction, after what was written, and leaves the other open",
    /canWriteEof of left is false/,
    both(NoHalfClose)
  ],
  [
    "drops its queue at the end",
    "writeEof ends one direction, after what was written, and leaves the other open",
    /end of stream after \d+ of \d+ bytes/,
    both(EndDropsTheQueue)
  ],
  [
    "drops its queue at the end, and so at a close",
    "close sends what was written, ends both directions, wakes who waits and never fails",
    /end of stream after \d+ of \d+ bytes/,
    both(EndDropsTheQueue)
  ],
  [
    "takes everything",
    "a peer that does not read suspends the writer, and memory is bounded",
    /no write has had to wait/,
    both(TakesEverything)
  ],
  [
    "never drains",
    "a peer that does not read suspends the writer, and memory is bounded",
    /does not end/,
    both(NeverDrains)
  ],
  [
    "goes one way at a time",
    "a peer that does not read suspends the writer, and memory is bounded",
    /does not end/,
    both(HalfDuplex)
  ],
  [
    "never closes",
    "awaitClosed tells how the connection ended, and does not end it",
    /awaitClosed of right does not end/,
    both(NeverCloses)
  ],
  [
    "aborts in order",
    "abort drops the connection at once, wakes who waits, and is no end in order for the peer",
    /should fail with a ConnectionError, but succeeded/,
    both(AbortsInOrder)
  ],
  [
    "aborts in silence",
    "abort drops the connection at once, wakes who waits, and is no end in order for the peer",
    /does not end/,
    both(AbortsInSilence)
  ],
  [
    "fails in the end",
    "writeEof ends one direction, after what was written, and leaves the other open",
    /ended with Failed/,
    both(FailsInTheEnd)
  ]
]
