/**
 * Closed lists of the words that travel as text. An event with another word is refused at the edge: readers must know a
 * new word before the first writer uses it.
 */

/** Why pieces of a lease did not arrive. */
export const FAILURE_REASONS = [
  /** The bytes do not have the piece's digest: the parent is blamed. */
  "digest_mismatch",
  /** No connection to the parent. */
  "unreachable",
  /** The parent says that it does not hold a piece. */
  "not_held",
  /** The parent had no free upload slot. */
  "busy",
  /** No byte for too long. */
  "stalled",
  /** The connection ended before the last byte. */
  "short",
  /** The answer breaks the protocol. */
  "malformed",
  /** The origin answered with another status than content. */
  "origin_refused",
  /** The origin's validator or length is no longer the task's. */
  "origin_changed",
  /** The child could not store the bytes. */
  "storage",
  /** Nobody at the child wants the pieces any more. */
  "cancelled",
] as const;
export type FailureReason = (typeof FAILURE_REASONS)[number];

/** How a download ended for its client. */
export const DOWNLOAD_OUTCOMES = [
  /** Everything the client asked for was handed over. */
  "finished",
  /** The client broke off. */
  "client_gone",
  /** The origin answered with an error, which was passed on. */
  "origin_error",
  /** The content does not agree with its anchor: the client's connection was broken off. */
  "anchor_mismatch",
  /** The host stopped or crashed while the download ran. */
  "interrupted",
  /** Anything else: the client's connection was broken off. */
  "failed",
] as const;
export type DownloadOutcome = (typeof DOWNLOAD_OUTCOMES)[number];

/** Why a lease was ended by the scheduler. */
export const REVOCATION_REASONS = [
  /** No progress for the lease's duration. */
  "expired",
  /** Its child or parent was declared lost or left. */
  "host_lost",
  /** Its parent dropped pieces. */
  "parent_dropped",
  /** Nobody wants the pieces any more. */
  "unwanted",
  /** It was granted ahead, and its child is far behind others. */
  "lagging",
  /** The task was retired. */
  "task_retired",
  /** Others read a part of the origin's content too: the child ends with the piece that it has begun. */
  "shared",
] as const;
export type RevocationReason = (typeof REVOCATION_REASONS)[number];

/** Why a task takes no more leases. */
export const RETIREMENT_REASONS = ["poisoned", "digest_conflict", "validator_changed"] as const;
export type RetirementReason = (typeof RETIREMENT_REASONS)[number];

/**
 * Why one host is to drop a task that goes on without it: its origin gave it content of another length by the same name, so it goes on by
 * itself, and shares nothing of it.
 */
export const CONTENT_DIFFERS = "content_differs";

/**
 * The one reason for a `pending` from which a host concludes something: nobody may read the origin yet, unless the host says that
 * its own client was just answered there.
 */
export const ORIGIN_RESTS = "the origin asks to be left alone";
