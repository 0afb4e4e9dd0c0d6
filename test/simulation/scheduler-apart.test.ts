import { expect, test } from "vitest";
import type {
  PiecesAvailable,
  TaskPoisoned,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { newState } from "@lacewing/scheduler/core/state.ts";
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
} from "../support/scheduler-world.ts";
import { statesAfterRestarts } from "../support/scheduler-rows.ts";

const ANCHOR = `sha256:${"0".repeat(64)}`;
const PAGE_BYTES = 5 * 1024;

/** Host a reads an anchored content from the origin and has its first piece. */
function worldWithReader(): SchedulerWorld {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b", "c"]) world.announce(hostId);
  world.request("a", { anchor: ANCHOR });
  world.decide();
  world.describe("a");
  world.hold("a", [0]);
  world.decide();
  return world;
}

/** The origin answers the host's client with a page to log in. */
function giveAPage(world: SchedulerWorld, hostId: string): readonly string[] {
  world.request(hostId, { anchor: ANCHOR, originOpen: true });
  world.describe(hostId, { lengthBytes: PAGE_BYTES });
  return kindsOf(world.decide());
}

function poisoned(actualDigest: string): TaskPoisoned {
  return { taskId: TASK, expectedDigest: ANCHOR, actualDigest, reason: "anchor_mismatch" };
}

/** The host reports pieces of the page that it was given. */
function pageOf(pieces: readonly number[]): PiecesAvailable {
  const digests = digestsOf(pieces, 9);
  return { taskId: TASK, incarnation: 1, bitmap: bitmapOf(pieces), digests, leasesEnded: [] };
}

const taskOf = (world: SchedulerWorld) => world.state.tasks.get(TASK);
const peerOf = (world: SchedulerWorld, hostId: string) => taskOf(world)?.peers.get(hostId);
const lastGrantOf = (world: SchedulerWorld, child: string) =>
  world.grants.findLast(({ childHostId }) => childHostId === child);

test("a host whose origin sent it something else goes on by itself, and nobody else loses anything", () => {
  const world = worldWithReader();

  const told = giveAPage(world, "b");
  world.request("c", { anchor: ANCHOR, canReadOrigin: false });
  world.decide();

  expect(told).toContain("drop_task b");
  expect(told).not.toContain("drop_task a");
  expect(world.answers).toContainEqual({
    kind: "drop_task",
    hostId: "b",
    taskId: TASK,
    reason: "content_differs",
    lengthBytes: 4 * MIB,
  });
  expect(taskOf(world)?.state).toBe("active");
  expect(lastGrantOf(world, "c")?.parentHostId).toBe("a");
  expect(lastGrantOf(world, "b")).toBeUndefined();
});

test("what such a host reports of its copy is about no piece of the task, whatever its incarnation", () => {
  const world = worldWithReader();
  giveAPage(world, "b");

  world.tell("b", { $case: "piecesAvailable", value: { ...pageOf([0]), incarnation: 7 } });
  world.tell("b", {
    $case: "taskVerified",
    value: { taskId: TASK, incarnation: 7, digest: ANCHOR },
  });
  world.tell("b", { $case: "taskPoisoned", value: poisoned("a page") });
  world.decide();

  expect(taskOf(world)?.state).toBe("active");
  expect(peerOf(world, "b")?.held.count).toBe(0);
  expect([...world.state.contained.keys()]).toEqual(
    expect.arrayContaining([
      "pieces of other content",
      "verification that does not fit",
      "poisoning of other content",
    ]),
  );
});

test("it is told again when it asks again, and given what others have once it has dropped its copy", () => {
  const world = worldWithReader();
  giveAPage(world, "b");

  world.request("b", { anchor: ANCHOR, canReadOrigin: false });
  const again = kindsOf(world.decide());
  const before = lastGrantOf(world, "b");
  world.tell("b", {
    $case: "peerDropped",
    value: { taskId: TASK, incarnation: 8, reason: "removed" },
  });
  world.request("b", { anchor: ANCHOR, canReadOrigin: false });
  world.decide();

  expect(again).toContain("drop_task b");
  expect(before).toBeUndefined();
  expect(lastGrantOf(world, "b")?.parentHostId).toBe("a");
});

