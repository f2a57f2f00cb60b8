/**
 * What is noted of a network's connections, and how it is written down.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Address from "../../Address.js"
import type * as Api from "../../TestNetwork.js"
import type { Bytes } from "../bytes.js"
import type { Timeline } from "../timeline.js"

const nothing = new Uint8Array(0)

/** What the recorder needs to know of a link. */
interface Noted {
  readonly number: number
  readonly timeline: Timeline
  readonly ends: readonly [{ readonly localAddress: Address.Address; readonly remoteAddress: Address.Address }, unknown]
}

/** @internal */
export class Recorder {
  private readonly events: Array<Api.TranscriptEvent> = []

  /** When the network was made, by the clock of whoever made it. */
  private readonly startedAt: number

  constructor(private readonly timeline: Timeline) {
    this.startedAt = timeline.now()
  }

  note(
    link: Noted,
    by: "client" | "server",
    what: Api.TranscriptEvent["what"],
    bytes: Bytes = nothing,
    code?: string | undefined
  ): void {
    const { ends: [client], timeline } = link
    const start = timeline === this.timeline ? this.startedAt : timeline.origin
    this.events.push({
      at: Duration.millis(timeline.now() - start),
      connection: link.number,
      client: client.localAddress,
      server: client.remoteAddress,
      by,
      what,
      // A copy: these are the program's, who may put them to other use.
      bytes: new Uint8Array(bytes),
      code: Option.fromNullable(code)
    })
  }

  get transcript(): Api.Transcript {
    return new TranscriptImpl(this.events.slice())
  }
}

class TranscriptImpl implements Api.Transcript {
  constructor(readonly events: ReadonlyArray<Api.TranscriptEvent>) {}

  format({ maxBytes = 120, received = true }: Api.TranscriptFormat = {}): string {
    const shown = received
      ? this.events
      : this.events.filter(({ what }) => what !== "receives" && what !== "sees the end" && what !== "is reset")
    const times = shown.map(({ at }) => `${Number(Duration.toMillis(at).toFixed(3))} ms`)
    const width = Math.max(0, ...times.map((time) => time.length))
    return shown
      .map((event, i) => `${times[i]!.padStart(width)}  #${event.connection} ${event.by} ${describe(event, maxBytes)}`)
      .join("\n")
  }

  toString(): string {
    return this.format()
  }
}

const describe = (event: Api.TranscriptEvent, maxBytes: number): string => {
  switch (event.what) {
    case "dials":
      return `dials ${Address.format(event.server)} from ${Address.format(event.client)}`
    case "fails":
      return `fails to connect: ${Option.getOrElse(event.code, () => "given up")}`
    case "sends":
    case "receives":
      return `${event.what} ${event.bytes.length} byte${event.bytes.length === 1 ? "" : "s"}: ${
        quote(event.bytes, maxBytes)
      }`
    default:
      return event.what
  }
}

const escapes: Readonly<Record<number, string>> = { 9: "\\t", 10: "\\n", 13: "\\r", 34: "\\\"", 92: "\\\\" }

/** Bytes as a person reads them: ASCII as it is, the rest by number. */
export const quote = (bytes: Bytes, maxBytes: number): string => {
  let text = ""
  for (const byte of bytes.subarray(0, maxBytes)) {
    text += escapes[byte] ??
      (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`)
  }
  return `"${text}"${bytes.length > maxBytes ? "…" : ""}`
}
