import * as Option from "effect/Option"
import type { Address } from "../Address.js"
import { ConnectionError } from "../NetworkError.js"
import type { Ending } from "./connectionState.js"

/** The error of one operation on a connection that has ended. */
export const connectionError = (
  ending: Ending,
  operation: ConnectionError["operation"],
  remoteAddress: Address | undefined
): ConnectionError =>
  new ConnectionError({
    reason: ending.reason,
    operation,
    remoteAddress: Option.fromNullable(remoteAddress),
    code: Option.fromNullable(ending.code),
    detail: Option.fromNullable(ending.detail),
    ...(ending.cause === undefined ? {} : { cause: ending.cause })
  }, { disableValidation: true })