test("a host that describes the content like the others is one of them again", () => {
  const world = worldWithReader();
  giveAPage(world, "b");
  world.describe("b");
  world.hold("b", [0, 1]);
  world.decide();

  expect(peerOf(world, "b")?.held.count).toBe(2);
});

test("leases that it had, or gave, are over", () => {
  const world = worldWithReader();
  world.request("b", { anchor: ANCHOR, canReadOrigin: false });
  world.decide();
  const lease = lastGrantOf(world, "b");

  world.describe("b", { lengthBytes: PAGE_BYTES });
  const told = kindsOf(world.decide());

  expect(lease?.parentHostId).toBe("a");
  expect(told).toContain("lease_end b");
  expect(world.state.leases.get(lease?.leaseId ?? "")).toBeUndefined();
});

test("a description that nobody goes on with gives way to the next", () => {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b"]) world.announce(hostId);
  giveAPage(world, "a");
  world.tell("a", { $case: "requestEnded", value: { taskId: TASK, requestId: "request-of-a" } });
  world.decide();

  world.request("b", { anchor: ANCHOR });
  world.decide();
  world.describe("b");
  world.decide();
  expect(world.decisions.at(-1)?.kind).toMatchObject({
    $case: "taskRetired",
    value: { reason: "validator_changed" },
  });
  world.request("b", { anchor: ANCHOR });
  world.decide();
  world.describe("b");
  world.hold("b", [0], 2);
  world.decide();

  expect(taskOf(world)?.layout?.lengthBytes).toBeGreaterThan(PAGE_BYTES);
  expect(peerOf(world, "b")?.held.count).toBe(1);
});

/** Host a is given a page first, and reads it; b, which had the task before, is given the content. */
function worldWithPage(): SchedulerWorld {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b", "c"]) world.announce(hostId);
  giveAPage(world, "a");
  world.request("b", { anchor: ANCHOR });
  world.decide();
  const dropped = { taskId: TASK, incarnation: 3, reason: "evicted" };
  world.tell("b", { $case: "peerDropped", value: dropped });
  world.describe("b", { anchor: ANCHOR });
  world.decide();
  return world;
}

/** The digest of all that the host has has shown that it is right. */
function verify(world: SchedulerWorld, hostId: string): readonly string[] {
  const incarnation = 3;
  world.describe(hostId, { anchor: ANCHOR });
  world.hold(hostId, ALL_PIECES, incarnation);
  const value = { taskId: TASK, incarnation, digest: ANCHOR };
  world.tell(hostId, { $case: "taskVerified", value });
  return kindsOf(world.decide());
}

function parentOfNext(world: SchedulerWorld): string | undefined {
  world.request("c", { anchor: ANCHOR });
  world.decide();
  return lastGrantOf(world, "c")?.parentHostId;
}

test.each(["before", "after"])(
  "the right content that was verified %s the page was found out is shared from then on",
  (when) => {
    const world = worldWithPage();
    if (when === "before") verify(world, "b");
    expect(taskOf(world)?.state).toBe("active");
    world.tell("a", { $case: "taskPoisoned", value: poisoned("a page") });
    const told = kindsOf(world.decide());
    verify(world, "b");

    expect(told).toEqual(expect.arrayContaining(["drop_task a", "drop_task b"]));
    expect(taskOf(world)?.state).toBe("verified");
    expect(parentOfNext(world)).toBe("b");
  },
);

test("other content that nobody goes on with gives way to what was verified, and to nothing else", () => {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b", "c"]) world.announce(hostId);
  world.request("a", { anchor: ANCHOR });
  world.decide();
  world.describe("a", { anchor: ANCHOR, lengthBytes: 3 * MIB });
  world.hold("a", [0]);
  world.tell("a", { $case: "requestEnded", value: { taskId: TASK, requestId: "request-of-a" } });
  world.request("b", { anchor: ANCHOR });
  world.describe("b", { anchor: ANCHOR });
  world.decide();
  expect(taskOf(world)?.layout?.lengthBytes).toBe(3 * MIB);

  expect(verify(world, "b")).toContain("drop_task a");
  verify(world, "b");
  expect(parentOfNext(world)).toBe("b");
});

