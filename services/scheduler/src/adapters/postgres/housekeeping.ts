import type { Log } from "@lacewing/observability/log.ts";
import { backoffMs } from "@lacewing/runtime/backoff.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { Pool, PoolClient } from "pg";
import { z } from "zod";
import { inTransaction } from "./pool.ts";
import { isLockTimeout } from "./postgres-error.ts";

export interface Retention {
  /** Days that downloads, ended leases, retired tasks and dead letters are kept; what a wrong clock dated as far ahead goes too. */
  readonly keepDays: number;
  /** Days that the roll-ups by minute are kept, likewise; not less than `keepDays`. */
  readonly keepTrafficDays: number;
}

export const DEFAULT_RETENTION: Retention = { keepDays: 90, keepTrafficDays: 400 };

/** Often enough that a day's partition is there long before the day, and that removals stay small. */
const HOUSEKEEPING_INTERVAL_MS = 3_600_000;
/** Waits after a turn that could not do everything: soon, and never so often that readers notice what it tries. */
const HOUSEKEEPING_BACKOFF = { firstMs: 5_000, maxMs: 300_000 } as const;
/** Partitions are made this many days ahead, so that a database that was away over midnight misses nothing. */
const PARTITION_DAYS_AHEAD = 2;
/** Whoever comes after a wait for a table's strongest lock waits as well: a report that runs on must not hold up everybody else. */
const LOCK_TIMEOUT_MS = 200;
/** Partitions that are being read and are tried in one turn: one such reader, as a rule, holds up all of them. */
const HELD_UP_PARTITIONS_MAX = 3;
/** Rows of each table that one transaction removes: some 100 ms. */
const REMOVED_ROWS_MAX = 20_000;
/** Transactions of one turn that remove rows, 4 million of a table: a turn ends within minutes. One that needs more has the next one soon. */
const REMOVALS_PER_TURN_MAX = 200;
/** Between two of them the disk is for flushes and readers. */
const REMOVAL_PAUSE_MS = 50;

const TODAY = "(now() AT TIME ZONE 'UTC')::date";
const MAKE_PARTITIONS = `SELECT lacewing.ensure_partitions(${TODAY} - 1, ${TODAY} + ${PARTITION_DAYS_AHEAD})`;

const partitionRows = z.array(z.object({ name: z.string() }));
const removalRows = z.array(z.object({ removed_count: z.coerce.number() }));

/** Makes partitions ahead of time and removes what is too old, beside the flushes: nobody waits for it. */
export class Housekeeping {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #retention: Retention;
  #turn: { readonly ended: Promise<void>; readonly abort: AbortController } | undefined;
  #isClosed = false;
  #hasBegun = false;
  #nextAtMs = Number.NEGATIVE_INFINITY;
  #failedTurnCount = 0;

  constructor(pool: Pool, clock: Clock, log: Log, retention: Retention) {
    this.#pool = pool;
    this.#clock = clock;
    this.#log = log;
    this.#retention = retention;
  }

  /**
   * Begins a turn when an hour has passed since the last one, or less since one that could not do everything. One turn at a time. None
   * ever fails: without it facts go to the default partition and old rows stay, which harms nobody before the next turn.
   *
   * @returns at once, but of the first turn when days have their partitions: facts of a new database move there, and who reads just
   *   then would miss them. No lock is waited for longer than {@link LOCK_TIMEOUT_MS}.
   */
  async startWhenDue(): Promise<void> {
    if (this.#isClosed || this.#turn !== undefined) return;
    if (this.#clock.monotonic() < this.#nextAtMs) return;
    const isFirst = !this.#hasBegun;
    this.#hasBegun = true;
    const abort = new AbortController();
    const partitions = Promise.withResolvers<void>();
    const ended = this.#runTurn(abort.signal, () => partitions.resolve()).finally(() => {
      this.#turn = undefined;
    });
    this.#turn = { ended, abort };
    if (isFirst) await partitions.promise;
  }

  /** Ends the turn that is under way, if any: its open transaction is undone. Another one may begin afterwards. */
  interrupt(): void {
    this.#turn?.abort.abort();
  }

