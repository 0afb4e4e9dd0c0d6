import { CONTENT_LENGTH_BYTES_MAX } from "./piece-length.ts";

/** Limits on what crosses a process boundary; a message beyond one of them is refused at the edge and counted. */

/** A NATS message: the server's default `max_payload`. */
export const MESSAGE_BYTES_MAX = 1024 * 1024;
/** Events packed in one message: keeps folding one message short. */
export const EVENTS_PER_MESSAGE_MAX = 4096;
/** Pieces of a task: 16 TiB in pieces of 64 MiB; a bitmap of 32 KiB. */
export const PIECE_COUNT_MAX = 2 ** 18;
/** Any single text field: a URL is the longest. */
export const TEXT_LENGTH_MAX = 8192;
/** Leases or requests listed in one announce. */
export const ANNOUNCED_IDS_MAX = 10_000;
/** Pieces in one lease: bounds the assignment message (32 bytes of digest each) and what one failure repeats. */
export const LEASE_PIECES_MAX = 4096;
/** A request without an answer for this long goes on by itself. */
export const ASSIGN_TIMEOUT_MS = 200;
/** A `pending` answer promises the next one within this. */
export const PENDING_NEXT_BY_MS_MAX = 5000;
/** A host announces itself this often. */
export const ANNOUNCE_INTERVAL_MS = 30_000;

/** The longest `Retry-After` that a host reports; a longer one is reported as this. For how long the origin is left alone is the scheduler's to say. */
export const RETRY_AFTER_MS_MAX = 3_600_000;

/**
 * Bytes that one download or lease tells of: pieces may be fetched again, and content that is passed through may be longer than what is
 * shared. 64 TiB. A sum of requests stays far below it: each of them is of a small content.
 */
export const TOLD_BYTES_MAX = 4 * CONTENT_LENGTH_BYTES_MAX;
/** Milliseconds that one download or lease tells of: a year. */
export const TOLD_DURATION_MS_MAX = 366 * 24 * 3_600_000;
/** Requests that one download fact stands for: far more than a host answers within the second that a sum takes. */
export const TOLD_REQUEST_COUNT_MAX = 2 ** 24;
