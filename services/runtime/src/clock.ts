import { setTimeout as sleepTimer } from "node:timers/promises";

/** Time as a service sees it. Tests pass a clock of their own. */
export interface Clock {
  /** Milliseconds since 1970-01-01 UTC. May jump; used for records that other machines read. */
  now(): number;
  /** Milliseconds since an arbitrary start, never going back. Used for every deadline and duration. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: async (ms, signal) => {
    await sleepTimer(ms, undefined, { signal, ref: true });
  },
};
