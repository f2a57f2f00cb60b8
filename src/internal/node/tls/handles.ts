/**
 * What is below Node's TLS: a handle of the system's, and the `net.Socket` that it came from, if it came from one.
 *
 * Node documents neither, so each is looked for before it is used. A `TLSSocket` that connects by itself has a handle and
 * no socket below; one that was put over a socket keeps it, though the handle is all that it makes use of, and whose end
 * it follows. That is a kilobyte and a half for as long as the connection lasts, so where nobody else has the socket, TLS
 * takes the handle from it, and is then as if it had connected by itself.
 */
import { channel } from "node:diagnostics_channel"
import * as Net from "node:net"
import type { TLSSocket } from "node:tls"

const accepted = channel("net.server.socket")

/**
 * Whether sockets that are made here are nobody else's. A program that watches what Node accepts is shown each, and waits for
 * its close; those that this side dials Node shows to nobody.
 */
export const ownsSockets = (): boolean => !accepted.hasSubscribers

/** @internal */
export interface Handle {
  readonly fd?: number | undefined
  /** Whether Node has told it to read. */
  readonly reading?: boolean | undefined
  readonly readStart: () => number
  readonly readStop: () => number
  /** Bytes that it has left of what it was given. */
  readonly writeQueueSize?: number | undefined
  close: (done: () => void) => void
  /** TLS has it, which may be over TLS. */
  readonly receive?: ((ciphertext: Uint8Array) => void) | undefined
  /** TCP has it. */
  readonly reset?: ((done: () => void) => void) | undefined
}

interface SocketInside {
  _handle?: Handle | null
  /** Whose count of connections goes down with its close. */
  _server?: object | null
}

interface TlsInside {
  readonly _handle?: {
    readonly _parent?: Handle | undefined
    _parentWrap?: object | null
    readonly receive?: ((ciphertext: Uint8Array) => void) | undefined
  } | null
  _parent?: object | null
  _server?: object | null
}

const inside = (tls: TLSSocket): TlsInside => tls as object

/** A socket's handle, if it is one that TLS can go over. */
export const handleOf = (socket: Net.Socket): Handle | undefined => {
  const handle = (socket as SocketInside)._handle
  return typeof handle?.readStart === "function" && typeof handle.readStop === "function" ? handle : undefined
}

/** The handle below TLS, until that has closed. */
export const handleBelow = (tls: TLSSocket): Handle | undefined => inside(tls)._handle?._parent

/** The socket below TLS, if there is one. */
export const socketBelow = (tls: TLSSocket): Net.Socket | undefined => {
  const { _parent: socket } = inside(tls)
  return socket instanceof Net.Socket ? socket : undefined
}

/** The descriptor from which TLS has its ciphertext; -1 where it has none, or has it from other TLS. */
export const descriptorBelow = (tls: TLSSocket): number => {
  const handle = handleBelow(tls)
  return handle === undefined || handle.receive !== undefined ? -1 : handle.fd ?? -1
}

/** Has TLS take ciphertext as if it had read it. */
export const receive = (tls: TLSSocket, ciphertext: Uint8Array): void => inside(tls)._handle?.receive?.(ciphertext)

/**
 * Has TLS take the handle of the socket that it is over, and leave nothing to that. From the socket nothing may be left to
 * read or to send; what TLS itself sends and reads goes through the handle anyway.
 */
export const takeHandle = (tls: TLSSocket, socket: Net.Socket): void => {
  const above = inside(tls)
  const below = socket as SocketInside
  const wrap = above._handle
  const handle = below._handle as (Handle & Record<symbol, unknown>) | null | undefined
  if (handle == null || wrap?._parent !== handle || wrap._parentWrap !== socket || above._parent !== socket) {
    return
  }
  const owner = Object.getOwnPropertySymbols(handle).find((symbol) => handle[symbol] === socket)
  if (owner === undefined) {
    return
  }
  handle[owner] = tls
  wrap._parentWrap = null
  above._parent = null
  above._server = below._server ?? null
  below._handle = null
  below._server = null
}
