/**
 * Asks a web server about a page, and prints the headers of its response.
 *
 *     npx tsx examples/http-headers.ts https://example.com/path/page.html
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { Network, NodeNetwork } from "effect-netstreams"

const printHeaders = (url: URL) =>
  Effect.gen(function*() {
    const { reader, writer } = yield* Network.openConnection({
      host: url.hostname,
      port: Number(url.port || (url.protocol === "https:" ? 443 : 80)),
      tls: url.protocol === "https:" && { alpnProtocols: ["http/1.1"] },
      connectTimeout: "10 seconds"
    })
    yield* writer.writeAll([
      `HEAD ${url.pathname}${url.search} HTTP/1.1\r\n`,
      `Host: ${url.host}\r\n`,
      "Connection: close\r\n",
      "\r\n"
    ])
    // An empty line ends the headers. What follows is of no interest, and goes with the connection.
    yield* reader.lines({ encoding: "latin1" }).pipe(
      Stream.takeWhile((line) => line !== ""),
      Stream.runForEach((line) => Console.log(line))
    )
  }).pipe(Effect.scoped)

const program = Effect.gen(function*() {
  const argument = process.argv[2] ?? ""
  const url = URL.canParse(argument) ? new URL(argument) : undefined
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    return yield* Effect.fail(new Error(`an http:// or https:// URL is needed, got ${JSON.stringify(argument)}`))
  }
  yield* printHeaders(url)
})

NodeRuntime.runMain(program.pipe(Effect.provide(NodeNetwork.layer)))
