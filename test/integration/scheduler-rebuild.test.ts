import { writeFile } from "node:fs/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { runProcess } from "../support/processes.ts";
import { download } from "../support/projection-world.ts";
import { FakeHost } from "../support/scheduler-cluster.ts";
import { schedulerProgram, startSchedulerProcess } from "../support/scheduler-process.ts";
import {
  ALL_PIECES,
  announcement,
  bitmapOf,
  description,
  digestsOf,
  requestBy,
  taskIdOfSlice,
} from "../support/scheduler-world.ts";
import { connectSql, type Sql } from "../support/sql.ts";
import { makeTempDir, type TempDir } from "../support/temp-dir.ts";
import { waitFor } from "../support/wait-for.ts";

/**
 * Tables that a rebuild gives back, their order, and the columns that may differ: times at which a scheduler folded something, where a
 * replay has the time at which the broker stored it, and the trace context that a scheduler puts in its own requests.
 */
const TABLES = {
  hosts: { key: "host_id", mayDiffer: ["announced_at", "updated_at"] },
  tasks: { key: "task_id", mayDiffer: ["created_at", "updated_at"] },
  peers: { key: "task_id, host_id", mayDiffer: ["updated_at"] },
  leases: { key: "lease_id", mayDiffer: ["ended_at"] },
  downloads: { key: "download_id", mayDiffer: [] },
  traffic_minute: { key: "minute, host_id", mayDiffer: [] },
  dead_letter: { key: "stream_sequence", mayDiffer: ["dead_letter_id", "parked_at"] },
} as const;

const ANCHOR = `sha256:${"0".repeat(64)}`;
const ANCHORED_SLICE = 8;
const ANCHORED_TASK = taskIdOfSlice(ANCHORED_SLICE);
const STANDING_APART = "SELECT host_id AS host FROM peers WHERE is_apart";

