import type { PieceSet } from "../piece-sets.ts";
import { Demand } from "./demand.ts";
import { clearBit, grown, hasBit, popcount, setBit, wordCountOf } from "./words.ts";

// Words of a row before its sets. The first four and `missing` are all that is asked of most children that are drawn.
const TAKEN_AT = 0;
const NEED = 2;
const MISSING = 3;
/** Where `missing` begins; `ZONE`, `SENT_AT`, `plan` and `have` follow it. */
const COUNTS = 4;
/** Words between `missing` and `plan`: zone, one that is free, and a time. */
const BETWEEN = 4;
/** A content has no more pieces than fit into so many bits. */
export const PLANNED_BITS = 20;
const PLANNED_MASK = 2 ** PLANNED_BITS - 1;
/** 64 bytes, what a processor reads at once: a row begins with one. */
const LINE_WORDS = 16;
/** Peers that there is room for at first. */
const CAPACITY_MIN = 16;

/**
 * One row for each peer of a swarm: counts, times, and three sets of pieces. What is asked of a child that is drawn for a grant lies side
 * by side at the row's beginning, in one line of memory while the content has up to 256 pieces: with a hundred thousand peers each other
 * place would have to be fetched by itself.
 *
 * - `missing`: wanted, and neither held nor on its way;
 * - `plan`: held or on its way;
 * - `have`: held.
 */
export class Rows {
  readonly words: number;
  /** What all `missing` hold together. */
  readonly demand: Demand;
  readonly #stride: number;
  /** Of the words of a set an even number, so that a time may follow it. */
  readonly #evenWords: number;
  data: Uint32Array;
  /** The same memory as numbers of eight bytes. */
  #times: Float64Array;
  #capacity = CAPACITY_MIN;
  #isAvoiding = new Uint8Array(CAPACITY_MIN);
  #isUrgent = new Uint8Array(CAPACITY_MIN);

