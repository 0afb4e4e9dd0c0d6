import type { FailureReason } from "@lacewing/contracts/events/reasons.ts";
import type { PiecesFailed } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import {
  ACCUSED_PER_CHILD_MAX,
  ACCUSERS_TO_STRIKE,
  ORIGIN_BACKOFF_MS_MAX,
  ORIGIN_BACKOFF_MS_MIN,
  SUSPECT_ASKED_MS,
  SUSPECT_MS,
} from "./limits.ts";
import {
  askForFullAnnounce,
  avoidParent,
  condemn,
  contain,
  loseArrived,
  tell,
  touchPeer,
  updateNeed,
} from "./ledger.ts";
import { isUnderWayElsewhere } from "./apart.ts";
import { halveSlots } from "./host-rates.ts";
import { hasPiece } from "./leases.ts";
import { restOrigin } from "./origin-rests.ts";
import type { Lease } from "./lease.ts";
import type { Peer, State, Task } from "./state.ts";
import { syncPeer } from "./swarm/sync.ts";

/** Who is to blame for pieces that did not come, and what that means for others. */
export function blame(
  state: State,
  task: Task,
  peer: Peer,
  value: PiecesFailed,
  lease: Lease | undefined,
  atMs: number,
): void {
  const parentHostId = value.parentHostId === "" ? (lease?.parentHostId ?? "") : value.parentHostId;
  const parent = task.peers.get(parentHostId);
  const reason = failureReason(value.reason);
  switch (reason) {
    case "digest_mismatch":
      if (parent === undefined) return;
      avoidParent(peer, parentHostId, atMs, "useless");
      accuse(state, parent, peer, "sent wrong bytes");
      askToRecheck(state, task, parent, leasedOf(lease, value.pieceIndexes));
      return;
    case "unreachable":
      if (parentHostId === "") {
        refuseOrigin(peer, lease, atMs);
        return;
      }
      avoidParent(peer, parentHostId, atMs, "useless");
      suspect(state, parentHostId, atMs);
      return;
    case "not_held":
      // It was to get the pieces, and did not: that is no word about what it holds.
      if (lease?.isAhead === true) return;
      avoidParent(peer, parentHostId, atMs, "failed");
      if (parent === undefined) return;
      forgetPieces(state, task, parent, leasedOf(lease, value.pieceIndexes));
      accuse(state, parent, peer, "reported pieces not held");
      return;
    case "busy":
      avoidParent(peer, parentHostId, atMs, "busy");
      if (lease?.isAhead !== true) halveSlots(state, parentHostId);
      return;
    case "malformed":
      if (parent !== undefined) {
        avoidParent(peer, parentHostId, atMs, "useless");
        accuse(state, parent, peer, "broke the protocol");
      } else if (parentHostId === "") refuseOrigin(peer, lease, atMs);
      return;
    case "stalled":
    case "short":
      if (lease?.isAhead === true) avoidParent(peer, parentHostId, atMs, "busy");
      else if (parentHostId !== "") {
        avoidParent(peer, parentHostId, atMs, reason === "stalled" ? "hung" : "failed");
        halveSlots(state, parentHostId);
      } else refuseOrigin(peer, lease, atMs);
      return;
    case "origin_changed":
      refuseOrigin(peer, lease, atMs);
      if (isOtherContent(task, peer)) condemn(state, task, "validator_changed");
      return;
    case "origin_refused":
      if (value.retryAfterMs > 0) restOrigin(state, task, atMs, value.retryAfterMs);
      refuseOrigin(peer, lease, atMs);
      return;
    case "storage":
      // A seed without room is no seed; nobody else is to blame.
      peer.isSeeding = false;
      updateNeed(task, peer);
      touchPeer(state, peer);
      return;
    case "cancelled":
      return;
    default:
      return reason satisfies never;
  }
}

/** Whether a parent is blamed that the child was not sent to, or is sent to no more. */
export function isUnleased(
  { parentHostId, reason }: PiecesFailed,
  lease: Lease | undefined,
): boolean {
  return (
    parentHostId !== "" &&
    parentHostId !== lease?.parentHostId &&
    AVOIDED_HOW[failureReason(reason)] !== undefined
  );
}

/**
 * The child goes elsewhere itself; for others only what it says under a
 * live lease counts, or one host that lies or is confused could take a parent's pieces away from everybody.
 */
export function blameUnleased(state: State, peer: Peer, value: PiecesFailed, atMs: number): void {
  contain(state, "blame without a lease");
  const { parentHostId } = value;
  const reason = failureReason(value.reason);
  const how = AVOIDED_HOW[reason];
  if (how === undefined || !peer.task.peers.has(parentHostId)) return;
  avoidParent(peer, parentHostId, atMs, how);
  // No harm in a question: whoever can be reached answers.
  if (reason === "unreachable") suspect(state, parentHostId, atMs);
}

