import { assert, describe, it } from "@effect/vitest"
import * as Address from "effect-netstreams/Address"
import * as Equal from "effect/Equal"
import * as Hash from "effect/Hash"
import * as HashSet from "effect/HashSet"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const cases: ReadonlyArray<readonly [what: string, address: Address.Address, text: string]> = [
  ["an IPv4 address", Address.tcp("127.0.0.1", 80), "127.0.0.1:80"],
  ["any IPv4 address", Address.tcp("0.0.0.0", 0), "0.0.0.0:0"],
  ["an IPv6 address", Address.tcp("::1", 80), "[::1]:80"],
  ["any IPv6 address", Address.tcp("::", 65_535), "[::]:65535"],
  ["an IPv6 address with a zone", Address.tcp("fe80::1%eth0", 80), "[fe80::1%eth0]:80"],
  ["an IPv4 address in IPv6", Address.tcp("::ffff:10.0.0.1", 80), "[::ffff:10.0.0.1]:80"],
  ["a path", Address.unix("/run/x.sock"), "unix:/run/x.sock"],
  ["a relative path", Address.unix("x.sock"), "unix:x.sock"],
  ["an unnamed end", Address.unix(), "unix:"],
  ["an abstract name", Address.unix("\0name"), "unix:@name"],
  ["an abstract name with a NUL in it", Address.unix("\0na\0me"), "unix:@na\0me"]
]

describe("Address", () => {
  describe("format", () => {
    for (const [what, address, text] of cases) {
      it(`writes ${what} as ${JSON.stringify(text)}`, () => {
        assert.strictEqual(Address.format(address), text)
        assert.strictEqual(String(address), text)
        assert.strictEqual(`${address}`, text)
      })
    }
  })

  describe("values", () => {
    it("are equal where all of their fields are, and nowhere else", () => {
      cases.forEach(([, one], i) => {
        cases.forEach(([, other], j) => {
          assert.strictEqual(Equal.equals(one, other), i === j)
        })
      })
    })

    it("are equal to others made from the same fields", () => {
      const pairs: ReadonlyArray<readonly [Address.Address, Address.Address]> = [
        [Address.tcp("127.0.0.1", 80), new Address.TcpAddress({ host: "127.0.0.1", port: 80, family: 4 })],
        [Address.tcp("::1", 80), new Address.TcpAddress({ host: "::1", port: 80, family: 6 })],
        [Address.unix("/x"), new Address.UnixAddress({ path: Option.some("/x") })],
        [Address.unix(), new Address.UnixAddress({ path: Option.none() })]
      ]
      for (const [one, other] of pairs) {
        assert.isTrue(Equal.equals(one, other))
        assert.strictEqual(Hash.hash(one), Hash.hash(other))
      }
    })

    it("differ by host, port, family and path", () => {
      const one = Address.tcp("127.0.0.1", 80)
      assert.isFalse(Equal.equals(one, Address.tcp("127.0.0.2", 80)))
      assert.isFalse(Equal.equals(one, Address.tcp("127.0.0.1", 81)))
      assert.isFalse(Equal.equals(one, new Address.TcpAddress({ host: "127.0.0.1", port: 80, family: 6 })))
      assert.isFalse(Equal.equals(Address.unix("/x"), Address.unix("/y")))
      assert.isFalse(Equal.equals(Address.unix("/x"), Address.unix()))
    })

    it("find themselves in a set", () => {
      const set = HashSet.make<ReadonlyArray<Address.Address>>(Address.tcp("127.0.0.1", 80), Address.unix("/x"))
      assert.isTrue(HashSet.has(set, Address.tcp("127.0.0.1", 80)))
      assert.isTrue(HashSet.has(set, Address.unix("/x")))
      assert.isFalse(HashSet.has(set, Address.tcp("127.0.0.1", 81)))
    })
  })

  describe("constructors", () => {
    it("tell the family from the host", () => {
      assert.strictEqual(Address.tcp("10.0.0.1", 1).family, 4)
      assert.strictEqual(Address.tcp("fe80::1%eth0", 1).family, 6)
    })

    it("take an empty path for none", () => {
      assert.deepStrictEqual(Address.unix("").path, Option.none())
      assert.deepStrictEqual(Address.unix(undefined).path, Option.none())
      assert.deepStrictEqual(Address.unix("/x").path, Option.some("/x"))
    })

    it("tag what they make", () => {
      assert.strictEqual(Address.tcp("10.0.0.1", 1)._tag, "TcpAddress")
      assert.strictEqual(Address.unix()._tag, "UnixAddress")
    })

    it("of the classes refuse what is no address", () => {
      assert.throws(() => new Address.TcpAddress({ host: "127.0.0.1", port: 80, family: 5 as never }))
      assert.throws(() => new Address.UnixAddress({ path: "/x" as never }))
    })
  })

  describe("guards", () => {
    it("tell the kinds apart", () => {
      for (const [, address] of cases) {
        assert.strictEqual(Address.isTcpAddress(address), address._tag === "TcpAddress")
        assert.strictEqual(Address.isUnixAddress(address), address._tag === "UnixAddress")
      }
      assert.isFalse(Address.isTcpAddress({ _tag: "TcpAddress", host: "127.0.0.1", port: 80, family: 4 }))
      assert.isFalse(Address.isUnixAddress(undefined))
    })
  })

  describe("schema", () => {
    for (const [what, address] of cases) {
      it(`brings back ${what} as it was`, () => {
        const json = JSON.stringify(Schema.encodeSync(Address.Address)(address))
        const decoded = Schema.decodeUnknownSync(Address.Address)(JSON.parse(json))
        assert.isTrue(Equal.equals(decoded, address))
        assert.strictEqual(Address.format(decoded), Address.format(address))
        assert.strictEqual(Address.isTcpAddress(decoded), Address.isTcpAddress(address))
      })
    }
  })
})
