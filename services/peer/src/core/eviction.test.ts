import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { describe, expect, test } from "vitest";
import {
  bytesToEvict,
  bytesToLowWatermark,
  chooseEvictions,
  expired,
  type IdleTask,
  type Room,
} from "./eviction.ts";

const room: Room = {
  usedBytes: 60,
  quotaBytes: 100,
  freeBytes: 1000,
  unwrittenBytes: 10,
  floorBytes: 5,
};

function idle(digit: string, reservedBytes: number, usedAtMs: number): IdleTask {
  const taskId = parseTaskId(digit.repeat(64));
  if (taskId === undefined) throw new Error("not a hex digit");
  return { taskId, reservedBytes, usedAtMs };
}

const names = (chosen: readonly IdleTask[] | undefined) => chosen?.map((task) => task.taskId[0]);

describe("room for new content", () => {
  test("is there up to the quota, to the byte", () => {
    expect(bytesToEvict(room, 40)).toBe(0);
    expect(bytesToEvict(room, 41)).toBe(1);
  });

  test("leaves the disk its floor when everything that is reserved has been written", () => {
    expect(bytesToEvict({ ...room, freeBytes: 55 }, 40)).toBe(0);
    expect(bytesToEvict({ ...room, freeBytes: 54 }, 40)).toBe(1);
  });

  test("counts the tighter of the two", () => {
    expect(bytesToEvict({ ...room, freeBytes: 45 }, 50)).toBe(20);
  });
});

describe("eviction", () => {
  test("takes the least recently used first and no more than is needed", () => {
    const tasks = [idle("a", 10, 3), idle("b", 10, 1), idle("c", 10, 2)];
    expect(names(chooseEvictions(tasks, 11))).toEqual(["b", "c"]);
    expect(names(chooseEvictions(tasks, 10))).toEqual(["b"]);
    expect(names(chooseEvictions(tasks, 0))).toEqual([]);
  });

  test("takes nothing when all idle tasks together are too little", () => {
    expect(chooseEvictions([idle("a", 10, 1)], 11)).toBeUndefined();
  });

  test("spares empty content, which would give nothing back", () => {
    expect(names(chooseEvictions([idle("a", 0, 1), idle("b", 10, 2)], 5))).toEqual(["b"]);
  });

  test("breaks ties by id", () => {
    expect(names(chooseEvictions([idle("b", 10, 1), idle("a", 10, 1)], 5))).toEqual(["a"]);
  });
});

describe("watermarks", () => {
  const marks = { high: 0.9, low: 0.7 };

  test("ask for nothing up to the high one, and from there down to the low one", () => {
    expect(bytesToLowWatermark(room, 30, marks)).toBe(0);
    expect(bytesToLowWatermark(room, 31, marks)).toBe(21);
  });

  test("are a wish: what is missing is evicted though the low one cannot be reached", () => {
    const tasks = [idle("a", 10, 1), idle("b", 10, 2), idle("c", 10, 3)];
    expect(names(chooseEvictions(tasks, 5, 15))).toEqual(["a", "b"]);
    expect(names(chooseEvictions(tasks, 5, 500))).toEqual(["a", "b", "c"]);
    expect(chooseEvictions(tasks, 31, 500)).toBeUndefined();
  });
});

describe("a time to live", () => {
  const tasks = [idle("a", 10, 100), idle("b", 0, 900)];

  test("ends content that nobody used for longer", () => {
    expect(names(expired(tasks, { nowMs: 1000, ttlMs: 899 }))).toEqual(["a"]);
    expect(names(expired(tasks, { nowMs: 1000, ttlMs: 900 }))).toEqual([]);
  });

  test("of zero ends nothing", () => {
    expect(expired(tasks, { nowMs: 1e12, ttlMs: 0 })).toEqual([]);
  });
});
