/**
 * What a backend provides: a pipe of bytes, a way to dial one, and a way to accept them.
 *
 * Everything that has meaning (limits, end of stream, back-pressure, interruption, errors, closing) is written once,
 * above this contract. A backend moves bytes and reports what happened, without Effect where bytes are moved.
 *
 * ## The life of a transport
 *
 * `start` is called once. From then on the transport calls its receiver, but never from within one of its own methods,
 * except that `write` may call `onDrain`:
 *
 * 1. `onData` any number of times, with a chunk that is not empty and that the transport will never change again;
 * 2. `onEnd` at most once, when the peer has ended its side in order. No `onData` follows. Writing goes on;
 * 3. `onDrain` whenever bytes that were queued have been handed to the network, so that `bufferedBytes` is smaller;
 * 4. `onClosed` exactly once, as the last call of all. After it the transport holds no resource.
 *
 * A transport whose two directions have both ended in order closes by itself: `onClosed(undefined)`.
 * Every method may be called at any time, also after the close, where it does nothing. None throws.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Address from "./Address.js"
import type { ConnectError, ConnectionError, ListenError, TlsError } from "./NetworkError.js"
import type * as Tls from "./Tls.js"

/**
 * Why a transport failed, before anyone knows which operation will have to report it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransportFailure {
  readonly reason: Exclude<
    ConnectionError["reason"],
    "Closed" | "Aborted" | "IdleTimeout" | "ReadTimeout" | "WriteTimeout" | "RateTooLow"
  >
  /** The operating system's name for it, such as `ECONNRESET`. */
  readonly code: string | undefined
  readonly cause: unknown
  /** What there is to say beyond the reason. */
  readonly detail?: string | undefined
  /** Set where it is TLS that failed, after the handshake. */
  readonly tls?: TlsError | undefined
}

/**
 * What a transport reports to. The module's introduction has the order of the calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransportReceiver {
  readonly onData: (chunk: Uint8Array) => void
  readonly onEnd: () => void
  readonly onDrain: () => void
  readonly onClosed: (failure: TransportFailure | undefined) => void
}

/**
 * One open pipe of bytes, both ways.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transport {
  readonly localAddress: Address.Address
  readonly remoteAddress: Address.Address
  /** Whether `end` leaves the reading side open. */
  readonly canWriteEof: boolean
  /** What the TLS handshake settled, where there was one. */
  readonly tls?: Tls.Session | undefined
  /** How long a close in order may take here, in milliseconds, beside what the connection's own limit says. */
  readonly closeTimeout?: number | undefined
  /** Bytes that were written and that the network has not taken yet. */
  readonly bufferedBytes: number
  /**
   * Any number that changes when the network has taken a part of what `bufferedBytes` still counts as a whole. Where
   * there is none, `onDrain` alone tells whether the peer takes anything.
   */
  readonly writeProgress?: number | undefined
  /** Begins to deliver. Called once, before anything else but `destroy` and `abort`. */
  readonly start: (receiver: TransportReceiver) => void
  /**
   * Asks for no more data. A chunk that was on its way may still come; what the peer sends then waits in the network,
   * which stops the peer. The end of the connection may go unnoticed while paused.
   */
  readonly pause: () => void
  readonly resume: () => void
  /**
   * Takes a chunk of `onData` back, of which nobody has kept anything: the transport may read into its memory again. It
   * is a chunk as it was delivered, or a part of one.
   */
  readonly recycle?: ((chunk: Uint8Array) => void) | undefined
  /** Queues the chunks in one piece. The transport may keep them until they are sent; the caller must not change them. */
  readonly write: (chunks: ReadonlyArray<Uint8Array>) => void
  /** Ends the writing side in order, after what is queued. */
  readonly end: () => void
  /** Gives the resources back now, without a reset where that can be. What is queued is dropped. */
  readonly destroy: () => void
  /** The same with a reset, so that the peer does not take it for an end in order. */
  readonly abort: () => void
  /**
   * TLS over a transport, where the backend has it. The transport it is over is this one, in new hands, and has not been
   * started.
   *
   * **Interruption** and failure leave nothing behind.
   */
  readonly startTls?: ((lower: Transport, options: Tls.Upgrade) => Effect.Effect<Transport, TlsError>) | undefined
}

/**
 * How to reach a TCP address.
 *
 * @since 0.1.0
 * @category options
 */
