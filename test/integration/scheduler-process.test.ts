import { writeFile } from "node:fs/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { FakeHost, grantsInLog } from "../support/scheduler-cluster.ts";
import { forkScheduler, startSchedulerProcess } from "../support/scheduler-process.ts";
import {
  announcement,
  bitmapOf,
  description,
  digestsOf,
  requestBy,
  taskIdOfSlice,
} from "../support/scheduler-world.ts";
import { connectSql } from "../support/sql.ts";
import { makeTempDir, type TempDir } from "../support/temp-dir.ts";
import { waitFor } from "../support/wait-for.ts";

const ALL = [0, 1, 2, 3];
const TASK = taskIdOfSlice(21);

let nats: TestNats;
let postgres: TestPostgres;
let dir: TempDir;
let databaseUrl: string;
let hosts: NatsConnection;
beforeAll(async () => {
  nats = await startTestNats();
  postgres = await startTestPostgres();
  databaseUrl = await postgres.createMigratedDatabase();
  dir = await makeTempDir("scheduler");
  await writeFile(dir.join("secret"), "0123456789abcdef0123456789abcdef\n");
  hosts = await nats.connect();
});
afterAll(async () => {
  await nats[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await dir[Symbol.asyncDispose]();
});

const start = () =>
  startSchedulerProcess({
    natsUrl: nats.url,
    databaseUrl,
    secretFile: dir.join("secret"),
    env: { LACEWING_SCHEDULER_OWNERSHIP_MS: "2000" },
  });

test("a scheduler process that is killed is followed by one that knows all of it, and SQL agrees", async () => {
  await using first = await start();
  const parent = new FakeHost("parent", hosts);
  const child = new FakeHost("child", hosts);
  for (const host of [parent, child]) {
    await host.publish("host", [{ $case: "hostAnnounced", value: announcement(host.hostId, {}) }]);
  }
  const request = (host: FakeHost) =>
    host.publish(21, [{ $case: "taskRequested", value: requestBy(host.hostId, { taskId: TASK }) }]);
  const hold = (host: FakeHost, pieces: readonly number[]) =>
    host.publish(21, [
      { $case: "taskDescribed", value: description({ taskId: TASK }) },
      {
        $case: "piecesAvailable",
        value: {
          taskId: TASK,
          incarnation: 1,
          bitmap: bitmapOf(pieces),
          digests: digestsOf(pieces),
          leasesEnded: [],
        },
      },
    ]);
  await request(parent);
  await waitFor("the open lease", () => parent.leases[0]);
  await hold(parent, [0, 1]);
  await request(child);
  await waitFor("the child's lease", () => child.leases[0]);

  await first.end("SIGKILL");
  await hold(parent, ALL);
  await using second = await start();
  await waitFor("the rest is leased", () =>
    child.leases.some((lease) => lease.pieces.some((range) => range.start === 2)),
  );
  await hold(child, ALL);

  await using sql = await connectSql(databaseUrl);
  const rows = await waitFor("both leases of the child ended well", async () => {
    const found = await sql.rows(
      z.object({ pieces: z.string(), outcome: z.string() }),
      "SELECT pieces, outcome FROM leases WHERE child_host_id = 'child' ORDER BY pieces",
    );
    return found.every((row) => row.outcome === "finished") && found.length === 2 && found;
  });
  const grants = (await grantsInLog(hosts)).filter((grant) => grant.childHostId === "child");
  expect(rows.map((row) => row.pieces)).toEqual(["0:2", "2:2"]);
  expect(grants).toHaveLength(2);
  expect(await second.end("SIGTERM")).toBe(0);
});

test("a scheduler that is told to stop while nothing answers ends at once", async () => {
  await using scheduler = forkScheduler({
    natsUrl: "nats://127.0.0.1:1",
    databaseUrl: "postgres://lacewing@127.0.0.1:1/lacewing",
    secretFile: dir.join("secret"),
  });
  await waitFor("it starts", () =>
    scheduler.entries.some((entry) => entry.event === "scheduler starting"),
  );
  expect(await scheduler.end("SIGTERM")).toBe(0);
});
