import type { Host, Lease } from "./state.ts";

/** A lease that begins now. */
export function newLease(
  facts: Pick<
    Lease,
    | "leaseId"
    | "number"
    | "slice"
    | "epoch"
    | "child"
    | "parent"
    | "pieces"
    | "isOpen"
    | "requestId"
    | "reason"
    | "candidateCount"
    | "grantedAtMs"
    | "durationMs"
    | "traceparent"
  >,
): Lease {
  const { child, parent } = facts;
  return {
    leaseId: facts.leaseId,
    number: facts.number,
    taskId: child.taskId,
    slice: facts.slice,
    epoch: facts.epoch,
    child,
    childHostId: child.hostId,
    parent,
    parentHostId: parent?.hostId ?? "",
    pieces: facts.pieces,
    remainingCount: 0,
    isOpen: facts.isOpen,
    requestId: facts.requestId,
    reason: facts.reason,
    candidateCount: facts.candidateCount,
    grantedAtMs: facts.grantedAtMs,
    durationMs: facts.durationMs,
    traceparent: facts.traceparent,
    progressAtMs: facts.grantedAtMs,
    isOrphaned: false,
    outcome: "live",
    endedAtMs: undefined,
    bytes: 0,
    transferMs: 0,
    isTiny: false,
    isFromIdleParent: false,
    inboundZone: -1,
    outboundZone: -1,
  };
}

/**
 * Lists of live leases in the order in which they were granted. A list is never changed but replaced: it is short, takes no more memory
 * than its entries, and whoever walks it may end its leases meanwhile.
 */

export function withLease(leases: readonly Lease[], lease: Lease): readonly Lease[] {
  const [first, second] = leases;
  if (first === undefined) return [lease];
  if (leases.length === 1) return [first, lease];
  if (leases.length === 2 && second !== undefined) return [first, second, lease];
  return leases.concat([lease]);
}

export function withoutLease(leases: readonly Lease[], lease: Lease): readonly Lease[] {
  const at = leases.indexOf(lease);
  if (at < 0) return leases;
  if (leases.length === 1) return NO_LEASES;
  return leases.toSpliced(at, 1);
}

export const NO_LEASES: readonly Lease[] = [];

/** Live leases that the host takes, in all its tasks. */
export function takenBy(host: Host): readonly Lease[] {
  const leases: Lease[] = [];
  for (const peer of host.peers.values()) leases.push(...peer.leases);
  return leases;
}

/** The pieces of a live lease that its child does not hold yet, ascending. */
export function remainingOf(lease: Lease): readonly number[] {
  if (lease.remainingCount === 0) return NO_PIECES;
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

const NO_PIECES: readonly number[] = [];

/** Whether the piece is one of the lease's, held or not. */
export function hasPiece(lease: Lease, piece: number): boolean {
  for (const { start, count } of lease.pieces) {
    if (piece >= start && piece < start + count) return true;
  }
  return false;
}
