/**
 * Type-checks what the documentation shows: every ts block of README.md and of the doc comments in src, each as a
 * module of its own, against the sources. The modules exist in memory only.
 */
import * as fs from "node:fs"
import * as path from "node:path"
import ts from "typescript"

const root = path.resolve(import.meta.dirname, "..")

interface Example {
  readonly file: string
  /** The line of the opening fence, from 1: line n of the text is line `fence + n` of the file. */
  readonly fence: number
  readonly text: string
}

const opening = /^\s*```(ts|typescript)\b/
const closing = /^\s*```\s*$/

/** `content` strips what is not the document's own text and is undefined where a line lies outside of it. */
const examplesOf = (file: string, content: (line: string) => string | undefined): Array<Example> => {
  const examples: Array<Example> = []
  let open: { fence: number; lines: Array<string> } | undefined
  fs.readFileSync(path.join(root, file), "utf8").split("\n").forEach((raw, index) => {
    const line = content(raw)
    if (open === undefined) {
      if (line !== undefined && opening.test(line)) {
        open = { fence: index + 1, lines: [] }
      }
    } else if (line === undefined || closing.test(line)) {
      examples.push({ file, fence: open.fence, text: open.lines.join("\n") })
      open = undefined
    } else {
      open.lines.push(line)
    }
  })
  return examples
}

const docComments = (): (line: string) => string | undefined => {
  let inside = false
  return (line) => {
    if (!inside && /^\s*\/\*\*/.test(line)) {
      inside = !line.includes("*/")
      return undefined
    }
    if (inside && line.includes("*/")) {
      inside = false
    }
    return inside ? line.replace(/^\s*\* ?/, "") : undefined
  }
}

const sources = fs.readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => path.posix.join("src", name.split(path.sep).join("/")))
  .sort()

const examples = [
  ...examplesOf("README.md", (line) => line),
  ...sources.flatMap((file) => examplesOf(file, docComments()))
]

const modules = new Map(examples.map((example) => [
  path.posix.join(root.split(path.sep).join("/"), `.scratch/docs/${example.file}/${example.fence}.ts`),
  example
]))

const config = ts.getParsedCommandLineOfConfigFile(path.join(root, "tsconfig.json"), {
  // Of what is not used, only imports count: see below.
  noUnusedLocals: true,
  noUnusedParameters: false,
  moduleDetection: ts.ModuleDetectionKind.Force
}, {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: (diagnostic) => {
    throw new Error(ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n"))
  }
})!

const host = ts.createCompilerHost(config.options)
const program = ts.createProgram([...modules.keys()], config.options, {
  ...host,
  fileExists: (name) => modules.has(name) || host.fileExists(name),
  readFile: (name) => modules.get(name)?.text ?? host.readFile(name),
  getSourceFile: (name, languageVersion) => {
    const example = modules.get(name)
    return example === undefined
      ? host.getSourceFile(name, languageVersion)
      : ts.createSourceFile(name, example.text, languageVersion)
  }
})

/** An example may name a value only to show its type, but what it imports it needs. */
const isPermitted = ({ file, reportsUnnecessary, start = 0 }: ts.Diagnostic): boolean =>
  reportsUnnecessary !== undefined &&
  file?.statements.some((it) => ts.isImportDeclaration(it) && it.pos <= start && start < it.end) === false

let failures = 0
for (const [name, example] of modules) {
  const sourceFile = program.getSourceFile(name)
  for (const d of [...program.getSyntacticDiagnostics(sourceFile), ...program.getSemanticDiagnostics(sourceFile)]) {
    if (isPermitted(d)) {
      continue
    }
    failures++
    const line = d.file === undefined ? 0 : ts.getLineAndCharacterOfPosition(d.file, d.start ?? 0).line + 1
    console.error(
      `${example.file}:${example.fence + line} - TS${d.code}: ${ts.flattenDiagnosticMessageText(d.messageText, "\n  ")}`
    )
  }
}

console.log(`${examples.length} examples, ${failures} errors`)
// No example at all means that this script no longer finds them.
process.exitCode = failures === 0 && examples.length > 0 ? 0 : 1
