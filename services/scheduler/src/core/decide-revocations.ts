import type { RevocationReason } from "@lacewing/contracts/events/reasons.ts";
import { endsAtMs, remainingOf } from "./leases.ts";
import type { Lease } from "./lease.ts";
import type { Host, Task } from "./state.ts";
import { isWantedBy } from "./wanted.ts";

export interface Revocation {
  readonly lease: Lease;
  readonly reason: RevocationReason;
}

/** Leases of the task that were marked for review and have indeed lost their reason. */
export function reviewedLeases(task: Task, nowMs: number): readonly Revocation[] {
  const revocations: Revocation[] = [];
  if (task.leasesToReview.size === 0) return revocations;
  for (const lease of task.leasesToReview) {
    const reason = revocationReason(task, lease, nowMs);
    if (reason !== undefined) revocations.push({ lease, reason });
  }
  task.leasesToReview.clear();
  return revocations;
}

/** Whether nothing came under the lease for longer than it lives. */
function revocationReason(task: Task, lease: Lease, nowMs: number): RevocationReason | undefined {
  const { child, parent } = lease;
  if (lease.isOrphaned || child.host.state !== "alive") return "host_lost";
  if (child.isApart) return "unwanted";
  if (parent !== undefined) {
    if (parent.state !== "alive") return "host_lost";
    if (!parentHasRest(parent, lease)) return "parent_dropped";
  }
  if (isUnwanted(task, lease)) return "unwanted";
  // Its parent may be as good as any: nobody is blamed for it.
  if (child.host.hasMissedAnnounce) return "host_lost";
  return nowMs > endsAtMs(lease) ? "expired" : undefined;
}

/** Whether the parent holds what is left of the lease, or gets it. */
function parentHasRest(parent: Host, lease: Lease): boolean {
  const peer = parent.peers.get(lease.taskId);
  if (peer === undefined) return lease.remainingCount === 0;
  return remainingOf(lease).every(
    (piece) => peer.held.has(piece) || (lease.isAhead && peer.leased.has(piece)),
  );
}

function isUnwanted(task: Task, lease: Lease): boolean {
  const { child } = lease;
  if (lease.isOpen && task.layout === undefined) return child.requests.size === 0;
  return !remainingOf(lease).some((piece) => isWantedBy(task, child, piece));
}
