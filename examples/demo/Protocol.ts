/**
 * What client and server say to each other. A request is a line; so is the head of a response, which says how much
 * follows.
 *
 *     LIST\n      →  OK <count>\n             and <count> names, a line each
 *     GET name\n  →  OK <length> <sha256>\n   and <length> bytes
 *     anything    →  ERR <reason>\n           and the connection goes on
 */
import { Data } from "effect"

/** More than any request needs. The server's readers have it as their limit. */
export const longestRequest = 1024

export type Request = Data.TaggedEnum<{
  List: {}
  Get: { readonly name: string }
  Unknown: {}
}>
export const Request = Data.taggedEnum<Request>()

/** The request in a line, which ends with `\n`. */
export const parse = (line: Uint8Array): Request => {
  const [, command, name] = /^([A-Z]+)(?: (.+))?\n$/.exec(new TextDecoder().decode(line)) ?? []
  return command === "LIST" && name === undefined
    ? Request.List()
    : command === "GET" && name !== undefined
    ? Request.Get({ name })
    : Request.Unknown()
}

/** The server said no. */
export class Refused extends Data.TaggedError("Refused")<{ readonly request: string; readonly reason: string }> {
  override get message(): string {
    return `${this.request}: the server refused: ${this.reason}`
  }
}

/** The peer said something that is not in the protocol. */
export class ProtocolError
  extends Data.TaggedError("ProtocolError")<{ readonly request: string; readonly got: string }>
{
  override get message(): string {
    return `${this.request}: ${JSON.stringify(this.got)} is no response to that`
  }
}

/** What arrived is not what the server said it would be. */
export class Mismatch extends Data.TaggedError("Mismatch")<{
  readonly name: string
  readonly expected: string
  readonly actual: string
}> {
  override get message(): string {
    return `${this.name} arrived with the SHA-256 ${this.actual}, and should have ${this.expected}`
  }
}
