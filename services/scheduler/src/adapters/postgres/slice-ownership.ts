import type { Pool } from "pg";
import { z } from "zod";
import type { SliceOwnership } from "../../app/ports.ts";
import { toPortError } from "./postgres-error.ts";

/**
 * Slices are locked in order before they are changed, so that two schedulers that start at once wait for each other
 * instead of for ever. `clock_timestamp()` and not `now()`: the wait may be longer than a lease. A lease that ran out
 * raises the epoch even for its old owner, who cannot know what happened in between.
 */
const ACQUIRE = `
  WITH free AS MATERIALIZED (
    SELECT slice FROM lacewing.slices
    WHERE owner_id IS NULL OR owner_id = $1 OR leased_until <= clock_timestamp()
    ORDER BY slice
    FOR UPDATE
  )
  UPDATE lacewing.slices s
  SET epoch = CASE WHEN s.owner_id = $1 AND s.leased_until > clock_timestamp() THEN s.epoch ELSE s.epoch + 1 END,
    owner_id = $1,
    leased_until = clock_timestamp() + make_interval(secs => $2::double precision / 1000)
  FROM free
  WHERE s.slice = free.slice
    AND (s.owner_id IS NULL OR s.owner_id = $1 OR s.leased_until <= clock_timestamp())
  RETURNING s.slice, s.epoch`;

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

const acquiredRow = z.object({ slice: z.number(), epoch: z.number() });

/** Ownership of slices by leases in the database, timed by its clock alone. */
export class PostgresSliceOwnership implements SliceOwnership {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /**
   * Takes what is free and renews what is ours: an unbroken lease keeps its epoch. Call it well within `leaseMs` again.
   *
   * @param ownerId one start of one process: a restarted scheduler must not pass for its predecessor.
   * @throws {PortError} retryable when Postgres did not answer; nothing is known about the leases then.
   */
  async acquire(ownerId: string, leaseMs: number): Promise<ReadonlyMap<number, number>> {
    try {
      const { rows } = await this.#pool.query(ACQUIRE, [ownerId, leaseMs]);
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
}
