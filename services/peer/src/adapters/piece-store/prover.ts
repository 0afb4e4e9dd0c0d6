import { setImmediate as nextTurn } from "node:timers/promises";
import type { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { type PieceLayout, pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { InvariantViolation, messageOf } from "@lacewing/runtime/errors.ts";

/** A task whose bytes on the disk can be looked at without using it. */
export interface Provable {
  readonly layout: PieceLayout;
  readonly held: Bitmap;
  readonly offered: Bitmap;
  readonly usedAtMs: number;
  /** Hashes the pieces from the disk, whatever is known of them; damaged ones are given up. */
  recheck(pieceIndexes: readonly number[]): Promise<readonly number[]>;
  /** Finds out whether somebody else wrote to its files. */
  noticeForeignWrite(): void;
}

/**
 * Looks at stored bytes when nobody asks for them: first, at full speed, at what other hosts may not be told of before it is
 * hashed; then at everything, over and over, so slowly that nobody notices. One piece at a time.
 */
export class Prover {
  readonly #list: () => Iterable<Provable>;
  readonly #rateBytesPerSecond: number;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stopping = new AbortController();
  /** To be looked at before anything else. */
  readonly #urgent = new Set<Provable>();
  /** What could not be hashed for a passing reason. */
  #failed: FailedLook[] = [];
  #urgentWork: Promise<void> | undefined;
  #secondLook: Promise<void> | undefined;
  #rounds: Promise<void> | undefined;

  /** @param options `rateBytesPerSecond`: of the slow rounds; 0: there are none. */
  constructor(options: {
    readonly list: () => Iterable<Provable>;
    readonly rateBytesPerSecond: number;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#list = options.list;
    this.#rateBytesPerSecond = options.rateBytesPerSecond;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Begins with everything that is not offered yet, most recently used first. */
  start(): void {
    const found = [...this.#list()].filter(({ held, offered }) => offered.count < held.count);
    for (const task of found.toSorted((a, b) => b.usedAtMs - a.usedAtMs)) this.#urgent.add(task);
    this.#hurry();
    if (this.#rateBytesPerSecond > 0) this.#rounds = this.#goRound();
  }

  /** The task's file was written to by somebody else: all of it is to be hashed soon. */
  suspect(task: Provable): void {
    this.#urgent.add(task);
    this.#hurry();
  }

  /** Resolves when everything urgent has been looked at. */
  async caughtUp(): Promise<void> {
    while (this.#urgentWork !== undefined) await this.#urgentWork;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#urgentWork;
    await this.#secondLook;
    await this.#rounds;
  }

  #hurry(): void {
    if (this.#urgent.size === 0 || this.#stopping.signal.aborted) return;
    this.#urgentWork ??= this.#workOff().finally(() => {
      this.#urgentWork = undefined;
      this.#hurry();
    });
  }

  async #workOff(): Promise<void> {
    // Whoever opens the store comes first.
    await nextTurn();
    const startedAtMs = this.#clock.monotonic();
    let pieceCount = 0;
    for (const task of this.#urgent) {
      this.#urgent.delete(task);
      pieceCount += await this.#lookAtAll(task, task.held, 0);
      if (this.#stopping.signal.aborted) return;
    }
    const costMs = Math.round(this.#clock.monotonic() - startedAtMs);
    this.#log.info("store.pieces_proven", { pieceCount, costMs });
  }

  /** @returns how many were looked at. */
  async #lookAtAll(
    task: Provable,
    pieceIndexes: Iterable<number>,
    failureCount: number,
  ): Promise<number> {
    const failed: number[] = [];
    let count = 0;
    for (const pieceIndex of pieceIndexes) {
      if (this.#stopping.signal.aborted) return count;
      if (!(await this.#look(task, pieceIndex))) failed.push(pieceIndex);
      count++;
    }
    if (failed.length > 0 && failureCount + 1 < LOOK_COUNT_MAX) {
      this.#failed.push({ task, pieceIndexes: failed, failureCount: failureCount + 1 });
      this.#lookAgainLater();
    }
    return count;
  }

  /** Until it is hashed nobody else is told of it, and slow rounds take days, or are switched off. */
  #lookAgainLater(): void {
    if (this.#failed.length === 0 || this.#stopping.signal.aborted) return;
    this.#secondLook ??= this.#lookAgain().finally(() => {
      this.#secondLook = undefined;
      this.#lookAgainLater();
    });
  }

  async #lookAgain(): Promise<void> {
    if (!(await this.#pause(LOOK_AGAIN_MS))) return;
    const failed = this.#failed;
    this.#failed = [];
    for (const { task, pieceIndexes, failureCount } of failed) {
      await this.#lookAtAll(task, pieceIndexes, failureCount);
    }
  }

  async #goRound(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      // At least this, or an empty store would be a busy loop.
      if (!(await this.#pause(ROUND_MS_MIN))) return;
      for (const task of this.#list()) {
        task.noticeForeignWrite();
        for (const pieceIndex of task.held) {
          const { start, end } = pieceSpan(task.layout, pieceIndex);
          if (!(await this.#pause(((end - start) / this.#rateBytesPerSecond) * 1000))) return;
          await this.#look(task, pieceIndex);
        }
      }
    }
  }

  /** @returns false when the store closes. */
  async #pause(ms: number): Promise<boolean> {
    try {
      await this.#clock.sleep(ms, this.#stopping.signal);
      return true;
    } catch {
      return false;
    }
  }

  /** @returns whether it is known now what the piece is. */
  async #look(task: Provable, pieceIndex: number): Promise<boolean> {
    let isKnown = true;
    try {
      await task.recheck([pieceIndex]);
    } catch (error) {
      if (error instanceof InvariantViolation) throw error;
      isKnown = false;
      this.#log.warn("store.recheck_failed", { pieceIndex, error: messageOf(error) });
    }
    await nextTurn();
    return isKnown;
  }
}

/** Pieces of a task that are to be looked at again. */
interface FailedLook {
  readonly task: Provable;
  readonly pieceIndexes: readonly number[];
  readonly failureCount: number;
}

/** Descriptors, or memory for hashing, were short: that passes. */
const LOOK_AGAIN_MS = 30_000;
/** What fails so often in a row is left to whoever wants the piece, and to the slow rounds. */
const LOOK_COUNT_MAX = 10;

/** A round of a small store is not begun more often. */
const ROUND_MS_MIN = 60_000;
