import { mkdtempSync } from "node:fs";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { declaredColumns } from "@lacewing/migrations/declared-columns.ts";
import { dumpSchema } from "@lacewing/migrations/dump-schema.ts";
import { migrate } from "@lacewing/migrations/migrate.ts";
import { MIGRATIONS_DIRECTORY, readMigrationFiles } from "@lacewing/migrations/migration-files.ts";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { connectSql } from "../support/sql.ts";
import { waitFor } from "../support/wait-for.ts";

const SNAPSHOT_FILE = fileURLToPath(
  new URL("../../migrations/schema.snapshot.sql", import.meta.url),
);
/** Definitions of views are printed by the server, and majors differ in it. */
const SNAPSHOT_SERVER_MAJOR = 18;
/** It gave downloads a column of a domain that is checked, for which PostgreSQL wrote each partition anew. */
const LAST_THAT_REWROTE = "0004_request_count";
/** It adds a column to a table that a scheduler at work writes to. */
const FIRST_THAT_TRIES_AGAIN = "0008_apart";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

test("an empty database is migrated once, by whoever comes first, and never again", async () => {
  const url = await postgres.createDatabase();
  const [one, other] = await Promise.all([migrate(url), migrate(url)]);
  const again = await migrate(url);
  expect([...one.applied, ...other.applied].toSorted()).toEqual(await migrationNames());
  expect(again.applied).toEqual([]);
});

test("nothing outside the schema lacewing is made", async () => {
  const url = await postgres.createMigratedDatabase();
  await using sql = await connectSql(url);
  const rows = await sql.rows(
    z.object({ schema: z.string() }),
    `SELECT DISTINCT relnamespace::regnamespace::text AS schema FROM pg_class
     WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'`,
  );
  expect(rows).toEqual([{ schema: "lacewing" }]);
});

test("the migrated schema is the committed snapshot", async ({ skip }) => {
  const dump = await dumpOf(await postgres.createMigratedDatabase());
  if (dump.serverMajor !== SNAPSHOT_SERVER_MAJOR) skip(`server is version ${dump.serverMajor}`);
  if (process.env["LACEWING_WRITE_SNAPSHOT"] === "1") await writeFile(SNAPSHOT_FILE, dump.text);
  expect(dump.text).toBe(await readFile(SNAPSHOT_FILE, "utf8"));
});

test("every table, view and function says what it is", async () => {
  const url = await postgres.createMigratedDatabase();
  await using sql = await connectSql(url);
  const silent = await sql.rows(
    z.object({ name: z.string() }),
    `SELECT relname::text AS name FROM pg_class
       WHERE relnamespace = 'lacewing'::regnamespace AND relkind IN ('r', 'p', 'v') AND obj_description(oid, 'pg_class') IS NULL
     UNION ALL
     SELECT proname::text FROM pg_proc WHERE pronamespace = 'lacewing'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL`,
  );
  expect(silent).toEqual([]);
});

test("the drizzle tables have the columns that the database has", async () => {
  const url = await postgres.createMigratedDatabase();
  const declared = declaredColumns();
  await using sql = await connectSql(url);
  const rows = await sql.rows(
    z.object({ table: z.string(), column: z.string(), type: z.string(), isNotNull: z.boolean() }),
    `SELECT c.relname AS "table", a.attname AS "column", a.attnotnull AS "isNotNull",
       format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, NULL) AS type
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
     WHERE c.relnamespace = 'lacewing'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped`,
  );
  const tables = new Set(declared.map((column) => column.table));
  expect(sorted(rows.filter((row) => tables.has(row.table)))).toEqual(sorted(declared));
});

