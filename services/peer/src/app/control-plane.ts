import type { AssignmentMessage } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { TaskId } from "@lacewing/contracts/ids.ts";

/** The way to and from the scheduler, as an adapter offers it. The peer works without it. */
export interface ControlPlane {
  readonly isConnected: boolean;
  /**
   * Stores one event message.
   * @throws {PortError} retryable when no acknowledgement came; the same message id may be given again.
   */
  publish(subject: string, data: Uint8Array, messageId: string, traceparent: string): Promise<void>;
  /** A client waits for a piece that no lease brings. Nobody stores it: it may be lost, and is said again as long as it holds. */
  readerBlocked(taskId: TaskId, pieceIndex: number): void;
  /** Every assignment that arrives for this host, in order. */
  onAssignments(listener: (message: AssignmentMessage) => void): void;
  /** Called after each connect and reconnect. */
  onConnected(listener: () => void): void;
  close(): Promise<void>;
}

/** Facts about downloads, on disk until Postgres has them. */
export interface FactJournal {
  /** Facts that were never receipted, oldest first: what an earlier process left behind included. */
  pending(): IterableIterator<DownloadFinished>;
  /** Notes that a download began: a crash turns it into an `interrupted` fact. */
  begin(fact: DownloadFinished): void;
  /** Notes how it ended. Returned before it is on disk; a crash in between leaves it `interrupted`. */
  end(fact: DownloadFinished): void;
  /** These are in Postgres now. */
  receipted(downloadIds: readonly string[]): void;
  close(): Promise<void>;
}
