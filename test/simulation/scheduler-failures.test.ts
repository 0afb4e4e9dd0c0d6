import { expect, test } from "vitest";
import { inventoryDigest } from "@lacewing/contracts/inventory.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { HOST_LOST_AFTER_MS } from "@lacewing/scheduler/core/limits.ts";
import {
  ALL_PIECES,
  kindsOf,
  SchedulerWorld,
  TASK,
  taskIdOfSlice,
  worldWithHolder,
} from "../support/scheduler-world.ts";

test("pieces that failed are leased again, from another holder", () => {
  const world = worldWithHolder();
  world.hold("c", ALL_PIECES);
  world.request("b");
  world.decide();
  const lease = world.newestLease;

  world.fail("b", lease, "stalled");
  world.decide();

  const again = world.grants.at(-1);
  expect(again?.parentHostId).not.toBe(lease.parentHostId);
  expect(again).toMatchObject({ childHostId: "b", pieces: lease.pieces });
});

test("a child whose only parent hangs reads the origin at once: another ten seconds would be too many", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const lease = world.newestLease;

  world.fail("b", lease, "stalled");
  world.decide();

  expect(world.grants.at(-1)).toMatchObject({ childHostId: "b", parentHostId: "" });
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

test("when no piece arrives anywhere for long, a second host reads from the origin what the first does not deliver", () => {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b"]) {
    world.announce(hostId);
    world.request(hostId);
  }
  world.describe("a");
  world.decide();
  const first = world.grants.at(-1);

  const early = world.grants.length;
  for (let second = 0; second < 12; second++) world.advance(1000);

  expect(early).toBe(1);
  expect(world.grants.slice(1)).toHaveLength(1);
  expect(world.grants.at(-1)).toMatchObject({ parentHostId: "", pieces: [{ count: 1 }] });
  expect(world.grants.at(-1)?.reason).toMatch(/^origin rep=1: no piece arrived for 1\d\.\ds$/);
  expect(world.grants.at(-1)?.childHostId).not.toBe(first?.childHostId);
});

test("progress keeps a lease alive", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();

  for (const piece of ALL_PIECES.slice(0, 3)) {
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
  expect(kindsOf(answers)).toContain("lease_end b");
  expect(world.grants.at(-1)).toMatchObject({ childHostId: "b", parentHostId: "" });
});

test("a host that left is no parent until it announces itself again", () => {
  const world = worldWithHolder();
  world.tell("a", { $case: "hostLeft", value: {} });
  world.request("b", { canReadOrigin: false });
  const waiting = world.decide();

  world.announce("a");
  const served = world.decide();

  expect(kindsOf(waiting)).toEqual(["pending b"]);
  expect(kindsOf(served)).toContain("lease b");
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

  expect(kindsOf(asked)).toContain("announce_full stranger");
  expect(kindsOf(once)).toEqual([]);
  expect(kindsOf(twice)).toEqual(["announce_full a"]);
});

test("a child is told again of a lease of which nothing is heard, ever more seldom, until a piece has come", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const count = world.grants.length;
  const secondsTold: number[] = [];
  for (let second = 1; second <= 6; second++) {
    if (kindsOf(world.advance(1_000)).includes("lease b")) secondsTold.push(second);
  }

  expect(secondsTold).toEqual([1, 2, 3, 6]);
  expect(world.grants).toHaveLength(count);
});

test("a child whose lease brought a piece is not told of it again", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const [first] = indexesOf(world.newestLease.pieces);
  world.nowMs += 100;
  world.hold("b", [first ?? 0]);
  world.decide();

  const answers = [1, 2, 3].flatMap(() => world.advance(1_000));

  expect(kindsOf(answers)).not.toContain("lease b");
});

test("an upload slot that was offered to a copy struck meanwhile goes to another content of the host", () => {
  const world = new SchedulerWorld();
  const contents = [1, 2, 3].map((slice) => ({
    taskId: taskIdOfSlice(slice),
    child: `child${slice}`,
  }));
  world.announce("a", { uploadSlots: 1 });
  for (const { taskId, child } of contents) {
    world.announce(child);
    world.request("a", { taskId, requestId: taskId });
    world.decide();
    world.describe("a", { taskId });
    world.hold("a", ALL_PIECES, 1, taskId);
    world.tell("a", { $case: "requestEnded", value: { taskId, requestId: taskId } });
    world.decide();
  }
  for (const { taskId, child } of contents) {
    world.request(child, { taskId, requestId: child, canReadOrigin: false });
    world.decide();
  }
  const [first = "", second = ""] = contents.map(({ taskId }) => taskId);

  world.hold("child1", ALL_PIECES, 1, first);
  const unknown = { taskId: second, leaseId: "2-3-99", parentHostId: "a", pieces: [] };
  world.fail("child2", unknown, "malformed");
  world.decide();
  world.advance(1_000);

  expect(world.newestLease).toMatchObject({ childHostId: "child3", parentHostId: "a" });
});
