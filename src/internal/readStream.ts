/**
 * The rest of a reader as a `Stream`, or as calls of a function.
 *
 * A channel that writes what is there and comes back for more costs four microseconds a chunk, so a chunk is all the
 * complete lines that have arrived. They have then left the buffer, whatever becomes of the stream: it holds the reader
 * for itself, and gives it back only where it came to its own end.
 */
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import type * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type * as Api from "../StreamReader.js"
import * as argument from "./argument.js"
import * as chunks from "./chunks.js"
import { type Outcome, ReadFault } from "./inputBuffer.js"
import { endOfLines, type LineSplitter, type Pulled } from "./lineSplitter.js"
import { ReadOperation, type WaitingPlace } from "./readOperation.js"
import { encodingProblem } from "./textDecoding.js"

type Output<A, E> = Channel.Channel<Chunk.Chunk<A>, unknown, E, unknown, unknown, unknown>

/** Whatever is there, as one chunk; empty at the end. */
class NextChunk<E> extends ReadOperation<Uint8Array, E> {
  get name(): string {
    return "bytes"
  }
  attempt(): Outcome<Uint8Array> {
    return this.place.input.read(Number.MAX_SAFE_INTEGER)
  }
}

export const bytesStream = <E>(place: WaitingPlace): Stream.Stream<Uint8Array, E> => {
  const next = new NextChunk<E>(place)
  const loop: Output<Uint8Array, E> = Channel.flatMap(
    Channel.fromEffect(next),
    (chunk) => chunk.length === 0 ? Channel.void : Channel.flatMap(Channel.write(chunks.of(chunk)), () => loop)
  )
  return Stream.fromChannel(loop)
}

/** One pull from a splitter, as a read that waits until it gives something. */
class Pull<A, E> extends ReadOperation<A | typeof endOfLines, E> {
  constructor(
    place: WaitingPlace,
    readonly name: string,
    private readonly pull: () => Pulled<A>,
    private readonly ahead: boolean
  ) {
    super(place)
  }
  override get readsAhead(): boolean {
    return this.ahead
  }
  attempt(): Outcome<A | typeof endOfLines> {
    return this.pull()
  }
}

const optionsProblem = (name: string, options: Api.LinesOptions): argument.Problem =>
  argument.positive(`${name}: maxLength`, options.maxLength) ??
    argument.oneOf(`${name}: onOverrun`, options.onOverrun, ["fail", "skip", "truncate"]) ??
    argument.oneOf(`${name}: lastLine`, options.lastLine, ["emit", "drop", "fail"]) ??
    argument.oneOf(`${name}: readAhead`, options.readAhead, [true, false]) ??
    (options.encoding === undefined ? undefined : encodingProblem(options.encoding))

/** @internal */
export const linesStream = <A>(
  place: WaitingPlace,
  name: string,
  options: Api.LinesOptions,
  makeSplitter: () => LineSplitter<A>
): Stream.Stream<A, any> => {
  const problem = optionsProblem(name, options)
  if (problem !== undefined) {
    return Stream.fromEffect(argument.illegal(problem))
  }
  return Stream.fromChannel(Channel.suspend(() => {
    const splitter = makeSplitter()
    return options.readAhead === false
      ? oneByOne<A>(new Pull<A, any>(place, name, () => splitter.next(), false))
      // The first pull is a read like any other, and dies where another stream has the reader.
      : readingAhead<A>(
        place,
        new Pull<ReadonlyArray<A>, any>(place, name, () => splitter.batch(), false),
        new Pull<ReadonlyArray<A>, any>(place, name, () => splitter.batch(), true)
      )
  }))
}

/** One by one, until the effect says that there are no more. */
export const oneByOne = <A>(next: Effect.Effect<A | typeof endOfLines, any, any>): Output<A, any> => {
  const loop: Output<A, any> = Channel.flatMap(
    Channel.fromEffect(next),
    (one) => one === endOfLines ? Channel.void : Channel.flatMap(Channel.write(chunks.of(one)), () => loop)
  ) as Output<A, any>
  return loop
}

/** What a pull gives: several, that there are no more, or what is still to be done to have one. */
type Batch<A> = ReadonlyArray<A> | typeof endOfLines | Effect.Effect<A, any, any>

/** Two pulls of the same: `next` goes on where the reader has been taken over. */
export const readingAhead = <A>(
  place: WaitingPlace,
  first: ReadOperation<Batch<A>, any>,
  next: ReadOperation<Batch<A>, any>
): Output<A, any> => {
  // The stream came to an end of its own, in order or not, so that everything it took has been emitted.
  let ended = false
  const end = Effect.sync(() => {
    ended = true
  })
  const orEnd = <B>(effect: Effect.Effect<B, any, any>): Effect.Effect<B, any, any> =>
    Effect.tapErrorCause(effect, (cause) => Cause.isInterrupted(cause) ? Effect.void : end)
  const emit = (batch: Batch<A>): Output<A, any> => {
    if (batch === endOfLines) {
      ended = true
      return Channel.void
    }
    return Array.isArray(batch)
      ? Channel.flatMap(Channel.write(chunks.fromArray<A>(batch)), loop)
      : Channel.flatMap(
        Channel.fromEffect(orEnd(batch as Effect.Effect<A, any, any>)),
        (one) => Channel.flatMap(Channel.write(chunks.of(one)), loop)
      ) as Output<A, any>
  }
  const wait = (pull: ReadOperation<Batch<A>, any>): Output<A, any> =>
    Channel.flatMap(Channel.fromEffect(orEnd(pull)), emit) as Output<A, any>
  // Made once: of an effect in a channel V8 keeps hold until a full collection (see `suspension.ts`).
  const waitForMore = wait(next)
  const loop = (): Output<A, any> => {
    const batch = next.attempt()
    if (batch instanceof ReadFault) {
      // It is not to be tried again: an unfinished line has been consumed.
      ended = true
      return Channel.fromEffect(next.fail(batch))
    }
    return batch === undefined ? waitForMore : emit(batch)
  }
  return Channel.suspend(() => {
    if (place.takenOver) {
      return wait(first)
    }
    place.takenOver = true
    return Channel.ensuring(
      waitForMore,
      Effect.sync(() => {
        place.takenOver = !ended
      })
    )
  })
}

/** @internal */
export const forEachLine = <E, E2, R2>(
  place: WaitingPlace,
  f: (line: string) => Effect.Effect<unknown, E2, R2> | void,
  options: Api.LinesOptions,
  makeSplitter: () => LineSplitter<string>
): Effect.Effect<void, E | E2, R2> => {
  const problem = optionsProblem("forEachLine", options)
  if (problem !== undefined) {
    return argument.illegal(problem)
  }
  // A function may return anything where nothing is wanted; only an effect stops the loop.
  const call = (line: string): Effect.Effect<unknown, E2, R2> | undefined => {
    const result: unknown = f(line)
    return Effect.isEffect(result) ? result as Effect.Effect<unknown, E2, R2> : undefined
  }
  return Effect.suspend(() => {
    const splitter = makeSplitter()
    const read = new Pull<Effect.Effect<unknown, E2, R2>, E>(place, "forEachLine", () => splitter.forEach(call), false)
    const loop: Effect.Effect<void, E | E2, R2> = Effect.flatMap(
      read,
      (next) => next === endOfLines ? Exit.void : Effect.flatMap(next, () => loop)
    )
    return loop
  })
}
