import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { parseDigest, type TaskId } from "@lacewing/contracts/ids.ts";
import { isDescribed } from "../core/lease-fit.ts";
import type { StoredTask, TaskDescription } from "./ports.ts";

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

/** Whether a copy is of the content that the lease speaks of, as far as the lease says what that is. */
export function isLeased({ layout }: StoredTask, lease: Lease): boolean {
  if (!isDescribed(lease)) return true;
  return (
    layout.lengthBytes === lease.lengthBytes && layout.pieceLengthBytes === lease.pieceLengthBytes
  );
}
