/**
 * The options of a TCP socket, as `node:net` takes them.
 */
import * as Duration from "effect/Duration"
import type * as Net from "node:net"
import type { SocketOptions } from "../../Transport.js"

/** @internal */
export interface SocketSettings {
  readonly noDelay: boolean
  readonly keepAlive: boolean
  /** In milliseconds; 0 leaves the system's. */
  readonly keepAliveInitialDelay: number
}

/** The longest idle time that Linux takes, in seconds. */
const longestIdle = 32_767

/** @internal */
export const socketSettings = (options: SocketOptions): SocketSettings => {
  const noDelay = options.noDelay ?? true
  if (typeof options.keepAlive === "boolean" || options.keepAlive === undefined) {
    return { noDelay, keepAlive: options.keepAlive ?? false, keepAliveInitialDelay: 0 }
  }
  const idle = Duration.toSeconds(options.keepAlive)
  return {
    noDelay,
    keepAlive: idle !== Infinity,
    // Node counts whole seconds, and takes none for the system's own delay.
    keepAliveInitialDelay: Math.min(Math.max(1, Math.ceil(idle)), longestIdle) * 1000
  }
}

/**
 * Sets them on a socket that was made without them. Of keep-alive the options may say nothing.
 *
 * @internal
 */
export const settingsOn = (socket: Net.Socket, options: SocketOptions): void => {
  const { keepAlive, keepAliveInitialDelay, noDelay } = socketSettings(options)
  socket.setNoDelay(noDelay)
  if (options.keepAlive !== undefined) {
    socket.setKeepAlive(keepAlive, keepAliveInitialDelay)
  }
}

/**
 * Those of a Unix socket, to which none of it applies.
 *
 * @internal
 */
export const unixSettings: SocketSettings = { noDelay: false, keepAlive: false, keepAliveInitialDelay: 0 }