export interface TcpDialOptions extends SocketOptions {
  /** A name or a numeric address. */
  readonly host: string
  readonly port: number
  /** Only addresses of this family. Any by default. */
  readonly family?: 4 | 6 | undefined
  /** The `hints` of `dns.lookup`: `ADDRCONFIG`, `V4MAPPED` and `ALL` of `node:dns`, or a combination. None by default. */
  readonly lookupHints?: number | undefined
  /** The address of this machine to connect from, or a name: of its addresses the first that can be bound to. */
  readonly localAddress?: string | undefined
  /** The port to connect from. */
  readonly localPort?: number | undefined
  /**
   * How long an attempt may go unanswered before the next address is tried beside it: 250 milliseconds, as RFC 8305 §5
   * has it. `Duration.infinity` tries one after another, zero all at once.
   */
  readonly happyEyeballsDelay?: Duration.DurationInput | undefined
  /** How many addresses of the first family come before the families take turns: 1, as RFC 8305 §4 has it. */
  readonly interleave?: number | undefined
  /** How long name lookup, TCP and TLS may take together. No limit by default. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /** TLS: off by default. `true` trusts the certificates that Node trusts, and expects one for `host`. */
  readonly tls?: boolean | Tls.ClientOptions | undefined
}

/**
 * How to reach a Unix socket.
 *
 * @since 0.1.0
 * @category options
 */
export interface UnixDialOptions {
  /** How long the connection may take to be made. No limit by default. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /** TLS: off by default. A path has no host's name to expect, so a name must be said, or nothing verified. */
  readonly tls?: Tls.NamedClientOptions | undefined
}

/**
 * The TCP options of one socket, dialled or accepted.
 *
 * @since 0.1.0
 * @category options
 */
export interface SocketOptions {
  /** Sends small writes at once (`TCP_NODELAY`): true, as asyncio has it. */
  readonly noDelay?: boolean | undefined
  /** Probes an idle connection (`SO_KEEPALIVE`): off by default; a duration is the idle time before the first probe. */
  readonly keepAlive?: boolean | Duration.DurationInput | undefined
}

/**
 * Where and how to accept TCP connections.
 *
 * @since 0.1.0
 * @category options
 */
export interface TcpListenOptions extends SocketOptions {
  /**
   * One or several names or numeric addresses. Absent: every interface.
   *
   * **Details**
   *
   * All are listened on, or none. Where a name has several addresses, those that this machine lacks are passed over, as
   * long as one is left.
   */
  readonly host?: string | ReadonlyArray<string> | undefined
  /** 0 is any free port, and the default. */
  readonly port?: number | undefined
  /** How many connections may wait to be accepted: 100, as asyncio has it. */
  readonly backlog?: number | undefined
  /** Lets several processes listen on the same port (`SO_REUSEPORT`). */
  readonly reusePort?: boolean | undefined
  /** Keeps a listener on `::` from taking IPv4 connections as well. */
  readonly ipv6Only?: boolean | undefined
  /**
   * Whether to accept at once: true. Otherwise the address is bound, and refuses until `startServing`.
   *
   * **Details**
   *
   * In a worker of `node:cluster` the address is the primary's, which takes connections for all workers. Those that it
   * hands to a worker which does not serve yet are reset.
   */
  readonly startServing?: boolean | undefined
  /** TLS: off by default. A connection is accepted when its handshake is done. */
  readonly tls?: Tls.ServerOptions | undefined
}

/**
 * How to accept connections on a Unix socket.
 *
 * @since 0.1.0
 * @category options
 */
export interface UnixListenOptions {
  /** How many connections may wait to be accepted: 100, as asyncio has it. */
  readonly backlog?: number | undefined
  /**
   * The permissions of the socket file, such as `0o600`, in force before anyone can connect. A name in the abstract
   * namespace has no file, so there it is refused.
   */
  readonly mode?: number | undefined
  /** Replaces a socket file on which nobody listens any more: true. One that is in use is never replaced. */
  readonly unlinkStale?: boolean | undefined
  /**
   * Whether to accept at once: true. Otherwise the address is bound, and refuses until `startServing`.
   *
   * **Details**
   *
   * Another server takes the file for that of one that is gone, and replaces it; then `startServing` fails. A name in the
   * abstract namespace is listened on from the first, and connections are dropped until `startServing`.
   */
  readonly startServing?: boolean | undefined
  /** TLS: off by default. A connection is accepted when its handshake is done. */
  readonly tls?: Tls.ServerOptions | undefined
}

