/**
 * Runs in a namespace (`namespace.ts`): listens where it is told, dials what it is told, and tells what came of it. It is
 * also the name server there, which has an answer for the names that begin with what it is to say about them.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Dgram from "node:dgram"
import { once } from "node:events"
import * as Net from "node:net"
import type * as Address from "../../src/Address.js"
import * as Network from "../../src/Network.js"
import { ConnectError } from "../../src/NetworkError.js"
import * as NodeNetwork from "../../src/NodeNetwork.js"
import { handles, handlesLeft } from "./openHandles.js"

export interface Request {
  /** Where somebody listens: all on one port. */
  readonly listen?: ReadonlyArray<string> | undefined
  readonly options: Omit<Network.ConnectOptions, "port">
  /** Interrupts after so many milliseconds. */
  readonly interruptAfter?: number | undefined
}

export interface Answer {
  /** The host that was connected to. */
  readonly connected?: string | undefined
  readonly error?: {
    readonly reason: string
    readonly code: string | null
    readonly message: string
    readonly attempts: ReadonlyArray<readonly [host: string, reason: string, code: string | null, millis: number]>
  } | undefined
  readonly interrupted?: boolean | undefined
  readonly millis: number
  /** What was open afterwards and not before. */
  readonly left: ReadonlyArray<string>
}

const listen = (host: string, port: number): Promise<Net.Server> => {
  const server = Net.createServer((socket) => socket.resume().on("error", () => {})).listen({
    host,
    port,
    ipv6Only: true
  })
  return once(server, "listening").then(() => server)
}

const hostOf = (address: Address.Address): string => address._tag === "TcpAddress" ? address.host : ""

const answer = async ({ interruptAfter, listen: hosts = [], options }: Request): Promise<Answer> => {
  // A port that is free on every address, and that nobody gets until the dialling is over.
  const keeper = await listen("127.0.0.9", 0)
  const port = (keeper.address() as Net.AddressInfo).port
  const servers = await Promise.all(hosts.map((host) => listen(host, port)))
  const before = handles()
  const dial = Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    const connection = yield* Effect.exit(Network.openConnection({ ...options, port }))
    return { connection, millis: (yield* Clock.currentTimeMillis) - start }
  }).pipe(
    Effect.scoped,
    Effect.provide(NodeNetwork.layer),
    interruptAfter === undefined ? Effect.asSome : Effect.timeoutOption(interruptAfter)
  )
  const start = performance.now()
  const outcome = Option.getOrUndefined(await Effect.runPromise(dial))
  const millis = outcome?.millis ?? performance.now() - start
  // Our end is closed; the servers' ends follow, and a lookup that can't be stopped.
  for (const end = performance.now() + 20_000; handlesLeft(before).length > 0 && performance.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const left = handlesLeft(before)
  for (const server of [keeper, ...servers]) {
    server.close()
  }
  if (outcome === undefined) {
    return { interrupted: true, millis, left }
  }
  if (Exit.isSuccess(outcome.connection)) {
    return { connected: hostOf(outcome.connection.value.remoteAddress), millis, left }
  }
  const error = outcome.connection.cause._tag === "Fail" ? outcome.connection.cause.error : undefined
  if (!(error instanceof ConnectError)) {
    throw new Error(String(outcome.connection.cause))
  }
  return {
    error: {
      reason: error.reason,
      code: Option.getOrNull(error.code),
      message: error.message.replaceAll(`:${port}`, ":PORT"),
      attempts: error.attempts.map((attempt) => [
        hostOf(attempt.address),
        attempt.reason,
        Option.getOrNull(attempt.code),
        Duration.toMillis(attempt.elapsed)
      ])
    },
    millis,
    left
  }
}

/** The codes of RFC 1035 §4.1.1. Names that begin otherwise exist and have the loopback for their IPv4 address. */
const responses = new Map([["missing", 3], ["failing", 2]])

const nameServer = Dgram.createSocket("udp4")
nameServer.on("message", (query, from) => {
  const length = query[12]!
  const name = query.toString("latin1", 13, 13 + length)
  if (name === "silent") {
    return
  }
  let end = 12
  while (query[end] !== 0) {
    end += 1 + query[end]!
  }
  const question = query.subarray(12, end + 5)
  const code = responses.get(name) ?? 0
  const hasAddress = code === 0 && question.readUInt16BE(question.length - 4) === 1
  const header = Buffer.from(query.subarray(0, 12))
  header.writeUInt16BE(0x8180 | code, 2)
  header.writeUInt32BE((1 << 16) | (hasAddress ? 1 : 0), 4)
  header.writeUInt32BE(0, 8)
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1])
  nameServer.send(Buffer.concat([header, question, ...(hasAddress ? [record] : [])]), from.port, from.address)
})

nameServer.bind(53, "127.0.0.1", () => {
  process.on("message", (request) => {
    void answer(request as Request).then((answer) => process.send!({ answer }))
  })
})
