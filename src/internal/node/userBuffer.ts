/**
 * Lending an accepted socket the memory that it reads into.
 *
 * Node has the option `onread` for that, of a socket's constructor, and makes the sockets that a server accepts without
 * asking anybody. So what its constructor would do with the option is done afterwards: three fields of the socket, which
 * have symbols for names, and a method of its handle. None of it is documented. The symbols are found by looking where a
 * socket that was made with the option keeps what it was given; where they or the method should not be found, the socket
 * emits `data` as it always did.
 */
import * as Net from "node:net"

interface Lender {
  /** What Node asks for the next buffer, after each read. */
  readonly buffer: () => Uint8Array
  /** What Node tells of a read, as a method of the socket. False stops the reading. */
  readonly callback: (this: Net.Socket, size: number, buffer: Uint8Array) => boolean
}

interface Fields {
  readonly buffer: symbol
  readonly generator: symbol
  readonly callback: symbol
}

interface Handle {
  readonly reading?: boolean | undefined
  readonly useUserBuffer?: ((buffer: Uint8Array) => void) | undefined
}

type Inside = Net.Socket & { readonly _handle?: Handle | null } & Record<symbol, unknown>

const findFields = (): Fields | undefined => {
  const buffer = () => new Uint8Array(0)
  const callback = () => true
  const plain = new Net.Socket() as Inside
  const lent = new Net.Socket(
    { onread: { buffer, callback } } as Net.SocketConstructorOpts & { readonly onread: Net.OnReadOpts }
  ) as Inside
  const changed = Object.getOwnPropertySymbols(lent).filter((symbol) => plain[symbol] === null && lent[symbol] !== null)
  const holding = (value: unknown) => changed.filter((symbol) => lent[symbol] === value)
  const [[generator], [callbackField], [flag]] = [holding(buffer), holding(callback), holding(true)]
  plain.destroy()
  lent.destroy()
  return changed.length === 3 && generator !== undefined && callbackField !== undefined && flag !== undefined
    ? { buffer: flag, generator, callback: callbackField }
    : undefined
}

let fields: Fields | undefined | "none"

/**
 * Lends the socket buffers from now on; false where that can't be done. Nothing may have been read from it, and it must
 * not be reading.
 *
 * @internal
 */
export const lendTo = (socket: Net.Socket, lender: Lender): boolean => {
  fields ??= findFields() ?? "none"
  const inside = socket as Inside
  const handle = inside._handle
  if (
    fields === "none" || typeof handle?.useUserBuffer !== "function" || handle.reading !== false ||
    socket.readableLength > 0 || inside[fields.buffer] !== null
  ) {
    return false
  }
  const buffer = lender.buffer()
  inside[fields.buffer] = buffer
  inside[fields.generator] = lender.buffer
  inside[fields.callback] = lender.callback
  handle.useUserBuffer(buffer)
  return true
}
