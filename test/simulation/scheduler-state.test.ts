import type {
  PiecesAvailable,
  TaskPoisoned,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { expect, test } from "vitest";
import { InvariantViolation } from "@lacewing/scheduler/core/invariant.ts";
import { remainingOf } from "@lacewing/scheduler/core/leases.ts";
import { newState } from "@lacewing/scheduler/core/state.ts";
import { takeTouched } from "@lacewing/scheduler/core/touched.ts";
import {
  ALL_PIECES,
  applyEntry,
  bitmapOf,
  digestsOf,
  kindsOf,
  MIB,
  SchedulerWorld,
  summaryOf,
  TASK,
  worldWithHolder,
} from "../support/scheduler-world.ts";

const ANCHOR = `sha256:${"0".repeat(64)}`;

test("poisoned content is dropped everywhere, and a later request starts it afresh", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  world.tell("b", {
    $case: "taskPoisoned",
    value: { taskId: TASK, expectedDigest: "x", actualDigest: "y", reason: "anchor_mismatch" },
  });
  const dropped = world.decide();

  world.request("c");
  world.decide();
  world.describe("c");
  world.hold("a", ALL_PIECES, 1);
  const toldAgain = world.decide();
  const old = world.state.tasks.get(TASK)?.peers.get("a")?.held.count;
  world.hold("a", [0], 2);

  expect(kindsOf(dropped)).toEqual(expect.arrayContaining(["drop_task a", "drop_task b"]));
  expect(kindsOf(toldAgain)).toContain("drop_task a");
  expect(world.grants.at(-1)).toMatchObject({ childHostId: "c", parentHostId: "", open: true });
  expect(old).toBe(0);
  expect(world.state.tasks.get(TASK)?.peers.get("a")?.held.count).toBe(1);
});

test("content that a host hashed and found to be what its anchor says is not given up because another host was sent something else", () => {
  const world = worldWithVerifiedCopy();
  world.request("b");
  world.tell("b", { $case: "taskPoisoned", value: poisonOf("5 KiB of a login page") });
  world.tell("b", { $case: "piecesAvailable", value: otherBytesOf([2]) });

  expect(kindsOf(world.decide())).not.toContain("drop_task a");
  const task = world.state.tasks.get(TASK);
  expect(task?.state).toBe("verified");
  expect(task?.peers.get("a")?.held.count).toBe(ALL_PIECES.length);
  // What b has come by is no source for anybody.
  expect(task?.peers.get("b")?.isStruck).toBe(true);
  expect([...world.state.contained.keys()]).toEqual(
    expect.arrayContaining(["poisoning of verified content", "digest conflict"]),
  );
});

test("a host that finds its own verified copy wrong is believed when nobody else vouches for it", () => {
  const world = worldWithVerifiedCopy();
  world.tell("a", { $case: "taskPoisoned", value: poisonOf("rot") });
  world.decide();

  expect(world.state.tasks.get(TASK)?.state).toBe("retired");
});

function worldWithVerifiedCopy(): SchedulerWorld {
  const world = new SchedulerWorld();
  world.announce("a");
  world.announce("b");
  world.request("a", { anchor: ANCHOR });
  world.describe("a");
  world.hold("a", ALL_PIECES, 1);
  world.tell("a", {
    $case: "taskVerified",
    value: { taskId: TASK, incarnation: 1, digest: ANCHOR },
  });
  world.decide();
  return world;
}

/** Pieces that are not those that everybody else reports. */
function otherBytesOf(pieces: readonly number[]): PiecesAvailable {
  return {
    taskId: TASK,
    incarnation: 1,
    bitmap: bitmapOf(pieces),
    digests: digestsOf(pieces, 9),
    leasesEnded: [],
  };
}

function poisonOf(actualDigest: string): TaskPoisoned {
  return { taskId: TASK, expectedDigest: ANCHOR, actualDigest, reason: "anchor_mismatch" };
}

test("two hosts that report different digests for a piece quarantine the task", () => {
  const world = worldWithHolder();
  world.tell("b", { $case: "piecesAvailable", value: otherBytesOf([2]) });

  world.decide();

  expect(world.decisions.at(-1)?.kind).toMatchObject({
    $case: "taskRetired",
    value: { reason: "digest_conflict" },
  });
});

test("another length retires a task whose content was not yet hashed as a whole, with an anchor or without", () => {
  const plain = worldWithHolder();
  plain.describe("b", { lengthBytes: 5 * MIB });
  plain.decide();
  const anchored = new SchedulerWorld();
  anchored.announce("a");
  anchored.request("a", { anchor: ANCHOR });
  anchored.describe("a");
  anchored.describe("b", { lengthBytes: 5 * MIB });
  anchored.decide();

  expect(plain.state.tasks.get(TASK)?.state).toBe("retired");
  expect(anchored.state.tasks.get(TASK)?.state).toBe("retired");
});

