/**
 * Raw ends to hold against the Node backend: sockets that behave as told, and a receiver that remembers what it was told.
 */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import { spawnSync } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Stream from "node:stream"
import * as Address from "../../src/Address.js"
import { tcpDialer, unixDialer } from "../../src/internal/node/dialer.js"
import { listenTcp } from "../../src/internal/node/listener.js"
import { resolver } from "../../src/internal/node/resolver.js"
import { fromDuplex, fromSocket } from "../../src/internal/node/transport.js"
import { listenUnix } from "../../src/internal/node/unixSocket.js"
import type { Acceptor, Transport, TransportFailure, TransportReceiver } from "../../src/Transport.js"

/** Lets the event loop turn until the condition holds; the test's own time limit ends it. */
export const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) {
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

/** A few turns of the event loop, for what must not happen in them. */
export const turns = async (count = 10): Promise<void> => {
  for (let i = 0; i < count; i++) {
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** A receiver that keeps everything, and each chunk also as a copy made on arrival. */
export class Recorder implements TransportReceiver {
  readonly chunks: Array<Uint8Array> = []
  readonly copies: Array<Buffer> = []
  /** "data", "end", "drain", "closed", runs of one kind written once. */
  readonly calls: Array<string> = []
  received = 0
  drains = 0
  ended = false
  closed = false
  failure: TransportFailure | undefined
  keep = true
  whenData: ((chunk: Uint8Array) => void) | undefined
  whenDrained: (() => void) | undefined
  whenEnded: (() => void) | undefined

  private note(call: string): void {
    if (this.calls[this.calls.length - 1] !== call) {
      this.calls.push(call)
    }
  }

  readonly onData = (chunk: Uint8Array): void => {
    this.note("data")
    this.received += chunk.length
    if (this.keep) {
      this.chunks.push(chunk)
      this.copies.push(Buffer.from(chunk))
    }
    this.whenData?.(chunk)
  }

  readonly onEnd = (): void => {
    this.note(this.ended ? "end again" : "end")
    this.ended = true
    this.whenEnded?.()
  }

  readonly onDrain = (): void => {
    this.note("drain")
    this.drains += 1
    this.whenDrained?.()
  }

  readonly onClosed = (failure: TransportFailure | undefined): void => {
    this.note(this.closed ? "closed again" : "closed")
    this.closed = true
    this.failure = failure
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString("latin1")
  }
}

/** The raw end of a connection, reading all the time unless paused. */
export class Peer {
  received = ""
  bytes = 0
  ended = false
  closed = false
  code: string | undefined
  keep = true

  constructor(readonly socket: Net.Socket, read = true) {
    socket.on("end", () => {
      this.ended = true
    })
    socket.on("close", () => {
      this.closed = true
    })
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.code = error.code
    })
    if (read) {
      this.read()
    }
  }

  read(): void {
    this.socket.on("data", (chunk: Buffer) => {
      this.bytes += chunk.length
      if (this.keep) {
        this.received += chunk.toString("latin1")
      }
    })
    this.socket.resume()
  }
}

/** One connection: our end, and the raw one. */
export interface Pair {
  readonly transport: Transport
  readonly peer: Peer
  readonly dispose: () => Promise<void>
}

interface PairOptions {
  /** Whether the raw end reads. */
  readonly read?: boolean | undefined
}

const rawServer = async (path?: string): Promise<Net.Server> => {
  // A raw end that does not read is to have nothing read for it either.
  const server = Net.createServer({ allowHalfOpen: true, pauseOnConnect: true })
  if (path === undefined) {
    server.listen(0, "127.0.0.1")
  } else {
    server.listen(path)
  }
  await once(server, "listening")
  return server
}

export const portOf = (server: Net.Server): number => (server.address() as Net.AddressInfo).port

const accepted = (server: Net.Server): Promise<Net.Socket> =>
  once(server, "connection").then(([socket]) => socket as Net.Socket)

const rawConnect = async (options: Net.NetConnectOpts): Promise<Net.Socket> => {
  const socket = new Net.Socket({ allowHalfOpen: true })
  socket.pause()
  socket.connect(options)
  await once(socket, "connect")
  return socket
}

/** Dials without a race around it. */
export const dialTcp = (port: number): Promise<Transport> =>
  new Promise((resolve, reject) => {
    tcpDialer({}).connect(Address.tcp("127.0.0.1", port), undefined, { onConnected: resolve, onFailed: reject })
  })

export const dialUnix = (path: string): Promise<Transport> =>
  new Promise((resolve, reject) => {
    unixDialer.connect(Address.unix(path), undefined, { onConnected: resolve, onFailed: reject })
  })

export const temporaryDirectory = (): string => Fs.mkdtempSync(Path.join(Os.tmpdir(), "netstreams-"))

const made = (transport: Transport, socket: Net.Socket, options: PairOptions, dispose: () => unknown): Pair => ({
  transport,
  peer: new Peer(socket, options.read ?? true),
  dispose: async () => {
    transport.destroy()
    socket.destroy()
    await dispose()
  }
})

const close = (server: Net.Server) => () => new Promise((resolve) => server.close(resolve))

/** An acceptor that keeps what it is given. */
export class Accepted implements Acceptor {
  readonly transports: Array<Transport> = []
  readonly errors: Array<unknown> = []
  readonly onTransport = (transport: Transport): void => {
    this.transports.push(transport)
  }
  readonly onError = ({ error }: { readonly error: unknown }): void => {
    this.errors.push(error)
  }
}

/** Bytes through a socket, and nothing else of it. */
class Tunnel extends Stream.Duplex {
  constructor(readonly socket: Net.Socket) {
    super({ allowHalfOpen: true })
    socket.on("data", (chunk) => {
      if (!this.push(chunk)) {
        socket.pause()
      }
    })
    socket.on("end", () => this.push(null))
    socket.on("error", (error) => this.destroy(error))
  }
  override _read(): void {
    this.socket.resume()
  }
  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.socket.write(chunk, callback)
  }
  override _final(callback: (error?: Error | null) => void): void {
    this.socket.end(callback)
  }
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.socket.destroy()
    callback(error)
  }
}

