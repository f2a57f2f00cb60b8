/**
 * The writing half of a connection as a machine: when to hand bytes over, and who waits for what.
 *
 * Once more than the high-water mark is queued below, writing is blocked until at most the low-water mark is. A write
 * that meets a blocked gate waits with its bytes, in line, and is handed over whole or not at all; so a peer that does
 * not read costs the high-water mark and one write, however many fibers write and however often they give up.
 */
import type { Bytes } from "./bytes.js"

/** Where the bytes go. */
export interface Output {
  readonly bufferedBytes: number
  readonly write: (chunks: ReadonlyArray<Bytes>) => void
}

/** Somebody who waits; `resume` is called once, when the wait is over, well or not: the state says which. */
export interface Waiting {
  readonly resume: () => void
}

export interface WaitingWrite extends Waiting {
  readonly chunks: ReadonlyArray<Bytes>
  /** Set when the bytes have been handed over. */
  handedOver: boolean
}

export class OutputGate {
  /** The high-water mark was passed, and the low one not yet reached again. */
  blocked = false
  /** Bytes that were ever handed over. */
  private written = 0
  /** Of these, how many the network had taken when it last said so. An output that has failed forgets the rest. */
  private taken = 0

  // Made when somebody waits: most connections never wait for anything, and three empty sets are half a kilobyte.
  /** Writes in line, in order. */
  private writes: Set<WaitingWrite> | undefined = undefined
  /** Who waits until the gate is open. */
  private room: Set<Waiting> | undefined = undefined
  /** Who waits until everything up to a position has left. */
  private flushes: Map<Waiting, number> | undefined = undefined

  constructor(
    private readonly output: Output,
    readonly highWaterMark: number,
    readonly lowWaterMark: number,
    private readonly meter?: { readonly sent: (bytes: number) => void } | undefined
  ) {}

  get bufferedBytes(): number {
    return this.output.bufferedBytes
  }

  /** What was handed over and is not known to have left. */
  get unsent(): number {
    return this.written - this.taken
  }

  /** Hands the chunks over. The gate must not be blocked. */
  write(chunks: ReadonlyArray<Bytes>, size: number): void {
    this.written += size
    this.meter?.sent(size)
    this.output.write(chunks)
    const buffered = this.output.bufferedBytes
    this.taken = this.written - buffered
    this.blocked = buffered > this.highWaterMark
  }

  /** Puts a write in line, to be handed over when the gate is open. */
  enqueue(write: WaitingWrite): void {
    ;(this.writes ??= new Set()).add(write)
    if (!this.blocked) {
      this.admit()
    }
  }

  awaitRoom(waiting: Waiting): void {
    ;(this.room ??= new Set()).add(waiting)
  }

  awaitFlush(waiting: Waiting): void {
    ;(this.flushes ??= new Map()).set(waiting, this.written)
  }

  giveUp(waiting: Waiting): void {
    this.writes?.delete(waiting as WaitingWrite)
    this.room?.delete(waiting)
    this.flushes?.delete(waiting)
  }

  /** Less is queued below than before. */
  drained(): void {
    const buffered = this.output.bufferedBytes
    this.taken = this.written - buffered
    this.flushes?.forEach((target, waiting, flushes) => {
      if (this.taken >= target) {
        flushes.delete(waiting)
        waiting.resume()
      }
    })
    if (this.blocked && buffered <= this.lowWaterMark) {
      this.blocked = false
      release(this.room)
      this.admit()
    }
  }

  private admit(): void {
    for (const write of this.writes ?? []) {
      this.writes?.delete(write)
      write.handedOver = true
      this.write(write.chunks, sizeOf(write.chunks))
      if (this.blocked) {
        ;(this.room ??= new Set()).add(write)
        return
      }
      write.resume()
    }
  }

  /** No more writes: those in line will not be handed over. What was handed over is still on its way. */
  close(): void {
    release(this.writes)
  }

  /** Nothing will leave any more. */
  end(): void {
    release(this.writes)
    release(this.room)
    const flushes = Array.from(this.flushes?.keys() ?? [])
    this.flushes?.clear()
    flushes.forEach((waiting) => waiting.resume())
  }
}

const release = (set: Set<Waiting> | undefined): void => {
  const all = Array.from(set ?? [])
  set?.clear()
  all.forEach((waiting) => waiting.resume())
}

export const sizeOf = (chunks: ReadonlyArray<Bytes>): number => {
  let size = 0
  for (const chunk of chunks) {
    size += chunk.length
  }
  return size
}
