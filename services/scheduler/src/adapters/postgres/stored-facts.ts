import { downloads } from "@lacewing/migrations/tables/facts.ts";
import { hosts, leases, peers, tasks } from "@lacewing/migrations/tables/graph.ts";
import {
  and,
  asc,
  desc,
  eq,
  gt,
  gte,
  inArray,
  isNull,
  like,
  lte,
  or,
  sql,
  type SQL,
} from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import type pg from "pg";
import type {
  DownloadSpan,
  LeaseSums,
  Page,
  PeerFacts,
  PeerSums,
  StoredFacts,
  TaskFacts,
} from "../../app/explain/ports.ts";
import type { DownloadRow, HostRow, LeaseRow, TaskRow } from "../../app/ports.ts";
import { hostOf, leaseOf, peerOf } from "./load-snapshot.ts";
import { toPortError } from "./postgres-error.ts";

/** Every column but the digests: megabytes that no answer shows. */
const TASK_COLUMNS = {
  taskId: tasks.taskId,
  slice: tasks.slice,
  url: tasks.url,
  sharingDomain: tasks.sharingDomain,
  anchor: tasks.anchor,
  tag: tasks.tag,
  application: tasks.application,
  priority: tasks.priority,
  lengthBytes: tasks.lengthBytes,
  pieceLengthBytes: tasks.pieceLengthBytes,
  etag: tasks.etag,
  contentType: tasks.contentType,
  state: tasks.state,
  retiredReason: tasks.retiredReason,
  createdAt: tasks.createdAt,
  forgottenAt: tasks.forgottenAt,
};

/** Outcomes of leases that are no failure. */
const GOOD_OUTCOMES = ["live", "finished", "unwanted", "shared"] as const;

/** Of a peer's host: nobody can read from it. */
const IS_GONE = sql<boolean>`${hosts.state} is distinct from 'alive'`;

const NO_PEERS: PeerSums = {
  peerCount: 0,
  completePeerCount: 0,
  holderCount: 0,
  gonePeerCount: 0,
  goneCompletePeerCount: 0,
  goneHolderCount: 0,
};

/** The projection's rows, read for people. Has a pool of its own, so that questions never hold up a flush. */
export class PostgresStoredFacts implements StoredFacts {
  readonly #db: ReturnType<typeof drizzle>;

  constructor(pool: pg.Pool) {
    this.#db = drizzle(pool);
  }

  async lease(leaseId: string): Promise<LeaseRow | undefined> {
    const rows = await asked("lease", () =>
      this.#db.select().from(leases).where(eq(leases.leaseId, leaseId)),
    );
    return rows.map(leaseOf)[0];
  }

  async leasesOfTask(taskId: string, limit: number): Promise<readonly LeaseRow[]> {
    const rows = await asked("leases of a task", () =>
      this.#db
        .select()
        .from(leases)
        .where(eq(leases.taskId, taskId))
        .orderBy(desc(leases.grantedAt), desc(leases.leaseId))
        .limit(limit),
    );
    return rows.map(leaseOf).toReversed();
  }

  async leaseSums(taskId: string): Promise<LeaseSums> {
    const isOrigin = isNull(leases.parentHostId);
    const bytesWhere = (condition: ReturnType<typeof sql>) =>
      sql<number>`coalesce(sum(${leases.bytes}) filter (where ${condition}), 0)`.mapWith(Number);
    const rows = await asked("sums of leases", () =>
      this.#db
        .select({
          leaseCount: sql<number>`count(*)`.mapWith(Number),
          failedLeaseCount:
            sql<number>`count(*) filter (where not ${inArray(leases.outcome, [...GOOD_OUTCOMES])})`.mapWith(
              Number,
            ),
          remotePeerBytes: bytesWhere(sql`not (${isOrigin})`),
          backToSourceBytes: bytesWhere(sql`${isOrigin}`),
        })
        .from(leases)
        .where(eq(leases.taskId, taskId)),
    );
    return (
      rows[0] ?? { leaseCount: 0, failedLeaseCount: 0, remotePeerBytes: 0, backToSourceBytes: 0 }
    );
  }

