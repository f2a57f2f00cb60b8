import * as effect from "@effect/eslint-plugin"
import js from "@eslint/js"
import { builtinModules } from "node:module"
import tseslint from "typescript-eslint"

// The byte machine: plain, synchronous TypeScript, tested by itself. A file that joins it is named here.
const byteMachine = [
  "bytes",
  "youngArray",
  "byteQueue",
  "separator",
  "inputBuffer",
  "textDecoding",
  "lineSplitter",
  "framingCodec",
  "outputGate",
  "handover",
  "connectionState",
  "connectionTimeouts",
  "serverState",
  "roster",
  "places",
  "pacing",
  "hexDump",
  "errno",
  "ipAddress",
  "random",
  "agenda",
  "timeline",
  "pipe",
  "endpoint",
  "interposed",
  "tlsRecords"
]

const nodeModules = {
  regex: `^(node:.*|(${builtinModules.filter((name) => !name.startsWith("_")).join("|")})(/.*)?)$`,
  allowTypeImports: true,
  message: "Only src/NodeNetwork.ts and src/internal/node/ know Node's modules."
}

const barrels = {
  regex: "^(effect|@effect/platform)$",
  message: "Import the module: effect/Effect, @effect/platform/Socket."
}

const platformNode = {
  regex: "^@effect/platform-node",
  message: "The library stands on node: modules alone; @effect/platform-node is for tests and examples."
}

const byName = {
  regex: "^effect-netstreams(/|$)",
  message: "Inside src, modules import each other by their relative path."
}

const backends = {
  regex: "(^|/)(internal/(node|testNetwork)/.*|(node|testNetwork)/.*|NodeNetwork\\.js|TestNetwork\\.js)$",
  message: "No module but a program's entry point knows a backend."
}

const effects = {
  regex: "^(effect|@effect)(/|$)",
  message: "The byte machine knows no Effect."
}

// An import of a module that imports Effect would break the rule all the same; types leave nothing behind.
const beyondByteMachine = {
  regex: `^\\.(?!/(${byteMachine.join("|")})\\.js$)`,
  allowTypeImports: true,
  message: "The byte machine imports nothing but itself. If the module is as plain, name it in eslint.config.mjs."
}

const internals = {
  regex: "^(effect-netstreams/internal|(\\.\\./)+src)(/|$)",
  message: "Import what a user can: effect-netstreams or effect-netstreams/<Module>."
}

const restrictImports = (...patterns) => ({
  "@typescript-eslint/no-restricted-imports": ["error", { patterns }]
})

export default tseslint.config(
  { ignores: ["dist/", "coverage/", ".scratch/"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  js.configs.recommended,
  tseslint.configs.recommended,
  effect.configs.dprint,
  {
    rules: {
      "object-shorthand": "error",
      // pipeArguments(this, arguments) is how a pipe method is written.
      "prefer-rest-params": "off",
      "require-yield": "off",
      "no-restricted-syntax": ["error", {
        selector: "CallExpression[callee.property.name='push'] > SpreadElement.arguments",
        message: "A spread of many elements overflows the stack."
      }],

      "@typescript-eslint/array-type": ["error", { default: "generic", readonly: "generic" }],
      "@typescript-eslint/consistent-type-imports": "error",
      // Effect's modules hold a type and its namespace under one name, and mark what carries no data with {}.
      "@typescript-eslint/no-empty-object-type": "off",
      "@typescript-eslint/no-namespace": "off",
      "@typescript-eslint/no-explicit-any": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],

      "@effect/dprint": ["error", {
        config: {
          indentWidth: 2,
          lineWidth: 120,
          semiColons: "asi",
          quoteStyle: "alwaysDouble",
          trailingCommas: "never",
          operatorPosition: "maintain",
          "arrowFunction.useParentheses": "force"
        }
      }]
    }
  },
  {
    files: ["**/*.ts"],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/no-unnecessary-type-assertion": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }]
    }
  },
  // The house: who may import what. The last entry that matches a file decides.
  {
    files: ["src/**/*.ts"],
    rules: {
      "no-console": "error",
      ...restrictImports(nodeModules, barrels, platformNode, byName, backends)
    }
  },
  {
    // No `any` reaches a user.
    files: ["src/*.ts"],
    rules: { "@typescript-eslint/no-explicit-any": "error" }
  },
  {
    files: ["src/index.ts"],
    rules: restrictImports(nodeModules, barrels, platformNode, byName)
  },
  {
    files: ["src/NodeNetwork.ts", "src/internal/node/**/*.ts"],
    rules: restrictImports(barrels, platformNode, byName)
  },
  {
    // It has to run where there is no Node.
    files: ["src/TestNetwork.ts", "src/internal/testNetwork/**/*.ts"],
    rules: restrictImports(nodeModules, barrels, platformNode, byName)
  },
  {
    // Scripts are for tests as well, and played over the network in memory.
    files: ["src/internal/script.ts"],
    rules: restrictImports(nodeModules, barrels, platformNode, byName)
  },
  {
    files: byteMachine.map((name) => `src/internal/${name}.ts`),
    rules: restrictImports(effects, nodeModules, byName, beyondByteMachine)
  },
  {
    files: ["examples/**/*.ts", "bench/**/*.ts"],
    rules: restrictImports(internals)
  },
  {
    files: ["test/**/*.ts"],
    rules: {
      "no-restricted-syntax": ["error", {
        selector: "MemberExpression[property.name=/^(only|skip)$/]" +
          ":matches([object.name=/^(it|test|describe|suite)$/], [object.object.name=/^(it|test|describe|suite)$/])",
        message: "Every test runs. Where a machine may lack something, use skipIf and say what."
      }]
    }
  }
)
