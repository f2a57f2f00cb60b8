/**
 * How messages lie in a stream of bytes. `framingRead.ts` reads them, `framingWrite.ts` writes them.
 *
 * Theory of operation. A framing is a codec, which finds frames of bytes and is plain and synchronous (`framingCodec.ts`),
 * and a step each way between such bytes and what they stand for. A step gives its result at once, where it can: only a
 * schema that has something to wait for is an effect (`Suspended`), and only a framing with a schema may have one. So a read
 * is one operation of the reader, tried again as a whole until the frame is there, and what is made of the frame is made in
 * the same breath. Where that has to wait, the frame has been taken, and is put back if the wait is interrupted.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as ParseResult from "effect/ParseResult"
import { pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Api from "../Framing.js"
import * as argument from "./argument.js"
import { type Bytes, encodeUtf8, isBytes, toBytes } from "./bytes.js"
import {
  fixedCodec,
  type FrameCodec,
  lengthCodec,
  lineCodec,
  Refusal,
  separatedCodec,
  varintCodec
} from "./framingCodec.js"
import { defaultLimit } from "./streamReader.js"
import { TextDecoding } from "./textDecoding.js"

/** @internal */
export const TypeId: Api.TypeId = Symbol.for("effect-netstreams/Framing") as Api.TypeId

/** @internal */
export const isFraming = (u: unknown): u is Api.Framing<never, unknown, unknown> => hasProperty(u, TypeId)

// ---------------------------------------------------------------------------
// framings
// ---------------------------------------------------------------------------

export type AnyFraming = Api.Framing<any, any, any> | Api.Framing<never, any, any>

/** What is still to be done to have a result. */
export class Suspended {
  constructor(readonly effect: Effect.Effect<any, Refusal, any>) {}
}

/** One step of the way between bytes and a value: gives a result, a `Refusal` or a `Suspended`. */
type Step = (value: any) => unknown

export const settled = (result: unknown): Effect.Effect<unknown, Refusal, any> =>
  result instanceof Suspended
    ? result.effect
    : result instanceof Refusal
    ? Exit.fail(result)
    : Exit.succeed(result)

const andThen = (first: Step | undefined, second: Step): Step =>
  first === undefined ? second : (value) => {
    const result = first(value)
    return result instanceof Suspended
      ? new Suspended(Effect.flatMap(result.effect, (value) => settled(second(value))))
      : result instanceof Refusal
      ? result
      : second(result)
  }

const variance = { _In: (_: any) => _, _Out: (_: never) => _, _R: (_: never) => _ }

export class FramingImpl implements Api.Framing<any, any, any> {
  constructor(
    readonly codec: FrameCodec,
    /** From a frame's bytes; they are the result where there is none. */
    readonly decode: Step | undefined,
    /** To a frame's bytes. */
    readonly encode: Step | undefined,
    /** Whether `decode` always gives a result. */
    readonly total: boolean
  ) {}

  get [TypeId]() {
    return variance
  }

  pipe() {
    return pipeArguments(this, arguments)
  }

  /** What is to be written for a value: pieces, a `Refusal` or a `Suspended`. */
  chunksOf(value: unknown): ReadonlyArray<Bytes> | Refusal | Suspended {
    const frame = this.encode === undefined ? value : this.encode(value)
    return frame instanceof Refusal
      ? frame
      : frame instanceof Suspended
      ? new Suspended(Effect.flatMap(frame.effect, (frame) => settled(this.encoded(frame))))
      : this.encoded(frame)
  }

  private encoded(frame: unknown): ReadonlyArray<Bytes> | Refusal {
    if (typeof frame !== "string" && !isBytes(frame)) {
      throw new Cause.IllegalArgumentException(
        `Framing.write: a frame must be a Uint8Array or a string, got ${typeof frame}`
      )
    }
    return this.codec.encode(toBytes(frame))
  }
}

export const implOf = (framing: AnyFraming): FramingImpl => framing as FramingImpl

const orThrow = (...problems: ReadonlyArray<argument.Problem>): void => {
  const problem = problems.find((problem) => problem !== undefined)
  if (problem !== undefined) {
    throw new Cause.IllegalArgumentException(problem)
  }
}

