/**
 * What is seen of it: how far things are while they go on, and a table at the end.
 */
import { Duration, Effect, Ref, Schedule } from "effect"

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1)

/**
 * Runs `work`, which counts what it has done, and shows how far it is: a bar on a terminal, else a line now and then.
 */
export const withProgress = <A, E, R>(
  label: string,
  total: number,
  work: (count: (bytes: number) => Effect.Effect<void>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const done = yield* Ref.make(0)
    const terminal = process.stdout.isTTY
    const print = (text: string) => Effect.sync(() => process.stdout.write(text))

    const draw = Effect.flatMap(Ref.get(done), (bytes) => {
      const part = total === 0 ? 1 : bytes / total
      const percent = `${Math.floor(part * 100)}%`.padStart(4)
      return terminal
        ? print(
          `\r\x1b[K${label} ${"█".repeat(Math.floor(part * 40)).padEnd(40, "░")} ${percent}  ${megabytes(bytes)} MB`
        )
        : print(`${label} ${percent}  ${megabytes(bytes)} MB\n`)
    })

    yield* draw.pipe(Effect.schedule(Schedule.spaced(terminal ? "100 millis" : "1 second")), Effect.forkScoped)
    const result = yield* work((bytes) => Ref.update(done, (sum) => sum + bytes))
    yield* terminal ? print("\r\x1b[K") : draw
    return result
  }).pipe(Effect.scoped)

/** What one transport did. */
export interface Result {
  readonly transport: string
  readonly clients: number
  readonly files: number
  /** How many of the files arrived as they are. */
  readonly verified: number
  readonly bytes: number
  readonly elapsed: Duration.Duration
}

/** All of it, a line each. */
export const table = (results: ReadonlyArray<Result>): string => {
  const rows = [
    ["transport", "clients", "files", "MB", "MB/s", "verified"],
    ...results.map(({ bytes, clients, elapsed, files, transport, verified }) => [
      transport,
      `${clients}`,
      `${files}`,
      megabytes(bytes),
      megabytes(bytes / Duration.toSeconds(elapsed)),
      `${verified} of ${files}`
    ])
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) => row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("   "))
    .join("\n")
}
