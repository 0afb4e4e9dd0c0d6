import type {
  PiecesAvailable,
  PiecesFailed,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import {
  askForFullAnnounce,
  condemn,
  contain,
  endLease,
  markDirty,
  peerFor,
  resetPeer,
  settlePieces,
  taskFor,
  tellToDrop,
  touchPeer,
  touchTask,
  updateNeed,
} from "./ledger.ts";
import { noteRate } from "./host-rates.ts";
import { leaseNumberOf } from "./lease-index.ts";
import { noteLateBytes } from "./late-bytes.ts";
import type { Lease } from "./lease.ts";
import type { Host, Peer, State, Task } from "./state.ts";
import { isVouchedFor, strikeCopyOf } from "./vouched.ts";
import { blame, blameUnleased, isUnleased } from "./blame.ts";

/** What a host holds of a task: joined to what is known of the same incarnation, so order and repetition do not matter. */
export function addPieces(state: State, host: Host, value: PiecesAvailable, atMs: number): void {
  const task = taskFor(state, value.taskId, atMs);
  const peer = peerFor(state, task, host);
  if (peer.isApart) {
    contain(state, "pieces of other content");
    return;
  }
  if (isStale(state, task, peer, value)) return;
  if (value.incarnation > peer.incarnation) resetPeer(state, task, peer, value.incarnation);
  if (task.layout === undefined) {
    // Its bits have no meaning yet. Kept for later they would be state that no projection holds.
    contain(state, "availability before description");
    askForFullAnnounce(state, host.hostId, "a task that it holds is not described");
    return;
  }
  learnDigests(state, task, host, value);
  const added = peer.held.addBytes(value.bitmap);
  if (added.length > 0) {
    if (peer.held.count === added.length) task.holderIds.add(host.hostId);
    for (const piece of added) peer.retryFirst?.delete(piece);
  }
  if (task.firstPieceAtMs === 0 && added.length > 0) task.firstPieceAtMs = atMs;
  holdInSwarm(task, peer, added, atMs);
  // Those that end with these pieces are among them still.
  const { leases } = peer;
  settlePieces(state, peer, added, atMs);
  for (const ended of value.leasesEnded) finishLease(state, peer, leases, ended, atMs);
  if (peer.held.isFull) updateNeed(task, peer);
  else if (peer.ordinal >= 0) task.swarm?.freshen(peer.ordinal);
  touchPeer(state, peer);
  // The task's own row has not changed, unless there were new digests: it is long, and every report would have it written again.
  markDirty(state, task);
}

/** Pieces did not arrive: the lease is over, somebody may be to blame, and the pieces are the first to be granted again. */
export function failPieces(state: State, host: Host, value: PiecesFailed, atMs: number): void {
  const task = state.tasks.get(value.taskId);
  const peer = task?.peers.get(host.hostId);
  if (task === undefined || peer === undefined) {
    contain(state, "failure in an unknown task");
    return;
  }
  const lease = state.leases.get(value.leaseId);
  const isOwn =
    lease !== undefined && lease.childHostId === host.hostId && lease.taskId === task.taskId;
  if (isOwn) {
    lease.bytes = value.bytes;
    lease.transferMs = value.durationMs;
    endLease(state, lease, value.reason, atMs);
    // Without a lease: the opening request was refused.
  } else if (value.leaseId !== "") {
    contain(state, "failure of an unknown lease");
    noteLateBytes(state, peer, value);
  }
  // What was called off is as it was before.
  const isFailure = value.reason !== "cancelled";
  for (const piece of isFailure ? value.pieceIndexes : []) {
    if (piece < peer.held.size && !peer.held.has(piece)) (peer.retryFirst ??= new Set()).add(piece);
  }
  if (peer.retryFirst !== undefined && peer.ordinal >= 0) task.swarm?.rows.setUrgent(peer.ordinal);
  if (isUnleased(value, isOwn ? lease : undefined)) blameUnleased(state, peer, value, atMs);
  else blame(state, task, peer, value, isOwn ? lease : undefined, atMs);
  updateNeed(task, peer);
  markDirty(state, task);
}

function isStale(state: State, task: Task, peer: Peer, value: PiecesAvailable): boolean {
  const isOld = value.incarnation < peer.incarnation;
  if (task.state === "retired" || (isOld && peer.isVoided)) {
    contain(state, "void copy");
    const reason = task.retiredReason === "" ? "retired" : task.retiredReason;
    // It still has what it was told to drop: the message was lost, or the host was away.
    if (value.bitmap.some((byte) => byte !== 0)) {
      tellToDrop(state, task, peer.hostId, reason);
      markDirty(state, task);
    }
    return true;
  }
  if (isOld) contain(state, "stale incarnation");
  return isOld;
}

function holdInSwarm(task: Task, peer: Peer, added: readonly number[], atMs: number): void {
  const { swarm } = task;
  if (swarm === undefined || peer.ordinal < 0) return;
  for (const piece of added) swarm.hold(peer.ordinal, piece);
  if (added.length > 0) swarm.progressAtMs = atMs;
}

function learnDigests(state: State, task: Task, host: Host, value: PiecesAvailable): void {
  let hasConflict = false;
  for (const { pieceIndex, sha256 } of value.digests) {
    const learned = task.digests?.learn(pieceIndex, sha256);
    if (learned === "learned") {
      task.swarm?.learn(pieceIndex);
      if (task.aheadLeaseCount > 0) task.untoldDigests.push(pieceIndex);
      touchTask(state, task);
    }
    hasConflict ||= learned === "conflict";
  }
  if (!hasConflict) return;
  contain(state, "digest conflict");
  if (isVouchedFor(task, host.hostId)) strikeCopyOf(task, host.hostId);
  // Somebody lies or is damaged, and we cannot know who: nobody may be given either version.
  else condemn(state, task, "digest_conflict");
}

function finishLease(
  state: State,
  peer: Peer,
  leases: readonly Lease[],
  ended: PiecesAvailable["leasesEnded"][number],
  atMs: number,
): void {
  const { leaseId } = ended;
  // By number first: it is at hand, where the id is a text of its own somewhere in memory.
  const number = leaseNumberOf(leaseId);
  const lease = leaseIn(leases, number, leaseId) ?? state.touched.leases.get(leaseId);
  if (lease === undefined) noteLateBytes(state, peer, ended);
  if (lease?.child !== peer) return;
  // A child that was told of it once more after its end has nothing new to tell.
  if (lease.outcome !== "live" && lease.bytes > 0) return;
  lease.bytes = ended.bytes;
  lease.transferMs = ended.durationMs;
  noteRate(peer.task, lease, atMs);
  if (lease.outcome === "live") endLease(state, lease, "finished", atMs);
}

function leaseIn(leases: readonly Lease[], number: number, leaseId: string): Lease | undefined {
  for (const lease of leases)
    if (lease.number === number && lease.leaseId === leaseId) return lease;
  return undefined;
}
