import { expect, test } from "vitest";
import { quantilesOf } from "./quantiles.ts";

test("a quantile is a value of the list that its share does not exceed", () => {
  const values = Array.from({ length: 200 }, (_, index) => 200 - index);
  expect(quantilesOf(values)).toEqual({ p50: 100, p99: 198, max: 200 });
});

test("with fewer than a hundred values the p99 is the largest", () => {
  expect(quantilesOf([3, 1, 2])).toEqual({ p50: 2, p99: 3, max: 3 });
});
