import type {
  Decision,
  LeaseGranted,
  PieceRange,
} from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { rangesOf } from "@lacewing/contracts/pieces.ts";
import type { Answer } from "./answer.ts";
import type { DecisionContext } from "./decision-context.ts";
import { answerRequests } from "./decide-answers.ts";
import { digestAnswers, laggingLeases } from "./decide-relays.ts";
import { reviewedLeases } from "./decide-revocations.ts";
import { evolveDecision } from "./evolve-decision.ts";
import { grantLease } from "./evolve-grant.ts";
import { leaseDurationMs } from "./lease-duration.ts";
import { onlyPiece } from "./leases.ts";
import { forgetting, isForgettable } from "./forget.ts";
import { GRANTS_PER_TURN_MAX } from "./limits.ts";
import { must } from "./invariant.ts";
import { matchTask } from "./matching/match-task.ts";
import { sharedStream } from "./matching/origin-sharing.ts";
import { originReader } from "./matching/origin.ts";
import { isGrantedAhead } from "./matching/relays.ts";
import { pacedDueAtMs } from "./matching/pacing.ts";
import { policyFor, weightOf } from "./matching/policy.ts";
import { quietReadsOf } from "./matching/quiet-reads.ts";
import type { Match, MatchView } from "./matching/view.ts";
import { type Lease, leaseIdOf } from "./lease.ts";
import type { Peer, State, Task } from "./state.ts";
import { canTake, swarmOf } from "./swarm/sync.ts";

/** What a decision depends on besides the state. */
export interface DecideContext {
  readonly slice: number;
  readonly epoch: number;
  readonly nowMs: number;
  /** In [0, 1), a new one at each call. */
  readonly random: () => number;
  /** Another rule for granting the pieces of a described task, for comparison. */
  readonly matcher?: (view: MatchView) => void;
}

export interface Outcome {
  readonly decisions: readonly Decision[];
  /** To be sent when the decisions are in the log, and not before. */
  readonly answers: readonly Answer[];
}

/**
 * Decides everything there is to decide in one slice: looks at the state of its dirty tasks, not at what changed them, so that it
 * may be called late, again, or after a recovery. Each decision is applied to the state as it is made, because the next depends
 * on it.
 */
export function decide(state: State, context: DecideContext): Outcome {
  const { slice, epoch, nowMs } = context;
  const decided = { slice, epoch, decidedAtMs: nowMs };
  const turn: Turn = { state, context, decided, decisions: [], answers: [], grantCount: 0 };
  const dirty = must(state.work.dirtyTaskIds[context.slice], `slice ${context.slice}`);
  const taskIds = inOrderOfPriority(state, dirty);
  dirty.clear();
  for (const taskId of taskIds) {
    const task = state.tasks.get(taskId);
    if (task !== undefined && !isFull(turn)) decideTask(turn, task);
    // What deciding changed in the task itself has been looked at; other tasks that it woke have their turn next.
    if (isFull(turn)) dirty.add(taskId);
    else dirty.delete(taskId);
  }
  return {
    decisions: turn.decisions,
    answers: [...takeOutbox(state, context.slice), ...turn.answers],
  };
}

/** One call of {@link decide} under way. */
interface Turn {
  readonly state: State;
  readonly context: DecideContext;
  /** The same of all decisions of the turn: leases keep it. */
  readonly decided: DecisionContext;
  readonly decisions: Decision[];
  readonly answers: Answer[];
  grantCount: number;
}

function isFull(turn: Turn): boolean {
  return turn.grantCount >= GRANTS_PER_TURN_MAX;
}

/** The most urgent first: what they leave of the upload slots is for the others. */
function inOrderOfPriority(state: State, taskIds: ReadonlySet<string>): readonly string[] {
  if (taskIds.size < 2) return [...taskIds];
  const priorityOf = (taskId: string) => state.tasks.get(taskId)?.priority ?? 0;
  return [...taskIds].toSorted((a, b) => priorityOf(a) - priorityOf(b));
}

function decideTask(turn: Turn, task: Task): void {
  const { state, context } = turn;
  if (isForgettable(task)) {
    emit(turn, forgetting(task));
    return;
  }
  if (task.state === "retired") return;
  if (!task.isCreated) emit(turn, taskCreated(task));
  if (task.condemnedReason !== undefined) {
    emit(turn, {
      kind: { $case: "taskRetired", value: { taskId: task.taskId, reason: task.condemnedReason } },
    });
    state.work.hungryTaskIds.delete(task.taskId);
    return;
  }
  endLeases(turn, task);
  if (task.layout === undefined) grantOpenLease(turn, task);
  else {
    shareStream(turn, task);
    grantPieces(turn, task);
    // Who waits may be given something yet.
    if (isFull(turn)) return;
    const dueAtMs = pacedDueAtMs(task);
    if (dueAtMs < Infinity) state.work.pacedTasks.set(task, dueAtMs);
  }
  for (const answer of digestAnswers(task, context.nowMs)) turn.answers.push(answer);
  for (const answer of answerRequests(task, context.nowMs)) turn.answers.push(answer);
  if (isHungry(task)) state.work.hungryTaskIds.add(task.taskId);
  else state.work.hungryTaskIds.delete(task.taskId);
}

function emit(turn: Turn, decision: Decision): void {
  evolveDecision(turn.state, decision, turn.decided);
  turn.decisions.push(decision);
}

