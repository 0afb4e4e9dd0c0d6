import { z } from "zod";
import type { World } from "./e2e-world.ts";
import { listTasks } from "./peer-api.ts";
import { waitFor } from "./wait-for.ts";

/** A full announce follows within one announce interval (30 s) after everything is up again, a second one after two. */
const AGREEMENT_TIMEOUT_MS = 75_000;

const peerRow = z.object({
  taskId: z.string(),
  hostId: z.string(),
  incarnation: z.coerce.number(),
  heldPieceCount: z.coerce.number(),
  bitmap: z.string(),
});

/**
 * Where the graph in Postgres and the hosts' own word about what they hold differ, in words; empty when they agree: the same
 * tasks, incarnations, numbers of pieces, and bits.
 *
 * @throws when a host or the database does not answer.
 */
export async function graphDifferences(world: World): Promise<readonly string[]> {
  const held = new Map<string, string>();
  for (const peer of world.cluster.file.peers) {
    for (const task of await listTasks(peer)) {
      if (task.heldPieceCount === 0) continue;
      held.set(
        `${peer.hostId} ${task.taskId}`,
        `${task.heldPieceCount} pieces ${trimmed(Buffer.from(task.bitmap).toString("hex"))} of incarnation ${task.incarnation}`,
      );
    }
  }
  const rows = await world.rows(
    peerRow,
    `select task_id as "taskId", host_id as "hostId", incarnation, held_piece_count as "heldPieceCount",
            encode(bitmap, 'hex') as bitmap
       from peers where held_piece_count > 0`,
  );
  const known = new Map(
    rows.map((row) => [
      `${row.hostId} ${row.taskId}`,
      `${row.heldPieceCount} pieces ${trimmed(row.bitmap)} of incarnation ${row.incarnation}`,
    ]),
  );
  return [...new Set([...held.keys(), ...known.keys()])]
    .filter((key) => held.get(key) !== known.get(key))
    .map(
      (key) => `${key}: held ${held.get(key) ?? "nothing"}, in SQL ${known.get(key) ?? "nothing"}`,
    );
}

/** Waits until the graph in Postgres says what the hosts hold. @throws with the differences that remain. */
export async function waitForGraph(world: World): Promise<void> {
  await waitFor(
    "the graph in Postgres to agree with the hosts",
    async () => {
      const differences = await graphDifferences(world);
      if (differences.length > 0) throw new Error(differences.join("; "));
      return true;
    },
    { timeoutMs: AGREEMENT_TIMEOUT_MS, intervalMs: 250 },
  );
}

/** Bitmaps may be kept with or without the bytes after their last bit. */
function trimmed(hex: string): string {
  return hex.replace(/(?:00)+$/, "");
}
