import { describe, expect, test } from "vitest";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { noteBlockedReader } from "@lacewing/scheduler/core/hints.ts";
import {
  ALL_PIECES,
  kindsOf,
  MIB,
  SchedulerWorld,
  TASK,
  taskIdOfSlice,
  worldWithHolder,
} from "../support/scheduler-world.ts";

test("of three hosts that ask for content nobody holds, one reads the origin and the others wait for its pieces", () => {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b", "c"]) {
    world.announce(hostId);
    world.request(hostId);
  }

  const answers = world.decide();
  world.describe("a");
  world.decide();
  world.hold("a", [0, 1]);
  world.decide();

  expect(kindsOf(answers)).toEqual(["lease a", "pending b", "pending c"]);
  expect(world.grants.filter((grant) => grant.parentHostId === "")).toMatchObject([
    { childHostId: "a", open: true, reason: "origin open: content not described yet" },
  ]);
  const fromPeers = world.grants.slice(1);
  expect(fromPeers.map((grant) => grant.childHostId).toSorted()).toEqual(["b", "c"]);
  for (const grant of fromPeers) {
    expect(grant).toMatchObject({ parentHostId: "a", pieces: [{ start: 0, count: 2 }] });
  }
});

test("the host that has the origin's response open gets the open lease", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.announce("b");
  world.request("a");
  world.request("b", { originOpen: true });

  world.decide();

  expect(world.grants).toMatchObject([{ childHostId: "b", open: true }]);
});

test("content described together with its request is leased in one stream", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.request("a", { wantedStart: MIB, wantedEnd: 3 * MIB });
  world.describe("a");

  world.decide();

  expect(world.grants).toMatchObject([
    {
      open: false,
      pieces: [{ start: 1, count: 2 }],
      reason: "origin rep=0: no copy held or in flight",
    },
  ]);
});

test("requests of one host for different parts of the content do not wait for each other", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.request("a", { requestId: "first", wantedStart: 0, wantedEnd: MIB });
  world.describe("a");
  world.decide();
  world.request("a", { requestId: "second", wantedStart: 2 * MIB, wantedEnd: 3 * MIB });
  world.decide();

  expect(world.grants).toMatchObject([
    { requestId: "first", pieces: [{ start: 0, count: 1 }] },
    { requestId: "second", pieces: [{ start: 2, count: 1 }] },
  ]);
});

test("a host that cannot read the origin waits for somebody who can, and is told so again in time", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.request("a", { canReadOrigin: false });

  const first = world.decide();
  const later = [world.advance(500), world.advance(500), world.advance(500)].flat();

  expect(kindsOf(first)).toEqual(["pending a"]);
  expect(kindsOf(later)).toEqual(["pending a"]);
  expect(world.grants).toEqual([]);
});

test("a request for what another host holds is served by that host", () => {
  const world = worldWithHolder();
  world.request("b");

  const answers = world.decide();

  expect(kindsOf(answers)).toEqual(["lease b"]);
  expect(world.grants.at(-1)).toMatchObject({
    parentHostId: "a",
    pieces: [{ start: 0, count: 4 }],
    reason: "parent least-loaded load=0 of 1 candidate",
    candidateCount: 1,
  });
});

test("a piece that the child holds is never leased to it", () => {
  const world = worldWithHolder();
  world.hold("b", [1, 2]);
  world.request("b");

  world.decide();

  expect(
    world.grants
      .filter((grant) => grant.childHostId === "b")
      .map((grant) => [...indexesOf(grant.pieces)]),
  ).toEqual([[0, 3]]);
});

test("a repeated request brings its lease again and no second one", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const count = world.grants.length;

  world.nowMs += 200;
  world.request("b");
  const answers = world.decide();

  expect(kindsOf(answers)).toEqual(["lease b"]);
  expect(world.grants).toHaveLength(count);
});

