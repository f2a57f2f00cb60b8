import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import { createRequire, syncBuiltinESMExports } from "node:module"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Address from "../src/Address.js"
import { backend } from "../src/internal/node/backend.js"
import { longestPath, pathProblem } from "../src/internal/node/unixPath.js"
import { listenUnix } from "../src/internal/node/unixSocket.js"
import type { ListenError } from "../src/NetworkError.js"
import type { Listener, UnixListenOptions } from "../src/Transport.js"
import { directory } from "./support/directory.js"
import { leavesNoHandles } from "./support/handles.js"
import { Accepted, openDescriptors, Peer, Recorder, runScript, until } from "./support/nodePeers.js"

leavesNoHandles()

const linux = process.platform === "linux"

const listen = (
  path: string,
  options: UnixListenOptions = {},
  acceptor = new Accepted()
): Effect.Effect<Listener, ListenError, Scope.Scope> =>
  Effect.acquireRelease(
    listenUnix(path, options, acceptor),
    (listener) =>
      Effect.zipRight(
        listener.close,
        Effect.sync(() => acceptor.transports.forEach((transport) => transport.destroy()))
      )
  )

/** How connecting ends: "connected", or the code of the error. */
const connect = (path: string): Effect.Effect<string> =>
  Effect.async((resume) => {
    const socket = Net.connect({ path })
    const settle = (outcome: string) => {
      socket.destroy()
      resume(Effect.succeed(outcome))
    }
    socket.on("connect", () => settle("connected"))
    socket.on("error", (error: NodeJS.ErrnoException) => settle(error.code ?? "?"))
  })

/** The file of a server that is gone. */
const stale = (path: string): Effect.Effect<void> =>
  Effect.promise(async () => {
    const server = Net.createServer().listen(`${path}.bound`)
    await once(server, "listening")
    Fs.renameSync(`${path}.bound`, path)
    await new Promise((resolve) => server.close(resolve))
  })

/** Calls `look` in the moment in which a socket gets its name: until then it is in a directory of its own. */
const atTheLink = <A, E, R>(look: (from: string) => void, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const fs: typeof Fs = createRequire(import.meta.url)("node:fs")
  const { linkSync } = fs
  const replaceLink = (by: typeof linkSync) =>
    Effect.sync(() => {
      fs.linkSync = by
      syncBuiltinESMExports()
    })
  return Effect.acquireUseRelease(
    replaceLink((from, to) => {
      look(String(from))
      linkSync(from, to)
    }),
    () => effect,
    () => replaceLink(linkSync)
  )
}

const detailOf = (error: ListenError) => Option.getOrElse(error.detail, () => "")

