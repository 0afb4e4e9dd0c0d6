import { ORIGIN_RESTS } from "@lacewing/contracts/events/reasons.ts";
import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { kindsOf, SchedulerWorld, TASK } from "../../../../test/support/scheduler-world.ts";

const REFUSED = { taskId: TASK, leaseId: "", parentHostId: "", pieces: [] };

/** An origin that says 429 to `a` at once, and then every fifteen seconds for as long as the test looks. */
function exhaustedWorld(): SchedulerWorld {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b"]) world.announce(hostId);
  world.request("a", { canReadOrigin: false });
  return world;
}

/** When `b` was given a lease, seconds after the beginning. */
function grantedAfter(world: SchedulerWorld, secondsMax: number): number | undefined {
  for (let second = 0; second < secondsMax; second++) {
    if (second % 15 === 0) world.fail("a", REFUSED, "origin_refused", 0, 3_600_000);
    world.decide();
    if (world.grants.length > 0) return second;
    world.advance(1_000);
  }
  return undefined;
}

test("a request that waits is delayed once, however often the origin refuses another client", () => {
  const world = exhaustedWorld();
  world.request("b");
  expect(grantedAfter(world, 60)).toBe(20);
});

test("a request that has waited for others already is delayed only for as long as its client waits in all", () => {
  const world = exhaustedWorld();
  world.request("b");
  world.nowMs += 12_000;
  expect(grantedAfter(world, 60)).toBe(8);
});

test("a request that asks again is not new", () => {
  const world = exhaustedWorld();
  world.fail("a", REFUSED, "origin_refused", 0, 3_600_000);
  world.request("b");
  world.advance(14_000);
  world.fail("a", REFUSED, "origin_refused", 0, 3_600_000);
  world.request("b");
  world.advance(7_000);
  expect(world.grants).toHaveLength(1);
});

test("a host that the origin answers well after it refused another one reads at once", () => {
  const world = exhaustedWorld();
  world.fail("a", REFUSED, "origin_refused", 0, 3_600_000);
  world.request("b");
  world.decide();
  expect(world.grants).toEqual([]);
  world.advance(1_000);
  world.describe("b");
  world.decide();
  expect(world.grants.map(({ childHostId }) => childHostId)).toEqual(["b"]);
  world.fail("a", REFUSED, "origin_refused", 0, 3_600_000);
  expect(world.state.tasks.get(TASK)?.peers.get("b")?.firstRequest?.originRefusedUntilMs).toBe(
    world.nowMs,
  );
});

test("a request is told that it waits for the origin's rest, and its host's word of a good answer ends the wait, described content too", () => {
  const world = exhaustedWorld();
  world.describe("a");
  world.fail("a", REFUSED, "origin_refused", 0, 3_600_000);
  world.request("b");
  expect(world.decide()).toContainEqual(
    expect.objectContaining({ kind: "pending", hostId: "b", reason: ORIGIN_RESTS }),
  );
  world.describe("b");
  expect(kindsOf(world.decide())).toContain("lease b");
});
