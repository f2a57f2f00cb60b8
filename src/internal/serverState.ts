/**
 * The life of a server, in one place.
 *
 * ```
 * starting ──serve──▶ serving ──drain──▶ draining ──addresses free, nobody left──▶ closed
 *     └─────────────────drain───────────────▲
 * ```
 *
 * Whoever comes while it drains is sent away; whoever is there may stay as long as the server's owner lets it. There is
 * no way back.
 */
import { type Member, Roster } from "./roster.js"

export type Phase = "starting" | "serving" | "draining" | "closed"

export class ServerState<Client extends Member> {
  phase: Phase = "starting"
  /** Whoever has a handler: from the accept until the connection has ended and the handler has returned. */
  readonly clients: Roster<Client> = new Roster()
  private addressesHeld = true
  /** Told of each change, which is only a hint to look again. */
  private readonly watchers: Set<() => void> = new Set()

  /** Whether the addresses are free again, after a drain. */
  get isFree(): boolean {
    return !this.addressesHeld
  }

  serve(): void {
    if (this.phase === "starting") {
      this.phase = "serving"
    }
  }

  drain(): void {
    if (this.phase === "starting" || this.phase === "serving") {
      this.phase = "draining"
    }
  }

  /** The listener is closed. */
  freed(): void {
    this.addressesHeld = false
    this.changed()
  }

  enter(client: Client): void {
    this.clients.add(client)
  }

  leave(client: Client): void {
    this.clients.delete(client)
    this.changed()
  }

  /** Calls `look` at the next change, once. */
  watch(look: () => void): void {
    this.watchers.add(look)
  }

  giveUp(look: () => void): void {
    this.watchers.delete(look)
  }

  private changed(): void {
    if (this.phase === "draining" && !this.addressesHeld && this.clients.size === 0) {
      this.phase = "closed"
    }
    if (this.watchers.size > 0) {
      const watchers = Array.from(this.watchers)
      this.watchers.clear()
      watchers.forEach((look) => look())
    }
  }
}