const ofBytes = (codec: FrameCodec): Api.Framing<Uint8Array | string, Uint8Array> =>
  new FramingImpl(codec, undefined, undefined, true)

/** @internal */
export const lengthPrefixed = (
  options: Api.LengthPrefixedOptions = {}
): Api.Framing<Uint8Array | string, Uint8Array> => {
  const adjustment = options.adjustment ?? 0
  orThrow(
    argument.oneOf("lengthPrefixed: lengthBytes", options.lengthBytes, [1, 2, 3, 4, 8]),
    argument.oneOf("lengthPrefixed: littleEndian", options.littleEndian, [true, false]),
    argument.notNegative("lengthPrefixed: headerBytes", options.headerBytes),
    argument.positive("lengthPrefixed: maxLength", options.maxLength),
    Number.isSafeInteger(adjustment)
      ? undefined
      : `lengthPrefixed: adjustment must be a whole number of bytes, got ${adjustment}`
  )
  return ofBytes(lengthCodec({
    lengthBytes: options.lengthBytes ?? 4,
    littleEndian: options.littleEndian ?? false,
    headerBytes: options.headerBytes ?? 0,
    adjustment,
    maxLength: options.maxLength ?? defaultLimit
  }))
}

/** @internal */
export const varintPrefixed = (
  options: Api.VarintPrefixedOptions = {}
): Api.Framing<Uint8Array | string, Uint8Array> => {
  orThrow(argument.positive("varintPrefixed: maxLength", options.maxLength))
  return ofBytes(varintCodec(options.maxLength ?? defaultLimit))
}

/** @internal */
export const delimited = (
  separator: Uint8Array | string,
  options: Api.DelimitedOptions = {}
): Api.Framing<Uint8Array | string, Uint8Array> => {
  orThrow(
    typeof separator === "string" || isBytes(separator)
      ? undefined
      : `delimited: separator must be a Uint8Array or a string, got ${typeof separator}`,
    separator.length === 0 ? "delimited: separator must not be empty" : undefined,
    argument.positive("delimited: maxLength", options.maxLength)
  )
  // A copy: `toBytes` gives a view, or the very bytes.
  return ofBytes(separatedCodec(new Uint8Array(toBytes(separator)), options.maxLength ?? defaultLimit))
}

/** @internal */
export const fixed = (length: number): Api.Framing<Uint8Array | string, Uint8Array> => {
  orThrow(argument.given("fixed: length", length), argument.positive("fixed: length", length))
  return ofBytes(fixedCodec(length))
}

const utf8 = new TextDecoding("utf-8")
const toText: Step = (bytes: Bytes) => utf8.decode(bytes)
const fromText: Step = (text: unknown) => {
  if (typeof text !== "string") {
    throw new Cause.IllegalArgumentException(`Framing.write: a text must be a string, got ${typeof text}`)
  }
  return encodeUtf8(text)
}

/** @internal */
export const lines = (options: Api.LinesOptions = {}): Api.Framing<string, string> => {
  orThrow(
    argument.oneOf("lines: eol", options.eol, ["\n", "\r\n"]),
    argument.oneOf("lines: lastLine", options.lastLine, ["fail", "emit"]),
    argument.positive("lines: maxLength", options.maxLength)
  )
  const codec = lineCodec(
    new Uint8Array(encodeUtf8(options.eol ?? "\n")),
    options.maxLength ?? defaultLimit,
    options.lastLine === "emit"
  )
  return new FramingImpl(codec, toText, fromText, true)
}

/** @internal */
export const text = <R>(self: Api.Framing<Uint8Array, Uint8Array, R>): Api.Framing<string, string, R> =>
  mapBoth(self, { decode: toText as (bytes: Uint8Array) => string, encode: fromText as (text: string) => Uint8Array })

/** @internal */
export const map: {
  <Out, Out2>(
    f: (message: Out) => Out2
  ): <In, R>(self: Api.Framing<In, Out, R>) => Api.Framing<In, Out2, R>
  <In, Out, R, Out2>(self: Api.Framing<In, Out, R>, f: (message: Out) => Out2): Api.Framing<In, Out2, R>
} = dual(2, (self: Api.Framing<any, any, any>, f: Step) => {
  const { codec, decode, encode, total } = implOf(self)
  return new FramingImpl(codec, andThen(decode, f), encode, total)
})

