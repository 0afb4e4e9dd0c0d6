import { Pool, type PoolClient, type QueryResultRow } from "pg";
import { z } from "zod";
import { PortError } from "@lacewing/runtime/errors.ts";
import {
  SPAN_KINDS,
  SPAN_STATUSES,
  type AttributeValue,
  type SpanRecord,
  type TraceQuery,
} from "../../core/span.ts";
import type { Operation, PruneLimits, SpanStore, StoredTrace } from "../../app/span-store.ts";

/** One for the writer, the others for people who look. */
const CONNECTION_COUNT_MAX = 4;
/** A search that takes longer helps nobody. */
const STATEMENT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5000;
/** Spans given of one trace: a page of more cannot be read. */
const TRACE_SPAN_COUNT_MAX = 5000;
/** Spans given by one search. */
const FIND_SPAN_COUNT_MAX = 20_000;
/** Operations listed of one service: more are ids in names. */
const OPERATION_COUNT_MAX = 1000;
const SERVICE_COUNT_MAX = 1000;

/** The span store in `lacewing.trace_spans`; {@link PostgresSpanStore.close} ends its connections. */
export interface PostgresSpanStore extends SpanStore {
  close(): Promise<void>;
}

/** @param onIdleError is told of a connection that broke while nobody used it; the pool makes another. */
export function createSpanStore(
  databaseUrl: string,
  onIdleError: (error: Error) => void,
): PostgresSpanStore {
  const pool = new Pool({
    connectionString: databaseUrl,
    max: CONNECTION_COUNT_MAX,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 1000,
    application_name: "lacewing-traces",
  });
  pool.on("error", onIdleError);
  const rows = <T>(schema: z.ZodType<T>, sql: string, values: readonly unknown[]) =>
    query(pool, sql, values).then((result) => z.array(schema).parse(result.rows));
  return {
    insert: async (spans) => (await query(pool, INSERT_SQL, [rowsJson(spans)])).rowCount ?? 0,
    services: async () =>
      (await rows(z.object({ service: z.string() }), SERVICES_SQL, [SERVICE_COUNT_MAX])).map(
        (row) => row.service,
      ),
    operations: (service, kind) =>
      rows(OPERATION satisfies z.ZodType<Operation>, OPERATIONS_SQL, [
        service,
        kind ?? null,
        OPERATION_COUNT_MAX,
      ]),
    find: async (wanted) => {
      const found = await rows(z.object({ trace_id: z.string() }), ...findSql(wanted));
      const traceIds = found.map((row) => row.trace_id);
      if (traceIds.length === 0) return [];
      const spanCountMax = Math.min(
        TRACE_SPAN_COUNT_MAX,
        Math.ceil(FIND_SPAN_COUNT_MAX / traceIds.length),
      );
      const spans = await rows(SPAN_ROW, SPANS_SQL, [traceIds, spanCountMax + 1]);
      const byTrace = Map.groupBy(spans, (span) => span.traceId);
      return traceIds.map((id) => storedTrace(id, byTrace.get(id) ?? [], spanCountMax));
    },
    trace: async (traceId) => {
      const spans = await rows(SPAN_ROW, SPANS_SQL, [[traceId], TRACE_SPAN_COUNT_MAX + 1]);
      return spans.length === 0 ? undefined : storedTrace(traceId, spans, TRACE_SPAN_COUNT_MAX);
    },
    prune: (limits) => prune(pool, limits),
    ping: async () => {
      await query(pool, "select 1", []);
    },
    close: () => pool.end(),
  };
}

const INSERT_SQL = `
insert into lacewing.trace_spans (trace_id, span_id, parent_span_id, service, name, kind, start_unix_nano, end_unix_nano,
  status, status_message, scope, attributes, resource, events, links)
select * from jsonb_to_recordset($1::jsonb) as span (trace_id text, span_id text, parent_span_id text, service text, name text,
  kind text, start_unix_nano bigint, end_unix_nano bigint, status text, status_message text, scope text,
  attributes jsonb, resource jsonb, events jsonb, links jsonb)
on conflict do nothing`;

// Walks the index from one service to the next: a plain distinct would read every span.
const SERVICES_SQL = `
with recursive walk as (
  (select service from lacewing.trace_spans order by service limit 1)
  union all
  select (select next.service from lacewing.trace_spans next where next.service > walk.service order by next.service limit 1)
  from walk where walk.service is not null
)
select service from walk where service is not null limit $1`;

const OPERATIONS_SQL = `
with recursive walk as (
  (select name, kind from lacewing.trace_spans where service = $1 order by name, kind limit 1)
  union all
  select next.name, next.kind from walk cross join lateral (
    select name, kind from lacewing.trace_spans
    where service = $1 and (name, kind) > (walk.name, walk.kind) order by name, kind limit 1) next
)
select name, kind as "spanKind" from (select * from walk limit $3) walk where $2::text is null or kind = $2`;

const SPANS_SQL = `
select span.trace_id as "traceId", span_id as "spanId", parent_span_id as "parentSpanId", service, name, kind,
  start_unix_nano::text as "startUnixNano", end_unix_nano::text as "endUnixNano", status, status_message as "statusMessage",
  scope, attributes, resource, events, links
from unnest($1::text[]) wanted (trace_id) cross join lateral (
  select * from lacewing.trace_spans where trace_spans.trace_id = wanted.trace_id
  order by start_unix_nano, span_id limit $2) span`;

