/**
 * Reading into memory of our own.
 *
 * Theory of operation. Node fills a buffer that we lend it and asks for the next one after every read. Two ways of
 * lending, each good at what the other is bad at:
 *
 * - **Small reads** go into one buffer that every connection of the process shares, and are copied out of it: a copy of a
 *   few hundred bytes costs less than the 64 KiB that Node allocates for a read whose size it can't know. A connection
 *   that waits holds no buffer at all.
 * - **Large reads** go into a slab of the connection's own, one for each, and are handed out without a copy.
 *
 * A read that fills half of the shared buffer moves the connection to slabs, and one that is smaller moves it back. The
 * shared buffer is filled and emptied within one call of Node's, so connections can't meet in it. On Windows they might,
 * where the system is given the buffer before there is anything to read; there the socket emits `data`, like any other.
 *
 * No chunk that is handed out shares memory with another, or with what is still to be read into: whoever has one may keep
 * it, or transfer its buffer to a worker. So what is left of a slab is given up. (Handing it out in parts was measured: it
 * gains nothing, for reads that are worth a slab fill it.)
 *
 * A slab of which all was copied out by `readInto` comes back, and is lent again: one for the whole process is kept, since
 * the connection that gave it back is the one that reads.
 *
 * Node calls the function that lends without saying for whom, but directly after the one that received. So the transport
 * that received leaves the next buffer in a variable for it.
 */
import { writeNow } from "./syscalls.js"
import { SocketTransport } from "./transport.js"

/** Also the size of a slab: what a system call takes is rarely more, and a chunk is what a slow reader may overshoot by. */
const bufferSize = 64 * 1024
/** A read of at least this much makes the next one worth a slab. */
const large = 32 * 1024

/** Whether the buffer may be shared here. */
export const lends = process.platform !== "win32"

let shared: Uint8Array | undefined
/** A slab that came back. */
let spare: Uint8Array | undefined

/** Not zeroed: what has not been read is not handed out. */
const newBuffer = (): Uint8Array => new Uint8Array(Buffer.allocUnsafeSlow(bufferSize).buffer)

/** What the next read goes into: `undefined` is the shared buffer. */
let next: Uint8Array | undefined

/** What Node calls for a buffer. */
export const lend = (): Uint8Array => {
  const buffer = next ?? (shared ??= newBuffer())
  next = undefined
  return buffer
}

/**
 * The transport of a socket that reads into what it is lent, where it can.
 *
 * @internal
 */
export abstract class IntakeTransport extends SocketTransport {
  private paused = false

  /** Whether the socket is lent its buffers; else it emits `data`. Asked once, before anything is read. */
  protected abstract borrows(): boolean

  protected override writeNow(chunk: Uint8Array): number | Error {
    return writeNow(this.stream, chunk)
  }

  protected override flow(): void {
    if (this.borrows()) {
      this.stream.resume()
    } else {
      super.flow()
    }
  }

  override pause(): void {
    this.paused = true
    super.pause()
  }

  override resume(): void {
    this.paused = false
    super.resume()
  }

  recycle(chunk: Uint8Array): void {
    if (chunk.byteOffset === 0 && chunk.buffer.byteLength === bufferSize) {
      spare = new Uint8Array(chunk.buffer)
    }
  }

  /** Takes what was read. False stops the reading. */
  read(size: number, buffer: Uint8Array): boolean {
    if (!this.dropped) {
      const chunk = size < large || buffer === shared ? buffer.slice(0, size) : new Uint8Array(buffer.buffer, 0, size)
      try {
        this.receiver!.onData(chunk)
      } catch (defect) {
        // Node would not ask for another buffer, and read into the chunk.
        this.stream.destroy()
        throw defect
      }
    }
    if (size >= large) {
      next = spare ?? newBuffer()
      spare = undefined
    }
    // `resume` and `pause` in one turn leave Node reading.
    return !this.paused
  }
}
