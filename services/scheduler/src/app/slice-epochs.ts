import type { DecisionLog } from "./ports.ts";
import { retrying, type RetryTools } from "./retry.ts";

/**
 * The slices whose newest decision stands under an epoch that ours does not exceed: hosts that heard it would refuse us. So it is
 * when the database was restored, or made anew, by a machine whose clock is behind.
 *
 * @param usedEpochs under which this process has decided before: its own decisions do not stand in its way.
 * @returns the epochs to exceed, by slice.
 */
export async function epochsToExceed(
  log: DecisionLog,
  epochs: ReadonlyMap<number, number>,
  usedEpochs: ReadonlyMap<number, number>,
  tools: RetryTools,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, number>> {
  const found = await Promise.all(
    [...epochs].map(async ([slice, epoch]) => {
      const last = await retrying("read decision log", tools, signal, () => log.last(slice));
      const isOurs = last.epoch === epoch && usedEpochs.get(slice) === epoch;
      return last.sequence > 0 && last.epoch >= epoch && !isOurs
        ? [[slice, last.epoch] as const]
        : [];
    }),
  );
  return new Map(found.flat());
}
