-- Spans of the small trace store (services/traces). Where traces go to Jaeger, this table stays empty.
--
-- One row is one span as its process sent it. Times are kept twice: nanoseconds, as sent, and timestamptz for people and joins.
create table lacewing.trace_spans (
  trace_id        text     not null check (trace_id ~ '^[0-9a-f]{32}$'),
  span_id         text     not null check (span_id ~ '^[0-9a-f]{16}$'),
  -- Null in the root span. The parent may be missing: it is not sent yet, or was lost.
  parent_span_id  text     check (parent_span_id ~ '^[0-9a-f]{16}$'),
  service         text     not null,
  name            text     not null,
  kind            text     not null check (kind in ('unspecified', 'internal', 'server', 'client', 'producer', 'consumer')),
  -- Nanoseconds since 1970-01-01 UTC by the clock of the process that made the span.
  start_unix_nano bigint   not null,
  end_unix_nano   bigint   not null check (end_unix_nano >= start_unix_nano),
  -- To the microsecond.
  started_at      timestamptz not null generated always as (to_timestamp(start_unix_nano / 1e9::double precision)) stored,
  ended_at        timestamptz not null generated always as (to_timestamp(end_unix_nano / 1e9::double precision)) stored,
  status          text     not null check (status in ('unset', 'ok', 'error')),
  status_message  text     not null,
  -- The library that made the span.
  scope           text     not null,
  -- {"lacewing.traffic": "remote_peer", …}; whole numbers beyond 2^53 are strings.
  attributes      jsonb    not null,
  -- The process: {"service.name": …, "service.instance.id": <host id>, …}.
  resource        jsonb    not null,
  -- [{"name", "unixNano", "attributes"}]
  events          jsonb    not null,
  -- [{"traceId", "spanId", "attributes"}]
  links           jsonb    not null,
  -- A span sent twice is one span.
  primary key (trace_id, span_id)
);

-- Search by service, newest first; also walked to list the services.
create index trace_spans_service_start on lacewing.trace_spans (service, start_unix_nano desc);
-- Lists the operations of a service.
create index trace_spans_service_name on lacewing.trace_spans (service, name, kind);
-- Retention deletes the oldest first.
create index trace_spans_start on lacewing.trace_spans (start_unix_nano);
-- Search by exact attribute: attributes @> '{"lacewing.task.id": "…"}'.
create index trace_spans_attributes on lacewing.trace_spans using gin (attributes jsonb_path_ops);

comment on table lacewing.trace_spans is 'OpenTelemetry spans received by the trace store; empty where traces go to Jaeger.';
comment on column lacewing.trace_spans.start_unix_nano is 'Nanoseconds since 1970-01-01 UTC.';
comment on column lacewing.trace_spans.end_unix_nano is 'Nanoseconds since 1970-01-01 UTC.';
comment on column lacewing.trace_spans.attributes is 'Span attributes by name, e.g. attributes->>''lacewing.traffic''.';
