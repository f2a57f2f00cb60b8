/** A TLS server by `node:tls`: sends without end to who writes "b", and all else back. Prints its port, and its certificate. */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Tls from "node:tls"

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "bench-tls-"))
const key = path.join(folder, "key.pem")
const cert = path.join(folder, "cert.pem")
spawnSync("openssl", [
  ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"],
  ...["-keyout", key, "-out", cert, "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
])
const material = { key: fs.readFileSync(key), cert: fs.readFileSync(cert) }
fs.rmSync(folder, { recursive: true })

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
    certificate: material.cert.toString()
  }))
})
process.stdin.on("end", () => process.exit()).resume()
