import { expect, test } from "vitest";
import { runScenario } from "./run.ts";
import { SCENARIOS, scenariosOf } from "./scenarios.ts";

const SMALL = { hosts: 60, pieces: 32, prngSeed: 2 };

test.each(Object.keys(SCENARIOS))("%s: every client whose host lives is served", (name) => {
  const runs = scenariosOf(name, SMALL).map((scenario) => runScenario(scenario));

  const unserved = runs.filter(({ figures }) => !figures.isFinished);
  expect(unserved.map(({ world }) => world.scenario.name)).toEqual([]);
});

test("nothing is faster than its bound", () => {
  const bounded = Object.keys(SCENARIOS)
    .flatMap((name) => scenariosOf(name, SMALL))
    // Hosts that die need nothing any more: the bound is of those that were there at the start.
    .filter(({ isSteady, name }) => !isSteady && !name.startsWith("s4"));

  const tooFast = bounded.filter((scenario) => runScenario(scenario).figures.efficiency > 1);

  expect(tooFast.map(({ name }) => name)).toEqual([]);
});

test("the same seed gives the same run, another seed another one", () => {
  const play = (prngSeed: number) =>
    scenariosOf("s10", { ...SMALL, prngSeed }).map((scenario) => runScenario(scenario).figures);

  expect(play(5)).toEqual(play(5));
  expect(play(6)).not.toEqual(play(5));
});

test("a scheduler that comes back from its logs grants nothing twice and every client is served", () => {
  const [scenario] = scenariosOf("s11", SMALL);
  if (scenario === undefined) throw new Error("no scenario s11");

  const { figures, world } = runScenario(scenario);

  const granted = world.scheduler.decisionLog.flatMap((entry) =>
    entry.kind !== "decisions"
      ? []
      : entry.decisions.flatMap(({ kind }) =>
          kind?.$case === "leaseGranted" ? [kind.value.leaseId] : [],
        ),
  );
  expect(world.scheduler.epoch).toBe(3);
  expect(new Set(granted).size).toBe(granted.length);
  expect(figures.finishedCount).toBe(SMALL.hosts);
  expect(figures.originCopies).toBeLessThan(2);
});
