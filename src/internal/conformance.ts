import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type * as Api from "../Conformance.js"
import type * as Connection from "../Connection.js"
import type * as StreamReader from "../StreamReader.js"
import type { ConformanceError } from "./conformance/conformanceError.js"
import * as connectionCases from "./conformance/connectionCases.js"
import * as readerCases from "./conformance/readerCases.js"
import { type InScope, type Settings, settings, Trial } from "./conformance/trial.js"

const release = "what a scope ends is over in bounded time"

/** Runs a case in a scope of its own, whose end is waited for no longer than anything else. */
const run = <E, R>(
  name: string,
  rule: string,
  settings: Settings,
  body: (t: Trial, scope: Scope.CloseableScope) => Effect.Effect<void, E | ConformanceError, R>,
  beforeClose: () => Effect.Effect<void>
): Effect.Effect<void, E | ConformanceError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const trial = new Trial(name, rule, settings)
      // What a case makes is closed at once, not one after the other: closing may take a moment.
      const scope = yield* Scope.make(ExecutionStrategy.parallel)
      const exit = yield* Effect.exit(restore(body(trial, scope)))
      yield* trial.stop
      const closed = yield* Effect.exit(
        new Trial(name, release, settings).exit(
          "the end of the scope in which the case ran",
          Effect.zipRight(beforeClose(), Scope.close(scope, Exit.void))
        )
      )
      return yield* Exit.isFailure(exit) ? exit : Effect.asVoid(closed)
    })
  )

const endsOf = (pair: Api.Pair): { readonly left: connectionCases.End; readonly right: connectionCases.End } => {
  const { left, right } = "left" in pair ? pair : { left: pair[0], right: pair[1] }
  const end = (name: string, connection: Connection.Connection): connectionCases.End => ({
    name,
    connection,
    reader: connection.reader,
    writer: connection.writer
  })
  return { left: end("left", left), right: end("right", right) }
}

/** @internal */
export const connection = <E, R>(
  makePair: Api.MakePair<E, R>,
  options: Api.ConnectionOptions = {}
): ReadonlyArray<Api.Case<E, InScope<R>>> => {
  const takesOptions = !Effect.isEffect(makePair)
  const make = (wanted: Connection.Options): Effect.Effect<Api.Pair, E, R> =>
    Effect.isEffect(makePair) ? makePair : makePair(wanted)
  const means: connectionCases.Means = {
    seed: options.seed ?? 1,
    size: options.size ?? 1024 * 1024,
    inFlight: options.inFlight ?? 32 * 1024 * 1024,
    closeTimeout: takesOptions
      ? connectionCases.shortCloseTimeout
      : Duration.toMillis(options.closeTimeout ?? Duration.seconds(30))
  }
  const able = { halfClose: options.halfClose ?? true, reset: options.reset ?? true }
  const has = { ...able, noReset: !able.reset }
  const common = settings(options)
  return connectionCases.definitions
    .filter(({ needs }) => needs === undefined || has[needs])
    .flatMap((definition) =>
      (["left", "right"] as const).map((side) => {
        const name = `${definition.name} (${side})`
        return {
          name,
          rule: definition.rule,
          run: Effect.suspend(() => {
            let ends: ReturnType<typeof endsOf> | undefined
            return run<E, InScope<R>>(
              name,
              definition.rule,
              common,
              (trial, scope) =>
                Effect.gen(function*() {
                  const pair = yield* trial.acquire(
                    "makePair",
                    Scope.extend(make(definition.options?.(means) ?? {}), scope)
                  )
                  ends = endsOf(pair)
                  yield* definition.body(
                    trial,
                    ends[side],
                    ends[side === "left" ? "right" : "left"],
                    means
                  )
                }),
              // Closing one after the other, in order, each would wait for the other.
              () =>
                ends === undefined ? Effect.void : Effect.all(
                  [ends.left.connection.abort, ends.right.connection.abort],
                  { concurrency: 2, discard: true }
                )
            )
          })
        }
      })
    )
}

/** @internal */
export const reader = <E, E2, R>(
  makeReader: Api.MakeReader<E, E2, R>,
  options: Api.ReaderOptions<E> = {}
): ReadonlyArray<Api.Case<E2, InScope<R>>> => {
  const common = settings(options)
  return readerCases.definitions
    .filter(({ needs }) => needs === undefined || options.failure !== undefined)
    .map(({ body, name, rule }) => ({
      name,
      rule,
      run: run<E2, InScope<R>>(
        name,
        rule,
        common,
        (trial, scope) =>
          Effect.flatMap(Effect.context<InScope<R>>(), (context) => {
            const make = (wanted: StreamReader.Options): Effect.Effect<readerCases.Fed, ConformanceError> =>
              Effect.flatMap(
                Scope.fork(scope, ExecutionStrategy.sequential),
                (scope) => trial.acquire("makeReader", Scope.extend(makeReader(wanted), scope))
              ).pipe(
                Effect.provide(context)
              ) as Effect.Effect<readerCases.Fed, ConformanceError>
            return body(trial, make, options.seed ?? 1, options.failure)
          }),
        () => Effect.void
      )
    }))
}
