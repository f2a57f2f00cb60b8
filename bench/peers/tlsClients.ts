/**
 * Clients by `node:tls`: `PORT LEAVE STAY`. So many connect and leave, and then so many connect and do nothing. Prints a
 * line when all have connected.
 */
import * as Tls from "node:tls"

const [port, leave, stay] = process.argv.slice(2).map(Number)
const secureContext = Tls.createSecureContext()

/** How many handshakes are under way at a time, and how many connections there are that are to leave. */
const width = 20

const connect = () => {
  const socket = Tls.connect({ host: "127.0.0.1", port: port!, secureContext, rejectUnauthorized: false })
  socket.on("error", (error) => {
    console.error(error.message)
    process.exit(1)
  })
  return socket.resume()
}

/** Runs as many, so many at a time. */
const run = async (count: number, one: () => Promise<unknown>) => {
  let begun = 0
  const next = async () => {
    while (begun < count) {
      begun++
      await one()
    }
  }
  await Promise.all(Array.from({ length: width }, next))
}

process.stdin.on("end", () => process.exit()).resume()
await run(leave!, () =>
  new Promise((left) => {
    const socket = connect().on("close", left).on("secureConnect", () => socket.end())
  }))
await run(stay!, () => new Promise<void>((connected) => connect().on("secureConnect", connected)))
console.log("connected")
