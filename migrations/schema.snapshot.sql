domain name as text
  CHECK ((VALUE ~ '^[A-Za-z0-9_-]{1,64}$'::text))
  -- Id of a host, a boot, a request or a lease: 1 to 64 letters, digits, "-" and "_".

domain quantity as bigint
  CHECK ((VALUE >= 0))
  -- A count, a number of bytes or of milliseconds; never negative.

domain slice as smallint
  CHECK (((VALUE >= 0) AND (VALUE <= 63)))
  -- Partition of all tasks: first byte of the task id modulo 64.

domain task_id as text
  CHECK ((VALUE ~ '^[0-9a-f]{64}$'::text))
  -- Id of a task: 64 lower-case hex digits.

table checkpoints with {fillfactor=50}
  -- The log position that the rows of a slice include; moved in the transaction that writes the rows. One row for each slice.
  slice lacewing.slice not null
  epoch lacewing.quantity not null default 0 -- Of the owner that wrote the rows.
  events_sequence lacewing.quantity not null default 0 -- Position in the stream LACEWING_EVENTS; 0 before the first.
  decisions_sequence lacewing.quantity not null default 0 -- Position in the stream LACEWING_DECISIONS of the slice's newest decision message that is included; 0 for none.
  last_message_id text not null default ''::text -- Nats-Msg-Id of the last event message that is included, to notice a stream that was made anew.
  updated_at timestamp with time zone not null default now()
  constraint checkpoints_last_message_id_check CHECK ((length(last_message_id) <= 256))
  constraint checkpoints_pkey PRIMARY KEY (slice)

table dead_letter
  -- What could not be folded or written, so that it never holds up the rest.
  dead_letter_id bigint not null generated always as identity
  stream text not null -- Stream of the message; "projection" for a row that Postgres refused.
  stream_sequence lacewing.quantity not null -- Position in the stream; 0 for a refused row.
  subject text not null -- Subject of the message; the table's name for a refused row.
  reason text not null
  payload bytea not null -- The message as stored; the JSON text of a refused row. At most 1 MiB is kept.
  parked_at timestamp with time zone not null default now()
  constraint dead_letter_payload_check CHECK ((octet_length(payload) <= 1048576))
  constraint dead_letter_pkey PRIMARY KEY (dead_letter_id)
  constraint dead_letter_reason_check CHECK ((length(reason) <= 512))
  constraint dead_letter_stream_check CHECK ((length(stream) <= 256))
  constraint dead_letter_subject_check CHECK ((length(subject) <= 1024))
  CREATE UNIQUE INDEX dead_letter_message ON lacewing.dead_letter USING btree (stream, stream_sequence, reason) WHERE ((stream_sequence)::bigint > 0)
  CREATE INDEX dead_letter_parked_at ON lacewing.dead_letter USING btree (parked_at)

table downloads partition by RANGE (started_at)
  -- One row for each client request that ended, or for many that a busy host answered alike from its own copy (request_count). Partitioned by day (UTC) of its start. A host sends a fact again until it is confirmed, always with the same start, so the key counts it once.
  download_id lacewing.name not null -- Unique for ever; the same as the request id where request_count is 1.
  host_id lacewing.name not null
  task_id lacewing.task_id -- Null for content that was passed through without becoming a task.
  url text not null -- Without user info, filtered query parameters or any other secret.
  method text not null
  tag text not null
  application text not null
  priority bigint not null
  started_at timestamp with time zone not null -- By the host's own clock, kept within 1970 to 2100.
  ttfb_ms lacewing.quantity not null -- Milliseconds until the first body byte was handed to the client's socket.
  cost_ms lacewing.quantity not null -- Milliseconds until the end.
  outcome text not null -- "finished": everything asked for was handed over. "client_gone": the client broke off. "origin_error": the origin's error was passed on. "anchor_mismatch": wrong content, connection broken off. "interrupted": the host stopped. "failed": anything else.
  http_status integer not null -- Told to the client; 0 when it got none.
  fetched_remote_peer_bytes lacewing.quantity not null -- Content bytes that this request made the host read from other hosts.
  fetched_back_to_source_bytes lacewing.quantity not null -- Content bytes that this request made the host read from the origin; probes are counted apart.
  delivered_local_peer_bytes lacewing.quantity not null -- Content bytes handed to the client that the host held already.
  delivered_remote_peer_bytes lacewing.quantity not null -- Content bytes handed to the client that came from other hosts.
  delivered_back_to_source_bytes lacewing.quantity not null -- Content bytes handed to the client that came from the origin.
  probe_bytes lacewing.quantity not null -- Body bytes of opening requests to the origin that were not content.
  content_length_bytes lacewing.quantity not null -- Length of the whole content; 0 when it was not known.
  byte_range text not null -- The client's Range header, or empty.
  degraded boolean not null -- Served without the scheduler's help because it did not answer.
  trace_id text not null -- 32 hex digits; empty when it was not traced.
  error text not null -- What went wrong, for people; empty when nothing did.
  traffic text not null generated as 
