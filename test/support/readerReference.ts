/**
 * What every read has to give, said as naively as can be: one string, one character a byte, searched from its beginning
 * each time. The byte machine is tested in step with it.
 *
 * An outcome is a text, to be compared and printed.
 */
export type End = "open" | "eof" | "failed"

export const value = (bytes: string | number): string => JSON.stringify(bytes)
export const incomplete = (partial: string, expected?: number): string =>
  `incomplete ${value(partial)} of ${expected ?? "any"}`
export const overrun = (consumed: number, limit: number, found: boolean): string =>
  `overrun at ${consumed} of ${limit}, ${found ? "found" : "not found"}`
export const failed = "failed"
export const waits = "waits"

/** The match that ends first, and of those that end together the longest. */
export const firstMatch = (
  text: string,
  separators: ReadonlyArray<string>
): { start: number; end: number } | undefined => {
  for (let end = 1; end <= text.length; end++) {
    const starts = separators.filter((one) => text.slice(0, end).endsWith(one)).map((one) => end - one.length)
    if (starts.length > 0) {
      return { start: Math.min(...starts), end }
    }
  }
  return undefined
}

export class ReaderReference {
  /** What has arrived and was not read. */
  rest = ""
  /** How much was ever read, and not put back. */
  position = 0
  end: End = "open"
  readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  /** What a read comes to that lacks something. */
  private lacking(atEof: () => string): string {
    return this.end === "eof" ? atEof() : this.end === "failed" ? failed : waits
  }

  private take(n: number): string {
    const bytes = this.rest.slice(0, n)
    this.rest = this.rest.slice(n)
    this.position += bytes.length
    return bytes
  }

  unread(bytes: string): void {
    this.rest = bytes + this.rest
    this.position -= bytes.length
  }

  get atEof(): boolean {
    return this.end === "eof" && this.rest === ""
  }

  /** As many as there are. Where chunks are long, fewer would be right as well. */
  read(max: number): string {
    return max === 0 || this.rest !== "" ? value(this.take(max)) : this.lacking(() => value(""))
  }

  readInto(size: number): string {
    return size === 0 || this.rest !== ""
      ? `${value(Math.min(size, this.rest.length))} ${value(this.take(size))}`
      : this.lacking(() => `0 ""`)
  }

  readAll(maxBytes: number): string {
    return this.rest.length > maxBytes
      ? overrun(maxBytes, maxBytes, false)
      : this.lacking(() => value(this.take(this.rest.length)))
  }

  readExactly(n: number): string {
    return this.rest.length >= n
      ? value(this.take(n))
      : this.lacking(() => incomplete(this.take(n), n))
  }

  has(n: number): string {
    return this.rest.length >= n ? "true" : this.lacking(() => incomplete(this.take(n), n))
  }

  peek(n: number): string {
    return this.rest.length >= n ? value(this.rest.slice(0, n)) : this.lacking(() => value(this.rest))
  }

  readUntil(separators: ReadonlyArray<string>, atEof: (partial: string) => string = incomplete): string {
    const match = firstMatch(this.rest, separators)
    if (match !== undefined) {
      return match.start > this.limit ? overrun(match.start, this.limit, true) : value(this.take(match.end))
    }
    const safe = this.rest.length + 1 - longest(separators)
    return safe > this.limit
      ? overrun(safe, this.limit, false)
      : this.lacking(() => atEof(this.take(this.rest.length)))
  }

  readLine(): string {
    return this.readUntil(["\n"], value)
  }

  /** The one read that consumes while it waits. */
  skipUntil(separators: ReadonlyArray<string>, since: number): string {
    const match = firstMatch(this.rest, separators)
    if (match !== undefined) {
      this.take(match.end)
      return value(this.position - since)
    }
    this.take(Math.max(0, this.rest.length + 1 - longest(separators)))
    return this.lacking(() => incomplete(this.take(this.rest.length)))
  }
}

const longest = (separators: ReadonlyArray<string>): number => Math.max(...separators.map((one) => one.length))
