import type {
  LeaseGranted,
  PieceRange,
} from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import type { DecisionContext } from "./decision-context.ts";
import { InvariantViolation, must, mustHold } from "./invariant.ts";
import { addLease } from "./ledger.ts";
import { Lease, leaseIdOf } from "./lease.ts";
import { isGrantedAhead } from "./matching/relays.ts";
import type { Peer, State } from "./state.ts";
import { leaseNumberOf } from "./lease-index.ts";

/** A decision to grant a lease, and whom it concerns: looked up by their ids on a replay, at hand when it was just made. */
export interface Grant {
  readonly value: LeaseGranted;
  /** Of the lease, which its id ends with. */
  readonly number: number;
  readonly child: Peer;
  /** Undefined: the origin. */
  readonly parent: Peer | undefined;
}

/** @throws {InvariantViolation} when the lease names somebody or something that is not there, or its id is not of this message. */
export function grantOf(state: State, value: LeaseGranted, context: DecisionContext): Grant {
  const { taskId, childHostId, parentHostId } = value;
  const task = must(state.tasks.get(taskId), `task ${taskId}`);
  const peerOf = (hostId: string) => must(task.peers.get(hostId), `peer ${hostId} of ${taskId}`);
  const child = peerOf(childHostId);
  const number = leaseNumberOf(value.leaseId);
  mustHold(
    leaseIdOf(context, number) === value.leaseId,
    () => `lease ${value.leaseId} is of another message`,
  );
  return { value, number, child, parent: parentHostId === "" ? undefined : peerOf(parentHostId) };
}

/** Applies the grant. @throws {InvariantViolation} when it does not fit. */
export function grantLease(state: State, grant: Grant, context: DecisionContext): Lease {
  const { value, number, child, parent } = grant;
  const { slice, epoch } = context;
  const isAhead = isGrantedAhead(value.reason);
  mustFit(grant, isAhead);
  if (!Number.isSafeInteger(number) || state.leases.has(slice, epoch, number))
    throw new InvariantViolation(`lease ${value.leaseId} is granted twice, or is none`);
  const lease = new Lease({
    number,
    decided: context,
    child,
    parent: parent?.host,
    pieces: value.pieces,
    isOpen: value.open,
    requestId: value.requestId,
    reason: value.reason,
    candidateCount: value.candidateCount,
    durationMs: value.durationMs,
    traceparent: value.traceparent,
    isAhead,
  });
  addLease(state, child.task, lease);
  if (number >= (state.nextLeaseNumbers[slice] ?? 1)) state.nextLeaseNumbers[slice] = number + 1;
  return lease;
}

// Asked of each grant: what is said of a misfit is made when there is one.

function mustFit({ value, child, parent }: Grant, isAhead: boolean): void {
  const { leaseId } = value;
  const { task } = child;
  if (!task.isCreated || task.state === "retired")
    throw new InvariantViolation(`task ${value.taskId} takes no leases`);
  if (child === parent) throw new InvariantViolation(`lease ${leaseId} is from its own child`);
  if (value.open !== (value.pieces.length === 0))
    throw new InvariantViolation(`lease ${leaseId} is neither open nor of pieces`);
  if (value.open && (task.layout !== undefined || task.openLeaseId !== undefined))
    throw new InvariantViolation(`a second open lease ${leaseId}`);
  for (const range of value.pieces) mustFitPieces(leaseId, range, child, parent, isAhead);
}

function mustFitPieces(
  leaseId: string,
  { start, count }: PieceRange,
  child: Peer,
  parent: Peer | undefined,
  isAhead: boolean,
): void {
  const { layout } = child.task;
  const pieceCount = layout === undefined ? 0 : pieceCountOf(layout);
  if (start + count > pieceCount)
    throw new InvariantViolation(`lease ${leaseId}: a piece beyond the last, ${pieceCount - 1}`);
  for (let piece = start; piece < start + count; piece++) {
    const misfit = misfitOf(piece, child, parent, isAhead);
    if (misfit !== undefined) throw new InvariantViolation(`lease ${leaseId}: ${misfit}`);
  }
}

function misfitOf(
  piece: number,
  child: Peer,
  parent: Peer | undefined,
  isAhead: boolean,
): string | undefined {
  if (parent !== undefined && !parent.held.has(piece)) {
    if (!isAhead) return `the parent does not hold piece ${piece}`;
    if (!parent.leased.has(piece)) return `the parent neither holds nor gets piece ${piece}`;
  }
  if (child.held.has(piece)) return `the child holds piece ${piece}`;
  if (child.leased.has(piece)) return `piece ${piece} is leased twice`;
  return undefined;
}
