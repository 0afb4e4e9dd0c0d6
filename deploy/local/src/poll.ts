import { setTimeout as sleep } from "node:timers/promises";

/** Servers here are ready within some 30 ms: asking more often would only cost. */
const POLL_INTERVAL_MS = 20;

/** Asks until the answer is yes. A question that throws counts as no. Rejects when `signal` aborts. */
export async function pollUntil(
  question: () => Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    if (await question().catch(() => false)) return;
    await sleep(POLL_INTERVAL_MS, undefined, { signal });
  }
}
