import type { Rows } from "./rows.ts";
import { grown } from "./words.ts";

/**
 * When the links of a swarm's peers are expected to be free again, as far as its own leases go, and which sources are to be looked
 * at when. Expectations from the pace of hosts: what is reported corrects them.
 */
export class Timetable {
  readonly #rows: Rows;
  #isDue = new Uint8Array(16);
  // A binary heap in two columns, the earliest first.
  readonly #dueAtMs: number[] = [];
  readonly #dueOrdinals: number[] = [];

  /** @param rows of the same peers: times stand there, beside what else is asked of a peer. */
  constructor(rows: Rows) {
    this.#rows = rows;
  }

  /** When what was granted from the peer has left it; Infinity when its pace is not known. */
  sentAtMs = (ordinal: number): number => this.#rows.sentAtMs(ordinal);
  /** When what is on its way to the peer has come. */
  takenAtMs = (ordinal: number): number => this.#rows.takenAtMs(ordinal);

  /** When the first of those that are to be looked at is due; Infinity when there is none. */
  get nextDueAtMs(): number {
    return this.#dueAtMs[0] ?? Infinity;
  }

  setSentAt(ordinal: number, atMs: number): void {
    this.#rows.setSentAt(ordinal, atMs);
  }

  setTakenAt(ordinal: number, atMs: number): void {
    this.#rows.setTakenAt(ordinal, atMs);
  }

  /** Forgets what was expected of a peer. */
  clear(ordinal: number): void {
    this.setSentAt(ordinal, 0);
    this.setTakenAt(ordinal, 0);
  }

  /** Has a source looked at then; one that is to be looked at already keeps its time. */
  lookAt(ordinal: number, atMs: number): void {
    this.#ensure(ordinal);
    if (this.#isDue[ordinal] === 1) return;
    this.#isDue[ordinal] = 1;
    const { length } = this.#dueAtMs;
    this.#dueAtMs.push(atMs);
    this.#dueOrdinals.push(ordinal);
    this.#rise(length, atMs, ordinal);
  }

  /** @returns the first source that is due, or -1. */
  takeDue(nowMs: number): number {
    const first = this.#dueOrdinals[0];
    if (first === undefined || this.nextDueAtMs > nowMs) return -1;
    const atMs = this.#dueAtMs.pop() ?? Infinity;
    const ordinal = this.#dueOrdinals.pop() ?? -1;
    if (this.#dueAtMs.length > 0) this.#sink(atMs, ordinal);
    this.#isDue[first] = 0;
    return first;
  }

  #rise(from: number, atMs: number, ordinal: number): void {
    let index = from;
    while (index > 0) {
      const above = (index - 1) >> 1;
      if ((this.#dueAtMs[above] ?? 0) <= atMs) break;
      this.#put(index, this.#dueAtMs[above] ?? 0, this.#dueOrdinals[above] ?? -1);
      index = above;
    }
    this.#put(index, atMs, ordinal);
  }

  #sink(atMs: number, ordinal: number): void {
    let index = 0;
    for (;;) {
      let below = 2 * index + 1;
      const left = this.#dueAtMs[below] ?? Infinity;
      const right = this.#dueAtMs[below + 1] ?? Infinity;
      if (right < left) below++;
      if (Math.min(left, right) >= atMs) break;
      this.#put(index, this.#dueAtMs[below] ?? 0, this.#dueOrdinals[below] ?? -1);
      index = below;
    }
    this.#put(index, atMs, ordinal);
  }

  #put(index: number, atMs: number, ordinal: number): void {
    this.#dueAtMs[index] = atMs;
    this.#dueOrdinals[index] = ordinal;
  }

  #ensure(ordinal: number): void {
    if (ordinal < this.#isDue.length) return;
    const capacity = Math.max(ordinal + 1, this.#isDue.length * 2);
    this.#isDue = grown(this.#isDue, new Uint8Array(capacity));
  }
}