test("seed hosts with room become children of every described task, and never read the origin", () => {
  const world = new SchedulerWorld();
  world.announce("seed", { kind: "seed" });
  world.announce("full-seed", { kind: "seed", freeBytes: MIB });
  world.announce("a");
  world.request("a");
  world.describe("a");
  world.decide();
  const beforeAnyPiece = world.grants.filter((grant) => grant.childHostId === "seed");

  world.hold("a", [0]);
  world.decide();

  expect(beforeAnyPiece).toEqual([]);
  expect(world.grants.at(-1)).toMatchObject({
    childHostId: "seed",
    parentHostId: "a",
    requestId: "",
  });
  expect(world.grants.some((grant) => grant.childHostId === "full-seed")).toBe(false);
});

test.each(["origin_refused", "unreachable", "stalled"] as const)(
  "an origin whose read ended %s is not read for that request again at once",
  (reason) => {
    const world = new SchedulerWorld();
    world.announce("a");
    world.request("a");
    world.describe("a");
    world.decide();
    const lease = world.grants.at(-1);
    if (lease === undefined) throw new Error("no lease was granted");

    world.fail("a", lease, reason);
    const refused = world.decide();
    world.advance(500);
    const early = world.grants.length;
    world.advance(600);

    expect(kindsOf(refused)).toEqual(["pending a"]);
    expect(early).toBe(1);
    expect(world.grants).toHaveLength(2);
  },
);

describe("an origin that asks to be left alone", () => {
  const OTHER_TASK = taskIdOfSlice(9);
  const ELSEWHERE = taskIdOfSlice(11);

  function refusedWorld(retryAfterMs: number): SchedulerWorld {
    const world = new SchedulerWorld();
    for (const hostId of ["a", "b", "c"]) world.announce(hostId);
    world.request("a");
    world.decide();
    const [lease] = world.grants;
    if (lease === undefined) throw new Error("no lease was granted");
    world.fail("a", lease, "origin_refused", 0, retryAfterMs);
    world.decide();
    return world;
  }

  const granted = (world: SchedulerWorld) =>
    world.grants.slice(1).map(({ childHostId, taskId }) => `${childHostId} ${taskId}`);

  test("is left alone by every host, for all its contents, until then", () => {
    const world = refusedWorld(5_000);
    world.request("b");
    world.request("c", {
      taskId: OTHER_TASK,
      requestId: "other-of-c",
      url: "https://ORIGIN.example/other?x",
    });
    world.decide();
    for (let seconds = 0; seconds < 4; seconds++) world.advance(1_000);
    expect(granted(world)).toEqual([]);
    for (let seconds = 0; seconds < 3; seconds++) world.advance(1_000);
    expect(
      granted(world)
        .map((text) => text.slice(2))
        .toSorted(),
    ).toEqual([TASK, OTHER_TASK]);
  });

  test("is not read either for a request that waited already", () => {
    const world = new SchedulerWorld();
    for (const hostId of ["a", "b"]) world.announce(hostId);
    world.request("a");
    world.request("b");
    world.decide();
    const [lease] = world.grants;
    if (lease === undefined) throw new Error("no lease was granted");
    world.fail(lease.childHostId, lease, "origin_refused", 0, 5_000);
    world.decide();
    for (let seconds = 0; seconds < 4; seconds++) world.advance(1_000);
    expect(granted(world)).toEqual([]);
  });

  test("is believed also when it said so before there was a lease", () => {
    const world = new SchedulerWorld();
    for (const hostId of ["a", "b"]) world.announce(hostId);
    world.request("a", { canReadOrigin: false });
    const none = { taskId: TASK, leaseId: "", parentHostId: "", pieces: [] };
    world.fail("a", none, "origin_refused", 0, 5_000);
    world.request("b");
    world.decide();
    expect(world.grants).toEqual([]);
  });

  test("is not what another origin is, and an answer that is open is read on", () => {
    const world = refusedWorld(5_000);
    const requestId = "elsewhere";
    world.request("b", { taskId: ELSEWHERE, requestId, url: "https://other.example/file" });
    world.request("c", { originOpen: true });
    world.decide();
    expect(granted(world).toSorted()).toEqual([`b ${ELSEWHERE}`, `c ${TASK}`]);
  });

  test("is asked again after a while whatever it says: its clients wait, and it answered them", () => {
    const world = refusedWorld(3_600_000);
    world.request("b");
    for (let seconds = 0; seconds < 19; seconds++) world.advance(1_000);
    expect(granted(world)).toEqual([]);
    world.advance(2_000);
    expect(granted(world)).toHaveLength(1);
  });
});

