import * as Data from "effect/Data"

/**
 * What was tested broke a rule.
 *
 * **Details**
 *
 * `case` is the name of the case, `rule` the rule in words, `found` what was seen instead, and `cause` what was thrown
 * or failed, where something was.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConformanceError extends Data.TaggedError("ConformanceError")<{
  readonly case: string
  readonly rule: string
  readonly found: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `the rule "${this.rule}" is broken: ${this.found} (case "${this.case}")`
  }
}
