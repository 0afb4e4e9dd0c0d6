/** Leases from one host that ended since `sinceMs`, and how long they took, added up. */
export interface Pace {
  bytes: number;
  transferMs: number;
  leaseCount: number;
  sinceMs: number;
}
