import type { LeaseEnded } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { dropOldest } from "../core/drop-oldest.ts";

/** Beyond this the oldest is forgotten: a repetition comes within seconds. */
const LEASE_COUNT_MAX = 1000;

/** Leases that ended well: one that is repeated before its end was heard is answered with the same figures. */
export class EndedLeases {
  readonly #leases = new Map<string, LeaseEnded>();

  get(leaseId: string): LeaseEnded | undefined {
    return this.#leases.get(leaseId);
  }

  add(ended: LeaseEnded): void {
    this.#leases.set(ended.leaseId, ended);
    dropOldest(this.#leases, LEASE_COUNT_MAX);
  }
}
