import { expect, test } from "vitest";
import { formatRatio, PUBLISHED, ratioToDirect, SCENARIOS } from "./scenarios.ts";

test("the published figures give the published ratios", () => {
  const ratios = PUBLISHED.map((series) =>
    SCENARIOS.map((scenario) => formatRatio(ratioToDirect(series, scenario))),
  );
  expect(ratios).toEqual([
    ["1", "1.04× time", "3.4× faster", "6.7× faster"],
    ["1", "1.02× time", "4.1× faster", "7.2× faster"],
  ]);
});

test("without a direct time there is no ratio", () => {
  expect(ratioToDirect({ label: "x", seconds: { cold_boot: 3 } }, "cold_boot")).toBeUndefined();
  expect(formatRatio(undefined)).toBe("–");
});
