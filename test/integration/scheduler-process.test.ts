import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { FakeHost, grantsInLog } from "../support/scheduler-cluster.ts";
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

const MAIN = fileURLToPath(import.meta.resolve("@lacewing/scheduler/main.ts"));
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

async function startProcess(): Promise<ChildProcess> {
  const child = fork(MAIN, {
    env: {
      LACEWING_NATS_URL: nats.url,
      LACEWING_DATABASE_URL: databaseUrl,
      LACEWING_CLUSTER_SECRET_FILE: dir.join("secret"),
      LACEWING_SCHEDULER_GRPC_ADDRESS: "127.0.0.1:0",
      LACEWING_SCHEDULER_OWNERSHIP_MS: "2000",
    },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  await once(child, "message");
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<unknown> {
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
  return child.exitCode;
}

test("a scheduler process that is killed is followed by one that knows all of it, and SQL agrees", async () => {
  const first = await startProcess();
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

  await end(first, "SIGKILL");
  await hold(parent, ALL);
  const second = await startProcess();
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
  expect(await end(second, "SIGTERM")).toBe(0);
});
