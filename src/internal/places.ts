/**
 * A number of places, and a queue of those who wait for one: who may come in, who waits and who is turned away.
 *
 * A place that gets free is for the one who has waited longest. The queue is bounded as well; whoever finds it full is
 * turned away.
 */
export class Places<Guest> {
  /** How many are in. */
  taken = 0
  private readonly queue: Set<Guest> = new Set()

  constructor(readonly places: number, readonly queueLength: number) {}

  get waiting(): number {
    return this.queue.size
  }

  arrive(guest: Guest): "enters" | "waits" | "refused" {
    if (this.taken < this.places) {
      this.taken += 1
      return "enters"
    }
    if (this.queue.size < this.queueLength) {
      this.queue.add(guest)
      return "waits"
    }
    return "refused"
  }

  /** Gives a place back. Who is returned has it now. */
  leave(): Guest | undefined {
    for (const next of this.queue) {
      this.queue.delete(next)
      return next
    }
    this.taken -= 1
    return undefined
  }

  /** Empties the queue. */
  dismiss(): ReadonlyArray<Guest> {
    const waiting = Array.from(this.queue)
    this.queue.clear()
    return waiting
  }
}
