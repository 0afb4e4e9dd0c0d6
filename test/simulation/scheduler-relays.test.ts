import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { expect, test } from "vitest";
import { remainingOf } from "@lacewing/scheduler/core/leases.ts";
import { kindsOf, MIB, SchedulerWorld, TASK } from "../support/scheduler-world.ts";

const PIECE_COUNT = 32;
const PIECE_BYTES = 4 * MIB;
const OPENER = "host-0";

/** Hosts that want a content at the same time; the first reads it from the origin, and has its first piece. */
function crowd(hostCount: number, announced: { uploadSlots?: number; idc?: string } = {}) {
  const world = new SchedulerWorld();
  for (let number = 0; number < hostCount; number++) {
    world.announce(`host-${number}`, number === 1 ? announced : {});
    world.request(`host-${number}`);
    world.decide();
  }
  world.advance(1);
  world.describe(OPENER, { lengthBytes: PIECE_COUNT * PIECE_BYTES, pieceLengthBytes: PIECE_BYTES });
  world.decide();
  world.advance(100);
  world.hold(OPENER, [0]);
  const answers = world.decide();
  return { world, answers };
}

/** Live leases that were granted ahead, with what they are of. */
function relayed(world: SchedulerWorld) {
  return [...world.state.leases.values()].filter(({ isAhead }) => isAhead);
}

test("a crowd relays: each host is granted every piece at once, in two halves, from two parents that pass half of it on to two others at most", () => {
  const { world } = crowd(9);

  const leases = relayed(world);
  const childrenOf = Map.groupBy(leases, ({ parentHostId }) => parentHostId);
  for (let number = 1; number < 9; number++) {
    const taken = leases.filter(({ childHostId }) => childHostId === `host-${number}`);
    const pieces = taken.flatMap((lease) => [...indexesOf(lease.pieces)]).toSorted((a, b) => a - b);
    expect(taken).toHaveLength(2);
    expect(pieces).toEqual(Array.from({ length: PIECE_COUNT }, (_, piece) => piece));
  }
  for (const [parentHostId, served] of childrenOf) {
    const stripes = new Set(served.map(({ pieces }) => (pieces[0]?.start ?? 0) % 2));
    expect(served.length).toBeLessThanOrEqual(2);
    expect(stripes.size).toBe(parentHostId === OPENER ? 2 : 1);
  }
});

test.each([
  ["only four are there", 4, {}],
  ["one of them can serve one other at a time", 5, { uploadSlots: 1 }],
  ["one of them is in another zone", 9, { idc: "elsewhere" }],
  ["many are there, to whom a grant travels for less time than a piece", 70, {}],
])("no piece is granted ahead when %s", (_why, hostCount, announced) => {
  const { world } = crowd(hostCount, announced);

  expect(relayed(world)).toEqual([]);
});

test("whoever was granted pieces ahead is told their digests as they become known, until it has them", () => {
  const { world } = crowd(6);
  world.hold("host-1", [0, 1]);
  world.decide();
  world.hold(OPENER, [0, 1, 2]);
  const answers = world.decide().filter(({ kind }) => kind === "digests");

  const told = new Map(answers.map((answer) => [answer.hostId, answer]));
  expect([...told.keys()].toSorted()).toEqual(["host-1", "host-2", "host-3", "host-4", "host-5"]);
  expect(told.get("host-2")).toMatchObject({ taskId: TASK, pieceIndexes: [2] });
});

test("a scheduler that listens again tells all digests that it knows", () => {
  const { world } = crowd(6);
  world.listenAgain();

  expect(world.decide()).toContainEqual(
    expect.objectContaining({ kind: "digests", hostId: "host-3", pieceIndexes: [0] }),
  );
});

test("who does not take what its parent has loses the lease, and so does everybody who gets the pieces through it", () => {
  const { world } = crowd(20);
  const [slow] = relayed(world).filter(({ parentHostId }) => parentHostId === OPENER);
  const stripe = (slow?.pieces[0]?.start ?? 0) % 2;
  const through = relayed(world).filter(({ pieces }) => (pieces[0]?.start ?? 0) % 2 === stripe);
  const others = relayed(world).filter((lease) => !through.includes(lease));
  world.hold(
    OPENER,
    Array.from({ length: 12 }, (_, piece) => piece),
  );
  for (const { childHostId } of others) world.hold(childHostId, [1 - stripe, 3 - stripe]);
  const ended = world.advance(200).filter(({ kind }) => kind === "lease_end");

  // All of one stripe, and with that most of everything: then nobody relays any more.
  expect(through.map(({ outcome }) => outcome)).toEqual(through.map(() => "lagging"));
  expect(ended.length).toBeGreaterThanOrEqual(through.length);
  expect(relayed(world)).toEqual([]);
  expect(world.grants.at(-1)?.reason).not.toContain("relay");
});

test("what does not come any more is not waited for: the lease of a parent's parent ends, and with it all that hang on it", () => {
  const { world } = crowd(9);
  const before = relayed(world).length;
  world.tell(OPENER, { $case: "hostLeft", value: {} });
  const told = kindsOf(world.decide()).filter((kind) => kind.startsWith("lease_end"));

  expect(told.length).toBe(before);
  expect(relayed(world)).toEqual([]);
  // Somebody else reads on.
  expect(world.grants.at(-1)).toMatchObject({ parentHostId: "" });
});

test("a parent that was asked too early is not blamed: it still has what it has", () => {
  const { world } = crowd(6);
  const [lease] = relayed(world).filter(({ parentHostId }) => parentHostId === OPENER);
  const { leaseId = "", childHostId = "" } = lease ?? {};
  world.tell(childHostId, {
    $case: "piecesFailed",
    value: {
      taskId: TASK,
      leaseId,
      parentHostId: OPENER,
      pieceIndexes: lease === undefined ? [] : [...remainingOf(lease)],
      reason: "not_held",
      detail: "",
      bytes: 0,
      durationMs: 1,
      retryAfterMs: 0,
    },
  });
  world.decide();

  const opener = world.state.tasks.get(TASK)?.peers.get(OPENER);
  expect(opener?.held.has(0)).toBe(true);
  expect(opener?.isStruck).toBe(false);
  expect(world.state.hosts.get(OPENER)?.slotShare).toBe(1);
});
