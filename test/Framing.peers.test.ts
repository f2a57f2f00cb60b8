/** Frames as others write and read them: Python's `struct`, `json` and asyncio. */
import { assert, describe, it } from "@effect/vitest"
import * as Framing from "effect-netstreams/Framing"
import * as Network from "effect-netstreams/Network"
import * as NodeNetwork from "effect-netstreams/NodeNetwork"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { vi } from "vitest"
import { available } from "./support/certificates.js"
import { leavesNoHandles } from "./support/handles.js"
import { program } from "./support/programs.js"
import { portOf } from "./support/rawPeer.js"

leavesNoHandles()

// Other people's programs take their time to start.
vi.setConfig({ testTimeout: 60_000 })

/** Sends its frames in pieces of seven bytes, ends, reads the same number of them back, and compares. */
const client = (pack: string, read: string) => `
import asyncio, json, struct, sys

def pack(body):
    ${pack}

async def read(reader):
    ${read}

async def main():
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    frames = [b"x" * n for n in (0, 1, 2, 100, 4000, 60000)] + [b"last"]
    data = b"".join(pack(frame) for frame in frames)
    async def send():
        for i in range(0, 700, 7):
            writer.write(data[i:i + 7])
            await writer.drain()
        writer.write(data[700:])
        writer.write_eof()
    sending = asyncio.ensure_future(send())
    for frame in frames:
        back = await read(reader)
        assert back == frame, (len(back), len(frame))
    assert await reader.read() == b""
    await sending
    writer.close()
    print("done")

asyncio.run(main())
`

const kinds: ReadonlyArray<readonly [string, Framing.Framing<Uint8Array, Uint8Array>, pack: string, read: string]> = [
  [
    "four bytes of length",
    Framing.lengthPrefixed(),
    `return struct.pack(">I", len(body)) + body`,
    `return await reader.readexactly(struct.unpack(">I", await reader.readexactly(4))[0])`
  ],
  [
    "eight bytes of length, the lowest first",
    Framing.lengthPrefixed({ lengthBytes: 8, littleEndian: true }),
    `return struct.pack("<Q", len(body)) + body`,
    `return await reader.readexactly(struct.unpack("<Q", await reader.readexactly(8))[0])`
  ],
  [
    "two bytes of length that count themselves",
    Framing.lengthPrefixed({ lengthBytes: 2, adjustment: -2 }),
    `return struct.pack(">H", len(body) + 2) + body`,
    `return await reader.readexactly(struct.unpack(">H", await reader.readexactly(2))[0] - 2)`
  ],
  [
    "a type, and a length that counts itself",
    Framing.lengthPrefixed({ headerBytes: 1, adjustment: -4 }),
    `return struct.pack(">cI", b"Q", len(body) + 4) + body`,
    `return await reader.readexactly(struct.unpack(">cI", await reader.readexactly(5))[1] - 4)`
  ],
  [
    "a separator",
    Framing.delimited("\r\n.\r\n"),
    `return body + b"\\r\\n.\\r\\n"`,
    `return (await reader.readuntil(b"\\r\\n.\\r\\n"))[:-5]`
  ],
  [
    "lines",
    Framing.lines({ eol: "\r\n" }).pipe(
      Framing.mapBoth({
        decode: (line) => new TextEncoder().encode(line),
        encode: (bytes: Uint8Array) => new TextDecoder().decode(bytes)
      })
    ),
    `return body + b"\\n"`,
    `return (await reader.readuntil(b"\\r\\n"))[:-2]`
  ]
]

describe.skipIf(!available("python3"))("Python (skipped where there is none)", () => {
  for (const [name, framing, pack, read] of kinds) {
    it.scopedLive(`sends frames to our server and gets them back: ${name}`, () =>
      Effect.gen(function*() {
        const server = yield* Network.startServer({ host: "127.0.0.1" }, ({ reader, writer }) =>
          Stream.run(Framing.stream(reader, framing), Framing.sink(writer, framing)))
        const peer = yield* program("python3", ["-c", client(pack, read), `${portOf(server)}`])
        assert.strictEqual(yield* peer.succeeds, "done\n")
      }).pipe(Effect.provide(NodeNetwork.layer)))
  }

  it.scopedLive("asks us in JSON by line, and understands the answer", () =>
    Effect.gen(function*() {
      const Ask = Framing.ndjson(Schema.Struct({ name: Schema.String, born: Schema.Date }))
      const Answer = Framing.ndjson(Schema.Struct({ hello: Schema.String, year: Schema.Number }))
      const server = yield* Network.startServer({ host: "127.0.0.1" }, ({ reader, writer }) =>
        Framing.stream(reader, Ask).pipe(
          Stream.map(({ born, name }) => ({ hello: name, year: born.getUTCFullYear() })),
          Stream.run(Framing.sink(writer, Answer))
        ))
      const peer = yield* program("python3", [
        "-c",
        `
import json, socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
    file = peer.makefile("rw", encoding="utf-8", newline="\\n")
    for name, year in ("Ada", 1815), ("Grace\\n", 1906), ("Élisabeth \\u2028", 1912):
        print(json.dumps({"name": name, "born": f"{year}-12-10T00:00:00Z"}, ensure_ascii=False), file=file, flush=True)
        assert json.loads(file.readline()) == {"hello": name, "year": year}
    peer.shutdown(socket.SHUT_WR)
    assert file.read() == ""
print("done")
`,
        `${portOf(server)}`
      ])
      assert.strictEqual(yield* peer.succeeds, "done\n")
    }).pipe(Effect.provide(NodeNetwork.layer)))
})
