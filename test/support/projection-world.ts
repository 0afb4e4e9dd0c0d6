import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import {
  DEFAULT_RETENTION,
  type Retention,
} from "@lacewing/scheduler/adapters/postgres/housekeeping.ts";
import { createPool } from "@lacewing/scheduler/adapters/postgres/pool.ts";
import { PostgresProjectionStore } from "@lacewing/scheduler/adapters/postgres/projection-store.ts";
import { PostgresSliceOwnership } from "@lacewing/scheduler/adapters/postgres/slice-ownership.ts";
import type {
  CheckpointRow,
  HostRow,
  LeaseRow,
  PeerRow,
  ProjectionBatch,
  TaskRow,
} from "@lacewing/scheduler/app/ports.ts";
import { z } from "zod";
import type { TestPostgres } from "./postgres.ts";
import { connectSql } from "./sql.ts";

export const TASK_ID = "05".repeat(32);
export const SLICE = 5;
/** Recent: the view of slow downloads looks back a day. */
export const STARTED_AT_MS = Date.now() - 60_000;

/** A migrated database of its own with a scheduler's adapters on it. */
export async function startProjectionWorld(
  postgres: TestPostgres,
  retention: Retention = DEFAULT_RETENTION,
) {
  const url = await postgres.createMigratedDatabase();
  const log = createMemoryLog();
  const pool = createPool(url, { applicationName: "projection-test", log });
  const stores: PostgresProjectionStore[] = [];
  const makeStore = () => {
    const store = new PostgresProjectionStore({ pool, clock: systemClock, log, retention });
    stores.push(store);
    return store;
  };
  const sql = await connectSql(url);
  const totals = z.object({
    rows: z.coerce.number(),
    requests: z.coerce.number(),
    delivered: z.coerce.number(),
    origin: z.coerce.number(),
  });
  return {
    log,
    store: makeStore(),
    another: makeStore,
    ownership: new PostgresSliceOwnership(pool),
    rows: async <Schema extends z.ZodType>(schema: Schema, text: string) => sql.rows(schema, text),
    totals: async () => {
      const [row] = await sql.rows(
        totals,
        `SELECT (SELECT count(*) FROM downloads) AS rows, sum(request_count) AS requests,
           sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes) AS delivered,
           sum(fetched_back_to_source_bytes) AS origin FROM traffic_minute`,
      );
      return totals.parse(row);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(stores.map((store) => store.close()));
      await sql[Symbol.asyncDispose]();
      await pool.end();
    },
  };
}

export const host: HostRow = {
  hostId: "host-1",
  bootId: "boot-1",
  kind: "seed",
  transferAddress: "127.0.0.1:7000",
  idc: "east",
  location: "eu|r1",
  uploadSlots: 8,
  freeBytes: 2 ** 45,
  quotaBytes: 2 ** 40,
  state: "alive",
  announcedAtMs: 1_700_000_000_123,
};

export const task: TaskRow = {
  taskId: TASK_ID,
  slice: SLICE,
  url: "http://origin/ünïcode",
  sharingDomain: "origin",
  anchor: `sha256:${"a".repeat(64)}`,
  tag: "t",
  application: "lfs",
  priority: 3,
  lengthBytes: 1_000,
  pieceLengthBytes: 500,
  etag: '"x"',
  contentType: "application/octet-stream",
  pieceDigests: new Uint8Array(64).fill(200),
  state: "active",
  retiredReason: "",
  createdAtMs: 1_700_000_000_999,
};

export const peer: PeerRow = {
  taskId: TASK_ID,
  hostId: host.hostId,
  slice: SLICE,
  incarnation: 4,
  bitmap: new Uint8Array([3]),
  heldPieceCount: 2,
  isVerified: true,
  requests: [
    { requestId: "r-1", wantedStart: 0, wantedEnd: 2 ** 40, canReadOrigin: true, traceparent: "" },
  ],
  isSeeding: true,
  isApart: false,
};

export const lease: LeaseRow = {
  leaseId: "5-1-1",
  taskId: TASK_ID,
  slice: SLICE,
  epoch: 1,
  childHostId: host.hostId,
  parentHostId: "",
  pieces: "0:2",
  pieceCount: 2,
  isOpen: false,
  requestId: "r-1",
  reason: "nobody_holds",
  candidateCount: 0,
  grantedAtMs: 1_700_000_001_001,
  durationMs: 5_000,
  traceparent: "",
  outcome: "live",
  endedAtMs: undefined,
  bytes: 0,
  transferMs: 0,
};

export function download(
  downloadId: string,
  change: Partial<DownloadFinished> = {},
): DownloadFinished {
  return {
    downloadId,
    taskId: TASK_ID,
    url: "http://origin/file",
    method: "GET",
    tag: "t",
    application: "lfs",
    priority: 0,
    startedAtMs: STARTED_AT_MS,
    ttfbMs: 5,
    costMs: 50,
    outcome: "finished",
    httpStatus: 200,
    fetched: { localPeer: 0, remotePeer: 600, backToSource: 400 },
    delivered: { localPeer: 0, remotePeer: 600, backToSource: 400 },
    probeBytes: 1,
    contentLengthBytes: 1_000,
    range: "",
    degraded: false,
    traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
    error: "",
    requestCount: 1,
    ...change,
  };
}

export function emptyCheckpoint(slice: number): CheckpointRow {
  return { slice, epoch: 0, eventsSequence: 0, decisionsSequence: 0, lastMessageId: "" };
}

export function checkpointAt(eventsSequence: number): CheckpointRow {
  return {
    slice: SLICE,
    epoch: 1,
    eventsSequence,
    decisionsSequence: 2 ** 40,
    lastMessageId: `host-1:boot-1:${eventsSequence}`,
  };
}

export function emptyBatch(): ProjectionBatch {
  return {
    hosts: [],
    tasks: [],
    peers: [],
    removedPeers: [],
    forgottenTaskIds: [],
    forgottenHostIds: [],
    leases: [],
    lateBytes: [],
    downloads: [],
    deadLetters: [],
    checkpoints: [],
  };
}

export function wholeBatch(): ProjectionBatch {
  return {
    ...emptyBatch(),
    hosts: [host],
    tasks: [task],
    peers: [peer],
    leases: [lease],
    downloads: [{ hostId: host.hostId, download: download("d-1") }],
    checkpoints: [{ before: emptyCheckpoint(SLICE), after: checkpointAt(10) }],
  };
}