describe("listening on a Unix socket", () => {
  it.scopedLive("hands connections over, and leaves nothing beside the socket", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const acceptor = new Accepted()
      const listener = yield* listen(path, {}, acceptor)
      assert.deepStrictEqual(listener.addresses, [Address.unix(path)])
      assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
      const peer = new Peer(Net.connect(path))
      yield* Effect.promise(() => until(() => acceptor.transports.length === 1))
      const [transport] = acceptor.transports
      assert.deepStrictEqual(transport!.localAddress, Address.unix(path))
      transport!.start(new Recorder())
      transport!.write([Buffer.from("hello")])
      transport!.end()
      yield* Effect.promise(() => until(() => peer.ended))
      assert.strictEqual(peer.received, "hello")
    }))

  it.scopedLive("removes its file on close, and frees the name", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const listener = yield* listen(path)
      yield* listener.close
      yield* listener.close
      yield* listener.start
      assert.deepStrictEqual(Fs.readdirSync(dir), [])
      yield* listen(path)
      assert.strictEqual(yield* connect(path), "connected")
    }))

  it.scopedLive("leaves a file alone that has taken the place of its own", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const listener = yield* listen(path)
      Fs.unlinkSync(path)
      const other = Net.createServer().listen(path)
      yield* Effect.promise(() => once(other, "listening"))
      yield* listener.close
      assert.strictEqual(yield* connect(path), "connected")
      other.close()
    }))

  it.scopedLive("closes where its file is gone, or has become something else", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const gone = yield* listen(`${dir}/gone`)
      Fs.unlinkSync(`${dir}/gone`)
      yield* gone.close
      const replaced = yield* listen(`${dir}/replaced`)
      Fs.unlinkSync(`${dir}/replaced`)
      Fs.writeFileSync(`${dir}/replaced`, "precious")
      yield* replaced.close
      assert.strictEqual(Fs.readFileSync(`${dir}/replaced`, "utf8"), "precious")
    }))

  it.scopedLive("finds its file again after the process has changed its directory", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const { status, stderr, stdout } = runScript(`
        import * as Effect from "effect/Effect"
        import * as Fs from "node:fs"
        import { listenUnix } from "./src/internal/node/unixSocket.ts"
        process.chdir(${JSON.stringify(dir)})
        const listener = await Effect.runPromise(listenUnix("x.sock", {}, { onTransport: () => {}, onError: () => {} }))
        console.log(String(listener.addresses[0]), Fs.readdirSync(${JSON.stringify(dir)}).join())
        process.chdir("/")
        await Effect.runPromise(listener.close)
        console.log(Fs.readdirSync(${JSON.stringify(dir)}).length)
      `)
      assert.strictEqual(status, 0, stderr)
      assert.strictEqual(stdout, "unix:x.sock x.sock\n0\n")
    }), 30_000)

  it.scopedLive("can serve after the process has changed its directory", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      Fs.mkdirSync(`${dir}/there`)
      const { status, stderr, stdout } = runScript(`
        import * as Effect from "effect/Effect"
        import * as Fs from "node:fs"
        import { listenUnix } from "./src/internal/node/unixSocket.ts"
        process.chdir(${JSON.stringify(dir)})
        const listener = await Effect.runPromise(
          listenUnix("there/x.sock", { startServing: false }, { onTransport: () => {}, onError: () => {} })
        )
        process.chdir("/")
        await Effect.runPromise(listener.start)
        console.log(Fs.readdirSync(${JSON.stringify(`${dir}/there`)}).join())
        await Effect.runPromise(listener.close)
        console.log(Fs.readdirSync(${JSON.stringify(`${dir}/there`)}).length)
      `)
      assert.strictEqual(status, 0, stderr)
      assert.strictEqual(stdout, "x.sock\n0\n")
    }), 30_000)
})