test("a description of what was retired does not bring it back", () => {
  const world = worldWithPage();
  world.tell("a", { $case: "taskPoisoned", value: poisoned("a page") });
  world.decide();
  world.describe("a", { anchor: ANCHOR, lengthBytes: PAGE_BYTES });
  world.decide();

  expect(taskOf(world)?.state).toBe("retired");
});

test("an origin that has something else for one host now ends nobody else's download", () => {
  const world = worldWithReader();
  world.request("b", { anchor: ANCHOR });
  world.decide();
  const none = { taskId: TASK, leaseId: "", parentHostId: "", pieces: [] };
  world.fail("b", lastGrantOf(world, "b") ?? none, "origin_changed");
  world.decide();

  expect(taskOf(world)?.state).toBe("active");
});

const HISTORIES: readonly (readonly [string, () => SchedulerWorld])[] = [
  [
    "a page found out",
    () => {
      const world = worldWithReader();
      giveAPage(world, "b");
      world.tell("b", { $case: "taskPoisoned", value: poisoned("a page") });
      world.hold("b", [0], 5);
      world.hold("a", [0, 1]);
      world.decide();
      expect(peerOf(world, "b")?.isApart).toBe(true);
      return world;
    },
  ],
  [
    "what was verified in place of a page",
    () => {
      const world = worldWithPage();
      world.tell("a", { $case: "taskPoisoned", value: poisoned("a page") });
      world.decide();
      verify(world, "b");
      expect(parentOfNext(world)).toBe("b");
      return world;
    },
  ],
  [
    "the first piece of a page",
    () => {
      const world = worldWithReader();
      giveAPage(world, "b");
      world.tell("b", { $case: "piecesAvailable", value: pageOf([0]) });
      world.decide();
      expect(taskOf(world)?.state).toBe("active");
      return world;
    },
  ],
  [
    "a host that is one of the others again",
    () => {
      const world = worldWithReader();
      giveAPage(world, "b");
      world.describe("b");
      world.hold("b", [0, 1]);
      world.decide();
      expect(peerOf(world, "b")?.held.count).toBe(2);
      return world;
    },
  ],
  [
    "content that was given up while a host without clients stood apart",
    () => {
      const world = worldWithReader();
      giveAPage(world, "b");
      const value = { taskId: TASK, requestId: "request-of-b" };
      world.tell("b", { $case: "requestEnded", value });
      world.tell("a", { $case: "taskPoisoned", value: poisoned("another page") });
      world.decide();
      expect(taskOf(world)?.state).toBe("retired");
      world.request("c", { anchor: ANCHOR });
      world.describe("c");
      for (const hostId of ["b", "c"]) world.hold(hostId, [0]);
      world.decide();
      expect(peerOf(world, "b")?.held.count).toBe(1);
      return world;
    },
  ],
  [
    "a page that was dropped",
    () => {
      const world = worldWithReader();
      giveAPage(world, "b");
      const value = { taskId: TASK, incarnation: 8, reason: "removed" };
      world.tell("b", { $case: "peerDropped", value });
      world.hold("b", [0], 8);
      world.decide();
      expect(peerOf(world, "b")?.held.count).toBe(1);
      return world;
    },
  ],
];

test.each(HISTORIES)("a replay of %s comes to the same", (_, made) => {
  const world = made();
  const again = newState();
  for (const entry of world.log) applyEntry(again, entry);
  expect(summaryOf(again)).toEqual(summaryOf(world.state));
});

test.each(HISTORIES)(
  "after %s a scheduler has the same, wherever in it its rows were written",
  async (_, made) => {
    const world = made();
    const restarted = await statesAfterRestarts(world.log);
    expect(restarted.length).toBeGreaterThan(world.log.length);
    for (const state of restarted) expect(summaryOf(state)).toEqual(summaryOf(world.state));
  },
);
