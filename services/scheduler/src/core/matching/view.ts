import type { Lease } from "../lease.ts";
import type { Host, Peer, State, Task } from "../state.ts";
import type { Swarm } from "../swarm/swarm.ts";
import { uploadDepth } from "../host-rates.ts";
import { isTinyContent } from "../ledger.ts";
import { AVOID_MS_MIN, LEASES_PER_PAIR_MAX, TINY_LEASES_PER_HOST_MAX } from "../limits.ts";
import type { Policy } from "./policy.ts";

/** Where a child gets its next pieces from. */
export interface Match {
  /** Undefined: the origin. */
  readonly parent: Peer | undefined;
  /** Ascending; empty for an open lease. */
  readonly pieces: readonly number[];
  readonly reason: string;
  readonly candidateCount: number;
  /** The request that the lease serves; "" for the child's first. */
  readonly requestId: string;
}

/** What matching one task looks at, and how it grants. */
export interface MatchView {
  readonly state: State;
  readonly task: Task;
  readonly swarm: Swarm;
  readonly policy: Policy;
  readonly nowMs: number;
  /** Live leases from the origin whose children have said nothing for long; see `quiet-reads.ts`. */
  readonly quietReads: readonly Lease[];
  /** In [0, 1), a new one at each call. */
  readonly random: () => number;
  /** Applies the grant to the state, and so to the swarm. */
  readonly grant: (child: Peer, match: Match) => void;
  /** Whether as much was granted as one turn may: the rest is for the next. */
  readonly isTurnFull: () => boolean;
}

/** Why drawn candidates were passed over; for the reason of a lease. */
export interface PassedOver {
  /** They have, or want, nothing that the other side has. */
  useless: number;
  avoided: number;
  busy: number;
  slow: number;
}

export function nobodyPassedOver(): PassedOver {
  return { useless: 0, avoided: 0, busy: 0, slow: 0 };
}

/** `; passed over: 2 useless, 1 busy`, or nothing. */
export function passedOverText(passed: PassedOver): string {
  if (passed.useless + passed.avoided + passed.busy + passed.slow === 0) return "";
  let text = "; passed over:";
  if (passed.useless > 0) text += ` ${passed.useless} without a wanted piece,`;
  if (passed.avoided > 0) text += ` ${passed.avoided} avoided,`;
  if (passed.busy > 0) text += ` ${passed.busy} busy,`;
  if (passed.slow > 0) text += ` ${passed.slow} slow,`;
  return text.slice(0, -1);
}

/** Leases that the host may serve at once. */
export function slotsOf(host: Host, task: Task, policy: Policy): number {
  const slots = Math.min(
    host.uploadSlots,
    uploadDepth(task, host.bytesPerMs) + policy.uploadsBeyondDepth,
  );
  if (slots === 0) return 0;
  // What waits in a straggler's queue would be elsewhere long before.
  if (isStraggler(host, task, policy)) return 1;
  return Math.max(1, Math.floor(slots * host.slotShare));
}

export function hasFreeSlot(host: Host, task: Task, policy: Policy): boolean {
  if (isTinyContent(task)) {
    return host.uploadSlots > 0 && host.tinyLeaseCount < TINY_LEASES_PER_HOST_MAX;
  }
  const { serving, tinyLeaseCount, aheadLeaseCount } = host;
  // What was granted ahead is part of a plan, but takes slots of the host all the same.
  const slots = Math.min(slotsOf(host, task, policy), host.uploadSlots - aheadLeaseCount);
  return serving.length - tinyLeaseCount - aheadLeaseCount < slots;
}

/** Whether the host delivers at a small part of the usual pace. */
function isStraggler(host: Host, task: Task, policy: Policy): boolean {
  const usual = task.swarm?.bytesPerMs ?? 0;
  return host.bytesPerMs > 0 && host.bytesPerMs < policy.slowRatio * usual;
}

/** Whether the child would take a lease from the source at all; counts why not. */
export function isPairPossible(
  view: MatchView,
  source: number,
  child: number,
  passed: PassedOver,
): boolean {
  if (source === child) return false;
  const host = view.swarm.hosts[source];
  if (host === undefined) return false;
  const isSlow = isStraggler(host, view.task, view.policy);
  // Asked of many children for each grant: what is known without looking at the peer itself comes first.
  const isAvoiding = view.swarm.rows.isAvoiding(child);
  if (!isAvoiding && !isSlow && host.serving.length < LEASES_PER_PAIR_MAX) return true;
  const peer = view.swarm.peers[child];
  if (peer === undefined) return false;
  if (isAvoiding && isAvoided(peer, host, view.nowMs)) {
    passed.avoided++;
    return false;
  }
  if (isFullPair(view, child, peer, host)) {
    passed.busy++;
    return false;
  }
  if (isSlow && (isTooSlow(view, host, child, peer) || isHeldUp(view, peer))) {
    passed.slow++;
    return false;
  }
  return true;
}

function isAvoided(peer: Peer, host: Host, nowMs: number): boolean {
  return (peer.avoided?.get(host.hostId)?.untilMs ?? 0) > nowMs;
}

function isFullPair({ swarm }: MatchView, child: number, peer: Peer, host: Host): boolean {
  const { serving } = host;
  if (serving.length < LEASES_PER_PAIR_MAX || swarm.leaseCountOf(child) < LEASES_PER_PAIR_MAX) {
    return false;
  }
  let count = 0;
  for (const lease of serving) if (lease.child === peer) count++;
  return count >= LEASES_PER_PAIR_MAX;
}

/** Asked of a straggler: a child has one lease from such a host at most: they would fill its places for others. */
function isHeldUp({ task, policy }: MatchView, peer: Peer): boolean {
  for (const { parent } of peer.leases) {
    if (parent !== undefined && isStraggler(parent, task, policy)) return true;
  }
  return false;
}

/** Asked of a straggler: the last pieces of a child do not come from it while others can bring them. */
function isTooSlow(view: MatchView, host: Host, child: number, peer: Peer): boolean {
  const { swarm, policy } = view;
  const ratio = host.bytesPerMs / swarm.bytesPerMs;
  if (swarm.missingCountOf(child) * ratio > policy.latePieces) return false;
  return !isStarved(view, peer);
}

/** Whether the child waits without a lease for longer than two pieces take. */
export function isStarved(view: MatchView, peer: Peer): boolean {
  return peer.leases.length === 0 && view.nowMs - peer.waitingSinceMs >= rescueAfterMs(view);
}

function rescueAfterMs(view: MatchView): number {
  const { swarm, policy, task } = view;
  const pieceMs =
    swarm.bytesPerMs === 0 ? 0 : (task.layout?.pieceLengthBytes ?? 0) / swarm.bytesPerMs;
  // A child whose source failed it has to get over that first.
  return Math.max(policy.rescueAfterMs, AVOID_MS_MIN, 2 * pieceMs);
}
