import { processStart } from "@lacewing/local/process-table.ts";
import type { World } from "./e2e-world.ts";
import { waitFor } from "./wait-for.ts";

/** A child of the cluster that a test may kill. */
export type ChildName = "scheduler" | "nats" | "postgres" | { readonly peer: string };

/** The supervisor waits a growing pause between tries, and Postgres recovers first. */
const RESTART_TIMEOUT_MS = 60_000;

/** `kill -9`. @returns the pid that it had. */
export function killChild(world: World, child: ChildName): number {
  const pid = pidOf(world, child);
  if (pid === null) throw new RangeError(`${JSON.stringify(child)} is not running`);
  process.kill(pid, "SIGKILL");
  return pid;
}

/** Resolves when the supervisor has started the child again after `formerPid`, and it lives. */
export async function waitForRestart(
  world: World,
  child: ChildName,
  formerPid: number,
): Promise<void> {
  await waitFor(
    `${JSON.stringify(child)} to be started again`,
    () => {
      const pid = pidOf(world, child);
      return pid !== null && pid !== formerPid && processStart(pid) !== undefined;
    },
    { timeoutMs: RESTART_TIMEOUT_MS },
  );
}

function pidOf(world: World, child: ChildName): number | null {
  const { pids } = world.cluster.file;
  return typeof child === "string" ? pids[child] : (pids.peers[child.peer] ?? null);
}