test("another validator for anchored content is only counted: the digest decides", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.request("a", { anchor: ANCHOR });
  world.describe("a", { etag: '"one"' });
  world.describe("b", { etag: '"two"' });
  world.decide();

  expect(world.state.tasks.get(TASK)?.state).toBe("active");
  expect(world.state.contained.get("description differs")).toBe(1);
});

test("availability is a join: stale incarnations, repetitions and any order give the same picture", () => {
  const world = worldWithHolder();
  world.hold("b", [0], 2);
  world.hold("b", [1, 2, 3], 1);
  world.hold("b", [1], 2);
  world.hold("b", [0], 2);

  const peer = world.state.tasks.get(TASK)?.peers.get("b");
  expect([...(peer?.held ?? [])]).toEqual([0, 1]);
  expect(world.state.contained.get("stale incarnation")).toBe(1);
});

test("a piece that its host lost under a live lease is granted again, and arrives under one lease only", () => {
  const world = new SchedulerWorld();
  for (const hostId of ["b", "c"]) world.announce(hostId);
  world.request("b");
  world.decide();
  world.describe("b");
  world.decide();
  world.hold("b", [0]);
  // A neighbour that was refused the piece: the host evicted it, or its disk did.
  world.request("c", { canReadOrigin: false });
  world.decide();
  const refused = world.grants.findLast(({ childHostId }) => childHostId === "c");
  if (refused?.parentHostId !== "b") throw new Error("c was not sent to b");
  world.fail("c", refused, "not_held");
  world.tell("c", { $case: "requestEnded", value: { taskId: TASK, requestId: "request-of-c" } });
  world.advance(1_000);
  const leases = world.state.tasks.get(TASK)?.peers.get("b")?.leases ?? [];

  expect(leases.length).toBeGreaterThan(1);
  expect(leases.flatMap(remainingOf).toSorted((a, b) => a - b)).toEqual(ALL_PIECES);
  expect(leases.map(({ remainingCount }) => remainingCount)).toEqual(
    leases.map((lease) => remainingOf(lease).length),
  );
});

test("what a child tells of its lease after that was projected is projected as well, be it of an end or of a failure", () => {
  const world = worldWithHolder();
  const leasesOf = (hostId: string) =>
    world.grants.filter(({ childHostId }) => childHostId === hostId);
  for (const hostId of ["b", "c"]) world.request(hostId, { canReadOrigin: false });
  world.decide();
  const [ended] = leasesOf("b");
  const [failed] = leasesOf("c");
  if (ended === undefined || failed === undefined) throw new Error("a child was granted nothing");
  // Its pieces end it; how many bytes they were is told later.
  world.hold("b", ALL_PIECES);
  world.hold("c", ALL_PIECES);
  takeTouched(world.state);

  const told = { leaseId: ended.leaseId, bytes: 4 * MIB, durationMs: 7 };
  world.tell("b", {
    $case: "piecesAvailable",
    value: { ...otherBytesOf([]), leasesEnded: [told] },
  });
  world.fail("c", failed, "cancelled", MIB);

  expect(takeTouched(world.state).lateBytes).toEqual([
    { leaseId: ended.leaseId, childHostId: "b", bytes: 4 * MIB, transferMs: 7 },
    { leaseId: failed.leaseId, childHostId: "c", bytes: MIB, transferMs: 1 },
  ]);
});

test("a decision that does not fit the state is refused", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const grant = world.log.findLast(
    (entry) => entry.kind === "decision" && entry.decision.kind?.$case === "leaseGranted",
  );
  if (grant === undefined) throw new Error("no lease was granted");

  expect(() => applyEntry(world.state, grant)).toThrow(InvariantViolation);
});

test("a lease in a message of another slice than its id says is refused", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const replayed = newState();
  const replay = () => {
    for (const entry of world.log) {
      const isDecision = entry.kind === "decision";
      applyEntry(replayed, isDecision ? { ...entry, slice: entry.slice + 1 } : entry);
    }
  };

  expect(replay).toThrow(/is of another message/u);
  expect(replayed.leases.size).toBe(0);
});

test("replaying events and decisions gives the live state", () => {
  const world = worldWithHolder();
  world.request("b");
  world.request("c");
  world.decide();
  world.hold("b", [0, 1]);
  world.advance(500);

  const replayed = newState();
  for (const entry of world.log) applyEntry(replayed, entry);

  expect(summaryOf(replayed)).toEqual(summaryOf(world.state));
});
