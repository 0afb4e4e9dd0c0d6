import { type HostId, parseHostId, parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { expect, test } from "vitest";
import { MemoryBroker } from "../support/memory-logs.ts";
import { MemoryProjection } from "../support/memory-projection.ts";
import {
  ALL_PIECES,
  announcement,
  bitmapOf,
  description,
  digestsOf,
  requestBy,
  taskIdOfSlice,
} from "../support/scheduler-world.ts";
import { waitFor } from "../support/wait-for.ts";
import { HINTS_PER_TICK_MAX } from "@lacewing/scheduler/app/limits.ts";
import { Scheduler } from "@lacewing/scheduler/app/scheduler.ts";

let startCount = 0;

/** A scheduler on in-memory twins that ends with its scope. */
async function start(
  broker: MemoryBroker,
  projection: MemoryProjection,
  { renewalMs = 20_000, clock = systemClock }: { renewalMs?: number; clock?: Clock } = {},
) {
  const log = createMemoryLog();
  const scheduler = new Scheduler(
    {
      eventLog: broker.eventLog,
      decisionLog: broker.decisionLog,
      sender: broker,
      link: broker,
      store: projection,
      ownership: projection,
      signer: { sign: (claims) => `token of ${claims.leaseId}` },
      clock,
      log,
      random: () => 0.5,
    },
    {
      ownerId: `owner-${++startCount}`,
      ownershipLeaseMs: 60_000,
      renewalMs,
      flushIntervalMs: 20,
    },
  );
  const running = scheduler.run();
  await scheduler.isLive;
  return {
    log,
    scheduler,
    [Symbol.asyncDispose]: async () => {
      scheduler.stop();
      await running;
    },
  };
}

function ask(broker: MemoryBroker, hostId: string, slice: number): void {
  const taskId = taskIdOfSlice(slice);
  const requestId = `request-${slice}-of-${hostId}`;
  broker.publish(hostId, slice, {
    $case: "taskRequested",
    value: requestBy(hostId, { taskId, requestId }),
  });
}

function announce(broker: MemoryBroker, hostId: string): void {
  broker.publish(hostId, "host", { $case: "hostAnnounced", value: announcement(hostId, {}) });
}

function leasesOf(broker: MemoryBroker, hostId: string) {
  return broker.toldTo(hostId).flatMap((kind) => (kind.$case === "lease" ? [kind.value] : []));
}

test("a lease is told only after its decision is in the log", async () => {
  const broker = new MemoryBroker();
  const projection = new MemoryProjection();
  await using scheduler = await start(broker, projection);
  announce(broker, "a");
  await waitFor("the host is projected", () => projection.hosts.has("a"));

  broker.isUp = false;
  ask(broker, "a", 5);
  await waitFor("the append fails", () =>
    scheduler.log.entries.some((entry) => entry.event === "port failing"),
  );
  const early = leasesOf(broker, "a").length;
  broker.isUp = true;
  await waitFor("the lease", () => leasesOf(broker, "a").length > 0);

  expect(early).toBe(0);
  expect(broker.decisions.at(-1)?.message).toMatchObject({ slice: 5, eventsSequence: 2, epoch: 1 });
});

test("matching goes on while the database is away, and the projection catches up", async () => {
  const broker = new MemoryBroker();
  const projection = new MemoryProjection();
  const flush = projection.flush.bind(projection);
  await using _scheduler = await start(broker, projection);
  projection.flush = () =>
    Promise.reject(new PortError("postgres_failed", "away", { retryable: true }));
  announce(broker, "a");
  ask(broker, "a", 5);
  await waitFor("the lease", () => leasesOf(broker, "a").length > 0);
  const projectedMeanwhile = projection.leases.size;

  projection.flush = flush;
  await waitFor("the lease is projected", () => projection.leases.size > 0);

  expect(projectedMeanwhile).toBe(0);
});

test("a scheduler whose slice somebody else wrote to drops its state and loads it again", async () => {
  const broker = new MemoryBroker();
  const projection = new MemoryProjection();
  await using scheduler = await start(broker, projection);
  announce(broker, "a");
  const message = {
    version: 1,
    slice: 5,
    epoch: 9,
    eventsSequence: 0,
    decidedAtMs: 0,
    decisions: [],
  };
  const last = await broker.decisionLog.last(5);
  await broker.append(5, message, last.sequence);

  ask(broker, "a", 5);
  const lease = await waitFor("the lease of the new session", () => leasesOf(broker, "a")[0]);

  expect(lease.leaseId).not.toBe("5-1-1");
  expect(scheduler.log.entries.map((entry) => entry.event)).toContain("slice fenced");
});

test("a scheduler that stops gives its slices back after the answer to a renewal, which would take them again", async () => {
  const projection = new MemoryProjection();
  const acquire = projection.acquire.bind(projection);
  const release = projection.release.bind(projection);
  const called: string[] = [];
  const answer = Promise.withResolvers<void>();
  const scheduler = await start(new MemoryBroker(), projection, { renewalMs: 5 });
  projection.acquire = async (ownerId) => {
    called.push("renew");
    await answer.promise;
    return acquire(ownerId);
  };
  projection.release = async (ownerId) => {
    called.push("release");
    return release(ownerId);
  };
  await waitFor("a renewal is under way", () => called.length > 0);

  const stopped = scheduler[Symbol.asyncDispose]();
  await waitFor("the session has ended", () =>
    scheduler.log.entries.some((entry) => entry.event === "session ended"),
  );
  await systemClock.sleep(20);
  called.push("answer");
  answer.resolve();
  await stopped;

  expect(called).toEqual(["renew", "answer", "release"]);
  expect(await acquire("successor")).not.toEqual(new Map());
});

test("a scheduler that stops while its database answers nothing says once that its slices are not given back", async () => {
  const projection = new MemoryProjection();
  const closed = Promise.withResolvers<never>();
  const impatient: Clock = {
    ...systemClock,
    sleep: (ms, signal) => systemClock.sleep(ms / 20, signal),
  };
  const scheduler = await start(new MemoryBroker(), projection, { renewalMs: 5, clock: impatient });
  const isRenewing = Promise.withResolvers<void>();
  projection.acquire = () => {
    isRenewing.resolve();
    return closed.promise;
  };
  projection.release = async () => {
    throw new PortError("database_unavailable", "the pool is closed", { retryable: true });
  };
  await isRenewing.promise;

  await scheduler[Symbol.asyncDispose]();
  // What was under way ends with the connections.
  closed.reject(new PortError("database_unavailable", "broken off", { retryable: true }));
  await systemClock.sleep(20);

  expect(
    scheduler.log.entries.filter(({ event }) => event === "ownership not released"),
  ).toHaveLength(1);
});

test("when the event log has forgotten what follows the checkpoint, every host is asked for everything", async () => {
  const broker = new MemoryBroker();
  const projection = new MemoryProjection();
  {
    await using _first = await start(broker, projection);
    announce(broker, "a");
    await waitFor("the host is projected", () => projection.hosts.has("a"));
  }
  ask(broker, "a", 5);
  ask(broker, "a", 6);
  broker.forgetEvents(2);

  await using scheduler = await start(broker, projection);
  await waitFor("the question", () =>
    broker.toldTo("a").some((kind) => kind.$case === "announceFull"),
  );

  expect(scheduler.log.entries.map((entry) => entry.event)).toContain("event log gap");
  await waitFor("what is left is folded", () => leasesOf(broker, "a").length > 0);
});

test("a scheduler with a new database writes under epochs above those that hosts know from the log", async () => {
  const broker = new MemoryBroker();
  const lost = new MemoryProjection();
  for (let life = 0; life < 3; life++) {
    await using _earlier = await start(broker, lost);
  }
  const before = broker.decisions.length;

  const projection = new MemoryProjection();
  await using _scheduler = await start(broker, projection);
  announce(broker, "a");
  ask(broker, "a", 5);
  const lease = await waitFor("the lease", () => leasesOf(broker, "a")[0]);

  const epochsAfter = broker.decisions.slice(before).map(({ message }) => message.epoch);
  expect(new Set(broker.decisions.slice(0, before).map(({ message }) => message.epoch))).toEqual(
    new Set([1, 2, 3]),
  );
  expect(new Set(epochsAfter)).toEqual(new Set([4]));
  expect(lease.leaseId).toMatch(/^5-4-/);
  await waitFor("the lease is projected", () => projection.leases.size > 0);
});

test("a host that comes back with a poisoned copy is told to drop it, also by a scheduler that was started since", async () => {
  const broker = new MemoryBroker();
  const projection = new MemoryProjection();
  const taskId = taskIdOfSlice(5);
  const copy = {
    taskId,
    incarnation: 1,
    bitmap: bitmapOf(ALL_PIECES),
    digests: digestsOf(ALL_PIECES),
    leasesEnded: [],
  };
  {
    await using _scheduler = await start(broker, projection);
    announce(broker, "a");
    ask(broker, "a", 5);
    broker.publish("a", 5, { $case: "taskDescribed", value: description({ taskId }) });
    broker.publish("a", 5, { $case: "piecesAvailable", value: copy });
    const poisoned = { taskId, reason: "anchor_mismatch", expectedDigest: "", actualDigest: "" };
    broker.publish("a", 5, { $case: "taskPoisoned", value: poisoned });
    await waitFor("it is retired", () => projection.tasks.get(taskId)?.state === "retired");
  }
  const toldBefore = broker.toldTo("a").length;

  await using _successor = await start(broker, projection);
  broker.publish("a", 5, { $case: "piecesAvailable", value: copy });
  const dropped = await waitFor("the host is told to drop it", () =>
    broker
      .toldTo("a")
      .slice(toldBefore)
      .flatMap((told) => (told.$case === "dropTask" ? [told.value] : []))
      .at(0),
  );
  expect(dropped).toMatchObject({ taskId });
});

test("a scheduler that cannot reach the broker leaves its ownership to run out, for one that can", async () => {
  const broker = new MemoryBroker();
  const projection = new MemoryProjection();
  const renewalMs = 3;
  let turnCount = 0;
  let renewalCount = 0;
  const clock: Clock = {
    ...systemClock,
    sleep: (ms, signal) => {
      if (ms === renewalMs) turnCount++;
      return systemClock.sleep(ms, signal);
    },
  };
  const acquire = projection.acquire.bind(projection);
  projection.acquire = (ownerId) => {
    renewalCount++;
    return acquire(ownerId);
  };
  await using _scheduler = await start(broker, projection, { renewalMs, clock });
  await waitFor("it renews", () => renewalCount > 3);

  broker.isUp = false;
  // One renewal may be under way.
  const turnsBefore = turnCount + 1;
  await waitFor("it had a turn", () => turnCount > turnsBefore);
  const renewedBefore = renewalCount;
  await waitFor("it had ten more", () => turnCount > turnsBefore + 10);
  const renewedMeanwhile = renewalCount - renewedBefore;
  broker.isUp = true;
  await waitFor("it renews again", () => renewalCount > renewedBefore + 3);

  expect(renewedMeanwhile).toBe(0);
});

/** Three hosts: `a` holds all sixteen pieces of a content, `b` one of them, and `b` and `c` want it all after what `b` says of its reader. */
async function firstLeaseAfter(hintedPieces: readonly number[]) {
  const MIB = 2 ** 20;
  const broker = new MemoryBroker();
  const projection = new MemoryProjection();
  await using running = await start(broker, projection);
  const taskId = taskIdOfSlice(5);
  const pieces = Array.from({ length: 16 }, (_, piece) => piece);
  const hold = (hostId: string, held: readonly number[]) =>
    broker.publish(hostId, 5, {
      $case: "piecesAvailable",
      value: {
        taskId,
        incarnation: 1,
        bitmap: bitmapOf(held),
        digests: digestsOf(held),
        leasesEnded: [],
      },
    });
  for (const hostId of ["a", "b", "c"]) announce(broker, hostId);
  const size = { lengthBytes: 64 * MIB, pieceLengthBytes: 4 * MIB };
  broker.publish("a", 5, { $case: "taskDescribed", value: description({ taskId, ...size }) });
  hold("a", pieces);
  hold("b", [0]);
  await waitFor("both copies are projected", () => projection.peers.size === 2);
  const hint = { hostId: hostIdOf("b"), taskId: taskIdFrom(taskId) };
  for (const pieceIndex of hintedPieces)
    running.scheduler.noteBlockedReader({ ...hint, pieceIndex });
  for (const hostId of ["b", "c"]) ask(broker, hostId, 5);
  await waitFor("a lease", () => leasesOf(broker, "b").length > 0);
  return leasesOf(broker, "b")[0];
}

test("what holds a reader up is granted before rarer pieces", async () => {
  expect(await firstLeaseAfter([11])).toMatchObject({ pieces: [{ start: 11 }] });
});

test("a flood of hints is cut off: the last of very many is not heard", async () => {
  const flood = Array.from({ length: 3 * HINTS_PER_TICK_MAX }, () => 7);
  expect(await firstLeaseAfter([...flood, 11])).toMatchObject({ pieces: [{ start: 7 }] });
});

function hostIdOf(text: string): HostId {
  const hostId = parseHostId(text);
  if (hostId === undefined) throw new Error(`no host id: ${text}`);
  return hostId;
}

function taskIdFrom(text: string): TaskId {
  const taskId = parseTaskId(text);
  if (taskId === undefined) throw new Error(`no task id: ${text}`);
  return taskId;
}
