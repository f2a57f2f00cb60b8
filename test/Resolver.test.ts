import { assert, describe, it } from "@effect/vitest"
import * as Resolver from "effect-netstreams/Resolver"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as dns from "node:dns"
import { make, resolver } from "../src/internal/node/resolver.js"

const told = (error: Resolver.ResolveError) => [error.reason, Option.getOrUndefined(error.code), error.message] as const

describe("layerStatic", () => {
  const hosts = Resolver.layerStatic({
    "db.internal": ["2001:db8::5", "192.0.2.5", "192.0.2.6"],
    "Cache.Internal.": "192.0.2.7",
    "nothing.internal": []
  })

  it.effect("answers with all addresses, in their order", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Resolver.lookup("db.internal"), ["2001:db8::5", "192.0.2.5", "192.0.2.6"])
    }).pipe(Effect.provide(hosts)))

  it.effect("answers with those of the family asked for", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Resolver.lookup("db.internal", { family: 4 }), ["192.0.2.5", "192.0.2.6"])
      assert.deepStrictEqual(yield* Resolver.lookup("db.internal", { family: 6 }), ["2001:db8::5"])
    }).pipe(Effect.provide(hosts)))

  it.effect("compares names as DNS does", () =>
    Effect.gen(function*() {
      for (const name of ["cache.internal", "CACHE.internal.", "Cache.Internal"]) {
        assert.deepStrictEqual(yield* Resolver.lookup(name), ["192.0.2.7"])
      }
    }).pipe(Effect.provide(hosts)))

  it.effect("a numeric address is its own answer", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Resolver.lookup("fe80::1%eth0"), ["fe80::1%eth0"])
      const error = yield* Effect.flip(Resolver.lookup("127.0.0.1", { family: 6 }))
      assert.strictEqual(error.reason, "NoAddress")
    }).pipe(Effect.provide(hosts)))

  it.effect("tells a name that does not exist from one that has no address", () =>
    Effect.gen(function*() {
      const failing = (host: string, family?: 4 | 6) => Effect.map(Effect.flip(Resolver.lookup(host, { family })), told)
      assert.deepStrictEqual(yield* failing("nobody.internal"), [
        "NameNotFound",
        undefined,
        "lookup of nobody.internal: there is no such name"
      ])
      assert.deepStrictEqual(yield* failing("nothing.internal"), [
        "NoAddress",
        undefined,
        "lookup of nothing.internal: the name has no address"
      ])
      assert.deepStrictEqual(yield* failing("cache.internal", 6), [
        "NoAddress",
        undefined,
        "lookup of cache.internal: the name has no IPv6 address"
      ])
    }).pipe(Effect.provide(hosts)))

  it.effect("does not take what every object has for a name", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Resolver.lookup("constructor"))
      assert.strictEqual(error.reason, "NameNotFound")
    }).pipe(Effect.provide(hosts)))
})

describe("a resolver of the program's own", () => {
  it.effect("takes the place of any other", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Resolver.lookup("anything"), ["127.0.0.1"])
    }).pipe(Effect.provide(Layer.succeed(Resolver.Resolver, { lookup: () => Effect.succeed(["127.0.0.1"]) }))))
})

describe("ResolveError", () => {
  it.effect("survives being sent", () =>
    Effect.gen(function*() {
      const error = new Resolver.ResolveError({
        reason: "Temporary",
        host: "db.internal",
        family: Option.some(4),
        code: Option.some("EAI_AGAIN"),
        cause: new Error("getaddrinfo EAI_AGAIN db.internal")
      })
      const sent = JSON.parse(JSON.stringify(yield* Schema.encode(Resolver.ResolveError)(error)))
      const received = yield* Schema.decodeUnknown(Resolver.ResolveError)(sent)
      assert.deepStrictEqual(told(received), [
        "Temporary",
        "EAI_AGAIN",
        "lookup of db.internal: the name can't be looked up for the moment, and trying again may help (EAI_AGAIN)"
      ])
      assert.deepStrictEqual(received.family, Option.some(4))
    }))
})

