import {
  HOST_FORGOTTEN_AFTER_MS,
  HOST_LOST_AFTER_MS,
  SWEEP_INTERVAL_MS,
  TASK_FORGOTTEN_AFTER_MS,
  TASK_REMEMBERED_MS,
} from "@lacewing/scheduler/core/limits.ts";
import { newState } from "@lacewing/scheduler/core/state.ts";
import { expect, test } from "vitest";
import {
  applyEntry,
  type SchedulerWorld,
  summaryOf,
  TASK,
  worldWithHolder,
} from "../support/scheduler-world.ts";

/** Time passes in steps, in which the hosts named say that they live. */
function live(world: SchedulerWorld, ms: number, hostIds: readonly string[]): void {
  for (let passed = 0; passed < ms; passed += SWEEP_INTERVAL_MS) {
    for (const hostId of hostIds) world.announce(hostId);
    world.advance(Math.min(SWEEP_INTERVAL_MS, ms));
  }
}

test("a task that nobody holds, wants or is sent is forgotten, in the replay too", () => {
  const world = worldWithHolder();
  live(world, 2 * TASK_FORGOTTEN_AFTER_MS, ["a", "b"]);
  const whileHeld = world.state.tasks.has(TASK);
  world.tell("a", {
    $case: "peerDropped",
    value: { taskId: TASK, incarnation: 2, reason: "evicted" },
  });

  live(world, 2 * TASK_FORGOTTEN_AFTER_MS, ["a", "b"]);

  expect(whileHeld).toBe(true);
  expect(world.state.tasks.has(TASK)).toBe(false);
  expect(world.state.hosts.get("a")?.peers.size).toBe(0);
  expect(world.state.touched.taskIds).toContain(TASK);
  const replayed = newState();
  for (const entry of world.log) applyEntry(replayed, entry);
  expect(summaryOf(replayed)).toEqual(summaryOf(world.state));
});

test("poisoned content is remembered for days, and then forgotten", () => {
  const world = worldWithHolder();
  world.tell("a", {
    $case: "taskPoisoned",
    value: { taskId: TASK, expectedDigest: "x", actualDigest: "y", reason: "anchor_mismatch" },
  });
  world.decide();

  world.advance(TASK_REMEMBERED_MS - 1000);
  const remembered = world.state.tasks.get(TASK)?.state;
  world.advance(SWEEP_INTERVAL_MS);

  expect(remembered).toBe("retired");
  expect(world.state.tasks.has(TASK)).toBe(false);
});

test("a host that does not come back for days is forgotten with its copies; until then it is only lost", () => {
  const world = worldWithHolder();
  world.advance(HOST_LOST_AFTER_MS + 1000);
  const lost = world.state.hosts.get("a")?.state;
  world.advance(HOST_FORGOTTEN_AFTER_MS + 1000);

  expect(lost).toBe("lost");
  expect(world.state.hosts.size).toBe(0);
  expect(world.state.tasks.get(TASK)?.peers.size ?? 0).toBe(0);
  world.announce("a");
  world.decide();
  expect(world.state.hosts.get("a")?.state).toBe("alive");
});
