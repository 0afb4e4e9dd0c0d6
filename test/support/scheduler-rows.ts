import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { Folder } from "@lacewing/scheduler/app/folder.ts";
import { takeRows } from "@lacewing/scheduler/app/projector.ts";
import { stateFromRows } from "@lacewing/scheduler/app/state-from-rows.ts";
import { newState, type State } from "@lacewing/scheduler/core/state.ts";
import { MemoryProjection } from "./memory-projection.ts";
import { applyEntry, type WorldEntry } from "./scheduler-world.ts";

/**
 * What schedulers would have that were started when all of this had happened, each from rows with another checkpoint: before the first
 * entry, after each, and so on to the last. The rows are written after each entry, so that they have only what it touched.
 */
export async function statesAfterRestarts(log: readonly WorldEntry[]): Promise<readonly State[]> {
  const live = newState();
  const folder = new Folder(live, createMemoryLog(), (event) => event);
  const projection = new MemoryProjection();
  const restarted: State[] = [];
  for (let checkpoint = 0; checkpoint <= log.length; checkpoint++) {
    const state = await stateFromRows(
      await projection.load(),
      [...live.nextLeaseNumbers],
      log[checkpoint]?.atMs ?? Infinity,
    );
    for (const entry of log.slice(checkpoint)) applyEntry(state, entry);
    restarted.push(state);
    const next = log[checkpoint];
    if (next === undefined) break;
    applyEntry(live, next);
    await projection.flush({ ...takeRows(live, folder), checkpoints: [] });
  }
  return restarted;
}
