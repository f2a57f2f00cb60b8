import { assert, describe, it } from "vitest"
import {
  endOfFrames,
  fixedCodec,
  type FrameCodec,
  lengthCodec,
  lineCodec,
  Refusal,
  separatedCodec,
  varintCodec
} from "../src/internal/framingCodec.js"
import { Incomplete, InputBuffer, Overrun } from "../src/internal/inputBuffer.js"
import { latin1, toLatin1 } from "./support/chunkings.js"

const input = (): InputBuffer<string> => new InputBuffer<string>(4, { pause: () => {}, resume: () => {} })

const four = lengthCodec({ lengthBytes: 4, littleEndian: false, headerBytes: 0, adjustment: 0, maxLength: 100 })
const typed = lengthCodec({ lengthBytes: 2, littleEndian: false, headerBytes: 1, adjustment: -2, maxLength: 100 })

describe("a frame decoder", () => {
  const steps: ReadonlyArray<
    readonly [string, FrameCodec, ReadonlyArray<readonly [arrives: string, wanted: number]>, string]
  > = [
    ["a length", four, [["", 4], ["\0\0\0", 4], ["\x05", 9], ["abcd", 9]], "e"],
    ["a type and a length", typed, [["T", 3], ["\0", 3], ["\x04", 5], ["a", 5]], "b"],
    ["a varint", varintCodec(1000), [["", 1], ["\x81", 2]], `\x01${"x".repeat(129)}`],
    ["a fixed number of bytes", fixedCodec(3), [["", 3], ["ab", 3]], "c"],
    ["a separator", separatedCodec(latin1("--"), 100), [["", 0], ["ab-", 0]], "-"],
    ["a line", lineCodec(latin1("\n"), 100, false), [["", 0], ["ab\r", 0]], "\n"]
  ]
  for (const [name, codec, arrivals, last] of steps) {
    it(`says how many bytes have to be there, and takes none before they are: ${name}`, () => {
      const buffer = input()
      const decoder = codec.decoder(buffer)
      let all = ""
      for (const [bytes, wanted] of arrivals) {
        all += bytes
        buffer.push(latin1(bytes))
        assert.strictEqual(decoder.locate(), undefined)
        assert.strictEqual(decoder.wanted, wanted)
        assert.strictEqual(buffer.queue.length, all.length)
      }
      buffer.push(latin1(`${last}next`))
      assert.strictEqual(decoder.locate(), true)
      assert.strictEqual(buffer.queue.length, (all + last).length + 4)
      assert.strictEqual(decoder.total, (all + last).length)
      const frame = toLatin1(decoder.take())
      assert.strictEqual(frame, (all + last).slice(decoder.from, decoder.from + decoder.size))
      assert.strictEqual(toLatin1(buffer.takeRest()), "next")
    })
  }

  it("has a frame that lies within a chunk as a view of it", () => {
    const buffer = input()
    const chunk = latin1("\0\0\0\x02ab\0\0\0\x01c")
    buffer.push(chunk)
    const decoder = four.decoder(buffer)
    for (const expected of ["ab", "c"]) {
      assert.strictEqual(decoder.locate(), true)
      const frame = decoder.take()
      assert.strictEqual(frame.buffer, chunk.buffer)
      assert.strictEqual(toLatin1(frame), expected)
    }
    buffer.pushEof()
    assert.strictEqual(decoder.locate(), endOfFrames)
  })

  it("lets a paused source go on when frames were taken", () => {
    const told: Array<string> = []
    const buffer = new InputBuffer<string>(4, { pause: () => told.push("pause"), resume: () => told.push("resume") })
    buffer.push(latin1("abcdefghij"))
    const decoder = fixedCodec(3).decoder(buffer)
    decoder.locate()
    decoder.take()
    assert.deepStrictEqual(told, ["pause"])
    decoder.locate()
    decoder.take()
    assert.deepStrictEqual(told, ["pause", "resume"])
  })

  it("finds what is too long by its header, and what is not whole at the end", () => {
    const buffer = input()
    buffer.push(latin1("\0\0\0\x65"))
    const decoder = four.decoder(buffer)
    const overrun = decoder.locate()
    assert.instanceOf(overrun, Overrun)
    assert.deepStrictEqual([overrun.consumed, overrun.limit, overrun.found], [105, 100, true])
    buffer.drop(4)
    buffer.push(latin1("\0\0\0\x64x"))
    buffer.pushEof()
    const incomplete = decoder.locate()
    assert.instanceOf(incomplete, Incomplete)
    assert.deepStrictEqual([toLatin1(incomplete.partial), incomplete.expected], ["\0\0\0\x64x", 104])
    assert.strictEqual(decoder.locate(), endOfFrames)
  })
})

describe("an encoder", () => {
  it("puts what is short into one piece with its header, and copies nothing that is long", () => {
    const long = new Uint8Array(5000)
    const codecs = [
      lengthCodec({ lengthBytes: 4, littleEndian: false, headerBytes: 0, adjustment: 0, maxLength: 5000 }),
      lengthCodec({ lengthBytes: 4, littleEndian: false, headerBytes: 1, adjustment: 0, maxLength: 5000 }),
      varintCodec(5000),
      separatedCodec(latin1("ab"), 5000),
      lineCodec(latin1("\n"), 5000, false)
    ]
    for (const codec of codecs) {
      const short = codec.encode(latin1("123456"))
      assert(!(short instanceof Refusal))
      assert.strictEqual(short.length, 1)
      const pieces = codec.encode(long)
      assert(!(pieces instanceof Refusal))
      assert.strictEqual(pieces.length, 2)
      assert.isTrue(pieces.some((piece) => piece.buffer === long.buffer && piece.length > 4990))
    }
  })
})
