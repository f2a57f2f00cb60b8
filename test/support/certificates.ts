/**
 * A certificate authority for the length of one test file: what it issues is made by `openssl` when a test first asks for
 * it, in a temporary directory that goes with the file's last test. Nothing is kept, and nothing is ever trusted elsewhere.
 */
import { afterAll, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

/** A certificate and its key, as PEM, and the files they are in. */
export interface Pair {
  readonly certificate: string
  readonly key: string
  readonly certificateFile: string
  readonly keyFile: string
}

/** Whether a program is installed here. Says aloud what is not tested where it is not. */
export const available = (program: string, ...versionArguments: ReadonlyArray<string>): boolean => {
  const { status } = spawnSync(program, versionArguments.length === 0 ? ["--version"] : versionArguments, {
    stdio: "ignore"
  })
  if (status !== 0) {
    console.warn(`SKIPPED: tests that need ${program}, which is not installed here, or too old`)
  }
  return status === 0
}

export const hasOpenssl = available("openssl", "version")

/** A suite that needs certificates, which are made with the `openssl` program. */
export const describeTls = (name: string, suite: () => void): void => {
  if (hasOpenssl) {
    describe(name, suite)
  } else {
    describe.skipIf(true)(name, () => {
      it("needs openssl", () => {})
    })
  }
}

let directory: string | undefined

// The process does not end by itself, so that its end is no occasion.
afterAll(() => {
  if (directory !== undefined) {
    Fs.rmSync(directory, { recursive: true, force: true })
  }
})

const file = (name: string): string => {
  if (directory === undefined) {
    const made = directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "netstreams-tls-"))
    // `openssl ca` is the one command that sets dates, and it wants its books kept.
    Fs.writeFileSync(
      Path.join(made, "openssl.cnf"),
      [
        "[req]",
        "distinguished_name = name",
        "[name]",
        "[ca]",
        "default_ca = books",
        "[books]",
        `database = ${Path.join(made, "index.txt")}`,
        `new_certs_dir = ${made}`,
        "rand_serial = yes",
        "unique_subject = no",
        "default_md = sha256",
        "default_days = 30",
        "default_crl_days = 30",
        "policy = policy",
        "copy_extensions = copy",
        "[policy]",
        "commonName = supplied",
        ""
      ].join("\n")
    )
    Fs.writeFileSync(Path.join(made, "index.txt"), "")
  }
  return Path.join(directory, name)
}

/** The path of a file for whoever wants to keep something beside the certificates. */
export const temporaryFile = file

const openssl = (...parameters: ReadonlyArray<string>): string => {
  const { error, status, stderr, stdout } = spawnSync("openssl", parameters, { encoding: "utf8", timeout: 60_000 })
  if (error !== undefined || status !== 0) {
    throw new Error(`openssl ${parameters.join(" ")}: ${error?.message ?? stderr}`)
  }
  return stdout
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]

const filesOf = (name: string) => ({ certificateFile: file(`${name}.pem`), keyFile: file(`${name}.key`) })

const readPair = (name: string): Pair => {
  const files = filesOf(name)
  return {
    ...files,
    certificate: Fs.readFileSync(files.certificateFile, "utf8"),
    key: Fs.readFileSync(files.keyFile, "utf8")
  }
}

const made = new Map<string, unknown>()

/** Made by whoever asks first. */
const once = <A>(name: string, make: () => A): A => {
  if (!made.has(name)) {
    made.set(name, make())
  }
  return made.get(name) as A
}

const selfSigned = (name: string, commonName: string, ...parameters: ReadonlyArray<string>): Pair => {
  const { certificateFile, keyFile } = filesOf(name)
  openssl(
    ...["req", "-x509", "-nodes", "-config", file("openssl.cnf"), "-days", "30", ...newKey],
    ...["-subj", `/CN=${commonName}`, "-keyout", keyFile, "-out", certificateFile, ...parameters]
  )
  return readPair(name)
}

const mayIssue = ["-addext", "basicConstraints=critical,CA:true", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]

interface Request {
  readonly commonName: string
  readonly altNames?: string
  readonly from?: string
  readonly to?: string
  readonly usage?: "serverAuth" | "clientAuth"
  readonly issues?: boolean
  readonly rsa?: boolean
  /** Further extensions, as `openssl req -addext` takes them. */
  readonly extensions?: ReadonlyArray<string>
}

const loopback = "DNS:localhost,IP:127.0.0.1,IP:::1"

/** Issues a certificate in the name of `authority`. Dates are `YYYYMMDDHHMMSSZ`. */
const issue = (name: string, authority: Pair, request: Request): Pair => {
  const { certificateFile, keyFile } = filesOf(name)
  const requestFile = file(`${name}.csr`)
  openssl(
    ...["req", "-new", "-nodes", "-config", file("openssl.cnf")],
    ...(request.rsa === true ? ["-newkey", "rsa:2048"] : newKey),
    ...["-subj", `/CN=${request.commonName}`, "-keyout", keyFile, "-out", requestFile],
    ...(request.altNames === undefined ? [] : ["-addext", `subjectAltName=${request.altNames}`]),
    ...(request.usage === undefined ? [] : ["-addext", `extendedKeyUsage=${request.usage}`]),
    ...(request.issues === true ? mayIssue : []),
    ...(request.extensions ?? []).flatMap((extension) => ["-addext", extension])
  )
  openssl(
    ...["ca", "-batch", "-notext", "-config", file("openssl.cnf")],
    ...["-cert", authority.certificateFile, "-keyfile", authority.keyFile, "-in", requestFile, "-out", certificateFile],
    ...(request.from === undefined ? [] : ["-startdate", request.from]),
    ...(request.to === undefined ? [] : ["-enddate", request.to])
  )
  return readPair(name)
}

