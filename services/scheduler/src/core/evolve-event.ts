import type { Event, TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { EventContext } from "./event-context.ts";
import { announceHost, hearFrom, leaveHost } from "./evolve-host.ts";
import {
  adoptBySeeds,
  describeTask,
  dropPeer,
  endRequestOf,
  poisonTask,
  startAfresh,
  verifyPeer,
} from "./evolve-task.ts";
import { addPieces, failPieces } from "./evolve-pieces.ts";
import { DOWNLOADS_MAX, REQUESTS_PER_HOST_MAX } from "./limits.ts";
import {
  addRequest,
  askFor,
  contain,
  hostFor,
  peerFor,
  taskFor,
  touchPeer,
  touchTask,
  updateNeed,
} from "./ledger.ts";
import { InvariantViolation } from "./invariant.ts";
import { originRestOf } from "./origin-rests.ts";
import type { Host, State, Task } from "./state.ts";

/**
 * Notes that a host was heard of. Called once for each message, before its events: whatever arrives proves that the host
 * lives, and that it can speak even if somebody could not reach it.
 */
export function evolveMessage(state: State, context: EventContext): void {
  hearFrom(state, context);
}

/**
 * Folds one observation. What hosts say may be late, repeated, lost or false: what does not fit is counted in
 * `state.contained` and changes nothing else.
 */
export function evolveEvent(state: State, event: Event, context: EventContext): void {
  const host = hostFor(state, context.hostId, context.bootId, context.atMs);
  // What a process that is gone said of itself and its clients is void; what it had on disk is still there.
  if (
    KINDS_OF_A_PROCESS.has(event.kind?.$case ?? "") &&
    host.formerBootIds.includes(context.bootId)
  ) {
    contain(state, "former boot");
    return;
  }
  evolveKind(state, host, event, context);
}

/** Events that speak of a process and its clients, not of what its disk holds. */
const KINDS_OF_A_PROCESS: ReadonlySet<string> = new Set([
  "hostAnnounced",
  "hostLeft",
  "taskRequested",
  "requestEnded",
]);

function evolveKind(state: State, host: Host, event: Event, context: EventContext): void {
  const { atMs } = context;
  if (event.kind === undefined)
    throw new InvariantViolation("an event without kind passed the edge");
  const { $case, value } = event.kind;
  switch ($case) {
    case "hostAnnounced":
      announceHost(state, host, value, context);
      return;
    case "hostLeft":
      leaveHost(state, host);
      return;
    case "taskRequested":
      request(state, host, value, event.traceparent, context);
      return;
    case "requestEnded":
      endRequestOf(state, host, value.requestId);
      return;
    case "taskDescribed":
      describeTask(state, host, value, atMs);
      return;
    case "piecesAvailable":
      addPieces(state, host, value, atMs);
      return;
    case "piecesFailed":
      failPieces(state, host, value, atMs);
      return;
    case "peerDropped":
      dropPeer(state, host, value);
      return;
    case "taskVerified":
      verifyPeer(state, host, value);
      return;
    case "taskPoisoned":
      poisonTask(state, host, value);
      return;
    case "downloadFinished":
      endRequestOf(state, host, value.downloadId);
      if (state.touched.downloads.length >= DOWNLOADS_MAX) contain(state, "download dropped");
      else state.touched.downloads.push({ hostId: host.hostId, download: value });
      return;
    default:
      return value satisfies never;
  }
}

/** A client of the host waits. The same request again means that the answer is overdue: it is brought up to date. */
function request(
  state: State,
  host: Host,
  value: TaskRequested,
  traceparent: string,
  context: EventContext,
): void {
  if (host.requests.size >= REQUESTS_PER_HOST_MAX && !host.requests.has(value.requestId)) {
    contain(state, "too many requests of a host");
    return;
  }
  const task = taskFor(state, value.taskId, context.atMs);
  if (task.state === "retired") startAfresh(task, context.atMs);
  if (!task.isCreated) introduceTask(state, task, value);
  const peer = peerFor(state, task, host);
  const known = peer.requests.get(value.requestId);
  addRequest(peer, {
    requestId: value.requestId,
    wantedStart: value.wantedStart,
    wantedEnd: value.wantedEnd,
    canReadOrigin: value.canReadOrigin,
    isOriginOpen: value.originOpen,
    // The trace has one span for the first answer; what comes later belongs to it.
    traceparent: known?.traceparent ?? traceparent,
    bootId: context.bootId,
    sequence: Math.max(known?.sequence ?? 0, context.sequence),
    originRefusalCount: known?.originRefusalCount ?? 0,
    originRefusedUntilMs:
      known?.originRefusedUntilMs ?? (value.originOpen ? 0 : originRestOf(state, task)),
    needsAnswer: true,
    nextAnswerAtMs: 0,
  });
  askFor(peer);
  if (peer.requests.size === 1 && peer.leases.length === 0) peer.waitingSinceMs = context.atMs;
  updateNeed(task, peer);
  adoptBySeeds(state, task);
  touchPeer(state, peer);
  touchTask(state, task);
}

function introduceTask(state: State, task: Task, value: TaskRequested): void {
  task.url ||= value.url;
  task.sharingDomain ||= value.sharingDomain;
  task.anchor ||= value.anchor;
  task.tag ||= value.tag;
  task.application ||= value.application;
  task.priority ||= value.priority;
  touchTask(state, task);
}