test("an applied file that was changed afterwards is refused by name", async () => {
  const url = await postgres.createDatabase();
  const directory = mkdtempSync(join(tmpdir(), "lw-migrations-"));
  try {
    await cp(MIGRATIONS_DIRECTORY, directory, { recursive: true });
    await migrate(url, directory);
    const file = join(directory, "0001_schema.sql");
    await writeFile(file, `${await readFile(file, "utf8")}\n-- an afterthought\n`);
    await expect(migrate(url, directory)).rejects.toMatchObject({
      code: "migration_changed",
      message: messageWith(/0001_schema/),
    });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a file whose SQL fails leaves nothing behind and names the line", async () => {
  const url = await postgres.createMigratedDatabase();
  const directory = mkdtempSync(join(tmpdir(), "lw-migrations-"));
  try {
    await cp(MIGRATIONS_DIRECTORY, directory, { recursive: true });
    const text = "CREATE TABLE lacewing.half (n integer);\nSELECT nonsense;\n";
    await writeFile(join(directory, "9999_half.sql"), text);
    await expect(migrate(url, directory)).rejects.toMatchObject({
      code: "migration_failed",
      message: messageWith(/line 2/),
    });
    await using sql = await connectSql(url);
    const rows = await sql.rows(
      z.object({ half: z.null() }),
      "SELECT to_regclass('lacewing.half') AS half",
    );
    expect(rows).toEqual([{ half: null }]);
    // The database then is not ahead of the files it is given next.
    expect((await migrate(url)).applied).toEqual([]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a database that has a migration these files lack is refused", async () => {
  const url = await postgres.createMigratedDatabase();
  await using sql = await connectSql(url);
  await sql.rows(
    z.unknown(),
    "INSERT INTO migrations (name, sha256) VALUES ('9000_future', repeat('a', 64))",
  );
  await expect(migrate(url)).rejects.toMatchObject({ code: "schema_newer" });
});

test("a server that does not answer is a retryable error that names the address and no password", async () => {
  const failure = migrate("postgres://someone:hunter2@127.0.0.1:1/lacewing");
  await expect(failure).rejects.toMatchObject({
    code: "database_unavailable",
    retryable: true,
    message: messageWith(/^(?!.*hunter2).*127[.]0[.]0[.]1:1/),
  });
});

test("a download that came before its day's partition moves into it and is found once", async () => {
  const url = await postgres.createMigratedDatabase();
  await using sql = await connectSql(url);
  await sql.rows(
    z.unknown(),
    `INSERT INTO downloads SELECT 'd-1', 'host-1', NULL, 'http://o/', 'GET', '', '', 0, '2026-03-04 23:59:59+00', 1, 2,
       'finished', 200, 0, 7, 0, 0, 7, 0, 7, '', false, '', ''`,
  );
  const ensure = "SELECT ensure_partitions('2026-03-03', '2026-03-05') AS made";
  const made = z.object({ made: z.number() });
  expect(await sql.rows(made, ensure)).toEqual([{ made: 3 }]);
  expect(await sql.rows(made, ensure)).toEqual([{ made: 0 }]);
  const found = await sql.rows(
    z.object({ part: z.string(), traffic: z.string() }),
    "SELECT tableoid::regclass::text AS part, traffic FROM downloads",
  );
  expect(found).toEqual([{ part: "downloads_20260304", traffic: "back_to_source" }]);
});

test("retention drops whole days and keeps what is younger", async () => {
  const url = await postgres.createMigratedDatabase();
  await using sql = await connectSql(url);
  await sql.rows(z.unknown(), "SELECT ensure_partitions(current_date - 40, current_date - 38)");
  await sql.rows(z.unknown(), "SELECT ensure_partitions(current_date - 1, current_date)");
  const removed = await sql.rows(
    z.object({ object: z.string(), count: z.coerce.number() }),
    "SELECT object, removed_count AS count FROM apply_retention(30, 400)",
  );
  expect(removed.filter((row) => /_\d{8}$/.test(row.object))).toHaveLength(3);
  const left = await sql.rows(
    z.object({ count: z.coerce.number() }),
    "SELECT count(*) FROM pg_inherits WHERE inhparent = 'downloads'::regclass",
  );
  expect(left).toEqual([{ count: 3 }]);
});

test("retention by hand removes rows whoever reads, and drops what was being read later", async () => {
  const url = await postgres.createMigratedDatabase();
  await using sql = await connectSql(url);
  await sql.rows(z.unknown(), "SELECT ensure_partitions(current_date - 40, current_date - 39)");
  await sql.rows(
    z.unknown(),
    `INSERT INTO dead_letter (stream, stream_sequence, subject, reason, payload, parked_at)
     VALUES ('s', 1, '', '', '', now() - interval '40 days')`,
  );
  const reader = await connectSql(url);
  await reader.rows(z.unknown(), "BEGIN");
  await reader.rows(z.unknown(), "SELECT count(*) FROM downloads");
  const retention = `SELECT object, removed_count AS count FROM apply_retention(30, 400)
    WHERE removed_count > 0 ORDER BY object`;
  const removed = z.object({ object: z.string(), count: z.coerce.number() });

  expect(await sql.rows(removed, retention)).toEqual([{ object: "dead_letter", count: 1 }]);

  await reader[Symbol.asyncDispose]();
  await sql.rows(z.unknown(), "BEGIN");
  const names = (await sql.rows(removed, retention)).map((row) => row.object);
  expect(names).toEqual([
    expect.stringMatching(/^downloads_\d{8}$/),
    expect.stringMatching(/^downloads_\d{8}$/),
  ]);
  // The caller's transaction goes on as it was.
  expect(await sql.rows(z.unknown(), "SHOW lock_timeout")).toEqual([{ lock_timeout: "0" }]);
});

test("what is remembered again while retention waits for its row stays", async () => {
  const url = await postgres.createMigratedDatabase();
  await using sql = await connectSql(url);
  await sql.rows(
    z.unknown(),
    `INSERT INTO tasks SELECT repeat(i::text, 64), 0, '', '', '', '', '', 0, NULL, NULL, '', '', '', 'active', '',
       now(), now(), now() - interval '40 days' FROM generate_series(1, 2) i`,
  );
  await using writer = await connectSql(url);
  await writer.rows(z.unknown(), "BEGIN");
  const remember = "UPDATE tasks SET forgotten_at = NULL WHERE task_id = repeat('1', 64)";
  await writer.rows(z.unknown(), remember);

  await using upkeep = await connectSql(url);
  const removal = upkeep.rows(z.unknown(), "SELECT remove_old_rows(30, 400)");
  await waitFor("retention waits for the row", async () => {
    const [row] = await sql.rows(
      z.object({ count: z.coerce.number() }),
      `SELECT count(*) FROM pg_stat_activity
       WHERE wait_event_type = 'Lock' AND query ~ 'remove_old_rows' AND datname = current_database()`,
    );
    return row?.count === 1;
  });
  await writer.rows(z.unknown(), "COMMIT");
  await removal;

  expect(await sql.rows(z.unknown(), "SELECT left(task_id, 1) AS task FROM tasks")).toEqual([
    { task: "1" },
  ]);
});

test("migrations after 0004 leave filled tables where they lie, and wait for no reader of them", async () => {
  const url = await postgres.createDatabase();
  const directory = mkdtempSync(join(tmpdir(), "lw-migrations-"));
  try {
    await cp(MIGRATIONS_DIRECTORY, directory, { recursive: true });
    for (const name of (await migrationNames()).filter((file) => file > LAST_THAT_REWROTE))
      await rm(join(directory, `${name}.sql`));
    await migrate(url, directory);
    await using sql = await connectSql(url);
    await sql.rows(z.unknown(), "SELECT ensure_partitions('2026-03-04', '2026-03-04')");
    await sql.rows(
      z.unknown(),
      `INSERT INTO downloads SELECT 'd-' || i, 'host-1', NULL, 'http://o/', 'GET', '', '', 0, '2026-03-04 12:00:00+00', 1, 2,
         'finished', 200, 0, 7, 0, 0, 7, 0, 7, '', false, '', '' FROM generate_series(1, 1000) i`,
    );
    await sql.rows(
      z.unknown(),
      `INSERT INTO peers SELECT repeat('a', 64), 'host-' || i, 0, 1, '', 0, false, '[]', false FROM generate_series(1, 1000) i`,
    );
    const files = `SELECT relname::text AS name, relfilenode::text AS file FROM pg_class
      WHERE relnamespace = 'lacewing'::regnamespace AND relkind IN ('r', 'i') ORDER BY relname`;
    const row = z.object({ name: z.string(), file: z.string() });
    const before = await sql.rows(row, files);
    expect(before.map(({ name }) => name)).toContain("downloads_20260304");
    await sql.rows(z.unknown(), "BEGIN");
    for (const table of ["downloads", "leases", "tasks", "hosts", "traffic_minute"])
      await sql.rows(z.unknown(), `SELECT count(*) FROM ${table}`);

    await migrate(url);

    await sql.rows(z.unknown(), "COMMIT");
    const after = await sql.rows(row, files);
    expect(after.filter(({ name }) => before.some((one) => one.name === name))).toEqual(before);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a migration that needs a table for itself keeps nobody from it while somebody reads it, and goes on then", async () => {
  const url = await postgres.createDatabase();
  const directory = mkdtempSync(join(tmpdir(), "lw-migrations-"));
  try {
    await cp(MIGRATIONS_DIRECTORY, directory, { recursive: true });
    for (const name of (await migrationNames()).filter((file) => file >= FIRST_THAT_TRIES_AGAIN))
      await rm(join(directory, `${name}.sql`));
    await migrate(url, directory);
    await using reader = await connectSql(url);
    await reader.rows(z.unknown(), "BEGIN");
    await reader.rows(z.unknown(), "SELECT count(*) FROM peers");
    await using writer = await connectSql(url);
    await writer.rows(z.unknown(), "SET lock_timeout = '5s'");

    const migration = migrate(url);
    await waitFor("the table is waited for", async () => {
      const waiting = await writer.rows(
        z.unknown(),
        "SELECT 1 FROM pg_locks WHERE relation = 'peers'::regclass AND NOT granted",
      );
      return waiting.length > 0;
    });
    await writer.rows(
      z.unknown(),
      "INSERT INTO peers SELECT repeat('a', 64), 'host-1', 0, 1, '', 0, false, '[]', false",
    );
    await reader.rows(z.unknown(), "COMMIT");

    expect((await migration).applied).toContain(FIRST_THAT_TRIES_AGAIN);
    expect(await writer.rows(z.unknown(), "SELECT is_apart FROM peers")).toEqual([
      { is_apart: false },
    ]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

/** A matcher that lint takes for what it is: vitest types its own as `any`. */
function messageWith(pattern: RegExp): unknown {
  return expect.stringMatching(pattern);
}

async function migrationNames(): Promise<readonly string[]> {
  return (await readMigrationFiles(MIGRATIONS_DIRECTORY)).map((file) => file.name);
}

async function dumpOf(url: string): Promise<{ text: string; serverMajor: number }> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ version: string }>(
      "SELECT current_setting('server_version_num') AS version",
    );
    return {
      text: await dumpSchema(client),
      serverMajor: Math.floor(Number(rows[0]?.version) / 10_000),
    };
  } finally {
    await client.end();
  }
}

function sorted<Row extends { readonly table: string; readonly column: string }>(
  rows: readonly Row[],
): readonly Row[] {
  return rows.toSorted((a, b) => `${a.table}.${a.column}`.localeCompare(`${b.table}.${b.column}`));
}
