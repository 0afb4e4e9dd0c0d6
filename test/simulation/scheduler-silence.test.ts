import { expect, test } from "vitest";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { must } from "@lacewing/scheduler/core/invariant.ts";
import { whyWaiting } from "@lacewing/scheduler/core/matching/why-waiting.ts";
import {
  HOST_LOST_AFTER_MS,
  MISSED_ANNOUNCE_MS,
  SILENT_REST_MS,
} from "@lacewing/scheduler/core/limits.ts";
import { ALL_PIECES, SchedulerWorld, TASK, worldWithHolder } from "../support/scheduler-world.ts";

/** An expired lease is revoked a little later, at a tick. */
const EXPIRED_AFTER_MS = 5_000;

const LARGE_PIECES = [...Array(48).keys()];

function holdAll(world: SchedulerWorld, hostId: string): void {
  world.announce(hostId);
  world.hold(hostId, LARGE_PIECES);
}

/** A child with leases of a part of the content from each of two parents, and a third host that holds it too. */
function withSilentParents({ isAnyOther } = { isAnyOther: true }): SchedulerWorld {
  const world = new SchedulerWorld();
  world.announce("child");
  world.request("child", { canReadOrigin: false });
  world.describe("child", { lengthBytes: LARGE_PIECES.length * 2 ** 20 });
  world.decide();
  for (const hostId of ["silent-1", "silent-2"]) holdAll(world, hostId);
  world.decide();
  if (isAnyOther) holdAll(world, "good");
  world.decide();
  return world;
}

test("a child whose parents are silent takes a lease from another, before theirs run out", () => {
  const world = withSilentParents();
  expect(world.grants.map(({ parentHostId }) => parentHostId)).toEqual(["silent-1", "silent-2"]);

  world.advance(1_000);

  expect(world.grants.at(-1)).toMatchObject({ childHostId: "child", parentHostId: "good" });
  const brought = [...indexesOf(world.newestLease.pieces)];
  const count = world.grants.length;
  world.advance(1_000);
  expect(world.grants).toHaveLength(count);

  world.nowMs += 100;
  world.hold("child", brought);
  world.decide();

  expect(world.grants.length).toBeGreaterThan(count);
  expect(world.grants.at(-1)).toMatchObject({ childHostId: "child", parentHostId: "good" });
});

test("a host that let its lease run out without a word gets none for a while, and its parent is not blamed", () => {
  const world = worldWithHolder();
  world.announce("dead");
  world.request("dead", { canReadOrigin: false });
  world.decide();
  const expired = () => world.advance(world.newestLease.durationMs + EXPIRED_AFTER_MS);
  expect(world.newestLease).toMatchObject({ childHostId: "dead", parentHostId: "a" });

  expired();
  const count = world.grants.length;
  world.advance(SILENT_REST_MS - 1);
  expect(world.grants).toHaveLength(count);
  expect(world.state.hosts.get("a")?.slotShare).toBe(1);
  const task = must(world.state.tasks.get(TASK), "task");
  const dead = must(task.peers.get("dead"), "peer");
  expect(whyWaiting({ state: world.state, task, nowMs: world.nowMs }, dead)).toBe(
    "the host let its last lease run out without a word",
  );
  // The living are served meanwhile.
  world.request("b", { canReadOrigin: false });
  world.decide();
  expect(world.newestLease).toMatchObject({ childHostId: "b", parentHostId: "a" });
  world.hold("b", ALL_PIECES);

  world.advance(1);
  expect(world.newestLease).toMatchObject({ childHostId: "dead" });
  expired();
  const again = world.grants.length;
  world.advance(2 * SILENT_REST_MS - 1);
  expect(world.grants).toHaveLength(again);
  world.announce("dead", { liveRequestIds: ["request-of-dead"] });
  world.decide();
  expect(world.grants.length).toBeGreaterThan(again);
});

test("a silent child that speaks again lived: its parent is to blame, unless the child was started anew", () => {
  const speaking = ["boot-of-b", "boot-2"].map((bootId) => {
    const world = worldWithHolder();
    world.hold("c", ALL_PIECES);
    world.request("b", { canReadOrigin: false });
    world.decide();
    const lease = world.newestLease;
    world.advance(lease.durationMs + EXPIRED_AFTER_MS);
    if (bootId === "boot-2") world.reboot("b", bootId);
    world.announce("b");
    world.request("b", { canReadOrigin: false });
    world.decide();
    const parent = world.state.hosts.get(lease.parentHostId);
    const isAvoided = world.newestLease.parentHostId !== lease.parentHostId;
    return { slotShare: parent?.slotShare, isAvoided };
  });

  expect(speaking[0]).toEqual({ slotShare: 0.5, isAvoided: true });
  expect(speaking[1]?.slotShare).toBe(1);
});