  constructor(pieceCount: number) {
    this.words = wordCountOf(pieceCount);
    this.demand = new Demand(pieceCount, this.words);
    this.#evenWords = this.words + (this.words & 1);
    const rowWords = COUNTS + BETWEEN + 3 * this.#evenWords;
    this.#stride = Math.ceil(rowWords / LINE_WORDS) * LINE_WORDS;
    this.data = new Uint32Array(CAPACITY_MIN * this.#stride);
    this.#times = new Float64Array(this.data.buffer);
  }

  /** Where the set of a peer begins in `data`. */
  missingAt = (ordinal: number): number => ordinal * this.#stride + COUNTS;
  planAt = (ordinal: number): number => ordinal * this.#stride + COUNTS + BETWEEN + this.#evenWords;
  haveAt = (ordinal: number): number =>
    ordinal * this.#stride + COUNTS + BETWEEN + 2 * this.#evenWords;

  /** False when the peer certainly avoids no source. */
  isAvoiding = (ordinal: number): boolean => this.#isAvoiding[ordinal] === 1;
  /** False when the peer certainly wants no piece before all others: none failed, and no reader was told to be blocked. */
  isUrgent = (ordinal: number): boolean => this.#isUrgent[ordinal] === 1;
  /** The lower, the more a peer needs a lease: fewer are under way to it, so that its link is freer; then it has less. */
  needOf = (ordinal: number): number => this.data[ordinal * this.#stride + NEED] ?? 0;
  planCountOf = (ordinal: number): number => this.needOf(ordinal) & PLANNED_MASK;
  leaseCountOf = (ordinal: number): number => this.needOf(ordinal) >>> PLANNED_BITS;
  missingCountOf = (ordinal: number): number => this.data[ordinal * this.#stride + MISSING] ?? 0;
  zoneOf = (ordinal: number): number => this.data[this.#zoneAt(ordinal)] ?? 0;

  /** See `Timetable`. */
  takenAtMs = (ordinal: number): number =>
    this.#times[(ordinal * this.#stride + TAKEN_AT) >>> 1] ?? 0;
  sentAtMs = (ordinal: number): number => this.#times[(this.#zoneAt(ordinal) + 2) >>> 1] ?? 0;

  setTakenAt(ordinal: number, atMs: number): void {
    this.#times[(ordinal * this.#stride + TAKEN_AT) >>> 1] = atMs;
  }

  setSentAt(ordinal: number, atMs: number): void {
    this.#times[(this.#zoneAt(ordinal) + 2) >>> 1] = atMs;
  }

  setPlanCount(ordinal: number, count: number): void {
    this.data[ordinal * this.#stride + NEED] = (this.needOf(ordinal) & ~PLANNED_MASK) | count;
  }

  setLeaseCount(ordinal: number, count: number): void {
    const need = (count << PLANNED_BITS) | this.planCountOf(ordinal);
    this.data[ordinal * this.#stride + NEED] = need;
  }

  isMissing(ordinal: number, piece: number): boolean {
    return hasBit(this.data, this.missingAt(ordinal), piece);
  }

  /** Adds a piece that is not missing. @returns how many the peer misses. */
  addMissing(ordinal: number, piece: number): number {
    setBit(this.data, this.missingAt(ordinal), piece);
    this.demand.add(piece);
    return this.#setMissingCount(ordinal, this.missingCountOf(ordinal) + 1);
  }

  /** Takes out a piece that is missing. @returns how many the peer misses. */
  removeMissing(ordinal: number, piece: number): number {
    clearBit(this.data, this.missingAt(ordinal), piece);
    this.demand.remove(piece);
    return this.#setMissingCount(ordinal, this.missingCountOf(ordinal) - 1);
  }

  setAvoiding(ordinal: number): void {
    this.#isAvoiding[ordinal] = 1;
  }

  setUrgent(ordinal: number): void {
    this.#isUrgent[ordinal] = 1;
  }

  setZone(ordinal: number, zone: number): void {
    this.data[this.#zoneAt(ordinal)] = zone;
  }

  /** Empties the row of a peer. */
  clear(ordinal: number): void {
    this.setMissing(ordinal, () => 0);
    this.data.fill(0, ordinal * this.#stride, (ordinal + 1) * this.#stride);
    this.#isAvoiding[ordinal] = 0;
    this.#isUrgent[ordinal] = 0;
  }

  /** Makes `missing` anew. @param wantedWord words of what the peer wants, held or not. */
  setMissing(ordinal: number, wantedWord: (at: number) => number): void {
    const missing = this.missingAt(ordinal);
    const plan = this.planAt(ordinal);
    let count = 0;
    for (let at = 0; at < this.words; at++) {
      const word = wantedWord(at) & ~(this.data[plan + at] ?? 0);
      this.demand.change(at, this.data[missing + at] ?? 0, word);
      this.data[missing + at] = word;
      count += popcount(word);
    }
    this.#setMissingCount(ordinal, count);
  }

  /** What the peer holds, with nothing on its way to it. */
  setHeld(ordinal: number, held: PieceSet): void {
    for (let at = 0; at < this.words; at++) {
      const word = held.wordAt(at);
      this.data[this.haveAt(ordinal) + at] = word;
      this.data[this.planAt(ordinal) + at] = word;
    }
    this.setPlanCount(ordinal, held.count);
  }

  /** Makes room for the peer. */
  ensure(ordinal: number): void {
    if (ordinal < this.#capacity) return;
    while (this.#capacity <= ordinal) this.#capacity *= 2;
    this.data = grown(this.data, new Uint32Array(this.#capacity * this.#stride));
    this.#times = new Float64Array(this.data.buffer);
    this.#isAvoiding = grown(this.#isAvoiding, new Uint8Array(this.#capacity));
    this.#isUrgent = grown(this.#isUrgent, new Uint8Array(this.#capacity));
  }

  #zoneAt(ordinal: number): number {
    return ordinal * this.#stride + COUNTS + this.#evenWords;
  }

  #setMissingCount(ordinal: number, count: number): number {
    this.data[ordinal * this.#stride + MISSING] = count;
    return count;
  }
}
