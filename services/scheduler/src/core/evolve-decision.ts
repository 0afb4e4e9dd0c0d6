import type {
  Decision,
  TaskRetired,
} from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type { DecisionContext } from "./decision-context.ts";
import { grantLease, grantOf } from "./evolve-grant.ts";
import { reviewLeases } from "./evolve-host.ts";
import {
  avoidParent,
  endLease,
  endRequest,
  resetPeer,
  tellToDrop,
  touchHost,
  touchPeer,
  touchTask,
  updateNeed,
} from "./ledger.ts";
import { InvariantViolation, must, mustHold } from "./invariant.ts";
import { forgetHost, forgetTask, UNUSED } from "./forget.ts";
import { halveSlots } from "./host-rates.ts";
import { isChildSilent, noteSilence } from "./silence.ts";
import type { State } from "./state.ts";
import { dropSwarm, syncHost } from "./swarm/sync.ts";

/**
 * Applies one decision.
 *
 * @throws {InvariantViolation} when it does not fit: it is our own, so either a rule or the log is broken.
 */
export function evolveDecision(state: State, decision: Decision, context: DecisionContext): void {
  if (decision.kind === undefined) throw new InvariantViolation("a decision without kind");
  const { $case, value } = decision.kind;
  switch ($case) {
    case "sliceAcquired":
      return;
    case "taskCreated": {
      const task = must(state.tasks.get(value.taskId), `task ${value.taskId}`);
      // A projected task counts as created, also when the projection overtook this decision: no misfit.
      task.isCreated = true;
      touchTask(state, task);
      return;
    }
    case "leaseGranted":
      grantLease(state, grantOf(state, value, context), context);
      return;
    case "leaseRevoked": {
      const lease = must(state.leases.get(value.leaseId), `live lease ${value.leaseId}`);
      endLease(state, lease, value.reason, context.decidedAtMs);
      if (value.reason === "shared") lease.child.task.isOriginShared = true;
      // What was granted ahead may be late because of somebody further up, or of the origin.
      if (value.reason !== "expired" || lease.isAhead) return;
      if (lease.parentHostId !== "")
        avoidParent(lease.child, lease.parentHostId, context.decidedAtMs, "hung");
      if (isChildSilent(lease, context.decidedAtMs)) noteSilence(state, lease, context.decidedAtMs);
      else if (lease.parentHostId !== "") halveSlots(state, lease.parentHostId);
      return;
    }
    case "hostDeclaredLost": {
      const host = must(state.hosts.get(value.hostId), `host ${value.hostId}`);
      // Lost or left before, and silent ever since.
      if (host.state !== "alive") {
        forgetHost(state, host);
        return;
      }
      host.state = "lost";
      touchHost(state, host);
      syncHost(host);
      reviewLeases(state, host);
      return;
    }
    case "taskRetired":
      retire(state, value, context);
      return;
    default:
      return value satisfies never;
  }
}

/** Nobody gets anything of the task any more, and whoever has some of it is told to drop it. */
function retire(state: State, value: TaskRetired, context: DecisionContext): void {
  const task = must(state.tasks.get(value.taskId), `task ${value.taskId}`);
  if (value.reason === UNUSED) {
    mustHold(task.leaseCount === 0, `task ${value.taskId} is forgotten with live leases`);
    forgetTask(state, task);
    return;
  }
  mustHold(task.state !== "retired", `task ${value.taskId} is retired twice`);
  for (const peer of task.peers.values()) {
    for (const lease of peer.leases) endLease(state, lease, "task_retired", context.decidedAtMs);
  }
  task.state = "retired";
  task.retiredReason = value.reason;
  task.retiredAtMs = context.decidedAtMs;
  task.condemnedReason = undefined;
  for (const peer of task.peers.values()) {
    for (const requestId of peer.requests.keys()) endRequest(state, task, peer, requestId);
    peer.isSeeding = false;
    peer.isPromised = false;
    // What such a host has was no part of the task, and may be right: it is not void.
    const wasApart = peer.isApart;
    peer.isApart = false;
    updateNeed(task, peer);
    touchPeer(state, peer);
    if (!wasApart && (peer.incarnation > 0 || peer.held.count > 0)) {
      resetPeer(state, task, peer, peer.incarnation + 1);
      peer.isVoided = true;
    }
    tellToDrop(state, task, peer.hostId, value.reason);
  }
  task.promised.clear();
  dropSwarm(task);
  touchTask(state, task);
}
