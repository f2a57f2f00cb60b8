/**
 * What a supervisor hands over with `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`: systemd's protocol of socket
 * activation (sd_listen_fds(3)), which others speak as well.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Address from "../../Address.js"
import { ListenError } from "../../NetworkError.js"

/** After standard input, output and error. */
const firstDescriptor = 3
/** More than a process can have. */
const largest = 2 ** 31 - 1

const names = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] as const

const wholeNumber = (name: string, value: string): number => {
  if (!/^\d+$/.test(value) || Number(value) > largest) {
    throw new ListenError({
      reason: "Unknown",
      address: Address.unix(),
      code: Option.none(),
      detail: Option.some(`${name} must be a whole number, got ${JSON.stringify(value)}`)
    })
  }
  return Number(value)
}

/** @internal */
export const inheritedListeners = (
  env: NodeJS.ProcessEnv,
  pid: number,
  unset: boolean
): Effect.Effect<ReadonlyArray<{ readonly fd: number; readonly name: Option.Option<string> }>, ListenError> =>
  Effect.try({
    try: () => {
      const { LISTEN_FDNAMES: fdNames, LISTEN_FDS: count, LISTEN_PID: owner } = env
      if (unset) {
        names.forEach((name) => {
          delete env[name]
        })
      }
      // A process that inherits the environment of the one they were meant for has descriptors of its own there.
      const ours = owner !== undefined && count !== undefined && wholeNumber("LISTEN_PID", owner) === pid
      return Array.from({ length: ours ? wholeNumber("LISTEN_FDS", count) : 0 }, (_, i) => ({
        fd: firstDescriptor + i,
        name: Option.filter(Option.fromNullable(fdNames?.split(":")[i]), (name) => name !== "")
      }))
    },
    catch: (error) => error as ListenError
  })
