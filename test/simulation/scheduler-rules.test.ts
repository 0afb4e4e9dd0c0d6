import { expect, test } from "vitest";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { inventoryDigest } from "@lacewing/contracts/inventory.ts";
import {
  applyEntry,
  bitmapOf,
  digestsOf,
  MIB,
  SchedulerWorld,
  summaryOf,
  TASK,
} from "../support/scheduler-world.ts";
import type { Answer } from "@lacewing/scheduler/core/answer.ts";
import { InvariantViolation } from "@lacewing/scheduler/core/invariant.ts";
import { HOST_LOST_AFTER_MS } from "@lacewing/scheduler/core/limits.ts";
import { newState } from "@lacewing/scheduler/core/state.ts";

const ALL = [0, 1, 2, 3];

function pieces(lease: { readonly pieces: readonly { start: number; count: number }[] }) {
  return [...indexesOf(lease.pieces)];
}

function kinds(answers: readonly Answer[]) {
  return answers.map((answer) => `${answer.kind} ${answer.hostId}`);
}

/** Hosts a, b, c; a has read the content from the origin and holds all of it. */
function worldWithHolder(): SchedulerWorld {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b", "c"]) world.announce(hostId);
  world.request("a");
  world.describe("a");
  world.decide();
  world.hold("a", ALL);
  world.tell("a", {
    $case: "requestEnded",
    value: { taskId: TASK, requestId: "request-of-a" },
  });
  world.decide();
  return world;
}

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

  expect(kinds(answers)).toEqual(["lease a", "pending b", "pending c"]);
  expect(world.grants.filter((grant) => grant.parentHostId === "")).toMatchObject([
    { childHostId: "a", open: true, reason: "origin open: content not described yet" },
  ]);
  expect(world.grants.slice(1)).toMatchObject([
    { childHostId: "b", parentHostId: "a", pieces: [{ start: 0, count: 2 }] },
    { childHostId: "c", parentHostId: "a", pieces: [{ start: 0, count: 2 }] },
  ]);
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
    { open: false, pieces: [{ start: 1, count: 2 }], reason: "origin: no copy held or in flight" },
  ]);
});

test("a host that cannot read the origin waits for somebody who can, and is told so again in time", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.request("a", { canReadOrigin: false });

  const first = world.decide();
  const later = [world.advance(500), world.advance(500), world.advance(500)].flat();

  expect(kinds(first)).toEqual(["pending a"]);
  expect(kinds(later)).toEqual(["pending a"]);
  expect(world.grants).toEqual([]);
});

test("a request for what another host holds is served by that host", () => {
  const world = worldWithHolder();
  world.request("b");

  const answers = world.decide();

  expect(kinds(answers)).toEqual(["lease b"]);
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

  expect(world.grants.filter((grant) => grant.childHostId === "b").map(pieces)).toEqual([[0, 3]]);
});

test("a parent that sent wrong bytes gives nobody this task any more, and is told to look at its copy", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const lease = world.grants.at(-1);
  if (lease === undefined) throw new Error("no lease was granted");

  world.fail("b", lease, "digest_mismatch");
  world.request("c", { canReadOrigin: false });
  const answers = world.decide();

  expect(answers).toContainEqual({ kind: "recheck", hostId: "a", taskId: TASK, pieceIndexes: ALL });
  expect(world.grants.at(-1)).toMatchObject({ childHostId: "b", parentHostId: "" });
  expect(kinds(answers)).toContain("pending c");
});

test("a struck parent serves again under a new incarnation", () => {
  const world = worldWithHolder();
  world.request("b", { canReadOrigin: false });
  world.decide();
  const lease = world.grants.at(-1);
  if (lease === undefined) throw new Error("no lease was granted");
  world.fail("b", lease, "digest_mismatch");
  world.decide();

  world.hold("a", ALL, 2);
  world.decide();

  expect(world.grants.at(-1)).toMatchObject({ childHostId: "b", parentHostId: "a" });
});

