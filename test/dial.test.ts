import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as HashMap from "effect/HashMap"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Supervisor from "effect/Supervisor"
import * as TestClock from "effect/TestClock"
import * as Tracer from "effect/Tracer"
import * as Address from "../src/Address.js"
import { Background } from "../src/internal/background.js"
import type { AttemptReceiver, Dialer } from "../src/internal/dial.js"
import * as Dialling from "../src/internal/dial.js"
import { formatTarget, interleave } from "../src/internal/dial.js"
import { Race } from "../src/internal/dialRace.js"
import { ConnectError } from "../src/NetworkError.js"
import { ResolveError } from "../src/Resolver.js"
import type { Restore, TcpDialOptions } from "../src/Transport.js"
import type { Answer, Behaviour, Run, Script, ScriptedDialer, Socket } from "./support/scriptedDialer.js"
import { failure, runToEnd, scriptedDialer, scriptedResolver } from "./support/scriptedDialer.js"

// Run as a connection is opened: masked, and interruptible where it waits.
const dial = <A>(
  options: TcpDialOptions,
  resolver: Parameters<typeof Dialling.dial>[1],
  dialer: Dialer<A>
): Effect.Effect<A, ConnectError> =>
  Effect.uninterruptibleMask((restore) => Dialling.dial(options, resolver, dialer, restore))

const dialUnix = <A>(
  path: string,
  options: Parameters<typeof Dialling.dialUnix>[1],
  dialer: Dialer<A, Address.UnixAddress>
): Effect.Effect<A, ConnectError> =>
  Effect.uninterruptibleMask((restore) => Dialling.dialUnix(path, options, dialer, restore))

const withConnectTimeout = <A, E>(
  options: {
    readonly target: string
    readonly timeout: Duration.DurationInput | undefined
    readonly close: (made: A) => void
  },
  make: (progress: Dialling.Progress, restore: Restore) => Effect.Effect<A, E>
): Effect.Effect<A, E | ConnectError> =>
  Effect.uninterruptibleMask((restore) =>
    Dialling.withConnectTimeout(options, restore, (progress, _fiber, restore) => make(progress, restore))
  )

type Addresses = ReadonlyArray<readonly [address: string, behaviour: Behaviour]>

interface Scenario {
  readonly addresses: Addresses
  readonly options?: Partial<TcpDialOptions>
  /** When and how the resolver answers; at once, with the addresses in order, by default. */
  readonly lookup?: Answer | { readonly 4: Answer; readonly 6: Answer }
}

const resolverOf = ({ addresses, lookup }: Scenario) =>
  scriptedResolver(lookup ?? [0, addresses.map(([address]) => address)])

const dialScenario = (dialer: ScriptedDialer, scenario: Scenario) =>
  dial({ host: "test.example", port: 80, ...scenario.options }, resolverOf(scenario), dialer)

const scriptOf = (scenario: Scenario): Script => Object.fromEntries(scenario.addresses)

const run = (scenario: Scenario): Effect.Effect<Run> =>
  Effect.flatMap(scriptedDialer(scriptOf(scenario)), (dialer) => runToEnd(dialer, dialScenario(dialer, scenario)))

const failureOf = (exit: Exit.Exit<unknown, ConnectError>): ConnectError => {
  assert(Exit.isFailure(exit))
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  assert(error instanceof ConnectError, Cause.pretty(exit.cause))
  return error
}

/** Asserts on all that happened, and that nothing but the winner is left. */
const expect = (run: Run, events: ReadonlyArray<string>) => {
  assert.deepStrictEqual(run.events, events)
  assert.deepStrictEqual(run.open, Exit.isSuccess(run.exit) ? [run.exit.value.address] : [])
  assert.strictEqual(run.fibersLeft, 0)
}

const scenario = (name: string, scenario: Scenario, events: ReadonlyArray<string>, more?: (run: Run) => void) =>
  it.effect(name, () =>
    Effect.map(run(scenario), (run) => {
      expect(run, events)
      more?.(run)
    }))

const attemptsOf = (run: Run) =>
  failureOf(run.exit).attempts.map((attempt) =>
    [
      Address.format(attempt.address),
      attempt.reason,
      Option.getOrUndefined(attempt.code),
      Duration.toMillis(attempt.elapsed)
    ] as const
  )

describe("one address", () => {
  scenario("a quick one connects", { addresses: [["1.2.3.4", [123, "connects"]]] }, [
    "0 start 1.2.3.4",
    "123 connected 1.2.3.4",
    "123 handed over 1.2.3.4"
  ])

  scenario("a slow one has all the time it takes", { addresses: [["1.2.3.4", [100_000, "connects"]]] }, [
    "0 start 1.2.3.4",
    "100000 connected 1.2.3.4",
    "100000 handed over 1.2.3.4"
  ])

  scenario("one that connects at once is handed over at once", { addresses: [["1.2.3.4", [0, "connects"]]] }, [
    "0 start 1.2.3.4",
    "0 connected 1.2.3.4",
    "0 handed over 1.2.3.4"
  ])

  scenario(
    "a failure is told as it is, without ceremony",
    { addresses: [["1.2.3.4", [123, "ECONNREFUSED"]]] },
    ["0 start 1.2.3.4", "123 ECONNREFUSED 1.2.3.4", "123 failed"],
    (run) => {
      const error = failureOf(run.exit)
      assert.strictEqual(error.reason, "Refused")
      assert.deepStrictEqual(error.code, Option.some("ECONNREFUSED"))
      assert.deepStrictEqual(error.detail, Option.none())
      assert.deepStrictEqual(attemptsOf(run), [["1.2.3.4:80", "Refused", "ECONNREFUSED", 123]])
      assert.strictEqual(
        error.message,
        "connect to test.example:80 at 1.2.3.4:80: nobody listens there (ECONNREFUSED)"
      )
      assert.strictEqual((error.cause as Error).message, "connect ECONNREFUSED")
    }
  )

  scenario(
    "a slow failure is waited for",
    { addresses: [["1.2.3.4", [100_000, "ETIMEDOUT"]]] },
    ["0 start 1.2.3.4", "100000 ETIMEDOUT 1.2.3.4", "100000 failed"]
  )
})

