import { assert, describe, it } from "@effect/vitest"
import * as Os from "node:os"
import { getSystemErrorMap } from "node:util"
import { addressReason, codeOf, connectionFailure, connectionReason } from "../src/internal/errno.js"

const addressReasons = {
  ECONNREFUSED: "Refused",
  ECONNRESET: "Refused",
  EAGAIN: "Refused",
  ENOTSOCK: "Refused",
  ETIMEDOUT: "TimedOut",
  ERR_SOCKET_CONNECTION_TIMEOUT: "TimedOut",
  ENOTFOUND: "NameNotFound",
  EAI_AGAIN: "NameNotFound",
  EAI_NONAME: "NameNotFound",
  EAI_NODATA: "NameNotFound",
  EAI_FAIL: "NameNotFound",
  ENOENT: "NotFound",
  ENOTDIR: "NotFound",
  ELOOP: "NotFound",
  EHOSTUNREACH: "HostUnreachable",
  EHOSTDOWN: "HostUnreachable",
  ENETUNREACH: "NetworkUnreachable",
  ENETDOWN: "NetworkUnreachable",
  ENONET: "NetworkUnreachable",
  EADDRINUSE: "AddressInUse",
  EEXIST: "AddressInUse",
  EADDRNOTAVAIL: "AddressNotAvailable",
  EAFNOSUPPORT: "AddressNotAvailable",
  EPROTONOSUPPORT: "AddressNotAvailable",
  EACCES: "PermissionDenied",
  EPERM: "PermissionDenied",
  EROFS: "PermissionDenied",
  ENAMETOOLONG: "Unknown",
  EMFILE: "Unknown",
  ENFILE: "Unknown",
  ENOBUFS: "Unknown",
  ENOMEM: "Unknown",
  EINVAL: "Unknown",
  EPROTO: "Unknown",
  EPROTOTYPE: "Unknown",
  ERR_INVALID_IP_ADDRESS: "Unknown"
}

const connectionReasons = {
  ECONNRESET: "Reset",
  ECONNABORTED: "Reset",
  ENETRESET: "Reset",
  ENOTCONN: "Reset",
  ERR_STREAM_PREMATURE_CLOSE: "Reset",
  ERR_SOCKET_CLOSED: "Reset",
  EPIPE: "BrokenPipe",
  ESHUTDOWN: "BrokenPipe",
  ETIMEDOUT: "TimedOut",
  EHOSTUNREACH: "TimedOut",
  ENETUNREACH: "TimedOut",
  ERR_SSL_UNEXPECTED_EOF_WHILE_READING: "Truncated",
  EIO: "Unknown",
  ENOMEM: "Unknown",
  EPROTO: "Unknown",
  ERR_STREAM_DESTROYED: "Unknown"
}

describe("addressReason", () => {
  it.each(Object.entries(addressReasons))("%s is %s", (code, reason) => {
    assert.strictEqual(addressReason(code), reason)
  })
})

describe("connectionReason", () => {
  it.each(Object.entries(connectionReasons))("%s is %s", (code, reason) => {
    assert.strictEqual(connectionReason(code), reason)
  })
})

describe("every code of the system", () => {
  const codes = new Set([
    ...Object.keys(Os.constants.errno),
    ...Array.from(getSystemErrorMap().values(), ([code]) => code)
  ])

  it("has a reason in both tables", () => {
    assert.isAbove(codes.size, 80)
    for (const code of codes) {
      assert.isString(addressReason(code), code)
      assert.isString(connectionReason(code), code)
    }
  })

  it("is not confused with what every object has", () => {
    for (const code of ["constructor", "toString", "__proto__", "", undefined]) {
      assert.strictEqual(addressReason(code), "Unknown")
      assert.strictEqual(connectionReason(code), "Unknown")
    }
  })
})

describe("codeOf", () => {
  const withCode = (code: unknown) => Object.assign(new Error("x"), { code })

  it("is the code of an error", () => {
    assert.strictEqual(codeOf(withCode("ECONNRESET")), "ECONNRESET")
  })

  it("is that of the first error that has one, where errors are gathered", () => {
    assert.strictEqual(
      codeOf(new AggregateError([new Error("x"), withCode("ENETUNREACH"), withCode("ECONNREFUSED")])),
      "ENETUNREACH"
    )
    assert.strictEqual(
      codeOf(Object.assign(new AggregateError([withCode("ENETUNREACH")]), { code: "ECONNREFUSED" })),
      "ECONNREFUSED"
    )
    assert.isUndefined(codeOf(new AggregateError([])))
  })

  it("is undefined where there is none, whatever was thrown", () => {
    for (const cause of [undefined, null, "ECONNRESET", 42, new Error("x"), withCode(42), withCode(""), {}]) {
      assert.isUndefined(codeOf(cause))
    }
  })
})

describe("connectionFailure", () => {
  it("keeps what was thrown", () => {
    const cause = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" })
    assert.deepStrictEqual(connectionFailure(cause), { reason: "Reset", code: "ECONNRESET", cause })
    assert.deepStrictEqual(connectionFailure("?"), { reason: "Unknown", code: undefined, cause: "?" })
  })
})
