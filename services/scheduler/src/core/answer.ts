import type { Lease } from "./lease.ts";

/** What a host is told. The shell makes assignments of these, after the decisions they rest on are in the log. */
export type Answer =
  | { readonly kind: "lease"; readonly hostId: string; readonly lease: Lease }
  | {
      readonly kind: "pending";
      readonly hostId: string;
      readonly taskId: string;
      readonly requestId: string;
      readonly nextByMs: number;
      readonly reason: string;
      /** Of the content, 0 before it is described. */
      readonly lengthBytes: number;
    }
  | {
      readonly kind: "lease_end";
      readonly hostId: string;
      readonly leaseId: string;
      readonly taskId: string;
      readonly reason: string;
    }
  | {
      readonly kind: "recheck";
      readonly hostId: string;
      readonly taskId: string;
      readonly pieceIndexes: readonly number[];
    }
  | {
      readonly kind: "drop_task";
      readonly hostId: string;
      readonly taskId: string;
      readonly reason: string;
      /** Of the content that is given up, 0 when it was not described. */
      readonly lengthBytes: number;
    }
  | {
      readonly kind: "digests";
      readonly hostId: string;
      readonly taskId: string;
      readonly pieceIndexes: readonly number[];
    }
  | { readonly kind: "announce_full"; readonly hostId: string; readonly reason: string };