describe("the race", () => {
  scenario("falls through to the next address every 250 milliseconds", {
    addresses: [["1.1.1.1", [1000, "connects"]], ["2.2.2.2", [1000, "connects"]], ["3.3.3.3", [200, "connects"]]]
  }, [
    "0 start 1.1.1.1",
    "250 start 2.2.2.2",
    "500 start 3.3.3.3",
    "700 connected 3.3.3.3",
    "700 give up 1.1.1.1",
    "700 give up 2.2.2.2",
    "700 handed over 3.3.3.3"
  ])

  scenario("starts no more once one has connected", {
    addresses: [["1.1.1.1", [1000, "connects"]], ["2.2.2.2", [100, "connects"]], ["3.3.3.3", [200, "connects"]]]
  }, [
    "0 start 1.1.1.1",
    "250 start 2.2.2.2",
    "350 connected 2.2.2.2",
    "350 give up 1.1.1.1",
    "350 handed over 2.2.2.2"
  ])

  scenario("waits as long as it is told to", {
    addresses: [["1.1.1.1", [1000, "connects"]], ["2.2.2.2", [1000, "connects"]], ["3.3.3.3", [200, "connects"]]],
    options: { happyEyeballsDelay: "450 millis" }
  }, [
    "0 start 1.1.1.1",
    "450 start 2.2.2.2",
    "900 start 3.3.3.3",
    "1000 connected 1.1.1.1",
    "1000 give up 2.2.2.2",
    "1000 give up 3.3.3.3",
    "1000 handed over 1.1.1.1"
  ])

  scenario("a failure starts the next at once", {
    addresses: [
      ["1.1.1.1", [100, "ECONNREFUSED"]],
      ["2.2.2.2", [200, "ECONNREFUSED"]],
      ["3.3.3.3", [10_000, "connects"]],
      ["4.4.4.4", [240, "connects"]]
    ]
  }, [
    "0 start 1.1.1.1",
    "100 ECONNREFUSED 1.1.1.1",
    "100 start 2.2.2.2",
    "300 ECONNREFUSED 2.2.2.2",
    "300 start 3.3.3.3",
    "550 start 4.4.4.4",
    "790 connected 4.4.4.4",
    "790 give up 3.3.3.3",
    "790 handed over 4.4.4.4"
  ])

  scenario(
    "when all fail it says so when the last has failed, and what became of each",
    {
      addresses: [
        ["1.1.1.1", [100, "ECONNREFUSED"]],
        ["2.2.2.2", [200, "ECONNREFUSED"]],
        ["3.3.3.3", [10_000, "ECONNREFUSED"]],
        ["4.4.4.4", [240, "ECONNREFUSED"]]
      ]
    },
    [
      "0 start 1.1.1.1",
      "100 ECONNREFUSED 1.1.1.1",
      "100 start 2.2.2.2",
      "300 ECONNREFUSED 2.2.2.2",
      "300 start 3.3.3.3",
      "550 start 4.4.4.4",
      "790 ECONNREFUSED 4.4.4.4",
      "10300 ECONNREFUSED 3.3.3.3",
      "10300 failed"
    ],
    (run) => {
      assert.deepStrictEqual(attemptsOf(run), [
        ["1.1.1.1:80", "Refused", "ECONNREFUSED", 100],
        ["2.2.2.2:80", "Refused", "ECONNREFUSED", 200],
        ["3.3.3.3:80", "Refused", "ECONNREFUSED", 10_000],
        ["4.4.4.4:80", "Refused", "ECONNREFUSED", 240]
      ])
      assert.strictEqual(failureOf(run.exit).reason, "Refused")
      assert.strictEqual(
        failureOf(run.exit).message,
        [
          "connect to test.example:80: nobody listens there; 4 addresses were tried",
          "  1.1.1.1:80: nobody listens there (ECONNREFUSED) after 100ms",
          "  2.2.2.2:80: nobody listens there (ECONNREFUSED) after 200ms",
          "  3.3.3.3:80: nobody listens there (ECONNREFUSED) after 10s",
          "  4.4.4.4:80: nobody listens there (ECONNREFUSED) after 240ms"
        ].join("\n")
      )
    }
  )

  scenario("several that connect in one turn yield one connection", {
    addresses: [
      ["1.1.1.1", [500, "ECONNREFUSED"]],
      ["2.2.2.2", [10_000, "connects"]],
      ["3.3.3.3", [9_000, "connects"]],
      ["4.4.4.4", [8_000, "connects"]],
      ["5.5.5.5", [500, "ECONNREFUSED"]]
    ],
    options: { happyEyeballsDelay: "1 second" }
  }, [
    "0 start 1.1.1.1",
    "500 ECONNREFUSED 1.1.1.1",
    "500 start 2.2.2.2",
    "1500 start 3.3.3.3",
    "2500 start 4.4.4.4",
    "3500 start 5.5.5.5",
    "4000 ECONNREFUSED 5.5.5.5",
    // The test clock runs what is due at one moment in the reverse order of its sleeps.
    "10500 connected 4.4.4.4",
    "10500 give up 2.2.2.2",
    "10500 give up 3.3.3.3",
    "10500 handed over 4.4.4.4"
  ])

  scenario("the families take turns", {
    addresses: [
      ["1.1.1.1", [10_000, "ECONNREFUSED"]],
      // This one would win if it were tried first.
      ["2.2.2.2", [1000, "connects"]],
      ["::3", [500, "connects"]]
    ],
    options: { happyEyeballsDelay: "1 second" }
  }, [
    "0 start 1.1.1.1",
    "1000 start ::3",
    "1500 connected ::3",
    "1500 give up 1.1.1.1",
    "1500 handed over ::3"
  ])

  scenario("a machine without IPv4 loses no time to it", {
    addresses: [
      ["::1", [10_000, "connects"]],
      ["2.2.2.2", [0, "EAFNOSUPPORT"]],
      ["::3", [100, "connects"]],
      ["4.4.4.4", [0, "EAFNOSUPPORT"]]
    ],
    options: { happyEyeballsDelay: "1 second" }
  }, [
    "0 start ::1",
    "1000 start 2.2.2.2",
    "1000 EAFNOSUPPORT 2.2.2.2",
    "1000 start ::3",
    "1100 connected ::3",
    "1100 give up ::1",
    "1100 handed over ::3"
  ])

  scenario("a machine without IPv6 loses no time to it", {
    addresses: [
      ["::1", [0, "ENETUNREACH"]],
      ["2.2.2.2", [10_000, "connects"]],
      ["::3", [0, "ENETUNREACH"]],
      ["4.4.4.4", [100, "connects"]]
    ],
    options: { happyEyeballsDelay: "1 second" }
  }, [
    "0 start ::1",
    "0 ENETUNREACH ::1",
    "0 start 2.2.2.2",
    "1000 start ::3",
    "1000 ENETUNREACH ::3",
    "1000 start 4.4.4.4",
    "1100 connected 4.4.4.4",
    "1100 give up 2.2.2.2",
    "1100 handed over 4.4.4.4"
  ])

  scenario("one that fails late hurries nobody", {
    addresses: [
      ["1.1.1.1", [300, "ECONNREFUSED"]],
      ["2.2.2.2", [10_000, "connects"]],
      ["3.3.3.3", [100, "connects"]]
    ]
  }, [
    "0 start 1.1.1.1",
    "250 start 2.2.2.2",
    "300 ECONNREFUSED 1.1.1.1",
    "500 start 3.3.3.3",
    "600 connected 3.3.3.3",
    "600 give up 2.2.2.2",
    "600 handed over 3.3.3.3"
  ])

  scenario("the delay counts from the start of the attempt before, not from the failure of another", {
    addresses: [
      ["1.1.1.1", [240, "ECONNREFUSED"]],
      ["2.2.2.2", [10_000, "connects"]],
      ["3.3.3.3", [10_000, "connects"]],
      ["4.4.4.4", [1, "connects"]]
    ]
  }, [
    "0 start 1.1.1.1",
    "240 ECONNREFUSED 1.1.1.1",
    "240 start 2.2.2.2",
    "490 start 3.3.3.3",
    "740 start 4.4.4.4",
    "741 connected 4.4.4.4",
    "741 give up 2.2.2.2",
    "741 give up 3.3.3.3",
    "741 handed over 4.4.4.4"
  ])

  scenario("a failure in the same moment as the delay starts one attempt, not two", {
    addresses: [
      ["1.1.1.1", [250, "ECONNREFUSED"]],
      ["2.2.2.2", [250, "ECONNREFUSED"]],
      ["3.3.3.3", [250, "ECONNREFUSED"]],
      ["4.4.4.4", [10, "connects"]]
    ]
  }, [
    "0 start 1.1.1.1",
    "250 start 2.2.2.2",
    "250 ECONNREFUSED 1.1.1.1",
    "500 start 3.3.3.3",
    "500 ECONNREFUSED 2.2.2.2",
    "750 start 4.4.4.4",
    "750 ECONNREFUSED 3.3.3.3",
    "760 connected 4.4.4.4",
    "760 handed over 4.4.4.4"
  ])

  scenario("an endless delay tries one after another", {
    addresses: [
      ["1.1.1.1", [60_000, "ETIMEDOUT"]],
      ["2.2.2.2", [60_000, "connects"]],
      ["3.3.3.3", [0, "connects"]]
    ],
    options: { happyEyeballsDelay: Duration.infinity }
  }, [
    "0 start 1.1.1.1",
    "60000 ETIMEDOUT 1.1.1.1",
    "60000 start 2.2.2.2",
    "120000 connected 2.2.2.2",
    "120000 handed over 2.2.2.2"
  ])

  scenario("one after another, the second is not even started when the first connects", {
    addresses: [["1.1.1.1", [10, "connects"]], ["2.2.2.2", [0, "connects"]]],
    options: { happyEyeballsDelay: Duration.infinity }
  }, ["0 start 1.1.1.1", "10 connected 1.1.1.1", "10 handed over 1.1.1.1"])

  scenario("one after another, all may fail", {
    addresses: [["1.1.1.1", [10, "ECONNREFUSED"]], ["2.2.2.2", [10, "ECONNREFUSED"]]],
    options: { happyEyeballsDelay: Duration.infinity }
  }, [
    "0 start 1.1.1.1",
    "10 ECONNREFUSED 1.1.1.1",
    "10 start 2.2.2.2",
    "20 ECONNREFUSED 2.2.2.2",
    "20 failed"
  ])

  scenario("a delay of zero starts all at once", {
    addresses: [
      ["1.1.1.1", [30, "connects"]],
      ["2.2.2.2", [10, "ECONNREFUSED"]],
      ["3.3.3.3", [20, "connects"]]
    ],
    options: { happyEyeballsDelay: 0 }
  }, [
    "0 start 1.1.1.1",
    "0 start 2.2.2.2",
    "0 start 3.3.3.3",
    "10 ECONNREFUSED 2.2.2.2",
    "20 connected 3.3.3.3",
    "20 give up 1.1.1.1",
    "20 handed over 3.3.3.3"
  ])

  scenario("a delay of zero starts no more after one that connects at once", {
    addresses: [["1.1.1.1", [30, "connects"]], ["2.2.2.2", [0, "connects"]], ["3.3.3.3", [0, "connects"]]],
    options: { happyEyeballsDelay: 0 }
  }, [
    "0 start 1.1.1.1",
    "0 start 2.2.2.2",
    "0 connected 2.2.2.2",
    "0 give up 1.1.1.1",
    "0 handed over 2.2.2.2"
  ])

  scenario("a first attempt that hangs for ever costs the next one 250 milliseconds", {
    addresses: [["2001:db8::1", "never answers"], ["192.0.2.1", [20, "connects"]]]
  }, [
    "0 start 2001:db8::1",
    "250 start 192.0.2.1",
    "270 connected 192.0.2.1",
    "270 give up 2001:db8::1",
    "270 handed over 192.0.2.1"
  ])

  scenario("a slow route is a route, however many addresses there are", {
    addresses: [["2001:db8::1", [0, "ENETUNREACH"]], ["192.0.2.1", [900, "connects"]]]
  }, [
    "0 start 2001:db8::1",
    "0 ENETUNREACH 2001:db8::1",
    "0 start 192.0.2.1",
    "900 connected 192.0.2.1",
    "900 handed over 192.0.2.1"
  ])

  scenario(
    "an address that is listed twice is tried once",
    { addresses: [["1.1.1.1", [1, "ECONNREFUSED"]]], lookup: [0, ["1.1.1.1", "1.1.1.1"]] },
    ["0 start 1.1.1.1", "1 ECONNREFUSED 1.1.1.1", "1 failed"]
  )

  it.effect("many addresses that fail at once do not overflow the stack", () =>
    Effect.gen(function*() {
      const addresses: Addresses = Array.from(
        { length: 20_000 },
        (_, i) => [`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, [0, "ENETUNREACH"]]
      )
      const { exit } = yield* run({ addresses })
      assert.strictEqual(failureOf(exit).attempts.length, 20_000)
    }))
})

describe("a dialler that misbehaves", () => {
  const connectWith = (connect: Dialer<string>["connect"]) => {
    const closed: Array<string> = []
    const dialer: Dialer<string> = { connect, close: (socket) => closed.push(socket) }
    return {
      closed,
      dial: dial(
        { host: "test.example", port: 80, happyEyeballsDelay: 0 },
        scriptedResolver([0, ["1.1.1.1", "2.2.2.2"]]),
        dialer
      )
    }
  }

  it.effect("a loser that connects while it is given up is closed", () =>
    Effect.gen(function*() {
      const { closed, dial } = connectWith(({ host }, _, receiver) => {
        if (host === "2.2.2.2") {
          receiver.onConnected(host)
        }
        return () => receiver.onConnected(host)
      })
      assert.strictEqual(yield* dial, "2.2.2.2")
      assert.deepStrictEqual(closed, ["1.1.1.1"])
    }))

  it.effect("a winner that connects twice is one connection", () =>
    Effect.gen(function*() {
      const { closed, dial } = connectWith(({ host }, _, receiver) => {
        receiver.onConnected(host)
        receiver.onConnected(`${host} again`)
        receiver.onFailed(failure("ECONNREFUSED"))
        return () => {}
      })
      assert.strictEqual(yield* dial, "1.1.1.1")
      assert.deepStrictEqual(closed, ["1.1.1.1 again"])
    }))

  it.effect("one attempt that makes another connect before it has itself begun is given up", () =>
    Effect.gen(function*() {
      const receivers: Array<AttemptReceiver<string>> = []
      const givenUp: Array<string> = []
      const { closed, dial } = connectWith(({ host }, _, receiver) => {
        receivers.push(receiver)
        if (host === "2.2.2.2") {
          receivers[0]!.onConnected("1.1.1.1")
        }
        return () => givenUp.push(host)
      })
      assert.strictEqual(yield* dial, "1.1.1.1")
      assert.deepStrictEqual(givenUp, ["2.2.2.2"])
      assert.deepStrictEqual(closed, [])
    }))

  it.effect("what it throws is a defect, and the other attempts are given up", () =>
    Effect.gen(function*() {
      const givenUp: Array<string> = []
      const { dial } = connectWith(({ host }) => {
        if (host === "2.2.2.2") {
          throw new RangeError("no more sockets")
        }
        return () => givenUp.push(host)
      })
      const exit = yield* Effect.exit(dial)
      assert(Exit.isFailure(exit))
      assert.deepStrictEqual(Cause.dieOption(exit.cause), Option.some(new RangeError("no more sockets")))
      assert.deepStrictEqual(givenUp, ["1.1.1.1"])
    }))
})

it.effect("what is thrown while a race begins is a defect, and ends what has begun", () =>
  Effect.gen(function*() {
    const dialer = yield* scriptedDialer({ "1.1.1.1": "never answers" })
    const racing = Effect.withFiberRuntime<Socket, ConnectError>((fiber) => {
      const race = new Race<Socket, Address.TcpAddress>({
        background: new Background(fiber),
        observer: undefined,
        progress: new Dialling.Progress(),
        target: "test.example:80",
        dialer,
        localsOf: () => [undefined],
        detailOf: () => undefined,
        delay: 250
      })
      return race.run(Effect.interruptible, () => {
        race.offer([Address.tcp("1.1.1.1", 80)], false)
        throw new Error("broken")
      })
    })
    const { events, exit } = yield* runToEnd(dialer, Effect.uninterruptible(racing))
    assert.deepStrictEqual(exit, Exit.die(new Error("broken")))
    assert.deepStrictEqual(events, ["0 start 1.1.1.1", "0 give up 1.1.1.1", "0 failed"])
  }))

describe("interleave", () => {
  const tcp = (host: string) => Address.tcp(host, 80)
  const a6 = tcp("2001:db8::a")
  const b6 = tcp("2001:db8::b")
  const c6 = tcp("2001:db8::c")
  const a4 = tcp("192.0.2.1")
  const b4 = tcp("192.0.2.2")
  const mixed = [a6, b6, c6, a4, b4]

  it("has the results of asyncio", () => {
    assert.deepStrictEqual(interleave(mixed, 0), mixed)
    assert.deepStrictEqual(interleave(mixed, 1), [a6, a4, b6, b4, c6])
    assert.deepStrictEqual(interleave(mixed, 2), [a6, b6, a4, c6, b4])
    assert.deepStrictEqual(interleave(mixed, 3), [a6, b6, c6, a4, b4])
    assert.deepStrictEqual(interleave(mixed, 9), [a6, b6, c6, a4, b4])
  })

  it("begins with the family that the resolver put first", () => {
    assert.deepStrictEqual(interleave([a4, b4, a6, b6, c6], 1), [a4, a6, b4, b6, c6])
    assert.deepStrictEqual(interleave([a4, a6, b6, c6, b4], 2), [a4, b4, a6, b6, c6])
  })

  it("leaves one family, and nothing, as it is", () => {
    assert.deepStrictEqual(interleave([a6, b6, c6], 2), [a6, b6, c6])
    assert.deepStrictEqual(interleave([], 1), [])
  })

  it("loses and repeats nothing, keeps the order within a family, and takes turns as long as it can", () => {
    // Every sequence of families up to seven addresses long, with every count.
    for (let length = 0; length <= 7; length++) {
      for (let bits = 0; bits < 2 ** length; bits++) {
        const addresses = Array.from({ length }, (_, i) => tcp((bits >> i) & 1 ? `2001:db8::${i}` : `192.0.2.${i}`))
        for (let count = 0; count <= length + 1; count++) {
          const result = interleave(addresses, count)
          assert.sameMembers([...result], addresses)
          for (const family of [4, 6]) {
            const of = (all: typeof result) => all.filter((address) => address.family === family)
            assert.deepStrictEqual(of(result), of(addresses))
          }
          if (count > 0) {
            const first = result.filter((address) => address.family === addresses[0]!.family).length
            const head = Math.min(count - 1, first)
            const turns = 2 * Math.min(first - head, length - first)
            for (let i = head; i < head + turns - 1; i++) {
              assert.notStrictEqual(result[i]!.family, result[i + 1]!.family)
            }
          }
        }
      }
    }
  })

  scenario("an option switches the turns off", {
    addresses: [
      ["::1", [10, "ECONNREFUSED"]],
      ["::2", [10, "ECONNREFUSED"]],
      ["1.1.1.1", [10, "connects"]]
    ],
    options: { interleave: 0 }
  }, [
    "0 start ::1",
    "10 ECONNREFUSED ::1",
    "10 start ::2",
    "20 ECONNREFUSED ::2",
    "20 start 1.1.1.1",
    "30 connected 1.1.1.1",
    "30 handed over 1.1.1.1"
  ])
})

describe("the reason when attempts differ", () => {
  const reasonOf = (...codes: ReadonlyArray<string>) =>
    Effect.map(
      run({ addresses: codes.map((code, i) => [`10.0.0.${i}`, [1, code]]) }),
      ({ exit }) => {
        const { attempts, code, reason } = failureOf(exit)
        assert.strictEqual(attempts.length, codes.length)
        return [reason, Option.getOrUndefined(code)]
      }
    )

  // Each is more telling than those after it.
  const order = [
    ["ECONNREFUSED", "Refused"],
    ["ETIMEDOUT", "TimedOut"],
    ["EHOSTUNREACH", "HostUnreachable"],
    ["EACCES", "PermissionDenied"],
    ["EADDRINUSE", "AddressInUse"],
    ["ECONNRESET", "Unknown"],
    ["ENETUNREACH", "NetworkUnreachable"],
    ["EADDRNOTAVAIL", "AddressNotAvailable"]
  ] as const

  it.effect("is that of the attempt which got furthest, whatever their order", () =>
    Effect.gen(function*() {
      for (const [i, [code, reason]] of order.entries()) {
        for (const [other] of order.slice(i)) {
          assert.deepStrictEqual(yield* reasonOf(code, other), [reason, code])
          assert.deepStrictEqual(yield* reasonOf(other, code), [reason, code])
        }
      }
    }), 60_000)

  it.effect("is the first of those that got equally far", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* reasonOf("ENETUNREACH", "EPROTO", "ECONNRESET"), ["Unknown", "EPROTO"])
    }))

  it.effect("the error survives being sent, with its attempts and its message", () =>
    Effect.gen(function*() {
      const { exit } = yield* run({ addresses: [["::1", [1, "ENETUNREACH"]], ["10.0.0.1", [2, "ECONNREFUSED"]]] })
      const error = failureOf(exit)
      const sent = JSON.parse(JSON.stringify(yield* Schema.encode(ConnectError)(error)))
      const received = yield* Schema.decodeUnknown(ConnectError)(sent)
      assert.deepStrictEqual(received.attempts, error.attempts)
      assert.deepStrictEqual(received.code, Option.some("ECONNREFUSED"))
      assert.strictEqual(received.message, error.message)
    }))
})

describe("name lookup", () => {
  it.effect("a numeric address is not looked up, with a zone or without", () =>
    Effect.gen(function*() {
      for (const host of ["127.0.0.1", "::1", "fe80::1%eth0"]) {
        const dialer = yield* scriptedDialer({ [host]: [5, "connects"] })
        const resolver = scriptedResolver("never answers")
        const { events } = yield* runToEnd(dialer, dial({ host, port: 80 }, resolver, dialer))
        assert.deepStrictEqual(events.map((event) => event.replace(/^\d+ /, "")), [
          `start ${host}`,
          `connected ${host}`,
          `handed over ${host}`
        ])
        assert.deepStrictEqual(resolver.questions, [])
      }
    }))

  it.effect("the family and the hints reach the resolver", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "::1": [5, "connects"] })
      const resolver = scriptedResolver([0, ["::1"]])
      yield* runToEnd(
        dialer,
        dial({ host: "test.example", port: 80, family: 6, lookupHints: 32 }, resolver, dialer)
      )
      assert.deepStrictEqual(resolver.questions, [{ host: "test.example", family: 6, hints: 32 }])
    }))

  scenario("a resolver that ignores the family is filtered", {
    addresses: [["::1", [0, "connects"]], ["1.1.1.1", [10, "connects"]]],
    options: { family: 4 }
  }, ["0 start 1.1.1.1", "10 connected 1.1.1.1", "10 handed over 1.1.1.1"])

  const failing = (
    name: string,
    scenario: Omit<Scenario, "addresses">,
    expected: { readonly reason: string; readonly code: string | undefined; readonly message: string }
  ) =>
    it.effect(name, () =>
      Effect.map(run({ addresses: [], ...scenario }), (run) => {
        const error = failureOf(run.exit)
        assert.deepStrictEqual({
          reason: error.reason,
          code: Option.getOrUndefined(error.code),
          message: error.message
        }, expected)
        assert.deepStrictEqual(error.attempts, [])
        assert.strictEqual(run.fibersLeft, 0)
      }))

  failing("a name that does not exist says so", { lookup: [20, "NameNotFound"] }, {
    reason: "NameNotFound",
    code: "ENOTFOUND",
    message: "connect to test.example:80: there is no such name (ENOTFOUND)"
  })

  failing("a name without an address of the family says so", {
    lookup: [0, ["1.1.1.1"]],
    options: { family: 6 }
  }, {
    reason: "NameNotFound",
    code: undefined,
    message: "connect to test.example:80: the name has no IPv6 address"
  })

  failing("a name without any address says so", { lookup: [0, []] }, {
    reason: "NameNotFound",
    code: undefined,
    message: "connect to test.example:80: the name has no address"
  })

  failing("a lookup that fails for the moment can be told from a name that does not exist", {
    lookup: [20, "Temporary"]
  }, {
    reason: "TimedOut",
    code: "EAI_AGAIN",
    message:
      "connect to test.example:80: the name can't be looked up for the moment, and trying again may help (EAI_AGAIN)"
  })

  failing("a lookup that fails for another reason says so", { lookup: [20, "Unknown"] }, {
    reason: "Unknown",
    code: "ENOTFOUND",
    message: "connect to test.example:80: the name can't be looked up (ENOTFOUND)"
  })

  failing("a numeric address of the other family says so", { options: { host: "127.0.0.1", family: 6 } }, {
    reason: "NameNotFound",
    code: undefined,
    message: "connect to 127.0.0.1:80: it is an IPv4 address, and one of IPv6 was asked for"
  })

  it.effect("the cause is what the platform threw", () =>
    Effect.map(run({ addresses: [], lookup: [0, "NameNotFound"] }), ({ exit }) => {
      assert.strictEqual((failureOf(exit).cause as Error).message, "getaddrinfo")
    }))

  it.effect("an answer that is not a numeric address is a defect that names it", () =>
    Effect.map(run({ addresses: [], lookup: [0, ["10.0.0.1", "localhost"]] }), ({ exit }) => {
      assert(Exit.isFailure(exit))
      const defect = Option.getOrThrow(Cause.dieOption(exit.cause))
      assert(Cause.isIllegalArgumentException(defect))
      assert.include(defect.message, "\"localhost\" for test.example")
    }))

  it("writes a target as people do", () => {
    assert.strictEqual(formatTarget("localhost", 80), "localhost:80")
    assert.strictEqual(formatTarget("::1", 80), "[::1]:80")
  })
})

describe("a resolver that can tell the families apart", () => {
  const addresses: Addresses = [
    ["::1", [100, "connects"]],
    ["::2", [100, "connects"]],
    ["1.1.1.1", [100, "connects"]],
    ["2.2.2.2", [100, "connects"]]
  ]

  scenario("IPv6 starts as soon as it is known", {
    addresses: [["::1", [1000, "connects"]], ["1.1.1.1", [1000, "connects"]]],
    lookup: { 6: [10, ["::1"]], 4: [400, ["1.1.1.1"]] }
  }, [
    "10 start ::1",
    "400 start 1.1.1.1",
    "1010 connected ::1",
    "1010 give up 1.1.1.1",
    "1010 handed over ::1"
  ])

  scenario("IPv4 that comes in time joins the race at its turn", {
    addresses: [["::1", [1000, "ECONNREFUSED"]], ["::2", [1000, "ECONNREFUSED"]], ["1.1.1.1", [20, "connects"]]],
    lookup: { 6: [10, ["::1", "::2"]], 4: [100, ["1.1.1.1"]] }
  }, [
    "10 start ::1",
    "260 start 1.1.1.1",
    "280 connected 1.1.1.1",
    "280 give up ::1",
    "280 handed over 1.1.1.1"
  ])

  scenario("IPv4 waits 50 milliseconds for IPv6, and gives way to it", {
    addresses,
    lookup: { 6: [59, ["::1"]], 4: [10, ["1.1.1.1"]] }
  }, ["59 start ::1", "159 connected ::1", "159 handed over ::1"])

  scenario("IPv4 waits 50 milliseconds for IPv6, and no more", {
    addresses,
    lookup: { 6: [5000, ["::1"]], 4: [10, ["1.1.1.1"]] }
  }, ["60 start 1.1.1.1", "160 connected 1.1.1.1", "160 handed over 1.1.1.1"])

  scenario("an answer for IPv6 that never comes does not matter", {
    addresses: [["1.1.1.1", [10, "ECONNREFUSED"]], ["2.2.2.2", [10, "connects"]]],
    lookup: { 6: "never answers", 4: [10, ["1.1.1.1", "2.2.2.2"]] }
  }, [
    "60 start 1.1.1.1",
    "70 ECONNREFUSED 1.1.1.1",
    "70 start 2.2.2.2",
    "80 connected 2.2.2.2",
    "80 handed over 2.2.2.2"
  ])

  scenario("IPv6 that comes late goes next, and takes turns from then on", {
    addresses: [
      ["1.1.1.1", "never answers"],
      ["::1", "never answers"],
      ["2.2.2.2", "never answers"],
      ["::2", [10, "connects"]]
    ],
    lookup: { 6: [200, ["::1", "::2"]], 4: [0, ["1.1.1.1", "2.2.2.2"]] }
  }, [
    "50 start 1.1.1.1",
    "300 start ::1",
    "550 start 2.2.2.2",
    "800 start ::2",
    "810 connected ::2",
    "810 give up 1.1.1.1",
    "810 give up ::1",
    "810 give up 2.2.2.2",
    "810 handed over ::2"
  ])

  scenario("an address that comes after all others have failed starts at once", {
    addresses: [["1.1.1.1", [10, "ECONNREFUSED"]], ["::1", [10, "connects"]]],
    lookup: { 6: [2000, ["::1"]], 4: [0, ["1.1.1.1"]] }
  }, [
    "50 start 1.1.1.1",
    "60 ECONNREFUSED 1.1.1.1",
    "2000 start ::1",
    "2010 connected ::1",
    "2010 handed over ::1"
  ])

  scenario("an address that comes after the delay has passed starts at once", {
    addresses: [["1.1.1.1", [5000, "connects"]], ["::1", [10, "connects"]]],
    lookup: { 6: [2000, ["::1"]], 4: [0, ["1.1.1.1"]] }
  }, [
    "50 start 1.1.1.1",
    "2000 start ::1",
    "2010 connected ::1",
    "2010 give up 1.1.1.1",
    "2010 handed over ::1"
  ])

  scenario("the race does not end while an answer is awaited", {
    addresses: [["1.1.1.1", [10, "ECONNREFUSED"]]],
    lookup: { 6: [2000, "NoAddress"], 4: [0, ["1.1.1.1"]] }
  }, [
    "50 start 1.1.1.1",
    "60 ECONNREFUSED 1.1.1.1",
    "2000 failed"
  ], (run) => assert.deepStrictEqual(attemptsOf(run), [["1.1.1.1:80", "Refused", "ECONNREFUSED", 10]]))

  scenario("when IPv6 has no address IPv4 does not wait", {
    addresses,
    lookup: { 6: [10, "NoAddress"], 4: [20, ["1.1.1.1"]] }
  }, ["20 start 1.1.1.1", "120 connected 1.1.1.1", "120 handed over 1.1.1.1"])

  scenario("when IPv6 turns out to have no address IPv4 stops waiting", {
    addresses,
    lookup: { 6: [30, "NoAddress"], 4: [20, ["1.1.1.1"]] }
  }, ["30 start 1.1.1.1", "130 connected 1.1.1.1", "130 handed over 1.1.1.1"])

  scenario("when IPv4 has no address IPv6 is waited for", {
    addresses,
    lookup: { 6: [300, ["::1"]], 4: [20, "NoAddress"] }
  }, ["300 start ::1", "400 connected ::1", "400 handed over ::1"])

  scenario("both at once, and all at once", {
    addresses: [["::1", [0, "connects"]], ["1.1.1.1", [0, "connects"]]],
    lookup: { 6: [0, ["::1"]], 4: [0, ["1.1.1.1"]] },
    options: { happyEyeballsDelay: 0 }
  }, ["0 start ::1", "0 connected ::1", "0 handed over ::1"])

  scenario("asked for one family, it is asked for that alone", {
    addresses,
    lookup: { 6: "never answers", 4: [10, ["1.1.1.1"]] },
    options: { family: 4 }
  }, ["10 start 1.1.1.1", "110 connected 1.1.1.1", "110 handed over 1.1.1.1"])

  it.effect("of two failed lookups the one that may pass is told", () =>
    Effect.gen(function*() {
      const cases = [
        ["NoAddress", "NoAddress", "NameNotFound", "the name has no address"],
        ["NoAddress", "NameNotFound", "NameNotFound", "there is no such name"],
        ["NameNotFound", "Unknown", "Unknown", "the name can't be looked up"],
        ["Temporary", "Unknown", "TimedOut", "the name can't be looked up for the moment, and trying again may help"],
        ["NoAddress", "Temporary", "TimedOut", "the name can't be looked up for the moment, and trying again may help"]
      ] as const
      for (const [a, b, reason, detail] of cases) {
        for (const [six, four] of [[a, b], [b, a]] as const) {
          const { exit, fibersLeft } = yield* run({ addresses: [], lookup: { 6: [10, six], 4: [20, four] } })
          assert.strictEqual(failureOf(exit).reason, reason)
          assert.deepStrictEqual(failureOf(exit).detail, Option.some(detail))
          assert.strictEqual(fibersLeft, 0)
        }
      }
    }))

  const temporarily = "the name can't be looked up for the moment, and trying again may help"

  scenario(
    "a lookup that may do better another time comes before a network that can't be reached",
    {
      addresses: [["::1", [10, "ENETUNREACH"]]],
      lookup: { 6: [0, ["::1"]], 4: [30, "Temporary"] }
    },
    ["0 start ::1", "10 ENETUNREACH ::1", "30 failed"],
    (run) => {
      const error = failureOf(run.exit)
      assert.deepStrictEqual([error.reason, error.code], ["TimedOut", Option.some("EAI_AGAIN")])
      assert.strictEqual((error.cause as Error).message, "getaddrinfo")
      assert.strictEqual(
        error.message,
        `connect to test.example:80: its IPv4 addresses are unknown: ${temporarily} (EAI_AGAIN); 1 address was tried\n` +
          "  [::1]:80: the network can't be reached (ENETUNREACH) after 10ms"
      )
    }
  )

  scenario(
    "a lookup that may do better another time comes after an answer, which names it",
    {
      addresses: [["1.1.1.1", [10, "ECONNREFUSED"]]],
      lookup: { 6: [0, "Temporary"], 4: [30, ["1.1.1.1"]] }
    },
    ["30 start 1.1.1.1", "40 ECONNREFUSED 1.1.1.1", "40 failed"],
    (run) => {
      const error = failureOf(run.exit)
      assert.deepStrictEqual([error.reason, error.code], ["Refused", Option.some("ECONNREFUSED")])
      assert.strictEqual((error.cause as Error).message, "connect ECONNREFUSED")
      assert.strictEqual(
        error.message,
        `connect to test.example:80 at 1.1.1.1:80: its IPv6 addresses are unknown: ${temporarily}; ` +
          "nobody listens there (ECONNREFUSED)"
      )
    }
  )

  it.effect("a lookup that failed comes at its turn among the reasons of the attempts", () =>
    Effect.gen(function*() {
      const cases = [
        ["Temporary", "ECONNREFUSED", "Refused"],
        ["Temporary", "EHOSTUNREACH", "TimedOut"],
        ["Temporary", "EADDRNOTAVAIL", "TimedOut"],
        ["Unknown", "EHOSTUNREACH", "HostUnreachable"],
        ["Unknown", "ENETUNREACH", "Unknown"]
      ] as const
      for (const [lookup, code, reason] of cases) {
        for (
          const families of [{ 6: [0, ["::1"]], 4: [30, lookup] }, { 6: [30, lookup], 4: [0, ["::1"]] }] as const
        ) {
          const host = families[6][0] === 0 ? "::1" : "1.1.1.1"
          const { exit } = yield* run({
            addresses: [[host, [1, code]]],
            lookup: families[6][0] === 0 ? families : { ...families, 4: [0, [host]] }
          })
          assert.strictEqual(failureOf(exit).reason, reason)
          assert.match(failureOf(exit).message, /its IPv[46] addresses are unknown: the name can't be looked up/)
        }
      }
      // That there are none is an answer.
      const { exit } = yield* run({
        addresses: [["::1", [1, "ENETUNREACH"]]],
        lookup: { 6: [0, ["::1"]], 4: [30, "NoAddress"] }
      })
      assert.strictEqual(failureOf(exit).reason, "NetworkUnreachable")
      assert.notInclude(failureOf(exit).message, "unknown")
    }))

  it.effect("a lookup that may do better another time comes before addresses that can't be bound to", () =>
    Effect.gen(function*() {
      const { exit } = yield* run({
        addresses: [],
        lookup: { 6: [0, ["::1"]], 4: [30, "Temporary"] },
        options: { localAddress: "192.0.2.1" }
      })
      const error = failureOf(exit)
      assert.deepStrictEqual([error.reason, error.code], ["TimedOut", Option.some("EAI_AGAIN")])
      assert.strictEqual((error.cause as Error).message, "getaddrinfo")
      assert.strictEqual(
        error.message,
        `connect to test.example:80: its IPv4 addresses are unknown: ${temporarily}; ` +
          "the addresses to connect to are all IPv6, and the local address 192.0.2.1 is not (EAI_AGAIN)"
      )
    }))

  it.effect("a lookup that fails with several errors, or with one and what it stopped, is one that failed", () =>
    Effect.gen(function*() {
      const no = (after: number) =>
        Effect.delay(Effect.fail(new ResolveError({ reason: "NoAddress", host: "test.example" })), after)
      const failing = [
        Effect.race(no(5), no(10)),
        Effect.all([no(5), Effect.never], { concurrency: 2 }),
        Effect.zipRight(Effect.ensuring(no(5), Effect.die("broken")), no(5))
      ]
      for (const six of failing) {
        const dialer = yield* scriptedDialer({ "1.1.1.1": [10, "connects"] })
        const { exit, fibersLeft } = yield* runToEnd(
          dialer,
          dial({ host: "test.example", port: 80 }, {
            separateFamilies: true,
            lookup: (_, options) =>
              options?.family === 4 ? Effect.delay(Effect.succeed(["1.1.1.1"]), 20) : Effect.as(six, [])
          }, dialer)
        )
        assert(Exit.isSuccess(exit), String(exit))
        assert.strictEqual(fibersLeft, 0)
      }
    }))

  it.effect("a lookup that throws is a defect, and ends an attempt that has begun", () =>
    Effect.gen(function*() {
      for (const family of [6, 4, undefined]) {
        const dialer = yield* scriptedDialer({ "::1": "never answers", "1.1.1.1": "never answers" })
        const { exit, fibersLeft, open } = yield* runToEnd(
          dialer,
          dial({ host: "test.example", port: 80 }, {
            separateFamilies: family !== undefined,
            lookup: (_, options) => {
              if (options?.family === family) {
                throw new Error("broken")
              }
              return Effect.succeed([family === 4 ? "::1" : "1.1.1.1"])
            }
          }, dialer)
        )
        assert.deepStrictEqual(exit, Exit.die(new Error("broken")))
        assert.deepStrictEqual([open, fibersLeft], [[], 0])
      }
    }))

  it.effect("a defect in one lookup ends it all", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "1.1.1.1": "never answers" })
      const { exit, fibersLeft, open } = yield* runToEnd(
        dialer,
        dial({ host: "test.example", port: 80 }, {
          separateFamilies: true,
          lookup: (_, options) =>
            options?.family === 4 ? Effect.succeed(["1.1.1.1"]) : Effect.delay(Effect.die("broken"), 100)
        }, dialer)
      )
      assert.deepStrictEqual(exit, Exit.die("broken"))
      assert.deepStrictEqual([open, fibersLeft], [[], 0])
    }))
})

describe("the local address", () => {
  const locals = (options: Partial<TcpDialOptions>, ...hosts: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer(Object.fromEntries(hosts.map((host) => [host, [1, "ECONNREFUSED"]])))
      const { exit } = yield* runToEnd(
        dialer,
        dial({ host: "test.example", port: 80, ...options }, {
          lookup: (host) =>
            host === "test.example"
              ? Effect.succeed(hosts)
              : host === "me.example"
              ? Effect.succeed(["192.0.2.7", "2001:db8::7"])
              : scriptedResolver([0, "NameNotFound"]).lookup(host)
        }, dialer)
      )
      return { locals: dialer.locals, error: failureOf(exit) }
    })

  it.effect("none is none", () =>
    Effect.map(locals({}, "::1"), ({ locals }) => assert.deepStrictEqual(locals, [undefined])))

  it.effect("a port alone is bound whatever the family", () =>
    Effect.map(
      locals({ localPort: 4000 }, "::1", "1.1.1.1"),
      ({ locals }) =>
        assert.deepStrictEqual(locals, [{ address: undefined, port: 4000 }, { address: undefined, port: 4000 }])
    ))

  it.effect("an address is bound for its own family, and the other is not tried", () =>
    Effect.map(locals({ localAddress: "192.0.2.9", localPort: 4000 }, "::1", "1.1.1.1"), ({ error, locals }) => {
      assert.deepStrictEqual(locals, [{ address: "192.0.2.9", port: 4000 }])
      assert.strictEqual(error.message, "connect to test.example:80 at 1.1.1.1:80: nobody listens there (ECONNREFUSED)")
    }))

  it.effect("a name is bound with the address of each family", () =>
    Effect.map(
      locals({ localAddress: "me.example" }, "::1", "1.1.1.1"),
      ({ locals }) =>
        assert.deepStrictEqual(locals, [{ address: "2001:db8::7", port: undefined }, {
          address: "192.0.2.7",
          port: undefined
        }])
    ))

  it.effect("where none fits, the error says so, and nothing is tried", () =>
    Effect.gen(function*() {
      for (const options of [{}, { host: "::1" }]) {
        const { error, locals: tried } = yield* locals({ localAddress: "192.0.2.9", ...options }, "::1", "::2")
        assert.deepStrictEqual(tried, [])
        assert.strictEqual(error.reason, "AddressNotAvailable")
        assert.include(
          error.message,
          "the addresses to connect to are all IPv6, and the local address 192.0.2.9 is not"
        )
      }
    }))

  it.effect("one that is not this machine's, or is in use, is named", () =>
    Effect.gen(function*() {
      const cases = [
        [
          { localAddress: "192.0.2.9" },
          "bind EADDRNOTAVAIL",
          "the local address 192.0.2.9 is not one of this machine's"
        ],
        [{ localAddress: "192.0.2.9", localPort: 7 }, "bind EADDRINUSE", "the local address 192.0.2.9:7 is in use"],
        [{ localPort: 7 }, "bind EADDRINUSE", "the local address *:7 is in use"],
        [{ localPort: 7 }, "bind EACCES", "the local address *:7 may not be used"],
        [{ localPort: 7 }, "EACCES", "permission denied"],
        [
          { localAddress: "192.0.2.9", localPort: 7 },
          "EADDRNOTAVAIL",
          "there is such a connection from 192.0.2.9:7 already"
        ],
        [
          { localPort: 7 },
          "EADDRNOTAVAIL",
          "this machine has no address of that family, or has such a connection from port 7 already"
        ],
        [
          { localAddress: "192.0.2.9" },
          "EADDRNOTAVAIL",
          "this machine has no such address, or no free port, to connect from"
        ]
      ] as const
      for (const [options, outcome, message] of cases) {
        const { exit } = yield* run({ addresses: [["1.1.1.1", [1, outcome]]], options })
        const code = outcome.replace("bind ", "")
        assert.strictEqual(
          failureOf(exit).message,
          `connect to test.example:80 at 1.1.1.1:80: ${message} (${code})`
        )
      }
    }))

  scenario(
    "what is about it is told of each attempt, whatever the others came to",
    {
      addresses: [["1.1.1.1", [1, "ECONNREFUSED"]], ["2.2.2.2", [2, "bind EADDRINUSE"]]],
      options: { localAddress: "192.0.2.9", localPort: 7 }
    },
    [
      "0 start 1.1.1.1",
      "1 ECONNREFUSED 1.1.1.1",
      "1 start 2.2.2.2",
      "3 bind EADDRINUSE 2.2.2.2",
      "3 failed"
    ],
    (run) => {
      assert.strictEqual(
        failureOf(run.exit).message,
        "connect to test.example:80: nobody listens there; 2 addresses were tried\n" +
          "  1.1.1.1:80: nobody listens there (ECONNREFUSED) after 1ms\n" +
          "  2.2.2.2:80: the local address is in use (EADDRINUSE) after 2ms"
      )
    }
  )

  describe("that is a name with several addresses", () => {
    const from = (
      behaviours: Script,
      lookup: ReadonlyArray<string>,
      options?: Partial<TcpDialOptions>
    ): Effect.Effect<Run & { readonly locals: ReadonlyArray<string | undefined> }> =>
      Effect.gen(function*() {
        const dialer = yield* scriptedDialer(behaviours)
        const resolver = {
          lookup: (host: string) => Effect.succeed(host === "me.example" ? lookup : ["1.1.1.1", "2.2.2.2"])
        }
        const run = yield* runToEnd(
          dialer,
          dial({ host: "test.example", port: 80, localAddress: "me.example", ...options }, resolver, dialer)
        )
        return { ...run, locals: dialer.locals.map((local) => local?.address) }
      })

    it.effect("is bound to the first of them that can be, for each attempt", () =>
      Effect.gen(function*() {
        for (const after of [0, 5]) {
          for (const code of ["EADDRNOTAVAIL", "EADDRINUSE"]) {
            const run = yield* from(
              {
                "192.0.2.7 -> 1.1.1.1": [after, `bind ${code}`],
                "192.0.2.8 -> 1.1.1.1": [after, `bind ${code}`],
                "192.0.2.9 -> 1.1.1.1": [1000, "ECONNREFUSED"],
                "192.0.2.7 -> 2.2.2.2": [0, "bind EADDRNOTAVAIL"],
                "192.0.2.8 -> 2.2.2.2": [100, "connects"]
              },
              ["192.0.2.7", "2001:db8::7", "192.0.2.8", "192.0.2.9"]
            )
            expect(run, [
              "0 start 1.1.1.1",
              `${after} bind ${code} 1.1.1.1`,
              `${after} start 1.1.1.1`,
              `${2 * after} bind ${code} 1.1.1.1`,
              `${2 * after} start 1.1.1.1`,
              "250 start 2.2.2.2",
              "250 bind EADDRNOTAVAIL 2.2.2.2",
              "250 start 2.2.2.2",
              "350 connected 2.2.2.2",
              "350 give up 1.1.1.1",
              "350 handed over 2.2.2.2"
            ])
            assert.deepStrictEqual(run.locals, ["192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.7", "192.0.2.8"])
          }
        }
      }))

    it.effect("is bound once where an attempt fails for another reason", () =>
      Effect.gen(function*() {
        const run = yield* from(
          { "1.1.1.1": [10, "EADDRNOTAVAIL"], "2.2.2.2": [10, "ECONNREFUSED"] },
          ["192.0.2.7", "192.0.2.8"]
        )
        assert.deepStrictEqual(run.locals, ["192.0.2.7", "192.0.2.7"])
        assert.deepStrictEqual(attemptsOf(run), [
          ["1.1.1.1:80", "AddressNotAvailable", "EADDRNOTAVAIL", 10],
          ["2.2.2.2:80", "Refused", "ECONNREFUSED", 10]
        ])
      }))

    it.effect("is told by the most telling of its failures, where none can be bound", () =>
      Effect.gen(function*() {
        for (const happyEyeballsDelay of ["1 hour", 0] as const) {
          for (const after of [0, 5]) {
            const run = yield* from(
              {
                "192.0.2.7 -> 1.1.1.1": [after, "bind EADDRINUSE"],
                "192.0.2.8 -> 1.1.1.1": [after, "bind EADDRNOTAVAIL"],
                "192.0.2.7 -> 2.2.2.2": [after, "bind EADDRNOTAVAIL"],
                "192.0.2.8 -> 2.2.2.2": [after, "bind EADDRNOTAVAIL"]
              },
              ["192.0.2.7", "192.0.2.8"],
              { localPort: 7, happyEyeballsDelay }
            )
            assert.deepStrictEqual([run.open, run.fibersLeft], [[], 0])
            const elapsed = after === 0 ? "0" : "10ms"
            assert.strictEqual(
              failureOf(run.exit).message,
              "connect to test.example:80: the local address 192.0.2.7:7 (me.example) is in use; 2 addresses were tried\n" +
                `  1.1.1.1:80: the local address is in use (EADDRINUSE) after ${elapsed}\n` +
                "  2.2.2.2:80: this machine has no such address, or no free port, to connect from (EADDRNOTAVAIL) " +
                `after ${elapsed}`
            )
          }
        }
      }))

    it.effect("interrupted at any moment leaves nothing open", () =>
      Effect.gen(function*() {
        for (const at of [0, 1, 5, 6, 10, 11, 249, 250, 251, 300]) {
          const dialer = yield* scriptedDialer({
            "192.0.2.7 -> 1.1.1.1": [5, "bind EADDRINUSE"],
            "192.0.2.8 -> 1.1.1.1": [5, "bind EADDRINUSE"],
            "192.0.2.9 -> 1.1.1.1": "never answers",
            "2.2.2.2": "never answers"
          })
          const fiber = yield* Effect.fork(
            dial({ host: "test.example", port: 80, localAddress: "me.example" }, {
              lookup: (host) =>
                Effect.succeed(host === "me.example" ? ["192.0.2.7", "192.0.2.8", "192.0.2.9"] : ["1.1.1.1", "2.2.2.2"])
            }, dialer)
          )
          yield* TestClock.adjust(at)
          yield* Fiber.interrupt(fiber)
          yield* TestClock.adjust("1 hour")
          assert.deepStrictEqual(Array.from(dialer.open), [])
        }
      }))

    it.effect("what a dialler throws at the second of them is a defect", () =>
      Effect.gen(function*() {
        const scripted = yield* scriptedDialer({ "192.0.2.7 -> 1.1.1.1": [5, "bind EADDRINUSE"] })
        const dialer: Dialer<Socket> = {
          ...scripted,
          connect: (address, local, receiver) => {
            if (local?.address === "192.0.2.8") {
              throw new RangeError("no more sockets")
            }
            return scripted.connect(address, local, receiver)
          }
        }
        const { exit } = yield* runToEnd(
          scripted,
          dial({ host: "1.1.1.1", port: 80, localAddress: "me.example" }, {
            lookup: () => Effect.succeed(["192.0.2.7", "192.0.2.8"])
          }, dialer)
        )
        assert.deepStrictEqual(exit, Exit.die(new RangeError("no more sockets")))
      }))
  })

  it.effect("a name that does not exist is an address that this machine does not have", () =>
    Effect.map(locals({ localAddress: "nobody.example" }, "1.1.1.1"), ({ error }) => {
      assert.strictEqual(error.reason, "AddressNotAvailable")
      assert.include(error.message, "the local address nobody.example: there is no such name")
    }))

  it.effect("a lookup of it that fails passes on what the platform said", () =>
    Effect.gen(function*() {
      for (
        const [lookup, reason, code] of [
          ["Temporary", "TimedOut", "EAI_AGAIN"],
          ["NameNotFound", "AddressNotAvailable", "ENOTFOUND"],
          ["Unknown", "Unknown", "ENOTFOUND"]
        ] as const
      ) {
        const { exit } = yield* run({
          addresses: [],
          lookup: [0, lookup],
          options: { host: "1.1.1.1", localAddress: "me" }
        })
        const error = failureOf(exit)
        assert.deepStrictEqual([error.reason, error.code], [reason, Option.some(code)])
        assert.strictEqual((error.cause as Error).message, "getaddrinfo")
        assert.match(error.message, new RegExp(`^connect to 1.1.1.1:80: the local address me: .*\\(${code}\\)$`))
      }
    }))

  scenario("a family that does not fit is waited for no longer than its lookup takes", {
    addresses: [["::1", [0, "connects"]], ["1.1.1.1", [0, "connects"]]],
    lookup: { 6: [10, ["::1"]], 4: [30, ["1.1.1.1"]] },
    options: { localAddress: "192.0.2.9" }
  }, ["30 start 1.1.1.1", "30 connected 1.1.1.1", "30 handed over 1.1.1.1"])
})

describe("connectTimeout", () => {
  const limit = (timeout: Duration.DurationInput) => ({ connectTimeout: timeout })

  scenario("one that is not reached changes nothing", {
    addresses: [["1.1.1.1", [100, "connects"]]],
    options: limit("101 millis")
  }, ["0 start 1.1.1.1", "100 connected 1.1.1.1", "100 handed over 1.1.1.1"])

  scenario(
    "strikes during name lookup",
    { addresses: [], lookup: "never answers", options: limit("2 seconds") },
    ["2000 failed"],
    (run) => {
      assert.strictEqual(failureOf(run.exit).reason, "TimedOut")
      assert.strictEqual(
        failureOf(run.exit).message,
        "connect to test.example:80: no connection within 2s, the time ran out during name lookup"
      )
    }
  )

  scenario(
    "strikes during the lookup of one family, when all of the other have failed",
    {
      addresses: [["1.1.1.1", [10, "ECONNREFUSED"]]],
      lookup: { 6: "never answers", 4: [10, ["1.1.1.1"]] },
      options: limit("2 seconds")
    },
    ["60 start 1.1.1.1", "70 ECONNREFUSED 1.1.1.1", "2000 failed"],
    (run) => assert.include(failureOf(run.exit).message, "the time ran out during name lookup")
  )

  scenario(
    "strikes during both of two lookups",
    { addresses: [], lookup: { 4: "never answers", 6: "never answers" }, options: limit("2 seconds") },
    ["2000 failed"],
    (run) => assert.include(failureOf(run.exit).message, "during name lookup")
  )

  scenario(
    "strikes during TCP, over lookup and TCP together, and says what became of each address",
    {
      addresses: [["1.1.1.1", [100, "ENETUNREACH"]], ["2.2.2.2", "never answers"], ["3.3.3.3", "never answers"]],
      lookup: [500, ["1.1.1.1", "2.2.2.2", "3.3.3.3"]],
      options: limit("1 second")
    },
    [
      "500 start 1.1.1.1",
      "600 ENETUNREACH 1.1.1.1",
      "600 start 2.2.2.2",
      "850 start 3.3.3.3",
      "1000 give up 2.2.2.2",
      "1000 give up 3.3.3.3",
      "1000 failed"
    ],
    (run) => {
      assert.deepStrictEqual(attemptsOf(run), [
        ["1.1.1.1:80", "NetworkUnreachable", "ENETUNREACH", 100],
        ["2.2.2.2:80", "TimedOut", undefined, 400],
        ["3.3.3.3:80", "TimedOut", undefined, 150]
      ])
      assert.strictEqual(
        failureOf(run.exit).message.split("\n")[0],
        "connect to test.example:80: no connection within 1s, the time ran out while connecting over TCP; " +
          "3 addresses were tried"
      )
    }
  )

  scenario("strikes at once where it is zero", {
    addresses: [["1.1.1.1", "never answers"]],
    options: limit(0)
  }, ["0 start 1.1.1.1", "0 give up 1.1.1.1", "0 failed"])

  scenario("no limit is an endless one", {
    addresses: [["1.1.1.1", [100_000, "connects"]]],
    options: limit(Duration.infinity)
  }, ["0 start 1.1.1.1", "100000 connected 1.1.1.1", "100000 handed over 1.1.1.1"])

  scenario(
    "a failure before it is the failure",
    { addresses: [["1.1.1.1", [100, "ECONNREFUSED"]]], options: limit("1 second") },
    ["0 start 1.1.1.1", "100 ECONNREFUSED 1.1.1.1", "100 failed"],
    (run) => assert.strictEqual(failureOf(run.exit).reason, "Refused")
  )

  // What a backend does with TLS: it goes on from the socket, and gives it back when interrupted.
  const overTls = (dialer: ScriptedDialer, timeout: Duration.DurationInput, handshake: Effect.Effect<void>) =>
    withConnectTimeout(
      { target: "test.example:443", timeout, close: dialer.close },
      (progress, restore) =>
        Dialling.dialWithin(
          progress,
          { host: "test.example", port: 443 },
          scriptedResolver([100, ["1.1.1.1", "2.2.2.2"]]),
          dialer,
          restore
        ).pipe(Effect.flatMap((socket) => {
          progress.phase = "tls"
          return restore(handshake).pipe(
            Effect.as(socket),
            Effect.onInterrupt(() => Effect.sync(() => dialer.close(socket)))
          )
        }))
    )

  it.effect("strikes during the TLS handshake, over all three together", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "1.1.1.1": [100, "ECONNREFUSED"], "2.2.2.2": [100, "connects"] })
      const result = yield* runToEnd(dialer, overTls(dialer, "1 second", Effect.never))
      expect(result, [
        "100 start 1.1.1.1",
        "200 ECONNREFUSED 1.1.1.1",
        "200 start 2.2.2.2",
        "300 connected 2.2.2.2",
        "1000 close 2.2.2.2",
        "1000 failed"
      ])
      assert.deepStrictEqual(attemptsOf(result), [
        ["1.1.1.1:443", "Refused", "ECONNREFUSED", 100],
        ["2.2.2.2:443", "TimedOut", undefined, 800]
      ])
      assert.include(failureOf(result.exit).message, "the time ran out during the TLS handshake")
    }))

  it.effect("a handshake that ends in time is not disturbed", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "1.1.1.1": [100, "connects"], "2.2.2.2": "never answers" })
      const result = yield* runToEnd(dialer, overTls(dialer, "1 second", Effect.sleep(500)))
      expect(result, ["100 start 1.1.1.1", "200 connected 1.1.1.1", "700 handed over 1.1.1.1"])
    }))

  it.effect("what is made in the moment in which the caller is interrupted is closed", () =>
    Effect.gen(function*() {
      const closed: Array<string> = []
      const caller = yield* Effect.withFiberRuntime<string, ConnectError>((caller) =>
        withConnectTimeout(
          { target: "x:1", timeout: "10 seconds", close: (made: string) => closed.push(made) },
          () =>
            Effect.sync(() => {
              caller.unsafeInterruptAsFork(FiberId.none)
              return "made"
            })
        )
      ).pipe(Effect.fork)
      assert(Exit.isInterrupted(yield* caller.await))
      assert.deepStrictEqual(closed, ["made"])
    }))

  it.effect("works for a Unix socket, which has neither lookup nor TCP", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "unix:/run/x.sock": "never answers" })
      const result = yield* runToEnd(dialer, dialUnix("/run/x.sock", { connectTimeout: "1 second" }, dialer))
      expect(result, ["0 start unix:/run/x.sock", "1000 give up unix:/run/x.sock", "1000 failed"])
      assert.strictEqual(
        failureOf(result.exit).message,
        "connect to /run/x.sock: no connection within 1s, the time ran out while connecting"
      )
    }))

  it.effect("a Unix socket that is not there is told as it is", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "unix:/run/x.sock": [1, "ENOENT"] })
      const result = yield* runToEnd(dialer, dialUnix("/run/x.sock", {}, dialer))
      assert.deepStrictEqual(attemptsOf(result), [["unix:/run/x.sock", "Unknown", "ENOENT", 1]])
    }))
})

describe("interruption", () => {
  // Everything that can be going on: lookups, the wait for IPv6, attempts that hang, fail, lose and win, a time limit.
  const busy: Scenario = {
    addresses: [
      ["1.1.1.1", [300, "ECONNREFUSED"]],
      ["::1", [0, "ENETUNREACH"]],
      ["2.2.2.2", "never answers"],
      ["::2", [600, "connects"]],
      ["3.3.3.3", [340, "connects"]]
    ],
    lookup: { 4: [10, ["1.1.1.1", "2.2.2.2", "3.3.3.3"]], 6: [100, ["::1", "::2"]] }
  }
  const all = [
    "60 start 1.1.1.1",
    "310 start ::1",
    "310 ENETUNREACH ::1",
    "310 start 2.2.2.2",
    "360 ECONNREFUSED 1.1.1.1",
    "560 start ::2",
    "810 start 3.3.3.3",
    "1150 connected 3.3.3.3",
    "1150 give up 2.2.2.2",
    "1150 give up ::2"
  ]

  scenario("of nothing, all goes its way", busy, [...all, "1150 handed over 3.3.3.3"])

  const interrupted = (
    options: Partial<TcpDialOptions>,
    when: (
      dialer: ScriptedDialer,
      fiber: Fiber.RuntimeFiber<Socket, ConnectError>
    ) => Effect.Effect<unknown>
  ) =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer(scriptOf(busy))
      const supervisor = yield* Supervisor.track
      // As a caller does it that owns what it gets from the moment it gets it.
      const fiber = yield* Effect.uninterruptibleMask((restore) =>
        Effect.tap(
          restore(dialScenario(dialer, { ...busy, options })),
          (socket) => Effect.sync(() => dialer.close(socket))
        )
      ).pipe(
        // The dialling itself, which begins in the next turn, is not what is counted.
        (caller) => Effect.fork(Effect.zipRight(Effect.yieldNow(), Effect.supervised(caller, supervisor)))
      )
      yield* when(dialer, fiber)
      yield* TestClock.adjust("10 seconds")
      const exit = yield* fiber.await
      assert.deepStrictEqual(Array.from(dialer.open), [])
      assert.deepStrictEqual(yield* supervisor.value, [])
      return { exit, events: dialer.events }
    })

  for (const limit of [undefined, "1 hour"] as const) {
    const options = { connectTimeout: limit }
    const under = limit === undefined ? "" : ", under a time limit"

    it.effect(`between any two moments leaves nothing open${under}`, () =>
      Effect.gen(function*() {
        for (const time of [0, 5, 10, 30, 60, 61, 99, 100, 305, 310, 355, 360, 500, 560, 800, 810, 1149]) {
          const { events, exit } = yield* interrupted(options, (dialer, fiber) =>
            Effect.gen(function*() {
              yield* TestClock.adjust(time)
              yield* Fiber.interrupt(fiber)
              // By the time the interruption is over, not some time after it.
              assert.deepStrictEqual(Array.from(dialer.open), [])
            }))
          assert(Exit.isInterrupted(exit))
          assert.deepStrictEqual(
            events.filter((event) => !event.includes("give up")),
            all.filter((event) => parseInt(event) <= time && !event.includes("give up"))
          )
        }
      }), 60_000)

    it.effect(`in the very moment of any event leaves nothing open${under}`, () =>
      Effect.gen(function*() {
        for (let n = 1; n <= all.length; n++) {
          const { exit } = yield* interrupted(options, (dialer, fiber) =>
            Effect.sync(() => {
              dialer.onEvent = (count) => {
                if (count === n) {
                  fiber.unsafeInterruptAsFork(FiberId.none)
                }
              }
            }))
          assert(Exit.isInterrupted(exit) || n >= 8, `event ${n}`)
        }
      }), 60_000)
  }

  it.effect("before the first step begins nothing", () =>
    Effect.gen(function*() {
      const { events } = yield* interrupted({}, (_, fiber) => Fiber.interrupt(fiber))
      assert.deepStrictEqual(events, [])
    }))

  it.effect("in the moment of connecting, one address, closes the connection that nobody gets", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "1.1.1.1": [100, "connects"] })
      const fiber = yield* Effect.fork(dial({ host: "1.1.1.1", port: 80 }, scriptedResolver("never answers"), dialer))
      dialer.onEvent = (count) => {
        if (count === 2) {
          fiber.unsafeInterruptAsFork(FiberId.none)
        }
      }
      yield* TestClock.adjust("1 second")
      assert(Exit.isInterrupted(yield* fiber.await))
      assert.deepStrictEqual(dialer.events, ["0 start 1.1.1.1", "100 connected 1.1.1.1", "100 close 1.1.1.1"])
    }))

  it.effect("in the moment in which the first attempt starts leaves nothing open", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "1.1.1.1": [100, "connects"] })
      const fiber = yield* Effect.fork(dial({ host: "1.1.1.1", port: 80 }, scriptedResolver("never answers"), dialer))
      dialer.onEvent = (count) => {
        if (count === 1) {
          fiber.unsafeInterruptAsFork(FiberId.none)
        }
      }
      yield* TestClock.adjust("1 second")
      assert(Exit.isInterrupted(yield* fiber.await))
      assert.deepStrictEqual(dialer.events, ["0 start 1.1.1.1", "0 give up 1.1.1.1"])
    }))

  it.live("wherever the scheduler stops the fiber leaves nothing open", () =>
    Effect.gen(function*() {
      for (const connectTimeout of [undefined, "1 hour"] as const) {
        // The fiber yields every ten steps; the steps before it shift where in dialling that is.
        for (let shift = 0; shift < 10; shift++) {
          for (let turns = 0; turns < 30; turns++) {
            const dialer = yield* scriptedDialer({ "1.1.1.1": turns % 2 === 0 ? [0, "connects"] : "never answers" })
            const caller = Effect.uninterruptibleMask((restore) =>
              Effect.tap(
                restore(dial({ host: "1.1.1.1", port: 80, connectTimeout }, scriptedResolver("never answers"), dialer)),
                (socket) => Effect.sync(() => dialer.close(socket))
              )
            )
            const fiber = yield* Effect.void.pipe(
              Effect.repeatN(shift),
              Effect.zipRight(caller),
              Effect.withMaxOpsBeforeYield(10),
              Effect.fork
            )
            for (let turn = 0; turn < turns; turn++) {
              yield* Effect.yieldNow()
            }
            yield* Fiber.interrupt(fiber)
            assert.deepStrictEqual(Array.from(dialer.open), [], `${connectTimeout} ${shift} ${turns}`)
          }
        }
      }
    }), 60_000)

  it.effect("does not wait for a lookup that can't be stopped to answer, where it is the resolver's to return", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({})
      const answered = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        dial({ host: "test.example", port: 80 }, {
          lookup: () => Effect.async(() => Effect.asVoid(Deferred.succeed(answered, undefined)))
        }, dialer)
      )
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* Deferred.isDone(answered))
    }))

  it.effect("an effect of dialling can be run again", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "1.1.1.1": [0, "ECONNREFUSED"] })
      const dialling = dial({ host: "1.1.1.1", port: 80 }, scriptedResolver("never answers"), dialer)
      yield* Effect.exit(dialling)
      yield* Effect.exit(dialling)
      assert.deepStrictEqual(dialer.events, [
        "0 start 1.1.1.1",
        "0 ECONNREFUSED 1.1.1.1",
        "0 start 1.1.1.1",
        "0 ECONNREFUSED 1.1.1.1"
      ])
    }))
})

describe("tracing and logging", () => {
  interface Seen {
    readonly name: string
    readonly parent: string | undefined
    readonly attributes: Record<string, unknown>
    readonly from: number
    to: number
    outcome: string
  }

  const tracer = (seen: Array<Seen>): Tracer.Tracer => {
    const native = Option.getOrThrow(Option.fromNullable(nativeTracer))
    return Tracer.make({
      span: (name, parent, context, links, startTime, kind) => {
        const span = native.span(name, parent, context, links, startTime, kind)
        const entry: Seen = {
          name,
          parent: Option.getOrUndefined(Option.map(parent, (parent) => parent._tag === "Span" ? parent.name : "?")),
          attributes: {},
          from: Number(startTime) / 1_000_000,
          to: -1,
          outcome: "open"
        }
        seen.push(entry)
        const { attribute, end } = span
        span.attribute = (key, value) => {
          entry.attributes[key] = value
          attribute.call(span, key, value)
        }
        span.end = (time, exit) => {
          entry.to = Number(time) / 1_000_000
          entry.outcome = Exit.isSuccess(exit) ? "succeeded" : Exit.isInterrupted(exit) ? "given up" : "failed"
          end.call(span, time, exit)
        }
        return span
      },
      context: (f) => f()
    })
  }
  let nativeTracer: Tracer.Tracer | undefined
  const remember = Effect.map(Effect.tracer, (tracer) => {
    nativeTracer ??= tracer
  })

  const traced: Scenario = {
    addresses: [
      ["::1", [100, "ENETUNREACH"]],
      ["1.1.1.1", "never answers"],
      ["::2", [50, "connects"]]
    ],
    lookup: [20, ["::1", "1.1.1.1", "::2"]]
  }

  it.effect("a tracer sees the lookup and each attempt, named as OpenTelemetry does", () =>
    Effect.gen(function*() {
      yield* remember
      const seen: Array<Seen> = []
      const dialer = yield* scriptedDialer(scriptOf(traced))
      yield* runToEnd(dialer, dialScenario(dialer, traced).pipe(Effect.withTracer(tracer(seen))))
      const peer = (family: 4 | 6, address: string) => ({
        "server.address": "test.example",
        "server.port": 80,
        "network.transport": "tcp",
        "network.type": `ipv${family}`,
        "network.peer.address": address,
        "network.peer.port": 80
      })
      assert.deepStrictEqual(seen, [
        {
          name: "dns.lookup",
          parent: undefined,
          attributes: { "server.address": "test.example", "dns.answers": ["::1", "1.1.1.1", "::2"] },
          from: 0,
          to: 20,
          outcome: "succeeded"
        },
        {
          name: "tcp.connect",
          parent: undefined,
          attributes: { ...peer(6, "::1"), "error.type": "ENETUNREACH" },
          from: 20,
          to: 120,
          outcome: "failed"
        },
        {
          name: "tcp.connect",
          parent: undefined,
          attributes: peer(4, "1.1.1.1"),
          from: 120,
          to: 420,
          outcome: "given up"
        },
        {
          name: "tcp.connect",
          parent: undefined,
          attributes: peer(6, "::2"),
          from: 370,
          to: 420,
          outcome: "succeeded"
        }
      ])
    }))

  it.effect("spans are children of the span around the dialling, under a time limit too", () =>
    Effect.gen(function*() {
      yield* remember
      for (const connectTimeout of [undefined, "1 minute"] as const) {
        const seen: Array<Seen> = []
        const dialer = yield* scriptedDialer(scriptOf(traced))
        yield* runToEnd(
          dialer,
          dialScenario(dialer, { ...traced, options: { connectTimeout } }).pipe(
            Effect.withSpan("request"),
            Effect.withTracer(tracer(seen))
          )
        )
        assert.deepStrictEqual(
          seen.map(({ name, parent }) => [name, parent]),
          [
            ["request", undefined],
            ["dns.lookup", "request"],
            ["tcp.connect", "request"],
            ["tcp.connect", "request"],
            ["tcp.connect", "request"]
          ]
        )
        assert.notInclude(seen.map((span) => span.outcome), "open")
      }
    }))

  it.effect("interruption ends the spans", () =>
    Effect.gen(function*() {
      yield* remember
      const seen: Array<Seen> = []
      const dialer = yield* scriptedDialer(scriptOf(traced))
      const fiber = yield* dialScenario(dialer, traced).pipe(Effect.withTracer(tracer(seen)), Effect.fork)
      yield* TestClock.adjust("200 millis")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(seen.map((span) => span.outcome), ["succeeded", "failed", "given up"])
    }))

  it.effect("a failed lookup is a failed span", () =>
    Effect.gen(function*() {
      yield* remember
      const seen: Array<Seen> = []
      const dialer = yield* scriptedDialer({})
      yield* runToEnd(
        dialer,
        dialScenario(dialer, { addresses: [], lookup: [5, "Temporary"] }).pipe(Effect.withTracer(tracer(seen)))
      )
      assert.deepStrictEqual(seen.map(({ name, outcome }) => [name, outcome]), [["dns.lookup", "failed"]])
    }))

  it.effect("each family's lookup is a span of its own", () =>
    Effect.gen(function*() {
      yield* remember
      const seen: Array<Seen> = []
      const dialer = yield* scriptedDialer({ "1.1.1.1": [1, "connects"] })
      yield* runToEnd(
        dialer,
        dialScenario(dialer, { addresses: [], lookup: { 6: "never answers", 4: [5, ["1.1.1.1"]] } }).pipe(
          Effect.withTracer(tracer(seen))
        )
      )
      assert.deepStrictEqual(
        seen.map(({ attributes, name, outcome }) => [name, attributes["network.type"], outcome]),
        [["dns.lookup", "ipv6", "given up"], ["dns.lookup", "ipv4", "succeeded"], ["tcp.connect", "ipv4", "succeeded"]]
      )
    }))

  it.effect("a tracer or a logger that throws does not decide what becomes of an attempt", () =>
    Effect.gen(function*() {
      yield* remember
      const seen: Array<Seen> = []
      const throwing = tracer(seen)
      const span: Tracer.Tracer["span"] = (...args) =>
        Object.assign(throwing.span(...args), {
          end: () => {
            throw new Error("can't export")
          }
        })
      const logger = Logger.make(({ message }) => {
        if (String(message).startsWith("connect")) {
          throw new Error("can't write")
        }
      })
      const watched = [
        Effect.withTracer(
          Tracer.make({
            span: (name, ...rest) => (name === "tcp.connect" ? span : throwing.span)(name, ...rest),
            context: (f) => f()
          })
        ),
        <A, E>(dialling: Effect.Effect<A, E>) =>
          dialling.pipe(
            Logger.withMinimumLogLevel(LogLevel.Debug),
            Effect.provide(Logger.replace(Logger.defaultLogger, logger))
          )
      ]
      for (const watch of watched) {
        const connected = yield* scriptedDialer(scriptOf(traced))
        expect(yield* runToEnd(connected, watch(dialScenario(connected, traced))), [
          "20 start ::1",
          "120 ENETUNREACH ::1",
          "120 start 1.1.1.1",
          "370 start ::2",
          "420 connected ::2",
          "420 give up 1.1.1.1",
          "420 handed over ::2"
        ])
        const refused = yield* scriptedDialer({ "1.1.1.1": [10, "ECONNREFUSED"] })
        const { exit } = yield* runToEnd(
          refused,
          watch(dialScenario(refused, { addresses: [["1.1.1.1", [10, "ECONNREFUSED"]]] }))
        )
        assert.strictEqual(failureOf(exit).reason, "Refused")
        const interrupted = yield* scriptedDialer(scriptOf(traced))
        const fiber = yield* Effect.fork(watch(dialScenario(interrupted, traced)))
        yield* TestClock.adjust("200 millis")
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(Array.from(interrupted.open), [])
      }
    }))

  it.effect("no span is made where tracing is off, or where nobody looks", () =>
    Effect.gen(function*() {
      yield* remember
      const seen: Array<Seen> = []
      const dialer = yield* scriptedDialer(scriptOf(traced))
      yield* runToEnd(
        dialer,
        dialScenario(dialer, traced).pipe(Effect.withTracer(tracer(seen)), Effect.withTracerEnabled(false))
      )
      assert.deepStrictEqual(seen, [])
    }))

  it.effect("debug logging has a line for the lookup and for each attempt, annotated as OpenTelemetry does", () =>
    Effect.gen(function*() {
      const lines: Array<readonly [message: string, annotations: Record<string, unknown>]> = []
      const logger = Logger.make(({ annotations, message }) => {
        lines.push([String(message), Object.fromEntries(HashMap.toEntries(annotations))])
      })
      const dialer = yield* scriptedDialer(scriptOf(traced))
      yield* runToEnd(
        dialer,
        dialScenario(dialer, traced).pipe(
          Logger.withMinimumLogLevel(LogLevel.Debug),
          Effect.provide(Logger.add(logger))
        )
      )
      assert.deepStrictEqual(lines.map(([message]) => message), [
        "lookup of test.example: ::1, 1.1.1.1, ::2",
        "connect to [::1]:80: failed: NetworkUnreachable (ENETUNREACH)",
        "connect to [::2]:80: connected",
        "connect to 1.1.1.1:80: given up"
      ])
      assert.deepStrictEqual(lines[0]![1], { "server.address": "test.example" })
      assert.deepStrictEqual(lines[1]![1], {
        "server.address": "test.example",
        "server.port": 80,
        "network.transport": "tcp",
        "network.type": "ipv6",
        "network.peer.address": "::1",
        "network.peer.port": 80
      })
    }))
})

describe("a failure that is handled", () => {
  it.effect("is not logged as one that nobody handles", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => {
        lines.push(String(message))
      })
      const apart: Scenario = {
        addresses: [["1.1.1.1", [10, "ECONNREFUSED"]]],
        lookup: { 6: [0, "NoAddress"], 4: [0, ["1.1.1.1"]] }
      }
      for (const connectTimeout of [undefined, "1 minute", 5] as const) {
        const dialer = yield* scriptedDialer(scriptOf(apart))
        const { exit } = yield* runToEnd(
          dialer,
          dialScenario(dialer, { ...apart, options: { connectTimeout } }).pipe(
            Logger.withMinimumLogLevel(LogLevel.Debug),
            Effect.provide(Logger.replace(Logger.defaultLogger, logger))
          )
        )
        assert(Exit.isFailure(exit))
      }
      assert.include(lines, "connect to 1.1.1.1:80: failed: Refused (ECONNREFUSED)")
      assert.deepStrictEqual(lines.filter((line) => !/^(lookup of|connect to) /.test(line)), [])
    }))
})

describe("timers", () => {
  it.live("go by setTimeout on the clock that programs have by default, and stop with their owner", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      yield* Effect.withFiberRuntime<void>((fiber) =>
        Effect.async((resume) => {
          const background = new Background(fiber)
          background.schedule(1, () => {
            events.push("first")
            background.schedule(60_000, () => events.push("stopped by close"))
            background.schedule(Infinity, () => events.push("never"))
            background.schedule(2 ** 31, () => events.push("never"))
            resume(background.closeWith(Exit.void))
            background.schedule(1, () => events.push("too late"))
          })
          background.schedule(1, () => events.push("cancelled"))()
        })
      )
      yield* Effect.sleep(10)
      assert.deepStrictEqual(events, ["first"])
    }))

  it.live("race on the live clock as they do on a test's", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "1.1.1.1": "never answers", "2.2.2.2": [1, "connects"] })
      const socket = yield* dial(
        { host: "test.example", port: 80, happyEyeballsDelay: 1, connectTimeout: "1 minute" },
        scriptedResolver([1, ["1.1.1.1", "2.2.2.2"]]),
        dialer
      )
      assert.strictEqual(socket.address, "2.2.2.2")
      assert.deepStrictEqual(Array.from(dialer.open), ["2.2.2.2"])
    }))

  it.live("a time limit strikes on the live clock", () =>
    Effect.gen(function*() {
      const dialer = yield* scriptedDialer({ "1.1.1.1": "never answers" })
      const exit = yield* Effect.exit(
        dial({ host: "1.1.1.1", port: 80, connectTimeout: 5 }, scriptedResolver("never answers"), dialer)
      )
      assert.strictEqual(failureOf(exit).reason, "TimedOut")
      assert.deepStrictEqual(Array.from(dialer.open), [])
    }))
})
