import type { Job } from "./links.ts";
import type { SimAssignment } from "./messages.ts";
import type { SimHost } from "./sim-host.ts";

export type Lease = SimAssignment & { readonly kind: "lease" };

/** One lease, or one read without a lease, being carried out: its pieces in order, one after another. */
export interface Fetch {
  readonly leaseId: string;
  /** Undefined: begun without the scheduler. */
  readonly lease: Lease | undefined;
  /** Undefined: the origin. */
  readonly parent: SimHost | undefined;
  readonly pieces: readonly number[];
  readonly beganAtMs: number;
  readonly patienceMs: number;
  at: number;
  bytes: number;
  progressAtMs: number;
  job: Job | undefined;
  /** It ends with the piece that it brings. */
  isEnding: boolean;
  isServed: boolean;
  /** What it has brought waits for its digest. */
  isUnverified: boolean;
  isOver: boolean;
}

/** One that has not begun. */
export function newFetch(
  of: Pick<Fetch, "leaseId" | "lease" | "parent" | "pieces" | "beganAtMs" | "patienceMs">,
): Fetch {
  const progress = { at: 0, bytes: 0, progressAtMs: of.beganAtMs, job: undefined };
  return {
    ...of,
    ...progress,
    isEnding: false,
    isServed: false,
    isUnverified: false,
    isOver: false,
  };
}
