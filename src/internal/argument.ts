/** Arguments that can't be right are defects, and say so at once. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { isBytes } from "./bytes.js"

const show = (value: unknown): string => typeof value === "string" ? JSON.stringify(value) : String(value)

/** What is wrong with an argument, or `undefined`. */
export type Problem = string | undefined

export const illegal = (problem: string): Effect.Effect<never> =>
  Effect.die(new Cause.IllegalArgumentException(problem))

/** `undefined` where all is well, else the defect. */
export const check = (...problems: ReadonlyArray<Problem>): Effect.Effect<void> => {
  const problem = problems.find((problem) => problem !== undefined)
  return problem === undefined ? Effect.void : illegal(problem)
}

/** For what can't be left out. */
export const given = (name: string, value: unknown): Problem =>
  value === undefined || value === null ? `${name} must be given, got ${show(value)}` : undefined

const integer = (name: string, value: unknown, min: number, max: number, meaning: string): Problem =>
  typeof value === "number" && Number.isInteger(value) && value >= min && value <= max
    ? undefined
    : `${name} must be ${meaning}, got ${show(value)}`

export const bytes = (name: string, value: unknown): Problem =>
  isBytes(value) ? undefined : `${name} must be a Uint8Array, got ${typeof value}`

/** A number of bytes to read. */
export const count = (name: string, value: number): Problem =>
  integer(name, value, 0, Number.MAX_SAFE_INTEGER, "a whole number of bytes, 0 or more")

export const positive = (name: string, value: number | undefined): Problem =>
  value === undefined ? undefined : integer(name, value, 1, Number.MAX_SAFE_INTEGER, "a whole number, 1 or more")

export const notNegative = (name: string, value: number | undefined): Problem =>
  value === undefined ? undefined : integer(name, value, 0, Number.MAX_SAFE_INTEGER, "a whole number, 0 or more")

export const port = (name: string, value: number | undefined): Problem =>
  value === undefined ? undefined : integer(name, value, 0, 65_535, "a port, 0 to 65535")

export const fileMode = (name: string, value: number | undefined): Problem =>
  value === undefined ? undefined : integer(name, value, 0, 0o777, "file permissions, 0o000 to 0o777")

/** `ADDRCONFIG`, `V4MAPPED` and `ALL` of `node:dns` together, on Linux and elsewhere. */
const allHints = [0x20 | 0x08 | 0x10, 0x400 | 0x800 | 0x100]

export const lookupHints = (value: number | undefined, all: ReadonlyArray<number> = allHints): Problem =>
  value === undefined || all.some((all) => value >= 0 && value <= all && (value & all) === value)
    ? undefined
    : `lookupHints must be made of dns.ADDRCONFIG, dns.V4MAPPED and dns.ALL, got ${show(value)}`

export const oneOf = (name: string, value: unknown, allowed: ReadonlyArray<unknown>): Problem =>
  value === undefined || allowed.includes(value)
    ? undefined
    : `${name} must be ${allowed.map(show).join(" or ")}, got ${show(value)}`

export const notEmpty = (name: string, value: string | undefined): Problem =>
  value === undefined || (typeof value === "string" && value.length > 0)
    ? undefined
    : `${name} must not be empty, got ${show(value)}`

/** A name or a numeric address. Who looks it up takes a NUL for its end, and would find another host. */
export const host = (name: string, value: string | undefined): Problem =>
  notEmpty(name, value) ??
    (value?.includes("\0") === true ? `${name} must not contain a NUL, got ${show(value)}` : undefined)

/** `0 seconds` and `Duration.infinity` are durations like any other. `Duration` itself takes what is negative for zero. */
export const duration = (name: string, value: Duration.DurationInput | undefined): Problem =>
  value === undefined || (Option.isSome(Duration.decodeUnknown(value)) && !isNegative(value))
    ? undefined
    : `${name} must be a duration, 0 or longer, got ${show(value)}`

/** A time limit: `Duration.infinity` is none, and zero would leave no time at all. */
export const timeLimit = (name: string, value: Duration.DurationInput | undefined): Problem =>
  value === undefined || (duration(name, value) === undefined && Duration.toMillis(value) > 0)
    ? undefined
    : `${name} must be a duration longer than 0, got ${show(value)}`

const isNegative = (value: Duration.DurationInput): boolean =>
  typeof value === "number" || typeof value === "bigint"
    ? !(value >= 0)
    : Array.isArray(value)
    // Seconds and nanoseconds: one may be negative, as long as the whole is not.
    ? !(value[0] + value[1] / 1_000_000_000 >= 0)
    : typeof value === "string" && value.trimStart().startsWith("-")
