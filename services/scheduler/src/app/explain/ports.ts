import type { Wait } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import type {
  DownloadRow,
  HostRow,
  LeaseRow,
  PeerRow,
  StoredDecisions,
  StoredEvents,
  TaskRow,
} from "../ports.ts";

/** What explaining needs from the world. All of it reads only. */

/** A task without its piece digests, which may be megabytes and explain nothing. */
export type TaskFacts = Omit<TaskRow, "pieceDigests"> & {
  /** Since when nobody holds or wants it. */
  readonly forgottenAtMs?: number | undefined;
};

/** A peer, and whether its host is not known to be alive. */
export type PeerFacts = PeerRow & { readonly isGone: boolean };

/** Rows of one page, in the order of their key. */
export interface Page {
  /** The key of the last row before; empty for the first page. */
  readonly after: string;
  readonly limit: number;
}

export interface LeaseSums {
  readonly leaseCount: number;
  readonly failedLeaseCount: number;
  readonly remotePeerBytes: number;
  readonly backToSourceBytes: number;
}

export interface PeerSums {
  readonly peerCount: number;
  /** Peers that hold as many pieces as the task has. */
  readonly completePeerCount: number;
  /** Peers that hold pieces. */
  readonly holderCount: number;
  /** Of each, those whose host is not known to be alive: nobody can read from them. */
  readonly gonePeerCount: number;
  readonly goneCompletePeerCount: number;
  readonly goneHolderCount: number;
}

/** The leases that may have fed a download: granted for it, or to its host while it ran. */
export interface DownloadSpan {
  readonly downloadId: string;
  readonly taskId: string;
  readonly hostId: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * The facts that outlive schedulers, as the projection keeps them.
 *
 * Each method throws a retryable {@link PortError} when the database does not answer.
 */
export interface StoredFacts {
  lease(leaseId: string): Promise<LeaseRow | undefined>;
  /** The newest leases of a task, in the order of their grants. */
  leasesOfTask(taskId: string, limit: number): Promise<readonly LeaseRow[]>;
  leaseSums(taskId: string): Promise<LeaseSums>;
  /** The first leases of a download, in the order of their grants. */
  leasesOfDownload(span: DownloadSpan, limit: number): Promise<readonly LeaseRow[]>;
  task(taskId: string): Promise<TaskFacts | undefined>;
  /** Tasks whose id, or the hex digits of whose anchor, begin with these digits. */
  tasksLike(digits: string, limit: number): Promise<readonly TaskFacts[]>;
  /** The newest tasks that were asked for under a URL, whatever its query, the newest first. */
  tasksOfUrl(urlWithoutQuery: string, limit: number): Promise<readonly TaskFacts[]>;
  download(downloadId: string): Promise<DownloadRow | undefined>;
  /** In the order of their start. */
  downloadsOfTrace(traceId: string, limit: number): Promise<readonly DownloadRow[]>;
  /** The newest downloads of a task, in the order of their start. */
  downloadsOfTask(taskId: string, limit: number): Promise<readonly DownloadRow[]>;
  hostsNamed(hostIds: readonly string[]): Promise<readonly HostRow[]>;
  hosts(page: Page): Promise<readonly HostRow[]>;
  tasks(page: Page, state: TaskRow["state"] | undefined): Promise<readonly TaskFacts[]>;
  peers(taskId: string, page: Page): Promise<readonly PeerFacts[]>;
  peerSums(taskId: string, pieceCount: number): Promise<PeerSums>;
}

/** The two logs of one slice, read from a point in time up to their present end. */
export interface LogHistory {
  /** @throws {PortError} retryable when the broker does not answer. */
  decisions(slice: number, fromMs: number): AsyncIterable<StoredDecisions>;
  /**
   * With all that hosts said of several slices at once, whether this one is among them or not; ascending by sequence.
   *
   * @throws {PortError} retryable when the broker does not answer.
   */
  events(slice: number, fromMs: number): AsyncIterable<StoredEvents>;
}

/** What is true now, by the scheduler that decides. */
export interface LiveView {
  lease(leaseId: string): LiveLease | undefined;
  /** @param waitsMax of so many waiting children it is asked why. */
  task(taskId: string, waitsMax: number): LiveTask | undefined;
  hostLoad(hostId: string): HostLoad | undefined;
  /** Where a client waits under this request, which is the id of the download it becomes. */
  request(requestId: string): { readonly hostId: string; readonly taskId: string } | undefined;
}

export interface LiveLease {
  readonly row: LeaseRow;
  /** Ascending. */
  readonly remaining: readonly number[];
}

export interface LiveTask {
  readonly task: TaskFacts;
  /** Live ones, and ended ones that are not projected yet. */
  readonly leases: readonly LeaseRow[];
  readonly waits: readonly Wait[];
  readonly waitCount: number;
}

export interface HostLoad {
  readonly servingLeaseCount: number;
  readonly takingLeaseCount: number;
  readonly taskCount: number;
}
