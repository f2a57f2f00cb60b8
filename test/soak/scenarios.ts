/**
 * What is done to a server, and what must come of it. Each scenario starts what it needs, fails where the server does not
 * bear up, gives figures, and leaves nothing behind.
 */
import type { Network } from "effect-netstreams"
import assert from "node:assert/strict"
import { execSync } from "node:child_process"
import { Clients, RunningServer } from "./running.js"

export type Figures = Readonly<Record<string, string | number>>

const seconds = (millis: number): string => `${(millis / 1000).toFixed(2)} s`
const millis = (value: number): string => `${value.toFixed(1)} ms`
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
const rate = (count: number, elapsed: number): string => `${Math.round(count / elapsed * 1000)}/s`

const timed = async <A>(task: () => Promise<A>): Promise<readonly [result: A, elapsed: number]> => {
  const begin = performance.now()
  return [await task(), performance.now() - begin]
}

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

/** A server and so many processes of clients, gone in the end. */
const withPrograms = async <A>(
  listen: Network.ListenOptions,
  processes: number,
  use: (server: RunningServer, ...clients: ReadonlyArray<Clients>) => Promise<A>,
  options: { readonly limitFiles?: number | undefined } = {}
): Promise<A> => {
  const started = await Promise.allSettled([
    RunningServer.start(listen, options),
    ...Array.from({ length: processes }, () => Clients.start())
  ])
  try {
    const [server, ...clients] = started.map((outcome) => {
      if (outcome.status === "rejected") {
        throw outcome.reason
      }
      return outcome.value
    })
    return await use(server as RunningServer, ...clients as Array<Clients>)
  } finally {
    for (const outcome of started) {
      if (outcome.status === "fulfilled") {
        await outcome.value.kill()
      }
    }
  }
}

/** Of a process: Node has raised the soft limit to the hard one, so that is what there is. */
const mostDescriptors = (): number => {
  const limit = Number(execSync("ulimit -Hn", { encoding: "utf8", shell: "/bin/sh" }))
  return Number.isNaN(limit) ? Infinity : limit
}

/** What a process holds beside its connections. */
const otherDescriptors = 100

const needDescriptors = (count: number): void => {
  const limit = mostDescriptors()
  assert.ok(
    count <= limit,
    `takes ${count} descriptors, and a process may have ${limit}: raise the limit (ulimit -Hn)`
  )
}

const noReports = (reports: ReadonlyArray<string>) => assert.deepEqual(reports, [])

/** Many connections are opened and held, and each of them is served before and after. */
export const hold = async (connections: number): Promise<Figures> => {
  needDescriptors(connections + otherDescriptors)
  return withPrograms({ gracePeriod: 0 }, 1, async (server, clients) => {
    const before = await server.memory()
    const [opened, opening] = await timed(() => clients.open("held", server.port, connections))
    assert.equal(opened, connections)
    await server.until(({ accepted }) => accepted === connections)
    const held = await server.memory()
    const [answered, answering] = await timed(() => clients.request("held", "echo", "hello"))
    assert.equal(answered, connections)
    assert.equal(await clients.alive("held"), connections)
    const [, leaving] = await timed(() => clients.leave("held", "end"))
    await server.until(({ connections }) => connections === 0)
    const after = await server.memory()
    assert.equal(after.descriptors, before.descriptors)
    noReports(after.reports)
    return {
      connections,
      opening: `${seconds(opening)} (${rate(connections, opening)})`,
      "each answered once": seconds(answering),
      closing: seconds(leaving),
      "heap for each": `${Math.round((held.heapUsed - before.heapUsed) / connections)} bytes`,
      "resident memory for each": `${Math.round((held.rss - before.rss) / connections)} bytes`,
      "heap left": mebibytes(after.heapUsed - before.heapUsed)
    }
  })
}

/** As many of them as a process may hold here. */
export const holdAtMost = (connections: number): Promise<Figures> =>
  hold(Math.min(connections, mostDescriptors() - otherDescriptors))

