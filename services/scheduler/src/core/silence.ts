import { NOTHING } from "./few-map.ts";
import { halveSlots } from "./host-rates.ts";
import { markDirty } from "./ledger.ts";
import {
  MISSED_ANNOUNCE_MS,
  SILENT_REST_MS,
  SILENT_RESTS_DOUBLED_MAX,
  UNBLAMED_MAX,
} from "./limits.ts";
import type { Lease } from "./lease.ts";
import { takenBy } from "./leases.ts";
import type { Host, State } from "./state.ts";
import { syncHost } from "./swarm/sync.ts";

/**
 * Hosts that took a lease and let it run out without a word. Most of them are gone, which is declared only after several announces have not
 * come. Until then they would be given ever more leases, and before all others, as they have least: parents would have nothing left for
 * the living.
 */

/** Whether nothing was heard of the child since it was given the lease, or for longer than a living host says nothing. */
export function isChildSilent({ child, grantedAtMs }: Lease, nowMs: number): boolean {
  const { lastHeardAtMs } = child.host;
  return lastHeardAtMs <= grantedAtMs || nowMs - lastHeardAtMs > MISSED_ANNOUNCE_MS;
}

/** The child let the lease run out without a word: it is given no other for a while, twice as long each time in a row. */
export function noteSilence(state: State, lease: Lease, atMs: number): void {
  const { host } = lease.child;
  if (lease.parentHostId !== "" && host.unblamedHostIds.length < UNBLAMED_MAX)
    host.unblamedHostIds = [...host.unblamedHostIds, lease.parentHostId];
  // Another lease of the same silence.
  if (host.silentUntilMs > atMs) return;
  const doubled = Math.min(SILENT_RESTS_DOUBLED_MAX, host.silenceCount);
  host.silentUntilMs = atMs + SILENT_REST_MS * 2 ** doubled;
  host.silenceCount++;
  if (host.isSilent) return;
  host.isSilent = true;
  state.work.silentIds.add(host.hostId);
  syncHost(host);
}

/**
 * The host has missed an announce. It is not lost yet, but most such hosts are gone: it is given no lease, and those that it takes end, until
 * it is heard of. Else all that are gone would take turns until each is declared lost, and whoever lives would wait.
 */
export function missAnnounce(state: State, host: Host): void {
  if (host.state !== "alive" || host.hasMissedAnnounce) return;
  host.hasMissedAnnounce = true;
  syncHost(host);
  for (const lease of takenBy(host)) {
    lease.task.leasesToReview.add(lease);
    markDirty(state, lease.task);
  }
}

/** The host was heard of. If it is the process that took the leases, it lived, and their parents are to blame. */
export function speakAgain(state: State, host: Host, bootId: string): void {
  if (bootId === host.bootId) {
    for (const parentHostId of host.unblamedHostIds) halveSlots(state, parentHostId);
  }
  host.unblamedHostIds = NOTHING;
  host.silenceCount = 0;
  host.silentUntilMs = 0;
  if (!host.isSilent && !host.hasMissedAnnounce) return;
  host.hasMissedAnnounce = false;
  endSilence(state, host);
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
  for (const { isNeedy, task } of host.peers.values()) if (isNeedy) markDirty(state, task);
}
