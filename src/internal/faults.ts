import * as Effect from "effect/Effect"
import type { Connection } from "../Connection.js"
import type * as Api from "../Faults.js"
import * as argument from "./argument.js"
import { ConnectionImpl } from "./connection.js"
import { InterposedEnd } from "./interposed.js"
import { Lane, LinkImpl } from "./link.js"
import { applyConditions, conditionProblems, perfect, seedProblem } from "./linkConditions.js"
import { Pipe } from "./pipe.js"
import { mixSeeds, Random } from "./random.js"
import { timelineOf } from "./timelineOf.js"

/** @internal */
export const attach = (
  connection: Connection,
  options: Api.AttachOptions = {}
): Effect.Effect<readonly [Connection, LinkImpl]> => {
  const { conditions = {}, seed = 0 } = options
  const problem = [seedProblem(options.seed), ...conditionProblems(conditions)]
    .find((problem) => problem !== undefined) ?? strangerProblem(connection)
  return problem !== undefined ? argument.illegal(problem) : Effect.clockWith((clock) =>
    Effect.sync(() => {
      const timeline = timelineOf(clock)
      const base = applyConditions(perfect, conditions)
      const lane = (direction: number) =>
        new Lane(new Pipe(timeline, new Random(mixSeeds(seed, direction)), base), base)
      const sent = lane(0)
      const received = lane(1)
      const link = new LinkImpl(sent, received)
      const over = (connection as ConnectionImpl).interpose((lower) =>
        new InterposedEnd(lower, sent.pipe, received.pipe, {
          onSent: () => {},
          onReceived: () => {},
          onGone: () => link.dispose()
        })
      )
      return [over, link]
    })
  )
}

/** Whoever implements the interface otherwise has no transport to offer. */
const strangerProblem = (connection: Connection): argument.Problem =>
  connection instanceof ConnectionImpl ? undefined : "the connection must be one that this library made"

/** @internal */
export const over = (
  connection: Connection,
  act: (link: LinkImpl) => Effect.Effect<void>
): Effect.Effect<Connection> =>
  Effect.flatMap(attach(connection), ([connection, link]) => Effect.as(act(link), connection))
