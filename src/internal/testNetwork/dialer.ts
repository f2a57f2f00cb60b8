/**
 * Connecting in memory: the handshake of TCP, over the pipes that the bytes then take.
 *
 * The dialler asks, the other host refuses or accepts, and the dialler confirms. So the dialler is connected after one
 * round trip, and the server gets its connection half a round trip later, with the first data at its heels. A question
 * that is held up (by a partition) is a connection that times out.
 */
import * as Option from "effect/Option"
import * as Address from "../../Address.js"
import type { Transport } from "../../Transport.js"
import type { AttemptFailure, AttemptReceiver, Dialer } from "../dial.js"
import { addressReason } from "../errno.js"
import { errnoError } from "../errnoError.js"
import type { Timeline } from "../timeline.js"
import { isAbstract } from "../unixPath.js"
import { canonical, dialledAddress, type Host, isWildcard, type Listening } from "./host.js"
import type { Destination } from "./plan.js"
import type { Link, World } from "./world.js"

/** How long Linux goes on asking a host that does not answer, in milliseconds: 127 seconds (`tcp_syn_retries` is 6). */
const connectPatience = 127_000

const nothing = () => {}

const failed = (code: string, address: Address.Address, syscall = "connect"): AttemptFailure => ({
  reason: addressReason(code),
  code,
  cause: errnoError(syscall, code, Address.format(address))
})

/** Connects, if somebody listens by the time the question arrives. */
const shakeHands = (
  world: World,
  link: Link,
  destination: Destination,
  findListening: () => Listening | string,
  receiver: AttemptReceiver<Transport>
): () => void => {
  const { timeline } = link
  const [there, back] = [link.lanes[0].pipe, link.lanes[1].pipe]
  const [client, server] = link.ends
  const deadline = timeline.now() + connectPatience
  let over = false
  let cancelTimer = nothing
  const end = () => {
    over = true
    cancelTimer()
    link.onHeld = undefined
  }
  const fail = (code: string) => {
    end()
    world.recorder?.note(link, "client", "fails", undefined, code)
    world.forget(link)
    receiver.onFailed(failed(code, client.remoteAddress))
  }
  // Where messages flow, an answer comes: only what may hang has a timer.
  const startTimer = () => {
    if (cancelTimer === nothing) {
      cancelTimer = timeline.at(deadline, () => fail("ETIMEDOUT"))
    }
  }
  link.onHeld = startTimer
  if (there.isHeld) {
    startTimer()
  }

  world.recorder?.note(link, "client", "dials")
  there.signal(() => {
    if (over) {
      return
    }
    const found = world.plan.connects.strike(destination) ?? findListening()
    if (found === "ETIMEDOUT") {
      // A host that takes no notice.
      return startTimer()
    }
    back.signal(() => {
      if (over) {
        return
      }
      if (typeof found === "string") {
        return fail(found)
      }
      end()
      world.recorder?.note(link, "client", "connects")
      client.established = true
      there.signal(() => {
        server.established = true
        const code = world.plan.accepts.strike(destination)
        if (code === undefined) {
          accept(world, link, found)
        } else {
          found.acceptor?.onError({
            phase: "accept",
            remoteAddress: server.remoteAddress,
            error: errnoError("accept", code, Address.format(server.localAddress))
          })
          server.reset()
        }
      })
      receiver.onConnected(client)
    })
  })
  return () => {
    if (!over) {
      end()
      world.recorder?.note(link, "client", "fails")
      world.forget(link)
    }
  }
}

const accept = (world: World, link: Link, { acceptor }: Listening): void => {
  const server = link.ends[1]
  if (acceptor === undefined) {
    // It was closed meanwhile.
    server.reset()
  } else {
    world.recorder?.note(link, "server", "accepts")
    acceptor.onTransport(server)
  }
}

/**
 * Connects to numeric addresses, from one host.
 *
 * @internal
 */
export const tcpDialer = (world: World, host: Host, timeline: Timeline): Dialer<Transport> => ({
  connect: (to, local, receiver) => {
    const address = dialledAddress(to.host)
    const own = local?.address === undefined ? to.family === 6 ? "::" : "0.0.0.0" : canonical(local.address)
    const ownPort = local?.port ?? 0
    const unbound = local === undefined ? undefined : host.connectFromProblem(own, ownPort)
    if (unbound !== undefined) {
      receiver.onFailed(failed(unbound, Address.tcp(own, ownPort), "bind"))
      return nothing
    }
    const source = isWildcard(own) ? host.sourceFor(address) : own
    const target = world.hostAt(address, host)
    const remote = Address.tcp(address, to.port)
    const port = source === undefined || target === undefined
      ? undefined
      : host.takePort(local === undefined ? undefined : ownPort, source, remote)
    if (port === undefined) {
      const code = source === undefined ? "ENETUNREACH" : target === undefined ? "EHOSTUNREACH" : "EADDRNOTAVAIL"
      receiver.onFailed(failed(code, to))
      return nothing
    }
    const link = world.lay([host, target!], Address.tcp(source!, port), remote, timeline)
    return shakeHands(
      world,
      link,
      { host: target!, port: to.port },
      () => target!.listeningOn(address, to.port) ?? "ECONNREFUSED",
      receiver
    )
  },
  close: (transport) => transport.destroy()
})

/**
 * Connects to the Unix sockets of one host.
 *
 * @internal
 */
export const unixDialer = (
  world: World,
  host: Host,
  timeline: Timeline
): Dialer<Transport, Address.UnixAddress> => ({
  connect: (to, _local, receiver) => {
    const path = Option.getOrElse(to.path, () => "")
    const link = world.lay([host, host], Address.unix(), to, timeline)
    const findListening = (): Listening | string => {
      const file = host.sockets.get(path)
      return file === undefined && !isAbstract(path)
        ? "ENOENT"
        : file?.acceptor === undefined
        ? "ECONNREFUSED"
        : file
    }
    return shakeHands(world, link, { host, path }, findListening, receiver)
  },
  close: (transport) => transport.destroy()
})
