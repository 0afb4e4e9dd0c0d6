import { sql } from "drizzle-orm";
import { bigint, boolean, integer, primaryKey, text } from "drizzle-orm/pg-core";
import { bytea, instant, lacewing } from "./schema.ts";

/** One client request that ended, or a sum of many. Partitioned by day in SQL, which drizzle cannot say. */
export const downloads = lacewing.table(
  "downloads",
  {
    downloadId: text("download_id").notNull(),
    hostId: text("host_id").notNull(),
    taskId: text("task_id"),
    url: text("url").notNull(),
    method: text("method").notNull(),
    tag: text("tag").notNull(),
    application: text("application").notNull(),
    priority: bigint("priority", { mode: "number" }).notNull(),
    startedAt: instant("started_at").notNull(),
    ttfbMs: bigint("ttfb_ms", { mode: "number" }).notNull(),
    costMs: bigint("cost_ms", { mode: "number" }).notNull(),
    outcome: text("outcome").notNull(),
    httpStatus: integer("http_status").notNull(),
    fetchedRemotePeerBytes: bigint("fetched_remote_peer_bytes", { mode: "number" }).notNull(),
    fetchedBackToSourceBytes: bigint("fetched_back_to_source_bytes", { mode: "number" }).notNull(),
    deliveredLocalPeerBytes: bigint("delivered_local_peer_bytes", { mode: "number" }).notNull(),
    deliveredRemotePeerBytes: bigint("delivered_remote_peer_bytes", { mode: "number" }).notNull(),
    deliveredBackToSourceBytes: bigint("delivered_back_to_source_bytes", {
      mode: "number",
    }).notNull(),
    probeBytes: bigint("probe_bytes", { mode: "number" }).notNull(),
    contentLengthBytes: bigint("content_length_bytes", { mode: "number" }).notNull(),
    byteRange: text("byte_range").notNull(),
    degraded: boolean("degraded").notNull(),
    traceId: text("trace_id").notNull(),
    error: text("error").notNull(),
    requestCount: bigint("request_count", { mode: "number" }).notNull().default(1),
    // The rule stands in the SQL; here it only says that the column is not written.
    traffic: text("traffic")
      .notNull()
      .generatedAlwaysAs(sql``),
  },
  (table) => [primaryKey({ columns: [table.downloadId, table.startedAt] })],
);

/** Downloads summed by the minute. */
export const trafficMinute = lacewing.table(
  "traffic_minute",
  {
    minute: instant("minute").notNull(),
    hostId: text("host_id").notNull(),
    application: text("application").notNull(),
    tag: text("tag").notNull(),
    requestCount: bigint("request_count", { mode: "number" }).notNull(),
    failedRequestCount: bigint("failed_request_count", { mode: "number" }).notNull(),
    degradedRequestCount: bigint("degraded_request_count", { mode: "number" }).notNull(),
    localPeerRequestCount: bigint("local_peer_request_count", { mode: "number" }).notNull(),
    remotePeerRequestCount: bigint("remote_peer_request_count", { mode: "number" }).notNull(),
    backToSourceRequestCount: bigint("back_to_source_request_count", { mode: "number" }).notNull(),
    deliveredLocalPeerBytes: bigint("delivered_local_peer_bytes", { mode: "number" }).notNull(),
    deliveredRemotePeerBytes: bigint("delivered_remote_peer_bytes", { mode: "number" }).notNull(),
    deliveredBackToSourceBytes: bigint("delivered_back_to_source_bytes", {
      mode: "number",
    }).notNull(),
    fetchedRemotePeerBytes: bigint("fetched_remote_peer_bytes", { mode: "number" }).notNull(),
    fetchedBackToSourceBytes: bigint("fetched_back_to_source_bytes", { mode: "number" }).notNull(),
    probeBytes: bigint("probe_bytes", { mode: "number" }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.minute, table.hostId, table.application, table.tag] })],
);

/** What could not be folded or written. */
export const deadLetter = lacewing.table("dead_letter", {
  deadLetterId: bigint("dead_letter_id", { mode: "number" })
    .primaryKey()
    .generatedAlwaysAsIdentity(),
  stream: text("stream").notNull(),
  streamSequence: bigint("stream_sequence", { mode: "number" }).notNull(),
  subject: text("subject").notNull(),
  reason: text("reason").notNull(),
  payload: bytea("payload").notNull(),
  parkedAt: instant("parked_at").notNull().defaultNow(),
});
