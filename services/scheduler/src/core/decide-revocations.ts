import type { RevocationReason } from "@lacewing/contracts/events/reasons.ts";
import { LEASE_GRACE_MS } from "./limits.ts";
import type { Lease, State, Task } from "./state.ts";
import { isWantedBy } from "./wanted.ts";

export interface Revocation {
  readonly lease: Lease;
  readonly reason: RevocationReason;
}

/** Leases of the task that were marked for review and have indeed lost their reason. */
export function reviewedLeases(state: State, task: Task, nowMs: number): readonly Revocation[] {
  const revocations: Revocation[] = [];
  for (const leaseId of task.leaseIdsToReview) {
    const lease = state.leases.get(leaseId);
    const reason = lease === undefined ? undefined : revocationReason(state, task, lease, nowMs);
    if (lease !== undefined && reason !== undefined) revocations.push({ lease, reason });
  }
  task.leaseIdsToReview.clear();
  return revocations;
}

/** Whether nothing came under the lease for longer than it lives. */
export function isExpired(lease: Lease, nowMs: number): boolean {
  return nowMs > lease.progressAtMs + lease.durationMs + LEASE_GRACE_MS;
}

function revocationReason(
  state: State,
  task: Task,
  lease: Lease,
  nowMs: number,
): RevocationReason | undefined {
  if (lease.isOrphaned || state.hosts.get(lease.childHostId)?.state !== "alive") return "host_lost";
  if (lease.parentHostId !== "") {
    if (state.hosts.get(lease.parentHostId)?.state !== "alive") return "host_lost";
    if (!parentHoldsRest(task, lease)) return "parent_dropped";
  }
  if (isUnwanted(task, lease)) return "unwanted";
  return isExpired(lease, nowMs) ? "expired" : undefined;
}

function parentHoldsRest(task: Task, lease: Lease): boolean {
  const parent = task.peers.get(lease.parentHostId);
  for (const piece of lease.remaining) if (parent?.held.has(piece) !== true) return false;
  return true;
}

function isUnwanted(task: Task, lease: Lease): boolean {
  const child = task.peers.get(lease.childHostId);
  if (child === undefined) return true;
  if (lease.isOpen && task.layout === undefined) return child.requests.size === 0;
  for (const piece of lease.remaining) if (isWantedBy(task, child, piece)) return false;
  return true;
}