const PRUNE_SQL = `
delete from lacewing.trace_spans where (trace_id, span_id) in (
  select trace_id, span_id from lacewing.trace_spans
  where start_unix_nano < $1
    or start_unix_nano <= (select start_unix_nano from lacewing.trace_spans order by start_unix_nano desc offset $2 limit 1)
  order by start_unix_nano limit $3)`;

const ATTRIBUTE_VALUE: z.ZodType<AttributeValue> = z.json();
const ATTRIBUTES = z.record(z.string(), ATTRIBUTE_VALUE);
const OPERATION = z.object({ name: z.string(), spanKind: z.enum(SPAN_KINDS) });
const SPAN_ROW = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z
    .string()
    .nullable()
    .transform((id) => id ?? undefined),
  service: z.string(),
  name: z.string(),
  kind: z.enum(SPAN_KINDS),
  startUnixNano: z.string().transform(BigInt),
  endUnixNano: z.string().transform(BigInt),
  status: z.enum(SPAN_STATUSES),
  statusMessage: z.string(),
  scope: z.string(),
  attributes: ATTRIBUTES,
  resource: ATTRIBUTES,
  events: z.array(z.object({ name: z.string(), unixNano: z.string(), attributes: ATTRIBUTES })),
  links: z.array(z.object({ traceId: z.string(), spanId: z.string(), attributes: ATTRIBUTES })),
});

function rowsJson(spans: readonly SpanRecord[]): string {
  return JSON.stringify(
    spans.map((span) => ({
      trace_id: span.traceId,
      span_id: span.spanId,
      parent_span_id: span.parentSpanId ?? null,
      service: span.service,
      name: span.name,
      kind: span.kind,
      start_unix_nano: String(span.startUnixNano),
      end_unix_nano: String(span.endUnixNano),
      status: span.status,
      status_message: span.statusMessage,
      scope: span.scope,
      attributes: span.attributes,
      resource: span.resource,
      events: span.events,
      links: span.links,
    })),
  );
}

/** The statement that finds trace ids; every value travels as a parameter. */
function findSql(wanted: TraceQuery): [sql: string, values: unknown[]] {
  const values: unknown[] = [String(wanted.startMinUnixNano), String(wanted.startMaxUnixNano)];
  const conditions = ["start_unix_nano between $1 and $2"];
  const parameter = (value: unknown) => `$${values.push(value)}`;
  if (wanted.service !== undefined) conditions.push(`service = ${parameter(wanted.service)}`);
  if (wanted.operation !== undefined) conditions.push(`name = ${parameter(wanted.operation)}`);
  const length = "end_unix_nano - start_unix_nano";
  if (wanted.durationMinNano !== undefined) {
    conditions.push(`${length} >= ${parameter(String(wanted.durationMinNano))}`);
  }
  if (wanted.durationMaxNano !== undefined) {
    conditions.push(`${length} <= ${parameter(String(wanted.durationMaxNano))}`);
  }
  for (const [key, text] of Object.entries(wanted.attributes)) {
    const matches = typedValues(text).flatMap((value) => {
      const json = parameter(JSON.stringify({ [key]: value }));
      return [`attributes @> ${json}::jsonb`, `resource @> ${json}::jsonb`];
    });
    // Jaeger's name for a span with the error status.
    if (key === "error" && text === "true") matches.push("status = 'error'");
    conditions.push(`(${matches.join(" or ")})`);
  }
  const sql = `select trace_id from lacewing.trace_spans where ${conditions.join(" and ")}
group by trace_id order by max(start_unix_nano) desc limit ${parameter(wanted.traceCountMax)}`;
  return [sql, values];
}

/** A person writes every value as text; in a span it may be a number or a boolean. */
function typedValues(text: string): (string | number | boolean)[] {
  if (text === "true" || text === "false") return [text, text === "true"];
  const isNumber = /^-?\d+(\.\d+)?$/.test(text) && Number.isFinite(Number(text));
  return isNumber ? [text, Number(text)] : [text];
}

function storedTrace(
  traceId: string,
  spans: readonly SpanRecord[],
  spanCountMax: number,
): StoredTrace {
  return { traceId, spans: spans.slice(0, spanCountMax), isCut: spans.length > spanCountMax };
}

async function prune(pool: Pool, limits: PruneLimits): Promise<number> {
  const values = [
    String(limits.startedBeforeUnixNano),
    limits.keptCountMax,
    limits.deletedCountMax,
  ];
  return (await query(pool, PRUNE_SQL, values)).rowCount ?? 0;
}

function onBroken(): void {}

async function query(pool: Pool, sql: string, values: readonly unknown[]) {
  let client: PoolClient | undefined;
  try {
    client = await pool.connect();
    // A server that goes away fails the query itself; without a listener the event would end the process.
    client.on("error", onBroken);
    const result = await client.query<QueryResultRow>(sql, [...values]);
    client.off("error", onBroken);
    client.release();
    return result;
  } catch (error) {
    // After an error the connection's state is not known: it is not used again.
    client?.release(true);
    throw portErrorOf(error);
  }
}

/** SQLSTATE classes: 22 data, 23 constraint, 54 limits. Everything else may pass: no table yet, shutting down, time-out. */
function portErrorOf(error: unknown): PortError {
  const code =
    error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  const message = error instanceof Error ? error.message : "unknown";
  return /^(22|23|54)...$/.test(code)
    ? new PortError("span_refused", `Postgres refused: ${message}`, {
        retryable: false,
        cause: error,
      })
    : new PortError("store_unavailable", `Postgres did not answer: ${message}`, {
        retryable: true,
        cause: error,
      });
}
