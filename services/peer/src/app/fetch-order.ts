import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { FetchEnd, FetchSource } from "./lease-fetch.ts";
import type { Traffic } from "./task-reader.ts";

/** What is to be fetched, and why. */
export interface FetchOrder {
  /** A lease's id, or a name of our own for what was not leased. */
  readonly leaseId: string;
  readonly source: FetchSource;
  readonly pieces: readonly number[];
  /** `undefined`: on our own account, because the scheduler is silent. */
  readonly lease: Lease | undefined;
  readonly traceparent: string;
}

/** How a fetch ended, with what it was. */
export interface EndedFetch {
  readonly order: FetchOrder;
  readonly end: FetchEnd;
  readonly durationMs: number;
  /** It brought enough that was not there before for another try to make sense. */
  readonly hasAdvanced: boolean;
}

/** The traffic that bytes of a source count as. */
export function trafficOf(source: FetchSource): Traffic {
  return source.kind === "origin" ? "backToSource" : "remotePeer";
}

/** Whether the parent is asked for pieces that may be on their way to it only. */
export function isAhead({ lease, source }: FetchOrder): boolean {
  return lease?.ahead === true && source.kind === "parent";
}

/** Not what a seed host was given to keep a copy of its own. */
export function isForClients(order: FetchOrder): boolean {
  return order.lease === undefined || order.lease.requestId !== "";
}

/** A source that says it is done and brought nothing would be asked again at once, for ever. */
export function fruitless(): FetchEnd {
  const detail = "the read ended well and brought no piece";
  return { ok: false, bytes: 0, reason: "malformed", detail, wrongPiece: undefined };
}

export function cancelled(reason: unknown): FetchEnd {
  const detail = messageOf(reason);
  return { ok: false, bytes: 0, reason: "cancelled", detail, wrongPiece: undefined };
}
