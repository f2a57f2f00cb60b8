/**
 * The server's side: what it does with one connection. TCP and Unix sockets run the same handler.
 */
import { Effect } from "effect"
import type { Connection } from "effect-netstreams"
import type { Catalog } from "./Catalog.js"
import * as Protocol from "./Protocol.js"

export const handler = (catalog: Catalog) => ({ reader, writer }: Connection.Connection) => {
  const refuse = (reason: string) => writer.write(`ERR ${reason}\n`)

  // A large file does not fit into the write buffer: the write waits until the client has read most of it.
  const answer = Protocol.Request.$match({
    List: () => writer.writeAll([`OK ${catalog.size}\n`, ...Array.from(catalog.keys(), (name) => `${name}\n`)]),
    Get: ({ name }) => {
      const entry = catalog.get(name)
      return entry === undefined
        ? refuse("no such file")
        : writer.writeAll([`OK ${entry.bytes.length} ${entry.sha256}\n`, entry.bytes])
    },
    Unknown: () => refuse("no such command")
  })

  // One request and its answer; false at the end of the client's side.
  const next = reader.readLine.pipe(
    Effect.flatMap((line) => line.length === 0 ? Effect.succeed(false) : Effect.as(answer(Protocol.parse(line)), true)),
    // The line is still there, whole. It is let go, and what follows it is read as if nothing had been.
    Effect.catchTag("LimitOverrunError", () =>
      reader.skipUntil("\n").pipe(
        Effect.zipRight(refuse(`a request has at most ${Protocol.longestRequest} bytes`)),
        Effect.as(true)
      ))
  )

  return Effect.repeat(next, { while: (more) => more })
}
