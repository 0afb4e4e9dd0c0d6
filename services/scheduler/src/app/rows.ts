import { countOf } from "@lacewing/contracts/pieces.ts";
import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type { Lease } from "../core/lease.ts";
import type { Host, Peer, Task } from "../core/state.ts";
import type { HostRow, LeaseRow, PeerRow, TaskRow } from "./ports.ts";

/** The state as Postgres remembers it. */

export function hostRow(host: Host): HostRow {
  return {
    hostId: host.hostId,
    bootId: host.bootId,
    kind: host.kind,
    transferAddress: host.transferAddress,
    idc: host.idc,
    location: host.location,
    uploadSlots: host.uploadSlots,
    freeBytes: host.freeBytes,
    quotaBytes: host.quotaBytes,
    state: host.state,
    announcedAtMs: Math.round(host.announcedAtMs),
  };
}

export function taskRow(task: Task): TaskRow {
  return {
    taskId: task.taskId,
    slice: task.slice,
    url: task.url,
    sharingDomain: task.sharingDomain,
    anchor: task.anchor,
    tag: task.tag,
    application: task.application,
    priority: task.priority,
    lengthBytes: task.layout?.lengthBytes,
    pieceLengthBytes: task.layout?.pieceLengthBytes,
    etag: task.etag,
    contentType: task.contentType,
    pieceDigests: task.digests?.toBytes() ?? new Uint8Array(),
    state: task.state,
    retiredReason: task.retiredReason,
    createdAtMs: Math.round(task.createdAtMs),
  };
}

export function peerRow(peer: Peer): PeerRow {
  return {
    taskId: peer.taskId,
    hostId: peer.hostId,
    slice: peer.task.slice,
    incarnation: peer.incarnation,
    bitmap: peer.held.toBytes(),
    heldPieceCount: peer.held.count,
    isVerified: peer.isVerified,
    requests: [...peer.requests.values()].map((request) => ({
      requestId: request.requestId,
      wantedStart: request.wantedStart,
      wantedEnd: request.wantedEnd,
      canReadOrigin: request.canReadOrigin,
      traceparent: request.traceparent,
    })),
    isSeeding: peer.isSeeding,
    isApart: peer.isApart,
  };
}

export function leaseRow(lease: Lease): LeaseRow {
  return {
    leaseId: lease.leaseId,
    taskId: lease.taskId,
    slice: lease.slice,
    epoch: lease.epoch,
    childHostId: lease.childHostId,
    parentHostId: lease.parentHostId,
    pieces: formatPieces(lease.pieces),
    pieceCount: countOf(lease.pieces),
    isOpen: lease.isOpen,
    requestId: lease.requestId,
    reason: lease.reason,
    candidateCount: lease.candidateCount,
    grantedAtMs: Math.round(lease.grantedAtMs),
    durationMs: lease.durationMs,
    traceparent: lease.traceparent,
    outcome: lease.outcome,
    endedAtMs: lease.endedAtMs === undefined ? undefined : Math.round(lease.endedAtMs),
    bytes: lease.bytes,
    transferMs: lease.transferMs,
  };
}

/** `start:count` pairs joined by commas. */
export function formatPieces(ranges: readonly PieceRange[]): string {
  return ranges.map((range) => `${range.start}:${range.count}`).join(",");
}

export function parsePieces(text: string): readonly PieceRange[] {
  if (text === "") return [];
  return text.split(",").map((pair) => {
    const [start, count] = pair.split(":");
    return { start: Number(start), count: Number(count) };
  });
}
