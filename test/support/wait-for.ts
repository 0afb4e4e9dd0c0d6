import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "@lacewing/runtime/errors.ts";

const DEFAULT_TIMEOUT_MS = 20_000;
const DEFAULT_INTERVAL_MS = 25;

/** A condition did not come true in time. */
export class ConditionTimeout extends Error {
  override readonly name = "ConditionTimeout";
}

/**
 * Asks again until `probe` returns something other than `undefined` or `false`. A probe that throws counts as "not
 * yet"; its last message is part of the failure.
 *
 * @throws {ConditionTimeout} after `timeoutMs`.
 */
export async function waitFor<Value>(
  what: string,
  probe: () => Promise<Value | undefined | false> | Value | undefined | false,
  options: {
    readonly timeoutMs?: number;
    readonly intervalMs?: number;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<Value> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const startedAt = performance.now();
  let lastFailure = "";
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
      lastFailure = "";
    } catch (error) {
      lastFailure = `; last failure: ${messageOf(error)}`;
    }
    if (performance.now() - startedAt > timeoutMs) {
      throw new ConditionTimeout(`${what}: not within ${timeoutMs} ms${lastFailure}`);
    }
    await sleep(options.intervalMs ?? DEFAULT_INTERVAL_MS, undefined, { signal: options.signal });
  }
}