let nats: TestNats;
let postgres: TestPostgres;
let dir: TempDir;
let hosts: NatsConnection;
let databaseUrl: string;
let sql: Sql;
beforeAll(async () => {
  nats = await startTestNats();
  postgres = await startTestPostgres();
  dir = await makeTempDir("rebuild");
  await writeFile(dir.join("secret"), "0123456789abcdef0123456789abcdef\n");
  databaseUrl = await postgres.createMigratedDatabase();
  hosts = await nats.connect();
  sql = await connectSql(databaseUrl);
});
afterAll(async () => {
  await sql[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await dir[Symbol.asyncDispose]();
});

const start = () =>
  startSchedulerProcess({ natsUrl: nats.url, databaseUrl, secretFile: dir.join("secret") });

/** The command of the program, on the database. */
async function rebuild(url: string, ...args: readonly string[]) {
  return runProcess({
    command: process.execPath,
    args: [schedulerProgram(), "rebuild", ...args],
    env: {
      LACEWING_NATS_URL: nats.url,
      LACEWING_DATABASE_URL: url,
      LACEWING_CLUSTER_SECRET_FILE: dir.join("secret"),
      LACEWING_LOG_LEVEL: "error",
    },
  });
}

async function announce(host: FakeHost): Promise<void> {
  await host.publish("host", [{ $case: "hostAnnounced", value: announcement(host.hostId, {}) }]);
}

async function request(host: FakeHost, slice: number): Promise<void> {
  const value = requestBy(host.hostId, {
    taskId: taskIdOfSlice(slice),
    requestId: `request-${slice}-of-${host.hostId}`,
  });
  await host.publish(slice, [{ $case: "taskRequested", value }]);
}

async function hold(host: FakeHost, slice: number, pieces: readonly number[]): Promise<void> {
  const taskId = taskIdOfSlice(slice);
  const held = { taskId, incarnation: 1, bitmap: bitmapOf(pieces), digests: digestsOf(pieces) };
  await host.publish(slice, [
    { $case: "taskDescribed", value: description({ taskId }) },
    { $case: "piecesAvailable", value: { ...held, leasesEnded: [] } },
  ]);
}

/** A little of everything: two schedulers one after the other, leases that end and one that lives, a poisoned task, a parked message. */
async function live(): Promise<void> {
  await using first = await start();
  const parent = new FakeHost("parent", hosts);
  const child = new FakeHost("child", hosts);
  for (const host of [parent, child]) await announce(host);
  for (const slice of [3, 4]) {
    await request(parent, slice);
    await waitFor("the open lease", () =>
      parent.leases.some((lease) => lease.taskId === taskIdOfSlice(slice)),
    );
    await hold(parent, slice, ALL_PIECES);
    await request(child, slice);
    await waitFor("the child's lease", () =>
      child.leases.some((lease) => lease.taskId === taskIdOfSlice(slice)),
    );
  }
  await hold(child, 3, ALL_PIECES);
  await first.end("SIGKILL");

  await using second = await start();
  await request(child, 5);
  await waitFor("a lease of the second scheduler", () =>
    child.leases.some((lease) => lease.taskId === taskIdOfSlice(5)),
  );
  const poisoned = { taskId: taskIdOfSlice(4), reason: "anchor_mismatch" };
  await parent.publish(4, [
    { $case: "taskPoisoned", value: { ...poisoned, expectedDigest: "", actualDigest: "" } },
  ]);
  await child.publish(6, [
    { $case: "taskRequested", value: requestBy("child", { taskId: taskIdOfSlice(7) }) },
  ]);
  const finished = download("download-1", { taskId: "" });
  await child.publish("host", [{ $case: "downloadFinished", value: finished }]);
  await child.publish("host", [{ $case: "downloadFinished", value: finished }]);
  await waitFor("all is projected", async () => {
    const [row] = await sql.rows(
      z.object({ done: z.boolean() }),
      `SELECT EXISTS (SELECT FROM tasks WHERE state = 'retired') AND EXISTS (SELECT FROM downloads)
         AND EXISTS (SELECT FROM dead_letter) AND EXISTS (SELECT FROM leases WHERE outcome = 'live') AS done`,
    );
    return row?.done;
  });
  await second.end("SIGTERM");
}

/** Every row of every table, without the columns that may differ. */
async function rowsOf(connection: Sql): Promise<Readonly<Record<string, readonly unknown[]>>> {
  const all: Record<string, readonly unknown[]> = {};
  for (const [table, { key, mayDiffer }] of Object.entries(TABLES)) {
    const removed = mayDiffer.map((column) => ` - '${column}'`).join("");
    const rows = await connection.rows(
      z.object({ row: z.unknown() }),
      `SELECT to_jsonb(t)${removed} AS row FROM ${table} t ORDER BY ${key}`,
    );
    all[table] = rows.map(({ row }) => row);
  }
  return all;
}

test("a rebuild from the logs gives the rows that two schedulers have written, also in an empty database", async () => {
  await live();
  const written = await rowsOf(sql);
  expect(written["leases"]?.length).toBeGreaterThan(4);

  const fresh = await postgres.createMigratedDatabase();
  const inFresh = await rebuild(fresh);
  await using freshSql = await connectSql(fresh);
  const rebuiltInFresh = await rowsOf(freshSql);
  await sql.rows(z.unknown(), "UPDATE peers SET held_piece_count = 0");
  await sql.rows(z.unknown(), "DELETE FROM leases WHERE outcome = 'finished'");
  const inPlace = await rebuild(databaseUrl);

  expect([inFresh.stderr, inFresh.exitCode, inPlace.stderr, inPlace.exitCode]).toEqual([
    "",
    0,
    "",
    0,
  ]);
  expect(JSON.parse(inPlace.stdout)).toMatchObject({ isWhole: true, hostCount: 2, taskCount: 3 });
  expect(rebuiltInFresh).toEqual(written);
  expect(await rowsOf(sql)).toEqual(written);
});

test("a scheduler goes on where a rebuild has ended", async () => {
  await using scheduler = await start();
  const late = new FakeHost("late", hosts);
  await announce(late);
  await request(late, 3);
  const lease = await waitFor(
    "a lease from a copy that the rebuild knows of",
    () => late.leases[0],
  );
  expect(["parent", "child"]).toContain(lease.parentHostId);
  expect(scheduler.entries.map((entry) => entry.event)).not.toContain("event log gap");
  await scheduler.end("SIGTERM");
});

/** Two hosts that were given contents of different lengths by one name: the first has one piece of its own, the other stands apart. */
async function part(): Promise<{ readonly first: FakeHost; readonly other: FakeHost }> {
  await using scheduler = await start();
  const first = new FakeHost("first", hosts);
  const other = new FakeHost("other", hosts);
  for (const host of [first, other]) {
    await announce(host);
    const requestId = `request-of-${host.hostId}`;
    const value = requestBy(host.hostId, { taskId: ANCHORED_TASK, requestId, anchor: ANCHOR });
    await host.publish(ANCHORED_SLICE, [{ $case: "taskRequested", value }]);
  }
  const task = { taskId: ANCHORED_TASK, anchor: ANCHOR };
  await first.publish(ANCHORED_SLICE, [
    { $case: "taskDescribed", value: description(task) },
    { $case: "piecesAvailable", value: piecesOf([0]) },
  ]);
  await other.publish(ANCHORED_SLICE, [
    { $case: "taskDescribed", value: description({ ...task, lengthBytes: 5 * 1024 }) },
  ]);
  await waitFor("the other is projected as what it is", async () => {
    const rows = await sql.rows(z.object({ host: z.string() }), STANDING_APART);
    return rows.some(({ host }) => host === "other");
  });
  await scheduler.end("SIGTERM");
  return { first, other };
}

function piecesOf(pieces: readonly number[], version = 1) {
  const digests = digestsOf(pieces, version);
  return {
    taskId: ANCHORED_TASK,
    incarnation: 1,
    bitmap: bitmapOf(pieces),
    digests,
    leasesEnded: [],
  };
}

test("who stands apart does so after a rebuild, and for the scheduler that goes on: its pieces are no conflict", async () => {
  const { first, other } = await part();
  const written = await rowsOf(sql);
  await sql.rows(z.unknown(), "UPDATE peers SET is_apart = false");
  expect((await rebuild(databaseUrl)).exitCode).toBe(0);
  expect(await rowsOf(sql)).toEqual(written);

  await using scheduler = await start();
  await other.publish(ANCHORED_SLICE, [{ $case: "piecesAvailable", value: piecesOf([0], 9) }]);
  await first.publish(ANCHORED_SLICE, [{ $case: "piecesAvailable", value: piecesOf([0, 1]) }]);
  const row = z.object({ state: z.string(), held: z.string() });
  const known = await waitFor("what the first has got since is projected", async () => {
    const rows = await sql.rows(
      row,
      `SELECT state, (SELECT string_agg(held_piece_count::text, ' ' ORDER BY host_id) FROM peers p WHERE p.task_id = t.task_id) AS held
       FROM tasks t WHERE task_id = '${ANCHORED_TASK}'`,
    );
    return rows.find(({ state, held }) => state !== "active" || held !== "1 0");
  });
  expect(known).toEqual({ state: "active", held: "2 0" });
  expect(await sql.rows(z.unknown(), STANDING_APART)).toEqual([{ host: "other" }]);
  await scheduler.end("SIGTERM");
});

test("a rebuild leaves a living scheduler alone, unless it is told to fence it; then it goes on afterwards", async () => {
  await using scheduler = await start();
  const refused = await rebuild(databaseUrl);
  expect(refused.exitCode).toBe(75);
  expect(refused.stderr).toContain("the slices are owned by");

  const fencing = await rebuild(databaseUrl, "--fence");
  expect(fencing.exitCode).toBe(0);
  const host = new FakeHost("after", hosts);
  await announce(host);
  await request(host, 40);
  await waitFor("a lease after the rebuild", () => host.leases[0]);
  expect(scheduler.entries.map((entry) => entry.event)).toContain("session ended");
  await scheduler.end("SIGTERM");
});

test("a rebuild from logs that were cut off keeps the history they no longer tell", async () => {
  const count = z.object({ leases: z.coerce.number(), known: z.coerce.number() });
  const read = () =>
    sql.rows(
      count,
      `SELECT (SELECT count(*) FROM leases WHERE outcome <> 'live') AS leases,
         (SELECT count(*) FROM tasks WHERE forgotten_at IS NULL) AS known`,
    );
  const [before] = await read();
  await nats.purge("LACEWING_EVENTS");
  await nats.purge("LACEWING_DECISIONS");
  const result = await rebuild(databaseUrl);
  expect(JSON.parse(result.stdout)).toMatchObject({ isWhole: false });
  expect(await read()).toEqual([{ leases: before?.leases, known: 0 }]);
});