const acceptTcp = async (options: PairOptions = {}): Promise<Pair> => {
  const acceptor = new Accepted()
  const listener = await Effect.runPromise(listenTcp({ host: "127.0.0.1" }, acceptor, resolver, identity))
  const socket = await rawConnect({ host: "127.0.0.1", port: (listener.addresses[0] as Address.TcpAddress).port })
  await until(() => acceptor.transports.length > 0)
  return made(acceptor.transports[0]!, socket, options, () => Effect.runPromise(listener.close))
}

/** As a Node would be whose sockets can't be lent a buffer. */
const withoutLending = (transport: Transport): void => {
  const { _handle } = (transport as unknown as { readonly stream: { readonly _handle: object } }).stream
  Object.defineProperty(_handle, "useUserBuffer", { value: undefined })
}

/** Every way to come by a transport. */
export const pairs: Record<
  "dialled" | "accepted" | "accepted, not lent to" | "adopted" | "unix dialled" | "unix accepted" | "duplex",
  (options?: PairOptions) => Promise<Pair>
> = {
  dialled: async (options = {}) => {
    const server = await rawServer()
    const [transport, socket] = await Promise.all([dialTcp(portOf(server)), accepted(server)])
    return made(transport, socket, options, close(server))
  },

  accepted: (options) => acceptTcp(options),

  "accepted, not lent to": async (options) => {
    const pair = await acceptTcp(options)
    withoutLending(pair.transport)
    return pair
  },

  adopted: async (options = {}) => {
    const server = await rawServer()
    const connecting = Net.connect(portOf(server), "127.0.0.1")
    const [socket] = await Promise.all([accepted(server), once(connecting, "connect")])
    return made(fromSocket(connecting), socket, options, close(server))
  },

  "unix dialled": async (options = {}) => {
    const directory = temporaryDirectory()
    const server = await rawServer(`${directory}/s`)
    const [transport, socket] = await Promise.all([dialUnix(`${directory}/s`), accepted(server)])
    return made(transport, socket, options, async () => {
      await close(server)()
      Fs.rmSync(directory, { recursive: true })
    })
  },

  "unix accepted": async (options = {}) => {
    const directory = temporaryDirectory()
    const acceptor = new Accepted()
    const listener = await Effect.runPromise(listenUnix(`${directory}/s`, {}, acceptor))
    const socket = await rawConnect({ path: `${directory}/s` })
    await until(() => acceptor.transports.length > 0)
    return made(acceptor.transports[0]!, socket, options, async () => {
      await Effect.runPromise(listener.close)
      Fs.rmSync(directory, { recursive: true })
    })
  },

  duplex: async (options = {}) => {
    const server = await rawServer()
    const connecting = Net.connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true })
    const [socket] = await Promise.all([accepted(server), once(connecting, "connect")])
    return made(fromDuplex(new Tunnel(connecting)), socket, options, close(server))
  }
}

/** Descriptors of this process, where the system shows them. */
export const openDescriptors = (): number => {
  try {
    return Fs.readdirSync("/proc/self/fd").length
  } catch {
    return Number.NaN
  }
}

/** Whether the system has IPv6 on its loopback. */
export const hasIPv6 = Object.values(Os.networkInterfaces()).flat().some((address) => address?.address === "::1")

/** Runs a program, written into this repository, in a process of its own; its descriptor 3 is one of ours. */
export const runScript = (
  script: string,
  options: { readonly limitFiles?: number; readonly descriptor?: number } = {}
) => {
  const node = `${process.execPath} --import tsx --input-type=module -`
  return spawnSync("sh", ["-c", options.limitFiles === undefined ? node : `ulimit -n ${options.limitFiles}; ${node}`], {
    input: script,
    encoding: "utf8",
    stdio: options.descriptor === undefined ? "pipe" : ["pipe", "pipe", "pipe", options.descriptor],
    timeout: 20_000,
    killSignal: "SIGKILL"
  })
}
