import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import type { Lease } from "../lease.ts";
import type { Host, Peer, Task } from "../state.ts";
import { isWholeWanted, piecesOfRequest } from "../wanted.ts";
import { expectLease, noteLeaseOver } from "./expect.ts";
import { ACTIVITY, Swarm } from "./swarm.ts";
import type { Wants } from "./wants.ts";
import { setBit, wordCountOf } from "./words.ts";

/** A parent slower than this part of the usual pace leaves most of its child's link to others. */
const THIN_SHARE = 0.3;

/**
 * Keeps the swarm of a task in step with the folded state. A task has one from its first decision on (or none, until then): the
 * functions do nothing without it, so a replay does not pay for an index that nobody asks.
 */

/** The index of a described task, made of the state when there is none yet. */
export function swarmOf(task: Task): Swarm {
  const known = task.swarm;
  if (known !== undefined) return known;
  const pieceCount = task.layout === undefined ? 0 : pieceCountOf(task.layout);
  const swarm = new Swarm(pieceCount, Number.parseInt(task.taskId.slice(2, 10), 16));
  task.swarm = swarm;
  for (let piece = 0; piece < pieceCount; piece++) {
    if (task.digests?.has(piece) === true) swarm.learn(piece);
  }
  for (const peer of task.peers.values()) joinSwarm(task, peer);
  for (const peer of task.peers.values()) {
    for (const lease of peer.leases) countLease(task, lease, 1);
  }
  return swarm;
}

/** The state of the task changed in a way that the index does not follow: the next decision makes it anew. */
export function dropSwarm(task: Task): void {
  for (const peer of task.peers.values()) peer.ordinal = -1;
  task.swarm = undefined;
}

export function joinSwarm(task: Task, peer: Peer): void {
  const { swarm } = task;
  if (swarm === undefined) return;
  swarm.join(peer, peer.host, peer.held, peer.leased);
  if (peer.avoided !== undefined) swarm.rows.setAvoiding(peer.ordinal);
  if (peer.retryFirst !== undefined || peer.blockedUntilMs > 0) swarm.rows.setUrgent(peer.ordinal);
  syncWants(task, peer);
  syncPeer(peer);
}

/** The host of the peer is in another place than when it joined. */
export function moveInSwarm(task: Task, peer: Peer): void {
  const served = peer.host.serving.filter(({ child }) => child.task === task);
  const leases = [...served, ...peer.leases];
  for (const lease of leases) countLease(task, lease, -1);
  task.swarm?.leave(peer);
  joinSwarm(task, peer);
  for (const lease of leases) countLease(task, lease, 1);
}

/** After its requests, its seeding or the state of the task changed. */
export function syncWants(task: Task, peer: Peer): void {
  if (task.swarm === undefined || peer.ordinal < 0) return;
  task.swarm.setWants(peer.ordinal, wantsOf(task, peer));
  task.swarm.freshen(peer.ordinal);
}

/** After the host became reachable or not, or the peer's copy trusted or not. */
export function syncHost(host: Host): void {
  for (const peer of host.peers.values()) syncPeer(peer);
}

/** After the depth of leases changed: everybody may take more, or less. */
export function syncDepth(task: Task): void {
  for (const peer of task.peers.values()) syncPeer(peer);
}

export function syncPeer(peer: Peer): void {
  const { swarm } = peer.task;
  if (swarm === undefined || peer.ordinal < 0) return;
  swarm.setSource(peer.ordinal, isSource(peer));
  swarm.setCanTake(peer.ordinal, canTake(peer));
  swarm.freshen(peer.ordinal);
}

/** A lease was added (`change` 1) or ended (-1): these pieces of it are on their way to the child, or not any more. */
export function syncLease(
  task: Task,
  lease: Lease,
  pieces: readonly number[],
  change: 1 | -1,
): void {
  const { swarm } = task;
  const { child } = lease;
  if (swarm === undefined || child.ordinal < 0) return;
  swarm.setLeaseCount(child.ordinal, child.leases.length);
  for (const piece of pieces) {
    if (change === 1) swarm.lease(child.ordinal, piece);
    else swarm.unlease(child.ordinal, piece);
  }
  countLease(task, lease, change);
  if (change === 1) expectLease(task, swarm, lease);
  else noteLeaseOver(swarm, lease, lease.endedAtMs ?? 0);
  swarm.setCanTake(child.ordinal, canTake(child));
  if (change === -1) swarm.freshen(child.ordinal);
}

