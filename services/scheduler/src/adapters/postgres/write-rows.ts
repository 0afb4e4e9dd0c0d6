import { setImmediate as letOthersRun } from "node:timers/promises";
import type { DeadLetterRow } from "../../app/ports.ts";
import { isDataError, refusalOf } from "./postgres-error.ts";
import type { TableWrite } from "./table-writers.ts";

/** JSON text of one statement: keeps the memory of both sides small when rows hold large bitmaps or digests. */
const STATEMENT_CHARACTERS_MAX = 8 * 2 ** 20;
const STATEMENT_ROWS_MAX = 5_000;
/** Rows made into text before others have their turn: hosts wait for their assignments meanwhile. */
const ROWS_PER_TURN_MAX = 200;
/** The name under which refused rows lie in `dead_letter`, where else a stream's name stands. */
export const REFUSED_ROWS_STREAM = "projection";

/** What a transaction's client is used for here. */
export interface SqlClient {
  query(statement: string, values?: string[]): Promise<unknown>;
}

/** Writes the rows in as few statements as the limits allow. Fails as a whole: the quick way of a normal day. */
export async function writeRows(client: SqlClient, write: TableWrite): Promise<void> {
  for await (const rows of portionsOf(write.rows))
    await runStatement(client, write.statement, rows);
}

/**
 * Writes the rows and leaves out those that Postgres refuses for what is in them. Halves a refused portion until the
 * single rows are found, each try under a savepoint.
 *
 * @returns the refused rows as dead letters.
 */
export async function writeAcceptableRows(
  client: SqlClient,
  write: TableWrite,
): Promise<readonly DeadLetterRow[]> {
  const refused: DeadLetterRow[] = [];
  for await (const portion of portionsOf(write.rows)) {
    // A list of what is still to do instead of recursion: the transaction's statements stay in order.
    const open: (readonly string[])[] = [portion];
    for (let rows = open.pop(); rows !== undefined; rows = open.pop()) {
      const reason = await tryStatement(client, write.statement, rows);
      if (reason === undefined) continue;
      const [only] = rows;
      if (rows.length === 1 && only !== undefined) {
        refused.push(deadLetterOf(write.table, only, reason));
      } else {
        const half = Math.ceil(rows.length / 2);
        open.push(rows.slice(half), rows.slice(0, half));
      }
    }
  }
  return refused;
}

/** @returns why Postgres refused the rows; `undefined` when they are written. */
async function tryStatement(
  client: SqlClient,
  statement: string,
  rows: readonly string[],
): Promise<string | undefined> {
  await client.query("SAVEPOINT rows");
  try {
    await runStatement(client, statement, rows);
    await client.query("RELEASE SAVEPOINT rows");
    return undefined;
  } catch (error) {
    if (!isDataError(error)) throw error;
    await client.query("ROLLBACK TO SAVEPOINT rows");
    return refusalOf(error);
  }
}

async function runStatement(
  client: SqlClient,
  statement: string,
  rows: readonly string[],
): Promise<void> {
  await client.query(statement, [`[${rows.join(",")}]`]);
}

async function* portionsOf(rows: Iterable<string>): AsyncGenerator<readonly string[]> {
  let portion: string[] = [];
  let characterCount = 0;
  let madeCount = 0;
  for (const row of rows) {
    const isFull =
      portion.length >= STATEMENT_ROWS_MAX ||
      characterCount + row.length > STATEMENT_CHARACTERS_MAX;
    if (isFull && portion.length > 0) {
      yield portion;
      portion = [];
      characterCount = 0;
    }
    portion.push(row);
    characterCount += row.length;
    if (++madeCount % ROWS_PER_TURN_MAX === 0) await letOthersRun();
  }
  if (portion.length > 0) yield portion;
}

function deadLetterOf(table: string, row: string, reason: string): DeadLetterRow {
  return {
    stream: REFUSED_ROWS_STREAM,
    streamSequence: 0,
    subject: table,
    reason,
    payload: Buffer.from(row),
  };
}
