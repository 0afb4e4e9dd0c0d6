import { existsSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { pidsOf, readClusterFile, removeClusterFile } from "./cluster-file.ts";
import {
  canonicalPath,
  dataHome,
  readOwner,
  removeDataDir,
  removeIfEmpty,
  runningSupervisor,
} from "./data-dir.ts";
import { ifIntact } from "./files.ts";
import { LocalError } from "./local-error.ts";
import { cacheHome } from "./nats-binary.ts";
import { recordedHome, removePostgresHome } from "./postgres-home.ts";
import { isAlive, parentOf, processesOf, sendSignal } from "./process-table.ts";

/** The supervisor stops its children in order, each with a deadline of its own; together they stay below this. */
const SUPERVISOR_STOP_TIMEOUT_MS = 60_000;
/** Leftovers are asked once, then killed. */
const LEFTOVER_STOP_TIMEOUT_MS = 10_000;
const KILL_TIMEOUT_MS = 5_000;
const POLL_INTERVAL_MS = 50;

/** What {@link stopCluster} found. */
export interface StopReport {
  readonly wasRunning: boolean;
  /** Processes that the supervisor had left behind. */
  readonly leftoverCount: number;
}

/**
 * Ends the cluster in `dataDir` from outside: asks its supervisor, waits, then ends whatever is left, and makes sure
 * that nothing is.
 *
 * @throws {LocalError} when a process of the cluster survives even SIGKILL, or belongs to another user.
 */
export async function stopCluster(givenDataDir: string): Promise<StopReport> {
  const dataDir = canonicalPath(givenDataDir);
  const supervisor = runningSupervisor(dataDir);
  if (supervisor !== undefined) {
    if (!sendSignal(supervisor, "SIGTERM")) {
      throw new LocalError(
        `the cluster in ${dataDir} is run by process ${supervisor}, which belongs to another user`,
        "Run this command as that user.",
      );
    }
    if (!(await allGone([supervisor], SUPERVISOR_STOP_TIMEOUT_MS)))
      sendSignal(supervisor, "SIGKILL");
  }
  const leftoverCount = await endLeftovers(dataDir);
  return { wasRunning: supervisor !== undefined, leftoverCount };
}

/**
 * Ends processes that a killed supervisor left behind, and removes its `cluster.json`. Call only when no supervisor runs.
 *
 * @returns how many there were.
 */
export async function endLeftovers(dataDir: string): Promise<number> {
  const leftovers = leftoversOf(dataDir);
  // Children of a leftover are its own to end: a signal to one of PostgreSQL's means something else.
  for (const pid of leftovers) {
    if (!leftovers.includes(parentOf(pid) ?? 0)) sendSignal(pid, "SIGINT");
  }
  if (!(await allGone(leftovers, LEFTOVER_STOP_TIMEOUT_MS))) {
    for (const pid of leftovers) sendSignal(pid, "SIGKILL");
    await allGone(leftovers, KILL_TIMEOUT_MS);
  }
  const survivors = leftoversOf(dataDir);
  if (survivors.length > 0) {
    throw new LocalError(
      `process ${survivors.join(", ")} of the cluster in ${dataDir} could not be ended`,
      "End it as the user who owns it, then try again.",
    );
  }
  removeClusterFile(dataDir);
  return leftovers.length;
}

/**
 * Removes everything a stopped cluster has on disk: data, sockets, and Postgres's place outside the data dir.
 *
 * @throws {LocalError} when `dataDir` is not a cluster's: a mistyped `--data` must not cost somebody's files.
 */
export function purgeData(givenDataDir: string): void {
  const dataDir = canonicalPath(givenDataDir);
  if (!existsSync(dataDir)) return;
  if (readOwner(dataDir) === undefined) {
    throw new LocalError(`${dataDir} holds no cluster`, "Nothing was removed.");
  }
  removeAllOf(dataDir);
}

/** Removes what belongs to a data dir, wherever it is. Only for one that is known to be a stopped cluster's. */
export function removeAllOf(dataDir: string): void {
  removePostgresHome(dataDir);
  const sockets = socketDirectoryRecord(dataDir);
  if (sockets !== undefined) rmSync(sockets, { recursive: true, force: true });
  removeDataDir(dataDir);
}

/**
 * Removes what the clusters of a user share, the fetched servers, unless data of another cluster is in the usual place.
 * Clusters elsewhere fetch again when they need to.
 */
export function purgeShared(env: Readonly<Record<string, string | undefined>>): void {
  const home = dataHome(env);
  removeIfEmpty(home);
  if (!existsSync(home)) rmSync(cacheHome(env), { recursive: true, force: true });
}

/** Remembers a socket directory outside the data dir, so that purging finds it. */
export const SOCKETS_RECORD = "socket-dir.json";
const socketsSchema = z.object({ directory: z.string() });

function socketDirectoryRecord(dataDir: string): string | undefined {
  try {
    const text = readFileSync(join(dataDir, SOCKETS_RECORD), "utf8");
    return socketsSchema.parse(JSON.parse(text)).directory;
  } catch {
    return undefined;
  }
}

/** Processes of the cluster in `dataDir` other than its supervisor. */
export function leftoversOf(dataDir: string): readonly number[] {
  // Damaged files must not keep anybody from ending it: the processes carry its mark.
  const cluster = ifIntact(() => readClusterFile(dataDir));
  const outside = ifIntact(() => recordedHome(dataDir));
  const paths = outside === undefined ? [dataDir] : [dataDir, dirname(join(outside, "data"))];
  return processesOf(dataDir, paths, cluster === undefined ? [] : pidsOf(cluster));
}

async function allGone(pids: readonly number[], timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (pids.some(isAlive)) {
    if (performance.now() > deadline) return false;
    await sleep(POLL_INTERVAL_MS);
  }
  return true;
}
