import { grown, popcount, wordCountOf } from "./words.ts";

/** What is counted of a peer stands before its sets. */
const COUNTS = 2;
const MISSING = 0;
const ZONE = 1;
/** A content has no more pieces than fit into so many bits. */
const PLANNED_BITS = 20;
const PLANNED_MASK = 2 ** PLANNED_BITS - 1;
/** 64 bytes, what a processor reads at once: a row begins with one. */
const LINE_WORDS = 16;
/** Peers that there is room for at first. */
const CAPACITY_MIN = 16;

/**
 * One row for each peer of a swarm: counts, and three sets of pieces. What is asked of a child that is drawn for a grant lies side by side
 * at the row's beginning: with a hundred thousand peers each other place would have to be fetched from memory. What is asked first, and
 * decides for most of those drawn, is one number of each peer in an array of its own.
 *
 * - `missing`: wanted, and neither held nor on its way;
 * - `plan`: held or on its way;
 * - `have`: held.
 */
export class Rows {
  readonly words: number;
  readonly #stride: number;
  data: Uint32Array;
  /** Of each peer: its live leases, and in the lower bits the pieces that it plans; see `needOf`. */
  #needs = new Uint32Array(CAPACITY_MIN);
  #isAvoiding = new Uint8Array(CAPACITY_MIN);

  constructor(pieceCount: number) {
    this.words = wordCountOf(pieceCount);
    this.#stride = Math.ceil((COUNTS + 3 * this.words) / LINE_WORDS) * LINE_WORDS;
    this.data = new Uint32Array(CAPACITY_MIN * this.#stride);
  }

  /** Where the set of a peer begins in `data`. */
  missingAt = (ordinal: number): number => ordinal * this.#stride + COUNTS;
  planAt = (ordinal: number): number => ordinal * this.#stride + COUNTS + this.words;
  haveAt = (ordinal: number): number => ordinal * this.#stride + COUNTS + 2 * this.words;

  /** False when the peer certainly avoids no source. */
  isAvoiding = (ordinal: number): boolean => this.#isAvoiding[ordinal] === 1;
  /** The lower, the more a peer needs a lease: fewer are under way to it, so that its link is freer; then it has less. */
  needOf = (ordinal: number): number => this.#needs[ordinal] ?? 0;
  planCountOf = (ordinal: number): number => (this.#needs[ordinal] ?? 0) & PLANNED_MASK;
  leaseCountOf = (ordinal: number): number => (this.#needs[ordinal] ?? 0) >>> PLANNED_BITS;
  missingCountOf = (ordinal: number): number => this.data[ordinal * this.#stride + MISSING] ?? 0;
  zoneOf = (ordinal: number): number => this.data[ordinal * this.#stride + ZONE] ?? 0;

  setPlanCount(ordinal: number, count: number): void {
    this.#needs[ordinal] = ((this.#needs[ordinal] ?? 0) & ~PLANNED_MASK) | count;
  }

  setLeaseCount(ordinal: number, count: number): void {
    this.#needs[ordinal] = (count << PLANNED_BITS) | this.planCountOf(ordinal);
  }

  setMissingCount(ordinal: number, count: number): void {
    this.data[ordinal * this.#stride + MISSING] = count;
  }

  setAvoiding(ordinal: number): void {
    this.#isAvoiding[ordinal] = 1;
  }

  setZone(ordinal: number, zone: number): void {
    this.data[ordinal * this.#stride + ZONE] = zone;
  }

  /** Empties the row of a peer. */
  clear(ordinal: number): void {
    this.data.fill(0, ordinal * this.#stride, (ordinal + 1) * this.#stride);
    this.#needs[ordinal] = 0;
    this.#isAvoiding[ordinal] = 0;
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
    let capacity = this.#needs.length;
    if (ordinal < capacity) return;
    while (capacity <= ordinal) capacity *= 2;
    this.data = grown(this.data, new Uint32Array(capacity * this.#stride));
    this.#needs = grown(this.#needs, new Uint32Array(capacity));
    this.#isAvoiding = grown(this.#isAvoiding, new Uint8Array(capacity));
  }
}
