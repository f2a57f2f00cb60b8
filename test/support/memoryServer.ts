/**
 * A server in memory, what its `onError` was told, and clients that note what they see.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Address from "../../src/Address.js"
import * as Server from "../../src/Server.js"
import type { TransportFailure } from "../../src/Transport.js"
import { toLatin1, utf8 } from "./chunkings.js"
import { MemoryListener, type MemoryOptions } from "./memoryTransport.js"

/** The other end of an accepted connection: notes what it sees, and ends its side when the server does. */
export const client = (listener: MemoryListener, options: MemoryOptions & { readonly endsToo?: boolean } = {}) => {
  const transport = listener.dial(options)
  const chunks: Array<Uint8Array> = []
  const seen = {
    transport,
    /** The server's end. */
    accepted: listener.accepted!,
    address: Address.format(listener.accepted!.remoteAddress),
    ended: false,
    closed: false,
    failure: undefined as TransportFailure | undefined,
    text: () => toLatin1(Buffer.concat(chunks)),
    send: (text: string) => transport.write([utf8(text)])
  }
  transport.start({
    onData: (chunk) => {
      chunks.push(chunk)
    },
    onEnd: () => {
      seen.ended = true
      if (options.endsToo !== false) {
        transport.end()
      }
    },
    onDrain: () => {},
    onClosed: (failure) => {
      seen.closed = true
      seen.failure = failure
    }
  })
  return seen
}

export type Reports = ReadonlyArray<{
  readonly phase: string
  readonly address: string
  readonly cause: Cause.Cause<unknown>
}>

/** A server, and what its `onError` was told. */
export const start = <E, R>(
  handler: Server.Handler<E, R>,
  options: Server.Options & { readonly startServing?: boolean } = {}
) =>
  Effect.gen(function*() {
    const listener = new MemoryListener()
    const reports: Array<Reports[number]> = []
    const server = yield* Server.make(listener.listen, {
      onError: ({ cause, phase, remoteAddress }) =>
        Effect.sync(() => {
          reports.push({
            phase,
            address: Option.match(remoteAddress, { onNone: () => "none", onSome: Address.format }),
            cause
          })
        }),
      ...options
    }, handler)
    return { listener, reports, server }
  })

/** The same, with no end that waits for a clock which stands still. */
export const serve = <E, R>(handler: Server.Handler<E, R>, options?: Parameters<typeof start>[1]) =>
  Effect.tap(start(handler, options), ({ listener, server }) =>
    Effect.addFinalizer(() => {
      listener.dropClients()
      return server.shutdown({ gracePeriod: 0 })
    }))

export const echo: Server.Handler<unknown, never> = ({ reader, writer }) => Stream.run(reader.bytes, writer.sink)

export const isDone = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<boolean> =>
  Effect.map(Fiber.poll(fiber), Option.isSome)

export const counts = ({ aborted, closed, finished, interrupted }: Server.ShutdownReport) => ({
  finished,
  closed,
  interrupted,
  aborted
})
