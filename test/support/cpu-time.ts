import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { ClusterFile } from "@lacewing/local/cluster.ts";

/** Linux counts CPU time of processes in ticks of this many per second (`getconf CLK_TCK`, 100 on every common system). */
const TICKS_PER_SECOND = 100;

/** CPU seconds that each process of a cluster has used so far with the processes it started and that still run, by name. */
export async function cpuSecondsOf(cluster: ClusterFile): Promise<ReadonlyMap<string, number>> {
  const { peers, ...servers } = cluster.pids;
  const children = await childrenByParent();
  const entries = [...Object.entries(servers), ...Object.entries(peers)].map(
    async ([name, pid]) => {
      const pids = pid === null ? [] : [pid, ...(children.get(pid) ?? [])];
      return [name, await cpuSecondsOfPids(pids)] as const;
    },
  );
  return new Map(await Promise.all(entries));
}

/** CPU seconds that some processes have used so far, together. */
export async function cpuSecondsOfPids(pids: readonly number[]): Promise<number> {
  const ticks = await Promise.all(pids.map(async (pid) => ticksOf(pid)));
  return ticks.reduce((sum, one) => sum + one, 0) / TICKS_PER_SECOND;
}

/** CPU seconds of this process's children that have ended, with all that those waited for. */
export async function cpuSecondsOfEndedChildren(): Promise<number> {
  const fields = await statOf(process.pid);
  return (Number(fields[13] ?? 0) + Number(fields[14] ?? 0)) / TICKS_PER_SECOND;
}

/** A cluster rests when it uses less of a core than this for as long as {@link REST_QUIET_MS}. */
const REST_SHARE_OF_CORE = 0.06;
/** Longer than what services put off for a quiet moment: leases of small contents, spans, rows. */
const REST_QUIET_MS = 4_500;
/** How often its CPU time is looked at: several steps of the system's clock. */
const REST_PROBE_MS = 500;
/** A cluster that is not at rest by then is measured as it is. */
const REST_WAIT_MS = 30_000;

/** Waits until what services put off is done, so that a measurement does not bear the cost of what came before it. */
export async function waitForRest(cluster: ClusterFile): Promise<void> {
  let before = sumOf(await cpuSecondsOf(cluster));
  let quietMs = 0;
  for (let waitedMs = 0; waitedMs < REST_WAIT_MS && quietMs < REST_QUIET_MS;) {
    await sleep(REST_PROBE_MS);
    waitedMs += REST_PROBE_MS;
    const now = sumOf(await cpuSecondsOf(cluster));
    const isQuiet = now - before < (REST_SHARE_OF_CORE * REST_PROBE_MS) / 1000;
    quietMs = isQuiet ? quietMs + REST_PROBE_MS : 0;
    before = now;
  }
}

function sumOf(seconds: ReadonlyMap<string, number>): number {
  return [...seconds.values()].reduce((sum, one) => sum + one, 0);
}

/** `peer-1 0.42, nats 0.05, …`, the largest first; those below a tick left out. */
export function cpuDifference(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): string {
  return [...after]
    .map(([name, seconds]) => ({ name, seconds: seconds - (before.get(name) ?? 0) }))
    .filter(({ seconds }) => seconds >= 1 / TICKS_PER_SECOND)
    .toSorted((a, b) => b.seconds - a.seconds)
    .map(({ name, seconds }) => `${name} ${seconds.toFixed(2)}`)
    .join(", ");
}

/** Postgres works in child processes of the one that was started. */
async function childrenByParent(): Promise<ReadonlyMap<number, readonly number[]>> {
  const names = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const pairs = await Promise.all(
    names.map(async (name) => [Number((await statOf(Number(name)))[1]), Number(name)] as const),
  );
  const children = new Map<number, number[]>();
  for (const [parent, child] of pairs) {
    const known = children.get(parent);
    if (known === undefined) children.set(parent, [child]);
    else known.push(child);
  }
  return children;
}

/** User and system time of a process, in ticks; 0 when it is gone. See proc(5), `/proc/pid/stat`. */
async function ticksOf(pid: number): Promise<number> {
  const fields = await statOf(pid);
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
}

/** The fields of `/proc/pid/stat` behind the command's name: state, parent, …; none when the process is gone. */
async function statOf(pid: number): Promise<readonly string[]> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The command's name may hold spaces and parentheses; the fields begin after the last one.
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}
