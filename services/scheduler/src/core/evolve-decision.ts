import type {
  Decision,
  LeaseGranted,
  TaskRetired,
} from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { indexesOf, pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { reviewLeases } from "./evolve-host.ts";
import {
  addLease,
  avoidParent,
  endLease,
  endRequest,
  resetPeer,
  tell,
  touchHost,
  touchTask,
} from "./ledger.ts";
import { InvariantViolation, must, mustHold } from "./invariant.ts";
import { forgetHost, forgetTask, UNUSED } from "./forget.ts";
import { halveSlots } from "./host-rates.ts";
import type { Lease, State, Task } from "./state.ts";
import { dropSwarm, syncHost } from "./swarm/sync.ts";

/** Which log message a decision stands in. */
export interface DecisionContext {
  readonly slice: number;
  readonly epoch: number;
  readonly decidedAtMs: number;
}

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
      grant(state, value, context);
      return;
    case "leaseRevoked": {
      const lease = must(state.leases.get(value.leaseId), `live lease ${value.leaseId}`);
      const child = state.tasks.get(lease.taskId)?.peers.get(lease.childHostId);
      endLease(state, lease, value.reason, context.decidedAtMs);
      if (value.reason === "expired" && lease.parentHostId !== "" && child !== undefined) {
        avoidParent(child, lease.parentHostId, context.decidedAtMs, false);
        halveSlots(state, lease.parentHostId);
      }
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
      syncHost(state, host);
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

function grant(state: State, value: LeaseGranted, context: DecisionContext): void {
  const task = must(state.tasks.get(value.taskId), `task ${value.taskId}`);
  const peer = must(
    task.peers.get(value.childHostId),
    `peer ${value.childHostId} of ${value.taskId}`,
  );
  mustHold(
    task.isCreated && task.state !== "retired",
    () => `task ${value.taskId} takes no leases`,
  );
  mustHold(!state.leases.has(value.leaseId), () => `lease ${value.leaseId} is granted twice`);
  mustHold(
    value.childHostId !== value.parentHostId,
    () => `lease ${value.leaseId} is from its own child`,
  );
  mustHold(
    value.open === (value.pieces.length === 0),
    () => `lease ${value.leaseId} is neither open nor of pieces`,
  );
  if (value.open)
    mustHold(
      task.layout === undefined && task.openLeaseId === undefined,
      () => `a second open lease ${value.leaseId}`,
    );
  const pieces = [...indexesOf(value.pieces)];
  mustFit(state, task, value, pieces);
  for (const piece of pieces) {
    mustHold(!peer.held.has(piece), () => `lease ${value.leaseId}: the child holds piece ${piece}`);
    mustHold(
      !peer.leased.has(piece),
      () => `lease ${value.leaseId}: piece ${piece} is leased twice`,
    );
  }
  const lease: Lease = {
    leaseId: value.leaseId,
    taskId: value.taskId,
    slice: context.slice,
    epoch: context.epoch,
    childHostId: value.childHostId,
    parentHostId: value.parentHostId,
    pieces: value.pieces,
    remaining: new Set(pieces),
    isOpen: value.open,
    requestId: value.requestId,
    reason: value.reason,
    candidateCount: value.candidateCount,
    grantedAtMs: context.decidedAtMs,
    durationMs: value.durationMs,
    traceparent: value.traceparent,
    progressAtMs: context.decidedAtMs,
    isOrphaned: false,
    outcome: "live",
    endedAtMs: undefined,
    bytes: 0,
    transferMs: 0,
  };
  addLease(state, task, lease);
  const leaseNumber = Number(value.leaseId.split("-")[2]);
  state.nextLeaseNumbers[context.slice] = Math.max(
    state.nextLeaseNumbers[context.slice] ?? 1,
    leaseNumber + 1,
  );
}

function mustFit(state: State, task: Task, value: LeaseGranted, pieces: readonly number[]): void {
  const pieceCount = task.layout === undefined ? 0 : pieceCountOf(task.layout);
  mustHold(
    (pieces.at(-1) ?? -1) < pieceCount,
    () => `lease ${value.leaseId}: a piece beyond the last, ${pieceCount - 1}`,
  );
  if (value.parentHostId === "") return;
  must(state.hosts.get(value.parentHostId), `host ${value.parentHostId}`);
  const parent = must(
    task.peers.get(value.parentHostId),
    `peer ${value.parentHostId} of ${value.taskId}`,
  );
  for (const piece of pieces) {
    mustHold(
      parent.held.has(piece),
      () => `lease ${value.leaseId}: the parent does not hold piece ${piece}`,
    );
  }
}

/** Nobody gets anything of the task any more, and whoever has some of it is told to drop it. */
function retire(state: State, value: TaskRetired, context: DecisionContext): void {
  const task = must(state.tasks.get(value.taskId), `task ${value.taskId}`);
  if (value.reason === UNUSED) {
    mustHold(task.leaseIds.size === 0, `task ${value.taskId} is forgotten with live leases`);
    forgetTask(state, task);
    return;
  }
  mustHold(task.state !== "retired", `task ${value.taskId} is retired twice`);
  for (const leaseId of task.leaseIds) {
    endLease(
      state,
      must(state.leases.get(leaseId), `lease ${leaseId}`),
      "task_retired",
      context.decidedAtMs,
    );
  }
  task.state = "retired";
  task.retiredReason = value.reason;
  task.retiredAtMs = context.decidedAtMs;
  task.condemnedReason = undefined;
  for (const peer of task.peers.values()) {
    for (const requestId of peer.requests.keys()) endRequest(state, task, peer, requestId);
    peer.isSeeding = false;
    if (peer.incarnation > 0 || peer.held.count > 0) {
      resetPeer(state, task, peer, peer.incarnation + 1);
      peer.isVoided = true;
    }
    tell(state, context.slice, {
      kind: "drop_task",
      hostId: peer.hostId,
      taskId: task.taskId,
      reason: value.reason,
    });
  }
  task.needyIds.clear();
  task.promisedIds.clear();
  dropSwarm(task);
  touchTask(state, task);
}
