/**
 * One host's view of a network in memory, as the `Backend` that everything above is written against.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Address from "../../Address.js"
import { ConnectError, ListenError, TlsError } from "../../NetworkError.js"
import type { Backend, TlsProvider, Transport } from "../../Transport.js"
import { dial, dialUnix, dialUnixWithin, dialWithin, formatTarget } from "../dial.js"
import { dialTls } from "../dialTls.js"
import { codeOf } from "../errno.js"
import { withResolver } from "../programResolver.js"
import { timelineOf } from "../timelineOf.js"
import { problemOf } from "../unixPath.js"
import { tcpDialer, unixDialer } from "./dialer.js"
import type { Host } from "./host.js"
import { listenTcp, listenUnix } from "./listener.js"
import type { World } from "./world.js"

const detail = Option.some("this network has no TLS: make it with { tls: NodeNetwork.tls }")

/** What stands for TLS where there is none. */
const noTls: Pick<TlsProvider, "connect" | "listen"> = {
  connect: (lower) =>
    Effect.suspend(() => {
      lower.destroy()
      return Effect.fail(
        new TlsError({
          reason: "InvalidOptions",
          code: Option.none(),
          detail,
          remoteAddress: Option.some(lower.remoteAddress)
        })
      )
    }),
  listen: (options, address, acceptor, listen) =>
    options === undefined
      ? listen(acceptor)
      : Effect.fail(new ListenError({ reason: "Unknown", address, code: Option.none(), detail }))
}

/** @internal */
export const backendOf = (world: World, host: Host): Backend => {
  const tls = world.tls ?? noTls
  return {
    connect: (options, restore) =>
      Effect.clockWith((clock) =>
        withResolver(
          options.localAddress === undefined ? options.host : [options.host, options.localAddress],
          world.resolver,
          (resolver) => {
            const dialer = tcpDialer(world, host, timelineOf(clock))
            return options.tls === undefined || options.tls === false
              ? dial<Transport>(options, resolver, dialer, restore)
              : dialTls(
                tls.connect,
                formatTarget(options.host, options.port),
                options.connectTimeout,
                (progress, restore) => dialWithin<Transport>(progress, options, resolver, dialer, restore),
                options.tls === true ? {} : options.tls,
                options.host,
                restore
              )
          }
        )
      ),

    connectUnix: (path, options, restore) =>
      Effect.clockWith((clock) => {
        const problem = problemOf(path, "linux")
        const dialer = unixDialer(world, host, timelineOf(clock))
        return problem !== undefined
          ? Effect.fail(
            new ConnectError({
              reason: "Unknown",
              target: path,
              attempts: [],
              code: Option.fromNullable(codeOf(problem)),
              cause: problem,
              detail: Option.some(problem.message)
            })
          )
          : options.tls === undefined
          ? dialUnix<Transport>(path, options, dialer, restore)
          : dialTls(
            tls.connect,
            path,
            options.connectTimeout,
            (progress, restore) => dialUnixWithin<Transport>(progress, path, dialer, restore),
            options.tls,
            undefined,
            restore
          )
      }),

    listen: (options, acceptor, restore) =>
      tls.listen(
        options.tls,
        Address.tcp(typeof options.host === "string" ? options.host : options.host?.[0] ?? "::", options.port ?? 0),
        acceptor,
        (acceptor) =>
          withResolver(
            options.host,
            world.resolver,
            (resolver) => listenTcp(host, options, acceptor, resolver, restore)
          )
      ),

    listenUnix: (path, options, acceptor) =>
      tls.listen(options.tls, Address.unix(path), acceptor, (acceptor) => listenUnix(host, path, options, acceptor))
  }
}
