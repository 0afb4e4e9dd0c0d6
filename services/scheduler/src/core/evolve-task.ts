import type {
  PeerDropped,
  TaskDescribed,
  TaskPoisoned,
  TaskVerified,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { pieceCountOf, rangesOf } from "@lacewing/contracts/pieces.ts";
import { LEASE_PIECES_MAX } from "@lacewing/contracts/limits.ts";
import { PieceDigests } from "./digests.ts";
import { must } from "./invariant.ts";
import { leaseDurationMs } from "./lease-duration.ts";
import { PieceTable } from "./piece-sets.ts";
import {
  condemn,
  contain,
  endLease,
  endRequest,
  leasePieces,
  markDirty,
  peerFor,
  resetPeer,
  taskFor,
  touchPeer,
  touchTask,
  updateNeed,
} from "./ledger.ts";
import { originAnswered } from "./origin-rests.ts";
import { comeBack, isAwaitedElsewhere, isUnderWayElsewhere, standApart } from "./apart.ts";
import { isVouchedFor, strikeCopyOf } from "./vouched.ts";
import type { Lease } from "./lease.ts";
import type { Host, State, Task } from "./state.ts";
import { dropSwarm } from "./swarm/sync.ts";
import { isWithin, piecesOfRequest } from "./wanted.ts";

/** The origin's answer was seen: now the task has a length, pieces, and work to hand out. The first description stands. */
export function describeTask(state: State, host: Host, value: TaskDescribed, atMs: number): void {
  const task = taskFor(state, value.taskId, atMs);
  if (task.state === "retired") {
    if (!isOtherThanRetired(task, value)) {
      contain(state, "description of a retired task");
      return;
    }
    startAfresh(task, atMs);
  }
  if (value.originRanges) task.hasOriginRanges = true;
  const describer = task.peers.get(host.hostId);
  if (describer !== undefined) originAnswered(describer, atMs);
  if (task.layout !== undefined) {
    markDirty(state, task);
    compareDescription(state, task, host, value);
    return;
  }
  task.layout = { lengthBytes: value.lengthBytes, pieceLengthBytes: value.pieceLengthBytes };
  task.describedAtMs = atMs;
  const pieceCount = pieceCountOf(task.layout);
  task.digests = new PieceDigests(pieceCount);
  task.pieces = new PieceTable(pieceCount);
  task.etag = value.etag;
  task.contentType = value.contentType;
  task.url ||= value.url;
  task.sharingDomain ||= value.sharingDomain;
  task.anchor ||= value.anchor;
  for (const peer of task.peers.values()) {
    peer.held = task.pieces.newSet();
    peer.leased = task.pieces.newSet();
    updateNeed(task, peer);
  }
  fillOpenLease(state, task, atMs);
  adoptBySeeds(state, task);
  peerFor(state, task, host);
  touchTask(state, task);
}

/** Seed hosts with room take the whole of every task that somebody wants, so that it outlives the host that asked. */
export function adoptBySeeds(state: State, task: Task): void {
  if (task.layout === undefined || task.state === "retired") return;
  for (const hostId of state.seedIds) {
    const host = must(state.hosts.get(hostId), `seed host ${hostId}`);
    if (host.state !== "alive" || host.freeBytes < task.layout.lengthBytes) continue;
    const peer = peerFor(state, task, host);
    if (peer.isSeeding) continue;
    peer.isSeeding = true;
    updateNeed(task, peer);
    touchPeer(state, peer);
  }
}

/** The host no longer wants content for this request. */
export function endRequestOf(state: State, host: Host, requestId: string): void {
  const task = state.tasks.get(host.requests.get(requestId) ?? "");
  const peer = task?.peers.get(host.hostId);
  if (task !== undefined && peer !== undefined) endRequest(state, task, peer, requestId);
}

export function dropPeer(state: State, host: Host, value: PeerDropped): void {
  const task = state.tasks.get(value.taskId);
  const peer = task?.peers.get(host.hostId);
  if (task === undefined || peer === undefined) {
    contain(state, "drop of an unknown peer");
    return;
  }
  if (value.incarnation <= peer.incarnation) {
    contain(state, "stale incarnation");
    return;
  }
  peer.isSeeding = false;
  resetPeer(state, task, peer, value.incarnation);
  for (const lease of host.serving) {
    if (lease.child.task === task) task.leasesToReview.add(lease);
  }
  for (const lease of peer.leases) task.leasesToReview.add(lease);
  touchTask(state, task);
}

export function verifyPeer(state: State, host: Host, value: TaskVerified): void {
  const task = state.tasks.get(value.taskId);
  const peer = task?.peers.get(host.hostId);
  if (task !== undefined && peer?.isApart === true && mayGiveWay(task, host, value)) {
    condemn(state, task, "validator_changed");
    return;
  }
  if (
    task === undefined ||
    peer === undefined ||
    task.state === "retired" ||
    peer.isApart ||
    value.incarnation < peer.incarnation
  ) {
    contain(state, "verification that does not fit");
    return;
  }
  peer.isVerified = true;
  touchPeer(state, peer);
  if (task.state === "verified") return;
  task.state = "verified";
  touchTask(state, task);
}

export function poisonTask(state: State, host: Host, value: TaskPoisoned): void {
  const task = state.tasks.get(value.taskId);
  if (task === undefined || !task.peers.has(host.hostId)) {
    contain(state, "poisoning of an unknown task");
    return;
  }
  if (task.peers.get(host.hostId)?.isApart === true) {
    // It is a word about what that host was given.
    contain(state, "poisoning of other content");
    return;
  }
  if (isVouchedFor(task, host.hostId)) {
    // An origin may answer one client with something else, say a page to log in: that is no word about the content. What the
    // reporter came by is nothing for others; it drops that by itself.
    contain(state, "poisoning of verified content");
    strikeCopyOf(task, host.hostId);
    return;
  }
  condemn(state, task, value.reason === "digest_conflict" ? "digest_conflict" : "poisoned");
}

function compareDescription(state: State, task: Task, host: Host, value: TaskDescribed): void {
  const isSameLength =
    task.layout?.lengthBytes === value.lengthBytes &&
    task.layout.pieceLengthBytes === value.pieceLengthBytes;
  const isSameEtag = task.etag === "" || value.etag === "" || task.etag === value.etag;
  if (isSameLength) comeBack(state, task, host);
  if (isSameLength && isSameEtag) return;
  contain(state, "description differs");
  if (task.anchor === "") condemn(state, task, "validator_changed");
  // An anchor says what the content is, whatever validators an origin's mirrors invent.
  else if (!isSameLength) partFrom(state, task, host);
}

/**
 * The host was given something else by the name of an anchored content, say a page to log in. Until the whole was hashed nobody knows
 * who is right, and pieces of one length are none of the other: who has got on with the first goes on with that, and this host
 * goes on by itself. When nobody has, the next description is as good as the first.
 */
function partFrom(state: State, task: Task, host: Host): void {
  if (task.state === "active" && !isUnderWayElsewhere(task, host.hostId)) {
    condemn(state, task, "validator_changed");
    return;
  }
  standApart(state, task, peerFor(state, task, host));
}

/**
 * Whether the content as it is described makes room for that of a host that stands apart and found its copy to be what the anchor says:
 * nobody found that of the former, or waits for it, and what is held of it would stand in the way of the right content for ever.
 */
function mayGiveWay(task: Task, { hostId }: Host, { digest }: TaskVerified): boolean {
  return task.state === "active" && digest === task.anchor && !isAwaitedElsewhere(task, hostId);
}

/** Whether a host has by the name of a retired task what was not retired: its anchor says that it may be right. */
function isOtherThanRetired({ layout }: Task, { anchor, lengthBytes }: TaskDescribed): boolean {
  return anchor !== "" && layout !== undefined && layout.lengthBytes !== lengthBytes;
}

/**
 * A retired task is wanted again, or there is other content by its name. Copies from before stay void: the retirement raised every
 * peer's incarnation, and what the hosts hold from now on comes under that or a higher one. Copies that stood apart were no part of it.
 */
export function startAfresh(task: Task, atMs: number): void {
  task.state = "active";
  task.retiredReason = "";
  task.isForgettable = false;
  task.condemnedReason = undefined;
  task.isCreated = false;
  task.createdAtMs = atMs;
  task.layout = undefined;
  task.digests = undefined;
  task.pieces = new PieceTable(0);
  task.url = "";
  task.anchor = "";
  task.etag = "";
  dropSwarm(task);
}

/** The open lease now has pieces: all that its request wants and nobody holds or is being sent. */
function fillOpenLease(state: State, task: Task, atMs: number): void {
  const lease = state.leases.get(task.openLeaseId ?? "");
  task.openLeaseId = undefined;
  if (lease === undefined || task.layout === undefined) return;
  const request = lease.child.requests.get(lease.requestId);
  const span = piecesOfRequest(task, request ?? { wantedStart: 0, wantedEnd: 0 });
  const pieces: number[] = [];
  for (let piece = span.start; piece < span.end && pieces.length < LEASE_PIECES_MAX; piece++) {
    if (isWithin(span, piece) && !isHeldOrLeased(task, piece)) pieces.push(piece);
  }
  takePieces(lease, pieces, task, atMs);
  state.leases.add(lease);
  task.streamLeaseId = lease.leaseId;
  dropSwarm(task);
  state.touched.leases.add(lease);
  if (pieceCountOf(task.layout) === 0) endLease(state, lease, "finished", atMs);
  else if (pieces.length === 0) task.leasesToReview.add(lease);
}

function takePieces(lease: Lease, pieces: readonly number[], task: Task, atMs: number): void {
  lease.pieces = rangesOf(pieces);
  leasePieces(lease);
  lease.durationMs = leaseDurationMs(task.layout);
  lease.progressAtMs = atMs;
}

function isHeldOrLeased(task: Task, piece: number): boolean {
  for (const peer of task.peers.values()) {
    if (peer.held.has(piece) || peer.leased.has(piece)) return true;
  }
  return false;
}
