-- The task/peer graph, the facts about downloads, and what analysts read.
--
-- No foreign keys: rows come from independent logs and may arrive in any order (a download of a host that never
-- announced itself is still a fact). Identifiers are checked by form instead. Texts are limited, so that one wrong
-- message cannot fill the disk or overflow an index entry; the writer shortens them first.

CREATE DOMAIN lacewing.name AS text CHECK (VALUE ~ '^[A-Za-z0-9_-]{1,64}$');
COMMENT ON DOMAIN lacewing.name IS 'Id of a host, a boot, a request or a lease: 1 to 64 letters, digits, "-" and "_".';

CREATE DOMAIN lacewing.task_id AS text CHECK (VALUE ~ '^[0-9a-f]{64}$');
COMMENT ON DOMAIN lacewing.task_id IS 'Id of a task: 64 lower-case hex digits.';

CREATE DOMAIN lacewing.slice AS smallint CHECK (VALUE BETWEEN 0 AND 63);
COMMENT ON DOMAIN lacewing.slice IS 'Partition of all tasks: first byte of the task id modulo 64.';

CREATE DOMAIN lacewing.quantity AS bigint CHECK (VALUE >= 0);
COMMENT ON DOMAIN lacewing.quantity IS 'A count, a number of bytes or of milliseconds; never negative.';

---------------------------------------------------------------------------------------------------------------------
-- Who folds what