/** Slow clients send a byte now and then; one that behaves must not feel it. */
export const drip = (connections: number, measured: number, every: number, strict: boolean): Promise<Figures> =>
  withPrograms({ gracePeriod: 0 }, 2, async (server, slow, good) => {
    const alone = await good.measure(server.port, measured)
    assert.equal(await slow.open("slow", server.port, connections), connections)
    await slow.drip("slow", every)
    await server.statistics()
    const beside = await good.measure(server.port, measured)
    const { longestTurn, reports } = await server.statistics()
    assert.equal(await slow.alive("slow"), connections)
    assert.ok(beside.count > 0)
    if (strict) {
      assert.ok(beside.median < 2 * alone.median + 2, `${beside.median} ms beside them, ${alone.median} ms alone`)
      assert.ok(beside.p99 < 5 * alone.p99 + 20, `p99 ${beside.p99} ms beside them, ${alone.p99} ms alone`)
    }
    noReports(reports)
    return {
      connections,
      "bytes a second": Math.round(connections / every * 1000),
      "latency alone": `${millis(alone.median)}, p99 ${millis(alone.p99)}`,
      "latency beside them": `${millis(beside.median)}, p99 ${millis(beside.p99)}`,
      "longest turn of the server": millis(longestTurn)
    }
  })

/** The same where clients have to send at a rate: the slow ones are shed, and the one that behaves is not. */
export const shed = (connections: number, every: number): Promise<Figures> =>
  withPrograms(
    { gracePeriod: 0, idleTimeout: 60_000, minReadRate: { bytesPerSecond: 20, gracePeriod: 500 } },
    2,
    async (server, slow, good) => {
      assert.equal(await slow.open("slow", server.port, connections), connections)
      assert.equal(await good.open("good", server.port, 1), 1)
      const [, shedding] = await timed(async () => {
        await slow.drip("slow", every)
        while (await slow.alive("slow") > 0) {
          assert.equal(await good.request("good", "echo", "x".repeat(100)), 1)
          await sleep(20)
        }
      })
      await server.until((statistics) => statistics.connections === 1)
      noReports((await server.statistics()).reports)
      return { connections, "bytes a second of each": 1000 / every, "all shed within": seconds(shedding) }
    }
  )

/** Clients that connect and reset leave nothing behind. */
export const churn = (connections: number, rounds: number, mostLeft: number): Promise<Figures> =>
  withPrograms({ gracePeriod: 0 }, 1, async (server, clients) => {
    await clients.churn(server.port, Math.ceil(connections / 10), 50)
    await server.until(({ connections }) => connections === 0)
    const before = await server.memory()
    const heap: Array<number> = []
    let took = 0
    for (let round = 0; round < rounds; round++) {
      const [connected, elapsed] = await timed(() => clients.churn(server.port, connections / rounds, 50))
      assert.equal(connected, connections / rounds)
      took += elapsed
      await server.until(({ connections }) => connections === 0)
      heap.push((await server.memory()).heapUsed)
    }
    const after = await server.memory()
    assert.equal(after.descriptors, before.descriptors)
    noReports(after.reports)
    const growth = (after.heapUsed - before.heapUsed) / connections
    assert.ok(growth < mostLeft, `${growth} bytes are left of each connection`)
    return {
      connections,
      took: `${seconds(took)} (${rate(connections, took)})`,
      "came to a handler": after.accepted,
      "heap before": mebibytes(before.heapUsed),
      "heap after each round": heap.map(mebibytes).join(", "),
      "left of each": `${growth.toFixed(1)} bytes`
    }
  })

/** Half of all clients are killed in the middle of their requests; the other half is served. */
export const killHalf = (connections: number, work: number): Promise<Figures> =>
  withPrograms({ gracePeriod: 0 }, 2, async (server, doomed, others) => {
    const half = connections / 2
    assert.deepEqual(
      await Promise.all([doomed.open("all", server.port, half), others.open("all", server.port, half)]),
      [half, half]
    )
    const lost = doomed.request("all", "work", work).catch(() => 0)
    const served = others.request("all", "work", work)
    await server.until(({ begun }) => begun === connections)
    const [, noticing] = await timed(async () => {
      await doomed.kill()
      await server.until(({ connections }) => connections === half)
    })
    assert.equal(await served, half)
    await lost
    assert.equal(await others.request("all", "echo", "still-here"), half)
    const { reports } = await server.statistics()
    noReports(reports)
    return { connections, killed: half, "noticed within": millis(noticing), "others served": half }
  })

