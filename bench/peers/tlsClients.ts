/** Clients by `node:tls` that connect and then do nothing: `PORT COUNT`. Prints a line when all have connected. */
import * as Tls from "node:tls"

const [port, count] = process.argv.slice(2).map(Number)
const secureContext = Tls.createSecureContext()

/** How many handshakes are under way at a time. */
const width = 20
let begun = 0
let done = 0

const next = () => {
  if (begun === count) {
    return
  }
  begun++
  const socket = Tls.connect({ host: "127.0.0.1", port: port!, secureContext, rejectUnauthorized: false }, () => {
    if (++done === count) {
      console.log(done)
    }
    next()
  })
  socket.on("error", (error) => {
    console.error(error.message)
    process.exit(1)
  })
  socket.resume()
}

for (let i = 0; i < width; i++) {
  next()
}
process.stdin.on("end", () => process.exit()).resume()
