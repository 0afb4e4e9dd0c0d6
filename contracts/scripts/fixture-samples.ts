import type {
  Assignment,
  AssignmentMessage,
} from "../src/gen/lacewing/assignments/v1/assignments.ts";
import type { Decision, DecisionMessage } from "../src/gen/lacewing/decisions/v1/decisions.ts";
import type { Event, EventMessage } from "../src/gen/lacewing/events/v1/events.ts";
import { HOST_SLICE, sliceOf } from "../src/slices.ts";
import {
  assignmentsSubject,
  decisionsSubject,
  eventsSubject,
  hostSubject,
} from "../src/subjects.ts";
import { parseHostId, parseTaskId } from "../src/ids.ts";

/**
 * One value of every kind that crosses a process boundary, every field set to something that is not its default: what
 * `write-fixtures.ts` writes once and `src/fixtures.test.ts` reads for ever. A kind without a sample does not compile.
 */

type KindOf<T extends { kind: unknown }> = NonNullable<T["kind"]>;
type Samples<Kind extends { $case: string }> = {
  readonly [Case in Kind["$case"]]: Extract<Kind, { $case: Case }>;
};

/** A message with the subject it travels on. */
export interface Sample<Message> {
  readonly subject: string;
  readonly message: Message;
}

const TASK_ID = "c0ffee42".repeat(8);
const TASK_SLICE = 0;
const ANCHOR = `sha256:${"0123456789abcdef".repeat(4)}`;
const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SENT_AT_MS = 1_767_225_600_123;
const EPOCH = 7;

const eventSamples: Samples<KindOf<Event>> = {
  hostAnnounced: {
    $case: "hostAnnounced",
    value: {
      kind: "seed",
      transferAddress: "10.0.0.7:65002",
      idc: "fra1",
      location: "eu|fra|r12",
      uploadSlots: 16,
      freeBytes: 2 ** 40,
      quotaBytes: 20 * 2 ** 30,
      inventoryDigest: "00ff00ff00ff00ff",
      liveLeaseIds: ["0-7-41", "3-7-2"],
      full: true,
      liveRequestIds: ["request-1"],
    },
  },
  hostLeft: { $case: "hostLeft", value: {} },
  taskRequested: {
    $case: "taskRequested",
    value: {
      taskId: TASK_ID,
      requestId: "request-1",
      url: "https://lfs.test/objects/1",
      sharingDomain: "lfs.test",
      anchor: ANCHOR,
      tag: "nightly",
      application: "git-lfs",
      priority: 3,
      wantedStart: 1024,
      wantedEnd: 2 ** 33,
      canReadOrigin: true,
      originOpen: true,
    },
  },
  requestEnded: { $case: "requestEnded", value: { taskId: TASK_ID, requestId: "request-1" } },
  taskDescribed: {
    $case: "taskDescribed",
    value: {
      taskId: TASK_ID,
      lengthBytes: 2 ** 33 + 1,
      pieceLengthBytes: 2 ** 26,
      etag: '"v1"',
      lastModified: "Thu, 01 Jan 2026 00:00:00 GMT",
      contentType: "application/octet-stream",
      anchor: ANCHOR,
      url: "https://lfs.test/objects/1",
      sharingDomain: "lfs.test",
      originRanges: false,
    },
  },
  piecesAvailable: {
    $case: "piecesAvailable",
    value: {
      taskId: TASK_ID,
      incarnation: 2,
      bitmap: Uint8Array.of(0b0000_0101, 0b1000_0000),
      digests: [{ pieceIndex: 2, sha256: new Uint8Array(32).fill(0xab) }],
      leasesEnded: [{ leaseId: "0-7-41", bytes: 2 ** 26, durationMs: 812 }],
    },
  },
  piecesFailed: {
    $case: "piecesFailed",
    value: {
      taskId: TASK_ID,
      leaseId: "0-7-42",
      parentHostId: "parent-1",
      pieceIndexes: [3, 4, 255],
      reason: "digest_mismatch",
      detail: "piece 3: sha256 differs",
      bytes: 2 ** 26,
      durationMs: 94,
      retryAfterMs: 0,
    },
  },
  peerDropped: {
    $case: "peerDropped",
    value: { taskId: TASK_ID, incarnation: 3, reason: "evicted" },
  },
  taskVerified: {
    $case: "taskVerified",
    value: { taskId: TASK_ID, incarnation: 2, digest: ANCHOR },
  },
  taskPoisoned: {
    $case: "taskPoisoned",
    value: {
      taskId: TASK_ID,
      expectedDigest: ANCHOR,
      actualDigest: `sha256:${"f".repeat(64)}`,
      reason: "anchor_mismatch",
    },
  },
  downloadFinished: {
    $case: "downloadFinished",
    value: {
      downloadId: "request-1",
      taskId: TASK_ID,
      url: "https://lfs.test/objects/1",
      method: "GET",
      tag: "nightly",
      application: "git-lfs",
      priority: 3,
      startedAtMs: SENT_AT_MS - 900,
      ttfbMs: 12,
      costMs: 850,
      outcome: "finished",
      httpStatus: 206,
      fetched: { localPeer: 1, remotePeer: 2 ** 33, backToSource: 3 },
      delivered: { localPeer: 4, remotePeer: 5, backToSource: 6 },
      probeBytes: 1,
      contentLengthBytes: 2 ** 33 + 1,
      range: "bytes=0-",
      degraded: true,
      traceId: "0af7651916cd43dd8448eb211c80319c",
      error: "none",
      requestCount: 0,
    },
  },
};

