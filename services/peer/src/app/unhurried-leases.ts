import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";

/** A copy of a content up to this length, for the host's own keeping, waits for others: they travel together. */
const UNHURRIED_BYTES_MAX = 128 * 1024;
/** They are taken when no more of them came for so long: while clients read a batch of files, those come first. */
const UNHURRIED_QUIET_MS = 3_000;
/** And so long after the first of them at the latest: well before a lease runs out (15 s). */
const UNHURRIED_MS_MAX = 6_000;

/** And at once when so many wait: the places that they take at their parents are wanted by clients, too. */
const UNHURRIED_COUNT_MAX = 256;

/** Whether a lease for the host's own keeping may wait for others. */
export function isUnhurried({ lengthBytes, parentHostId }: Lease): boolean {
  return lengthBytes <= UNHURRIED_BYTES_MAX && parentHostId !== "";
}

/** Leases of small contents that this host is given to keep, and that no client waits for: taken together. */
export class UnhurriedLeases {
  readonly #clock: Clock;
  readonly #take: (taskId: TaskId, lease: Lease) => void;
  /** By lease id. */
  readonly #waiting = new Map<string, { readonly taskId: TaskId; readonly lease: Lease }>();
  #sinceMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(clock: Clock, take: (taskId: TaskId, lease: Lease) => void) {
    this.#clock = clock;
    this.#take = take;
  }

  add(taskId: TaskId, lease: Lease): void {
    const nowMs = this.#clock.monotonic();
    if (this.#waiting.size === 0) this.#sinceMs = nowMs;
    const isKnown = this.#waiting.has(lease.leaseId);
    this.#waiting.set(lease.leaseId, { taskId, lease });
    // One that was told again is not one more.
    if (isKnown) return;
    if (this.#waiting.size >= UNHURRIED_COUNT_MAX) {
      this.#takeAll();
    } else if (this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#takeAll(), UNHURRIED_QUIET_MS);
    } else if (nowMs - this.#sinceMs <= UNHURRIED_MS_MAX - UNHURRIED_QUIET_MS) {
      this.#timer.refresh();
    }
  }

  /** The scheduler ended the lease. */
  end(leaseId: string): void {
    this.#waiting.delete(leaseId);
  }

  /** The task is given up. */
  drop(taskId: TaskId): void {
    for (const [leaseId, waiting] of this.#waiting) {
      if (waiting.taskId === taskId) this.#waiting.delete(leaseId);
    }
  }

  leaseIds(): IterableIterator<string> {
    return this.#waiting.keys();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }

  #takeAll(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const taken = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { taskId, lease } of taken) this.#take(taskId, lease);
  }
}
