import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { SpanStore } from "./span-store.ts";

/** How often old spans are looked for. */
const PRUNE_INTERVAL_MS = 10 * 60_000;
/** The first look, after a start has settled. */
const FIRST_PRUNE_MS = 30_000;
/** Spans deleted by one statement: it holds locks for well under a second. */
const PRUNE_SPAN_COUNT_MAX = 10_000;
const DAY_NANO = 86_400_000_000_000n;

export interface RetentionOptions {
  readonly store: SpanStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly retentionDays: number;
  readonly spanCountMax: number;
}

/** Deletes old and surplus spans until the signal aborts. A failure is told and tried again at the next interval. */
export async function keepRetention(options: RetentionOptions, signal: AbortSignal): Promise<void> {
  for (let waitMs = FIRST_PRUNE_MS; ; waitMs = PRUNE_INTERVAL_MS) {
    await options.clock.sleep(waitMs, signal).catch(() => {});
    if (signal.aborted) return;
    try {
      const deletedCount = await pruneOnce(options, signal);
      if (deletedCount > 0) options.log.info("old spans deleted", { spanCount: deletedCount });
    } catch (error) {
      options.log.warn("retention failed", { reason: messageOf(error) });
    }
  }
}

async function pruneOnce(options: RetentionOptions, signal: AbortSignal): Promise<number> {
  const nowNano = BigInt(Math.trunc(options.clock.now())) * 1_000_000n;
  const keptNano = (BigInt(Math.round(options.retentionDays * 1000)) * DAY_NANO) / 1000n;
  for (let deletedCount = 0; ;) {
    const count = await options.store.prune({
      startedBeforeUnixNano: nowNano - keptNano,
      keptCountMax: options.spanCountMax,
      deletedCountMax: PRUNE_SPAN_COUNT_MAX,
    });
    deletedCount += count;
    if (count < PRUNE_SPAN_COUNT_MAX || signal.aborted) return deletedCount;
  }
}