CASE
    WHEN (((fetched_back_to_source_bytes)::bigint > 0) OR ((delivered_back_to_source_bytes)::bigint > 0)) THEN 'back_to_source'::text
    WHEN (((fetched_remote_peer_bytes)::bigint > 0) OR ((delivered_remote_peer_bytes)::bigint > 0)) THEN 'remote_peer'::text
    WHEN ((delivered_local_peer_bytes)::bigint > 0) THEN 'local_peer'::text
    ELSE 'none'::text
END -- The farthest place any byte came from: "back_to_source" (the origin), "remote_peer" (another host), "local_peer" (this host's cache), "none" (no content).
  request_count lacewing.quantity not null default 1 -- Client requests that the row stands for: count them with sum(request_count). Above 1 bytes are their sum, ttfb_ms and cost_ms are of the slowest, started_at is of the first, trace_id is of the sum itself.
  constraint downloads_application_check CHECK ((length(application) <= 256))
  constraint downloads_byte_range_check CHECK ((length(byte_range) <= 8192))
  constraint downloads_error_check CHECK ((length(error) <= 8192))
  constraint downloads_http_status_check CHECK (((http_status >= 0) AND (http_status <= 999)))
  constraint downloads_method_check CHECK ((length(method) <= 64))
  constraint downloads_outcome_check CHECK ((outcome = ANY (ARRAY['finished'::text, 'client_gone'::text, 'origin_error'::text, 'anchor_mismatch'::text, 'interrupted'::text, 'failed'::text])))
  constraint downloads_pkey PRIMARY KEY (download_id, started_at)
  constraint downloads_request_count_check CHECK (((request_count)::bigint >= 1))
  constraint downloads_started_at_check CHECK (((started_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (started_at <= '2100-01-01 00:00:00+00'::timestamp with time zone)))
  constraint downloads_tag_check CHECK ((length(tag) <= 256))
  constraint downloads_trace_id_check CHECK (((trace_id = ''::text) OR (trace_id ~ '^[0-9a-f]{32}$'::text)))
  constraint downloads_url_check CHECK ((length(url) <= 8192))
  CREATE INDEX downloads_started_at ON ONLY lacewing.downloads USING btree (started_at)
  CREATE INDEX downloads_task ON ONLY lacewing.downloads USING btree (task_id, started_at) WHERE (task_id IS NOT NULL)
  CREATE INDEX downloads_trace ON ONLY lacewing.downloads USING btree (trace_id) WHERE (trace_id <> ''::text)

table downloads_default partition of lacewing.downloads DEFAULT
  -- Downloads of days that have no partition of their own: no fact is ever refused for its time.

table hosts with {fillfactor=70}
  -- Machines that run the peer service, as they last announced themselves.
  host_id lacewing.name not null
  boot_id text not null -- One process start of the host.
  kind text not null -- "seed": keeps more, stays, may read the origin for others.
  transfer_address text not null -- host:port of its piece server.
  idc text not null
  location text not null -- region|rack|..., most general first.
  upload_slots lacewing.quantity not null -- Transfers it serves at once.
  free_bytes lacewing.quantity not null -- Free on its disk at the last announce.
  quota_bytes lacewing.quantity not null -- What its store may use.
  state text not null -- "left": stopped in order; "lost": silent for too long.
  announced_at timestamp with time zone not null -- When its last announce was stored.
  updated_at timestamp with time zone not null default now()
  forgotten_at timestamp with time zone -- Since when the scheduler does not count on its return; null before. What it held is forgotten with it.
  constraint hosts_boot_id_check CHECK ((length(boot_id) <= 64))
  constraint hosts_idc_check CHECK ((length(idc) <= 256))
  constraint hosts_kind_check CHECK ((kind = ANY (ARRAY['normal'::text, 'seed'::text])))
  constraint hosts_location_check CHECK ((length(location) <= 1024))
  constraint hosts_pkey PRIMARY KEY (host_id)
  constraint hosts_state_check CHECK ((state = ANY (ARRAY['alive'::text, 'left'::text, 'lost'::text])))
  constraint hosts_transfer_address_check CHECK ((length(transfer_address) <= 1024))

table leases with {fillfactor=70,autovacuum_vacuum_scale_factor=0.02}
  -- Grants "this child takes these pieces from this parent": the edges of the graph. Not partitioned, because a row changes while it lives; apply_retention removes ended ones.
  lease_id lacewing.name not null
  task_id lacewing.task_id not null
  slice lacewing.slice not null
  epoch lacewing.quantity not null -- Of the scheduler that granted it.
  child_host_id lacewing.name not null
  parent_host_id lacewing.name -- Null: the origin.
  pieces text not null -- start:count pairs joined by commas; empty for an open lease whose content is not described yet.
  piece_count lacewing.quantity not null
  is_open boolean not null -- Granted before the length was known: everything the origin sends.
  request_id text not null -- The client request it serves; empty when none waits (seeding).
  reason text not null -- Why this parent.
  candidate_count lacewing.quantity not null -- Parents that were possible.
  granted_at timestamp with time zone not null
  duration_ms lacewing.quantity not null -- Milliseconds it may go without progress, counted by the child from receipt.
  traceparent text not null
  outcome text not null -- "live" until it ends: "finished", or a failure or revocation reason.
  ended_at timestamp with time zone
  bytes lacewing.quantity not null -- Content bytes that arrived and were kept.
  transfer_ms lacewing.quantity not null -- Milliseconds from start to end at the child.
  constraint leases_check CHECK (((outcome = 'live'::text) = (ended_at IS NULL)))
  constraint leases_outcome_check CHECK (((length(outcome) >= 1) AND (length(outcome) <= 64)))
  constraint leases_pieces_check CHECK ((length(pieces) <= 131072))
  constraint leases_pkey PRIMARY KEY (lease_id)
  constraint leases_reason_check CHECK ((length(reason) <= 256))
  constraint leases_request_id_check CHECK ((length(request_id) <= 64))
  constraint leases_traceparent_check CHECK ((length(traceparent) <= 64))
  CREATE INDEX leases_ended_at ON lacewing.leases USING btree (ended_at) WHERE (ended_at IS NOT NULL)
  CREATE INDEX leases_live ON lacewing.leases USING btree (slice) WHERE (outcome = 'live'::text)
  CREATE INDEX leases_task ON lacewing.leases USING btree (task_id, granted_at)

table migrations
  -- Migration files that were applied, each with the SHA-256 of its text.
  name text not null
  sha256 text not null
  applied_at timestamp with time zone not null default now()
  constraint migrations_pkey PRIMARY KEY (name)
  constraint migrations_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text))

