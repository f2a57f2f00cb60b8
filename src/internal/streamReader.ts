import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Address } from "../Address.js"
import { IncompleteReadError, LimitOverrunError } from "../NetworkError.js"
import type * as Api from "../StreamReader.js"
import * as argument from "./argument.js"
import { Incomplete, InputBuffer, type Outcome, Overrun, type ReadFault, type Source } from "./inputBuffer.js"
import { ByteLines, TextLines } from "./lineSplitter.js"
import { NumberReads } from "./readNumber.js"
import { type Faults, ReadOperation, WaitingPlace } from "./readOperation.js"
import { bytesStream, forEachLine, linesStream } from "./readStream.js"
import { type Separator, separator, separatorProblem } from "./separator.js"

/** @internal */
export const TypeId: Api.TypeId = Symbol.for("effect-netstreams/StreamReader") as Api.TypeId

/** @internal */
export const isStreamReader = (u: unknown): u is Api.StreamReader<unknown> => hasProperty(u, TypeId)

/** @internal */
export const defaultLimit = 65_536

class Read<E> extends ReadOperation<Uint8Array, E> {
  get name(): string {
    return "read"
  }
  constructor(place: WaitingPlace, private readonly n: number) {
    super(place)
  }
  attempt(): Outcome<Uint8Array> {
    return this.place.input.read(this.n)
  }
}

class ReadInto<E> extends ReadOperation<number, E> {
  get name(): string {
    return "readInto"
  }
  constructor(place: WaitingPlace, private readonly buffer: Uint8Array) {
    super(place)
  }
  attempt(): Outcome<number> {
    return this.place.input.readInto(this.buffer)
  }
}

class ReadAll<E> extends ReadOperation<Uint8Array, E> {
  get name(): string {
    return "readAll"
  }
  constructor(place: WaitingPlace, private readonly maxBytes: number) {
    super(place)
  }
  override get wanted(): number {
    return this.maxBytes + 1
  }
  attempt(): Outcome<Uint8Array> {
    return this.place.input.readAll(this.maxBytes)
  }
}

/** In bytes. */
const largestHeader = 16

class ReadExactly<E> extends ReadOperation<Uint8Array, E> {
  get name(): string {
    return "readExactly"
  }
  constructor(place: WaitingPlace, readonly n: number) {
    super(place)
  }
  override get wanted(): number {
    return this.n
  }
  attempt(): Outcome<Uint8Array> {
    return this.place.input.readExactly(this.n)
  }
}

class Peek<E> extends ReadOperation<Uint8Array, E> {
  get name(): string {
    return "peek"
  }
  constructor(place: WaitingPlace, private readonly n: number) {
    super(place)
  }
  override get wanted(): number {
    return this.n
  }
  attempt(): Outcome<Uint8Array> {
    return this.place.input.peek(this.n)
  }
}

class ReadUntil<E> extends ReadOperation<Uint8Array, E> {
  get name(): string {
    return "readUntil"
  }
  constructor(place: WaitingPlace, private readonly separator: Separator) {
    super(place)
  }
  attempt(): Outcome<Uint8Array> {
    return this.place.input.readUntil(this.separator)
  }
}

class ReadLine<E> extends ReadOperation<Uint8Array, E> {
  get name(): string {
    return "readLine"
  }
  attempt(): Outcome<Uint8Array> {
    return this.place.input.readLine()
  }
}

class SkipUntil<E> extends ReadOperation<number, E> {
  get name(): string {
    return "skipUntil"
  }
  constructor(place: WaitingPlace, private readonly separator: Separator, private readonly since: number) {
    super(place)
  }
  attempt(): Outcome<number> {
    return this.place.input.skipUntil(this.separator, this.since)
  }
}

/** How what a source fails with becomes the failure of a read. */
export type OnFailure<F, E> = (failure: F, remoteAddress: Address | undefined) => Exit.Exit<never, E>

/** @internal */
export class StreamReaderImpl<F, E> implements Api.StreamReader<E>, Faults<any> {
  readonly place: WaitingPlace
  readonly readLine: Effect.Effect<Uint8Array, LimitOverrunError | E>
  /** What `Framing` keeps here: the reads of the framing that was asked for last, for they mostly come again. */
  frames: object | undefined = undefined

  constructor(
    readonly input: InputBuffer<F>,
    private readonly onFailure: OnFailure<F, E>,
    readonly remoteAddress: Address | undefined
  ) {
    this.place = new WaitingPlace(input, this)
    this.readLine = new ReadLine<LimitOverrunError | E>(this.place)
  }

