import { LEASE_DEPTH_MAX, LEASE_DEPTH_MIN } from "./limits.ts";
import type { Lease, State, Task } from "./state.ts";
import { syncDepth } from "./swarm/sync.ts";

/** Weight of the newest lease in a smoothed rate: the last five or so decide. */
const RATE_WEIGHT = 0.3;
/** Of less, the time tells of latency and not of the link: a host that sends small files would pass for a straggler. */
const RATED_BYTES_MIN = 512 * 1024;
/** A host that failed children again and again still gets this part of its slots, or one lease at a time. */
const SLOT_SHARE_MIN = 1 / 16;
/** What one finished lease gives back of the slots. */
const SLOT_SHARE_STEP = 1 / 8;

/** A lease ended well: its parent delivers at this rate, and may serve more again. */
export function noteRate(state: State, task: Task, lease: Lease, atMs: number): void {
  const host = state.hosts.get(lease.parentHostId);
  if (host !== undefined) host.slotShare = Math.min(1, host.slotShare + SLOT_SHARE_STEP);
  if (lease.bytes < RATED_BYTES_MIN || lease.transferMs === 0) return;
  const bytesPerMs = lease.bytes / lease.transferMs;
  if (task.swarm !== undefined) task.swarm.bytesPerMs = smoothed(task.swarm.bytesPerMs, bytesPerMs);
  if (lease.isFromIdleParent === true) noteControlTime(state, task, lease, atMs);
  if (host !== undefined) host.bytesPerMs = smoothed(host.bytesPerMs, bytesPerMs);
}

/** Grants that travel longer than pieces need more of them under way, or links stand idle between two. */
function noteControlTime(state: State, task: Task, lease: Lease, atMs: number): void {
  const { layout, swarm } = task;
  if (layout === undefined || swarm === undefined) return;
  const besidesMs = Math.max(0, atMs - lease.grantedAtMs - lease.transferMs);
  task.controlMs = smoothed(task.controlMs, besidesMs);
  const pieceMs = layout.pieceLengthBytes / swarm.bytesPerMs;
  const depth = Math.min(LEASE_DEPTH_MAX, LEASE_DEPTH_MIN + Math.floor(task.controlMs / pieceMs));
  // One less is not worth looking at every peer again.
  if (depth === task.leaseDepth || depth === task.leaseDepth - 1) return;
  task.leaseDepth = depth;
  syncDepth(state, task);
}

/** The host failed a child or was busy: it is given half as many uploads at once, until it delivers again. */
export function halveSlots(state: State, hostId: string): void {
  const host = state.hosts.get(hostId);
  if (host !== undefined) host.slotShare = Math.max(SLOT_SHARE_MIN, host.slotShare / 2);
}

function smoothed(before: number, now: number): number {
  return before === 0 ? now : before + RATE_WEIGHT * (now - before);
}
