import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as net from "node:net"
import { canonical, ipFamily } from "../src/internal/ipAddress.js"

// `net.isIP` knows fewer characters than an interface may have in its name.
const withPlainZone = (text: string) => text.replace(/%.*$/s, (zone) => zone.replace(/[!-$&-.0-~]/g, "x"))

const agrees = (text: string) => assert.strictEqual(ipFamily(text), net.isIP(withPlainZone(text)), JSON.stringify(text))

// Text that is an address, or nearly one: what a uniformly random string would never hit.
const part = FastCheck.constantFrom("0", "1", "ffff", "FFFF", "12345", "g", "", "1.2.3.4", "1.2.3", "256.1.1.1")
const nearlyIPv6 = FastCheck.tuple(
  FastCheck.array(part, { minLength: 1, maxLength: 10 }),
  FastCheck.array(FastCheck.constantFrom(":", "::"), { minLength: 9, maxLength: 9 }),
  FastCheck.constantFrom("", "%", "%eth0", "%br-lan", "%a.b:c", "%br_lan", "%a b", "%a%b")
).map(([parts, separators, zone]) =>
  parts.map((part, i) => (i === 0 ? part : separators[i - 1] + part)).join("") + zone
)
const nearlyIPv4 = FastCheck.array(
  FastCheck.constantFrom("0", "00", "7", "10", "010", "99", "199", "249", "255", "256", "1000", "-1", "a", ""),
  {
    minLength: 1,
    maxLength: 6
  }
).map((parts) => parts.join("."))

describe("ipFamily", () => {
  it("knows the notations that people use", () => {
    for (
      const [text, family] of [
        ["127.0.0.1", 4],
        ["0.0.0.0", 4],
        ["::", 6],
        ["::1", 6],
        ["fe80::1%eth0", 6],
        ["fe80::1%1", 6],
        ["fe80::1%br_lan", 6],
        ["fe80::1%veth@if7", 6],
        ["fe80::1%a/b", 0],
        ["fe80::1%a b", 0],
        ["fe80::1%a\0b", 0],
        ["fe80::1%a%b", 0],
        ["::ffff:192.0.2.1", 6],
        ["2001:db8:0:0:1:0:0:1", 6],
        ["1:2:3:4:5:6:7::", 6],
        ["1:2:3:4:5:6:7:8::", 0],
        ["1::2::3", 0],
        [":::", 0],
        ["fe80::1%", 0],
        ["127.0.0.1%eth0", 0],
        ["127.1", 0],
        ["010.0.0.1", 0],
        ["localhost", 0],
        ["example.com", 0],
        ["[::1]", 0],
        ["127.0.0.1\n", 0],
        ["::1\n", 0],
        ["", 0]
      ] as const
    ) {
      assert.strictEqual(ipFamily(text), family, text)
      agrees(text)
    }
  })

  it.prop("agrees with net.isIP on every address of version 4", [FastCheck.ipV4()], ([text]) => agrees(text), {
    fastCheck: { seed: 1 }
  })
  it.prop("agrees with net.isIP on every address of version 6", [FastCheck.ipV6()], ([text]) => agrees(text), {
    fastCheck: { seed: 1 }
  })
  it.prop("agrees with net.isIP on what is nearly one of version 4", [nearlyIPv4], ([text]) => agrees(text), {
    fastCheck: { numRuns: 2000, seed: 1 }
  })
  it.prop("agrees with net.isIP on what is nearly one of version 6", [nearlyIPv6], ([text]) => agrees(text), {
    fastCheck: { numRuns: 5000, seed: 1 }
  })
  it.prop("agrees with net.isIP on any text", [FastCheck.string()], ([text]) => agrees(text), {
    fastCheck: { seed: 1 }
  })
})

describe("canonical", () => {
  it("writes an address in one way", () => {
    for (
      const [text, shortest] of [
        ["127.0.0.1", "127.0.0.1"],
        ["0:0:0:0:0:0:0:1", "::1"],
        ["::0001", "::1"],
        ["0::", "::"],
        ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
        ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
        ["FE80::0001%Eth0", "fe80::1%Eth0"],
        ["::FFFF:192.0.2.1", "192.0.2.1"],
        ["::ffff:c000:0201", "192.0.2.1"],
        ["0:0:0:0:0:ffff:0:0", "0.0.0.0"],
        ["::ffff:0:192.0.2.1", "::ffff:0:c000:201"],
        ["::1.2.3.4", "::102:304"]
      ] as const
    ) {
      assert.strictEqual(canonical(text), shortest, text)
    }
  })

  it.prop(
    "changes neither the address nor what is written so already",
    [FastCheck.ipV6()],
    ([text]) => {
      const written = canonical(text)
      assert.strictEqual(canonical(written), written)
      const block = new net.BlockList()
      block.addAddress(text, "ipv6")
      assert.isTrue(block.check(net.isIPv4(written) ? `::ffff:${written}` : written, "ipv6"), `${text} ${written}`)
    },
    { fastCheck: { seed: 1 } }
  )
})
