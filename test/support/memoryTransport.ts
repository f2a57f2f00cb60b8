/**
 * Two transports that are connected in memory, and a listener for them: enough of a network to run the core without an
 * operating system, under a clock of the test's own.
 *
 * Each direction is a pipe that holds `window` bytes. Things happen in microtasks, never within the call that asks.
 */
import * as Effect from "effect/Effect"
import * as Address from "../../src/Address.js"
import type { Acceptor, Listener, Transport, TransportFailure, TransportReceiver } from "../../src/Transport.js"
import { reset } from "./fakeWire.js"

export interface MemoryOptions {
  /** How many bytes are on their way at most: 64 KiB. */
  readonly window?: number | undefined
  readonly canWriteEof?: boolean | undefined
}

export class MemoryTransport implements Transport {
  peer!: MemoryTransport
  readonly canWriteEof: boolean
  /** How many chunks each write had. */
  readonly writes: Array<number> = []
  bufferedBytes = 0
  /** Nothing of this transport is left. */
  gone = false
  /** Whether `destroy` and `abort` do anything: a transport that hangs does not. */
  obeys = true

  private window: number
  private receiver: TransportReceiver | undefined = undefined
  private paused = false
  private outbox: Array<Uint8Array> = []
  /** What is on its way here. */
  private inbox: Array<Uint8Array> = []
  private inboxBytes = 0
  private ending = false
  private endSent = false
  private endArrived = false
  private endReported = false
  private failure: TransportFailure | undefined = undefined
  private turning = false

  constructor(readonly localAddress: Address.Address, readonly remoteAddress: Address.Address, options: MemoryOptions) {
    this.window = options.window ?? 65_536
    this.canWriteEof = options.canWriteEof ?? true
  }

  start(receiver: TransportReceiver): void {
    this.receiver = receiver
    if (this.gone) {
      this.reportClosed()
    } else {
      this.turn()
    }
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    this.turn()
  }

  write(chunks: ReadonlyArray<Uint8Array>): void {
    if (!this.ending && !this.gone) {
      this.writes.push(chunks.length)
      const bytes = new Uint8Array(Buffer.concat(chunks))
      this.outbox.push(bytes)
      this.bufferedBytes += bytes.length
      this.turn()
    }
  }

  end(): void {
    this.ending = true
    this.turn()
  }

  destroy(): void {
    if (!this.gone && this.obeys) {
      // As a kernel does: data that nobody will read is answered with a reset.
      if (this.inboxBytes > 0) {
        this.peer.fail(reset)
      } else {
        this.peer.endArrived = true
        this.peer.turn()
      }
      this.close()
    }
  }

  abort(): void {
    if (!this.gone && this.obeys) {
      this.peer.fail(reset)
      this.close()
    }
  }

  /** Makes the pipe from here longer by so many bytes; endless, it is one that the peer also reads from. */
  widen(bytes = Infinity): void {
    this.window += bytes
    this.turn()
    if (bytes === Infinity) {
      this.peer.resume()
    }
  }

  /** What comes from the peer is delivered before the failure, as long as nobody pauses. */
  fail(failure: TransportFailure): void {
    if (!this.gone) {
      this.failure = failure
      queueMicrotask(() => {
        this.deliver()
        this.close()
      })
    }
  }

  private close(): void {
    if (!this.gone) {
      this.gone = true
      this.outbox = []
      this.inbox = []
      this.inboxBytes = 0
      this.bufferedBytes = 0
      this.reportClosed()
    }
  }

  /** Once: now, or when somebody listens. */
  private reportClosed(): void {
    if (this.receiver !== undefined) {
      queueMicrotask(() => this.receiver!.onClosed(this.failure))
    }
  }

  private turn(): void {
    if (!this.turning) {
      this.turning = true
      queueMicrotask(() => {
        this.turning = false
        this.run()
      })
    }
  }

  private run(): void {
    if (this.gone) {
      return
    }
    this.send()
    this.deliver()
    if (this.endReported && this.endSent && !this.gone) {
      this.close()
    }
  }

  private send(): void {
    const peer = this.peer
    let sent = 0
    while (this.outbox.length > 0 && peer.inboxBytes < this.window) {
      if (peer.gone) {
        this.fail(reset)
        return
      }
      const room = this.window - peer.inboxBytes
      const first = this.outbox[0]!
      const chunk = first.length <= room ? first : first.subarray(0, room)
      if (chunk === first) {
        this.outbox.shift()
      } else {
        this.outbox[0] = first.subarray(room)
      }
      peer.inbox.push(chunk)
      peer.inboxBytes += chunk.length
      sent += chunk.length
    }
    if (sent > 0) {
      this.bufferedBytes -= sent
      peer.turn()
      this.receiver?.onDrain()
    }
    if (this.ending && !this.endSent && this.outbox.length === 0) {
      this.endSent = true
      peer.endArrived = true
      peer.turn()
      this.turn()
    }
  }

  private deliver(): void {
    const receiver = this.receiver
    if (receiver === undefined) {
      return
    }
    while (this.inbox.length > 0 && !this.paused && !this.gone) {
      const chunk = this.inbox.shift()!
      this.inboxBytes -= chunk.length
      receiver.onData(chunk)
      this.peer.turn()
    }
    if (this.inbox.length === 0 && this.endArrived && !this.endReported && !this.gone && this.failure === undefined) {
      this.endReported = true
      receiver.onEnd()
    }
  }
}

const here = Address.tcp("127.0.0.1", 1000)

/** Two ends of a connection. */
export const memoryPair = (
  options: MemoryOptions = {},
  port = 2000
): readonly [MemoryTransport, MemoryTransport] => {
  const there = Address.tcp("127.0.0.1", port)
  const a = new MemoryTransport(here, there, options)
  const b = new MemoryTransport(there, here, options)
  a.peer = b
  b.peer = a
  return [a, b]
}

/** A listener in memory, and how to reach it. */
export class MemoryListener {
  acceptor!: Acceptor
  started = 0
  closed = 0
  private port = 5000
  private readonly dialled: Array<MemoryTransport> = []
  /** What `start` and `close` wait for; nothing by default. */
  whenStarting: Effect.Effect<void> = Effect.void
  whenClosing: Effect.Effect<void> = Effect.void
  accepted: MemoryTransport | undefined = undefined

  readonly listen = (acceptor: Acceptor): Effect.Effect<Listener> =>
    Effect.sync(() => {
      this.acceptor = acceptor
      return {
        addresses: [here],
        start: Effect.suspend(() => {
          this.started += 1
          return this.whenStarting
        }),
        close: Effect.suspend(() => {
          this.closed += 1
          return this.whenClosing
        })
      }
    })

  /** Connects, whether it serves or not, and gives the client's end; `accepted` is the server's. */
  dial(options?: MemoryOptions): MemoryTransport {
    const [accepted, client] = memoryPair(options, this.port++)
    this.accepted = accepted
    this.dialled.push(client)
    this.acceptor.onTransport(accepted)
    return client
  }

  /** Every client vanishes. */
  dropClients(): void {
    this.dialled.forEach((client) => client.abort())
  }
}

/** Lets everything happen that can happen without the clock. */
export const settle: Effect.Effect<void> = Effect.promise(async () => {
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setImmediate(resolve))
  }
})
