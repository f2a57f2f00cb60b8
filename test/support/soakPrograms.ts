/** The programs of `test/soak` for as long as a scope lives. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ListenOptions } from "../../src/Network.js"
import { Clients, RunningServer } from "../soak/running.js"

export const startServer = (
  listen: ListenOptions,
  options?: { readonly limitFiles?: number }
): Effect.Effect<RunningServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => RunningServer.start(listen, options)),
    (server) => Effect.promise(() => server.kill())
  )

export const startClients: Effect.Effect<Clients, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() => Clients.start()),
  (clients) => Effect.promise(() => clients.kill())
)
