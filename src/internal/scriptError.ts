import * as Data from "effect/Data"

/**
 * A script was not met.
 *
 * @since 0.1.0
 * @category errors
 */
export class ScriptError extends Data.TaggedError("ScriptError")<{
  readonly step: number
  readonly found: string
  readonly transcript: string
  readonly remaining: ReadonlyArray<string>
}> {
  override get message(): string {
    return [
      `the script was not met: ${this.found}`,
      `what has happened:\n${this.transcript}`,
      ...(this.remaining.length === 0 ? [] : [
        `what is left of the script:\n${this.remaining.map((step, i) => `  ${this.step + i}. ${step}`).join("\n")}`
      ])
    ].join("\n")
  }
}
