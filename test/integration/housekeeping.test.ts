import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";
import { createPool } from "@lacewing/scheduler/adapters/postgres/pool.ts";
import { PostgresProjectionStore } from "@lacewing/scheduler/adapters/postgres/projection-store.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { checkpointAt, emptyBatch, emptyCheckpoint, SLICE } from "../support/projection-world.ts";
import { connectSql } from "../support/sql.ts";
import { waitFor } from "../support/wait-for.ts";

const HOUR_MS = 3_600_000;
/** More than any wait after a turn that could not do everything. */
const RETRY_MS = 300_000;
/** More than two transactions of a turn remove. */
const OLD_ROW_COUNT = 45_000;
const UPKEEP_LOCK = "7310588452";

const nothing = z.unknown();
const countRow = z.object({ count: z.coerce.number() });

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

test("what is too old goes within one turn, however much of it there is", async () => {
  await using world = await startWorld();
  await world.addOldLeases(OLD_ROW_COUNT);
  await world.rows(
    nothing,
    `INSERT INTO traffic_minute SELECT date_trunc('minute', now() - interval '500 days'), 'host-' || i, '', '',
       1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0 FROM generate_series(1, ${OLD_ROW_COUNT}) i`,
  );
  await world.rows(
    nothing,
    "UPDATE leases SET ended_at = now() - interval '80 days' WHERE lease_id = 'lease-7'",
  );

  await world.flush();

  await waitFor("only what is young is left", async () => {
    const leases = await world.count("leases");
    return leases === 1 && (await world.count("traffic_minute")) === 0;
  });
  expect(world.failedSteps()).toEqual([]);
});

test("what a wrong clock dated far ahead goes as well, and what lies no farther ahead than is kept stays", async () => {
  await using world = await startWorld();
  // A day beside each limit: the newest partition is two days ahead.
  for (const days of [80, 95, 3_000]) {
    await world.addDownload(days);
    await world.addLease(days);
  }
  for (const days of [80, 95, 395, 405, 3_000]) await world.addMinute(days);

  await world.flush();

  await waitFor(
    "only what is near is left",
    async () => (await world.count("traffic_minute")) === 3,
  );
  expect(await world.daysAhead("downloads", "started_at")).toEqual([80]);
  expect(await world.daysAhead("leases", "ended_at")).toEqual([80]);
  expect(await world.daysAhead("traffic_minute", "minute")).toEqual([80, 95, 395]);
});

test("a database whose clock was set back keeps what it knows of the days that are ahead of it now", async () => {
  await using world = await startWorld();
  // As its upkeep made them before: two days ahead of then.
  await world.rows(nothing, "SELECT ensure_partitions(current_date + 500, current_date + 502)");
  for (const days of [410, 500]) {
    await world.addDownload(days);
    await world.addLease(days);
    await world.addMinute(days);
  }

  await world.rows(nothing, "SELECT remove_old_rows(90, 400)");

  expect(await world.daysAhead("downloads", "started_at")).toEqual([410, 500]);
  expect(await world.daysAhead("leases", "ended_at")).toEqual([410, 500]);
  expect(await world.daysAhead("traffic_minute", "minute")).toEqual([410, 500]);
});

test("upkeep that finds nothing reads no long table through, whatever was removed on its connection before", async () => {
  await using world = await startWorld();
  await world.rows(
    nothing,
    `INSERT INTO traffic_minute SELECT date_trunc('minute', now()) - make_interval(mins => i), 'host-1', '', '', 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0
     FROM generate_series(1, 50000) i`,
  );
  await world.rows(nothing, "ANALYZE traffic_minute");
  // What a server settles on by itself after it has removed much several times.
  await world.rows(nothing, "SET plan_cache_mode = force_generic_plan");
  await world.rows(nothing, "BEGIN");

  await world.rows(nothing, "SELECT remove_old_rows(90, 400)");

  const [read] = await world.rows(
    countRow,
    "SELECT seq_tup_read AS count FROM pg_stat_xact_user_tables WHERE relid = 'traffic_minute'::regclass",
  );
  await world.rows(nothing, "ROLLBACK");
  expect(read?.count).toBe(0);
});