  async leasesOfDownload(span: DownloadSpan, limit: number): Promise<readonly LeaseRow[]> {
    const from = new Date(span.fromMs);
    const to = new Date(span.toMs);
    const overlaps = and(
      lte(leases.grantedAt, to),
      or(isNull(leases.endedAt), gte(leases.endedAt, from)),
    );
    const rows = await asked("leases of a download", () =>
      this.#db
        .select()
        .from(leases)
        .where(
          and(
            eq(leases.taskId, span.taskId),
            eq(leases.childHostId, span.hostId),
            or(eq(leases.requestId, span.downloadId), overlaps),
          ),
        )
        .orderBy(asc(leases.grantedAt), asc(leases.leaseId))
        .limit(limit),
    );
    return rows.map(leaseOf);
  }

  async task(taskId: string): Promise<TaskFacts | undefined> {
    const rows = await asked("task", () =>
      this.#db.select(TASK_COLUMNS).from(tasks).where(eq(tasks.taskId, taskId)),
    );
    return rows.map(taskOf)[0];
  }

  async tasksLike(digits: string, limit: number): Promise<readonly TaskFacts[]> {
    const rows = await asked("tasks by their first digits", () =>
      this.#db
        .select(TASK_COLUMNS)
        .from(tasks)
        .where(or(like(tasks.taskId, `${digits}%`), like(tasks.anchor, `sha256:${digits}%`)))
        .orderBy(asc(tasks.taskId))
        .limit(limit),
    );
    return rows.map(taskOf);
  }

  async tasksOfUrl(urlWithoutQuery: string, limit: number): Promise<readonly TaskFacts[]> {
    const rows = await asked("tasks of a URL", () =>
      this.#db
        .select(TASK_COLUMNS)
        .from(tasks)
        .where(eq(sql`split_part(${tasks.url}, '?', 1)`, urlWithoutQuery))
        .orderBy(desc(tasks.createdAt), desc(tasks.taskId))
        .limit(limit),
    );
    return rows.map(taskOf);
  }

  async download(downloadId: string): Promise<DownloadRow | undefined> {
    const rows = await asked("download", () =>
      this.#db.select().from(downloads).where(eq(downloads.downloadId, downloadId)).limit(1),
    );
    return rows.map(downloadOf)[0];
  }

  async downloadsOfTrace(traceId: string, limit: number): Promise<readonly DownloadRow[]> {
    const rows = await asked("downloads of a trace", () =>
      this.#db
        .select()
        .from(downloads)
        .where(eq(downloads.traceId, traceId))
        .orderBy(asc(downloads.startedAt), asc(downloads.downloadId))
        .limit(limit),
    );
    return rows.map(downloadOf);
  }

  async downloadsOfTask(taskId: string, limit: number): Promise<readonly DownloadRow[]> {
    const rows = await asked("downloads of a task", () =>
      this.#db
        .select()
        .from(downloads)
        .where(eq(downloads.taskId, taskId))
        .orderBy(desc(downloads.startedAt), desc(downloads.downloadId))
        .limit(limit),
    );
    return rows.map(downloadOf).toReversed();
  }

  async hostsNamed(hostIds: readonly string[]): Promise<readonly HostRow[]> {
    if (hostIds.length === 0) return [];
    const rows = await asked("hosts", () =>
      this.#db
        .select()
        .from(hosts)
        .where(inArray(hosts.hostId, [...hostIds])),
    );
    return rows.map(hostOf);
  }

  async hosts({ after, limit }: Page): Promise<readonly HostRow[]> {
    const rows = await asked("hosts", () =>
      this.#db
        .select()
        .from(hosts)
        .where(gt(hosts.hostId, after))
        .orderBy(asc(hosts.hostId))
        .limit(limit),
    );
    return rows.map(hostOf);
  }

