/**
 * A transport that writes down what goes through it. It sits between a connection and its transport, and only there where
 * somebody asked for it.
 */
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Runtime from "effect/Runtime"
import * as Address from "../Address.js"
import type * as Api from "../Connection.js"
import type { TlsError } from "../NetworkError.js"
import type * as Tls from "../Tls.js"
import type { Transport, TransportFailure, TransportReceiver } from "../Transport.js"
import type { Bytes } from "./bytes.js"
import { hexDump } from "./hexDump.js"
import { sizeOf } from "./outputGate.js"

const defaultMaxBytes = 256

class WireTap {
  private readonly level: LogLevel.LogLevel
  private readonly maxBytes: number

  constructor(
    private readonly runtime: Runtime.Runtime<never>,
    options: Api.WireTap,
    private readonly attributes: Record<string, unknown>
  ) {
    this.level = options.level ?? LogLevel.Info
    this.maxBytes = options.maxBytes ?? defaultMaxBytes
  }

  note(what: string): void {
    Runtime.runFork(this.runtime, Effect.annotateLogs(Effect.logWithLevel(this.level, what), this.attributes))
  }

  bytes(direction: "received" | "sent", chunks: ReadonlyArray<Bytes>): void {
    const size = sizeOf(chunks)
    const shown = firstOf(chunks, Math.min(size, this.maxBytes))
    const rest = size > shown.length ? `\n… and ${size - shown.length} more` : ""
    this.note(
      `${direction} ${size} byte${size === 1 ? "" : "s"}${shown.length === 0 ? "" : `\n${hexDump(shown)}`}${rest}`
    )
  }
}

const firstOf = (chunks: ReadonlyArray<Bytes>, size: number): Bytes => {
  const bytes = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    const part = chunk.subarray(0, size - at)
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** All that a transport has: what is optional there must not be forgotten here. */
type Whole = { readonly [K in keyof Required<Transport>]: Transport[K] }

class TappedTransport implements Whole {
  readonly localAddress: Address.Address
  readonly remoteAddress: Address.Address
  readonly canWriteEof: boolean
  readonly tls: Tls.Session | undefined
  readonly closeTimeout: number | undefined
  readonly startTls: Transport["startTls"]
  /** The connection has gone over to TLS: what goes through here is encrypted, and says nothing to anybody. */
  private encrypted = false

  constructor(private readonly below: Transport, private readonly tap: WireTap) {
    this.localAddress = below.localAddress
    this.remoteAddress = below.remoteAddress
    this.canWriteEof = below.canWriteEof
    this.tls = below.tls
    this.closeTimeout = below.closeTimeout
    this.startTls = below.startTls === undefined ? undefined : (lower, options) => this.upgrade(lower, options)
  }

  private upgrade(lower: Transport, options: Tls.Upgrade): Effect.Effect<Transport, TlsError> {
    return Effect.suspend(() => {
      this.encrypted = true
      this.tap.note(`starts TLS as ${options.role}`)
      return Effect.map(this.below.startTls!(lower, options), (secure) => new TappedTransport(secure, this.tap))
    })
  }

  get bufferedBytes(): number {
    return this.below.bufferedBytes
  }

  get writeProgress(): number | undefined {
    return this.below.writeProgress
  }

  start(receiver: TransportReceiver): void {
    const { tap } = this
    this.below.start({
      onData: (chunk) => {
        if (!this.encrypted) {
          tap.bytes("received", [chunk])
        }
        receiver.onData(chunk)
      },
      onEnd: () => {
        if (!this.encrypted) {
          tap.note("received the end")
        }
        receiver.onEnd()
      },
      onDrain: () => receiver.onDrain(),
      onClosed: (failure: TransportFailure | undefined) => {
        if (!this.encrypted) {
          tap.note(failure === undefined ? "closed" : `closed: ${failure.reason} (${failure.code ?? "no code"})`)
        }
        receiver.onClosed(failure)
      }
    })
  }

  // What was shown of it has been copied.
  recycle(chunk: Bytes): void {
    this.below.recycle?.(chunk)
  }

  write(chunks: ReadonlyArray<Bytes>): void {
    if (!this.encrypted) {
      this.tap.bytes("sent", chunks)
    }
    this.below.write(chunks)
  }

  end(): void {
    if (!this.encrypted) {
      this.tap.note("sent the end")
    }
    this.below.end()
  }

  abort(): void {
    if (!this.encrypted) {
      this.tap.note("aborted")
    }
    this.below.abort()
  }

  destroy(): void {
    this.below.destroy()
  }

  pause(): void {
    this.below.pause()
  }

  resume(): void {
    this.below.resume()
  }
}

export const isTapped = (options: Api.Options): boolean => options.wireTap !== undefined && options.wireTap !== false

/** The transport, or one that writes down what goes through it, where the options say so. */
export const tapped = (transport: Transport, options: Api.Options, runtime: Runtime.Runtime<never>): Transport =>
  isTapped(options)
    ? new TappedTransport(
      transport,
      new WireTap(runtime, typeof options.wireTap === "object" ? options.wireTap : {}, {
        "network.local.address": Address.format(transport.localAddress),
        "network.peer.address": Address.format(transport.remoteAddress)
      })
    )
    : transport