test("a report that reads on holds up neither facts nor other readers nor the removal of rows", async () => {
  await using world = await startWorld();
  const names = await world.addOldPartitions(2);
  await world.addOldLeases(10);
  const report = await connectSql(world.url);
  await report.rows(nothing, "BEGIN");
  await report.rows(nothing, "SELECT count(*) FROM task_popularity");

  expect(await world.flush()).toBe("committed");
  await waitFor("rows are removed", async () => (await world.count("leases")) === 0);
  await world.rows(nothing, "SELECT * FROM slow_downloads");
  await world.logged("postgres partition is being read, dropped later");
  expect(await world.partitions()).toEqual(expect.arrayContaining([...names]));

  await report[Symbol.asyncDispose]();
  await waitFor("the partitions are dropped", async () => {
    world.pass(RETRY_MS);
    await world.flush();
    const left = await world.partitions();
    return left.length > 0 && !left.some((name) => names.includes(name));
  });
  await waitFor("days to come have partitions", async () => (await world.partitions()).length >= 4);
});

test("a partition that is held up neither brings back the others nor keeps tomorrow's from being made", async () => {
  await using world = await startWorld();
  const [held = "", ...others] = await world.addOldPartitions(3);
  await using reader = await connectSql(world.url);
  await reader.rows(nothing, "BEGIN");
  await reader.rows(nothing, `SELECT count(*) FROM ${held}`);

  await world.flush();

  const [tomorrow] = await world.rows(
    z.object({ name: z.string() }),
    "SELECT 'downloads_' || to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD') AS name",
  );
  await waitFor("the others are dropped", async () => {
    const left = await world.partitions();
    return left.includes(tomorrow?.name ?? "") && !left.some((name) => others.includes(name));
  });
  expect(await world.partitions()).toContain(held);
});

test("a turn that is under way ends with the store, and is no second time begun", async () => {
  await using world = await startWorld();
  await using other = await connectSql(world.url);
  await other.rows(nothing, `SELECT pg_advisory_lock(${UPKEEP_LOCK})`);
  await world.flush();
  await world.waitsForUpkeep();
  world.pass(HOUR_MS);
  await world.flush();
  expect(await world.upkeepWaiters()).toBe(1);

  await world.store.close();

  // The statement was left to the server, which has not given up on it.
  expect(await world.upkeepWaiters()).toBe(1);
  expect(world.busyConnectionCount()).toBe(0);
  expect(world.failedSteps()).not.toContain("remove old rows");
  await world.flush();
  expect(world.busyConnectionCount()).toBe(0);
});

test("an owner that is fenced leaves off, and keeps house again when it owns again", async () => {
  await using world = await startWorld();
  await world.addOldLeases(1);
  await using other = await connectSql(world.url);
  await other.rows(nothing, `SELECT pg_advisory_lock(${UPKEEP_LOCK})`);
  await world.flush();
  await world.waitsForUpkeep();

  expect(await world.flushFrom(999)).toBe("fenced");

  await waitFor("the turn is over", () => world.busyConnectionCount() === 0);
  expect(await world.count("leases")).toBe(1);
  await other.rows(nothing, `SELECT pg_advisory_unlock(${UPKEEP_LOCK})`);
  await world.flush();
  await waitFor("rows are removed", async () => (await world.count("leases")) === 0);
});

/** SQL of noon (UTC), so many days from today. */
function noonIn(days: number): string {
  return `((now() AT TIME ZONE 'UTC')::date + ${days} + interval '12 hours') AT TIME ZONE 'UTC'`;
}

