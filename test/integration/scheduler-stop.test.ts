import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { FakeHost } from "../support/scheduler-cluster.ts";
import {
  forkScheduler,
  type SchedulerProcess,
  startSchedulerProcess,
} from "../support/scheduler-process.ts";
import { announcement } from "../support/scheduler-world.ts";
import { makeTempDir, type TempDir } from "../support/temp-dir.ts";
import { waitFor } from "../support/wait-for.ts";

/** The last flush 3 s, the slices 2 s, questions and connections 1 s each: a supervisor that waits for ten, as docker does, need not kill. */
const STOP_MS_MAX = 8_500;
/** Nothing to write: the slices 2 s, questions and connections 1 s each. */
const STOP_UNDECIDED_MS_MAX = 5_500;
const RENEWAL_MS = 200;
const ENV = {
  LACEWING_SCHEDULER_RENEWAL_MS: `${RENEWAL_MS}`,
  LACEWING_SCHEDULER_FLUSH_MS: "100",
};

let nats: TestNats;
let postgres: TestPostgres;
let dir: TempDir;
beforeAll(async () => {
  nats = await startTestNats();
  postgres = await startTestPostgres();
  dir = await makeTempDir("scheduler-stop");
  await writeFile(dir.join("secret"), "0123456789abcdef0123456789abcdef\n");
});
afterAll(async () => {
  await nats[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await dir[Symbol.asyncDispose]();
});

const settingsFor = (databaseUrl: string) => ({
  natsUrl: nats.url,
  databaseUrl,
  secretFile: dir.join("secret"),
  env: ENV,
});

function has(scheduler: SchedulerProcess, event: string): boolean {
  return scheduler.entries.some((entry) => entry.event === event);
}

/** @returns how it ended, and how long that took. */
async function stopped(scheduler: SchedulerProcess) {
  const askedAtMs = performance.now();
  const exitCode = await scheduler.end("SIGTERM");
  return { exitCode, ms: performance.now() - askedAtMs };
}

test("an active scheduler whose PostgreSQL is frozen stops within seconds, and says what it left", async () => {
  await using scheduler = await startSchedulerProcess(
    settingsFor(await postgres.createMigratedDatabase()),
  );
  await waitFor("it is active", () => has(scheduler, "scheduler active"));
  const host = new FakeHost("host", await nats.connect());
  using _frozen = await postgres.freeze();
  await host.publish("host", [{ $case: "hostAnnounced", value: announcement("host", {}) }]);
  // A renewal and a flush are under way then.
  await sleep(RENEWAL_MS * 5);

  const { exitCode, ms } = await stopped(scheduler);

  expect(exitCode).toBe(0);
  expect(ms).toBeLessThan(STOP_MS_MAX);
  for (const event of [
    "last flush given up",
    "ownership not released",
    "postgres connections broken off",
    "scheduler stopped",
  ])
    expect(scheduler.entries.map((entry) => entry.event)).toContain(event);
});

test("a standby whose PostgreSQL is frozen stops within seconds", async () => {
  const settings = settingsFor(await postgres.createMigratedDatabase());
  await using active = await startSchedulerProcess(settings);
  await waitFor("one is active", () => has(active, "scheduler active"));
  await using standby = await startSchedulerProcess(settings);
  await waitFor("the other one stands by", () => has(standby, "standing by"));
  using _frozen = await postgres.freeze();
  await sleep(RENEWAL_MS * 5);

  const { exitCode, ms } = await stopped(standby);

  expect(exitCode).toBe(0);
  expect(ms).toBeLessThan(STOP_UNDECIDED_MS_MAX);
  expect(has(standby, "scheduler stopped")).toBe(true);
});

test("a scheduler that finds PostgreSQL frozen is stopped within seconds before it is ready", async () => {
  const databaseUrl = await postgres.createMigratedDatabase();
  using _frozen = await postgres.freeze();
  await using scheduler = forkScheduler(settingsFor(databaseUrl));
  await waitFor("it starts", () => has(scheduler, "scheduler starting"));
  await sleep(1_000);

  const { exitCode, ms } = await stopped(scheduler);

  expect(exitCode).toBe(0);
  expect(ms).toBeLessThan(STOP_UNDECIDED_MS_MAX);
});
