import type { Answer } from "@lacewing/scheduler/core/answer.ts";
import { decide } from "@lacewing/scheduler/core/decide.ts";
import { evolveEvent, evolveMessage } from "@lacewing/scheduler/core/evolve-event.ts";
import { GRANTS_PER_TURN_MAX } from "@lacewing/scheduler/core/limits.ts";
import { newState } from "@lacewing/scheduler/core/state.ts";
import { expect, test } from "vitest";
import { HostFarm } from "../support/host-farm.ts";
import { seededRandom, TASK } from "../support/scheduler-world.ts";

const SLICE = Number.parseInt(TASK.slice(0, 2), 16);
/** Each sends one piece as long as no pace is known: some more leases than a turn grants. */
const HOST_COUNT = GRANTS_PER_TURN_MAX + 200;
const NOW_MS = 1_000_000;

test("of very many leases that can be granted at once a turn grants so many, and nobody is told to wait who has one in the next", () => {
  const random = seededRandom(1);
  const state = newState();
  const farm = new HostFarm({
    hostCount: HOST_COUNT,
    pieceCount: 16,
    pieceBytes: 16 * 2 ** 20,
    zoneCount: 1,
    heldShare: 0.5,
    upBytesPerMs: 125_000,
    random,
  });
  for (const { hostId, sequence, kinds } of farm.start()) {
    const context = { hostId, bootId: "boot-1", sequence, atMs: NOW_MS };
    evolveMessage(state, context);
    for (const kind of kinds) evolveEvent(state, { traceparent: "", kind }, context);
  }
  const turn = (): readonly Answer[] =>
    decide(state, { slice: SLICE, epoch: 1, nowMs: NOW_MS, random }).answers;
  const countsOf = (answers: readonly Answer[]) => ({
    leases: answers.filter(({ kind }) => kind === "lease").length,
    others: answers.filter(({ kind }) => kind !== "lease").length,
    isMoreToDo: state.work.dirtyTaskIds[SLICE]?.has(TASK),
  });

  const [first, second] = [countsOf(turn()), countsOf(turn())];

  expect(first).toEqual({ leases: GRANTS_PER_TURN_MAX, others: 0, isMoreToDo: true });
  expect(second).toEqual({
    leases: HOST_COUNT - GRANTS_PER_TURN_MAX,
    others: 0,
    isMoreToDo: false,
  });
  expect(countsOf(turn())).toEqual({ leases: 0, others: 0, isMoreToDo: false });
});
