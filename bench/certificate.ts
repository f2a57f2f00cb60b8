/** A certificate for this machine's loopback address, made on the spot with `openssl`, and kept nowhere. */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

export const makeCertificate = (): { readonly key: string; readonly cert: string } => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "bench-tls-"))
  const key = path.join(folder, "key.pem")
  const cert = path.join(folder, "cert.pem")
  spawnSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"],
    ...["-keyout", key, "-out", cert, "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
  ])
  const material = { key: fs.readFileSync(key, "utf8"), cert: fs.readFileSync(cert, "utf8") }
  fs.rmSync(folder, { recursive: true })
  return material
}
