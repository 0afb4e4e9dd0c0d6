import { formatBytes, formatDuration } from "@lacewing/runtime/figures.ts";
import { decodeEventMessage } from "@lacewing/contracts/events/decode.ts";
import type { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type {
  Download,
  Lease,
  StoryEvent,
  Task,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { rangesOf } from "@lacewing/contracts/pieces.ts";
import type { StoredEvents } from "../ports.ts";
import { STORY_LENGTH_MAX } from "./limits.ts";
import { percentText, piecesText } from "./text.ts";

/** What happened, in the order of time. */

/** An entry that knows which request of a client it speaks of; empty when it speaks of none. */
export interface ToldEvent extends StoryEvent {
  readonly requestId: string;
}

/** What the stored rows tell of a task. */
export function storyOfRows(
  task: Task | undefined,
  leases: readonly Lease[],
  downloads: readonly Download[],
): readonly StoryEvent[] {
  return [
    ...(task === undefined ? [] : [created(task)]),
    ...leases.map(granted),
    ...leases.filter((lease) => lease.endedAtMs > 0).map(ended),
    ...downloads.map(downloaded),
  ];
}

/** What one stored event message tells of the task. Cumulative reports of pieces are left out: the leases tell them. */
export function storyOfEvents(stored: StoredEvents, taskId: string): readonly ToldEvent[] {
  const decoded = decodeEventMessage(stored.subject, stored.data);
  if (!decoded.ok) return [];
  const { hostId, events } = decoded.message;
  return events.flatMap(({ kind }) => {
    if (kind === undefined || !("taskId" in kind.value) || kind.value.taskId !== taskId) return [];
    const told = describe(kind, hostId);
    return told === undefined
      ? []
      : [{ atMs: stored.storedAtMs, hostId, leaseId: "", requestId: "", ...told }];
  });
}

/** What one decision message tells of the task besides its leases, which rows tell with their outcome. */
export function storyOfDecisions(message: DecisionMessage, taskId: string): readonly StoryEvent[] {
  return message.decisions.flatMap(({ kind }) =>
    kind?.$case === "taskRetired" && kind.value.taskId === taskId
      ? [
          {
            atMs: message.decidedAtMs,
            kind: "retired",
            text: `takes no more leases: ${kind.value.reason}`,
            hostId: "",
            leaseId: "",
          },
        ]
      : [],
  );
}

/** In the order of time, each repeated fact once; of a long story the first and the last half. */
export function inOrder(events: readonly StoryEvent[]): {
  readonly story: StoryEvent[];
  readonly leftOutCount: number;
} {
  const seen = new Set<string>();
  const distinct = events
    .toSorted((a, b) => a.atMs - b.atMs)
    .filter((event) => {
      const key = REPEATED_KINDS.has(event.kind) ? `${event.kind} ${event.text}` : "";
      const isNew = key === "" || !seen.has(key);
      seen.add(key);
      return isNew;
    });
  // A failure that the host described stands for the plain end of the lease.
  const failed = new Set(distinct.filter((event) => event.kind === "failed").map((e) => e.leaseId));
  const all = distinct.filter((event) => event.kind !== "ended" || !failed.has(event.leaseId));
  const leftOutCount = Math.max(0, all.length - STORY_LENGTH_MAX);
  if (leftOutCount === 0) return { story: all, leftOutCount };
  const half = STORY_LENGTH_MAX / 2;
  return { story: [...all.slice(0, half), ...all.slice(-half)], leftOutCount };
}

/** Facts that hosts repeat until they are sure that they were heard. */
const REPEATED_KINDS: ReadonlySet<string> = new Set(["requested", "described", "verified"]);

function created(task: Task): StoryEvent {
  return entry(task.createdAtMs, "created", `first asked for: ${task.url || task.taskId}`);
}

function granted(lease: Lease): StoryEvent {
  const from = lease.parentHostId === "" ? "the origin" : lease.parentHostId;
  const what = lease.pieces.length === 0 ? "everything" : piecesText(lease.pieces);
  return {
    ...entry(
      lease.grantedAtMs,
      "granted",
      `${lease.childHostId} takes ${what} from ${from}: ${lease.reason}`,
    ),
    hostId: lease.childHostId,
    leaseId: lease.leaseId,
  };
}

function ended(lease: Lease): StoryEvent {
  const rate =
    lease.bytes === 0
      ? ""
      : `, ${formatBytes(lease.bytes)} in ${formatDuration(lease.transferMs)} (${formatBytes(lease.bytesPerSecond)}/s)`;
  return {
    ...entry(lease.endedAtMs, "ended", `${lease.outcome.replaceAll("_", " ")}${rate}`),
    hostId: lease.childHostId,
    leaseId: lease.leaseId,
  };
}

function downloaded(download: Download): StoryEvent {
  const {
    localPeerBytes = 0,
    remotePeerBytes = 0,
    backToSourceBytes = 0,
  } = download.delivered ?? {};
  const total = localPeerBytes + remotePeerBytes + backToSourceBytes;
  const text =
    total === 0
      ? `${download.outcome.replaceAll("_", " ")}, nothing delivered`
      : `${download.outcome.replaceAll("_", " ")} after ${formatDuration(download.costMs)}: ${formatBytes(total)}, ${percentText(localPeerBytes, total)} held already, ${percentText(remotePeerBytes, total)} from hosts, ${percentText(backToSourceBytes, total)} from the origin`;
  return {
    ...entry(
      download.startedAtMs + download.costMs,
      "downloaded",
      `${download.requestCount > 1 ? `${download.requestCount} requests ` : ""}${text} (download ${download.downloadId})`,
    ),
    hostId: download.hostId,
  };
}

function entry(atMs: number, kind: string, text: string): StoryEvent {
  return { atMs, kind, text, hostId: "", leaseId: "" };
}

function describe(
  kind: NonNullable<Event["kind"]>,
  hostId: string,
): (Pick<ToldEvent, "kind" | "text"> & Partial<ToldEvent>) | undefined {
  const { $case, value } = kind;
  switch ($case) {
    case "taskRequested": {
      const range =
        value.wantedEnd === 0
          ? "all of it"
          : `bytes ${value.wantedStart} to ${value.wantedEnd - 1}`;
      return {
        kind: "requested",
        text: `${hostId} wants ${range} (download ${value.requestId})`,
        requestId: value.requestId,
      };
    }
    case "taskDescribed":
      return {
        kind: "described",
        text: `${formatBytes(value.lengthBytes)} in pieces of ${formatBytes(value.pieceLengthBytes)}`,
      };
    case "piecesFailed": {
      const from = value.parentHostId === "" ? "the origin" : value.parentHostId;
      const pieces = piecesText(rangesOf(value.pieceIndexes.toSorted((a, b) => a - b)));
      const detail = value.detail === "" ? "" : ` (${value.detail})`;
      return {
        kind: "failed",
        text: `${hostId} did not get ${pieces} from ${from}: ${value.reason.replaceAll("_", " ")}${detail}`,
        leaseId: value.leaseId,
      };
    }
    case "peerDropped":
      return { kind: "dropped", text: `${hostId} gave its copy up: ${value.reason}` };
    case "taskVerified":
      return { kind: "verified", text: `${hostId} checked the whole content: ${value.digest}` };
    case "taskPoisoned":
      return {
        kind: "poisoned",
        text: `${hostId} found ${value.actualDigest} instead of ${value.expectedDigest}`,
      };
    case "hostAnnounced":
    case "hostLeft":
    case "requestEnded":
    case "piecesAvailable":
    case "downloadFinished":
      return undefined;
    default:
      return value satisfies never;
  }
}
