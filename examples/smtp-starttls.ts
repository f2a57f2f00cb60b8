/**
 * Sends a mail through a server that upgrades to TLS with STARTTLS, and prints the conversation.
 *
 *     npx tsx examples/smtp-starttls.ts host[:port] from to < message.txt
 *
 * The port is 587 by default. The server's certificate must be for the host, and be trusted; `SMTP_CA` may name a file
 * with a certificate to trust instead of those that Node trusts.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime, NodeStream } from "@effect/platform-node"
import { Config, Effect, Option } from "effect"
import { NodeNetwork } from "effect-netstreams"
import * as Client from "./smtp/Client.js"

const program = Effect.gen(function*() {
  const [target, from, to] = process.argv.slice(2)
  if (target === undefined || from === undefined || to === undefined) {
    return yield* Effect.fail(new Error("three arguments are needed: host[:port], from, to"))
  }
  const [host = "", port = "587"] = target.split(":")
  const file = yield* Config.option(Config.string("SMTP_CA"))
  const fs = yield* FileSystem.FileSystem
  const ca = Option.isSome(file) ? Option.some(yield* fs.readFileString(file.value)) : Option.none()
  yield* Client.send(host, Number(port), ca, { from, to, message: NodeStream.stdin })
})

NodeRuntime.runMain(program.pipe(Effect.provide(NodeNetwork.layer), Effect.provide(NodeContext.layer)))
