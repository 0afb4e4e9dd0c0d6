import { Client } from "pg";
import type { z } from "zod";

/** A statement of a test or of the demo reads small tables; longer means that the database is stuck. */
const STATEMENT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 10_000;

/** One connection that sees the schema `lacewing` first. */
export interface Sql {
  /** Rows as the schema wants them. 64-bit integers and numerics arrive as strings: use `z.coerce.number()`. */
  rows<Schema extends z.ZodType>(
    schema: Schema,
    text: string,
    values?: readonly (string | number | null)[],
  ): Promise<readonly z.output<Schema>[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function connectSql(databaseUrl: string): Promise<Sql> {
  const client = new Client({
    connectionString: databaseUrl,
    options: "-c search_path=lacewing,public",
    statement_timeout: STATEMENT_TIMEOUT_MS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  // A server that is killed on purpose breaks the connection; the next query tells.
  client.on("error", () => {});
  await client.connect();
  return {
    rows: async (schema, text, values = []) => {
      const { rows } = await client.query({ text, values: [...values] });
      return rows.map((row: unknown) => schema.parse(row));
    },
    [Symbol.asyncDispose]: async () => client.end(),
  };
}