function taskCreated(task: Task): Decision {
  const { taskId, url, sharingDomain, anchor, tag, application, priority } = task;
  return {
    kind: {
      $case: "taskCreated",
      value: { taskId, url, sharingDomain, anchor, tag, application, priority },
    },
  };
}

/** Ends leases that have lost their reason, and then those that hang on them. */
function endLeases(turn: Turn, task: Task): void {
  const { nowMs } = turn.context;
  for (const lease of laggingLeases(task, nowMs)) revoke(turn, lease, "lagging");
  while (task.leasesToReview.size > 0) {
    for (const { lease, reason } of reviewedLeases(task, nowMs)) revoke(turn, lease, reason);
  }
}

function revoke(turn: Turn, lease: Lease, reason: string): void {
  const { leaseId, taskId } = lease;
  emit(turn, { kind: { $case: "leaseRevoked", value: { leaseId, taskId, reason } } });
  if (lease.child.host.state !== "alive") return;
  turn.answers.push({ kind: "lease_end", hostId: lease.childHostId, leaseId, taskId, reason });
}

/** Until the content is described one host reads it, for as much as its request wants. */
function grantOpenLease(turn: Turn, task: Task): void {
  if (task.openLeaseId !== undefined) return;
  let chosen:
    | { readonly peer: Peer; readonly requestId: string; readonly isOpen: boolean }
    | undefined;
  for (const hostId of task.needyIds) {
    const peer = must(task.peers.get(hostId), `peer ${hostId}`);
    if (!canTake(peer)) continue;
    const reader = originReader(peer, turn.context.nowMs);
    if (reader === undefined || chosen?.isOpen === true) continue;
    if (chosen === undefined || reader.isOriginOpen) {
      chosen = { peer, requestId: reader.requestId, isOpen: reader.isOriginOpen };
    }
  }
  if (chosen === undefined) return;
  const reason = "origin open: content not described yet";
  grant(turn, task, chosen.peer, {
    parent: undefined,
    requestId: chosen.requestId,
    pieces: [],
    reason,
    candidateCount: 0,
  });
}

/** Ends a long stream of one host that others wait behind; it goes on with what it is reading now. */
function shareStream(turn: Turn, task: Task): void {
  const shared = sharedStream(turn.state, task, turn.context.nowMs);
  if (shared === undefined) return;
  const { lease, child, kept, reason } = shared;
  revoke(turn, lease, "shared");
  const { requestId } = lease;
  grant(turn, task, child, {
    parent: undefined,
    pieces: kept,
    reason,
    candidateCount: 0,
    requestId,
  });
}

function grantPieces(turn: Turn, task: Task): void {
  const { state, context } = turn;
  const match = context.matcher ?? matchTask;
  const swarm = swarmOf(task);
  match({
    state,
    task,
    swarm,
    policy: policyFor(task),
    nowMs: context.nowMs,
    quietReads: quietReadsOf(task, swarm, context.nowMs),
    random: context.random,
    grant: (child, chosen) => grant(turn, task, child, chosen),
    isTurnFull: () => isFull(turn),
  });
}

function grant(turn: Turn, task: Task, peer: Peer, match: Match): void {
  const { state, context } = turn;
  const number = must(
    state.nextLeaseNumbers[context.slice],
    `lease number of slice ${context.slice}`,
  );
  const leaseId = leaseIdOf(turn.decided, number);
  const request = match.requestId === "" ? peer.firstRequest : peer.requests.get(match.requestId);
  const { parent } = match;
  const isAhead = isGrantedAhead(match.reason);
  const value: LeaseGranted = {
    leaseId,
    taskId: task.taskId,
    childHostId: peer.hostId,
    parentHostId: parent?.hostId ?? "",
    pieces: piecesOf(match),
    open: match.pieces.length === 0,
    // The parent's pace says nothing about pieces that it has not got yet.
    durationMs: leaseDurationMs(task.layout, isAhead ? 0 : parent?.host.bytesPerMs),
    reason: match.reason,
    candidateCount: match.candidateCount,
    requestId: request?.requestId ?? match.requestId,
    traceparent: request?.traceparent ?? "",
  };
  const lease = grantLease(state, { value, number, child: peer, parent }, turn.decided);
  turn.grantCount++;
  turn.decisions.push({ kind: { $case: "leaseGranted", value } });
  if (parent !== undefined) noteUpload(task, parent, match.pieces.length);
  turn.answers.push({ kind: "lease", hostId: peer.hostId, lease });
}

/** Most leases are of one piece. */
function piecesOf({ pieces }: Match): PieceRange[] {
  const [first] = pieces;
  return first !== undefined && pieces.length === 1 ? onlyPiece(first) : rangesOf(pieces).slice();
}

/** What a host uploads for a task counts against the task's other turns at it. */
function noteUpload(task: Task, parent: Peer, pieceCount: number): void {
  const { host } = parent;
  host.uploadShareFloor = Math.max(host.uploadShareFloor, parent.uploadShare);
  parent.uploadShare += (pieceCount * (task.layout?.pieceLengthBytes ?? 0)) / weightOf(task);
}

/** Whether time alone may bring the task something to do: somebody waits for pieces or for an answer. */
function isHungry(task: Task): boolean {
  if (task.swarm === undefined) return task.needyIds.size > 0;
  if (task.aheadLeaseCount > 0) return true;
  return task.swarm.needy.sizeOf(0) > 0 || task.promised.size > 0;
}

function takeOutbox(state: State, slice: number): readonly Answer[] {
  return must(state.work.outbox[slice], `outbox of slice ${slice}`).splice(0);
}
