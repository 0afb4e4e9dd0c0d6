import { isFast } from "../host-rates.ts";
import type { Host, Task } from "../state.ts";
import { ACTIVITY } from "../swarm/swarm.ts";
import { policyFor, type Policy } from "./policy.ts";
import { hasFreeSlot, type MatchView } from "./view.ts";

/**
 * Uploads one after another: each has the whole link, so that a piece is with its child, and can go on from there, in half the time
 * that two at once would need. So a source with an upload under way gets the next lease not before that one is about to end.
 */

/** A grant that comes late leaves a link idle, one that comes early divides it: rather early, by its usual time and half as much. */
const CONTROL_HEADROOM = 1.4;
/** And by this part of the time of a piece, as no expectation is exact. */
const EARLY_PIECES = 0.04;
/**
 * A fast host's next lease comes a piece of its own earlier still: slower hosts send to the same child meanwhile and fill the child's link,
 * so the fast one has to wait between two pieces. What it sends to another child then fills the gaps.
 */
const FAST_EARLY_PIECES = 1;

/** Whether the source can be given a lease: its host has a slot, and its link is about to be free. */
export function canServe(view: MatchView, source: number, host: Host): boolean {
  return (
    hasFreeSlot(host, view.task, view.policy) &&
    !isSending(view.task, view.policy, source, host, view.nowMs)
  );
}

/** Whether the link of the source has enough to do for now. */
export function isSending(
  task: Task,
  policy: Pick<Policy, "isPaced">,
  source: number,
  host: Host,
  nowMs: number,
): boolean {
  if (!policy.isPaced || host.serving.length === host.tinyLeaseCount) return false;
  return (task.swarm?.timetable.sentAtMs(source) ?? 0) - ownLeadMs(task, host) > nowMs;
}

/** Has a source that waits for its own upload looked at when that is about to end. */
export function awaitOwnUpload({ task, swarm, policy, nowMs }: MatchView, source: number): void {
  const host = swarm.hosts[source];
  if (host === undefined || !isSending(task, policy, source, host, nowMs)) return;
  const atMs = swarm.timetable.sentAtMs(source) - ownLeadMs(task, host);
  if (atMs < Infinity) swarm.timetable.lookAt(source, atMs);
}

/** Has the sources looked at whose uploads are about to end. */
export function wakeDueSources({ swarm, nowMs }: MatchView): void {
  const { timetable } = swarm;
  for (let source = timetable.takeDue(nowMs); source >= 0; source = timetable.takeDue(nowMs)) {
    if (swarm.activityOf(source) === ACTIVITY.waiting) swarm.setActivity(source, ACTIVITY.ready);
  }
}

/** So long before the link of this host is free its next lease is granted. */
function ownLeadMs(task: Task, host: Host): number {
  const { swarm, layout } = task;
  if (swarm === undefined || layout === undefined || !isFast(swarm, host)) return leadMs(task);
  return leadMs(task) + (FAST_EARLY_PIECES * layout.pieceLengthBytes) / host.bytesPerMs;
}

/** Before the link of any host is free its next lease is granted so long at least. */
export function leadMs(task: Task): number {
  return CONTROL_HEADROOM * task.controlMs + EARLY_PIECES * pieceMs(task);
}

/** What a piece takes at the usual pace; 0 when that is not known. */
export function pieceMs({ layout, swarm }: Task): number {
  if (layout === undefined || swarm === undefined || swarm.usualBytesPerMs === 0) return 0;
  return layout.pieceLengthBytes / swarm.usualBytesPerMs;
}

/** When the first source of the task is to be looked at because its upload ends; Infinity when there is none. */
export function pacedDueAtMs(task: Task): number {
  if (task.swarm === undefined || !policyFor(task).isPaced) return Infinity;
  return task.swarm.timetable.nextDueAtMs;
}
