import { startTracing } from "@lacewing/observability/sdk/start-tracing.ts";
import { SERVICE } from "@lacewing/observability/semconv.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { NatsConnection } from "@nats-io/transport-node";
import {
  FakeHost,
  grantsInLog,
  startTestScheduler,
  type TestScheduler,
} from "../support/scheduler-cluster.ts";
import { MemoryProjection } from "../support/memory-projection.ts";
import { startTestNats, type TestNats } from "../support/nats.ts";
import {
  announcement,
  bitmapOf,
  description,
  digestsOf,
  requestBy,
  taskIdOfSlice,
} from "../support/scheduler-world.ts";
import { waitFor } from "../support/wait-for.ts";

const ALL = [0, 1, 2, 3];

let nats: TestNats;
let hosts: NatsConnection;
beforeAll(async () => {
  nats = await startTestNats();
  hosts = await nats.connect();
});
afterAll(async () => {
  await nats[Symbol.asyncDispose]();
});

async function announce(host: FakeHost): Promise<void> {
  await host.publish("host", [{ $case: "hostAnnounced", value: announcement(host.hostId, {}) }]);
}

/** That it is alive, without what it holds: the scheduler has to ask for that. */
async function announceShortly(host: FakeHost): Promise<void> {
  const value = announcement(host.hostId, { full: false });
  await host.publish("host", [{ $case: "hostAnnounced", value }]);
}

async function request(host: FakeHost, slice: number): Promise<void> {
  const taskId = taskIdOfSlice(slice);
  const requestId = `request-${slice}-of-${host.hostId}`;
  await host.publish(slice, [
    { $case: "taskRequested", value: requestBy(host.hostId, { taskId, requestId }) },
  ]);
}

async function hold(host: FakeHost, slice: number, pieces: readonly number[]): Promise<void> {
  const taskId = taskIdOfSlice(slice);
  await host.publish(slice, [
    { $case: "taskDescribed", value: description({ taskId }) },
    {
      $case: "piecesAvailable",
      value: {
        taskId,
        incarnation: 1,
        bitmap: bitmapOf(pieces),
        digests: digestsOf(pieces),
        leasesEnded: [],
      },
    },
  ]);
}

/** Errors need a person; nothing that these tests do to it does. */
function errorsOf(scheduler: TestScheduler) {
  return scheduler.log.entries.filter((entry) => entry.level === "error");
}

test("a second host gets the pieces that the first one read from the origin", async () => {
  const projection = new MemoryProjection();
  const scheduler = await startTestScheduler(await nats.connect(), {
    store: projection,
    ownership: projection,
  });
  await scheduler.isLive;
  const first = new FakeHost("first", hosts);
  const second = new FakeHost("second", hosts);
  await announce(first);
  await announce(second);

  await request(first, 5);
  const open = await waitFor("the open lease", () => first.leases[0]);
  await request(second, 5);
  await waitFor("the other host is told to wait", () => second.kindsHeard().includes("pending"));
  await hold(first, 5, ALL);
  const lease = await waitFor("the lease from the first host", () => second.leases[0]);

  expect(open).toMatchObject({ open: true, parentHostId: "", token: "" });
  expect(lease).toMatchObject({
    parentHostId: "first",
    parentAddress: "first:7000",
    pieces: [{ start: 0, count: 4 }],
    lengthBytes: 4 * 2 ** 20,
    requestId: "request-5-of-second",
  });
  expect(lease.pieceDigests).toHaveLength(4 * 32);
  expect(lease.token).not.toBe("");
  await waitFor(
    "the lease is projected",
    () => projection.leases.get(lease.leaseId)?.outcome === "live",
  );
  expect(errorsOf(scheduler)).toEqual([]);
  await scheduler.stop();
});

test("a scheduler that is killed and another that follows it grant no piece twice", async () => {
  const projection = new MemoryProjection();
  const doomed = await startTestScheduler(await nats.connect(), {
    store: projection,
    ownership: projection,
  });
  await doomed.isLive;
  const parent = new FakeHost("parent", hosts);
  const child = new FakeHost("child", hosts);
  await announce(parent);
  await announce(child);
  await request(parent, 9);
  await waitFor("the open lease", () => parent.leases[0]);
  await hold(parent, 9, [0, 1]);
  await request(child, 9);
  const before = await waitFor("the child's lease", () => child.leases[0]);

  await doomed.kill();
  await request(child, 9);
  await hold(parent, 9, ALL);
  projection.expireOwnership();
  const successor = await startTestScheduler(await nats.connect(), {
    store: projection,
    ownership: projection,
  });
  await successor.isLive;
  await waitFor("the rest is leased", () =>
    child.leases.some((lease) => lease.pieces.some((range) => range.start === 2)),
  );

  const again = child.leases.filter((lease) => lease.leaseId === before.leaseId);
  const grants = (await grantsInLog(hosts)).filter((grant) => grant.childHostId === "child");
  expect(again.length).toBeGreaterThan(1);
  expect(grants.map((grant) => grant.pieces)).toEqual([
    [{ start: 0, count: 2 }],
    [{ start: 2, count: 2 }],
  ]);
  expect(errorsOf(successor)).toEqual([]);
  await successor.stop();
});

