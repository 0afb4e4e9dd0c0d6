/**
 * The names by which the system is seen. Dashboards, alerts, trace queries and SQL hold these words, so they are part of the
 * contract: add names, do not change them.
 */

/** `service.name` of each program. */
export const SERVICE = {
  peer: "lacewing-peer",
  scheduler: "lacewing-scheduler",
  manager: "lacewing-manager",
  traces: "lacewing-traces",
} as const;
export type ServiceName = (typeof SERVICE)[keyof typeof SERVICE];

/**
 * Span names. A normal download makes at most eight: `download` (the proxy's request, server) → `origin.open` (the opening
 * request, client) and `task.request` (client, through NATS) → `schedule` (scheduler, consumer) → `piece.fetch` per lease from a parent or `origin.fetch`
 * per lease from the origin (client) → `serve` (the parent, server). Pieces are attributes, not spans. A content up to 128 KiB comes
 * in one go and has no span of its fetch unless that failed: lease, reason and parent stand on `schedule` and `serve`.
 */
export const SPAN = {
  download: "download",
  originOpen: "origin.open",
  taskRequest: "task.request",
  schedule: "schedule",
  pieceFetch: "piece.fetch",
  originFetch: "origin.fetch",
  serve: "serve",
} as const;
export type SpanName = (typeof SPAN)[keyof typeof SPAN];

/** Span attribute names. Ids are attributes, never metric labels. */
export const ATTRIBUTE = {
  /** Lower-case hex SHA-256 of the task's canonical key. */
  taskId: "lacewing.task.id",
  /** The host that made the span. */
  hostId: "lacewing.host.id",
  /** One of {@link TRAFFIC}: where most bytes of the download came from. */
  traffic: "lacewing.traffic",
  /** Bytes delivered from this host's own store. */
  bytesLocalPeer: "lacewing.bytes.local_peer",
  /** Bytes received from other hosts. */
  bytesRemotePeer: "lacewing.bytes.remote_peer",
  /** Bytes received from the origin. */
  bytesBackToSource: "lacewing.bytes.back_to_source",
  /** Pieces that the span moved. */
  pieceCount: "lacewing.piece.count",
  leaseId: "lacewing.lease.id",
  /** Why the scheduler granted the lease as it did. */
  leaseReason: "lacewing.lease.reason",
  parentHostId: "lacewing.parent.host.id",
  childHostId: "lacewing.child.host.id",
  /** One client request; also in the log and in `downloads`. */
  requestId: "lacewing.request.id",
  /** How many requests the span stands for, when it is not one. */
  requestCount: "lacewing.request.count",
  /** True when the download went on without the scheduler. */
  degraded: "lacewing.degraded",
  /** How it ended, `snake_case`, from a closed set of the span's owner. */
  outcome: "lacewing.outcome",
  /** Milliseconds from the first to the last byte, by the monotonic clock. */
  costMs: "lacewing.cost_ms",
  /** The content's URL as `urlForLog` shows it: without query. */
  url: "lacewing.url",
  // OpenTelemetry's own (semantic conventions 1.x, stable).
  httpRequestMethod: "http.request.method",
  httpResponseStatusCode: "http.response.status_code",
  /** Bytes of the response body. */
  httpResponseBodySize: "http.response.body.size",
  serverAddress: "server.address",
  serverPort: "server.port",
  clientAddress: "client.address",
  /** The error's code or class. */
  errorType: "error.type",
  serviceName: "service.name",
  serviceVersion: "service.version",
  serviceInstanceId: "service.instance.id",
  hostName: "host.name",
  hostArch: "host.arch",
  processPid: "process.pid",
} as const;

/** Values of {@link ATTRIBUTE.traffic}: where the bytes of a download came from. */
export const TRAFFIC = {
  localPeer: "local_peer",
  remotePeer: "remote_peer",
  backToSource: "back_to_source",
} as const;
export type Traffic = (typeof TRAFFIC)[keyof typeof TRAFFIC];

/** Units in UCUM, as OpenTelemetry writes them. */
export type MetricUnit = "By" | "s" | "ms" | "1";

export interface MetricDefinition {
  readonly name: string;
  readonly kind: "counter" | "gauge";
  readonly unit: MetricUnit;
  readonly description: string;
  /** Label names; values must come from small closed sets. */
  readonly labels: readonly string[];
}

/** Every metric, with its unit and labels. */
export const METRIC = {
  downloadCount: {
    name: "lacewing.download.count",
    kind: "counter",
    unit: "1",
    description:
      "Client requests answered, by where most of their bytes came from and how they ended.",
    labels: ["traffic", "outcome"],
  },
  downloadBytes: {
    name: "lacewing.download.io",
    kind: "counter",
    unit: "By",
    description: "Bytes delivered to clients, by where they came from.",
    labels: ["traffic"],
  },
  serveBytes: {
    name: "lacewing.serve.io",
    kind: "counter",
    unit: "By",
    description: "Bytes sent to other hosts.",
    labels: [],
  },
  originBytes: {
    name: "lacewing.origin.io",
    kind: "counter",
    unit: "By",
    description: "Bytes received from origins.",
    labels: [],
  },
  storeBytes: {
    name: "lacewing.store.usage",
    kind: "gauge",
    unit: "By",
    description: "Bytes of pieces on this host's disk.",
    labels: [],
  },
  leaseCount: {
    name: "lacewing.lease.count",
    kind: "counter",
    unit: "1",
    description: "Leases granted, by what they read from.",
    labels: ["traffic"],
  },
  projectionLag: {
    name: "lacewing.projection.lag",
    kind: "gauge",
    unit: "s",
    description: "Age of the oldest event that is not yet in Postgres.",
    labels: [],
  },
  traceSpanCount: {
    name: "lacewing.trace.span.count",
    kind: "counter",
    unit: "1",
    description:
      "Spans that reached the trace store, by outcome (accepted, rejected, stored, lost).",
    labels: ["outcome"],
  },
  traceBufferedSpanCount: {
    name: "lacewing.trace.buffered_span.count",
    kind: "gauge",
    unit: "1",
    description: "Spans in memory that wait for Postgres.",
    labels: [],
  },
  traceDroppedSpanCount: {
    name: "lacewing.trace.dropped_span.count",
    kind: "gauge",
    unit: "1",
    description: "Own spans of this process that were lost before they were exported.",
    labels: [],
  },
} as const satisfies Record<string, MetricDefinition>;
