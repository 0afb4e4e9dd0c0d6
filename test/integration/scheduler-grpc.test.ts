import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { credentials, status } from "@grpc/grpc-js";
import {
  type Explanation,
  SchedulerClient,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { answerOf, healthOf, reflectedFile, reflectedServices } from "../support/grpc-calls.ts";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { FakeHost } from "../support/scheduler-cluster.ts";
import { schedulerProgram } from "../support/scheduler-process.ts";
import {
  announcement,
  bitmapOf,
  description,
  digestsOf,
  MIB,
  requestBy,
  taskIdOfSlice,
} from "../support/scheduler-world.ts";
import { makeTempDir, type TempDir } from "../support/temp-dir.ts";
import { waitFor } from "../support/wait-for.ts";

const SLICE = 21;
const TASK = taskIdOfSlice(SLICE);
const ALL = [0, 1, 2, 3];
const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT = `00-${TRACE_ID}-00f067aa0ba902b7-01`;
const ready = z.object({ addresses: z.object({ grpc: z.string() }) });

/**
 * One story told to a real scheduler on real servers: "parent" opens the origin and reads all of it, "child" gets the first half of
 * it from the parent, fails a piece, and finishes its download; "waiting" wants it while the parent is stopped.
 */
let nats: TestNats;
let postgres: TestPostgres;
let dir: TempDir;
let databaseUrl: string;
let hosts: NatsConnection;
let active: Started;
let client: SchedulerClient;
let originLeaseId: string;
let peerLeaseId: string;

interface Started {
  readonly process: ChildProcess;
  readonly address: string;
}

beforeAll(async () => {
  nats = await startTestNats();
  postgres = await startTestPostgres();
  databaseUrl = await postgres.createMigratedDatabase();
  dir = await makeTempDir("scheduler-grpc");
  await writeFile(dir.join("secret"), "0123456789abcdef0123456789abcdef\n");
  hosts = await nats.connect();
  active = await startProcess();
  client = new SchedulerClient(active.address, credentials.createInsecure());
  await tellTheStory();
});
afterAll(async () => {
  client?.close();
  active?.process.kill("SIGKILL");
  await nats?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
  await dir?.[Symbol.asyncDispose]();
});

async function startProcess(): Promise<Started> {
  const child = fork(schedulerProgram(), {
    env: {
      LACEWING_NATS_URL: nats.url,
      LACEWING_DATABASE_URL: databaseUrl,
      LACEWING_CLUSTER_SECRET_FILE: dir.join("secret"),
      LACEWING_SCHEDULER_GRPC_ADDRESS: "127.0.0.1:0",
    },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const ended = once(child, "exit").then(() => {
    throw new Error("the scheduler ended before it was ready");
  });
  const messages: unknown = await Promise.race([once(child, "message"), ended]);
  return {
    process: child,
    address: z.tuple([ready]).rest(z.unknown()).parse(messages)[0].addresses.grpc,
  };
}

async function tellTheStory(): Promise<void> {
  const parent = new FakeHost("parent", hosts);
  const child = new FakeHost("child", hosts);
  const waiting = new FakeHost("waiting", hosts);
  for (const host of [parent, child, waiting]) {
    await host.publish("host", [{ $case: "hostAnnounced", value: announcement(host.hostId, {}) }]);
  }
  await ask(parent, true);
  originLeaseId = (await waitFor("the open lease", () => parent.leases[0])).leaseId;
  await hold(parent, ALL, [{ leaseId: originLeaseId, bytes: 4 * MIB, durationMs: 400 }]);
  await end(parent, { localPeer: 0, remotePeer: 0, backToSource: 4 * MIB });
  await ask(child, false);
  peerLeaseId = (await waitFor("the child's lease", () => child.leases[0])).leaseId;
  await child.publish(SLICE, [
    {
      $case: "piecesFailed",
      value: {
        taskId: TASK,
        leaseId: peerLeaseId,
        parentHostId: "parent",
        pieceIndexes: [3],
        reason: "stalled",
        detail: "no byte for 10 s",
        bytes: 3 * MIB,
        durationMs: 100,
        retryAfterMs: 0,
      },
    },
  ]);
  await hold(child, [0, 1, 2], []);
  const second = await waitFor("the failed piece again", () => child.leases[1]);
  await hold(child, ALL, [{ leaseId: second.leaseId, bytes: MIB, durationMs: 20 }]);
  await end(child, { localPeer: 0, remotePeer: 4 * MIB, backToSource: 0 });
  for (const host of [parent, child])
    await host.publish("host", [{ $case: "hostLeft", value: {} }]);
  await ask(waiting, false);
  await waitFor("its answer", () => waiting.kindsHeard().includes("pending"));
  await waitFor("the projection", async () => {
    const { subject } = await explain("download-of-child");
    const peers = await answerOf<{ peers: unknown[] }>((callback) =>
      client.listPeers({ taskId: TASK, pageSize: 0, pageToken: "" }, callback),
    );
    return subject !== undefined && peers.peers.length === 3;
  });
}

/** When each host's client asked. */
const askedAtMs = new Map<string, number>();

async function ask(host: FakeHost, canReadOrigin: boolean): Promise<void> {
  askedAtMs.set(host.hostId, Date.now());
  const value = requestBy(host.hostId, {
    taskId: TASK,
    requestId: `download-of-${host.hostId}`,
    canReadOrigin,
  });
  await host.publish(SLICE, [{ $case: "taskRequested", value }], TRACEPARENT);
}

async function hold(
  host: FakeHost,
  pieces: readonly number[],
  leasesEnded: { leaseId: string; bytes: number; durationMs: number }[],
): Promise<void> {
  await host.publish(SLICE, [
    { $case: "taskDescribed", value: description({ taskId: TASK }) },
    {
      $case: "piecesAvailable",
      value: {
        taskId: TASK,
        incarnation: 1,
        bitmap: bitmapOf(pieces),
        digests: digestsOf(pieces),
        leasesEnded,
      },
    },
  ]);
}

async function end(
  host: FakeHost,
  bytes: { localPeer: number; remotePeer: number; backToSource: number },
): Promise<void> {
  await host.publish(SLICE, [
    {
      $case: "downloadFinished",
      value: {
        downloadId: `download-of-${host.hostId}`,
        taskId: TASK,
        url: "https://origin.example/file",
        method: "GET",
        tag: "",
        application: "lfs",
        priority: 0,
        startedAtMs: askedAtMs.get(host.hostId) ?? Number.NaN,
        ttfbMs: 3,
        costMs: Date.now() - (askedAtMs.get(host.hostId) ?? Number.NaN),
        outcome: "finished",
        httpStatus: 200,
        fetched: bytes,
        delivered: bytes,
        probeBytes: 0,
        contentLengthBytes: 4 * MIB,
        range: "",
        degraded: false,
        traceId: host.hostId === "child" ? TRACE_ID : "",
        error: "",
        requestCount: 0,
      },
    },
  ]);
}

function explain(id: string): Promise<Explanation> {
  return answerOf((callback) => client.explain({ id }, callback));
}

describe("Explain", () => {
  test("of a lease says who gave what to whom, why, what came of it, and on which facts it rested", async () => {
    const told = await explain(peerLeaseId);
    expect(told.isLive).toBe(true);
    expect(told.notes).toEqual([]);
    if (told.subject?.$case !== "lease") throw new Error("not a lease");
    const { lease, position, parent, child } = told.subject.value;
    expect(lease).toMatchObject({
      childHostId: "child",
      parentHostId: "parent",
      pieces: [{ start: 0, count: 4 }],
      candidateCount: 1,
      outcome: "stalled",
      bytes: 3 * MIB,
      bytesPerSecond: 30 * MIB,
      traceId: TRACE_ID,
    });
    expect([parent?.state, child?.transferAddress]).toEqual(["left", "child:7000"]);
    expect(position?.eventsSequence).toBeGreaterThan(0);
    expect(position?.decisionsSequence).toBeGreaterThan(0);
    expect(told.verdict).toMatch(
      /^child was given pieces 0–3 from parent \(.+\); it ended early \(stalled\), 3 MiB arrived/,
    );
  });

  test("of a download says where its bytes came from, which leases fed it, and what failed", async () => {
    const told = await explain("download-of-child");
    expect(told.verdict).toBe("All of it came from parent, nothing from the origin.");
    if (told.subject?.$case !== "download") throw new Error("not a download");
    const { leases, story } = told.subject.value;
    expect(leases.map((lease) => [lease.leaseId === peerLeaseId, lease.outcome])).toEqual([
      [true, "stalled"],
      [false, "finished"],
    ]);
    expect(story.map((event) => event.kind)).toEqual(
      expect.arrayContaining(["requested", "granted", "failed", "ended", "downloaded"]),
    );
    expect(story.find((event) => event.kind === "failed")?.text).toBe(
      "child did not get piece 3 from parent: stalled (no byte for 10 s)",
    );
  });

  test("takes a trace id for the download that has it", async () => {
    const told = await explain(TRACE_ID);
    if (told.subject?.$case !== "download") throw new Error("not a download");
    expect(told.subject.value.download?.downloadId).toBe("download-of-child");
  });

  test("of a download from the origin names the reason of the lease it was read under", async () => {
    const told = await explain("download-of-parent");
    expect(told.verdict).toBe(
      "100 % came from the origin because nobody had described the content yet when it asked for pieces 0–3.",
    );
  });

  test("of a task tells who holds it, who waits and why now, and its story in order", async () => {
    const told = await explain(TASK.slice(0, 12));
    if (told.subject?.$case !== "task") throw new Error("not a task");
    const { peers, completePeerCount, originCopies, waits, story, totals } = told.subject.value;
    expect(peers.map((peer) => [peer.hostId, peer.heldPieceCount])).toEqual([
      ["child", 4],
      ["parent", 4],
      ["waiting", 0],
    ]);
    expect([completePeerCount, originCopies]).toEqual([2, 1]);
    expect(totals).toMatchObject({ leaseCount: 3, failedLeaseCount: 1 });
    expect(waits).toMatchObject([
      {
        hostId: "waiting",
        wantedPieceCount: 4,
        passedOver: [{ reason: "stopped", count: 2, hostIds: ["parent", "child"] }],
      },
    ]);
    expect(waits[0]?.reason).not.toBe("");
    const kinds = story.map((event) => event.kind);
    expect(kinds.slice(0, 4)).toEqual(["requested", "created", "granted", "described"]);
    expect(story.map((event) => event.atMs)).toEqual(
      story.map((event) => event.atMs).toSorted((a, b) => a - b),
    );
    expect(told.verdict).toContain("waiting because");
  });

  test("refuses what names nothing with a sentence, and what is no id as such", async () => {
    await expect(explain("63-1-1")).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: "no lease, task, download or trace 63-1-1 is known",
    });
    await expect(explain("../x")).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    await expect(explain("x".repeat(9_000))).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
  });
});

describe("lists", () => {
  test("page through hosts by their id", async () => {
    const list = (pageToken: string) =>
      answerOf<{ hosts: { hostId: string; state: string }[]; nextPageToken: string }>((callback) =>
        client.listHosts({ pageSize: 2, pageToken }, callback),
      );
    const first = await list("");
    const second = await list(first.nextPageToken);
    expect([...first.hosts, ...second.hosts].map((host) => [host.hostId, host.state])).toEqual([
      ["child", "left"],
      ["parent", "left"],
      ["waiting", "alive"],
    ]);
    expect(second.nextPageToken).toBe("");
  });

  test("give tasks of a state, and peers with a map of what each holds", async () => {
    const tasks = await answerOf<{ tasks: { taskId: string; pieceCount: number }[] }>((callback) =>
      client.listTasks({ pageSize: 0, pageToken: "", state: "active" }, callback),
    );
    expect(tasks.tasks).toMatchObject([{ taskId: TASK, pieceCount: 4 }]);
    const peers = await answerOf<{ peers: { hostId: string; bitmap: Uint8Array }[] }>((callback) =>
      client.listPeers({ taskId: TASK, pageSize: 0, pageToken: "" }, callback),
    );
    expect(peers.peers.map((peer) => [peer.hostId, [...peer.bitmap]])).toEqual([
      ["child", [0b1111]],
      ["parent", [0b1111]],
      ["waiting", [0]],
    ]);
  });

  test("refuse pages that are too large, tokens that are none, and states that are none", async () => {
    const hostsAt = (pageSize: number, pageToken: string) =>
      answerOf((callback) => client.listHosts({ pageSize, pageToken }, callback));
    const tasksOf = (state: string) =>
      answerOf((callback) => client.listTasks({ pageSize: 0, pageToken: "", state }, callback));
    for (const refused of [hostsAt(1_001, ""), hostsAt(1, "' or 1=1"), tasksOf("gone")]) {
      await expect(refused).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    }
  });
});

test("the health service knows the process and its API", async () => {
  expect(await healthOf(active.address, "")).toBe(1);
  expect(await healthOf(active.address, "lacewing.scheduler.v1.Scheduler")).toBe(1);
});

test("reflection tells a tool that knows nothing of it which services and messages there are", async () => {
  for (const version of ["v1", "v1alpha"] as const) {
    expect(await reflectedServices(active.address, version)).toEqual(
      expect.arrayContaining(["lacewing.scheduler.v1.Scheduler", "grpc.health.v1.Health"]),
    );
  }
  const file = await reflectedFile(active.address, "lacewing.scheduler.v1.Scheduler");
  for (const name of ["ExplainRequest", "ListPeersResponse", "PassedOver"])
    expect(file.includes(name)).toBe(true);
});

test("a scheduler that stands by explains from stored facts, and says that it does", async () => {
  const standby = await startProcess();
  const other = new SchedulerClient(standby.address, credentials.createInsecure());
  try {
    const told = await answerOf<Explanation>((callback) => other.explain({ id: TASK }, callback));
    expect(told.isLive).toBe(false);
    expect(told.notes.join()).toContain("stored facts");
    if (told.subject?.$case !== "task") throw new Error("not a task");
    expect(told.subject.value.completePeerCount).toBe(2);
    expect(told.subject.value.waits).toEqual([]);
  } finally {
    other.close();
    standby.process.kill("SIGKILL");
  }
});
