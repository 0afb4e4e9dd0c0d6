import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { parseDigest, type TaskId } from "@lacewing/contracts/ids.ts";
import { PIECE_COUNT_MAX } from "@lacewing/contracts/limits.ts";
import { type PieceLayout, pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { isDescribed } from "../core/lease-fit.ts";
import type { PieceStore, StoredTask, StoreRefusal, TaskDescription } from "./ports.ts";

/** What a lease says of a content that no client here has described. */
export function leasedDescription(taskId: TaskId, lease: Lease, nowMs: number): TaskDescription {
  return {
    taskId,
    url: lease.task?.url ?? "",
    sharingDomain: lease.task?.sharingDomain ?? "",
    anchor: parseDigest(lease.task?.anchor ?? ""),
    lengthBytes: lease.lengthBytes,
    pieceLengthBytes: lease.pieceLengthBytes,
    etag: lease.task?.etag ?? "",
    lastModified: "",
    contentType: lease.task?.contentType ?? "",
    createdAtMs: Math.round(nowMs),
  };
}

/** Another version of the rule may have cut a content so many times as finely, or as coarsely; who says more than that is wrong. */
const OTHER_CUT_FACTOR_MAX = 4;

/** Who knows how a content was cut. */
interface Cuts {
  readonly store: PieceStore;
  readonly registry: {
    isDownloading(taskId: TaskId): boolean;
    /** A lease that waits for the request. */
    parked(taskId: TaskId, requestId: string): Lease | undefined;
  };
}

/**
 * The place of a content, in pieces as it was cut before: here, or where a lease of the request says it comes from, when that is known by
 * now. Another version of the rule may have cut it otherwise, and pieces of one cut are none of the other.
 */
export async function createAsCut(
  { store, registry }: Cuts,
  description: TaskDescription,
  requestId: string,
): Promise<StoredTask | StoreRefusal> {
  const { taskId } = description;
  const held = store.get(taskId);
  const lease = registry.parked(taskId, requestId);
  const leased = lease !== undefined && isDescribed(lease) ? lease : undefined;
  const isKept = held?.isVerified === true || registry.isDownloading(taskId);
  const cuts = isKept ? [held?.layout] : [leased, held?.layout];
  const known = cuts.find((cut) => cut !== undefined && isOtherCut(cut, description));
  const pieceLengthBytes = known?.pieceLengthBytes ?? description.pieceLengthBytes;
  return store.create({ ...description, pieceLengthBytes });
}

function isOtherCut({ lengthBytes, pieceLengthBytes }: PieceLayout, byRule: PieceLayout): boolean {
  const factor = pieceLengthBytes / byRule.pieceLengthBytes;
  const isNear = factor <= OTHER_CUT_FACTOR_MAX && 1 / factor <= OTHER_CUT_FACTOR_MAX;
  const count = pieceCountOf({ lengthBytes, pieceLengthBytes });
  return lengthBytes === byRule.lengthBytes && isNear && count <= PIECE_COUNT_MAX;
}
