import { totalmem } from "node:os";
import type { Clock } from "@lacewing/runtime/clock.ts";

/**
 * A proof holds while the piece is read at least this often: what is read stays in the page cache as a rule, and what was hashed
 * there is what is read. Left alone for longer, its memory may have been taken, and the disk may return something else. A page
 * that is taken sooner, under pressure from other programs, is read anew without being hashed until the next slow round.
 */
const PROOF_MS = 5 * 60_000;
/** However often a piece is read, it is hashed again after this: nobody can say that each of its pages stayed in memory. */
const HASH_AGE_MS_MAX = 60 * 60_000;
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

/** The last time that a piece was hashed or read, and the last time that it was hashed. */
interface Proof extends Moment {
  readonly hashedAtMs: number;
}

/** Which pieces of a task were hashed, or read after that, so recently that their bytes are still in memory. */
export class Proofs {
  readonly #age: StoreAge;
  readonly #proofs = new Map<number, Proof>();

  constructor(age: StoreAge) {
    this.#age = age;
  }

  has(pieceIndex: number): boolean {
    const proof = this.#proofs.get(pieceIndex);
    return proof !== undefined && this.#isGood(proof);
  }

  add(pieceIndex: number): void {
    const now = this.#age.now();
    this.#proofs.set(pieceIndex, { ...now, hashedAtMs: now.atMs });
  }

  /** The piece was read: if it was proven, it stays so. */
  renew(pieceIndex: number): void {
    const proof = this.#proofs.get(pieceIndex);
    if (proof === undefined || !this.#isGood(proof)) return;
    this.#proofs.set(pieceIndex, { ...this.#age.now(), hashedAtMs: proof.hashedAtMs });
  }

  delete(pieceIndex: number): void {
    this.#proofs.delete(pieceIndex);
  }

  clear(): void {
    this.#proofs.clear();
  }

  #isGood(proof: Proof): boolean {
    const hashAgeMs = this.#age.now().atMs - proof.hashedAtMs;
    return hashAgeMs < HASH_AGE_MS_MAX && this.#age.isRecent(proof);
  }
}

/** What a container may use, when it may use less than there is. */
function memoryOfMachine(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}
