import { SILENT_REST_MS, SILENT_RESTS_DOUBLED_MAX } from "./limits.ts";
import type { Lease } from "./lease.ts";
import { wakeHungryTasks } from "./ledger.ts";
import type { Host, State } from "./state.ts";
import { syncHost } from "./swarm/sync.ts";

/**
 * Hosts that took a lease and let it run out without a word. Most of them are gone, which is declared only after several announces have not
 * come. Until then they would be given ever more leases, and before all others, as they have least: parents would have nothing left for
 * the living.
 */

/** Whether nothing at all was heard of the child since it was given the lease: so nobody knows what its parent did. */
export function isChildSilent({ child, grantedAtMs }: Lease): boolean {
  return child.host.lastHeardAtMs <= grantedAtMs;
}

/** The host is given no leases for a while, twice as long each time. */
export function noteSilence(state: State, host: Host, atMs: number): void {
  const doubled = Math.min(SILENT_RESTS_DOUBLED_MAX, host.silenceCount);
  host.silentUntilMs = atMs + SILENT_REST_MS * 2 ** doubled;
  host.silenceCount++;
  if (host.isSilent) return;
  host.isSilent = true;
  state.work.silentIds.add(host.hostId);
  syncHost(host);
}

/** The host was heard of. */
export function speakAgain(state: State, host: Host): void {
  host.silenceCount = 0;
  if (host.isSilent) endSilence(state, host);
}

/** Gives hosts another try whose time is over; cheap enough for every tick. */
export function endSilences(state: State, nowMs: number): void {
  for (const hostId of state.work.silentIds) {
    const host = state.hosts.get(hostId);
    if (host === undefined) state.work.silentIds.delete(hostId);
    else if (host.silentUntilMs <= nowMs) endSilence(state, host);
  }
}

function endSilence(state: State, host: Host): void {
  host.isSilent = false;
  state.work.silentIds.delete(host.hostId);
  syncHost(host);
  wakeHungryTasks(state, host);
}
