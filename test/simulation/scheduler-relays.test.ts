import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { expect, test } from "vitest";
import { remainingOf } from "@lacewing/scheduler/core/leases.ts";
import { applyEntry, kindsOf, MIB, SchedulerWorld, TASK } from "../support/scheduler-world.ts";

const PIECE_COUNT = 32;
const PIECE_BYTES = 4 * MIB;
const OPENER = "host-0";

/** Hosts that want a content at the same time; the first reads it from the origin, and has its first piece. */
function crowd(
  hostCount: number,
  announced: { uploadSlots?: number; idc?: string } = {},
  originRanges = false,
  pieceCount = PIECE_COUNT,
) {
  const world = new SchedulerWorld();
  for (let number = 0; number < hostCount; number++) {
    world.announce(`host-${number}`, number === 1 ? announced : {});
    world.request(`host-${number}`);
    world.decide();
  }
  world.advance(1);
  const layout = { lengthBytes: pieceCount * PIECE_BYTES, pieceLengthBytes: PIECE_BYTES };
  world.describe(OPENER, { ...layout, originRanges });
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
  const { world } = crowd(16);
  const [slow] = relayed(world).filter(({ parentHostId }) => parentHostId === OPENER);
  const stripe = (slow?.pieces[0]?.start ?? 0) % 2;
  const through = relayed(world).filter(({ pieces }) => (pieces[0]?.start ?? 0) % 2 === stripe);
  const others = relayed(world).filter((lease) => !through.includes(lease));
  const some = Array.from({ length: 20 }, (_, piece) => piece);
  world.advance(200);
  world.hold(OPENER, some);
  world.decide();
  for (const { childHostId } of others)
    world.hold(
      childHostId,
      some.filter((piece) => piece % 2 !== stripe),
    );
  world.advance(200);
  // Digests that were told just now nobody can have used.
  const early = through.filter(({ outcome }) => outcome !== "live");
  const ended = world.advance(400).filter(({ kind }) => kind === "lease_end");

  expect(through).toHaveLength(15);
  expect(early).toEqual([]);
  // All of one stripe, and with that most of everything: then nobody relays any more.
  expect(through.map(({ outcome }) => outcome)).toEqual(through.map(() => "lagging"));
  expect(ended.length).toBeGreaterThanOrEqual(through.length);
  expect(relayed(world)).toEqual([]);
  expect(world.grants.at(-1)?.reason).not.toContain("relay");
});

test("hosts that are all busy and fall behind a little, all the time, go on relaying", () => {
  const { world } = crowd(9, {}, false, 256);
  const leases = relayed(world);
  for (let step = 1; step < 120; step++) {
    world.hold(OPENER, upTo(2 * step));
    for (let number = 1; number < 9; number++)
      world.hold(`host-${number}`, upTo(Math.floor(1.85 * step)));
    world.advance(200);
  }

  expect(relayed(world)).toEqual(leases);
});

test.each([200, 460])(
  "who stops after it has kept the pace for %i of 512 pieces loses its leases before it lacks 50",
  (stop) => {
    const { world } = crowd(16, {}, false, 512);
    const leases = relayed(world);
    const isParent = new Set(leases.map(({ parentHostId }) => parentHostId));
    const last = leases.find(({ childHostId }) => !isParent.has(childHostId))?.childHostId;
    const goOn = (from: number, to: number, isSlow: (hostId: string) => boolean = () => false) => {
      for (let count = from; count < to; count += 2) {
        for (let number = 0; number < 16; number++)
          if (!isSlow(`host-${number}`)) world.hold(`host-${number}`, upTo(count));
        world.advance(100);
      }
    };
    goOn(2, stop);
    const kept = relayed(world);
    goOn(stop, stop + 50, (hostId) => hostId === last);

    expect(kept).toEqual(leases);
    expect(
      leases.filter(({ outcome }) => outcome !== "live").map(({ childHostId }) => childHostId),
    ).toEqual([last, last]);
  },
);

/** Another scheduler takes over from what the logs say: the first reader has read on for a while, and nobody had its digests. */
function takenOver(openedCount = 40, pieceCount = 256) {
  const { world: former } = crowd(16, {}, true, pieceCount);
  for (let number = 0; number < 16; number++) former.hold(`host-${number}`, upTo(6));
  former.decide();
  former.hold(OPENER, upTo(openedCount));
  const world = new SchedulerWorld();
  for (const entry of former.log) applyEntry(world.state, entry);
  world.nowMs = former.nowMs;
  world.listenAgain();
  world.decide();
  const leases = relayed(world);
  const isParent = new Set(leases.map(({ parentHostId }) => parentHostId));
  /** It passes nothing on. */
  const last = leases.find(({ childHostId }) => !isParent.has(childHostId))?.childHostId ?? "";
  /** All get ten pieces a second, the first reader ahead of them; most of what it said before is heard a second late. Some get nothing. */
  const goOn = (seconds: number, isSlow: (hostId: string) => boolean = () => false) => {
    for (let step = 0; step < 10 * seconds; step++) {
      world.hold(OPENER, upTo(step + (step < 10 ? 50 : 150)));
      for (let number = 1; number < 16; number++)
        if (!isSlow(`host-${number}`)) world.hold(`host-${number}`, upTo(step + 6));
      world.advance(100);
    }
  };
  return { world, leases, last, goOn };
}

