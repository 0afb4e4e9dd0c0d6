import type { Clock } from "@lacewing/runtime/clock.ts";
import { vi } from "vitest";

/** While nothing moves, time makes longer steps. */
const STEP_MS_MIN = 2;
const STEP_MS_MAX = 500;
/** Turns of the event loop in which promises and streams come to rest. */
const TURNS = 6;

/** Timers and the monotonic clock stand still from now on, and move by {@link runUntil} only; `setImmediate` is real. */
export function stopTime(): Clock {
  vi.useFakeTimers({
    toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "performance"],
  });
  return {
    now: () => 1_700_000_000_000 + performance.now(),
    monotonic: () => performance.now(),
    sleep: sleepByTimer,
  };
}

/**
 * Lets time pass until something is so.
 *
 * @param activity a number that changes while something moves.
 * @returns whether it became so within `limitMs`.
 */
export async function runUntil(
  isSo: () => boolean,
  limitMs: number,
  activity: () => number,
): Promise<boolean> {
  const untilMs = performance.now() + limitMs;
  let stepMs = STEP_MS_MIN;
  let last = activity();
  while (performance.now() < untilMs) {
    for (let turn = 0; turn < TURNS; turn++) await new Promise(setImmediate);
    if (isSo()) return true;
    const now = activity();
    stepMs = now === last ? Math.min(STEP_MS_MAX, stepMs * 2) : STEP_MS_MIN;
    last = now;
    await vi.advanceTimersByTimeAsync(stepMs);
  }
  return isSo();
}

async function sleepByTimer(ms: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}
