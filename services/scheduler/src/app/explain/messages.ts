import { requestCountOf } from "@lacewing/contracts/events/request-count.ts";
import type {
  Download,
  Host,
  Lease,
  Peer,
  Task,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import type { DownloadRow, HostRow, LeaseRow } from "../ports.ts";
import { parsePieces } from "../rows.ts";
import type { HostLoad, PeerFacts, TaskFacts } from "./ports.ts";

/** Rows as the API tells them. */

const MS_PER_SECOND = 1_000;
/** Version, trace id, parent id, flags. */
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/;

export function leaseMessage(row: LeaseRow): Lease {
  const {
    traceparent,
    pieces,
    endedAtMs = 0,
    leaseId,
    taskId,
    slice,
    epoch,
    childHostId,
    parentHostId,
    pieceCount,
    isOpen,
    requestId,
    reason,
    candidateCount,
    grantedAtMs,
    durationMs,
    outcome,
    bytes,
    transferMs,
  } = row;
  return {
    leaseId,
    taskId,
    slice,
    epoch,
    childHostId,
    parentHostId,
    pieces: [...parsePieces(pieces)],
    pieceCount,
    isOpen,
    requestId,
    reason,
    candidateCount,
    grantedAtMs,
    endedAtMs,
    durationMs,
    outcome,
    bytes,
    transferMs,
    bytesPerSecond: bytes === 0 ? 0 : Math.round((bytes * MS_PER_SECOND) / Math.max(1, transferMs)),
    traceId: traceIdOf(traceparent),
  };
}

export function taskMessage(task: TaskFacts): Task {
  const { taskId, slice, url, sharingDomain, anchor, tag, application, priority, etag } = task;
  return {
    taskId,
    slice,
    url,
    sharingDomain,
    anchor,
    tag,
    application,
    priority,
    lengthBytes: task.lengthBytes,
    pieceLengthBytes: task.pieceLengthBytes ?? 0,
    pieceCount: pieceCountOfTask(task),
    etag,
    state: task.state,
    retiredReason: task.retiredReason,
    createdAtMs: task.createdAtMs,
    forgottenAtMs: task.forgottenAtMs ?? 0,
  };
}

/** 0 before the length is known. */
export function pieceCountOfTask(task: TaskFacts): number {
  const { lengthBytes, pieceLengthBytes } = task;
  if (lengthBytes === undefined || pieceLengthBytes === undefined) return 0;
  return pieceCountOf({ lengthBytes, pieceLengthBytes });
}

export function peerMessage(row: PeerFacts): Peer {
  const { taskId, hostId, incarnation, heldPieceCount, bitmap } = row;
  const { isVerified, isSeeding, isGone, isApart } = row;
  return {
    taskId,
    hostId,
    incarnation,
    heldPieceCount,
    bitmap: Buffer.from(bitmap),
    isVerified,
    isSeeding,
    requestCount: row.requests.length,
    isGone,
    isApart,
  };
}

export function hostMessage(row: HostRow, load: HostLoad | undefined): Host {
  const { hostId, kind, state, transferAddress, idc, location } = row;
  const { uploadSlots, freeBytes, quotaBytes, announcedAtMs } = row;
  return {
    hostId,
    kind,
    state,
    transferAddress,
    idc,
    location,
    uploadSlots,
    freeBytes,
    quotaBytes,
    announcedAtMs,
    servingLeaseCount: load?.servingLeaseCount ?? 0,
    takingLeaseCount: load?.takingLeaseCount ?? 0,
    taskCount: load?.taskCount ?? 0,
  };
}

export function downloadMessage({ hostId, download }: DownloadRow): Download {
  const { degraded, fetched, delivered, ...same } = download;
  return {
    ...same,
    requestCount: requestCountOf(download),
    hostId,
    delivered: trafficOf(delivered),
    fetched: trafficOf(fetched),
    isDegraded: degraded,
  };
}

function trafficOf(bytes: DownloadRow["download"]["fetched"]) {
  return {
    localPeerBytes: bytes?.localPeer ?? 0,
    remotePeerBytes: bytes?.remotePeer ?? 0,
    backToSourceBytes: bytes?.backToSource ?? 0,
  };
}

function traceIdOf(traceparent: string): string {
  return TRACEPARENT.exec(traceparent)?.[1] ?? "";
}