describe("the system's resolver", () => {
  interface Question {
    readonly host: string
    readonly options: dns.LookupAllOptions
    readonly answer: (error: NodeJS.ErrnoException | null, addresses: Array<dns.LookupAddress>) => void
  }

  const scripted = (answer: (question: Question) => void) => {
    const questions: Array<Question> = []
    const lookup = make({
      lookup: (host, options, callback) => {
        const question = { host, options, answer: callback }
        questions.push(question)
        answer(question)
      }
    }).lookup
    return { questions, lookup }
  }

  const fails = (code: string) => ({ answer }: Question) =>
    answer(Object.assign(new Error(`getaddrinfo ${code}`), { code }), [])

  it.effect("asks once for all addresses, in the order of the system, and keeps it", () =>
    Effect.gen(function*() {
      const { lookup, questions } = scripted(({ answer }) =>
        answer(null, [{ address: "192.0.2.5", family: 4 }, { address: "2001:db8::5", family: 6 }])
      )
      assert.deepStrictEqual(yield* lookup("db.internal"), ["192.0.2.5", "2001:db8::5"])
      assert.deepStrictEqual(
        questions.map(({ host, options }) => ({ host, options })),
        [{ host: "db.internal", options: { all: true, verbatim: true, family: 0, hints: 0 } }]
      )
    }))

  it.effect("passes the family and the hints on", () =>
    Effect.gen(function*() {
      const { lookup, questions } = scripted(({ answer }) => answer(null, [{ address: "::1", family: 6 }]))
      yield* lookup("db.internal", { family: 6, hints: dns.ADDRCONFIG })
      assert.deepStrictEqual(questions[0]!.options, {
        all: true,
        verbatim: true,
        family: 6,
        hints: dns.ADDRCONFIG
      })
    }))

  it.effect("a name that does not exist, a lookup that fails for the moment, and one that fails otherwise", () =>
    Effect.gen(function*() {
      for (
        const [code, reason] of [
          ["ENOTFOUND", "NameNotFound"],
          ["ENODATA", "NoAddress"],
          ["EAI_ADDRFAMILY", "NoAddress"],
          ["EAI_AGAIN", "Temporary"],
          ["EAI_FAIL", "Unknown"],
          ["EMFILE", "Unknown"]
        ] as const
      ) {
        const error = yield* Effect.flip(scripted(fails(code)).lookup("db.internal"))
        assert.deepStrictEqual([error.reason, error.code], [reason, Option.some(code)])
        assert.strictEqual((error.cause as Error).message, `getaddrinfo ${code}`)
      }
    }))

  it.effect("a name that can't be one dies before it is looked up: a NUL would end it", () =>
    Effect.gen(function*() {
      for (const host of ["localhost\0.evil.example", ""]) {
        const { lookup, questions } = scripted(({ answer }) => answer(null, [{ address: "127.0.0.1", family: 4 }]))
        for (const options of [undefined, { family: 4 }] as const) {
          const exit = yield* Effect.exit(lookup(host, options))
          assert(Exit.isFailure(exit))
          const defect = Option.getOrThrow(Cause.dieOption(exit.cause))
          assert(Cause.isIllegalArgumentException(defect))
          assert.match(defect.message, /^host must not/)
          assert.include(defect.message, JSON.stringify(host))
        }
        assert.deepStrictEqual(questions, [])
      }
    }))

  it.effect("an empty answer is no address", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(scripted(({ answer }) => answer(null, [])).lookup("db.internal"))
      assert.strictEqual(error.reason, "NoAddress")
    }))

  it.effect("not found in one family: it says whether there is the name at all", () =>
    Effect.gen(function*() {
      const onlyIPv4 = scripted((question) =>
        question.options.family === 6
          ? fails("ENOTFOUND")(question)
          : question.answer(null, [{ address: "192.0.2.5", family: 4 }])
      )
      const error = yield* Effect.flip(onlyIPv4.lookup("db.internal", { family: 6 }))
      assert.deepStrictEqual(told(error), [
        "NoAddress",
        "ENOTFOUND",
        "lookup of db.internal: the name has no IPv6 address (ENOTFOUND)"
      ])
      const none = yield* Effect.flip(scripted(fails("ENOTFOUND")).lookup("db.internal", { family: 6 }))
      assert.strictEqual(none.reason, "NameNotFound")
    }))

  it.effect("interruption returns at once, and an answer that comes later is dropped", () =>
    Effect.gen(function*() {
      const { lookup, questions } = scripted(() => {})
      const fiber = yield* Effect.fork(lookup("db.internal"))
      yield* Effect.yieldNow()
      assert(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      questions[0]!.answer(null, [{ address: "192.0.2.5", family: 4 }])
      yield* TestClock.adjust("1 second")
    }))

  it.effect("can ask for each family by itself", () =>
    Effect.sync(() => {
      assert.notStrictEqual(resolver.separateFamilies, true)
      assert.isTrue(make({ separateFamilies: true }).separateFamilies)
    }))

  it.live("finds this machine", () =>
    Effect.gen(function*() {
      const addresses = yield* resolver.lookup("localhost")
      assert.isNotEmpty(addresses)
      for (const address of addresses) {
        assert.include(["127.0.0.1", "::1"], address)
      }
    }))

  it.live("takes a numeric address for what it is, and knows its family", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* resolver.lookup("127.0.0.1", { family: 4 }), ["127.0.0.1"])
      const error = yield* Effect.flip(resolver.lookup("127.0.0.1", { family: 6 }))
      assert.strictEqual(error.reason, "NoAddress")
    }))

  it.live("hints that the system does not know are a defect that names them", () =>
    Effect.gen(function*() {
      // Those of another system are not this one's.
      const foreign = dns.ADDRCONFIG === 0x20 ? 0x400 : 0x20
      for (const hints of [12_345, foreign, -1]) {
        const exit = yield* Effect.exit(resolver.lookup("localhost", { hints }))
        assert(Exit.isFailure(exit))
        const defect = Option.getOrThrow(Cause.dieOption(exit.cause))
        assert(Cause.isIllegalArgumentException(defect))
        assert.include(defect.message, `got ${hints}`)
      }
    }))
})
