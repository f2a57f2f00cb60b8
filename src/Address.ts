/**
 * Where a connection ends: an IP address and port, or the path of a Unix socket.
 *
 * Addresses are values: `Equal.equals` compares them by their fields, and they outlive the connection they came from.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * One end of a TCP connection, or the address a TCP server listens on.
 *
 * **Details**
 *
 * `host` is a numeric address, never a name, without brackets and with its zone where it has one (`fe80::1%eth0`). (But
 * for the address of a `ListenError` that says what is wrong with a name.)
 *
 * @since 0.1.0
 * @category models
 * @example
 * ```ts
 * import { Address } from "effect-netstreams"
 * import { Equal } from "effect"
 *
 * const a = new Address.TcpAddress({ host: "127.0.0.1", port: 80, family: 4 })
 * console.log(Equal.equals(a, Address.tcp("127.0.0.1", 80))) // true
 * ```
 */
export class TcpAddress extends Schema.TaggedClass<TcpAddress>("effect-netstreams/TcpAddress")("TcpAddress", {
  host: Schema.String,
  port: Schema.Number,
  family: Schema.Literal(4, 6)
}) {
  override toString(): string {
    return format(this)
  }
}

/**
 * One end of a Unix socket connection, or the path a server listens on.
 *
 * **Details**
 *
 * `path` is `None` for an end without a name, which is what a connecting client usually is.
 *
 * @since 0.1.0
 * @category models
 */
export class UnixAddress extends Schema.TaggedClass<UnixAddress>("effect-netstreams/UnixAddress")("UnixAddress", {
  path: Schema.Option(Schema.String)
}) {
  override toString(): string {
    return format(this)
  }
}

/**
 * A `TcpAddress` or a `UnixAddress`: the schema, and the type of its values.
 *
 * @since 0.1.0
 * @category models
 */
export const Address: Schema.Union<[typeof TcpAddress, typeof UnixAddress]> = Schema.Union(TcpAddress, UnixAddress)

/**
 * Where a connection ends; `_tag` tells which kind it is.
 *
 * @since 0.1.0
 * @category models
 */
export type Address = TcpAddress | UnixAddress

// The fields come from the operating system or from the two constructors below, so there is nothing left to validate; and
// what a schema's constructor does besides takes longer than all else that an accepted connection needs.
const trusted = { disableValidation: true } as const
const make = (host: string, port: number, family: 4 | 6): TcpAddress =>
  Object.assign(Object.create(TcpAddress.prototype), { host, port, family, _tag: "TcpAddress" })

/**
 * The TCP address of a numeric host; a host with a colon is IPv6.
 *
 * @since 0.1.0
 * @category constructors
 */
export const tcp = (host: string, port: number): TcpAddress => make(host, port, host.includes(":") ? 6 : 4)

/**
 * The address of a Unix socket; without a path, or with an empty one, that of an unnamed end.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unix = (path?: string | undefined): UnixAddress =>
  new UnixAddress({ path: path === undefined || path === "" ? Option.none() : Option.some(path) }, trusted)

/**
 * Whether something is a `TcpAddress`.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTcpAddress = (u: unknown): u is TcpAddress => u instanceof TcpAddress

/**
 * Whether something is a `UnixAddress`.
 *
 * @since 0.1.0
 * @category guards
 */
export const isUnixAddress = (u: unknown): u is UnixAddress => u instanceof UnixAddress

/**
 * An address as people write it: `127.0.0.1:80`, `[::1]:80`, `unix:/run/x.sock`, and `unix:` for an unnamed end.
 *
 * **Details**
 *
 * The NUL that begins a name in Linux's abstract namespace is written `@`, as `ss` and `netstat` do.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Address } from "effect-netstreams"
 *
 * console.log(Address.format(Address.tcp("::1", 80))) // [::1]:80
 * console.log(Address.format(Address.unix("/run/x.sock"))) // unix:/run/x.sock
 * ```
 */
export const format = (address: Address): string => {
  if (address._tag === "UnixAddress") {
    return `unix:${Option.getOrElse(address.path, () => "").replace(/^\0/, "@")}`
  }
  return address.family === 6 ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}
