import { domainToASCII } from "node:url"

/** A name as it goes over the wire: without the dot that ends it, in ASCII. */
export const dnsNameOf = (name: string): string => {
  const relative = name.endsWith(".") ? name.slice(0, -1) : name
  return domainToASCII(relative) || relative
}
