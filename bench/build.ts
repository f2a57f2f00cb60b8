/**
 * The library and the benchmarks as plain JavaScript, as a user's program would find them.
 *
 * Running TypeScript as it is would not do: tsx gives every function its name each time one is made, and so measures
 * mostly that.
 */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import ts from "typescript"

const root = path.resolve(import.meta.dirname, "..")

const transpile = (from: string, to: string): void => {
  for (const name of fs.readdirSync(from, { recursive: true, encoding: "utf8" })) {
    if (name.endsWith(".ts")) {
      const target = path.join(to, name.replace(/\.ts$/, ".js"))
      fs.mkdirSync(path.dirname(target), { recursive: true })
      const { outputText } = ts.transpileModule(fs.readFileSync(path.join(from, name), "utf8"), {
        compilerOptions: {
          target: ts.ScriptTarget.ES2022,
          module: ts.ModuleKind.ESNext,
          verbatimModuleSyntax: true,
          inlineSourceMap: true,
          inlineSources: true
        },
        fileName: path.join(from, name)
      })
      fs.writeFileSync(target, outputText)
    } else if (name.endsWith(".py")) {
      fs.copyFileSync(path.join(from, name), path.join(to, name))
    }
  }
}

/** Builds the benchmarks against the library in a checkout, and gives the folder that they run in. */
export const build = (name: string, checkout: string = root): URL => {
  const out = path.join(root, ".scratch", name)
  const library = path.join(out, "node_modules/effect-netstreams")
  fs.rmSync(out, { recursive: true, force: true })
  transpile(path.join(checkout, "src"), library)
  transpile(import.meta.dirname, out)
  // Where this fails, the script beside it does.
  spawnSync("cc", ["-O2", "-o", path.join(out, "peers/peer"), path.join(import.meta.dirname, "peers/peer.c")])
  fs.writeFileSync(path.join(out, "package.json"), JSON.stringify({ type: "module" }))
  fs.writeFileSync(
    path.join(library, "package.json"),
    JSON.stringify({ type: "module", exports: { ".": "./index.js", "./*": "./*.js" } })
  )
  return pathToFileURL(`${out}/`)
}
