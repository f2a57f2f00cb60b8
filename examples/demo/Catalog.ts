/**
 * The files that are served: a name, its bytes and their digest. They are read once, so that what is sent is what the
 * digest was made of, whoever edits a file meanwhile.
 *
 * A request is answered from here and its name is never made a path, so no name leads out of the directory. A symbolic
 * link that does is left out.
 */
import { FileSystem, Path } from "@effect/platform"
import { Effect } from "effect"
import { createHash } from "node:crypto"

export interface Entry {
  /** Relative to the root, with slashes. */
  readonly name: string
  readonly bytes: Uint8Array
  readonly sha256: string
}

export type Catalog = ReadonlyMap<string, Entry>

/** The files below `root` that `included` names, themselves or by their directory. What does not exist is left out. */
export const load = (root: string, included: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const realRoot = yield* fs.realPath(root)

    const filesOf = (name: string) =>
      Effect.gen(function*() {
        const place = path.join(root, name)
        if (!(yield* fs.exists(place))) {
          return []
        }
        return (yield* fs.stat(place)).type === "Directory"
          ? (yield* fs.readDirectory(place, { recursive: true })).map((below) => path.join(name, below))
          : [name]
      })

    const entryOf = (relative: string) =>
      Effect.gen(function*() {
        const file = yield* fs.realPath(path.join(root, relative))
        const { type } = yield* fs.stat(file)
        if (type !== "File" || !file.startsWith(realRoot + path.sep)) {
          return []
        }
        const bytes = yield* fs.readFile(file)
        const entry: Entry = {
          name: relative.split(path.sep).join("/"),
          bytes,
          sha256: createHash("sha256").update(bytes).digest("hex")
        }
        return [entry]
      }).pipe(
        // An editor's temporary file that is gone again.
        Effect.catchIf(
          (error) => error._tag === "SystemError" && error.reason === "NotFound",
          () => Effect.succeed([])
        )
      )

    const names = (yield* Effect.forEach(included, filesOf)).flat()
    const entries = (yield* Effect.forEach(names, entryOf, { concurrency: 8 })).flat()
    const catalog: Catalog = new Map(entries.map((entry) => [entry.name, entry]))
    return catalog
  })
