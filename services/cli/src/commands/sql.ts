import { errorCode } from "@lacewing/local/files.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import Table from "cli-table3";
import type { Command } from "commander";
import pg from "pg";
import { CliError } from "../cli-error.ts";
import { type CliContext, DATA_OPTION, JSON_OPTION, requireCluster } from "../context.ts";
import { hintFor, markPosition } from "../sql-hints.ts";

interface SqlFlags {
  readonly data?: string;
  readonly json?: true;
}

/** The database is on this machine or near: a longer wait means that it is not there. */
const CONNECT_TIMEOUT_MS = 5_000;
/** A table with more rows than this is no longer read by a person; --json prints them all. */
const TABLE_ROWS_MAX = 1_000;

const EXAMPLE = 'lacewing sql "select * from cache_hit_rate_hourly"';

export function registerSql(program: Command, context: CliContext): void {
  program
    .command("sql")
    .description("run a query on the cluster's database (search path: lacewing) and print a table")
    .argument("<query>", "one or more statements")
    .option(...DATA_OPTION)
    .option(...JSON_OPTION)
    .addHelpText("after", `\nExample: ${EXAMPLE}`)
    .action(async (query: string, flags: SqlFlags) => {
      if (query.trim() === "") throw noQuery();
      const { cluster } = requireCluster(context, flags.data);
      const results = await runQuery(cluster.databaseUrl, query);
      if (results.length === 0) throw noQuery();
      for (const result of results) {
        context.print(flags.json === true ? asJson(result) : asTable(result));
      }
    });
}

async function runQuery(databaseUrl: string, query: string): Promise<readonly pg.QueryResult[]> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: "lacewing sql",
  });
  client.on("error", () => {}); // A server that goes away fails the query itself.
  try {
    await client.connect();
  } catch (error) {
    throw new CliError(
      `cannot connect to the cluster's database: ${messageOf(error) || errorCode(error)}`,
      "Is the cluster still running? Look at `lacewing up`'s output and its logs.",
      { cause: error },
    );
  }
  try {
    await client.query("set search_path to lacewing, public");
    // Several statements in one text give an array, which the driver's types do not tell.
    const results: unknown = await client.query(query);
    return [results].flat().filter(isResult);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    const where =
      error.position === undefined ? "" : `\n${markPosition(query, Number(error.position))}`;
    throw new CliError(`${error.message}${where}`, error.hint ?? hintFor(error.code), {
      cause: error,
    });
  } finally {
    await client.end();
  }
}

/** A text without any statement, as of a comment only, has an answer without a command. */
function isResult(value: unknown): value is pg.QueryResult {
  if (typeof value !== "object" || value === null) return false;
  return "rows" in value && "fields" in value && "command" in value && value.command !== null;
}

function noQuery(): CliError {
  return new CliError("there is no query", `Example: ${EXAMPLE}`);
}

function asTable(result: pg.QueryResult): string {
  if (result.fields.length === 0) {
    return result.rowCount === null ? result.command : `${result.command} ${result.rowCount}`;
  }
  const names = result.fields.map((field) => field.name);
  const table = new Table({ head: names, style: { head: [], border: [] } });
  const rows: readonly Record<string, unknown>[] = result.rows;
  for (const row of rows.slice(0, TABLE_ROWS_MAX))
    table.push(names.map((name) => asCell(row[name])));
  const count = `(${rows.length} row${rows.length === 1 ? "" : "s"})`;
  return rows.length > TABLE_ROWS_MAX
    ? `${table.toString()}\n(the first ${TABLE_ROWS_MAX} of ${rows.length} rows; --json prints all)`
    : `${table.toString()}\n${count}`;
}

/** Bytes as PostgreSQL writes them, not as Node prints a buffer. */
function asJson(result: pg.QueryResult): string {
  const rows: readonly Record<string, unknown>[] = result.rows;
  const readable = rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [
        name,
        Buffer.isBuffer(value) ? asCell(value) : value,
      ]),
    ),
  );
  return JSON.stringify(readable);
}

function asCell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (value instanceof Date) return value.toISOString();
  if (Buffer.isBuffer(value)) return `\\x${value.toString("hex")}`;
  return typeof value === "string" ? value : JSON.stringify(value);
}
