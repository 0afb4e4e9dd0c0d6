import { checkpoints } from "@lacewing/migrations/tables/ownership.ts";
import { hosts, leases, peers, tasks } from "@lacewing/migrations/tables/graph.ts";
import { and, asc, eq, inArray, ne } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
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

/** Reads everything a scheduler starts from; the client is in a transaction that sees one moment. */
export async function loadSnapshot(client: PoolClient): Promise<ProjectionSnapshot> {
  const db = drizzle(client);
  const openTasks = db.select({ id: tasks.taskId }).from(tasks).where(ne(tasks.state, "retired"));
  const hostRows = await db.select().from(hosts).orderBy(asc(hosts.hostId));
  const taskRows = await db
    .select()
    .from(tasks)
    .where(ne(tasks.state, "retired"))
    .orderBy(asc(tasks.taskId));
  const peerRows = await db
    .select()
    .from(peers)
    .where(inArray(peers.taskId, openTasks))
    .orderBy(asc(peers.taskId), asc(peers.hostId));
  const leaseRows = await db
    .select()
    .from(leases)
    .where(and(eq(leases.outcome, "live"), inArray(leases.taskId, openTasks)))
    .orderBy(asc(leases.leaseId));
  const checkpointRows = await db.select().from(checkpoints).orderBy(asc(checkpoints.slice));
  return {
    hosts: hostRows.map(hostOf),
    tasks: taskRows.map(taskOf),
    peers: peerRows.map(peerOf),
    liveLeases: leaseRows.map(leaseOf),
    checkpoints: checkpointRows.map(checkpointOf),
  };
}

function hostOf(row: typeof hosts.$inferSelect): HostRow {
  const { announcedAt, updatedAt: _, ...same } = row;
  return { ...same, announcedAtMs: announcedAt.getTime() };
}

function taskOf(row: typeof tasks.$inferSelect): TaskRow {
  const { createdAt, updatedAt: _, lengthBytes, pieceLengthBytes, pieceDigests, ...same } = row;
  return {
    ...same,
    lengthBytes: lengthBytes ?? undefined,
    pieceLengthBytes: pieceLengthBytes ?? undefined,
    pieceDigests: new Uint8Array(pieceDigests),
    createdAtMs: createdAt.getTime(),
  };
}

function peerOf(row: typeof peers.$inferSelect): PeerRow {
  const { updatedAt: _, bitmap, requests, ...same } = row;
  return { ...same, bitmap: new Uint8Array(bitmap), requests: liveRequests.parse(requests) };
}

function leaseOf(row: typeof leases.$inferSelect): LeaseRow {
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
