import { requestCountOf } from "@lacewing/contracts/events/request-count.ts";
import type {
  DeadLetterRow,
  DownloadRow,
  HostRow,
  LeaseRow,
  PeerRow,
  ProjectionRows,
  TaskRow,
} from "../../app/ports.ts";
import type { LateBytes } from "../../core/touched.ts";
import {
  base64Of,
  cleanInstantMs,
  cleanQuantity,
  cleanText,
  cleanTraceId,
  TEXT_MAX,
} from "./row-text.ts";
import * as statements from "./statements.ts";

/** Rows of one table on their way into it. */
export interface TableWrite {
  readonly table: string;
  /** One parameter: a JSON array of rows. */
  readonly statement: string;
  readonly rowCount: number;
  /** JSON text of each row, made when it is asked for, in key order, so that two writers lock rows in the same order. */
  readonly rows: Iterable<string>;
}

/** Larger dead letters are cut: the limit of the column, and of a message. */
const PAYLOAD_BYTES_MAX = 2 ** 20;
const REASON_LENGTH_MAX = 512;

/** The batch as statements, in the order in which they are run. */
export function tableWrites(batch: ProjectionRows): readonly TableWrite[] {
  const writes: readonly TableWrite[] = [
    tableWrite("hosts", statements.UPSERT_HOSTS, batch.hosts, (row) => row.hostId, hostJson),
    tableWrite("tasks", statements.UPSERT_TASKS, batch.tasks, (row) => row.taskId, taskJson),
    tableWrite("peers", statements.DELETE_PEERS, batch.removedPeers, peerKey, peerKeyJson),
    tableWrite("peers", statements.UPSERT_PEERS, batch.peers, peerKey, peerJson),
    tableWrite("tasks", statements.FORGET_TASKS, batch.forgottenTaskIds, itself, taskKeyJson),
    tableWrite("hosts", statements.FORGET_HOSTS, batch.forgottenHostIds, itself, hostKeyJson),
    tableWrite("leases", statements.UPSERT_LEASES, batch.leases, (row) => row.leaseId, leaseJson),
    tableWrite(
      "leases",
      statements.ADD_LATE_BYTES,
      batch.lateBytes,
      (row) => row.leaseId,
      lateBytesJson,
    ),
    tableWrite(
      "downloads",
      statements.INSERT_DOWNLOADS,
      batch.downloads,
      (row) => row.download.downloadId,
      downloadJson,
    ),
    deadLetterWrite(batch.deadLetters),
  ];
  return writes.filter((write) => write.rowCount > 0);
}

export function deadLetterWrite(rows: readonly DeadLetterRow[]): TableWrite {
  const asTheyCame = () => "";
  return tableWrite(
    "dead_letter",
    statements.INSERT_DEAD_LETTERS,
    rows,
    asTheyCame,
    deadLetterJson,
  );
}

function tableWrite<Row>(
  table: string,
  statement: string,
  rows: readonly Row[],
  keyOf: (row: Row) => string,
  jsonOf: (row: Row) => string,
): TableWrite {
  const inOrder = {
    *[Symbol.iterator]() {
      for (const row of inKeyOrder(rows, keyOf)) yield jsonOf(row);
    },
  };
  return { table, statement, rowCount: rows.length, rows: inOrder };
}

function itself(id: string): string {
  return id;
}

function peerKey({ taskId, hostId }: Pick<PeerRow, "taskId" | "hostId">): string {
  return taskId + hostId;
}

function peerKeyJson({ taskId, hostId }: Pick<PeerRow, "taskId" | "hostId">): string {
  return JSON.stringify({ task_id: taskId, host_id: hostId });
}

function taskKeyJson(taskId: string): string {
  return JSON.stringify({ task_id: taskId });
}

function hostKeyJson(hostId: string): string {
  return JSON.stringify({ host_id: hostId });
}

function hostJson(row: HostRow): string {
  return JSON.stringify({
    host_id: row.hostId,
    boot_id: cleanText(row.bootId, 64),
    kind: row.kind,
    transfer_address: cleanText(row.transferAddress, TEXT_MAX.line),
    idc: cleanText(row.idc, TEXT_MAX.label),
    location: cleanText(row.location, TEXT_MAX.line),
    upload_slots: cleanQuantity(row.uploadSlots),
    free_bytes: cleanQuantity(row.freeBytes),
    quota_bytes: cleanQuantity(row.quotaBytes),
    state: row.state,
    announced_at_ms: cleanInstantMs(row.announcedAtMs),
  });
}