/**
 * What a listener reports to. None of the functions throws.
 *
 * @since 0.1.0
 * @category models
 */
export interface Acceptor {
  /**
   * A connection was accepted. The acceptor owns it from here on. Where it has TLS, a listener may say how many
   * milliseconds the handshake took.
   */
  readonly onTransport: (transport: Transport, handshakeMillis?: number | undefined) => void
  /** A connection could not be accepted, or did not survive its handshake. The listener goes on. */
  readonly onError: (error: AcceptError) => void
  /**
   * Nobody is accepted any more, and it was not `close` that ended it: what is below the listener was closed from
   * outside. Whoever hears of it calls `close`.
   */
  readonly onClosed?: (() => void) | undefined
  /** The listener was closed, and so many connections with it that it had not handed over: those in their handshake. */
  readonly onDropped?: ((count: number) => void) | undefined
}

/**
 * What a listener could not hand over: a connection that the system did not give, or whose handshake failed.
 *
 * @since 0.1.0
 * @category models
 */
export interface AcceptError {
  readonly phase: "accept" | "handshake"
  readonly remoteAddress: Address.Address | undefined
  readonly error: unknown
}

/**
 * One or several bound addresses on which connections are accepted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Listener {
  readonly addresses: Arr.NonEmptyReadonlyArray<Address.Address>
  /** Begins to accept; does nothing where it has begun, or is closed. */
  readonly start: Effect.Effect<void, ListenError>
  /** Stops accepting and frees the addresses. Connections go on. Idempotent; ends when the addresses are free. */
  readonly close: Effect.Effect<void>
  /** Changes what new connections are presented with, where the listener has TLS. */
  readonly setTls?: ((options: Tls.ServerOptions) => Effect.Effect<void, TlsError>) | undefined
}

/**
 * Makes an effect interruptible where the program is that connects or starts a server: what a backend may wait for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Restore {
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R>
}

/**
 * TLS over transports of any kind, for a backend that has none of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface TlsProvider {
  /**
   * The handshake of a client. `host` is the name to expect where the options have none. The transport has not been
   * started, and is the provider's from here on.
   *
   * **Interruption** and failure leave nothing behind.
   */
  readonly connect: (
    lower: Transport,
    options: Tls.ClientOptions,
    host: string | undefined
  ) => Effect.Effect<Transport, TlsError>
  /** The handshake of a connection that goes over to TLS, in either role. */
  readonly upgrade: (lower: Transport, options: Tls.Upgrade) => Effect.Effect<Transport, TlsError>
  /** Puts TLS between a listener and its acceptor. `address` is for errors. */
  readonly listen: (
    options: Tls.ServerOptions | undefined,
    address: Address.Address,
    acceptor: Acceptor,
    listen: (acceptor: Acceptor) => Effect.Effect<Listener, ListenError>
  ) => Effect.Effect<Listener, ListenError>
}

/**
 * A network, as a backend provides it.
 *
 * **Details**
 *
 * The core has checked every argument for sense before it calls, and fills in no default: the absence of an option is
 * the backend's to read as documented there.
 *
 * **Interruption**
 *
 * Everything is run where nothing interrupts it, or what has been made could be lost on its way to the caller, who has a
 * finalizer in place before an interruption can come. What may take long is put into `restore`, and what is held then is
 * freed where that fails or is interrupted: interrupting `connect` leaves no socket, timer or descriptor behind. A
 * backend that makes no use of `restore` can't be interrupted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Backend {
  readonly connect: (options: TcpDialOptions, restore: Restore) => Effect.Effect<Transport, ConnectError | TlsError>
  readonly connectUnix: (
    path: string,
    options: UnixDialOptions,
    restore: Restore
  ) => Effect.Effect<Transport, ConnectError | TlsError>
  readonly listen: (
    options: TcpListenOptions,
    acceptor: Acceptor,
    restore: Restore
  ) => Effect.Effect<Listener, ListenError>
  readonly listenUnix: (
    path: string,
    options: UnixListenOptions,
    acceptor: Acceptor,
    restore: Restore
  ) => Effect.Effect<Listener, ListenError>
}
