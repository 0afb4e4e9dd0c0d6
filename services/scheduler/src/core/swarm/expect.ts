import type { Lease } from "../lease.ts";
import type { Task } from "../state.ts";
import type { Swarm } from "./swarm.ts";

/** Keeps the timetable of a swarm in step with its leases. */

/** What was granted leaves the parent after everything that was granted from it before, and keeps the child's link busy until then. */
export function expectLease(task: Task, swarm: Swarm, lease: Lease): void {
  const { timetable } = swarm;
  const { parent, child, grantedAtMs } = lease;
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
    if (other === lease) continue;
    restBytes += other.remainingCount * (other.task.layout?.pieceLengthBytes ?? 0);
  }
  const bytesPerMs = parent.bytesPerMs === 0 ? swarm.usualBytesPerMs : parent.bytesPerMs;
  const restMs = restBytes === 0 ? 0 : restBytes / bytesPerMs;
  timetable.setSentAt(source, Math.min(timetable.sentAtMs(source), atMs + restMs));
}

function bytesOf({ remainingCount, child }: Lease): number {
  return remainingCount * (child.task.layout?.pieceLengthBytes ?? 0);
}
