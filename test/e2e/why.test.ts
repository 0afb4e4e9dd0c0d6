import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { runLacewing } from "../support/command-line.ts";
import { seededContent } from "../support/content.ts";
import { type DownloadRow, waitForDownloads } from "../support/download-rows.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet } from "../support/http.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import type { LfsObject } from "../support/lfs-origin.ts";
import { failureOf } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

/**
 * Goal: whoever wonders about a download that is over gets the answer from one command, whatever he has at hand: the trace in the
 * log, the task in `lacewing ls`, a lease in SQL; also when the scheduler is gone.
 *
 * Method: one cluster of real processes, one object downloaded on two hosts; the tests run in order, the last one ends the scheduler.
 */
let world: World;
let object: LfsObject;
let first: DownloadRow;
let second: DownloadRow;

beforeAll(async () => {
  world = await startWorld({ seedPeers: 0 });
  object = await world.origin.addObject(seededContent("why", 5 * 2 ** 20));
  for (const hostId of ["peer-1", "peer-2"]) {
    const url = await signedUrlOf(world.origin, object.oid);
    const answer = await httpGet(url, { proxyUrl: world.peer(hostId).proxyUrl });
    if (answer.sha256 !== object.oid) throw new Error(`${hostId} delivered other bytes`);
  }
  const rows = await waitForDownloads(world, object.oid, 2);
  const rowOf = (hostId: string) =>
    z.custom<DownloadRow>().parse(rows.find((row) => row.hostId === hostId));
  first = rowOf("peer-1");
  second = rowOf("peer-2");
  await waitFor("the leases to end in SQL", async () => {
    const live = await world.rows(z.object({}), "select 1 from leases where outcome = 'live'");
    return live.length === 0;
  });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

async function lacewing(...args: string[]): Promise<string> {
  const result = await runLacewing({
    args: [...args, "--data", world.dir.join("cluster")],
    home: world.dir.join("home"),
  });
  expect(failureOf(result)).toBe("");
  return result.stdout;
}

test("the first download, by its id: it came from the origin, and why nobody else had it", async () => {
  const told = await lacewing("why", first.downloadId);
  expect(told).toMatch(/^100 % came from the origin because (nobody|no copy) /);
  expect(told).toContain("delivered    5 MiB: origin 100 %");
  expect(told).toMatch(/origin +│ 0–4 /);
});

test("the second download, by the trace in its log line: from which host, under which leases", async () => {
  const told = await lacewing("why", second.traceId);
  expect(told).toContain("All of it came from peer-1, nothing from the origin.");
  expect(told).toContain(`/trace/${second.traceId}`);
  expect(told).toMatch(/What happened since .+:\n/);
});

test("the task, by its first digits: who holds it and its story; for programs as JSON", async () => {
  const taskId = second.taskId ?? "";
  const told = await lacewing("why", taskId.slice(0, 12));
  expect(told).toContain("2 hosts of 2 hold all of it; 1.00 copies were read from the origin");
  expect(told).toMatch(/peer-1 +100 % █{5}\n +peer-2 +100 % █{5}/);
  for (const kind of ["requested", "described", "granted", "ended", "downloaded"])
    expect(told).toMatch(new RegExp(`^ +\\+.+ ${kind} `, "m"));
  const asJson = z
    .object({ isLive: z.literal(true), subject: z.object({ $case: z.literal("task") }) })
    .parse(JSON.parse(await lacewing("why", `sha256:${object.oid}`, "--json")));
  expect(asJson.isLive).toBe(true);
});

test("a lease, by its id in SQL: parent, child, pieces, reason and outcome", async () => {
  const [lease] = await world.rows(
    z.object({ lease_id: z.string() }),
    "select lease_id from leases where child_host_id = 'peer-2' order by granted_at limit 1",
  );
  const told = await lacewing("why", lease?.lease_id ?? "");
  expect(told).toMatch(/^peer-2 was given .+ from peer-1 \(.+\); .+ arrived in /);
  expect(told).toMatch(/rested on +event \d+ of LACEWING_EVENTS/);
});

test("hosts, tasks and peers are lists of the same", async () => {
  expect(await lacewing("hosts")).toMatch(/peer-1 .+ alive [\s\S]+peer-2 .+ alive /);
  expect(await lacewing("tasks")).toContain((second.taskId ?? "").slice(0, 12));
  expect(await lacewing("peers", (second.taskId ?? "").slice(0, 12))).toMatch(
    /^peer-1 +100 % +█{5}.*\npeer-2 +100 % +█{5}/,
  );
});

test("what names nothing is an error that says where ids stand", async () => {
  const result = await runLacewing({
    args: ["why", "63-1-1", "--data", world.dir.join("cluster")],
    home: world.dir.join("home"),
  });
  expect(result.exitCode).toBe(1);
  expect(result.stderr).toMatch(
    /no lease, task, download or trace 63-1-1 is known\n.*lacewing tasks/,
  );
});

test("without a scheduler the database answers, and says so", async () => {
  const result = await runLacewing({
    args: [
      "why",
      second.downloadId,
      "--scheduler",
      "127.0.0.1:1",
      "--database",
      world.cluster.file.databaseUrl,
    ],
    home: world.dir.join("home"),
  });
  expect(failureOf(result)).toBe("");
  expect(result.stderr).toContain("no scheduler answers at 127.0.0.1:1");
  expect(result.stdout).toMatch(/delivered_remote_peer_bytes +5242880/);
  const alone = await runLacewing({
    args: ["why", second.traceId, "--database", world.cluster.file.databaseUrl],
    home: world.dir.join("home"),
  });
  expect(alone.stdout).toBe(result.stdout);
  expect(result.stdout).toMatch(/Leases, newest first:\n {2}\S+: peer-2 from peer-1, pieces /);
});
