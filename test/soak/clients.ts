/**
 * Clients of every kind, made of `node:net` alone, in a process that can be killed. A question makes some, or has those
 * of a name do something, and is answered when they are done.
 */
import * as Net from "node:net"
import { say, serveChannel } from "./process.js"
import type { ClientQuestion, Latencies } from "./protocol.js"

class Client {
  connected = false
  closed = false
  code: string | undefined = undefined
  private text = ""
  private waiting: (() => void) | undefined = undefined

  constructor(port: number, private readonly onChange: () => void) {
    this.socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
    this.socket.setEncoding("latin1")
    this.socket.on("connect", () => {
      this.connected = true
      this.changed()
    })
    this.socket.on("data", (text: string) => {
      this.text += text
      this.changed()
    })
    this.socket.on("error", (error: NodeJS.ErrnoException) => {
      this.code = error.code
    })
    this.socket.on("close", () => {
      this.closed = true
      this.changed()
    })
  }
  readonly socket: Net.Socket

  private changed(): void {
    this.waiting?.()
    this.onChange()
  }

  private async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.waiting = resolve
      })
    }
  }

  opened(): Promise<void> {
    return this.until(() => this.connected || this.closed)
  }

  ended(): Promise<void> {
    return this.until(() => this.closed)
  }

  /** Sends a request and waits for its answer, or for the end. True if it was answered. */
  async ask(order: string, argument: string | number): Promise<boolean> {
    this.text = ""
    if (!this.closed) {
      this.socket.write(`${order} ${argument}\n`)
    }
    await this.until(() => this.text === `${argument}\n` || this.closed)
    return this.text === `${argument}\n`
  }
}

const groups = new Map<string, Array<Client>>()
let answered = 0
let stopped = false

const group = (name: string): Array<Client> => {
  const clients = groups.get(name) ?? []
  groups.set(name, clients)
  return clients
}

/** Does it so many times, so many at once. */
const times = async (count: number, atOnce: number, task: (i: number) => Promise<void>): Promise<void> => {
  let next = 0
  await Promise.all(
    Array.from({ length: Math.min(atOnce, count) }, async () => {
      while (next < count) {
        await task(next++)
      }
    })
  )
}

const latencies = (millis: ReadonlyArray<number>): Latencies => {
  const sorted = Array.from(millis).sort((a, b) => a - b)
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? NaN
  return { count: sorted.length, median: at(0.5), p99: at(0.99), most: at(1) }
}

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const answer = async (question: ClientQuestion): Promise<unknown> => {
  switch (question.do) {
    /** Opens connections, and keeps them under a name. */
    case "open": {
      const clients = group(question.name)
      await times(question.count, 200, async () => {
        const client = new Client(question.port, () => {})
        clients.push(client)
        await client.opened()
      })
      return clients.filter(({ connected }) => connected).length
    }
    /** Each of them sends one request, all at once. */
    case "ask": {
      const clients = group(question.name)
      const outcomes = await Promise.all(clients.map((client) => client.ask(question.order, question.argument)))
      return outcomes.filter((answered) => answered).length
    }
    case "alive":
      return group(question.name).filter(({ closed, connected }) => connected && !closed).length
    /** They leave, and are forgotten. */
    case "leave": {
      const clients = group(question.name)
      groups.delete(question.name)
      await Promise.all(clients.map((client) => {
        if (question.how === "reset") {
          client.socket.resetAndDestroy()
        } else {
          client.socket.end()
        }
        return client.ended()
      }))
      return clients.length
    }
    /** They send a byte now and then, and never end the line. */
    case "drip": {
      const clients = group(question.name)
      clients.forEach((client, i) => {
        const drip = () => {
          if (!client.closed) {
            client.socket.write("x")
            setTimeout(drip, question.every)
          }
        }
        setTimeout(drip, (i / clients.length) * question.every)
      })
      return clients.length
    }
    /** One client that asks one thing after another. */
    case "measure": {
      const client = new Client(question.port, () => {})
      await client.opened()
      const millis: Array<number> = []
      const end = performance.now() + question.millis
      while (performance.now() < end) {
        const begin = performance.now()
        if (!await client.ask("echo", "ping")) {
          break
        }
        millis.push(performance.now() - begin)
        await sleep(2)
      }
      client.socket.end()
      await client.ended()
      return latencies(millis)
    }
    /** Connect and reset, so many times. */
    case "churn": {
      let connected = 0
      await times(question.count, question.atOnce, async () => {
        const client = new Client(question.port, () => {})
        await client.opened()
        if (client.connected) {
          connected += 1
          client.socket.resetAndDestroy()
        }
        await client.ended()
      })
      return connected
    }
    /** Requests without end, each over a connection of its own, until nobody listens any more or it is told to stop. */
    case "load": {
      answered = 0
      stopped = false
      await Promise.all(Array.from({ length: question.clients }, async () => {
        while (!stopped) {
          const client = new Client(question.port, () => {})
          await client.opened()
          if (client.connected && await client.ask("work", question.work)) {
            answered += 1
          }
          client.socket.end()
          await client.ended()
          if (client.code === "ECONNREFUSED") {
            return
          }
        }
      }))
      return answered
    }
    case "answered":
      return answered
    case "stop":
      stopped = true
      return answered
  }
}

serveChannel(answer)
say({ ready: true })
