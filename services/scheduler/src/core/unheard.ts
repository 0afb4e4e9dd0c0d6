import { markDirty, tell } from "./ledger.ts";
import { UNHEARD_AFTER_MS, UNHEARD_KEPT_AFTER_MS, UNHEARD_PIECES } from "./limits.ts";
import { pieceMs } from "./matching/pacing.ts";
import type { Lease } from "./lease.ts";
import type { State } from "./state.ts";
import { syncPeer } from "./swarm/sync.ts";

/**
 * Leases of which nothing is heard although their first piece should have come long ago. Assignments are sent once and may be lost: the
 * child is told again, which is nothing new to one that knows. A lost lease would keep its pieces from the child until it runs out.
 */

/**
 * Has the child told again when its lease is overdue, and take another lease beside it: the parent may be silent, too. Each time it is
 * given twice as long.
 *
 * @returns whether it was.
 */
export function repeatUnheard(state: State, lease: Lease, nowMs: number): boolean {
  if (lease.progressAtMs !== lease.grantedAtMs) return false;
  const waitedMs = nowMs - lease.grantedAtMs;
  // Most are not: said without a look at anything else.
  if (waitedMs < UNHEARD_AFTER_MS) return false;
  if (waitedMs < patienceMs(lease) * 2 ** lease.repeatCount) return false;
  if (lease.isOrphaned || lease.child.host.state !== "alive") return false;
  lease.repeatCount++;
  syncPeer(lease.child);
  markDirty(state, lease.task);
  tell(state, lease.slice, { kind: "lease", hostId: lease.childHostId, lease });
  return true;
}

/** What a first piece may take: control messages both ways, and what the parent sends before it, twice. */
function patienceMs({ child: { task }, parent, isTiny, requestId }: Lease): number {
  if (isTiny && requestId === "") return UNHEARD_KEPT_AFTER_MS;
  const queued = (parent?.serving.length ?? 0) + UNHEARD_PIECES;
  return Math.max(UNHEARD_AFTER_MS, 2 * (task.controlMs + queued * pieceMs(task)));
}
