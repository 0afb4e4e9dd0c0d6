import type { Decision } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { rangesOf } from "@lacewing/contracts/pieces.ts";
import type { Answer } from "./answer.ts";
import { answerRequests } from "./decide-answers.ts";
import { reviewedLeases } from "./decide-revocations.ts";
import { evolveDecision } from "./evolve-decision.ts";
import { leaseDurationMs } from "./lease-duration.ts";
import { LEASES_PER_PEER_MAX } from "./limits.ts";
import { must } from "./invariant.ts";
import { type Match, type Matcher, matchLeastLoaded, originReader } from "./matching.ts";
import type { Lease, Peer, State, Task } from "./state.ts";
import { wantedPieces } from "./wanted.ts";

/** What a decision depends on besides the state. */
export interface DecideContext {
  readonly slice: number;
  readonly epoch: number;
  readonly nowMs: number;
  /** In [0, 1), a new one at each call. */
  readonly random: () => number;
  readonly matcher?: Matcher;
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
  const turn: Turn = { state, context, decisions: [], answers: [] };
  const dirty = must(state.work.dirtyTaskIds[context.slice], `slice ${context.slice}`);
  const taskIds = [...dirty];
  dirty.clear();
  for (const taskId of taskIds) {
    const task = state.tasks.get(taskId);
    if (task !== undefined) decideTask(turn, task);
    // What deciding changed in the task itself has been looked at; other tasks that it woke have their turn next.
    dirty.delete(taskId);
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
  readonly decisions: Decision[];
  readonly answers: Answer[];
}

function decideTask(turn: Turn, task: Task): void {
  const { state, context } = turn;
  if (task.state === "retired") return;
  if (!task.isCreated) emit(turn, taskCreated(task));
  if (task.condemnedReason !== undefined) {
    emit(turn, {
      kind: { $case: "taskRetired", value: { taskId: task.taskId, reason: task.condemnedReason } },
    });
    state.work.hungryTaskIds.delete(task.taskId);
    return;
  }
  for (const { lease, reason } of reviewedLeases(state, task, context.nowMs))
    revoke(turn, lease, reason);
  if (task.layout === undefined) grantOpenLease(turn, task);
  else grantPieces(turn, task);
  turn.answers.push(...answerRequests(state, task, context.nowMs));
  if (isHungry(state, task)) state.work.hungryTaskIds.add(task.taskId);
  else state.work.hungryTaskIds.delete(task.taskId);
}

function emit(turn: Turn, decision: Decision): void {
  const { slice, epoch, nowMs } = turn.context;
  evolveDecision(turn.state, decision, { slice, epoch, decidedAtMs: nowMs });
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

function revoke(turn: Turn, lease: Lease, reason: string): void {
  const { leaseId, taskId } = lease;
  emit(turn, { kind: { $case: "leaseRevoked", value: { leaseId, taskId, reason } } });
  if (turn.state.hosts.get(lease.childHostId)?.state !== "alive") return;
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
    if (turn.state.hosts.get(hostId)?.state !== "alive") continue;
    const reader = originReader(peer, turn.context.nowMs);
    if (reader === undefined || chosen?.isOpen === true) continue;
    if (chosen === undefined || reader.isOriginOpen) {
      chosen = { peer, requestId: reader.requestId, isOpen: reader.isOriginOpen };
    }
  }
  if (chosen === undefined) return;
  const reason = "origin open: content not described yet";
  grant(turn, task, chosen.peer, {
    kind: "origin",
    requestId: chosen.requestId,
    pieces: [],
    reason,
  });
}

/** One grant for each child in turn, until nobody can be given anything more: no child takes all slots. */
function grantPieces(turn: Turn, task: Task): void {
  const { state, context } = turn;
  const matcher = context.matcher ?? matchLeastLoaded;
  let waiting = inOrder(state, task);
  for (let round = 0; round < LEASES_PER_PEER_MAX && waiting.length > 0; round++) {
    const served: Peer[] = [];
    for (const peer of waiting) {
      const match = matcher({ state, task, nowMs: context.nowMs }, peer, context.random);
      if (match.kind === "wait") continue;
      grant(turn, task, peer, match);
      served.push(peer);
    }
    waiting = served;
  }
}

/** Children that want something; one that has the origin's response open goes first, as its stream costs no round trip. */
function inOrder(state: State, task: Task): readonly Peer[] {
  const peers: Peer[] = [];
  const first: Peer[] = [];
  for (const hostId of task.needyIds) {
    const peer = must(task.peers.get(hostId), `peer ${hostId}`);
    if (state.hosts.get(hostId)?.state !== "alive" || isSatisfied(task, peer)) continue;
    const hasOriginOpen = [...peer.requests.values()].some((request) => request.isOriginOpen);
    (hasOriginOpen ? first : peers).push(peer);
  }
  return [...first, ...peers];
}

function grant(turn: Turn, task: Task, peer: Peer, match: Exclude<Match, { kind: "wait" }>): void {
  const { state, context } = turn;
  const number = must(
    state.nextLeaseNumbers[context.slice],
    `lease number of slice ${context.slice}`,
  );
  const leaseId = `${context.slice}-${context.epoch}-${number}`;
  const requestId =
    match.kind === "origin" ? match.requestId : (peer.requests.keys().next().value ?? "");
  emit(turn, {
    kind: {
      $case: "leaseGranted",
      value: {
        leaseId,
        taskId: task.taskId,
        childHostId: peer.hostId,
        parentHostId: match.kind === "parent" ? match.parentHostId : "",
        pieces: rangesOf(match.pieces),
        open: match.pieces.length === 0,
        durationMs: leaseDurationMs(task.layout),
        reason: match.reason,
        candidateCount: match.kind === "parent" ? match.candidateCount : 0,
        requestId,
        traceparent: peer.requests.get(requestId)?.traceparent ?? "",
      },
    },
  });
  const lease = must(state.leases.get(leaseId), `lease ${leaseId}`);
  turn.answers.push({ kind: "lease", hostId: peer.hostId, lease });
}

/** Whether time alone may bring the task something to do: somebody waits for pieces or for an answer. */
function isHungry(state: State, task: Task): boolean {
  for (const hostId of task.needyIds) {
    const peer = must(task.peers.get(hostId), `peer ${hostId}`);
    if (state.hosts.get(hostId)?.state !== "alive") continue;
    if (!isSatisfied(task, peer)) return true;
    for (const request of peer.requests.values()) if (request.nextAnswerAtMs > 0) return true;
  }
  return false;
}

/** Whether everything the peer wants is held by it or on its way. */
function isSatisfied(task: Task, peer: Peer): boolean {
  return wantedPieces(task, peer).next().done === true;
}

function takeOutbox(state: State, slice: number): readonly Answer[] {
  return must(state.work.outbox[slice], `outbox of slice ${slice}`).splice(0);
}
