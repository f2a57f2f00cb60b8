/** The server and the clients, as those who start them see them. */
import type { Network } from "effect-netstreams"
import { Program } from "./process.js"
import {
  type ClientQuestion,
  isBeginning,
  isEnd,
  type Latencies,
  type ServerEnd,
  type ServerQuestion,
  type ServerSettings,
  type ServerStatistics
} from "./protocol.js"

export class RunningServer {
  private constructor(readonly program: Program, readonly port: number) {}

  static async start(
    listen: Network.ListenOptions,
    options: { readonly limitFiles?: number | undefined } = {}
  ): Promise<RunningServer> {
    const settings: ServerSettings = { listen: { host: "127.0.0.1", backlog: 1000, ...listen } }
    const program = await Program.start("server", settings, { ...options, nodeOptions: ["--expose-gc"] })
    const { listening } = await program.said(isBeginning)
    return new RunningServer(program, listening)
  }

  statistics(): Promise<ServerStatistics> {
    return this.program.ask({ collect: false } satisfies ServerQuestion)
  }

  /** The same when only what is used is there. */
  memory(): Promise<ServerStatistics> {
    return this.program.ask({ collect: true } satisfies ServerQuestion)
  }

  /** Asks until what it says fits. */
  async until(fits: (statistics: ServerStatistics) => boolean): Promise<ServerStatistics> {
    for (;;) {
      const statistics = await this.statistics()
      if (fits(statistics)) {
        return statistics
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** What it says when it has shut down. */
  end(): Promise<ServerEnd> {
    return this.program.said(isEnd)
  }

  kill(): Promise<void> {
    return this.program.kill()
  }
}

export class Clients {
  private constructor(readonly program: Program) {}

  static async start(): Promise<Clients> {
    return new Clients(await Program.start("clients", {}))
  }

  private ask<A>(question: ClientQuestion): Promise<A> {
    return this.program.ask(question)
  }

  /** How many have connected. */
  open(name: string, port: number, count: number): Promise<number> {
    return this.ask({ do: "open", name, port, count })
  }

  /** How many were answered. */
  request(name: string, order: "echo" | "work" | "stubborn", argument: string | number): Promise<number> {
    return this.ask({ do: "ask", name, order, argument })
  }

  alive(name: string): Promise<number> {
    return this.ask({ do: "alive", name })
  }

  leave(name: string, how: "end" | "reset"): Promise<number> {
    return this.ask({ do: "leave", name, how })
  }

  drip(name: string, every: number): Promise<number> {
    return this.ask({ do: "drip", name, every })
  }

  measure(port: number, millis: number): Promise<Latencies> {
    return this.ask({ do: "measure", port, millis })
  }

  /** How many have connected. */
  churn(port: number, count: number, atOnce: number): Promise<number> {
    return this.ask({ do: "churn", port, count, atOnce })
  }

  /** How many were answered. */
  load(port: number, clients: number, work: number): Promise<number> {
    return this.ask({ do: "load", port, clients, work })
  }

  answered(): Promise<number> {
    return this.ask({ do: "answered" })
  }

  stop(): Promise<number> {
    return this.ask({ do: "stop" })
  }

  kill(): Promise<void> {
    return this.program.kill()
  }
}
