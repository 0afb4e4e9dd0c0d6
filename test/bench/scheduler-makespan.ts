import { z } from "zod";
import { besideTarget, machineConditions } from "../support/bench-conditions.ts";
import { resultOfChild, tellParent } from "../support/child-result.ts";
import { runScenario } from "../simulation/swarm/run.ts";
import { scenariosOf } from "../simulation/swarm/scenarios.ts";

/** Every host asks for the same content at the same time. */
const SCENARIO = "s1";
const PIECE_COUNT = 256;
const OVER_BOUND_MAX = 1.05;
const ORIGIN_COPIES_MAX = 1.005;
/** Simulated hosts with all their pieces, and the scheduler's state of them. */
const HEAP_MIB = 16_384;

const figures = z.object({
  isFinished: z.boolean(),
  makespanMs: z.number(),
  boundMs: z.number(),
  efficiency: z.number(),
  p50Ms: z.number(),
  p99Ms: z.number(),
  originCopies: z.number(),
  grantCount: z.number(),
  eventCount: z.number(),
  schedulerMs: z.number(),
  wallMs: z.number(),
  rssBytes: z.number(),
});
type Figures = z.infer<typeof figures>;

/** A flash crowd in virtual time, too large for the tests: minutes to hours of CPU time, in a process of its own. */
export async function runSchedulerMakespan(options: { readonly hostCount: number }): Promise<void> {
  const { hostCount } = options;
  const result = await resultOfChild(import.meta.url, [`${hostCount}`], figures, {
    execArgv: [`--max-old-space-size=${HEAP_MIB}`],
  });
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
  const overBound = result.makespanMs / result.boundMs;
  const isFast = result.isFinished && overBound <= OVER_BOUND_MAX;
  const isOneCopy = result.originCopies <= ORIGIN_COPIES_MAX;
  process.stdout.write(
    [
      `flash crowd of ${hostCount.toLocaleString("en")} hosts, ${PIECE_COUNT} pieces, in virtual time: makespan ${seconds(result.makespanMs)}${result.isFinished ? "" : " and NOT finished"}, bound ${seconds(result.boundMs)}: ${besideTarget(`${overBound.toFixed(3)}x`, `≤ ${OVER_BOUND_MAX}x`, isFast)}`,
      `clients' times p50 ${seconds(result.p50Ms)}, p99 ${seconds(result.p99Ms)}; origin ${besideTarget(`${result.originCopies.toFixed(3)} copies`, "1.00", isOneCopy)}`,
      `${result.grantCount.toLocaleString("en")} grants, the scheduler's part ${((result.schedulerMs * 1000) / result.grantCount).toFixed(1)} µs each; ${result.eventCount.toLocaleString("en")} simulated events in ${seconds(result.wallMs)}, RSS ${Math.round(result.rssBytes / 2 ** 20).toLocaleString("en")} MiB with the simulated hosts`,
      machineConditions(),
      "",
    ].join("\n"),
  );
}

function simulate(hostCount: number): Figures {
  const [scenario] = scenariosOf(SCENARIO, { hosts: hostCount, pieces: PIECE_COUNT });
  if (scenario === undefined) throw new Error(`no scenario ${SCENARIO}`);
  const run = runScenario(scenario);
  return {
    isFinished: run.figures.isFinished,
    makespanMs: run.figures.makespanMs,
    boundMs: run.figures.bounds.lowestMs,
    efficiency: run.figures.efficiency,
    p50Ms: run.figures.completionMs.p50,
    p99Ms: run.figures.completionMs.p99,
    originCopies: run.figures.originCopies,
    grantCount: run.costs.grantCount,
    eventCount: run.eventCount,
    schedulerMs: run.costs.cpuMs,
    wallMs: run.wallMs,
    rssBytes: process.resourceUsage().maxRSS * 1024,
  };
}

if (import.meta.main) tellParent(simulate(Number(process.argv[2] ?? 1_000)));
