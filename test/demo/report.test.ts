import { expect, test } from "vitest";
import type { Measurement } from "./experiment.ts";
import { judge, renderReport, type DemoResult } from "./report.ts";
import { SCENARIOS } from "./scenarios.ts";

const SECONDS = { direct: 20, cold_boot: 20.4, remote_peer: 4, local_peer: 2.5 };

function measurement(scenario: Measurement["scenario"]): Measurement {
  return {
    scenario,
    sizeBytes: 268_435_456,
    seconds: SECONDS[scenario],
    originBytes: scenario === "direct" || scenario === "cold_boot" ? 268_435_456 : 0,
    originProbeBytes: 0,
    traceId: scenario === "direct" ? undefined : `trace-of-${scenario}`,
    failures: [],
  };
}

const RESULT: DemoResult = {
  conditions: {
    cores: 2,
    cpu: "cpu",
    memoryBytes: 2 ** 34,
    originRateBytesPerSecond: 12_500_000,
    via: "url_prefix",
    node: "24.0.0",
    gitLfs: "3.3.0",
    natsServer: "2.11.4",
    postgres: "18.0",
  },
  measurements: SCENARIOS.map((scenario) => measurement(scenario)),
  hitRates: [{ hour: new Date(0), host_id: "peer-1", requests: "3" }],
  backToSourceBytes: 268_435_456,
  originBytes: 268_435_456,
  trace: { traceId: "t", spanCount: 7, services: ["lacewing-peer", "lacewing-scheduler"] },
  svgFile: "/x/demo.svg",
  keptFolder: null,
};

test("the report sets each scenario beside the published one", () => {
  const line = renderReport(RESULT)
    .split("\n")
    .find((text) => text.startsWith("hit remote peer"));
  expect(line?.split(/\s{2,}/)).toEqual([
    "hit remote peer",
    "4.00",
    "5.0× faster",
    "0",
    "trace-of-remote_peer",
    "12.85, 3.4× faster",
    "19.41, 4.1× faster",
  ]);
});

test("a run is right when every file is and both counts of origin bytes agree", () => {
  expect(judge(RESULT)).toEqual({ isRight: true, problems: [] });
});

test("one byte of difference is a problem that names both counts", () => {
  const { isRight, problems } = judge({ ...RESULT, originBytes: 268_435_457 });
  expect(isRight).toBe(false);
  expect(problems[0]).toContain("268 435 456");
  expect(problems[0]).toContain("268 435 457");
});

test("a failed clone is a problem that names size and scenario", () => {
  const failed = { ...measurement("local_peer"), failures: ["git lfs pull: exit code 2"] };
  const result = { ...RESULT, measurements: [failed] };
  expect(judge(result).problems).toEqual(["256 MiB, hit local peer: git lfs pull: exit code 2"]);
  expect(renderReport(result)).toContain("PROBLEM: 256 MiB, hit local peer");
});