test("an origin that breaks off again and again, but always after some bytes, is never left alone for longer than at first", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.request("a");
  world.describe("a");
  world.decide();

  for (let round = 1; round <= 6; round++) {
    const lease = world.grants.at(-1);
    if (lease === undefined) throw new Error("no lease was granted");
    world.fail("a", lease, "short", 1000);
    world.decide();
    world.advance(1_100);
    expect(world.grants).toHaveLength(round + 1);
  }
});

test("uploads of a parent stay within its slots", () => {
  const world = worldWithHolder();
  world.announce("a", { uploadSlots: 1, full: true });
  world.request("b");
  world.request("c");

  const answers = world.decide();

  expect(kindsOf(answers).toSorted()).toEqual(["lease b", "pending c"]);
});

test("among equally loaded parents the nearer one is taken", () => {
  const world = worldWithHolder();
  world.announce("a", { idc: "far" });
  world.announce("c", { idc: "near" });
  world.announce("b", { idc: "near" });
  world.hold("c", ALL_PIECES);
  world.request("b");

  world.decide();

  expect(world.grants.at(-1)?.parentHostId).toBe("c");
});

test("a blocked reader gets the pieces at which it is blocked first", () => {
  const world = new SchedulerWorld();
  const lengthBytes = 64 * 64 * MIB;
  for (const hostId of ["a", "b", "c"]) world.announce(hostId, { uploadSlots: 1 });
  world.describe("a", { lengthBytes, pieceLengthBytes: 64 * MIB });
  world.hold(
    "a",
    Array.from({ length: 64 }, (_, piece) => piece),
  );
  world.request("b");
  world.request("c");
  noteBlockedReader(world.state, { hostId: "b", taskId: TASK, pieceIndex: 40, atMs: world.nowMs });
  noteBlockedReader(world.state, { hostId: "c", taskId: TASK, pieceIndex: 40, atMs: world.nowMs });

  world.decide();

  expect(world.grants).toMatchObject([{ parentHostId: "a", pieces: [{ start: 40, count: 1 }] }]);
});

test("what a blocked reader says again has nothing looked at anew, until it is blocked elsewhere", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const isLookedAt = (pieceIndex: number) => {
    noteBlockedReader(world.state, { hostId: "b", taskId: TASK, pieceIndex, atMs: world.nowMs });
    const isDirty = world.state.work.dirtyTaskIds.some((taskIds) => taskIds.has(TASK));
    world.decide();
    return isDirty;
  };

  expect([1, 1, 2, 2].map((piece) => isLookedAt(piece))).toEqual([true, false, true, false]);
});

test("of two contents that one host serves, neither keeps its only slot for itself", () => {
  const world = new SchedulerWorld();
  const tasks = [taskIdOfSlice(7), taskIdOfSlice(8)];
  for (const hostId of ["a", "b", "c"]) world.announce(hostId, { uploadSlots: 1 });
  const size = { lengthBytes: 64 * MIB, pieceLengthBytes: 4 * MIB };
  const pieces = Array.from({ length: 16 }, (_, piece) => piece);
  for (const taskId of tasks) {
    world.describe("a", { taskId, ...size });
    world.hold("a", pieces, 1, taskId);
    for (const hostId of ["b", "c"]) {
      world.request(hostId, { taskId, requestId: `${hostId}-${taskId}`, canReadOrigin: false });
    }
  }

  for (let lease = 0; lease < 8; lease++) {
    world.decide();
    const grant = world.grants.at(-1);
    if (grant === undefined) throw new Error("no lease was granted");
    const held = world.state.tasks.get(grant.taskId)?.peers.get(grant.childHostId)?.held ?? [];
    world.hold(grant.childHostId, [...held, ...indexesOf(grant.pieces)], 1, grant.taskId);
  }

  const fromA = world.grants.filter((grant) => grant.parentHostId === "a");
  const counts = tasks.map((taskId) => fromA.filter((grant) => grant.taskId === taskId).length);
  expect(Math.abs((counts[0] ?? 0) - (counts[1] ?? 0))).toBeLessThanOrEqual(1);
});
