import type { Pool, PoolClient } from "pg";
import type {
  CheckpointRow,
  DeadLetterRow,
  ProjectionRows,
  RebuildStore,
  RebuildWriter,
} from "../../app/ports.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { inTransaction } from "./pool.ts";
import { toPortError } from "./postgres-error.ts";
import { deadLetterWrite, tableWrites } from "./table-writers.ts";
import { writeAcceptableRows, writeRows } from "./write-rows.ts";

/** Waits for a flush that is under way, and keeps others out: every writer begins with these rows. */
const LOCK_CHECKPOINTS = "SELECT slice FROM lacewing.checkpoints ORDER BY slice FOR UPDATE";

const SET_CHECKPOINTS = `
  UPDATE lacewing.checkpoints c
  SET epoch = s.epoch, events_sequence = $2, decisions_sequence = $3, last_message_id = $4, updated_at = now()
  FROM lacewing.slices s
  JOIN unnest($5::int[], $6::bigint[]) AS ours (slice, epoch) ON ours.slice = s.slice AND ours.epoch = s.epoch
  WHERE c.slice = s.slice AND s.owner_id = $1`;

/** Makes the graph anew in one transaction. Facts about downloads stay: they have ids, and are written once however often they come. */
export class PostgresRebuildStore implements RebuildStore {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  async rebuild<Report>(
    ownerId: string,
    epochs: ReadonlyMap<number, number>,
    work: (writer: RebuildWriter) => Promise<{
      readonly position: CheckpointRow;
      readonly report: Report;
    }>,
  ): Promise<Report> {
    try {
      return await inTransaction(this.#pool, "BEGIN", async (client) => {
        await client.query(LOCK_CHECKPOINTS);
        const { position, report } = await work(writerOn(client));
        const { eventsSequence, decisionsSequence, lastMessageId } = position;
        const moved = await client.query(SET_CHECKPOINTS, [
          ownerId,
          eventsSequence,
          decisionsSequence,
          lastMessageId,
          [...epochs.keys()],
          [...epochs.values()],
        ]);
        if (moved.rowCount !== epochs.size) throw fenced();
        return { commit: true, result: report };
      });
    } catch (error) {
      throw toPortError(error, "projection rebuild");
    }
  }
}

function fenced(): PortError {
  return new PortError("rebuild_fenced", "somebody else took the slices meanwhile", {
    retryable: false,
  });
}

function writerOn(client: PoolClient): RebuildWriter {
  return {
    clear: async ({ keepBeforeMs }) => {
      await client.query("DELETE FROM lacewing.peers");
      if (keepBeforeMs === undefined) {
        for (const table of ["leases", "tasks", "hosts"])
          await client.query(`DELETE FROM lacewing.${table}`);
        return;
      }
      const hasEndedBefore = "ended_at < to_timestamp($1::double precision / 1000)";
      await client.query(`DELETE FROM lacewing.leases WHERE (${hasEndedBefore}) IS NOT TRUE`, [
        keepBeforeMs,
      ]);
      for (const table of ["tasks", "hosts"])
        await client.query(
          `UPDATE lacewing.${table} SET forgotten_at = now() WHERE forgotten_at IS NULL`,
        );
    },
    write: (rows) => writeGraph(client, rows),
  };
}

async function writeGraph(client: PoolClient, rows: ProjectionRows): Promise<void> {
  const refused: DeadLetterRow[] = [];
  for (const write of tableWrites(rows))
    refused.push(...(await writeAcceptableRows(client, write)));
  if (refused.length > 0) await writeRows(client, deadLetterWrite(refused));
}
