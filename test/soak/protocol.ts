/** What the programs of this folder tell each other. */
import type { Network } from "effect-netstreams"

export interface ServerSettings {
  readonly listen: Network.ListenOptions
}

export interface ServerQuestion {
  /** Collects garbage first, which takes its time. */
  readonly collect: boolean
}

export interface ServerStatistics {
  /** Connections that are open. */
  readonly connections: number
  /** Connections that came to a handler. */
  readonly accepted: number
  /** Requests that were read. */
  readonly begun: number
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
  /** How long the shutdown took, in milliseconds. */
  readonly elapsed: number
  readonly begun: number
  readonly answered: number
}

export interface ServerBeginning {
  readonly listening: number
}

export const isBeginning = (word: unknown): word is ServerBeginning =>
  typeof word === "object" && word !== null && "listening" in word
export const isEnd = (word: unknown): word is ServerEnd => typeof word === "object" && word !== null && "report" in word

/** In milliseconds. */
export interface Latencies {
  readonly count: number
  readonly median: number
  readonly p99: number
  readonly most: number
}

export type ClientQuestion =
  | { readonly do: "open"; readonly name: string; readonly port: number; readonly count: number }
  | { readonly do: "ask"; readonly name: string; readonly order: string; readonly argument: string | number }
  | { readonly do: "alive"; readonly name: string }
  | { readonly do: "leave"; readonly name: string; readonly how: "end" | "reset" }
  | { readonly do: "drip"; readonly name: string; readonly every: number }
  | { readonly do: "measure"; readonly port: number; readonly millis: number }
  | { readonly do: "churn"; readonly port: number; readonly count: number; readonly atOnce: number }
  | { readonly do: "load"; readonly port: number; readonly clients: number; readonly work: number }
  | { readonly do: "answered" | "stop" }
