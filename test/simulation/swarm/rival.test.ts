import { expect, test } from "vitest";
import { idealMakespanMs } from "./ideal.ts";
import { runRival } from "./rival.ts";
import { runScenario } from "./run.ts";
import { hostOf, type Scenario } from "./scenario.ts";
import { scenariosOf } from "./scenarios.ts";

const SMALL = { hosts: 40, pieces: 32, prngSeed: 3 };

function small(name: string): Scenario {
  const [scenario] = scenariosOf(name, SMALL);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return scenario;
}

test("by the rival's rule everybody is served, slower than the bound and not in less than one copy from the origin", () => {
  for (const order of ["arrival", "random"] as const) {
    const { figures } = runRival(small("s1"), order);

    expect(figures.finishedCount).toBe(SMALL.hosts);
    expect(figures.efficiency).toBeLessThanOrEqual(1);
    expect(figures.originCopies).toBeGreaterThanOrEqual(1);
  }
});

test("one host alone gets the content at the origin's rate by either rule", () => {
  const alone = { ...small("s1"), hosts: [hostOf(0)] };

  const ours = runScenario(alone).figures.makespanMs;
  const rival = runRival(alone, "arrival").figures.makespanMs;

  expect(rival / idealMakespanMs(alone)).toBeCloseTo(1, 1);
  expect(ours / rival).toBeCloseTo(1, 1);
});

test("hosts that lose their parents find others by the rival's rule", () => {
  const { figures } = runRival(small("s4"), "random");

  expect(figures.isFinished).toBe(true);
  expect(figures.finishedCount + figures.goneCount).toBe(SMALL.hosts);
});
