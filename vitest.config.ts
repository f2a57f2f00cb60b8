import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src", import.meta.url))

export default defineConfig({
  resolve: {
    // The same two entries as `paths` in tsconfig.json.
    alias: [
      { find: /^effect-netstreams$/, replacement: `${src}/index.ts` },
      { find: /^effect-netstreams\/(.+)$/, replacement: `${src}/$1.ts` }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["./vitest.setup.ts"],
    testTimeout: 10_000,
    // Most tests wait more than they compute: a process each for two cores, where Vitest would keep one free.
    pool: "forks",
    maxWorkers: Math.max(2, availableParallelism() - 1),
    minWorkers: 1
  }
})
