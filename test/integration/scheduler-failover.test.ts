import { writeFile } from "node:fs/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { decisionsInLog, FakeHost, grantsInLog } from "../support/scheduler-cluster.ts";
import { type SchedulerProcess, startSchedulerProcess } from "../support/scheduler-process.ts";
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

/** What the issue allows between the death of one scheduler and the next one's first grant. */
const TAKEOVER_MS_MAX = 5_000;
/** A lease that no test lives to see run out. */
const NEVER = { LACEWING_SCHEDULER_OWNERSHIP_MS: "600000", LACEWING_SCHEDULER_RENEWAL_MS: "1000" };

let postgres: TestPostgres;
let dir: TempDir;
beforeAll(async () => {
  postgres = await startTestPostgres();
  dir = await makeTempDir("failover");
  await writeFile(dir.join("secret"), "0123456789abcdef0123456789abcdef\n");
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await dir[Symbol.asyncDispose]();
});

/** A broker and a database of its own, an active scheduler and a standby, and two hosts. */
class Pair {
  readonly #stack = new AsyncDisposableStack();
  readonly nats: TestNats;
  readonly hosts: NatsConnection;
  readonly sql: Sql;
  readonly databaseUrl: string;
  readonly active: SchedulerProcess;
  readonly standby: SchedulerProcess;

  constructor(parts: Pick<Pair, "nats" | "hosts" | "sql" | "databaseUrl" | "active" | "standby">) {
    this.nats = this.#stack.use(parts.nats);
    this.sql = this.#stack.use(parts.sql);
    this.active = this.#stack.use(parts.active);
    this.standby = this.#stack.use(parts.standby);
    this.hosts = parts.hosts;
    this.databaseUrl = parts.databaseUrl;
  }

  /** A new host that has announced itself. */
  async host(name: string): Promise<FakeHost> {
    const host = new FakeHost(name, this.hosts);
    await host.publish("host", [{ $case: "hostAnnounced", value: announcement(name, {}) }]);
    return host;
  }