table peers with {fillfactor=70,autovacuum_vacuum_scale_factor=0.02}
  -- One host's participation in one task: the vertices of the graph.
  task_id lacewing.task_id not null
  host_id lacewing.name not null
  slice lacewing.slice not null
  incarnation lacewing.quantity not null -- Grows when the host gives pieces up; bits of a lower one are void.
  bitmap bytea not null storage e -- Piece i (byte i/8, least significant bit first) is held and verified.
  held_piece_count lacewing.quantity not null -- Bits set in the bitmap.
  is_verified boolean not null -- The host has checked the whole content.
  requests jsonb not null default '[]'::jsonb -- Client requests that wait at the host: [{requestId, wantedStart, wantedEnd (bytes, end exclusive; 0,0 is all), canReadOrigin, traceparent}].
  is_seeding boolean not null -- A seed host that wants the whole content although no client waits.
  updated_at timestamp with time zone not null default now()
  is_apart boolean not null default false -- What the host has by the name of the task is of another length: it is no part of the task, and the host neither gives nor gets pieces of it.
  constraint peers_bitmap_check CHECK ((octet_length(bitmap) <= 32768))
  constraint peers_pkey PRIMARY KEY (task_id, host_id)
  constraint peers_requests_check CHECK ((jsonb_typeof(requests) = 'array'::text))
  CREATE INDEX peers_host ON lacewing.peers USING btree (host_id)

table slices
  -- Which scheduler owns a slice: a lease by the clock of this database. One row for each slice, for ever.
  slice lacewing.slice not null
  owner_id text -- One start of one scheduler process; null when it released the slice.
  epoch lacewing.quantity not null default 0 -- Fencing token: grows at every change of owner and whenever a lease had run out.
  leased_until timestamp with time zone not null default '-infinity'::timestamp with time zone -- Somebody else may take the slice after this.
  constraint slices_owner_id_check CHECK (((length(owner_id) >= 1) AND (length(owner_id) <= 256)))
  constraint slices_pkey PRIMARY KEY (slice)

