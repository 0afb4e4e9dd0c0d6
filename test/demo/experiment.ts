import { rm } from "node:fs/promises";
import { join } from "node:path";
import { cloneWithoutLfs, pullLfs, type LfsRequest, type Route } from "../support/git-client.ts";
import { makeLfsRepo, verifyClone, type LfsRepo } from "../support/git-lfs-repo.ts";
import type { LfsOrigin } from "../support/lfs-origin.ts";
import type { ProcessResult } from "../support/processes.ts";
import { formatSize } from "../support/units.ts";
import { waitFor } from "../support/wait-for.ts";
import type { Progress } from "./progress.ts";
import { SCENARIOS, type Scenario } from "./scenarios.ts";

/** One run of the client. */
export interface Measurement {
  readonly scenario: Scenario;
  readonly sizeBytes: number;
  /** Time of `git lfs pull` in a fresh clone with an empty LFS store. */
  readonly seconds: number;
  /** Content that the origin sent until it fell quiet after this run. */
  readonly originBytes: number;
  readonly originProbeBytes: number;
  readonly traceId: string | undefined;
  /** Empty when the client succeeded and every file is right bit for bit. */
  readonly failures: readonly string[];
}

/** What the experiment needs to know of a cluster. */
export interface ExperimentCluster {
  /** Who reads first: the cold boot goes through it. */
  readonly first: ExperimentPeer;
  /** Who reads what the first one holds, then what it holds itself. */
  readonly second: ExperimentPeer;
  /**
   * Waits until the next download after `count` ones of a host is recorded.
   *
   * @returns the trace id of the newest one, `undefined` when none was recorded in time.
   */
  traceOfNext(hostId: string, count: number): Promise<string | undefined>;
  downloadCount(hostId: string): Promise<number>;
}

export interface ExperimentPeer {
  readonly hostId: string;
  readonly proxyUrl: string;
}

export interface Laboratory {
  readonly folder: string;
  readonly origin: LfsOrigin;
  readonly cluster: ExperimentCluster;
  readonly via: "url_prefix" | "http_proxy";
  readonly progress: Progress;
  readonly isKept: boolean;
  readonly signal: AbortSignal;
}

/** A file of the experiment; one per repository, as in the document. */
const FILE_NAME = "model.bin";
/** A seed peer that is still reading may take as long as the file takes over the origin's link. */
const ORIGIN_QUIET_TIMEOUT_MS = 15 * 60_000;

/** Runs the four scenarios for one size, in order: each relies on what the one before left in the caches. */
export async function runSize(lab: Laboratory, sizeBytes: number): Promise<readonly Measurement[]> {
  const name = `lfs-${formatSize(sizeBytes).replaceAll(" ", "").toLowerCase()}`;
  const note = lab.progress.note(`making a repository with ${formatSize(sizeBytes)}`);
  const repo = await makeLfsRepo({
    folder: lab.folder,
    name,
    origin: lab.origin,
    files: [{ path: FILE_NAME, sizeBytes, seed: name }],
  });
  note.end();
  const measurements: Measurement[] = [];
  for (const scenario of SCENARIOS) {
    measurements.push(await measure(lab, repo, sizeBytes, scenario));
  }
  return measurements;
}

async function measure(
  lab: Laboratory,
  repo: LfsRepo,
  sizeBytes: number,
  scenario: Scenario,
): Promise<Measurement> {
  const peer = peerOf(lab.cluster, scenario);
  const request: LfsRequest = {
    repo,
    origin: lab.origin,
    into: join(lab.folder, `${repo.name}-${scenario}`),
    route: peer === undefined ? { kind: "direct" } : routeOf(lab, peer),
    home: join(lab.folder, "home"),
    signal: lab.signal,
  };
  const before = await quietStats(lab);
  const countBefore = peer === undefined ? 0 : await lab.cluster.downloadCount(peer.hostId);
  const clone = await cloneWithoutLfs(request);
  const pull = await timedPull(lab, request, scenario, sizeBytes);
  const failures = [
    ...failuresOf("git clone", clone, lab.signal),
    ...failuresOf("git lfs pull", pull, lab.signal),
  ];
  const mismatches = failures.length === 0 ? await verifyClone(repo, request.into) : [];
  const traceId =
    peer === undefined || failures.length > 0
      ? undefined
      : await lab.cluster.traceOfNext(peer.hostId, countBefore);
  const after = await quietStats(lab);
  if (!lab.isKept) await rm(request.into, { recursive: true, force: true });
  return {
    scenario,
    sizeBytes,
    seconds: pull.seconds,
    originBytes: after.content.bytes - before.content.bytes,
    originProbeBytes: after.probe.bytes - before.probe.bytes,
    traceId,
    failures: [...failures, ...mismatches.map(({ path, reason }) => `${path}: ${reason}`)],
  };
}

async function timedPull(
  lab: Laboratory,
  request: LfsRequest,
  scenario: Scenario,
  sizeBytes: number,
): Promise<ProcessResult> {
  const bar = lab.progress.download({
    scenario,
    sizeBytes,
    lfsFolder: join(request.into, ".git", "lfs"),
  });
  try {
    return await pullLfs(request);
  } finally {
    bar.end();
  }
}

function peerOf(cluster: ExperimentCluster, scenario: Scenario): ExperimentPeer | undefined {
  switch (scenario) {
    case "direct":
      return undefined;
    case "cold_boot":
      return cluster.first;
    case "remote_peer":
    case "local_peer":
      return cluster.second;
  }
}

function routeOf(lab: Laboratory, peer: ExperimentPeer): Route {
  return { kind: lab.via, proxyUrl: peer.proxyUrl };
}

function failuresOf(what: string, result: ProcessResult, signal: AbortSignal): readonly string[] {
  signal.throwIfAborted();
  if (result.exitCode === 0) return [];
  const ending = result.signal ?? `exit code ${result.exitCode}`;
  return [`${what}: ${ending}: ${result.stderr.trim().slice(-500)}`];
}

/** The origin's counters at a moment when it sends nothing, so that no byte is counted to the wrong scenario. */
async function quietStats(lab: Laboratory) {
  return waitFor(
    "the origin to have nothing to send",
    async () => {
      const stats = await lab.origin.stats();
      return stats.activeRequestCount === 0 ? stats : undefined;
    },
    { timeoutMs: ORIGIN_QUIET_TIMEOUT_MS, signal: lab.signal },
  );
}
