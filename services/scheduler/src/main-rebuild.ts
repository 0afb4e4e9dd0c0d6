import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { inboxPrefix } from "@lacewing/contracts/subjects.ts";
import { createLog } from "@lacewing/observability/log.ts";
import { SERVICE } from "@lacewing/observability/semconv.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import { EXIT_CODE } from "@lacewing/runtime/lifecycle.ts";
import { connectNats } from "@lacewing/runtime/nats.ts";
import { readSettings, SettingsError } from "@lacewing/runtime/settings.ts";
import { openNatsLogs } from "./adapters/nats/open-nats-logs.ts";
import { createPool } from "./adapters/postgres/pool.ts";
import { PostgresRebuildStore } from "./adapters/postgres/rebuild-store.ts";
import { PostgresSliceOwnership } from "./adapters/postgres/slice-ownership.ts";
import { rebuildProjection } from "./app/rebuild.ts";
import { streamLimits } from "./compose.ts";
import { SETTINGS } from "./config.ts";

/** Clearing a graph of millions of rows is one statement. */
const STATEMENT_TIMEOUT_MS = 600_000;

/**
 * `main.ts rebuild [--fence]`: makes the graph in PostgreSQL anew from the logs, with the scheduler's settings. Prints the report as
 * one line of JSON; exit code 75 when a scheduler is alive and `--fence` was not given.
 */
export async function runRebuild(
  env: NodeJS.ProcessEnv,
  args: readonly string[],
  random: () => number,
): Promise<number> {
  try {
    const report = await rebuild(env, args.includes("--fence"), random);
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return EXIT_CODE.ok;
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    if (error instanceof SettingsError) return EXIT_CODE.wrongSettings;
    return error instanceof PortError && error.code === "slices_owned" ? SLICES_OWNED : 1;
  }
}

/** `EX_TEMPFAIL`: the same command works when the scheduler has stopped. */
const SLICES_OWNED = 75;

async function rebuild(env: NodeJS.ProcessEnv, isFencing: boolean, random: () => number) {
  const settings = readSettings(SETTINGS, env);
  const log = createLog({
    service: SERVICE.scheduler,
    level: settings.LACEWING_LOG_LEVEL,
    // Standard output is for the report.
    write: (lines) => void process.stderr.write(lines),
  });
  const connection = await connectNats({
    url: settings.LACEWING_NATS_URL,
    name: `${SERVICE.scheduler}-rebuild`,
    inboxPrefix: inboxPrefix(SERVICE.scheduler),
  });
  const pool = createPool(settings.LACEWING_DATABASE_URL, {
    applicationName: `${SERVICE.scheduler}-rebuild`,
    log,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
  });
  const interrupted = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.once(signal, () => interrupted.abort(new Error(`ended by ${signal}`)));
  try {
    const nats = await openNatsLogs(connection, streamLimits(settings), log);
    return await rebuildProjection(
      {
        ...nats,
        store: new PostgresRebuildStore(pool),
        ownership: new PostgresSliceOwnership(pool),
        clock: systemClock,
        log,
        random,
      },
      {
        ownerId: `rebuild:${hostname()}:${process.pid}:${randomUUID()}`,
        ownershipLeaseMs: settings.LACEWING_SCHEDULER_OWNERSHIP_MS,
        renewalMs: settings.LACEWING_SCHEDULER_RENEWAL_MS,
        isFencing,
      },
      interrupted.signal,
    );
  } finally {
    await connection.close();
    await pool.close();
    log.close();
  }
}
