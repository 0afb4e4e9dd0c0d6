import {
  type DownloadFinished,
  type Event,
  EventMessage,
  type HostAnnounced,
  type PiecesAvailable,
  type PiecesFailed,
  type TaskDescribed,
  type TaskPoisoned,
  type TaskRequested,
} from "../gen/lacewing/events/v1/events.ts";
import {
  parseBootId,
  parseDigest,
  parseHostId,
  parseLeaseId,
  parseRequestId,
  parseTaskId,
} from "../ids.ts";
import {
  ANNOUNCED_IDS_MAX,
  EVENTS_PER_MESSAGE_MAX,
  MESSAGE_BYTES_MAX,
  PIECE_COUNT_MAX,
  TEXT_LENGTH_MAX,
  RETRY_AFTER_MS_MAX,
  TOLD_BYTES_MAX,
  TOLD_DURATION_MS_MAX,
  TOLD_REQUEST_COUNT_MAX,
} from "../limits.ts";
import { CONTENT_LENGTH_BYTES_MAX, isPieceLength } from "../piece-length.ts";
import { sliceOf } from "../slices.ts";
import { MIXED, type ParsedSubject, parseSubject } from "../subjects.ts";
import { DOWNLOAD_OUTCOMES, FAILURE_REASONS } from "./reasons.ts";

/** A W3C traceparent has 55 characters; later versions may be a little longer. */
const TRACEPARENT_LENGTH_MAX = 64;

/** The format of events that this code writes. */
export const EVENT_VERSION = 1;

export type DecodedEvents =
  | {
      readonly ok: true;
      /** With the events that may be folded. */
      readonly message: EventMessage;
      readonly subject: ParsedSubject;
      /** Why others were left out: the first of them. */
      readonly refused: string | undefined;
    }
  | { readonly ok: false; readonly reason: string };

/**
 * Decodes and checks one stored event message: everything behind this edge may rely on well-formed ids, on sizes within
 * the limits, and on a host speaking only for itself and only about tasks of the subject's slice, where it names one. An event that does
 * not hold to this is left out; others of its message are facts by themselves, about other tasks perhaps.
 */
