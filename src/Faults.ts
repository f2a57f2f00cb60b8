/**
 * What can go wrong between two ends.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"

/**
 * What lies between two ends: how long it takes, how much it carries, and how it cuts.
 *
 * **Details**
 *
 * Without any of them a link is perfect: what is written arrives at once, each write in one piece. They hold for each
 * direction by itself, and nothing overtakes.
 *
 * @since 0.1.0
 * @category options
 */
export interface LinkConditions {
  /** How long each byte is on its way: no time by default. */
  readonly latency?: Duration.DurationInput | undefined
  /** How much longer it may take, by chance, and evenly so: no longer by default. */
  readonly jitter?: Duration.DurationInput | undefined
  /**
   * Bytes a second, in each direction of each connection: without limit by default. What is sent in one piece arrives
   * when its last byte does, so `fragment` says how soon the first ones are seen.
   */
  readonly bandwidth?: number | undefined
  /**
   * How many bytes one direction of a connection holds, on their way or not taken by a reader: 65 536 by default. What is
   * written beyond that waits in the writer's buffer, which so feels a slow reader.
   */
  readonly bytesInFlight?: number | undefined
  /**
   * Cuts what is sent to pieces of so many bytes at most, each of which is received by itself; `"random"` cuts it
   * anywhere, by the network's seed. `Infinity`, the default, cuts nothing.
   */
  readonly fragment?: number | "random" | undefined
  /**
   * Holds back what is sent for so long, and sends all of it in one piece, as Nagle's algorithm does. `0` joins what is
   * written in one go. By default each write goes by itself.
   */
  readonly coalesce?: Duration.DurationInput | undefined
}