test("a lease that ends because its child has missed an announce, and not because it ran out, is no fault of its parent", () => {
  const world = new SchedulerWorld();
  world.announce("b");
  world.request("b", { canReadOrigin: false });
  world.advance(MISSED_ANNOUNCE_MS - 5_000);
  world.announce("a");
  world.describe("a");
  world.hold("a", ALL_PIECES);
  world.decide();
  expect(world.newestLease).toMatchObject({ childHostId: "b", parentHostId: "a" });
  world.advance(6_000);
  expect(world.state.tasks.get(TASK)?.peers.get("b")?.leases).toEqual([]);

  world.announce("b", { liveRequestIds: ["request-of-b"] });
  world.decide();

  expect(world.state.hosts.get("a")).toMatchObject({ slotShare: 1 });
  expect(world.newestLease).toMatchObject({ childHostId: "b", parentHostId: "a" });
});

test("a seed that was silent is given leases again, though no client waits for it", () => {
  const world = worldWithHolder();
  world.announce("seed", { kind: "seed" });
  world.request("b", { canReadOrigin: false });
  world.decide();
  world.hold("b", ALL_PIECES);
  world.tell("b", { $case: "requestEnded", value: { taskId: TASK, requestId: "request-of-b" } });
  world.decide();
  expect(world.newestLease).toMatchObject({ childHostId: "seed" });
  world.advance(world.newestLease.durationMs + EXPIRED_AFTER_MS);
  const count = world.grants.length;

  world.announce("seed", { kind: "seed" });
  world.decide();

  expect(world.grants).toHaveLength(count + 1);
  expect(world.newestLease).toMatchObject({ childHostId: "seed" });
});

test("leases of one host that run out together are one silence", () => {
  const world = withSilentParents();
  world.advance(world.newestLease.durationMs + EXPIRED_AFTER_MS);

  const child = world.state.hosts.get("child");
  expect(child).toMatchObject({ isSilent: true, silenceCount: 1 });
  world.announce("child", { liveRequestIds: ["request-of-child"] });
  expect(child).toMatchObject({ isSilent: false, silenceCount: 0, unblamedHostIds: [] });
});

test("a host that has missed an announce loses its lease and is given none until it is heard of", () => {
  const world = worldWithHolder();
  world.request("b", { canReadOrigin: false });
  world.decide();
  world.advance(MISSED_ANNOUNCE_MS - SILENT_REST_MS - 1_000);
  world.advance(SILENT_REST_MS);
  const silent = must(world.state.tasks.get(TASK)?.peers.get("b"), "peer");
  expect(silent.leases).toHaveLength(1);

  world.advance(1_001);

  expect(silent.leases).toEqual([]);
  const count = world.grants.length;
  world.advance(HOST_LOST_AFTER_MS - MISSED_ANNOUNCE_MS - 2_000);
  expect(silent.host).toMatchObject({ state: "alive", isSilent: false });
  expect(world.grants).toHaveLength(count);
  const task = must(world.state.tasks.get(TASK), "task");
  expect(whyWaiting({ state: world.state, task, nowMs: world.nowMs }, silent)).toBe(
    "the host has missed an announce",
  );

  world.announce("b", { liveRequestIds: ["request-of-b"] });
  world.decide();

  expect(world.grants).toHaveLength(count + 1);
  expect(world.newestLease).toMatchObject({ childHostId: "b", parentHostId: "a" });
});

test("what nobody has described yet is read by another when its reader falls silent", () => {
  const world = new SchedulerWorld();
  for (const hostId of ["dead", "live"]) {
    world.announce(hostId);
    world.request(hostId);
  }
  world.decide();
  expect(world.newestLease).toMatchObject({ childHostId: "dead", open: true });

  for (const _ of [1, 2]) {
    world.advance(25_000);
    world.announce("live", { liveRequestIds: ["request-of-live"] });
  }

  expect(world.newestLease).toMatchObject({ childHostId: "live", open: true });
});

test("leases that bring their first pieces late leave no room for another beside them any more", () => {
  const world = withSilentParents({ isAnyOther: false });
  world.advance(1_000);
  world.hold(
    "child",
    world.grants.map(({ pieces }) => pieces[0]?.start ?? 0),
  );
  const count = world.grants.length;

  holdAll(world, "good");
  world.decide();

  expect(world.grants).toHaveLength(count);
});