export function decodeEventMessage(subjectText: string, bytes: Uint8Array): DecodedEvents {
  const subject = parseSubject(subjectText);
  if (subject === undefined || subject.kind === "decisions")
    return refuse(`subject ${subjectText} carries no events`);
  if (bytes.length > MESSAGE_BYTES_MAX)
    return refuse(`${bytes.length} bytes, more than ${MESSAGE_BYTES_MAX}`);
  let message: EventMessage;
  try {
    message = EventMessage.decode(bytes);
  } catch (error) {
    return refuse(
      `not an event message: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  if (message.version !== EVENT_VERSION)
    return refuse(`version ${message.version}, known is ${EVENT_VERSION}`);
  if (message.hostId !== subject.hostId)
    return refuse(`host ${message.hostId} on the subject of ${subject.hostId}`);
  if (parseBootId(message.bootId) === undefined) return refuse("boot id is malformed");
  if (message.events.length > EVENTS_PER_MESSAGE_MAX) {
    return refuse(`${message.events.length} events, more than ${EVENTS_PER_MESSAGE_MAX}`);
  }
  return { ok: true, subject, ...sifted(message, subject) };
}

function sifted(
  message: EventMessage,
  subject: ParsedSubject,
): { readonly message: EventMessage; readonly refused: string | undefined } {
  let refused: string | undefined;
  const events = message.events.filter((event, index) => {
    const problem = problemOf(event, subject);
    if (problem !== undefined)
      refused ??= `event ${index} (${event.kind?.$case ?? "empty"}): ${problem}`;
    return problem === undefined;
  });
  return refused === undefined
    ? { message, refused }
    : { message: { ...message, events }, refused };
}

function refuse(reason: string): DecodedEvents {
  return { ok: false, reason };
}

function problemOf(event: Event, subject: ParsedSubject): string | undefined {
  if (event.kind === undefined) return "no kind";
  if (event.traceparent.length > TRACEPARENT_LENGTH_MAX) return "traceparent is too long";
  switch (event.kind.$case) {
    case "hostAnnounced":
      return subject.kind === "host"
        ? announceProblem(event.kind.value)
        : "belongs on the host subject";
    case "hostLeft":
      return subject.kind === "host" ? undefined : "belongs on the host subject";
    case "downloadFinished":
      return downloadProblem(event.kind.value, subject);
    case "taskRequested":
      return taskProblem(event.kind.value.taskId, subject) ?? requestProblem(event.kind.value);
    case "requestEnded":
      return (
        taskProblem(event.kind.value.taskId, subject) ??
        requestIdProblem(event.kind.value.requestId)
      );
    case "taskDescribed":
      return taskProblem(event.kind.value.taskId, subject) ?? descriptionProblem(event.kind.value);
    case "piecesAvailable":
      return taskProblem(event.kind.value.taskId, subject) ?? availabilityProblem(event.kind.value);
    case "piecesFailed":
      return taskProblem(event.kind.value.taskId, subject) ?? failureProblem(event.kind.value);
    case "peerDropped":
      return taskProblem(event.kind.value.taskId, subject) ?? textProblem(event.kind.value.reason);
    case "taskVerified":
      return (
        taskProblem(event.kind.value.taskId, subject) ?? anchorProblem(event.kind.value.digest)
      );
    case "taskPoisoned":
      return taskProblem(event.kind.value.taskId, subject) ?? poisonProblem(event.kind.value);
    default:
      return event.kind satisfies never;
  }
}

function announceProblem(value: HostAnnounced): string | undefined {
  if (value.kind !== "normal" && value.kind !== "seed") return `host kind "${value.kind}"`;
  const idCount = value.liveLeaseIds.length + value.liveRequestIds.length;
  if (idCount > ANNOUNCED_IDS_MAX) return `${idCount} ids, more than ${ANNOUNCED_IDS_MAX}`;
  if (value.liveLeaseIds.some((id) => parseLeaseId(id) === undefined))
    return "lease id is malformed";
  if (value.liveRequestIds.some((id) => parseRequestId(id) === undefined))
    return "request id is malformed";
  return textProblem(value.transferAddress, value.idc, value.location, value.inventoryDigest);
}

function requestProblem(value: TaskRequested): string | undefined {
  if (value.wantedEnd < value.wantedStart) {
    return `wanted range ends at ${value.wantedEnd} before it starts at ${value.wantedStart}`;
  }
  return (
    requestIdProblem(value.requestId) ??
    anchorProblem(value.anchor) ??
    textProblem(value.url, value.sharingDomain, value.tag, value.application)
  );
}

function descriptionProblem(value: TaskDescribed): string | undefined {
  return (
    layoutProblem(value.lengthBytes, value.pieceLengthBytes) ??
    anchorProblem(value.anchor) ??
    textProblem(value.etag, value.lastModified, value.contentType, value.url, value.sharingDomain)
  );
}

function availabilityProblem(value: PiecesAvailable): string | undefined {
  if (value.bitmap.length > PIECE_COUNT_MAX / 8) return `bitmap of ${value.bitmap.length} bytes`;
  if (value.digests.some((digest) => digest.sha256.length !== 32))
    return "a digest is not 32 bytes";
  const strange = value.digests.find((digest) => digest.pieceIndex >= PIECE_COUNT_MAX);
  if (strange !== undefined) return `piece ${strange.pieceIndex} is beyond ${PIECE_COUNT_MAX - 1}`;
  const hasStrangeLease = value.leasesEnded.some(
    (lease) => parseLeaseId(lease.leaseId) === undefined,
  );
  if (hasStrangeLease) return "lease id is malformed";
  return (
    bytesProblem(...value.leasesEnded.map((lease) => lease.bytes)) ??
    durationProblem(...value.leasesEnded.map((lease) => lease.durationMs))
  );
}

function failureProblem(value: PiecesFailed): string | undefined {
  if (!FAILURE_REASONS.some((reason) => reason === value.reason)) return `reason "${value.reason}"`;
  if (value.parentHostId !== "" && parseHostId(value.parentHostId) === undefined)
    return "parent id is malformed";
  if (value.pieceIndexes.length > PIECE_COUNT_MAX) return `${value.pieceIndexes.length} pieces`;
  const strange = value.pieceIndexes.find((index) => index >= PIECE_COUNT_MAX);
  if (strange !== undefined) return `piece ${strange} is beyond ${PIECE_COUNT_MAX - 1}`;
  if (value.retryAfterMs > RETRY_AFTER_MS_MAX)
    return `retry after ${value.retryAfterMs} ms, more than ${RETRY_AFTER_MS_MAX} ms`;
  return textProblem(value.detail, value.leaseId);
}

function poisonProblem(value: TaskPoisoned): string | undefined {
  return textProblem(value.expectedDigest, value.actualDigest, value.reason);
}

function downloadProblem(value: DownloadFinished, subject: ParsedSubject): string | undefined {
  if (!DOWNLOAD_OUTCOMES.some((outcome) => outcome === value.outcome))
    return `outcome "${value.outcome}"`;
  return (
    requestIdProblem(value.downloadId) ??
    (value.taskId === "" ? undefined : taskProblem(value.taskId, subject)) ??
    textProblem(value.url, value.tag, value.application, value.range, value.traceId, value.error) ??
    figuresProblem(value)
  );
}

/** Figures are added up for a year: one that cannot be true would spoil the sums for as long. The content's length is the origin's word, and in no sum. */
function figuresProblem(value: DownloadFinished): string | undefined {
  if (value.requestCount > TOLD_REQUEST_COUNT_MAX)
    return `${value.requestCount} requests, more than ${TOLD_REQUEST_COUNT_MAX}`;
  const byTraffic = [value.fetched, value.delivered].flatMap((bytes) =>
    bytes === undefined ? [] : [bytes.localPeer, bytes.remotePeer, bytes.backToSource],
  );
  return (
    bytesProblem(value.probeBytes, ...byTraffic) ?? durationProblem(value.ttfbMs, value.costMs)
  );
}

function requestIdProblem(text: string): string | undefined {
  return parseRequestId(text) === undefined ? "request id is malformed" : undefined;
}

function taskProblem(text: string, subject: ParsedSubject): string | undefined {
  const taskId = parseTaskId(text);
  if (taskId === undefined) return "task id is malformed";
  if (subject.kind !== "events") return "a task's event belongs on a slice subject";
  return subject.slice === MIXED || sliceOf(taskId) === subject.slice
    ? undefined
    : `task of slice ${sliceOf(taskId)} on slice ${subject.slice}`;
}

function anchorProblem(text: string): string | undefined {
  return text === "" || parseDigest(text) !== undefined ? undefined : "anchor is not sha256:<hex>";
}

function layoutProblem(lengthBytes: number, pieceLengthBytes: number): string | undefined {
  if (lengthBytes > CONTENT_LENGTH_BYTES_MAX)
    return `length ${lengthBytes} bytes is more than ${CONTENT_LENGTH_BYTES_MAX}`;
  if (!isPieceLength(pieceLengthBytes)) return `piece length ${pieceLengthBytes} bytes`;
  const count = Math.ceil(lengthBytes / pieceLengthBytes);
  return count > PIECE_COUNT_MAX ? `${count} pieces, more than ${PIECE_COUNT_MAX}` : undefined;
}

function bytesProblem(...figures: readonly number[]): string | undefined {
  const strange = figures.find((bytes) => bytes > TOLD_BYTES_MAX);
  return strange === undefined ? undefined : `${strange} bytes, more than ${TOLD_BYTES_MAX}`;
}

function durationProblem(...figures: readonly number[]): string | undefined {
  const strange = figures.find((ms) => ms > TOLD_DURATION_MS_MAX);
  return strange === undefined ? undefined : `${strange} ms, more than ${TOLD_DURATION_MS_MAX}`;
}

function textProblem(...texts: readonly string[]): string | undefined {
  const longest = Math.max(0, ...texts.map((text) => text.length));
  return longest > TEXT_LENGTH_MAX
    ? `a text of ${longest} characters, more than ${TEXT_LENGTH_MAX}`
    : undefined;
}
