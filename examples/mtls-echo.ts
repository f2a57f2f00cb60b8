/**
 * An echo server that knows its clients by their certificates, and a client that it knows. The certificates are made on
 * the spot, by `openssl`, and are gone at the end.
 *
 *     npx tsx examples/mtls-echo.ts
 */
import { Command, FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Option, Redacted, Stream } from "effect"
import { Address, Network, NodeNetwork } from "effect-netstreams"

/** A certificate authority of our own, and what it has issued. */
const authority = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const openssl = (...args: ReadonlyArray<string>) =>
    Command.make("openssl", ...args).pipe(Command.workingDirectory(folder), Command.string)

  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
  yield* openssl("req", "-x509", ...newKey, "-keyout", "ca.key", "-out", "ca.pem", "-days", "1", "-subj", "/CN=Our CA")

  const issue = (name: string, extension: string) =>
    Effect.gen(function*() {
      yield* fs.writeFileString(`${folder}/${name}.ext`, extension)
      yield* openssl("req", ...newKey, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`)
      yield* openssl(
        ...["x509", "-req", "-in", `${name}.csr`, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"],
        ...["-days", "1", "-extfile", `${name}.ext`, "-out", `${name}.pem`]
      )
      return {
        certificate: yield* fs.readFileString(`${folder}/${name}.pem`),
        key: Redacted.make(yield* fs.readFileString(`${folder}/${name}.key`))
      }
    })

  return { ca: yield* fs.readFileString(`${folder}/ca.pem`), issue }
})

const program = Effect.gen(function*() {
  const { ca, issue } = yield* authority
  const host = yield* issue("server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
  const alice = yield* issue("alice", "extendedKeyUsage=clientAuth")

  const server = yield* Network.startServer({
    host: "127.0.0.1",
    port: 0,
    tls: { ...host, ca, requestCertificate: true },
    onError: ({ cause, phase }) => Console.log(`turned away in the ${phase}:`, String(cause))
  }, ({ reader, tls, writer }) =>
    Effect.gen(function*() {
      // Whoever has none, or one that nobody vouches for, has been turned away.
      const certificate = Option.getOrThrow(Option.flatMap(tls, (session) => session.peerCertificate))
      yield* writer.write(`hello, ${certificate.subject["CN"]}\n`)
      yield* reader.bytes.pipe(Stream.run(writer.sink))
    }))

  const [{ port }] = server.addresses.filter(Address.isTcpAddress) as [Address.TcpAddress]
  const { reader, writer } = yield* Network.openConnection({ host: "127.0.0.1", port, tls: { ca, ...alice } })
  yield* writer.write("who am I?\n")
  yield* writer.writeEof
  yield* Stream.runForEach(reader.lines(), (line) => Console.log(line))
}).pipe(Effect.scoped)

NodeRuntime.runMain(program.pipe(Effect.provide(NodeNetwork.layer), Effect.provide(NodeContext.layer)))
