import { expect, test } from "vitest";
import { MeanPace } from "./mean-pace.ts";

const BYTES = 16 * 2 ** 20;
const SLOW = 100_000;
const FAST = 400_000;

test("the mean of no hosts is 0", () => {
  expect(new MeanPace().bytesPerMs).toBe(0);
});

test("a host that ends four times as many leases counts for one host", () => {
  const mean = new MeanPace();
  for (let round = 0; round < 100; round++) {
    mean.add(BYTES, SLOW, 2);
    for (let sample = 0; sample < FAST / SLOW; sample++) mean.add(BYTES, FAST, 2);
  }
  // As samples are weighed by their age, the last ones more.
  expect(mean.bytesPerMs).toBeGreaterThan(0.95 * ((SLOW + FAST) / 2));
  expect(mean.bytesPerMs).toBeLessThan(1.15 * ((SLOW + FAST) / 2));
});

test.each([
  { hostCount: 20, from: 0.9, to: 1, what: "soon replaces what was, in a small swarm" },
  { hostCount: 300, from: 0.05, to: 0.15, what: "of a few among many is a small part of the mean" },
  {
    hostCount: 100_000,
    from: 0.04,
    to: 0.09,
    what: "counts for something in the largest swarm, too",
  },
])("what is new $what", ({ hostCount, from, to }) => {
  const mean = new MeanPace();
  for (let sample = 0; sample < 5000; sample++) mean.add(BYTES, SLOW, hostCount);
  for (let sample = 0; sample < 100; sample++) mean.add(BYTES, FAST, hostCount);
  const risen = (mean.bytesPerMs - SLOW) / (FAST - SLOW);
  expect(risen).toBeGreaterThan(from);
  expect(risen).toBeLessThan(to);
});