/** A database with a scheduler's store whose hours pass when the test says so. */
async function startWorld() {
  const url = await postgres.createMigratedDatabase();
  const log = createMemoryLog();
  const pool = createPool(url, { applicationName: "housekeeping-test", log });
  let passedMs = 0;
  const clock: Clock = { ...systemClock, monotonic: () => performance.now() + passedMs };
  const store = new PostgresProjectionStore({ pool, clock, log });
  const sql = await connectSql(url);
  let sequence = 0;
  const flushFrom = async (beforeSequence: number) => {
    const before = beforeSequence === 0 ? emptyCheckpoint(SLICE) : checkpointAt(beforeSequence);
    const after = checkpointAt(beforeSequence + 1);
    return store.flush({ ...emptyBatch(), checkpoints: [{ before, after }] });
  };
  const upkeepWaiters = async () => {
    const [row] = await sql.rows(
      countRow,
      `SELECT count(*) FROM pg_stat_activity
       WHERE wait_event = 'advisory' AND query ~ 'remove_old_rows' AND datname = current_database()`,
    );
    return row?.count;
  };
  return {
    url,
    store,
    rows: async <Schema extends z.ZodType>(schema: Schema, text: string) => sql.rows(schema, text),
    flushFrom,
    upkeepWaiters,
    flush: async () => flushFrom(sequence++),
    pass: (ms: number) => {
      passedMs += ms;
    },
    count: async (table: string) =>
      (await sql.rows(countRow, `SELECT count(*) FROM ${table}`))[0]?.count,
    partitions: async () => {
      const found = await sql.rows(
        z.object({ name: z.string() }),
        `SELECT inhrelid::regclass::text AS name FROM pg_inherits
         WHERE inhparent = 'downloads'::regclass AND inhrelid <> 'downloads_default'::regclass`,
      );
      return found.map(({ name }) => name);
    },
    addOldPartitions: async (count: number) => {
      const made = await sql.rows(
        z.object({ name: z.string() }),
        `SELECT 'downloads_' || to_char(day, 'YYYYMMDD') AS name, ensure_partitions(day, day)
         FROM generate_series(0, ${count - 1}) i, LATERAL (SELECT current_date - 120 + i AS day) d ORDER BY day`,
      );
      return made.map(({ name }) => name);
    },
    addOldLeases: async (count: number) =>
      sql.rows(
        nothing,
        `INSERT INTO leases SELECT 'lease-' || i, repeat('a', 64), 42, 1, 'child', 'parent', '0:1', 1, false, '', 'test', 1,
           now() - interval '100 days', 1000, '', 'finished', now() - interval '100 days', 1, 1 FROM generate_series(1, ${count}) i`,
      ),
    addDownload: async (daysAhead: number) =>
      sql.rows(
        nothing,
        `INSERT INTO downloads SELECT 'd-${daysAhead}', 'host-1', NULL, 'http://o/', 'GET', '', '', 0, ${noonIn(daysAhead)}, 1, 2,
           'finished', 200, 0, 7, 0, 0, 7, 0, 7, '', false, '', ''`,
      ),
    addLease: async (daysAhead: number) =>
      sql.rows(
        nothing,
        `INSERT INTO leases SELECT 'lease-${daysAhead}', repeat('a', 64), 42, 1, 'child', 'parent', '0:1', 1, false, '', 'test', 1,
           ${noonIn(daysAhead)}, 1000, '', 'finished', ${noonIn(daysAhead)}, 1, 1`,
      ),
    addMinute: async (daysAhead: number) =>
      sql.rows(
        nothing,
        `INSERT INTO traffic_minute SELECT ${noonIn(daysAhead)}, 'host-1', '', '', 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0`,
      ),
    daysAhead: async (table: string, column: string) => {
      const found = await sql.rows(
        z.object({ days: z.number() }),
        `SELECT (${column} AT TIME ZONE 'UTC')::date - (now() AT TIME ZONE 'UTC')::date AS days FROM ${table} ORDER BY days`,
      );
      return found.map(({ days }) => days);
    },
    logged: async (event: string) =>
      waitFor(event, () => log.entries.some((entry) => entry.event === event)),
    failedSteps: () =>
      log.entries
        .filter((entry) => entry.event === "postgres housekeeping failed")
        .map((entry) => entry.fields["step"]),
    waitsForUpkeep: async () =>
      waitFor("rows wait to be removed", async () => (await upkeepWaiters()) === 1),
    busyConnectionCount: () => pool.totalCount - pool.idleCount,
    [Symbol.asyncDispose]: async () => {
      await store.close();
      await sql[Symbol.asyncDispose]();
      await pool.end();
    },
  };
}
