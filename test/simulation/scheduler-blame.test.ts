import { expect, test } from "vitest";
import { SUSPECT_ASKED_MS, SUSPECT_MS } from "@lacewing/scheduler/core/limits.ts";
import {
  ALL_PIECES,
  kindsOf,
  type SchedulerWorld,
  TASK,
  worldWithHolder,
} from "../support/scheduler-world.ts";

/** The child asks, is sent to a parent, and says that it failed; its request stays. */
function failOnce(world: SchedulerWorld, child: string, reason: string, canReadOrigin = false) {
  world.announce(child);
  world.request(child, { canReadOrigin });
  const before = world.grants.length;
  const asked = world.decide();
  const lease = world.grants.slice(before).find(({ childHostId }) => childHostId === child);
  if (lease === undefined)
    throw new Error(`${child} was granted nothing: ${kindsOf(asked).join()}`);
  world.fail(child, lease, reason);
  return { lease, answers: world.decide() };
}

function lastGrantOf(world: SchedulerWorld, child: string) {
  return world.grants.findLast(({ childHostId }) => childHostId === child);
}

/** Content that ten hosts hold, and nobody is sent. */
function worldWithTenHolders(): SchedulerWorld {
  const world = worldWithHolder();
  for (let number = 1; number < 10; number++) {
    world.announce(`a${number}`);
    world.hold(`a${number}`, ALL_PIECES);
  }
  world.decide();
  return world;
}

function struckHosts(world: SchedulerWorld): readonly string[] {
  const peers = world.state.tasks.get(TASK)?.peers.values() ?? [];
  return [...peers].filter(({ isStruck }) => isStruck).map(({ hostId }) => hostId);
}

test("a parent that sent one child wrong bytes looks at its copy; the child goes elsewhere, others go on", () => {
  const world = worldWithHolder();

  const { answers } = failOnce(world, "b", "digest_mismatch", true);
  world.request("c", { canReadOrigin: false });
  world.decide();

  const recheck = { kind: "recheck", hostId: "a", taskId: TASK, pieceIndexes: ALL_PIECES };
  expect(answers).toContainEqual(recheck);
  expect(lastGrantOf(world, "b")?.parentHostId).toBe("");
  expect(lastGrantOf(world, "c")?.parentHostId).toBe("a");
});

test.each(["digest_mismatch", "malformed", "not_held"])(
  "a parent of which three children say %s gives nobody the task any more, before a new incarnation",
  (reason) => {
    const world = worldWithHolder();
    for (const child of ["x", "y", "z"]) {
      world.hold("a", ALL_PIECES);
      failOnce(world, child, reason);
    }
    world.hold("a", ALL_PIECES);
    world.request("c", { canReadOrigin: false });
    const answers = kindsOf(world.decide());
    world.hold("a", ALL_PIECES, 2);
    world.decide();

    expect(answers).toContain("pending c");
    expect(lastGrantOf(world, "c")?.parentHostId).toBe("a");
  },
);

test("three hosts that call all bytes wrong take no content from the others", () => {
  const world = worldWithTenHolders();
  for (const child of ["x", "y", "z"]) {
    world.announce(child);
    world.request(child, { canReadOrigin: false });
  }
  let reportCount = 0;
  for (let second = 0; second < 120; second++) {
    const before = world.grants.length;
    if (second % 20 === 0)
      for (const host of world.state.hosts.keys())
        world.announce(host, { full: false, liveRequestIds: [`request-of-${host}`] });
    world.advance(1_000);
    for (const lease of world.grants.slice(before)) {
      world.fail(lease.childHostId, lease, "digest_mismatch");
      reportCount++;
    }
  }
  world.request("c", { canReadOrigin: false });
  world.decide();

  expect(reportCount).toBeGreaterThan(30);
  expect(struckHosts(world).length).toBeLessThanOrEqual(2);
  expect(lastGrantOf(world, "c")?.parentHostId).not.toBe("");
  expect(world.state.contained.get("accuses many parents")).toBeGreaterThan(0);
});

test("what children said of a copy that is gone counts no longer against their word", () => {
  const world = worldWithHolder();
  for (let incarnation = 1; incarnation <= 3; incarnation++) {
    world.hold("a", ALL_PIECES, incarnation);
    world.advance(60_000);
    failOnce(world, "x", "digest_mismatch");
  }

  expect(world.state.contained.get("accuses many parents")).toBeUndefined();
  expect(world.state.tasks.get(TASK)?.peers.get("a")?.accusedBy).toEqual(new Set(["x"]));
});

test.each(["not_held", "busy", "stalled", "short"])(
  "a host that was not sent to a parent and says %s goes elsewhere itself, and takes the parent from nobody",
  (reason) => {
    const world = worldWithHolder();
    const slotsBefore = world.state.hosts.get("a")?.slotShare;
    world.request("b", { canReadOrigin: false });
    world.decide();
    const lease = lastGrantOf(world, "b");
    if (lease === undefined) throw new Error("b was granted nothing");
    world.announce("x");
    world.request("x", { canReadOrigin: false });
    // By no lease, and by one of another host.
    world.fail("x", { ...lease, leaseId: "" }, reason);
    world.fail("x", lease, reason);
    const answers = kindsOf(world.decide());
    world.request("c", { canReadOrigin: false });
    world.decide();

    const parent = world.state.tasks.get(TASK)?.peers.get("a");
    expect(parent?.held.count).toBe(ALL_PIECES.length);
    expect(parent?.host.slotShare).toBe(slotsBefore);
    expect(answers).toContain("pending x");
    expect(answers).not.toContain("announce_full a");
    expect(lastGrantOf(world, "c")?.parentHostId).toBe("a");
    expect(world.state.contained.get("blame without a lease")).toBe(2);
  },
);

