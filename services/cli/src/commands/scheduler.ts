import { spawn } from "node:child_process";
import { once } from "node:events";
import { errorCode } from "@lacewing/local/files.ts";
import { checkAddresses, reachNats } from "@lacewing/local/given-servers.ts";
import { findPrograms } from "@lacewing/local/programs.mjs";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { Command } from "commander";
import pg from "pg";
import { CliError } from "../cli-error.ts";
import { type CliContext, DATA_OPTION, JSON_OPTION, requireCluster } from "../context.ts";

interface RebuildFlags {
  readonly data?: string;
  readonly fence?: true;
  readonly json?: true;
}

/** The program's exit code when a scheduler is alive. */
const SLICES_OWNED = 75;

/** The database is on this machine or near: a longer wait means that it is not there. */
const CONNECT_TIMEOUT_MS = 5_000;

export function registerScheduler(program: Command, context: CliContext): void {
  const scheduler = program.command("scheduler").description("look after the scheduler's data");
  scheduler
    .command("rebuild")
    .description("make the graph in PostgreSQL anew from the logs in NATS, in one transaction")
    .option(...DATA_OPTION)
    .option("--fence", "take over from a scheduler that is running; it goes on afterwards")
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nServers of your own: LACEWING_DATABASE_URL and LACEWING_NATS_URL together. Facts about downloads are not touched.",
    )
    .action(async (flags: RebuildFlags) => {
      await rebuild(context, flags);
    })
    .exitOverride();
}

async function rebuild(context: CliContext, flags: RebuildFlags): Promise<void> {
  const servers = serversOf(context, flags.data);
  await reachServers(servers);
  const args = [findPrograms({ env: context.env }).entryOf("scheduler"), "rebuild"];
  if (flags.fence === true) args.push("--fence");
  const child = spawn(process.execPath, args, {
    env: {
      LACEWING_LOG_LEVEL: "warn",
      // Rebuilding signs nothing.
      LACEWING_CLUSTER_SECRET_FILE: "unused",
      ...context.env,
      ...servers,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const closed: readonly unknown[] = await once(child, "close");
  const code = closed[0];
  if (code === SLICES_OWNED) {
    throw new CliError(
      "a scheduler is running on this database",
      "Stop it first, or let it be fenced for the time of the rebuild with --fence.",
    );
  }
  if (code !== 0) throw new CliError("the rebuild failed; nothing was changed");
  context.print(flags.json === true ? output.trim() : summaryOf(output));
}

interface Servers extends Readonly<Record<string, string>> {
  readonly LACEWING_DATABASE_URL: string;
  readonly LACEWING_NATS_URL: string;
}

/**
 * The program waits for NATS, as a scheduler should; a person should be told.
 *
 * @throws {CliError} or LocalError when one of the servers is not there.
 */
async function reachServers(servers: Servers): Promise<void> {
  checkAddresses(servers);
  await reachNats(servers.LACEWING_NATS_URL);
  const client = new pg.Client({
    connectionString: servers.LACEWING_DATABASE_URL,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: "lacewing scheduler rebuild",
  });
  client.on("error", () => {}); // A server that goes away fails the rebuild itself.
  try {
    await client.connect();
  } catch (error) {
    throw new CliError(
      `cannot connect to the database: ${messageOf(error) || errorCode(error)}`,
      "Is the cluster (or the server in LACEWING_DATABASE_URL) running?",
      { cause: error },
    );
  } finally {
    await client.end();
  }
}

function serversOf(context: CliContext, data: string | undefined): Servers {
  const { LACEWING_DATABASE_URL: databaseUrl, LACEWING_NATS_URL: natsUrl } = context.env;
  if (databaseUrl && natsUrl) {
    return { LACEWING_DATABASE_URL: databaseUrl, LACEWING_NATS_URL: natsUrl };
  }
  const { cluster } = requireCluster(context, data);
  return { LACEWING_DATABASE_URL: cluster.databaseUrl, LACEWING_NATS_URL: cluster.natsUrl };
}

function summaryOf(json: string): string {
  const report: unknown = JSON.parse(json);
  const lines = [
    `rebuilt ${numberIn(report, "taskCount")} tasks and ${numberIn(report, "hostCount")} hosts`,
  ];
  lines.push(
    `from ${numberIn(report, "factCount")} facts, in ${(numberIn(report, "ms") / 1000).toFixed(1)} s`,
  );
  const isWhole =
    typeof report === "object" && report !== null && "isWhole" in report && report.isWhole;
  if (isWhole !== true) {
    lines.push(
      "The logs no longer reach back to their beginning: older history was kept, and hosts will be asked for what they hold.",
    );
  }
  return lines.join("\n");
}

function numberIn(report: unknown, name: string): number {
  const value = typeof report === "object" && report !== null ? Object.entries(report) : [];
  return Number(value.find(([key]) => key === name)?.[1] ?? 0);
}
