import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { REQUESTS_PER_HOST_MAX } from "@lacewing/scheduler/core/limits.ts";
import { expect, test } from "vitest";
import {
  ALL_PIECES,
  bitmapOf,
  digestsOf,
  kindsOf,
  SchedulerWorld,
  TASK,
  worldWithHolder,
} from "../support/scheduler-world.ts";

test("a host that nobody has announced may report anything, and is no parent until it says who it is", () => {
  const world = new SchedulerWorld();
  world.announce("b");
  world.request("b", { canReadOrigin: false });
  world.describe("b");
  world.hold("stranger", ALL_PIECES);
  const before = world.decide();

  world.announce("stranger");
  world.hold("stranger", ALL_PIECES);
  world.decide();

  expect(kindsOf(before)).toContain("announce_full stranger");
  expect(kindsOf(before)).not.toContain("lease b");
  expect(world.grants.at(-1)).toMatchObject({ childHostId: "b", parentHostId: "stranger" });
});

test("pieces and digests beyond the last, and bits of an oversize bitmap, change nothing", () => {
  const world = worldWithHolder();
  world.tell("b", {
    $case: "piecesAvailable",
    value: {
      taskId: TASK,
      incarnation: 1,
      bitmap: bitmapOf([1, 4, 5, 70_000]),
      digests: digestsOf([4, 70_000]),
      leasesEnded: [],
    },
  });
  world.tell("b", {
    $case: "piecesFailed",
    value: {
      taskId: TASK,
      leaseId: "7-3-99",
      parentHostId: "a",
      pieceIndexes: [4, 70_000],
      reason: "stalled",
      detail: "",
      bytes: 0,
      durationMs: 1,
      retryAfterMs: 0,
    },
  });
  world.decide();

  const task = world.state.tasks.get(TASK);
  expect(task?.layout && pieceCountOf(task.layout)).toBe(4);
  expect([...(task?.peers.get("b")?.held ?? [])]).toEqual([1]);
  expect(task?.peers.get("b")?.retryFirst?.size ?? 0).toBe(0);
  expect(world.state.contained.get("failure of an unknown lease")).toBe(1);
});

/** The scheduler's own clock stamps what it folds; no message carries a time that a rule looks at. */
test("hosts whose clocks are days off are treated like all others", () => {
  const world = worldWithHolder();
  world.request("b");
  world.decide();
  const lease = world.grants.at(-1);
  if (lease === undefined) throw new Error("no lease was granted");
  world.tell("b", {
    $case: "piecesAvailable",
    value: {
      taskId: TASK,
      incarnation: 1,
      bitmap: bitmapOf(ALL_PIECES),
      digests: [],
      leasesEnded: [{ leaseId: lease.leaseId, bytes: 4, durationMs: 2 ** 52 }],
    },
  });
  world.request("c");
  world.advance(500);

  const served = world.grants.filter((grant) => grant.childHostId === "c");
  expect(served.length).toBeGreaterThan(0);
  for (const grant of served) expect(grant.durationMs).toBeLessThan(60_000);
});

test("a host that says it holds what it does not is passed over by the child that it failed, and believed no further", () => {
  const world = worldWithHolder();
  world.tell("a", { $case: "hostLeft", value: {} });
  world.hold("c", ALL_PIECES);
  world.request("b", { canReadOrigin: false });
  world.decide();
  const lease = world.grants.at(-1);
  if (lease === undefined) throw new Error("no lease was granted");

  world.fail("b", lease, "not_held");
  const answers = world.decide();

  expect(lease.parentHostId).toBe("c");
  expect(world.state.tasks.get(TASK)?.peers.get("c")?.held.count).toBe(0);
  expect(kindsOf(answers)).toContain("announce_full c");
  expect(world.grants.at(-1)).toEqual(lease);
});

test("a host that failed several children so is struck: it does not get away with saying it again", () => {
  const world = worldWithHolder();
  world.tell("a", { $case: "hostLeft", value: {} });
  for (const hostId of ["d", "e", "f"]) {
    world.announce(hostId);
    world.request(hostId, { canReadOrigin: false });
    world.hold("c", ALL_PIECES);
    world.decide();
    const lease = world.grants.findLast((grant) => grant.childHostId === hostId);
    if (lease === undefined) throw new Error("no lease was granted");
    world.fail(hostId, lease, "not_held");
  }
  world.hold("c", ALL_PIECES);
  world.request("b", { canReadOrigin: false });

  const answers = world.decide();

  expect(world.state.contained.get("reported pieces not held")).toBe(1);
  expect(kindsOf(answers)).toContain("pending b");
});

test("a host that asks for more than it could list has the rest refused, and counted", () => {
  const world = worldWithHolder();
  for (let number = 0; number <= REQUESTS_PER_HOST_MAX; number++) {
    world.request("b", { requestId: `request-${number}` });
  }

  expect(world.state.hosts.get("b")?.requests.size).toBe(REQUESTS_PER_HOST_MAX);
  expect(world.state.contained.get("too many requests of a host")).toBe(1);
});
