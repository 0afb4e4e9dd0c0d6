import { countOf } from "@lacewing/contracts/pieces.ts";
import type { Lease } from "../lease.ts";
import type { Host, Task } from "../state.ts";
import type { Swarm } from "./swarm.ts";

/** Keeps the timetable of a swarm in step with its leases. */

/** What was granted leaves the parent after everything that was granted from it before, and keeps the child's link busy until then. */
export function expectLease(task: Task, swarm: Swarm, lease: Lease): void {
  const { timetable } = swarm;
  const { parent, child, grantedAtMs } = lease;
  // It takes what its link has left, for as long as it lasts.
  if (lease.isAhead) return;
  // A grant travels for about half of what a lease takes besides its transfer.
  const beginsAtMs = grantedAtMs + task.controlMs / 2;
  const bytesPerMs =
    parent === undefined || parent.bytesPerMs === 0 ? swarm.usualBytesPerMs : parent.bytesPerMs;
  const transferMs = bytesPerMs === 0 ? Infinity : bytesOf(lease) / bytesPerMs;
  const source = parent?.peers.get(lease.taskId)?.ordinal ?? -1;
  const startsAtMs = Math.max(source < 0 ? 0 : timetable.sentAtMs(source), beginsAtMs);
  if (source >= 0) timetable.setSentAt(source, startsAtMs + transferMs);
  // A slow parent takes a part of the child's link only: others can use the rest.
  const linkMs = bytesOf(lease) / Math.max(bytesPerMs, swarm.usualBytesPerMs);
  if (startsAtMs + linkMs < Infinity) {
    const takenAtMs = Math.max(timetable.takenAtMs(child.ordinal), startsAtMs) + linkMs;
    timetable.setTakenAt(child.ordinal, takenAtMs);
  }
}

/** Call it while the lease is still among those of its parent. */
export function noteLeaseOver(swarm: Swarm, lease: Lease, atMs: number): void {
  const { timetable } = swarm;
  const { parent, child } = lease;
  if (child.leases.length === 0) timetable.setTakenAt(child.ordinal, 0);
  const source = parent?.peers.get(lease.taskId)?.ordinal ?? -1;
  if (parent === undefined || source < 0) return;
  let restBytes = 0;
  for (const other of parent.serving) {
    if (other !== lease && !other.isAhead) restBytes += bytesOf(other);
  }
  const bytesPerMs = parent.bytesPerMs === 0 ? swarm.usualBytesPerMs : parent.bytesPerMs;
  const restMs = restBytes === 0 ? 0 : restBytes / bytesPerMs;
  timetable.setSentAt(source, Math.min(timetable.sentAtMs(source), atMs + restMs));
}

/**
 * The lease ended well: how long it took says when, and so when its parent's link is free, earlier than the report of it. What was
 * granted from the parent meanwhile has had half of the link since. Never later than expected: a lease that took long may have waited for
 * the link of its child.
 */
export function noteSent(task: Task, lease: Lease, parent: Host): void {
  const source = parent.peers.get(lease.taskId)?.ordinal ?? -1;
  const { swarm } = task;
  if (source < 0 || swarm === undefined) return;
  const travelMs = task.controlMs / 2;
  const endedAtMs = lease.grantedAtMs + travelMs + lease.transferMs;
  let sentAtMs = endedAtMs;
  for (const other of parent.serving) {
    if (other === lease || other.isAhead) continue;
    const beganAtMs = other.grantedAtMs + travelMs;
    const sharedMs = Math.max(0, endedAtMs - beganAtMs);
    // All of it: what of it has come meanwhile is in the half.
    const aloneMs = grantedBytesOf(other) / parent.bytesPerMs;
    sentAtMs = Math.max(sentAtMs, beganAtMs) + Math.max(0, aloneMs - sharedMs / 2);
  }
  const { timetable } = swarm;
  timetable.setSentAt(source, Math.min(timetable.sentAtMs(source), sentAtMs));
}

/** Of pieces that its child does not hold yet. */
function bytesOf({ remainingCount, task }: Lease): number {
  return remainingCount * (task.layout?.pieceLengthBytes ?? 0);
}

function grantedBytesOf({ pieces, task }: Lease): number {
  return countOf(pieces) * (task.layout?.pieceLengthBytes ?? 0);
}
