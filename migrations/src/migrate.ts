import { Client } from "pg";
import { MigrationError } from "./migration-error.ts";
import { type MigrationFile, MIGRATIONS_DIRECTORY, readMigrationFiles } from "./migration-files.ts";

/** Of the session lock that lets one migration run at a time. Arbitrary, but must never change. */
const LOCK_KEY = 7_310_588_451;
/** Two services that start at once: the second waits for the first, which takes a second on an empty database. */
const LOCK_TIMEOUT_MS = 60_000;
/** A migration that rewrites a large table is slow; one that hangs must end all the same. */
const STATEMENT_TIMEOUT_MS = 600_000;
const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Brings the schema `lacewing` up to date. Safe to repeat, and to run from several processes at once: each file is
 * applied once, in a transaction of its own. Touches nothing outside its schema; needs to be the database's owner, to
 * have CREATE on it, or to own a schema `lacewing` that is there. No superuser, no extension.
 *
 * @param databaseUrl of a direct connection: the lock lives in the session, which a transaction pooler would lose.
 * @returns names of the files that were applied now.
 * @throws {MigrationError} retryable when the database does not answer or somebody else migrates for too long.
 */
export async function migrate(
  databaseUrl: string,
  directory: string = MIGRATIONS_DIRECTORY,
): Promise<{ readonly applied: readonly string[] }> {
  const files = await readMigrationFiles(directory);
  const client = await connect(databaseUrl);
  try {
    await lock(client);
    await prepare(client);
    const known = await appliedHashes(client);
    refuseStrangeHistory(files, known);
    const pending = files.filter((file) => !known.has(file.name));
    for (const file of pending) await apply(client, file);
    return { applied: pending.map((file) => file.name) };
  } catch (error) {
    throw translated(error);
  } finally {
    // Ending the session gives the lock back. A connection that is broken already has nothing to end.
    await client.end().catch(() => {});
  }
}

async function connect(databaseUrl: string): Promise<Client> {
  const options = {
    connectionString: databaseUrl,
    application_name: "lacewing-migrate",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
  };
  let client: Client;
  try {
    client = new Client(options);
  } catch (error) {
    // The text may hold a password, so it is not repeated.
    const message = "the database URL is not a URL like postgres://user@host:5432/database";
    throw new MigrationError("database_unavailable", message, { retryable: false, cause: error });
  }
  // A server that dies breaks the running query, which tells; without a listener it would end the process.
  client.on("error", () => {});
  try {
    await client.connect();
    return client;
  } catch (error) {
    await client.end().catch(() => {});
    const where = `${client.host}:${client.port}/${client.database ?? ""}`;
    const message = `cannot connect to PostgreSQL at ${where}: ${reasonOf(error)}`;
    // A refusal that has an SQLSTATE comes from a server that is there; 57P03 says that it is still starting.
    const sqlState = sqlStateOf(error);
    const retryable = sqlState === undefined || /^(57P|53|08)/.test(sqlState);
    throw new MigrationError("database_unavailable", message, { retryable, cause: error });
  }
}

async function lock(client: Client): Promise<void> {
  await client.query(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`);
  await client.query(`SET statement_timeout = ${STATEMENT_TIMEOUT_MS}`);
  try {
    await client.query("SELECT pg_advisory_lock($1)", [LOCK_KEY]);
  } catch (error) {
    if (sqlStateOf(error) !== "55P03") throw error;
    const message = `another migration of this database has run for more than ${LOCK_TIMEOUT_MS} ms`;
    throw new MigrationError("migration_locked", message, { retryable: true, cause: error });
  }
}

async function prepare(client: Client): Promise<void> {
  // CREATE SCHEMA IF NOT EXISTS wants the right to create even when there is nothing to create.
  const found = await client.query("SELECT 1 FROM pg_namespace WHERE nspname = 'lacewing'");
  if (found.rowCount === 0) await client.query("CREATE SCHEMA lacewing");
  await client.query(`
    CREATE TABLE IF NOT EXISTS lacewing.migrations (
      name text PRIMARY KEY,
      sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
      applied_at timestamptz NOT NULL DEFAULT now()
    )`);
  await client.query(
    "COMMENT ON TABLE lacewing.migrations IS 'Migration files that were applied, each with the SHA-256 of its text.'",
  );
}

async function appliedHashes(client: Client): Promise<ReadonlyMap<string, string>> {
  const { rows } = await client.query<{ name: string; sha256: string }>(
    "SELECT name, sha256 FROM lacewing.migrations",
  );
  return new Map(rows.map((row) => [row.name, row.sha256]));
}

/** Files are history: what was applied may neither change nor vanish. */
function refuseStrangeHistory(
  files: readonly MigrationFile[],
  applied: ReadonlyMap<string, string>,
): void {
  const byName = new Map(files.map((file) => [file.name, file]));
  for (const [name, sha256] of applied) {
    const file = byName.get(name);
    if (file === undefined) {
      const message = `the database has migration ${name}, which this version does not know: start a newer version`;
      throw new MigrationError("schema_newer", message, { retryable: false });
    }
    if (file.sha256 !== sha256) {
      const message =
        `migration ${name} was changed after it had been applied (applied ${sha256.slice(0, 12)}, ` +
        `file ${file.sha256.slice(0, 12)}): restore the file and put the change in a new one`;
      throw new MigrationError("migration_changed", message, { retryable: false });
    }
  }
}

async function apply(client: Client, file: MigrationFile): Promise<void> {
  try {
    await client.query("BEGIN");
    await client.query(file.text);
    await client.query("INSERT INTO lacewing.migrations (name, sha256) VALUES ($1, $2)", [
      file.name,
      file.sha256,
    ]);
    await client.query("COMMIT");
  } catch (error) {
    const isAnswered = sqlStateOf(error) !== undefined;
    if (isAnswered) await client.query("ROLLBACK").catch(() => {});
    const message = `migration ${file.name} failed, nothing of it was kept: ${reasonOf(error)}${lineOf(error, file)}`;
    throw new MigrationError("migration_failed", message, { retryable: !isAnswered, cause: error });
  }
}

function translated(error: unknown): MigrationError {
  if (error instanceof MigrationError) return error;
  const sqlState = sqlStateOf(error);
  if (sqlState === "42501") {
    const message =
      `${reasonOf(error)}: make the user the database's owner, or run as its owner: ` +
      "GRANT CREATE ON DATABASE … TO …";
    return new MigrationError("migration_failed", message, { retryable: false, cause: error });
  }
  const code = sqlState === undefined ? "database_unavailable" : "migration_failed";
  return new MigrationError(code, reasonOf(error), {
    retryable: sqlState === undefined,
    cause: error,
  });
}

function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || !("severity" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

function reasonOf(error: unknown): string {
  // Several addresses of one name that all refuse make an error without a message of its own.
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}

/** ` (line N)` of the statement that failed. */
function lineOf(error: unknown, file: MigrationFile): string {
  if (!(error instanceof Error) || !("position" in error)) return "";
  const position = Number(error.position);
  if (!Number.isInteger(position)) return "";
  return ` (line ${file.text.slice(0, position).split("\n").length})`;
}
