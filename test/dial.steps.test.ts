/**
 * An interruption, or a time limit, at each single step of each fiber that dialling runs: the scheduler is asked at
 * every step of the run loop whether to let others run, and here it says yes once, at the step in question.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Scheduler from "effect/Scheduler"
import { dial, type Dialer, dialUnix, dialWithin } from "../src/internal/dial.js"
import { dialTls } from "../src/internal/dialTls.js"
import type * as Resolver from "../src/Resolver.js"
import type { Restore, TcpDialOptions, Transport } from "../src/Transport.js"

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** Calls `strike` at the `n`th step of whatever fiber runs, and lets others run there. */
const strikingAt = (n: number, strike: () => void) => {
  const base = new Scheduler.MixedScheduler(2048)
  let steps = 0
  return {
    scheduler: {
      scheduleTask: (task: Scheduler.Task, priority: number, fiber: AnyFiber) =>
        base.scheduleTask(task, priority, fiber),
      shouldYield: () => {
        if (++steps === n) {
          strike()
          return 0
        }
        return false
      }
    } as Scheduler.Scheduler,
    hasStruck: () => steps >= n
  }
}

/** What was connected, and is not closed. */
class Sockets {
  open = 0

  connect(): Transport {
    let isOpen = true
    this.open++
    const close = () => {
      if (isOpen) {
        isOpen = false
        this.open--
      }
    }
    return { abort: close, destroy: close } as unknown as Transport
  }
}

type Dial = (dialer: Dialer<Transport, any>, restore: Restore) => Effect.Effect<Transport, unknown>

/** Runs it as a connection is opened, strikes at the `n`th step, and tells whether all was closed that nobody got. */
const attempt = (n: number, dial: Dial, strike: (fiber: AnyFiber) => void) =>
  new Promise<{ readonly left: number; readonly over: boolean }>((resolve) => {
    const sockets = new Sockets()
    const dialer: Dialer<Transport, any> = {
      connect: (_address, _local, receiver) => {
        const timer = setTimeout(() => receiver.onConnected(sockets.connect()), 1)
        return () => clearTimeout(timer)
      },
      close: (transport) => transport.destroy()
    }
    let taken: Transport | undefined
    const { hasStruck, scheduler } = strikingAt(n, () => strike(fiber))
    const fiber: AnyFiber = Effect.runFork(
      Effect.uninterruptibleMask((restore) =>
        Effect.map(dial(dialer, restore), (transport) => {
          taken = transport
        })
      ),
      { scheduler, immediate: false }
    )
    fiber.addObserver((_exit: Exit.Exit<unknown, unknown>) => {
      // Whatever was on its way has arrived by then.
      setTimeout(() => {
        taken?.destroy()
        resolve({ left: sockets.open, over: !hasStruck() })
      }, 5)
    })
  })

const resolver: Resolver.Service = { lookup: () => Effect.delay(Effect.succeed(["1.1.1.1", "::1"]), 1) }
const apart: Resolver.Service = {
  separateFamilies: true,
  lookup: (_, options) => Effect.delay(Effect.succeed(options?.family === 4 ? ["1.1.1.1"] : ["::1"]), 1)
}
const literal: TcpDialOptions = { host: "1.1.1.1", port: 1 }
const name: TcpDialOptions = { host: "name.test", port: 1, happyEyeballsDelay: 0 }

const connectTls = (lower: Transport) =>
  Effect.async<Transport>((resume) => {
    const timer = setTimeout(() => resume(Effect.succeed(lower)), 1)
    return Effect.sync(() => {
      clearTimeout(timer)
      lower.abort()
    })
  })

const overTls =
  (options: TcpDialOptions, resolver: Resolver.Service, timeout?: Duration.DurationInput): Dial => (dialer, restore) =>
    dialTls(
      connectTls,
      "name.test:1",
      timeout,
      (progress, restore) => dialWithin(progress, options, resolver, dialer, restore),
      {},
      undefined,
      restore
    )

const limited = (options: TcpDialOptions): TcpDialOptions => ({ ...options, connectTimeout: "1 hour" })

const ways: ReadonlyArray<readonly [string, Dial]> = [
  ["an address", (dialer, restore) => dial(literal, resolver, dialer, restore)],
  ["an address, with a time limit", (dialer, restore) => dial(limited(literal), resolver, dialer, restore)],
  ["a name", (dialer, restore) => dial(name, resolver, dialer, restore)],
  ["a name, with a time limit", (dialer, restore) => dial(limited(name), resolver, dialer, restore)],
  ["a name whose families are looked up apart", (dialer, restore) => dial(name, apart, dialer, restore)],
  ["a path", (dialer, restore) => dialUnix("/path", {}, dialer, restore)],
  ["an address, over TLS", overTls(literal, resolver)],
  ["a name, over TLS", overTls(name, resolver)],
  ["a name, over TLS, with a time limit", overTls(name, resolver, "1 hour")]
]

describe.each(ways)("dialling %s", (_, dial) => {
  it("leaves no socket, at whatever step it is interrupted", async () => {
    for (let n = 1, over = false; !over; n++) {
      const result = await attempt(n, dial, (fiber) => fiber.unsafeInterruptAsFork(FiberId.none))
      assert.strictEqual(result.left, 0, `at step ${n}`)
      over = result.over
      assert.isBelow(n, 500)
    }
  })
})

const withLimit: ReadonlyArray<readonly [string, (limit: Duration.DurationInput) => Dial]> = [
  ["a name", (connectTimeout) => (dialer, restore) => dial({ ...name, connectTimeout }, resolver, dialer, restore)],
  ["a name, over TLS", (limit) => overTls(name, resolver, limit)]
]

describe.each(withLimit)("dialling %s", (_, limited) => {
  it("leaves no socket, at whatever step its time runs out", async () => {
    const original = globalThis.setTimeout
    try {
      for (let n = 1, over = false; !over; n++) {
        // The one timer of an hour is the limit, and strikes when it is told to.
        let runOut = () => {}
        globalThis.setTimeout = ((task: () => void, millis?: number) => {
          if (millis !== Duration.toMillis("1 hour")) {
            return original(task, millis)
          }
          runOut = task
          return original(() => {}, 0)
        }) as typeof setTimeout
        const result = await attempt(n, limited("1 hour"), () => runOut())
        assert.strictEqual(result.left, 0, `at step ${n}`)
        over = result.over
        assert.isBelow(n, 500)
      }
    } finally {
      globalThis.setTimeout = original
    }
  })
})
