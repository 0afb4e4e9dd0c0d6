import { migrateDatabase } from "@lacewing/local/migrate.ts";
import { withoutPassword } from "@lacewing/local/postgres.ts";
import type { Command } from "commander";
import { type CliContext, DATA_OPTION, JSON_OPTION, requireCluster } from "../context.ts";

interface MigrateFlags {
  readonly data?: string;
  readonly json?: true;
}

export function registerMigrate(program: Command, context: CliContext): void {
  program
    .command("migrate")
    .description(
      'bring the schema "lacewing" up to date in LACEWING_DATABASE_URL, else in the local cluster',
    )
    .option(...DATA_OPTION)
    .option(...JSON_OPTION)
    .action(async (flags: MigrateFlags) => {
      const url =
        context.env["LACEWING_DATABASE_URL"] ||
        requireCluster(context, flags.data).cluster.databaseUrl;
      context.note(`migrating schema "lacewing" in ${withoutPassword(url)}`);
      const { applied } = await migrateDatabase(url);
      if (flags.json === true) context.print(JSON.stringify({ applied }));
      else
        context.print(
          applied.length === 0 ? "already up to date" : `applied:\n  ${applied.join("\n  ")}`,
        );
    });
}