/** How a child avoids a parent after these; what is not of the list is no parent's fault. */
const AVOIDED_HOW: Partial<Record<FailureReason, "busy" | "failed" | "hung" | "useless">> = {
  digest_mismatch: "useless",
  unreachable: "useless",
  malformed: "useless",
  not_held: "failed",
  busy: "busy",
  stalled: "hung",
  short: "failed",
};

/** Those of the pieces that the child was sent for: of others it can say nothing. */
function leasedOf(lease: Lease | undefined, pieceIndexes: readonly number[]): readonly number[] {
  return lease === undefined ? [] : pieceIndexes.filter((piece) => hasPiece(lease, piece));
}

/** An anchor says what the content is: what the origin has for one host now is no word about what others get. */
function isOtherContent(task: Task, { hostId }: Peer): boolean {
  return task.anchor === "" || (task.state === "active" && !isUnderWayElsewhere(task, hostId));
}

/** A word that is not of the list came from a newer host: it blames nobody. */
function failureReason(text: string): FailureReason {
  switch (text) {
    case "digest_mismatch":
    case "unreachable":
    case "not_held":
    case "busy":
    case "stalled":
    case "short":
    case "malformed":
    case "origin_refused":
    case "origin_changed":
    case "storage":
      return text;
    default:
      return "cancelled";
  }
}

/** What is damaged on its disk it finds and gives up by itself. */
function askToRecheck(
  state: State,
  task: Task,
  parent: Peer,
  pieceIndexes: readonly number[],
): void {
  tell(state, task.slice, {
    kind: "recheck",
    hostId: parent.hostId,
    taskId: task.taskId,
    pieceIndexes,
  });
}

/**
 * One child may lie or be damaged itself, or meet an eviction under way: it goes elsewhere, and others go on. When several say so of a parent,
 * nobody gets this task from this copy any more. Only who was sent to a parent can say so: see `blameUnleased`.
 */
function accuse(state: State, parent: Peer, child: Peer, what: string): void {
  if (parent.accusedBy?.has(child.hostId) === true) return;
  if (child.accusedCount >= ACCUSED_PER_CHILD_MAX) {
    contain(state, "accuses many parents");
    return;
  }
  child.accusedCount++;
  parent.accusedBy ??= new Set();
  parent.accusedBy.add(child.hostId);
  if (parent.accusedBy.size < ACCUSERS_TO_STRIKE || parent.isStruck) return;
  contain(state, what);
  parent.isStruck = true;
  syncPeer(parent);
}

/**
 * A child could not reach the host. It may be the child that is cut off, so the host is asked for a word, and left alone by all when none
 * comes; see `tick`.
 */
function suspect(state: State, hostId: string, atMs: number): void {
  const host = state.hosts.get(hostId);
  if (host === undefined || atMs - host.lastHeardAtMs < SUSPECT_ASKED_MS) return;
  if (host.suspectUntilMs === 0) {
    host.suspectFromMs = atMs + SUSPECT_ASKED_MS;
    askForFullAnnounce(state, hostId, "a child could not reach it");
  }
  host.suspectUntilMs = Math.max(atMs, host.suspectFromMs) + SUSPECT_MS;
  state.work.suspectIds.add(hostId);
}

/** The parent's picture differs from ours: ours is the copy. Its next cumulative message brings back what it does hold. */
function forgetPieces(
  state: State,
  task: Task,
  parent: Peer,
  pieceIndexes: readonly number[],
): void {
  for (const piece of pieceIndexes) {
    if (parent.held.delete(piece) && parent.ordinal >= 0) task.swarm?.unhold(parent.ordinal, piece);
  }
  loseArrived(state, parent);
  if (parent.held.count === 0) task.holderIds.delete(parent.hostId);
  updateNeed(task, parent);
  touchPeer(state, parent);
  askForFullAnnounce(state, parent.hostId, "a child was refused pieces that the scheduler knew");
}

/** The origin is left alone for a while on behalf of the request that it refused. */
function refuseOrigin(peer: Peer, lease: Lease | undefined, atMs: number): void {
  const request = peer.requests.get(lease?.requestId ?? "");
  if (request === undefined) return;
  // An origin that broke off after some bytes goes on giving: only refusals in a row make it wait longer.
  if (lease !== undefined && lease.bytes > 0) request.originRefusalCount = 0;
  const waitMs = Math.min(
    ORIGIN_BACKOFF_MS_MAX,
    ORIGIN_BACKOFF_MS_MIN * 2 ** request.originRefusalCount,
  );
  request.originRefusalCount++;
  request.originRefusedUntilMs = Math.max(request.originRefusedUntilMs, atMs + waitMs);
  if (request.isOriginOpen) peer.task.openRequestCount--;
  request.isOriginOpen = false;
}