table tasks with {fillfactor=70,autovacuum_vacuum_scale_factor=0.02}
  -- Contents that are, or were, distributed.
  task_id lacewing.task_id not null
  slice lacewing.slice not null
  url text not null -- As first asked for, without user info, filtered query parameters or any other secret.
  sharing_domain text not null -- Who may share copies: the origin's authority unless a rule says otherwise.
  anchor text not null -- sha256:<hex> of the whole content when known from outside; else empty.
  tag text not null
  application text not null
  priority bigint not null
  length_bytes lacewing.quantity -- Null until the origin's answer was seen.
  piece_length_bytes lacewing.quantity -- Bytes per piece, the last one may be shorter; fixed for the life of the task. Null until the origin's answer was seen.
  etag text not null -- Strong validator of the origin, or empty.
  content_type text not null
  piece_digests bytea not null storage e -- SHA-256 of each piece, 32 bytes each, in order; zeros where not known.
  state text not null -- "active"; "verified": the whole content agreed with its anchor somewhere; "retired": takes no more leases.
  retired_reason text not null -- Empty unless retired.
  created_at timestamp with time zone not null
  updated_at timestamp with time zone not null default now()
  forgotten_at timestamp with time zone -- Since when nobody holds or wants it; null while somebody does. It has no peers then.
  constraint tasks_anchor_check CHECK (((anchor = ''::text) OR (anchor ~ '^sha256:[0-9a-f]{64}$'::text)))
  constraint tasks_application_check CHECK ((length(application) <= 256))
  constraint tasks_check CHECK (((length_bytes IS NULL) = (piece_length_bytes IS NULL)))
  constraint tasks_content_type_check CHECK ((length(content_type) <= 8192))
  constraint tasks_etag_check CHECK ((length(etag) <= 8192))
  constraint tasks_piece_digests_check CHECK (((octet_length(piece_digests) % 32) = 0))
  constraint tasks_piece_length_bytes_check CHECK (((piece_length_bytes)::bigint > 0))
  constraint tasks_pkey PRIMARY KEY (task_id)
  constraint tasks_retired_reason_check CHECK ((length(retired_reason) <= 256))
  constraint tasks_sharing_domain_check CHECK ((length(sharing_domain) <= 8192))
  constraint tasks_state_check CHECK ((state = ANY (ARRAY['active'::text, 'verified'::text, 'retired'::text])))
  constraint tasks_tag_check CHECK ((length(tag) <= 256))
  constraint tasks_url_check CHECK ((length(url) <= 8192))
  CREATE INDEX tasks_forgotten_at ON lacewing.tasks USING btree (forgotten_at) WHERE (forgotten_at IS NOT NULL)
  CREATE INDEX tasks_remembered ON lacewing.tasks USING btree (task_id) WHERE ((forgotten_at IS NULL) AND (state <> 'retired'::text))
  CREATE INDEX tasks_retired ON lacewing.tasks USING btree (updated_at) WHERE (state = 'retired'::text)

table trace_spans
  -- OpenTelemetry spans received by the trace store; empty where traces go to Jaeger.
  trace_id text not null
  span_id text not null
  parent_span_id text
  service text not null
  name text not null
  kind text not null
  start_unix_nano bigint not null -- Nanoseconds since 1970-01-01 UTC.
  end_unix_nano bigint not null -- Nanoseconds since 1970-01-01 UTC.
  started_at timestamp with time zone not null generated as to_timestamp(((start_unix_nano)::double precision / ('1000000000'::numeric)::double precision))
  ended_at timestamp with time zone not null generated as to_timestamp(((end_unix_nano)::double precision / ('1000000000'::numeric)::double precision))
  status text not null
  status_message text not null
  scope text not null
  attributes jsonb not null -- Span attributes by name, e.g. attributes->>'lacewing.traffic'.
  resource jsonb not null
  events jsonb not null
  links jsonb not null
  constraint trace_spans_check CHECK ((end_unix_nano >= start_unix_nano))
  constraint trace_spans_kind_check CHECK ((kind = ANY (ARRAY['unspecified'::text, 'internal'::text, 'server'::text, 'client'::text, 'producer'::text, 'consumer'::text])))
  constraint trace_spans_parent_span_id_check CHECK ((parent_span_id ~ '^[0-9a-f]{16}$'::text))
  constraint trace_spans_pkey PRIMARY KEY (trace_id, span_id)
  constraint trace_spans_span_id_check CHECK ((span_id ~ '^[0-9a-f]{16}$'::text))
  constraint trace_spans_status_check CHECK ((status = ANY (ARRAY['unset'::text, 'ok'::text, 'error'::text])))
  constraint trace_spans_trace_id_check CHECK ((trace_id ~ '^[0-9a-f]{32}$'::text))
  CREATE INDEX trace_spans_attributes ON lacewing.trace_spans USING gin (attributes jsonb_path_ops)
  CREATE INDEX trace_spans_service_name ON lacewing.trace_spans USING btree (service, name, kind)
  CREATE INDEX trace_spans_service_start ON lacewing.trace_spans USING btree (service, start_unix_nano DESC)
  CREATE INDEX trace_spans_start ON lacewing.trace_spans USING btree (start_unix_nano)

table traffic_minute with {fillfactor=70,autovacuum_vacuum_scale_factor=0.02}
  -- Downloads summed by the minute of their start; written in the transaction that writes the downloads, each download once.
  minute timestamp with time zone not null -- Start of the minute (UTC).
  host_id lacewing.name not null
  application text not null
  tag text not null
  request_count lacewing.quantity not null -- Client requests, also failed ones and ones without content.
  failed_request_count lacewing.quantity not null -- Requests whose outcome is another than "finished".
  degraded_request_count lacewing.quantity not null -- Requests served without the scheduler's help.
  local_peer_request_count lacewing.quantity not null -- Requests served from the host's own cache alone.
  remote_peer_request_count lacewing.quantity not null -- Requests with bytes from other hosts and none from the origin.
  back_to_source_request_count lacewing.quantity not null -- Requests with at least one byte from the origin.
  delivered_local_peer_bytes lacewing.quantity not null
  delivered_remote_peer_bytes lacewing.quantity not null
  delivered_back_to_source_bytes lacewing.quantity not null
  fetched_remote_peer_bytes lacewing.quantity not null
  fetched_back_to_source_bytes lacewing.quantity not null
  probe_bytes lacewing.quantity not null
  constraint traffic_minute_application_check CHECK ((length(application) <= 256))
  constraint traffic_minute_pkey PRIMARY KEY (minute, host_id, application, tag)
  constraint traffic_minute_tag_check CHECK ((length(tag) <= 256))

