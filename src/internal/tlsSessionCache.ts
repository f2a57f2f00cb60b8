/** The latest TLS session by server, with the least recently used one dropped. */
export interface SessionCache {
  readonly get: (server: string) => Uint8Array | undefined
  readonly set: (server: string, session: Uint8Array) => void
  /** Drops a session that has been of no use, unless there is another one by now. */
  readonly drop: (server: string, session: Uint8Array) => void
}

const defaultCapacity = 100

/** @internal */
export const make = (options?: { readonly capacity?: number | undefined } | undefined): SessionCache => {
  const capacity = options?.capacity ?? defaultCapacity
  // A map iterates in the order of insertion, so that the first key is the one that was used longest ago.
  const sessions = new Map<string, Uint8Array>()
  return {
    get: (server) => {
      const session = sessions.get(server)
      if (session !== undefined) {
        sessions.delete(server)
        sessions.set(server, session)
      }
      return session
    },
    set: (server, session) => {
      sessions.delete(server)
      sessions.set(server, session)
      if (sessions.size > capacity) {
        sessions.delete(sessions.keys().next().value!)
      }
    },
    drop: (server, session) => {
      if (sessions.get(server) === session) {
        sessions.delete(server)
      }
    }
  }
}