/** What a kind learned to say after its fixture was written, by the name of a fixture of its own. */
const laterEventSamples = {
  downloadFinishedTally: {
    $case: "downloadFinished",
    value: {
      ...eventSamples.downloadFinished.value,
      httpStatus: 200,
      range: "",
      requestCount: 4711,
    },
  },
} as const satisfies Readonly<Record<string, KindOf<Event>>>;

const decisionSamples: Samples<KindOf<Decision>> = {
  sliceAcquired: { $case: "sliceAcquired", value: { ownerId: "scheduler-1" } },
  taskCreated: {
    $case: "taskCreated",
    value: {
      taskId: TASK_ID,
      url: "https://lfs.test/objects/1",
      sharingDomain: "lfs.test",
      anchor: ANCHOR,
      tag: "nightly",
      application: "git-lfs",
      priority: 3,
    },
  },
  leaseGranted: {
    $case: "leaseGranted",
    value: {
      leaseId: "0-7-41",
      taskId: TASK_ID,
      childHostId: "child-1",
      parentHostId: "parent-1",
      pieces: [
        { start: 1, count: 4 },
        { start: 9, count: 1 },
      ],
      open: true,
      durationMs: 30_000,
      reason: "least loaded of 3 holders",
      candidateCount: 3,
      requestId: "request-1",
      traceparent: TRACEPARENT,
    },
  },
  leaseRevoked: {
    $case: "leaseRevoked",
    value: { leaseId: "0-7-41", taskId: TASK_ID, reason: "expired" },
  },
  hostDeclaredLost: {
    $case: "hostDeclaredLost",
    value: { hostId: "parent-1", lastHeardAtMs: SENT_AT_MS },
  },
  taskRetired: {
    $case: "taskRetired",
    value: { taskId: TASK_ID, reason: "poisoned" },
  },
};

const assignmentSamples: Samples<KindOf<Assignment>> = {
  lease: {
    $case: "lease",
    value: {
      leaseId: "0-7-41",
      taskId: TASK_ID,
      parentHostId: "parent-1",
      parentAddress: "10.0.0.7:65002",
      pieces: [{ start: 1, count: 2 }],
      open: true,
      pieceDigests: new Uint8Array(64).fill(0xcd),
      lengthBytes: 2 ** 33 + 1,
      pieceLengthBytes: 2 ** 26,
      durationMs: 30_000,
      reason: "least loaded of 3 holders",
      token: "Y2xhaW1z.bWFj",
      traceparent: TRACEPARENT,
      requestId: "request-1",
      task: {
        url: "https://lfs.test/objects/1",
        sharingDomain: "lfs.test",
        anchor: ANCHOR,
        etag: '"v1"',
        contentType: "application/octet-stream",
        tag: "nightly",
        application: "git-lfs",
        priority: 3,
      },
      delegateTo: { hostId: "seed-1", transferAddress: "10.0.0.9:65002" },
      ahead: false,
    },
  },
  pending: {
    $case: "pending",
    value: {
      taskId: TASK_ID,
      requestId: "request-1",
      nextByMs: 5000,
      reason: "no free holder",
      lengthBytes: 0,
    },
  },
  leaseEnd: {
    $case: "leaseEnd",
    value: { leaseId: "0-7-41", taskId: TASK_ID, reason: "host_lost" },
  },
  receipts: { $case: "receipts", value: { downloadIds: ["request-1", "request-2"] } },
  recheck: { $case: "recheck", value: { taskId: TASK_ID, pieceIndexes: [3, 4] } },
  dropTask: { $case: "dropTask", value: { taskId: TASK_ID, reason: "poisoned", lengthBytes: 0 } },
  announceFull: { $case: "announceFull", value: { reason: "gap in the events" } },
  pieceDigests: {
    $case: "pieceDigests",
    value: {
      taskId: TASK_ID,
      pieces: [{ start: 5, count: 2 }],
      digests: new Uint8Array(64).fill(0xef),
    },
  },
};

const hostId = required(parseHostId("host-1"));
if (sliceOf(required(parseTaskId(TASK_ID))) !== TASK_SLICE)
  throw new Error("the task's slice moved");

/** By format and version, then by kind: the folders and files of `fixtures/`. */
export const SAMPLES = {
  "events-v1": mapValues(
    { ...eventSamples, ...laterEventSamples },
    (kind): Sample<EventMessage> => {
      const isOfHost = kind.$case === "hostAnnounced" || kind.$case === "hostLeft";
      return {
        subject: isOfHost ? hostSubject(hostId) : eventsSubject(TASK_SLICE, hostId),
        message: {
          version: 1,
          hostId,
          bootId: "boot-1",
          sequence: 42,
          sentAtMs: SENT_AT_MS,
          events: [{ traceparent: TRACEPARENT, kind }],
        },
      };
    },
  ),
  "decisions-v1": mapValues(decisionSamples, (kind): Sample<DecisionMessage> => ({
    subject: decisionsSubject(TASK_SLICE),
    message: {
      version: 1,
      slice: TASK_SLICE,
      epoch: EPOCH,
      eventsSequence: 2 ** 40,
      decidedAtMs: SENT_AT_MS,
      decisions: [{ kind }],
    },
  })),
  "assignments-v1": mapValues(assignmentSamples, (kind): Sample<AssignmentMessage> => ({
    subject: assignmentsSubject(hostId),
    message: { version: 1, slice: HOST_SLICE, epoch: EPOCH, assignments: [{ kind }] },
  })),
} as const;

function mapValues<In, Out>(
  record: Readonly<Record<string, In>>,
  map: (value: In) => Out,
): Readonly<Record<string, Out>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("a sample's id is malformed");
  return value;
}