  async tasks(
    { after, limit }: Page,
    state: TaskRow["state"] | undefined,
  ): Promise<readonly TaskFacts[]> {
    const isWanted = state === undefined ? undefined : eq(tasks.state, state);
    const rows = await asked("tasks", () =>
      this.#db
        .select(TASK_COLUMNS)
        .from(tasks)
        .where(and(gt(tasks.taskId, after), isWanted))
        .orderBy(asc(tasks.taskId))
        .limit(limit),
    );
    return rows.map(taskOf);
  }

  async peers(taskId: string, { after, limit }: Page): Promise<readonly PeerFacts[]> {
    const rows = await asked("peers of a task", () =>
      this.#db
        .select({ peer: peers, isGone: IS_GONE })
        .from(peers)
        .leftJoin(hosts, eq(hosts.hostId, peers.hostId))
        .where(and(eq(peers.taskId, taskId), gt(peers.hostId, after)))
        .orderBy(asc(peers.hostId))
        .limit(limit),
    );
    return rows.map(({ peer, isGone }) => ({ ...peerOf(peer), isGone }));
  }

  async peerSums(taskId: string, pieceCount: number): Promise<PeerSums> {
    const isHolder = gt(peers.heldPieceCount, 0);
    const isComplete = and(isHolder, gte(peers.heldPieceCount, pieceCount));
    const countWhere = (condition: SQL | undefined) =>
      sql<number>`count(*) filter (where ${condition})`.mapWith(Number);
    const rows = await asked("sums of peers", () =>
      this.#db
        .select({
          peerCount: sql<number>`count(*)`.mapWith(Number),
          completePeerCount: countWhere(isComplete),
          holderCount: countWhere(isHolder),
          gonePeerCount: countWhere(IS_GONE),
          goneCompletePeerCount: countWhere(and(isComplete, IS_GONE)),
          goneHolderCount: countWhere(and(isHolder, IS_GONE)),
        })
        .from(peers)
        .leftJoin(hosts, eq(hosts.hostId, peers.hostId))
        .where(eq(peers.taskId, taskId)),
    );
    return rows[0] ?? NO_PEERS;
  }
}

/** @throws {PortError} whatever the driver threw. */
async function asked<Result>(what: string, ask: () => PromiseLike<Result>): Promise<Result> {
  try {
    return await ask();
  } catch (error) {
    throw toPortError(error, what);
  }
}

type TaskColumns = Omit<typeof tasks.$inferSelect, "pieceDigests" | "updatedAt">;

function taskOf(row: TaskColumns): TaskFacts {
  const { createdAt, forgottenAt, lengthBytes, pieceLengthBytes, ...same } = row;
  return {
    ...same,
    lengthBytes: lengthBytes ?? undefined,
    pieceLengthBytes: pieceLengthBytes ?? undefined,
    createdAtMs: createdAt.getTime(),
    forgottenAtMs: forgottenAt?.getTime(),
  };
}

function downloadOf(row: typeof downloads.$inferSelect): DownloadRow {
  const { hostId, taskId, startedAt, byteRange, traffic: _, ...rest } = row;
  const {
    fetchedRemotePeerBytes,
    fetchedBackToSourceBytes,
    deliveredLocalPeerBytes,
    deliveredRemotePeerBytes,
    deliveredBackToSourceBytes,
    ...same
  } = rest;
  return {
    hostId,
    download: {
      ...same,
      taskId: taskId ?? "",
      startedAtMs: startedAt.getTime(),
      range: byteRange,
      fetched: {
        localPeer: 0,
        remotePeer: fetchedRemotePeerBytes,
        backToSource: fetchedBackToSourceBytes,
      },
      delivered: {
        localPeer: deliveredLocalPeerBytes,
        remotePeer: deliveredRemotePeerBytes,
        backToSource: deliveredBackToSourceBytes,
      },
    },
  };
}
