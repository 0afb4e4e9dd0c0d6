import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseTaskId, type TaskId } from "./ids.ts";
import { HOST_SLICE, isSlice, SLICE_COUNT, sliceOf } from "./slices.ts";

/** The task id whose first byte is `byte`. */
function taskOfByte(byte: number): TaskId {
  const taskId = parseTaskId(byte.toString(16).padStart(2, "0") + "0".repeat(62));
  if (taskId === undefined) throw new Error(`no byte: ${byte}`);
  return taskId;
}

describe("the slice of a task", () => {
  test("is its first byte modulo 64, so that every slice has four of the 256 first bytes", () => {
    const counts = new Map<number, number>();
    for (let byte = 0; byte < 256; byte++) {
      const slice = sliceOf(taskOfByte(byte));
      expect(slice).toBe(byte % 64);
      counts.set(slice, (counts.get(slice) ?? 0) + 1);
    }
    expect([...counts.values()]).toEqual(Array.from({ length: SLICE_COUNT }, () => 4));
  });
});

describe("a slice number", () => {
  test("is a whole number from 0 to 63", () => {
    for (let slice = 0; slice < SLICE_COUNT; slice++) expect(isSlice(slice)).toBe(true);
    for (const value of [-1, 64, 0.5, Number.NaN, Infinity, -0.5])
      expect(isSlice(value)).toBe(false);
    fc.assert(
      fc.property(fc.double(), (value) => {
        expect(isSlice(value)).toBe(Number.isInteger(value) && value >= 0 && value < 64);
      }),
    );
  });

  test("of facts about hosts is one of them", () => {
    expect(isSlice(HOST_SLICE)).toBe(true);
  });
});