view cache_hit_rate_hourly
  -- How much was served without the origin, by hour (UTC) of the download's start, host, application and tag. Sums of bytes agree with the origin's own count. To put rows together, add the counts and bytes and divide again; never average the rates.
  hour timestamp with time zone
  host_id lacewing.name
  application text
  tag text
  request_count bigint
  failed_request_count bigint
  hit_request_count bigint -- Requests that got content, none of it from the origin.
  local_peer_request_count bigint
  remote_peer_request_count bigint
  back_to_source_request_count bigint
  request_hit_rate double precision -- 0 to 1: hit_request_count / requests that got content; null when none did.
  delivered_local_peer_bytes bigint
  delivered_remote_peer_bytes bigint
  delivered_back_to_source_bytes bigint
  delivered_bytes bigint -- Content bytes handed to clients.
  remote_peer_bytes bigint -- Content bytes the host read from other hosts.
  back_to_source_bytes bigint -- Content bytes the host read from the origin; probes are in probe_bytes.
  probe_bytes bigint
  byte_hit_rate double precision -- 0 to 1: delivered bytes that did not come from the origin / delivered bytes; null when nothing was delivered.
 SELECT date_trunc('hour'::text, minute, 'UTC'::text) AS hour,
    host_id,
    application,
    tag,
    lacewing.bounded(sum(request_count::bigint)) AS request_count,
    lacewing.bounded(sum(failed_request_count::bigint)) AS failed_request_count,
    lacewing.bounded(sum(local_peer_request_count::numeric + remote_peer_request_count::numeric)) AS hit_request_count,
    lacewing.bounded(sum(local_peer_request_count::bigint)) AS local_peer_request_count,
    lacewing.bounded(sum(remote_peer_request_count::bigint)) AS remote_peer_request_count,
    lacewing.bounded(sum(back_to_source_request_count::bigint)) AS back_to_source_request_count,
    round(sum(local_peer_request_count::numeric + remote_peer_request_count::numeric) / NULLIF(sum(local_peer_request_count::numeric + remote_peer_request_count::numeric + back_to_source_request_count::numeric), 0::numeric), 6)::double precision AS request_hit_rate,
    lacewing.bounded(sum(delivered_local_peer_bytes::bigint)) AS delivered_local_peer_bytes,
    lacewing.bounded(sum(delivered_remote_peer_bytes::bigint)) AS delivered_remote_peer_bytes,
    lacewing.bounded(sum(delivered_back_to_source_bytes::bigint)) AS delivered_back_to_source_bytes,
    lacewing.bounded(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes::numeric + delivered_back_to_source_bytes::numeric)) AS delivered_bytes,
    lacewing.bounded(sum(fetched_remote_peer_bytes::bigint)) AS remote_peer_bytes,
    lacewing.bounded(sum(fetched_back_to_source_bytes::bigint)) AS back_to_source_bytes,
    lacewing.bounded(sum(probe_bytes::bigint)) AS probe_bytes,
    round(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes::numeric) / NULLIF(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes::numeric + delivered_back_to_source_bytes::numeric), 0::numeric), 6)::double precision AS byte_hit_rate
   FROM lacewing.traffic_minute
  GROUP BY (date_trunc('hour'::text, minute, 'UTC'::text)), host_id, application, tag;

view origin_savings
  -- What the origin did not have to send, by day (UTC); newest first.
  day date
  request_count bigint
  delivered_bytes bigint -- Content bytes handed to clients: what the origin would have sent without Lacewing.
  origin_bytes bigint -- Content bytes the origin did send.
  probe_bytes bigint
  saved_bytes bigint -- delivered_bytes - origin_bytes; negative when more was read than clients took.
  saved_ratio double precision -- saved_bytes / delivered_bytes; null when nothing was delivered.
 SELECT (date_trunc('day'::text, minute, 'UTC'::text) AT TIME ZONE 'UTC'::text)::date AS day,
    lacewing.bounded(sum(request_count::bigint)) AS request_count,
    lacewing.bounded(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes::numeric + delivered_back_to_source_bytes::numeric)) AS delivered_bytes,
    lacewing.bounded(sum(fetched_back_to_source_bytes::bigint)) AS origin_bytes,
    lacewing.bounded(sum(probe_bytes::bigint)) AS probe_bytes,
    lacewing.bounded(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes::numeric + delivered_back_to_source_bytes::numeric) - sum(fetched_back_to_source_bytes::bigint)) AS saved_bytes,
    round((sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes::numeric + delivered_back_to_source_bytes::numeric) - sum(fetched_back_to_source_bytes::bigint)) / NULLIF(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes::numeric + delivered_back_to_source_bytes::numeric), 0::numeric), 6)::double precision AS saved_ratio
   FROM lacewing.traffic_minute
  GROUP BY ((date_trunc('day'::text, minute, 'UTC'::text) AT TIME ZONE 'UTC'::text)::date)
  ORDER BY ((date_trunc('day'::text, minute, 'UTC'::text) AT TIME ZONE 'UTC'::text)::date) DESC;

