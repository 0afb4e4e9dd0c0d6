/**
 * The hot statements. Rows come as one JSON array: of the ways to write a batch it is the fastest over one connection
 * (174k rows/s against 120k with unnest, at half the CPU), and no number of rows meets the limit of 65,535 parameters.
 */

const HOST_COLUMNS = [
  "host_id text",
  "boot_id text",
  "kind text",
  "transfer_address text",
  "idc text",
  "location text",
  "upload_slots bigint",
  "free_bytes bigint",
  "quota_bytes bigint",
  "state text",
  "announced_at_ms bigint",
];

const TASK_COLUMNS = [
  "task_id text",
  "slice smallint",
  "url text",
  "sharing_domain text",
  "anchor text",
  "tag text",
  "application text",
  "priority bigint",
  "length_bytes bigint",
  "piece_length_bytes bigint",
  "etag text",
  "content_type text",
  "piece_digests base64",
  "state text",
  "retired_reason text",
  "created_at_ms bigint",
];

const PEER_COLUMNS = [
  "task_id text",
  "host_id text",
  "slice smallint",
  "incarnation bigint",
  "bitmap base64",
  "held_piece_count bigint",
  "is_verified boolean",
  "requests jsonb",
  "is_seeding boolean",
  "is_apart boolean",
];

const LEASE_COLUMNS = [
  "lease_id text",
  "task_id text",
  "slice smallint",
  "epoch bigint",
  "child_host_id text",
  "parent_host_id text",
  "pieces text",
  "piece_count bigint",
  "is_open boolean",
  "request_id text",
  "reason text",
  "candidate_count bigint",
  "granted_at_ms bigint",
  "duration_ms bigint",
  "traceparent text",
  "outcome text",
  "ended_at_ms bigint",
  "bytes bigint",
  "transfer_ms bigint",
];

const DOWNLOAD_COLUMNS = [
  "download_id text",
  "host_id text",
  "task_id text",
  "url text",
  "method text",
  "tag text",
  "application text",
  "priority bigint",
  "started_at_ms bigint",
  "ttfb_ms bigint",
  "cost_ms bigint",
  "outcome text",
  "http_status integer",
  "fetched_remote_peer_bytes bigint",
  "fetched_back_to_source_bytes bigint",
  "delivered_local_peer_bytes bigint",
  "delivered_remote_peer_bytes bigint",
  "delivered_back_to_source_bytes bigint",
  "probe_bytes bigint",
  "content_length_bytes bigint",
  "byte_range text",
  "degraded boolean",
  "trace_id text",
  "error text",
  "request_count bigint",
];

const DEAD_LETTER_COLUMNS = [
  "stream text",
  "stream_sequence bigint",
  "subject text",
  "reason text",
  "payload base64",
];

const UPDATED = ["updated_at = now()"];
/** What is written again is remembered again. */
const REMEMBERED = [...UPDATED, "forgotten_at = NULL"];

export const UPSERT_HOSTS = upsert("hosts", HOST_COLUMNS, ["host_id"], REMEMBERED);
export const UPSERT_TASKS = upsert("tasks", TASK_COLUMNS, ["task_id"], REMEMBERED);
export const UPSERT_PEERS = upsert("peers", PEER_COLUMNS, ["task_id", "host_id"], UPDATED);
export const UPSERT_LEASES = upsert("leases", LEASE_COLUMNS, ["lease_id"], []);

/** A lease's bytes are told once; what is told of it again, or by somebody else, changes nothing. */
export const ADD_LATE_BYTES = `
  UPDATE lacewing.leases l SET bytes = r.bytes, transfer_ms = r.transfer_ms
  FROM json_to_recordset($1::json) AS r(lease_id text, child_host_id text, bytes bigint, transfer_ms bigint)
  WHERE l.lease_id = r.lease_id AND l.child_host_id = r.child_host_id AND l.bytes = 0 AND l.outcome <> 'live'`;

export const DELETE_PEERS = `
  DELETE FROM lacewing.peers p
  USING json_to_recordset($1::json) AS r(task_id text, host_id text)
  WHERE p.task_id = r.task_id AND p.host_id = r.host_id`;

/** Who has forgotten a task or a host has forgotten its peers before. */
export const FORGET_TASKS = `
  UPDATE lacewing.tasks t SET forgotten_at = now()
  FROM json_to_recordset($1::json) AS r(task_id text)
  WHERE t.task_id = r.task_id`;
export const FORGET_HOSTS = `
  UPDATE lacewing.hosts h SET forgotten_at = now()
  FROM json_to_recordset($1::json) AS r(host_id text)
  WHERE h.host_id = r.host_id`;