const upTo = (count: number) => Array.from({ length: count }, (_, piece) => piece);

test("a scheduler that took over leaves the leases of those who keep the first reader's pace, however far behind", () => {
  const { world, leases, goOn } = takenOver();
  goOn(8);

  expect(leases).toHaveLength(30);
  expect(relayed(world)).toEqual(leases);
});

test("a scheduler that took over ends the leases of whoever lags, too, and no others", () => {
  const { leases, last, goOn } = takenOver();
  goOn(8, (hostId) => hostId === last);

  const ended = leases.filter(({ outcome }) => outcome !== "live");
  expect(ended.map(({ childHostId, outcome }) => [childHostId, outcome])).toEqual([
    [last, "lagging"],
    [last, "lagging"],
  ]);
});

test("a scheduler that took over when the first reader had everything leaves those who report less often later", () => {
  const { world, leases } = takenOver(256);
  for (let step = 0; step < 50; step++) {
    for (let number = 1; number < 16; number++)
      if (step < 25 || step % 4 === 2 * (number % 2))
        world.hold(`host-${number}`, upTo(6 + 5 * step));
    world.advance(100);
  }

  expect(leases.filter(({ outcome }) => outcome === "lagging")).toEqual([]);
});

test("a scheduler that took over while nothing came learns from when something comes", () => {
  const { world, leases } = takenOver(40, 800);
  for (let step = 0; step < 18; step++) world.advance(100);
  for (let step = 0; step < 35; step++) {
    world.hold(OPENER, upTo(40 + 20 * step));
    for (let number = 1; number < 16; number++)
      if (step % 4 === 2 * (number % 2)) world.hold(`host-${number}`, upTo(6 + 20 * step));
    world.advance(100);
  }

  expect(leases.filter(({ outcome }) => outcome === "lagging")).toEqual([]);
});

test("relays of which nothing is left are over, learnt or not", () => {
  const { world } = crowd(9);
  world.listenAgain();
  for (let number = 0; number < 9; number++)
    world.tell(`host-${number}`, { $case: "hostLeft", value: {} });
  world.announce("host-9");
  world.request("host-9");
  world.advance(1_000);
  world.advance(1_000);

  expect(world.state.tasks.get(TASK)?.relays?.isOver).toBe(true);
});

test("a scheduler that hears the broker again after a while lets hosts catch up", () => {
  const { world } = crowd(16, {}, false, 256);
  const leases = relayed(world);
  world.advance(3_000);
  world.listenAgain();
  world.hold(OPENER, upTo(60));
  world.decide();
  for (let step = 0; step < 30; step++) {
    for (let number = 0; number < 16; number++)
      world.hold(`host-${number}`, upTo((number === 0 ? 60 : 2) + 3 * step));
    world.advance(100);
  }

  expect(relayed(world)).toEqual(leases);
});

test("digests that are heard of just now nobody can have used, however long ago the last look was", () => {
  const { world } = crowd(16);
  const leases = relayed(world);
  world.advance(200);
  world.nowMs += 150;
  world.hold(OPENER, upTo(20));
  world.decide();

  expect(relayed(world)).toEqual(leases);
});

test("a digest that is missing still is told again every second", () => {
  const { world } = crowd(6);
  world.hold(OPENER, [0, 1]);
  world.decide();
  const again = world.advance(1_000).filter(({ kind }) => kind === "digests");

  expect(again.map(({ hostId }) => hostId).toSorted()).toEqual(
    [1, 2, 3, 4, 5].map((n) => `host-${n}`),
  );
  expect(again[0]).toMatchObject({ pieceIndexes: [0, 1] });
});

test("an origin that gives each reader less than hosts send is shared after all", () => {
  const { world } = crowd(6, {}, true);
  for (let piece = 1; piece < 16; piece++) {
    world.hold(
      OPENER,
      Array.from({ length: piece + 1 }, (_, index) => index),
    );
    world.decide();
    for (let number = 1; number < 6; number++)
      world.hold(
        `host-${number}`,
        Array.from({ length: piece + 1 }, (_, index) => index),
      );
    for (let step = 0; step < 4; step++) world.advance(200);
  }

  expect(relayed(world)).toEqual([]);
  expect(world.state.tasks.get(TASK)?.relays?.isOver).toBe(true);
});

test("nobody is blamed when the first reader gets next to nothing and leases ahead run out", () => {
  const { world } = crowd(9);
  const opener = world.state.hosts.get(OPENER);
  const leases = relayed(world);
  for (let second = 0; second < 45; second += 5) {
    world.advance(5_000);
    for (let number = 0; number < 9; number++) world.request(`host-${number}`);
    // Its own lease lives on.
    if (second === 20) world.hold(OPENER, [0, 1]);
  }

  expect(leases.some(({ outcome }) => outcome === "expired")).toBe(true);
  expect(relayed(world)).toEqual([]);
  expect(opener?.slotShare).toBe(1);
  const peers = [...(world.state.tasks.get(TASK)?.peers.values() ?? [])];
  expect(peers.flatMap(({ avoided }) => [...(avoided?.keys() ?? [])])).toEqual([]);
  expect(peers.some(({ host }) => host.isSilent)).toBe(false);
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
