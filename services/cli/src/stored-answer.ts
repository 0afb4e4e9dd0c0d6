import { messageOf } from "@lacewing/runtime/errors.ts";
import pg from "pg";
import { CliError } from "./cli-error.ts";

/** What the tables say of an id, when there is no scheduler to make sense of it. */
export interface StoredAnswer {
  readonly text: string;
  readonly rows: Readonly<Record<string, readonly Row[]>>;
}

type Row = Readonly<Record<string, unknown>>;

/** The database is on this machine or near: a longer wait means that it is not there. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Looking up an id takes milliseconds, a prefix without an index some more. */
const STATEMENT_TIMEOUT_MS = 5_000;
/** Leases of one answer: a person reads no more. */
const LEASES_MAX = 40;
/** Fewer digits are too likely to be another task's. */
const PREFIX_LENGTH_MIN = 8;

const LEASE_COLUMNS =
  "lease_id, child_host_id, coalesce(parent_host_id, 'the origin') AS parent, pieces, reason, candidate_count, granted_at, ended_at, outcome, bytes, transfer_ms, epoch, request_id";
const TASK_COLUMNS =
  "task_id, url, anchor, length_bytes, piece_length_bytes, state, retired_reason, created_at";

/** Each looks for the id in its own way; the first that finds something answers. */
const QUESTIONS: readonly {
  readonly name: string;
  readonly find: string;
  readonly leases: string;
}[] = [
  {
    name: "lease",
    find: `SELECT ${LEASE_COLUMNS} FROM lacewing.leases WHERE lease_id = $1`,
    leases: "false",
  },
  {
    name: "download",
    find: `SELECT download_id, host_id, task_id, url, started_at, request_count, ttfb_ms, cost_ms, outcome, http_status, traffic,
      delivered_local_peer_bytes, delivered_remote_peer_bytes, delivered_back_to_source_bytes, degraded, trace_id, error
      FROM lacewing.downloads WHERE download_id = $1 OR (trace_id = $1 AND trace_id <> '') ORDER BY started_at LIMIT 1`,
    leases: `request_id IN (SELECT download_id FROM lacewing.downloads WHERE download_id = $1 OR (trace_id = $1 AND trace_id <> ''))`,
  },
  {
    name: "task",
    find: `SELECT ${TASK_COLUMNS} FROM lacewing.tasks
      WHERE length($1) >= ${PREFIX_LENGTH_MIN} AND $1 !~ '[%_]' AND (task_id LIKE $1 || '%' OR anchor LIKE $1 || '%' OR anchor LIKE 'sha256:' || $1 || '%')
      ORDER BY task_id LIMIT 1`,
    leases: `task_id = (SELECT task_id FROM lacewing.tasks
      WHERE length($1) >= ${PREFIX_LENGTH_MIN} AND $1 !~ '[%_]' AND (task_id LIKE $1 || '%' OR anchor LIKE $1 || '%' OR anchor LIKE 'sha256:' || $1 || '%')
      ORDER BY task_id LIMIT 1)`,
  },
];

/** @throws {CliError} when the database does not answer either, or knows nothing of the id. */
export async function storedAnswer(databaseUrl: string, id: string): Promise<StoredAnswer> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    application_name: "lacewing why",
  });
  client.on("error", () => {}); // A server that goes away fails the query itself.
  try {
    await client.connect();
    for (const { name, find, leases } of QUESTIONS) {
      const found: readonly Row[] = (await client.query(find, [id])).rows;
      if (found.length === 0) continue;
      const fed: readonly Row[] =
        leases === "false"
          ? []
          : (
              await client.query(
                `SELECT ${LEASE_COLUMNS} FROM lacewing.leases WHERE ${leases} ORDER BY granted_at DESC LIMIT ${LEASES_MAX}`,
                [id],
              )
            ).rows;
      return { rows: { [name]: found, leases: fed }, text: textOf(found, fed) };
    }
  } catch (error) {
    throw new CliError(
      `the database does not answer either: ${messageOf(error)}`,
      "Is the cluster running? Start it with `npm start` (or `npx lacewing up`).",
      { cause: error },
    );
  } finally {
    await client.end().catch(() => {});
  }
  throw new CliError(
    `the database knows no lease, task, download or trace ${id}`,
    "Facts are kept for days, not for ever.",
  );
}

function textOf(found: readonly Row[], leases: readonly Row[]): string {
  const facts = found.map((row) =>
    Object.entries(row)
      .map(([name, value]) => `${name.padEnd(32)}${cellOf(value)}`)
      .join("\n"),
  );
  const fed = leases.map(
    (row) =>
      `  ${cellOf(row["lease_id"])}: ${cellOf(row["child_host_id"])} from ${cellOf(row["parent"])}, pieces ${cellOf(row["pieces"])} (start:count), ${cellOf(row["outcome"])}, ${cellOf(row["bytes"])} bytes: ${cellOf(row["reason"])}`,
  );
  return [
    ...facts,
    ...(fed.length === 0 ? [] : [["Leases, newest first:", ...fed].join("\n")]),
  ].join("\n\n");
}

function cellOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (value instanceof Date) return value.toISOString();
  return typeof value === "string" ? value : JSON.stringify(value);
}
