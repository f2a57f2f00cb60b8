import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import { hasProperty, isIterable } from "effect/Predicate"
import * as Sink from "effect/Sink"
import type { Address } from "../Address.js"
import type { ConnectionError } from "../NetworkError.js"
import type * as Api from "../StreamWriter.js"
import * as argument from "./argument.js"
import { asyncOwned } from "./background.js"
import { type Bytes, isBytes, toBytes } from "./bytes.js"
import { connectionError } from "./connectionError.js"
import type { ConnectionState, Ending } from "./connectionState.js"
import { breathe } from "./eventLoopTurn.js"
import { served, YieldOnce } from "./fastPath.js"
import { sizeOf, type Waiting, type WaitingWrite } from "./outputGate.js"

/** @internal */
export const TypeId: Api.TypeId = Symbol.for("effect-netstreams/StreamWriter") as Api.TypeId

/** @internal */
export const isStreamWriter = (u: unknown): u is Api.StreamWriter => hasProperty(u, TypeId)

// A peer that reads as fast as we write never holds a writer up, and the event loop would never turn.
const breathAfterWrites = 128
const breathAfterBytes = 4 * 1024 * 1024

type Effect_ = Effect.Effect<void, ConnectionError>

/** @internal */
export class StreamWriterImpl implements Api.StreamWriter {
  private writes = 0
  private bytes = 0

  constructor(
    private readonly state: ConnectionState,
    readonly canWriteEof: boolean,
    readonly remoteAddress: Address
  ) {}

  get [TypeId](): Api.TypeId {
    return TypeId
  }

  write(data: Uint8Array | string): Effect_ {
    return typeof data === "string" || isBytes(data)
      ? new Write(this, data)
      : argument.illegal(`write: data must be a Uint8Array or a string, got ${typeof data}`)
  }

  writeAll(chunks: Iterable<Uint8Array | string>): Effect_ {
    return isIterable(chunks)
      ? Effect.suspend(() => this.start(Array.from(chunks, chunkToBytes)) ?? Exit.void)
      : argument.illegal(`writeAll: chunks must be an iterable of Uint8Arrays and strings, got ${typeof chunks}`)
  }

  get drain(): Effect_ {
    return Effect.suspend(() => this.waitForRoom())
  }

  get flush(): Effect_ {
    return this.flushFor("write")
  }

  flushFor(operation: ConnectionError["operation"]): Effect_ {
    return Effect.suspend(() => {
      if (this.state.flushEnding !== undefined) {
        return this.fail(this.state.flushEnding, operation)
      }
      return this.state.output.unsent === 0 ? Exit.void : this.wait((waiting) => {
        this.state.output.awaitFlush(waiting)
      }, operation)
    })
  }

  get writeEof(): Effect_ {
    return Effect.suspend(() => {
      const ending = this.state.eofEnding
      if (ending !== undefined) {
        return this.fail(ending)
      }
      this.state.writeEof()
      return Exit.void
    })
  }

  get isClosing(): Effect.Effect<boolean> {
    return Effect.sync(() => this.state.isClosing)
  }

  get bufferedBytes(): Effect.Effect<number> {
    return Effect.sync(() => this.state.output.bufferedBytes)
  }

  get sink(): Sink.Sink<void, Uint8Array | string, never, ConnectionError> {
    return Sink.forEachChunk((chunk) => this.writeAll(Chunk.toReadonlyArray(chunk)))
  }

  /** Hands the bytes over where that can be; `undefined` when that was all, else what is left to wait for. */
  start(chunks: ReadonlyArray<Bytes>): Effect_ | undefined {
    const ending = this.state.writeEnding
    if (ending !== undefined) {
      return this.fail(ending)
    }
    const size = sizeOf(chunks)
    if (size === 0) {
      return undefined
    }
    const output = this.state.output
    if (output.blocked) {
      return this.writeInLine(chunks)
    }
    output.write(chunks, size)
    if (output.blocked) {
      return this.waitForRoom()
    }
    this.bytes += size
    if (++this.writes >= breathAfterWrites || this.bytes >= breathAfterBytes) {
      this.writes = 0
      this.bytes = 0
      return breathe
    }
    return undefined
  }

  /** Whoever is interrupted leaves the line, at whatever moment that is: what stayed there would be sent all the same. */
  private writeInLine(chunks: ReadonlyArray<Bytes>): Effect_ {
    return asyncOwned<void, ConnectionError>((resume) => {
      const output = this.state.output
      const write: WaitingWrite = {
        chunks,
        handedOver: false,
        resume: () => {
          const ending = write.handedOver ? this.state.flushEnding : this.state.writeEnding
          resume(ending === undefined ? Exit.void : this.fail(ending))
        }
      }
      // The fiber may have yielded on its way here, and the gate opened or closed.
      if (this.state.writeEnding !== undefined) {
        write.resume()
      } else {
        output.enqueue(write)
      }
      return Effect.sync(() => output.giveUp(write))
    })
  }

  private waitForRoom(): Effect_ {
    return this.wait((waiting) => {
      const output = this.state.output
      if (output.blocked) {
        output.awaitRoom(waiting)
      } else {
        waiting.resume()
      }
    })
  }

  private wait(enter: (waiting: Waiting) => void, operation: ConnectionError["operation"] = "write"): Effect_ {
    return asyncOwned<void, ConnectionError>((resume) => {
      const waiting: Waiting = {
        resume: () => {
          const ending = this.state.flushEnding
          resume(ending === undefined ? Exit.void : this.fail(ending, operation))
        }
      }
      if (this.state.flushEnding !== undefined) {
        waiting.resume()
      } else {
        enter(waiting)
      }
      return Effect.sync(() => this.state.output.giveUp(waiting))
    })
  }

  private fail(
    ending: Ending,
    operation: ConnectionError["operation"] = "write"
  ): Exit.Exit<never, ConnectionError> {
    return Exit.fail(connectionError(ending, operation, this.remoteAddress))
  }
}

class Write extends Effectable.Class<void, ConnectionError> {
  constructor(private readonly writer: StreamWriterImpl, private readonly data: Uint8Array | string) {
    super()
  }

  private start(): Effect_ | undefined {
    return this.writer.start([toBytes(this.data)])
  }

  override commit(): Effect_ {
    return this.start() ?? Exit.void
  }

  /** A write that need not wait completes inside `yield*`, as a read does. */
  override [Symbol.iterator](): Effect.EffectGenerator<Effect_> {
    const rest = this.start()
    return rest === undefined ? served.with(undefined) : new YieldOnce(rest)
  }
}

const chunkToBytes = (chunk: Uint8Array | string): Bytes => {
  if (typeof chunk !== "string" && !isBytes(chunk)) {
    throw new Cause.IllegalArgumentException(
      `writeAll: every chunk must be a Uint8Array or a string, got ${typeof chunk}`
    )
  }
  return toBytes(chunk)
}