CREATE TABLE lacewing.slices (
  slice lacewing.slice PRIMARY KEY,
  owner_id text CHECK (length(owner_id) BETWEEN 1 AND 256),
  epoch lacewing.quantity NOT NULL DEFAULT 0,
  leased_until timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE lacewing.slices IS 'Which scheduler owns a slice: a lease by the clock of this database. One row for each slice, for ever.';
COMMENT ON COLUMN lacewing.slices.owner_id IS 'One start of one scheduler process; null when it released the slice.';
COMMENT ON COLUMN lacewing.slices.epoch IS 'Fencing token: grows at every change of owner and whenever a lease had run out.';
COMMENT ON COLUMN lacewing.slices.leased_until IS 'Somebody else may take the slice after this.';

CREATE TABLE lacewing.checkpoints (
  slice lacewing.slice PRIMARY KEY,
  epoch lacewing.quantity NOT NULL DEFAULT 0,
  events_sequence lacewing.quantity NOT NULL DEFAULT 0,
  decisions_sequence lacewing.quantity NOT NULL DEFAULT 0,
  last_message_id text NOT NULL DEFAULT '' CHECK (length(last_message_id) <= 256),
  updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE lacewing.checkpoints IS 'The log position that the rows of a slice include; moved in the transaction that writes the rows. One row for each slice.';
COMMENT ON COLUMN lacewing.checkpoints.epoch IS 'Of the owner that wrote the rows.';
COMMENT ON COLUMN lacewing.checkpoints.events_sequence IS 'Position in the stream LACEWING_EVENTS; 0 before the first.';
COMMENT ON COLUMN lacewing.checkpoints.decisions_sequence IS 'Position in the stream LACEWING_DECISIONS of the slice''s newest decision message that is included; 0 for none.';
COMMENT ON COLUMN lacewing.checkpoints.last_message_id IS 'Nats-Msg-Id of the last event message that is included, to notice a stream that was made anew.';

INSERT INTO lacewing.slices (slice) SELECT generate_series(0, 63);
INSERT INTO lacewing.checkpoints (slice) SELECT generate_series(0, 63);

---------------------------------------------------------------------------------------------------------------------
-- The graph

CREATE TABLE lacewing.hosts (
  host_id lacewing.name PRIMARY KEY,
  boot_id text NOT NULL CHECK (length(boot_id) <= 64),
  kind text NOT NULL CHECK (kind IN ('normal', 'seed')),
  transfer_address text NOT NULL CHECK (length(transfer_address) <= 1024),
  idc text NOT NULL CHECK (length(idc) <= 256),
  location text NOT NULL CHECK (length(location) <= 1024),
  upload_slots lacewing.quantity NOT NULL,
  free_bytes lacewing.quantity NOT NULL,
  quota_bytes lacewing.quantity NOT NULL,
  state text NOT NULL CHECK (state IN ('alive', 'left', 'lost')),
  announced_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
COMMENT ON TABLE lacewing.hosts IS 'Machines that run the peer service, as they last announced themselves.';
COMMENT ON COLUMN lacewing.hosts.boot_id IS 'One process start of the host.';
COMMENT ON COLUMN lacewing.hosts.kind IS '"seed": keeps more, stays, may read the origin for others.';
COMMENT ON COLUMN lacewing.hosts.transfer_address IS 'host:port of its piece server.';
COMMENT ON COLUMN lacewing.hosts.location IS 'region|rack|..., most general first.';
COMMENT ON COLUMN lacewing.hosts.upload_slots IS 'Transfers it serves at once.';
COMMENT ON COLUMN lacewing.hosts.free_bytes IS 'Free on its disk at the last announce.';
COMMENT ON COLUMN lacewing.hosts.quota_bytes IS 'What its store may use.';
COMMENT ON COLUMN lacewing.hosts.state IS '"left": stopped in order; "lost": silent for too long.';
COMMENT ON COLUMN lacewing.hosts.announced_at IS 'When its last announce was stored.';

CREATE TABLE lacewing.tasks (
  task_id lacewing.task_id PRIMARY KEY,
  slice lacewing.slice NOT NULL,
  url text NOT NULL CHECK (length(url) <= 8192),
  sharing_domain text NOT NULL CHECK (length(sharing_domain) <= 8192),
  anchor text NOT NULL CHECK (anchor = '' OR anchor ~ '^sha256:[0-9a-f]{64}$'),
  tag text NOT NULL CHECK (length(tag) <= 256),
  application text NOT NULL CHECK (length(application) <= 256),
  priority bigint NOT NULL,
  length_bytes lacewing.quantity,
  piece_length_bytes lacewing.quantity CHECK (piece_length_bytes > 0),
  etag text NOT NULL CHECK (length(etag) <= 8192),
  content_type text NOT NULL CHECK (length(content_type) <= 8192),
  piece_digests bytea NOT NULL CHECK (octet_length(piece_digests) % 32 = 0),
  state text NOT NULL CHECK (state IN ('active', 'verified', 'retired')),
  retired_reason text NOT NULL CHECK (length(retired_reason) <= 256),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  CHECK ((length_bytes IS NULL) = (piece_length_bytes IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE lacewing.tasks ALTER COLUMN piece_digests SET STORAGE EXTERNAL;
CREATE INDEX tasks_retired ON lacewing.tasks (updated_at) WHERE state = 'retired';
COMMENT ON TABLE lacewing.tasks IS 'Contents that are, or were, distributed.';
COMMENT ON COLUMN lacewing.tasks.url IS 'As first asked for, without user info, filtered query parameters or any other secret.';
COMMENT ON COLUMN lacewing.tasks.sharing_domain IS 'Who may share copies: the origin''s authority unless a rule says otherwise.';
COMMENT ON COLUMN lacewing.tasks.anchor IS 'sha256:<hex> of the whole content when known from outside; else empty.';
COMMENT ON COLUMN lacewing.tasks.length_bytes IS 'Null until the origin''s answer was seen.';
COMMENT ON COLUMN lacewing.tasks.piece_length_bytes IS 'Bytes per piece, the last one may be shorter; fixed for the life of the task. Null until the origin''s answer was seen.';
COMMENT ON COLUMN lacewing.tasks.etag IS 'Strong validator of the origin, or empty.';
COMMENT ON COLUMN lacewing.tasks.piece_digests IS 'SHA-256 of each piece, 32 bytes each, in order; zeros where not known.';
COMMENT ON COLUMN lacewing.tasks.state IS '"active"; "verified": the whole content agreed with its anchor somewhere; "retired": takes no more leases.';
COMMENT ON COLUMN lacewing.tasks.retired_reason IS 'Empty unless retired.';

CREATE TABLE lacewing.peers (
  task_id lacewing.task_id,
  host_id lacewing.name,
  slice lacewing.slice NOT NULL,
  incarnation lacewing.quantity NOT NULL,
  bitmap bytea NOT NULL CHECK (octet_length(bitmap) <= 32768),
  held_piece_count lacewing.quantity NOT NULL,
  is_verified boolean NOT NULL,
  requests jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(requests) = 'array'),
  is_seeding boolean NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (task_id, host_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE lacewing.peers ALTER COLUMN bitmap SET STORAGE EXTERNAL;
CREATE INDEX peers_host ON lacewing.peers (host_id);
COMMENT ON TABLE lacewing.peers IS 'One host''s participation in one task: the vertices of the graph.';
COMMENT ON COLUMN lacewing.peers.incarnation IS 'Grows when the host gives pieces up; bits of a lower one are void.';
COMMENT ON COLUMN lacewing.peers.bitmap IS 'Piece i (byte i/8, least significant bit first) is held and verified.';
COMMENT ON COLUMN lacewing.peers.held_piece_count IS 'Bits set in the bitmap.';
COMMENT ON COLUMN lacewing.peers.is_verified IS 'The host has checked the whole content.';
COMMENT ON COLUMN lacewing.peers.requests IS 'Client requests that wait at the host: [{requestId, wantedStart, wantedEnd (bytes, end exclusive; 0,0 is all), canReadOrigin, traceparent}].';
COMMENT ON COLUMN lacewing.peers.is_seeding IS 'A seed host that wants the whole content although no client waits.';

CREATE TABLE lacewing.leases (
  lease_id lacewing.name PRIMARY KEY,
  task_id lacewing.task_id NOT NULL,
  slice lacewing.slice NOT NULL,
  epoch lacewing.quantity NOT NULL,
  child_host_id lacewing.name NOT NULL,
  parent_host_id lacewing.name,
  pieces text NOT NULL CHECK (length(pieces) <= 131072),
  piece_count lacewing.quantity NOT NULL,
  is_open boolean NOT NULL,
  request_id text NOT NULL CHECK (length(request_id) <= 64),
  reason text NOT NULL CHECK (length(reason) <= 256),
  candidate_count lacewing.quantity NOT NULL,
  granted_at timestamptz NOT NULL,
  duration_ms lacewing.quantity NOT NULL,
  traceparent text NOT NULL CHECK (length(traceparent) <= 64),
  outcome text NOT NULL CHECK (length(outcome) BETWEEN 1 AND 64),
  ended_at timestamptz,
  bytes lacewing.quantity NOT NULL,
  transfer_ms lacewing.quantity NOT NULL,
  CHECK ((outcome = 'live') = (ended_at IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX leases_task ON lacewing.leases (task_id, granted_at);
CREATE INDEX leases_live ON lacewing.leases (slice) WHERE outcome = 'live';
CREATE INDEX leases_ended_at ON lacewing.leases (ended_at) WHERE ended_at IS NOT NULL;
COMMENT ON TABLE lacewing.leases IS 'Grants "this child takes these pieces from this parent": the edges of the graph. Not partitioned, because a row changes while it lives; apply_retention removes ended ones.';
COMMENT ON COLUMN lacewing.leases.epoch IS 'Of the scheduler that granted it.';
COMMENT ON COLUMN lacewing.leases.parent_host_id IS 'Null: the origin.';
COMMENT ON COLUMN lacewing.leases.pieces IS 'start:count pairs joined by commas; empty for an open lease whose content is not described yet.';
COMMENT ON COLUMN lacewing.leases.is_open IS 'Granted before the length was known: everything the origin sends.';
COMMENT ON COLUMN lacewing.leases.request_id IS 'The client request it serves; empty when none waits (seeding).';
COMMENT ON COLUMN lacewing.leases.reason IS 'Why this parent.';
COMMENT ON COLUMN lacewing.leases.candidate_count IS 'Parents that were possible.';
COMMENT ON COLUMN lacewing.leases.duration_ms IS 'Milliseconds it may go without progress, counted by the child from receipt.';
COMMENT ON COLUMN lacewing.leases.outcome IS '"live" until it ends: "finished", or a failure or revocation reason.';
COMMENT ON COLUMN lacewing.leases.bytes IS 'Content bytes that arrived and were kept.';
COMMENT ON COLUMN lacewing.leases.transfer_ms IS 'Milliseconds from start to end at the child.';

---------------------------------------------------------------------------------------------------------------------
-- Facts

CREATE TABLE lacewing.downloads (
  download_id lacewing.name NOT NULL,
  host_id lacewing.name NOT NULL,
  task_id lacewing.task_id,
  url text NOT NULL CHECK (length(url) <= 8192),
  method text NOT NULL CHECK (length(method) <= 64),
  tag text NOT NULL CHECK (length(tag) <= 256),
  application text NOT NULL CHECK (length(application) <= 256),
  priority bigint NOT NULL,
  started_at timestamptz NOT NULL CHECK (started_at >= '1970-01-01 00:00:00+00' AND started_at <= '2100-01-01 00:00:00+00'),
  ttfb_ms lacewing.quantity NOT NULL,
  cost_ms lacewing.quantity NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('finished', 'client_gone', 'origin_error', 'anchor_mismatch', 'interrupted', 'failed')),
  http_status integer NOT NULL CHECK (http_status BETWEEN 0 AND 999),
  fetched_remote_peer_bytes lacewing.quantity NOT NULL,
  fetched_back_to_source_bytes lacewing.quantity NOT NULL,
  delivered_local_peer_bytes lacewing.quantity NOT NULL,
  delivered_remote_peer_bytes lacewing.quantity NOT NULL,
  delivered_back_to_source_bytes lacewing.quantity NOT NULL,
  probe_bytes lacewing.quantity NOT NULL,
  content_length_bytes lacewing.quantity NOT NULL,
  byte_range text NOT NULL CHECK (length(byte_range) <= 8192),
  degraded boolean NOT NULL,
  trace_id text NOT NULL CHECK (trace_id = '' OR trace_id ~ '^[0-9a-f]{32}$'),
  error text NOT NULL CHECK (length(error) <= 8192),
  traffic text NOT NULL GENERATED ALWAYS AS (
    CASE
      WHEN fetched_back_to_source_bytes > 0 OR delivered_back_to_source_bytes > 0 THEN 'back_to_source'
      WHEN fetched_remote_peer_bytes > 0 OR delivered_remote_peer_bytes > 0 THEN 'remote_peer'
      WHEN delivered_local_peer_bytes > 0 THEN 'local_peer'
      ELSE 'none'
    END
  ) STORED,
  PRIMARY KEY (download_id, started_at)
) PARTITION BY RANGE (started_at);
CREATE INDEX downloads_started_at ON lacewing.downloads (started_at);
CREATE INDEX downloads_task ON lacewing.downloads (task_id, started_at) WHERE task_id IS NOT NULL;
CREATE INDEX downloads_trace ON lacewing.downloads (trace_id) WHERE trace_id <> '';
CREATE TABLE lacewing.downloads_default PARTITION OF lacewing.downloads DEFAULT;
COMMENT ON TABLE lacewing.downloads IS 'One row for each client request that ended. Partitioned by day (UTC) of its start. A host sends a fact again until it is confirmed, always with the same start, so the key counts it once.';
COMMENT ON TABLE lacewing.downloads_default IS 'Downloads of days that have no partition of their own: no fact is ever refused for its time.';
COMMENT ON COLUMN lacewing.downloads.download_id IS 'Unique for ever; the same as the request id.';
COMMENT ON COLUMN lacewing.downloads.task_id IS 'Null for content that was passed through without becoming a task.';
COMMENT ON COLUMN lacewing.downloads.url IS 'Without user info, filtered query parameters or any other secret.';
COMMENT ON COLUMN lacewing.downloads.started_at IS 'By the host''s own clock, kept within 1970 to 2100.';
COMMENT ON COLUMN lacewing.downloads.ttfb_ms IS 'Milliseconds until the first body byte was handed to the client''s socket.';
COMMENT ON COLUMN lacewing.downloads.cost_ms IS 'Milliseconds until the end.';
COMMENT ON COLUMN lacewing.downloads.outcome IS '"finished": everything asked for was handed over. "client_gone": the client broke off. "origin_error": the origin''s error was passed on. "anchor_mismatch": wrong content, connection broken off. "interrupted": the host stopped. "failed": anything else.';
COMMENT ON COLUMN lacewing.downloads.http_status IS 'Told to the client; 0 when it got none.';
COMMENT ON COLUMN lacewing.downloads.fetched_remote_peer_bytes IS 'Content bytes that this request made the host read from other hosts.';
COMMENT ON COLUMN lacewing.downloads.fetched_back_to_source_bytes IS 'Content bytes that this request made the host read from the origin; probes are counted apart.';
COMMENT ON COLUMN lacewing.downloads.delivered_local_peer_bytes IS 'Content bytes handed to the client that the host held already.';
COMMENT ON COLUMN lacewing.downloads.delivered_remote_peer_bytes IS 'Content bytes handed to the client that came from other hosts.';
COMMENT ON COLUMN lacewing.downloads.delivered_back_to_source_bytes IS 'Content bytes handed to the client that came from the origin.';
COMMENT ON COLUMN lacewing.downloads.probe_bytes IS 'Body bytes of opening requests to the origin that were not content.';
COMMENT ON COLUMN lacewing.downloads.content_length_bytes IS 'Length of the whole content; 0 when it was not known.';
COMMENT ON COLUMN lacewing.downloads.byte_range IS 'The client''s Range header, or empty.';
COMMENT ON COLUMN lacewing.downloads.degraded IS 'Served without the scheduler''s help because it did not answer.';
COMMENT ON COLUMN lacewing.downloads.trace_id IS '32 hex digits; empty when it was not traced.';
COMMENT ON COLUMN lacewing.downloads.error IS 'What went wrong, for people; empty when nothing did.';
COMMENT ON COLUMN lacewing.downloads.traffic IS 'The farthest place any byte came from: "back_to_source" (the origin), "remote_peer" (another host), "local_peer" (this host''s cache), "none" (no content).';

CREATE TABLE lacewing.traffic_minute (
  minute timestamptz NOT NULL,
  host_id lacewing.name NOT NULL,
  application text NOT NULL CHECK (length(application) <= 256),
  tag text NOT NULL CHECK (length(tag) <= 256),
  request_count lacewing.quantity NOT NULL,
  failed_request_count lacewing.quantity NOT NULL,
  degraded_request_count lacewing.quantity NOT NULL,
  local_peer_request_count lacewing.quantity NOT NULL,
  remote_peer_request_count lacewing.quantity NOT NULL,
  back_to_source_request_count lacewing.quantity NOT NULL,
  delivered_local_peer_bytes lacewing.quantity NOT NULL,
  delivered_remote_peer_bytes lacewing.quantity NOT NULL,
  delivered_back_to_source_bytes lacewing.quantity NOT NULL,
  fetched_remote_peer_bytes lacewing.quantity NOT NULL,
  fetched_back_to_source_bytes lacewing.quantity NOT NULL,
  probe_bytes lacewing.quantity NOT NULL,
  PRIMARY KEY (minute, host_id, application, tag)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE lacewing.traffic_minute IS 'Downloads summed by the minute of their start; written in the transaction that writes the downloads, each download once.';
COMMENT ON COLUMN lacewing.traffic_minute.minute IS 'Start of the minute (UTC).';
COMMENT ON COLUMN lacewing.traffic_minute.request_count IS 'Client requests, also failed ones and ones without content.';
COMMENT ON COLUMN lacewing.traffic_minute.failed_request_count IS 'Requests whose outcome is another than "finished".';
COMMENT ON COLUMN lacewing.traffic_minute.degraded_request_count IS 'Requests served without the scheduler''s help.';
COMMENT ON COLUMN lacewing.traffic_minute.local_peer_request_count IS 'Requests served from the host''s own cache alone.';
COMMENT ON COLUMN lacewing.traffic_minute.remote_peer_request_count IS 'Requests with bytes from other hosts and none from the origin.';
COMMENT ON COLUMN lacewing.traffic_minute.back_to_source_request_count IS 'Requests with at least one byte from the origin.';

CREATE TABLE lacewing.dead_letter (
  dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text NOT NULL CHECK (length(stream) <= 256),
  stream_sequence lacewing.quantity NOT NULL,
  subject text NOT NULL CHECK (length(subject) <= 1024),
  reason text NOT NULL CHECK (length(reason) <= 512),
  payload bytea NOT NULL CHECK (octet_length(payload) <= 1048576),
  parked_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX dead_letter_message ON lacewing.dead_letter (stream, stream_sequence, reason) WHERE stream_sequence > 0;
CREATE INDEX dead_letter_parked_at ON lacewing.dead_letter (parked_at);
COMMENT ON TABLE lacewing.dead_letter IS 'What could not be folded or written, so that it never holds up the rest.';
COMMENT ON COLUMN lacewing.dead_letter.stream IS 'Stream of the message; "projection" for a row that Postgres refused.';
COMMENT ON COLUMN lacewing.dead_letter.stream_sequence IS 'Position in the stream; 0 for a refused row.';
COMMENT ON COLUMN lacewing.dead_letter.subject IS 'Subject of the message; the table''s name for a refused row.';
COMMENT ON COLUMN lacewing.dead_letter.payload IS 'The message as stored; the JSON text of a refused row. At most 1 MiB is kept.';

---------------------------------------------------------------------------------------------------------------------
-- Upkeep

CREATE FUNCTION lacewing.ensure_partitions(from_day date, to_day date) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
  day date;
  partition_name text;
  lower_bound timestamptz;
  upper_bound timestamptz;
  column_list text;
  made_count integer := 0;
BEGIN
  IF to_day - from_day > 366 THEN
    RAISE EXCEPTION '% to % is more than 366 days', from_day, to_day USING ERRCODE = '22023';
  END IF;
  -- Two callers at once would both see the partition missing. The number is arbitrary but must not change.
  PERFORM pg_advisory_xact_lock(7310588452);
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO column_list
    FROM pg_attribute
    WHERE attrelid = 'lacewing.downloads'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
  FOR day IN SELECT generate_series(from_day, to_day, interval '1 day')::date LOOP
    partition_name := 'downloads_' || to_char(day, 'YYYYMMDD');
    CONTINUE WHEN to_regclass('lacewing.' || partition_name) IS NOT NULL;
    lower_bound := day::timestamp AT TIME ZONE 'UTC';
    upper_bound := (day + 1)::timestamp AT TIME ZONE 'UTC';
    -- Made apart and attached: CREATE ... PARTITION OF would wait for every reader of the whole table. Rows of the day
    -- that arrived before its partition move over, else attaching would fail.
    EXECUTE format('CREATE TABLE lacewing.%I (LIKE lacewing.downloads INCLUDING ALL)', partition_name);
    EXECUTE format(
      'WITH moved AS (DELETE FROM lacewing.downloads_default WHERE started_at >= %L AND started_at < %L RETURNING *)'
      ' INSERT INTO lacewing.%I (%s) SELECT %s FROM moved',
      lower_bound, upper_bound, partition_name, column_list, column_list);
    EXECUTE format(
      'ALTER TABLE lacewing.downloads ATTACH PARTITION lacewing.%I FOR VALUES FROM (%L) TO (%L)',
      partition_name, lower_bound, upper_bound);
    made_count := made_count + 1;
  END LOOP;
  RETURN made_count;
END
$$;
COMMENT ON FUNCTION lacewing.ensure_partitions(date, date) IS 'Makes the missing day partitions (UTC days, both ends included, at most 366 days). Safe to repeat and to call at once. Returns how many it made.';

CREATE FUNCTION lacewing.apply_retention(keep_days integer, keep_traffic_days integer, row_count_max integer DEFAULT 50000)
RETURNS TABLE (object text, removed_count bigint)
LANGUAGE plpgsql AS $$
DECLARE
  cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_days);
  traffic_cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_traffic_days);
  partition_name text;
BEGIN
  IF keep_days < 1 OR keep_traffic_days < keep_days THEN
    RAISE EXCEPTION 'keep at least 1 day, and traffic (% days) not shorter than downloads (% days)', keep_traffic_days, keep_days
      USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock(7310588452);
  FOR partition_name IN
    SELECT child.relname FROM pg_inherits
      JOIN pg_class child ON child.oid = inhrelid
      WHERE inhparent = 'lacewing.downloads'::regclass AND child.relname ~ '^downloads_[0-9]{8}$'
        AND to_date(right(child.relname, 8), 'YYYYMMDD') < (cutoff AT TIME ZONE 'UTC')::date
  LOOP
    EXECUTE format('DROP TABLE lacewing.%I', partition_name);
    object := partition_name; removed_count := 1;
    RETURN NEXT;
  END LOOP;

  DELETE FROM lacewing.downloads_default WHERE ctid IN (
    SELECT ctid FROM lacewing.downloads_default WHERE started_at < cutoff LIMIT row_count_max);
  object := 'downloads_default'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.leases WHERE lease_id IN (
    SELECT lease_id FROM lacewing.leases WHERE ended_at < cutoff LIMIT row_count_max);
  object := 'leases'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  WITH retired AS (
    DELETE FROM lacewing.tasks WHERE task_id IN (
      SELECT task_id FROM lacewing.tasks WHERE state = 'retired' AND updated_at < cutoff LIMIT row_count_max)
    RETURNING task_id
  ), orphaned AS (
    DELETE FROM lacewing.peers WHERE task_id IN (SELECT task_id FROM retired)
  )
  SELECT 'tasks', count(*) INTO object, removed_count FROM retired;
  RETURN NEXT;

  DELETE FROM lacewing.dead_letter WHERE dead_letter_id IN (
    SELECT dead_letter_id FROM lacewing.dead_letter WHERE parked_at < cutoff LIMIT row_count_max);
  object := 'dead_letter'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.traffic_minute WHERE ctid IN (
    SELECT ctid FROM lacewing.traffic_minute WHERE minute < traffic_cutoff LIMIT row_count_max);
  object := 'traffic_minute'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION lacewing.apply_retention(integer, integer, integer) IS 'Drops download partitions and removes ended leases, retired tasks and dead letters older than keep_days, roll-ups older than keep_traffic_days; at most row_count_max rows of a table at once, so that a call stays short: call again for more. Returns what went.';

---------------------------------------------------------------------------------------------------------------------
-- What analysts read

CREATE VIEW lacewing.cache_hit_rate_hourly AS
SELECT
  date_trunc('hour', minute, 'UTC') AS hour,
  host_id,
  application,
  tag,
  sum(request_count)::bigint AS request_count,
  sum(failed_request_count)::bigint AS failed_request_count,
  sum(local_peer_request_count + remote_peer_request_count)::bigint AS hit_request_count,
  sum(local_peer_request_count)::bigint AS local_peer_request_count,
  sum(remote_peer_request_count)::bigint AS remote_peer_request_count,
  sum(back_to_source_request_count)::bigint AS back_to_source_request_count,
  round(sum(local_peer_request_count + remote_peer_request_count)
    / nullif(sum(local_peer_request_count + remote_peer_request_count + back_to_source_request_count), 0), 6)::double precision
    AS request_hit_rate,
  sum(delivered_local_peer_bytes)::bigint AS delivered_local_peer_bytes,
  sum(delivered_remote_peer_bytes)::bigint AS delivered_remote_peer_bytes,
  sum(delivered_back_to_source_bytes)::bigint AS delivered_back_to_source_bytes,
  sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes)::bigint AS delivered_bytes,
  sum(fetched_remote_peer_bytes)::bigint AS remote_peer_bytes,
  sum(fetched_back_to_source_bytes)::bigint AS back_to_source_bytes,
  sum(probe_bytes)::bigint AS probe_bytes,
  round(sum(delivered_local_peer_bytes + delivered_remote_peer_bytes)
    / nullif(sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes), 0), 6)::double precision
    AS byte_hit_rate
FROM lacewing.traffic_minute
GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW lacewing.cache_hit_rate_hourly IS 'How much was served without the origin, by hour (UTC) of the download''s start, host, application and tag. Sums of bytes agree with the origin''s own count. To put rows together, add the counts and bytes and divide again; never average the rates.';
COMMENT ON COLUMN lacewing.cache_hit_rate_hourly.hit_request_count IS 'Requests that got content, none of it from the origin.';
COMMENT ON COLUMN lacewing.cache_hit_rate_hourly.request_hit_rate IS '0 to 1: hit_request_count / requests that got content; null when none did.';
COMMENT ON COLUMN lacewing.cache_hit_rate_hourly.delivered_bytes IS 'Content bytes handed to clients.';
COMMENT ON COLUMN lacewing.cache_hit_rate_hourly.remote_peer_bytes IS 'Content bytes the host read from other hosts.';
COMMENT ON COLUMN lacewing.cache_hit_rate_hourly.back_to_source_bytes IS 'Content bytes the host read from the origin; probes are in probe_bytes.';
COMMENT ON COLUMN lacewing.cache_hit_rate_hourly.byte_hit_rate IS '0 to 1: delivered bytes that did not come from the origin / delivered bytes; null when nothing was delivered.';

CREATE VIEW lacewing.task_popularity AS
SELECT
  d.task_id,
  t.url,
  t.application,
  t.tag,
  t.length_bytes,
  t.state,
  d.request_count,
  d.requesting_host_count,
  coalesce(p.holding_host_count, 0) AS holding_host_count,
  d.delivered_bytes,
  d.back_to_source_bytes,
  round(d.back_to_source_bytes::numeric / nullif(t.length_bytes, 0), 3)::double precision AS origin_copies,
  d.last_started_at
FROM (
  SELECT
    task_id,
    count(*) AS request_count,
    count(DISTINCT host_id) AS requesting_host_count,
    sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes)::bigint AS delivered_bytes,
    sum(fetched_back_to_source_bytes)::bigint AS back_to_source_bytes,
    max(started_at) AS last_started_at
  FROM lacewing.downloads
  WHERE task_id IS NOT NULL
  GROUP BY task_id
) d
LEFT JOIN lacewing.tasks t ON t.task_id = d.task_id
LEFT JOIN (
  SELECT task_id, count(*) AS holding_host_count FROM lacewing.peers WHERE held_piece_count > 0 GROUP BY task_id
) p ON p.task_id = d.task_id
ORDER BY d.request_count DESC, d.delivered_bytes DESC;
COMMENT ON VIEW lacewing.task_popularity IS 'Contents by how often they were asked for, over all downloads that are kept; most wanted first.';
COMMENT ON COLUMN lacewing.task_popularity.requesting_host_count IS 'Hosts whose clients asked for it.';
COMMENT ON COLUMN lacewing.task_popularity.holding_host_count IS 'Hosts that hold at least one piece now.';
COMMENT ON COLUMN lacewing.task_popularity.delivered_bytes IS 'Content bytes handed to clients.';
COMMENT ON COLUMN lacewing.task_popularity.back_to_source_bytes IS 'Content bytes read from the origin for client requests.';
COMMENT ON COLUMN lacewing.task_popularity.origin_copies IS 'back_to_source_bytes / length_bytes; 1 is the best a first download can do. Null while the length is not known.';

CREATE VIEW lacewing.traffic_matrix AS
SELECT
  l.parent_host_id IS NULL AS is_from_origin,
  CASE WHEN l.parent_host_id IS NULL THEN 'origin' ELSE coalesce(parent.idc, '') END AS from_idc,
  coalesce(child.idc, '') AS to_idc,
  count(*) AS lease_count,
  count(*) FILTER (WHERE l.outcome = 'finished') AS finished_lease_count,
  count(*) FILTER (WHERE l.outcome NOT IN ('finished', 'live')) AS failed_lease_count,
  sum(l.bytes)::bigint AS bytes,
  round(sum(l.bytes) FILTER (WHERE l.transfer_ms > 0) * 1000
    / sum(l.transfer_ms) FILTER (WHERE l.transfer_ms > 0))::bigint AS bytes_per_second
FROM lacewing.leases l
LEFT JOIN lacewing.hosts parent ON parent.host_id = l.parent_host_id
LEFT JOIN lacewing.hosts child ON child.host_id = l.child_host_id
GROUP BY 1, 2, 3
ORDER BY bytes DESC;
COMMENT ON VIEW lacewing.traffic_matrix IS 'Content bytes moved under leases between data centres, over all leases that are kept. Bytes read without a lease (degraded mode, passed through) are in downloads only.';
COMMENT ON COLUMN lacewing.traffic_matrix.is_from_origin IS 'True in rows whose source is the origin; from_idc is "origin" there.';
COMMENT ON COLUMN lacewing.traffic_matrix.from_idc IS 'Data centre of the parents; empty when it is not told or not known.';
COMMENT ON COLUMN lacewing.traffic_matrix.to_idc IS 'Data centre of the children; empty when it is not told or not known.';
COMMENT ON COLUMN lacewing.traffic_matrix.failed_lease_count IS 'Leases that failed or were revoked.';
COMMENT ON COLUMN lacewing.traffic_matrix.bytes_per_second IS 'Mean rate of one transfer, weighted by its time; null when no time was told.';

CREATE VIEW lacewing.origin_savings AS
SELECT
  (date_trunc('day', minute, 'UTC') AT TIME ZONE 'UTC')::date AS day,
  sum(request_count)::bigint AS request_count,
  sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes)::bigint AS delivered_bytes,
  sum(fetched_back_to_source_bytes)::bigint AS origin_bytes,
  sum(probe_bytes)::bigint AS probe_bytes,
  (sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes)
    - sum(fetched_back_to_source_bytes))::bigint AS saved_bytes,
  round((sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes)
    - sum(fetched_back_to_source_bytes))
    / nullif(sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes), 0), 6)::double precision
    AS saved_ratio
FROM lacewing.traffic_minute
GROUP BY 1
ORDER BY 1 DESC;
COMMENT ON VIEW lacewing.origin_savings IS 'What the origin did not have to send, by day (UTC); newest first.';
COMMENT ON COLUMN lacewing.origin_savings.delivered_bytes IS 'Content bytes handed to clients: what the origin would have sent without Lacewing.';
COMMENT ON COLUMN lacewing.origin_savings.origin_bytes IS 'Content bytes the origin did send.';
COMMENT ON COLUMN lacewing.origin_savings.saved_bytes IS 'delivered_bytes - origin_bytes; negative when more was read than clients took.';
COMMENT ON COLUMN lacewing.origin_savings.saved_ratio IS 'saved_bytes / delivered_bytes; null when nothing was delivered.';

CREATE VIEW lacewing.slow_downloads AS
SELECT
  d.download_id,
  d.started_at,
  d.host_id,
  d.task_id,
  d.url,
  d.application,
  d.traffic,
  d.outcome,
  d.degraded,
  d.ttfb_ms::bigint AS ttfb_ms,
  d.cost_ms::bigint AS cost_ms,
  d.delivered_bytes,
  round(d.delivered_bytes * 1000.0 / nullif(d.cost_ms, 0))::bigint AS bytes_per_second,
  d.trace_id
FROM (
  SELECT *, delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes AS delivered_bytes
  FROM lacewing.downloads
  WHERE started_at >= now() - interval '24 hours'
) d
WHERE d.delivered_bytes > 0
ORDER BY d.cost_ms DESC, d.delivered_bytes
LIMIT 100;
COMMENT ON VIEW lacewing.slow_downloads IS 'The 100 downloads of the last 24 hours that took longest, with their trace ids; order by bytes_per_second for the slowest among them.';
COMMENT ON COLUMN lacewing.slow_downloads.cost_ms IS 'Milliseconds until the end.';
COMMENT ON COLUMN lacewing.slow_downloads.ttfb_ms IS 'Milliseconds until the first body byte.';
COMMENT ON COLUMN lacewing.slow_downloads.delivered_bytes IS 'Content bytes handed to the client.';
COMMENT ON COLUMN lacewing.slow_downloads.bytes_per_second IS 'delivered_bytes over cost_ms; null below a millisecond.';
