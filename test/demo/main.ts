import { statfs, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { EXIT_CODE } from "@lacewing/runtime/lifecycle.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { startLfsOriginProcess } from "../support/lfs-origin-process.ts";
import type { LfsOrigin } from "../support/lfs-origin.ts";
import { findTool } from "../support/required-tool.ts";
import { connectSql, type Sql } from "../support/sql.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import { formatSize } from "../support/units.ts";
import { renderChart } from "./chart.ts";
import { clusterFacts, readHitRates } from "./cluster-facts.ts";
import { describeConditions, readConditions, type Conditions } from "./conditions.ts";
import { runSize, type Measurement } from "./experiment.ts";
import { HELP, parseOptions, UsageError, type DemoOptions } from "./options.ts";
import { createProgress, type Progress } from "./progress.ts";
import { jsonReport, judge, renderReport, seriesOf, type DemoResult } from "./report.ts";
import { PUBLISHED } from "./scenarios.ts";
import { readTrace } from "./trace.ts";

/** As a shell reports a program that Ctrl-C ended. */
const EXIT_INTERRUPTED = 130;
/** Copies of the largest file that lie on disk at once: one per peer, one in the LFS store, one in the working tree. */
const COPY_COUNT = 5;

/** What the demo needs is not there; the message says how to get it. */
class DemoRefused extends Error {
  override readonly name = "DemoRefused";
}

const interrupt = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => {
    // The second time the user does not want to wait for the cleaning up.
    if (interrupt.signal.aborted) process.exit(EXIT_INTERRUPTED);
    interrupt.abort(new Error(`ended by ${name}`));
  });
}
process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  try {
    const options = parseOptions(args);
    if (options === "help") {
      process.stdout.write(HELP);
      return EXIT_CODE.ok;
    }
    const result = await runDemo(options, interrupt.signal);
    const report = options.isJson
      ? `${JSON.stringify(jsonReport(result), undefined, 2)}\n`
      : renderReport(result);
    process.stdout.write(report);
    return judge(result).isRight ? EXIT_CODE.ok : EXIT_CODE.crashed;
  } catch (error) {
    if (interrupt.signal.aborted) {
      process.stderr.write("interrupted; everything that was started is stopped\n");
      return EXIT_INTERRUPTED;
    }
    process.stderr.write(`${messageOf(error)}\n`);
    return error instanceof UsageError ? EXIT_CODE.wrongSettings : EXIT_CODE.crashed;
  }
}

async function runDemo(options: DemoOptions, signal: AbortSignal): Promise<DemoResult> {
  requireTools();
  await using folder = await makeTempDir("demo");
  if (options.isKept) {
    folder.keep();
    process.stderr.write(`kept in ${folder.path}\n`);
  }
  await requireDisk(folder.path, options.sizes);
  const progress = createProgress(process.stderr);
  await using origin = await startLfsOriginProcess({ rateBytesPerSecond: options.originRate });
  const starting = progress.note("starting NATS, PostgreSQL, scheduler, one seed and two peers");
  await using cluster = await startTestCluster({ dataDir: folder.join("cluster"), signal });
  starting.end();
  if (options.isKept) cluster.keepData();
  return await runInCluster({ options, origin, cluster, folder: folder.path, progress, signal });
}

async function runInCluster(world: {
  readonly options: DemoOptions;
  readonly origin: LfsOrigin;
  readonly cluster: TestCluster;
  readonly folder: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}): Promise<DemoResult> {
  const { options, origin, cluster, signal } = world;
  const [first, second] = cluster.normalPeers;
  if (first === undefined || second === undefined) throw new DemoRefused("two peers are needed");
  await using sql = await connectSql(cluster.file.databaseUrl);
  const conditions = await readConditions({
    originRate: options.originRate,
    via: options.via,
    natsUrl: cluster.file.natsUrl,
    sql,
  });
  const measurements: Measurement[] = [];
  for (const sizeBytes of options.sizes) {
    const lab = { ...world, via: options.via, isKept: options.isKept };
    const facts = clusterFacts(sql, { first, second }, signal);
    measurements.push(...(await runSize({ ...lab, cluster: facts, origin }, sizeBytes)));
  }
  return {
    ...(await evidenceOf(world, sql, measurements)),
    conditions,
    measurements,
    svgFile: await writeChart(options, measurements, conditions),
    keptFolder: options.isKept ? world.folder : null,
  };
}

/** What the cluster itself says about the run, beside the origin's own count. */
async function evidenceOf(
  world: {
    readonly origin: LfsOrigin;
    readonly cluster: TestCluster;
    readonly signal: AbortSignal;
  },
  sql: Sql,
  measurements: readonly Measurement[],
): Promise<Pick<DemoResult, "hitRates" | "backToSourceBytes" | "originBytes" | "trace">> {
  const { tracesUrl } = world.cluster.file;
  const remoteHit = measurements.findLast(({ scenario }) => scenario === "remote_peer");
  const trace =
    tracesUrl === null || remoteHit?.traceId === undefined
      ? null
      : await readTrace(tracesUrl, remoteHit.traceId, world.signal);
  const { content } = await world.origin.stats();
  const direct = measurements.filter(({ scenario }) => scenario === "direct");
  const originBytes =
    content.bytes - direct.reduce((sum, measurement) => sum + measurement.originBytes, 0);
  const { rows, backToSourceBytes } = await readHitRates(sql, originBytes, world.signal);
  return { hitRates: rows, backToSourceBytes, originBytes, trace };
}

async function writeChart(
  options: DemoOptions,
  measurements: readonly Measurement[],
  conditions: Conditions,
): Promise<string> {
  const svgFile = resolve(options.svgFile);
  const chart = renderChart({
    measured: seriesOf(measurements),
    published: PUBLISHED,
    conditions: describeConditions(conditions),
  });
  await writeFile(svgFile, chart);
  return svgFile;
}

function requireTools(): void {
  const missing = ["git", "git-lfs"].filter((name) => findTool(name) === undefined);
  if (missing.length === 0) return;
  throw new DemoRefused(
    `missing: ${missing.join(", ")}. The demo drives the real client; install it, e.g. apt-get install git-lfs`,
  );
}

async function requireDisk(folder: string, sizes: readonly number[]): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const cached = sizes.reduce((sum, size) => sum + size, 0) * (COPY_COUNT - 2);
  const needed = cached + Math.max(...sizes) * 2;
  if (bavail * bsize >= needed) return;
  throw new DemoRefused(
    `${folder} has ${formatSize(bavail * bsize)} free, these sizes need about ${formatSize(needed)}: choose smaller --sizes or another TMPDIR`,
  );
}
