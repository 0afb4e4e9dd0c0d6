import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { Pool, PoolClient } from "pg";
import { z } from "zod";
import type {
  DeadLetterRow,
  ProjectionBatch,
  ProjectionSnapshot,
  ProjectionStore,
} from "../../app/ports.ts";
import { DEFAULT_RETENTION, Housekeeping, type Retention } from "./housekeeping.ts";
import { loadSnapshot } from "./load-snapshot.ts";
import { inTransaction } from "./pool.ts";
import { isDataError, sqlStateOf, toPortError } from "./postgres-error.ts";
import {
  commitUnlessFenced,
  COUNT_MOVED_CHECKPOINTS,
  FENCED_STATE,
  MOVE_CHECKPOINTS,
} from "./statements.ts";
import { deadLetterWrite, tableWrites } from "./table-writers.ts";
import { writeAcceptableRows, writeRows } from "./write-rows.ts";

export interface ProjectionStoreOptions {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly log: Log;
  readonly retention?: Retention;
}

const countRow = z.object({ count: z.coerce.number() });

/** The task/peer graph in Postgres. */
export class PostgresProjectionStore implements ProjectionStore {
  readonly #pool: Pool;
  readonly #log: Log;
  readonly #housekeeping: Housekeeping;

  constructor(options: ProjectionStoreOptions) {
    const { pool, clock, log, retention = DEFAULT_RETENTION } = options;
    this.#pool = pool;
    this.#log = log;
    this.#housekeeping = new Housekeeping(pool, clock, log, retention);
  }

  async load(): Promise<ProjectionSnapshot> {
    try {
      const begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
      return await inTransaction(this.#pool, begin, async (client) => ({
        commit: true,
        result: await loadSnapshot(client),
      }));
    } catch (error) {
      throw toPortError(error, "projection load");
    }
  }

  async flush(batch: ProjectionBatch): Promise<"committed" | "fenced"> {
    const outcome = await this.#flush(batch);
    // Only an owner keeps house: one that is fenced writes nothing at all.
    if (outcome === "committed") await this.#housekeeping.startWhenDue();
    else this.#housekeeping.interrupt();
    return outcome;
  }

  /** Ends the housekeeping. The pool is its maker's to end, after this. */
  close(): Promise<void> {
    return this.#housekeeping.close();
  }

  async #flush(batch: ProjectionBatch): Promise<"committed" | "fenced"> {
    try {
      return await this.#flushQuickly(batch);
    } catch (error) {
      if (!isDataError(error)) throw toPortError(error, "projection flush");
    }
    // A row is refused for what is in it. Everything is undone; the second way finds the row and parks it.
    try {
      return await this.#flushAround(batch);
    } catch (error) {
      throw toPortError(error, "projection flush around refused rows");
    }
  }

  async #flushQuickly(batch: ProjectionBatch): Promise<"committed" | "fenced"> {
    return this.#inFencedTransaction(batch, async (client) => {
      for (const write of tableWrites(batch)) await writeRows(client, write);
    });
  }

  async #flushAround(batch: ProjectionBatch): Promise<"committed" | "fenced"> {
    const refused: DeadLetterRow[] = [];
    const outcome = await this.#inFencedTransaction(batch, async (client) => {
      for (const write of tableWrites(batch)) {
        refused.push(...(await writeAcceptableRows(client, write)));
      }
      if (refused.length > 0) await writeRows(client, deadLetterWrite(refused));
    });
    for (const { subject, reason } of refused) {
      this.#log.error("projection row refused", { table: subject, reason });
    }
    return outcome;
  }

  /** Moves the checkpoints first: a writer that is fenced touches no other row, and two writers meet at one place. */
  async #inFencedTransaction(
    batch: ProjectionBatch,
    write: (client: PoolClient) => Promise<void>,
  ): Promise<"committed" | "fenced"> {
    const commit = commitUnlessFenced(batch.checkpoints.map(({ after }) => after.slice));
    const ended = inTransaction<"committed" | "fenced">(this.#pool, "BEGIN", async (client) => {
      const moves = checkpointsJson(batch);
      const moved = await client.query(MOVE_CHECKPOINTS, [moves]);
      if (moved.rowCount === batch.checkpoints.length) {
        await write(client);
        return { commit, result: "committed" };
      }
      // Some moved, some did not: roll back before looking, to see what stands without us.
      await client.query("ROLLBACK");
      const isCommitted = await isCommittedAlready(client, batch, moves);
      return { commit: false, result: isCommitted ? "committed" : "fenced" };
    });
    return ended.catch((error: unknown) => {
      if (sqlStateOf(error) === FENCED_STATE) return "fenced";
      throw error;
    });
  }
}

/**
 * Whether this very batch was committed before, and only the answer was lost. Epoch and sequences of `after` belong to
 * one owner, so nobody else can have put the checkpoints there.
 */
async function isCommittedAlready(
  client: PoolClient,
  batch: ProjectionBatch,
  moves: string,
): Promise<boolean> {
  const { rows } = await client.query(COUNT_MOVED_CHECKPOINTS, [moves]);
  return countRow.parse(rows[0]).count === batch.checkpoints.length;
}

function checkpointsJson(batch: ProjectionBatch): string {
  const rows = batch.checkpoints
    .toSorted((a, b) => a.after.slice - b.after.slice)
    .map(({ before, after }) => ({
      slice: after.slice,
      before_epoch: before.epoch,
      before_events: before.eventsSequence,
      before_decisions: before.decisionsSequence,
      before_message_id: before.lastMessageId,
      after_epoch: after.epoch,
      after_events: after.eventsSequence,
      after_decisions: after.decisionsSequence,
      after_message_id: after.lastMessageId,
    }));
  return JSON.stringify(rows);
}
