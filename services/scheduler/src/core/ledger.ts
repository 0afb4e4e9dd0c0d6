import { indexesOf, rangesOf } from "@lacewing/contracts/pieces.ts";
import { HOST_SLICE, SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import type { Answer } from "./answer.ts";
import {
  AVOIDED_PER_PEER_MAX,
  AVOID_MS_MAX,
  AVOID_MS_MIN,
  ENDED_LEASES_MAX,
  FAILURES_TO_DISCOUNT,
  OUTBOX_MAX,
  TINY_CONTENT_BYTES_MAX,
} from "./limits.ts";
import { must } from "./invariant.ts";
import { hasPiece, remainingOf, withLease, withoutLease } from "./leases.ts";
import { takeSlotWaiter } from "./slot-turns.ts";
import {
  comesFromAfar,
  joinSwarm,
  syncLease,
  syncPeer,
  syncWants,
  wakeSource,
} from "./swarm/sync.ts";
import type { Lease } from "./lease.ts";
import {
  type Host,
  newHost,
  newPeer,
  newTask,
  type Peer,
  type Request,
  type State,
  type Task,
} from "./state.ts";

/** The changes of state that several rules share; each keeps the indexes whole and notes what it touched. */

/** Counts an observation that does not fit. */
export function contain(state: State, reason: string): void {
  state.contained.set(reason, (state.contained.get(reason) ?? 0) + 1);
}

export function touchHost(state: State, host: Host): void {
  state.touched.hostIds.add(host.hostId);
}

/** Keeps the index of seed hosts. */
export function setKind(state: State, host: Host, kind: Host["kind"]): void {
  host.kind = kind;
  if (kind === "seed") state.seedIds.add(host.hostId);
  else state.seedIds.delete(host.hostId);
}

export function touchPeer(state: State, peer: Peer): void {
  if (peer.isTouched) return;
  peer.isTouched = true;
  state.touched.peers.push(peer);
}

export function touchTask(state: State, task: Task): void {
  state.touched.taskIds.add(task.taskId);
  markDirty(state, task);
}

/** Has the next turn look at the task. */
export function markDirty(state: State, task: Task): void {
  state.work.dirtyTaskIds[task.slice]?.add(task.taskId);
}

/** Tells a host something in the next turn of the task's slice, or of the hosts' slice. */
export function tell(state: State, slice: number, answer: Answer): void {
  const outbox = must(state.work.outbox[slice], `outbox of slice ${slice}`);
  if (outbox.length >= OUTBOX_MAX) contain(state, "outbox full");
  else outbox.push(answer);
}

/** Has the host give up the content as it is described now. */
export function tellToDrop(state: State, task: Task, hostId: string, reason: string): void {
  const { taskId, slice, layout } = task;
  const lengthBytes = layout?.lengthBytes ?? 0;
  tell(state, slice, { kind: "drop_task", hostId, taskId, reason, lengthBytes });
}

export function askForFullAnnounce(state: State, hostId: string, reason: string): void {
  const host = state.hosts.get(hostId);
  if (host !== undefined) host.isFullAnnounceDue = true;
  tell(state, HOST_SLICE, { kind: "announce_full", hostId, reason });
}

/** The host, made on first sight. */
export function hostFor(state: State, hostId: string, bootId: string, atMs: number): Host {
  const known = state.hosts.get(hostId);
  if (known !== undefined) return known;
  const host = newHost(hostId, bootId, atMs);
  state.hosts.set(hostId, host);
  return host;
}

/** The task, made on first sight; the decision that creates it for the log follows. */
export function taskFor(state: State, taskId: string, atMs: number): Task {
  const known = state.tasks.get(taskId);
  if (known !== undefined) return known;
  const task = newTask(taskId, Number.parseInt(taskId.slice(0, 2), 16) % SLICE_COUNT, atMs);
  state.tasks.set(taskId, task);
  touchTask(state, task);
  return task;
}

/** The host's part in the task, made on first sight. */
export function peerFor(state: State, task: Task, host: Host): Peer {
  const known = host.peers.get(task.taskId);
  if (known !== undefined) return known;
  const peer = newPeer(task, host);
  task.peers.set(host.hostId, peer);
  host.peers.set(task.taskId, peer);
  peer.waitingSinceMs = host.lastHeardAtMs;
  joinSwarm(task, peer);
  touchPeer(state, peer);
  return peer;
}

/** Adds a lease to the live ones. */
export function addLease(state: State, task: Task, lease: Lease): void {
  const { child, parent } = lease;
  state.leases.add(lease);
  task.leaseCount++;
  child.leases = withLease(child.leases, lease);
  leasePieces(lease);
  if (parent !== undefined) {
    lease.isFromIdleParent = parent.serving.length === 0;
    parent.serving = withLease(parent.serving, lease);
    lease.isTiny = isTinyContent(task);
    if (lease.isTiny) parent.tinyLeaseCount++;
    if (lease.isAhead) parent.aheadLeaseCount++;
    if (lease.isAhead) task.aheadLeaseCount++;
  }
  if (lease.isOpen && task.layout === undefined) task.openLeaseId = lease.leaseId;
  lease.isFromAfar = comesFromAfar(lease);
  syncLease(task, lease, remainingOf(lease), 1);
  state.touched.leases.add(lease);
  markDirty(state, task);
}

/** Those of the lease's pieces that the child does not hold are on their way from now on. */
export function leasePieces(lease: Lease): void {
  const { held, leased } = lease.child;
  for (const { start, count } of lease.pieces) {
    for (let piece = start; piece < start + count; piece++) {
      if (!held.has(piece) && leased.add(piece)) lease.remainingCount++;
    }
  }
}

/** Ends a live lease; what it did not bring is wanted again. */
export function endLease(state: State, lease: Lease, outcome: string, atMs: number): void {
  const { child, parent } = lease;
  const { task } = child;
  const rest = remainingOf(lease);
  lease.outcome = outcome;
  lease.endedAtMs = atMs;
  state.leases.delete(lease);
  task.leaseCount--;
  if (task.leasesToReview.size > 0) task.leasesToReview.delete(lease);
  child.leases = withoutLease(child.leases, lease);
  for (const piece of rest) child.leased.delete(piece);
  if (child.leases.length === 0) child.waitingSinceMs = atMs;
  // Its requests have no lease of their own any more, unless another comes in the next turn.
  if (child.firstRequest !== undefined && !isServed(child, lease.requestId)) askFor(child);
  syncLease(task, lease, rest, -1);
  if (child.host.aheadLeaseCount > 0 && rest.length > 0) reviewRelayed(child);
  if (task.openLeaseId !== undefined || task.streamLeaseId !== undefined)
    forgetOriginLease(task, lease.leaseId);
  noteEndedLease(state, lease);
  markDirty(state, task);
  if (parent === undefined) return;
  parent.serving = withoutLease(parent.serving, lease);
  if (lease.isTiny) parent.tinyLeaseCount--;
  if (lease.isAhead) parent.aheadLeaseCount--;
  if (lease.isAhead) task.aheadLeaseCount--;
  offerSlot(state, parent);
}

/** What the child was to pass on may not come. */
function reviewRelayed({ host, task }: Peer): void {
  for (const lease of host.serving)
    if (lease.isAhead && lease.task === task) task.leasesToReview.add(lease);
}

function forgetOriginLease(task: Task, leaseId: string): void {
  if (task.openLeaseId === leaseId) task.openLeaseId = undefined;
  if (task.streamLeaseId === leaseId) task.streamLeaseId = undefined;
}

function isServed({ leases }: Peer, requestId: string): boolean {
  for (const lease of leases) if (lease.requestId === requestId) return true;
  return false;
}

/** Has the next turn answer the requests of the peer that have no answer. */
export function askFor(peer: Peer): void {
  if (peer.isAsking) return;
  peer.isAsking = true;
  peer.task.asking.push(peer);
}

/** Whether all of the task is sent in less time than a decision takes. */
export function isTinyContent(task: Pick<Task, "layout">): boolean {
  return task.layout !== undefined && task.layout.lengthBytes <= TINY_CONTENT_BYTES_MAX;
}

/** An upload slot of the host is free: the peer that used its uploads least has the first turn. */
export function offerSlot(state: State, host: Host): void {
  const first = takeSlotWaiter(host);
  if (first === undefined) return;
  wakeSource(first.task, first);
  markDirty(state, first.task);
}

/** Has the next turns look at tasks that want pieces and in which the host takes part: it can do something for them. */
export function wakeHungryTasks(state: State, host: Host): void {
  const { hungryTaskIds } = state.work;
  // A host may take part in thousands of tasks of which few are hungry, or the other way round.
  const isFew = hungryTaskIds.size < host.peers.size;
  for (const taskId of isFew ? hungryTaskIds : host.peers.keys()) {
    const peer = host.peers.get(taskId);
    if (peer === undefined || !hungryTaskIds.has(taskId)) continue;
    const { task } = peer;
    wakeSource(task, peer);
    if (peer.ordinal >= 0) task.swarm?.freshen(peer.ordinal);
    markDirty(state, task);
  }
}

/** Takes pieces that arrived out of the child's leases. */
export function settlePieces(
  state: State,
  peer: Peer,
  pieces: readonly number[],
  atMs: number,
): void {
  let awaitedCount = 0;
  for (const piece of pieces) if (peer.leased.has(piece)) awaitedCount++;
  for (const lease of peer.leases) {
    // A piece comes under one lease: most reports need not look at the others.
    if (awaitedCount === 0) return;
    let arrivedCount = 0;
    for (const piece of pieces) {
      if (hasPiece(lease, piece) && peer.leased.delete(piece)) arrivedCount++;
    }
    if (arrivedCount === 0) continue;
    awaitedCount -= arrivedCount;
    lease.remainingCount -= arrivedCount;
    if (lease.remainingCount > 0) noteProgress(lease, atMs);
    peer.avoided?.delete(lease.parentHostId);
    if (lease.remainingCount === 0) endLease(state, lease, "finished", atMs);
  }
}

/** Something came under the lease: nothing else has to be granted beside it any more. */
export function noteProgress(lease: Lease, atMs: number): void {
  const wasOverdue = lease.isOverdue;
  lease.progressAtMs = atMs;
  if (wasOverdue) syncPeer(lease.child);
}

/**
 * The peer lost pieces that it held. What had arrived under a live lease of it, and is gone, may be granted again under another: it is no
 * part of the first any more, or it would arrive under both.
 */
export function loseArrived(state: State, peer: Peer): void {
  for (const lease of peer.leases) {
    const pieces = [...indexesOf(lease.pieces)];
    const kept = pieces.filter((piece) => peer.held.has(piece) || peer.leased.has(piece));
    if (kept.length === pieces.length) continue;
    lease.pieces = rangesOf(kept);
    state.touched.leases.add(lease);
  }
}

/** Makes the copy void: under a new incarnation it holds nothing. */
export function resetPeer(state: State, task: Task, peer: Peer, incarnation: number): void {
  peer.incarnation = incarnation;
  if (peer.held.count > 0) {
    if (peer.ordinal >= 0) task.swarm?.unholdAll(peer.ordinal);
    peer.held.clear();
    loseArrived(state, peer);
  }
  peer.isVerified = false;
  peer.isStruck = false;
  // What they said was of the copy before: they may say so of others, or of this one again.
  for (const hostId of peer.accusedBy ?? []) {
    const child = task.peers.get(hostId);
    if (child !== undefined && child.accusedCount > 0) child.accusedCount--;
  }
  peer.accusedBy = undefined;
  peer.isVoided = false;
  peer.isApart = false;
  task.holderIds.delete(peer.hostId);
  updateNeed(task, peer);
  syncPeer(peer);
  touchPeer(state, peer);
}

/** Keeps the index of peers that may want pieces. */
export function updateNeed(task: Task, peer: Peer): void {
  const isNeedy =
    (peer.requests.size > 0 || peer.isSeeding) && !(task.layout !== undefined && peer.held.isFull);
  if (isNeedy !== peer.isNeedy) {
    peer.isNeedy = isNeedy;
    if (isNeedy) {
      task.needyIds.add(peer.hostId);
      // A client may still read a copy that was whole and is gone now: it was promised nothing then.
      if (peer.firstRequest !== undefined) askFor(peer);
    } else task.needyIds.delete(peer.hostId);
  }
  syncWants(task, peer);
}

/** Adds a request of a client at the host, or puts it in the place of the one with its id. */
export function addRequest(peer: Peer, request: Request): void {
  const { requestId } = request;
  const known = peer.requests.get(requestId);
  if (known?.isOriginOpen === true) peer.task.openRequestCount--;
  if (request.isOriginOpen) peer.task.openRequestCount++;
  if (known === peer.firstRequest) peer.firstRequest = request;
  peer.requests.set(requestId, request);
  peer.host.requests.set(requestId, peer.taskId);
}

/** Ends a request of a client at the host; its leases may have lost their reason. */
export function endRequest(state: State, task: Task, peer: Peer, requestId: string): void {
  const request = peer.requests.get(requestId);
  if (request === undefined) return;
  if (request.isOriginOpen) task.openRequestCount--;
  peer.requests.delete(requestId);
  if (request === peer.firstRequest) [peer.firstRequest] = peer.requests.values();
  peer.host.requests.delete(requestId);
  for (const lease of peer.leases) task.leasesToReview.add(lease);
  updateNeed(task, peer);
  touchPeer(state, peer);
  markDirty(state, task);
}

/** Has a child leave a parent alone for a while, longer with each failure in a row. */
export function avoidParent(
  peer: Peer,
  parentHostId: string,
  atMs: number,
  how: "busy" | "failed" | "hung" | "useless",
): void {
  peer.avoided ??= new Map();
  if (peer.ordinal >= 0) peer.task.swarm?.rows.setAvoiding(peer.ordinal);
  if (peer.avoided.size >= AVOIDED_PER_PEER_MAX) {
    for (const [hostId, { untilMs }] of peer.avoided)
      if (untilMs <= atMs) peer.avoided.delete(hostId);
  }
  const before = peer.avoided.get(parentHostId)?.failureCount ?? 0;
  // A child that has waited its ten seconds for nothing is not sent there again while it can read elsewhere.
  const failureCount = before + (how === "hung" ? FAILURES_TO_DISCOUNT : 1);
  const waitMs = Math.min(AVOID_MS_MAX, AVOID_MS_MIN * 2 ** (failureCount - 1));
  peer.avoided.set(parentHostId, {
    untilMs: atMs + waitMs,
    failureCount,
    // Whoever cannot be reached, or sends wrong bytes, has no copy for this child, whatever it has for others.
    isDiscounted: how === "useless" || (how !== "busy" && failureCount >= FAILURES_TO_DISCOUNT),
  });
}

/** Notes what ends the task; the decision to retire it follows in the next turn. */
export function condemn(
  state: State,
  task: Task,
  reason: NonNullable<Task["condemnedReason"]>,
): void {
  if (task.state === "retired") return;
  task.condemnedReason ??= reason;
  touchTask(state, task);
}

function noteEndedLease(state: State, lease: Lease): void {
  const { leases } = state.touched;
  leases.add(lease);
  if (leases.size <= ENDED_LEASES_MAX) return;
  // A tenth at once: the first is looked for from the start each time.
  let surplus = ENDED_LEASES_MAX / 10;
  for (const oldest of leases.values()) {
    if (surplus-- <= 0) return;
    leases.delete(oldest);
    contain(state, "lease not projected");
  }
}
