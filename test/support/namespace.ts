/**
 * A machine of our own to dial from: a network and a mount namespace, in which names have the addresses we say, packets
 * vanish where we say, and the name server answers as we say. Linux, and only for the superuser.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as Path from "node:path"
import type { Answer, Request } from "./namespaceProgram.js"

const root = Path.resolve(import.meta.dirname, "../..")

/**
 * - `hole.test` has one address of each family, from which nothing ever comes back;
 * - `half-hole.test` has one of these and the loopback;
 * - fe80::1 is the loopback's, and there only with its zone, `lo`;
 * - fe80::7 is that of an interface with the name `br_lan` and the number 77, fe80::9 that of one with the name `42`,
 *   which is another's number;
 * - 198.51.100.0/24 can't be reached, 203.0.113.0/24 is forbidden, and there is no way to anywhere else.
 */
const machine = `
  set -e
  ip link set lo up
  ip addr add fe80::1/64 dev lo nodad
  ip link add br_lan index 77 type veth peer name br_lan_peer index 42
  ip link add 42 index 78 type veth peer name 42_peer
  for link in br_lan br_lan_peer 42 42_peer; do
    ip link set $link up
  done
  ip addr add fe80::7/64 dev br_lan nodad
  ip addr add fe80::9/64 dev 42 nodad
  ip link add hole0 type veth peer name hole1
  ip addr add 192.0.2.1/24 dev hole0
  ip addr add 2001:db8::1/64 dev hole0 nodad
  ip link set hole0 up
  ip link set hole1 up
  # Without these, the lack of an answer to "who has it" would be told.
  ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev hole0 nud permanent
  ip neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev hole0 nud permanent
  ip route add unreachable 198.51.100.0/24
  ip route add prohibit 203.0.113.0/24
  mount -t tmpfs none /mnt
  cat > /mnt/hosts <<END
::1 localhost
127.0.0.1 localhost
2001:db8::2 hole.test
192.0.2.2 hole.test
2001:db8::2 half-hole.test
127.0.0.1 half-hole.test
END
  printf 'nameserver 127.0.0.1\\noptions timeout:2 attempts:1\\n' > /mnt/resolv.conf
  printf 'hosts: files dns\\n' > /mnt/nsswitch.conf
  for file in hosts resolv.conf nsswitch.conf; do
    mount --bind "/mnt/$file" "/etc/$file"
  done
  exec "$@"
`

const command = (...program: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...["--net", "--mount", "sh", "-c", machine, "sh"],
  ...program
]

/** Why there can't be one here, or `undefined`. */
export const namespaceProblem: string | undefined = process.platform !== "linux"
  ? "this is not Linux"
  : process.getuid?.() !== 0
  ? "only the superuser can make one"
  : spawnSync("unshare", command("true")).status !== 0
  ? "unshare, ip or mount can't do it here"
  : undefined

/** A program that dials in there, one request after another. */
export class Namespace extends Context.Tag("test/Namespace")<Namespace, {
  readonly ask: (request: Request) => Effect.Effect<Answer>
}>() {}

export const layer: Layer.Layer<Namespace> = Layer.scoped(
  Namespace,
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn("unshare", [...command(process.execPath, "--import", "tsx", "test/support/namespaceProgram.ts")], {
          cwd: root,
          stdio: ["ignore", "inherit", "inherit", "ipc"]
        })
      ),
      (child) =>
        Effect.promise(async () => {
          if (child.exitCode === null && child.signalCode === null) {
            const exited = once(child, "exit")
            child.kill("SIGKILL")
            await exited
          }
        })
    ),
    (child) => ({ ask: (request) => Effect.promise(() => ask(child, request)) })
  )
)

const ask = (child: ChildProcess, request: Request): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      child.off("exit", gone)
      child.off("message", answered)
      settle()
    }
    const gone = () => done(() => reject(new Error("the program in the namespace has ended")))
    const answered = (message: unknown) => {
      if (typeof message === "object" && message !== null && "answer" in message) {
        done(() => resolve(message.answer as Answer))
      }
    }
    child.on("exit", gone)
    child.on("message", answered)
    child.send(request, (error) => {
      if (error !== null) {
        done(() => reject(error))
      }
    })
  })
