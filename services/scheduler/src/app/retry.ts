import { backoffMs, type BackoffLimits } from "@lacewing/runtime/backoff.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { LOG_LOST } from "./ports.ts";

export interface RetryTools {
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  readonly backoff: BackoffLimits;
}

/**
 * Repeats `attempt` until it succeeds, the world fails for good, a log is lost, or the signal aborts. Tells once that it fails and once that it
 * works again.
 *
 * @throws whatever is not a retryable {@link PortError}; one that tells of a lost log; the signal's reason when it aborts.
 */
export async function retrying<Value>(
  what: string,
  tools: RetryTools,
  signal: AbortSignal,
  attempt: () => Promise<Value>,
): Promise<Value> {
  for (let failureCount = 0; ; failureCount++) {
    signal.throwIfAborted();
    try {
      const value = await attempt();
      if (failureCount > 0) tools.log.info("port recovered", { what, failureCount });
      return value;
    } catch (error) {
      if (!(error instanceof PortError) || !error.retryable || error.code === LOG_LOST) throw error;
      if (failureCount === 0) {
        tools.log.warn("port failing", { what, code: error.code, message: messageOf(error) });
      }
      await tools.clock.sleep(backoffMs(failureCount, tools.backoff, tools.random()), signal);
    }
  }
}

/**
 * The outcome of `work`, unless the signal aborts first: then it goes on, and nobody waits for it any more.
 *
 * @throws the signal's reason when it aborts.
 */
export async function untilAborted<Value>(
  work: Promise<Value>,
  signal: AbortSignal,
): Promise<Value> {
  work.catch(() => {});
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const giveUp = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}
