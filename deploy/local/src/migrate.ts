import { migrate } from "@lacewing/migrations/migrate.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { LocalError } from "./local-error.ts";
import { withoutPassword } from "./postgres.ts";

/**
 * Brings the schema `lacewing` of a database up to date; touches nothing else in it.
 *
 * @throws {LocalError} when the database cannot be reached or refuses.
 */
export async function migrateDatabase(
  databaseUrl: string,
): Promise<{ readonly applied: readonly string[] }> {
  try {
    return await migrate(databaseUrl);
  } catch (error) {
    throw new LocalError(
      `cannot migrate ${withoutPassword(databaseUrl)}: ${messageOf(error)}`,
      "The database must be PostgreSQL 14 or newer, reachable, and let this user create a schema.",
      { cause: error },
    );
  }
}
