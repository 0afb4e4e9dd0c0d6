import type { EventQueue } from "./event-queue.ts";

/** Rings once, at the earliest of the times asked for since it last rang. */
export class Alarm {
  readonly #queue: EventQueue;
  readonly #ring: () => void;
  #atMs = Infinity;

  constructor(queue: EventQueue, ring: () => void) {
    this.#queue = queue;
    this.#ring = ring;
  }

  ringBy(atMs: number): void {
    if (atMs >= this.#atMs || atMs === Infinity) return;
    this.#atMs = atMs;
    this.#queue.at(atMs, () => {
      if (this.#atMs !== atMs) return;
      this.#atMs = Infinity;
      this.#ring();
    });
  }
}
