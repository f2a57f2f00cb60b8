import * as Option from "effect/Option"
import type * as Address from "../Address.js"
import { type AddressReason, ListenError } from "../NetworkError.js"
import { addressReason, codeOf } from "./errno.js"

/** Why an address could not be listened on, from what Node threw. */
export const listenError = (
  address: Address.Address,
  cause: unknown,
  detail?: string | undefined,
  reason?: AddressReason | undefined
): ListenError => {
  const code = codeOf(cause)
  return new ListenError({
    reason: reason ?? addressReason(code),
    address,
    code: Option.fromNullable(code),
    cause,
    detail: Option.fromNullable(detail)
  }, { disableValidation: true })
}
