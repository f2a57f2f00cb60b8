/**
 * Readers to be tested: fed in every way, asked in every way, and interrupted.
 *
 * An outcome is a text, in the words of `readerReference`.
 */
import { assert } from "@effect/vitest"
import * as NetworkError from "effect-netstreams/NetworkError"
import * as StreamReader from "effect-netstreams/StreamReader"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { chunkings, latin1, toLatin1 } from "./chunkings.js"
import { type End, failed, incomplete, overrun, value, waits } from "./readerReference.js"

/** What the sources of these tests fail with. */
export const boom = "boom"
export type Boom = typeof boom

export type Reader = StreamReader.StreamReader<Boom>
export type Feed = StreamReader.Feed<Boom>

/** Ends once everything that can run has run, and every fiber waits for something that is not there yet. */
export const settled: Effect.Effect<void> = Effect.async<void>((resume) => {
  let turns = 3
  const turn = () => {
    if (--turns === 0) {
      resume(Effect.void)
    } else {
      setImmediate(turn)
    }
  }
  setImmediate(turn)
})

/** Asks a fiber to end, at once: other than `Fiber.interruptFork`, which first starts a fiber that does so. */
export const interruptNow = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<void> =>
  Effect.sync(() => fiber.unsafeInterruptAsFork(FiberId.none))

/** A fiber that has gone as far as it can. */
export const started = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R> =>
  Effect.zipLeft(Effect.fork(effect), settled)

export const isRunning = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<boolean> =>
  Effect.map(Fiber.poll(fiber), Option.isNone)

const successOf = (success: unknown): string =>
  success instanceof Uint8Array
    ? value(toLatin1(success))
    : Chunk.isChunk(success)
    ? `[${Chunk.toReadonlyArray(success).map(successOf).join(", ")}]`
    : typeof success === "bigint"
    ? `${success}n`
    : success === undefined
    ? "done"
    : JSON.stringify(success)

const failureOf = (error: unknown): string =>
  error === boom
    ? failed
    : error instanceof NetworkError.IncompleteReadError
    ? incomplete(toLatin1(error.partial), Option.getOrUndefined(error.expected))
    : error instanceof NetworkError.LimitOverrunError
    ? overrun(error.consumed, error.limit, error.found)
    : Cause.isTimeoutException(error)
    ? "timed out"
    : `failed with ${String(error)}`

const defectOf = (defect: unknown): string => `dies with ${defect instanceof Error ? defect.name : String(defect)}`

export const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.match(exit, {
    onSuccess: successOf,
    onFailure: (cause) =>
      Cause.isInterruptedOnly(cause)
        ? "interrupted"
        : Option.match(Cause.failureOption(cause), {
          onSome: failureOf,
          onNone: () => defectOf(Option.getOrThrow(Cause.dieOption(cause)))
        })
  })

/** What an effect comes to. */
export const outcome = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), outcomeOf)

/** What a fiber came to, or that it waits. */
export const outcomeOfFiber = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<string> =>
  Effect.map(Fiber.poll(fiber), Option.match({ onNone: () => waits, onSome: outcomeOf }))

/** The defect that an effect dies with. */
export const defect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<unknown, never, R> =>
  Effect.flatMap(Effect.exit(effect), (exit) =>
    Exit.isFailure(exit) && Cause.isDie(exit.cause)
      ? Effect.succeed(Option.getOrThrow(Cause.dieOption(exit.cause)))
      : Effect.die(new Error(`should have died, but: ${outcomeOf(exit)}`)))

/** A reader that was fed a text, one character a byte. */
export const fed = (
  text: string,
  end: End = "open",
  options?: StreamReader.Options
): Effect.Effect<{ readonly reader: Reader; readonly feed: Feed }> =>
  Effect.gen(function*() {
    const made = yield* StreamReader.make<Boom>(options)
    yield* made.feed.data(latin1(text))
    yield* finish(made.feed, end)
    return made
  })

export const finish = (feed: Feed, end: End): Effect.Effect<void> =>
  end === "eof" ? feed.eof : end === "failed" ? feed.fail(boom) : Effect.void

/** Everything that is left in an open reader. */
export const rest = (reader: Reader, feed: Feed): Effect.Effect<string, unknown> =>
  Effect.zipRight(feed.eof, Effect.map(reader.readAll(), toLatin1))

export type Read = (reader: Reader) => Effect.Effect<unknown, unknown>

/** Reads as functions of the reader. */
export const read = (n: number): Read => (reader) => reader.read(n)
export const readAll: Read = (reader) => reader.readAll()
export const readExactly = (n: number): Read => (reader) => reader.readExactly(n)
export const readUntil = (separator: StreamReader.Separator): Read => (reader) => reader.readUntil(separator)
export const readLine: Read = (reader) => reader.readLine
export const peek = (n: number): Read => (reader) => reader.peek(n)
export const unread = (text: string): Read => (reader) => reader.unread(latin1(text))
export const skipUntil = (separator: StreamReader.Separator): Read => (reader) => reader.skipUntil(separator)
export const atEof: Read = (reader) => reader.atEof

