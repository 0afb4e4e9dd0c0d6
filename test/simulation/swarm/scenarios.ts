import { faultScenarios } from "./scenarios-faults.ts";
import { networkScenarios } from "./scenarios-network.ts";
import type { Scenario } from "./scenario.ts";

/** What can be chosen on the command line. */
export interface Choices {
  readonly hosts: number;
  readonly pieces: number;
  readonly prngSeed: number;
}

/** A family of runs under one name. */
export interface ScenarioFamily {
  readonly title: string;
  /** Sizes when none are chosen. */
  readonly hosts: number;
  readonly pieces: number;
  readonly build: (choices: Choices) => readonly Scenario[];
}

export const SCENARIOS: Readonly<Record<string, ScenarioFamily>> = {
  ...networkScenarios,
  ...faultScenarios,
};

/** The scenarios of a name; sizes that are not chosen are the family's own. */
export function scenariosOf(name: string, choices: Partial<Choices> = {}): readonly Scenario[] {
  const family = SCENARIOS[name];
  if (family === undefined) throw new RangeError(`no scenario ${name}`);
  return family.build({
    hosts: choices.hosts ?? family.hosts,
    pieces: choices.pieces ?? family.pieces,
    prngSeed: choices.prngSeed ?? 1,
  });
}
