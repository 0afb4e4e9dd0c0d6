import { expect, test } from "vitest";
import { Allowance } from "./allowance.ts";

/** How many can be taken at once. */
function takenAt(allowance: Allowance, nowMs: number): number {
  let count = 0;
  while (allowance.take(nowMs)) count++;
  return count;
}

test("a second's worth is there at first, and each second brings as many", () => {
  const allowance = new Allowance(100);
  expect(takenAt(allowance, 5_000)).toBe(100);
  expect(allowance.has(5_000)).toBe(false);
  expect(takenAt(allowance, 5_250)).toBe(25);
  expect(takenAt(allowance, 6_250)).toBe(100);
});

test("what is not used is saved up for one second only", () => {
  const allowance = new Allowance(100);
  expect(takenAt(allowance, 0)).toBe(100);
  expect(takenAt(allowance, 3_600_000)).toBe(100);
});

test("looking takes nothing", () => {
  const allowance = new Allowance(2);
  for (let look = 0; look < 10; look++) expect(allowance.has(0)).toBe(true);
  expect(takenAt(allowance, 0)).toBe(2);
});
