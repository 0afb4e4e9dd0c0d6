import { decide, type DecideContext, type Outcome } from "@lacewing/scheduler/core/decide.ts";
import { Lease } from "@lacewing/scheduler/core/lease.ts";
import { withLease } from "@lacewing/scheduler/core/leases.ts";
import type { State } from "@lacewing/scheduler/core/state.ts";
import { expect, test } from "vitest";
import { checkSeed } from "./properties.ts";
import type { World } from "./world.ts";

/**
 * Goal: the checks that every fault schedule has to pass do see a scheduler that is wrong, and hosts that are.
 *
 * Method: the world of a seed that passes is given one fault of its own, past all that the core itself would refuse.
 */
const SEEDS = [1, 2, 3];
/** In these every host that stays may read the origin, which answers: nobody needs the scheduler. */
const SEEDS_OF_READERS = [8, 9, 10, 13];

/** The usual rule, and after each turn whatever `spoil` does to the state. */
function spoiled(spoil: (state: State) => void): (world: World) => void {
  return ({ scheduler }) => {
    scheduler.decide = (state, context) => {
      const outcome = decide(state, context);
      spoil(state);
      return outcome;
    };
  };
}

/** A second lease of the pieces of one that is live. */
function leaseAgain(state: State): void {
  const first = firstUnfinished(state);
  if (first === undefined) return;
  const { decided, child, parent, pieces, isOpen, requestId, reason } = first;
  const { candidateCount, durationMs, traceparent, isAhead } = first;
  const again = new Lease({
    number: 1_000_000 + first.number,
    decided,
    child,
    parent,
    pieces,
    isOpen,
    requestId,
    reason,
    candidateCount,
    durationMs,
    traceparent,
    isAhead,
  });
  again.remainingCount = first.remainingCount;
  state.leases.add(again);
  first.child.leases = withLease(first.child.leases, again);
}

/** The child holds a piece that its lease still waits for. */
function leaseWhatIsHeld(state: State): void {
  const lease = firstUnfinished(state);
  const [range] = lease?.pieces ?? [];
  if (range !== undefined) lease?.child.held.add(range.start);
}

function firstUnfinished(state: State): Lease | undefined {
  return [...state.leases.values()].find(
    ({ pieces, remainingCount }) => pieces.length === 1 && remainingCount === pieces[0]?.count,
  );
}

/** Decides nothing and says nothing. */
function silent(state: State, { slice }: DecideContext): Outcome {
  state.work.dirtyTaskIds[slice]?.clear();
  state.work.outbox[slice]?.splice(0);
  return { decisions: [], answers: [] };
}

test.for(SEEDS)("seed %i: a piece that is leased twice to a child is reported", (prngSeed) => {
  expect(() => checkSeed(prngSeed, spoiled(leaseAgain))).toThrow(/is leased twice to/u);
});

test.for(SEEDS)("seed %i: a lease of a piece that its child holds is reported", (prngSeed) => {
  expect(() => checkSeed(prngSeed, spoiled(leaseWhatIsHeld))).toThrow(/which .+ holds/u);
});

test.for(SEEDS_OF_READERS)(
  "seed %i: hosts go on alone when the scheduler is silent",
  (prngSeed) => {
    const alone: World[] = [];
    checkSeed(prngSeed, (world) => {
      world.scheduler.decide = silent;
      alone.push(world);
    });

    expect(alone[0]?.aloneCount).toBeGreaterThan(0);
  },
);

test.for(SEEDS_OF_READERS)("seed %i: hosts that do not are reported", (prngSeed) => {
  const wait = (world: World): void => {
    world.scheduler.decide = silent;
    world.mayGoOnAlone = false;
  };
  expect(() => checkSeed(prngSeed, wait)).toThrow(/has 0 of \d+ pieces/u);
});