/** Whether others may be given leases from the peer's copy. */
export function isSource(peer: Peer): boolean {
  const { host, task } = peer;
  return (
    task.state !== "retired" &&
    host.state === "alive" &&
    host.isAnnounced &&
    !host.isSuspect &&
    !peer.isStruck &&
    !peer.isApart
  );
}

export function canTake(peer: Peer): boolean {
  const { host, task } = peer;
  if (task.state === "retired" || host.state !== "alive" || peer.isApart) return false;
  if (host.isSilent || host.hasMissedAnnounce) return false;
  return !hasEnoughLeases(peer);
}

/** Whether the peer has as many live leases as keep its link busy; one that takes a part of the link only leaves room for another. */
export function hasEnoughLeases({ leases, task }: Peer): boolean {
  if (leases.length !== task.leaseDepth) return leases.length > task.leaseDepth;
  return !leases.some((lease) => isThin(lease));
}

/** Whether what the lease brings comes over the thin link between zones, from a slow host or origin, or not at all so far. */
function isThin(lease: Lease): boolean {
  return lease.isFromAfar || lease.isOverdue;
}

/**
 * Whether a new lease is expected to leave most of its child's link to others, as far as is known of its parent at this moment. What
 * becomes known later is for the next lease: the index of who can take one would follow every report otherwise.
 */
export function comesFromAfar({ child, parent, task }: Lease): boolean {
  if (parent !== undefined && parent.idc !== child.host.idc) return true;
  const { swarm } = task;
  const bytesPerMs = parent === undefined ? (swarm?.originBytesPerMs ?? 0) : parent.bytesPerMs;
  return bytesPerMs > 0 && bytesPerMs < THIN_SHARE * (swarm?.usualBytesPerMs ?? 0);
}

/** Has the source's next lease looked for, if it is one and has nothing to do. */
export function wakeSource(task: Task, peer: Peer): void {
  const { swarm } = task;
  if (swarm === undefined || peer.ordinal < 0) return;
  const activity = swarm.activityOf(peer.ordinal);
  if (activity === ACTIVITY.idle || activity === ACTIVITY.waiting) {
    swarm.setActivity(peer.ordinal, ACTIVITY.ready);
  }
}

export function wantsOf(task: Task, peer: Peer): Wants {
  if (task.layout === undefined || task.state === "retired") return "nothing";
  if (peer.isSeeding) return "all";
  if (peer.requests.size === 0) return "nothing";
  for (const request of peer.requests.values()) if (isWholeWanted(request)) return "all";
  const mask = new Uint32Array(wordCountOf(pieceCountOf(task.layout)));
  for (const request of peer.requests.values()) {
    const span = piecesOfRequest(task, request);
    for (let piece = span.start; piece < span.end; piece++) setBit(mask, 0, piece);
  }
  return mask;
}

function countLease(task: Task, lease: Lease, change: 1 | -1): void {
  const { swarm } = task;
  if (swarm === undefined) return;
  if (lease.parent === undefined) {
    if (change === 1) swarm.originLeases.add(lease);
    else swarm.originLeases.delete(lease);
    return;
  }
  if (change === 1) noteZones(swarm, lease, lease.parent);
  const into = swarm.zones[lease.inboundZone];
  const outOf = swarm.zones[lease.outboundZone];
  if (into !== undefined) into.inboundCount += change;
  if (outOf !== undefined) outOf.outboundCount += change;
}

/** Notes between which zones the lease carries pieces, so that its end is counted where its beginning was. */
function noteZones(swarm: Swarm, lease: Lease, parentHost: Host): void {
  const child = lease.child.ordinal;
  const parent = parentHost.peers.get(lease.taskId)?.ordinal ?? -1;
  const isAcross = child >= 0 && parent >= 0 && swarm.zoneOf(child) !== swarm.zoneOf(parent);
  lease.inboundZone = isAcross ? swarm.zoneOf(child) : -1;
  lease.outboundZone = isAcross ? swarm.zoneOf(parent) : -1;
}
