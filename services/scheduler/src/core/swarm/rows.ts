import { grown, popcount, wordCountOf } from "./words.ts";

/** What is counted of a peer stands before its sets. */
const COUNTS = 4;
const PLANNED = 0;
const LEASES = 1;
const MISSING = 2;
const ZONE = 3;
/** 64 bytes, what a processor reads at once: a row begins with one. */
const LINE_WORDS = 16;
/** Peers that there is room for at first. */
const CAPACITY_MIN = 16;

/**
 * One row for each peer of a swarm: counts, and three sets of pieces. What is asked of a child that is drawn for a grant lies side by side
 * at the row's beginning: with a hundred thousand peers each other place would have to be fetched from memory.
 *
 * - `missing`: wanted, and neither held nor on its way;
 * - `plan`: held or on its way;
 * - `have`: held.
 */
export class Rows {
  readonly words: number;
  readonly #stride: number;
  data: Uint32Array;

  constructor(pieceCount: number) {
    this.words = wordCountOf(pieceCount);
    this.#stride = Math.ceil((COUNTS + 3 * this.words) / LINE_WORDS) * LINE_WORDS;
    this.data = new Uint32Array(CAPACITY_MIN * this.#stride);
  }

  /** Where the set of a peer begins in `data`. */
  missingAt = (ordinal: number): number => ordinal * this.#stride + COUNTS;
  planAt = (ordinal: number): number => ordinal * this.#stride + COUNTS + this.words;
  haveAt = (ordinal: number): number => ordinal * this.#stride + COUNTS + 2 * this.words;

  planCountOf = (ordinal: number): number => this.data[ordinal * this.#stride + PLANNED] ?? 0;
  leaseCountOf = (ordinal: number): number => this.data[ordinal * this.#stride + LEASES] ?? 0;
  missingCountOf = (ordinal: number): number => this.data[ordinal * this.#stride + MISSING] ?? 0;
  zoneOf = (ordinal: number): number => this.data[ordinal * this.#stride + ZONE] ?? 0;

  setPlanCount(ordinal: number, count: number): void {
    this.data[ordinal * this.#stride + PLANNED] = count;
  }

  setLeaseCount(ordinal: number, count: number): void {
    this.data[ordinal * this.#stride + LEASES] = count;
  }

  setMissingCount(ordinal: number, count: number): void {
    this.data[ordinal * this.#stride + MISSING] = count;
  }

  setZone(ordinal: number, zone: number): void {
    this.data[ordinal * this.#stride + ZONE] = zone;
  }

  /** Empties the row of a peer. */
  clear(ordinal: number): void {
    this.data.fill(0, ordinal * this.#stride, (ordinal + 1) * this.#stride);
  }

  /** Makes `missing` anew. @param wantedWord words of what the peer wants, held or not. */
  setMissing(ordinal: number, wantedWord: (at: number) => number): void {
    const missing = this.missingAt(ordinal);
    const plan = this.planAt(ordinal);
    let count = 0;
    for (let at = 0; at < this.words; at++) {
      const word = wantedWord(at) & ~(this.data[plan + at] ?? 0);
      this.data[missing + at] = word;
      count += popcount(word);
    }
    this.setMissingCount(ordinal, count);
  }

  /** Makes room for the peer. */
  ensure(ordinal: number): void {
    let capacity = this.data.length / this.#stride;
    if (ordinal < capacity) return;
    while (capacity <= ordinal) capacity *= 2;
    this.data = grown(this.data, new Uint32Array(capacity * this.#stride));
  }
}
