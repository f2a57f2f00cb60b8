/**
 * One host's view of a network in memory, as the `Backend` that everything above is written against.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ConnectError } from "../../NetworkError.js"
import type { Backend, Transport } from "../../Transport.js"
import { dial, dialUnix } from "../dial.js"
import { codeOf } from "../errno.js"
import { withResolver } from "../programResolver.js"
import { timelineOf } from "../timelineOf.js"
import { tcpDialer, unixDialer } from "./dialer.js"
import type { Host } from "./host.js"
import { listenTcp, listenUnix, pathProblem } from "./listener.js"
import type { World } from "./world.js"

/** @internal */
export const backendOf = (world: World, host: Host): Backend => ({
  connect: (options) =>
    Effect.clockWith((clock) =>
      withResolver(
        options.localAddress === undefined ? options.host : [options.host, options.localAddress],
        world.resolver,
        (resolver) => dial<Transport>(options, resolver, tcpDialer(world, host, timelineOf(clock)))
      )
    ),

  connectUnix: (path, options) =>
    Effect.clockWith((clock) => {
      const problem = pathProblem(path)
      return problem === undefined
        ? dialUnix<Transport>(path, options, unixDialer(world, host, timelineOf(clock)))
        : Effect.fail(
          new ConnectError({
            reason: "Unknown",
            target: path,
            attempts: [],
            code: Option.fromNullable(codeOf(problem)),
            cause: problem,
            detail: Option.some(problem.message)
          })
        )
    }),

  listen: (options, acceptor) =>
    withResolver(options.host, world.resolver, (resolver) => listenTcp(host, options, acceptor, resolver)),

  listenUnix: (path, options, acceptor) => listenUnix(host, path, options, acceptor)
})
