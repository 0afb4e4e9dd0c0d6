import { expect, test } from "vitest";
import { idealMakespanMs } from "./ideal.ts";
import { hostOf, NETWORK, type Scenario, scenarioOf, taskOf } from "./scenario.ts";

/** Equal hosts without latency that send one piece at a time: the model of the closed forms. */
function equals(hostCount: number, pieceCount: number): Scenario {
  return scenarioOf({
    name: "equals",
    title: "equal hosts, no latency",
    tasks: [taskOf(pieceCount)],
    hosts: Array.from({ length: hostCount }, (_, number) => hostOf(number)),
    network: { ...NETWORK, latencyMs: 0, servingMax: 1 },
  });
}

function roundsOf(scenario: Scenario, originRepeats = false): number {
  const [task] = scenario.tasks;
  const roundMs = (task?.pieceBytes ?? 0) / scenario.origin.upBytesPerMs;
  return idealMakespanMs(scenario, originRepeats) / roundMs;
}

test.each([1, 2, 3, 7, 8, 100, 1000, 1023, 1024])(
  "one piece reaches %i hosts in floor(log2 N) + 1 rounds",
  (hostCount) => {
    const rounds = roundsOf(equals(hostCount, 1), true);

    expect(rounds).toBeCloseTo(Math.floor(Math.log2(hostCount)) + 1, 6);
  },
);

test.each([
  { hostCount: 64, pieceCount: 64 },
  { hostCount: 1000, pieceCount: 256 },
])(
  "$pieceCount pieces reach $hostCount equal hosts within 2 % of M + floor(log2 N)",
  ({ hostCount, pieceCount }) => {
    const bound = pieceCount + Math.floor(Math.log2(hostCount));

    const rounds = roundsOf(equals(hostCount, pieceCount));

    expect(rounds).toBeGreaterThanOrEqual(bound - 1e-6);
    expect(rounds).toBeLessThanOrEqual(bound * 1.02);
  },
);
