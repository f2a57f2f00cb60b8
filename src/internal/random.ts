/**
 * Numbers that look random, and are the same again for the same seed on every machine.
 */

/** One seed made of two, so that each connection of a network has its own numbers whatever the others do. */
export const mixSeeds = (a: number, b: number): number => {
  let h = (a ^ Math.imul(b + 1, 0x9e3779b1)) >>> 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** mulberry32. */
export class Random {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** From 0 up to, and not including, 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from 1 to `max`; small ones as often as large ones, on a scale of magnitudes. */
  magnitude(max: number): number {
    return Math.min(max, Math.floor(Math.exp(this.next() * Math.log(max + 1))))
  }
}
