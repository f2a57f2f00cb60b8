/** The process of one measurement of `growth.ts`: what one unit costs where there are so many. */
import { Effect, Exit, Fiber, Scope } from "effect"
import { type Address, Network, NodeNetwork, StreamReader } from "effect-netstreams"
import type { YieldWrap } from "effect/Utils"
import type { Amount } from "./growth.js"
import { inputOf } from "./spawnNode.js"

const chunkSize = 65_536

type Reader = StreamReader.StreamReader
type Read = (reader: Reader) => Generator<YieldWrap<Effect.Effect<unknown, unknown>>, void>

/** Reads `n` units that come in chunks of 64 KiB, from memory. */
const reading = (unit: Uint8Array, read: Read) => {
  const repeats = Math.ceil(chunkSize / unit.length)
  const chunk = new Uint8Array(repeats * unit.length)
  for (let i = 0; i < repeats; i++) {
    chunk.set(unit, i * unit.length)
  }
  return (n: number) =>
    Effect.gen(function*() {
      const { feed, reader } = yield* StreamReader.make()
      const fiber = yield* Effect.fork(Effect.gen(function*() {
        for (let i = 0; i < n; i++) {
          yield* read(reader)
        }
      }))
      for (let fed = 0; fed < n; fed += repeats) {
        yield* feed.data(fed + repeats <= n ? chunk : chunk.subarray(0, (n - fed) * unit.length))
        yield* Effect.yieldNow()
      }
      yield* Fiber.join(fiber)
    })
}

const line = reading(new TextEncoder().encode(`${"x".repeat(79)}\n`), function*(reader) {
  yield* reader.readLine
})

const frame = reading(
  Uint8Array.of(0, 0, 0, 100, ...Array.from({ length: 100 }, () => 0)),
  function*(reader) {
    yield* reader.readExactly(yield* reader.readUint32)
  }
)

const portOf = ([address]: ReadonlyArray<Address.Address>): number => address?._tag === "TcpAddress" ? address.port : 0

/** Opens `n` connections that are there at the same time, has each answer once, and closes them: both ends. */
const connection = (n: number) =>
  Effect.gen(function*() {
    const host = "127.0.0.1"
    const server = yield* Network.startServer({ host, port: 0, backlog: 511 }, ({ reader, writer }) =>
      Effect.gen(function*() {
        while (!(yield* reader.atEof)) {
          yield* writer.write(yield* reader.read(64))
        }
      }))
    const port = portOf(server.addresses)
    const message = new Uint8Array(64)
    const scope = yield* Scope.make()
    const open = Network.openConnection({ host, port }).pipe(Scope.extend(scope))
    const connections = yield* Effect.all(
      Array.from({ length: n }, () =>
        open),
      { concurrency: 100 }
    )
    yield* Effect.forEach(
      connections,
      ({ reader, writer }) =>
        Effect.zipRight(writer.write(message), reader.readExactly(64)),
      { concurrency: 100, discard: true }
    )
    yield* Effect.forEach(connections, ({ close }) => close, { concurrency: 100, discard: true })
    yield* Scope.close(scope, Exit.void)
  }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))

const kinds: Record<Amount["kind"], (n: number) => Effect.Effect<unknown, unknown>> = { line, frame, connection }

const { kind, n } = inputOf<Amount>()

const cpuMicros = (): number => {
  const { system, user } = process.cpuUsage()
  return system + user
}

/** Again and again, until so much CPU time has been used. Microseconds each. */
const cost = async (amount: number, atLeast: number): Promise<number> => {
  const before = cpuMicros()
  let rounds = 0
  do {
    await Effect.runPromise(kinds[kind](amount))
    rounds++
  } while (cpuMicros() - before < atLeast)
  return (cpuMicros() - before) / rounds / amount
}

const warm = kind === "connection" ? 500 : 100_000
await cost(warm, 1e6)
const micros = await cost(n, 5e5)
process.send!(micros, () => process.exit())