/** What the tests need, each made when it is first asked for. */
export const certificates = {
  /** The root that tests trust. */
  get ca(): Pair {
    return once("ca", () => selfSigned("ca", "Test root", ...mayIssue))
  },
  /** A root that nobody trusts. */
  get strangerCa(): Pair {
    return once("stranger-ca", () => selfSigned("stranger-ca", "Unknown root", ...mayIssue))
  },
  /** For localhost and both loopback addresses. */
  get server(): Pair {
    return once("server", () => issue("server", this.ca, { commonName: "localhost", altNames: loopback }))
  },
  /** The same, issued anew: the one that a running server changes to. */
  get renewed(): Pair {
    return once("renewed", () => issue("renewed", this.ca, { commonName: "renewed", altNames: loopback }))
  },
  /** For one name that no host here has. */
  get named(): Pair {
    return once("named", () => issue("named", this.ca, { commonName: "named", altNames: "DNS:one.example.org" }))
  },
  /** For any one label before `example.org`. */
  get wildcard(): Pair {
    return once("wildcard", () => issue("wildcard", this.ca, { commonName: "wildcard", altNames: "DNS:*.example.org" }))
  },
  get expired(): Pair {
    return once("expired", () =>
      issue("expired", this.ca, {
        commonName: "expired",
        altNames: loopback,
        from: "20200101000000Z",
        to: "20200201000000Z"
      }))
  },
  get notYetValid(): Pair {
    return once(
      "early",
      () =>
        issue("early", this.ca, {
          commonName: "early",
          altNames: loopback,
          from: "20450101000000Z",
          to: "20450201000000Z"
        })
    )
  },
  get selfSigned(): Pair {
    return once("self-signed", () => selfSigned("self-signed", "localhost", "-addext", `subjectAltName=${loopback}`))
  },
  /** From a root that nobody trusts. */
  get stranger(): Pair {
    return once("stranger", () => issue("stranger", this.strangerCa, { commonName: "stranger", altNames: loopback }))
  },
  get client(): Pair {
    return once("client", () => issue("client", this.ca, { commonName: "a client", usage: "clientAuth" }))
  },
  get strangerClient(): Pair {
    return once("stranger-client", () => issue("stranger-client", this.strangerCa, { commonName: "nobody" }))
  },
  /** Between the root that tests trust and `leaf`. */
  get intermediate(): Pair {
    return once("intermediate", () => issue("intermediate", this.ca, { commonName: "Intermediate", issues: true }))
  },
  /** As `server`, from the intermediate. */
  get leaf(): Pair {
    return once("leaf", () => issue("leaf", this.intermediate, { commonName: "leaf", altNames: loopback }))
  },
  /** As `leaf`, for clients. */
  get leafClient(): Pair {
    return once("leaf-client", () => issue("leaf-client", this.intermediate, { commonName: "a leaf" }))
  },
  /** As `server`, with a key of another kind. */
  get rsa(): Pair {
    return once("rsa", () => issue("rsa", this.ca, { commonName: "rsa", altNames: loopback, rsa: true }))
  },
  /** With a critical extension that nobody knows. */
  get critical(): Pair {
    const extensions = ["1.2.3.4=critical,ASN1:UTF8String:whatever"]
    return once(
      "critical",
      () => issue("critical", this.ca, { commonName: "critical", altNames: loopback, extensions })
    )
  },
  /** A certificate that was taken back, and the list that says so. */
  get revoked(): Pair & { readonly crl: string; readonly crlFile: string } {
    return once("revoked", () => {
      const pair = issue("revoked", this.ca, { commonName: "revoked", altNames: loopback })
      const { certificateFile, keyFile } = this.ca
      const authority = ["-config", file("openssl.cnf"), "-cert", certificateFile, "-keyfile", keyFile]
      const crlFile = file("revoked.crl")
      openssl("ca", ...authority, "-revoke", pair.certificateFile)
      openssl("ca", ...authority, "-gencrl", "-out", crlFile)
      return { ...pair, crlFile, crl: Fs.readFileSync(crlFile, "utf8") }
    })
  },
  /** The server's key, encrypted with `passphrase`. */
  get encryptedKey(): string {
    return once(
      "encrypted",
      () =>
        openssl(
          "pkcs8",
          "-topk8",
          "-in",
          this.server.keyFile,
          "-passout",
          `pass:${this.passphrase}`,
          "-v2",
          "aes-256-cbc"
        )
    )
  },
  passphrase: "correct horse battery staple"
}
