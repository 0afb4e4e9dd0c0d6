import { type EventLoopUtilization, performance } from "node:perf_hooks";

/** The event loop is looked at over so long: shorter, and one long task would count as being busy. */
const WINDOW_MS = 100;
/** From this share of the time on, work that is put off a little costs nobody anything. */
const BUSY_SHARE_MIN = 0.85;

/** What the gauge reads; the process's own by default. */
export interface LoopTimes {
  monotonic(): number;
  /** Between `since` and now, or since the start. */
  utilization(since?: EventLoopUtilization): EventLoopUtilization;
}

const OWN: LoopTimes = {
  monotonic: () => performance.now(),
  utilization: (since) =>
    since === undefined
      ? performance.eventLoopUtilization()
      : performance.eventLoopUtilization(performance.eventLoopUtilization(), since),
};

/** @returns whether this process has had little time left lately, or had to wait for a core. */
export function createBusyGauge(times: LoopTimes = OWN): () => boolean {
  let since = times.utilization();
  let sinceMs = times.monotonic();
  let isBusy = false;
  return () => {
    const nowMs = times.monotonic();
    if (nowMs - sinceMs < WINDOW_MS) return isBusy;
    isBusy = times.utilization(since).utilization >= BUSY_SHARE_MIN;
    since = times.utilization();
    sinceMs = nowMs;
    return isBusy;
  };
}
