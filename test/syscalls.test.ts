import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import { readAllOf } from "../src/internal/node/syscalls.js"

describe.skipIf(process.platform === "win32")("what the system has received", () => {
  const read = (path: string) => {
    const descriptor = Fs.openSync(path, "r")
    try {
      return readAllOf(descriptor)
    } finally {
      Fs.closeSync(descriptor)
    }
  }

  it("comes whole, and in order", () => {
    const path = new URL(import.meta.url).pathname
    assert.deepStrictEqual(Buffer.concat(read(path)), Fs.readFileSync(path))
  })

  it("comes to an end where more comes for ever", () => {
    const size = read("/dev/zero").reduce((total, chunk) => total + chunk.length, 0)
    assert.strictEqual(size, 16 * 1024 * 1024)
  })

  it("is nothing where there is no descriptor", () => {
    assert.deepStrictEqual(readAllOf(-1), [])
  })
})