/** Bytes, how they end, and what reads, one after another, are to come to. */
export interface Session {
  readonly input: string
  readonly end?: End
  readonly limit?: number
  readonly reads: ReadonlyArray<readonly [read: Read, outcome: string]>
  /** What of an outcome may not depend on the chunks: all of it by default. */
  readonly compare?: (outcome: string) => string
}

type Style = <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** Two ways to run an effect: amid a generator, where a read may complete without the run loop, and by the run loop. */
const styles: ReadonlyArray<readonly [how: string, style: Style]> = [
  ["in a generator", (effect) =>
    Effect.gen(function*() {
      return yield* effect
    })],
  ["by the run loop", (effect) => Effect.map(effect, (result) => result)]
]

type Arrive = (session: Session, chunks: ReadonlyArray<Uint8Array>) => Effect.Effect<
  { readonly reader: Reader; readonly after: Effect.Effect<unknown> },
  never,
  Scope.Scope
>

const feedAndFinish = (
  feed: Feed,
  { end = "eof" }: Session,
  chunks: ReadonlyArray<Uint8Array>,
  between: Effect.Effect<void>
) =>
  Effect.zipRight(
    Effect.forEach(chunks, (chunk) => Effect.zipRight(feed.data(chunk), between), { discard: true }),
    finish(feed, end)
  )

const optionsOf = ({ limit }: Session): StreamReader.Options => ({ limit })

/** When the chunks arrive: before the reads begin, or `after` the first of them waits. */
const arrivals: Record<string, Arrive> = {
  "all before the reads": (session, chunks) =>
    Effect.gen(function*() {
      const { feed, reader } = yield* StreamReader.make<Boom>(optionsOf(session))
      yield* feedAndFinish(feed, session, chunks, Effect.void)
      return { reader, after: Effect.void }
    }),
  "one by one, while a read waits": (session, chunks) =>
    Effect.map(StreamReader.make<Boom>(optionsOf(session)), ({ feed, reader }) => ({
      reader,
      after: feedAndFinish(feed, session, chunks, settled)
    })),
  "all in one tick, while a read waits": (session, chunks) =>
    Effect.map(StreamReader.make<Boom>(optionsOf(session)), ({ feed, reader }) => ({
      reader,
      after: feedAndFinish(feed, session, chunks, Effect.void)
    })),
  "from a stream": (session, chunks) => {
    const { end = "eof" } = session
    const source = Stream.concat(
      Stream.fromIterable(chunks),
      end === "eof" ? Stream.empty : end === "failed" ? Stream.fail<Boom>(boom) : Stream.never
    )
    return Effect.map(StreamReader.fromStream(source, optionsOf(session)), (reader) => ({ reader, after: Effect.void }))
  }
}

const run = (session: Session, arrive: Arrive, style: Style, chunks: ReadonlyArray<Uint8Array>) =>
  Effect.gen(function*() {
    const { after, reader } = yield* arrive(session, chunks)
    const outcomes: Array<string> = []
    const fiber = yield* started(Effect.forEach(
      session.reads,
      ([read]) => Effect.map(outcome(style(Effect.suspend(() => read(reader)))), (one) => outcomes.push(one)),
      { discard: true }
    ))
    yield* after
    yield* settled
    if (yield* isRunning(fiber)) {
      yield* Fiber.interrupt(fiber)
      return [...outcomes, waits]
    }
    return outcomes
  }).pipe(Effect.scoped)

/** Runs a session over all cuts of its input, arriving in every way, read one way or the other in turn. */
export const everyWay = (session: Session): Effect.Effect<void> => {
  const compare = session.compare ?? ((one: string) => one)
  const expected = session.reads.map(([, outcome]) => outcome)
  const runs = chunkings(latin1(session.input), 2).flatMap(({ chunks, name }, i) =>
    Object.entries(arrivals).map(([arrival, arrive], j) => {
      const [how, style] = styles[(i + j) % styles.length]!
      return Effect.map(run(session, arrive, style, chunks), (outcomes) => {
        assert.deepStrictEqual(outcomes.map(compare), expected, `${name}, ${arrival}, ${how}`)
      })
    })
  )
  // They share the turns of the event loop that each waits for.
  return Effect.all(runs, { concurrency: "unbounded", discard: true })
}

/** An overrun is one whatever the cut; how much was seen of it by then, and whether its end, hangs on the cut. */
export const anyOverrun = "overrun"
export const orOverrun = (outcome: string): string => outcome.startsWith(anyOverrun) ? anyOverrun : outcome
