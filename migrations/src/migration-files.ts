import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MigrationError } from "./migration-error.ts";

/** One file of hand-written SQL. */
export interface MigrationFile {
  /** File name without `.sql`. */
  readonly name: string;
  readonly text: string;
  /** Of the text with unix line ends, so that a checkout on another system has the same. */
  readonly sha256: string;
}

export const MIGRATIONS_DIRECTORY = fileURLToPath(new URL("../sql", import.meta.url));

const NAME = /^(\d{4})_[a-z0-9_]+[.]sql$/;

/**
 * All migrations in the order in which they are applied.
 *
 * @throws {MigrationError} when a name breaks the grammar `0001_words.sql` or two files have one number.
 */
export async function readMigrationFiles(directory: string): Promise<readonly MigrationFile[]> {
  const fileNames = (await readdir(directory)).filter((name) => name.endsWith(".sql")).toSorted();
  const numbers = new Map<string, string>();
  for (const fileName of fileNames) {
    const number = NAME.exec(fileName)?.[1];
    if (number === undefined) throw misnamed(`${fileName} is not named like 0001_words.sql`);
    const other = numbers.get(number);
    if (other !== undefined) throw misnamed(`${other} and ${fileName} have the same number`);
    numbers.set(number, fileName);
  }
  return Promise.all(
    fileNames.map(async (fileName) => {
      const text = (await readFile(join(directory, fileName), "utf8")).replaceAll("\r\n", "\n");
      const sha256 = createHash("sha256").update(text).digest("hex");
      return { name: fileName.slice(0, -".sql".length), text, sha256 };
    }),
  );
}

function misnamed(message: string): MigrationError {
  return new MigrationError("migration_misnamed", message, { retryable: false });
}