test("a child takes no other pieces from a parent than those that it was sent for", () => {
  const world = worldWithHolder();
  world.hold("b", [0, 1]);
  world.request("b", { canReadOrigin: false });
  world.decide();
  const lease = lastGrantOf(world, "b");
  if (lease === undefined) throw new Error("b was granted nothing");
  world.fail("b", { ...lease, pieces: [{ start: 0, count: 4 }] }, "not_held");

  expect(lease.pieces).toEqual([{ start: 2, count: 2 }]);
  expect([...(world.state.tasks.get(TASK)?.peers.get("a")?.held ?? [])]).toEqual([0, 1]);
});

test("a child that is short of room says so of itself, whatever became of its lease", () => {
  const world = worldWithHolder();
  world.announce("s", { kind: "seed" });
  world.request("b");
  world.decide();
  const isSeeding = () => world.state.tasks.get(TASK)?.peers.get("s")?.isSeeding;
  const wasSeeding = isSeeding();
  world.fail("s", { taskId: TASK, leaseId: "", parentHostId: "a", pieces: [] }, "storage");

  expect([wasSeeding, isSeeding()]).toEqual([true, false]);
});

test("only who was sent to a parent can accuse it", () => {
  const world = worldWithTenHolders();
  const pieces = [{ start: 0, count: 1 }];
  for (const child of ["x", "y", "z"]) {
    world.announce(child);
    world.request(child, { canReadOrigin: false });
    const lease = { taskId: TASK, leaseId: "", parentHostId: "a", pieces };
    world.fail(child, lease, "digest_mismatch");
  }

  expect(kindsOf(world.decide())).not.toContain("recheck a");
  expect(struckHosts(world)).toEqual([]);
});

test("a host that is cut off from a parent keeps nobody else from it", () => {
  const world = worldWithHolder();
  world.nowMs += 10_000;
  const { answers } = failOnce(world, "b", "unreachable");
  const asked = kindsOf(answers);
  world.advance(SUSPECT_ASKED_MS - 1);
  world.request("c");
  world.decide();
  const first = lastGrantOf(world, "c");
  // Its answer.
  world.announce("a");
  world.advance(SUSPECT_ASKED_MS + 500);
  expect(asked).toContain("announce_full a");
  expect(first?.parentHostId).toBe("a");
  expect(world.state.hosts.get("a")?.isSuspect).toBe(false);
});

test("a parent that was heard of a moment ago is not asked again: many that are cut off would keep it busy", () => {
  const world = worldWithHolder();
  world.nowMs += 10_000;
  world.announce("a");
  world.advance(SUSPECT_ASKED_MS - 1);

  const { answers } = failOnce(world, "b", "unreachable");
  world.advance(2 * SUSPECT_ASKED_MS);

  expect(kindsOf(answers)).not.toContain("announce_full a");
  expect(world.state.hosts.get("a")?.isSuspect).toBe(false);
});

test("a child that cannot reach a parent reads the origin at once: for it there is no copy", () => {
  const world = worldWithHolder();
  world.nowMs += 10_000;

  failOnce(world, "b", "unreachable", true);

  expect(lastGrantOf(world, "b")?.parentHostId).toBe("");
});

test("a parent that a child could not reach and that does not answer is left alone, until its time is over or it is heard of", () => {
  const world = worldWithHolder();
  world.nowMs += 10_000;
  failOnce(world, "b", "unreachable");
  world.advance(SUSPECT_ASKED_MS);
  world.request("c", { canReadOrigin: false });
  const answers = kindsOf(world.decide());
  const copyOf = () => world.state.hosts.get("a")?.isSuspect;
  const isSuspect = copyOf();
  world.advance(SUSPECT_MS);
  const isSuspectLater = copyOf();
  // Silent still: now one report is enough.
  const lease = lastGrantOf(world, "c");
  if (lease === undefined) throw new Error("c was granted nothing when the time was over");
  world.fail("c", lease, "unreachable");
  world.advance(1);
  const isSuspectAgain = copyOf();
  world.announce("a");

  expect(answers).toContain("pending c");
  expect([isSuspect, isSuspectLater, isSuspectAgain, copyOf()]).toEqual([true, false, true, false]);
});

test("a parent that was named while nobody listened has its time to answer from then on", () => {
  const world = worldWithHolder();
  world.nowMs += 10_000;
  failOnce(world, "b", "unreachable");
  // The scheduler that folds it starts much later: the question leaves only now.
  world.nowMs += SUSPECT_MS;
  world.listenAgain();
  world.advance(SUSPECT_ASKED_MS - 1);
  const copyOf = () => world.state.hosts.get("a")?.isSuspect;
  const isSuspectAtOnce = copyOf();
  world.advance(1);
  const isSuspect = copyOf();
  world.advance(SUSPECT_MS);

  expect([isSuspectAtOnce, isSuspect, copyOf()]).toEqual([false, true, false]);
});