test("after the broker was killed and is back, requests are answered again", async () => {
  const projection = new MemoryProjection();
  const scheduler = await startTestScheduler(await nats.connect(), {
    store: projection,
    ownership: projection,
  });
  await scheduler.isLive;
  const host = new FakeHost("survivor", hosts);
  await announce(host);
  await request(host, 11);
  await waitFor("the first lease", () => host.leases[0]);

  await nats.restart();
  await waitFor(
    "a request is stored and answered",
    async () => {
      await announce(host);
      await request(host, 12);
      return host.leases.some((lease) => lease.taskId === taskIdOfSlice(12));
    },
    { intervalMs: 500 },
  );

  expect(host.leases.map((lease) => lease.open)).toContain(true);
  expect(errorsOf(scheduler)).toEqual([]);
  await scheduler.stop();
});

test("after the broker came back without its store, requests are answered again", async () => {
  await using broker = await startTestNats();
  const projection = new MemoryProjection();
  const scheduler = await startTestScheduler(await broker.connect(), {
    store: projection,
    ownership: projection,
  });
  await scheduler.isLive;
  const host = new FakeHost("witness", await broker.connect());
  await announce(host);
  await request(host, 13);
  await waitFor("the lease is projected", () => projection.leases.size > 0);

  await broker.restart({ isWiped: true });
  await waitFor(
    "a request is stored and answered",
    async () => {
      await announceShortly(host);
      await request(host, 14);
      return host.leases.some((lease) => lease.taskId === taskIdOfSlice(14));
    },
    { intervalMs: 500 },
  );

  // The first question may be sent while the host is not back yet; its next announce has it asked again.
  await waitFor("the host is asked for everything", async () => {
    await announceShortly(host);
    return host.kindsHeard().includes("announceFull");
  });
  expect(errorsOf(scheduler)).toEqual([]);
  await scheduler.stop();
});

test("a message that cannot be read is parked, and the slice goes on", async () => {
  const projection = new MemoryProjection();
  const scheduler = await startTestScheduler(await nats.connect(), {
    store: projection,
    ownership: projection,
  });
  await scheduler.isLive;
  const host = new FakeHost("clumsy", hosts);
  await announce(host);
  await host.publish(3, [
    {
      $case: "taskRequested",
      value: requestBy("clumsy", { taskId: taskIdOfSlice(4), requestId: "strange" }),
    },
  ]);
  await request(host, 3);
  await waitFor("the lease that follows", () => host.leases[0]);
  await waitFor("the dead letter", () => projection.deadLetters.length > 0);

  expect(projection.deadLetters[0]?.reason).toContain("task of slice 4 on slice 3");
  expect(errorsOf(scheduler)).toEqual([]);
  await scheduler.stop();
});

test("a lease belongs to the trace of its request, below the scheduler's own span", async () => {
  const projection = new MemoryProjection();
  const scheduler = await startTestScheduler(await nats.connect(), {
    store: projection,
    ownership: projection,
  });
  await scheduler.isLive;
  const tracing = startTracing({
    service: SERVICE.scheduler,
    instanceId: "test",
    log: scheduler.log,
  });
  const host = new FakeHost("traced", hosts);
  await announce(host);
  const value = requestBy("traced", { taskId: taskIdOfSlice(30), requestId: "traced-request" });
  const traceId = "0af7651916cd43dd8448eb211c80319c";

  await host.publish(30, [{ $case: "taskRequested", value }], `00-${traceId}-b7ad6b7169203331-01`);
  const lease = await waitFor("the lease", () => host.leases[0]);

  expect(lease.traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
  expect(lease.traceparent).not.toContain("b7ad6b7169203331");
  await tracing.shutdown();
  await scheduler.stop();
});

test("download facts are receipted when they are projected", async () => {
  const projection = new MemoryProjection();
  const scheduler = await startTestScheduler(await nats.connect(), {
    store: projection,
    ownership: projection,
  });
  await scheduler.isLive;
  const host = new FakeHost("teller", hosts);
  await announce(host);
  await host.publish("host", [
    {
      $case: "downloadFinished",
      value: {
        downloadId: "download-1",
        taskId: "",
        url: "https://origin.example/page",
        method: "GET",
        tag: "",
        application: "",
        priority: 0,
        startedAtMs: Date.now(),
        ttfbMs: 1,
        costMs: 2,
        outcome: "finished",
        httpStatus: 200,
        fetched: undefined,
        delivered: undefined,
        probeBytes: 0,
        contentLengthBytes: 10,
        range: "",
        degraded: false,
        traceId: "",
        error: "",
        requestCount: 0,
      },
    },
  ]);

  const receipt = await waitFor("the receipt", () =>
    host.assignments.flatMap(({ kind }) => (kind?.$case === "receipts" ? [kind.value] : [])).at(0),
  );

  expect(receipt.downloadIds).toEqual(["download-1"]);
  expect(projection.downloads.get("download-1")?.hostId).toBe("teller");
  expect(errorsOf(scheduler)).toEqual([]);
  await scheduler.stop();
});