test("pieces that failed are leased again, from another holder", () => {
  const world = worldWithHolder();
  world.hold("c", ALL);
  world.request("b");
  world.decide();
  const lease = world.grants.at(-1);
  if (lease === undefined) throw new Error("no lease was granted");

  world.fail("b", lease, "stalled");
  world.decide();

  const again = world.grants.at(-1);
  expect(again?.parentHostId).not.toBe(lease.parentHostId);
  expect(again).toMatchObject({ childHostId: "b", pieces: lease.pieces });
});

test("a parent that cannot be reached does not count as a copy, until it is heard of", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const lease = world.grants.at(-1);
  if (lease === undefined) throw new Error("no lease was granted");

  world.fail("b", lease, "unreachable");
  world.decide();
  const fromOrigin = world.grants.at(-1);
  world.announce("a");
  world.request("c", { canReadOrigin: false });
  world.decide();

  expect(fromOrigin).toMatchObject({ childHostId: "b", parentHostId: "" });
  expect(world.grants.at(-1)).toMatchObject({ childHostId: "c", parentHostId: "a" });
});

test("a repeated request brings its lease again and no second one", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const count = world.grants.length;

  world.nowMs += 200;
  world.request("b");
  const answers = world.decide();

  expect(kinds(answers)).toEqual(["lease b"]);
  expect(world.grants).toHaveLength(count);
});

test("a lease without progress is revoked, and its pieces go to whoever wants them", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.announce("b");
  world.request("a");
  world.describe("a");
  world.request("b");
  world.decide();

  for (let second = 0; second < 30; second++) {
    world.announce("b", { liveRequestIds: ["request-of-b"] });
    world.announce("a", { liveRequestIds: ["request-of-a"] });
    world.advance(1000);
  }

  const revoked = world.decisions.flatMap(({ kind }) =>
    kind?.$case === "leaseRevoked" ? [kind.value.reason] : [],
  );
  expect(revoked).toContain("expired");
});

test("progress keeps a lease alive", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();

  for (const piece of ALL.slice(0, 3)) {
    world.nowMs += 15_000;
    world.hold("b", [piece]);
    world.advance(0);
  }

  expect(world.state.leases.size).toBe(1);
});

test("a host that is silent for several announce intervals is lost, with its leases", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();

  world.nowMs += HOST_LOST_AFTER_MS - 10;
  world.announce("b", { liveRequestIds: ["request-of-b"] });
  const answers = world.advance(20);

  expect(world.state.hosts.get("a")?.state).toBe("lost");
  expect(world.state.hosts.get("b")?.state).toBe("alive");
  expect(kinds(answers)).toContain("lease_end b");
  expect(world.grants.at(-1)).toMatchObject({ childHostId: "b", parentHostId: "" });
});

test("a host that left is no parent until it announces itself again", () => {
  const world = worldWithHolder();
  world.tell("a", { $case: "hostLeft", value: {} });
  world.request("b", { canReadOrigin: false });
  const waiting = world.decide();

  world.announce("a");
  const served = world.decide();

  expect(kinds(waiting)).toEqual(["pending b"]);
  expect(kinds(served)).toContain("lease b");
});

test("a new process of a host ends what its predecessor's clients waited for, and keeps what the disk holds", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  world.hold("b", [0]);

  world.reboot("b", "boot-2");
  world.announce("b");
  world.decide();

  const peer = world.state.tasks.get(TASK)?.peers.get("b");
  expect(world.state.leases.size).toBe(0);
  expect(peer?.requests.size).toBe(0);
  expect([...(peer?.held ?? [])]).toEqual([0]);
});

test("a request that an announce no longer lists is over", () => {
  const world = worldWithHolder();
  world.request("b");
  world.announce("b", { liveRequestIds: [] });
  world.decide();

  expect(world.state.hosts.get("b")?.requests.size).toBe(0);
  expect(world.grants.filter((grant) => grant.childHostId === "b")).toEqual([]);
});

