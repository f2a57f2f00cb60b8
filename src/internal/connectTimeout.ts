/**
 * One time limit over all that it takes to connect, which says in its error how far things had come.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { type ConnectAttempt, ConnectError } from "../NetworkError.js"
import type { Restore } from "../Transport.js"
import { asyncOwnedWithin, Background } from "./background.js"

const phases = {
  lookup: "during name lookup",
  tcp: "while connecting over TCP",
  unix: "while connecting",
  tls: "during the TLS handshake"
}

/**
 * How far a connection in the making has come. Dialling keeps it; who goes on from there sets the phase.
 *
 * @internal
 */
export class Progress {
  phase: keyof typeof phases = "lookup"
  dialling: { readonly report: () => ReadonlyArray<ConnectAttempt> } | undefined = undefined
}

/**
 * The error that a time limit ends with.
 *
 * @internal
 */
export const outOfTime = (target: string, timeout: Duration.Duration, progress: Progress): ConnectError =>
  new ConnectError({
    reason: "TimedOut",
    target,
    attempts: progress.dialling?.report() ?? [],
    detail: Option.some(
      `no connection within ${Duration.format(timeout)}, the time ran out ${phases[progress.phase]}`
    )
  })

/**
 * Puts what `make` does under a time limit.
 *
 * **Details**
 *
 * Without a limit this is `make`, and costs nothing. `close` gets what was made in the very moment in which the caller
 * was interrupted. To be run where nothing interrupts, as `make` is.
 *
 * **Interruption**
 *
 * What `make` puts into its `restore` is interrupted, and waited for. What it holds it frees.
 *
 * @internal
 */
export const withConnectTimeout = <A, E, R>(
  options: {
    readonly target: string
    readonly timeout: Duration.DurationInput | undefined
    readonly close: (made: A) => void
  },
  restore: Restore,
  make: (
    progress: Progress,
    fiber: Fiber.RuntimeFiber<unknown, unknown>,
    restore: Restore
  ) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | ConnectError, R> => {
  const timeout = Duration.decode(options.timeout ?? Duration.infinity)
  if (!Duration.isFinite(timeout)) {
    return Effect.withFiberRuntime((fiber) => make(new Progress(), fiber, restore))
  }
  return Effect.withFiberRuntime((parent) =>
    asyncOwnedWithin<A, E | ConnectError>(restore, (resume) => {
      const background = new Background(parent)
      const progress = new Progress()

      // The context that R asks for is the parent's, which the background runs everything with.
      const fiber = background.forkMasked(
        Effect.withFiberRuntime((fiber) => make(progress, fiber, Effect.interruptible)) as Effect.Effect<A, E>,
        (exit) => resume(background.closeWith(exit))
      )
      const stop = Effect.suspend(() => Effect.zipRight(background.closeWith(Exit.void), Fiber.await(fiber)))

      background.schedule(Duration.toMillis(timeout), () => {
        const error = outOfTime(options.target, timeout, progress)
        resume(Effect.uninterruptible(Effect.flatMap(
          stop,
          (exit): Exit.Exit<A, E | ConnectError> =>
            Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause) ? Exit.fail(error) : exit
        )))
      })

      return Effect.map(stop, (exit) => {
        if (Exit.isSuccess(exit)) {
          options.close(exit.value)
        }
      })
    })
  )
}
