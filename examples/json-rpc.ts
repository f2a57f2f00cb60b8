/**
 * A server of JSON-RPC 2.0 with a document a line, that calculates. Any number of clients.
 *
 *     npx tsx examples/json-rpc.ts [port]
 *     echo '{"jsonrpc":"2.0","id":1,"method":"sum","params":[1,2,3]}' | nc -N 127.0.0.1 8889
 *
 * The port is 8889 by default, and 0 takes any free one. Ctrl+C ends it.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Option, Schema } from "effect"
import { Address, type Connection, Framing, Network, NodeNetwork } from "effect-netstreams"

const Id = Schema.Union(Schema.Number, Schema.String)

const Request = Schema.Struct({
  jsonrpc: Schema.Literal("2.0"),
  id: Id,
  method: Schema.String,
  params: Schema.optionalWith(Schema.Array(Schema.Number), { default: () => [] })
})

const Success = Schema.Struct({ jsonrpc: Schema.Literal("2.0"), id: Id, result: Schema.Number })
const Failure = Schema.Struct({
  jsonrpc: Schema.Literal("2.0"),
  id: Schema.NullOr(Id),
  error: Schema.Struct({ code: Schema.Int, message: Schema.String })
})
const Response = Schema.Union(Success, Failure)

const requests = Framing.ndjson(Request)
const responses = Framing.ndjson(Response)

const methods: Record<string, (params: ReadonlyArray<number>) => number> = {
  sum: (params) => params.reduce((a, b) => a + b, 0),
  product: (params) => params.reduce((a, b) => a * b, 1)
}

const failure = (id: typeof Failure.Type["id"], code: number, message: string): typeof Failure.Type => ({
  jsonrpc: "2.0",
  id,
  error: { code, message }
})

const answer = ({ id, method, params }: typeof Request.Type): typeof Response.Type => {
  const calculate = Object.hasOwn(methods, method) ? methods[method] : undefined
  return calculate === undefined
    ? failure(id, -32601, `no such method: ${method}`)
    : { jsonrpc: "2.0", id, result: calculate(params) }
}

const serve = ({ reader, writer }: Connection.Connection) =>
  Effect.gen(function*() {
    while (true) {
      const response = yield* Framing.read(reader, requests).pipe(
        Effect.map(Option.map(answer)),
        // What is no request has been consumed, and the next line is read as if it had not been there.
        Effect.catchIf(
          (error) => error._tag === "FramingError" && error.reason === "InvalidContent",
          (error) => Effect.succeedSome(failure(null, -32600, error.message))
        )
      )
      if (Option.isNone(response)) {
        return
      }
      yield* Framing.write(writer, responses, response.value)
    }
  })

const program = Effect.gen(function*() {
  const [, , port = "8889"] = process.argv
  const server = yield* Network.startServer({ host: "127.0.0.1", port: Number(port) }, serve)
  yield* Console.log(`Serving on ${server.addresses.map(Address.format).join(", ")}`)
  yield* server.serveForever
}).pipe(Effect.scoped)

NodeRuntime.runMain(program.pipe(Effect.provide(NodeNetwork.layer)))
