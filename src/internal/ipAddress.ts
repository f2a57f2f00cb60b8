/**
 * Telling a numeric address from a name, without `node:net`.
 */

const ipv4 = /^(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/
const group = /^[0-9a-f]{1,4}$/i
// What prints but for % and /, which no interface has in its name.
const zone = /^[!-$&-.0-~]+$/

// How many of the eight 16-bit groups the text holds; NaN where it is none. A dotted tail stands for two.
const countGroups = (text: string, mayEndDotted: boolean): number => {
  if (text === "") {
    return 0
  }
  const parts = text.split(":")
  const last = parts.length - 1
  let count = 0
  for (let i = 0; i <= last; i++) {
    const part = parts[i]!
    if (group.test(part)) {
      count += 1
    } else if (i === last && mayEndDotted && ipv4.test(part)) {
      count += 2
    } else {
      return NaN
    }
  }
  return count
}

const isIPv6 = (text: string): boolean => {
  const percent = text.indexOf("%")
  const address = percent === -1 ? text : text.slice(0, percent)
  if (percent !== -1 && !zone.test(text.slice(percent + 1))) {
    return false
  }
  const gap = address.indexOf("::")
  if (gap === -1) {
    return countGroups(address, true) === 8
  }
  // "::" stands for at least one group. A second one leaves an empty part, which is no group.
  return countGroups(address.slice(0, gap), false) + countGroups(address.slice(gap + 2), true) <= 7
}

/**
 * 4 or 6 for a numeric address in the notation that `net.isIP` accepts, with its zone where it has one, whatever
 * characters that has; 0 for a name.
 *
 * @internal
 */
export const ipFamily = (host: string): 0 | 4 | 6 => host.includes(":") ? isIPv6(host) ? 6 : 0 : ipv4.test(host) ? 4 : 0

const mappedIPv4 = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/

/**
 * The one way to write a numeric address, among the many that IPv6 has (RFC 5952), with its zone. One that is an IPv4
 * address in IPv6's notation (`::ffff:0:0/96`) is written as that.
 *
 * @internal
 */
export const canonical = (address: string): string => {
  if (!address.includes(":")) {
    return address
  }
  const [groups = "", ...zone] = address.split("%")
  const shortest = new URL(`http://[${groups}]`).hostname.slice(1, -1)
  const mapped = zone.length === 0 ? mappedIPv4.exec(shortest) : null
  return mapped === null
    ? [shortest, ...zone].join("%")
    : mapped.slice(1).map((group) => parseInt(group, 16)).map((pair) => `${pair >> 8}.${pair & 255}`).join(".")
}