/** Handlers that can't be interrupted hold a shutdown up no longer than it says. */
export const stubborn = (connections: number, work: number): Promise<Figures> =>
  withPrograms({ gracePeriod: 200, closeTimeout: 500 }, 1, async (server, clients) => {
    assert.equal(await clients.open("all", server.port, connections), connections)
    const answers = clients.request("all", "stubborn", work)
    await server.until(({ begun }) => begun === connections)
    server.program.signal("SIGTERM")
    const { elapsed, report } = await server.end()
    assert.deepEqual(report, { finished: 0, closed: connections, interrupted: connections, aborted: report.aborted })
    assert.ok(elapsed < work, `the shutdown took ${elapsed} ms`)
    assert.equal(await answers, 0)
    return { handlers: connections, "each takes": seconds(work), "shutdown took": seconds(elapsed) }
  })

/** A signal under load: every request that was read is answered, and received. */
export const terminate = (connections: number, work: number, warmUp: number): Promise<Figures> =>
  withPrograms({ gracePeriod: 20_000 }, 1, async (server, clients) => {
    const load = clients.load(server.port, connections, work)
    while (await clients.answered() < warmUp) {
      await sleep(10)
    }
    const atSignal = await server.statistics()
    server.program.signal("SIGTERM")
    const { answered, begun, elapsed, report } = await server.end()
    const received = await load
    assert.equal(await server.program.exit(), 0)
    assert.equal(answered, begun)
    assert.equal(received, begun, `${begun} requests were read, and ${received} answers came`)
    assert.deepEqual(report, { finished: report.finished, closed: 0, interrupted: 0, aborted: 0 })
    return {
      clients: connections,
      "requests read": begun,
      "answers received": received,
      "under way at the signal": atSignal.begun - atSignal.answered,
      "shutdown took": millis(elapsed)
    }
  })

/** Without descriptors a server turns clients away, says so, can open files, and recovers. */
export const exhaust = (limitFiles: number, connections: number): Promise<Figures> =>
  withPrograms({ gracePeriod: 0 }, 1, async (server, clients) => {
    const begin = performance.now()
    await clients.open("many", server.port, connections)
    const told = /(\d+) connections? (?:was|were) refused: the process is about to run out of descriptors/
    const refused = ({ reports }: { readonly reports: ReadonlyArray<string> }): number =>
      reports.reduce((sum, report) => sum + Number(told.exec(report)?.[1] ?? NaN), 0)
    // The question itself opens a file.
    let alive = 0
    let full = await server.statistics()
    // Whoever is still in the system's queue looks alive to itself.
    while (alive === 0 || full.connections !== alive || refused(full) !== connections - alive) {
      await sleep(50)
      alive = await clients.alive("many")
      full = await server.statistics()
    }
    const elapsed = performance.now() - begin
    assert.ok(
      full.reports.length > 0 && full.reports.length <= 2 + elapsed / 1000,
      `${full.reports.length} reports in ${elapsed} ms`
    )
    assert.ok(full.descriptors < limitFiles)
    assert.equal(await clients.request("many", "echo", "hello"), alive)
    await clients.leave("many", "end")
    await server.until(({ connections }) => connections === 0)
    assert.equal(await clients.open("again", server.port, 50), 50)
    assert.equal(await clients.request("again", "echo", "hello"), 50)
    return {
      descriptors: limitFiles,
      connections,
      served: alive,
      refused: connections - alive,
      reports: full.reports.length,
      "served after that": 50
    }
  }, { limitFiles })

/** More clients than places: those on top wait, and in the end everyone is served. */
export const queue = (places: number, connections: number, work: number): Promise<Figures> =>
  withPrograms({ gracePeriod: 0, maxConnections: places, maxWaiting: connections }, 1, async (server, clients) => {
    const load = clients.load(server.port, connections, work)
    let most = 0
    while (await clients.answered() < 3 * connections) {
      await sleep(5)
      most = Math.max(most, (await server.statistics()).connections)
    }
    await clients.stop()
    const received = await load
    const { begun, reports } = await server.statistics()
    assert.ok(most <= places, `${most} connections at once`)
    assert.equal(received, begun)
    noReports(reports)
    return { places, clients: connections, "most at once": most, "requests answered": received }
  })