function taskJson(row: TaskRow): string {
  return JSON.stringify({
    task_id: row.taskId,
    slice: row.slice,
    url: cleanText(row.url, TEXT_MAX.long),
    sharing_domain: cleanText(row.sharingDomain, TEXT_MAX.long),
    anchor: row.anchor,
    tag: cleanText(row.tag, TEXT_MAX.label),
    application: cleanText(row.application, TEXT_MAX.label),
    priority: row.priority,
    length_bytes: row.lengthBytes ?? null,
    piece_length_bytes: row.pieceLengthBytes ?? null,
    etag: cleanText(row.etag, TEXT_MAX.long),
    content_type: cleanText(row.contentType, TEXT_MAX.long),
    piece_digests: base64Of(row.pieceDigests),
    state: row.state,
    retired_reason: cleanText(row.retiredReason, TEXT_MAX.label),
    created_at_ms: cleanInstantMs(row.createdAtMs),
  });
}

function peerJson(row: PeerRow): string {
  return JSON.stringify({
    task_id: row.taskId,
    host_id: row.hostId,
    slice: row.slice,
    incarnation: row.incarnation,
    bitmap: base64Of(row.bitmap),
    held_piece_count: row.heldPieceCount,
    is_verified: row.isVerified,
    requests: row.requests.map((request) => ({
      ...request,
      requestId: cleanText(request.requestId, TEXT_MAX.label),
      traceparent: cleanText(request.traceparent, TEXT_MAX.label),
    })),
    is_seeding: row.isSeeding,
    is_apart: row.isApart,
  });
}

function leaseJson(row: LeaseRow): string {
  return JSON.stringify({
    lease_id: row.leaseId,
    task_id: row.taskId,
    slice: row.slice,
    epoch: row.epoch,
    child_host_id: row.childHostId,
    parent_host_id: row.parentHostId === "" ? null : row.parentHostId,
    pieces: row.pieces,
    piece_count: row.pieceCount,
    is_open: row.isOpen,
    request_id: cleanText(row.requestId, 64),
    reason: cleanText(row.reason, TEXT_MAX.label),
    candidate_count: cleanQuantity(row.candidateCount),
    granted_at_ms: cleanInstantMs(row.grantedAtMs),
    duration_ms: cleanQuantity(row.durationMs),
    traceparent: cleanText(row.traceparent, 64),
    outcome: cleanText(row.outcome, 64),
    ended_at_ms: row.endedAtMs === undefined ? null : cleanInstantMs(row.endedAtMs),
    bytes: cleanQuantity(row.bytes),
    transfer_ms: cleanQuantity(row.transferMs),
  });
}

function lateBytesJson(row: LateBytes): string {
  return JSON.stringify({
    lease_id: row.leaseId,
    child_host_id: row.childHostId,
    bytes: cleanQuantity(row.bytes),
    transfer_ms: cleanQuantity(row.transferMs),
  });
}

function downloadJson({ hostId, download }: DownloadRow): string {
  return JSON.stringify({
    download_id: download.downloadId,
    host_id: hostId,
    task_id: download.taskId === "" ? null : download.taskId,
    url: cleanText(download.url, TEXT_MAX.long),
    method: cleanText(download.method, 64),
    tag: cleanText(download.tag, TEXT_MAX.label),
    application: cleanText(download.application, TEXT_MAX.label),
    priority: download.priority,
    started_at_ms: cleanInstantMs(download.startedAtMs),
    ttfb_ms: cleanQuantity(download.ttfbMs),
    cost_ms: cleanQuantity(download.costMs),
    outcome: download.outcome,
    http_status: cleanQuantity(download.httpStatus, 999),
    fetched_remote_peer_bytes: cleanQuantity(download.fetched?.remotePeer ?? 0),
    fetched_back_to_source_bytes: cleanQuantity(download.fetched?.backToSource ?? 0),
    delivered_local_peer_bytes: cleanQuantity(download.delivered?.localPeer ?? 0),
    delivered_remote_peer_bytes: cleanQuantity(download.delivered?.remotePeer ?? 0),
    delivered_back_to_source_bytes: cleanQuantity(download.delivered?.backToSource ?? 0),
    probe_bytes: cleanQuantity(download.probeBytes),
    content_length_bytes: cleanQuantity(download.contentLengthBytes),
    byte_range: cleanText(download.range, TEXT_MAX.long),
    degraded: download.degraded,
    trace_id: cleanTraceId(download.traceId),
    error: cleanText(download.error, TEXT_MAX.long),
    request_count: requestCountOf(download),
  });
}

function deadLetterJson(row: DeadLetterRow): string {
  return JSON.stringify({
    stream: cleanText(row.stream, TEXT_MAX.label),
    stream_sequence: cleanQuantity(row.streamSequence),
    subject: cleanText(row.subject, TEXT_MAX.line),
    reason: cleanText(row.reason, REASON_LENGTH_MAX),
    payload: base64Of(row.payload.subarray(0, PAYLOAD_BYTES_MAX)),
  });
}

function inKeyOrder<Row>(rows: readonly Row[], keyOf: (row: Row) => string): readonly Row[] {
  const keyed = rows.map((row) => ({ key: keyOf(row), row }));
  // Plain comparison of code units: the order must be the same in every process, whatever its locale.
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  return keyed.map((entry) => entry.row);
}
