import type { Decision } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { beginLearning } from "./decide-relays.ts";
import { evolveDecision } from "./evolve-decision.ts";
import { beginSuspicion, clearSuspicion, giveTimeToAnswer } from "./evolve-host.ts";
import { isHostForgettable, sweepTasks } from "./forget.ts";
import {
  HOST_LOST_AFTER_MS,
  MISSED_ANNOUNCE_MS,
  REPEATED_PER_TICK_MAX,
  SWEEP_INTERVAL_MS,
} from "./limits.ts";
import { must } from "./invariant.ts";
import { endsAtMs } from "./leases.ts";
import { askFor, markDirty, noteProgress } from "./ledger.ts";
import { endSilences, missAnnounce } from "./silence.ts";
import type { State, Task } from "./state.ts";
import { repeatUnheard } from "./unheard.ts";

/**
 * Has the next turns look at tasks some of whose sources are about to be free. Cheap enough for every few milliseconds.
 *
 * @returns whether there is such a task.
 */
export function wakePaced(state: State, nowMs: number): boolean {
  const { pacedTasks } = state.work;
  let isAny = false;
  for (let task = pacedTasks.takeDue(nowMs); task !== undefined; task = pacedTasks.takeDue(nowMs)) {
    const isOver = task.swarm === undefined || state.tasks.get(task.taskId) !== task;
    if (isOver) continue;
    // It is set again when the task has had its turn.
    markDirty(state, task);
    isAny = true;
  }
  return isAny;
}

/**
 * Has the next turns look at what only time has changed: leases that ran out, tasks whose children wait for a parent, a
 * back-off or their next answer. Cheap enough for twice a second: it walks leases that are overdue and hungry tasks.
 */
export function tick(state: State, nowMs: number): void {
  let repeatedCount = 0;
  for (const lease of state.leases.due(nowMs)) {
    if (nowMs <= endsAtMs(lease)) {
      if (repeatedCount < REPEATED_PER_TICK_MAX && repeatUnheard(state, lease, nowMs))
        repeatedCount++;
      continue;
    }
    const { task } = lease.child;
    task.leasesToReview.add(lease);
    markDirty(state, task);
  }
  for (const hostId of state.work.suspectIds) {
    const host = state.hosts.get(hostId);
    if (host === undefined) state.work.suspectIds.delete(hostId);
    else if (host.suspectUntilMs <= nowMs) clearSuspicion(state, host);
    else if (!host.isSuspect && host.suspectFromMs <= nowMs) beginSuspicion(host);
  }
  endSilences(state, nowMs);
  if (nowMs - state.work.sweptAtMs >= SWEEP_INTERVAL_MS) {
    state.work.sweptAtMs = nowMs;
    sweepTasks(state, nowMs);
  }
  for (const taskId of state.work.hungryTaskIds) {
    const task = state.tasks.get(taskId);
    if (task !== undefined) markDirty(state, task);
  }
}

/**
 * Gives up hosts that were not heard of for several announce intervals, and, long after, forgets them: a host that is lost or left
 * already is declared lost once more. Belongs to the hosts' slice.
 *
 * @param listeningSinceMs silence before this proves nothing: we did not listen, or the broker was away.
 */
export function decideLostHosts(
  state: State,
  context: {
    readonly slice: number;
    readonly epoch: number;
    readonly nowMs: number;
    readonly listeningSinceMs: number;
  },
): readonly Decision[] {
  const decisions: Decision[] = [];
  const { work } = state;
  if (context.nowMs < work.lossDueAtMs) return decisions;
  // Whoever is heard of from now on has missed no announce before this.
  work.lossDueAtMs = context.nowMs + MISSED_ANNOUNCE_MS;
  for (const host of state.hosts.values()) {
    const silentSinceMs = Math.max(host.lastHeardAtMs, context.listeningSinceMs);
    const lostAfterMs = silentSinceMs + HOST_LOST_AFTER_MS;
    const missedAfterMs = silentSinceMs + MISSED_ANNOUNCE_MS;
    const hasMissed = context.nowMs > missedAfterMs;
    if (hasMissed) missAnnounce(state, host);
    if (context.nowMs <= lostAfterMs) {
      const dueAtMs = hasMissed ? lostAfterMs : missedAfterMs;
      work.lossDueAtMs = Math.min(work.lossDueAtMs, dueAtMs);
      continue;
    }
    if (host.state !== "alive" && !isHostForgettable(host, context.nowMs)) continue;
    const decision: Decision = {
      kind: {
        $case: "hostDeclaredLost",
        value: { hostId: host.hostId, lastHeardAtMs: Math.round(host.lastHeardAtMs) },
      },
    };
    evolveDecision(state, decision, { ...context, decidedAtMs: context.nowMs });
    decisions.push(decision);
  }
  return decisions;
}

/**
 * After a recovery, or when the broker is back: nobody can have been heard of, so leases begin anew, and every client that waits
 * is answered again.
 */
export function listenAgain(state: State, nowMs: number): void {
  suspectLater(state, nowMs);
  for (const lease of state.leases.values()) {
    noteProgress(lease, Math.max(lease.progressAtMs, nowMs));
    const { task } = lease.child;
    task.leasesToReview.add(lease);
    markDirty(state, task);
  }
  for (const task of state.tasks.values()) {
    if (task.aheadLeaseCount > 0) tellDigestsAgain(task);
    if (task.relays !== undefined) beginLearning(task.relays, nowMs);
    if (task.needyIds.size === 0 && task.isCreated) continue;
    markDirty(state, task);
    for (const hostId of task.needyIds) {
      const peer = must(task.peers.get(hostId), `peer ${hostId}`);
      for (const request of peer.requests.values()) request.needsAnswer = true;
      askFor(peer);
    }
  }
}

/** Hosts that were asked for a word and could not be heard have as long as any other to give it. */
export function suspectLater(state: State, nowMs: number): void {
  for (const hostId of state.work.suspectIds) {
    const host = state.hosts.get(hostId);
    if (host !== undefined && !host.isSuspect) giveTimeToAnswer(host, nowMs);
  }
}

/** Children may not have been told of digests that became known meanwhile. */
function tellDigestsAgain({ digests, layout, untoldDigests }: Task): void {
  const pieceCount = layout === undefined ? 0 : pieceCountOf(layout);
  untoldDigests.length = 0;
  for (let piece = 0; piece < pieceCount; piece++)
    if (digests?.has(piece) === true) untoldDigests.push(piece);
}
