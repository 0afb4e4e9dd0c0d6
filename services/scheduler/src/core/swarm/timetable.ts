import { Agenda } from "../agenda.ts";
import type { Rows } from "./rows.ts";
import { grown } from "./words.ts";

/**
 * When the links of a swarm's peers are expected to be free again, as far as its own leases go, and which sources are to be looked
 * at when. Expectations from the pace of hosts: what is reported corrects them.
 */
export class Timetable {
  readonly #rows: Rows;
  #isDue = new Uint8Array(16);
  readonly #agenda = new Agenda<number>();

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
    return this.#agenda.nextDueAtMs;
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
    this.#agenda.add(ordinal, atMs);
  }

  /** @returns the first source that is due, or -1. */
  takeDue(nowMs: number): number {
    const first = this.#agenda.takeDue(nowMs);
    if (first === undefined) return -1;
    this.#isDue[first] = 0;
    return first;
  }

  #ensure(ordinal: number): void {
    if (ordinal < this.#isDue.length) return;
    const capacity = Math.max(ordinal + 1, this.#isDue.length * 2);
    this.#isDue = grown(this.#isDue, new Uint8Array(capacity));
  }
}
