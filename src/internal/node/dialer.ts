/**
 * Connecting one socket to one address. Names, and the choice among several addresses, are the business of `dial.ts`.
 */
import * as Option from "effect/Option"
import type * as Net from "node:net"
import type * as Address from "../../Address.js"
import type { SocketOptions, Transport } from "../../Transport.js"
import type { AttemptReceiver, Dialer } from "../dial.js"
import { open } from "./dialled.js"
import { type SocketSettings, socketSettings, unixSettings } from "./socketSettings.js"
import { explainingZones } from "./zone.js"

const connect = (
  settings: SocketSettings,
  options: Net.NetConnectOpts,
  to: Address.Address,
  receiver: AttemptReceiver<Transport>
): () => void => {
  const transport = open(settings)
  transport.connect(options, to, receiver)
  return () => transport.destroy()
}

const close = (transport: Transport): void => transport.destroy()

/**
 * Connects to numeric addresses.
 *
 * @internal
 */
export const tcpDialer = (options: SocketOptions): Dialer<Transport> => {
  const settings = socketSettings(options)
  return {
    connect: (to, local, receiver) =>
      connect(
        settings,
        {
          host: to.host,
          port: to.port,
          family: to.family,
          localAddress: local?.address,
          localPort: local?.port,
          autoSelectFamily: false
        },
        to,
        to.family === 6 ? explainingZones(receiver, to.host, local) : receiver
      ),
    close
  }
}

/**
 * Connects to the socket at a path, or to an abstract name.
 *
 * @internal
 */
export const unixDialer: Dialer<Transport, Address.UnixAddress> = {
  connect: (to, _local, receiver) => connect(unixSettings, { path: Option.getOrElse(to.path, () => "") }, to, receiver),
  close
}
