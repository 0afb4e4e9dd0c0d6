import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { Pool } from "pg";

export interface Retention {
  /** Days that downloads, ended leases, retired tasks and dead letters are kept. */
  readonly keepDays: number;
  /** Days that the roll-ups by minute are kept; not less than `keepDays`. */
  readonly keepTrafficDays: number;
}

export const DEFAULT_RETENTION: Retention = { keepDays: 90, keepTrafficDays: 400 };

/** Often enough that a day's partition is there long before the day, and that removals stay small. */
const HOUSEKEEPING_INTERVAL_MS = 3_600_000;
/** Partitions are made this many days ahead, so that a database that was away over midnight misses nothing. */
const PARTITION_DAYS_AHEAD = 2;

/** Makes partitions ahead of time and removes what is too old. */
export class Housekeeping {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #retention: Retention;
  #nextAtMs = Number.NEGATIVE_INFINITY;

  constructor(pool: Pool, clock: Clock, log: Log, retention: Retention) {
    this.#pool = pool;
    this.#clock = clock;
    this.#log = log;
    this.#retention = retention;
  }

  /**
   * Works at most once an hour. Never fails: without it facts go to the default partition and old rows stay, which
   * harms nobody before the next turn.
   */
  async runWhenDue(): Promise<void> {
    if (this.#clock.monotonic() < this.#nextAtMs) return;
    this.#nextAtMs = this.#clock.monotonic() + HOUSEKEEPING_INTERVAL_MS;
    const today = "(now() AT TIME ZONE 'UTC')::date";
    try {
      await this.#pool.query(
        `SELECT lacewing.ensure_partitions(${today} - 1, ${today} + ${PARTITION_DAYS_AHEAD})`,
      );
      await this.#pool.query("SELECT count(*) FROM lacewing.apply_retention($1, $2)", [
        this.#retention.keepDays,
        this.#retention.keepTrafficDays,
      ]);
    } catch (error) {
      this.#log.warn("postgres housekeeping failed", { reason: messageOf(error) });
    }
  }
}
