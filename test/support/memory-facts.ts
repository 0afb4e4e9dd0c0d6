import { PortError } from "@lacewing/runtime/errors.ts";
import type {
  DownloadSpan,
  LeaseSums,
  Page,
  PeerFacts,
  PeerSums,
  StoredFacts,
  TaskFacts,
} from "@lacewing/scheduler/app/explain/ports.ts";
import type {
  DownloadRow,
  HostRow,
  LeaseRow,
  PeerRow,
  TaskRow,
} from "@lacewing/scheduler/app/ports.ts";
import type { MemoryProjection } from "./memory-projection.ts";

const GOOD_OUTCOMES: ReadonlySet<string> = new Set(["live", "finished", "unwanted", "shared"]);

/** The in-memory twin of the rows that explaining reads. */
export class MemoryFacts implements StoredFacts {
  /** While set, every question fails as when the database is away. */
  isAway = false;
  readonly #rows: MemoryProjection;

  constructor(rows: MemoryProjection) {
    this.#rows = rows;
  }

  lease(leaseId: string): Promise<LeaseRow | undefined> {
    return this.#answer(() => this.#rows.leases.get(leaseId));
  }

  leasesOfTask(taskId: string, limit: number): Promise<readonly LeaseRow[]> {
    return this.#answer(() => this.#leases((lease) => lease.taskId === taskId).slice(-limit));
  }

  leaseSums(taskId: string): Promise<LeaseSums> {
    return this.#answer(() => {
      const leases = this.#leases((lease) => lease.taskId === taskId);
      const bytesOf = (isOrigin: boolean) =>
        leases
          .filter((lease) => (lease.parentHostId === "") === isOrigin)
          .reduce((sum, lease) => sum + lease.bytes, 0);
      return {
        leaseCount: leases.length,
        failedLeaseCount: leases.filter((lease) => !GOOD_OUTCOMES.has(lease.outcome)).length,
        remotePeerBytes: bytesOf(false),
        backToSourceBytes: bytesOf(true),
      };
    });
  }

  leasesOfDownload(span: DownloadSpan, limit: number): Promise<readonly LeaseRow[]> {
    return this.#answer(() =>
      this.#leases(
        (lease) =>
          lease.taskId === span.taskId &&
          lease.childHostId === span.hostId &&
          (lease.requestId === span.downloadId ||
            (lease.grantedAtMs <= span.toMs && (lease.endedAtMs ?? Infinity) >= span.fromMs)),
      ).slice(0, limit),
    );
  }

  task(taskId: string): Promise<TaskFacts | undefined> {
    return this.#answer(() => {
      const row = this.#rows.tasks.get(taskId);
      return row === undefined ? undefined : factsOf(row);
    });
  }

  tasksLike(digits: string, limit: number): Promise<readonly TaskFacts[]> {
    return this.#answer(() =>
      inKeyOrder(this.#rows.tasks)
        .filter((row) => row.taskId.startsWith(digits) || row.anchor.startsWith(`sha256:${digits}`))
        .slice(0, limit)
        .map(factsOf),
    );
  }

  tasksOfUrl(urlWithoutQuery: string, limit: number): Promise<readonly TaskFacts[]> {
    return this.#answer(() =>
      inKeyOrder(this.#rows.tasks)
        .filter((row) => row.url.split("?", 1)[0] === urlWithoutQuery)
        .toSorted((a, b) => b.createdAtMs - a.createdAtMs)
        .slice(0, limit)
        .map(factsOf),
    );
  }

  download(downloadId: string): Promise<DownloadRow | undefined> {
    return this.#answer(() => this.#rows.downloads.get(downloadId));
  }

  downloadsOfTrace(traceId: string, limit: number): Promise<readonly DownloadRow[]> {
    return this.#answer(() =>
      this.#downloads((row) => row.download.traceId === traceId).slice(0, limit),
    );
  }

  downloadsOfTask(taskId: string, limit: number): Promise<readonly DownloadRow[]> {
    return this.#answer(() =>
      this.#downloads((row) => row.download.taskId === taskId).slice(-limit),
    );
  }

  hostsNamed(hostIds: readonly string[]): Promise<readonly HostRow[]> {
    return this.#answer(() => hostIds.flatMap((hostId) => this.#rows.hosts.get(hostId) ?? []));
  }

  hosts({ after, limit }: Page): Promise<readonly HostRow[]> {
    return this.#answer(() =>
      inKeyOrder(this.#rows.hosts)
        .filter((row) => row.hostId > after)
        .slice(0, limit),
    );
  }

  tasks(
    { after, limit }: Page,
    state: TaskRow["state"] | undefined,
  ): Promise<readonly TaskFacts[]> {
    return this.#answer(() =>
      inKeyOrder(this.#rows.tasks)
        .filter((row) => row.taskId > after && (state === undefined || row.state === state))
        .slice(0, limit)
        .map(factsOf),
    );
  }

  peers(taskId: string, { after, limit }: Page): Promise<readonly PeerFacts[]> {
    return this.#answer(() =>
      inKeyOrder(this.#rows.peers)
        .filter((row) => row.taskId === taskId && row.hostId > after)
        .slice(0, limit)
        .map((row) => ({ ...row, isGone: this.#isGone(row) })),
    );
  }

  peerSums(taskId: string, pieceCount: number): Promise<PeerSums> {
    return this.#answer(() => {
      const peers = [...this.#rows.peers.values()].filter((row) => row.taskId === taskId);
      const holders = peers.filter((row) => row.heldPieceCount > 0);
      const complete = holders.filter((row) => row.heldPieceCount >= pieceCount);
      const isGone = (row: PeerRow) => this.#isGone(row);
      return {
        peerCount: peers.length,
        completePeerCount: complete.length,
        holderCount: holders.length,
        gonePeerCount: peers.filter(isGone).length,
        goneCompletePeerCount: complete.filter(isGone).length,
        goneHolderCount: holders.filter(isGone).length,
      };
    });
  }

  #isGone({ hostId }: PeerRow): boolean {
    return this.#rows.hosts.get(hostId)?.state !== "alive";
  }

  #leases(isWanted: (lease: LeaseRow) => boolean): readonly LeaseRow[] {
    return inKeyOrder(this.#rows.leases)
      .filter(isWanted)
      .toSorted((a, b) => a.grantedAtMs - b.grantedAtMs);
  }

  #downloads(isWanted: (row: DownloadRow) => boolean): readonly DownloadRow[] {
    return inKeyOrder(this.#rows.downloads)
      .filter(isWanted)
      .toSorted((a, b) => a.download.startedAtMs - b.download.startedAtMs);
  }

  #answer<Result>(read: () => Result): Promise<Result> {
    return this.isAway
      ? Promise.reject(
          new PortError("database_unavailable", "the database is away", { retryable: true }),
        )
      : Promise.resolve(read());
  }
}

function factsOf(row: TaskRow): TaskFacts {
  const { pieceDigests: _, ...facts } = row;
  return facts;
}

function inKeyOrder<Row>(rows: ReadonlyMap<string, Row>): readonly Row[] {
  return [...rows].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
}
