import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import { temporaryDirectory } from "./nodePeers.js"

/** A directory for the length of the scope, with a name that a socket's path has room for. */
export const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => Fs.realpathSync(temporaryDirectory())),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)