/** A repeated fact meets its own key and is left out of the roll-up, so each download is counted once. */
export const INSERT_DOWNLOADS = `
  WITH inserted AS (
    ${insert("downloads", DOWNLOAD_COLUMNS)}
    ON CONFLICT (download_id, started_at) DO NOTHING
    RETURNING *
  )
  INSERT INTO lacewing.traffic_minute AS t
  SELECT
    date_trunc('minute', started_at, 'UTC'), host_id, application, tag,
    sum(request_count),
    coalesce(sum(request_count) FILTER (WHERE outcome <> 'finished'), 0),
    coalesce(sum(request_count) FILTER (WHERE degraded), 0),
    coalesce(sum(request_count) FILTER (WHERE traffic = 'local_peer'), 0),
    coalesce(sum(request_count) FILTER (WHERE traffic = 'remote_peer'), 0),
    coalesce(sum(request_count) FILTER (WHERE traffic = 'back_to_source'), 0),
    sum(delivered_local_peer_bytes), sum(delivered_remote_peer_bytes), sum(delivered_back_to_source_bytes),
    sum(fetched_remote_peer_bytes), sum(fetched_back_to_source_bytes), sum(probe_bytes)
  FROM inserted
  GROUP BY 1, 2, 3, 4
  ORDER BY 1, 2, 3, 4
  ON CONFLICT (minute, host_id, application, tag) DO UPDATE SET
    ${[
      "request_count",
      "failed_request_count",
      "degraded_request_count",
      "local_peer_request_count",
      "remote_peer_request_count",
      "back_to_source_request_count",
      "delivered_local_peer_bytes",
      "delivered_remote_peer_bytes",
      "delivered_back_to_source_bytes",
      "fetched_remote_peer_bytes",
      "fetched_back_to_source_bytes",
      "probe_bytes",
    ]
      .map((name) => `${name} = t.${name} + excluded.${name}`)
      .join(", ")}`;

export const INSERT_DEAD_LETTERS = `${insert("dead_letter", DEAD_LETTER_COLUMNS)} ON CONFLICT DO NOTHING`;

const CHECKPOINT_COLUMNS =
  "slice smallint, " +
  "before_epoch bigint, before_events bigint, before_decisions bigint, before_message_id text, " +
  "after_epoch bigint, after_events bigint, after_decisions bigint, after_message_id text";

/** Moves checkpoints that stand where the writer left them and whose slice nobody has taken since. */
export const MOVE_CHECKPOINTS = `
  UPDATE lacewing.checkpoints c
  SET epoch = r.after_epoch, events_sequence = r.after_events, decisions_sequence = r.after_decisions,
    last_message_id = r.after_message_id, updated_at = now()
  FROM json_to_recordset($1::json) AS r(${CHECKPOINT_COLUMNS})
  JOIN lacewing.slices s ON s.slice = r.slice
  WHERE c.slice = r.slice AND s.epoch <= r.after_epoch
    AND c.epoch = r.before_epoch AND c.events_sequence = r.before_events
    AND c.decisions_sequence = r.before_decisions AND c.last_message_id = r.before_message_id`;

/** What {@link commitUnlessFenced} fails with. */
export const FENCED_STATE = "LW001";

/**
 * Commits, unless somebody has taken one of the slices since. One message: a writer that was paused in its transaction finds out when it goes
 * on. Its commit would come after its successor has read the checkpoints, and that one would pass for the late one.
 */
export function commitUnlessFenced(slices: readonly number[]): string {
  return `
  DO $$ BEGIN
    IF EXISTS (
      SELECT FROM lacewing.checkpoints c JOIN lacewing.slices s USING (slice)
      WHERE slice IN (${slices.join(", ")}) AND s.epoch > c.epoch
    ) THEN RAISE EXCEPTION 'somebody else owns a slice' USING ERRCODE = '${FENCED_STATE}';
    END IF;
  END $$;
  COMMIT`;
}

/** How many checkpoints stand where this batch would move them: all of them when its commit was not heard of. */
export const COUNT_MOVED_CHECKPOINTS = `
  SELECT count(*) AS count
  FROM json_to_recordset($1::json) AS r(${CHECKPOINT_COLUMNS})
  JOIN lacewing.slices s ON s.slice = r.slice AND s.epoch <= r.after_epoch
  JOIN lacewing.checkpoints c ON c.slice = r.slice
    AND c.epoch = r.after_epoch AND c.events_sequence = r.after_events
    AND c.decisions_sequence = r.after_decisions AND c.last_message_id = r.after_message_id`;

/** `column_ms` stands for a timestamp, type `base64` for bytes. */
function insert(table: string, columns: readonly string[]): string {
  const parts = columns.map(columnOf);
  return `INSERT INTO lacewing.${table} (${parts.map((part) => part.target).join(", ")})
    SELECT ${parts.map((part) => part.expression).join(", ")}
    FROM json_to_recordset($1::json) AS r(${parts.map((part) => part.source).join(", ")})`;
}

function upsert(
  table: string,
  columns: readonly string[],
  key: readonly string[],
  extraChanges: readonly string[],
): string {
  const targets = columns.map((column) => columnOf(column).target);
  const changes = targets
    .filter((target) => !key.includes(target))
    .map((target) => `${target} = excluded.${target}`);
  return `${insert(table, columns)}
    ON CONFLICT (${key.join(", ")}) DO UPDATE SET ${[...changes, ...extraChanges].join(", ")}`;
}

interface Column {
  readonly target: string;
  /** As declared for `json_to_recordset`. */
  readonly source: string;
  readonly expression: string;
}

function columnOf(declaration: string): Column {
  const [name = "", type = ""] = declaration.split(" ");
  if (name.endsWith("_at_ms")) {
    const target = name.slice(0, -"_ms".length);
    return { target, source: declaration, expression: `to_timestamp(r.${name} / 1000.0)` };
  }
  if (type === "base64") {
    return { target: name, source: `${name} text`, expression: `decode(r.${name}, 'base64')` };
  }
  return { target: name, source: declaration, expression: `r.${name}` };
}