  get [TypeId](): Api.TypeId {
    return TypeId
  }

  onFault(fault: ReadFault, operation: string): Exit.Exit<never, any> {
    const remoteAddress = Option.fromNullable(this.remoteAddress)
    return fault instanceof Incomplete
      ? Exit.fail(
        new IncompleteReadError({
          partial: fault.partial,
          expected: Option.fromNullable(fault.expected),
          operation,
          remoteAddress
        })
      )
      : fault instanceof Overrun
      ? Exit.fail(
        new LimitOverrunError({
          consumed: fault.consumed,
          limit: fault.limit,
          found: fault.found,
          operation,
          remoteAddress
        })
      )
      : this.onFailure(this.input.failure as F, this.remoteAddress)
  }

  get limit(): number {
    return this.input.limit
  }

  read(n: number): Effect.Effect<Uint8Array, E> {
    const problem = argument.count("read: n", n)
    return problem === undefined ? new Read(this.place, n) : argument.illegal(problem)
  }

  readAll(
    options?: { readonly maxBytes?: number | undefined } | undefined
  ): Effect.Effect<Uint8Array, LimitOverrunError | E> {
    const maxBytes = options?.maxBytes ?? Infinity
    const problem = maxBytes === Infinity ? undefined : argument.count("readAll: maxBytes", maxBytes)
    return problem === undefined ? new ReadAll(this.place, maxBytes) : argument.illegal(problem)
  }

  /** The last read of no more than a header: such a one mostly comes again. */
  private header: ReadExactly<IncompleteReadError | E> | undefined = undefined

  readExactly(n: number): Effect.Effect<Uint8Array, IncompleteReadError | E> {
    if (this.header?.n === n) {
      return this.header
    }
    const problem = argument.count("readExactly: n", n)
    if (problem !== undefined) {
      return argument.illegal(problem)
    }
    const read = new ReadExactly<IncompleteReadError | E>(this.place, n)
    if (n <= largestHeader) {
      this.header = read
    }
    return read
  }

  readUntil(input: Api.Separator): Effect.Effect<Uint8Array, IncompleteReadError | LimitOverrunError | E> {
    const problem = separatorProblem(input)
    return problem === undefined
      ? new ReadUntil(this.place, separator(input))
      : argument.illegal(`readUntil: ${problem}`)
  }

  get atEof(): Effect.Effect<boolean> {
    return Effect.sync(() => this.input.atEof)
  }

  peek(n: number): Effect.Effect<Uint8Array, E> {
    const problem = argument.count("peek: n", n)
    return problem === undefined ? new Peek(this.place, n) : argument.illegal(problem)
  }

  unread(bytes: Uint8Array): Effect.Effect<void> {
    const problem = argument.bytes("unread: bytes", bytes)
    return problem === undefined ? Effect.sync(() => this.input.unread(bytes)) : argument.illegal(problem)
  }

  skipUntil(input: Api.Separator): Effect.Effect<number, IncompleteReadError | E> {
    const problem = separatorProblem(input)
    if (problem !== undefined) {
      return argument.illegal(`skipUntil: ${problem}`)
    }
    const compiled = separator(input)
    // The count begins when the effect does, each time it is run.
    return Effect.suspend(() => new SkipUntil<IncompleteReadError | E>(this.place, compiled, this.input.queue.position))
  }

  readInto(buffer: Uint8Array): Effect.Effect<number, E> {
    const problem = argument.bytes("readInto: buffer", buffer)
    return problem === undefined ? new ReadInto(this.place, buffer) : argument.illegal(problem)
  }

  forEachLine<E2 = never, R2 = never>(
    f: (line: string) => Effect.Effect<unknown, E2, R2> | void,
    options?: Omit<Api.LinesOptions, "readAhead"> | undefined
  ): Effect.Effect<void, LimitOverrunError | IncompleteReadError | E | E2, R2> {
    return forEachLine(this.place, f, options ?? {}, () => new TextLines(this.input, options ?? {}))
  }

  get bytes(): Stream.Stream<Uint8Array, E> {
    return bytesStream(this.place)
  }

  lines(options?: Api.LinesOptions | undefined): Stream.Stream<string, any> {
    return linesStream(this.place, "lines", options ?? {}, () => new TextLines(this.input, options ?? {}))
  }

