import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { parseDigest, type TaskId } from "@lacewing/contracts/ids.ts";
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

/** Who knows how a content was cut. */
interface Cuts {
  readonly store: PieceStore;
  /** A lease that waits for the request. */
  readonly registry: { parked(taskId: TaskId, requestId: string): Lease | undefined };
}

/**
 * The place of a content, in pieces as it was cut before, here or where a lease of the request says it comes from: another version of the rule may have cut
 * it otherwise, and pieces of one cut are none of the other.
 */
export async function createAsCut(
  { store, registry }: Cuts,
  description: TaskDescription,
  requestId: string,
): Promise<StoredTask | StoreRefusal> {
  const { taskId, lengthBytes } = description;
  const held = store.get(taskId)?.description;
  const lease = registry.parked(taskId, requestId);
  const leased = lease !== undefined && isDescribed(lease) ? lease : undefined;
  const known = [held, leased].find((other) => other?.lengthBytes === lengthBytes);
  const pieceLengthBytes = known?.pieceLengthBytes ?? description.pieceLengthBytes;
  return store.create({ ...description, pieceLengthBytes });
}
