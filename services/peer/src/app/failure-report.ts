import type { PiecesFailed } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { FetchEnd } from "./lease-fetch.ts";
import type { StoredTask } from "./ports.ts";

/** Of a failure's explanation, what is worth telling the scheduler. */
const DETAIL_LENGTH_MAX = 500;

export type FailedFetch = FetchEnd & { readonly ok: false };

/** A lease that was not begun. */
export function notBegun(reason: FailedFetch["reason"], detail: string): FailedFetch {
  return { ok: false, bytes: 0, reason, detail, wrongPiece: undefined };
}

/** `pieces.failed` for a lease: the piece that was wrong, or else those of the lease that are still missing. */
export function failureReport(
  stored: StoredTask,
  lease: {
    readonly leaseId: string;
    readonly parentHostId: string;
    readonly pieces: readonly number[];
  },
  end: FailedFetch,
  durationMs: number,
): PiecesFailed {
  const missing = lease.pieces.filter((index) => !stored.held.has(index));
  return {
    taskId: stored.description.taskId,
    leaseId: lease.leaseId,
    parentHostId: lease.parentHostId,
    pieceIndexes: end.wrongPiece === undefined ? missing : [end.wrongPiece],
    reason: end.reason,
    detail: end.detail.slice(0, DETAIL_LENGTH_MAX),
    bytes: end.bytes,
    durationMs,
    // Was told at once, see `SchedulerLink.originRests`.
    retryAfterMs: 0,
  };
}
