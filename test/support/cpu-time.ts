import { readFile } from "node:fs/promises";
import type { ClusterFile } from "@lacewing/local/cluster.ts";

/** Linux counts CPU time of processes in ticks of this many per second (`getconf CLK_TCK`, 100 on every common system). */
const TICKS_PER_SECOND = 100;

/** CPU seconds that each process of a cluster has used so far, by name. */
export async function cpuSecondsOf(cluster: ClusterFile): Promise<ReadonlyMap<string, number>> {
  const { peers, ...servers } = cluster.pids;
  const pids = [...Object.entries(servers), ...Object.entries(peers)];
  const entries = await Promise.all(
    pids.map(async ([name, pid]) => [name, pid === null ? 0 : await ticksOf(pid)] as const),
  );
  return new Map(entries.map(([name, ticks]) => [name, ticks / TICKS_PER_SECOND]));
}

/** CPU seconds that some processes have used so far, together. */
export async function cpuSecondsOfPids(pids: readonly number[]): Promise<number> {
  const ticks = await Promise.all(pids.map(async (pid) => ticksOf(pid)));
  return ticks.reduce((sum, one) => sum + one, 0) / TICKS_PER_SECOND;
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

/** User and system time of a process, in ticks; 0 when it is gone. See proc(5), `/proc/pid/stat`. */
async function ticksOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The command's name may hold spaces and parentheses; the fields begin after the last one.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
}
