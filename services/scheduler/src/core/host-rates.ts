import { LEASE_DEPTH_MAX, LEASE_DEPTH_MIN, UPLOAD_DEPTH_MIN } from "./limits.ts";
import type { Lease } from "./lease.ts";
import type { Host, State, Task } from "./state.ts";
import { noteSent } from "./swarm/expect.ts";
import type { Swarm } from "./swarm/swarm.ts";
import { syncDepth } from "./swarm/sync.ts";

/** Weight of the newest sample in a smoothed figure: the last five or so decide. */
const RATE_WEIGHT = 0.3;
/** Likewise in those of a task, to which all its hosts contribute. */
const TASK_WEIGHT = 0.05;
/** Leases of one parent that make one sample of its pace: reports are packed, so the time between two says little. */
const PACE_LEASES = 4;
/** And so long at least: over fast links one pack reports as many leases, and no time passes between the first and the last. */
const PACE_MS_MIN = 50;
/** Control messages are not all alike: leases for so many times the usual delay keep a link busy through the longer ones. */
const CONTROL_HEADROOM = 1.4;
/** Below it the lease that waits at a child for its turn bridges the time. */
const PIECES_MEANWHILE_MIN = 0.5;
/** A host that failed children again and again still gets this part of its slots, or one lease at a time. */
const SLOT_SHARE_MIN = 1 / 16;
/** Of less, the time tells of latency and not of the link: a host that sends small files would pass for a straggler. */
const RATED_BYTES_MIN = 512 * 1024;
/** What one finished lease gives back of the slots. */
const SLOT_SHARE_STEP = 1 / 8;
/** A host that sends so many times as fast as the average is a fast one: figures of equal hosts that have served for a while differ by less. */
const FAST_RATIO = 1.3;

/** A lease ended well: its parent delivers at this pace, and may serve more again. */
export function noteRate(task: Task, lease: Lease, atMs: number): void {
  const host = lease.parent;
  if (host !== undefined) host.slotShare = Math.min(1, host.slotShare + SLOT_SHARE_STEP);
  // Most of its time it waited for what its parent had not got yet.
  if (lease.isAhead) return;
  if (lease.bytes < RATED_BYTES_MIN || lease.transferMs === 0) return;
  if (host !== undefined) notePace(task, host, lease, atMs);
  else if (task.swarm !== undefined) {
    const { swarm } = task;
    const bytesPerMs = lease.bytes / lease.transferMs;
    swarm.originBytesPerMs = smoothed(swarm.originBytesPerMs, bytesPerMs, RATE_WEIGHT);
  }
  if (host === undefined ? !lease.isOpen : lease.isFromIdleParent)
    noteControlTime(task, lease, atMs);
  const { swarm } = task;
  if (host !== undefined && swarm !== undefined && isFast(swarm, host)) noteSent(task, lease, host);
}

/** Whether the host sends much faster than the hosts of the swarm on the average. */
export function isFast({ hostPace }: Swarm, host: Host): boolean {
  const { bytesPerMs } = hostPace;
  return bytesPerMs > 0 && host.bytesPerMs >= FAST_RATIO * bytesPerMs;
}

/**
 * What a host's link carries, whoever shares it. A lease that shares the link, or waits behind others, lasts longer than its bytes
 * take; the time in which several leases ended one after another is too long when the link stood idle between them. So both
 * are never faster than the link, and the faster one is nearer to it.
 */
function notePace(task: Task, host: Host, lease: Lease, atMs: number): void {
  const { pace } = host;
  pace.bytes += lease.bytes;
  pace.transferMs += lease.transferMs;
  pace.leaseCount++;
  const isFirst = host.bytesPerMs === 0;
  const elapsedMs = atMs - pace.sinceMs;
  if (!isFirst && (pace.leaseCount < PACE_LEASES || elapsedMs < PACE_MS_MIN)) return;
  const together = isFirst || elapsedMs <= 0 ? 0 : pace.bytes / elapsedMs;
  const alone = pace.bytes / pace.transferMs;
  const bytesPerMs = Math.max(together, alone);
  host.bytesPerMs = smoothed(host.bytesPerMs, bytesPerMs, RATE_WEIGHT);
  const { swarm } = task;
  if (swarm !== undefined) {
    swarm.bytesPerMs = smoothed(swarm.bytesPerMs, bytesPerMs, TASK_WEIGHT);
    swarm.hostPace.add(pace.bytes, bytesPerMs, task.peers.size);
  }
  pace.bytes = 0;
  pace.transferMs = 0;
  pace.leaseCount = 0;
  pace.sinceMs = atMs;
}

/** Grants that travel longer than pieces need more of them under way, or links stand idle between two. */
function noteControlTime(task: Task, lease: Lease, atMs: number): void {
  const { layout, swarm } = task;
  if (layout === undefined || swarm === undefined || swarm.usualBytesPerMs === 0) return;
  const besidesMs = Math.max(0, atMs - lease.grantedAtMs - lease.transferMs);
  task.controlMs = smoothed(task.controlMs, besidesMs, TASK_WEIGHT);
  const meanwhile = piecesMeanwhile(task, 0);
  const more = meanwhile < PIECES_MEANWHILE_MIN ? 0 : 1 + Math.floor(meanwhile);
  const depth = Math.min(LEASE_DEPTH_MAX, LEASE_DEPTH_MIN + more);
  // One less is not worth looking at every peer again, unless the least will do by far.
  const isLeast = meanwhile < PIECES_MEANWHILE_MIN / 2;
  if (depth === task.leaseDepth || (depth === task.leaseDepth - 1 && !isLeast)) return;
  task.leaseDepth = depth;
  syncDepth(task);
}

/**
 * Leases that keep a host's link busy: a slow one has a short queue, as what waits in it would be elsewhere sooner.
 *
 * @param bytesPerMs the host's pace; 0 when it is not known
 */
export function uploadDepth(task: Task, bytesPerMs: number): number {
  return Math.min(
    LEASE_DEPTH_MAX,
    UPLOAD_DEPTH_MIN + Math.round(piecesMeanwhile(task, bytesPerMs)),
  );
}

/** Pieces that leave a link of this pace, or of the usual one (0), while a grant is on its way. */
export function piecesMeanwhile({ layout, swarm, controlMs }: Task, bytesPerMs: number): number {
  const pace = bytesPerMs === 0 ? (swarm?.usualBytesPerMs ?? 0) : bytesPerMs;
  if (layout === undefined || pace === 0) return 0;
  return (CONTROL_HEADROOM * controlMs * pace) / layout.pieceLengthBytes;
}

/** The host failed a child or was busy: it is given half as many uploads at once, until it delivers again. */
export function halveSlots(state: State, hostId: string): void {
  const host = state.hosts.get(hostId);
  if (host !== undefined) host.slotShare = Math.max(SLOT_SHARE_MIN, host.slotShare / 2);
}

function smoothed(before: number, now: number, weight: number): number {
  return before === 0 ? now : before + weight * (now - before);
}