  byteLines(options?: Api.ByteLinesOptions | undefined): Stream.Stream<Uint8Array, any> {
    return linesStream(this.place, "byteLines", options ?? {}, () => new ByteLines(this.input, options ?? {}))
  }

  private reads: NumberReads<E> | undefined = undefined
  private get numbers(): NumberReads<E> {
    return this.reads ??= new NumberReads<E>(this.place)
  }
  get readUint8(): Api.ReadNumber<number, E> {
    return this.numbers.readUint8
  }
  get readInt8(): Api.ReadNumber<number, E> {
    return this.numbers.readInt8
  }
  get readUint16(): Api.ReadNumber<number, E> {
    return this.numbers.readUint16
  }
  get readInt16(): Api.ReadNumber<number, E> {
    return this.numbers.readInt16
  }
  get readUint32(): Api.ReadNumber<number, E> {
    return this.numbers.readUint32
  }
  get readInt32(): Api.ReadNumber<number, E> {
    return this.numbers.readInt32
  }
  get readBigUint64(): Api.ReadNumber<bigint, E> {
    return this.numbers.readBigUint64
  }
  get readBigInt64(): Api.ReadNumber<bigint, E> {
    return this.numbers.readBigInt64
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}

const ignorePause: Source = { pause: () => {}, resume: () => {} }

/** @internal */
export const make = <E = never>(
  options?: Api.Options | undefined
): Effect.Effect<{ readonly reader: Api.StreamReader<E>; readonly feed: Api.Feed<E> }> => {
  const problem = argument.positive("limit", options?.limit)
  return problem !== undefined ? argument.illegal(problem) : Effect.sync(() => {
    const input = new InputBuffer<E>(options?.limit ?? defaultLimit, ignorePause)
    return {
      reader: new StreamReaderImpl<E, E>(input, (error) => Exit.fail(error), undefined),
      feed: {
        data: (bytes) =>
          Effect.suspend(() => {
            const problem = argument.bytes("feed.data: bytes", bytes)
            return problem !== undefined
              ? argument.illegal(problem)
              : input.end === "open"
              ? (input.push(bytes), Effect.void)
              : Effect.dieMessage(`feed.data: the stream has ended, got ${bytes.length} more bytes`)
          }),
        eof: Effect.sync(() => input.pushEof()),
        fail: (error) => Effect.sync(() => input.pushFailure(error))
      }
    }
  })
}

const scopeClosed = Cause.die(new Cause.RuntimeException("the scope of this reader, made by fromStream, is closed"))
const interrupted = Cause.die(
  new Cause.RuntimeException("the stream of this reader, made by fromStream, was interrupted by something within it")
)

/** @internal */
export const fromStream = <E, R>(
  stream: Stream.Stream<Uint8Array, E, R>,
  options?: Api.Options | undefined
): Effect.Effect<Api.StreamReader<E>, never, Scope.Scope | R> => {
  const problem = argument.positive("limit", options?.limit)
  if (problem !== undefined) {
    return argument.illegal(problem)
  }
  return Effect.gen(function*() {
    const limit = options?.limit ?? defaultLimit
    // Closed until the first read, and while the buffer is full.
    const gate = Effect.unsafeMakeLatch(false)
    const input = new InputBuffer<Cause.Cause<E>>(limit, {
      pause: () => gate.unsafeClose(),
      resume: () => gate.unsafeOpen()
    })
    input.paused = true
    yield* gate.await.pipe(
      Effect.zipRight(Stream.runForEach(stream, (bytes) => {
        const problem = argument.bytes("fromStream: what the stream emits", bytes)
        if (problem !== undefined) {
          return argument.illegal(problem)
        }
        input.push(bytes)
        return gate.await
      })),
      Effect.interruptible,
      Effect.onExit((exit) =>
        Effect.sync(() =>
          Exit.isSuccess(exit)
            ? input.pushEof()
            // Whoever reads was not interrupted.
            : input.pushFailure(Cause.isInterruptedOnly(exit.cause) ? interrupted : exit.cause)
        )
      ),
      Effect.forkScoped,
      // Runs before the one that interrupts the fiber.
      Effect.zipRight(Effect.addFinalizer(() => Effect.sync(() => input.pushFailure(scopeClosed)))),
      Effect.uninterruptible
    )
    return new StreamReaderImpl<Cause.Cause<E>, E>(input, (cause) => Exit.failCause(cause), undefined)
  })
}
