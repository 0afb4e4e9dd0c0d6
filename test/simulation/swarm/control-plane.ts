import type { EventQueue } from "./event-queue.ts";
import type { ControlSpec } from "./scenario.ts";

/** A reordered message is late by up to so many latencies. */
const REORDER_LATENCIES = 10;
/** As the real outbox: what is not acknowledged is published again after so long, longer each time. */
const RETRY_MS = { first: 200, max: 5_000 } as const;

/** The last arrival on one way: what is sent later arrives later, unless a fault wills it otherwise. */
export interface Way {
  lastAtMs: number;
}

/** Carries messages between hosts and scheduler, with the faults of the scenario. */
export class ControlPlane {
  readonly #queue: EventQueue;
  readonly #spec: ControlSpec;
  readonly #random: () => number;
  sentCount = 0;
  lostCount = 0;
  /** Faults end with this: a test may want to see what is repaired when the weather is fine. */
  isFaultless = false;

  constructor(queue: EventQueue, spec: ControlSpec, random: () => number) {
    this.#queue = queue;
    this.#spec = spec;
    this.#random = random;
  }

  /** To a host: what is lost is lost. */
  send(way: Way, deliver: () => void): void {
    this.sentCount++;
    if (this.#isHit(this.#spec.lost)) {
      this.lostCount++;
      return;
    }
    this.#deliver(way, 0, deliver);
    if (this.#isHit(this.#spec.duplicated)) this.#deliver(way, 0, deliver);
  }

  /** To the log: what is lost, or its acknowledgement, is published again, and what comes after it waits. */
  publish(way: Way, store: () => void): void {
    this.sentCount++;
    let lateMs = 0;
    for (let retryMs: number = RETRY_MS.first; this.#isHit(this.#spec.lost); retryMs *= 2) {
      this.lostCount++;
      lateMs += Math.min(retryMs, RETRY_MS.max);
    }
    this.#deliver(way, lateMs, store);
    if (this.#isHit(this.#spec.duplicated)) this.#deliver(way, lateMs + RETRY_MS.first, store);
  }

  #isHit(share: number): boolean {
    return share > 0 && !this.isFaultless && this.#random() < share;
  }

  #deliver(way: Way, lateMs: number, deliver: () => void): void {
    const { latencyMs, jitterMs, reordered } = this.#spec;
    const jitter = jitterMs > 0 ? this.#random() * jitterMs : 0;
    const atMs = this.#queue.nowMs + lateMs + latencyMs + jitter;
    if (this.#isHit(reordered)) {
      const muchLaterMs = this.#random() * REORDER_LATENCIES * (latencyMs + jitterMs);
      this.#queue.at(atMs + muchLaterMs, deliver);
      return;
    }
    // eslint-disable-next-line no-param-reassign -- the way is this class's to keep
    way.lastAtMs = Math.max(way.lastAtMs, atMs);
    this.#queue.at(way.lastAtMs, deliver);
  }
}
