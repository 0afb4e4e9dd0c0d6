import { expect, test } from "vitest";
import { kindsOf, SchedulerWorld } from "../support/scheduler-world.ts";

const COUNT = 200;
const LENGTH = 20 * 1024;

/** Tasks of one piece of 20 KiB, over all slices. */
const TASKS = Array.from(
  { length: COUNT },
  (_, at) => (at % 64).toString(16).padStart(2, "0") + at.toString(16).padStart(62, "0"),
);

/** One host has read all contents from the origin, one after the other as clients asked. */
function worldWithContents(): SchedulerWorld {
  const world = new SchedulerWorld();
  world.announce("seed", { kind: "seed", uploadSlots: 16 });
  for (const hostId of ["first", "second"]) world.announce(hostId, { uploadSlots: 16 });
  for (const taskId of TASKS) {
    world.request("first", { taskId, requestId: `first-${taskId.slice(-8)}` });
  }
  world.decide();
  for (const taskId of TASKS) {
    const lengths = { lengthBytes: LENGTH, pieceLengthBytes: 2 ** 20 };
    world.describe("first", { taskId, ...lengths });
    world.hold("first", [0], 1, taskId);
    endLease(world, "first", taskId, 1);
    const requestId = `first-${taskId.slice(-8)}`;
    world.tell("first", { $case: "requestEnded", value: { taskId, requestId } });
    world.advance(3);
  }
  return world;
}

/** The host has all that its lease was to bring, after so long. */
function endLease(world: SchedulerWorld, hostId: string, taskId: string, durationMs: number): void {
  const lease = world.grants.find(
    (grant) => grant.taskId === taskId && grant.childHostId === hostId,
  );
  if (lease === undefined) throw new Error(`${hostId} has no lease of ${taskId}`);
  world.tell(hostId, {
    $case: "piecesAvailable",
    value: {
      taskId,
      incarnation: 1,
      bitmap: Uint8Array.of(1),
      digests: [],
      leasesEnded: [{ leaseId: lease.leaseId, bytes: LENGTH, durationMs }],
    },
  });
}

function granteesOf(world: SchedulerWorld, childHostId: string): number {
  return world.grants.filter((grant) => grant.childHostId === childHostId).length;
}

test("a seed is given each of many small contents as soon as somebody holds it", () => {
  const world = worldWithContents();

  expect(granteesOf(world, "seed")).toBe(COUNT);
});

test("many small contents that a neighbour holds are all granted in the turn in which they are asked for", () => {
  const world = worldWithContents();
  for (const taskId of TASKS) world.hold("seed", [0], 1, taskId);
  world.advance(1000);

  for (const taskId of TASKS) {
    world.request("second", { taskId, requestId: `second-${taskId.slice(-8)}` });
  }
  world.decide();

  expect(granteesOf(world, "second")).toBe(COUNT);
});

test("how long a small content took says nothing about its host's link: no child waits for another source", () => {
  const world = worldWithContents();
  for (const [at, taskId] of TASKS.entries())
    endLease(world, "seed", taskId, at % 10 === 0 ? 1 : 300);
  world.tell("seed", { $case: "hostLeft", value: {} });
  world.advance(10);
  for (const taskId of TASKS) {
    world.request("second", { taskId, requestId: `second-${taskId.slice(-8)}` });
  }
  world.decide();

  expect(granteesOf(world, "second")).toBe(COUNT);
});

test("a seed that gathers what it keeps is not told again of a small content before it has fetched it", () => {
  const world = worldWithContents();
  const told: number[] = [];
  for (let second = 1; second <= 8; second++) {
    if (kindsOf(world.advance(1_000)).includes("lease seed")) told.push(second);
  }

  expect(told[0]).toBeGreaterThanOrEqual(7);
});

test("what a child tells of a lease that ended already does not take its bytes away", () => {
  const world = worldWithContents();
  const [taskId = ""] = TASKS;
  endLease(world, "seed", taskId, 30);
  const lease = world.grants.find(
    (grant) => grant.taskId === taskId && grant.childHostId === "seed",
  );
  const leaseId = lease?.leaseId ?? "";
  const bitmap = Uint8Array.of(1);
  const leasesEnded = [{ leaseId, bytes: 0, durationMs: 0 }];
  world.tell("seed", {
    $case: "piecesAvailable",
    value: { taskId, incarnation: 1, bitmap, digests: [], leasesEnded },
  });

  const { bytes, transferMs } = world.state.touched.leases.get(leaseId) ?? {};
  expect({ bytes, transferMs }).toEqual({ bytes: LENGTH, transferMs: 30 });
});
