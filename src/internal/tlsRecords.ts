/**
 * Where TLS records begin and end in a stream of ciphertext, to tell whether the last one was an alert.
 *
 * Node's TLS ends its stream alike on the peer's close_notify and on a TCP end without it, so what came in is looked at
 * before it is decrypted. A record is five bytes of header (type, version, length) and its body. Up to TLS 1.2 the header
 * of an alert says so. In TLS 1.3 all look like application data, but an alert has two bytes, one for its inner type and
 * an authentication tag of 16 or 8 (RFC 8446 §5.2, §6): such a record is a *candidate*. It is an alert if it decrypts to
 * nothing, so `split` says where to cut a chunk for a candidate at its end to be decrypted by itself.
 */
import type { Bytes } from "./bytes.js"

const headerSize = 5
const alertType = 21
const applicationDataType = 23
/** Two bytes of alert, one of inner type, a tag of 16 bytes or (CCM-8) of 8. */
const alertSizes: ReadonlyArray<number> = [19, 11]

export class RecordWatch {
  /** The bytes of the header that are there. */
  private readonly header = new Uint8Array(headerSize)
  private headerLength = 0
  /** What is missing of the record's body. */
  private missing = 0

  /**
   * Passes over a chunk. Returns where its last record begins, if that is a candidate and the chunk ends with it, 0 where
   * it began in an earlier one, or -1.
   */
  split(chunk: Bytes): number {
    let at = 0
    let begin = 0
    while (at < chunk.length) {
      if (this.headerLength === headerSize) {
        const size = Math.min(this.missing, chunk.length - at)
        at += size
        this.missing -= size
      } else {
        if (this.headerLength === 0) {
          begin = at
        }
        this.header[this.headerLength++] = chunk[at++]!
        if (this.headerLength === headerSize) {
          this.missing = (this.header[3]! << 8) | this.header[4]!
        }
      }
      if (this.headerLength === headerSize && this.missing === 0) {
        this.headerLength = 0
        if (at === chunk.length) {
          return this.isCandidate() ? begin : -1
        }
        begin = at
      }
    }
    return -1
  }

  private isCandidate(): boolean {
    const type = this.header[0]
    return type === alertType ||
      (type === applicationDataType && alertSizes.includes((this.header[3]! << 8) | this.header[4]!))
  }
}
