import type { Log } from "@lacewing/observability/log.ts";
import type { StoredTask } from "./ports.ts";

/** Hashes pieces of a task again, of which a child got wrong bytes, and gives up the damaged ones. */
export function recheckPieces(
  stored: StoredTask,
  pieceIndexes: readonly number[],
  log: Pick<Log, "warn" | "error">,
): void {
  const { taskId: task } = stored.description;
  const report = async (): Promise<void> => {
    const damaged = await stored.recheck(pieceIndexes);
    log.warn("pieces checked again", { task, damagedCount: damaged.length });
  };
  report().catch((error: unknown) => log.error("recheck failed", { error }));
}
