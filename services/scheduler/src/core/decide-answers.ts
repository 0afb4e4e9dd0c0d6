import { ORIGIN_RESTS } from "@lacewing/contracts/events/reasons.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import type { Answer } from "./answer.ts";
import { wordApart } from "./apart.ts";
import { PENDING_MARGIN_MS, PENDING_NEXT_BY_MS, PROMISES_CHECK_MS } from "./limits.ts";
import type { Lease } from "./lease.ts";
import type { Peer, Request, Task } from "./state.ts";
import { isWithin, piecesOfRequest } from "./wanted.ts";

/**
 * What waiting clients' hosts are told besides new leases: a lease again when its request was asked again, else that there is
 * nothing yet, before the time runs out that the last answer promised.
 */
export function answerRequests(task: Task, nowMs: number): readonly Answer[] {
  const answers: Answer[] = [];
  for (const peer of takeAsking(task)) answerPeer(task, peer, nowMs, answers);
  if (nowMs < task.promisesDueAtMs || task.promised.size === 0) return answers;
  task.promisesDueAtMs = Infinity;
  for (const peer of task.promised) answerPeer(task, peer, nowMs, answers);
  task.promisesDueAtMs = Math.max(task.promisesDueAtMs, nowMs + PROMISES_CHECK_MS);
  return answers;
}

function takeAsking(task: Task): readonly Peer[] {
  const asking = task.asking.filter((peer) => peer.isAsking);
  for (const peer of asking) peer.isAsking = false;
  task.asking = [];
  return asking;
}

/** Answers the requests of one peer as far as necessary, and notes when the next answer is due. */
function answerPeer(task: Task, peer: Peer, nowMs: number, answers: Answer[]): void {
  const { host } = peer;
  let dueAtMs = Infinity;
  const { only } = peer.requests;
  if (host.state === "alive" && only !== undefined) {
    dueAtMs = answerOne(task, peer, only, nowMs, answers);
  } else if (host.state === "alive") {
    for (const request of peer.requests.values())
      dueAtMs = Math.min(dueAtMs, answerOne(task, peer, request, nowMs, answers));
  }
  notePromise(task, peer, dueAtMs < Infinity);
  task.promisesDueAtMs = Math.min(task.promisesDueAtMs, dueAtMs);
}

/** @returns when the next answer to the request is due; Infinity when none is promised. */
function answerOne(
  task: Task,
  peer: Peer,
  request: Request,
  nowMs: number,
  answers: Answer[],
): number {
  if (peer.isNeedy) {
    for (const answer of answerRequest(task, peer, request, nowMs)) answers.push(answer);
    return request.nextAnswerAtMs > 0 ? request.nextAnswerAtMs : Infinity;
  }
  // A complete peer is not needy; the host asked before it knew that it holds everything.
  if (request.needsAnswer)
    answers.push(pending(peer.hostId, task, request, "everything is held already"));
  request.needsAnswer = false;
  return Infinity;
}

function notePromise(task: Task, peer: Peer, isPromised: boolean): void {
  if (isPromised === peer.isPromised) return;
  peer.isPromised = isPromised;
  if (isPromised) task.promised.add(peer);
  else task.promised.delete(peer);
}

function answerRequest(task: Task, peer: Peer, request: Request, nowMs: number): readonly Answer[] {
  const isAsked = request.needsAnswer;
  const isServed = hasLeaseOfItsOwn(peer, request);
  if (!isAsked && isServed) {
    request.nextAnswerAtMs = 0;
    return NO_ANSWERS;
  }
  request.needsAnswer = false;
  // Leases of this very turn are on their way already.
  const repeated: readonly Answer[] = isAsked
    ? peer.leases
        .filter((lease) => lease.grantedAtMs < nowMs && helps(task, lease, request))
        .map((lease) => ({ kind: "lease", hostId: peer.hostId, lease }))
    : NO_ANSWERS;
  if (isServed) {
    request.nextAnswerAtMs = 0;
    return repeated;
  }
  if (!isAsked && nowMs < request.nextAnswerAtMs) return repeated;
  request.nextAnswerAtMs = nowMs + PENDING_NEXT_BY_MS - PENDING_MARGIN_MS;
  const told = pending(peer.hostId, task, request, waitReason(task, peer, request, nowMs));
  // It may not have heard it, have been started since, or have the right content by now: then it says so.
  return peer.isApart ? [...repeated, told, wordApart(task, peer)] : [...repeated, told];
}

const NO_ANSWERS: readonly Answer[] = [];

function hasLeaseOfItsOwn(peer: Peer, request: Request): boolean {
  for (const lease of peer.leases) if (lease.requestId === request.requestId) return true;
  return false;
}

function waitReason(task: Task, peer: Peer, request: Request, nowMs: number): string {
  if (peer.isApart) return "its origin gave this host content of another length";
  if (peer.leases.length > 0) return "another request of this host brings it";
  if (request.canReadOrigin && request.originRefusedUntilMs > nowMs) return ORIGIN_RESTS;
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
    lengthBytes: task.layout?.lengthBytes ?? 0,
  };
}
