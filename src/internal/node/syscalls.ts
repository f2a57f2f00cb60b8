/**
 * What is asked of a socket's descriptor, past Node's stream.
 *
 * Theory of operation. libuv keeps the descriptors of its sockets non-blocking, so a system call on one returns at once,
 * and `node:fs` makes it in the plainest way that Node has. Nobody may read or write behind the back of a stream that has
 * bytes of its own in hand: so a write goes past the stream only while nothing is queued there, and a read only when the
 * stream will read no more. The descriptor is asked for each time, since a number that was kept might be another file's by
 * now; a handle that has been closed has none, nor has any on Windows. There, what is here does nothing, and so it is with
 * what is more than a `net.Socket`, such as a terminal, where a read behind the end would wait for the next line. (`node
 * --trace-sync-io` lists these calls, though none of them waits.)
 */
import * as Fs from "node:fs"
import * as Net from "node:net"
import { codeOf, connectionReason } from "../errno.js"
import { descriptorOf as openDescriptorOf } from "./descriptors.js"

const descriptorOf = (socket: Net.Socket): number => socket.constructor === Net.Socket ? openDescriptorOf(socket) : -1

/** V8 keeps the bytes of a typed array up to this size in its own heap, until somebody needs their address. */
const inHeap = 64

/** Whether memory would have to be allocated first for what is to be written. A `Buffer` always has some. */
export const isInHeap = (chunk: Uint8Array): boolean => chunk.length <= inHeap && !(chunk instanceof Buffer)

/** What so few bytes are written from: a copy costs less than memory of their own. */
const scratch = new Uint8Array(new ArrayBuffer(inHeap))

/**
 * Writes what the system takes of a chunk at once, and gives the number of bytes, or the error that has ended the
 * connection. The stream must be writable, with nothing queued; the rest is for it to send.
 *
 * A write through the stream makes a request and two or three closures, and calls back in a later turn. Most writes are
 * small, and taken whole: without all that, a round trip of 64 bytes costs 5 % less.
 */
export const writeNow = (socket: Net.Socket, chunk: Uint8Array): number | Error => {
  const descriptor = descriptorOf(socket)
  if (descriptor < 0) {
    return 0
  }
  const size = chunk.length
  try {
    if (isInHeap(chunk)) {
      scratch.set(chunk)
      return Fs.writeSync(descriptor, scratch, 0, size)
    }
    return Fs.writeSync(descriptor, chunk, 0, size)
  } catch (error) {
    // The system reports what ended the connection once. Any other error, such as that there is no room, the stream is
    // told again, if it still holds.
    return connectionReason(codeOf(error)) === "Unknown" ? 0 : error as Error
  }
}

const oneByte = new Uint8Array(1)

/**
 * The reset behind the end that a socket has reported.
 *
 * When data and a reset are there at the same time, as they are after a pause, libuv reads the data, sees that the
 * connection has hung up, and reports an end in order: what a peer that crashed could not send any more would not be
 * missed. Another read tells them apart. (That of a peer that ended in order before it reset finds the end, and it stands.)
 */
export const hiddenReset = (socket: Net.Socket): Error | undefined =>
  // It hides behind data that came with it.
  socket.bytesRead === 0 ? undefined : resetBehind(descriptorOf(socket))

/** The same of a descriptor, from which something has been read. */
export const resetBehind = (descriptor: number): Error | undefined => {
  if (descriptor < 0) {
    return undefined
  }
  try {
    Fs.readSync(descriptor, oneByte)
    return undefined
  } catch (error) {
    return codeOf(error) === "ECONNRESET" ? error as Error : undefined
  }
}

/** The most that one read takes. */
const bufferSize = 64 * 1024
/** More than the system keeps for a socket that nobody has given more: on Linux, 6 MiB (`net.ipv4.tcp_rmem`). */
const mostRest = 16 * 1024 * 1024

/**
 * What the system has received of a connection that has ended, and that nobody has read. A write finds out about the end
 * before the reads do, and Node then closes the socket over the peer's last words, which mostly say why. It is no more
 * than the system's receive buffer holds, unless it is this side alone that can't write any more, and the peer goes on:
 * so there is an end to it.
 */
export const readRest = (socket: Net.Socket): Array<Uint8Array> => readAllOf(descriptorOf(socket))

/** The same of a descriptor. */
export const readAllOf = (descriptor: number): Array<Uint8Array> => {
  const rest: Array<Uint8Array> = []
  if (descriptor >= 0) {
    try {
      const buffer = new Uint8Array(bufferSize)
      let left = mostRest
      for (let size = Fs.readSync(descriptor, buffer); size > 0 && left > 0; size = Fs.readSync(descriptor, buffer)) {
        rest.push(buffer.slice(0, size))
        left -= size
      }
    } catch {
      // That was all.
    }
  }
  return rest
}
