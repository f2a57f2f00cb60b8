/** What the programs of this folder tell each other. */
import type { Network } from "effect-netstreams"

export interface ServerSettings {
  readonly listen: Network.ListenOptions
}

export interface ServerStatistics {
  /** Connections that are open. */
  readonly connections: number
  /** Connections that came to a handler. */
  readonly accepted: number
  /** Requests that were answered. */
  readonly answered: number
  readonly reports: ReadonlyArray<string>
  /** In bytes. */
  readonly rss: number
  readonly heapUsed: number
  readonly descriptors: number
  /** In milliseconds: the longest time for which the event loop did nothing else, since the last question. */
  readonly longestTurn: number
}

export interface ServerEnd {
  readonly report: Record<"finished" | "closed" | "interrupted" | "aborted", number>
}

export interface ServerBeginning {
  readonly listening: number
}

export const isBeginning = (word: unknown): word is ServerBeginning =>
  typeof word === "object" && word !== null && "listening" in word
export const isEnd = (word: unknown): word is ServerEnd => typeof word === "object" && word !== null && "report" in word
