import type { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type { AssignmentMessage } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { HostId } from "@lacewing/contracts/ids.ts";
import type { LateBytes } from "../core/touched.ts";

/**
 * What the scheduler needs from the world, named for the need. Adapters implement these; in-memory twins serve unit tests.
 */

/** One stored event message, not yet decoded. */
export interface StoredEvents {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Position in LACEWING_EVENTS, 1-based. */
  readonly streamSequence: number;
  /** `Nats-Msg-Id`, or empty. */
  readonly messageId: string;
  /** When the server stored it, milliseconds since 1970. */
  readonly storedAtMs: number;
}

/** One stored decision message, decoded. */
export interface StoredDecisions {
  readonly message: DecisionMessage;
  readonly streamSequence: number;
}

/**
 * Code of the retryable {@link PortError} that tells of a log that had been lost and was made anew, empty. Repeating the call
 * is not enough: what the caller holds does not fit the new log, and it has to load its state again.
 */
export const LOG_LOST = "log_lost";

/** The log of what hosts observed. */
export interface EventLog {
  /** First and last sequence kept; `last` is 0 and `first` 1 when nothing was ever stored. */
  bounds(): Promise<{ readonly first: number; readonly last: number }>;
  /**
   * Every stored message from `fromSequence` on, in order, for ever; ends when the signal aborts.
   *
   * @throws {PortError} retryable when the log does not continue there any more: load the state again.
   */
  read(fromSequence: number, signal: AbortSignal): AsyncIterable<StoredEvents>;
}

/** The log of what schedulers decided. */
export interface DecisionLog {
  bounds(): Promise<{ readonly first: number; readonly last: number }>;
  /** Every stored decision message with a sequence in [from, to], in order. */
  readRange(fromSequence: number, toSequence: number): AsyncIterable<StoredDecisions>;
  /** Of the slice's newest decision message; zeros when it has none. */
  last(slice: number): Promise<{ readonly sequence: number; readonly epoch: number }>;
  /**
   * Appends when the slice's newest message is still `expectedLastSequence`. Safe to repeat with the same `messageId`.
   *
   * @returns the new message's stream sequence, or "fenced" when another owner has appended since.
   * @throws {PortError} retryable when the broker did not answer; nothing is known about the append.
   */
  append(
    slice: number,
    message: DecisionMessage,
    expectedLastSequence: number,
    messageId: string,
  ): Promise<number | "fenced">;
}

/** How hosts are told. Fire and forget: a lost message is made good by the next request or announce. */
export interface AssignmentSender {
  /** `traceparent` goes into the message's headers when it is not empty. */
  send(hostId: HostId, message: AssignmentMessage, traceparent: string): void;
}

/** Ownership of slices by database lease. */
export interface SliceOwnership {
  /**
   * Takes all slices when none has a live owner, raising their epochs; renews them when they are ours, which keeps the epochs, even
   * when the lease had run out and nobody had taken them.
   *
   * @returns the epoch of each slice; none while another scheduler is alive.
   */
  acquire(ownerId: string, leaseMs: number): Promise<ReadonlyMap<number, number>>;
  /**
   * Raises the epochs of slices that are ours, which {@link acquire} gives from then on: a database that was restored may be
   * behind what hosts have already seen.
   *
   * @param above the epoch, for each slice, that the new one has to be higher than.
   */
  raise(ownerId: string, above: ReadonlyMap<number, number>): Promise<void>;
  /** Lets a successor take over at once. */
  release(ownerId: string): Promise<void>;
  /** Takes all slices whoever owns them, raising their epochs: their owner is fenced. */
  seize(ownerId: string, leaseMs: number): Promise<ReadonlyMap<number, number>>;
  /** Who owns the slices by a lease that has not run out. */
  holder(): Promise<string | undefined>;
}

export interface HostRow {
  readonly hostId: string;
  readonly bootId: string;
  readonly kind: "normal" | "seed";
  readonly transferAddress: string;
  readonly idc: string;
  readonly location: string;
  readonly uploadSlots: number;
  readonly freeBytes: number;
  readonly quotaBytes: number;
  /** "alive", "left" or "lost". */
  readonly state: "alive" | "left" | "lost";
  readonly announcedAtMs: number;
}

export interface TaskRow {
  readonly taskId: string;
  readonly slice: number;
  readonly url: string;
  readonly sharingDomain: string;
  readonly anchor: string;
  readonly tag: string;
  readonly application: string;
  readonly priority: number;
  /** `undefined` until the origin's answer was seen. */
  readonly lengthBytes: number | undefined;
  readonly pieceLengthBytes: number | undefined;
  readonly etag: string;
  readonly contentType: string;
  /** 32 bytes per piece, concatenated; zeros where the digest is not known. */
  readonly pieceDigests: Uint8Array;
  /** "active", "verified" or "retired". */
  readonly state: "active" | "verified" | "retired";
  readonly retiredReason: string;
  readonly createdAtMs: number;
}

/** A client request that waits at a host. */
export interface LiveRequest {
  readonly requestId: string;
  readonly wantedStart: number;
  /** 0 with `wantedStart` 0: the whole content. */
  readonly wantedEnd: number;
  readonly canReadOrigin: boolean;
  readonly traceparent: string;
}

export interface PeerRow {
  readonly taskId: string;
  readonly hostId: string;
  readonly slice: number;
  readonly incarnation: number;
  readonly bitmap: Uint8Array;
  readonly heldPieceCount: number;
  readonly isVerified: boolean;
  readonly requests: readonly LiveRequest[];
  /** The peer of a seed host wants the whole content although no client waits. */
  readonly isSeeding: boolean;
  /** What the host has by the name of the task is of another length, and nothing of the task. */
  readonly isApart: boolean;
}

export interface LeaseRow {
  readonly leaseId: string;
  readonly taskId: string;
  readonly slice: number;
  readonly epoch: number;
  readonly childHostId: string;
  /** Empty: the origin. */
  readonly parentHostId: string;
  /** `start:count` pairs joined by commas; empty for an open lease whose content is not described yet. */
  readonly pieces: string;
  readonly pieceCount: number;
  readonly isOpen: boolean;
  readonly requestId: string;
  readonly reason: string;
  readonly candidateCount: number;
  readonly grantedAtMs: number;
  readonly durationMs: number;
  readonly traceparent: string;
  /** "live" until it ends: "finished", or a failure or revocation reason. */
  readonly outcome: string;
  readonly endedAtMs: number | undefined;
  readonly bytes: number;
  readonly transferMs: number;
}

export interface DeadLetterRow {
  readonly stream: string;
  readonly streamSequence: number;
  readonly subject: string;
  readonly reason: string;
  readonly payload: Uint8Array;
}

/** The log position that a slice's rows include. */
export interface CheckpointRow {
  readonly slice: number;
  readonly epoch: number;
  readonly eventsSequence: number;
  /** Stream sequence of the slice's newest decision message that is included; 0 for none. */
  readonly decisionsSequence: number;
  readonly lastMessageId: string;
}

/** A download fact with the host that told it. */
export interface DownloadRow {
  readonly hostId: string;
  readonly download: DownloadFinished;
}

/** What changed since the last flush. Rows are whole states, not changes; a key stands in it once. */
export interface ProjectionRows {
  readonly hosts: readonly HostRow[];
  readonly tasks: readonly TaskRow[];
  readonly peers: readonly PeerRow[];
  /** Keys of peers that are gone. */
  readonly removedPeers: readonly { readonly taskId: string; readonly hostId: string }[];
  /** Tasks that nobody holds or wants any more: their rows stay for a while, and are not loaded. */
  readonly forgottenTaskIds: readonly string[];
  /** Hosts whose return nobody counts on, likewise. */
  readonly forgottenHostIds: readonly string[];
  readonly leases: readonly LeaseRow[];
  /** Bytes that came under leases whose end is stored, or among `leases`: for each that has none yet and is the child's. */
  readonly lateBytes: readonly LateBytes[];
  readonly downloads: readonly DownloadRow[];
  readonly deadLetters: readonly DeadLetterRow[];
}

/** Everything one flush writes, in one transaction. */
export interface ProjectionBatch extends ProjectionRows {
  /** Before and after: a row whose `before` no longer stands means that somebody else owns the slice. */
  readonly checkpoints: readonly {
    readonly before: CheckpointRow;
    readonly after: CheckpointRow;
  }[];
}

/** What a scheduler starts from. */
export interface ProjectionSnapshot {
  readonly hosts: readonly HostRow[];
  /** Tasks that are remembered, with all their peers and live leases; of retired ones the newest, up to a limit. */
  readonly tasks: readonly TaskRow[];
  readonly peers: readonly PeerRow[];
  readonly liveLeases: readonly LeaseRow[];
  /** One for each slice; a slice that was never projected has zeros and an empty message id. */
  readonly checkpoints: readonly CheckpointRow[];
}

/** The task/peer graph as Postgres remembers it. */
export interface ProjectionStore {
  load(): Promise<ProjectionSnapshot>;
  /**
   * Writes the batch and moves the checkpoints in one transaction.
   *
   * @returns "fenced" when a checkpoint did not stand at `before` any more or its slice has a higher epoch; nothing was
   *   written then: drop the state and load again.
   * @throws {PortError} retryable when Postgres did not answer; the same batch may be given again.
   */
  flush(batch: ProjectionBatch): Promise<"committed" | "fenced">;
}

/** How a rebuild writes, all within one transaction. */
export interface RebuildWriter {
  /**
   * Takes the graph away.
   *
   * @param keep leases that ended before `keepBeforeMs` stay, and tasks and hosts count as forgotten until the logs tell of them:
   *   the logs do not reach back to their beginning. Undefined: nothing stays.
   */
  clear(keep: { readonly keepBeforeMs: number | undefined }): Promise<void>;
  write(rows: ProjectionRows): Promise<void>;
}

/** The task/peer graph, to be made anew. */
export interface RebuildStore {
  /**
   * Runs `work` in one transaction and sets every slice's checkpoint to the position it has reached.
   *
   * @throws {PortError} `rebuild_fenced` when a slice is not the owner's under this epoch any more; nothing is changed then.
   */
  rebuild<Report>(
    ownerId: string,
    epochs: ReadonlyMap<number, number>,
    work: (
      writer: RebuildWriter,
    ) => Promise<{ readonly position: CheckpointRow; readonly report: Report }>,
  ): Promise<Report>;
}

/** Whether the broker can be reached: silence while it cannot proves nothing about anybody. */
export interface BrokerLink {
  isConnected(): boolean;
}

/** Signs what a parent checks by itself. */
export interface LeaseSigner {
  /** @returns the token's text. */
  sign(claims: LeaseTokenClaims): string;
}
