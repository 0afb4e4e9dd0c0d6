import { indexesOf } from "@lacewing/contracts/pieces.ts";
import type { Answer } from "./answer.ts";
import { PENDING_MARGIN_MS, PENDING_NEXT_BY_MS, PROMISES_CHECK_MS } from "./limits.ts";
import { must } from "./invariant.ts";
import type { Lease, Peer, Request, State, Task } from "./state.ts";
import { isWithin, piecesOfRequest } from "./wanted.ts";

/**
 * What waiting clients' hosts are told besides new leases: a lease again when its request was asked again, else that there is
 * nothing yet, before the time runs out that the last answer promised.
 */
export function answerRequests(state: State, task: Task, nowMs: number): readonly Answer[] {
  const answers: Answer[] = [];
  for (const hostId of task.askingIds) answerHost(state, task, hostId, nowMs, answers);
  task.askingIds.clear();
  if (nowMs < task.promisesDueAtMs || task.promisedIds.size === 0) return answers;
  task.promisesDueAtMs = Infinity;
  for (const hostId of task.promisedIds) answerHost(state, task, hostId, nowMs, answers);
  task.promisesDueAtMs = Math.max(task.promisesDueAtMs, nowMs + PROMISES_CHECK_MS);
  return answers;
}

/** Answers the requests of one host as far as necessary, and notes when the next answer is due. */
function answerHost(
  state: State,
  task: Task,
  hostId: string,
  nowMs: number,
  answers: Answer[],
): void {
  const peer = task.peers.get(hostId);
  let dueAtMs = Infinity;
  if (peer !== undefined && state.hosts.get(hostId)?.state === "alive") {
    for (const request of peer.requests.values()) {
      if (task.needyIds.has(hostId)) {
        for (const answer of answerRequest(state, task, peer, request, nowMs)) answers.push(answer);
        if (request.nextAnswerAtMs > 0) dueAtMs = Math.min(dueAtMs, request.nextAnswerAtMs);
        continue;
      }
      // A complete peer is not needy; the host asked before it knew that it holds everything.
      if (request.needsAnswer)
        answers.push(pending(hostId, task, request, "everything is held already"));
      request.needsAnswer = false;
    }
  }
  if (dueAtMs === Infinity) task.promisedIds.delete(hostId);
  else task.promisedIds.add(hostId);
  task.promisesDueAtMs = Math.min(task.promisesDueAtMs, dueAtMs);
}

function answerRequest(
  state: State,
  task: Task,
  peer: Peer,
  request: Request,
  nowMs: number,
): readonly Answer[] {
  const isAsked = request.needsAnswer;
  if (!isAsked && hasLeaseOfItsOwn(state, peer, request)) {
    request.nextAnswerAtMs = 0;
    return NO_ANSWERS;
  }
  const leases = [...peer.leaseIds].map((leaseId) =>
    must(state.leases.get(leaseId), `lease ${leaseId}`),
  );
  request.needsAnswer = false;
  // Leases of this very turn are on their way already.
  const repeated: readonly Answer[] = isAsked
    ? leases
        .filter((lease) => lease.grantedAtMs < nowMs && helps(task, lease, request))
        .map((lease) => ({ kind: "lease", hostId: peer.hostId, lease }))
    : [];
  if (leases.some((lease) => lease.requestId === request.requestId)) {
    request.nextAnswerAtMs = 0;
    return repeated;
  }
  if (!isAsked && nowMs < request.nextAnswerAtMs) return repeated;
  request.nextAnswerAtMs = nowMs + PENDING_NEXT_BY_MS - PENDING_MARGIN_MS;
  return [...repeated, pending(peer.hostId, task, request, waitReason(task, peer))];
}

const NO_ANSWERS: readonly Answer[] = [];

function hasLeaseOfItsOwn(state: State, peer: Peer, request: Request): boolean {
  for (const leaseId of peer.leaseIds) {
    if (state.leases.get(leaseId)?.requestId === request.requestId) return true;
  }
  return false;
}

function waitReason(task: Task, peer: Peer): string {
  if (peer.leaseIds.size > 0) return "another request of this host brings it";
  return task.layout === undefined ? "content not described yet" : "no free copy yet";
}

/** Whether the lease brings something that the request needs. */
function helps(task: Task, lease: Lease, request: Request): boolean {
  if (lease.requestId === request.requestId || (lease.isOpen && task.layout === undefined)) {
    return true;
  }
  const span = piecesOfRequest(task, request);
  for (const piece of indexesOf(lease.pieces)) if (isWithin(span, piece)) return true;
  return false;
}

function pending(hostId: string, task: Task, request: Request, reason: string): Answer {
  return {
    kind: "pending",
    hostId,
    taskId: task.taskId,
    requestId: request.requestId,
    nextByMs: PENDING_NEXT_BY_MS,
    reason,
  };
}