describe("a file that is in the way", () => {
  it.scopedLive("is replaced when its server is gone", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      yield* stale(path)
      assert.strictEqual(yield* connect(path), "ECONNREFUSED")
      yield* listen(path)
      assert.strictEqual(yield* connect(path), "connected")
      assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
    }))

  it.scopedLive("is left when its server is gone and unlinkStale is false", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      yield* stale(path)
      const before = Fs.lstatSync(path).ino
      const error = yield* Effect.flip(listen(path, { unlinkStale: false }))
      assert.strictEqual(error.reason, "AddressInUse")
      assert.include(error.message, "`unlinkStale` is false")
      assert.strictEqual(Fs.lstatSync(path).ino, before)
      assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
    }))

  it.scopedLive("is never replaced while its server lives", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const acceptor = new Accepted()
      yield* listen(path, {}, acceptor)
      const error = yield* Effect.flip(listen(path))
      assert.strictEqual(error.reason, "AddressInUse")
      assert.deepStrictEqual(error.code, Option.some("EADDRINUSE"))
      assert.include(detailOf(error), "another server accepts connections there")
      assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
      assert.strictEqual(yield* connect(path), "connected")
    }))

  it.scopedLive("is never replaced when it is not a stream socket", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x`
      const target = `${dir}/target`
      yield* stale(target)
      const inTheWay: Record<string, () => void> = {
        file: () => Fs.writeFileSync(path, "precious"),
        directory: () => Fs.mkdirSync(path),
        "link to a stale socket": () => Fs.symlinkSync(target, path),
        "link to nothing": () => Fs.symlinkSync(`${dir}/nothing`, path)
      }
      for (const [name, make] of Object.entries(inTheWay)) {
        make()
        const before = Fs.lstatSync(path, { bigint: true })
        const error = yield* Effect.flip(listen(path))
        assert.strictEqual(error.reason, "AddressInUse", name)
        assert.include(detailOf(error), "a file is there that is not a socket", name)
        const after = Fs.lstatSync(path, { bigint: true })
        assert.deepStrictEqual([after.ino, after.mtimeNs], [before.ino, before.mtimeNs], name)
        assert.deepStrictEqual(Fs.readdirSync(dir), ["target", "x"])
        Fs.rmSync(path, { recursive: true })
      }
    }))

  it.scopedLive("is not taken from a server whose queue is full", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      // It listens, and its process is too busy to accept.
      const child = spawn(process.execPath, [
        "-e",
        `require("node:net").createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => {
           // Written before it goes to sleep, for a pipe is written to at once.
           process.stdout.write("up")
           Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
         })`
      ])
      yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
      yield* Effect.promise(() => once(child.stdout, "data"))
      const fillers = Array.from({ length: 5 }, () => Net.connect(path).on("error", () => {}))
      const error = yield* Effect.flip(listen(path))
      assert.strictEqual(error.reason, "AddressInUse")
      fillers.forEach((socket) => socket.destroy())
    }))

  it.scopedLive("goes to exactly one of many servers that start at once", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      for (let round = 0; round < 20; round++) {
        const path = `${dir}/x.sock`
        if (round % 2 === 1) {
          yield* stale(path)
        }
        yield* Effect.scoped(Effect.gen(function*() {
          const results = yield* Effect.all(Array.from({ length: 12 }, () => Effect.either(listen(path))), {
            concurrency: "unbounded"
          })
          assert.strictEqual(results.filter(Either.isRight).length, 1)
          assert.isTrue(
            results.filter(Either.isLeft).every((result) => result.left.reason === "AddressInUse"),
            results.filter(Either.isLeft).map(({ left }) => left.message).join()
          )
          assert.strictEqual(yield* connect(path), "connected")
          assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
        }))
        assert.deepStrictEqual(Fs.readdirSync(dir), [])
      }
    }))

  it.scopedLive("goes to exactly one of many processes that start at once", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const script = `
        import * as Effect from "effect/Effect"
        import * as Fs from "node:fs"
        import { listenUnix } from "./src/internal/node/unixSocket.ts"
        process.stdout.write("ready\\n")
        process.stdin.on("data", (line) => {
          Effect.runPromiseExit(listenUnix(${
        JSON.stringify(path)
      }, {}, { onTransport: () => {}, onError: () => {} })).then(
            (exit) => {
              process.stdout.write(exit._tag + "\\n")
              process.stdin.once("data", () => {
                if (exit._tag === "Success") Effect.runSync(exit.value.close)
                process.exit(0)
              })
            }
          )
        })
      `
      const children = Array.from({ length: 5 }, () => {
        const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script])
        const state = { child, output: "", errors: "" }
        child.stdout.on("data", (data) => {
          state.output += data
        })
        child.stderr.on("data", (data) => {
          state.errors += data
        })
        return state
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => children.forEach(({ child }) => child.kill("SIGKILL"))))
      const all = (word: RegExp) =>
        Effect.promise(() => until(() => children.every(({ errors, output }) => word.test(output) || errors !== "")))
      yield* all(/ready/)
      yield* stale(path)
      children.forEach(({ child }) => child.stdin.write("go\n"))
      yield* all(/Success|Failure/)
      assert.strictEqual(children.filter(({ output }) => output.includes("Success")).length, 1, children[0]!.errors)
      assert.strictEqual(yield* connect(path), "connected")
      assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
    }), 60_000)
})

describe("the file's mode", () => {
  it.scopedLive("is as asked, whatever the umask", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      for (const mode of [0o600, 0o660, 0o666, 0o777]) {
        const path = `${dir}/${mode.toString(8)}`
        yield* listen(path, { mode })
        assert.strictEqual(Fs.statSync(path).mode & 0o777, mode)
        assert.strictEqual(yield* connect(path), "connected")
      }
    }))

  it.scopedLive("holds before anyone can connect", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const modes: Array<string> = []
      const modeOf = (path: string) => (Fs.statSync(path).mode & 0o777).toString(8)
      yield* atTheLink(
        (from) => modes.push(modeOf(Path.dirname(from)), modeOf(from)),
        listen(`${dir}/x.sock`, { mode: 0o666 })
      )
      assert.deepStrictEqual(modes, ["700", "666"])
    }))
})

describe("a socket that is bound and not serving", () => {
  it.scopedLive("refuses until it is started", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const acceptor = new Accepted()
      const listener = yield* listen(path, { startServing: false, mode: 0o600 }, acceptor)
      assert.strictEqual(yield* connect(path), "ECONNREFUSED")
      assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
      yield* Effect.all([listener.start, listener.start, listener.start], { concurrency: "unbounded" })
      yield* listener.start
      assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
      assert.strictEqual(Fs.statSync(path).mode & 0o777, 0o600)
      assert.strictEqual(yield* connect(path), "connected")
      yield* Effect.promise(() => until(() => acceptor.transports.length === 1))
      yield* listener.close
      assert.deepStrictEqual(Fs.readdirSync(dir), [])
    }))

  it.scopedLive("refuses from the moment in which it has its name", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const outcomes: Array<string> = []
      // By another process, for in this one nothing happens meanwhile.
      const connectNow = (path: string) =>
        spawnSync(process.execPath, [
          "-e",
          `require("node:net").connect(${JSON.stringify(path)}, () => { console.log("connected"); process.exit() })
             .on("error", (error) => console.log(error.code))`
        ], { encoding: "utf8" }).stdout
      yield* atTheLink(
        (from) => outcomes.push(connectNow(from)),
        Effect.zipRight(listen(`${dir}/x.sock`), listen(`${dir}/y.sock`, { startServing: false }))
      )
      assert.deepStrictEqual(outcomes, ["connected\n", "ECONNREFUSED\n"])
    }), 30_000)

  it.scopedLive("leaves a live server's file alone that has the inode which its own had", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const first = yield* listen(path, { startServing: false })
      const inode = Fs.lstatSync(path).ino
      // Whether and when a file system gives out an inode again is its own affair. Most do at once.
      const others: Array<Listener> = []
      do {
        yield* Effect.forEach(others, (other) => other.close)
        others.push(yield* listen(path))
      } while (Fs.lstatSync(path).ino !== inode && others.length < 100)
      if (Fs.lstatSync(path).ino !== inode) {
        console.warn(`SKIPPED: an inode that is another's, for ${dir} is on a file system that gives out none twice`)
      }
      yield* first.close
      assert.strictEqual(yield* connect(path), "connected")
    }))

  it.scopedLive("removes its file when it never served", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const listener = yield* listen(`${dir}/x.sock`, { startServing: false })
      yield* listener.close
      yield* listener.start
      assert.deepStrictEqual(Fs.readdirSync(dir), [])
    }))

  it.scopedLive("does not take its place back from who has taken it meanwhile", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const first = yield* listen(path, { startServing: false })
      yield* listen(path)
      const error = yield* Effect.flip(first.start)
      assert.strictEqual(error.reason, "AddressInUse")
      assert.strictEqual(yield* connect(path), "connected")
      yield* first.close
      assert.strictEqual(yield* connect(path), "connected")
      assert.deepStrictEqual(Fs.readdirSync(dir), ["x.sock"])
    }))

  it.scopedLive("can serve where its file was removed", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = `${dir}/x.sock`
      const listener = yield* listen(path, { startServing: false })
      Fs.unlinkSync(path)
      yield* listener.start
      assert.strictEqual(yield* connect(path), "connected")
    }))
})

