import { fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism, cpus } from "node:os";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { createPool } from "@lacewing/scheduler/adapters/postgres/pool.ts";
import { PostgresProjectionStore } from "@lacewing/scheduler/adapters/postgres/projection-store.ts";
import { PostgresSliceOwnership } from "@lacewing/scheduler/adapters/postgres/slice-ownership.ts";
import { z } from "zod";
import { startTestNats } from "../support/nats.ts";
import { startTestPostgres } from "../support/postgres.ts";
import { startTestScheduler } from "../support/scheduler-cluster.ts";
import { connectSql } from "../support/sql.ts";
import { waitFor } from "../support/wait-for.ts";

const FLUSHED_TIMEOUT_MS = 300_000;

/**
 * Messages of 1 to 8 pieces, each from another host than the one before, published as fast as the broker takes them, folded by one live
 * scheduler, and in Postgres. Broker, database, publisher and scheduler share the machine.
 */
export async function runSchedulerIngest(options: {
  readonly messageCount: number;
  readonly hostCount: number;
}): Promise<void> {
  const { messageCount, hostCount } = options;
  await using nats = await startTestNats();
  await using postgres = await startTestPostgres();
  const databaseUrl = await postgres.createMigratedDatabase();
  const pool = createPool(databaseUrl, { applicationName: "bench", log: createMemoryLog() });
  await using sql = await connectSql(databaseUrl);
  const store = new PostgresProjectionStore({ pool, clock: systemClock, log: createMemoryLog() });
  const scheduler = await startTestScheduler(await nats.connect(), {
    store,
    ownership: new PostgresSliceOwnership(pool),
  });
  await scheduler.isLive;
  const startedAtMs = performance.now();
  const cpuBefore = process.cpuUsage();
  const last = await publish(nats.url, [hostCount, 64, messageCount, 1024, 1]);
  const publishedMs = performance.now() - startedAtMs;
  const projected = z.object({ sequence: z.coerce.number() });
  await waitFor(
    "everything is projected",
    async () => {
      const [row] = await sql.rows(
        projected,
        "SELECT min(events_sequence) AS sequence FROM checkpoints",
      );
      return row?.sequence === last;
    },
    { timeoutMs: FLUSHED_TIMEOUT_MS },
  );
  const totalMs = performance.now() - startedAtMs;
  const cpu = process.cpuUsage(cpuBefore);
  const count = z.object({ count: z.coerce.number() });
  const [peers] = await sql.rows(count, "SELECT count(*) FROM peers");
  await scheduler.stop();
  await store.close();
  await pool.end();
  const perSecond = (ms: number) => Math.round((last / ms) * 1000).toLocaleString("en");
  process.stdout.write(
    [
      `${last.toLocaleString("en")} messages of ${hostCount.toLocaleString("en")} hosts, ${peers?.count ?? 0} peers in SQL`,
      `published ${perSecond(publishedMs)} messages/s, projected ${perSecond(totalMs)} messages/s (${(totalMs / 1000).toFixed(1)} s)`,
      `scheduler CPU ${((cpu.user + cpu.system) / 1e6).toFixed(1)} s, ${((cpu.user + cpu.system) / last).toFixed(0)} µs a message; RSS ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`,
      `${availableParallelism()} cores shared by everything (${cpus()[0]?.model.trim() ?? "unknown"})`,
      "",
    ].join("\n"),
  );
}

/** Publishes in a process of its own. @returns the stream sequence of the last message. */
export async function publish(url: string, counts: readonly number[]): Promise<number> {
  const publisher = fork(new URL("scheduler-publisher.ts", import.meta.url), [
    url,
    ...counts.map(String),
  ]);
  const message: readonly unknown[] = await once(publisher, "message");
  return z.number().parse(message[0]);
}

if (import.meta.main) {
  const [messageCount = 200_000, hostCount = 10_000] = process.argv.slice(2).map(Number);
  await runSchedulerIngest({ messageCount, hostCount });
}
