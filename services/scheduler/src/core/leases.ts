import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { PIECE_COUNT_MAX } from "@lacewing/contracts/limits.ts";
import { NOTHING } from "./few-map.ts";
import { LEASE_GRACE_MS, MISSED_ANNOUNCE_MS, UNHEARD_AFTER_MS } from "./limits.ts";
import { originPatienceMs } from "./lease-duration.ts";
import type { Lease } from "./lease.ts";
import type { Host } from "./state.ts";

/** The lease has run out after this, unless a piece of it arrives before. */
export function expiresAtMs({ progressAtMs, durationMs }: Lease): number {
  return progressAtMs + durationMs + LEASE_GRACE_MS;
}

/**
 * When it ends without a piece: when it has run out, or when its child has missed an announce, since leases of what may come slowly live
 * longer than that. A piece shows that the child lives, and so does anything else that it says. A reader of the origin that has said
 * nothing since it became one has less time: nobody else may read the same meanwhile.
 */
export function endsAtMs(lease: Lease): number {
  const { task, parent, grantedAtMs, progressAtMs } = lease;
  const heardAtMs = Math.max(lease.child.host.lastHeardAtMs, progressAtMs);
  const endsAtMs = Math.min(expiresAtMs(lease), heardAtMs + MISSED_ANNOUNCE_MS);
  if (heardAtMs > grantedAtMs || parent !== undefined || lease.isOpen) return endsAtMs;
  const patienceMs = originPatienceMs(task.layout, task.swarm?.originBytesPerMs);
  return Math.min(endsAtMs, grantedAtMs + patienceMs);
}

/** Nothing is to be done about the lease before this: it has not run out, and something may still be heard of it. */
export function overdueAtMs(lease: Lease): number {
  const { grantedAtMs, progressAtMs, repeatCount } = lease;
  if (progressAtMs !== grantedAtMs) return endsAtMs(lease);
  return Math.min(expiresAtMs(lease), grantedAtMs + UNHEARD_AFTER_MS * 2 ** repeatCount);
}

/**
 * Lists of live leases in the order in which they were granted. A list is never changed but replaced: it is short, takes no more memory
 * than its entries, and whoever walks it may end its leases meanwhile.
 */

export function withLease(leases: readonly Lease[], lease: Lease): readonly Lease[] {
  const [first, second] = leases;
  if (first === undefined) return alone(lease);
  if (leases.length === 1) return [first, lease];
  if (leases.length === 2 && second !== undefined) return [first, second, lease];
  return leases.concat([lease]);
}

export function withoutLease(leases: readonly Lease[], lease: Lease): readonly Lease[] {
  const at = leases.indexOf(lease);
  if (at < 0) return leases;
  if (leases.length === 1) return NOTHING;
  const [first, second] = leases;
  if (leases.length === 2 && first !== undefined && second !== undefined)
    return alone(at === 0 ? second : first);
  return leases.toSpliced(at, 1);
}

/** Most lists are of one lease, and its child and its parent share them. */
function alone(lease: Lease): readonly Lease[] {
  if (lease.alone.length === 0) lease.alone = [lease];
  return lease.alone;
}

/** Live leases that the host takes, in all its tasks. */
export function takenBy(host: Host): readonly Lease[] {
  const leases: Lease[] = [];
  for (const peer of host.peers.values()) leases.push(...peer.leases);
  return leases;
}

/** The pieces of a live lease that its child does not hold yet, ascending. */
export function remainingOf(lease: Lease): readonly number[] {
  if (lease.remainingCount === 0) return NOTHING;
  const [only] = lease.pieces;
  if (lease.pieces.length === 1 && only?.count === 1) return [only.start];
  const remaining: number[] = [];
  for (const { start, count } of lease.pieces) {
    for (let piece = start; piece < start + count; piece++) {
      if (lease.child.leased.has(piece)) remaining.push(piece);
    }
  }
  return remaining;
}

/** Lists of one piece, by the piece; never changed. Made when the piece is first granted, and no more of them than a content has pieces. */
const onlyPieces: (PieceRange[] | undefined)[] = [];

/**
 * The list of one piece that all leases of that piece share: hundreds of thousands of leases are of one, and a list of its own for each
 * would be two more places in memory to look at. Nobody may change it.
 */
export function onlyPiece(piece: number): PieceRange[] {
  const known = onlyPieces[piece];
  if (known !== undefined) return known;
  const made = [{ start: piece, count: 1 }];
  if (piece < PIECE_COUNT_MAX) onlyPieces[piece] = made;
  return made;
}

/** Whether the piece is one of the lease's, held or not. */
export function hasPiece(lease: Lease, piece: number): boolean {
  for (const { start, count } of lease.pieces) {
    if (piece >= start && piece < start + count) return true;
  }
  return false;
}