describe("a name that no socket can have", () => {
  const pathOf = (dir: string, length: number) => Path.join(dir, "x".repeat(length - dir.length - 1))

  it.scopedLive("is refused when it is too long, with the length and the maximum", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = pathOf(dir, longestPath + 1)
      const error = yield* Effect.flip(listen(path))
      assert.deepStrictEqual(error.code, Option.some("ENAMETOOLONG"))
      assert.include(error.message, `can have ${longestPath} bytes here, and this one has ${longestPath + 1}`)
      assert.deepStrictEqual(Fs.readdirSync(dir), [])
      const dialled = yield* Effect.flip(backend.connectUnix(path, {}, Effect.interruptible))
      assert.include(dialled.message, `can have ${longestPath} bytes here, and this one has ${longestPath + 1}`)
    }))

  it.scopedLive("is counted in bytes", () =>
    Effect.sync(() => {
      assert.isUndefined(pathProblem("é".repeat(longestPath >> 1)))
      assert.include(pathProblem("é".repeat(longestPath))?.message, `has ${2 * longestPath}`)
      assert.include(pathProblem("a\0b")?.message, "NUL")
    }))

  it.scopedLive.skipIf(!linux)("is not one that is as long as can be", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const path = pathOf(dir, longestPath)
      const descriptors = openDescriptors()
      const acceptor = new Accepted()
      const listener = yield* listen(path, { mode: 0o600 }, acceptor)
      assert.strictEqual(yield* connect(path), "connected")
      assert.deepStrictEqual(Fs.readdirSync(dir), [Path.basename(path)])
      yield* listener.close
      acceptor.transports.forEach((transport) => transport.destroy())
      assert.deepStrictEqual(Fs.readdirSync(dir), [])
      assert.isFalse(openDescriptors() > descriptors)
      // A short name in a directory that leaves room for no other.
      const deep = pathOf(dir, longestPath - 2)
      Fs.mkdirSync(deep)
      yield* listen(`${deep}/s`)
      assert.strictEqual(yield* connect(`${deep}/s`), "connected")
    }))
})

