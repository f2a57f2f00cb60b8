/**
 * What servers count. A number goes up where something happens, without an effect around it: that costs some tens of
 * nanoseconds, so there is no switch to turn it off.
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import type { Closed, Meter } from "./connectionState.js"

const name = (what: string): string => `netstreams_server_${what}`

const seconds = (...boundaries: ReadonlyArray<number>) => MetricBoundaries.fromIterable(boundaries)

const connectionsActive = Metric.gauge(name("connections_active"), {
  description: "Connections that have a handler"
})

const connectionsWaiting = Metric.gauge(name("connections_waiting"), {
  description: "Connections that wait for a place (maxConnections)"
})

const connectionsAccepted = Metric.counter(name("connections_accepted"), {
  description: "Connections that were given to a handler",
  incremental: true
})

const connectionsRejected = Metric.counter(name("connections_rejected"), {
  description: "Connections that were reset, by the limit that was reached",
  incremental: true
})

const connectionsClosed = Metric.counter(name("connections_closed"), {
  description: "Connections that have ended, by reason",
  incremental: true
})

const bytesReceived = Metric.counter(name("bytes_received"), {
  description: "Bytes received; with TLS, decrypted",
  incremental: true
})

const bytesSent = Metric.counter(name("bytes_sent"), {
  description: "Bytes handed over for sending; with TLS, before encryption",
  incremental: true
})

const connectionDuration = Metric.histogram(
  name("connection_duration_seconds"),
  seconds(0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 86_400),
  "From the accept until the connection has ended and its handler returned"
)

const handshakeDuration = Metric.histogram(
  name("handshake_duration_seconds"),
  seconds(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
  "TLS handshakes that succeeded"
)

const handshakesFailed = Metric.counter(name("handshakes_failed"), {
  description: "TLS handshakes that did not succeed",
  incremental: true
})

export const metrics = {
  connectionsActive,
  connectionsWaiting,
  connectionsAccepted,
  connectionsRejected,
  connectionsClosed,
  bytesReceived,
  bytesSent,
  connectionDuration,
  handshakeDuration,
  handshakesFailed
}

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

/** The numbers of one server, with the labels of whoever started it. */
export class ServerMeter implements Meter {
  /** By the value of a label; an array that stays the same is found again at once. */
  private readonly labelled: Map<string, Labels> = new Map()

  constructor(private readonly labels: Labels) {}

  private with(key: string, value: string): Labels {
    let labels = this.labelled.get(value)
    if (labels === undefined) {
      // In the order in which `Metric.tagged` has them, when the numbers are read with the same labels.
      labels = [MetricLabel.make(key, value), ...this.labels]
      this.labelled.set(value, labels)
    }
    return labels
  }

  opened(): void {
    connectionsAccepted.unsafeUpdate(1, this.labels)
    connectionsActive.unsafeModify(1, this.labels)
  }

  closed(reason: string, millis: number): void {
    connectionsActive.unsafeModify(-1, this.labels)
    connectionsClosed.unsafeUpdate(1, this.with("reason", reason))
    connectionDuration.unsafeUpdate(millis / 1000, this.labels)
  }

  waiting(change: number): void {
    connectionsWaiting.unsafeModify(change, this.labels)
  }

  rejected(limit: string, count: number): void {
    connectionsRejected.unsafeUpdate(count, this.with("limit", limit))
  }

  handshakeSucceeded(millis: number): void {
    handshakeDuration.unsafeUpdate(millis / 1000, this.labels)
  }

  handshakeFailed(): void {
    handshakesFailed.unsafeUpdate(1, this.labels)
  }

  received(bytes: number): void {
    bytesReceived.unsafeUpdate(bytes, this.labels)
  }

  sent(bytes: number): void {
    bytesSent.unsafeUpdate(bytes, this.labels)
  }
}

/** How a connection ended, in a word: who ended it, or why it failed. */
export const closeReason = (closed: Closed): string => closed.by === "Failed" ? closed.failure.reason : closed.by
