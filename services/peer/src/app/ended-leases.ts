import type { LeaseEnded } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";

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
    const oldest = this.#leases.keys().next();
    if (this.#leases.size > LEASE_COUNT_MAX && oldest.done !== true)
      this.#leases.delete(oldest.value);
  }
}