describe.skipIf(!linux)("a name in the abstract namespace", () => {
  let count = 0
  const name = (length = 0) => `\0netstreams-${process.pid}-${count++}`.padEnd(length, "-")

  it.scopedLive("is listened on and connected to without a file", () =>
    Effect.gen(function*() {
      const path = name()
      const acceptor = new Accepted()
      const listener = yield* listen(path, { mode: 0o600 }, acceptor)
      assert.deepStrictEqual(listener.addresses, [Address.unix(path)])
      const transport = yield* backend.connectUnix(path, {}, Effect.interruptible)
      assert.deepStrictEqual(transport.remoteAddress, Address.unix(path))
      yield* Effect.promise(() => until(() => acceptor.transports.length === 1))
      transport.destroy()
      const error = yield* Effect.flip(listen(path))
      assert.strictEqual(error.reason, "AddressInUse")
      yield* listener.close
      yield* listener.close
      const refused = yield* Effect.flip(backend.connectUnix(path, {}, Effect.interruptible))
      assert.strictEqual(refused._tag === "ConnectError" && refused.reason, "Refused")
      assert.strictEqual(refused.message, `connect to @${path.slice(1)}: nobody listens there (ECONNREFUSED)`)
      yield* listen(path)
    }))

  it.scopedLive("can be as long as the system lets it be", () =>
    Effect.gen(function*() {
      yield* listen(name(108))
      const error = yield* Effect.flip(listen(name(109)))
      assert.include(error.message, "the name of a socket can have 108 bytes here, and this one has 109")
    }))

  it.scopedLive("drops who connects before it serves", () =>
    Effect.gen(function*() {
      const path = name()
      const acceptor = new Accepted()
      const listener = yield* listen(path, { startServing: false }, acceptor)
      const early = new Peer(Net.connect(path))
      yield* Effect.promise(() => until(() => early.closed))
      assert.strictEqual(acceptor.transports.length, 0)
      yield* listener.start
      assert.strictEqual(yield* connect(path), "connected")
      yield* Effect.promise(() => until(() => acceptor.transports.length === 1))
    }))
})

describe("a directory that does not do", () => {
  it.scopedLive("is told from a name that is taken", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const missing = yield* Effect.flip(listen(`${dir}/missing/x.sock`))
      assert.strictEqual(missing.reason, "NotFound")
      assert.deepStrictEqual(missing.code, Option.some("ENOENT"))
      Fs.writeFileSync(`${dir}/file`, "")
      const file = yield* Effect.flip(listen(`${dir}/file/x.sock`))
      assert.strictEqual(file.reason, "NotFound")
      assert.deepStrictEqual(file.code, Option.some("ENOTDIR"))
      assert.deepStrictEqual(Fs.readdirSync(dir), ["file"])
    }))

  // Who may do anything may not make files in sysfs either.
  it.scopedLive.skipIf(!Fs.existsSync("/sys/kernel"))("refuses with PermissionDenied", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(listen("/sys/kernel/x.sock"))
      assert.strictEqual(error.reason, "PermissionDenied", error.message)
    }))

  it.scopedLive("leaves nothing behind where it fails half-way", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      const descriptors = openDescriptors()
      // The mode is refused after the socket listens.
      const error = yield* Effect.flip(
        Effect.sandbox(listen(`${dir}/x.sock`, { mode: 2 ** 40 }))
      )
      assert.isDefined(error)
      assert.deepStrictEqual(Fs.readdirSync(dir), [])
      assert.isFalse(openDescriptors() > descriptors)
      yield* listen(`${dir}/x.sock`)
    }))
})

describe("connecting to a Unix socket", () => {
  it.scopedLive("fails by kind", () =>
    Effect.gen(function*() {
      const dir = yield* directory
      yield* stale(`${dir}/stale`)
      Fs.writeFileSync(`${dir}/file`, "")
      for (const [name, reason] of [["stale", "Refused"], ["file", "Refused"], ["none", "NotFound"]] as const) {
        const error = yield* Effect.flip(backend.connectUnix(`${dir}/${name}`, {}, Effect.interruptible))
        assert.strictEqual(error._tag, "ConnectError")
        assert.strictEqual(error.reason, reason)
      }
    }))
})
