/**
 * The client's side: the protocol over one connection, one request after the other.
 */
import { Effect } from "effect"
import type { Connection } from "effect-netstreams"
import { createHash } from "node:crypto"
import * as Protocol from "./Protocol.js"

/** A file is read in pieces of this size, so that it need not fit into memory. */
const pieceSize = 256 * 1024

const decoder = new TextDecoder()

export const make = ({ reader, writer }: Connection.Connection) => {
  const readText = Effect.map(reader.readLine, (line) => decoder.decode(line).replace(/\n$/, ""))

  /** Sends a request, and returns the words of the response's first line. */
  const ask = (request: string) =>
    Effect.gen(function*() {
      yield* writer.write(`${request}\n`)
      const head = yield* readText
      const [status, ...words] = head.split(" ")
      return status === "OK"
        ? words
        : yield* status === "ERR"
          ? new Protocol.Refused({ request, reason: words.join(" ") })
          : new Protocol.ProtocolError({ request, got: head })
    })

  /** Sends a request whose response begins with a number. */
  const askHowMuch = (request: string) =>
    Effect.flatMap(ask(request), ([number = "", ...words]) =>
      /^\d+$/.test(number)
        ? Effect.succeed([Number(number), ...words] as const)
        : new Protocol.ProtocolError({ request, got: number }))

  /** The names of all files. */
  const list = Effect.gen(function*() {
    const [count] = yield* askHowMuch("LIST")
    return yield* Effect.replicateEffect(readText, count)
  })

  /** Fetches a file and checks it against the digest that came with it. `onPiece` is told of every piece's length. */
  const get = (name: string, onPiece: (length: number) => Effect.Effect<void>) =>
    Effect.gen(function*() {
      const [length, expected = ""] = yield* askHowMuch(`GET ${name}`)
      const hash = createHash("sha256")
      let left = length
      while (left > 0) {
        const piece = yield* reader.readExactly(Math.min(left, pieceSize))
        hash.update(piece)
        left -= piece.length
        yield* onPiece(piece.length)
      }
      const actual = hash.digest("hex")
      if (actual !== expected) {
        return yield* new Protocol.Mismatch({ name, expected, actual })
      }
    })

  return { ask, list, get }
}

export type Client = ReturnType<typeof make>
