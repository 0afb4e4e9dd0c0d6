import { totalmem } from "node:os";
import type { Clock } from "@lacewing/runtime/clock.ts";

/**
 * A proof holds while the piece is read at least this often: what is read stays in the page cache as a rule, and what was hashed
 * there is what is read. Left alone for longer, its memory may have been taken, and the disk may return something else. A page
 * that is taken sooner, under pressure from other programs, is read anew without being hashed until the next slow round.
 */
const PROOF_MS = 5 * 60_000;
/** A proof also lapses when so much of the machine's memory has passed through the store since: then it was surely taken. */
const MEMORY_SHARE = 0.5;

/** How long ago something was, in time and in bytes that the store has read and written since. */
export class StoreAge {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #memoryBytes: number;
  #bytes = 0;

  constructor(clock: Pick<Clock, "monotonic">, memoryBytes = memoryOfMachine()) {
    this.#clock = clock;
    this.#memoryBytes = memoryBytes;
  }

  passed(bytes: number): void {
    this.#bytes += bytes;
  }

  now(): Moment {
    return { atMs: this.#clock.monotonic(), atBytes: this.#bytes };
  }

  isRecent({ atMs, atBytes }: Moment): boolean {
    return (
      this.#clock.monotonic() - atMs < PROOF_MS &&
      this.#bytes - atBytes < this.#memoryBytes * MEMORY_SHARE
    );
  }
}

interface Moment {
  readonly atMs: number;
  readonly atBytes: number;
}

/** Which pieces of a task were hashed, or read after that, so recently that their bytes are still in memory. */
export class Proofs {
  readonly #age: StoreAge;
  readonly #moments = new Map<number, Moment>();

  constructor(age: StoreAge) {
    this.#age = age;
  }

  has(pieceIndex: number): boolean {
    const moment = this.#moments.get(pieceIndex);
    return moment !== undefined && this.#age.isRecent(moment);
  }

  add(pieceIndex: number): void {
    this.#moments.set(pieceIndex, this.#age.now());
  }

  /** The piece was read: if it was proven, it stays so. */
  renew(pieceIndex: number): void {
    if (this.has(pieceIndex)) this.add(pieceIndex);
  }

  delete(pieceIndex: number): void {
    this.#moments.delete(pieceIndex);
  }

  clear(): void {
    this.#moments.clear();
  }
}

/** What a container may use, when it may use less than there is. */
function memoryOfMachine(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}
