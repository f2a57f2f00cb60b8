/**
 * Packs the package and uses it as a stranger would: the tarball's metadata and types, then a project of its own that
 * installs it from the tarball, compiles against it, runs it as ESM, and requires it from CommonJS.
 */
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const root = path.resolve(import.meta.dirname, "..")
const temp = fs.mkdtempSync(path.join(os.tmpdir(), "effect-netstreams-"))
process.on("exit", () => fs.rmSync(temp, { recursive: true, force: true }))

let child: ChildProcess | undefined
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // Its end is the failure of the step, and so ours: nothing writes to the folder any more when it is removed.
  process.on(signal, () => child === undefined ? process.exit(1) : child.kill(signal))
}

const readJson = (file: string) => JSON.parse(fs.readFileSync(path.join(root, file), "utf8"))

const run = (cwd: string, command: string, ...args: Array<string>): Promise<void> =>
  new Promise((resolve, reject) => {
    child = spawn(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"], timeout: 300_000 })
    child.on("error", reject)
    child.on("close", (code, signal) => {
      child = undefined
      if (code === 0) {
        resolve()
      } else {
        reject(new Error(`${[command, ...args].join(" ")}: ${signal ?? code}`))
      }
    })
  })

const step = async (name: string, body: () => void | Promise<void>): Promise<void> => {
  console.log(`-- ${name}`)
  try {
    await body()
  } catch (error) {
    console.error(`check:package failed: ${name}\n${error instanceof Error ? error.message : String(error)}`)
    process.exit(1)
  }
}

const namespaces = Array.from(
  fs.readFileSync(path.join(root, "src/index.ts"), "utf8").matchAll(/^export \* as (\w+) from/gm),
  (match) => match[1]
)

const { name, version } = readJson("package.json")
const tarball = path.join(temp, `${name}-${version}.tgz`)
const bin = (tool: string) => path.join(root, "node_modules/.bin", tool)

await step("pack", async () => {
  await run(root, "npm", "run", "build")
  await run(root, "npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", temp)
})

await step("publint", () => run(root, bin("publint"), "run", tarball, "--strict"))

await step("are the types wrong", async () => {
  // "./*" hides the modules from discovery.
  const modules = fs.readdirSync(path.join(root, "src"))
    .filter((file) => file.endsWith(".ts") && file !== "index.ts")
    .map((file) => file.slice(0, -".ts".length))
  const attw = (...output: Array<string>) =>
    run(
      root,
      bin("attw"),
      tarball,
      ...["--profile", "esm-only", "--no-definitely-typed", ...output],
      ...["--include-entrypoints", ...modules]
    )
  try {
    await attw("--quiet")
  } catch {
    await attw("--no-color", "--format", "table-flipped")
  }
})

const consumer = path.join(temp, "consumer")
const installed = path.join(consumer, "node_modules", name)

await step("install", async () => {
  const locked = readJson("package-lock.json").packages
  const fromRegistry = ["effect", "@effect/platform", "@effect/platform-node", "@types/node", "typescript"]
    .map((dependency) => `${dependency}@${locked[`node_modules/${dependency}`].version}`)
  fs.mkdirSync(consumer)
  fs.writeFileSync(path.join(consumer, "package.json"), JSON.stringify({ private: true, type: "module" }))
  await run(consumer, "npm", "install", "--no-audit", "--no-fund", "--loglevel", "error", tarball, ...fromRegistry)
})

await step("contents", () => {
  const files = new Set(fs.readdirSync(installed, { recursive: true, encoding: "utf8" }))
  const mapped = [...files].filter((file) => file.endsWith(".map")).flatMap((map): Array<string> =>
    JSON.parse(fs.readFileSync(path.join(installed, map), "utf8")).sources
      .map((source: string) => path.join(path.dirname(map), source))
  )
  const missing = ["LICENSE", "README.md", ...mapped].filter((file) => !files.has(file))
  if (missing.length > 0) {
    throw new Error(`not in the tarball: ${missing.join(", ")}`)
  }
})

await step("compile", async () => {
  const compilerOptions = {
    target: "ES2022",
    lib: ["ES2022"],
    module: "NodeNext",
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true
  }
  const compile = async (file: string, skipLibCheck: boolean) => {
    fs.writeFileSync(
      path.join(consumer, "tsconfig.json"),
      JSON.stringify({ compilerOptions: { ...compilerOptions, skipLibCheck }, files: [file] })
    )
    await run(consumer, "node_modules/.bin/tsc", "-p", ".")
  }
  // The declarations by themselves must be whole. @effect/platform-node's are not without the DOM's and those of ws.
  fs.writeFileSync(path.join(consumer, "declarations.ts"), `export * from "${name}"\n`)
  await compile("declarations.ts", false)
  fs.copyFileSync(path.join(root, "scripts/consumer/main.ts"), path.join(consumer, "main.ts"))
  await compile("main.ts", true)
})

await step("run as ESM", () => run(consumer, "node", "main.js"))

await step("require from CommonJS", async () => {
  fs.writeFileSync(
    path.join(consumer, "require.cjs"),
    `const assert = require("node:assert/strict")
const all = require("${name}")
for (const namespace of ${JSON.stringify(namespaces)}) {
  assert.ok(namespace in all, namespace + " is missing")
  assert.deepEqual(Object.keys(require("${name}/" + namespace)), Object.keys(all[namespace]))
}
`
  )
  await run(consumer, "node", "require.cjs")
})

await step("internals are not importable", async () => {
  const internal = fs.readdirSync(path.join(installed, "dist/internal")).find((file) => file.endsWith(".js"))!
  const specifier = JSON.stringify(`${name}/internal/${internal.slice(0, -".js".length)}`)
  fs.writeFileSync(
    path.join(consumer, "internal.mjs"),
    `import assert from "node:assert/strict"
import { createRequire } from "node:module"
const code = "ERR_PACKAGE_PATH_NOT_EXPORTED"
await assert.rejects(import(${specifier}), { code })
assert.throws(() => createRequire(import.meta.url)(${specifier}), { code })
`
  )
  await run(consumer, "node", "internal.mjs")
})

console.log("check:package passed")
