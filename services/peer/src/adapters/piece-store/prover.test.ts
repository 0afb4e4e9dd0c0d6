import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { expect, test, vi } from "vitest";
import { type Provable, Prover } from "./prover.ts";

const MIB = 2 ** 20;

/** A task of two pieces, whose first piece cannot be hashed for as long as `failures` lasts. */
function aTask(failures: number) {
  const held = new Bitmap(2);
  held.add(0);
  held.add(1);
  const rechecked: number[] = [];
  let failureCount = 0;
  const task: Provable = {
    layout: { lengthBytes: 2 * MIB, pieceLengthBytes: MIB },
    held,
    offered: new Bitmap(2),
    usedAtMs: 0,
    recheck: async (pieceIndexes) => {
      rechecked.push(...pieceIndexes);
      const isBad = pieceIndexes.includes(0) && failureCount++ < failures;
      if (isBad) throw new PortError("store_busy", "no descriptor left", { retryable: true });
      return [];
    },
    noticeForeignWrite: () => {},
  };
  return { task, rechecked };
}

function proverOf(task: Provable) {
  const slept: number[] = [];
  const sleep = async (ms: number, signal?: AbortSignal) => {
    slept.push(ms);
    await systemClock.sleep(0, signal);
  };
  const clock = { ...systemClock, sleep };
  const log = createMemoryLog();
  return { slept, prover: new Prover({ list: () => [task], rateBytesPerSecond: 0, clock, log }) };
}

test("what could not be hashed for a passing reason is tried again, by itself, a while later", async () => {
  const { task, rechecked } = aTask(2);
  const { prover, slept } = proverOf(task);
  prover.start();
  await vi.waitFor(() => expect(rechecked).toEqual([0, 1, 0, 0]));
  expect(slept).toHaveLength(2);
  await prover.stop();
});

test("what cannot be hashed for long is left to the slow rounds", async () => {
  const { task, rechecked } = aTask(Infinity);
  const { prover, slept } = proverOf(task);
  prover.start();
  await vi.waitFor(() => expect(rechecked.filter((index) => index === 0)).toHaveLength(10));
  await prover.stop();
  expect(slept).toHaveLength(9);
});
