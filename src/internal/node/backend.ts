/**
 * The operating system's sockets, as the `Backend` that everything above is written against.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Address from "../../Address.js"
import { ConnectError } from "../../NetworkError.js"
import type { Backend } from "../../Transport.js"
import { dial, dialUnix, dialUnixWithin, dialWithin, formatTarget } from "../dial.js"
import { dialTls } from "../dialTls.js"
import { codeOf } from "../errno.js"
import { withResolver } from "../programResolver.js"
import { tcpDialer, unixDialer } from "./dialer.js"
import { listenTcp } from "./listener.js"
import { resolver as systemResolver } from "./resolver.js"
import { connectTls } from "./tls/client.js"
import { intendedAddress, withTls } from "./tls/listener.js"
import { pathProblem } from "./unixPath.js"
import { listenUnix } from "./unixSocket.js"

/** @internal */
export const backend: Backend = {
  connect: (options, restore) =>
    withResolver(
      options.localAddress === undefined ? options.host : [options.host, options.localAddress],
      systemResolver,
      (resolver) => {
        const dialer = tcpDialer(options)
        return options.tls === undefined || options.tls === false
          ? dial(options, resolver, dialer, restore)
          : dialTls(
            connectTls,
            formatTarget(options.host, options.port),
            options.connectTimeout,
            (progress, restore) => dialWithin(progress, options, resolver, dialer, restore),
            options.tls === true ? {} : options.tls,
            options.host,
            restore
          )
      }
    ),

  connectUnix: (path, options, restore) =>
    Effect.suspend(() => {
      const problem = pathProblem(path)
      return problem === undefined
        ? options.tls === undefined
          ? dialUnix(path, options, unixDialer, restore)
          : dialTls(
            connectTls,
            path,
            options.connectTimeout,
            (progress, restore) => dialUnixWithin(progress, path, unixDialer, restore),
            options.tls,
            undefined,
            restore
          )
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

  listen: (options, acceptor, restore) =>
    withTls(
      options.tls,
      intendedAddress(options.host, options.port),
      acceptor,
      (acceptor) =>
        withResolver(options.host, systemResolver, (resolver) => listenTcp(options, acceptor, resolver, restore))
    ),

  listenUnix: (path, options, acceptor) =>
    withTls(options.tls, Address.unix(path), acceptor, (acceptor) => listenUnix(path, options, acceptor))
}
