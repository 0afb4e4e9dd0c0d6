import type { Pool } from "pg";
import { z } from "zod";
import type { SliceOwnership } from "../../app/ports.ts";
import { toPortError } from "./postgres-error.ts";

/**
 * All slices or none: two schedulers with a part each would wait for each other for ever. They are locked in order before they are
 * changed, so that two that start at once wait for each other only until the first has them. `clock_timestamp()` and not `now()`:
 * that wait may be longer than a lease. One moment for all rows, so that they run out together.
 *
 * A new owner's epoch is at least the seconds since 1970: even a database made anew, or restored from long ago, gives no epoch that
 * hosts have seen before. An owner whose lease ran out keeps its epoch when nobody took the slices meanwhile: whoever takes them puts
 * another name there.
 */
const acquireWhere = (isFree: string) => `
  WITH free AS MATERIALIZED (
    SELECT slice FROM lacewing.slices
    WHERE ${isFree}
    ORDER BY slice
    FOR UPDATE
  ), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at, count(*) = (SELECT count(*) FROM lacewing.slices) AS is_whole FROM free
  )
  UPDATE lacewing.slices s
  SET epoch = CASE WHEN s.owner_id = $1 THEN s.epoch
      ELSE greatest(s.epoch + 1, floor(extract(epoch FROM moment.at))::bigint) END,
    owner_id = $1,
    leased_until = moment.at + make_interval(secs => $2::double precision / 1000)
  FROM free CROSS JOIN moment
  WHERE s.slice = free.slice AND moment.is_whole
  RETURNING s.slice, s.epoch`;

const ACQUIRE = acquireWhere(
  "owner_id IS NULL OR owner_id = $1 OR leased_until <= clock_timestamp()",
);
const SEIZE = acquireWhere("true");

/** Locks in the order of {@link ACQUIRE}. */
const RAISE = `
  WITH seen AS (
    SELECT * FROM unnest($2::int[], $3::bigint[]) AS t (slice, epoch)
  ), ours AS MATERIALIZED (
    SELECT slice FROM lacewing.slices
    WHERE owner_id = $1 AND slice IN (SELECT slice FROM seen)
    ORDER BY slice
    FOR UPDATE
  )
  UPDATE lacewing.slices s
  SET epoch = seen.epoch + 1
  FROM ours JOIN seen USING (slice)
  WHERE s.slice = ours.slice AND s.owner_id = $1 AND s.epoch <= seen.epoch`;

const RELEASE =
  "UPDATE lacewing.slices SET owner_id = NULL, leased_until = '-infinity' WHERE owner_id = $1";

const HOLDER = `
  SELECT owner_id FROM lacewing.slices
  WHERE owner_id IS NOT NULL AND leased_until > clock_timestamp()
  ORDER BY slice LIMIT 1`;

const acquiredRow = z.object({ slice: z.number(), epoch: z.number() });
const holderRow = z.object({ owner_id: z.string() });

/** Ownership of slices by leases in the database, timed by its clock alone. */
export class PostgresSliceOwnership implements SliceOwnership {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /**
   * Takes all slices when all of them are free, or renews them when they are ours. Call it well within `leaseMs` again.
   *
   * @param ownerId one start of one process: a restarted scheduler must not pass for its predecessor.
   * @throws {PortError} retryable when Postgres did not answer; nothing is known about the leases then.
   */
  acquire(ownerId: string, leaseMs: number): Promise<ReadonlyMap<number, number>> {
    return this.#take(ACQUIRE, ownerId, leaseMs);
  }

  /** Takes all slices whoever holds them: their owner is fenced from now on. @throws {PortError} likewise. */
  seize(ownerId: string, leaseMs: number): Promise<ReadonlyMap<number, number>> {
    return this.#take(SEIZE, ownerId, leaseMs);
  }

  /** Who owns slices by a lease that has not run out. @throws {PortError} retryable when Postgres did not answer. */
  async holder(): Promise<string | undefined> {
    try {
      const { rows } = await this.#pool.query(HOLDER);
      return rows.length === 0 ? undefined : holderRow.parse(rows[0]).owner_id;
    } catch (error) {
      throw toPortError(error, "slice holder");
    }
  }

  /** Does nothing to slices whose epoch is higher already, nor to those of somebody else. */
  async raise(ownerId: string, above: ReadonlyMap<number, number>): Promise<void> {
    try {
      await this.#pool.query(RAISE, [ownerId, [...above.keys()], [...above.values()]]);
    } catch (error) {
      throw toPortError(error, "slice epochs");
    }
  }

  async release(ownerId: string): Promise<void> {
    try {
      await this.#pool.query(RELEASE, [ownerId]);
    } catch (error) {
      throw toPortError(error, "slice release");
    }
  }

  async #take(
    statement: string,
    ownerId: string,
    leaseMs: number,
  ): Promise<ReadonlyMap<number, number>> {
    try {
      const { rows } = await this.#pool.query(statement, [ownerId, leaseMs]);
      return new Map(
        rows
          .map((row) => acquiredRow.parse(row))
          .toSorted((a, b) => a.slice - b.slice)
          .map(({ slice, epoch }) => [slice, epoch]),
      );
    } catch (error) {
      throw toPortError(error, "slice ownership");
    }
  }
}