view slow_downloads
  -- The 100 downloads of the last 24 hours that took longest, with their trace ids; order by bytes_per_second for the slowest among them. Starts more than an hour ahead, which a host's wrong clock told, are left out.
  download_id lacewing.name
  started_at timestamp with time zone
  host_id lacewing.name
  task_id lacewing.task_id
  url text
  application text
  traffic text
  outcome text
  degraded boolean
  ttfb_ms bigint -- Milliseconds until the first body byte.
  cost_ms bigint -- Milliseconds until the end.
  delivered_bytes bigint -- Content bytes handed to the client; of a row that stands for many requests, to one of them on average.
  bytes_per_second bigint -- delivered_bytes over cost_ms; null below a millisecond.
  trace_id text
 SELECT download_id,
    started_at,
    host_id,
    task_id,
    url,
    application,
    traffic,
    outcome,
    degraded,
    ttfb_ms::bigint AS ttfb_ms,
    cost_ms::bigint AS cost_ms,
    delivered_bytes,
    lacewing.bounded(round(delivered_bytes::numeric * 1000.0 / NULLIF(cost_ms::bigint, 0)::numeric)) AS bytes_per_second,
    trace_id
   FROM ( SELECT downloads.download_id,
            downloads.host_id,
            downloads.task_id,
            downloads.url,
            downloads.method,
            downloads.tag,
            downloads.application,
            downloads.priority,
            downloads.started_at,
            downloads.ttfb_ms,
            downloads.cost_ms,
            downloads.outcome,
            downloads.http_status,
            downloads.fetched_remote_peer_bytes,
            downloads.fetched_back_to_source_bytes,
            downloads.delivered_local_peer_bytes,
            downloads.delivered_remote_peer_bytes,
            downloads.delivered_back_to_source_bytes,
            downloads.probe_bytes,
            downloads.content_length_bytes,
            downloads.byte_range,
            downloads.degraded,
            downloads.trace_id,
            downloads.error,
            downloads.traffic,
            downloads.request_count,
            (downloads.delivered_local_peer_bytes::bigint + downloads.delivered_remote_peer_bytes::bigint + downloads.delivered_back_to_source_bytes::bigint) / downloads.request_count::bigint AS delivered_bytes
           FROM lacewing.downloads
          WHERE downloads.started_at >= (now() - '24:00:00'::interval) AND downloads.started_at < (now() + '01:00:00'::interval)) d
  WHERE delivered_bytes > 0
  ORDER BY d.cost_ms DESC, delivered_bytes
 LIMIT 100;

view task_popularity
  -- Contents by how often they were asked for, over all downloads that are kept; most wanted first.
  task_id lacewing.task_id
  url text
  application text
  tag text
  length_bytes lacewing.quantity
  state text
  request_count bigint
  requesting_host_count bigint -- Hosts whose clients asked for it.
  holding_host_count bigint -- Hosts that hold at least one piece now.
  delivered_bytes bigint -- Content bytes handed to clients.
  back_to_source_bytes bigint -- Content bytes read from the origin for client requests.
  origin_copies double precision -- back_to_source_bytes / length_bytes; 1 is the best a first download can do. Null while the length is not known.
  last_started_at timestamp with time zone
 SELECT d.task_id,
    t.url,
    t.application,
    t.tag,
    t.length_bytes,
    t.state,
    d.request_count,
    d.requesting_host_count,
    COALESCE(p.holding_host_count, 0::bigint) AS holding_host_count,
    d.delivered_bytes,
    d.back_to_source_bytes,
    round(d.back_to_source_bytes::numeric / NULLIF(t.length_bytes::bigint, 0)::numeric, 3)::double precision AS origin_copies,
    d.last_started_at
   FROM ( SELECT downloads.task_id,
            lacewing.bounded(sum(downloads.request_count::bigint)) AS request_count,
            count(DISTINCT downloads.host_id) AS requesting_host_count,
            lacewing.bounded(sum(downloads.delivered_local_peer_bytes::numeric + downloads.delivered_remote_peer_bytes::numeric + downloads.delivered_back_to_source_bytes::numeric)) AS delivered_bytes,
            lacewing.bounded(sum(downloads.fetched_back_to_source_bytes::bigint)) AS back_to_source_bytes,
            max(downloads.started_at) AS last_started_at
           FROM lacewing.downloads
          WHERE downloads.task_id IS NOT NULL
          GROUP BY downloads.task_id) d
     LEFT JOIN lacewing.tasks t ON t.task_id::text = d.task_id::text
     LEFT JOIN ( SELECT peers.task_id,
            count(*) AS holding_host_count
           FROM lacewing.peers
          WHERE peers.held_piece_count::bigint > 0
          GROUP BY peers.task_id) p ON p.task_id::text = d.task_id::text
  ORDER BY d.request_count DESC, d.delivered_bytes DESC;

