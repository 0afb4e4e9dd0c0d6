import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { EndedLeases } from "./ended-leases.ts";
import { type FailedFetch, failureReport } from "./failure-report.ts";
import type { EndedFetch } from "./fetch-order.ts";
import type { StoredTask } from "./ports.ts";
import type { SchedulerLink } from "./scheduler-link.ts";

/** What the scheduler is told of how the leases of one task ended. */
export class LeaseReports {
  readonly #stored: StoredTask;
  readonly #link: SchedulerLink;
  readonly #ended = new EndedLeases();

  constructor(stored: StoredTask, link: SchedulerLink) {
    this.#stored = stored;
    this.#link = link;
  }

  /** @returns whether the lease ended well before: that is said again then. */
  repeat(leaseId: string): boolean {
    const ended = this.#ended.get(leaseId);
    if (ended === undefined) return false;
    this.#link.leaseEnded(this.#stored.description.taskId, ended);
    return true;
  }

  end({ order, end, durationMs }: EndedFetch): void {
    const { leaseId, lease } = order;
    if (lease === undefined) return;
    if (!end.ok) {
      this.fail(lease, order.pieces, end, durationMs);
      return;
    }
    const ended = { leaseId, bytes: end.bytes, durationMs };
    this.#ended.add(ended);
    this.#link.leaseEnded(this.#stored.description.taskId, ended);
  }

  fail(
    { leaseId, parentHostId }: Lease,
    pieces: readonly number[],
    end: FailedFetch,
    durationMs = 0,
  ): void {
    const report = failureReport(this.#stored, { leaseId, parentHostId, pieces }, end, durationMs);
    this.#link.piecesFailed(report, "");
  }
}