test("a lease that nobody at the child wants any more is revoked", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();

  world.tell("b", { $case: "requestEnded", value: { taskId: TASK, requestId: "request-of-b" } });
  const answers = world.decide();

  expect(answers).toMatchObject([{ kind: "lease_end", hostId: "b", reason: "unwanted" }]);
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
  world.hold("a", ALL, 1);
  const toldAgain = world.decide();
  const old = world.state.tasks.get(TASK)?.peers.get("a")?.held.count;
  world.hold("a", [0], 2);

  expect(kinds(dropped)).toEqual(expect.arrayContaining(["drop_task a", "drop_task b"]));
  expect(kinds(toldAgain)).toContain("drop_task a");
  expect(world.grants.at(-1)).toMatchObject({ childHostId: "c", parentHostId: "", open: true });
  expect(old).toBe(0);
  expect(world.state.tasks.get(TASK)?.peers.get("a")?.held.count).toBe(1);
});

test("two hosts that report different digests for a piece quarantine the task", () => {
  const world = worldWithHolder();
  world.tell("b", {
    $case: "piecesAvailable",
    value: {
      taskId: TASK,
      incarnation: 1,
      bitmap: bitmapOf([2]),
      digests: digestsOf([2], 9),
      leasesEnded: [],
    },
  });

  world.decide();

  expect(world.decisions.at(-1)?.kind).toMatchObject({
    $case: "taskRetired",
    value: { reason: "digest_conflict" },
  });
});

test("another length for content without an anchor retires the task; with an anchor it is only counted", () => {
  const plain = worldWithHolder();
  plain.describe("b", { lengthBytes: 5 * MIB });
  plain.decide();
  const anchored = new SchedulerWorld();
  anchored.announce("a");
  anchored.request("a", { anchor: `sha256:${"0".repeat(64)}` });
  anchored.describe("a");
  anchored.describe("b", { lengthBytes: 5 * MIB });
  anchored.decide();

  expect(plain.state.tasks.get(TASK)?.state).toBe("retired");
  expect(anchored.state.tasks.get(TASK)?.state).toBe("active");
  expect(anchored.state.contained.get("description differs")).toBe(1);
});

test("an origin that refused a request is not read for it again at once", () => {
  const world = new SchedulerWorld();
  world.announce("a");
  world.request("a");
  world.describe("a");
  world.decide();
  const lease = world.grants.at(-1);
  if (lease === undefined) throw new Error("no lease was granted");

  world.fail("a", lease, "origin_refused");
  const refused = world.decide();
  world.advance(500);
  const early = world.grants.length;
  world.advance(600);

  expect(kinds(refused)).toEqual(["pending a"]);
  expect(early).toBe(1);
  expect(world.grants).toHaveLength(2);
});

test("uploads of a parent stay within its slots", () => {
  const world = worldWithHolder();
  world.announce("a", { uploadSlots: 1, full: true });
  world.request("b");
  world.request("c");

  const answers = world.decide();

  expect(kinds(answers).toSorted()).toEqual(["lease b", "pending c"]);
});

test("among equally loaded parents the nearer one is taken", () => {
  const world = worldWithHolder();
  world.announce("a", { idc: "far" });
  world.announce("c", { idc: "near" });
  world.announce("b", { idc: "near" });
  world.hold("c", ALL);
  world.request("b");

  world.decide();

  expect(world.grants.at(-1)?.parentHostId).toBe("c");
});

test("an unknown host, and one whose inventory keeps differing, are asked for everything", () => {
  const world = new SchedulerWorld();
  world.request("stranger");
  const asked = world.decide();
  world.announce("a");
  world.decide();
  const other = inventoryDigest([{ taskId: TASK, incarnation: 1, heldPieceCount: 1 }]);
  world.announce("a", { full: false, inventoryDigest: other });
  const once = world.decide();
  world.announce("a", { full: false, inventoryDigest: other });
  const twice = world.decide();

  expect(kinds(asked)).toContain("announce_full stranger");
  expect(kinds(once)).toEqual([]);
  expect(kinds(twice)).toEqual(["announce_full a"]);
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
