import { expect, test } from "vitest";
import { niceScale, renderChart } from "./chart.ts";
import { PUBLISHED } from "./scenarios.ts";

test.each([
  [0.31, { max: 0.4, ticks: [0, 0.1, 0.2, 0.3, 0.4] }],
  [45.1, { max: 50, ticks: [0, 10, 20, 30, 40, 50] }],
  [80.9, { max: 100, ticks: [0, 20, 40, 60, 80, 100] }],
])("a scale for values up to %d has round steps and room on top", (max, scale) => {
  expect(niceScale(max)).toEqual(scale);
});

test("a scale for nothing at all still has a positive height", () => {
  expect(niceScale(0).max).toBeGreaterThan(0);
});

test("every measured time and both published speed-ups are written in the figure", () => {
  const svg = renderChart({
    measured: [
      {
        label: "64 MiB",
        seconds: { direct: 5.66, cold_boot: 5.71, remote_peer: 0.93, local_peer: 0.61 },
      },
    ],
    published: PUBLISHED,
    conditions: "2 cores <shared> · 12.5 MB/s",
  });
  for (const label of ["5.66", "5.71", "0.93", "0.61", "3.4×", "4.1×", "6.7×", "7.2×", "64 MiB"]) {
    expect(svg).toContain(`>${label}</text>`);
  }
  expect(svg).toContain("2 cores &lt;shared&gt;");
  expect(svg).not.toContain("NaN");
});

test("a failed scenario leaves a gap and no broken figure", () => {
  const svg = renderChart({
    measured: [{ label: "64 MiB", seconds: { direct: 5.66 } }],
    published: PUBLISHED,
    conditions: "",
  });
  expect(svg).not.toContain("NaN");
  expect(svg).not.toContain("Infinity");
});