  async epochs(): Promise<ReadonlySet<number>> {
    const row = z.object({ epoch: z.number() });
    const rows = await this.sql.rows(row, "SELECT DISTINCT epoch::int FROM slices");
    return new Set(rows.map(({ epoch }) => epoch));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** @param standbyEnv of the one that stands by, where it differs. */
async function startPair(
  env: Readonly<Record<string, string>> = {},
  standbyEnv = env,
): Promise<Pair> {
  const nats = await startTestNats();
  const databaseUrl = await postgres.createMigratedDatabase();
  const settings = { natsUrl: nats.url, databaseUrl, secretFile: dir.join("secret"), env };
  const active = await startSchedulerProcess(settings);
  await waitFor("the first one is active", () => hasBecome(active, "scheduler active"));
  const standby = await startSchedulerProcess({ ...settings, env: standbyEnv });
  await waitFor("the other one stands by", () => hasBecome(standby, "standing by"));
  const hosts = await nats.connect();
  const sql = await connectSql(databaseUrl);
  return new Pair({ nats, hosts, active, standby, databaseUrl, sql });
}

function hasBecome(scheduler: SchedulerProcess, event: string): boolean {
  return scheduler.entries.some((entry) => entry.event === event);
}

async function request(host: FakeHost, slice: number, requestId = `${slice}-${host.hostId}`) {
  const taskId = taskIdOfSlice(slice);
  await host.publish(slice, [
    { $case: "taskRequested", value: requestBy(host.hostId, { taskId, requestId }) },
  ]);
}

async function hold(host: FakeHost, slice: number, pieces: readonly number[]): Promise<void> {
  const taskId = taskIdOfSlice(slice);
  const held = { taskId, incarnation: 1, bitmap: bitmapOf(pieces), digests: digestsOf(pieces) };
  await host.publish(slice, [
    { $case: "taskDescribed", value: description({ taskId }) },
    { $case: "piecesAvailable", value: { ...held, leasesEnded: [] } },
  ]);
}

/** Pieces that the log gives to a child in a task, in the order of their grants. */
async function piecesGranted(pair: Pair, child: FakeHost, slice: number) {
  const grants = await grantsInLog(pair.hosts);
  return grants
    .filter((grant) => grant.childHostId === child.hostId && grant.taskId === taskIdOfSlice(slice))
    .flatMap((grant) => grant.pieces);
}

test("a standby grants within 5 s after the active scheduler is killed, and no piece twice", async () => {
  await using pair = await startPair();
  const parent = await pair.host("parent");
  const child = await pair.host("child");
  await request(parent, 9);
  await waitFor("the open lease", () => parent.leases[0]);
  await hold(parent, 9, [0, 1]);
  await request(child, 9);
  const before = await waitFor("the child's lease", () => child.leases[0]);

  await hold(parent, 9, ALL_PIECES);
  await pair.active.end("SIGKILL");
  const killedAtMs = performance.now();
  await request(child, 10);
  await waitFor("a grant of the successor", () =>
    child.leases.some((lease) => lease.taskId === taskIdOfSlice(10)),
  );
  const takeoverMs = performance.now() - killedAtMs;
  await waitFor("the rest is leased", () =>
    child.leases.some((lease) => lease.pieces.some((range) => range.start === 2)),
  );

  expect(takeoverMs).toBeLessThan(TAKEOVER_MS_MAX);
  expect(before.pieces).toEqual([{ start: 0, count: 2 }]);
  expect(await piecesGranted(pair, child, 9)).toEqual([
    { start: 0, count: 2 },
    { start: 2, count: 2 },
  ]);
});

test("a standby takes over as soon as the active scheduler stops in order, however long its lease", async () => {
  await using pair = await startPair(NEVER);
  const host = await pair.host("host");
  expect(await pair.active.end("SIGTERM")).toBe(0);
  await waitFor("the standby is active", () => hasBecome(pair.standby, "scheduler active"));
  await request(host, 3);
  await waitFor("its grant", () => host.leases[0]);
});

test("a standby that is told to stop ends, and the active scheduler goes on", async () => {
  await using pair = await startPair(NEVER);
  const host = await pair.host("host");
  expect(await pair.standby.end("SIGTERM")).toBe(0);
  await request(host, 3);
  await waitFor("a grant", () => host.leases[0]);
});

test("an owner that was paused longer than its lease appends nothing, writes nothing and is refused by hosts", async () => {
  // On a machine that does much else the new owner must not be late itself: then it would be replaced in its turn, and rightly.
  await using pair = await startPair({}, NEVER);
  const host = await pair.host("host");
  await request(host, 5);
  await waitFor("a lease of the first owner", () => host.leases[0]);
  const [oldEpoch] = await pair.epochs();

  pair.active.child.kill("SIGSTOP");
  await waitFor("the standby is active", () => hasBecome(pair.standby, "scheduler active"));
  for (let slice = 20; slice < 30; slice++) await request(host, slice);
  await waitFor("leases of the new owner", () => host.leases.length > 10);
  const [newEpoch] = await pair.epochs();
  pair.active.child.kill("SIGCONT");
  await waitFor("the old owner stands by", () => hasBecome(pair.active, "standing by"));
  await request(host, 30);
  await waitFor("a lease after that", () => host.leases.length > 11);

  const log = await decisionsInLog(pair.hosts);
  const lateMessages = log.filter((message, at) =>
    log
      .slice(0, at)
      .some((former) => former.slice === message.slice && former.epoch > message.epoch),
  );
  expect(newEpoch).toBeGreaterThan(oldEpoch ?? 0);
  expect(lateMessages).toEqual([]);
  expect(new Set(host.refusedEpochs).size).toBeLessThan(2);
  const later = host.leases.filter((lease) => lease.taskId !== taskIdOfSlice(5));
  expect(later.map((lease) => lease.leaseId.split("-")[1])).toEqual(later.map(() => `${newEpoch}`));
  const row = z.object({ epoch: z.number() });
  await waitFor("the new owner's rows", async () => {
    const rows = await pair.sql.rows(row, "SELECT DISTINCT epoch::int FROM checkpoints");
    return rows.length === 1 && rows[0]?.epoch === newEpoch;
  });
  expect(hasBecome(pair.standby, "projection fenced")).toBe(false);
  expect(hasBecome(pair.standby, "slice fenced")).toBe(false);
});

test("an owner whose database is down goes on granting, no standby takes over, and SQL catches up under the same epoch", async () => {
  await using pair = await startPair();
  const host = await pair.host("host");
  const [epoch] = await pair.epochs();
  await postgres.stop();
  try {
    await waitFor("it cannot renew", () => hasBecome(pair.active, "ownership not renewed"));
    await request(host, 7);
    await waitFor("a lease without a database", () => host.leases[0]);
    await waitFor("the standby cannot look", () => hasBecome(pair.standby, "port failing"));
  } finally {
    await postgres.start();
  }
  await waitFor("it renews again", () => hasBecome(pair.active, "ownership renewed again"));
  await using sql = await connectSql(pair.databaseUrl);
  const count = z.object({ count: z.coerce.number() });
  await waitFor("the lease is in SQL", async () => {
    const [row] = await sql.rows(count, "SELECT count(*) FROM leases");
    return row?.count === 1;
  });

  expect(host.leases[0]?.leaseId).toContain(`-${epoch}-`);
  expect(hasBecome(pair.active, "session ended")).toBe(false);
  expect(hasBecome(pair.standby, "scheduler active")).toBe(false);
});
