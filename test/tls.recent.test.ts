import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import { createSecureContext } from "node:tls"
import { Recent } from "../src/internal/node/tls/recent.js"

/** How many were made, each time another one is asked for. */
const counting = () => {
  let made = 0
  const recent = new Recent((_options: object) => ++made)
  return (options: object) => recent.get(options)
}

const bytes = (...values: ReadonlyArray<number>) => new Uint8Array(values)

describe("what was made of options lately", () => {
  const secureContext = createSecureContext()

  const same: Record<string, () => object> = {
    "nothing": () => ({}),
    "text": () => ({ certificate: "abc", minVersion: "TLSv1.3" }),
    "several": () => ({ certificate: ["abc", "def"] }),
    "bytes": () => ({ certificate: bytes(1, 2, 3) }),
    "a secret": () => ({ key: Redacted.make("abc") }),
    "secret bytes": () => ({ key: [Redacted.make(bytes(1, 2, 3))] }),
    "names": () => ({
      contexts: { a: { certificate: ["abc", bytes(1)], key: Redacted.make("x") }, b: { secureContext } }
    })
  }

  it.each(Object.keys(same))("serves who says the same: %s", (what) => {
    const get = counting()
    assert.strictEqual(get(same[what]!()), 1)
    assert.strictEqual(get(same[what]!()), 1)
    assert.strictEqual(get({ ...same[what]!(), ca: undefined }), 1)
  })

  const others: ReadonlyArray<readonly [string, object, object]> = [
    ["text", { key: "abc" }, { key: "abd" }],
    ["no text", { key: "abc" }, {}],
    ["text as well", {}, { key: "abc" }],
    ["text for bytes", { key: Buffer.from("a") }, { key: "a" }],
    ["one for several", { key: "a" }, { key: ["a"] }],
    ["more", { key: ["a"] }, { key: ["a", "b"] }],
    ["fewer", { key: ["a", "b"] }, { key: ["a"] }],
    ["in another order", { key: ["a", "b"] }, { key: ["b", "a"] }],
    ["bytes", { key: bytes(1, 2) }, { key: bytes(1, 3) }],
    ["more bytes", { key: bytes(1, 2) }, { key: bytes(1, 2, 3) }],
    ["a secret", { key: Redacted.make("a") }, { key: Redacted.make("b") }],
    ["no secret", { key: Redacted.make("a") }, { key: "a" }],
    ["another name", { contexts: { a: {} } }, { contexts: { b: {} } }],
    ["another name as well", { contexts: { a: {} } }, { contexts: { a: {}, b: {} } }],
    ["of a name", { contexts: { a: { key: "a" } } }, { contexts: { a: { key: "b" } } }],
    ["another context", { secureContext: createSecureContext() }, { secureContext: createSecureContext() }],
    ["false for nothing", { requestCertificate: false }, {}]
  ]

  it.each(others)("does not serve who says something else: %s", (_what, one, other) => {
    const get = counting()
    assert.deepStrictEqual([get(one), get(other), get(one), get(other)], [1, 2, 1, 2])
  })

  it("does not serve whose options have changed since", () => {
    const get = counting()
    const options = { ca: ["a"], key: bytes(1), contexts: { a: { key: Redacted.make(bytes(1)) } } }
    assert.strictEqual(get(options), 1)
    options.ca.push("b")
    assert.strictEqual(get(options), 2)
    options.key[0] = 2
    assert.strictEqual(get(options), 3)
    Redacted.value(options.contexts.a.key)[0] = 2
    assert.strictEqual(get(options), 4)
    assert.strictEqual(get(options), 4)
  })

  it("is kept for the latest eight that were asked for", () => {
    const get = counting()
    const all = Array.from({ length: 8 }, (_, i) => ({ key: `${i}` }))
    assert.deepStrictEqual(all.map(get), [1, 2, 3, 4, 5, 6, 7, 8])
    assert.strictEqual(get(all[0]!), 1)
    assert.strictEqual(get({ key: "more" }), 9)
    assert.strictEqual(get(all[0]!), 1)
    assert.strictEqual(get(all[1]!), 10)
  })

  it("is not kept where it could not be made", () => {
    let attempts = 0
    const recent = new Recent((_options: object) => {
      attempts++
      throw new Error("no")
    })
    assert.throws(() => recent.get({}))
    assert.throws(() => recent.get({}))
    assert.strictEqual(attempts, 2)
  })
})
