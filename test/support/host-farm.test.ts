import { decide } from "@lacewing/scheduler/core/decide.ts";
import { evolveEvent, evolveMessage } from "@lacewing/scheduler/core/evolve-event.ts";
import { newState } from "@lacewing/scheduler/core/state.ts";
import { expect, test } from "vitest";
import { type FarmMessage, HostFarm } from "./host-farm.ts";
import { seededRandom, TASK } from "./scheduler-world.ts";

const SLICE = Number.parseInt(TASK.slice(0, 2), 16);

test("a farm that carries out its leases is finished, and the scheduler knows it", () => {
  const random = seededRandom(1);
  const farm = new HostFarm({
    hostCount: 20,
    pieceCount: 8,
    pieceBytes: 16 * 2 ** 20,
    zoneCount: 2,
    heldShare: 0.25,
    upBytesPerMs: 125_000,
    random,
  });
  const state = newState();
  const fold = ({ hostId, sequence, kinds }: FarmMessage, atMs: number) => {
    const context = { hostId, bootId: "boot-1", sequence, atMs };
    evolveMessage(state, context);
    for (const kind of kinds) evolveEvent(state, { traceparent: "", kind }, context);
  };
  for (const message of farm.start()) fold(message, 1_000_000);
  for (let nowMs = 1_000_000; nowMs < 1_060_000 && !farm.isFinished; nowMs++) {
    for (const message of farm.due(nowMs)) fold(message, nowMs);
    for (const answer of decide(state, { slice: SLICE, epoch: 1, nowMs, random }).answers) {
      if (answer.kind === "lease") farm.take(answer.lease, nowMs);
    }
  }
  expect(farm.finishedCount).toBe(19);
  expect(state.tasks.get(TASK)?.needyIds.size).toBe(0);
  expect([...state.contained]).toEqual([]);
});
