/** What else one would take: Node's own ways of reading, modules from npm, and @effect/platform's `Socket`. */
import { NodeSocket, NodeStream } from "@effect/platform-node"
import { Chunk, Effect, Stream } from "effect"
import * as Net from "node:net"
import * as Readline from "node:readline"
import split2 from "split2"
import { host } from "./contenders.js"

const connect = (port: number): Net.Socket => Net.connect({ port, host, noDelay: true })

/** `for await` over a socket. */
export const chunks = async (port: number, onChunk: (chunk: Buffer) => void): Promise<void> => {
  for await (const chunk of connect(port)) {
    onChunk(chunk as Buffer)
  }
}

/** The same, with what is left of a chunk joined to the next. `take` gives how much of the bytes it has used. */
export const carried = async (port: number, take: (bytes: Buffer) => number): Promise<void> => {
  let rest: Buffer = Buffer.alloc(0)
  await chunks(port, (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    rest = bytes.subarray(take(bytes))
  })
}

export const readlineEvents = (port: number, onLine: (line: string) => void): void => {
  Readline.createInterface({ input: connect(port), crlfDelay: Infinity }).on("line", onLine)
}

export const readlineForAwait = async (port: number, onLine: (line: string) => void): Promise<void> => {
  for await (const line of Readline.createInterface({ input: connect(port), crlfDelay: Infinity })) {
    onLine(line)
  }
}

export const split2Lines = (port: number, onLine: (line: string) => void): void => {
  connect(port).pipe(split2()).on("data", onLine)
}

/** The bytes of a `NodeSocket`, as a `Stream`. */
export const platformStream = (port: number) =>
  Stream.pipeThroughChannelOrFail(Stream.never as Stream.Stream<Uint8Array>, NodeSocket.makeNetChannel({ host, port }))

/** A socket of Node's as a `Stream`. */
export const readableStream = (port: number) =>
  Stream.suspend(() => NodeStream.fromReadable<Error, Uint8Array>(() => connect(port), (error) => error as Error))

export const platformLines = (port: number, onLine: (line: string) => void): Promise<void> =>
  platformStream(port).pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => Effect.sync(() => onLine(line))),
    Effect.scoped,
    Effect.runPromise
  )

/** What Effect itself takes for an element of a stream: the lines are in memory, and nothing is read. */
export const linesInMemory = (line: string, onLine: (line: string) => void): Promise<void> => {
  const text = line.repeat(820)
  const lines = Chunk.fromIterable(
    Array.from({ length: 820 }, (_, i) => text.slice(i * line.length, (i + 1) * line.length))
  )
  const next = Effect.async<Chunk.Chunk<string>>((resume) => {
    setImmediate(() => resume(Effect.succeed(lines)))
  })
  return Stream.repeatEffectChunk(next).pipe(
    Stream.runForEach((line) => Effect.sync(() => onLine(line))),
    Effect.runPromise
  )
}

/** What Effect itself takes for a connection in a scope: two waits and one finalizer. */
export const scopedConnect = (port: number): Effect.Effect<void> =>
  Effect.scoped(Effect.flatMap(
    Effect.async<Net.Socket>((resume) => {
      const socket = Net.connect({ port, host, noDelay: true }, () => resume(Effect.succeed(socket)))
    }),
    (socket) =>
      Effect.addFinalizer(() =>
        Effect.async<void>((resume) => {
          socket.once("close", () => resume(Effect.void))
          socket.resume()
          socket.end()
        })
      )
  ))

/** What Effect itself takes for a connection that nobody reads from: a fiber that waits. */
export const waitInFiber = (socket: Net.Socket): void => {
  socket.on("data", (chunk) => socket.write(chunk))
  socket.on("error", () => {})
  Effect.runFork(Effect.async<void>((resume) => {
    socket.on("close", () => resume(Effect.void))
  }))
}

/** What Effect itself takes for an echo: a fiber for each connection, and a wait for each read, with nothing else. */
export const echoInFiber = (socket: Net.Socket, onEcho: () => void): void => {
  let arrived: Buffer | undefined
  let ended = false
  let reader: ((chunk: Effect.Effect<Buffer | undefined>) => void) | undefined
  const wake = () => {
    if (reader !== undefined && (arrived !== undefined || ended)) {
      const resume = reader
      const chunk = arrived
      reader = undefined
      arrived = undefined
      resume(Effect.succeed(chunk))
    }
  }
  socket.on("data", (chunk) => {
    arrived = arrived === undefined ? chunk : Buffer.concat([arrived, chunk])
    wake()
  })
  socket.on("end", () => {
    ended = true
    wake()
  })
  socket.on("error", () => {})
  const read = Effect.async<Buffer | undefined>((resume) => {
    reader = resume
    wake()
  })
  Effect.runFork(echoing(read, socket, onEcho))
}

const echoing = Effect.fnUntraced(
  function*(read: Effect.Effect<Buffer | undefined>, socket: Net.Socket, onEcho: () => void) {
    for (let chunk = yield* read; chunk !== undefined; chunk = yield* read) {
      onEcho()
      socket.write(chunk)
    }
  }
)

/** A message after each that has come back. */
export const platformEcho = (port: number, message: Uint8Array, onEcho: () => void): Promise<unknown> =>
  Effect.gen(function*() {
    const socket = yield* NodeSocket.makeNet({ host, port, noDelay: true })
    const write = yield* socket.writer
    let missing = message.length
    yield* Effect.zipRight(
      Effect.forkScoped(socket.run((chunk) => {
        missing -= chunk.length
        if (missing > 0) {
          return Effect.void
        }
        missing = message.length
        onEcho()
        return write(message)
      })).pipe(Effect.tap(() => write(message))),
      Effect.never
    )
  }).pipe(Effect.scoped, Effect.runPromise)
