import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { TaskId } from "@lacewing/contracts/ids.ts";

/** Leases whose client is still being opened, or has not come yet; more are given back. */
const PARKED_LEASE_COUNT_MAX = 4000;

/** Leases that wait for the client they were granted for. */
export class ParkedLeases {
  readonly #byTask = new Map<TaskId, Map<string, Lease>>();
  #count = 0;

  /** @returns `false` when there is no room. A lease that waits already waits on. */
  add(taskId: TaskId, lease: Lease): boolean {
    const leases = this.#byTask.get(taskId) ?? new Map<string, Lease>();
    if (leases.has(lease.leaseId)) return true;
    if (this.#count >= PARKED_LEASE_COUNT_MAX) return false;
    this.#byTask.set(taskId, leases.set(lease.leaseId, lease));
    this.#count++;
    return true;
  }

  /** One that waits for a request. */
  of(taskId: TaskId, requestId: string): Lease | undefined {
    const leases = this.#byTask.get(taskId)?.values() ?? [];
    for (const lease of leases) if (lease.requestId === requestId) return lease;
    return undefined;
  }

  /** Takes waiting leases of a task out. */
  take(taskId: TaskId, isWanted: (lease: Lease) => boolean = () => true): Lease[] {
    const leases = this.#byTask.get(taskId);
    if (leases === undefined) return [];
    const taken = [...leases.values()].filter(isWanted);
    for (const { leaseId } of taken) leases.delete(leaseId);
    if (leases.size === 0) this.#byTask.delete(taskId);
    this.#count -= taken.length;
    return taken;
  }

  *leaseIds(): Generator<string> {
    for (const leases of this.#byTask.values()) yield* leases.keys();
  }
}
