import { expect, test } from "vitest";
import { retryAfterMs } from "./retry-after.ts";

const NOON = "Sat, 28 Nov 2026 12:00:00 GMT";

test.each([
  [429, "17", undefined, 17_000],
  [503, " 3 ", undefined, 3_000],
  [503, "0", undefined, 0],
  [429, "999999999", undefined, 3_600_000],
  [503, "Sat, 28 Nov 2026 12:00:30 GMT", NOON, 30_000],
  [503, "Sat, 28 Nov 2026 11:00:00 GMT", NOON, 0],
  [503, "Sat, 28 Nov 2026 12:00:30 GMT", undefined, 0],
  [429, "soon", NOON, 0],
  [429, "-5", NOON, 0],
  [429, undefined, NOON, 0],
  [404, "17", NOON, 0],
  [200, "17", NOON, 0],
])("status %i with Retry-After %j at %j means %i ms", (status, retryAfter, date, ms) => {
  expect(retryAfterMs(status, retryAfter, date)).toBe(ms);
});