  /** Ends the turn that is under way and begins no other. Resolves when its connection is given back. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.interrupt();
    await this.#turn?.ended;
  }

  async #runTurn(signal: AbortSignal, onPartitions: () => void): Promise<void> {
    // Partitions first, each step by itself: whatever holds up the others, the next day has its partition.
    const isMade = await this.#succeeds("make partitions", signal, () =>
      this.#makePartitions(signal),
    );
    onPartitions();
    const isDropped = await this.#succeeds("drop old partitions", signal, () =>
      this.#dropOldPartitions(signal),
    );
    const isRemoved = await this.#succeeds("remove old rows", signal, () =>
      this.#removeOldRows(signal),
    );
    if (signal.aborted) return;
    const isDone = isMade && isDropped && isRemoved;
    const waitMs = isDone
      ? HOUSEKEEPING_INTERVAL_MS
      : backoffMs(this.#failedTurnCount, HOUSEKEEPING_BACKOFF, 1);
    this.#failedTurnCount = isDone ? 0 : this.#failedTurnCount + 1;
    this.#nextAtMs = this.#clock.monotonic() + waitMs;
  }

  async #succeeds(
    step: string,
    signal: AbortSignal,
    work: () => Promise<boolean>,
  ): Promise<boolean> {
    if (signal.aborted) return false;
    try {
      return await work();
    } catch (error) {
      if (!signal.aborted)
        this.#log.warn("postgres housekeeping failed", { step, reason: messageOf(error) });
      return false;
    }
  }

  async #makePartitions(signal: AbortSignal): Promise<boolean> {
    await this.#locking(signal, (client) => client.query(MAKE_PARTITIONS));
    return true;
  }

  /** Each in a transaction of its own: one that is held up does not bring back the others, and none keeps readers out for long. */
  async #dropOldPartitions(signal: AbortSignal): Promise<boolean> {
    const { keepDays } = this.#retention;
    const { rows } = await this.#transaction("BEGIN", signal, (client) =>
      client.query("SELECT name FROM lacewing.old_partitions($1) AS old (name)", [keepDays]),
    );
    let heldUpCount = 0;
    for (const { name } of partitionRows.parse(rows)) {
      if (heldUpCount === HELD_UP_PARTITIONS_MAX) break;
      signal.throwIfAborted();
      try {
        await this.#locking(signal, (client) =>
          client.query("SELECT lacewing.drop_old_partition($1, $2)", [name, keepDays]),
        );
      } catch (error) {
        if (!isLockTimeout(error)) throw error;
        heldUpCount++;
        this.#log.warn("postgres partition is being read, dropped later", { partition: name });
      }
    }
    return heldUpCount === 0;
  }

  /** @returns whether nothing old is left. */
  async #removeOldRows(signal: AbortSignal): Promise<boolean> {
    const { keepDays, keepTrafficDays } = this.#retention;
    for (let removal = 0; removal < REMOVALS_PER_TURN_MAX; removal++) {
      const { rows } = await this.#transaction("BEGIN", signal, (client) =>
        client.query("SELECT removed_count FROM lacewing.remove_old_rows($1, $2, $3)", [
          keepDays,
          keepTrafficDays,
          REMOVED_ROWS_MAX,
        ]),
      );
      const counts = removalRows.parse(rows).map((row) => row.removed_count);
      if (counts.every((count) => count < REMOVED_ROWS_MAX)) return true;
      await this.#clock.sleep(REMOVAL_PAUSE_MS, signal);
    }
    this.#log.info("postgres retention goes on in the next turn", { turns: REMOVALS_PER_TURN_MAX });
    return false;
  }

  #locking<Result>(
    signal: AbortSignal,
    work: (client: PoolClient) => Promise<Result>,
  ): Promise<Result> {
    return this.#transaction(`BEGIN; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`, signal, work);
  }

  /** A transaction that an abort breaks off with its connection: who stops does not wait for a statement. */
  #transaction<Result>(
    begin: string,
    signal: AbortSignal,
    work: (client: PoolClient) => Promise<Result>,
  ): Promise<Result> {
    const committed = async (client: PoolClient) => ({ commit: true, result: await work(client) });
    return inTransaction(this.#pool, begin, committed, signal);
  }
}
