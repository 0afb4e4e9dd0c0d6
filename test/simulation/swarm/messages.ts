import type { FailureReason } from "@lacewing/contracts/events/reasons.ts";
import type { Event, PiecesFailed } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";

/** What a host publishes: events of one slice, or about itself. */
export interface HostMessage {
  readonly hostId: string;
  readonly bootId: string;
  readonly sequence: number;
  readonly kinds: readonly NonNullable<Event["kind"]>[];
}

/** What the scheduler tells a host, as of the moment in which it was sent. */
export interface AssignmentBatch {
  readonly slice: number;
  readonly epoch: number;
  readonly assignments: readonly SimAssignment[];
}

export type SimAssignment =
  | {
      readonly kind: "lease";
      readonly leaseId: string;
      readonly taskId: string;
      /** Empty: the origin. */
      readonly parentHostId: string;
      readonly pieces: readonly number[];
      readonly isOpen: boolean;
      readonly durationMs: number;
      readonly requestId: string;
      readonly lengthBytes: number;
      /** Its parent may get pieces later than it is asked for them. */
      readonly isAhead: boolean;
      /** Pieces of it whose digests are known. */
      readonly knownPieces: readonly number[];
    }
  | { readonly kind: "digests"; readonly taskId: string; readonly pieces: readonly number[] }
  | { readonly kind: "pending"; readonly taskId: string; readonly nextByMs: number }
  | {
      readonly kind: "lease_end";
      readonly taskId: string;
      readonly leaseId: string;
      readonly reason: string;
    }
  | { readonly kind: "drop_task"; readonly taskId: string }
  | { readonly kind: "announce_full" };

const digests = new Map<number, Uint8Array>();

/** A digest for a piece: the same for all who have the true content. */
export function digestOf(piece: number): Uint8Array {
  const known = digests.get(piece);
  if (known !== undefined) return known;
  const digest = new Uint8Array(32).fill(1);
  new DataView(digest.buffer).setUint32(4, piece);
  digests.set(piece, digest);
  return digest;
}

/** What a host says of pieces that did not arrive. */
export function failedPieces(
  taskId: string,
  failed: {
    readonly leaseId: string;
    readonly parentHostId: string;
    readonly pieces: readonly number[];
    readonly reason: FailureReason;
    readonly bytes: number;
    readonly durationMs: number;
  },
): PiecesFailed {
  const { pieces, ...rest } = failed;
  return { taskId, ...rest, pieceIndexes: [...pieces], detail: "", retryAfterMs: 0 };
}
