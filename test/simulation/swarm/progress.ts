import type { Copy } from "./copy.ts";
import type { EventQueue } from "./event-queue.ts";
import { pieceCountOfTask, type Scenario } from "./scenario.ts";

/** Points kept of the curve. */
const SAMPLES_MAX = 400;
const LATE_MS = 100;

/** How much of what all hosts want is held, over time. */
export class Progress {
  readonly samples: { readonly atMs: number; readonly heldCount: number }[] = [];
  readonly wantedCount: number;
  #heldCount = 0;
  /** Pieces of the first content that some host has had. */
  readonly #out: Uint8Array;
  #outCount = 0;
  readonly #queue: EventQueue;
  readonly #step: number;

  constructor(queue: EventQueue, scenario: Scenario) {
    this.#queue = queue;
    let wantedCount = 0;
    for (const { wants } of scenario.hosts) {
      for (const { task } of wants) {
        const spec = scenario.tasks[task];
        if (spec !== undefined) wantedCount += pieceCountOfTask(spec);
      }
    }
    this.wantedCount = wantedCount;
    const [first] = scenario.tasks;
    this.#out = new Uint8Array(first === undefined ? 0 : pieceCountOfTask(first));
    this.#step = Math.max(1, Math.floor(wantedCount / SAMPLES_MAX));
  }

  /** Whether every piece of the first content has arrived at some host. */
  get isOut(): boolean {
    return this.#outCount === this.#out.length;
  }

  note(copy: Copy, piece: number): void {
    this.#heldCount++;
    if (copy.task === 0 && this.#out[piece] === 0) {
      this.#out[piece] = 1;
      this.#outCount++;
    }
    // The last piece of a copy is worth a point where the curve is flat.
    const { nowMs } = this.#queue;
    const isLate = copy.isFull && nowMs - (this.samples.at(-1)?.atMs ?? 0) > LATE_MS;
    if (this.#heldCount % this.#step === 0 || this.#heldCount === this.wantedCount || isLate) {
      this.samples.push({ atMs: nowMs, heldCount: this.#heldCount });
    }
  }
}
