import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { cloneWithoutLfs, pullLfs, type Route } from "../support/git-client.ts";
import { type LfsRepo, makeLfsRepo, verifyClone } from "../support/git-lfs-repo.ts";
import { startLfsOriginProcess } from "../support/lfs-origin-process.ts";
import type { LfsOrigin } from "../support/lfs-origin.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import {
  cpuDifference,
  cpuSecondsOf,
  cpuSecondsOfEndedChildren,
  cpuSecondsOfPids,
  waitForRest,
} from "../support/cpu-time.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import { parseSize } from "../support/units.ts";

type BenchOrigin = LfsOrigin & { readonly pid: number };

/** One `git lfs pull`. */
interface Run {
  readonly scenario: "direct" | "cold" | "from the other host";
  readonly seconds: number;
  /** Content that the origin sent for it. */
  readonly originBytes: number;
}

/**
 * Many small objects, each round with objects of its own: `git lfs pull` direct, cold through one host, then through
 * another host. Rounds interleave the three, and the median of the ratios counts.
 *
 * @returns each round's time against direct.
 */
export async function runSmallObjects(options: {
  readonly objectCount: number;
  readonly size: string;
  readonly rounds: number;
  /** Every answer of the origin begins so long after its request. */
  readonly distanceMs: number;
}): Promise<{ readonly cold: readonly number[]; readonly fromTheOtherHost: readonly number[] }> {
  await using folder = await makeTempDir("bench-small");
  const { distanceMs } = options;
  await using origin = await startLfsOriginProcess({ distanceMs });
  await using cluster = await startTestCluster({ dataDir: join(folder.path, "cluster") });
  const rounds: Run[][] = [];
  for (let round = 0; round < options.rounds; round++) {
    rounds.push(await runRound({ ...options, folder: folder.path, origin, cluster, round }));
  }
  const { objectCount, size } = options;
  process.stdout.write(
    `\n${objectCount} objects of ${size}, uncapped origin ${distanceMs} ms away, real git-lfs, ${availableParallelism()} cores shared by everything (${cpus()[0]?.model.trim() ?? "unknown"})\n`,
  );
  const ratiosOf = (scenario: Run["scenario"]) =>
    rounds.map((runs) => secondsOf(runs, scenario) / secondsOf(runs, "direct"));
  for (const scenario of ["cold", "from the other host"] as const) {
    const ratios = ratiosOf(scenario);
    const bytes = rounds.map(
      (runs) => runs.find((run) => run.scenario === scenario)?.originBytes ?? 0,
    );
    process.stdout.write(
      `${scenario}: ${median(ratios).toFixed(2)}x the time of direct (each round: ${ratios.map((ratio) => ratio.toFixed(2)).join(", ")}); origin content bytes ${bytes.join(", ")}\n`,
    );
  }
  return { cold: ratiosOf("cold"), fromTheOtherHost: ratiosOf("from the other host") };
}

async function runRound(lab: {
  readonly objectCount: number;
  readonly size: string;
  readonly folder: string;
  readonly origin: BenchOrigin;
  readonly cluster: TestCluster;
  readonly round: number;
}): Promise<Run[]> {
  const name = `small-${lab.round}`;
  const sizeBytes = parseSize(lab.size);
  const files = Array.from({ length: lab.objectCount }, (_, index) => ({
    path: `object-${index}.bin`,
    sizeBytes,
    seed: `${name}-${index}`,
  }));
  const repo = await makeLfsRepo({ folder: lab.folder, name, origin: lab.origin, files });
  const [first, second] = lab.cluster.normalPeers;
  if (first === undefined || second === undefined) throw new Error("the cluster has no two hosts");
  const routes: readonly (readonly [Run["scenario"], Route])[] = [
    ["direct", { kind: "direct" }],
    ["cold", { kind: "url_prefix", proxyUrl: first.proxyUrl }],
    ["from the other host", { kind: "url_prefix", proxyUrl: second.proxyUrl }],
  ];
  const runs: Run[] = [];
  for (const [scenario, route] of routes) runs.push(await runOne(lab, repo, scenario, route));
  return runs;
}

async function runOne(
  lab: { readonly folder: string; readonly origin: BenchOrigin; readonly cluster: TestCluster },
  repo: LfsRepo,
  scenario: Run["scenario"],
  route: Route,
): Promise<Run> {
  const into = join(lab.folder, `${repo.name}-${scenario.replaceAll(" ", "-")}`);
  const request = { repo, origin: lab.origin, into, route, home: join(lab.folder, "home") };
  const before = await lab.origin.stats();
  await cloneWithoutLfs(request);
  await waitForRest(lab.cluster.file);
  const cpuBefore = await cpuOfAll(lab);
  const pull = await pullLfs(request);
  const cpu = cpuDifference(cpuBefore, await cpuOfAll(lab));
  const mismatches = await verifyClone(repo, into);
  if (pull.exitCode !== 0 || mismatches.length > 0) {
    throw new Error(
      `${scenario}: exit code ${pull.exitCode}, ${mismatches.length} wrong files\n${pull.stderr}`,
    );
  }
  const after = await lab.origin.stats();
  process.stdout.write(
    `${repo.name} ${scenario}: ${pull.seconds.toFixed(2)} s; CPU seconds: ${cpu}\n`,
  );
  return {
    scenario,
    seconds: pull.seconds,
    originBytes: after.content.bytes - before.content.bytes,
  };
}

/** CPU seconds of everything that takes part in a pull, by name. */
async function cpuOfAll(lab: {
  readonly origin: BenchOrigin;
  readonly cluster: TestCluster;
}): Promise<ReadonlyMap<string, number>> {
  return new Map([
    ["git-lfs", await cpuSecondsOfEndedChildren()],
    ["origin", await cpuSecondsOfPids([lab.origin.pid])],
    ...(await cpuSecondsOf(lab.cluster.file)),
  ]);
}

function secondsOf(runs: readonly Run[], scenario: Run["scenario"]): number {
  return runs.find((run) => run.scenario === scenario)?.seconds ?? Number.NaN;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
