import { expect, test } from "vitest";
import { boundsOf, idealCurve } from "./bounds.ts";
import { quantiles } from "./metrics.ts";
import { tableOf } from "./report.ts";
import { runScenario } from "./run.ts";
import { GIGABIT, hostOf, PIECE_BYTES, type Scenario, scenarioOf, taskOf } from "./scenario.ts";
import { progressSvg } from "./svg.ts";

const PIECE_MS = PIECE_BYTES / GIGABIT;

function crowd(hostCount: number, pieceCount: number, spec: Partial<Scenario> = {}): Scenario {
  return scenarioOf({
    name: "crowd",
    title: "a <small> crowd",
    tasks: [taskOf(pieceCount)],
    hosts: Array.from({ length: hostCount }, (_, number) => hostOf(number)),
    ...spec,
  });
}

test("equal hosts cannot be served in fewer than M + floor(log2 N) rounds", () => {
  const bounds = boundsOf(crowd(1000, 256));

  expect((bounds.discreteMs ?? 0) / PIECE_MS).toBeCloseTo(256 + 9, 6);
  expect(bounds.originMs / PIECE_MS).toBeCloseTo(256, 6);
  expect(bounds.workMs / PIECE_MS).toBeCloseTo((1000 * 256) / 1001, 6);
});

test("a half of hosts at 4 times the rate makes work the bound, and there is none for equal hosts", () => {
  const hosts = Array.from({ length: 1000 }, (_, number) =>
    hostOf(number, {
      upBytesPerMs: number % 2 === 0 ? 4 * GIGABIT : GIGABIT,
      downBytesPerMs: 4 * GIGABIT,
    }),
  );

  const origin = { upBytesPerMs: 4 * GIGABIT, downFromMs: undefined };
  const bounds = boundsOf(crowd(1000, 256, { hosts, origin }));

  expect(bounds.lowestMs / PIECE_MS).toBeCloseTo((1000 * 256) / (4 + 500 * 4 + 500), 6);
  expect(bounds.discreteMs).toBeUndefined();
});

test("a zone lets one copy in, and shares what came in or was sent inside", () => {
  const zones = [{ idc: "z0", ingressBytesPerMs: GIGABIT / 2, egressBytesPerMs: GIGABIT }];

  const bounds = boundsOf(crowd(10, 64, { zones }));

  expect(bounds.zoneEntryMs / PIECE_MS).toBeCloseTo(128, 6);
  expect(bounds.zoneWorkMs / PIECE_MS).toBeCloseTo((10 * 64) / 10.5, 6);
});

test("the curve of the bound doubles first and ends with everything held", () => {
  const curve = idealCurve(crowd(4, 3));

  const held = curve.map(({ share }) => Math.round(share * 12));

  expect(held).toEqual([0, 1, 3, 7, 11, 12]);
});

test("a share of the values lies below its quantile", () => {
  const values = Array.from({ length: 200 }, (_, at) => 199 - at);

  expect(quantiles(values)).toEqual({ p50: 100, p99: 198, max: 199 });
});

test("the table and the picture show the run beside its bounds", () => {
  const scenario = crowd(6, 8);
  const { figures, world } = runScenario(scenario);
  const points = world.progress.samples.map(({ atMs, heldCount }) => ({
    atMs,
    share: heldCount / world.progress.wantedCount,
  }));

  const table = tableOf(scenario, [figures]);
  const picture = progressSvg(scenario, [{ name: "lacewing", points }]);

  expect(table).toContain("bounds: origin 1.07 s");
  expect(table).toMatch(/lacewing +\d+\.\d\d s/);
  expect(points.at(-1)?.share).toBe(1);
  expect(picture).toContain("a &lt;small> crowd");
  expect(picture.match(/<polyline/g)).toHaveLength(2);
});