/** @internal */
export const mapInput: {
  <In2, In>(
    f: (message: In2) => In
  ): <Out, R>(self: Api.Framing<In, Out, R>) => Api.Framing<In2, Out, R>
  <In, Out, R, In2>(self: Api.Framing<In, Out, R>, f: (message: In2) => In): Api.Framing<In2, Out, R>
} = dual(2, (self: Api.Framing<any, any, any>, f: Step) => {
  const { codec, decode, encode, total } = implOf(self)
  return new FramingImpl(codec, decode, encode === undefined ? f : andThen(f, encode), total)
})

/** @internal */
export const mapBoth: {
  <Out, Out2, In2, In>(options: {
    readonly decode: (message: Out) => Out2
    readonly encode: (message: In2) => In
  }): <R>(self: Api.Framing<In, Out, R>) => Api.Framing<In2, Out2, R>
  <In, Out, R, Out2, In2>(self: Api.Framing<In, Out, R>, options: {
    readonly decode: (message: Out) => Out2
    readonly encode: (message: In2) => In
  }): Api.Framing<In2, Out2, R>
} = dual(
  2,
  (self: Api.Framing<any, any, any>, options: { readonly decode: Step; readonly encode: Step }) =>
    mapInput(map(self, options.decode), options.encode)
)

/** A schema's own way: an `Either` where nothing has to be waited for. */
const schemaStep =
  (run: (input: unknown) => Effect.Effect<unknown, ParseResult.ParseIssue, any>, what: string): Step => (input) => {
    const refusal = (issue: ParseResult.ParseIssue): Refusal =>
      new Refusal(
        "InvalidContent",
        `${what} is not what the schema wants: ${ParseResult.TreeFormatter.formatIssueSync(issue)}`,
        ParseResult.parseError(issue)
      )
    const result = run(input)
    return !Either.isEither(result)
      ? new Suspended(Effect.mapError(result, refusal))
      : Either.isRight(result)
      ? result.right
      : refusal(result.left as ParseResult.ParseIssue)
  }

/** @internal */
export const schema: {
  <A, I, R>(
    schema: Schema.Schema<A, I, R>
  ): <R2>(self: Api.Framing<I, I, R2>) => Api.Framing<A, A, R | R2>
  <A, I, R, R2>(self: Api.Framing<I, I, R2>, schema: Schema.Schema<A, I, R>): Api.Framing<A, A, R | R2>
} = dual(2, (self: Api.Framing<any, any, any>, schema: Schema.Schema<any, any, any>) => {
  const { codec, decode, encode } = implOf(self)
  const fromFrame = schemaStep(ParseResult.decodeUnknown(schema), "what is in the frame")
  const toFrame = schemaStep(ParseResult.encodeUnknown(schema), "the message")
  return new FramingImpl(
    codec,
    andThen(decode, fromFrame),
    encode === undefined ? toFrame : andThen(toFrame, encode),
    false
  )
})

/** @internal */
export const json: {
  <A, I, R>(
    schema: Schema.Schema<A, I, R>
  ): <R2>(self: Api.Framing<Uint8Array, Uint8Array, R2>) => Api.Framing<A, A, R | R2>
  <A, I, R, R2>(
    self: Api.Framing<Uint8Array, Uint8Array, R2>,
    schema: Schema.Schema<A, I, R>
  ): Api.Framing<A, A, R | R2>
} = dual(
  2,
  (self: Api.Framing<Uint8Array, Uint8Array, any>, message: Schema.Schema<any, any, any>) =>
    schema(text(self), Schema.parseJson(message))
)

/** @internal */
export const ndjson = <A, I, R>(
  message: Schema.Schema<A, I, R>,
  options?: Api.LinesOptions | undefined
): Api.Framing<A, A, R> => schema(lines(options), Schema.parseJson(message))

/** What an error has as its cause, if anything. */
export const causeOf = (cause: unknown) => cause === undefined ? {} : { cause }
