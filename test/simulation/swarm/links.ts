import type { EventQueue } from "./event-queue.ts";

/** One piece that an uplink sends. */
export interface Job {
  remainingBytes: number;
  readonly beganAtMs: number;
  /** When its first byte left; undefined while it waits for its turn. */
  servedAtMs: number | undefined;
  readonly done: (job: Job) => void;
}

/** A host's way in. */
export interface WayIn {
  readonly bytesPerMs: number;
}

/** A host's way out. */
export interface WayOut {
  readonly bytesPerMs: number;
  /** Pieces under way or waiting. */
  readonly load: number;
  readonly sentBytes: number;
  /** @param to of who receives them */
  send(bytes: number, to: WayIn, done: (job: Job) => void): Job;
  cancel(job: Job): void;
  /** 0 stops it: what is under way stays where it is. */
  setRate(bytesPerMs: number): void;
}

/** Equal pieces end together, whatever rounding makes of them. */
export const ROUNDING_BYTES = 1e-3;

/**
 * A host's way out. Up to `servingMax` pieces share the rate equally; others wait in order. One at a time is a queue,
 * without limit is what independent connections over one link do.
 */
export class Uplink implements WayOut {
  readonly #queue: EventQueue;
  readonly #servingMax: number;
  readonly #active: Job[] = [];
  readonly #waiting: Job[] = [];
  #bytesPerMs: number;
  #countedAtMs = 0;
  /** Number of the newest plan; older ones are void. */
  #plan = 0;
  sentBytes = 0;

  constructor(queue: EventQueue, bytesPerMs: number, servingMax: number) {
    this.#queue = queue;
    this.#bytesPerMs = bytesPerMs;
    this.#servingMax = servingMax;
  }

  get bytesPerMs(): number {
    return this.#bytesPerMs;
  }

  get load(): number {
    return this.#active.length + this.#waiting.length;
  }

  send(bytes: number, _to: unknown, done: (job: Job) => void): Job {
    const beganAtMs = this.#queue.nowMs;
    const job: Job = { remainingBytes: bytes, beganAtMs, servedAtMs: undefined, done };
    this.#count();
    this.#waiting.push(job);
    this.#serve();
    return job;
  }

  cancel(job: Job): void {
    this.#count();
    remove(this.#active, job);
    remove(this.#waiting, job);
    this.#serve();
  }

  setRate(bytesPerMs: number): void {
    this.#count();
    this.#bytesPerMs = bytesPerMs;
    this.#serve();
  }

  /** Books what was sent since the last look. */
  #count(): void {
    const { nowMs } = this.#queue;
    const elapsedMs = nowMs - this.#countedAtMs;
    this.#countedAtMs = nowMs;
    if (this.#active.length > 0) this.#book((elapsedMs * this.#bytesPerMs) / this.#active.length);
  }

  #book(bytesOfEach: number): void {
    for (const job of this.#active) {
      const sent = Math.min(bytesOfEach, job.remainingBytes);
      job.remainingBytes -= sent;
      this.sentBytes += sent;
    }
  }

  #serve(): void {
    while (this.#active.length < this.#servingMax) {
      const job = this.#waiting.shift();
      if (job === undefined) break;
      job.servedAtMs = this.#queue.nowMs;
      this.#active.push(job);
    }
    const plan = ++this.#plan;
    if (this.#active.length === 0 || this.#bytesPerMs <= 0) return;
    let least = Infinity;
    for (const job of this.#active) least = Math.min(least, job.remainingBytes);
    this.#queue.after((least * this.#active.length) / this.#bytesPerMs, () => {
      if (plan === this.#plan) this.#finish(least);
    });
  }

  /** @param least bytes that each has sent since the plan was made: told, as time is too coarse to say it for the last bytes. */
  #finish(least: number): void {
    this.#countedAtMs = this.#queue.nowMs;
    this.#book(least);
    const finished = this.#active.filter((job) => job.remainingBytes <= ROUNDING_BYTES);
    for (const job of finished) remove(this.#active, job);
    this.#serve();
    for (const job of finished) job.done(job);
  }
}

/**
 * A way that others share: a host's way in, a rack's or a zone's ways in and out. Pieces pass in the order in which their
 * last byte left the sender; one may arrive no faster than the rate lets it.
 */
export class Pipe implements WayIn {
  readonly bytesPerMs: number;
  #freeAtMs = 0;
  carriedBytes = 0;

  constructor(bytesPerMs: number) {
    this.bytesPerMs = bytesPerMs;
  }

  /** @returns when the last byte is through, given when the first entered and when the last could. */
  pass(bytes: number, firstAtMs: number, lastAtMs: number): number {
    this.carriedBytes += bytes;
    this.#freeAtMs = Math.max(this.#freeAtMs, firstAtMs) + bytes / this.bytesPerMs;
    return Math.max(lastAtMs, this.#freeAtMs);
  }
}

function remove(jobs: Job[], job: Job): void {
  const at = jobs.indexOf(job);
  if (at >= 0) jobs.splice(at, 1);
}