view traffic_matrix
  -- Content bytes moved under leases between data centres, over all leases that are kept. Bytes read without a lease (degraded mode, passed through) are in downloads only.
  is_from_origin boolean -- True in rows whose source is the origin; from_idc is "origin" there.
  from_idc text -- Data centre of the parents; empty when it is not told or not known.
  to_idc text -- Data centre of the children; empty when it is not told or not known.
  lease_count bigint
  finished_lease_count bigint
  failed_lease_count bigint -- Leases that failed or were revoked.
  bytes bigint
  bytes_per_second bigint -- Mean rate of one transfer, weighted by its time; null when no time was told.
 SELECT l.parent_host_id IS NULL AS is_from_origin,
        CASE
            WHEN l.parent_host_id IS NULL THEN 'origin'::text
            ELSE COALESCE(parent.idc, ''::text)
        END AS from_idc,
    COALESCE(child.idc, ''::text) AS to_idc,
    count(*) AS lease_count,
    count(*) FILTER (WHERE l.outcome = 'finished'::text) AS finished_lease_count,
    count(*) FILTER (WHERE l.outcome <> ALL (ARRAY['finished'::text, 'live'::text])) AS failed_lease_count,
    lacewing.bounded(sum(l.bytes::bigint)) AS bytes,
    lacewing.bounded(round(sum(l.bytes::bigint) FILTER (WHERE l.transfer_ms::bigint > 0) * 1000::numeric / sum(l.transfer_ms::bigint) FILTER (WHERE l.transfer_ms::bigint > 0))) AS bytes_per_second
   FROM lacewing.leases l
     LEFT JOIN lacewing.hosts parent ON parent.host_id::text = l.parent_host_id::text
     LEFT JOIN lacewing.hosts child ON child.host_id::text = l.child_host_id::text
  GROUP BY (l.parent_host_id IS NULL), (
        CASE
            WHEN l.parent_host_id IS NULL THEN 'origin'::text
            ELSE COALESCE(parent.idc, ''::text)
        END), (COALESCE(child.idc, ''::text))
  ORDER BY (lacewing.bounded(sum(l.bytes::bigint))) DESC;

function CREATE OR REPLACE FUNCTION lacewing.apply_retention(keep_days integer, keep_traffic_days integer, row_count_max integer DEFAULT 50000)
 RETURNS TABLE(object text, removed_count bigint)
 LANGUAGE plpgsql
AS $function$
DECLARE
  lock_timeout_before text := current_setting('lock_timeout');
  partition_name text;
BEGIN
  RETURN QUERY SELECT * FROM lacewing.remove_old_rows(keep_days, keep_traffic_days, row_count_max);
  PERFORM set_config('lock_timeout', '200ms', true);
  FOR partition_name IN SELECT * FROM lacewing.old_partitions(keep_days) LOOP
    BEGIN
      IF lacewing.drop_old_partition(partition_name, keep_days) THEN
        object := partition_name; removed_count := 1;
        RETURN NEXT;
      END IF;
    EXCEPTION WHEN lock_not_available THEN
      RAISE WARNING 'somebody reads %, it is dropped by a later call', partition_name;
      EXIT;
    END;
  END LOOP;
  PERFORM set_config('lock_timeout', lock_timeout_before, true);
END
$function$
-- remove_old_rows, and drops what old_partitions names until one is being read: call again for more, and for what was held up. Returns what went.

function CREATE OR REPLACE FUNCTION lacewing.bounded(amount numeric)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT CASE
    WHEN amount > 9223372036854775807 THEN 9223372036854775807
    WHEN amount < -9223372036854775807 THEN -9223372036854775807
    ELSE amount::bigint
  END
$function$
-- The amount as a bigint: one that does not fit is the largest that does, which no true sum reaches. Null stays null.

function CREATE OR REPLACE FUNCTION lacewing.drop_old_partition(partition_name text, keep_days integer)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF NOT EXISTS (SELECT FROM lacewing.old_partitions(keep_days) AS old (name) WHERE name = partition_name) THEN
    RETURN false;
  END IF;
  EXECUTE format('DROP TABLE IF EXISTS lacewing.%I', partition_name);
  RETURN true;
END
$function$
-- Drops one partition that old_partitions names; false when it does not. Waits for everybody who reads downloads, and keeps others out meanwhile and until its transaction ends: set a short lock_timeout, and commit at once.

function CREATE OR REPLACE FUNCTION lacewing.ensure_partitions(from_day date, to_day date)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
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
$function$
-- Makes the missing day partitions (UTC days, both ends included, at most 366 days). Safe to repeat and to call at once. Returns how many it made.

