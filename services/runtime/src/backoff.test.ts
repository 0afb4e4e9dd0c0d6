import fc from "fast-check";
import { expect, test } from "vitest";
import { type BackoffLimits, backoffMs } from "./backoff.ts";

const LIMITS: BackoffLimits = { firstMs: 100, maxMs: 5_000 };
const randoms = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test("the wait doubles with every try until it reaches the longest", () => {
  const waits = [0, 1, 2, 5, 6, 7].map((attempt) => backoffMs(attempt, LIMITS, 0));
  expect(waits).toEqual([50, 100, 200, 1_600, 2_500, 2_500]);
});

test("the wait is never longer than the longest and never shorter than half the first, after any number of tries", () => {
  const attempts = fc.oneof(fc.nat(40), fc.nat(), fc.constant(Infinity));
  fc.assert(
    fc.property(attempts, randoms, (attempt, random) => {
      const wait = backoffMs(attempt, LIMITS, random);
      expect(wait).toBeGreaterThanOrEqual(LIMITS.firstMs / 2);
      expect(wait).toBeLessThanOrEqual(LIMITS.maxMs);
    }),
  );
});

test("hosts that failed together come back spread over half of the wait", () => {
  expect(backoffMs(10, LIMITS, 0)).toBe(2_500);
  expect(backoffMs(10, LIMITS, 0.5)).toBe(3_750);
  expect(backoffMs(10, LIMITS, 0.999)).toBeCloseTo(4_997.5);
});
