import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { expect, test } from "vitest";
import { nodeDisk } from "../disk/node-disk.ts";
import { DiskRoom } from "./disk-room.ts";

const GIB = 2 ** 30;

/** A room whose disk has less with every question, and that is asked a while after it was made. */
function roomAfter(ms: number, freeBytes: number): DiskRoom {
  let [nowMs, leftBytes] = [0, freeBytes];
  const space = () => ({ freeBytes: leftBytes--, sizeBytes: 1000 * GIB });
  const clock = { ...systemClock, monotonic: () => nowMs };
  const log = createMemoryLog();
  const room = new DiskRoom({ ...nodeDisk, space }, "/", undefined, { clock, log });
  nowMs = ms;
  return room;
}

test("a disk with far more than is needed is asked once in a while", () => {
  expect(roomAfter(99, 10 * GIB).freeBytes(GIB)).toBe(10 * GIB);
  expect(roomAfter(100, 10 * GIB).freeBytes(GIB)).toBe(10 * GIB - 1);
});

test("a disk with little more than is needed is asked each time, as is one of which all is to be told", () => {
  expect(roomAfter(0, 10 * GIB).freeBytes(6 * GIB + 1)).toBe(10 * GIB - 1);
  expect(roomAfter(0, 10 * GIB).freeBytes()).toBe(10 * GIB - 1);
});