function CREATE OR REPLACE FUNCTION lacewing.old_partitions(keep_days integer)
 RETURNS SETOF text
 LANGUAGE plpgsql
 STABLE
AS $function$
BEGIN
  IF keep_days < 1 THEN
    RAISE EXCEPTION 'keep at least 1 day, not %', keep_days USING ERRCODE = '22023';
  END IF;
  RETURN QUERY
    SELECT child.relname::text FROM pg_inherits
      JOIN pg_class child ON child.oid = inhrelid
      WHERE inhparent = 'lacewing.downloads'::regclass AND child.relname ~ '^downloads_[0-9]{8}$'
        AND to_date(right(child.relname, 8), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - keep_days
      ORDER BY child.relname;
END
$function$
-- Names of the day partitions of downloads that are older than keep_days, oldest first.

function CREATE OR REPLACE FUNCTION lacewing.remove_old_rows(keep_days integer, keep_traffic_days integer, row_count_max integer DEFAULT 50000)
 RETURNS TABLE(object text, removed_count bigint)
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
DECLARE
  cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_days);
  traffic_cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_traffic_days);
  newest_day date;
  ahead timestamptz;
  traffic_ahead timestamptz;
BEGIN
  IF keep_days < 1 OR keep_traffic_days < keep_days THEN
    RAISE EXCEPTION 'keep at least 1 day, and traffic (% days) not shorter than downloads (% days)', keep_traffic_days, keep_days
      USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock(7310588452);

  SELECT greatest((now() AT TIME ZONE 'UTC')::date, max(to_date(right(child.relname, 8), 'YYYYMMDD'))) INTO newest_day
    FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'lacewing.downloads'::regclass AND child.relname ~ '^downloads_[0-9]{8}$';
  ahead := (newest_day + keep_days + 1)::timestamp AT TIME ZONE 'UTC';
  traffic_ahead := (newest_day + keep_traffic_days + 1)::timestamp AT TIME ZONE 'UTC';

  -- What can be remembered again is looked at twice: a row that somebody is about to write is waited for, and then it may be young.
  DELETE FROM lacewing.downloads_default WHERE ctid IN (
    SELECT ctid FROM (
      (SELECT ctid FROM lacewing.downloads_default WHERE started_at < cutoff LIMIT row_count_max)
      UNION ALL
      (SELECT ctid FROM lacewing.downloads_default WHERE started_at >= ahead LIMIT row_count_max)) past LIMIT row_count_max);
  object := 'downloads_default'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.leases WHERE lease_id IN (
    SELECT lease_id FROM (
      (SELECT lease_id FROM lacewing.leases WHERE ended_at < cutoff LIMIT row_count_max)
      UNION ALL
      (SELECT lease_id FROM lacewing.leases WHERE ended_at >= ahead LIMIT row_count_max)) past LIMIT row_count_max)
    AND (ended_at < cutoff OR ended_at >= ahead);
  object := 'leases'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  WITH past AS (
    DELETE FROM lacewing.tasks WHERE task_id IN (
      (SELECT task_id FROM lacewing.tasks WHERE state = 'retired' AND updated_at < cutoff LIMIT row_count_max)
      UNION
      (SELECT task_id FROM lacewing.tasks WHERE forgotten_at < cutoff LIMIT row_count_max))
      AND ((state = 'retired' AND updated_at < cutoff) OR forgotten_at < cutoff)
    RETURNING task_id
  ), orphaned AS (
    DELETE FROM lacewing.peers WHERE task_id IN (SELECT task_id FROM past)
  )
  SELECT 'tasks', count(*) INTO object, removed_count FROM past;
  RETURN NEXT;

  DELETE FROM lacewing.hosts WHERE host_id IN (
    SELECT host_id FROM lacewing.hosts WHERE forgotten_at < cutoff LIMIT row_count_max) AND forgotten_at < cutoff;
  object := 'hosts'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.dead_letter WHERE dead_letter_id IN (
    SELECT dead_letter_id FROM lacewing.dead_letter WHERE parked_at < cutoff LIMIT row_count_max);
  object := 'dead_letter'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.traffic_minute WHERE ctid IN (
    SELECT ctid FROM (
      (SELECT ctid FROM lacewing.traffic_minute WHERE minute < traffic_cutoff LIMIT row_count_max)
      UNION ALL
      (SELECT ctid FROM lacewing.traffic_minute WHERE minute >= traffic_ahead LIMIT row_count_max)) past LIMIT row_count_max);
  object := 'traffic_minute'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;
END
$function$
-- Removes ended leases, retired and forgotten tasks, forgotten hosts, dead letters and downloads without a partition that are older than keep_days, and roll-ups older than keep_traffic_days; likewise leases, downloads and roll-ups that a wrong clock dated as far ahead of today, or of the newest day that has a partition. At most row_count_max rows of a table at once, so that a call stays short: call again while one of the counts reaches it. Returns how many went of each table.
