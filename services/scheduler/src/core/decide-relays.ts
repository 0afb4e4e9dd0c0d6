import type { Answer } from "./answer.ts";
import type { Lease } from "./lease.ts";
import { RELAY_STRIPES } from "./matching/relays.ts";
import type { Task } from "./state.ts";

/** When so many of the leases have been ended, hosts are not alike: nobody relays any more. */
const RELEASED_SHARE_MAX = 0.1;
/** How often they are looked at, and how much later for each member: it takes less than a hundredth of the time. */
const REVIEW_MS = 100;
const REVIEW_MS_PER_MEMBER = 0.1;

/**
 * Leases of relays that are to be ended, because the parent sends too slowly or the child takes too slowly: with it go those of everybody
 * who gets the stripe through that child. The rest of the stripe comes as everything else does. When many are ended, all are.
 */
export function laggingLeases(task: Task, nowMs: number): readonly Lease[] {
  const { relays } = task;
  if (relays === undefined || relays.isOver) return [];
  const reviewMs = Math.max(REVIEW_MS, REVIEW_MS_PER_MEMBER * relays.members.size);
  if (nowMs - relays.reviewedAtMs < reviewMs) return [];
  relays.reviewedAtMs = nowMs;
  const ahead: Lease[] = [];
  const lagging = new Set<Lease>();
  for (const { leases } of relays.members) {
    for (const lease of leases) {
      if (!lease.isAhead) continue;
      ahead.push(lease);
      if (gapOf(lease, relays.gapMax) > relays.gapMax) lagging.add(lease);
    }
  }
  // Grows while it is walked.
  for (const lease of lagging) for (const next of passedOn(lease)) lagging.add(next);
  relays.releasedCount += lagging.size;
  const isMost = relays.releasedCount > RELEASED_SHARE_MAX * RELAY_STRIPES * relays.members.size;
  relays.isOver = isMost || (ahead.length === 0 && relays.planned.length === 0);
  return isMost ? ahead : [...lagging];
}

/** Digests that have become known, for those who were granted the pieces ahead of it. */
export function digestAnswers(task: Task): readonly Answer[] {
  const { untoldDigests, taskId } = task;
  if (untoldDigests.length === 0) return [];
  task.untoldDigests = [];
  const answers: Answer[] = [];
  if (task.aheadLeaseCount === 0) return answers;
  for (const { hostId, held, leases } of task.peers.values()) {
    if (!leases.some(({ isAhead }) => isAhead)) continue;
    const pieceIndexes = untoldDigests.filter((piece) => !held.has(piece));
    if (pieceIndexes.length > 0) answers.push({ kind: "digests", hostId, taskId, pieceIndexes });
  }
  return answers;
}

/** How many pieces in a row the parent holds of what comes next under the lease; counted no further than it matters. */
function gapOf({ parent, child, task, pieces, remainingCount }: Lease, gapMax: number): number {
  const held = parent?.peers.get(task.taskId)?.held;
  // One piece each, and they come in order.
  const next = Math.max(0, pieces.length - remainingCount);
  let gap = 0;
  for (const { start } of pieces.slice(next, next + gapMax + 1)) {
    if (held?.has(start) !== true || child.held.has(start)) return gap;
    gap++;
  }
  return gap;
}

/** Leases under which the child of a lease passes its stripe on. */
function passedOn(lease: Lease): readonly Lease[] {
  const stripe = stripeOf(lease);
  return lease.child.host.serving.filter(
    (other) => other.isAhead && other.task === lease.task && stripeOf(other) === stripe,
  );
}

function stripeOf({ pieces }: Lease): number {
  return (pieces[0]?.start ?? 0) % RELAY_STRIPES;
}
