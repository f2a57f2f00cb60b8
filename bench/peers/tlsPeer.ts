/** A TLS server by `node:tls`: sends without end to who writes "b", and all else back. Prints its port, and its certificate. */
import * as Tls from "node:tls"
import { makeCertificate } from "../certificate.js"

const material = makeCertificate()

const block = Buffer.alloc(65_536, "x")

const server = Tls.createServer({ ...material, noDelay: true }, (socket) => {
  socket.on("error", () => {})
  socket.once("data", (first) => {
    if (first[0] === 98) {
      const send = () => {
        while (socket.write(block)) {
          // Until it is full.
        }
      }
      socket.on("drain", send)
      send()
    } else {
      socket.write(first)
      socket.on("data", (data) => socket.write(data))
    }
  })
})
server.on("tlsClientError", () => {})
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  console.log(JSON.stringify({
    port: typeof address === "object" ? address?.port : undefined,
    certificate: material.cert
  }))
})
process.stdin.on("end", () => process.exit()).resume()
