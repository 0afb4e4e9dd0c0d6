import { checkpoints } from "@lacewing/migrations/tables/ownership.ts";
import { hosts, leases, peers, tasks } from "@lacewing/migrations/tables/graph.ts";
import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import { and, asc, desc, eq, getTableColumns, gt, isNull, ne, sql } from "drizzle-orm";
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import type { PoolClient } from "pg";
import { z } from "zod";
import type {
  CheckpointRow,
  HostRow,
  LeaseRow,
  PeerRow,
  ProjectionSnapshot,
  TaskRow,
} from "../../app/ports.ts";

const liveRequests = z.array(
  z.object({
    requestId: z.string(),
    wantedStart: z.number(),
    wantedEnd: z.number(),
    canReadOrigin: z.boolean(),
    traceparent: z.string(),
  }),
);

/** Rows of one statement: none comes near the time that a statement is given, however much is remembered. */
const PAGE_ROWS_MAX = 5_000;
/** Likewise of tasks, whose digests may have megabytes. */
const TASK_PAGE_ROWS_MAX = 250;
/**
 * Retired tasks that are loaded, newest first: enough to tell hosts that come back with a poisoned copy to drop it. What is older is
 * told apart when it is asked for again.
 */
const RETIRED_TASKS_MAX = 10_000;

/** Reads everything a scheduler starts from, page by page; the client is in a transaction that sees one moment. */
export async function loadSnapshot(client: PoolClient): Promise<ProjectionSnapshot> {
  const db = drizzle(client);
  const taskRows = [...(await liveTasks(db)), ...(await retiredTasks(db))];
  const taskIds = new Set(taskRows.map((row) => row.taskId));
  const isLoaded = (row: { readonly taskId: string }) => taskIds.has(row.taskId);
  const checkpointRows = await db.select().from(checkpoints).orderBy(asc(checkpoints.slice));
  return {
    hosts: await allHosts(db),
    tasks: taskRows,
    peers: (await allPeers(db)).filter(isLoaded),
    liveLeases: (await allLiveLeases(db)).filter(isLoaded),
    checkpoints: checkpointRows.map(checkpointOf),
  };
}

type Database = NodePgDatabase;

function liveTasks(db: Database): Promise<readonly TaskRow[]> {
  return pages(TASK_PAGE_ROWS_MAX, async (last?: TaskRow) => {
    const isLive = and(isNull(tasks.forgottenAt), ne(tasks.state, "retired"));
    const rows = await db
      .select()
      .from(tasks)
      .where(last === undefined ? isLive : and(isLive, gt(tasks.taskId, last.taskId)))
      .orderBy(asc(tasks.taskId))
      .limit(TASK_PAGE_ROWS_MAX);
    return rows.map(taskOf);
  });
}

/** Without their digests. */
async function retiredTasks(db: Database): Promise<readonly TaskRow[]> {
  const { pieceDigests: _, ...columns } = getTableColumns(tasks);
  const rows = await db
    .select(columns)
    .from(tasks)
    .where(and(isNull(tasks.forgottenAt), eq(tasks.state, "retired")))
    .orderBy(desc(tasks.updatedAt))
    .limit(RETIRED_TASKS_MAX);
  return rows.map((row) => taskOf({ ...row, pieceDigests: Buffer.alloc(0) }));
}

function allHosts(db: Database): Promise<readonly HostRow[]> {
  return pages(PAGE_ROWS_MAX, async (last?: HostRow) => {
    const isRemembered = isNull(hosts.forgottenAt);
    const rows = await db
      .select()
      .from(hosts)
      .where(last === undefined ? isRemembered : and(isRemembered, gt(hosts.hostId, last.hostId)))
      .orderBy(asc(hosts.hostId))
      .limit(PAGE_ROWS_MAX);
    return rows.map(hostOf);
  });
}

function allPeers(db: Database): Promise<readonly PeerRow[]> {
  return pages(PAGE_ROWS_MAX, async (last?: PeerRow) => {
    const rows = await db
      .select()
      .from(peers)
      .where(
        last &&
          sql`(${peers.taskId}, ${peers.hostId}) > (${last.taskId}::text, ${last.hostId}::text)`,
      )
      .orderBy(asc(peers.taskId), asc(peers.hostId))
      .limit(PAGE_ROWS_MAX);
    return rows.map(peerOf);
  });
}

/** Slice by slice, as their index has them. */
async function allLiveLeases(db: Database): Promise<readonly LeaseRow[]> {
  const all: LeaseRow[] = [];
  for (let slice = 0; slice < SLICE_COUNT; slice++) {
    const rows = await db
      .select()
      .from(leases)
      .where(and(eq(leases.outcome, "live"), eq(leases.slice, slice)))
      .orderBy(asc(leases.leaseId));
    for (const row of rows) all.push(leaseOf(row));
  }
  return all;
}

/** All rows, page after page, until one is not full. */
async function pages<Row>(
  pageRowsMax: number,
  pageAfter: (last?: Row) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  const all: Row[] = [];
  for (;;) {
    const page = await pageAfter(all.at(-1));
    for (const row of page) all.push(row);
    if (page.length < pageRowsMax) return all;
  }
}

export function hostOf(row: typeof hosts.$inferSelect): HostRow {
  const { announcedAt, updatedAt: _, forgottenAt: __, ...same } = row;
  return { ...same, announcedAtMs: announcedAt.getTime() };
}

function taskOf(row: typeof tasks.$inferSelect): TaskRow {
  const { createdAt, updatedAt: _, forgottenAt: __, ...known } = row;
  const { lengthBytes, pieceLengthBytes, pieceDigests, ...same } = known;
  return {
    ...same,
    lengthBytes: lengthBytes ?? undefined,
    pieceLengthBytes: pieceLengthBytes ?? undefined,
    pieceDigests: new Uint8Array(pieceDigests),
    createdAtMs: createdAt.getTime(),
  };
}

export function peerOf(row: typeof peers.$inferSelect): PeerRow {
  const { updatedAt: _, bitmap, requests, ...same } = row;
  return { ...same, bitmap: new Uint8Array(bitmap), requests: liveRequests.parse(requests) };
}

export function leaseOf(row: typeof leases.$inferSelect): LeaseRow {
  const { grantedAt, endedAt, parentHostId, ...same } = row;
  return {
    ...same,
    parentHostId: parentHostId ?? "",
    grantedAtMs: grantedAt.getTime(),
    endedAtMs: endedAt?.getTime(),
  };
}

function checkpointOf(row: typeof checkpoints.$inferSelect): CheckpointRow {
  const { updatedAt: _, ...same } = row;
  return same;
}
