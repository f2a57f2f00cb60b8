import { assert, it } from "@effect/vitest"
import { Clock, Effect, Schedule, type Scope } from "effect"
import { type Connection, Network, TestNetwork } from "effect-netstreams"

// What is tested: a client that asks for a line, gives an answer 5 seconds, and tries again a second after a failure.
const quote = Effect.gen(function*() {
  const { reader, writer } = yield* Network.openConnection({ host: "quotes.test", port: 17 })
  yield* writer.write("QUOTE\r\n")
  const line = yield* reader.readUntil("\r\n")
  return new TextDecoder().decode(line).trimEnd()
}).pipe(
  Effect.scoped,
  Effect.timeout("5 seconds"),
  Effect.retry({ schedule: Schedule.spaced("1 second"), times: 3 })
)

// Its peer, on a machine of its own. `prepare` sees each connection before anything is said.
const serve = (prepare: (connection: Connection.Connection) => Effect.Effect<void> = () => Effect.void) =>
  Network.startServer({ port: 17 }, (connection) =>
    Effect.gen(function*() {
      yield* prepare(connection)
      yield* connection.reader.readUntil("\r\n")
      yield* connection.writer.write("Festina lente.\r\n")
    })).pipe(TestNetwork.runOn("quotes.test"))

type Test<E> = Effect.Effect<void, E, Network.Network | TestNetwork.TestNetwork | Scope.Scope>

const inSimulation = (conditions: TestNetwork.LinkConditions) => <E>(test: Test<E>) =>
  test.pipe(
    Effect.scoped,
    Effect.provide(TestNetwork.layerWith({ hosts: { "quotes.test": "192.0.2.17" }, conditions, record: true })),
    TestNetwork.simulate
  )

it.effect("an answer takes two round trips", () =>
  Effect.gen(function*() {
    yield* serve()
    yield* quote
    const transcript = yield* TestNetwork.transcript
    assert.deepEqual(transcript.format({ received: false }).split("\n"), [
      "  0 ms  #1 client dials 192.0.2.17:17 from 192.0.2.1:49152",
      "100 ms  #1 client connects",
      "100 ms  #1 client sends 7 bytes: \"QUOTE\\r\\n\"",
      "150 ms  #1 server accepts",
      "150 ms  #1 server sends 16 bytes: \"Festina lente.\\r\\n\"",
      "150 ms  #1 server ends",
      "200 ms  #1 client ends"
    ])
  }).pipe(inSimulation({ latency: "50 millis" })))

it.effect("however it is cut", () =>
  Effect.gen(function*() {
    yield* serve()
    assert.equal(yield* quote, "Festina lente.")
  }).pipe(inSimulation({ fragment: 1 })))

it.effect("a server that is being restarted is asked again", () =>
  Effect.gen(function*() {
    yield* serve()
    yield* TestNetwork.failConnect({ port: 17 }, { times: 2 })
    assert.equal(yield* quote, "Festina lente.")
    assert.equal(yield* Clock.currentTimeMillis, 2000)
  }).pipe(inSimulation({})))

it.effect("so is one whose answer breaks off, or does not come to its end", () =>
  Effect.gen(function*() {
    let connections = 0
    yield* serve((connection) =>
      Effect.flatMap(TestNetwork.link(connection), (link) => {
        connections += 1
        return connections === 1
          ? link.resetAfter(7, { direction: "sent" })
          : connections === 2
          ? link.stallAfter(7, { direction: "sent" })
          : Effect.void
      })
    )
    assert.equal(yield* quote, "Festina lente.")
    assert.equal(connections, 3)
    // A second after the reset, 5 seconds of waiting and the time that closing on a silent peer takes, and a second more.
    assert.equal(yield* Clock.currentTimeMillis, 1000 + 5000 + 1000 + 1000)
  }).pipe(inSimulation({})))
